//! Snapshots of the producers of a partition, or of many.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..4 | `APS1` |
//! | 4..12 | everything below is in it: an offset of the partition, or a position in the shared log |
//! | … | the producers of the partition; or, of the shared log, id of the topic (16), partition (4) and producers, again and again |
//! | last 4 | CRC-32C of everything in front |
//!
//! Producers are their number (4), and of each: producer id (8), epoch (2), when it was looked at (8, `i64::MIN` for not yet), number of batches (1), and of
//! each, the oldest first: base sequence (4), last offset delta (4), base offset (8), greatest timestamp (8). Integers are big-endian.
//!
//! Kafka's snapshots hold the last batch of each producer only; these hold all five, so that a restart forgets nothing. One file per partition (or shared
//! log) is replaced as a whole, always behind a flush of what it tells of.

use kafka_wire::Cursor;
use kafka_wire::crc::crc32c;

use super::{BATCHES_MAX, Batch, Producer, Producers};
use crate::log::{LogError, io};
use crate::storage::Storage;

use std::path::Path;

/// Its name, in the folder of a partition.
pub const FILE: &str = "producers.snapshot";
const MAGIC: [u8; 4] = *b"APS1";
const CRC_BYTES: usize = 4;
const NOT_SEEN: i64 = i64::MIN;

/// A snapshot that was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Sealed {
    /// There is none.
    Absent,
    /// There is one that can't be used.
    Damaged,
    /// What it holds.
    Whole {
        /// Everything below is in it.
        until: u64,
        /// The producers.
        body: Vec<u8>,
    },
}

/// The bytes of a snapshot file.
pub fn seal(until: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAGIC.len() + 8 + body.len() + CRC_BYTES);
    out.extend(MAGIC);
    out.extend(until.to_be_bytes());
    out.extend(body);
    out.extend(crc32c(&out).to_be_bytes());
    out
}

impl Sealed {
    /// Reads a snapshot file.
    pub fn read(storage: &dyn Storage, path: &Path) -> Result<Self, LogError> {
        let raw = match storage.read(path) {
            Ok(raw) => raw,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Sealed::Absent),
            Err(e) => return Err(io("read", path)(e)),
        };
        let opened = open(&raw);
        if opened.is_none() {
            tracing::warn!(file = %path.display(), "damaged snapshot of producers, ignored: it is made again from the log");
        }
        Ok(opened.map_or(Sealed::Damaged, |(until, body)| Sealed::Whole {
            until,
            body: body.to_vec(),
        }))
    }
}

/// Removes the snapshot in the folder of a partition that goes, durably and in front of everything else: coming back after a power cut under a log that was
/// made anew there, it would tell of batches that nobody appended.
pub fn forget(storage: &dyn Storage, dir: &Path) -> Result<(), LogError> {
    match storage.remove_file(&dir.join(FILE)) {
        Ok(()) => storage.sync_dir(dir).map_err(io("flush", dir)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io("remove", dir.join(FILE))(e)),
    }
}

fn open(raw: &[u8]) -> Option<(u64, &[u8])> {
    let (covered, crc) = raw.split_last_chunk::<CRC_BYTES>()?;
    let rest = covered.strip_prefix(&MAGIC)?;
    let (until, body) = rest.split_first_chunk::<8>()?;
    (u32::from_be_bytes(*crc) == crc32c(covered)).then_some((u64::from_be_bytes(*until), body))
}

