//! A member's history, and the commits whose answers are still due.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use super::batch::{Record, Stretch, runs};
use crate::history::{CODE_CONNECTION, Claim, Event, HistoryError, HistoryWriter, NO_CODE, OffsetRun};

/// Commits of one partition that are kept until an answer names them; older ones are taken for overtaken.
const DUE_MAX: usize = 4_096;

/// Writes what a member does.
#[derive(Debug)]
pub(super) struct Log {
    history: HistoryWriter,
    member: u32,
    /// As its client knows it.
    pub epoch: i32,
    /// Commits without an answer so far, by partition: offset, and epoch when it was called.
    due: BTreeMap<u32, VecDeque<(i64, i32)>>,
}

impl Log {
    /// Creates the history of a member.
    ///
    /// # Errors
    /// It exists, or can't be written.
    pub fn create(path: &Path, member: u32) -> Result<Self, HistoryError> {
        Ok(Self {
            history: HistoryWriter::create(path)?,
            member,
            epoch: -1,
            due: BTreeMap::new(),
        })
    }

    /// A partition in the member's hands.
    pub fn claim(&self, partition: u32) -> Claim {
        Claim {
            member: self.member,
            epoch: self.epoch,
            partition,
        }
    }

    /// Writes an event.
    ///
    /// # Errors
    /// The history can't be written.
    pub fn tell(&mut self, event: Event) -> Result<(), HistoryError> {
        self.history.append(event)
    }

    /// Writes an event for each partition.
    ///
    /// # Errors
    /// As [`Log::tell`].
    pub fn tell_each(&mut self, partitions: &[u32], event: impl Fn(Claim) -> Event) -> Result<(), HistoryError> {
        let events: Vec<Event> = partitions
            .iter()
            .map(|partition| event(self.claim(*partition)))
            .collect();
        self.history.append_all(events)
    }

    /// Records were handed over.
    ///
    /// # Errors
    /// As [`Log::tell`].
    pub fn polled(&mut self, records: &[Record]) -> Result<(), HistoryError> {
        let (member, epoch) = (self.member, self.epoch);
        let events = runs(records).into_iter().map(|(stretch, run)| match run {
            Some(run) => Event::Polled {
                member,
                epoch,
                run,
                base_offset: stretch.base_offset,
            },
            None => Event::Corrupted(OffsetRun {
                partition: stretch.partition,
                base_offset: stretch.base_offset,
                count: stretch.count,
            }),
        });
        self.history.append_all(events)
    }

    /// The handler is through with records.
    ///
    /// # Errors
    /// As [`Log::tell`].
    pub fn processed(&mut self, stretch: Stretch) -> Result<(), HistoryError> {
        let claim = self.claim(stretch.partition);
        self.tell(Event::Processed {
            claim,
            base_offset: stretch.base_offset,
            count: stretch.count,
        })
    }

    /// Offsets are about to be committed, or stored for the client to commit.
    ///
    /// # Errors
    /// As [`Log::tell`].
    pub fn commit_called(&mut self, offsets: &[(u32, i64)]) -> Result<(), HistoryError> {
        for (partition, offset) in offsets {
            let due = self.due.entry(*partition).or_default();
            due.push_back((*offset, self.epoch));
            if due.len() > DUE_MAX {
                due.pop_front();
            }
        }
        let events: Vec<Event> = offsets
            .iter()
            .map(|(partition, offset)| Event::CommitCalled {
                claim: self.claim(*partition),
                offset: *offset,
            })
            .collect();
        self.history.append_all(events)
    }

    /// The answer to a commit, with a code of Kafka or a negative one of librdkafka. The epoch is the one that stood when it was called; an
    /// earlier call for the same partition will not be answered any more, as only the last offset that is stored is committed.
    ///
    /// # Errors
    /// As [`Log::tell`].
    pub fn committed(&mut self, partition: u32, offset: i64, code: i32) -> Result<(), HistoryError> {
        let mut claim = self.claim(partition);
        if let Some(due) = self.due.get_mut(&partition)
            && let Some(at) = due.iter().position(|(called, _)| *called == offset)
        {
            claim.epoch = due[at].1;
            due.drain(..=at);
        }
        self.tell(Event::Committed {
            claim,
            offset,
            code: code_of(code),
        })
    }

    /// Ends the history.
    ///
    /// # Errors
    /// As [`Log::tell`].
    pub fn finish(self) -> Result<(), HistoryError> {
        self.history.finish()
    }
}

/// What a history holds of an error: the client's own codes say that no answer is known.
fn code_of(code: i32) -> i16 {
    match code {
        0 => NO_CODE,
        ..0 => CODE_CONNECTION,
        _ => i16::try_from(code).unwrap_or(i16::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::HistoryReader;

    #[test]
    fn an_answer_has_the_epoch_of_its_call_and_passes_over_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("member-1.bin");
        let mut log = Log::create(&path, 1).unwrap();
        log.epoch = 4;
        log.commit_called(&[(0, 10)]).unwrap();
        log.commit_called(&[(0, 20)]).unwrap();
        log.epoch = 5;
        log.commit_called(&[(0, 30)]).unwrap();
        log.committed(0, 20, 0).unwrap();
        log.committed(0, 30, 22).unwrap();
        log.committed(0, 31, -195).unwrap();
        log.finish().unwrap();
        let answers: Vec<(i32, i64, i16)> = HistoryReader::open(&path)
            .unwrap()
            .filter_map(|stamped| match stamped.unwrap().event {
                Event::Committed { claim, offset, code } => Some((claim.epoch, offset, code)),
                _ => None,
            })
            .collect();
        assert_eq!(answers, [(4, 20, 0), (5, 30, 22), (5, 31, CODE_CONNECTION)]);
    }
}
