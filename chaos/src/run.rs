//! Carries out a scenario: load, timeline of faults, stop, final read.
//!
//! It leaves `scenario.json`, `schedule.json`, `evidence.json` and `histories/*.bin` in the run folder, each written as early as
//! possible, and judges nothing: [`crate::checker::check_folder`] reads that folder afterwards.
//!
//! 1. create the topic;
//! 2. start the producers and let them warm up;
//! 3. wait, kill, wait, start, or wait and strike on the way, until the schedule ends; each is done when records are acknowledged again;
//! 4. settle and stop;
//! 5. read every partition to its end.
//!
//! With faults on the way, producers go through a [`Proxy`]; the final read does not.

mod on_the_way;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use workloads::history::{Event, FaultKind, Healing, HistoryError, HistoryWriter};
use workloads::sequenced::{ClientError, Control, Producer, ProducerSpec, ReadError, Reader, create_topic};

use crate::cluster::{Cluster, ClusterError, Evidence, Role};
use crate::proxy::Proxy;
use crate::scenario::Scenario;
use crate::schedule::{Action, Schedule, TimedAction};

/// The checked scenario, in the run folder.
pub const SCENARIO_FILE: &str = "scenario.json";
/// The timeline, in the run folder.
pub const SCHEDULE_FILE: &str = "schedule.json";
/// What was seen of each fault, in the run folder.
pub const EVIDENCE_FILE: &str = "evidence.json";
/// The histories, in the run folder.
pub const HISTORIES_FOLDER: &str = "histories";

/// What the checker has to know of a group, in the run folder ([`crate::checker::group::GroupContext`]).
pub const GROUP_FILE: &str = "group.json";

/// The history of the final read, in that folder.
pub(crate) const FINAL_READ_FILE: &str = "final-read.bin";
/// The history of the faults, in that folder.
pub(crate) const FAULTS_FILE: &str = "faults.bin";

/// Name of a producer's history in that folder.
pub fn producer_history(producer: u64) -> String {
    format!("producer-{producer}.bin")
}

/// Name of a member's history in that folder.
pub fn member_history(member: u32) -> String {
    format!("member-{member}.bin")
}

/// How often waits look at their flags.
const LOOK: Duration = Duration::from_millis(2);
/// How long a healed target may take until records are acknowledged again; longer is told as missing progress.
const PROGRESS_WITHIN: Duration = Duration::from_secs(10);

/// What a run tells while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The load runs without a fault.
    WarmingUp,
    /// A fault was injected.
    FaultInjected {
        /// Its number, from 1.
        fault: u32,
        /// How many there will be.
        of: u32,
        /// Records acknowledged so far.
        acknowledged: u64,
    },
    /// The target of a fault works again.
    Healed {
        /// The fault's number, from 1.
        fault: u32,
        /// From the start of the process to the first acknowledged record.
        took: Duration,
    },
    /// The load runs on after the last fault.
    Settling,
    /// The log is read.
    Reading {
        /// Records acknowledged in the run.
        acknowledged: u64,
    },
}

/// The evidence of one fault, as `evidence.json` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultEvidence {
    /// The fault's number, from 1.
    pub fault: u32,
    /// What was seen, and how often.
    pub evidence: Evidence,
    /// Milliseconds from the start of the process until it answered; `None` when it did not.
    pub ready_after_ms: Option<u64>,
}

/// How a run ended. Whatever it is, the checker judges the histories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records read at the end.
    pub delivered: u64,
    /// Faults injected.
    pub faults: u32,
    /// The target was up at the end.
    pub is_alive: bool,
    /// Ended by the stop flag.
    pub interrupted: bool,
    /// What kept it from going on or from reading the log to its end; the checker sees the consequences.
    pub troubles: Vec<String>,
}

