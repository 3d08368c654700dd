//! Blocks written into one file, one after the other or at random places, and flushed as told: what a disk makes of an order, without a
//! broker.
//!
//! Both orders make the same calls with the same bytes, one pwrite(2) for a block. Every block carries its number and the seed at both
//! ends, so that [`count_written`] can tell afterwards whether each of them is where it belongs.

use crate::native::phase::{latency_histogram, record};
use crate::native::{ClientError, Phase, PhaseResult};
use crate::payload::{PayloadSpec, RecordSource};
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What O_DIRECT wants buffers, sizes and places to be multiples of.
const ALIGNMENT_BYTES: usize = 4096;
/// Different blocks that are written in turn, bytes together at most, so that a CPU cache does not hold all that is ever written.
const POOL_BYTES: usize = 16 << 20;
/// Seed and number, at both ends of a block.
const STAMP_BYTES: usize = 16;

/// Where the next block goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Behind the one before it.
    Sequential,
    /// Anywhere in the file where none was written yet.
    Random,
}

/// What the file is before the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileBefore {
    /// Empty.
    Growing,
    /// Of its whole size, by fallocate(2), and never written.
    Preallocated,
    /// Written all over, on the device and not in the page cache.
    Rewritten,
}

/// When blocks are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flush {
    /// Once, behind the last one.
    Never,
    /// By an fdatasync(2) behind each.
    EveryBatch,
}

/// What is written, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlocksSpec {
    /// The file; made when it is not there.
    pub file: PathBuf,
    /// Its size, bytes.
    pub file_bytes: u64,
    /// What it is before.
    pub before: FileBefore,
    /// Where blocks go.
    pub placement: Placement,
    /// Size of each, bytes: a multiple of 4096.
    pub block_bytes: u32,
    /// When they are made durable.
    pub flush: Flush,
    /// Whether they are written around the page cache (O_DIRECT).
    pub direct: bool,
    /// A window ends when that much was written.
    pub bytes_max: u64,
    /// What they hold.
    pub payload: PayloadSpec,
    /// Of content, order and stamps.
    pub seed: u64,
}

/// What came of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// A response is a block, its latency the write and the flush behind it; the wall time ends with the last of them.
    pub phase: PhaseResult,
    /// fdatasync calls.
    pub flushes: u64,
    /// From the first write to the end of the last flush, ns.
    pub durable_ns: u64,
}

/// A file that is ready to be written.
#[derive(Debug)]
pub struct BlockWriter {
    spec: BlocksSpec,
    file: File,
    /// Numbers of the blocks, in the order in which they are written.
    order: Vec<u32>,
    pool: Pool,
}

