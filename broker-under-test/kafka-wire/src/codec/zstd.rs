//! Zstandard frames, in one go: then the output is the window, and nothing is allocated for the one that a frame claims.

use std::io::Cursor;

use ::zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use ::zstd::zstd_safe::{CCtx, DCtx, compress_bound, get_error_name};

use super::{Codec, CodecError};

/// The first guess of how much comes out, in multiples of what goes in; and how the next guess grows.
const GROWTH: usize = 4;
/// The smallest first guess.
const ROOM_BYTES_MIN: usize = 16 * 1024;

/// Compresses one section after another with one context.
#[derive(Default)]
pub(super) struct Writer {
    context: Option<CCtx<'static>>,
}

impl Writer {
    /// Appends `section` as one frame. Unlike Java, which compresses a stream, it knows the size beforehand: the frame
    /// says it, and tables for a small batch are small.
    pub(super) fn compress(&mut self, section: &[u8], level: i32, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let context = self.context.get_or_insert_with(CCtx::create);
        out.reserve(compress_bound(section.len()));
        let mut end = Cursor::new(&mut *out);
        end.set_position(end.get_ref().len() as u64);
        context
            .compress(&mut end, section, level)
            .map_err(|code| CodecError::failed(Codec::Zstd, get_error_name(code)))?;
        Ok(())
    }
}

/// Decompresses frame after frame with one context.
#[derive(Default)]
pub(super) struct Reader {
    context: Option<DCtx<'static>>,
}

impl Reader {
    /// Appends what `compressed` holds to the empty `out`.
    pub(super) fn decompress(
        &mut self,
        compressed: &[u8],
        limit_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let context = self.context.get_or_insert_with(DCtx::create);
        let mut room_bytes = compressed.len().saturating_mul(GROWTH).max(ROOM_BYTES_MIN);
        loop {
            let is_last = room_bytes.max(out.capacity()) >= limit_bytes;
            // What was not enough is given back before more is taken, and nothing is copied.
            if out.capacity() < room_bytes.min(limit_bytes) {
                *out = Vec::new();
                out.reserve_exact(room_bytes.min(limit_bytes));
            }
            match context.decompress(out, compressed) {
                // The room may be larger than was asked for, from the batch before.
                Ok(bytes) if bytes <= limit_bytes => return Ok(()),
                Ok(_) => break,
                Err(code) if !is_room_too_small(code) => {
                    return Err(CodecError::malformed(Codec::Zstd, 0, get_error_name(code)));
                }
                Err(_) if is_last => break,
                Err(_) => room_bytes = room_bytes.max(out.capacity()).saturating_mul(GROWTH),
            }
        }
        out.clear();
        Err(CodecError::TooLarge {
            codec: Codec::Zstd,
            limit_bytes,
        })
    }
}

/// The library's error codes are negative numbers in an unsigned type.
fn is_room_too_small(code: usize) -> bool {
    code == (ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_size_and_window_cost_no_memory() {
        // A frame of one raw block of one byte: magic, descriptor, size or window, block header, the byte.
        let sized = [
            &[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..],
            &(1u64 << 40).to_le_bytes(),
            &[9, 0, 0, b'x'],
        ]
        .concat();
        let windowed = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xff, 9, 0, 0, b'x'];
        for frame in [&sized[..], &windowed] {
            let mut out = Vec::new();
            let result = Reader::default().decompress(frame, 1 << 30, &mut out);
            assert!(
                matches!(&result, Err(CodecError::Malformed { .. }) | Ok(())),
                "{result:?}"
            );
            assert!(out.len() <= 1 && out.capacity() <= ROOM_BYTES_MIN, "{}", out.capacity());
        }
    }

    #[test]
    fn frames_in_a_row() {
        let mut writer = Writer::default();
        let mut packed = Vec::new();
        for part in [&b"one "[..], b"", b"two"] {
            writer.compress(part, 3, &mut packed).unwrap();
        }
        let mut out = Vec::new();
        Reader::default().decompress(&packed, 7, &mut out).unwrap();
        assert_eq!(out, b"one two");
    }
}
