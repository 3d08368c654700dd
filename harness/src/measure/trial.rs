//! One trial: a fresh broker on linked data, one client, one window, figures.
//!
//! The window lies between two moments without traffic. There the CPU clocks, the fault and switch counts and the
//! broker's own counters are read, so that every count belongs to the bytes that moved.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use results::schema::{LedgerEntry, Measurement, PlannedTrial, SeriesPoint, TargetReceipt, TrialRole};
use workloads::definition::Definition;
use workloads::native::bare::{BarePath, BareReceiveSpec, BareServeSpec};
use workloads::native::fetch::FetchSpec;
use workloads::native::{Phase, PhaseResult, Receiver, Security};
use workloads::worker::{WorkerEvent, WorkerResult, WorkerSpec};

use crate::measure::dataset::Dataset;
use crate::measure::sample::{MachineSample, ProcessSample};
use crate::measure::worker::Worker;
use crate::process::Cpus;
use crate::target::bundled::{BrokerSpec, BundledBroker};

/// A trial with more stolen CPU time than this is flagged.
const STEAL_SHARE_MAX: f64 = 0.01;
/// A trial in which tasks waited for a CPU for more than this share is flagged.
const PRESSURE_SHARE_MAX: f64 = 0.10;
/// The name of the bundled broker in tables.
pub const TARGET: &str = "bundled";

/// What all trials of an experiment share.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The experiment.
    pub definition: &'a Definition,
    /// Traffic before the window, ms.
    pub warmup_ms: u32,
    /// Measured traffic, ms.
    pub window_ms: u32,
    /// For hot arms.
    pub hot: Option<Dataset>,
    /// For cold arms.
    pub cold: Option<Dataset>,
    /// Scratch folder on the file system under test.
    pub scratch: PathBuf,
    /// Where sender and receiver run.
    pub cpus: Option<(Cpus, Cpus)>,
}

/// What a trial leaves.
#[derive(Debug)]
pub struct TrialOutcome {
    /// A row per metric.
    pub rows: Vec<Measurement>,
    /// Of every fetch, ns.
    pub latency: Histogram<u64>,
    /// Seconds that the window took.
    pub window_s: f64,
    /// Within the window.
    pub series: Vec<SeriesPoint>,
    /// The full check, where one was asked for.
    pub ledger: Vec<LedgerEntry>,
    /// The broker's settings, where there was one.
    pub receipt: Option<TargetReceipt>,
}

/// Counts of the sending process over the window.
#[derive(Debug, Default)]
struct SenderCounts {
    calls: u64,
    body_calls: u64,
    responses: u64,
    user_copied_bytes: u64,
    sent_bytes: u64,
}

struct Levels<'a> {
    path: &'a str,
    response_bytes: u32,
    receiver: Receiver,
    cold: bool,
}

impl<'a> Levels<'a> {
    fn of(trial: &'a PlannedTrial) -> anyhow::Result<Self> {
        let level = |name: &str| {
            let level = trial.factors.get(name).map(String::as_str);
            level.with_context(|| format!("trial {} has no level of {name}", trial.trial))
        };
        Ok(Levels {
            path: level("fetch.path")?,
            response_bytes: level("response_bytes")?.parse().context("response_bytes")?,
            receiver: match level("receiver")? {
                "copy" => Receiver::Copy,
                "discard" => Receiver::Discard,
                other => bail!("unknown receiver {other}"),
            },
            cold: level("cache")? == "cold",
        })
    }
}

