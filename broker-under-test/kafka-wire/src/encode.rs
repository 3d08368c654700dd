//! Writing Kafka's primitives; integers come from [`bytes::BufMut`].

pub use bytes::BufMut;

/// Kafka's strings, arrays and varints on top of [`BufMut`].
pub trait Encode: BufMut {
    /// Unsigned LEB128.
    fn put_uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    /// Zig-zag varint, as inside records.
    fn put_varlong(&mut self, value: i64) {
        let mut value = ((value << 1) ^ (value >> 63)) as u64;
        while value >= 0x80 {
            self.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    /// A nullable string; at most `i16::MAX` bytes, which every name in the protocol keeps.
    fn put_nullable_string(&mut self, value: Option<&str>, flexible: bool) {
        match (value, flexible) {
            (None, true) => self.put_u8(0),
            (None, false) => self.put_i16(-1),
            (Some(s), true) => {
                self.put_uvarint(s.len() as u32 + 1);
                self.put_slice(s.as_bytes());
            }
            (Some(s), false) => {
                debug_assert!(s.len() <= i16::MAX as usize);
                self.put_i16(s.len() as i16);
                self.put_slice(s.as_bytes());
            }
        }
    }

    /// A string.
    fn put_string(&mut self, value: &str, flexible: bool) {
        self.put_nullable_string(Some(value), flexible);
    }

    /// The count in front of an array.
    fn put_array_len(&mut self, count: usize, flexible: bool) {
        if flexible {
            self.put_uvarint(count as u32 + 1);
        } else {
            self.put_i32(count as i32);
        }
    }

    /// The end of a structure in a flexible version: no tagged fields.
    fn put_no_tags(&mut self, flexible: bool) {
        if flexible {
            self.put_u8(0);
        }
    }
}

impl<B: BufMut> Encode for B {}

/// Bytes that `value` takes as an unsigned varint.
pub fn uvarint_len(value: u32) -> usize {
    (32 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Bytes that `value` takes as a zig-zag varint.
pub fn varlong_len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}