impl BlockWriter {
    /// Makes the file what it is to be before the window, on the device too.
    ///
    /// # Errors
    /// Sizes that don't fit each other, or what the file system says.
    pub fn prepare(spec: BlocksSpec) -> Result<Self, ClientError> {
        let block_bytes = u64::from(spec.block_bytes);
        let fits = |bytes: u64| bytes >= block_bytes && bytes.is_multiple_of(block_bytes);
        let count = u32::try_from(spec.file_bytes / block_bytes.max(1));
        let (true, true, true, Ok(count)) = (
            block_bytes > 0 && block_bytes.is_multiple_of(ALIGNMENT_BYTES as u64),
            fits(spec.file_bytes),
            fits(spec.bytes_max) && spec.bytes_max <= spec.file_bytes,
            count,
        ) else {
            return Err(ClientError::Spec(format!(
                "blocks of {block_bytes} bytes, {} of them in a file of {}: choose blocks that are a multiple of {ALIGNMENT_BYTES} and \
                 divide both",
                spec.bytes_max, spec.file_bytes
            )));
        };
        let mut order: Vec<u32> = (0..count).collect();
        if spec.placement == Placement::Random {
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(spec.seed));
        }
        order.truncate((spec.bytes_max / block_bytes) as usize);
        let pool = Pool::fill(&spec)?;
        let file = make_ready(&spec, &pool).map_err(file_error(&spec.file))?;
        Ok(Self {
            spec,
            file,
            order,
            pool,
        })
    }

    /// Writes until the time is over or all blocks are written, and makes the last of them durable.
    ///
    /// # Errors
    /// What the file system says: a full disk, or a flush that failed.
    pub fn run(&mut self, window: Phase) -> Result<Written, ClientError> {
        let failed = file_error(&self.spec.file);
        let block_bytes = u64::from(self.spec.block_bytes);
        let mut latency_ns = latency_histogram();
        let (mut blocks, mut flushes) = (0u64, 0u64);
        let started = Instant::now();
        let mut now = started;
        for number in &self.order {
            if now - started >= window.duration() {
                break;
            }
            let block = self.pool.next(self.spec.seed, *number);
            let mut done = self.file.write_all_at(block, u64::from(*number) * block_bytes);
            if self.spec.flush == Flush::EveryBatch {
                flushes += 1;
                done = done.and_then(|()| self.file.sync_data());
            }
            done.map_err(&failed)?;
            let written_at = Instant::now();
            record(&mut latency_ns, written_at - now);
            now = written_at;
            blocks += 1;
        }
        let wall = now - started;
        let mut durable = wall;
        if self.spec.flush == Flush::Never {
            flushes += 1;
            self.file.sync_data().map_err(&failed)?;
            durable = started.elapsed();
        }
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bytes = blocks * block_bytes;
        Ok(Written {
            phase: PhaseResult {
                responses: blocks,
                records: 0,
                delivered_bytes: bytes,
                moved_bytes: bytes,
                wall_ns: ns(wall),
                response_bytes_achieved: block_bytes as f64,
                send_calls: 0,
                receive_calls: 0,
                data_ended: blocks == self.order.len() as u64,
                latency_ns,
            },
            flushes,
            durable_ns: ns(durable),
        })
    }
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> ClientError {
    let path = path.to_owned();
    move |source| ClientError::File {
        path: path.clone(),
        source,
    }
}

fn make_ready(spec: &BlocksSpec, pool: &Pool) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true);
    match spec.before {
        FileBefore::Growing => drop(options.truncate(true).open(&spec.file)?),
        FileBefore::Preallocated => {
            let file = options.truncate(true).open(&spec.file)?;
            let bytes = i64::try_from(spec.file_bytes).map_err(io::Error::other)?;
            fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
            file.sync_all()?;
        }
        FileBefore::Rewritten => {
            let file = options.truncate(false).open(&spec.file)?;
            if file.metadata()?.len() != spec.file_bytes {
                file.set_len(0)?;
                for place in (0..spec.file_bytes).step_by(pool.blocks().len()) {
                    let bytes = (spec.file_bytes - place).min(pool.blocks().len() as u64) as usize;
                    file.write_all_at(&pool.blocks()[..bytes], place)?;
                }
            }
            file.sync_all()?;
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
    }
    open(&spec.file, spec.direct)
}

fn open(path: &Path, direct: bool) -> io::Result<File> {
    let flags = if direct { libc::O_DIRECT } else { 0 };
    File::options().read(true).write(true).custom_flags(flags).open(path)
}

/// Whether the file system under `dir` refuses to be written around the page cache.
///
/// # Errors
/// Any other error of the file system.
pub fn refuses_direct(dir: &Path) -> io::Result<bool> {
    let path = dir.join("o-direct");
    File::create(&path)?;
    let block = Pool::zeroed(ALIGNMENT_BYTES, 1);
    let tried = open(&path, true).and_then(|file| file.write_all_at(block.blocks(), 0));
    std::fs::remove_file(&path)?;
    match tried {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(true),
        tried => tried.map(|()| false),
    }
}

