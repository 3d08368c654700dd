//! Records between poll and handler: what was collected, as runs that the history can name in one event.

use crate::history::Run;
use crate::sequenced::Identity;

/// A record that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Partition, as in the history.
    pub partition: u32,
    /// Its offset.
    pub offset: i64,
    /// Which record it is; `None` when its checksum does not match.
    pub identity: Option<Identity>,
}

/// Records with dense offsets of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The partition.
    pub partition: u32,
    /// The first offset.
    pub base_offset: i64,
    /// How many.
    pub count: u32,
}

impl Stretch {
    /// One past its last offset.
    pub fn end(&self) -> i64 {
        self.base_offset + i64::from(self.count)
    }
}

/// Dense runs of one producer, each with its first offset, in the order of the records. A record without an identity, or one that stands in
/// another partition than it was written to, is a run for itself, with nothing known of it.
pub(super) fn runs(records: &[Record]) -> Vec<(Stretch, Option<Run>)> {
    let mut runs: Vec<(Stretch, Option<Run>)> = Vec::new();
    for record in records {
        let own = record
            .identity
            .filter(|identity| identity.partition == record.partition);
        if let (Some(identity), Some((stretch, Some(run)))) = (own, runs.last_mut())
            && run.producer == identity.producer
            && run.end_sequence() == identity.sequence
            && stretch.partition == record.partition
            && stretch.end() == record.offset
        {
            run.count += 1;
            stretch.count += 1;
            continue;
        }
        let run = own.map(|identity| Run {
            producer: identity.producer,
            partition: identity.partition,
            base_sequence: identity.sequence,
            count: 1,
        });
        runs.push((alone(record), run));
    }
    runs
}

/// Dense stretches of offsets, in the order of the records.
pub(super) fn stretches(records: &[Record]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for record in records {
        match stretches.last_mut() {
            Some(last) if last.partition == record.partition && last.end() == record.offset => last.count += 1,
            _ => stretches.push(alone(record)),
        }
    }
    stretches
}

fn alone(record: &Record) -> Stretch {
    Stretch {
        partition: record.partition,
        base_offset: record.offset,
        count: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: u32, offset: i64, producer: u64, sequence: u64) -> Record {
        let identity = Identity {
            producer,
            partition,
            sequence,
        };
        Record {
            partition,
            offset,
            identity: Some(identity),
        }
    }

    #[test]
    fn runs_end_where_producer_sequence_offset_or_partition_change() {
        let records = [
            record(0, 5, 1, 10),
            record(0, 6, 1, 11),
            record(0, 7, 2, 12),
            record(0, 8, 2, 14),
            record(0, 10, 2, 15),
            record(1, 11, 2, 16),
        ];
        let counts: Vec<u32> = runs(&records)
            .iter()
            .map(|(stretch, run)| {
                assert_eq!(run.unwrap().count, stretch.count);
                stretch.count
            })
            .collect();
        assert_eq!(counts, [2, 1, 1, 1, 1]);
        let counts: Vec<u32> = stretches(&records).iter().map(|stretch| stretch.count).collect();
        assert_eq!(counts, [4, 1, 1]);
    }

    #[test]
    fn a_record_that_is_damaged_or_in_the_wrong_partition_is_no_run() {
        let mut records = [record(0, 5, 1, 10), record(0, 6, 1, 11), record(0, 7, 1, 12)];
        records[1].identity = None;
        let found = runs(&records);
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].1, None);
        records[1] = Record {
            partition: 3,
            ..record(0, 6, 1, 11)
        };
        assert_eq!(runs(&records)[1].1, None);
        assert_eq!(runs(&records)[1].0.partition, 3);
    }
}
