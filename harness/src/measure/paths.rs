//! Trials of the bundled broker's fetch paths: a fresh broker on linked data, one client, one window, figures.
//!
//! The window lies between two moments without traffic. There the CPU clocks, the fault and switch counts and the
//! broker's own counters are read, so that every count belongs to the bytes that moved.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use results::schema::{LedgerEntry, Measurement, PlannedTrial, SeriesPoint, TrialRole};
use workloads::definition::{BUNDLED, Definition, Fetch};
use workloads::native::Security;
use workloads::native::bare::{BarePath, BareReceiveSpec, BareServeSpec};
use workloads::native::preload::PreloadSpec;
use workloads::worker::{WorkerEvent, WorkerResult, WorkerSpec};

use crate::interrupt;
use crate::measure::bench::Setup;
use crate::measure::dataset::{self, Dataset, TOPIC};
use crate::measure::drain::{self, Cache, Levels};
use crate::measure::outcome::{SenderCounts, TrialOutcome, drained};
use crate::measure::sample::ProcessSample;
use crate::measure::stage::with_terms;
use crate::measure::window::Window;
use crate::measure::worker::Worker;
use crate::scratch::RemoveOnDrop;
use crate::target::bundled::{BrokerSpec, BundledBroker};

/// Timestamp of the first pre-loaded record; constant, so that the same seed gives the same bytes.
pub const BASE_TIMESTAMP_MS: i64 = 1_700_000_000_000;

/// The bundled broker with one fetch path after the other.
#[derive(Debug)]
pub struct Paths<'a> {
    definition: &'a Definition,
    fetch: Fetch,
    warmup_ms: u32,
    window_ms: u32,
    hot: Option<Dataset>,
    cold: Option<Dataset>,
    setup: &'a Setup<'a>,
}

impl<'a> Paths<'a> {
    /// Makes the data sets that the arms need.
    ///
    /// # Errors
    /// A broker or client fails, or Ctrl-C.
    pub fn prepare(
        definition: &'a Definition,
        fetch: Fetch,
        setup: &'a Setup<'a>,
        doing: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        doing("pre-loading");
        let profile = definition.profile(setup.profile);
        let make = |name: &str, file_bytes: u64| {
            interrupt::check()?;
            let broker = BrokerSpec {
                data_dir: setup.scratch.join(name),
                port: 0,
                settings: definition.settings_for(BUNDLED),
                cpus: None,
                log: setup.scratch.join("broker.log"),
                planted: None,
            };
            let preload = PreloadSpec {
                topic: TOPIC.to_owned(),
                partitions: 1,
                replicas: 1,
                configs: BTreeMap::new(),
                stored_batch_bytes: fetch.stored_batch_bytes as usize,
                file_bytes,
                payload: setup.payload.clone(),
                seed: setup.seed,
                base_timestamp_ms: BASE_TIMESTAMP_MS,
            };
            let made = Dataset::make(&broker, preload).context("pre-loading failed")?;
            made.segment()?;
            anyhow::Ok(made)
        };
        Ok(Paths {
            hot: drain::needs_hot(profile)
                .then(|| make("hot", fetch.file_bytes))
                .transpose()?,
            cold: drain::needs_cold(profile)
                .then(|| make("cold", fetch.cold_file_bytes))
                .transpose()?,
            warmup_ms: profile.warmup_ms,
            window_ms: profile.window_ms,
            definition,
            fetch,
            setup,
        })
    }

    /// Runs one trial; `check` asks for the full check of what the arm delivers, after the window.
    pub fn run(&self, trial: &PlannedTrial, check: bool) -> anyhow::Result<TrialOutcome> {
        let levels = Levels::of(trial, &self.definition.treatment)?;
        let dataset = match levels.cache {
            Cache::Cold => &self.cold,
            Cache::Hot | Cache::Restarted => &self.hot,
        };
        let dataset = dataset.as_ref().context("the data set of this arm was not made")?;
        match trial.role {
            TrialRole::Limit => self.limit(trial, &levels, dataset),
            TrialRole::Measured | TrialRole::Control => self.broker(trial, &levels, dataset, check),
        }
    }

    fn socket_buffer(&self, name: &str) -> Option<usize> {
        self.definition
            .settings
            .get(name)
            .and_then(|v| v.parse().ok())
            .filter(|bytes| *bytes > 0)
    }

