//! The accounts of a ledger: intervals of sequences per producer and partition, and what the scan says in offset order.
//!
//! Events of one producer, and of the scan, come in the order in which they happened; the files may come in any order.

use std::collections::BTreeMap;
use std::ops::Range;

use workloads::history::{Event, OffsetRun, Run, Stamped};

use super::CheckError;
use super::lost_answers::LostAnswers;
use crate::findings::{Anomaly, Example, FaultFound};
use crate::intervals::IntervalSet;

/// Most intervals over all accounts, about 64 bytes each.
const FRAGMENTS_MAX: usize = 4_000_000;
/// Most accounts and partitions.
const ACCOUNTS_MAX: usize = 200_000;
/// The bound on intervals is looked at once in so many events.
const EVENTS_PER_LOOK: u64 = 65_536;

/// What is known of one producer and partition.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Announced at least once, sound or damaged.
    pub(super) sent: IntervalSet,
    pub(super) acknowledged: IntervalSet,
    /// Refused at least once.
    pub(super) refused: IntervalSet,
    /// Failed with an indeterminate outcome at least once.
    pub(super) failed: IntervalSet,
    /// Announced, and no outcome yet.
    pub(super) open: IntervalSet,
    pub(super) delivered: IntervalSet,
    /// What was read once more than before, each occurrence after the first.
    pub(super) repeated: Vec<Range<u64>>,
    /// What was read and had lost its acknowledgement on the way, with the fault that took it.
    pub(super) unheard: Vec<(Range<u64>, u32)>,
    /// When it last announced a batch.
    last_sent_ns: u64,
    /// One past the highest sequence seen in the log.
    first_occurrence_end: u64,
}

impl Account {
    /// What keeps its memory: intervals of all kinds.
    fn fragments(&self) -> usize {
        let sets = self.sets().into_iter().map(IntervalSet::fragments).sum::<usize>();
        sets + self.repeated.len() + self.unheard.len()
    }

    fn sets(&self) -> [&IntervalSet; 6] {
        [
            &self.sent,
            &self.acknowledged,
            &self.refused,
            &self.failed,
            &self.open,
            &self.delivered,
        ]
    }
}

/// What is known of the scan of one partition.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) begun_ns: Option<u64>,
    pub(super) ended: bool,
    next_offset: i64,
    pub(super) last_acknowledged_ns: u64,
}

/// All accounts, and the anomalies that show while streaming.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub(super) accounts: BTreeMap<(u64, u32), Account>,
    pub(super) scans: BTreeMap<u32, Scan>,
    pub(super) faults: Vec<FaultFound>,
    pub(super) lost_answers: LostAnswers,
    pub(super) acknowledged_before_faults: u64,
    pub(super) delivered: u64,
    pub(super) first_sent_ns: Option<u64>,
    pub(super) last_acknowledged_ns: Option<u64>,
    pub(super) log_duplicates: Anomaly,
    pub(super) reordered: Anomaly,
    pub(super) corrupted: Anomaly,
    pub(super) torn: Anomaly,
    pub(super) not_dense: Anomaly,
    pub(super) damaged_batches: u64,
    pub(super) crashes: u64,
    events: u64,
}

impl Accounts {
    pub(super) fn new(faults: Vec<FaultFound>, mut lost_answers: LostAnswers) -> Self {
        lost_answers.sort();
        Self {
            faults,
            lost_answers,
            ..Self::default()
        }
    }

    /// Books one event.
    pub(super) fn apply(&mut self, stamped: Stamped) -> Result<(), CheckError> {
        let at_ns = stamped.at_ns;
        match stamped.event {
            Event::Sent(run) | Event::SentDamaged(run) => {
                self.damaged_batches += u64::from(matches!(stamped.event, Event::SentDamaged(_)));
                let account = self.account(run);
                account.sent.insert(sequences(run));
                account.open.insert(sequences(run));
                account.last_sent_ns = at_ns;
                self.first_sent_ns = Some(self.first_sent_ns.map_or(at_ns, |first| first.min(at_ns)));
            }
            Event::Acknowledged { run, .. } => {
                let account = self.account(run);
                account.acknowledged.insert(sequences(run));
                account.open.remove(sequences(run));
                let scan = self.scans.entry(run.partition).or_default();
                scan.last_acknowledged_ns = scan.last_acknowledged_ns.max(at_ns);
                self.last_acknowledged_ns = self.last_acknowledged_ns.max(Some(at_ns));
                self.count_progress(at_ns, u64::from(run.count));
            }
            Event::Failed { run, .. } => {
                let account = self.account(run);
                account.failed.insert(sequences(run));
                account.open.remove(sequences(run));
                let sent_ns = account.last_sent_ns;
                // Announced before the fault and failed after it began: the fault cut it off. What is announced later
                // only finds the connection dead.
                let begun = self.faults.partition_point(|fault| fault.began_ns <= at_ns);
                if let Some(fault) = begun.checked_sub(1).and_then(|last| self.faults.get_mut(last))
                    && sent_ns <= fault.began_ns
                {
                    fault.interrupted += 1;
                }
            }
            Event::Refused { run, .. } => {
                let account = self.account(run);
                account.refused.insert(sequences(run));
                account.open.remove(sequences(run));
            }
            Event::Delivered { run, base_offset } => self.deliver(run, base_offset)?,
            Event::Corrupted(run) => {
                self.corrupted.add(u64::from(run.count), without_identity(run));
                self.step(run)?;
            }
            Event::Torn(run) => {
                self.torn.add(u64::from(run.count), without_identity(run));
                self.step(run)?;
            }
            Event::ReadBegin { partition, offset } => {
                let scan = self.scans.entry(partition).or_default();
                if scan.begun_ns.replace(at_ns).is_some() {
                    return Err(CheckError::Contradiction(format!(
                        "partition {partition} is read twice"
                    )));
                }
                scan.next_offset = offset;
            }
            Event::ReadEnd { partition, next_offset } => {
                let expected = self.open_scan(partition)?.next_offset;
                if next_offset != expected {
                    self.density(partition, expected, next_offset, "the log's end");
                }
                self.scans.entry(partition).or_default().ended = true;
            }
            Event::Crashed => self.crashes += 1,
            // What members of a group tell is booked by who judges groups.
            Event::FaultAimed { .. }
            | Event::MemberBegan { .. }
            | Event::Assigned { .. }
            | Event::Revoked { .. }
            | Event::Lost { .. }
            | Event::Rebalanced { .. }
            | Event::Polled { .. }
            | Event::Processed { .. }
            | Event::CommitCalled { .. }
            | Event::Committed { .. }
            | Event::MemberFailed { .. }
            | Event::MemberLeft { .. }
            | Event::Grown { .. } => {}
            // These were booked before.
            Event::FaultBegin { .. }
            | Event::FaultBit { .. }
            | Event::FaultEnd { .. }
            | Event::AnswerLost { .. }
            | Event::AnswersUnknown { .. }
            | Event::Finished { .. } => {}
        }
        self.events += 1;
        if self.events.is_multiple_of(EVENTS_PER_LOOK) {
            self.check_bounds()
        } else {
            Ok(())
        }
    }