/// Why a run could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The target cannot take a fault of the scenario: inconclusive.
    #[error("this target cannot take a fault aimed at: {}; choose another target or scenario", names(.0))]
    CannotTake(Vec<Role>),
    /// The target cannot serve the scenario's group: inconclusive.
    #[error(
        "this target cannot take the group of the scenario: {0}; choose another target, or another --group-protocol"
    )]
    CannotTakeGroup(String),
    /// The group does not settle before anything was done to it: inconclusive.
    #[error("the group does not settle before any fault: {0}; look into the broker's log, or raise settle_within_ms")]
    NotSettled(String),
    /// A request around the load failed.
    #[error(transparent)]
    Admin(#[from] workloads::native::ClientError),
    /// The machine or the harness failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The fault proxy does not start.
    #[error("the fault proxy can't be started: {0}; look for free ports and threads (ulimit -u)")]
    Proxy(std::io::Error),
    /// A history cannot be written.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The topic cannot be created.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file of the run folder cannot be written.
    #[error("{path}: {source}; give an empty folder on a disk with space left")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A thread of the load ended by a panic.
    #[error("a {0} panicked: this is a bug in Assay, please report it")]
    Panic(&'static str),
}

impl RunError {
    /// The process's exit code: 2 when the target cannot take the fault, 3 for the environment.
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::CannotTake(_) | RunError::CannotTakeGroup(_) | RunError::NotSettled(_) => 2,
            _ => 3,
        }
    }
}

fn names(roles: &[Role]) -> String {
    roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
}

/// Flags and counters that the threads of a run share.
struct Shared<'a> {
    /// Set by Ctrl-C.
    interrupt: &'a AtomicBool,
    /// What the producers look at.
    control: Control,
    /// A producer gave up, so there is no point in going on.
    failed: AtomicBool,
}

