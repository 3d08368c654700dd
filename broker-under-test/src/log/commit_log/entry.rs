//! Entries of a consume queue, in two kinds.
//!
//! **`batch`**, 32 bytes, one for each batch; a batch is found by binary search over base offsets:
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..8 | position of the batch in the shared log, behind its frame header |
//! | 8..16 | base offset |
//! | 16..24 | greatest timestamp so far in this file of the queue |
//! | 24..28 | bytes of the batch |
//! | 28..32 | CRC-32C of bytes 0..28 |
//!
//! **`record`**, 20 bytes, one for each record, RocketMQ's way and at its cost: the entry of an offset stands at 20 times the offset, and all records of
//! a batch have the same position. RocketMQ has the hash of a tag where the timestamp is.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..8 | position of the batch in the shared log, behind its frame header |
//! | 8..12 | bytes of the batch |
//! | 12..20 | greatest timestamp so far in this file of the queue |
//!
//! Integers are big-endian. As the greatest timestamp *so far* never falls within a file, a time is found by binary search too, and exactly: the first
//! entry at or above a time is the first batch that has a record at or above it.

use kafka_wire::batch::HEADER_BYTES;
use kafka_wire::crc::crc32c;

/// What a consume queue has an entry for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Each batch.
    Batch,
    /// Each record.
    Record,
}

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In the shared log.
    pub position: u64,
    /// Its length.
    pub bytes: u32,
    /// Offset of its first record; with an entry per record, the offset of the record that the entry is for.
    pub offset: i64,
    /// Greatest timestamp up to and with this entry in its file of the queue.
    pub time_max: i64,
}

impl EntryKind {
    /// All kinds with their names in `commit.log.entries`.
    pub const ALL: [(EntryKind, &'static str); 2] = [(EntryKind::Batch, "batch"), (EntryKind::Record, "record")];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            EntryKind::Batch => "batch",
            EntryKind::Record => "record",
        }
    }

    /// Bytes of an entry.
    pub fn width(self) -> usize {
        match self {
            EntryKind::Batch => 32,
            EntryKind::Record => 20,
        }
    }

    /// Appends the bytes of an entry.
    pub(super) fn encode(self, place: &Place, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(place.position.to_be_bytes());
        match self {
            EntryKind::Batch => {
                out.extend(place.offset.to_be_bytes());
                out.extend(place.time_max.to_be_bytes());
                out.extend(place.bytes.to_be_bytes());
                out.extend(crc32c(&out[start..]).to_be_bytes());
            }
            EntryKind::Record => {
                out.extend(place.bytes.to_be_bytes());
                out.extend(place.time_max.to_be_bytes());
            }
        }
    }

    /// The entry with that number in its queue; `None` when it is damaged.
    pub(super) fn decode(self, raw: &[u8], number: u64) -> Option<Place> {
        let long = |at: usize| raw.get(at..)?.first_chunk().map(|b| u64::from_be_bytes(*b));
        let word = |at: usize| raw.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b));
        let place = match self {
            EntryKind::Batch => Place {
                position: long(0)?,
                offset: long(8)? as i64,
                time_max: long(16)? as i64,
                bytes: word(24)?,
            },
            EntryKind::Record => Place {
                position: long(0)?,
                bytes: word(8)?,
                time_max: long(12)? as i64,
                offset: number as i64,
            },
        };
        let whole = self == EntryKind::Record || word(28)? == crc32c(&raw[..28]);
        (whole && place.bytes as usize >= HEADER_BYTES).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_damage_is_seen() {
        let place = Place {
            position: 1 << 40,
            bytes: 61,
            offset: 12,
            time_max: -1,
        };
        for (kind, _) in EntryKind::ALL {
            let mut raw = Vec::new();
            kind.encode(&place, &mut raw);
            assert_eq!(raw.len(), kind.width());
            assert_eq!(kind.decode(&raw, 12), Some(place));
            assert_eq!(kind.decode(&vec![0; kind.width()], 12), None, "a hole in the file");
            assert_eq!(kind.decode(&raw[1..], 12), None);
        }
        let mut raw = Vec::new();
        EntryKind::Batch.encode(&place, &mut raw);
        raw[3] ^= 1;
        assert_eq!(EntryKind::Batch.decode(&raw, 12), None);
    }
}
