//! The values of records: made once into a pool, and stamped each time that one is sent.
//!
//! A pool is larger than any batch, so that no batch repeats a record and compresses better for it.

use super::stamp::STAMP_BYTES;
use crate::native::ClientError;
use crate::payload::{PayloadSpec, RECORD_BYTES_MAX, RecordSource};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Batches that a pool fills, about, and the bytes that it takes all the same.
const POOL_BATCHES: usize = 4;
const POOL_BYTES: (usize, usize) = (2 << 20, 256 << 20);
/// Records of a pool at most, and at least.
const POOL_RECORDS_MAX: usize = 1 << 18;
const POOL_RECORDS_MIN: usize = 16;
/// Widest spread of log-normal sizes: with it a thousandth is 500 times the median.
const SIGMA_MAX: f64 = 2.0;

/// What records carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPayload {
    /// Their bytes.
    pub content: PayloadSpec,
    /// Their sizes.
    #[serde(default)]
    pub sizes: Sizes,
    /// Whether the first 24 bytes are a [`super::Stamp`], without which nobody can tell how long a record was on its way. Shorter
    /// records of a file are padded with spaces for it.
    #[serde(default = "yes")]
    pub stamped: bool,
}

fn yes() -> bool {
    true
}

impl LoadPayload {
    /// Stamped records of the sizes that the content has by itself.
    pub fn new(content: PayloadSpec) -> Self {
        Self {
            content,
            sizes: Sizes::Fixed,
            stamped: true,
        }
    }

    /// Checks every figure; a file is not opened.
    ///
    /// # Errors
    /// One that cannot work.
    pub fn check(&self) -> Result<(), ClientError> {
        let min = if self.stamped { STAMP_BYTES } else { 1 };
        let smallest = match (&self.sizes, &self.content) {
            (Sizes::Range { min, .. }, _) => Some(*min),
            (Sizes::LogNormal { median, .. }, _) => Some(*median),
            (Sizes::Fixed, PayloadSpec::Random { record_bytes }) => Some(*record_bytes),
            _ => None,
        };
        let wrong = match &self.sizes {
            _ if smallest.is_some_and(|smallest| smallest < min) => format!(
                "records of {} bytes: choose at least {min}{}",
                smallest.unwrap_or(0),
                if self.stamped {
                    ", the room of the stamp, or records without stamps"
                } else {
                    ""
                }
            ),
            Sizes::Range { min, max } if min > max || *max > RECORD_BYTES_MAX => {
                format!("records of {min} to {max} bytes: choose a range up to {RECORD_BYTES_MAX}")
            }
            Sizes::LogNormal { median, max, .. } if median > max || *max > RECORD_BYTES_MAX => {
                format!("records of {median} bytes in the median and at most {max}: choose up to {RECORD_BYTES_MAX}")
            }
            Sizes::LogNormal { sigma, .. } if !(*sigma > 0.0 && *sigma <= SIGMA_MAX) => {
                format!("a sigma of {sigma}: choose one above 0 and at most {SIGMA_MAX}")
            }
            _ => return Ok(()),
        };
        Err(ClientError::Spec(wrong))
    }
}

/// How large records are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sizes {
    /// As the content has them.
    #[default]
    Fixed,
    /// Each size of a range as often as any other; records of the content are joined and cut.
    Range {
        /// Smallest, bytes.
        min: usize,
        /// Largest, bytes.
        max: usize,
    },
    /// Many small ones and few large ones: the logarithm is normally distributed. Records of the content are joined and cut.
    LogNormal {
        /// Half of the records are smaller, bytes.
        median: usize,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
        /// Larger ones get this size, bytes.
        max: usize,
    },
}

impl Sizes {
    /// A size, or `None` for that of the content.
    fn draw(&self, random: &mut ChaCha8Rng, min: usize) -> Option<usize> {
        match *self {
            Sizes::Fixed => None,
            Sizes::Range { min, max } => Some(random.random_range(min..=max)),
            Sizes::LogNormal { median, sigma, max } => {
                let size = median as f64 * (sigma * standard_normal(random)).exp();
                Some((size.round() as usize).clamp(min, max))
            }
        }
    }
}

/// Box and Muller, 1958.
fn standard_normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

/// Values that are handed out in turn.
#[derive(Debug)]
pub(super) struct RecordPool {
    bytes: Vec<u8>,
    /// Start and end of each.
    places: Vec<(u32, u32)>,
    next: usize,
}

