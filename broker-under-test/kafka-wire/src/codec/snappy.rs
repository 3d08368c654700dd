//! Snappy, in two shapes: Java's snappy library puts a header of 16 bytes in front of chunks that are compressed apart,
//! each behind its length; librdkafka writes one raw stream. Every client reads both.

use super::{Codec, CodecError, grow};
use crate::cursor::Cursor;
use crate::encode::BufMut;

/// How Java's frames begin.
const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Magic, version of the format, oldest version that can read it.
const HEADER_BYTES: usize = 16;
/// What Java writes for both versions.
const VERSION: u32 = 1;
/// Bytes that Java compresses at a time.
const CHUNK_BYTES: usize = 32 * 1024;
/// A copy of 64 bytes takes three, and nothing holds more.
const EXPANSION_MAX: usize = 64 / 3 + 1;

/// Appends `section` as Java writes it.
pub(super) fn compress(encoder: &mut snap::raw::Encoder, section: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    out.extend_from_slice(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(VERSION);
    for chunk in section.chunks(CHUNK_BYTES) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + snap::raw::max_compress_len(chunk.len()), 0);
        let bytes = encoder
            .compress(chunk, &mut out[start..])
            .map_err(|error| CodecError::failed(Codec::Snappy, error))?;
        out.truncate(start + bytes);
        out[length_at..start].copy_from_slice(&(bytes as u32).to_be_bytes());
    }
    Ok(())
}

/// Appends what `compressed` holds to the empty `out`.
pub(super) fn decompress(compressed: &[u8], limit_bytes: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    if !compressed.starts_with(MAGIC) {
        return chunk(compressed, 0, limit_bytes, out);
    }
    let mut cursor = Cursor::new(compressed);
    let cut_off = |at| move |error| CodecError::malformed(Codec::Snappy, at, error);
    cursor.take(HEADER_BYTES).map_err(cut_off(0))?;
    while cursor.remaining() > 0 {
        let at = cursor.position();
        let length = cursor.u32().map_err(cut_off(at))?;
        let piece = cursor.take(length as usize).map_err(cut_off(at))?;
        chunk(piece, at, limit_bytes, out)?;
    }
    Ok(())
}

/// Appends what one raw stream holds.
fn chunk(compressed: &[u8], at: usize, limit_bytes: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let malformed = |error| CodecError::malformed(Codec::Snappy, at, error);
    let claimed = snap::raw::decompress_len(compressed).map_err(malformed)?;
    if claimed > compressed.len().saturating_mul(EXPANSION_MAX) {
        let reason = format!("{} bytes can't hold {claimed}", compressed.len());
        return Err(CodecError::malformed(Codec::Snappy, at, reason));
    }
    let room = grow(out, claimed, limit_bytes, Codec::Snappy)?;
    snap::raw::Decoder::new()
        .decompress(compressed, room)
        .map_err(malformed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_size_costs_no_memory() {
        // A raw stream of one byte that claims 2^32 - 1 of them, alone and as a chunk.
        let raw = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, b'x'];
        let mut framed = Vec::new();
        compress(&mut snap::raw::Encoder::new(), b"good", &mut framed).unwrap();
        let at = framed.len();
        framed.put_u32(raw.len() as u32);
        framed.put_slice(&raw);
        for (section, piece_at) in [(&raw[..], 0), (&framed, at)] {
            let mut out = Vec::new();
            let error = decompress(section, usize::MAX, &mut out).unwrap_err();
            assert!(
                matches!(error, CodecError::Malformed { at, .. } if at == piece_at),
                "{error}"
            );
            assert!(out.capacity() < 100);
        }
    }

    #[test]
    fn what_expands_the_most_is_read() {
        let zeros = vec![0; 1 << 20];
        let raw = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        let mut out = Vec::new();
        decompress(&raw, zeros.len(), &mut out).unwrap();
        assert_eq!(out, zeros);
    }
}
