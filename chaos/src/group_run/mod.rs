//! Carries out a scenario with a group: members, load, a timeline of triggers, drain, close, final read.
//!
//! It leaves what every run leaves ([`crate::run`]), a history per member, and `group.json`, and judges nothing.
//!
//! 1. create the topics, start the members, and wait until every partition has one owner;
//! 2. start the producers and let them warm up: the quiet time that each trigger is held against;
//! 3. wait, and until records have been acknowledged and processed; pull a trigger, heal it, wait until the group has settled again; until
//!    the schedule ends;
//! 4. settle, stop the producers, and let members read to the end of the log;
//! 5. close the members, and read every partition to its end.
//!
//! Whether a group has settled is taken from what its members tell. A group that does not settle in time ends the timeline; the rest is
//! still carried out, so that the checker sees what became of it.

mod load;
mod members;
mod protocol;
mod roster;
mod strike;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use workloads::history::{Event, HistoryWriter, PARTITIONS_PER_TOPIC};
use workloads::member::{MemberOrder, MemberSpec};
use workloads::native::{Admin, NewTopic, Security};
use workloads::sequenced::{ReadError, Reader};

use crate::cluster::Cluster;
use crate::run::{
    self, EVIDENCE_FILE, FAULTS_FILE, FINAL_READ_FILE, FaultEvidence, GROUP_FILE, Progress, RunError, RunSummary,
    member_history, write_json,
};
use crate::scenario::group::{GroupWorkload, TopicSpec, is_subscribed};
use crate::scenario::{Scenario, Workload};
use crate::schedule::Schedule;
use load::Load;
pub use members::Members;
pub use protocol::{PROTOCOL_FILE, PROTOCOL_TABLE, write_protocol};
use roster::{Life, Roster};

/// How often waits look at their flags.
const LOOK: Duration = Duration::from_millis(10);
/// How long a group has to stay as it is until it is taken for settled.
const STEADY_FOR: Duration = Duration::from_millis(400);
/// How long members may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(15);

/// Carries out `schedule` with `members` against a started `cluster`, and writes into `folder`, which has to exist.
///
/// Setting `interrupt` stops in an orderly manner: no trigger is pulled any more, members close, and nothing is read.
///
/// # Errors
/// [`RunError`]; what broker or members do wrong is no error but in the histories.
///
/// # Panics
/// When the scenario has no group.
pub fn execute(
    scenario: &Scenario,
    schedule: &Schedule,
    cluster: &mut dyn Cluster,
    members: &mut dyn Members,
    folder: &Path,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunSummary, RunError> {
    let group = scenario
        .group
        .as_ref()
        .expect("whoever carries out a group has looked whether there is one");
    let histories = run::begin(folder, scenario, schedule)?;
    // Until members have read everything, nothing is drained.
    write_json(&folder.join(GROUP_FILE), &group.context(&scenario.workload, false))?;

    let topics = group.topics(&scenario.workload);
    let mut admin = Admin::connect(cluster.address(), &Security::default())?;
    takes(&mut admin, group)?;
    let wanted: Vec<NewTopic> = topics
        .iter()
        .map(|topic| NewTopic::new(&topic.name, topic.partitions))
        .collect();
    admin.create_topics(&wanted)?;
    let history = HistoryWriter::create(&histories.join(FAULTS_FILE))?;
    let mut run = Run {
        workload: &scenario.workload,
        group,
        topics,
        subscription: group.subscription.clone(),
        members,
        admin,
        roster: Roster::default(),
        next_member: 1,
        next_slot: 0,
        histories: &histories,
        history,
        evidence: Vec::new(),
        troubles: Vec::new(),
        interrupt,
    };
    run.start_all()?;
    if !run.settle()? && !run.is_over() {
        let _ = run.members.close(Duration::ZERO);
        return Err(RunError::NotSettled(run.why_not()));
    }
    let mut load = Load::create(scenario, schedule.seed, cluster.address(), &run.topics, &histories)?;
    load.start();
    let outcome = run.timeline(schedule, &load, progress);
    // The evidence is written even if the timeline ended by an error.
    write_json(&folder.join(EVIDENCE_FILE), &run.evidence)?;
    outcome?;
    load.stop()?;
    let drained = run.drain()?;
    write_json(&folder.join(GROUP_FILE), &group.context(&scenario.workload, drained))?;
    run.close()?;

    let acknowledged = load.acknowledged();
    let delivered = AtomicU64::new(0);
    let is_alive = cluster.roles().iter().all(|role| match cluster.crashed(*role) {
        Some(how) => {
            run.troubles.push(format!("{role} ended by itself: {how}"));
            false
        }
        None => true,
    });
    if !is_alive {
        run.history.append(Event::Crashed)?;
    } else if !interrupt.load(Ordering::Relaxed) {
        progress(Progress::Reading { acknowledged });
        let path = histories.join(FINAL_READ_FILE);
        let timeout = Duration::from_millis(scenario.workload.request_timeout_ms);
        let reader = Reader::create(cluster.address(), &scenario.workload.topic, timeout, &path)?;
        let all: Vec<(String, u32)> = run
            .topics
            .iter()
            .map(|topic| (topic.name.clone(), topic.partitions))
            .collect();
        match reader.run_topics(&all, interrupt, &delivered) {
            Ok(()) | Err(ReadError::Interrupted) => {}
            Err(ReadError::History(error)) => return Err(error.into()),
            Err(error) => run.troubles.push(error.to_string()),
        }
    }
    run.history.finish()?;
    Ok(RunSummary {
        acknowledged,
        delivered: delivered.load(Ordering::Relaxed),
        faults: run.evidence.len() as u32,
        is_alive,
        interrupted: interrupt.load(Ordering::Relaxed),
        troubles: run.troubles,
    })
}

/// Looks whether a broker speaks the group's protocol.
fn takes(admin: &mut Admin, group: &GroupWorkload) -> Result<(), RunError> {
    /// Key of ConsumerGroupHeartbeat (KIP-848).
    const HEARTBEAT: i16 = 68;
    if group.protocol != workloads::member::GroupProtocol::Consumer {
        return Ok(());
    }
    let knows = admin.api_versions()?.apis.iter().any(|api| api.key == HEARTBEAT);
    match knows {
        true => Ok(()),
        false => Err(RunError::CannotTakeGroup(
            "the broker does not speak KIP-848 (ConsumerGroupHeartbeat)".to_owned(),
        )),
    }
}

/// A group while it is run.
struct Run<'a> {
    workload: &'a Workload,
    group: &'a GroupWorkload,
    /// With as many partitions as they have by now.
    topics: Vec<TopicSpec>,
    /// What members subscribe to by now.
    subscription: Vec<String>,
    members: &'a mut dyn Members,
    admin: Admin,
    roster: Roster,
    next_member: u32,
    next_slot: u32,
    histories: &'a Path,
    history: HistoryWriter,
    evidence: Vec<FaultEvidence>,
    troubles: Vec<String>,
    interrupt: &'a AtomicBool,
}

