//! The triggers: each is told as a fault that begins, is aimed, is seen to bite, and is healed.

use std::time::{Duration, Instant};

use workloads::history::{Event, FaultKind, Healing};
use workloads::member::MemberOrder;

use super::load::Load;
use super::roster::Life;
use super::{CLOSE_WITHIN, Run};
use crate::cluster::Evidence;
use crate::run::{FaultEvidence, RunError};
use crate::schedule::{GroupAction, TimedTrigger};

/// A starved process runs for a part of each such time.
const STARVE_EVERY: Duration = Duration::from_millis(100);
/// How long a member may take to do what it is told, beside what the order itself takes.
const OBEY_WITHIN: Duration = Duration::from_secs(10);

impl Run<'_> {
    /// Pulls a trigger and heals it; whether the group settles afterwards is another matter.
    pub(super) fn strike(&mut self, timed: &TimedTrigger, load: &Load) -> Result<(), RunError> {
        let began = Instant::now();
        let (fault, kind) = (timed.fault, kind_of(&timed.action));
        self.history.append(Event::FaultBegin { fault, kind })?;
        let victim = self.victim(timed.pick);
        let struck = match (&timed.action, victim) {
            (GroupAction::Join { members }, _) => self.join(fault, *members)?,
            (GroupAction::AddPartitions { by }, _) => self.add_partitions(*by, load)?,
            (GroupAction::Subscribe { topics }, _) => self.subscribe(topics)?,
            (GroupAction::RollingRestart, _) => self.rolling_restart(fault)?,
            (GroupAction::Kill { heal_after_us }, Some(victim)) => {
                self.kill(fault, victim, Duration::from_micros(*heal_after_us))?
            }
            (GroupAction::Pause { for_us }, Some(victim)) => {
                self.pause(fault, victim, Duration::from_micros(*for_us))?
            }
            (GroupAction::Starve { for_us, run_percent }, Some(victim)) => {
                self.starve(fault, victim, Duration::from_micros(*for_us), *run_percent)?
            }
            (GroupAction::SlowHandler { for_ms }, Some(victim)) => self.slow_handler(fault, victim, *for_ms)?,
            (GroupAction::Leave, Some(victim)) => self.leave(fault, victim)?,
            (_, None) => Struck::by(0, "nobody was left that it could have been aimed at"),
        };
        if !struck.is_told {
            self.bit(fault, &struck.seen)?;
        }
        self.history.append(Event::FaultEnd {
            fault,
            healing: struck.healing,
        })?;
        self.evidence.push(FaultEvidence {
            fault,
            evidence: struck.seen,
            ready_after_ms: Some(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)),
        });
        Ok(())
    }

    fn bit(&mut self, fault: u32, seen: &Evidence) -> Result<(), RunError> {
        let evidence = seen.count;
        Ok(self.history.append(Event::FaultBit { fault, evidence })?)
    }

    /// The member that a fault is aimed at.
    fn victim(&self, pick: u32) -> Option<u32> {
        let running = self.roster.running();
        let place = (pick as usize).checked_rem(running.len())?;
        running.get(place).copied()
    }

    /// The members that go down with this one.
    fn together(&self, victim: u32) -> Vec<u32> {
        let running = self.roster.running();
        let mut together = self.members.together(victim);
        together.retain(|member| running.contains(member));
        together
    }

    fn aim(&mut self, fault: u32, members: &[u32]) -> Result<(), RunError> {
        let aimed = members
            .iter()
            .map(|member| Event::FaultAimed { fault, member: *member });
        Ok(self.history.append_all(aimed)?)
    }

    fn kill(&mut self, fault: u32, victim: u32, heal_after: Duration) -> Result<Struck, RunError> {
        let victims = self.together(victim);
        self.aim(fault, &victims)?;
        let seen = self.members.kill(victim)?;
        self.bit(fault, &seen)?;
        let slots = self.slots(&victims);
        for victim in &victims {
            self.roster.set(*victim, Life::Gone);
        }
        self.wait(heal_after)?;
        if !self.is_over() {
            self.start_in(&slots)?;
        }
        Ok(Struck::told(seen))
    }

    fn pause(&mut self, fault: u32, victim: u32, time: Duration) -> Result<Struck, RunError> {
        let victims = self.together(victim);
        self.aim(fault, &victims)?;
        let seen = self.members.pause(victim)?;
        self.bit(fault, &seen)?;
        self.set_all(&victims, Life::Paused);
        self.wait(time)?;
        self.members.resume(victim)?;
        self.set_all(&victims, Life::Running);
        Ok(Struck::told(seen))
    }

    fn starve(&mut self, fault: u32, victim: u32, time: Duration, run_percent: u32) -> Result<Struck, RunError> {
        let victims = self.together(victim);
        self.aim(fault, &victims)?;
        let runs = STARVE_EVERY * run_percent / 100;
        let (end, mut stops, mut last) = (Instant::now() + time, 0, String::new());
        while Instant::now() < end && !self.is_over() {
            let seen = self.members.pause(victim)?;
            (stops, last) = (stops + seen.count, seen.what);
            // A member that is stopped tells nothing, so nothing is missed by not listening to it alone.
            self.wait(STARVE_EVERY - runs)?;
            self.members.resume(victim)?;
            self.wait(runs)?;
        }
        Ok(Struck::by(
            stops,
            format!("stopped {stops} times for {} % of the time: {last}", 100 - run_percent),
        ))
    }

    fn slow_handler(&mut self, fault: u32, victim: u32, for_ms: u64) -> Result<Struck, RunError> {
        self.aim(fault, &[victim])?;
        let known = self.roster.get(victim).cloned();
        let (stuck, exceeded) = known.map_or((0, 0), |known| (known.stuck, known.poll_exceeded));
        self.members.order(victim, &MemberOrder::Stick { for_ms })?;
        let within = Duration::from_millis(for_ms) + OBEY_WITHIN;
        let was_stuck = self.wait_until(within, |roster| {
            roster.get(victim).is_none_or(|known| known.stuck > stuck)
        })?;
        // Its client tells of an exceeded interval with the next poll.
        let told = |roster: &super::Roster| roster.get(victim).is_none_or(|known| known.poll_exceeded > exceeded);
        let is_beyond = for_ms > u64::from(self.group.times.max_poll_interval_ms);
        let was_exceeded = is_beyond && self.wait_until(OBEY_WITHIN, told)?;
        let what = match (was_stuck, was_exceeded) {
            (false, _) => format!("member {victim} had no batch to be stuck with"),
            (true, true) => format!("member {victim} was stuck for {for_ms} ms, and its client left the group"),
            (true, false) => format!("member {victim} was stuck for {for_ms} ms, within its poll interval"),
        };
        Ok(Struck::by(u32::from(was_stuck), what))
    }

    fn join(&mut self, fault: u32, count: u32) -> Result<Struck, RunError> {
        let first = self.next_slot;
        let mut joined = Vec::new();
        for slot in first..first + count {
            joined.extend(self.start_in(&[slot])?);
        }
        self.aim(fault, &joined)?;
        let within = Duration::from_millis(self.group.settle_within_ms);
        let is_in = |roster: &super::Roster, member: &u32| roster.get(*member).is_some_and(|known| known.epoch >= 0);
        self.wait_until(within, |roster| joined.iter().all(|member| is_in(roster, member)))?;
        let seen = joined.iter().filter(|member| is_in(&self.roster, member)).count() as u32;
        let struck = Struck::by(seen, format!("{seen} of {count} new members are in the group"));
        Ok(struck.healed(seen == count))
    }

    fn leave(&mut self, fault: u32, victim: u32) -> Result<Struck, RunError> {
        self.aim(fault, &[victim])?;
        let has_left = self.close_one(victim)?;
        Ok(Struck::by(u32::from(has_left), format!("member {victim} has left")))
    }

    /// Has a member leave and waits until it has.
    fn close_one(&mut self, member: u32) -> Result<bool, RunError> {
        self.roster.set(member, Life::Leaving);
        self.members.order(member, &MemberOrder::Leave)?;
        self.wait_until(CLOSE_WITHIN, |roster| {
            roster.get(member).is_none_or(|known| known.life == Life::Gone)
        })
    }

    fn rolling_restart(&mut self, fault: u32) -> Result<Struck, RunError> {
        let all = self.roster.running();
        let (mut restarted, mut is_healed) = (0, true);
        for member in &all {
            if self.is_over() {
                break;
            }
            self.aim(fault, &[*member])?;
            let slots = self.slots(&[*member]);
            let has_left = self.close_one(*member)?;
            self.start_in(&slots)?;
            restarted += u32::from(has_left);
            // The next one goes when the group is whole again, as whoever rolls out a version waits for readiness.
            is_healed &= self.settle()?;
        }
        let what = format!("{restarted} of {} members closed and were started again", all.len());
        Ok(Struck::by(restarted, what).healed(is_healed))
    }

    fn add_partitions(&mut self, by: u32, load: &Load) -> Result<Struck, RunError> {
        let topic = &mut self.topics[0];
        let wanted = topic.partitions + by;
        self.admin.create_partitions(&topic.name, wanted)?;
        let metadata = self.admin.metadata(Some(&[&topic.name]))?;
        let found = metadata.topics.iter().find(|found| found.name == topic.name);
        let partitions = found.map_or(0, |found| found.partitions.len() as u32);
        self.history.append(Event::Grown { topic: 0, partitions })?;
        let added = partitions.saturating_sub(topic.partitions);
        topic.partitions = partitions.max(topic.partitions);
        load.grow(0, partitions);
        Ok(Struck::by(
            added,
            format!("topic {} has {partitions} partitions now", topic.name),
        ))
    }

    fn subscribe(&mut self, topics: &[String]) -> Result<Struck, RunError> {
        let all = self.roster.running();
        let before: u32 = all
            .iter()
            .filter_map(|member| self.roster.get(*member))
            .map(|known| known.subscribed)
            .sum();
        for member in &all {
            let topics = topics.to_vec();
            self.members.order(*member, &MemberOrder::Subscribe { topics })?;
        }
        self.subscription = topics.to_vec();
        let count = |roster: &super::Roster| -> u32 {
            let known = all.iter().filter_map(|member| roster.get(*member));
            known.map(|known| known.subscribed).sum()
        };
        let wanted = before + all.len() as u32;
        let is_done = self.wait_until(OBEY_WITHIN, |roster| count(roster) >= wanted)?;
        let seen = count(&self.roster) - before;
        let struck = Struck::by(seen, format!("{seen} members subscribed to {}", topics.join(", ")));
        Ok(struck.healed(is_done))
    }

    fn slots(&self, members: &[u32]) -> Vec<u32> {
        let slot = |member: &u32| Some(self.roster.get(*member)?.slot);
        members.iter().filter_map(slot).collect()
    }

    fn set_all(&mut self, members: &[u32], life: Life) {
        for member in members {
            self.roster.set(*member, life);
        }
    }
}

