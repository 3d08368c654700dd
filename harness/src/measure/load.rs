//! Trials that compare targets under the same load: a topic of its own for each trial that produces, one that is kept for those that fetch.
//!
//! Every target runs from the first block to the last, warmed up, and idles while another one is measured.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use results::schema::{self, PhasePoint, PhaseSummary, PlannedTrial, TrialRole};
use workloads::definition::{Arm, Definition, Load, Profile, Role, TARGET_FACTOR};
use workloads::native::fetch::FetchSpec;
use workloads::native::ledger::Ledger;
use workloads::native::preload::PreloadSpec;
use workloads::native::produce::{ProduceClient, ProduceSpec};
use workloads::native::verify::Check;
use workloads::native::{Admin, NewTopic, Phase, PhaseResult, Receiver};
use workloads::payload::PayloadSpec;
use workloads::worker::WorkerSpec;

use crate::interrupt;
use crate::measure::bench::Setup;
use crate::measure::drain;
use crate::measure::outcome::{Rows, TrialOutcome};
use crate::measure::stage::{Served, Stage};
use crate::measure::warm_up::{self, Subject};
use crate::measure::window::{Used, Window};
use crate::measure::worker::Worker;

/// The levels of an arm, taken apart. What fetching arms drain is told apart by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Levels {
    target: String,
    workload: Workload,
    record_bytes: u32,
    batch_bytes: u32,
    partitions: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Workload {
    Produce,
    Fetch,
}

impl Levels {
    fn of(factors: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let level = |name: &str| factors.get(name).with_context(|| format!("no level of {name}"));
        let number = |name: &str| level(name)?.parse::<u32>().with_context(|| format!("level of {name}"));
        Ok(Levels {
            target: level(TARGET_FACTOR)?.clone(),
            workload: match level("workload")?.as_str() {
                "produce" => Workload::Produce,
                "fetch" => Workload::Fetch,
                other => bail!("unknown workload {other}"),
            },
            record_bytes: number("record_bytes")?,
            batch_bytes: number("batch_bytes")?,
            partitions: number("partitions")?,
        })
    }
}

/// Targets under the same load.
pub struct LoadBench<'a> {
    definition: &'a Definition,
    load: Load,
    profile: &'a Profile,
    /// What fetching arms drain: the index of each topic.
    filled: BTreeMap<Levels, PathBuf>,
    /// Seconds that topics took to be made, and to be touched, by target and partitions.
    touched: BTreeMap<(String, u32), Vec<(f64, f64)>>,
    setup: &'a Setup<'a>,
}

/// A topic that was made for a trial, and what making it took.
struct Fresh {
    name: String,
    created_in: Duration,
    touched_in: Duration,
}

