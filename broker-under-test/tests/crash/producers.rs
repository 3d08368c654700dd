//! Idempotent producers of the workload: what each of them appended last to a partition, and may send again at any time.

use broker_under_test::log::Log;
use kafka_wire::BatchHeader;

use crate::model::{Partition, Random};

/// Ids of the producers; each writes to every partition now and then.
pub const IDS: [i64; 2] = [41, 42];
/// Batches that a broker has to know.
const KNOWN: usize = 5;

/// What a producer id, an epoch and a base sequence are to a batch.
pub type Identity = (i64, i16, i32);

/// A producer in a partition.
#[derive(Debug)]
pub struct Producer {
    epoch: i16,
    /// The greatest epoch that was ever sent, whatever became of it.
    sent_epoch: i16,
    next: i32,
    /// The last batches of this epoch that are there, with their offsets, the oldest first.
    recent: Vec<(i64, Vec<u8>)>,
}

impl Default for Producer {
    /// Who is not known begins anywhere: in front of the wrap.
    fn default() -> Self {
        Producer {
            epoch: 0,
            sent_epoch: 0,
            next: i32::MAX - 3,
            recent: Vec::new(),
        }
    }
}

impl Producer {
    /// What it writes into its next batch; now and then it begins a new epoch.
    pub fn next(&mut self, id: i64, random: &mut Random) -> Identity {
        let begins_anew = !self.recent.is_empty() && random.chance(5);
        let (epoch, sequence) = if begins_anew {
            (self.sent_epoch + 1, 0)
        } else {
            (self.epoch, self.next)
        };
        self.sent_epoch = self.sent_epoch.max(epoch);
        (id, epoch, sequence)
    }

    /// Its batch is there.
    pub fn appended(&mut self, header: &BatchHeader, base_offset: i64, batch: &[u8]) {
        if header.producer_epoch != self.epoch {
            self.recent.clear();
        }
        self.epoch = header.producer_epoch;
        self.next = header.last_sequence().checked_add(1).unwrap_or(0);
        self.recent.push((base_offset, batch.to_vec()));
        let extra = self.recent.len().saturating_sub(KNOWN);
        self.recent.drain(..extra);
    }

    /// One of the batches that it may send again, and where it is.
    pub fn any_recent(&self, random: &mut Random) -> Option<(i64, Vec<u8>)> {
        let at = random.below(self.recent.len() as u64) as usize;
        self.recent.get(at).cloned()
    }
}

/// After a start: of each producer what is left in the log.
fn learn(partition: &mut Partition) {
    for id in IDS {
        let sent_epoch = partition.producers.get(&id).map(|producer| producer.sent_epoch);
        let mut producer = Producer {
            // When nothing of it is left, nobody knows what is known of it.
            epoch: sent_epoch.map_or(0, |epoch| epoch + 1),
            sent_epoch: sent_epoch.unwrap_or(0),
            next: sent_epoch.map_or(i32::MAX - 3, |_| 0),
            recent: Vec::new(),
        };
        for (base_offset, batch) in &partition.content {
            let header = BatchHeader::parse(batch).unwrap();
            if header.producer_id == id {
                producer.appended(&header, *base_offset, batch);
            }
        }
        partition.producers.insert(id, producer);
    }
}

/// Sends again, after a start, what each producer wrote last.
///
/// # Errors
/// What is wrong, in words.
pub fn repeat_all(log: &dyn Log, partition: &mut Partition) -> Result<(), String> {
    learn(partition);
    let end = log.bounds().end();
    for (id, producer) in &partition.producers {
        for (base_offset, batch) in &producer.recent {
            let header = BatchHeader::checked_from_client(batch).unwrap();
            let again = log
                .append(&header, batch)
                .map_err(|e| format!("producer {id} repeats the batch at {base_offset}: {e}"))?;
            if again.repeats_ms.is_none() || again.base_offset != *base_offset || log.bounds().end() != end {
                return Err(format!(
                    "producer {id} repeats the batch at {base_offset}: appended again at {}",
                    again.base_offset
                ));
            }
        }
    }
    Ok(())
}