/// What came of a trigger.
struct Struck {
    seen: Evidence,
    /// That it bit is in the history already.
    is_told: bool,
    healing: Healing,
}

impl Struck {
    /// Bit long before it was healed, and was told at once.
    fn told(seen: Evidence) -> Self {
        Self {
            seen,
            is_told: true,
            healing: Healing::Recovered,
        }
    }

    /// Bit up to now.
    fn by(count: u32, what: impl Into<String>) -> Self {
        Self {
            seen: Evidence {
                count,
                what: what.into(),
            },
            is_told: false,
            healing: Healing::Recovered,
        }
    }

    fn healed(mut self, is_healed: bool) -> Self {
        if !is_healed {
            self.healing = Healing::DidNotStart;
        }
        self
    }
}

/// What a trigger is called in a history.
fn kind_of(action: &GroupAction) -> FaultKind {
    match action {
        GroupAction::Kill { .. } => FaultKind::Kill,
        GroupAction::Pause { .. } => FaultKind::Pause,
        GroupAction::SlowHandler { .. } => FaultKind::SlowHandler,
        GroupAction::Starve { .. } => FaultKind::Starve,
        GroupAction::Join { .. } => FaultKind::Join,
        GroupAction::Leave => FaultKind::Leave,
        GroupAction::RollingRestart => FaultKind::RollingRestart,
        GroupAction::AddPartitions { .. } => FaultKind::AddPartitions,
        GroupAction::Subscribe { .. } => FaultKind::Subscribe,
    }
}
