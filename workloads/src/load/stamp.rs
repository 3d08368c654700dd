//! What the first bytes of a record's value say of it, so that whoever consumes it knows when it should have been sent.

/// Bytes of a stamp.
pub const STAMP_BYTES: usize = 24;
/// What a stamp begins with.
const MAGIC: [u8; 4] = *b"AsL1";

/// A record's identity and its intended time. On the wire, big-endian: magic 4, run 4, sequence 8, intended 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Tells the records of one producer from those of others in the same topic.
    pub run: u32,
    /// Dense from 0, in the order of the schedule.
    pub sequence: u64,
    /// When the schedule wanted it to be sent: [`super::clock::now_ns`] of the machine that sent it.
    pub intended_ns: u64,
}

impl Stamp {
    /// Writes it over the first bytes of `value`; a shorter value is left as it is.
    pub fn write(self, value: &mut [u8]) {
        let Some(room) = value.first_chunk_mut::<STAMP_BYTES>() else {
            return;
        };
        room[..4].copy_from_slice(&MAGIC);
        room[4..8].copy_from_slice(&self.run.to_be_bytes());
        room[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        room[16..].copy_from_slice(&self.intended_ns.to_be_bytes());
    }

    /// Reads it from the front of a value; `None` where there is none.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let rest = value.strip_prefix(&MAGIC)?;
        Some(Self {
            run: u32::from_be_bytes(*rest.first_chunk()?),
            sequence: u64::from_be_bytes(*rest.get(4..)?.first_chunk()?),
            intended_ns: u64::from_be_bytes(*rest.get(12..)?.first_chunk()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read_back_and_nothing_else_is() {
        let stamp = Stamp {
            run: 7,
            sequence: 1 << 40,
            intended_ns: u64::MAX - 1,
        };
        let mut value = [9; 30];
        stamp.write(&mut value);
        assert_eq!(Stamp::parse(&value), Some(stamp));
        assert_eq!(value[STAMP_BYTES..], [9; 6]);
        for cut in 0..STAMP_BYTES {
            assert_eq!(Stamp::parse(&value[..cut]), None);
        }
        assert_eq!(Stamp::parse(&[9; 30]), None);
        let mut short = [9; STAMP_BYTES - 1];
        stamp.write(&mut short);
        assert_eq!(short, [9; STAMP_BYTES - 1]);
    }
}