impl RecordPool {
    /// Makes the values.
    ///
    /// # Errors
    /// A figure that cannot work, or a file that gives no records.
    pub fn build(payload: &LoadPayload, batch_bytes: u32, seed: u64) -> Result<Self, ClientError> {
        payload.check()?;
        let pool_bytes = (batch_bytes as usize * POOL_BATCHES).clamp(POOL_BYTES.0, POOL_BYTES.1);
        let mut source = RecordSource::open(&payload.content, seed)?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut pool = Self {
            bytes: Vec::with_capacity(pool_bytes),
            places: Vec::new(),
            next: 0,
        };
        let bytes_min = if payload.stamped { STAMP_BYTES } else { 1 };
        let mut record = Vec::new();
        while pool.places.len() < POOL_RECORDS_MIN
            || (pool.bytes.len() < pool_bytes && pool.places.len() < POOL_RECORDS_MAX)
        {
            let start = pool.bytes.len();
            let size = payload.sizes.draw(&mut random, bytes_min);
            loop {
                source.next(&mut record)?;
                pool.bytes.extend_from_slice(&record);
                if size.is_none_or(|size| pool.bytes.len() - start >= size) {
                    break;
                }
            }
            let size = size.unwrap_or((pool.bytes.len() - start).max(bytes_min));
            pool.bytes.resize(start + size, b' ');
            pool.places.push((start as u32, (start + size) as u32));
        }
        Ok(pool)
    }

    /// The value whose turn it is, until [`Self::advance`].
    pub fn front(&mut self) -> &mut [u8] {
        let (start, end) = self.places[self.next];
        &mut self.bytes[start as usize..end as usize]
    }

    /// Goes on to the next value.
    pub fn advance(&mut self) {
        self.next = if self.next + 1 == self.places.len() {
            0
        } else {
            self.next + 1
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Cut;

    fn payload(sizes: Sizes) -> LoadPayload {
        LoadPayload {
            sizes,
            ..LoadPayload::new(PayloadSpec::Random { record_bytes: 100 })
        }
    }

    fn sizes(payload: &LoadPayload) -> Vec<usize> {
        let mut pool = RecordPool::build(payload, 1, 1).unwrap();
        let size = |_| {
            let size = pool.front().len();
            pool.advance();
            size
        };
        (0..10_000).map(size).collect()
    }

    #[test]
    fn sizes_are_as_they_were_asked_for() {
        assert!(sizes(&payload(Sizes::Fixed)).iter().all(|size| *size == 100));
        let range = sizes(&payload(Sizes::Range { min: 24, max: 300 }));
        assert_eq!((range.iter().min(), range.iter().max()), (Some(&24), Some(&300)));
        let (median, sigma, max) = (200, 0.7, 2_000);
        let mut normal = sizes(&payload(Sizes::LogNormal { median, sigma, max }));
        normal.sort_unstable();
        let at = |share: f64| normal[(normal.len() as f64 * share) as usize] as f64;
        assert!((at(0.5) / 200.0 - 1.0).abs() < 0.05, "{}", at(0.5));
        // One standard deviation above the median lies exp(sigma) times it.
        assert!((at(0.8413) / (200.0 * sigma.exp()) - 1.0).abs() < 0.1, "{}", at(0.8413));
        assert!(normal[0] >= 24 && normal[normal.len() - 1] <= 2_000);
    }

    #[test]
    fn the_same_seed_gives_the_same_values() {
        let of = |seed| RecordPool::build(&payload(Sizes::Range { min: 30, max: 40 }), 1, seed).unwrap();
        assert_eq!(of(1).bytes, of(1).bytes);
        assert_ne!(of(1).bytes, of(2).bytes);
    }

    #[test]
    fn lines_that_are_too_short_for_a_stamp_are_padded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "short\n").unwrap();
        let path = file.path().to_owned();
        let mut lines = LoadPayload::new(PayloadSpec::File { path, cut: Cut::Lines });
        assert_eq!(
            RecordPool::build(&lines, 1, 0).unwrap().front(),
            b"short                   "
        );
        lines.stamped = false;
        assert_eq!(RecordPool::build(&lines, 1, 0).unwrap().front(), b"short");
    }

    #[test]
    fn figures_that_cannot_work_are_told() {
        for (sizes, what) in [
            (Sizes::Range { min: 23, max: 30 }, "at least 24, the room of the stamp"),
            (Sizes::Range { min: 40, max: 30 }, "choose a range"),
            (
                Sizes::Range {
                    min: 40,
                    max: 2_000_000,
                },
                "choose a range",
            ),
            (
                Sizes::LogNormal {
                    median: 10,
                    sigma: 1.0,
                    max: 100,
                },
                "at least 24",
            ),
            (
                Sizes::LogNormal {
                    median: 100,
                    sigma: 0.0,
                    max: 100,
                },
                "a sigma of 0",
            ),
            (
                Sizes::LogNormal {
                    median: 100,
                    sigma: 1.0,
                    max: 99,
                },
                "at most 99",
            ),
        ] {
            let error = payload(sizes).check().unwrap_err().to_string();
            assert!(error.contains(what), "{sizes:?}: {error}");
        }
        let tiny = LoadPayload::new(PayloadSpec::Random { record_bytes: 5 });
        assert!(tiny.check().is_err());
    }
}