impl<'a> LoadBench<'a> {
    /// Fills the topics that are fetched, and warms up every target with each workload.
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
            touched: BTreeMap::new(),
            setup,
        };
        let measured: Vec<&Arm> = profile.arms.iter().filter(|arm| arm.role == Role::Measured).collect();
        for arm in &measured {
            let levels = Levels::of(&arm.factors)?;
            if levels.workload == Workload::Fetch && !bench.filled.contains_key(&levels) {
                doing(&format!("pre-loading {}", arm.id));
                let index = bench.fill(stage, &levels)?;
                bench.filled.insert(levels, index);
            }
        }
        if definition.warm_up.is_some() {
            // One arm of each target and workload: the one with the smallest batches, which costs the broker most per byte.
            let mut chosen: BTreeMap<(String, Workload), (u32, &Arm)> = BTreeMap::new();
            for arm in &measured {
                let levels = Levels::of(&arm.factors)?;
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
        Ok(bench)
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

    fn fill(&self, stage: &Stage, levels: &Levels) -> anyhow::Result<PathBuf> {
        interrupt::check()?;
        let served = stage.served(&levels.target, false)?;
        let number = self.filled.len();
        let topic = format!("{}-filled-{number}", self.setup.prefix);
        let index = self.setup.scratch.join(format!("filled-{number}.index.json"));
        stage.made_topic(&levels.target, &topic);
        let share = u64::from(levels.batch_bytes) * u64::from(levels.partitions);
        let preload = PreloadSpec {
            topic,
            partitions: levels.partitions,
            replicas: served.replicas,
            configs: BTreeMap::new(),
            stored_batch_bytes: levels.batch_bytes as usize,
            // At least one batch for each partition.
            file_bytes: self.load.fetch_bytes.max(share) / share * share,
            payload: self.payload(levels),
            seed: self.setup.seed,
            base_timestamp_ms: now_ms(),
        };
        drain::fill(served.brokers, served.security, preload, &index).context("pre-loading failed")?;
        Ok(index)
    }

    /// Makes a topic and stores one batch in each partition, so that no window pays for a partition's first touch.
    fn fresh(&self, stage: &Stage, levels: &Levels, name: String) -> anyhow::Result<Fresh> {
        let served = stage.served(&levels.target, false)?;
        stage.made_topic(&levels.target, &name);
        let began = Instant::now();
        Admin::connect(served.brokers.clone(), &served.security)?.create_topic(&NewTopic {
            name: name.clone(),
            partitions: levels.partitions,
            replicas: served.replicas,
            configs: BTreeMap::new(),
        })?;
        let created_in = began.elapsed();
        let spec = ProduceSpec {
            pool_batches: levels.partitions as usize,
            ..self.produce_spec(levels, &name, self.setup.seed)
        };
        let mut client = ProduceClient::connect(&served.brokers, &served.security, spec)?;
        let began = Instant::now();
        client.run(Phase {
            duration_ms: 60_000,
            single_pass: true,
        })?;
        Ok(Fresh {
            name,
            created_in,
            touched_in: began.elapsed(),
        })
    }

    fn produce_spec(&self, levels: &Levels, topic: &str, seed: u64) -> ProduceSpec {
        ProduceSpec {
            topic: topic.to_owned(),
            partitions: levels.partitions,
            batch_bytes: levels.batch_bytes as usize,
            payload: self.payload(levels),
            seed,
            in_flight: self.load.in_flight as usize,
            acks: self.load.acks.code(),
            pool_batches: (self.load.pool_bytes / u64::from(levels.batch_bytes)).max(1) as usize,
            bytes_max: Some(self.load.window_bytes_max),
            socket_send_buffer_bytes: None,
            socket_congestion_control: self.definition.settings.get("socket.congestion.control").cloned(),
        }
    }

    fn worker(
        &self,
        served: &Served,
        levels: &Levels,
        topic: Option<&Fresh>,
        seed: u64,
        (warmup_ms, window_ms): (u32, u32),
        ledger: Option<PathBuf>,
    ) -> anyhow::Result<Worker> {
        let window = Phase {
            duration_ms: window_ms,
            single_pass: false,
        };
        let (address, security) = (served.brokers.clone(), served.security.clone());
        let spec = match topic {
            Some(fresh) => WorkerSpec::Produce {
                address,
                security,
                produce: self.produce_spec(levels, &fresh.name, seed),
                warmup_ms,
                window,
                ledger,
            },
            None => WorkerSpec::Fetch {
                address,
                security,
                index: self
                    .filled
                    .get(levels)
                    .context("the topic of this arm was not filled")?
                    .clone(),
                fetch: FetchSpec {
                    response_bytes: self.load.response_bytes,
                    in_flight: self.load.in_flight as usize,
                    max_wait_ms: self.load.max_wait_ms,
                    receiver: Receiver::Copy,
                    receive_buffer_bytes: self.load.receive_buffer_bytes as usize,
                    socket_receive_buffer_bytes: None,
                },
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
        let levels = Levels::of(&arm.factors)?;
        let served = stage.served(&levels.target, false)?;
        let fresh = match levels.workload {
            Workload::Produce => {
                let name = format!("{}-warm-up-{}", self.setup.prefix, levels.target);
                Some(self.fresh(stage, &levels, name)?)
            }
            Workload::Fetch => None,
        };
        let mut client = self.worker(
            &served,
            &levels,
            fresh.as_ref(),
            self.setup.seed,
            (0, rule.window_ms),
            None,
        )?;
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
            stage.delete_topic(&levels.target, &fresh.name)?;
        }
        Ok(())
    }

    /// What was written before and is dirty would be written back in the next window, by whose CPU time nobody could tell.
    fn sync(&self) -> anyhow::Result<()> {
        Ok(nix::unistd::syncfs(File::open(self.setup.scratch)?)?)
    }

    fn verify(&self, served: Served, index: &Path) -> anyhow::Result<Vec<Check>> {
        drain::verify(served.brokers, served.security, index, self.load.response_bytes)
    }

    /// Runs one trial; `check` asks for the full check of what was stored or delivered, after the window.
    ///
    /// # Errors
    /// The trial failed, or Ctrl-C.
    pub fn run(&mut self, trial: &PlannedTrial, check: bool, stage: &Stage) -> anyhow::Result<TrialOutcome> {
        if trial.role == TrialRole::Limit {
            bail!("a load has no bare loop");
        }
        let levels = Levels::of(&trial.factors)?;
        let served = stage.served(&levels.target, false)?;
        let times = (self.profile.warmup_ms, self.profile.window_ms);
        let ledger_file = self.setup.scratch.join(format!("trial-{}.ledger.json", trial.trial));
        let fresh = match levels.workload {
            Workload::Produce => Some(self.fresh(stage, &levels, format!("{}-{}", self.setup.prefix, trial.trial))?),
            Workload::Fetch => None,
        };
        let keep = fresh.as_ref().map(|_| ledger_file.clone());
        let mut client = self.worker(&served, &levels, fresh.as_ref(), trial.seed, times, keep)?;
        client.ready()?;
        self.sync()?;
        let window = Window::open(&served.processes, client.process.id())?;
        client.go()?;
        let phase = client.phase(|| ())?;
        let used = window.close()?;
        client.quit()?;

        let mut outcome = outcome(trial, phase, &used);
        match &fresh {
            Some(fresh) => {
                let ledger = Ledger::read(&ledger_file)?;
                let partitions = &ledger.partitions;
                if let Some(torn) = partitions.iter().find(|partition| !partition.dense) {
                    bail!("offsets of {} of {} are not dense", torn.partition, fresh.name);
                }
                if check {
                    let checks = self.verify(served, &ledger_file)?;
                    outcome.ledger = drain::ledger(trial, checks);
                }
                outcome.phases = touched(trial, fresh);
                let both = (fresh.created_in.as_secs_f64(), fresh.touched_in.as_secs_f64());
                self.touched
                    .entry((levels.target.clone(), levels.partitions))
                    .or_default()
                    .push(both);
                std::fs::remove_file(&ledger_file)?;
                stage.delete_topic(&levels.target, &fresh.name)?;
            }
            None if check => {
                let index = self
                    .filled
                    .get(&levels)
                    .context("the topic of this arm was not filled")?;
                let checks = self.verify(served, index)?;
                outcome.ledger = drain::ledger(trial, checks);
            }
            None => {}
        }
        Ok(outcome)
    }
}

impl LoadBench<'_> {
    /// Tells the stage what making and touching topics took.
    pub fn tell(&self, stage: &mut Stage) {
        for ((target, partitions), times) in &self.touched {
            let median = |of: fn(&(f64, f64)) -> f64| {
                let mut values: Vec<f64> = times.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            let (created, touched) = (median(|times| times.0), median(|times| times.1));
            let summary = PhaseSummary {
                target: target.clone(),
                arm: format!("{partitions} partition{}", if *partitions == 1 { "" } else { "s" }),
                phase: schema::Phase::FirstTouch,
                seconds: median(|times| times.0 + times.1),
                windows: times.len() as u32,
                steady: None,
                rule: String::new(),
                note: format!(
                    "median of {} topics; {:.1} ms until a new topic is writable, {:.1} ms for a batch into each partition",
                    times.len(),
                    created * 1e3,
                    touched * 1e3
                ),
            };
            stage.add(Vec::new(), summary);
        }
    }
}

fn outcome(trial: &PlannedTrial, phase: PhaseResult, used: &Used) -> TrialOutcome {
    let mb = phase.moved_bytes.max(1) as f64 / 1e6;
    let mut rows = Rows::new(trial, &trial.target, &phase, used);
    rows.push(
        "records_per_s",
        "1/s",
        phase.records as f64 * 1e9 / phase.wall_ns.max(1) as f64,
    );
    rows.push(
        "client_cpu_ms_per_mb",
        "ms/MB",
        used.client.cpu.as_secs_f64() * 1e3 / mb,
    );
    if let Some(broker) = &used.broker {
        rows.push("broker_cpu_ms_per_mb", "ms/MB", broker.cpu.as_secs_f64() * 1e3 / mb);
    }
    TrialOutcome::new(rows.done(), phase)
}

/// What it took to make a topic and to touch each of its partitions for the first time.
fn touched(trial: &PlannedTrial, fresh: &Fresh) -> Vec<PhasePoint> {
    let steps = [
        ("create_topic", fresh.created_in),
        ("first_batch_of_each_partition", fresh.touched_in),
    ];
    let point = |(metric, took): (&str, Duration)| PhasePoint {
        experiment: trial.experiment.clone(),
        target: trial.target.clone(),
        arm: trial.arm.clone(),
        phase: schema::Phase::FirstTouch,
        index: trial.block.saturating_sub(1),
        at_ms: took.as_millis() as u64,
        metric: metric.to_owned(),
        unit: "ms".to_owned(),
        value: took.as_secs_f64() * 1e3,
    };
    steps.into_iter().map(point).collect()
}

/// Milliseconds since 1970: brokers refuse what lies far in the future, and retention by time deletes what lies far in the past.
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
