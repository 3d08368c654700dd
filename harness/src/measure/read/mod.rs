//! Trials of readers: a fresh bundled broker with the trial's settings, a topic filled for the trial, one reader, and perhaps a producer beside it.

mod beside;
mod levels;
mod rows;

use std::fs::File;
use std::path::Path;

use anyhow::{Context, bail};
use results::schema::PlannedTrial;
use workloads::definition::{Definition, Profile, Read};
use workloads::native::follow::{Follow, FollowSpec};
use workloads::native::ledger::Ledger;
use workloads::native::preload::PreloadSpec;
use workloads::native::produce::ProduceSpec;
use workloads::native::{Phase, Spread};
use workloads::worker::WorkerSpec;

use crate::interrupt;
use crate::measure::bench::Setup;
use crate::measure::dataset;
use crate::measure::drain;
use crate::measure::load::host::Host;
use crate::measure::load::now_ms;
use crate::measure::outcome::TrialOutcome;
use crate::measure::sample;
use crate::measure::stage::with_terms;
use crate::measure::window::Window;
use crate::measure::worker::Worker;
use crate::scratch::RemoveOnDrop;
use beside::Pace;
use levels::{Levels, What};
use rows::{Counted, Seen};

/// A window whose end is the end of the data may take that long, ms.
const PASS_MS_MAX: u32 = 60_000;

/// A definition's reads.
pub struct ReadBench<'a> {
    definition: &'a Definition,
    read: Read,
    profile: &'a Profile,
    setup: &'a Setup<'a>,
}

impl<'a> ReadBench<'a> {
    /// Nothing is made beforehand: each trial fills a topic of its own.
    pub fn new(definition: &'a Definition, read: Read, setup: &'a Setup<'a>) -> Self {
        ReadBench {
            definition,
            read,
            profile: definition.profile(setup.profile),
            setup,
        }
    }

    /// Runs one trial; `check` asks for the full check of what lies in the topic, after the window.
    ///
    /// # Errors
    /// The trial failed, or Ctrl-C.
    pub fn run(&self, trial: &PlannedTrial, check: bool) -> anyhow::Result<TrialOutcome> {
        interrupt::check()?;
        let levels = Levels::of(self.definition, &self.read, &trial.factors)?;
        let name = format!("trial-{}", trial.trial);
        let file = |what: &str| RemoveOnDrop(self.setup.scratch.join(format!("{name}.{what}.json")));
        let (index, stored, delivered) = (file("index"), file("stored"), file("delivered"));
        let topic = format!("{}-{}", self.setup.prefix, trial.trial);
        let mut host = Host::start(self.setup, levels.settings.clone(), &name)?;
        self.fill(&host, &levels, &topic, &index.0)?;
        if levels.what == What::Cold {
            host = host.restart()?;
        }

        let mut reader = self.reader(&host, &levels, &index.0, &delivered.0)?;
        let mut writer = match levels.is_beside_writes {
            true => Some(self.writer(&host, &levels, &topic, trial.seed, (&index.0, &stored.0))?),
            false => None,
        };
        reader.ready()?;
        writer.as_mut().map_or(Ok(()), Worker::ready)?;
        // What was stored before is on the device, so that nobody pays for it in the window.
        nix::unistd::syncfs(File::open(self.setup.scratch)?)?;
        let resident_share_before = self.settle(&host, &levels)?;
        let processes = host.served.processes.clone();
        let (counters, read_before) = (host.counters()?, sample::read_bytes(&processes));
        let window = Window::open(&processes, reader.process.id())?;
        let pace = if levels.what == What::Tail {
            Pace::Once
        } else {
            Pace::Ticks
        };
        let both = beside::run(&mut reader, writer.as_mut().map(|writer| (writer, pace)))?;
        let used = window.close()?;
        let read_after = sample::read_bytes(&processes);
        let after = host.counters()?;
        let counted = match (counters, after) {
            (Some(before), Some(after)) => Counted::between(&before, &after),
            _ => bail!("a broker of the trial's own has no counters"),
        };
        counted.agrees(&both)?;
        if levels.what != What::CatchUp && !both.followed.phase.data_ended {
            bail!("the data did not end within {PASS_MS_MAX} ms: make it smaller");
        }
        reader.quit()?;
        if let Some(writer) = writer {
            writer.quit()?;
        }
        if levels.what == What::Tail {
            is_all_delivered(&stored.0, &delivered.0)?;
        }

        let seen = Seen {
            levels: &levels,
            used: &used,
            counted,
            resident_share_before,
            device_bytes: read_after
                .zip(read_before)
                .map(|(after, before)| after.saturating_sub(before)),
        };
        let mut outcome = rows::outcome(trial, both, &seen);
        if check {
            let ledger = if levels.is_beside_writes { &stored.0 } else { &index.0 };
            let (brokers, security) = (host.served.brokers.clone(), host.served.security.clone());
            let checks = drain::verify(brokers, security, ledger, self.read.partition_bytes)?;
            outcome.ledger = drain::ledger(trial, checks);
        }
        let varied: Vec<&str> = self
            .definition
            .settings_varied()
            .map(|factor| factor.name.as_str())
            .collect();
        let receipt = host.receipt(&varied);
        host.end()?;
        Ok(TrialOutcome {
            receipt: receipt.map(|receipt| with_terms(receipt, self.definition, self.setup)),
            ..outcome
        })
    }

