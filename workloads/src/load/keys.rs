//! The keys of records.

use super::zipf::Zipf;
use crate::native::ClientError;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Most different keys that are drawn.
pub const KEYS_MAX: u64 = 1 << 48;
/// Largest exponent of a Zipf distribution; beyond it nearly all records have one key.
pub const EXPONENT_MAX: f64 = 20.0;
/// Largest key file, bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Longest key, bytes.
const KEY_BYTES_MAX: usize = 32 << 10;
/// A drawn key: its number in hexadecimal digits.
const DIGITS: usize = 16;

/// Which keys records have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Keys {
    /// None.
    None,
    /// Each of so many as often as any other; a key is its number in 16 hexadecimal digits.
    Uniform {
        /// Different keys.
        count: u64,
    },
    /// Few of so many often, most of them seldom: the key of rank k with a probability proportional to 1 / k^exponent.
    Zipf {
        /// Different keys.
        count: u64,
        /// About 1 for words and cities; 0.99 in YCSB.
        exponent: f64,
    },
    /// The lines of a file in turn, so that what was recorded keeps its skew.
    File {
        /// One key a line; empty lines are left out.
        path: PathBuf,
    },
}

impl Keys {
    /// Checks every figure; a file is not opened.
    ///
    /// # Errors
    /// One that cannot work.
    pub fn check(&self) -> Result<(), ClientError> {
        let wrong = match self {
            Self::Uniform { count } | Self::Zipf { count, .. } if !(1..=KEYS_MAX).contains(count) => {
                format!("{count} keys: choose 1 to {KEYS_MAX}")
            }
            Self::Zipf { exponent, .. } if !(*exponent > 0.0 && *exponent <= EXPONENT_MAX) => {
                format!("a Zipf exponent of {exponent}: choose one above 0 and at most {EXPONENT_MAX}")
            }
            _ => return Ok(()),
        };
        Err(ClientError::Spec(wrong))
    }
}

/// An endless source of keys.
#[derive(Debug)]
pub struct KeySource {
    kind: Kind,
    random: ChaCha8Rng,
    digits: [u8; DIGITS],
}

#[derive(Debug)]
enum Kind {
    None,
    Uniform(u64),
    Zipf(Zipf),
    Lines {
        text: Vec<u8>,
        /// Start and end of each.
        places: Vec<(u32, u32)>,
        next: usize,
    },
}

impl KeySource {
    /// Opens the source; the seed has no effect on a file.
    ///
    /// # Errors
    /// A figure that cannot work, or a file without a key or with one that is too long.
    pub fn open(keys: &Keys, seed: u64) -> Result<Self, ClientError> {
        keys.check()?;
        let kind = match keys {
            Keys::None => Kind::None,
            Keys::Uniform { count } => Kind::Uniform(*count),
            Keys::Zipf { count, exponent } => Kind::Zipf(Zipf::new(*count, *exponent)),
            Keys::File { path } => lines(path)?,
        };
        Ok(Self {
            kind,
            random: ChaCha8Rng::seed_from_u64(seed),
            digits: [b'0'; DIGITS],
        })
    }

    /// The key whose turn it is; [`Self::advance`] comes first.
    pub fn front(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::None => None,
            Kind::Uniform(_) | Kind::Zipf(_) => Some(&self.digits),
            Kind::Lines { text, places, next } => {
                let (start, end) = places[*next];
                text.get(start as usize..end as usize)
            }
        }
    }

    /// Goes on to the next key.
    pub fn advance(&mut self) {
        let number = match &mut self.kind {
            Kind::None => return,
            Kind::Uniform(count) => self.random.random_range(0..*count),
            Kind::Zipf(zipf) => zipf.sample(&mut self.random),
            Kind::Lines { places, next, .. } => {
                *next = if *next + 1 >= places.len() { 0 } else { *next + 1 };
                return;
            }
        };
        for (place, digit) in self.digits.iter_mut().rev().enumerate() {
            *digit = b"0123456789abcdef"[(number >> (4 * place)) as usize & 15];
        }
    }
}

fn lines(path: &Path) -> Result<Kind, ClientError> {
    let failed = |source| ClientError::File {
        path: path.to_owned(),
        source,
    };
    let info = std::fs::metadata(path).map_err(failed)?;
    if !info.is_file() || info.len() > FILE_BYTES_MAX {
        let message = format!("a key file is a regular file of at most {FILE_BYTES_MAX} bytes");
        return Err(failed(std::io::Error::other(message)));
    }
    let text = std::fs::read(path).map_err(failed)?;
    let mut places = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let key = line.strip_suffix(b"\n").unwrap_or(line);
        let key = key.strip_suffix(b"\r").unwrap_or(key);
        if key.len() > KEY_BYTES_MAX {
            let message = format!(
                "{}: a key of {} bytes, at most {KEY_BYTES_MAX} are taken",
                path.display(),
                key.len()
            );
            return Err(ClientError::Spec(message));
        }
        if !key.is_empty() {
            places.push((start as u32, (start + key.len()) as u32));
        }
        start += line.len();
    }
    match places.is_empty() {
        true => Err(ClientError::Spec(format!(
            "{}: there is no key, one a line is expected",
            path.display()
        ))),
        false => Ok(Kind::Lines {
            text,
            // The first one is that which the first advance comes to.
            next: places.len() - 1,
            places,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn drawn(keys: &Keys, seed: u64, count: usize) -> Vec<Vec<u8>> {
        let mut source = KeySource::open(keys, seed).unwrap();
        let next = |_| {
            source.advance();
            source.front().unwrap().to_vec()
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn drawn_keys_are_numbers_below_their_count() {
        for keys in [
            Keys::Uniform { count: 20 },
            Keys::Zipf {
                count: 20,
                exponent: 0.5,
            },
        ] {
            let found: BTreeSet<_> = drawn(&keys, 1, 5_000).into_iter().collect();
            let due: BTreeSet<_> = (0..20u64).map(|number| format!("{number:016x}").into_bytes()).collect();
            assert_eq!(found, due, "{keys:?}");
            assert_eq!(drawn(&keys, 1, 50), drawn(&keys, 1, 50));
            assert_ne!(drawn(&keys, 1, 50), drawn(&keys, 2, 50));
        }
        assert!(KeySource::open(&Keys::None, 0).unwrap().front().is_none());
    }

    #[test]
    fn lines_come_in_turn() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let keys = Keys::File {
            path: file.path().to_owned(),
        };
        std::fs::write(file.path(), "a\r\n\nbb\nc").unwrap();
        assert_eq!(drawn(&keys, 0, 4), [&b"a"[..], b"bb", b"c", b"a"]);
        for (text, what) in [
            ("\n\n".to_owned(), "no key"),
            ("x".repeat(KEY_BYTES_MAX + 1), "a key of"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let error = KeySource::open(&keys, 0).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        let path = "/no/such/keys".into();
        assert!(KeySource::open(&Keys::File { path }, 0).is_err());
    }

    #[test]
    fn figures_that_cannot_work_are_told() {
        assert!(Keys::Uniform { count: 0 }.check().is_err());
        for exponent in [0.0, -1.0, f64::NAN, 21.0] {
            assert!(Keys::Zipf { count: 1, exponent }.check().is_err(), "{exponent}");
        }
    }
}
