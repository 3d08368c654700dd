//! Trials without a broker: one process writes blocks into one file beside the run's, one window, figures.
//!
//! Each trial has a file of its own, but for those that were written all over before: they are made once, and dropped from the page cache
//! before each window.

use std::collections::BTreeMap;
use std::fs::File;

use anyhow::{Context, bail};
use results::schema::{LedgerEntry, Measurement, PlannedTrial, TrialRole};
use serde::de::DeserializeOwned;
use workloads::blocks::{self, BlocksSpec, FileBefore, Flush, Placement, Written};
use workloads::definition::{BARE_SEQUENTIAL, Blocks, Definition, MACHINE, Profile, Role};
use workloads::native::Phase;
use workloads::native::phase::latency_histogram;
use workloads::worker::{WorkerResult, WorkerSpec};

use crate::measure::bench::Setup;
use crate::measure::device::Device;
use crate::measure::machine;
use crate::measure::outcome::{Rows, TrialOutcome};
use crate::measure::stage::Stage;
use crate::measure::window::{Used, Window};
use crate::measure::worker::Worker;
use crate::scratch::RemoveOnDrop;

/// File systems that keep everything in memory, and answer nothing about a disk.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];
/// Flag of a bare loop that could not run.
const NO_DIRECT: &str = "no-o-direct";

/// Blocks, in one order after the other.
pub struct BlocksBench<'a> {
    blocks: Blocks,
    profile: &'a Profile,
    /// Whether the file system refuses O_DIRECT, so that no limit can be measured.
    no_direct: bool,
    setup: &'a Setup<'a>,
}

impl<'a> BlocksBench<'a> {
    /// Looks at the file system, and makes the files that are written over.
    ///
    /// # Errors
    /// A file system in memory, a full disk, or Ctrl-C.
    pub fn prepare(
        definition: &'a Definition,
        blocks: Blocks,
        stage: &mut Stage,
        setup: &'a Setup<'a>,
        doing: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let filesystem = machine::filesystem(setup.scratch);
        if IN_MEMORY.contains(&filesystem.as_str()) {
            let place = setup.scratch.display();
            bail!("{place} lies in memory ({filesystem}): choose a folder on a disk with --out");
        }
        let profile = definition.profile(setup.profile);
        let has_limits = profile.arms.iter().any(|arm| arm.role == Role::Limit);
        let bench = BlocksBench {
            blocks,
            profile,
            no_direct: has_limits && blocks::refuses_direct(setup.scratch)?,
            setup,
        };
        if bench.no_direct {
            stage.add_note(format!(
                "{filesystem} refuses O_DIRECT: what the device itself can do was not measured"
            ));
        }
        let mut largest_bytes = 0;
        for arm in &profile.arms {
            let spec = bench.spec(&arm.factors, arm.role == Role::Limit, setup.seed)?;
            largest_bytes = largest_bytes.max(spec.file_bytes);
            if spec.before == FileBefore::Rewritten && !spec.file.exists() {
                doing(&format!("writing {} MiB", spec.file_bytes >> 20));
                // A worker makes its file ready before it asks for a window, and here it gets none.
                let mut worker = bench.worker(spec)?;
                worker.ready()?;
                worker.quit()?;
            }
        }
        stage.add_note(format!(
            "working set: at most {} MiB written in a window, into files of at most {} MiB, against {} MiB of memory: the page cache holds \
             all of it until it is flushed",
            blocks.window_bytes_max >> 20,
            largest_bytes >> 20,
            machine::memory_bytes() >> 20
        ));
        Ok(bench)
    }

    /// What an arm writes. The bare loop writes its own block over a file that is there already, whatever its cell does.
    fn spec(&self, factors: &BTreeMap<String, String>, is_limit: bool, seed: u64) -> anyhow::Result<BlocksSpec> {
        let number = |name: &str| -> anyhow::Result<u64> {
            let text = level(factors, name)?;
            text.parse().with_context(|| format!("{name} {text}"))
        };
        let file_bytes = number("file_bytes")?;
        let (before, placement, block_bytes) = match is_limit {
            false => (
                named(factors, "file")?,
                named(factors, "placement")?,
                u32::try_from(number("block_bytes")?)?,
            ),
            true if factors.values().any(|level| level == BARE_SEQUENTIAL) => (
                FileBefore::Rewritten,
                Placement::Sequential,
                self.blocks.limit_block_bytes,
            ),
            true => bail!("there is no bare loop of these levels: {factors:?}"),
        };
        let name = match before {
            FileBefore::Rewritten => format!("rewritten-{file_bytes}"),
            _ => format!("blocks-{seed}"),
        };
        Ok(BlocksSpec {
            file: self.setup.scratch.join(name),
            file_bytes,
            before,
            placement,
            block_bytes,
            flush: named::<Flush>(factors, "flush")?,
            direct: is_limit,
            bytes_max: self.blocks.window_bytes_max,
            payload: self.setup.payload.clone(),
            seed,
        })
    }

