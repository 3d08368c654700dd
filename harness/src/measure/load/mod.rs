//! Trials of a load: clients that produce to topics of the trial's own, or drain what was stored before.
//!
//! Where targets are compared, every one runs from the first block to the last, warmed up, and idles while another one is measured. Where the
//! factors are settings of the bundled broker, each trial starts a broker of its own in a fresh folder.

pub mod host;
mod levels;
mod limit;
mod rows;
mod topics;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use results::schema::{PlannedTrial, TrialRole};
use workloads::definition::{Arm, BUNDLED, Definition, Load, Profile, Role, Workload};
use workloads::native::fetch::FetchSpec;
use workloads::native::ledger::Ledger;
use workloads::native::produce::ProduceSpec;
use workloads::native::{Phase, PhaseResult, Receiver};
use workloads::payload::PayloadSpec;
use workloads::worker::WorkerSpec;

use crate::measure::bench::Setup;
use crate::measure::device::Device;
use crate::measure::drain;
use crate::measure::outcome::TrialOutcome;
use crate::measure::stage::{Served, Stage, with_terms};
use crate::measure::warm_up::{self, Subject};
use crate::measure::window::{Used, Window};
use crate::measure::worker::Worker;
use host::Host;
use levels::Levels;
use rows::Stored;
pub use topics::now_ms;
use topics::{FirstTouch, Fresh};

/// A definition's load.
pub struct LoadBench<'a> {
    definition: &'a Definition,
    load: Load,
    profile: &'a Profile,
    /// What fetching arms drain on targets that run the whole time: the index of each topic.
    filled: BTreeMap<Levels, PathBuf>,
    first_touch: FirstTouch,
    /// Batches between two flushes of the bare loop that flushes, by limit arm.
    batches_per_flush: BTreeMap<String, u32>,
    device: Option<Device>,
    setup: &'a Setup<'a>,
}

/// What a window moved and used.
struct Measured {
    phase: PhaseResult,
    used: Used,
    stored: Stored,
}

impl<'a> LoadBench<'a> {
    /// Fills the topics that are fetched, and warms up every target that runs the whole time with each workload.
    ///
    /// # Errors
    /// A broker or client fails, or Ctrl-C.
    pub fn prepare(
        definition: &'a Definition,
        load: Load,
        stage: &mut Stage,
        setup: &'a Setup<'a>,
        doing: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let profile = definition.profile(setup.profile);
        let mut bench = LoadBench {
            definition,
            load,
            profile,
            filled: BTreeMap::new(),
            first_touch: FirstTouch::default(),
            batches_per_flush: BTreeMap::new(),
            device: Device::under(setup.scratch),
            setup,
        };
        let measured: Vec<&Arm> = profile.arms.iter().filter(|arm| arm.role == Role::Measured).collect();
        for arm in &measured {
            let levels = bench.levels(&arm.factors)?;
            let is_kept = levels.workload == Workload::Fetch && levels.settings.is_none();
            if is_kept && !bench.filled.contains_key(&levels) {
                doing(&format!("pre-loading {}", arm.id));
                let index = bench.fill_kept(stage, &levels)?;
                bench.filled.insert(levels, index);
            }
        }
        if definition.warm_up.is_some() {
            // One arm of each target and workload: the one with the smallest batches, which costs the broker most per byte.
            let mut chosen: BTreeMap<(String, Workload), (u32, &Arm)> = BTreeMap::new();
            for arm in &measured {
                let levels = bench.levels(&arm.factors)?;
                let best = chosen
                    .entry((levels.target, levels.workload))
                    .or_insert((levels.batch_bytes, arm));
                if levels.batch_bytes < best.0 {
                    *best = (levels.batch_bytes, arm);
                }
            }
            for (_, arm) in chosen.into_values() {
                doing(&format!("warming up {}", arm.id));
                bench.warm_up(stage, arm)?;
            }
        }
        for arm in profile.arms.iter().filter(|arm| arm.role == Role::Limit) {
            doing(&format!("looking for the flushes of {}", arm.id));
            bench.prepare_limit(stage, arm)?;
        }
        Ok(bench)
    }

    fn levels(&self, factors: &BTreeMap<String, String>) -> anyhow::Result<Levels> {
        Levels::of(self.definition, &self.load, factors)
    }

    fn payload(&self, levels: &Levels) -> PayloadSpec {
        let mut payload = self.setup.payload.clone();
        let sized = match &mut payload {
            PayloadSpec::Json { record_bytes, .. }
            | PayloadSpec::Text { record_bytes, .. }
            | PayloadSpec::Random { record_bytes } => record_bytes,
            // A user's own records have the size that they have.
            PayloadSpec::File { .. } => return payload,
        };
        *sized = levels.record_bytes as usize;
        payload
    }

