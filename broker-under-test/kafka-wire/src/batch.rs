//! Record batches of message format 2 (KIP-98): the 61-byte header and its checks.
//!
//! The CRC starts at the attributes, so that a broker may stamp base offset and leader epoch and nothing else.

use crate::crc::crc32c;
use crate::cursor::{Cursor, WireError};

/// Bytes of a batch header.
pub const HEADER_BYTES: usize = 61;
/// Bytes in front of what `batch_length` counts: base offset and the length itself.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the message format stands, in every format.
const MAGIC_AT: usize = 16;
/// Where the checksummed part begins.
pub const CRC_START: usize = 21;

/// The header of a record batch, as it stands on the wire and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after the length field.
    pub batch_length: i32,
    /// Leader epoch, stamped by the broker.
    pub partition_leader_epoch: i32,
    /// Message format, 2.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Bits 0-2 compression, 3 timestamp type, 4 transactional, 5 control.
    pub attributes: i16,
    /// Offset of the last record minus the base offset.
    pub last_offset_delta: i32,
    /// Milliseconds since 1970.
    pub base_timestamp: i64,
    /// Milliseconds since 1970.
    pub max_timestamp: i64,
    /// Producer id, or -1.
    pub producer_id: i64,
    /// Producer epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Records in the batch.
    pub records_count: i32,
}

/// What is wrong with a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch is cut off: {needed} bytes are announced, {remaining} are there")]
    Truncated {
        /// Bytes that the batch claims.
        needed: u64,
        /// Bytes there are.
        remaining: usize,
    },
    /// A length that no batch has.
    #[error("batch length {0} is impossible")]
    InvalidLength(i32),
    /// Not message format 2.
    #[error("message format {0} is not supported, only 2 is")]
    UnsupportedMagic(i8),
    /// The checksum does not match.
    #[error("CRC-32C is {computed:#010x}, the header says {stored:#010x}")]
    Crc {
        /// Of the bytes.
        computed: u32,
        /// In the header.
        stored: u32,
    },
    /// Record count and last offset delta disagree, or there is no record.
    #[error("{records} records with a last offset delta of {last_offset_delta}")]
    RecordCount {
        /// `records_count`.
        records: i32,
        /// `last_offset_delta`.
        last_offset_delta: i32,
    },
    /// A compression codec that does not exist.
    #[error("compression codec {0} does not exist")]
    UnknownCodec(i16),
    /// A client sent a control batch.
    #[error("control batches are written by brokers only")]
    ControlBatch,
    /// A batch of an idempotent producer without a sequence.
    #[error("sequence {0} in a batch that has a producer id")]
    Sequence(i32),
    /// Bytes behind the batch where only one batch is allowed.
    #[error("{0} bytes follow the batch, a partition of a produce request holds exactly one")]
    TrailingBytes(usize),
    /// The records can't be walked over as they are.
    #[error("the records are compressed with codec {0} and must be decompressed first")]
    Compressed(i16),
    /// A record inside is malformed, or bytes follow the last one.
    #[error("record {index}: {source}")]
    Record {
        /// Index in the batch.
        index: i32,
        /// What is wrong; positions count from the first byte of the records, decompressed.
        source: WireError,
    },
}

