//! Trials that look places up in the bundled broker's log: a fresh broker on linked segments, one client with one question in flight.
//!
//! A log is filled once for each kind of index, because only the broker that writes an index knows how. The segments of all kinds are then
//! the same files, so that nothing but the index differs.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use results::schema::{LedgerEntry, PlannedTrial};
use workloads::definition::{BUNDLED, Definition, LookUp, Profile};
use workloads::native::look_up::{LookUpBy, LookUpSpec, LookedUp};
use workloads::native::preload::PreloadSpec;
use workloads::native::{Phase, Security};
use workloads::worker::{WorkerResult, WorkerSpec};

use crate::interrupt;
use crate::measure::bench::Setup;
use crate::measure::dataset::{self, Dataset, TOPIC};
use crate::measure::drain;
use crate::measure::outcome::{Rows, TrialOutcome};
use crate::measure::paths::BASE_TIMESTAMP_MS;
use crate::measure::stage::{Stage, with_terms};
use crate::measure::window::{Used, Window};
use crate::measure::worker::Worker;
use crate::scratch::RemoveOnDrop;
use crate::target::bundled::{BrokerSpec, BundledBroker};

/// The setting that says how dense an index is, and its values: an entry every so many bytes, for each batch, or for the first one only.
const INDEX_INTERVAL: &str = "log.index.interval.bytes";
const INDEX_KINDS: [(&str, &str); 3] = [("sparse", "4096"), ("dense", "0"), ("scan", "2147483647")];
const SEGMENT_BYTES: &str = "log.segment.bytes";
/// `max_bytes` of each fetch of the full check.
const VERIFY_RESPONSE_BYTES: u32 = 1 << 20;

/// What a log is made with: segment size, and kind of index.
type LogKind = (u64, String);

/// Places in logs, with one kind of index after the other.
pub struct LookUps<'a> {
    definition: &'a Definition,
    look_up: LookUp,
    profile: &'a Profile,
    logs: BTreeMap<LogKind, Dataset>,
    setup: &'a Setup<'a>,
}

impl<'a> LookUps<'a> {
    /// Fills the logs that the arms need.
    ///
    /// # Errors
    /// A broker or client fails, or Ctrl-C.
    pub fn prepare(
        definition: &'a Definition,
        look_up: LookUp,
        stage: &mut Stage,
        setup: &'a Setup<'a>,
        doing: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let profile = definition.profile(setup.profile);
        let mut look_ups = LookUps {
            definition,
            look_up,
            profile,
            logs: BTreeMap::new(),
            setup,
        };
        for arm in &profile.arms {
            let kind = log_kind(&arm.factors)?;
            if !look_ups.logs.contains_key(&kind) {
                interrupt::check()?;
                doing(&format!(
                    "pre-loading segments of {} MiB, index {}",
                    kind.0 >> 20,
                    kind.1
                ));
                let made = look_ups.fill(&kind).context("pre-loading failed")?;
                if let Some((_, same)) = look_ups.logs.iter().find(|((bytes, _), _)| *bytes == kind.0) {
                    made.share_segments_of(same)?;
                }
                look_ups.logs.insert(kind, made);
            }
        }
        let largest = look_ups
            .logs
            .keys()
            .map(|(bytes, _)| look_up.log_bytes_of(*bytes))
            .max();
        stage.add_note(format!(
            "working set: logs of at most {} MiB, all of it in the page cache before each window",
            largest.unwrap_or(0) >> 20
        ));
        Ok(look_ups)
    }

    fn settings(&self, (segment_bytes, index): &LogKind) -> anyhow::Result<BTreeMap<String, String>> {
        let interval = INDEX_KINDS.iter().find(|(kind, _)| kind == index);
        let (_, interval) = interval.with_context(|| format!("there is no index {index}"))?;
        let mut settings = self.definition.settings_for(BUNDLED);
        settings.insert(INDEX_INTERVAL.to_owned(), (*interval).to_owned());
        settings.insert(SEGMENT_BYTES.to_owned(), segment_bytes.to_string());
        Ok(settings)
    }

    fn fill(&self, kind: &LogKind) -> anyhow::Result<Dataset> {
        let (segment_bytes, index) = kind;
        let broker = BrokerSpec {
            data_dir: self.setup.scratch.join(format!("log-{segment_bytes}-{index}")),
            port: 0,
            settings: self.settings(kind)?,
            cpus: None,
            log: self.setup.scratch.join("broker.log"),
            planted: None,
        };
        let preload = PreloadSpec {
            topic: TOPIC.to_owned(),
            partitions: 1,
            replicas: 1,
            configs: BTreeMap::new(),
            stored_batch_bytes: self.look_up.stored_batch_bytes as usize,
            file_bytes: self.look_up.log_bytes_of(*segment_bytes),
            payload: self.setup.payload.clone(),
            seed: self.setup.seed,
            base_timestamp_ms: BASE_TIMESTAMP_MS,
        };
        Dataset::make(&broker, preload)
    }

