//! How a partition's log is found on disk: by what a clean stop wrote down, or by its files.

use std::path::Path;
use std::sync::Arc;

use super::open_files::OpenFiles;
use super::partition::{Limits, OpenMode};
use super::producers::{self, Replay};
use super::segment::Segment;
use super::state::LogState;
use super::{LogError, compaction, io};
use crate::storage::Storage;

/// The segments of a log, by base offset.
pub(super) struct Opened {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) end_offset: i64,
    /// What is known of idempotent producers.
    pub(super) replay: Replay,
}

/// The log as it was left, without a look into any file; `None` when the files are not those that were written down.
pub(super) fn by_state(
    files: &Arc<OpenFiles>,
    dir: &Path,
    limits: Limits,
    state: &LogState,
) -> Result<Option<Opened>, LogError> {
    let mut segments = Vec::with_capacity(state.segments.len());
    for known in &state.segments {
        match Segment::open(files, dir, known.base_offset, limits.index_interval_bytes, Some(known)) {
            Ok(segment) if segment.written() == known.bytes => segments.push(Arc::new(segment)),
            Err(LogError::Io { source, .. }) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("open", Segment::path_of(dir, known.base_offset))(source));
            }
            _ => {
                let segment = Segment::path_of(dir, known.base_offset);
                tracing::warn!(segment = %segment.display(), "changed since the last stop, the log is looked at");
                return Ok(None);
            }
        }
    }
    if segments.is_empty() {
        return Ok(None);
    }
    let replay = match state.producers {
        0 => Replay::new(limits.producers_max),
        _ => Replay::load(files.storage().as_ref(), dir, limits.producers_max)?,
    };
    Opened::new(segments, state.end_offset, replay, limits).map(Some)
}

impl Opened {
    /// When the snapshot of the producers does not fit the log, they are learned from the log.
    fn new(segments: Vec<Arc<Segment>>, end_offset: i64, mut replay: Replay, limits: Limits) -> Result<Self, LogError> {
        if !replay.fits(end_offset) {
            replay = Replay::new(limits.producers_max);
            for segment in &segments {
                segment.each_header(|header| replay.batch(header))?;
            }
        }
        Ok(Opened {
            segments,
            end_offset,
            replay,
        })
    }
}

/// The log by the files in its folder; what a crash left is repaired.
pub(super) fn by_files(
    files: &Arc<OpenFiles>,
    dir: &Path,
    limits: Limits,
    mode: OpenMode,
    state: Option<&LogState>,
) -> Result<Opened, LogError> {
    let storage = files.storage();
    if mode.recovery_point > 0
        && storage
            .list(dir)
            .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
    {
        return Err(LogError::Vanished {
            path: dir.to_owned(),
            end: mode.recovery_point,
        });
    }
    storage.create_dir(dir).map_err(io("create", dir))?;
    let mut names = storage.list(dir).map_err(io("list", dir))?;
    if names
        .iter()
        .any(|name| name.ends_with(".swap") || name.ends_with(".cleaned"))
    {
        compaction::finish_swaps(storage, dir, &names)?;
        names = storage.list(dir).map_err(io("list", dir))?;
    }
    let mut bases = bases(dir, &names);
    // What an interrupted removal left below the start, with holes or without.
    let below = bases
        .partition_point(|base| *base <= mode.start_offset)
        .saturating_sub(1);
    for base in bases.drain(..below) {
        Segment::remove_files(storage, &Segment::path_of(dir, base))?;
    }
    // Compaction takes offsets away, at the end of a segment too.
    let sparse = limits.compaction.is_some();
    let mut replay = match names.iter().any(|name| name == producers::FILE) {
        true => Replay::load(storage.as_ref(), dir, limits.producers_max)?,
        false => Replay::new(limits.producers_max),
    };
    let mut segments: Vec<Arc<Segment>> = Vec::new();
    let mut next_offset = bases.first().copied().unwrap_or(0);
    for (i, base) in bases.iter().copied().enumerate() {
        let known = state.and_then(|state| state.segments.iter().find(|known| known.base_offset == base));
        let segment = Segment::open(files, dir, base, limits.index_interval_bytes, known)?;
        if base < next_offset || base > next_offset && !sparse {
            return Err(LogError::Hole {
                path: segment.path().to_owned(),
                expected: next_offset,
                found: base,
            });
        }
        let ends_at = bases.get(i + 1).copied();
        let flushed = ends_at.is_some_and(|end| end <= mode.recovery_point);
        let mut cut_bytes = 0;
        next_offset = match ends_at {
            Some(end) if mode.clean || flushed || segment.is_sealed() => end,
            None if mode.clean || segment.is_sealed() => segment.next_offset()?,
            _ => {
                let scan = segment.recover(mode.recovery_point, sparse, |header| replay.batch(header))?;
                cut_bytes = scan.cut_bytes;
                if ends_at.is_some() && cut_bytes == 0 {
                    // A closed one, which the next recovery point lies behind: from then on its indexes are believed.
                    segment.complete_indexes()?;
                    segment.sync_indexes()?;
                }
                scan.next_offset
            }
        };
        segments.push(Arc::new(segment));
        if ends_at.is_some_and(|end| end != next_offset) && cut_bytes > 0 {
            discard(storage, dir, &bases[i + 1..])?;
            break;
        }
    }
    let mut end_offset = next_offset;
    if end_offset < mode.start_offset {
        // A tail was lost, and everything in front of it had been deleted: the log goes on where it may be read.
        tracing::warn!(folder = %dir.display(), end_offset, start_offset = mode.start_offset, "the log begins anew");
        segments.drain(..).try_for_each(|segment| segment.remove())?;
        end_offset = mode.start_offset;
    }
    if segments.is_empty() {
        segments.push(Arc::new(create(files, dir, end_offset, limits)?));
    }
    Opened::new(segments, end_offset, replay, limits)
}

/// Base offsets of the segments in a folder. Other files are left alone.
fn bases(dir: &Path, names: &[String]) -> Vec<i64> {
    let mut bases = Vec::new();
    for name in names {
        if let Some(base) = base_of(name) {
            bases.push(base);
        } else if ![".index", ".timeindex", ".discarded", ".tmp", producers::FILE]
            .iter()
            .any(|end| name.ends_with(end))
        {
            tracing::warn!(folder = %dir.display(), file = %name, "not a file of this log, left alone");
        }
    }
    bases.sort_unstable();
    bases
}

/// The base offset in the name of a segment.
pub(super) fn base_of(name: &str) -> Option<i64> {
    let digits = name
        .strip_suffix(".log")
        .filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|d| d.parse().ok())
}

/// A new active segment. Its name is not on the device yet.
pub(super) fn create(
    files: &Arc<OpenFiles>,
    dir: &Path,
    base_offset: i64,
    limits: Limits,
) -> Result<Segment, LogError> {
    let segment = Segment::create(files, dir, base_offset, limits.index_interval_bytes)?;
    if limits.preallocate {
        segment.preallocate(limits.segment_bytes)?;
    }
    Ok(segment)
}

/// Segments behind a cut can't follow it any more; they are put aside and not deleted.
fn discard(storage: &Arc<dyn Storage>, dir: &Path, bases: &[i64]) -> Result<(), LogError> {
    for base in bases {
        let path = Segment::path_of(dir, *base);
        tracing::error!(segment = %path.display(), "put aside: it follows a damaged segment");
        storage
            .rename(&path, &path.with_extension("log.discarded"))
            .map_err(io("rename", &path))?;
    }
    Ok(())
}