impl BatchHeader {
    /// Parses the header at the front of `bytes` and checks magic and length, not the CRC.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] when fewer than 61 bytes are there; the body may still be missing.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let truncated = |_| BatchError::Truncated {
            needed: HEADER_BYTES as u64,
            remaining: bytes.len(),
        };
        // First, as messages of the old formats may be shorter than a header of this one.
        if let Some(magic) = bytes.get(MAGIC_AT).map(|byte| *byte as i8).filter(|magic| *magic != 2) {
            return Err(BatchError::UnsupportedMagic(magic));
        }
        let mut c = Cursor::new(bytes);
        let mut read = || -> Result<BatchHeader, WireError> {
            Ok(BatchHeader {
                base_offset: c.i64()?,
                batch_length: c.i32()?,
                partition_leader_epoch: c.i32()?,
                magic: c.i8()?,
                crc: c.u32()?,
                attributes: c.i16()?,
                last_offset_delta: c.i32()?,
                base_timestamp: c.i64()?,
                max_timestamp: c.i64()?,
                producer_id: c.i64()?,
                producer_epoch: c.i16()?,
                base_sequence: c.i32()?,
                records_count: c.i32()?,
            })
        };
        let header = read().map_err(truncated)?;
        if header.batch_length < (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32 {
            return Err(BatchError::InvalidLength(header.batch_length));
        }
        Ok(header)
    }

    /// Parses and checks the batch at the front of `bytes`: header, length, record count, codec and CRC.
    pub fn checked(bytes: &[u8]) -> Result<Self, BatchError> {
        Self::checked_with(bytes, Self::is_dense)
    }

    /// As [`Self::checked`], for a batch in a log that may be compacted: it may have fewer records than offsets.
    pub fn checked_stored(bytes: &[u8]) -> Result<Self, BatchError> {
        Self::checked_with(bytes, |h| {
            h.records_count >= 1 && h.last_offset_delta >= h.records_count - 1
        })
    }

    fn checked_with(bytes: &[u8], count_is_right: impl Fn(&Self) -> bool) -> Result<Self, BatchError> {
        let header = Self::parse(bytes)?;
        let total = header.total_bytes();
        if total > bytes.len() {
            return Err(BatchError::Truncated {
                needed: total as u64,
                remaining: bytes.len(),
            });
        }
        if !count_is_right(&header) {
            let (records, last_offset_delta) = (header.records_count, header.last_offset_delta);
            return Err(BatchError::RecordCount {
                records,
                last_offset_delta,
            });
        }
        if header.codec() > 4 {
            return Err(BatchError::UnknownCodec(header.codec()));
        }
        let computed = crc32c(&bytes[CRC_START..total]);
        if computed != header.crc {
            return Err(BatchError::Crc {
                computed,
                stored: header.crc,
            });
        }
        Ok(header)
    }

    /// What a broker asks of the one batch that a client sends for a partition.
    pub fn checked_from_client(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::checked(bytes)?;
        if header.has_producer() && header.base_sequence < 0 {
            return Err(BatchError::Sequence(header.base_sequence));
        }
        if header.is_control() {
            return Err(BatchError::ControlBatch);
        }
        match bytes.len() - header.total_bytes() {
            0 => Ok(header),
            extra => Err(BatchError::TrailingBytes(extra)),
        }
    }

    /// Bytes of the whole batch.
    pub fn total_bytes(&self) -> usize {
        LENGTH_PREFIX_BYTES + self.batch_length.max(0) as usize
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Whether an idempotent producer wrote the batch: only then its sequences mean something.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence of the last record. Behind [`i32::MAX`] they begin again at 0.
    pub fn last_sequence(&self) -> i32 {
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last & i64::from(i32::MAX)) as i32
    }

    /// Whether every offset of the batch has its record, as when it was produced.
    pub fn is_dense(&self) -> bool {
        self.records_count >= 1 && self.last_offset_delta == self.records_count - 1
    }

    /// Compression codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec(&self) -> i16 {
        self.attributes & 7
    }

    /// Whether the broker stamped the batch: then all its records have its greatest timestamp.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & 8 != 0
    }

    /// Whether this is a control batch.
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Whether this batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }
}

/// Writes the broker's part of the header: base offset and leader epoch. The CRC does not cover them.
pub fn stamp(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Walks over the whole batches in `bytes`; a last one that is cut off ends it without an error, as a fetch may cut.
#[derive(Debug, Clone)]
pub struct BatchIter<'a> {
    rest: &'a [u8],
}

