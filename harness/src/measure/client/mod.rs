//! Trials of clients as applications have them: records are handed over one by one, batched, compressed and pipelined by the client, and
//! perhaps consumed as they come.
//!
//! Each trial has a topic of its own. The bundled broker, and the one that stores nothing, are started for it; Apache Kafka runs the whole time.
//! Trials whose acknowledgements are lost on the way are those of `faults`.

mod consumers;
mod faults;
mod levels;
mod rows;
pub mod side_by_side;
mod stored;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::bail;
use results::schema::{LedgerEntry, PlannedTrial, TrialRole};
use workloads::definition::{AckFault, Client, Definition, NULL, Profile, Role};
use workloads::load::Loaded;
use workloads::native::{Admin, Phase};
use workloads::worker::{WorkerResult, WorkerSpec};

use crate::interrupt;
use crate::measure::bench::Setup;
use crate::measure::drain;
use crate::measure::load::host::Host;
use crate::measure::outcome::TrialOutcome;
use crate::measure::stage::{Stage, with_terms};
use crate::measure::warm_up::{self, Subject};
use crate::measure::window::{Used, Window};
use crate::measure::worker::Worker;
use crate::scratch::RemoveOnDrop;
use consumers::{Ends, Following, Received};
use levels::Levels;
use rows::Seen;
use stored::{Mark, Stored};

/// `max_bytes` of each fetch of the full check: the largest batch fits.
const CHECK_RESPONSE_BYTES: u32 = 2 << 20;

/// A definition's clients.
pub struct ClientBench<'a> {
    definition: &'a Definition,
    client: Client,
    profile: &'a Profile,
    setup: &'a Setup<'a>,
}

/// What a window moved and used.
struct Measured {
    loaded: Loaded,
    used: Used,
    stored: Stored,
    /// What consumers got; `None` without any.
    received: Option<Received>,
}

impl<'a> ClientBench<'a> {
    /// Warms up a target that runs the whole time, once for each path through it.
    ///
    /// # Errors
    /// A broker or client fails, or Ctrl-C.
    pub fn prepare(
        definition: &'a Definition,
        client: Client,
        stage: &mut Stage,
        setup: &'a Setup<'a>,
        doing: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let profile = definition.profile(setup.profile);
        let bench = ClientBench {
            definition,
            client,
            profile,
            setup,
        };
        if definition.warm_up.is_some() {
            let mut chosen = BTreeMap::new();
            for arm in profile.arms.iter().filter(|arm| arm.role == Role::Measured) {
                let levels = Levels::of(definition, client, setup, (TrialRole::Measured, &arm.factors))?;
                chosen.entry(levels.path_through_broker()).or_insert((arm, levels));
            }
            for (arm, levels) in chosen.into_values() {
                doing(&format!("warming up {}", arm.id));
                bench.warm_up(stage, &arm.id, &levels)?;
            }
        }
        Ok(bench)
    }

    fn host(&self, stage: &Stage, levels: &Levels, name: &str) -> anyhow::Result<Host> {
        match &levels.settings {
            Some(settings) => Host::start(self.setup, settings.clone(), name),
            None => Host::of_stage(stage, &levels.target),
        }
    }

    /// Makes the topic of a trial.
    fn topic(&self, stage: &Stage, host: &Host, levels: &Levels, topic: &str) -> anyhow::Result<()> {
        let spread = levels.spread(topic);
        if !host.is_own() {
            stage.made_topics(&levels.target, &spread.topics());
        }
        let topics = spread.new_topics(host.served.replicas, &levels.topic_settings);
        Admin::connect(host.served.brokers.clone(), &host.served.security)?.create_topics(&topics)?;
        Ok(())
    }

    fn producer(
        &self,
        host: &Host,
        levels: &Levels,
        (topic, seed): (&str, u64),
        (warmup_ms, window_ms): (u32, u32),
        ledger: Option<&Path>,
    ) -> anyhow::Result<Worker> {
        let spec = WorkerSpec::Load {
            address: host.served.brokers.clone(),
            security: host.served.security.clone(),
            load: Box::new(levels.load(topic, seed)),
            warmup_ms,
            window: timed(window_ms),
            ledger: ledger.map(Path::to_owned),
            ticks_ms: 0,
        };
        Worker::start(&spec, self.setup.cpus.as_ref().map(|(_, client)| client))
    }