    fn broker(
        &self,
        trial: &PlannedTrial,
        levels: &Levels,
        dataset: &Dataset,
        check: bool,
    ) -> anyhow::Result<TrialOutcome> {
        let data_dir = self.setup.scratch.join(format!("trial-{}", trial.trial));
        let _cleanup = RemoveOnDrop(data_dir.clone());
        dataset.link_into(&data_dir)?;
        let settings = self.definition.settings_of_trial(&trial.factors);
        let mut broker = BundledBroker::start(&BrokerSpec {
            data_dir,
            port: 0,
            settings,
            cpus: self.setup.cpus.as_ref().map(|(sender, _)| sender.clone()),
            log: self.setup.scratch.join(format!("trial-{}.log", trial.trial)),
            planted: None,
        })?;
        let spec = WorkerSpec::Fetch {
            address: broker.address().into(),
            security: Security::default(),
            index: dataset.index.clone(),
            fetch: drain::spec(&self.fetch, levels, self.socket_buffer("socket.receive.buffer.bytes")),
            warmup_ms: levels.warmup_ms(self.warmup_ms),
            window: levels.window(self.window_ms),
        };
        let mut client = Worker::start(&spec, self.setup.cpus.as_ref().map(|(_, receiver)| receiver))?;
        client.ready()?;
        let resident = match levels.cache {
            Cache::Cold => dataset::make_cold(dataset.segment()?)?,
            Cache::Hot | Cache::Restarted => dataset::make_hot(dataset.segment()?)?,
        };

        let before = broker.control.counters()?;
        let window = Window::open(&[broker.process.id()], client.process.id())?;
        client.go()?;
        let mut series = Series::new(trial);
        let phase = client.phase(|| series.tick(broker.process.id(), &mut broker))?;
        let used = window.close()?;
        let after = broker.control.counters()?;
        let delta = |name: &str| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
        let calls = after
            .keys()
            .filter(|name| name.starts_with("call_") && *name != "call_body");
        let counts = SenderCounts {
            calls: calls.map(|name| delta(name)).sum(),
            body_calls: delta("call_body"),
            responses: delta("fetch_responses"),
            user_copied_bytes: delta("user_copied_bytes"),
            sent_bytes: delta("fetch_bytes"),
        };
        if counts.responses != phase.responses || counts.sent_bytes != phase.moved_bytes {
            bail!(
                "the broker counts {} responses with {} bytes, the client {} with {}",
                counts.responses,
                counts.sent_bytes,
                phase.responses,
                phase.moved_bytes
            );
        }
        client.quit()?;
        // Before the full check, which reads the whole file.
        let dataset_bytes = std::fs::metadata(dataset.segment()?)?.len();
        let page_cache_bytes = (dataset::resident_share(dataset.segment()?)? * dataset_bytes as f64) as u64;
        let ledger = if check {
            self.check(trial, &broker, dataset)?
        } else {
            Vec::new()
        };
        // What differs from trial to trial says nothing about the target.
        let varied: Vec<&str> = self
            .definition
            .settings_varied()
            .map(|factor| factor.name.as_str())
            .collect();
        let receipt = with_terms(broker.receipt(&varied), self.definition, self.setup);
        broker.stop()?;
        let mut outcome = drained(trial, BUNDLED, phase, &used, Some(&counts), Some(resident));
        let mut row = |metric: &str, unit: &str, value: f64| {
            let flags = used.flags();
            let row = Measurement::of(trial, BUNDLED, metric, unit, value, &flags);
            outcome.rows.push(row);
        };
        let (hit, missed) = (delta("cache_hit_bytes"), delta("cache_miss_bytes"));
        if hit + missed > 0 {
            row("cache_hit_share", "1", hit as f64 / (hit + missed) as f64);
        }
        row("page_cache_mb", "MB", page_cache_bytes as f64 / 1e6);
        if let Some(broker) = &used.broker {
            let memory = (broker.resident_bytes + page_cache_bytes) as f64;
            row("memory_bytes_per_byte", "B/B", memory / dataset_bytes as f64);
        }
        Ok(TrialOutcome {
            series: series.points,
            ledger,
            receipt: Some(receipt),
            ..outcome
        })
    }

