//! Frames (a 4-byte length, then that many bytes) and the request header, without I/O.

use crate::cursor::{Cursor, Result, WireError};
use crate::{ApiKey, api};

/// Bytes that a fresh buffer has; small requests never grow it.
const INITIAL_BYTES: usize = 64 * 1024;
/// A buffer that reads fill completely grows up to this, so that a client that pipelines is served with fewer reads.
const READ_BYTES_MAX: usize = 256 * 1024;
/// A buffer that grew beyond this for one frame shrinks back after it.
const KEEP_BYTES: usize = 4 * 1024 * 1024;

/// Collects bytes from a socket and hands out whole frames.
///
/// The buffer grows with the bytes that have arrived (it at most doubles), never with the length that was announced:
/// a client that claims 100 MB and sends 10 bytes costs 64 KiB.
///
/// ```
/// let mut buffer = kafka_wire::FrameBuffer::new(1024);
/// buffer.space()[..6].copy_from_slice(&[0, 0, 0, 2, 7, 8]);
/// buffer.advance(6);
/// assert_eq!(buffer.frame().unwrap(), Some(&[7u8, 8][..]));
/// buffer.consume_frame();
/// assert_eq!(buffer.frame().unwrap(), None);
/// ```
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    frame_bytes_max: usize,
    /// The last read filled all the room there was.
    filled: bool,
}

impl FrameBuffer {
    /// A buffer for frames of at most `frame_bytes_max` bytes (without the 4 length bytes).
    pub fn new(frame_bytes_max: usize) -> Self {
        FrameBuffer {
            bytes: vec![0; INITIAL_BYTES],
            start: 0,
            end: 0,
            frame_bytes_max,
            filled: false,
        }
    }

    /// Bytes of the frame at the front, when its length has arrived.
    fn announced(&self) -> Result<Option<usize>> {
        if self.end - self.start < 4 {
            return Ok(None);
        }
        let length = Cursor::new(&self.bytes[self.start..self.end]).i32()?;
        match usize::try_from(length) {
            Ok(n) if n <= self.frame_bytes_max => Ok(Some(n)),
            _ => Err(WireError::InvalidLength {
                at: 0,
                length: i64::from(length),
            }),
        }
    }

    /// The frame at the front, when all of it has arrived.
    ///
    /// # Errors
    /// A negative length or one above the limit: the connection can't be understood any more.
    pub fn frame(&self) -> Result<Option<&[u8]>> {
        match self.announced()? {
            Some(n) if self.end - self.start - 4 >= n => Ok(Some(&self.bytes[self.start + 4..self.start + 4 + n])),
            _ => Ok(None),
        }
    }