impl Producers {
    /// Appends the bytes of all producers.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend((self.known.len() as u32).to_be_bytes());
        for (id, producer) in &self.known {
            out.extend(id.to_be_bytes());
            out.extend(producer.epoch.to_be_bytes());
            out.extend(producer.seen_ms.unwrap_or(NOT_SEEN).to_be_bytes());
            out.push(producer.count as u8);
            for batch in producer.batches() {
                out.extend(batch.base_sequence.to_be_bytes());
                out.extend(batch.last_offset_delta.to_be_bytes());
                out.extend(batch.base_offset.to_be_bytes());
                out.extend(batch.max_timestamp.to_be_bytes());
            }
        }
    }

    /// Takes producers from the front of `c`, at most `max` of them; `None` when the bytes make no sense.
    pub fn take(c: &mut Cursor, max: usize) -> Option<Self> {
        let mut out = Producers::new(max);
        for _ in 0..c.i32().ok().filter(|count| *count >= 0)? {
            let id = c.i64().ok()?;
            let mut producer = Producer::new(c.i16().ok()?);
            producer.seen_ms = Some(c.i64().ok()?).filter(|ms| *ms != NOT_SEEN);
            let count = usize::try_from(c.i8().ok()?).ok();
            for _ in 0..count.filter(|n| (1..=BATCHES_MAX).contains(n))? {
                producer.add(Batch {
                    base_sequence: c.i32().ok().filter(|sequence| *sequence >= 0)?,
                    last_offset_delta: c.i32().ok().filter(|delta| *delta >= 0)?,
                    base_offset: c.i64().ok()?,
                    max_timestamp: c.i64().ok()?,
                });
            }
            out.make_room();
            out.known.insert(id, producer);
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::batch;
    use super::*;
    use crate::storage::RealDisk;

    fn some() -> Producers {
        let mut producers = Producers::new(100);
        for i in 0..40i32 {
            producers.record(&batch(i64::from(i % 7), 3, 2 * (i / 7), 2), i64::from(i) * 2);
        }
        producers.expire(5_000, 1_000);
        producers.record(&batch(99, -1, i32::MAX, 4), 1 << 40);
        producers
    }

    #[test]
    fn what_is_written_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(Sealed::read(&RealDisk, &path).unwrap(), Sealed::Absent);
        let mut body = Vec::new();
        some().put(&mut body);
        Producers::new(1).put(&mut body);
        RealDisk.replace(&path, &seal(77, &body)).unwrap();
        let Sealed::Whole { until, body } = Sealed::read(&RealDisk, &path).unwrap() else {
            panic!("a good one is not read");
        };
        assert_eq!(until, 77);
        let c = &mut Cursor::new(&body);
        assert_eq!(Producers::take(c, 100).unwrap().known, some().known);
        assert!(Producers::take(c, 100).unwrap().is_empty());
        assert_eq!(c.position(), body.len());
        let fewer = Producers::take(&mut Cursor::new(&body), 3).unwrap();
        assert_eq!(fewer.len(), 3, "a bound that was lowered holds for what is read");
        assert!(fewer.known.contains_key(&99), "the latest ones stay");
    }

    #[test]
    fn every_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut body = Vec::new();
        some().put(&mut body);
        let good = seal(77, &body);
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            for damaged in [&flipped[..], &good[..at]] {
                std::fs::write(&path, damaged).unwrap();
                assert_eq!(Sealed::read(&RealDisk, &path).unwrap(), Sealed::Damaged, "byte {at}");
            }
        }
    }

    #[test]
    fn bytes_that_make_no_sense_are_refused() {
        let mut body = Vec::new();
        some().put(&mut body);
        for end in 0..body.len() {
            assert!(Producers::take(&mut Cursor::new(&body[..end]), 100).is_none(), "{end}");
        }
        let mut one = Producers::new(1);
        one.record(&batch(1, 0, 0, 1), 0);
        let mut body = Vec::new();
        one.put(&mut body);
        for (at, bytes) in [
            (22, &[0u8][..]),
            (22, &[6]),
            (22, &[0xff]),
            (23, &[0xff]),
            (27, &[0x80]),
            (0, &[0xff; 4]),
        ] {
            let mut wrong = body.clone();
            wrong[at..at + bytes.len()].copy_from_slice(bytes);
            let taken = Producers::take(&mut Cursor::new(&wrong), 100);
            assert!(taken.is_none(), "{bytes:?} at {at}");
        }
    }
}