    /// The physical limit: a bare loop in the broker's place.
    fn limit(&self, trial: &PlannedTrial, levels: &Levels, dataset: &Dataset) -> anyhow::Result<TrialOutcome> {
        let path = match levels.treatment {
            "bare-sendfile" => BarePath::BareSendfile,
            "bare-read-write" => BarePath::BareReadWrite,
            other => bail!("there is no bare loop for {other}"),
        };
        let serve = BareServeSpec {
            path,
            file: dataset.segment()?.to_owned(),
            file_bytes: std::fs::metadata(dataset.segment()?)?.len(),
            chunk_bytes: levels.response_bytes as usize,
            buffer_bytes: self
                .definition
                .settings
                .get("fetch.buffer.bytes")
                .and_then(|v| v.parse().ok())
                .unwrap_or(65_536),
            single_pass: levels.single_pass(),
            socket_send_buffer_bytes: self.socket_buffer("socket.send.buffer.bytes"),
            socket_congestion_control: self.definition.settings.get("socket.congestion.control").cloned(),
        };
        let mut sender = Worker::start(
            &WorkerSpec::BareServe { serve },
            self.setup.cpus.as_ref().map(|(cpus, _)| cpus),
        )?;
        let port = match sender.hear(|| ())? {
            WorkerEvent::Listening { port } => port,
            other => bail!("the bare sender said {other:?} where `listening` was due"),
        };
        let spec = WorkerSpec::BareReceive {
            address: (std::net::Ipv4Addr::LOCALHOST, port).into(),
            receive: BareReceiveSpec {
                chunk_bytes: levels.response_bytes as usize,
                receiver: levels.receiver,
                receive_buffer_bytes: self.fetch.receive_buffer_bytes as usize,
                socket_receive_buffer_bytes: self.socket_buffer("socket.receive.buffer.bytes"),
            },
            warmup_ms: levels.warmup_ms(self.warmup_ms),
            window: levels.window(self.window_ms),
        };
        let mut client = Worker::start(&spec, self.setup.cpus.as_ref().map(|(_, cpus)| cpus))?;
        client.ready()?;
        let resident = match levels.cache {
            Cache::Cold => dataset::make_cold(dataset.segment()?)?,
            Cache::Hot | Cache::Restarted => dataset::make_hot(dataset.segment()?)?,
        };
        let window = Window::open(&[sender.process.id()], client.process.id())?;
        client.go()?;
        let phase = client.phase(|| ())?;
        let used = window.close()?;
        client.quit()?;
        let served = match sender.result(|| ())? {
            WorkerResult::Served(served) => served,
            other => bail!("the bare sender answered {other:?}"),
        };
        sender.quit()?;
        // The loop counts over its whole life; per byte that is the same.
        let share = phase.moved_bytes as f64 / served.sent_bytes.max(1) as f64;
        let calls = ((served.send_calls + served.read_calls) as f64 * share).round() as u64;
        let copied = if path == BarePath::BareReadWrite {
            2 * phase.moved_bytes
        } else {
            0
        };
        let counts = SenderCounts {
            calls,
            body_calls: calls,
            responses: phase.moved_bytes / u64::from(levels.response_bytes).max(1),
            user_copied_bytes: copied,
            sent_bytes: phase.moved_bytes,
        };
        Ok(drained(trial, BUNDLED, phase, &used, Some(&counts), Some(resident)))
    }

    /// Reads the whole topic once and holds it against what was produced.
    fn check(
        &self,
        trial: &PlannedTrial,
        broker: &BundledBroker,
        dataset: &Dataset,
    ) -> anyhow::Result<Vec<LedgerEntry>> {
        let response_bytes = Levels::of(trial, &self.definition.treatment)?.response_bytes;
        let checks = drain::verify(
            broker.address().into(),
            Security::default(),
            &dataset.index,
            response_bytes,
        )?;
        Ok(drain::ledger(trial, checks))
    }
}

/// Figures within a window, about every 100 ms, to see whether it was steady.
struct Series<'a> {
    trial: &'a PlannedTrial,
    began: Instant,
    last: Option<(Instant, Duration, u64)>,
    points: Vec<SeriesPoint>,
}

impl<'a> Series<'a> {
    fn new(trial: &'a PlannedTrial) -> Self {
        Series {
            trial,
            began: Instant::now(),
            last: None,
            points: Vec::new(),
        }
    }

    fn tick(&mut self, pid: u32, broker: &mut BundledBroker) {
        let (Ok(process), Ok(counters)) = (ProcessSample::take(pid), broker.control.counters()) else {
            return;
        };
        let bytes = counters.get("fetch_bytes").copied().unwrap_or(0);
        let now = Instant::now();
        if let Some((then, cpu, bytes_then)) = self.last {
            let seconds = now.duration_since(then).as_secs_f64();
            let at_ms = now.duration_since(self.began).as_millis() as u64;
            let mut point = |metric: &str, unit: &str, value: f64| {
                self.points.push(SeriesPoint {
                    experiment: self.trial.experiment.clone(),
                    trial: self.trial.trial,
                    role: "broker".to_owned(),
                    metric: metric.to_owned(),
                    unit: unit.to_owned(),
                    at_ms,
                    value,
                });
            };
            point(
                "throughput",
                "MB/s",
                bytes.saturating_sub(bytes_then) as f64 / 1e6 / seconds,
            );
            point("cpu", "cores", process.cpu.saturating_sub(cpu).as_secs_f64() / seconds);
        }
        self.last = Some((now, process.cpu, bytes));
    }
}