    /// Runs one trial; `check` asks for the full check of the log that places are looked up in, after the window.
    ///
    /// # Errors
    /// The trial failed, or Ctrl-C.
    pub fn run(&self, trial: &PlannedTrial, check: bool) -> anyhow::Result<TrialOutcome> {
        let kind = log_kind(&trial.factors)?;
        let log = self.logs.get(&kind).context("the log of this arm was not filled")?;
        let data_dir = self.setup.scratch.join(format!("trial-{}", trial.trial));
        let _cleanup = RemoveOnDrop(data_dir.clone());
        log.link_into(&data_dir)?;
        let mut broker = BundledBroker::start(&BrokerSpec {
            data_dir,
            port: 0,
            settings: self.settings(&kind)?,
            cpus: self.setup.cpus.as_ref().map(|(broker, _)| broker.clone()),
            log: self.setup.scratch.join(format!("trial-{}.log", trial.trial)),
            planted: None,
        })?;
        let spec = WorkerSpec::LookUp {
            address: broker.address().into(),
            security: Security::default(),
            index: log.index.clone(),
            look_up: self.spec(trial)?,
            warmup_ms: self.profile.warmup_ms,
            window: Phase {
                duration_ms: self.profile.window_ms,
                single_pass: false,
            },
        };
        let mut client = Worker::start(&spec, self.setup.cpus.as_ref().map(|(_, client)| client))?;
        client.ready()?;
        for segment in &log.segments {
            dataset::make_hot(segment)?;
        }
        let before = broker.control.counters()?;
        let window = Window::open(&[broker.process.id()], client.process.id())?;
        client.go()?;
        let looked_up = match client.result(|| ())? {
            WorkerResult::LookedUp(looked_up) => looked_up,
            other => bail!("the client answered {other:?} where a window was due"),
        };
        let used = window.close()?;
        let after = broker.control.counters()?;
        client.quit()?;
        // Counters of what this broker does not count are absent.
        let delta = |name: &str| Some(after.get(name)? - before.get(name)?);
        if delta("requests") != Some(looked_up.requests) {
            bail!(
                "the broker counts {:?} requests, the client {}",
                delta("requests"),
                looked_up.requests
            );
        }
        let mut ledger = vec![found_places(trial, &looked_up)];
        if check {
            let checks = drain::verify(
                broker.address().into(),
                Security::default(),
                &log.index,
                VERIFY_RESPONSE_BYTES,
            )?;
            ledger.extend(drain::ledger(trial, checks));
        }
        let receipt = with_terms(
            broker.receipt(&[INDEX_INTERVAL, SEGMENT_BYTES]),
            self.definition,
            self.setup,
        );
        broker.stop()?;
        let counts = Counts {
            preads: delta("call_pread_lookup"),
            read_bytes: delta("lookup_bytes"),
            index_bytes: log.index_bytes()?,
        };
        Ok(TrialOutcome {
            ledger,
            receipt: Some(receipt),
            ..outcome(trial, looked_up, &used, &counts)
        })
    }

    fn spec(&self, trial: &PlannedTrial) -> anyhow::Result<LookUpSpec> {
        let distance = trial.factors.get("distance").map(|text| text.parse());
        Ok(LookUpSpec {
            by: match drain::level(trial, "look_up")? {
                "offset" => LookUpBy::Offset,
                "record" => LookUpBy::Record,
                "time" => LookUpBy::Time,
                other => bail!("nothing is looked up by {other}"),
            },
            distance_per_cent: distance.transpose().context("distance")?,
            read_bytes: self.look_up.read_bytes,
            response_bytes: self.look_up.response_bytes,
            base_timestamp_ms: BASE_TIMESTAMP_MS,
            seed: trial.seed,
        })
    }
}

fn log_kind(factors: &BTreeMap<String, String>) -> anyhow::Result<LogKind> {
    let level = |name: &str| factors.get(name).with_context(|| format!("no level of {name}"));
    let segment_bytes = level("segment_bytes")?.parse().context("segment_bytes")?;
    Ok((segment_bytes, level("index")?.clone()))
}

/// Whether each place held what lies there.
fn found_places(trial: &PlannedTrial, looked_up: &LookedUp) -> LedgerEntry {
    let asked = looked_up.phase.responses;
    LedgerEntry {
        experiment: trial.experiment.clone(),
        trial: trial.trial,
        arm: trial.arm.clone(),
        check: "places where the first record is the one asked for".to_owned(),
        expected: asked.to_string(),
        observed: (asked - looked_up.wrong).to_string(),
        ok: looked_up.wrong == 0,
    }
}

/// What the broker did in a window, where it counts that.
struct Counts {
    preads: Option<u64>,
    read_bytes: Option<u64>,
    index_bytes: u64,
}

fn outcome(trial: &PlannedTrial, looked_up: LookedUp, used: &Used, counts: &Counts) -> TrialOutcome {
    let phase = looked_up.phase;
    let mut rows = Rows::new(trial, BUNDLED, &phase, used);
    rows.push("index_bytes", "bytes", counts.index_bytes as f64);
    rows.push("wrong_places", "1", looked_up.wrong as f64);
    if phase.responses > 0 {
        let each = |total: f64| total / phase.responses as f64;
        rows.push("look_up_us", "us", phase.latency_ns.mean() / 1e3);
        rows.push(
            "look_ups_per_s",
            "1/s",
            phase.responses as f64 * 1e9 / phase.wall_ns.max(1) as f64,
        );
        if let Some(broker) = &used.broker {
            rows.push("broker_cpu_us_per_look_up", "us", each(broker.cpu.as_secs_f64() * 1e6));
        }
        if let Some(preads) = counts.preads {
            rows.push("preads_per_look_up", "1", each(preads as f64));
        }
        if let Some(read_bytes) = counts.read_bytes {
            rows.push("bytes_read_per_look_up", "bytes", each(read_bytes as f64));
        }
    }
    TrialOutcome::new(rows.done(), phase)
}
