//! Trials of a Kafka-compatible broker's listeners: the broker runs on, the topic lies there already, one client drains it for a window.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use results::schema::{LedgerEntry, PlannedTrial, TraceCount, TrialRole};
use workloads::definition::{Definition, Fetch, Profile, Role};
use workloads::native::preload::PreloadSpec;
use workloads::native::{Phase, Receiver};
use workloads::worker::WorkerSpec;

use crate::interrupt;
use crate::measure::bench::Setup;
use crate::measure::dataset;
use crate::measure::drain::{self, Cache, Levels};
use crate::measure::outcome::{TrialOutcome, drained};
use crate::measure::stage::{Served, Stage};
use crate::measure::trace::{self, TraceError};
use crate::measure::warm_up::{self, Subject};
use crate::measure::window::{Used, Window};
use crate::measure::worker::Worker;

/// The level of the factor `listener` that is encrypted.
const TLS: &str = "tls";
/// Calls that a broker may move records with, and none else: a trace of all would stop it at every futex.
const TRACED: [&str; 9] = [
    "sendfile", "splice", "write", "writev", "sendto", "sendmsg", "read", "pread64", "preadv",
];
/// How long a traced client drains, ms: nothing is timed.
const TRACED_MS: u32 = 300;

/// A topic that was filled before.
#[derive(Debug)]
struct Topic {
    index: PathBuf,
    /// The file with its records, where it is on this machine.
    segment: Option<PathBuf>,
}

/// A broker with one listener after the other.
pub struct Listener<'a> {
    definition: &'a Definition,
    fetch: Fetch,
    profile: &'a Profile,
    hot: Option<Topic>,
    cold: Option<Topic>,
    setup: &'a Setup<'a>,
}

impl<'a> Listener<'a> {
    /// Fills the topics, and warms up each listener.
    ///
    /// # Errors
    /// A client fails, or Ctrl-C.
    pub fn prepare(
        definition: &'a Definition,
        fetch: Fetch,
        stage: &mut Stage,
        setup: &'a Setup<'a>,
        doing: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let profile = definition.profile(setup.profile);
        let mut listener = Listener {
            definition,
            fetch,
            profile,
            hot: None,
            cold: None,
            setup,
        };
        if drain::needs_hot(profile) {
            doing(&format!("pre-loading {} (hot)", definition.target));
            listener.hot = Some(listener.fill(stage, "hot", fetch.file_bytes)?);
        }
        if drain::needs_cold(profile) {
            doing(&format!("pre-loading {} (cold)", definition.target));
            listener.cold = Some(listener.fill(stage, "cold", fetch.cold_file_bytes)?);
        }
        listener.warm_up(stage, doing)?;
        Ok(listener)
    }

    fn target(&self) -> &str {
        &self.definition.target
    }

    fn fill(&self, stage: &Stage, cache: &str, file_bytes: u64) -> anyhow::Result<Topic> {
        interrupt::check()?;
        // Always over what the cluster offers us; a Kafka of ours is filled over its plain listener.
        let served = stage.served(self.target(), false)?;
        let name = format!("{}-{cache}", self.setup.prefix);
        let index = self.setup.scratch.join(format!("{}-{cache}.index.json", self.target()));
        stage.made_topics(self.target(), std::slice::from_ref(&name));
        let preload = PreloadSpec {
            topic: name.clone(),
            partitions: 1,
            replicas: served.replicas,
            configs: BTreeMap::new(),
            stored_batch_bytes: self.fetch.stored_batch_bytes as usize,
            file_bytes,
            payload: self.setup.payload.clone(),
            seed: self.setup.seed,
            base_timestamp_ms: crate::measure::load::now_ms(),
        };
        drain::fill(served.brokers, served.security, preload, &index).context("pre-loading failed")?;
        let segment = served
            .data_dirs
            .first()
            .map(|dir| dataset::only_segment(&dir.join(format!("{name}-0"))))
            .transpose()?;
        Ok(Topic { index, segment })
    }

    /// The smallest hot responses on each listener: what costs the broker most per byte, and so takes longest to be compiled.
    fn warm_up(&self, stage: &mut Stage, doing: impl Fn(&str)) -> anyhow::Result<()> {
        let (Some(rule), Some(hot)) = (self.definition.warm_up, &self.hot) else {
            return Ok(());
        };
        let treatment = self.definition.factor(&self.definition.treatment);
        for level in treatment.into_iter().flat_map(|factor| &factor.levels) {
            doing(&format!("warming up {} ({level})", self.target()));
            let served = stage.served(self.target(), level == TLS)?;
            let response_bytes = self.profile.arms.iter().filter(|arm| arm.role == Role::Measured);
            let response_bytes = response_bytes
                .filter_map(|arm| arm.factors.get("response_bytes")?.parse().ok())
                .min();
            let levels = Levels {
                treatment: level,
                response_bytes: response_bytes.unwrap_or(65_536),
                receiver: Receiver::Discard,
                cache: Cache::Hot,
            };
            let mut client = self.client(&served, hot, &levels, 0, levels.window(rule.window_ms))?;
            client.ready()?;
            let subject = Subject {
                experiment: &self.definition.name,
                target: self.target(),
                arm: level,
                metric: "broker_cpu_ms_per_mb",
                unit: "ms/MB",
            };
            let warmed = warm_up::until_steady(subject, &rule, || {
                let window = Window::open(&served.processes, client.process.id())?;
                client.go()?;
                let phase = client.phase(|| ())?;
                let used = window.close()?;
                let broker = used.broker.context("the broker's CPU clock can't be read")?;
                Ok(broker.cpu.as_secs_f64() * 1e9 / phase.moved_bytes.max(1) as f64)
            })?;
            client.quit()?;
            stage.add(warmed.points, warmed.summary);
        }
        Ok(())
    }