    /// Starts the consumers of a trial that has some.
    fn following(&self, host: &Host, levels: &Levels, topic: &str, ends: Ends) -> anyhow::Result<Option<Following>> {
        let consumes = levels.client.consumers.processes > 0;
        consumes
            .then(|| Following::start(self.setup, host, levels, topic, ends))
            .transpose()
    }

    fn warm_up(&self, stage: &mut Stage, arm: &str, levels: &Levels) -> anyhow::Result<()> {
        let Some(rule) = self.definition.warm_up else {
            return Ok(());
        };
        let host = self.host(stage, levels, "warm-up")?;
        let topic = format!("{}-warm-up-{}", self.setup.prefix, levels.path_through_broker());
        self.topic(stage, &host, levels, &topic)?;
        let mut producer = self.producer(&host, levels, (&topic, self.setup.seed), (0, rule.window_ms), None)?;
        producer.ready()?;
        let ends = Ends::After {
            window_ms: rule.window_ms,
        };
        let mut following = self.following(&host, levels, &topic, ends)?;
        let subject = Subject {
            experiment: &self.definition.name,
            target: &levels.target,
            arm,
            metric: "broker_cpu_s_per_million",
            unit: "s",
        };
        let warmed = warm_up::until_steady(subject, &rule, || {
            let window = Window::open(&host.served.processes, producer.process.id())?;
            following.as_mut().map(Following::go).transpose()?;
            let loaded = loaded(&mut producer)?;
            following.as_mut().map(Following::received).transpose()?;
            let seconds = match window.close()?.broker {
                Some(broker) => broker.cpu.as_secs_f64(),
                // What can be seen of a broker that runs elsewhere.
                None => loaded.phase.wall_ns as f64 / 1e9,
            };
            Ok(seconds * 1e6 / loaded.phase.records.max(1) as f64)
        })?;
        producer.quit()?;
        following.map(Following::quit).transpose()?;
        stage.add(warmed.points, warmed.summary);
        if !host.is_own() {
            stage.delete_topics(&levels.target, &[topic])?;
        }
        host.end()
    }

    /// Runs one trial; `check` asks for the full check of what lies in the topic, after the window.
    ///
    /// # Errors
    /// The trial failed, or Ctrl-C.
    pub fn run(&self, trial: &PlannedTrial, check: bool, stage: &Stage) -> anyhow::Result<TrialOutcome> {
        interrupt::check()?;
        let levels = Levels::of(self.definition, self.client, self.setup, (trial.role, &trial.factors))?;
        let mut host = self.host(stage, &levels, &format!("trial-{}", trial.trial))?;
        let topic = format!("{}-{}", self.setup.prefix, trial.trial);
        self.topic(stage, &host, &levels, &topic)?;
        let outcome = match levels.client.fault {
            AckFault::None => self.load(trial, check, &mut host, &levels, &topic)?,
            fault => {
                let load = levels.load(&topic, trial.seed);
                let bench = faults::FaultBench::new(&host, load, levels.client, self.setup);
                let (mut outcome, checks) = bench.run(trial, fault)?;
                outcome.ledger = drain::ledger(trial, checks);
                outcome
            }
        };
        let varied: Vec<&str> = self.definition.settings_varied().map(|f| f.name.as_str()).collect();
        let receipt = host.receipt(&varied);
        if !host.is_own() {
            stage.delete_topics(&levels.target, &[topic])?;
        }
        host.end()?;
        Ok(TrialOutcome {
            // What a limit runs on is no target.
            receipt: receipt
                .filter(|_| trial.role != TrialRole::Limit)
                .map(|receipt| with_terms(receipt, self.definition, self.setup)),
            ..outcome
        })
    }