/// Blocks of a written file that carry their own number and the seed at both ends.
///
/// # Errors
/// The file cannot be read.
pub fn count_written(spec: &BlocksSpec) -> io::Result<u64> {
    let file = File::open(&spec.file)?;
    let block_bytes = u64::from(spec.block_bytes);
    let mut blocks = 0;
    for number in 0..(file.metadata()?.len().min(spec.file_bytes) / block_bytes) {
        let stamp = stamp(spec.seed, number as u32);
        let carries = |place: u64| -> io::Result<bool> {
            let mut found = [0; STAMP_BYTES];
            file.read_exact_at(&mut found, place)?;
            Ok(found == stamp)
        };
        let begin = number * block_bytes;
        blocks += u64::from(carries(begin)? && carries(begin + block_bytes - STAMP_BYTES as u64)?);
    }
    Ok(blocks)
}

fn stamp(seed: u64, number: u32) -> [u8; STAMP_BYTES] {
    let mut stamp = [0; STAMP_BYTES];
    stamp[..8].copy_from_slice(&seed.to_be_bytes());
    stamp[8..].copy_from_slice(&u64::from(number).to_be_bytes());
    stamp
}

/// Blocks in memory, aligned as O_DIRECT wants them.
#[derive(Debug)]
struct Pool {
    bytes: Vec<u8>,
    /// The first aligned byte.
    start: usize,
    block_bytes: usize,
    count: usize,
    turn: usize,
}

impl Pool {
    fn zeroed(block_bytes: usize, count: usize) -> Self {
        let bytes = vec![0; block_bytes * count + ALIGNMENT_BYTES];
        let start = bytes.as_ptr().align_offset(ALIGNMENT_BYTES);
        Self {
            bytes,
            start,
            block_bytes,
            count,
            turn: 0,
        }
    }

    /// Filled with records, one after the other.
    fn fill(spec: &BlocksSpec) -> Result<Self, ClientError> {
        let block_bytes = spec.block_bytes as usize;
        let mut pool = Self::zeroed(
            block_bytes,
            (POOL_BYTES.min(spec.bytes_max as usize) / block_bytes).max(1),
        );
        let mut source = RecordSource::open(&spec.payload, spec.seed)?;
        let mut record = Vec::new();
        let (start, end) = (pool.start, pool.start + block_bytes * pool.count);
        let mut room = &mut pool.bytes[start..end];
        while !room.is_empty() {
            source.next(&mut record)?;
            let bytes = record.len().min(room.len());
            let (head, rest) = room.split_at_mut(bytes);
            head.copy_from_slice(&record[..bytes]);
            room = rest;
        }
        Ok(pool)
    }

