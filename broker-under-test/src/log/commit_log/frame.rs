//! What stands in front of each batch in the shared log.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..4 | `ACL1` |
//! | 4..20 | id of the topic |
//! | 20..24 | partition |
//! | 24..28 | bytes of the batch that follows |
//! | 28..32 | CRC-32C of bytes 0..28, of the frame's position in the log (8 bytes), and of the batch's first 16 bytes |
//!
//! Integers are big-endian. The batch's own CRC does not cover its base offset and leader epoch, so this one does; and as the position is in it, what
//! once stood elsewhere never passes for a frame.

use kafka_wire::crc::crc32c;
use uuid::Uuid;

/// Bytes of a frame header.
pub const FRAME_BYTES: usize = 32;
/// Bytes at the front of a batch that the broker stamps: base offset, length, leader epoch.
pub const STAMPED_BYTES: usize = 16;
/// What every frame begins with.
pub const MAGIC: [u8; 4] = *b"ACL1";
const CRC_AT: usize = 28;

/// A frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Whose batch it is.
    pub topic: Uuid,
    /// Of which partition.
    pub partition: i32,
    /// Bytes of the batch.
    pub batch_bytes: u32,
}

impl Frame {
    /// The header and the stamped front of its batch, for a frame at `position`.
    pub fn encode(&self, position: u64, stamped: &[u8; STAMPED_BYTES]) -> [u8; FRAME_BYTES + STAMPED_BYTES] {
        let mut out = [0; FRAME_BYTES + STAMPED_BYTES];
        out[..4].copy_from_slice(&MAGIC);
        out[4..20].copy_from_slice(self.topic.as_bytes());
        out[20..24].copy_from_slice(&self.partition.to_be_bytes());
        out[24..CRC_AT].copy_from_slice(&self.batch_bytes.to_be_bytes());
        let crc = checksum(&out, position, stamped);
        out[CRC_AT..FRAME_BYTES].copy_from_slice(&crc.to_be_bytes());
        out[FRAME_BYTES..].copy_from_slice(stamped);
        out
    }

    /// The frame at the front of `bytes`, which stand at `position`; `None` when there is none. The batch is not looked at but for its first bytes.
    pub fn parse(bytes: &[u8], position: u64) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(FRAME_BYTES)?;
        let stamped: &[u8; STAMPED_BYTES] = rest.first_chunk()?;
        let word = |at: usize| head[at..].first_chunk().map(|raw| u32::from_be_bytes(*raw));
        if head[..4] != MAGIC || word(CRC_AT)? != checksum(head, position, stamped) {
            return None;
        }
        Some(Frame {
            topic: Uuid::from_slice(&head[4..20]).ok()?,
            partition: word(20)? as i32,
            batch_bytes: word(24)?,
        })
    }
}

fn checksum(head: &[u8], position: u64, stamped: &[u8; STAMPED_BYTES]) -> u32 {
    let mut covered = [0; CRC_AT + 8 + STAMPED_BYTES];
    covered[..CRC_AT].copy_from_slice(&head[..CRC_AT]);
    covered[CRC_AT..CRC_AT + 8].copy_from_slice(&position.to_be_bytes());
    covered[CRC_AT + 8..].copy_from_slice(stamped);
    crc32c(&covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_where_it_was_written_and_nowhere_else() {
        let frame = Frame {
            topic: Uuid::from_u128(0x1234_5678_9abc_def0),
            partition: 7,
            batch_bytes: 100,
        };
        let bytes = frame.encode(4096, &[9; STAMPED_BYTES]);
        assert_eq!(Frame::parse(&bytes, 4096), Some(frame));
        assert_eq!(Frame::parse(&bytes, 4097), None, "moved");
        assert_eq!(Frame::parse(&bytes[..47], 4096), None, "cut off");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::parse(&flipped, 4096), None, "bit {bit}");
        }
    }
}