impl Bench<'_> {
    /// Runs one trial; `check` asks for the full check of what the arm delivers, after the window.
    pub fn run(&self, trial: &PlannedTrial, check: bool) -> anyhow::Result<TrialOutcome> {
        let levels = Levels::of(trial)?;
        let dataset = if levels.cold { &self.cold } else { &self.hot };
        let dataset = dataset.as_ref().context("the data set of this arm was not made")?;
        match trial.role {
            TrialRole::Limit => self.limit(trial, &levels, dataset),
            TrialRole::Measured | TrialRole::Control => self.broker(trial, &levels, dataset, check),
        }
    }

    fn window(&self, cold: bool) -> Phase {
        // A second pass would find the page cache filled, and a pass may take longer than the window.
        match cold {
            true => Phase {
                duration_ms: 60_000,
                single_pass: true,
            },
            false => Phase {
                duration_ms: self.window_ms,
                single_pass: false,
            },
        }
    }

    fn warmup_ms(&self, cold: bool) -> u32 {
        if cold { 0 } else { self.warmup_ms }
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
        let data_dir = self.scratch.join(format!("trial-{}", trial.trial));
        let _cleanup = RemoveOnDrop(data_dir.clone());
        dataset.link_into(&data_dir)?;
        let mut settings = self.definition.settings.clone();
        settings.insert("fetch.path".to_owned(), levels.path.to_owned());
        let mut broker = BundledBroker::start(&BrokerSpec {
            data_dir,
            port: 0,
            settings,
            cpus: self.cpus.as_ref().map(|(sender, _)| sender.clone()),
            log: self.scratch.join(format!("trial-{}.log", trial.trial)),
            planted: None,
        })?;
        let fetch = &self.definition.fetch;
        let spec = WorkerSpec::Fetch {
            address: broker.address().into(),
            security: Security::default(),
            index: dataset.index.clone(),
            fetch: FetchSpec {
                response_bytes: levels.response_bytes,
                in_flight: fetch.in_flight_of(u64::from(levels.response_bytes)) as usize,
                max_wait_ms: fetch.max_wait_ms,
                receiver: levels.receiver,
                receive_buffer_bytes: fetch.receive_buffer_bytes as usize,
                socket_receive_buffer_bytes: self.socket_buffer("socket.receive.buffer.bytes"),
            },
            warmup_ms: self.warmup_ms(levels.cold),
            window: self.window(levels.cold),
        };
        let mut client = Worker::start(&spec, self.cpus.as_ref().map(|(_, receiver)| receiver))?;
        client.ready()?;
        let resident = if levels.cold {
            dataset.make_cold()?
        } else {
            dataset.make_hot()?
        };

        let before = broker.control.counters()?;
        let window = Window::open(broker.process.id(), client.process.id())?;
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
        let ledger = if check {
            self.check(trial, &broker, dataset)?
        } else {
            Vec::new()
        };
        // The path differs from trial to trial and says nothing about the target.
        let receipt = broker.receipt(&["fetch.path"]);
        broker.stop()?;
        Ok(outcome(
            trial,
            phase,
            counts,
            used,
            resident,
            series.points,
            ledger,
            Some(receipt),
        ))
    }

    /// The physical limit: a bare loop in the broker's place.
    fn limit(&self, trial: &PlannedTrial, levels: &Levels, dataset: &Dataset) -> anyhow::Result<TrialOutcome> {
        let path = match levels.path {
            "bare-sendfile" => BarePath::BareSendfile,
            "bare-read-write" => BarePath::BareReadWrite,
            other => bail!("there is no bare loop for {other}"),
        };
        let serve = BareServeSpec {
            path,
            file: dataset.segment.clone(),
            file_bytes: std::fs::metadata(&dataset.segment)?.len(),
            chunk_bytes: levels.response_bytes as usize,
            buffer_bytes: self
                .definition
                .settings
                .get("fetch.buffer.bytes")
                .and_then(|v| v.parse().ok())
                .unwrap_or(65_536),
            single_pass: levels.cold,
            socket_send_buffer_bytes: self.socket_buffer("socket.send.buffer.bytes"),
            socket_congestion_control: self.definition.settings.get("socket.congestion.control").cloned(),
        };
        let mut sender = Worker::start(
            &WorkerSpec::BareServe { serve },
            self.cpus.as_ref().map(|(cpus, _)| cpus),
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
                receive_buffer_bytes: self.definition.fetch.receive_buffer_bytes as usize,
                socket_receive_buffer_bytes: self.socket_buffer("socket.receive.buffer.bytes"),
            },
            warmup_ms: self.warmup_ms(levels.cold),
            window: self.window(levels.cold),
        };
        let mut client = Worker::start(&spec, self.cpus.as_ref().map(|(_, cpus)| cpus))?;
        client.ready()?;
        let resident = if levels.cold {
            dataset.make_cold()?
        } else {
            dataset.make_hot()?
        };
        let window = Window::open(sender.process.id(), client.process.id())?;
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
        Ok(outcome(
            trial,
            phase,
            counts,
            used,
            resident,
            Vec::new(),
            Vec::new(),
            None,
        ))
    }

    /// Reads the whole topic once and holds it against what was produced.
    fn check(
        &self,
        trial: &PlannedTrial,
        broker: &BundledBroker,
        dataset: &Dataset,
    ) -> anyhow::Result<Vec<LedgerEntry>> {
        let spec = WorkerSpec::Verify {
            address: broker.address().into(),
            security: Security::default(),
            index: dataset.index.clone(),
            response_bytes: Levels::of(trial)?.response_bytes,
        };
        let mut worker = Worker::start(&spec, None)?;
        let WorkerResult::Checks(checks) = worker.result(|| ())? else {
            bail!("the full check gave no checks")
        };
        worker.quit()?;
        let entry = |check: workloads::native::verify::Check| LedgerEntry {
            experiment: trial.experiment.clone(),
            trial: trial.trial,
            arm: trial.arm.clone(),
            check: check.name,
            expected: check.expected,
            observed: check.observed,
            ok: check.ok,
        };
        Ok(checks.into_iter().map(entry).collect())
    }
}