    fn check_bounds(&self) -> Result<(), CheckError> {
        let fragments: usize = self.accounts.values().map(Account::fragments).sum();
        for (count, limit, what) in [
            (fragments, FRAGMENTS_MAX, "gaps in the sequences"),
            (self.accounts.len(), ACCOUNTS_MAX, "producers and partitions"),
            (self.scans.len(), ACCOUNTS_MAX, "partitions"),
        ] {
            if count > limit {
                return Err(CheckError::TooIrregular { what, limit });
            }
        }
        Ok(())
    }

    fn account(&mut self, run: Run) -> &mut Account {
        self.accounts.entry((run.producer, run.partition)).or_default()
    }

    /// Books acknowledged records to the time before, between or after the faults; during a fault they count for neither.
    fn count_progress(&mut self, at_ns: u64, records: u64) {
        let begun = self.faults.partition_point(|fault| fault.began_ns <= at_ns);
        match begun.checked_sub(1).map(|index| &mut self.faults[index]) {
            None => self.acknowledged_before_faults += records,
            Some(fault) if fault.healed_ns.is_some_and(|healed_ns| healed_ns <= at_ns) => {
                fault.acknowledged_after += records;
            }
            Some(_) => {}
        }
    }

    fn deliver(&mut self, run: Run, base_offset: i64) -> Result<(), CheckError> {
        self.delivered += u64::from(run.count);
        let unheard = self.lost_answers.among(run, base_offset);
        let account = self.account(run);
        account.unheard.extend(unheard);
        let (range, end_before) = (sequences(run), account.first_occurrence_end);
        let example = |part: &Range<u64>| Example {
            producer: Some(run.producer),
            partition: run.partition,
            sequence: Some(part.start),
            offset: Some(base_offset.saturating_add_unsigned(part.start - run.base_sequence)),
            records: part.end - part.start,
            ..Example::default()
        };
        let repeated = account.delivered.within(range.clone());
        // Whatever of the run is neither repeated nor behind the highest sequence so far came too late.
        let mut late = IntervalSet::default();
        late.insert(range.start..range.end.min(end_before).max(range.start));
        for part in &repeated {
            late.remove(part.clone());
        }
        account.delivered.insert(range.clone());
        account.first_occurrence_end = end_before.max(range.end);
        account.repeated.extend_from_slice(&repeated);
        for part in &repeated {
            self.log_duplicates.add(part.end - part.start, example(part));
        }
        for part in late.iter() {
            self.reordered.add(part.end - part.start, example(&part));
        }
        self.step(OffsetRun {
            partition: run.partition,
            base_offset,
            count: run.count,
        })
    }

    fn open_scan(&mut self, partition: u32) -> Result<&mut Scan, CheckError> {
        self.scans
            .get_mut(&partition)
            .filter(|scan| scan.begun_ns.is_some() && !scan.ended)
            .ok_or_else(|| CheckError::Contradiction(format!("partition {partition} has records outside of a scan")))
    }

    /// Goes on by a run of offsets, which has to begin where the one before ended.
    fn step(&mut self, run: OffsetRun) -> Result<(), CheckError> {
        let scan = self.open_scan(run.partition)?;
        let expected = scan.next_offset;
        scan.next_offset = run.base_offset.saturating_add(i64::from(run.count));
        if run.base_offset != expected {
            self.density(run.partition, expected, run.base_offset, "the next record");
        }
        Ok(())
    }

    fn density(&mut self, partition: u32, expected: i64, found: i64, what: &str) {
        let detail = format!("{what} is due at offset {expected} and stands at {found}");
        // A gap is named by the first missing offset, an overlap by the first repeated one.
        let offset = Some(expected.min(found));
        let records = expected.abs_diff(found);
        self.not_dense.add(
            1,
            Example {
                partition,
                offset,
                records,
                detail,
                ..Example::default()
            },
        );
    }
}

fn sequences(run: Run) -> Range<u64> {
    run.base_sequence..run.end_sequence()
}

fn without_identity(run: OffsetRun) -> Example {
    let (offset, records) = (Some(run.base_offset), u64::from(run.count));
    Example {
        partition: run.partition,
        offset,
        records,
        ..Example::default()
    }
}