    /// Drops the frame at the front.
    pub fn consume_frame(&mut self) {
        if let Ok(Some(n)) = self.announced() {
            self.start = (self.start + 4 + n).min(self.end);
        }
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.bytes.len() > KEEP_BYTES {
                self.bytes.truncate(INITIAL_BYTES);
                self.bytes.shrink_to_fit();
            }
        }
    }

    /// Whether bytes of an unfinished frame are waiting.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room for the next read; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 && self.bytes.len() - self.end < INITIAL_BYTES / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.filled && self.bytes.len() < READ_BYTES_MAX {
            self.bytes.resize((self.bytes.len() * 2).min(READ_BYTES_MAX), 0);
        }
        if self.end == self.bytes.len() {
            // Full of one unfinished frame: double, but not beyond what the frame needs.
            let doubled = self.bytes.len() * 2;
            let needed = self
                .announced()
                .ok()
                .flatten()
                .map_or(doubled, |n| n + 4)
                .max(self.end + 1);
            self.bytes.resize(doubled.min(needed.max(INITIAL_BYTES)), 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Says that `n` bytes were read into [`Self::space`].
    pub fn advance(&mut self, n: usize) {
        self.end = (self.end + n).min(self.bytes.len());
        self.filled = self.end == self.bytes.len();
    }

    /// Memory held, for tests of the bound.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// The header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// API key as it came.
    pub api_key: i16,
    /// API version as it came.
    pub api_version: i16,
    /// Echoed in the response.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// Parses a header and leaves `cursor` at the body.
    ///
    /// An unknown API or version gives a header too, with the cursor behind the client id, so that the caller can
    /// answer it.
    pub fn parse(cursor: &mut Cursor<'a>) -> Result<Self> {
        let api_key = cursor.i16()?;
        let api_version = cursor.i16()?;
        let correlation_id = cursor.i32()?;
        let client_id = cursor.nullable_string(false)?;
        let flexible = ApiKey::from_code(api_key).is_some_and(|k| k.serves(api_version) && k.is_flexible(api_version));
        if flexible {
            cursor.skip_tagged_fields()?;
        }
        Ok(RequestHeader {
            api_key,
            api_version,
            correlation_id,
            client_id,
        })
    }

    /// The API, when this version of it is served.
    pub fn served(&self) -> Result<ApiKey> {
        ApiKey::from_code(self.api_key)
            .filter(|key| key.serves(self.api_version))
            .ok_or(WireError::Unsupported {
                key: self.api_key,
                version: self.api_version,
            })
    }
}

/// Starts a request: length placeholder and header. Finish it with [`finish_frame`].
pub fn start_request(out: &mut Vec<u8>, key: api::ApiKey, version: i16, correlation_id: i32, client_id: &str) -> usize {
    use crate::encode::Encode;
    use bytes::BufMut;
    let start = out.len();
    out.put_i32(0);
    out.put_i16(key.code());
    out.put_i16(version);
    out.put_i32(correlation_id);
    out.put_string(client_id, false);
    out.put_no_tags(key.is_flexible(version));
    start
}

/// Writes the length of the frame that began at `start`.
pub fn finish_frame(out: &mut [u8], start: usize) {
    finish_frame_with(out, start, 0);
}

/// As [`finish_frame`], for a frame that `extra` further bytes follow which are not in `out` (they come from a file).
pub fn finish_frame_with(out: &mut [u8], start: usize, extra: usize) {
    let length = (out.len() - start - 4 + extra) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_length_costs_nothing() {
        let mut buffer = FrameBuffer::new(100 << 20);
        buffer.space()[..4].copy_from_slice(&(90i32 << 20).to_be_bytes());
        buffer.advance(10);
        assert_eq!(buffer.frame(), Ok(None));
        assert!(!buffer.space().is_empty());
        assert!(buffer.capacity() <= INITIAL_BYTES);
        for hostile in [i32::MAX, -1, i32::MIN, (100 << 20) + 1] {
            let mut buffer = FrameBuffer::new(100 << 20);
            buffer.space()[..4].copy_from_slice(&hostile.to_be_bytes());
            buffer.advance(4);
            assert!(buffer.frame().is_err());
        }
    }

    #[test]
    fn reads_that_fill_the_buffer_make_it_larger_up_to_a_bound() {
        let mut frame = 1000u32.to_be_bytes().to_vec();
        frame.resize(1004, 7);
        let mut buffer = FrameBuffer::new(1 << 20);
        for _ in 0..1000 {
            // Whole frames, as many as there is room for, as a client that never stops would send them.
            let space = buffer.space();
            let n = space.len();
            for (at, byte) in space.iter_mut().enumerate() {
                *byte = frame[at % 1004];
            }
            buffer.advance(n);
            while buffer.frame().unwrap().is_some() {
                buffer.consume_frame();
            }
            // The rest of the last frame is not looked at here.
            buffer = FrameBuffer {
                start: 0,
                end: 0,
                ..buffer
            };
        }
        assert_eq!(buffer.capacity(), READ_BYTES_MAX);
        let mut calm = FrameBuffer::new(1 << 20);
        for _ in 0..1000 {
            calm.space()[..1004].copy_from_slice(&frame);
            calm.advance(1004);
            assert!(calm.frame().unwrap().is_some());
            calm.consume_frame();
        }
        assert_eq!(calm.capacity(), INITIAL_BYTES);
    }

    #[test]
    fn frames_in_any_pieces() {
        let mut stream = Vec::new();
        let frames: Vec<Vec<u8>> = [0usize, 1, 5, 70_000, 200_000, 3]
            .iter()
            .map(|&n| vec![n as u8; n])
            .collect();
        for frame in &frames {
            stream.extend((frame.len() as u32).to_be_bytes());
            stream.extend(frame);
        }
        for piece in [1usize, 7, 4096, 1 << 20] {
            let mut buffer = FrameBuffer::new(1 << 20);
            let mut seen = Vec::new();
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let space = buffer.space();
                let n = piece.min(space.len()).min(rest.len());
                space[..n].copy_from_slice(&rest[..n]);
                buffer.advance(n);
                rest = &rest[n..];
                while let Some(frame) = buffer.frame().unwrap() {
                    seen.push(frame.to_vec());
                    buffer.consume_frame();
                }
            }
            assert_eq!(seen, frames, "in pieces of {piece}");
            assert!(buffer.is_empty());
        }
    }
}
