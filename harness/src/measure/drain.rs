//! What trials that drain a topic have in common, whatever serves them: how it is filled, drained and checked.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use results::schema::{LedgerEntry, PlannedTrial};
use workloads::definition::{Fetch, Profile};
use workloads::native::fetch::FetchSpec;
use workloads::native::preload::PreloadSpec;
use workloads::native::verify::Check;
use workloads::native::{Bootstrap, Phase, Receiver, Security};
use workloads::worker::{WorkerResult, WorkerSpec};

use crate::measure::worker::Worker;

/// A pass over a cold file may take longer than a window; longer than this it does not.
const COLD_PASS_MS_MAX: u32 = 60_000;

/// The levels of a trial, taken apart.
pub struct Levels<'a> {
    /// Of the factor under test.
    pub treatment: &'a str,
    /// `max_bytes` of each fetch.
    pub response_bytes: u32,
    /// What the client does with the records.
    pub receiver: Receiver,
    /// What is warm when the window begins.
    pub cache: Cache,
}

/// What is warm when a window begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// The file is in the page cache, and the broker has sent all of it before.
    Hot,
    /// The file is in the page cache, and the broker has only just started: it is read once.
    Restarted,
    /// The file was dropped from the page cache, and the broker has only just started: it is read once.
    Cold,
}

impl<'a> Levels<'a> {
    /// # Errors
    /// A level is missing or can't be read: the definition was not checked.
    pub fn of(trial: &'a PlannedTrial, treatment: &str) -> anyhow::Result<Self> {
        Ok(Levels {
            treatment: level(trial, treatment)?,
            response_bytes: level(trial, "response_bytes")?.parse().context("response_bytes")?,
            receiver: match level(trial, "receiver")? {
                "copy" => Receiver::Copy,
                "discard" => Receiver::Discard,
                other => bail!("unknown receiver {other}"),
            },
            cache: match level(trial, "cache")? {
                "hot" => Cache::Hot,
                "restarted" => Cache::Restarted,
                "cold" => Cache::Cold,
                other => bail!("unknown state {other} of the caches"),
            },
        })
    }

    /// Traffic after `go`.
    pub fn window(&self, window_ms: u32) -> Phase {
        // A second pass would find the caches filled, and a pass may take longer than the window.
        match self.single_pass() {
            true => Phase {
                duration_ms: COLD_PASS_MS_MAX,
                single_pass: true,
            },
            false => Phase {
                duration_ms: window_ms,
                single_pass: false,
            },
        }
    }

    /// Whether the file is read once.
    pub fn single_pass(&self) -> bool {
        self.cache != Cache::Hot
    }

    /// Traffic before the window: none where it would fill a cache.
    pub fn warmup_ms(&self, warmup_ms: u32) -> u32 {
        if self.single_pass() { 0 } else { warmup_ms }
    }
}

/// Whether an arm of the profile drains a file that is dropped from the page cache before.
pub fn needs_cold(profile: &Profile) -> bool {
    profile.arms.iter().any(|arm| is_cold(&arm.factors))
}

/// Whether an arm of the profile drains a file that stays in the page cache.
pub fn needs_hot(profile: &Profile) -> bool {
    profile.arms.iter().any(|arm| !is_cold(&arm.factors))
}

fn is_cold(factors: &BTreeMap<String, String>) -> bool {
    factors.get("cache").is_some_and(|level| level == "cold")
}

/// The level of a factor.
///
/// # Errors
/// The trial has none.
pub fn level<'a>(trial: &'a PlannedTrial, factor: &str) -> anyhow::Result<&'a str> {
    let level = trial.factors.get(factor).map(String::as_str);
    level.with_context(|| format!("trial {} has no level of {factor}", trial.trial))
}

/// What the client is told.
pub fn spec(fetch: &Fetch, levels: &Levels, socket_receive_buffer_bytes: Option<usize>) -> FetchSpec {
    FetchSpec {
        response_bytes: levels.response_bytes,
        in_flight: fetch.in_flight_of(u64::from(levels.response_bytes)) as usize,
        max_wait_ms: fetch.max_wait_ms,
        receiver: levels.receiver,
        receive_buffer_bytes: fetch.receive_buffer_bytes as usize,
        socket_receive_buffer_bytes,
    }
}

/// Checks as rows of the ledger.
pub fn ledger(trial: &PlannedTrial, checks: Vec<Check>) -> Vec<LedgerEntry> {
    let entry = |check: Check| LedgerEntry {
        experiment: trial.experiment.clone(),
        trial: trial.trial,
        arm: trial.arm.clone(),
        check: check.name,
        expected: check.expected,
        observed: check.observed,
        ok: check.ok,
    };
    checks.into_iter().map(entry).collect()
}

/// Fills a topic by a client process, and leaves the client's index of it.
///
/// # Errors
/// The client fails, or Ctrl-C.
pub fn fill(brokers: Bootstrap, security: Security, preload: PreloadSpec, index: &Path) -> anyhow::Result<()> {
    let spec = WorkerSpec::Preload {
        address: brokers,
        security,
        preload,
        index: index.to_owned(),
    };
    let mut worker = Worker::start(&spec, None)?;
    match worker.result(|| ())? {
        WorkerResult::Preloaded { .. } => worker.quit(),
        other => bail!("the client answered {other:?} to a pre-load"),
    }
}

/// Reads a whole topic by a client process, and holds it against an index or a ledger.
///
/// # Errors
/// The client fails, or Ctrl-C.
pub fn verify(brokers: Bootstrap, security: Security, index: &Path, response_bytes: u32) -> anyhow::Result<Vec<Check>> {
    let spec = WorkerSpec::Verify {
        address: brokers,
        security,
        index: index.to_owned(),
        response_bytes,
    };
    let mut worker = Worker::start(&spec, None)?;
    let WorkerResult::Checks(checks) = worker.result(|| ())? else {
        bail!("the full check gave no checks")
    };
    worker.quit()?;
    Ok(checks)
}