    fn worker(&self, blocks: BlocksSpec) -> anyhow::Result<Worker> {
        let window = Phase {
            duration_ms: self.profile.window_ms,
            single_pass: false,
        };
        let spec = WorkerSpec::WriteBlocks { blocks, window };
        Worker::start(&spec, self.setup.cpus.as_ref().map(|(_, client)| client))
    }

    /// Runs one trial; `check` asks whether each block is where it belongs, after the window.
    ///
    /// # Errors
    /// The trial failed, or Ctrl-C.
    pub fn run(&self, trial: &PlannedTrial, check: bool) -> anyhow::Result<TrialOutcome> {
        let is_limit = trial.role == TrialRole::Limit;
        if is_limit && self.no_direct {
            return Ok(not_measured(trial));
        }
        let spec = self.spec(&trial.factors, is_limit, trial.seed)?;
        let _cleanup = (spec.before != FileBefore::Rewritten).then(|| RemoveOnDrop(spec.file.clone()));
        let mut worker = self.worker(spec.clone())?;
        worker.ready()?;
        // What others left dirty would be written back in this window.
        nix::unistd::syncfs(File::open(self.setup.scratch)?)?;
        let device = Device::under(self.setup.scratch);
        let written_bytes = || device.as_ref().and_then(Device::written_bytes);
        let device_before = written_bytes();
        let window = Window::open(&[], worker.process.id())?;
        worker.go()?;
        let written = match worker.result(|| ())? {
            WorkerResult::Written(written) => written,
            other => bail!("the worker answered {other:?} where a window was due"),
        };
        let used = window.close()?;
        let device_after = written_bytes();
        worker.quit()?;
        let on_device = device_before
            .zip(device_after)
            .map(|(before, after)| after.saturating_sub(before));
        let blocks = written.phase.responses;
        let mut outcome = outcome(trial, written, &used, on_device);
        if check {
            let found = blocks::count_written(&spec).with_context(|| format!("reading {}", spec.file.display()))?;
            outcome.ledger = vec![LedgerEntry {
                experiment: trial.experiment.clone(),
                trial: trial.trial,
                arm: trial.arm.clone(),
                check: "blocks where they belong".to_owned(),
                expected: blocks.to_string(),
                observed: found.to_string(),
                ok: blocks == found,
            }];
        }
        Ok(outcome)
    }
}

fn level<'f>(factors: &'f BTreeMap<String, String>, name: &str) -> anyhow::Result<&'f String> {
    factors.get(name).with_context(|| format!("no level of {name}"))
}

/// A level that has a type.
fn named<T: DeserializeOwned>(factors: &BTreeMap<String, String>, name: &str) -> anyhow::Result<T> {
    let text = level(factors, name)?;
    serde_json::from_value(text.clone().into()).with_context(|| format!("{name} {text}"))
}

fn outcome(trial: &PlannedTrial, written: Written, used: &Used, on_device: Option<u64>) -> TrialOutcome {
    let Written {
        phase,
        flushes,
        durable_ns,
    } = written;
    let bytes = phase.moved_bytes as f64;
    let mut rows = Rows::new(trial, MACHINE, &phase, used);
    rows.push("durable_mb_per_s", "MB/s", bytes * 1e3 / durable_ns.max(1) as f64);
    rows.push("flushes", "1", flushes as f64);
    if phase.moved_bytes > 0 {
        rows.push("cpu_s_per_gb", "s/GB", used.client.cpu.as_secs_f64() * 1e9 / bytes);
        if let Some(on_device) = on_device {
            rows.push("device_bytes_per_byte", "B/B", on_device as f64 / bytes);
        }
    }
    if flushes > 0 {
        rows.push("bytes_per_flush", "bytes", bytes / flushes as f64);
    }
    TrialOutcome::new(rows.done(), phase)
}

/// What a bare loop leaves where it can't run: no figure, and the reason.
fn not_measured(trial: &PlannedTrial) -> TrialOutcome {
    let flags = [NO_DIRECT.to_owned()];
    TrialOutcome {
        rows: vec![Measurement::of(trial, MACHINE, "not_measured", "1", 1.0, &flags)],
        latency: latency_histogram(),
        window_s: 0.0,
        series: Vec::new(),
        ledger: Vec::new(),
        receipt: None,
        phases: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_types_or_are_told() {
        let factors = BTreeMap::from([("flush".to_owned(), "every-batch".to_owned())]);
        assert_eq!(named::<Flush>(&factors, "flush").unwrap(), Flush::EveryBatch);
        assert!(named::<Placement>(&factors, "flush").is_err());
        assert!(
            level(&factors, "file")
                .unwrap_err()
                .to_string()
                .contains("no level of file")
        );
    }
}
