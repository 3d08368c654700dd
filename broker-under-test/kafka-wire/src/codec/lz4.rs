//! LZ4 frames (lz4_Frame_format.md 1.6) of independent blocks, the only ones that Java reads and any client writes.
//!
//! The frame is made and read here, block by block, as Java does it: a library's reader allocates what the frame's
//! header claims, and its writer knows other levels.

use ::lz4::block::{self, CompressionMode};
use twox_hash::XxHash32;

use super::{Codec, CodecError, grow};

/// How a frame begins, little-endian.
const MAGIC: [u8; 4] = 0x184D_2204u32.to_le_bytes();
/// Bits of the flags: version 1 in the upper two, then what the frame has.
const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const HAS_INDEPENDENT_BLOCKS: u8 = 0b0010_0000;
const HAS_BLOCK_CHECKSUMS: u8 = 0b0001_0000;
const HAS_CONTENT_SIZE: u8 = 0b0000_1000;
const HAS_CONTENT_CHECKSUM: u8 = 0b0000_0100;
const HAS_DICTIONARY: u8 = 0b0000_0001;
/// Set in a block's length when the block is not compressed.
const IS_STORED: u32 = 1 << 31;
/// A byte in a block says at most that 255 more bytes follow; the constant covers the first ones of a sequence.
const EXPANSION_MAX: usize = 255;
const EXPANSION_SLACK_BYTES: usize = 64;

/// What Java writes: independent blocks of 64 KiB, nothing else; and the checksum of these two bytes.
const HEAD: [u8; 7] = [
    MAGIC[0],
    MAGIC[1],
    MAGIC[2],
    MAGIC[3],
    VERSION | HAS_INDEPENDENT_BLOCKS,
    4 << 4,
    0x82,
];
const BLOCK_BYTES: usize = 64 * 1024;
/// The level that stands for the fast compressor; every other one is a level of the one that compresses better.
const FAST_LEVEL: i32 = 9;

/// Appends `section` as Java writes it.
pub(super) fn compress(section: &[u8], level: i32, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let failed = |error| CodecError::failed(Codec::Lz4, error);
    let mode = match level {
        FAST_LEVEL => CompressionMode::DEFAULT,
        level => CompressionMode::HIGHCOMPRESSION(level),
    };
    out.extend_from_slice(&HEAD);
    for block in section.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + block::compress_bound(block.len()).map_err(failed)?, 0);
        let bytes = block::compress_to_buffer(block, Some(mode), false, &mut out[start..]).map_err(failed)?;
        out.truncate(start + bytes);
        let mut length = bytes as u32;
        if bytes >= block.len() {
            out.truncate(start);
            out.extend_from_slice(block);
            length = block.len() as u32 | IS_STORED;
        }
        out[length_at..start].copy_from_slice(&length.to_le_bytes());
    }
    // A block of no bytes ends the frame.
    out.extend_from_slice(&[0; 4]);
    Ok(())
}

/// Reads a frame piece by piece and knows where the piece began.
struct Frame<'a> {
    bytes: &'a [u8],
    at: usize,
    piece_at: usize,
}

impl<'a> Frame<'a> {
    fn malformed(&self, reason: impl ToString) -> CodecError {
        CodecError::malformed(Codec::Lz4, self.piece_at, reason)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], CodecError> {
        let rest = &self.bytes[self.at..];
        let taken = rest
            .get(..n)
            .ok_or_else(|| self.malformed(format!("{n} more bytes were announced, {} are there", rest.len())))?;
        self.at += n;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, CodecError> {
        let mut raw = [0; 4];
        raw.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(raw))
    }

    fn check(&mut self, what: &str, checksum: u32) -> Result<(), CodecError> {
        match self.u32()? == checksum {
            true => Ok(()),
            false => Err(self.malformed(format!("the checksum of the {what} does not match"))),
        }
    }
}

/// Appends what `compressed` holds to the empty `out`.
pub(super) fn decompress(compressed: &[u8], limit_bytes: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut frame = Frame {
        bytes: compressed,
        at: 0,
        piece_at: 0,
    };
    let (flags, block_bytes_max) = descriptor(&mut frame)?;
    loop {
        frame.piece_at = frame.at;
        let length = frame.u32()?;
        if length == 0 {
            break;
        }
        let bytes = (length & !IS_STORED) as usize;
        if bytes > block_bytes_max {
            return Err(frame.malformed(format!("a block of {bytes} bytes, the frame allows {block_bytes_max}")));
        }
        let block = frame.take(bytes)?;
        if length & IS_STORED != 0 {
            grow(out, bytes, limit_bytes, Codec::Lz4)?.copy_from_slice(block);
        } else {
            decompress_block(&frame, block, block_bytes_max, limit_bytes, out)?;
        }
        if flags & HAS_BLOCK_CHECKSUMS != 0 {
            frame.check("block", XxHash32::oneshot(0, block))?;
        }
    }
    if flags & HAS_CONTENT_CHECKSUM != 0 {
        frame.check("frame", XxHash32::oneshot(0, out))?;
    }
    match compressed.len() - frame.at {
        0 => Ok(()),
        extra => Err(frame.malformed(format!("{extra} bytes follow the end of the frame"))),
    }
}

