//! gzip. Several members in a row are one stream, as for Java; every client writes one.

use std::io::{Read, Write};

use super::{Codec, CodecError};

/// Appends `section` as one member. Level -1 is zlib's own default.
pub(super) fn compress(section: &[u8], level: i32, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let level = u32::try_from(level).map_or(flate2::Compression::default(), flate2::Compression::new);
    let mut writer = flate2::write::GzEncoder::new(out, level);
    let written = writer.write_all(section).and_then(|()| writer.try_finish());
    written.map_err(|error| CodecError::failed(Codec::Gzip, error))
}

/// Appends what `compressed` holds to the empty `out`.
pub(super) fn decompress(compressed: &[u8], limit_bytes: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    // One byte more than allowed tells a stream that ends in time from one that does not.
    let reader = flate2::bufread::MultiGzDecoder::new(compressed);
    reader
        .take(limit_bytes as u64 + 1)
        .read_to_end(out)
        .map_err(|error| CodecError::malformed(Codec::Gzip, 0, error))?;
    if out.len() > limit_bytes {
        let codec = Codec::Gzip;
        return Err(CodecError::TooLarge { codec, limit_bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_in_a_row() {
        let mut packed = Vec::new();
        for (part, level) in [(&b"one "[..], -1), (b"", 1), (b"two", 9)] {
            compress(part, level, &mut packed).unwrap();
        }
        let mut out = Vec::new();
        decompress(&packed, 7, &mut out).unwrap();
        assert_eq!(out, b"one two");
    }
}