impl Shared<'_> {
    /// Whether the timeline has to end early.
    fn is_over(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed)
    }

    fn acknowledged(&self) -> u64 {
        self.control.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits; false when the run is over before that.
    fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            if self.is_over() {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// Waits until more than `before` records are acknowledged, or the time is over.
    fn wait_for_progress(&self, before: u64, time: Duration) {
        let end = Instant::now() + time;
        while self.acknowledged() == before && Instant::now() < end && !self.is_over() {
            std::thread::sleep(LOOK);
        }
    }
}

/// Stops the producers when the timeline is left, by an error too; otherwise the scope would wait for them for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Carries out `schedule` against a started `cluster`, and writes into `folder`, which has to exist.
///
/// Setting `interrupt` stops in an orderly manner: producers finish their turn, and nothing is read.
///
/// # Errors
/// [`RunError`]; what the broker does wrong is no error but in the histories.
pub fn execute(
    scenario: &Scenario,
    schedule: &Schedule,
    cluster: &mut dyn Cluster,
    folder: &Path,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunSummary, RunError> {
    let missing = scenario.roles_missing_from(&cluster.roles());
    if !missing.is_empty() {
        return Err(RunError::CannotTake(missing));
    }
    let histories = begin(folder, scenario, schedule)?;

    let workload = &scenario.workload;
    let request_timeout = Duration::from_millis(workload.request_timeout_ms);
    let proxy = on_the_way::proxy_for(scenario, cluster.address())?;
    let address = proxy.as_ref().map_or(cluster.address(), Proxy::address);
    create_topic(address, &workload.topic, workload.partitions, request_timeout)?;
    let producers = (0..u64::from(workload.producers))
        .map(|producer| {
            let path = histories.join(producer_history(producer));
            Producer::create(producer_spec(scenario, schedule.seed, address, producer), &path)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let history = HistoryWriter::create(&histories.join(FAULTS_FILE))?;
    let shared = Shared {
        interrupt,
        control: Control::default(),
        failed: AtomicBool::new(false),
    };
    let mut timeline = Timeline {
        scenario,
        schedule,
        shared: &shared,
        proxy: proxy.as_ref(),
        history,
        evidence: Vec::new(),
        troubles: Vec::new(),
    };

    let alive = std::thread::scope(|scope| {
        let stop = StopOnDrop(&shared.control.stop);
        let handles: Vec<_> = producers
            .into_iter()
            .map(|producer| {
                let shared = &shared;
                scope.spawn(move || {
                    let outcome = producer.run(&shared.control);
                    if outcome.is_err() {
                        shared.failed.store(true, Ordering::Relaxed);
                    }
                    outcome
                })
            })
            .collect();
        let alive = timeline.run(cluster, progress);
        drop(stop);
        for handle in handles {
            handle.join().map_err(|_| RunError::Panic("producer"))??;
        }
        alive
    });
    // The evidence is written even if the timeline ended by an error.
    write_json(&folder.join(EVIDENCE_FILE), &timeline.evidence)?;
    let mut is_alive = alive?;
    timeline.close_the_way()?;
    let acknowledged = shared.acknowledged();
    let delivered = AtomicU64::new(0);
    if is_alive && !interrupt.load(Ordering::Relaxed) {
        progress(Progress::Reading { acknowledged });
        let path = histories.join(FINAL_READ_FILE);
        let reader = Reader::create(cluster.address(), &workload.topic, request_timeout, &path)?;
        match reader.run(workload.partitions, interrupt, &delivered) {
            Ok(()) | Err(ReadError::Interrupted) => {}
            Err(ReadError::History(error)) => return Err(error.into()),
            Err(error) => timeline.troubles.push(error.to_string()),
        }
        is_alive = !timeline.has_crashed(cluster)?;
    }
    let summary = RunSummary {
        acknowledged,
        delivered: delivered.load(Ordering::Relaxed),
        faults: timeline.evidence.len() as u32,
        is_alive,
        interrupted: interrupt.load(Ordering::Relaxed),
        troubles: std::mem::take(&mut timeline.troubles),
    };
    timeline.history.finish()?;
    Ok(summary)
}

/// Makes the folder of histories, and writes down what will be carried out.
pub(crate) fn begin(folder: &Path, scenario: &Scenario, schedule: &Schedule) -> Result<PathBuf, RunError> {
    let histories = folder.join(HISTORIES_FOLDER);
    fs::create_dir(&histories).map_err(|source| RunError::Io {
        path: histories.clone(),
        source,
    })?;
    write_json(&folder.join(SCENARIO_FILE), scenario)?;
    write_json(&folder.join(SCHEDULE_FILE), schedule)?;
    Ok(histories)
}

/// What a producer of the scenario does: its share of the rate, to all partitions of the workload's topic.
pub(crate) fn producer_spec(scenario: &Scenario, seed: u64, address: SocketAddr, producer: u64) -> ProducerSpec {
    let workload = &scenario.workload;
    // The parser holds batches far below 2^32 records.
    let records = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    ProducerSpec {
        address,
        producer,
        topic: workload.topic.clone(),
        partitions: workload.partitions,
        first_partition: 0,
        record_bytes: workload.record_bytes,
        batch_records: (records(workload.batch_records.min), records(workload.batch_records.max)),
        acks: workload.acks,
        idempotence: workload.idempotence,
        in_flight: workload.in_flight,
        damage_every: workload.damage_every,
        rate_per_s: workload.rate_per_s.map(|rate| rate / f64::from(workload.producers)),
        request_timeout: Duration::from_millis(workload.request_timeout_ms),
        seed,
    }
}

/// The thread that breaks things.
struct Timeline<'a> {
    scenario: &'a Scenario,
    schedule: &'a Schedule,
    shared: &'a Shared<'a>,
    /// Between the producers and the broker, when the scenario has faults on the way.
    proxy: Option<&'a Proxy>,
    history: HistoryWriter,
    evidence: Vec<FaultEvidence>,
    troubles: Vec<String>,
}

impl Timeline<'_> {
    /// Warm-up, faults, settling. Gives whether the target is alive at the end.
    fn run(&mut self, cluster: &mut dyn Cluster, progress: &mut dyn FnMut(Progress)) -> Result<bool, RunError> {
        let workload = &self.scenario.workload;
        progress(Progress::WarmingUp);
        self.shared.wait_for_progress(0, PROGRESS_WITHIN);
        let mut going = self.shared.wait(Duration::from_millis(workload.warm_up_ms));
        let mut dead = None;
        for timed in &self.schedule.actions {
            // A role that is down is started again even when the run is over, so that nothing stays broken.
            going = going && self.wait_for(timed);
            match timed.action {
                Action::Kill { .. } | Action::Inject { .. } if going && self.has_crashed(cluster)? => return Ok(false),
                Action::Kill { role } if going => {
                    self.kill(cluster, timed.fault, role)?;
                    dead = Some(role);
                    let (fault, of) = (timed.fault, self.schedule.faults());
                    progress(Progress::FaultInjected {
                        fault,
                        of,
                        acknowledged: self.shared.acknowledged(),
                    });
                }
                Action::Start { role, ready_within_ms } if dead == Some(role) => {
                    match self.start(cluster, timed.fault, role, Duration::from_millis(ready_within_ms))? {
                        Some(took) => progress(Progress::Healed {
                            fault: timed.fault,
                            took,
                        }),
                        None => return Ok(false),
                    }
                    dead = None;
                }
                Action::Inject {
                    injected,
                    over_within_ms,
                } if going => {
                    let within = Duration::from_millis(over_within_ms);
                    self.strike(timed.fault, injected, within, progress)?;
                }
                Action::Kill { .. } | Action::Start { .. } | Action::Inject { .. } => {}
            }
        }
        if going {
            progress(Progress::Settling);
            self.shared.wait(Duration::from_millis(workload.settle_ms));
        }
        Ok(!self.has_crashed(cluster)?)
    }

    /// Whether a process of the target ended by itself; that is recorded.
    fn has_crashed(&mut self, cluster: &mut dyn Cluster) -> Result<bool, RunError> {
        let crashes: Vec<String> = cluster
            .roles()
            .into_iter()
            .filter_map(|role| Some(format!("{role} ended by itself: {}", cluster.crashed(role)?)))
            .collect();
        for _ in &crashes {
            self.history.append(Event::Crashed)?;
        }
        let has_crashed = !crashes.is_empty();
        self.troubles.extend(crashes);
        Ok(has_crashed)
    }

    /// Waits until an action is due, the last of it under full load when it is a fault; false when the run is over before.
    fn wait_for(&self, timed: &TimedAction) -> bool {
        let burst = match timed.action {
            Action::Start { .. } => Duration::ZERO,
            Action::Kill { .. } | Action::Inject { .. } => {
                Duration::from_millis(self.scenario.workload.burst_ms).min(timed.after())
            }
        };
        let is_due = self.shared.wait(timed.after() - burst);
        self.shared.control.burst.store(!burst.is_zero(), Ordering::Relaxed);
        is_due && self.shared.wait(burst)
    }

    fn kill(&mut self, cluster: &mut dyn Cluster, fault: u32, role: Role) -> Result<(), RunError> {
        self.history.append(Event::FaultBegin {
            fault,
            kind: FaultKind::Kill,
        })?;
        let evidence = cluster.kill(role)?;
        self.shared.control.burst.store(false, Ordering::Relaxed);
        self.history.append(Event::FaultBit {
            fault,
            evidence: evidence.count,
        })?;
        self.evidence.push(FaultEvidence {
            fault,
            evidence,
            ready_after_ms: None,
        });
        Ok(())
    }

    /// Starts and waits until records are acknowledged again; `None` when the target did not come back.
    fn start(
        &mut self,
        cluster: &mut dyn Cluster,
        fault: u32,
        role: Role,
        ready_within: Duration,
    ) -> Result<Option<Duration>, RunError> {
        let begun = Instant::now();
        match cluster
            .start(role)
            .and_then(|()| cluster.wait_ready(role, ready_within))
        {
            Ok(()) => {}
            Err(error @ ClusterError::DidNotStart { .. }) => {
                self.history.append(Event::FaultEnd {
                    fault,
                    healing: Healing::DidNotStart,
                })?;
                self.troubles.push(error.to_string());
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        self.history.append(Event::FaultEnd {
            fault,
            healing: Healing::Recovered,
        })?;
        if let Some(last) = self.evidence.last_mut() {
            last.ready_after_ms = Some(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
        // Counted from here on: what came between the first answer and this line belongs to the fault.
        self.shared
            .wait_for_progress(self.shared.acknowledged(), PROGRESS_WITHIN);
        Ok(Some(begun.elapsed()))
    }
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RunError> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| unwritten(path, error.into()))?;
    text.push('\n');
    write_text(path, &text)
}

pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), RunError> {
    fs::write(path, text).map_err(|source| unwritten(path, source))
}

fn unwritten(path: &Path, source: std::io::Error) -> RunError {
    RunError::Io {
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests;