    /// A window of load, and what it left.
    fn load(
        &self,
        trial: &PlannedTrial,
        check: bool,
        host: &mut Host,
        levels: &Levels,
        topic: &str,
    ) -> anyhow::Result<TrialOutcome> {
        let ledger = RemoveOnDrop(self.setup.scratch.join(format!("trial-{}.ledger.json", trial.trial)));
        let times = (self.profile.warmup_ms, self.profile.window_ms);
        let kept = levels.keeps_ledger().then_some(ledger.0.as_path());
        let producer = self.producer(host, levels, (topic, trial.seed), times, kept)?;
        let measured = self.window(host, levels, topic, producer)?;

        let mut entries = match check && levels.target != NULL {
            true => self.check(trial, host, &measured, kept)?,
            false => Vec::new(),
        };
        // It costs nothing, so each trial answers for what its consumers got.
        if let Some(received) = &measured.received {
            let checks = received.checks(measured.loaded.phase.records, &measured.stored);
            entries.extend(drain::ledger(trial, checks));
        }
        let seen = Seen {
            used: &measured.used,
            stored: &measured.stored,
            received: measured.received.as_ref(),
        };
        let mut outcome = rows::outcome(trial, measured.loaded, &seen);
        outcome.ledger = entries;
        Ok(outcome)
    }

    /// Opens the window of a producer that is warmed up, and of consumers that begin where it stands then.
    fn window(&self, host: &mut Host, levels: &Levels, topic: &str, mut producer: Worker) -> anyhow::Result<Measured> {
        let warmed_up = producer.warmed_up()?.map_or(0, |phase| phase.records);
        // What was written before and is dirty would be written back in the window, by whose CPU time nobody could tell.
        nix::unistd::syncfs(File::open(self.setup.scratch)?)?;
        let stores = levels.target != NULL;
        let mut mark = match stores {
            true => Some(Mark::take(host, (topic, levels.client.partitions), warmed_up)?),
            false => None,
        };
        let ends = Ends::WhenTold {
            timed_ms: self.profile.window_ms,
        };
        let mut following = self.following(host, levels, topic, ends)?;
        let window = Window::open(&host.served.processes, producer.process.id())?;
        following.as_mut().map(Following::go).transpose()?;
        let loaded = loaded(&mut producer)?;
        // Nobody waits for what is not acknowledged, and the broker may still be at it.
        if let Some(mark) = mark.as_mut().filter(|_| levels.client.acks == 0) {
            mark.wait_for(loaded.phase.records)?;
        }
        let received = following.map(Following::finish).transpose()?;
        let used = window.close()?;
        let stored = match &mut mark {
            Some(mark) => mark.stored(host, &loaded)?,
            None => Stored::nothing(&loaded),
        };
        producer.quit()?;
        Ok(Measured {
            loaded,
            used,
            stored,
            received,
        })
    }

    /// What is in the log against what was acknowledged: every batch, where the producer keeps a ledger.
    fn check(
        &self,
        trial: &PlannedTrial,
        host: &Host,
        measured: &Measured,
        ledger: Option<&Path>,
    ) -> anyhow::Result<Vec<LedgerEntry>> {
        let mut checks = vec![measured.stored.check(measured.loaded.phase.records)];
        if let Some(ledger) = ledger {
            let (brokers, security) = (host.served.brokers.clone(), host.served.security.clone());
            checks.extend(drain::verify(brokers, security, ledger, CHECK_RESPONSE_BYTES)?);
        }
        Ok(drain::ledger(trial, checks))
    }
}

/// A window of a producer.
fn loaded(producer: &mut Worker) -> anyhow::Result<Loaded> {
    producer.go()?;
    let loaded = match producer.result(|| ())? {
        WorkerResult::Loaded(loaded) => *loaded,
        other => bail!("the client answered {other:?} where a window of records was due"),
    };
    match loaded.errors.iter().next() {
        None if loaded.failed_records == 0 => Ok(loaded),
        first => bail!(
            "{} records failed: {}",
            loaded.failed_records,
            first.map_or("nobody says why", |(error, _)| error)
        ),
    }
}

fn timed(duration_ms: u32) -> Phase {
    Phase {
        duration_ms,
        single_pass: false,
    }
}