impl<'a> BatchIter<'a> {
    /// Over the batches in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        BatchIter { rest: bytes }
    }

    /// Bytes that have not been handed out: the tail of a batch that is cut off.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < HEADER_BYTES {
            return None;
        }
        let header = match BatchHeader::parse(self.rest) {
            Ok(header) => header,
            Err(error) => {
                self.rest = &[];
                return Some(Err(error));
            }
        };
        let total = header.total_bytes();
        if total > self.rest.len() {
            return None;
        }
        let (batch, rest) = self.rest.split_at(total);
        self.rest = rest;
        Some(Ok((header, batch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, RecordIter};

    fn three() -> Vec<u8> {
        let mut builder = BatchBuilder::new(1000);
        for i in 0..3u8 {
            let expected = builder.total_bytes() + builder.record_bytes(1000 + i64::from(i), Some(&[i]), 100);
            builder.push(1000 + i64::from(i), Some(&[i]), &[i; 100]);
            assert_eq!(builder.total_bytes(), expected);
        }
        builder.finish().to_vec()
    }

    #[test]
    fn round_trip() {
        let mut batch = three();
        stamp(&mut batch, 42, 7);
        let header = BatchHeader::checked_from_client(&batch).unwrap();
        assert_eq!(
            (header.base_offset, header.last_offset(), header.partition_leader_epoch),
            (42, 44, 7)
        );
        assert_eq!((header.base_timestamp, header.max_timestamp), (1000, 1002));
        let records: Vec<_> = RecordIter::new(header, &batch).map(|r| r.unwrap()).collect();
        assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), [42, 43, 44]);
        assert_eq!(records[2].value, Some(&[2u8; 100][..]));
        assert_eq!(records[1].key, Some(&[1u8][..]));
    }

    #[test]
    fn sequences_wrap_and_must_be_there() {
        let with = |id: i64, sequence: i32| {
            let mut builder = BatchBuilder::new(1000);
            builder.producer(id, 0, sequence);
            (0..3).for_each(|_| builder.push(1000, None, b"x"));
            BatchHeader::checked_from_client(builder.finish())
        };
        for (base, last) in [(0, 2), (i32::MAX - 2, i32::MAX), (i32::MAX - 1, 0), (i32::MAX, 1)] {
            assert_eq!(with(7, base).unwrap().last_sequence(), last, "{base}");
        }
        assert!(matches!(with(0, -1), Err(BatchError::Sequence(-1))));
        assert!(!with(-1, -1).unwrap().has_producer());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let batch = three();
        for bit in CRC_START * 8..batch.len() * 8 {
            let mut broken = batch.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(BatchHeader::checked(&broken).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn wrong_counts_and_lengths() {
        let recrc = |mut b: Vec<u8>| {
            let crc = crc32c(&b[CRC_START..]);
            b[17..21].copy_from_slice(&crc.to_be_bytes());
            b
        };
        let mut broken = three();
        broken[57..61].copy_from_slice(&2i32.to_be_bytes());
        assert!(matches!(
            BatchHeader::checked(&recrc(broken)),
            Err(BatchError::RecordCount { .. })
        ));
        let mut broken = three();
        broken[57..61].copy_from_slice(&i32::MIN.to_be_bytes());
        broken[23..27].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(matches!(
            BatchHeader::checked(&recrc(broken)),
            Err(BatchError::RecordCount { .. })
        ));
        for length in [i32::MAX, -1, 0, 48] {
            let mut broken = three();
            broken[8..12].copy_from_slice(&length.to_be_bytes());
            assert!(BatchHeader::checked(&broken).is_err(), "{length}");
        }
        let mut two = three();
        two.extend(three());
        assert!(matches!(
            BatchHeader::checked_from_client(&two),
            Err(BatchError::TrailingBytes(_))
        ));
        assert_eq!(BatchIter::new(&two[..two.len() - 1]).count(), 1);
        assert!(BatchHeader::parse(&[0; 60]).is_err());
    }
}