    /// Stores what is read, batch by batch over the partitions in turn.
    fn fill(&self, host: &Host, levels: &Levels, topic: &str, index: &Path) -> anyhow::Result<()> {
        let preload = PreloadSpec {
            topic: topic.to_owned(),
            partitions: levels.partitions,
            replicas: 1,
            configs: Default::default(),
            stored_batch_bytes: levels.batch_bytes as usize,
            file_bytes: levels.stored_bytes(&self.read),
            payload: self.setup.payload.clone(),
            seed: self.setup.seed,
            base_timestamp_ms: now_ms(),
        };
        let (brokers, security) = (host.served.brokers.clone(), host.served.security.clone());
        drain::fill(brokers, security, preload, index).context("filling the topic failed")
    }

    /// Puts the page cache into the state that the trial asks for; answers the resident share, where that matters.
    fn settle(&self, host: &Host, levels: &Levels) -> anyhow::Result<Option<f64>> {
        let [folder] = &host.served.data_dirs[..] else {
            bail!("a broker of the trial's own has one folder")
        };
        match levels.what {
            What::Tail => Ok(None),
            What::CatchUp => dataset::make_folder_hot(folder).map(Some),
            What::Cold => dataset::make_folder_cold(folder).map(Some),
        }
    }

    fn reader(&self, host: &Host, levels: &Levels, index: &Path, delivered: &Path) -> anyhow::Result<Worker> {
        let read = &self.read;
        let bytes = levels.tail_bytes(read);
        // The data ends the window of all but who catches up again and again, who alone has traffic before it: elsewhere that would leave
        // nothing to come, or fill the page cache.
        let (follow, duration_ms, warmup_ms) = match levels.what {
            What::Tail => (Follow::Produced { bytes }, PASS_MS_MAX, 0),
            What::CatchUp => (Follow::Stored, self.profile.window_ms, self.profile.warmup_ms),
            What::Cold => (Follow::Stored, PASS_MS_MAX, 0),
        };
        let spec = WorkerSpec::Follow {
            address: host.served.brokers.clone(),
            security: host.served.security.clone(),
            stored: index.to_owned(),
            follow: FollowSpec {
                follow,
                response_bytes: read.response_bytes,
                partition_bytes: read.partition_bytes,
                partitions_per_fetch: read.partitions_per_fetch as usize,
                max_wait_ms: read.max_wait_ms,
                receive_buffer_bytes: read.receive_buffer_bytes as usize,
            },
            warmup_ms,
            window: Phase {
                duration_ms,
                single_pass: levels.what == What::Cold,
            },
            ledger: Some(delivered.to_owned()),
        };
        Worker::start(&spec, self.setup.cpus.as_ref().map(|(_, client)| client))
    }

    /// A producer to the same topic, whose ledger goes on from the index and tells of all that is stored.
    fn writer(
        &self,
        host: &Host,
        levels: &Levels,
        topic: &str,
        seed: u64,
        (index, stored): (&Path, &Path),
    ) -> anyhow::Result<Worker> {
        let read = &self.read;
        let bytes_max = match levels.what {
            What::Tail => levels.tail_bytes(read),
            What::CatchUp | What::Cold => read.beside_bytes_per_tick(),
        };
        let spec = WorkerSpec::Produce {
            address: host.served.brokers.clone(),
            security: host.served.security.clone(),
            produce: ProduceSpec {
                spread: Spread::one_topic(topic, levels.partitions),
                batch_bytes: levels.batch_bytes as usize,
                payload: self.setup.payload.clone(),
                seed,
                in_flight: read.in_flight as usize,
                connections: read.connections as usize,
                acks: read.acks.code(),
                pool_batches: (read.pool_bytes / u64::from(levels.batch_bytes)).max(1) as usize,
                bytes_max: Some(bytes_max),
                socket_send_buffer_bytes: None,
                socket_congestion_control: self.definition.settings.get("socket.congestion.control").cloned(),
            },
            warmup_ms: 0,
            window: Phase {
                duration_ms: PASS_MS_MAX,
                single_pass: false,
            },
            stored: Some(index.to_owned()),
            ledger: Some(stored.to_owned()),
        };
        Worker::start(&spec, self.setup.cpus.as_ref().map(|(_, client)| client))
    }
}

/// Holds what a follower at the tail got against what was acknowledged to the producer.
fn is_all_delivered(stored: &Path, delivered: &Path) -> anyhow::Result<()> {
    let (stored, delivered) = (Ledger::read(stored)?, Ledger::read(delivered)?);
    // The reader was told the same partitions as the producer.
    let mut both = stored.partitions.iter().zip(&delivered.partitions);
    match both.find(|(stored, delivered)| stored != delivered) {
        Some((stored, delivered)) => bail!(
            "of partition {} {} batches up to offset {} were stored, and {} up to {} delivered, or others",
            stored.partition,
            stored.batches,
            stored.next_offset,
            delivered.batches,
            delivered.next_offset
        ),
        None => Ok(()),
    }
}
