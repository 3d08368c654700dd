//! The first pass: the faults, the members, which histories are whole, and the index of the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use workloads::history::{Event, FaultKind, HistoryReader};

use super::GroupContext;
use super::log_index::LogIndex;
use crate::checker::CheckError;

/// Most faults, and most members.
const NAMED_MAX: usize = 100_000;

/// A trigger.
#[derive(Debug, Clone)]
pub(super) struct Trigger {
    pub(super) fault: u32,
    pub(super) kind: FaultKind,
    pub(super) began_ns: u64,
    pub(super) healed_ns: Option<u64>,
    /// Members that it was aimed at, and when.
    pub(super) aimed: Vec<(u32, u64)>,
}

impl Trigger {
    /// Whether it ends processes of members by SIGKILL.
    fn kills(&self) -> bool {
        matches!(self.kind, FaultKind::Kill | FaultKind::RollingRestart)
    }
}

/// A member as its own history and the faults tell.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Member {
    pub(super) slot: u32,
    /// When it said that it leaves.
    pub(super) left_ns: Option<u64>,
    /// Its last event.
    pub(super) last_ns: u64,
    /// When it was killed, if its history is cut short.
    pub(super) killed_ns: Option<u64>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) log: LogIndex,
    /// In the order of their begin.
    pub(super) triggers: Vec<Trigger>,
    pub(super) members: BTreeMap<u32, Member>,
    /// Members of each history, by the place of the file.
    pub(super) by_file: BTreeMap<usize, Vec<u32>>,
    /// First event of the run.
    pub(super) start_ns: u64,
    /// Begin of the final scan.
    pub(super) scan_ns: Option<u64>,
    /// Histories of members that miss something, in words.
    pub(super) incomplete: Vec<String>,
}

/// Whether a history is a member's, by its name.
pub fn is_member_history(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("member-"))
}

impl Survey {
    /// Reads all files once.
    pub(super) fn of(files: &[PathBuf], context: &GroupContext) -> Result<Self, CheckError> {
        let mut survey = Self {
            start_ns: u64::MAX,
            ..Self::default()
        };
        let mut cut = Vec::new();
        let mut aimed = Vec::new();
        for (place, path) in files.iter().enumerate() {
            let (mut events, mut finished) = (0_u64, None);
            for stamped in HistoryReader::open(path)? {
                let stamped = stamped?;
                finished = match stamped.event {
                    Event::Finished { events } => Some(events),
                    _ => None,
                };
                survey.apply(place, stamped.at_ns, stamped.event, &mut aimed)?;
                events += 1;
            }
            let is_cut = finished.is_none_or(|before| before + 1 != events);
            if is_cut && is_member_history(path) {
                cut.push((place, path));
            }
        }
        survey.triggers.sort_by_key(|trigger| trigger.began_ns);
        for (fault, member, at_ns) in aimed {
            if let Some(trigger) = survey.triggers.iter_mut().find(|trigger| trigger.fault == fault) {
                trigger.aimed.push((member, at_ns));
            }
        }
        for (place, path) in cut {
            survey.cut_short(place, path);
        }
        survey.look_for_missing(context);
        Ok(survey)
    }

