//! The physical limits of producing, as arms: the same batches without a broker.

use anyhow::{Context, bail};
use results::schema::PlannedTrial;
use workloads::definition::Arm;
use workloads::native::bare_produce::{AppendSpec, BareFile};
use workloads::native::produce::ProduceSpec;
use workloads::worker::{WorkerEvent, WorkerResult, WorkerSpec};

use super::levels::Levels;
use super::rows::{self, Stored};
use super::{LoadBench, Measured, On, timed};
use crate::measure::outcome::TrialOutcome;
use crate::measure::stage::Stage;
use crate::measure::window::Window;
use crate::measure::worker::Worker;
use crate::scratch::RemoveOnDrop;

/// Receives what a broker receives, checks each CRC-32C and appends to one file.
const RECEIVE_APPEND: &str = "bare-receive-append";
/// Appends what a broker appended between two flushes, and flushes.
const APPEND_FLUSH: &str = "bare-append-fdatasync";

impl LoadBench<'_> {
    /// Looks how much the broker appends between two flushes, for the loop that does the same.
    pub(super) fn prepare_limit(&mut self, stage: &mut Stage, arm: &Arm) -> anyhow::Result<()> {
        let bare = &arm.factors[&self.definition.treatment];
        match bare.as_str() {
            RECEIVE_APPEND => return Ok(()),
            APPEND_FLUSH => {}
            other => bail!("there is no bare loop {other}: one of {RECEIVE_APPEND}, {APPEND_FLUSH}"),
        }
        let level = self.definition.limit.get(bare).and_then(|levels| levels.last());
        let level = level.with_context(|| format!("{bare} is the limit of no level"))?;
        let mut factors = arm.factors.clone();
        factors.insert(self.definition.treatment.clone(), level.clone());
        let levels = self.levels(&factors)?;
        let name = format!("limit-{}", self.batches_per_flush.len());
        let mut host = self.host(stage, &levels, &name)?;
        let fresh = self.fresh(stage, &host, &levels, format!("{}-{name}", self.setup.prefix))?;
        let times = (self.profile.warmup_ms, self.profile.window_ms);
        let client = self.worker(&host.served, &levels, On::Fresh(&fresh, None), self.setup.seed, times)?;
        let Measured { stored, .. } = self.window(&mut host, client)?;
        host.end()?;
        let bytes = stored.bytes_per_flush();
        let bytes =
            bytes.with_context(|| format!("{level} does not flush, so {bare} has nothing to do in its place"))?;
        let batches = (bytes / f64::from(levels.batch_bytes)).round().max(1.0) as u32;
        stage.add_note(format!(
            "{} appends {batches} batches between two flushes, as many as {level} did in a window before the first block",
            arm.id
        ));
        self.batches_per_flush.insert(arm.id.clone(), batches);
        Ok(())
    }

    /// Runs a bare loop in a broker's place.
    pub(super) fn limit(&self, trial: &PlannedTrial) -> anyhow::Result<TrialOutcome> {
        let levels = self.levels(&trial.factors)?;
        let path = self.setup.scratch.join(format!("trial-{}.bare", trial.trial));
        let _file = RemoveOnDrop(path.clone());
        let settings = levels.settings.as_ref();
        let setting = |name: &str| settings.and_then(|settings| settings.get(name)).map(String::as_str);
        let to = BareFile {
            path,
            preallocate_bytes: match setting("log.preallocate") {
                Some("true") => setting("log.segment.bytes")
                    .and_then(|bytes| bytes.parse().ok())
                    .unwrap_or(0),
                _ => 0,
            },
        };
        match trial.factors[&self.definition.treatment].as_str() {
            RECEIVE_APPEND => self.receive_append(trial, &levels, to),
            _ => self.append_flush(trial, &levels, to),
        }
    }

    /// One connection with as many batches outstanding as all of a broker's, into one file.
    fn bare_spec(&self, levels: &Levels, seed: u64) -> ProduceSpec {
        let one = Levels {
            partitions: 1,
            topic_each: false,
            ..levels.clone()
        };
        let outstanding = self.load.in_flight * self.load.connections;
        ProduceSpec {
            connections: 1,
            in_flight: outstanding.min(workloads::definition::IN_FLIGHT_MAX) as usize,
            ..self.produce_spec(&one, "bare", seed)
        }
    }

    fn receive_append(&self, trial: &PlannedTrial, levels: &Levels, to: BareFile) -> anyhow::Result<TrialOutcome> {
        let cpus = self.setup.cpus.as_ref();
        let mut taker = Worker::start(&WorkerSpec::BareTake { to }, cpus.map(|(broker, _)| broker))?;
        let port = match taker.hear(|| ())? {
            WorkerEvent::Listening { port } => port,
            other => bail!("the bare taker said {other:?} where `listening` was due"),
        };
        let spec = WorkerSpec::BareProduce {
            address: (std::net::Ipv4Addr::LOCALHOST, port).into(),
            produce: self.bare_spec(levels, trial.seed),
            warmup_ms: self.profile.warmup_ms,
            window: timed(self.profile.window_ms),
        };
        let mut client = Worker::start(&spec, cpus.map(|(_, client)| client))?;
        client.ready()?;
        self.sync()?;
        let written = self.written();
        let window = Window::open(&[taker.process.id()], client.process.id())?;
        client.go()?;
        let phase = client.phase(|| ())?;
        let used = window.close()?;
        let stored = Stored {
            device_bytes: self
                .written()
                .zip(written)
                .map(|(after, before)| after.saturating_sub(before)),
            ..Stored::default()
        };
        client.quit()?;
        match taker.result(|| ())? {
            WorkerResult::Taken(taken) if taken.bytes >= phase.moved_bytes => {}
            other => bail!("the bare taker answered {other:?} to {} bytes", phase.moved_bytes),
        }
        taker.quit()?;
        Ok(rows::outcome(trial, phase, &used, &stored, true))
    }

    fn append_flush(&self, trial: &PlannedTrial, levels: &Levels, to: BareFile) -> anyhow::Result<TrialOutcome> {
        let batches = self.batches_per_flush.get(&trial.arm);
        let batches_per_flush = *batches.context("nobody looked how much is appended between two flushes")?;
        let spec = WorkerSpec::BareAppend {
            append: AppendSpec {
                to,
                produce: self.bare_spec(levels, trial.seed),
                batches_per_flush,
            },
            warmup_ms: self.profile.warmup_ms,
            window: timed(self.profile.window_ms),
        };
        let cpus = self.setup.cpus.as_ref();
        let mut appender = Worker::start(&spec, cpus.map(|(broker, _)| broker))?;
        appender.ready()?;
        self.sync()?;
        let written = self.written();
        let process = appender.process.id();
        let window = Window::open(&[process], process)?;
        appender.go()?;
        let phase = appender.phase(|| ())?;
        let used = window.close()?;
        let stored = Stored {
            flushes: Some(phase.latency_ns.len()),
            flushed_bytes: Some(phase.moved_bytes),
            open_files: None,
            device_bytes: self
                .written()
                .zip(written)
                .map(|(after, before)| after.saturating_sub(before)),
        };
        appender.quit()?;
        Ok(rows::outcome(trial, phase, &used, &stored, false))
    }
}
