//! The order of Java's hash tables, as far as it decides what the client's sticky assignors answer.
//!
//! They walk their members in the order of a `HashMap`, so who keeps one partition more follows from hash codes: a string's are given by Java's language
//! specification, and the table's growth by the documentation of `HashMap` (16 buckets, doubled beyond three quarters). Order inside a bucket is that of insertion.

use super::{Place, Topic};

const BUCKETS: usize = 16;

/// `String.hashCode`.
pub(super) fn hash(text: &str) -> u32 {
    let step = |hash: u32, unit: u16| hash.wrapping_mul(31).wrapping_add(u32::from(unit));
    text.encode_utf16().fold(0, step)
}

fn bucket(hash: u32, buckets: usize) -> usize {
    (hash ^ (hash >> 16)) as usize & (buckets - 1)
}

fn grown(mut buckets: usize, len: usize) -> usize {
    while len > buckets / 4 * 3 {
        buckets *= 2;
    }
    buckets
}

/// Indices of keys, in the order of a table that they were put into one after the other.
pub(super) fn walk<'k>(keys: impl ExactSizeIterator<Item = &'k str>) -> Vec<usize> {
    let buckets = grown(BUCKETS, keys.len());
    let mut order: Vec<(usize, usize)> = keys.map(|key| bucket(hash(key), buckets)).zip(0..).collect();
    // Stable: within a bucket, the order of insertion.
    order.sort_by_key(|(bucket, _)| *bucket);
    order.into_iter().map(|(_, index)| index).collect()
}

/// A set of partitions whose first one is that of a Java `HashSet`. Its table only grows.
#[derive(Debug)]
pub(super) struct PlaceSet {
    /// In the order of insertion.
    places: Vec<(u32, Place)>,
    buckets: usize,
}

impl PlaceSet {
    pub(super) fn new() -> Self {
        PlaceSet {
            places: Vec::new(),
            buckets: BUCKETS,
        }
    }

    /// Puts one in that is not there yet.
    pub(super) fn insert(&mut self, topics: &[Topic], place: Place) {
        let prefix = (31 + place.partition).wrapping_mul(31);
        let hash = prefix.wrapping_add(hash(&topics[place.topic].name));
        self.places.push((hash, place));
        self.buckets = grown(self.buckets, self.places.len());
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.places.retain(|(_, other)| *other != place);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The one that a walk meets first.
    pub(super) fn first(&self) -> Option<Place> {
        let of = |(hash, _): &&(u32, Place)| bucket(*hash, self.buckets);
        self.places.iter().min_by_key(of).map(|(_, place)| *place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_codes_are_those_of_java() {
        // "Aa" and "BB" are the well-known pair with one hash code.
        assert_eq!((hash("Aa"), hash("BB"), hash("hello")), (2112, 2112, 99_162_322));
    }

    #[test]
    fn a_walk_goes_by_bucket_and_then_by_insertion() {
        // 'q' is 113, so bucket 1 of 16; 'a' is 97, bucket 1 too; 'b' is 98.
        assert_eq!(walk(["q", "b", "a"].into_iter()), [0, 2, 1]);
        // Beyond twelve keys there are 32 buckets: 'a' is in bucket 1, 'q' in bucket 17.
        let keys = ["q", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        assert_eq!(walk(keys.into_iter()).last(), Some(&0));
    }
}