/// Both processes and the machine at the start of a window.
struct Window {
    sender: (u32, ProcessSample),
    client: (u32, ProcessSample),
    machine: MachineSample,
    began: Instant,
}

/// What a window used.
struct Used {
    sender: ProcessSample,
    client: ProcessSample,
    steal_share: f64,
    pressure_share: Option<f64>,
}

impl Window {
    fn open(sender: u32, client: u32) -> anyhow::Result<Self> {
        Ok(Window {
            machine: MachineSample::take()?,
            sender: (sender, ProcessSample::take(sender)?),
            client: (client, ProcessSample::take(client)?),
            began: Instant::now(),
        })
    }

    fn close(&self) -> anyhow::Result<Used> {
        let wall = self.began.elapsed();
        let sender = ProcessSample::take(self.sender.0)?.since(&self.sender.1);
        let client = ProcessSample::take(self.client.0)?.since(&self.client.1);
        let machine = MachineSample::take()?;
        let pressure_share = machine.pressure_share(&self.machine, wall);
        Ok(Used {
            sender,
            client,
            steal_share: machine.steal_share(&self.machine),
            pressure_share,
        })
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

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one outcome, put together in one place"
)]
fn outcome(
    trial: &PlannedTrial,
    phase: PhaseResult,
    counts: SenderCounts,
    used: Used,
    resident_share_before: f64,
    series: Vec<SeriesPoint>,
    ledger: Vec<LedgerEntry>,
    receipt: Option<TargetReceipt>,
) -> TrialOutcome {
    let mut flags = Vec::new();
    if used.steal_share > STEAL_SHARE_MAX {
        flags.push("steal".to_owned());
    }
    if used.pressure_share.is_some_and(|share| share > PRESSURE_SHARE_MAX) {
        flags.push("pressure".to_owned());
    }
    let moved = phase.moved_bytes as f64;
    let (mb, gb) = (moved / 1e6, moved / 1e9);
    let responses = counts.responses.max(1) as f64;
    let faults = used.sender.page_faults as f64;
    let mut rows = Vec::new();
    let mut row = |metric: &str, unit: &str, value: f64| {
        rows.push(Measurement::of(trial, TARGET, metric, unit, value, &flags));
    };
    row("throughput", "MB/s", phase.throughput_mb_per_s());
    row("broker_cpu_s_per_gb", "s/GB", used.sender.cpu.as_secs_f64() / gb);
    row("client_cpu_s_per_gb", "s/GB", used.client.cpu.as_secs_f64() / gb);
    row("syscalls_per_mb", "1/MB", counts.calls as f64 / mb);
    row("page_faults_per_mb", "1/MB", faults / mb);
    row(
        "user_copied_bytes_per_byte",
        "B/B",
        counts.user_copied_bytes as f64 / counts.sent_bytes.max(1) as f64,
    );
    row(
        "mode_switches_per_response",
        "switches",
        2.0 * (counts.calls as f64 + faults) / responses,
    );
    row(
        "body_switches_per_response",
        "switches",
        2.0 * counts.body_calls as f64 / responses,
    );
    row(
        "context_switches_per_mb",
        "1/MB",
        used.sender.context_switches as f64 / mb,
    );
    row("broker_rss_mb", "MB", used.sender.resident_bytes as f64 / 1e6);
    for (metric, percentile) in [("latency_p50_us", 50.0), ("latency_p99_us", 99.0)] {
        // No percentile with fewer than ten samples above it.
        if phase.latency_ns.len() as f64 * (100.0 - percentile) / 100.0 >= 10.0 {
            row(
                metric,
                "us",
                phase.latency_ns.value_at_percentile(percentile) as f64 / 1e3,
            );
        }
    }
    row("responses", "1", phase.responses as f64);
    row("response_bytes_achieved", "bytes", phase.response_bytes_achieved);
    row("delivered_bytes", "bytes", phase.delivered_bytes as f64);
    row("window_s", "s", phase.wall_ns as f64 / 1e9);
    row("resident_share_before", "1", resident_share_before);
    row("steal_share", "1", used.steal_share);
    if let Some(share) = used.pressure_share {
        row("cpu_pressure_share", "1", share);
    }
    TrialOutcome {
        rows,
        window_s: phase.wall_ns as f64 / 1e9,
        latency: phase.latency_ns,
        series,
        ledger,
        receipt,
    }
}

/// Removes a trial's folder whatever happens to the trial.
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
