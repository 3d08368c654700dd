//! What a load leaves: `load.json` from what its processes told.

use std::path::Path;
use std::time::Duration;

use results::load::{Found, LOAD_SCHEMA_VERSION, LoadFolder, LoadManifest, Percentiles, Produced, Timing};
use workloads::load::{ConsumeSpec, LoadSpec, Loaded};

use super::host::Host;
use super::intervals::Closed;
use super::plan::Plan;
use super::session::Held;
use super::terms;
use crate::measure::machine;
use crate::{run_folder, run_verb};

/// A load that goes on, as it is written down at its end.
pub struct Record {
    /// What is produced.
    pub load: Option<LoadSpec>,
    consumers: Vec<ConsumeSpec>,
    /// What the producer reaches on the target null, records/s, if that was asked.
    pub ceiling_rate: Option<f64>,
    manifest: LoadManifest,
}

/// The files, begun when they are not yet.
///
/// # Errors
/// What the file system says.
pub fn opened(folder: Option<LoadFolder>, dir: &Path) -> anyhow::Result<LoadFolder> {
    Ok(folder.map_or_else(|| LoadFolder::create(dir), Ok)?)
}

/// Appends an interval to the files.
///
/// # Errors
/// What the file system says.
pub fn interval(files: &mut Option<LoadFolder>, dir: &Path, closed: &Closed) -> anyhow::Result<()> {
    let begun = opened(files.take(), dir)?;
    let folder = files.insert(begun);
    folder.interval(&closed.row)?;
    let (start_s, seconds) = (closed.start_s(), closed.row.seconds);
    folder.latency(Timing::Acknowledged, start_s, seconds, &closed.acknowledged)?;
    Ok(folder.latency(Timing::EndToEnd, start_s, seconds, &closed.end_to_end)?)
}

impl Record {
    /// With nothing measured.
    pub fn begin(dir: &Path, host: &Host, plan: &Plan) -> Self {
        let (load, consumers) = (plan.load(host.partitions), plan.consumers(host.partitions));
        let mut machine = machine::receipt(dir);
        if !host.is_on_loopback() {
            machine.transport = "network".to_owned();
        }
        let manifest = LoadManifest {
            schema_version: LOAD_SCHEMA_VERSION,
            command: run_verb::command(),
            started_utc: run_folder::now_utc(),
            assay_version: env!("CARGO_PKG_VERSION").to_owned(),
            git_revision: option_env!("ASSAY_GIT_REVISION").map(str::to_owned),
            machine,
            target: host.receipt.clone(),
            topic: plan.topic.clone(),
            partitions: host.partitions,
            load: None,
            consume: None,
            closed: load.as_ref().is_some_and(|load| !load.arrivals.is_open()),
            terms: Vec::new(),
            interrupted: false,
            produced: None,
            consumed: None,
            found: None,
            latency_us: Default::default(),
            notes: Vec::new(),
        };
        Self {
            load,
            consumers,
            ceiling_rate: None,
            manifest,
        }
    }

    /// What a search found.
    pub fn found(&mut self, found: Found) {
        self.manifest.found = Some(found);
    }

    /// The window is measured at this rate.
    pub fn at_rate(&mut self, host: &Host, plan: &Plan, rate: f64) {
        self.load = plan.load_at(host.partitions, rate);
    }

    /// A whole sentence that a reader must know.
    pub fn note(&mut self, note: String) {
        self.manifest.notes.push(note);
    }

    /// What the window came to; answers how many records are lost. The times that are known for all of it only are logged as one interval.
    ///
    /// # Errors
    /// What the file system says.
    pub fn held(&mut self, folder: &mut LoadFolder, held: &Held) -> anyhow::Result<u64> {
        self.manifest.interrupted = held.interrupted;
        self.manifest.produced = held.loaded.as_ref().map(|(loaded, cpu)| Produced {
            ceiling_rate: self.ceiling_rate,
            ..produced(loaded, *cpu, held)
        });
        let ledger = held.ledger();
        let lost = ledger.lost();
        self.manifest.consumed = ledger.consumed;
        self.manifest.notes.extend(ledger.notes);
        for (timing, histogram) in held.timings() {
            if histogram.is_empty() {
                continue;
            }
            let found = Percentiles::of(&histogram);
            self.manifest.latency_us.insert(timing.tag().to_owned(), found);
            if matches!(timing, Timing::Service | Timing::Lateness) {
                folder.latency(timing, 0.0, held.seconds(), &histogram)?;
            }
        }
        Ok(lost)
    }

    /// Writes `load.json`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&mut self, folder: &LoadFolder) -> anyhow::Result<()> {
        self.manifest.load = self.load.as_ref().map(serde_json::to_value).transpose()?;
        self.manifest.consume = match self.consumers.is_empty() {
            true => None,
            false => Some(serde_json::to_value(&self.consumers)?),
        };
        self.manifest.terms = terms::terms(self.load.as_ref(), &self.consumers);
        Ok(folder.manifest(&self.manifest)?)
    }
}

fn produced(loaded: &Loaded, cpu: Duration, held: &Held) -> Produced {
    let counts = &loaded.counts;
    // What a client does not know stays 0.
    let known = |count: u64| (count > 0).then_some(count);
    let is_open = loaded.intended_rate > 0.0;
    Produced {
        seconds: loaded.phase.wall_ns as f64 / 1e9,
        records: loaded.phase.records,
        record_bytes: loaded.phase.delivered_bytes,
        errors: loaded.errors.clone(),
        // What was due when Ctrl-C came was not refused.
        failed_records: loaded.failed_records + if held.interrupted { 0 } else { loaded.unsent_records },
        blocked_records: loaded.blocked_records,
        late_share: is_open.then_some(loaded.late_share),
        intended_rate: is_open.then_some(loaded.intended_rate),
        achieved_rate: loaded.achieved_rate,
        requests: known(counts.requests),
        batches: known(counts.batches),
        wire_bytes: known(counts.wire_bytes),
        batch_bytes: known(counts.batch_bytes),
        raw_bytes: known(counts.raw_bytes),
        retries: known(counts.retries),
        client_cpu_s: Some(cpu.as_secs_f64()),
        broker_cpu_s: held.broker_cpu.map(|cpu| cpu.as_secs_f64()),
        ceiling_rate: None,
    }
}