/// Reads the frame's head: its flags and the largest block, bytes.
fn descriptor(frame: &mut Frame<'_>) -> Result<(u8, usize), CodecError> {
    if frame.take(4)? != MAGIC {
        return Err(frame.malformed("this is no LZ4 frame"));
    }
    let start = frame.at;
    let (flags, sizes) = (frame.take(1)?[0], frame.take(1)?[0]);
    if flags & VERSION_MASK != VERSION {
        return Err(frame.malformed("the version of the frame is not 1"));
    }
    if flags & HAS_INDEPENDENT_BLOCKS == 0 || flags & HAS_DICTIONARY != 0 {
        return Err(frame.malformed("blocks depend on others or on a dictionary, which no Kafka client reads"));
    }
    let block_bytes_max = match sizes >> 4 & 7 {
        code @ 4..=7 => 1usize << (8 + 2 * code),
        code => return Err(frame.malformed(format!("no block size has the code {code}"))),
    };
    if flags & HAS_CONTENT_SIZE != 0 {
        frame.take(8)?;
    }
    let checksum = (XxHash32::oneshot(0, &frame.bytes[start..frame.at]) >> 8) as u8;
    if frame.take(1)?[0] != checksum {
        return Err(frame.malformed("the checksum of the frame's header does not match"));
    }
    Ok((flags, block_bytes_max))
}

fn decompress_block(
    frame: &Frame<'_>,
    block: &[u8],
    block_bytes_max: usize,
    limit_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let start = out.len();
    let bytes_max = block_bytes_max.min(block.len() * EXPANSION_MAX + EXPANSION_SLACK_BYTES);
    let allowed = bytes_max.min(limit_bytes.saturating_sub(start));
    let room = grow(out, allowed, limit_bytes, Codec::Lz4)?;
    let written = block::decompress_to_buffer(block, Some(allowed as i32), room);
    match written {
        Ok(bytes) => {
            out.truncate(start + bytes);
            Ok(())
        }
        // The library does not say whether the block is wrong or the room too small.
        Err(_) if allowed < bytes_max => Err(CodecError::TooLarge {
            codec: Codec::Lz4,
            limit_bytes,
        }),
        Err(_) => Err(frame.malformed("the block is damaged")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ::lz4::liblz4::{BlockChecksum, BlockMode, BlockSize, ContentChecksum};

    use super::*;

    /// A frame as the library writes it.
    fn frame(text: &[u8], mode: BlockMode, size: BlockSize, with_checksums: bool, content_size: u64) -> Vec<u8> {
        let mut builder = ::lz4::EncoderBuilder::new();
        builder.block_mode(mode).block_size(size).content_size(content_size);
        let (block, content) = match with_checksums {
            true => (BlockChecksum::BlockChecksumEnabled, ContentChecksum::ChecksumEnabled),
            false => (BlockChecksum::NoBlockChecksum, ContentChecksum::NoChecksum),
        };
        let mut encoder = builder
            .block_checksum(block)
            .checksum(content)
            .build(Vec::new())
            .unwrap();
        encoder.write_all(text).unwrap();
        let (frame, result) = encoder.finish();
        result.unwrap();
        frame
    }

    fn text() -> Vec<u8> {
        (0..60_000).flat_map(|i: u32| format!("{i} ").into_bytes()).collect()
    }

    #[test]
    fn everything_that_a_frame_may_have() {
        let text = text();
        for size in [
            BlockSize::Max64KB,
            BlockSize::Max256KB,
            BlockSize::Max1MB,
            BlockSize::Max4MB,
        ] {
            for (with_checksums, content_size) in [
                (false, 0),
                (true, 0),
                (false, text.len() as u64),
                (true, text.len() as u64),
            ] {
                let frame = frame(
                    &text,
                    BlockMode::Independent,
                    size.clone(),
                    with_checksums,
                    content_size,
                );
                let mut out = Vec::new();
                decompress(&frame, text.len(), &mut out).unwrap();
                assert!(out == text, "{size:?} {with_checksums} {content_size}");
            }
        }
    }

    #[test]
    fn blocks_that_depend_on_others_are_refused() {
        let frame = frame(&text(), BlockMode::Linked, BlockSize::Max64KB, false, 0);
        let error = decompress(&frame, usize::MAX, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("depend on others"), "{error}");
    }

    #[test]
    fn every_flipped_bit_of_a_frame_with_checksums_is_noticed() {
        let text = b"text of a frame, text of a frame, text of a frame";
        let frame = frame(
            text,
            BlockMode::Independent,
            BlockSize::Max64KB,
            true,
            text.len() as u64,
        );
        for bit in 0..frame.len() * 8 {
            let mut broken = frame.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(decompress(&broken, 1 << 20, &mut Vec::new()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_block_that_is_damaged_is_told_with_its_place() {
        let mut packed = Vec::new();
        compress(&text(), FAST_LEVEL, &mut packed).unwrap();
        let first = HEAD.len() + 4 + u32::from_le_bytes([packed[7], packed[8], packed[9], packed[10]]) as usize;
        // An offset in the second block that leads in front of it.
        packed[first + 4] = 0x10;
        packed[first + 6] = 0xff;
        packed[first + 7] = 0xff;
        let error = decompress(&packed, 1 << 20, &mut Vec::new()).unwrap_err();
        let CodecError::Malformed { at, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(at, first);
    }
}
