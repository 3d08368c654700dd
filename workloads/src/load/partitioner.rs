//! Which partition a record goes to. The choice is made in front of the client, so that every client gets the same.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How the partition of a record is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// One after the other.
    #[default]
    RoundRobin,
    /// By the key: murmur2, as Java's default and librdkafka's `murmur2_random`.
    Key,
    /// One, until it got a batch's bytes, then another one by chance (KIP-794).
    Sticky,
}

/// Chooses partitions.
#[derive(Debug)]
pub(super) struct Placer {
    kind: Partitioner,
    places: usize,
    /// The one that is next, or that is stuck to.
    place: usize,
    /// What the one that is stuck to still gets.
    left_bytes: usize,
    batch_bytes: usize,
    random: ChaCha8Rng,
}

impl Placer {
    pub fn new(kind: Partitioner, places: u32, batch_bytes: u32, seed: u64) -> Self {
        Self {
            kind,
            places: places.max(1) as usize,
            place: 0,
            left_bytes: batch_bytes as usize,
            batch_bytes: batch_bytes as usize,
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The place of a record of so many bytes.
    pub fn place(&mut self, key: Option<&[u8]>, bytes: usize) -> usize {
        match (self.kind, key) {
            (Partitioner::Key, Some(key)) => by_key(key, self.places),
            (Partitioner::Key, None) => self.random.random_range(0..self.places),
            (Partitioner::RoundRobin, _) => {
                let place = self.place;
                self.place = if place + 1 == self.places { 0 } else { place + 1 };
                place
            }
            (Partitioner::Sticky, _) => {
                if self.left_bytes < bytes {
                    self.left_bytes = self.batch_bytes;
                    self.place = self.random.random_range(0..self.places);
                }
                self.left_bytes = self.left_bytes.saturating_sub(bytes);
                self.place
            }
        }
    }
}

fn by_key(key: &[u8], places: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % places
}

/// MurmurHash2 (A. Appleby) with the seed that Kafka's clients share.
pub fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const FACTOR: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        mixed = (mixed ^ (mixed >> 24)).wrapping_mul(FACTOR);
        hash = hash.wrapping_mul(FACTOR) ^ mixed;
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0, |rest, byte| rest << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(FACTOR);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(FACTOR);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that Kafka's own test of its hash (`UtilsTest.testMurmur2`) names.
    #[test]
    fn keys_hash_as_in_java() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    fn places(kind: Partitioner, keys: &[Option<&[u8]>]) -> Vec<usize> {
        let mut placer = Placer::new(kind, 4, 100, 1);
        keys.iter().map(|key| placer.place(*key, 40)).collect()
    }

    #[test]
    fn each_way_to_choose() {
        let none = [None; 9];
        assert_eq!(places(Partitioner::RoundRobin, &none), [0, 1, 2, 3, 0, 1, 2, 3, 0]);
        let sticky = places(Partitioner::Sticky, &none);
        assert!(
            sticky.chunks(2).all(|pair| pair.iter().all(|place| *place == pair[0])),
            "{sticky:?}"
        );
        assert!(sticky.iter().any(|place| *place != sticky[0]));
        let keyed = places(Partitioner::Key, &[Some(b"foobar"), Some(b"21"), Some(b"foobar")]);
        assert_eq!(
            keyed,
            [
                (-790_332_482i32 & i32::MAX) as usize % 4,
                (-973_932_308i32 & i32::MAX) as usize % 4,
                keyed[0]
            ]
        );
        assert!(places(Partitioner::Key, &[None; 64]).iter().any(|place| *place != 0));
    }
}
