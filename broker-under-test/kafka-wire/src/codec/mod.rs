//! Kafka's compression codecs: what stands behind the header of a compressed batch.
//!
//! Decompression is bounded twice: the caller says how many bytes may come out, and memory grows with what truly comes
//! out (gzip, zstd) or with what the compressed bytes can hold (snappy, lz4), never with a size that they claim.

mod compression;
mod gzip;
mod lz4;
mod snappy;
mod zstd;

pub use compression::{Compression, CompressionError, Levels};

use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::record::RecordIter;

/// A codec, by its id in the attributes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not compressed.
    None = 0,
    /// gzip (RFC 1952).
    Gzip = 1,
    /// Snappy, in the frames of Java's snappy library (`SnappyOutputStream`) or, as librdkafka writes it, raw.
    Snappy = 2,
    /// LZ4 frames of independent blocks.
    Lz4 = 3,
    /// Zstandard frames.
    Zstd = 4,
}

impl Codec {
    /// Every codec, by id.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec of a batch.
    ///
    /// # Errors
    /// [`CodecError::Unknown`] for the ids 5, 6 and 7.
    pub fn of(header: &BatchHeader) -> Result<Self, CodecError> {
        let id = header.codec();
        Self::ALL
            .into_iter()
            .find(|codec| *codec as i16 == id)
            .ok_or(CodecError::Unknown(id))
    }

    /// Its name in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why records could not be compressed or decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// An id that no codec has.
    #[error("compression codec {0} does not exist")]
    Unknown(i16),
    /// More comes out than the caller allows.
    #[error("{codec}: the records take more than {limit_bytes} bytes decompressed, which is the limit")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The caller's limit.
        limit_bytes: usize,
    },
    /// The bytes are not of the codec.
    #[error("{codec}: the piece at byte {at} of the compressed records: {reason}")]
    Malformed {
        /// The codec.
        codec: Codec,
        /// Where the piece begins that can't be read (gzip and zstd: all of it, snappy: a chunk, lz4: a block), counted
        /// from the end of the batch's header.
        at: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The library can't compress.
    #[error("{codec}: compressing failed: {reason}")]
    Failed {
        /// The codec.
        codec: Codec,
        /// What the library says.
        reason: String,
    },
}

impl CodecError {
    fn malformed(codec: Codec, at: usize, reason: impl ToString) -> Self {
        CodecError::Malformed {
            codec,
            at,
            reason: reason.to_string(),
        }
    }

    fn failed(codec: Codec, reason: impl ToString) -> Self {
        CodecError::Failed {
            codec,
            reason: reason.to_string(),
        }
    }
}

/// Compresses the records of batches, one batch after another, with one codec and level.
pub struct Compressor {
    compression: Compression,
    snappy: snap::raw::Encoder,
    zstd: zstd::Writer,
}

impl Compressor {
    /// With that codec and level.
    pub fn new(compression: Compression) -> Self {
        Compressor {
            compression,
            snappy: snap::raw::Encoder::new(),
            zstd: zstd::Writer::default(),
        }
    }

    /// The codec and level.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Appends `section`, the part of a batch behind its header, to `out`, compressed.
    ///
    /// # Errors
    /// [`CodecError::Failed`], when the library has no memory left, or for a section of 4 GiB.
    pub fn compress(&mut self, section: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let level = self.compression.level();
        match self.compression.codec() {
            Codec::None => {
                out.extend_from_slice(section);
                Ok(())
            }
            Codec::Gzip => gzip::compress(section, level, out),
            Codec::Snappy => snappy::compress(&mut self.snappy, section, out),
            Codec::Lz4 => lz4::compress(section, level, out),
            Codec::Zstd => self.zstd.compress(section, level, out),
        }
    }
}

/// Decompresses the records of batches, one batch after another, into memory that is used again.
///
/// ```
/// use kafka_wire::{BatchBuilder, BatchHeader, codec::Decompressor};
/// let mut builder = BatchBuilder::new(1_700_000_000_000);
/// builder.push(1_700_000_000_000, None, b"value");
/// let batch = builder.finish();
/// let header = BatchHeader::checked(batch).unwrap();
/// let mut decompressor = Decompressor::default();
/// let mut records = decompressor.records(header, batch, 1 << 20).unwrap();
/// assert_eq!(records.next().unwrap().unwrap().value, Some(&b"value"[..]));
/// ```
#[derive(Default)]
pub struct Decompressor {
    out: Vec<u8>,
    zstd: zstd::Reader,
}

impl Decompressor {
    /// The records of `batch`, compressed or not, whose header is `header`. At most `limit_bytes` may come out of a
    /// compressed one.
    ///
    /// # Errors
    /// What is compressed can't be decompressed, or is larger. Malformed records are errors of the iterator.
    pub fn records<'a>(
        &'a mut self,
        header: BatchHeader,
        batch: &'a [u8],
        limit_bytes: usize,
    ) -> Result<RecordIter<'a>, CodecError> {
        let section = batch.get(HEADER_BYTES..).unwrap_or(&[]);
        let section = self.decompress(Codec::of(&header)?, section, limit_bytes)?;
        Ok(RecordIter::of_decompressed(header, section))
    }

    /// What `section`, the part of a batch behind its header, holds: itself, if it is not compressed.
    ///
    /// # Errors
    /// It is not what `codec` writes, or more than `limit_bytes` come out.
    pub fn decompress<'a>(
        &'a mut self,
        codec: Codec,
        section: &'a [u8],
        limit_bytes: usize,
    ) -> Result<&'a [u8], CodecError> {
        let out = &mut self.out;
        out.clear();
        match codec {
            Codec::None => return Ok(section),
            Codec::Gzip => gzip::decompress(section, limit_bytes, out)?,
            Codec::Snappy => snappy::decompress(section, limit_bytes, out)?,
            Codec::Lz4 => lz4::decompress(section, limit_bytes, out)?,
            Codec::Zstd => self.zstd.decompress(section, limit_bytes, out)?,
        }
        Ok(out)
    }
}

/// Makes room for `more` bytes at the end of `out`, when no more than `limit_bytes` will be there then, and gives it.
fn grow(out: &mut Vec<u8>, more: usize, limit_bytes: usize, codec: Codec) -> Result<&mut [u8], CodecError> {
    let start = out.len();
    let end = start.checked_add(more).filter(|end| *end <= limit_bytes);
    out.resize(end.ok_or(CodecError::TooLarge { codec, limit_bytes })?, 0);
    Ok(&mut out[start..])
}