    fn apply(
        &mut self,
        place: usize,
        at_ns: u64,
        event: Event,
        aimed: &mut Vec<(u32, u32, u64)>,
    ) -> Result<(), CheckError> {
        self.start_ns = self.start_ns.min(at_ns);
        if let Some(members) = self.by_file.get(&place) {
            for member in members {
                self.members.entry(*member).or_default().last_ns = at_ns;
            }
        }
        match event {
            Event::FaultBegin { fault, kind } => self.triggers.push(Trigger {
                fault,
                kind,
                began_ns: at_ns,
                healed_ns: None,
                aimed: Vec::new(),
            }),
            Event::FaultEnd { fault, .. } => {
                if let Some(trigger) = self.triggers.iter_mut().find(|trigger| trigger.fault == fault) {
                    trigger.healed_ns = Some(at_ns);
                }
            }
            Event::FaultAimed { fault, member } => aimed.push((fault, member, at_ns)),
            Event::MemberBegan { member, slot, .. } => {
                let began = Member {
                    slot,
                    last_ns: at_ns,
                    ..Member::default()
                };
                if self.members.insert(member, began).is_some() {
                    return Err(CheckError::Contradiction(format!("member {member} begins twice")));
                }
                self.by_file.entry(place).or_default().push(member);
            }
            Event::MemberLeft { member } => self.members.entry(member).or_default().left_ns = Some(at_ns),
            Event::ReadBegin { .. } => {
                self.scan_ns = Some(self.scan_ns.map_or(at_ns, |first| first.min(at_ns)));
                // A member's own events are never those of the scan.
                self.log.apply(event)?;
            }
            Event::ReadEnd { .. } | Event::Delivered { .. } => self.log.apply(event)?,
            // In a member's history these are what it polled.
            Event::Corrupted(_) | Event::Torn(_) if !self.by_file.contains_key(&place) => self.log.apply(event)?,
            _ => {}
        }
        for (count, what) in [
            (self.triggers.len(), "faults"),
            (self.members.len(), "members"),
            (aimed.len(), "aims of faults"),
        ] {
            if count > NAMED_MAX {
                return Err(CheckError::TooIrregular { what, limit: NAMED_MAX });
            }
        }
        Ok(())
    }

    /// A history without its end is whole all the same when its process was killed on purpose: each event was written before anybody
    /// relied on it. A later member of the same slot says so, too.
    fn cut_short(&mut self, place: usize, path: &Path) {
        for member in self.by_file.get(&place).cloned().unwrap_or_default() {
            let Some(known) = self.members.get(&member).copied() else {
                continue;
            };
            let kill = self.triggers.iter().filter(|trigger| trigger.kills());
            let killed_ns = kill
                .flat_map(|trigger| &trigger.aimed)
                .filter(|(aimed, _)| *aimed == member)
                .map(|(_, at_ns)| (*at_ns).max(known.last_ns))
                .next_back();
            let mut later = self.members.range(member.saturating_add(1)..);
            let has_successor = later.any(|(_, one)| one.slot == known.slot);
            let killed_ns = killed_ns.or(has_successor.then_some(known.last_ns));
            if killed_ns.is_none() {
                self.incomplete.push(format!(
                    "{} is cut short, and no fault killed member {member}",
                    path.display()
                ));
            }
            if let Some(known) = self.members.get_mut(&member) {
                known.killed_ns = killed_ns;
            }
        }
    }

    /// Members are numbered without gaps, so that a history that is not there is seen.
    fn look_for_missing(&mut self, context: &GroupContext) {
        let last = self.members.keys().next_back().copied().unwrap_or(0);
        let aimed = self.triggers.iter().flat_map(|trigger| &trigger.aimed);
        let last = aimed
            .map(|(member, _)| *member)
            .fold(last.max(context.members), u32::max);
        let missing = (1..=last).find(|member| !self.members.contains_key(member));
        if let Some(member) = missing {
            self.incomplete.push(format!("member {member} has no history"));
        }
    }

    /// When the run begins to close its members: the first one that leaves without being told to by a fault, once the last fault is
    /// over; else the begin of the scan.
    pub(super) fn end_ns(&self) -> u64 {
        let last = self.triggers.last();
        let over_ns = last.map_or(self.start_ns, |trigger| trigger.healed_ns.unwrap_or(trigger.began_ns));
        let is_aimed = |member: u32| {
            let leaving = self
                .triggers
                .iter()
                .filter(|trigger| matches!(trigger.kind, FaultKind::Leave | FaultKind::RollingRestart));
            leaving
                .flat_map(|trigger| &trigger.aimed)
                .any(|(aimed, _)| *aimed == member)
        };
        let closed = self.members.iter().filter(|(member, _)| !is_aimed(**member));
        let closed_ns = closed
            .filter_map(|(_, known)| known.left_ns)
            .filter(|left_ns| *left_ns >= over_ns);
        closed_ns.min().or(self.scan_ns).unwrap_or(u64::MAX)
    }

    /// Which consumer a member is.
    pub(super) fn slot(&self, member: u32) -> u32 {
        self.members.get(&member).map_or(0, |known| known.slot)
    }
}