    fn client(
        &self,
        served: &Served,
        topic: &Topic,
        levels: &Levels,
        warmup_ms: u32,
        window: Phase,
    ) -> anyhow::Result<Worker> {
        let spec = WorkerSpec::Fetch {
            address: served.brokers.clone(),
            security: served.security.clone(),
            index: topic.index.clone(),
            fetch: drain::spec(&self.fetch, levels, None),
            warmup_ms,
            window,
        };
        Worker::start(&spec, self.setup.cpus.as_ref().map(|(_, client)| client))
    }

    /// Runs one trial; `check` asks for the full check of what the listener delivers, after the window.
    ///
    /// # Errors
    /// The trial failed, or Ctrl-C.
    pub fn run(&self, trial: &PlannedTrial, check: bool, stage: &Stage) -> anyhow::Result<TrialOutcome> {
        if trial.role == TrialRole::Limit {
            bail!("a listener has no bare loop");
        }
        let levels = Levels::of(trial, &self.definition.treatment)?;
        let topic = match levels.cache {
            Cache::Cold => &self.cold,
            Cache::Hot | Cache::Restarted => &self.hot,
        };
        let topic = topic.as_ref().context("the topic of this arm was not filled")?;
        let served = stage.served(self.target(), levels.treatment == TLS)?;
        let mut client = self.client(
            &served,
            topic,
            &levels,
            levels.warmup_ms(self.profile.warmup_ms),
            levels.window(self.profile.window_ms),
        )?;
        client.ready()?;
        let resident = match &topic.segment {
            Some(segment) if levels.cache == Cache::Cold => Some(dataset::make_cold(segment)?),
            Some(segment) => Some(dataset::make_hot(segment)?),
            None => None,
        };
        let window = Window::open(&served.processes, client.process.id())?;
        client.go()?;
        let phase = client.phase(|| ())?;
        let used: Used = window.close()?;
        client.quit()?;
        let ledger = if check {
            self.check(trial, &served, topic, &levels)?
        } else {
            Vec::new()
        };
        let outcome = drained(trial, self.target(), phase, &used, None, resident);
        Ok(TrialOutcome { ledger, ..outcome })
    }

    /// Reads the whole topic once and holds it against what was produced.
    fn check(
        &self,
        trial: &PlannedTrial,
        served: &Served,
        topic: &Topic,
        levels: &Levels,
    ) -> anyhow::Result<Vec<LedgerEntry>> {
        let checks = drain::verify(
            served.brokers.clone(),
            served.security.clone(),
            &topic.index,
            levels.response_bytes,
        )?;
        Ok(drain::ledger(trial, checks))
    }

    /// The system calls of the broker while a client drains each listener, untimed. That nothing can be traced is a note.
    ///
    /// # Errors
    /// A client fails, or Ctrl-C.
    pub fn traces(&self, stage: &mut Stage, doing: impl Fn(&str)) -> anyhow::Result<Vec<TraceCount>> {
        let mut counts = Vec::new();
        let Some(hot) = &self.hot else { return Ok(counts) };
        let treatment = self.definition.factor(&self.definition.treatment);
        for level in treatment.into_iter().flat_map(|factor| &factor.levels) {
            let served = stage.served(self.target(), level == TLS)?;
            if served.processes.is_empty() {
                break;
            }
            doing(&format!("tracing {} ({level})", self.target()));
            let levels = Levels {
                treatment: level,
                response_bytes: 65_536,
                receiver: Receiver::Discard,
                cache: Cache::Hot,
            };
            let window = levels.window(TRACED_MS);
            let mut client = self.client(&served, hot, &levels, 0, window)?;
            client.ready()?;
            let traced = trace::trace(&served.processes, &TRACED, || {
                client.go()?;
                client.phase(|| ())
            });
            let calls = match traced {
                Ok((_, calls)) => calls,
                Err(TraceError::Unavailable(why)) => {
                    stage.add_note(format!("no system-call trace: {why}"));
                    break;
                }
                Err(TraceError::Other(error)) => return Err(error),
            };
            client.quit()?;
            counts.extend(calls.into_iter().map(|traced| TraceCount {
                experiment: self.definition.name.clone(),
                target: self.target().to_owned(),
                arm: level.clone(),
                call: traced.name(),
                count: traced.count,
                bytes: Some(traced.bytes),
                example: traced.example,
            }));
            // An absence is a count too.
            if !counts
                .iter()
                .any(|count| count.arm == *level && count.call.starts_with("sendfile"))
            {
                counts.push(TraceCount {
                    experiment: self.definition.name.clone(),
                    target: self.target().to_owned(),
                    arm: level.clone(),
                    call: "sendfile".to_owned(),
                    count: 0,
                    bytes: Some(0),
                    example: String::new(),
                });
            }
        }
        Ok(counts)
    }
}