/// What was done when a phase between two faults began.
struct Phase {
    acknowledged: u64,
    advances: BTreeMap<u32, u32>,
}

impl Run<'_> {
    fn is_over(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// The members of the start, so many to a process.
    fn start_all(&mut self) -> Result<(), RunError> {
        let mut left = self.group.members;
        while left > 0 {
            let count = left.min(self.group.members_per_process);
            let slots: Vec<u32> = (self.next_slot..self.next_slot + count).collect();
            self.start_in(&slots)?;
            left -= count;
        }
        Ok(())
    }

    /// Starts a process with a member in each of these slots; gives their numbers.
    fn start_in(&mut self, slots: &[u32]) -> Result<Vec<u32>, RunError> {
        let mut specs = Vec::new();
        for slot in slots {
            let member = self.next_member;
            self.next_member += 1;
            self.next_slot = self.next_slot.max(slot + 1);
            self.roster.add(member, *slot);
            specs.push(self.spec(member, *slot));
        }
        self.members.start(&specs)?;
        Ok(specs.iter().map(|spec| spec.member).collect())
    }

    fn spec(&self, member: u32, slot: u32) -> MemberSpec {
        let group = self.group;
        MemberSpec {
            member,
            slot,
            group: group.id.clone(),
            instance_id: group.static_membership.then(|| format!("{}-{slot}", group.id)),
            topics: self.topics.iter().map(|topic| topic.name.clone()).collect(),
            subscription: self.subscription.clone(),
            client: group.client,
            protocol: group.protocol,
            remote_assignor: group.remote_assignor.clone(),
            times: group.times,
            max_poll_records: group.max_poll_records,
            handler: group.handler,
            commits: group.commits,
            planted: group.planted,
            history: self.histories.join(member_history(member)),
        }
    }

    /// Partitions that the group is to own by now.
    fn partitions(&self) -> u32 {
        let subscribed = self
            .topics
            .iter()
            .filter(|topic| is_subscribed(&self.subscription, &topic.name));
        subscribed.map(|topic| topic.partitions).sum()
    }

    /// Listens for a while; false when the run is over before that.
    fn wait(&mut self, time: Duration) -> Result<bool, RunError> {
        let end = Instant::now() + time;
        loop {
            if self.is_over() {
                return Ok(false);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            self.listen(left.min(LOOK))?;
        }
    }

    /// Takes what members tell, and what became of their processes.
    fn listen(&mut self, wait: Duration) -> Result<(), RunError> {
        for note in self.members.hear(wait)? {
            self.roster.note(note);
        }
        for (member, how) in self.members.crashed() {
            self.roster.set(member, Life::Gone);
            self.history.append(Event::Crashed)?;
            self.troubles.push(format!("member {member} ended by itself: {how}"));
        }
        Ok(())
    }

    /// Listens until something is so; false when it is not within `within`, or the run is over.
    fn wait_until(&mut self, within: Duration, is_so: impl Fn(&Roster) -> bool) -> Result<bool, RunError> {
        let deadline = Instant::now() + within;
        while !is_so(&self.roster) {
            if self.is_over() || Instant::now() > deadline {
                return Ok(false);
            }
            self.listen(LOOK)?;
        }
        Ok(true)
    }

    /// Waits until every partition has one owner and all members are of one generation, for a moment; false when that does not come in time.
    fn settle(&mut self) -> Result<bool, RunError> {
        let deadline = Instant::now() + Duration::from_millis(self.group.settle_within_ms);
        let partitions = self.partitions();
        let mut since: Option<Instant> = None;
        while !self.is_over() && Instant::now() < deadline {
            self.listen(LOOK)?;
            match self.roster.is_settled(partitions) {
                true if since.get_or_insert_with(Instant::now).elapsed() >= STEADY_FOR => return Ok(true),
                true => {}
                false => since = None,
            }
        }
        Ok(false)
    }

    /// Who holds what in a group that has not settled, and what clients told.
    fn why_not(&self) -> String {
        let failures = self.roster.failures.last().map_or("", String::as_str);
        format!(
            "{} partitions are to be owned by one generation, and members hold {}; {failures}",
            self.partitions(),
            self.roster.told()
        )
    }

    /// Warm-up, triggers, settling.
    fn timeline(
        &mut self,
        schedule: &Schedule,
        load: &Load,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), RunError> {
        progress(Progress::WarmingUp);
        let mut phase = self.begin_phase(load);
        let mut going = self.wait(Duration::from_millis(self.workload.warm_up_ms))?;
        for timed in &schedule.triggers {
            going = going && self.wait(Duration::from_micros(timed.after_us))? && self.works(load, &phase)?;
            if !going {
                break;
            }
            progress(Progress::FaultInjected {
                fault: timed.fault,
                of: schedule.faults(),
                acknowledged: load.acknowledged(),
            });
            let healed = Instant::now();
            self.strike(timed, load)?;
            if !self.settle()? {
                let fault = timed.fault;
                let why = self.why_not();
                self.troubles
                    .push(format!("the group did not settle after fault {fault}: {why}"));
                return Ok(());
            }
            progress(Progress::Healed {
                fault: timed.fault,
                took: healed.elapsed(),
            });
            phase = self.begin_phase(load);
        }
        if going {
            progress(Progress::Settling);
            let _ = self.wait(Duration::from_millis(self.workload.settle_ms))? && self.works(load, &phase)?;
        }
        Ok(())
    }

    fn begin_phase(&self, load: &Load) -> Phase {
        Phase {
            acknowledged: load.acknowledged(),
            advances: self.roster.advances(),
        }
    }

    /// Waits until records are acknowledged and processed in this phase, for as long as a group may take to settle: a machine that is short
    /// of CPU may need longer than the schedule foresees, and a fault that hits nothing at work proves nothing. False when the run is over;
    /// whether there was progress is for the checker to say.
    fn works(&mut self, load: &Load, phase: &Phase) -> Result<bool, RunError> {
        let within = Duration::from_millis(self.group.settle_within_ms);
        self.wait_until(within, |roster| {
            load.acknowledged() > phase.acknowledged && roster.has_advanced(&phase.advances)
        })?;
        Ok(!self.is_over())
    }

    /// Waits until members have processed all there is; the producers have stopped.
    fn drain(&mut self) -> Result<bool, RunError> {
        let mut ends = Vec::new();
        for (index, topic) in (0..).zip(&self.topics) {
            if !is_subscribed(&self.subscription, &topic.name) {
                continue;
            }
            let found = self.admin.end_offsets(&topic.name, topic.partitions)?;
            ends.extend((index * PARTITIONS_PER_TOPIC..).zip(found));
        }
        let within = Duration::from_millis(self.group.drain_within_ms);
        let drained = self.wait_until(within, |roster| roster.behind(&ends) == 0)?;
        if !drained && !self.is_over() {
            let behind = self.roster.behind(&ends);
            self.troubles.push(format!(
                "members did not read to the end within {} ms: {behind} of {} partitions are behind",
                self.group.drain_within_ms,
                ends.len()
            ));
        }
        Ok(drained)
    }

    /// Has all members leave, all at once, and ends their processes.
    fn close(&mut self) -> Result<(), RunError> {
        for member in self.roster.running() {
            self.roster.set(member, Life::Leaving);
            self.members.order(member, &MemberOrder::Leave)?;
        }
        let deadline = Instant::now() + CLOSE_WITHIN;
        while self.roster.is_anyone_leaving() && Instant::now() < deadline {
            self.listen(LOOK)?;
        }
        self.members.close(CLOSE_WITHIN)?;
        Ok(())
    }
}