    fn produce_spec(&self, levels: &Levels, topic: &str, seed: u64) -> ProduceSpec {
        ProduceSpec {
            spread: levels.spread(topic),
            batch_bytes: levels.batch_bytes as usize,
            payload: self.payload(levels),
            seed,
            in_flight: self.load.in_flight as usize,
            connections: self.load.connections as usize,
            acks: self.load.acks.code(),
            pool_batches: (self.load.pool_bytes / u64::from(levels.batch_bytes)).max(1) as usize,
            bytes_max: Some(self.load.window_bytes_max),
            socket_send_buffer_bytes: None,
            socket_congestion_control: self.definition.settings.get("socket.congestion.control").cloned(),
        }
    }

    fn fetch_spec(&self) -> FetchSpec {
        FetchSpec {
            response_bytes: self.load.response_bytes,
            in_flight: self.load.in_flight as usize,
            max_wait_ms: self.load.max_wait_ms,
            receiver: Receiver::Copy,
            receive_buffer_bytes: self.load.receive_buffer_bytes as usize,
            socket_receive_buffer_bytes: None,
        }
    }

    /// A client that produces to `fresh` and leaves its ledger, or that drains the topic of the index.
    fn worker(
        &self,
        served: &Served,
        levels: &Levels,
        on: On,
        seed: u64,
        (warmup_ms, window_ms): (u32, u32),
    ) -> anyhow::Result<Worker> {
        let window = timed(window_ms);
        let (address, security) = (served.brokers.clone(), served.security.clone());
        let spec = match on {
            On::Fresh(fresh, ledger) => WorkerSpec::Produce {
                address,
                security,
                produce: self.produce_spec(levels, &fresh.name, seed),
                warmup_ms,
                window,
                stored: None,
                ledger: ledger.map(Path::to_owned),
            },
            On::Filled(index) => WorkerSpec::Fetch {
                address,
                security,
                index: index.to_owned(),
                fetch: self.fetch_spec(),
                warmup_ms,
                window,
            },
        };
        Worker::start(&spec, self.setup.cpus.as_ref().map(|(_, client)| client))
    }

    fn warm_up(&self, stage: &mut Stage, arm: &Arm) -> anyhow::Result<()> {
        let Some(rule) = self.definition.warm_up else {
            return Ok(());
        };
        let levels = self.levels(&arm.factors)?;
        let host = Host::of_stage(stage, &levels.target)?;
        let served = &host.served;
        let fresh = match levels.workload {
            Workload::Produce => {
                let name = format!("{}-warm-up-{}", self.setup.prefix, levels.target);
                Some(self.fresh(stage, &host, &levels, name)?)
            }
            Workload::Fetch => None,
        };
        let on = match &fresh {
            Some(fresh) => On::Fresh(fresh, None),
            None => On::Filled(self.kept(&levels)?),
        };
        let mut client = self.worker(served, &levels, on, self.setup.seed, (0, rule.window_ms))?;
        client.ready()?;
        let (metric, unit) = match served.processes.is_empty() {
            false => ("broker_cpu_ms_per_mb", "ms/MB"),
            // What can be seen of a broker that runs elsewhere.
            true => ("wall_ms_per_mb", "ms/MB"),
        };
        let subject = Subject {
            experiment: &self.definition.name,
            target: &levels.target,
            arm: &arm.id,
            metric,
            unit,
        };
        let warmed = warm_up::until_steady(subject, &rule, || {
            self.sync()?;
            let window = Window::open(&served.processes, client.process.id())?;
            client.go()?;
            let phase = client.phase(|| ())?;
            let mb = phase.moved_bytes.max(1) as f64 / 1e6;
            Ok(match window.close()?.broker {
                Some(broker) => broker.cpu.as_secs_f64() * 1e3 / mb,
                None => phase.wall_ns as f64 / 1e6 / mb,
            })
        })?;
        client.quit()?;
        stage.add(warmed.points, warmed.summary);
        if let Some(fresh) = fresh {
            stage.delete_topics(&levels.target, &levels.spread(&fresh.name).topics())?;
        }
        Ok(())
    }

    /// What was written before and is dirty would be written back in the next window, by whose CPU time nobody could tell.
    fn sync(&self) -> anyhow::Result<()> {
        Ok(nix::unistd::syncfs(File::open(self.setup.scratch)?)?)
    }

