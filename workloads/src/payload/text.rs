//! Lines of words with a declared share of random text: the filler of JSON messages, and a payload of its own.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

/// Frequent words of service logs, the most frequent first; drawn with a bias to the front, as real words are.
const WORDS: [&str; 64] = [
    "request",
    "to",
    "the",
    "for",
    "from",
    "completed",
    "of",
    "in",
    "user",
    "order",
    "with",
    "connection",
    "service",
    "failed",
    "after",
    "retry",
    "timeout",
    "cache",
    "lookup",
    "payment",
    "accepted",
    "session",
    "started",
    "closed",
    "client",
    "server",
    "response",
    "queue",
    "item",
    "update",
    "stored",
    "record",
    "batch",
    "partition",
    "consumer",
    "producer",
    "offset",
    "committed",
    "upstream",
    "latency",
    "above",
    "threshold",
    "database",
    "query",
    "returned",
    "rows",
    "token",
    "refreshed",
    "shipment",
    "scheduled",
    "inventory",
    "reserved",
    "released",
    "warehouse",
    "checkout",
    "basket",
    "price",
    "discount",
    "applied",
    "notification",
    "delivered",
    "webhook",
    "configuration",
    "reloaded",
];
/// 64 letters that need no escape in JSON: six bits each.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Length of a run of random text, in letters: like an id or a token.
const RANDOM_RUN: usize = 16;

/// Lines of exactly `record_bytes`.
#[derive(Debug)]
pub(super) struct Lines {
    rng: ChaCha8Rng,
    record_bytes: usize,
    entropy: f64,
}

impl Lines {
    pub fn new(rng: ChaCha8Rng, record_bytes: usize, entropy: f64) -> Self {
        Self {
            rng,
            record_bytes,
            entropy,
        }
    }

    pub fn next(&mut self, out: &mut Vec<u8>) {
        fill(&mut self.rng, out, self.record_bytes, self.entropy);
    }
}

/// Appends exactly `bytes` of words and random runs, so that about `entropy` of them are random.
pub(super) fn fill(rng: &mut ChaCha8Rng, out: &mut Vec<u8>, bytes: usize, entropy: f64) {
    let end = out.len() + bytes;
    // Whichever share lags behind comes next, so the declared share holds in each record and not only on average.
    let (mut random, mut total) = (0.0, rng.random_range(0.0..1.0));
    while out.len() < end {
        let start = out.len();
        if random < total * entropy || entropy >= 1.0 {
            random_letters(rng, out, RANDOM_RUN);
            random += RANDOM_RUN as f64;
        } else {
            // The smaller of two draws: a falling distribution over the list.
            let index = rng.random_range(0..WORDS.len()).min(rng.random_range(0..WORDS.len()));
            out.extend_from_slice(WORDS[index].as_bytes());
            out.push(b' ');
        }
        total += (out.len() - start) as f64;
    }
    out.truncate(end);
}

/// Appends `count` random letters.
pub(super) fn random_letters(rng: &mut ChaCha8Rng, out: &mut Vec<u8>, count: usize) {
    let mut left = count;
    while left > 0 {
        let mut bits = rng.next_u64();
        // A draw of 64 bits holds ten letters.
        for _ in 0..left.min(10) {
            out.push(ALPHABET[(bits & 63) as usize]);
            bits >>= 6;
        }
        left -= left.min(10);
    }
}
