//! What the records contain: seeded JSON events, text or random bytes, or a file of the user's, as an endless source of records.
//!
//! A payload decides what compression and copies cost, so how random it is, is declared and not left to chance, and [`profile`] reports
//! what came out. The same spec and seed give the same bytes on every machine. Nothing here packs records into batches.

mod file;
mod json;
mod text;

use crate::definition::{Payload, PayloadKind};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Largest record that a source gives, bytes: Kafka's default `message.max.bytes`, less room for its batch.
pub const RECORD_BYTES_MAX: usize = 1_000_000;
/// Smallest record that a generator makes, bytes: an empty JSON object with its message.
pub const RECORD_BYTES_MIN: usize = 32;

/// Which records; with a seed it fixes every byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PayloadSpec {
    /// JSON events as a service would log them, each exactly `record_bytes` long.
    Json {
        /// Bytes of each record.
        record_bytes: usize,
        /// Share of random text in the room that the message has, 0..=1.
        entropy: f64,
    },
    /// Lines of English words, each exactly `record_bytes` long.
    Text {
        /// Bytes of each record.
        record_bytes: usize,
        /// Share of random text, 0..=1.
        entropy: f64,
    },
    /// Uniform random bytes.
    Random {
        /// Bytes of each record.
        record_bytes: usize,
    },
    /// A file of the user's, from its start again when it ends.
    File {
        /// A regular file.
        path: PathBuf,
        /// How records are cut from it.
        cut: Cut,
    },
}

/// How a file becomes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// One record per line, without its line end; empty lines are left out.
    Lines,
    /// Records of that many bytes; the last of the file may be shorter.
    Bytes(usize),
}

/// Why a payload cannot be had, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The operating system refuses the file.
    #[error("payload file {path}: {source}; give the path of a readable file")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder, a pipe or a device.
    #[error("payload file {0} is not a regular file; copy what it holds into one")]
    NotAFile(PathBuf),
    /// There is no byte, or no line with a byte.
    #[error("payload file {path} has no record when cut by {cut}; give a file with content")]
    Empty {
        /// The file.
        path: PathBuf,
        /// `lines` or a size.
        cut: String,
    },
    /// A line that no record holds: a binary file, or one without line ends.
    #[error(
        "payload file {path}, line {line}: longer than {RECORD_BYTES_MAX} bytes; cut the file by size instead of by line"
    )]
    LongLine {
        /// The file.
        path: PathBuf,
        /// 1-based.
        line: u64,
    },
    /// A size that no record has.
    #[error("records of {record_bytes} bytes: choose a size between {min} and {RECORD_BYTES_MAX}")]
    RecordBytes {
        /// What was asked for.
        record_bytes: usize,
        /// Smallest size that works.
        min: usize,
    },
    /// A share outside 0..=1.
    #[error("an entropy share of {0}: choose one between 0 (all template) and 1 (all random text)")]
    EntropyShare(f64),
}

impl From<Payload> for PayloadSpec {
    fn from(payload: Payload) -> Self {
        let (record_bytes, entropy) = (payload.record_bytes as usize, payload.entropy);
        match payload.kind {
            PayloadKind::Json => Self::Json { record_bytes, entropy },
            PayloadKind::Text => Self::Text { record_bytes, entropy },
            PayloadKind::Random => Self::Random { record_bytes },
        }
    }
}

/// An endless source of records.
#[derive(Debug)]
pub struct RecordSource(Kind);

#[derive(Debug)]
enum Kind {
    Json(json::Events),
    Text(text::Lines),
    Random(ChaCha8Rng, usize),
    File(file::Records),
}