    fn blocks(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.block_bytes * self.count]
    }

    /// The next block, stamped.
    fn next(&mut self, seed: u64, number: u32) -> &[u8] {
        let begin = self.start + self.turn * self.block_bytes;
        self.turn = (self.turn + 1) % self.count;
        let block = &mut self.bytes[begin..begin + self.block_bytes];
        let stamp = stamp(seed, number);
        block[..STAMP_BYTES].copy_from_slice(&stamp);
        block[self.block_bytes - STAMP_BYTES..].copy_from_slice(&stamp);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u32 = 8192;

    fn spec(dir: &Path, before: FileBefore, placement: Placement, flush: Flush) -> BlocksSpec {
        BlocksSpec {
            file: dir.join("blocks"),
            file_bytes: 32 * u64::from(BLOCK),
            before,
            placement,
            block_bytes: BLOCK,
            flush,
            direct: false,
            bytes_max: 12 * u64::from(BLOCK),
            payload: PayloadSpec::Random { record_bytes: 100 },
            seed: 5,
        }
    }

    const ENOUGH: Phase = Phase {
        duration_ms: 60_000,
        single_pass: false,
    };

    #[test]
    fn every_block_is_where_it_belongs_and_flushes_are_counted() {
        for before in [FileBefore::Growing, FileBefore::Preallocated, FileBefore::Rewritten] {
            for placement in [Placement::Sequential, Placement::Random] {
                for (flush, flushes) in [(Flush::Never, 1), (Flush::EveryBatch, 12)] {
                    let dir = tempfile::tempdir().unwrap();
                    let spec = spec(dir.path(), before, placement, flush);
                    let written = BlockWriter::prepare(spec.clone()).unwrap().run(ENOUGH).unwrap();
                    let phase = &written.phase;
                    assert_eq!((phase.responses, written.flushes), (12, flushes), "{spec:?}");
                    assert!(phase.data_ended && phase.latency_ns.len() == 12);
                    assert!(written.durable_ns >= phase.wall_ns);
                    assert_eq!(count_written(&spec).unwrap(), 12);
                    let bytes = std::fs::metadata(&spec.file).unwrap().len();
                    match (before, placement) {
                        (FileBefore::Growing, Placement::Sequential) => assert_eq!(bytes, spec.bytes_max),
                        // Where the last of the random places lies, follows from the seed.
                        (FileBefore::Growing, Placement::Random) => assert!(bytes > spec.bytes_max),
                        _ => assert_eq!(bytes, spec.file_bytes),
                    }
                }
            }
        }
    }

    #[test]
    fn a_block_that_is_damaged_or_of_another_run_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let spec = spec(dir.path(), FileBefore::Rewritten, Placement::Random, Flush::Never);
        let mut writer = BlockWriter::prepare(spec.clone()).unwrap();
        writer.run(ENOUGH).unwrap();
        let last = writer.order[11];
        let end = u64::from(last + 1) * u64::from(BLOCK);
        writer.file.write_all_at(&[0xff], end - 1).unwrap();
        assert_eq!(count_written(&spec).unwrap(), 11);
        assert_eq!(count_written(&BlocksSpec { seed: 6, ..spec }).unwrap(), 0);
    }

    #[test]
    fn the_order_is_the_seeds_and_each_block_comes_once() {
        let dir = tempfile::tempdir().unwrap();
        let spec = spec(dir.path(), FileBefore::Growing, Placement::Random, Flush::Never);
        let order = |seed, bytes_max| {
            let spec = BlocksSpec {
                seed,
                bytes_max,
                ..spec.clone()
            };
            BlockWriter::prepare(spec).unwrap().order
        };
        let all = order(5, spec.file_bytes);
        assert_eq!(all, order(5, spec.file_bytes));
        assert_ne!(all, order(6, spec.file_bytes));
        assert_eq!(all[..12], order(5, spec.bytes_max));
        let mut sorted = all;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..32).collect::<Vec<u32>>());
    }

    #[test]
    fn time_ends_a_window_and_sizes_that_do_not_fit_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let spec = spec(dir.path(), FileBefore::Growing, Placement::Sequential, Flush::Never);
        let none = Phase {
            duration_ms: 0,
            single_pass: false,
        };
        let written = BlockWriter::prepare(spec.clone()).unwrap().run(none).unwrap();
        assert_eq!((written.phase.responses, written.phase.data_ended), (0, false));
        for wrong in [
            BlocksSpec {
                block_bytes: 1000,
                ..spec.clone()
            },
            BlocksSpec {
                file_bytes: 4096,
                ..spec.clone()
            },
            BlocksSpec {
                bytes_max: spec.file_bytes * 2,
                ..spec.clone()
            },
        ] {
            let error = BlockWriter::prepare(wrong).unwrap_err().to_string();
            assert!(error.contains("multiple of 4096"), "{error}");
        }
    }

    #[test]
    fn around_the_page_cache_where_the_file_system_does_it() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        if refuses_direct(dir.path()).unwrap() {
            eprintln!("skipped: no O_DIRECT here");
            return;
        }
        let spec = BlocksSpec {
            direct: true,
            ..spec(
                dir.path(),
                FileBefore::Rewritten,
                Placement::Sequential,
                Flush::EveryBatch,
            )
        };
        let written = BlockWriter::prepare(spec.clone()).unwrap().run(ENOUGH).unwrap();
        assert_eq!((written.phase.responses, written.flushes), (12, 12));
        assert_eq!(count_written(&spec).unwrap(), 12);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the probe is gone");
    }
}
