//! The payload of a ledger's record: producer, partition, sequence, filler, checksum.
//!
//! Layout, big-endian: producer u64, partition u32, sequence u64, filler, CRC-32C u32 of everything before it. The filler depends on
//! the identity, so that a record whose middle belongs to another one is noticed.

use kafka_wire::crc::crc32c;

/// Smallest record: the identity and the checksum.
pub const RECORD_BYTES_MIN: u32 = 24;
const FILLER_AT: usize = 20;

/// Which record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Who wrote it.
    pub producer: u64,
    /// To which partition.
    pub partition: u32,
    /// Dense per producer and partition, from 0.
    pub sequence: u64,
}

impl Identity {
    /// Replaces `out` by the record's payload of `record_bytes` bytes, at least [`RECORD_BYTES_MIN`].
    pub fn encode(&self, record_bytes: u32, out: &mut Vec<u8>) {
        out.clear();
        out.extend(self.producer.to_be_bytes());
        out.extend(self.partition.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        let filler_end = record_bytes.max(RECORD_BYTES_MIN) as usize - 4;
        let mut state = self.producer ^ (u64::from(self.partition) << 32) ^ self.sequence.rotate_left(17);
        while out.len() < filler_end {
            let word = split_mix(&mut state).to_be_bytes();
            out.extend(&word[..word.len().min(filler_end - out.len())]);
        }
        out.extend(crc32c(out).to_be_bytes());
    }

    /// Reads a payload back; `None` when it is too short or the checksum does not match.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (body, checksum) = payload.split_last_chunk::<4>()?;
        if body.len() < FILLER_AT || u32::from_be_bytes(*checksum) != crc32c(body) {
            return None;
        }
        Some(Self {
            producer: u64::from_be_bytes(*body.first_chunk()?),
            partition: u32::from_be_bytes(*body.get(8..)?.first_chunk()?),
            sequence: u64::from_be_bytes(*body.get(12..)?.first_chunk()?),
        })
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_read_back_and_notice_every_flipped_bit() {
        let identity = Identity {
            producer: 3,
            partition: 11,
            sequence: 1 << 40,
        };
        let mut payload = Vec::new();
        for record_bytes in [RECORD_BYTES_MIN, RECORD_BYTES_MIN + 1, 100, 256] {
            identity.encode(record_bytes, &mut payload);
            assert_eq!(payload.len(), record_bytes as usize);
            assert_eq!(Identity::decode(&payload), Some(identity));
            for bit in 0..payload.len() * 8 {
                payload[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Identity::decode(&payload), None, "bit {bit}");
                payload[bit / 8] ^= 1 << (bit % 8);
            }
        }
        for cut in 0..payload.len() {
            assert_eq!(Identity::decode(&payload[..cut]), None);
        }
    }

    #[test]
    fn the_filler_differs_between_records() {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        Identity {
            producer: 0,
            partition: 0,
            sequence: 1,
        }
        .encode(64, &mut left);
        Identity {
            producer: 0,
            partition: 0,
            sequence: 2,
        }
        .encode(64, &mut right);
        assert_ne!(left[FILLER_AT..60], right[FILLER_AT..60]);
    }
}