impl RecordSource {
    /// Opens the source. The seed has no effect on a file.
    ///
    /// # Errors
    /// A size or share out of range, or a file that cannot be cut into records.
    pub fn open(spec: &PayloadSpec, seed: u64) -> Result<Self, PayloadError> {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let sized = |record_bytes, min| match record_bytes {
            bytes if (min..=RECORD_BYTES_MAX).contains(&bytes) => Ok(bytes),
            record_bytes => Err(PayloadError::RecordBytes { record_bytes, min }),
        };
        let share = |entropy: f64| match entropy {
            entropy if (0.0..=1.0).contains(&entropy) => Ok(entropy),
            entropy => Err(PayloadError::EntropyShare(entropy)),
        };
        Ok(Self(match spec {
            PayloadSpec::Json { record_bytes, entropy } => Kind::Json(json::Events::new(
                rng,
                sized(*record_bytes, RECORD_BYTES_MIN)?,
                share(*entropy)?,
            )),
            PayloadSpec::Text { record_bytes, entropy } => Kind::Text(text::Lines::new(
                rng,
                sized(*record_bytes, RECORD_BYTES_MIN)?,
                share(*entropy)?,
            )),
            PayloadSpec::Random { record_bytes } => Kind::Random(rng, sized(*record_bytes, 1)?),
            PayloadSpec::File { path, cut } => {
                if let Cut::Bytes(bytes) = cut {
                    sized(*bytes, 1)?;
                }
                Kind::File(file::Records::open(path, *cut)?)
            }
        }))
    }

    /// Replaces `out` with the next record, 1 to [`RECORD_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// Only a file fails: it cannot be read any more, or has a line that is too long.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        out.clear();
        match &mut self.0 {
            Kind::Json(events) => events.next(out),
            Kind::Text(lines) => lines.next(out),
            Kind::Random(rng, record_bytes) => {
                out.resize(*record_bytes, 0);
                rng.fill_bytes(out);
            }
            Kind::File(records) => records.next(out)?,
        }
        Ok(())
    }
}

/// What a sample of a payload looks like: printed in the report, so that nobody has to guess how random it was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PayloadProfile {
    /// Records in the sample.
    pub records: u64,
    /// Bytes in the sample.
    pub bytes: u64,
    /// Shortest record, bytes.
    pub record_bytes_min: u64,
    /// Longest record, bytes.
    pub record_bytes_max: u64,
    /// Shannon entropy of single bytes, 0..=8 bits; an upper bound of what an order-0 coder reaches, not of gzip.
    pub entropy_bits_per_byte: f64,
}

/// Measures the first records of a payload, until `sample_bytes` are seen.
///
/// # Errors
/// As [`RecordSource::open`] and [`RecordSource::next`].
pub fn profile(spec: &PayloadSpec, seed: u64, sample_bytes: u64) -> Result<PayloadProfile, PayloadError> {
    let mut source = RecordSource::open(spec, seed)?;
    let mut counts = [0u64; 256];
    let mut record = Vec::new();
    let (mut records, mut bytes, mut record_bytes_min, mut record_bytes_max) = (0, 0, u64::MAX, 0);
    while bytes < sample_bytes.max(1) {
        source.next(&mut record)?;
        record.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        let length = record.len() as u64;
        records += 1;
        bytes += length;
        record_bytes_min = length.min(record_bytes_min);
        record_bytes_max = length.max(record_bytes_max);
    }
    Ok(PayloadProfile {
        records,
        bytes,
        record_bytes_min,
        record_bytes_max,
        entropy_bits_per_byte: shannon_bits(&counts, bytes),
    })
}

/// Order-0 entropy (Shannon, 1948) of a byte histogram with `total` entries, bits per byte.
fn shannon_bits(counts: &[u64; 256], total: u64) -> f64 {
    let share = |count: u64| count as f64 / total as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| -share(*count) * share(*count).log2())
        .sum()
}

/// 64-bit FNV-1a (Fowler, Noll, Vo): small and stable, for digests of short texts. Not for hostile input.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    fnv1a_continue(0xcbf2_9ce4_8422_2325, bytes)
}

/// As [`fnv1a`], behind bytes that gave `hash`.
pub fn fnv1a_continue(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Opens a regular file for reading; a pipe or a device would block or never end.
fn open_regular(path: &Path) -> Result<std::fs::File, PayloadError> {
    let unreadable = |source| PayloadError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // Asked before opening, because opening a pipe waits for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(PayloadError::NotAFile(path.to_owned()));
    }
    std::fs::File::open(path).map_err(unreadable)
}

#[cfg(test)]
mod tests;
