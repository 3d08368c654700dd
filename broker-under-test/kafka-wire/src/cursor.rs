//! A bounded reader over bytes that came from a stranger.
//!
//! A length is never believed: it is compared with the bytes that remain before anything is done with it, so a
//! hostile `i32::MAX` costs an error and no memory.

/// What is wrong with bytes from the wire; `at` is the byte position inside the frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes ended inside a field.
    #[error("truncated at byte {at}: {needed} more bytes were announced, {remaining} are there")]
    Truncated {
        /// Position in the frame.
        at: usize,
        /// Bytes that the field needs.
        needed: u64,
        /// Bytes that remain.
        remaining: usize,
    },
    /// A length or count that no valid message has.
    #[error("invalid length {length} at byte {at}")]
    InvalidLength {
        /// Position in the frame.
        at: usize,
        /// The length as it stood on the wire.
        length: i64,
    },
    /// More elements than any request may have.
    #[error("more than {limit} elements at byte {at}")]
    TooManyElements {
        /// Position in the frame.
        at: usize,
        /// The bound.
        limit: usize,
    },
    /// Text that is not UTF-8.
    #[error("a string at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Position in the frame.
        at: usize,
    },
    /// A variable-length integer of more than its type's bytes.
    #[error("a variable-length integer at byte {at} is too long")]
    VarintTooLong {
        /// Position in the frame.
        at: usize,
    },
    /// Bytes after the end of the message.
    #[error("{extra} bytes follow the end of the message at byte {at}")]
    TrailingBytes {
        /// Position in the frame.
        at: usize,
        /// How many.
        extra: usize,
    },
    /// An API or a version that this table does not hold.
    #[error("API {key} version {version} is not supported")]
    Unsupported {
        /// API key.
        key: i16,
        /// API version.
        version: i16,
    },
    /// A tag that came twice or out of order.
    #[error("tagged field {tag} at byte {at} is out of order")]
    TagOrder {
        /// Position in the frame.
        at: usize,
        /// The tag.
        tag: u32,
    },
}

/// Result of a wire operation.
pub type Result<T> = std::result::Result<T, WireError>;