    /// Runs one trial; `check` asks for the full check of what was stored or delivered, after the window.
    ///
    /// # Errors
    /// The trial failed, or Ctrl-C.
    pub fn run(&mut self, trial: &PlannedTrial, check: bool, stage: &Stage) -> anyhow::Result<TrialOutcome> {
        if trial.role == TrialRole::Limit {
            return self.limit(trial);
        }
        let levels = self.levels(&trial.factors)?;
        let mut host = self.host(stage, &levels, &format!("trial-{}", trial.trial))?;
        let name = format!("{}-{}", self.setup.prefix, trial.trial);
        let outcome = match levels.workload {
            Workload::Produce => self.produce(trial, check, stage, &mut host, &levels, name)?,
            Workload::Fetch => self.fetch(trial, check, &mut host, &levels, name)?,
        };
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

    fn host(&self, stage: &Stage, levels: &Levels, name: &str) -> anyhow::Result<Host> {
        match &levels.settings {
            Some(settings) => Host::start(self.setup, settings.clone(), name),
            None => Host::of_stage(stage, &levels.target),
        }
    }

    fn produce(
        &mut self,
        trial: &PlannedTrial,
        check: bool,
        stage: &Stage,
        host: &mut Host,
        levels: &Levels,
        name: String,
    ) -> anyhow::Result<TrialOutcome> {
        let file = self.setup.scratch.join(format!("trial-{}.ledger.json", trial.trial));
        let fresh = self.fresh(stage, host, levels, name)?;
        let times = (self.profile.warmup_ms, self.profile.window_ms);
        let client = self.worker(&host.served, levels, On::Fresh(&fresh, Some(&file)), trial.seed, times)?;
        let measured = self.window(host, client)?;
        let ledger = Ledger::read(&file)?;
        if let Some(torn) = ledger.partitions.iter().find(|partition| !partition.dense) {
            let (topic, partition) = (&fresh.name, torn.partition);
            bail!("offsets of partition or topic {partition} of {topic} are not dense");
        }
        let mut outcome = rows::outcome(trial, measured.phase, &measured.used, &measured.stored, true);
        if check {
            outcome.ledger = drain::ledger(trial, self.verify(&host.served, &file)?);
        }
        outcome.phases = rows::touched(trial, &fresh);
        self.first_touch.add(levels, &fresh);
        std::fs::remove_file(&file)?;
        if !host.is_own() {
            stage.delete_topics(&levels.target, &levels.spread(&fresh.name).topics())?;
        }
        Ok(outcome)
    }

    fn fetch(
        &self,
        trial: &PlannedTrial,
        check: bool,
        host: &mut Host,
        levels: &Levels,
        name: String,
    ) -> anyhow::Result<TrialOutcome> {
        let own = match host.is_own() {
            true => Some(self.fill(&host.served, levels, name)?),
            false => None,
        };
        let index = match &own {
            Some(index) => index,
            None => self.kept(levels)?,
        };
        let times = (self.profile.warmup_ms, self.profile.window_ms);
        let client = self.worker(&host.served, levels, On::Filled(index), trial.seed, times)?;
        let measured = self.window(host, client)?;
        let mut outcome = rows::outcome(trial, measured.phase, &measured.used, &measured.stored, true);
        if check {
            outcome.ledger = drain::ledger(trial, self.verify(&host.served, index)?);
        }
        if let Some(index) = own {
            std::fs::remove_file(index)?;
        }
        Ok(outcome)
    }

    /// Opens the window of a client that is ready for it, and closes it.
    fn window(&self, host: &mut Host, mut client: Worker) -> anyhow::Result<Measured> {
        client.ready()?;
        self.sync()?;
        let before = host.counters()?;
        let written = self.written();
        let window = Window::open(&host.served.processes, client.process.id())?;
        client.go()?;
        let phase = client.phase(|| ())?;
        let used = window.close()?;
        let mut stored = Stored::default();
        if let (Some(before), Some(after)) = (before, host.counters()?) {
            let delta = |name: &str| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
            let counted = (delta("append_bytes") + delta("fetch_bytes"), "stored or sent");
            if counted.0 != phase.moved_bytes {
                bail!(
                    "the broker counts {} bytes {}, the client {}",
                    counted.0,
                    counted.1,
                    phase.moved_bytes
                );
            }
            stored = Stored::of_counters(&before, &after);
        }
        stored.open_files = host.open_files();
        stored.device_bytes = self
            .written()
            .zip(written)
            .map(|(after, before)| after.saturating_sub(before));
        client.quit()?;
        Ok(Measured { phase, used, stored })
    }

    fn written(&self) -> Option<u64> {
        self.device.as_ref()?.written_bytes()
    }

    /// Tells the stage what making and touching topics took.
    pub fn tell(&self, stage: &mut Stage) {
        for summary in self.first_touch.summaries() {
            stage.add(Vec::new(), summary);
        }
        let is_on_bundled = self.definition.targets().iter().any(|target| target == BUNDLED);
        if is_on_bundled && self.device.is_none() {
            let note = "what the device has written can't be told: the run folder lies on no block device".to_owned();
            stage.add_note(note);
        }
    }

    fn kept(&self, levels: &Levels) -> anyhow::Result<&Path> {
        let index = self.filled.get(levels);
        Ok(index.context("the topic of this arm was not filled")?)
    }
}

/// What a client works on.
enum On<'a> {
    /// It produces; its ledger goes into the file.
    Fresh(&'a Fresh, Option<&'a Path>),
    /// It drains the topic of this index.
    Filled(&'a Path),
}

fn timed(duration_ms: u32) -> Phase {
    Phase {
        duration_ms,
        single_pass: false,
    }
}