/// Reads big-endian Kafka primitives from a slice, never past its end.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! fixed {
    ($($name:ident: $type:ty),*) => {$(
        /// Reads one big-endian value.
        pub fn $name(&mut self) -> Result<$type> {
            let mut raw = [0u8; size_of::<$type>()];
            raw.copy_from_slice(self.take(size_of::<$type>())?);
            Ok(<$type>::from_be_bytes(raw))
        }
    )*};
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// Position from the start of the slice.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes that have not been read.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        if n > self.remaining() {
            return Err(WireError::Truncated {
                at: self.at,
                needed: n as u64,
                remaining: self.remaining(),
            });
        }
        let out = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(out)
    }

    fixed!(i8: i8, i16: i16, i32: i32, i64: i64, u32: u32);

    /// A boolean: any non-zero byte is true, as in Kafka.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.i8()? != 0)
    }

    /// Unsigned LEB128 of at most 32 bits.
    pub fn uvarint(&mut self) -> Result<u32> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| WireError::VarintTooLong { at: start });
            }
        }
        Err(WireError::VarintTooLong { at: start })
    }

    /// Zig-zag varint of at most 64 bits, as inside records.
    pub fn varlong(&mut self) -> Result<i64> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(((value >> 1) as i64) ^ -((value & 1) as i64));
            }
        }
        Err(WireError::VarintTooLong { at: start })
    }

    /// Zig-zag varint that must fit 32 bits.
    pub fn varint(&mut self) -> Result<i32> {
        let start = self.at;
        i32::try_from(self.varlong()?).map_err(|_| WireError::VarintTooLong { at: start })
    }

    /// A count or length in front of what it counts: `None` is Kafka's null.
    ///
    /// `flexible` chooses the compact form (unsigned varint of length + 1).
    fn length(&mut self, flexible: bool, short: bool) -> Result<Option<usize>> {
        let at = self.at;
        let length = match (flexible, short) {
            (true, _) => i64::from(self.uvarint()?) - 1,
            (false, true) => i64::from(self.i16()?),
            (false, false) => i64::from(self.i32()?),
        };
        match length {
            -1 => Ok(None),
            n if n < 0 => Err(WireError::InvalidLength { at, length }),
            n => Ok(Some(n as usize)),
        }
    }

    /// A nullable string.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<&'a str>> {
        let Some(n) = self.length(flexible, true)? else {
            return Ok(None);
        };
        let at = self.at;
        let raw = self.take(n)?;
        std::str::from_utf8(raw)
            .map(Some)
            .map_err(|_| WireError::NotUtf8 { at })
    }

    /// A string that may not be null.
    pub fn string(&mut self, flexible: bool) -> Result<&'a str> {
        let at = self.at;
        self.nullable_string(flexible)?
            .ok_or(WireError::InvalidLength { at, length: -1 })
    }

    /// Nullable bytes.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<&'a [u8]>> {
        match self.length(flexible, false)? {
            None => Ok(None),
            Some(n) => self.take(n).map(Some),
        }
    }

    /// The element count of an array, held against the bytes that remain: every element takes at least
    /// `element_bytes_min` (at least one) of them. `None` is a null array.
    pub fn array_len(&mut self, flexible: bool, element_bytes_min: usize) -> Result<Option<usize>> {
        let at = self.at;
        let Some(n) = self.length(flexible, false)? else {
            return Ok(None);
        };
        let needed = n as u64 * element_bytes_min.max(1) as u64;
        if needed > self.remaining() as u64 {
            return Err(WireError::Truncated {
                at,
                needed,
                remaining: self.remaining(),
            });
        }
        Ok(Some(n))
    }

    /// Skips a flexible version's tagged fields and answers how many there were. Tags rise strictly, so their number
    /// is bounded by the bytes.
    pub fn skip_tagged_fields(&mut self) -> Result<usize> {
        let count = self.uvarint()?;
        let mut last: Option<u32> = None;
        for _ in 0..count {
            let at = self.at;
            let tag = self.uvarint()?;
            if last.is_some_and(|l| tag <= l) {
                return Err(WireError::TagOrder { at, tag });
            }
            last = Some(tag);
            let size = self.uvarint()? as usize;
            self.take(size)?;
        }
        Ok(count as usize)
    }

    /// Fails when bytes are left.
    pub fn finish(&self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            extra => Err(WireError::TrailingBytes { at: self.at, extra }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_lengths_are_errors() {
        for raw in [[0x7f, 0xff, 0xff, 0xff], [0x80, 0, 0, 0], [0xff, 0xff, 0xff, 0xfe]] {
            assert!(Cursor::new(&raw).array_len(false, 1).is_err(), "{raw:x?}");
            assert!(Cursor::new(&raw).nullable_bytes(false).is_err(), "{raw:x?}");
        }
        assert_eq!(Cursor::new(&[0xff; 4]).array_len(false, 1), Ok(None));
        assert!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1])
                .array_len(true, 1)
                .is_err()
        );
    }

    #[test]
    fn varints() {
        for (value, raw) in [(0i64, &[0u8][..]), (-1, &[1]), (1, &[2]), (300, &[0xd8, 4])] {
            assert_eq!(Cursor::new(raw).varlong(), Ok(value));
        }
        assert!(Cursor::new(&[0xff; 11]).varlong().is_err());
        assert!(Cursor::new(&[0xff; 6]).uvarint().is_err());
        let min = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Cursor::new(&min).varlong(), Ok(i64::MIN));
    }

    #[test]
    fn tags_must_rise() {
        assert!(Cursor::new(&[2, 0, 0, 1, 0]).skip_tagged_fields().is_ok());
        assert!(Cursor::new(&[2, 1, 0, 1, 0]).skip_tagged_fields().is_err());
    }
}
