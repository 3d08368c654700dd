//! Compaction: of every key the last record stays, at its offset; the active segment is never touched.
//!
//! A pass maps the keys of what is dirty to their last offsets, up to a bound of memory, and copies all older segments without the records that a later
//! one replaces. Batches stay as they came when nothing of them goes; otherwise the records that stay keep their bytes, and the batch its offsets and
//! its codec. A tombstone goes in a later pass than the one that removed what it deletes, and when it is older than `delete.retention.ms`, counted
//! from its own time (Kafka counts from the first pass).
//!
//! The swap survives a crash at any point: `<base>.<end>.cleaned` is written and flushed, renamed to `.swap`, which decides it, then the segments that it
//! replaces go, and it takes the name of the first of them. [`finish_swaps`] does what is left of that at a start. Its indexes are made on first use.

use std::collections::HashMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use kafka_wire::batch::{CRC_START, HEADER_BYTES, LENGTH_PREFIX_BYTES};
use kafka_wire::codec::{Codec, Compression, Compressor, Decompressor};
use kafka_wire::{BatchHeader, Cursor, RecordIter};

use super::lookup::{DECOMPRESSED_BYTES_MAX, Headers};
use super::partition::{PartitionLog, lock};
use super::segment::Segment;
use super::{LogError, io};
use crate::storage::{Storage, StoredFile};

/// Bytes that are gathered for one write.
const WRITE_BYTES: usize = 1 << 20;
/// What an entry of the map takes beside its key, about.
const ENTRY_BYTES: usize = 64;

/// When and how a log is compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// The least part of the bytes that is dirty, in millionths.
    pub dirty_ppm_min: u64,
    /// How long a tombstone stays.
    pub delete_retention_ms: i64,
    /// Memory for the keys of one pass.
    pub keys_bytes_max: usize,
}

/// The last offset of each key in what is dirty.
type Keys = HashMap<Vec<u8>, i64>;

/// What a record has to outlive.
struct Rule {
    keys: Keys,
    /// Below are records that went through a pass.
    dirty_from: i64,
    /// A tombstone with an earlier time may go.
    tombstones_from_ms: i64,
}

impl Rule {
    fn keeps(&self, offset: i64, timestamp_ms: i64, key: Option<&[u8]>, is_tombstone: bool) -> bool {
        // Nothing without a key is accepted; should it be there, it stays.
        let Some(key) = key else { return true };
        let is_last = self.keys.get(key).is_none_or(|last| *last <= offset);
        let is_over = is_tombstone && offset < self.dirty_from && timestamp_ms < self.tombstones_from_ms;
        is_last && !is_over
    }
}

impl PartitionLog {
    /// One pass, if enough is dirty from `dirty_from` on. Answers up to where the log is clean then.
    pub(super) fn compact_at(&self, dirty_from: i64, now_ms: i64) -> Result<Option<i64>, LogError> {
        let Some(compaction) = self.limits.compaction else {
            return Ok(None);
        };
        let all = self.segments();
        let Some((active, closed)) = all.split_last() else {
            return Ok(None);
        };
        let first_dirty = closed.partition_point(|s| {
            self.segment_behind(s)
                .is_some_and(|next| next.base_offset <= dirty_from)
        });
        let bytes = |segments: &[Arc<Segment>]| segments.iter().map(|s| s.written()).sum::<u64>();
        let (total, dirty) = (bytes(closed), bytes(&closed[first_dirty..]));
        let is_due = dirty > 0 && dirty.saturating_mul(1_000_000) >= total.saturating_mul(compaction.dirty_ppm_min);
        // What is read-only may be somebody else's too.
        if !is_due || closed.iter().any(|segment| segment.is_sealed()) || self.offline.load(Ordering::Acquire) {
            return Ok(None);
        }
        let (keys, clean_until) = keys(
            &closed[first_dirty..],
            dirty_from,
            active.base_offset,
            compaction.keys_bytes_max,
        )?;
        let rule = Rule {
            keys,
            dirty_from,
            tombstones_from_ms: now_ms.saturating_sub(compaction.delete_retention_ms),
        };
        let cleaned = closed.partition_point(|segment| segment.base_offset < clean_until);
        for group in self.groups(&closed[..cleaned]) {
            let behind = self.segment_behind(&group[group.len() - 1]);
            self.replace(group, behind.map_or(clean_until, |next| next.base_offset), &rule)?;
        }
        Ok(Some(clean_until))
    }

    /// Segments that become one: neighbours that fit together.
    fn groups<'a>(&self, closed: &'a [Arc<Segment>]) -> Vec<&'a [Arc<Segment>]> {
        let mut groups = Vec::new();
        let mut rest = closed;
        while let Some(first) = rest.first() {
            let mut bytes = 0;
            let fits = |segment: &&Arc<Segment>| {
                bytes += segment.written();
                bytes <= self.limits.segment_bytes
            };
            // A segment's last offset is below the next one's base, which is what the indexes can name.
            let in_reach = |segment: &&Arc<Segment>| segment.base_offset - first.base_offset < i64::from(i32::MAX) / 2;
            let count = rest.iter().take_while(in_reach).take_while(fits).count().max(1);
            let (group, others) = rest.split_at(count);
            groups.push(group);
            rest = others;
        }
        groups
    }

    /// Writes what stays of a group and swaps it in. `end` is the base of the segment behind it.
    fn replace(&self, group: &[Arc<Segment>], end: i64, rule: &Rule) -> Result<(), LogError> {
        let storage = self.files.storage();
        let base = group[0].base_offset;
        let cleaned = self.dir.join(format!("{base:020}.{end:020}.cleaned"));
        let written = write_cleaned(storage, &cleaned, group, rule);
        if let Err(error) = written {
            // The log is as it was; what was begun is of no use.
            let _ = storage.remove_file(&cleaned);
            return Err(error);
        }
        let _appender = lock(&self.appender);
        let is_here = |segment: &Arc<Segment>| self.segments().iter().any(|s| Arc::ptr_eq(s, segment));
        if !group.iter().all(is_here) {
            tracing::info!(folder = %self.dir.display(), base, "not compacted: records were deleted meanwhile");
            return storage.remove_file(&cleaned).map_err(io("remove", cleaned));
        }
        for segment in group {
            // Who still reads the old bytes must not find the new ones under their name.
            segment.indexes()?;
            segment.file().keep().map_err(io("open", segment.path()))?;
        }
        let swap = cleaned.with_extension("swap");
        storage.rename(&cleaned, &swap).map_err(io("rename", &cleaned))?;
        let swapped = storage
            .sync_dir(&self.dir)
            .map_err(io("flush", &self.dir))
            .and_then(|()| finish_swap(storage, &self.dir, &swap, base, group.iter().map(|s| s.base_offset)))
            .and_then(|()| Segment::open(&self.files, &self.dir, base, self.limits.index_interval_bytes, None));
        let fresh = swapped.inspect_err(|_| {
            // Names and segments in memory no longer agree; a start makes them.
            self.offline.store(true, Ordering::Release);
        })?;
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let at = segments.partition_point(|s| s.base_offset < base);
        let (before, after): (u64, u64) = (group.iter().map(|s| s.written()).sum(), fresh.written());
        segments.splice(at..at + group.len(), [Arc::new(fresh)]);
        tracing::info!(folder = %self.dir.display(), base, end, before, after, "compacted");
        Ok(())
    }
}

/// Maps keys to last offsets until the memory is used up; answers the map and the offset behind what is in it.
fn keys(segments: &[Arc<Segment>], from: i64, end: i64, bytes_max: usize) -> Result<(Keys, i64), LogError> {
    let (mut keys, mut bytes) = (Keys::new(), 0);
    let mut plain = Plain::default();
    for segment in segments {
        let mut headers = Headers::new(segment, 0, segment.written());
        while let Some((position, header)) = headers.next()? {
            let batch = segment.batch_at(position, &header)?;
            let Some((header, batch)) = plain.of(header, &batch) else {
                continue;
            };
            for record in RecordIter::new(header, batch).map_while(Result::ok) {
                let Some(key) = record.key.filter(|_| record.offset >= from) else {
                    continue;
                };
                if let Some(last) = keys.get_mut(key) {
                    *last = record.offset;
                    continue;
                }
                bytes += key.len() + ENTRY_BYTES;
                // One key at least, so that every pass gets on.
                if bytes > bytes_max && !keys.is_empty() {
                    return Ok((keys, record.offset));
                }
                keys.insert(key.to_vec(), record.offset);
            }
        }
    }
    Ok((keys, end))
}

fn write_cleaned(storage: &Arc<dyn Storage>, path: &Path, group: &[Arc<Segment>], rule: &Rule) -> Result<(), LogError> {
    let mut out = Writer {
        file: storage.create(path).map_err(io("create", path))?,
        path,
        position: 0,
        buffer: Vec::new(),
    };
    let mut plain = Plain::default();
    for segment in group {
        let mut headers = Headers::new(segment, 0, segment.written());
        while let Some((position, header)) = headers.next()? {
            let batch = segment.batch_at(position, &header)?;
            let plain = plain.of(header, &batch);
            match plain.and_then(|(plain_header, plain)| kept(&header, plain_header, plain, rule)) {
                None => out.write(&batch)?,
                Some(rest) => out.write(&rest)?,
            }
        }
    }
    out.flush()?;
    out.file.sync_data().map_err(io("flush", path))
}

/// A batch without what goes, empty when all of it does; `None` when nothing goes or the records can't be read.
fn kept(stored: &BatchHeader, header: BatchHeader, batch: &[u8], rule: &Rule) -> Option<Vec<u8>> {
    let mut raw = Cursor::new(batch.get(HEADER_BYTES..)?);
    let mut out = batch[..HEADER_BYTES].to_vec();
    let (mut count, mut latest) = (0i32, i64::MIN);
    for record in RecordIter::new(header, batch) {
        let record = record.ok()?;
        let start = raw.position();
        let length = raw.varint().ok()?;
        raw.take(usize::try_from(length).ok()?).ok()?;
        if rule.keeps(record.offset, record.timestamp_ms, record.key, record.value.is_none()) {
            count += 1;
            latest = latest.max(record.timestamp_ms);
            out.extend_from_slice(&batch[HEADER_BYTES + start..HEADER_BYTES + raw.position()]);
        }
    }
    if count == header.records_count {
        return None;
    }
    if count == 0 {
        return Some(Vec::new());
    }
    let section = out.split_off(HEADER_BYTES);
    let mut compressor = Compressor::new(Compression::new(Codec::of(stored).ok()?));
    compressor.compress(&section, &mut out).ok()?;
    let length = i32::try_from(out.len() - LENGTH_PREFIX_BYTES).ok()?;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    if !header.is_log_append_time() {
        out[35..43].copy_from_slice(&latest.to_be_bytes());
    }
    out[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = kafka_wire::crc::crc32c(&out[CRC_START..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    Some(out)
}

/// Makes plain batches of compressed ones.
#[derive(Default)]
struct Plain {
    decompressor: Decompressor,
    batch: Vec<u8>,
}

impl Plain {
    /// The batch with records that can be read, and a header that says so; the CRC is still that of the compressed one.
    fn of<'a>(&'a mut self, header: BatchHeader, batch: &'a [u8]) -> Option<(BatchHeader, &'a [u8])> {
        let codec = Codec::of(&header).ok()?;
        if codec == Codec::None {
            return Some((header, batch));
        }
        let section = batch.get(HEADER_BYTES..)?;
        let section = self
            .decompressor
            .decompress(codec, section, DECOMPRESSED_BYTES_MAX)
            .ok()?;
        self.batch.clear();
        self.batch.extend_from_slice(&batch[..HEADER_BYTES]);
        self.batch.extend_from_slice(section);
        let attributes = header.attributes & !7;
        Some((BatchHeader { attributes, ..header }, &self.batch))
    }
}

struct Writer<'a> {
    file: Arc<dyn StoredFile>,
    path: &'a Path,
    position: u64,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), LogError> {
        // Positions in an index have 32 bits, and batches may have grown.
        if self.position + self.buffer.len() as u64 > u64::from(u32::MAX) {
            let source = std::io::Error::other("more than 4 GiB come out; lower segment.bytes of the topic");
            return Err(io("compact into", self.path)(source));
        }
        let written = self.file.write_all_at(&mut [IoSlice::new(&self.buffer)], self.position);
        written.map_err(io("write", self.path))?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Removes what a swap replaces and gives it its name.
fn finish_swap(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    swap: &Path,
    base: i64,
    replaced: impl Iterator<Item = i64>,
) -> Result<(), LogError> {
    let log = Segment::path_of(dir, base);
    for replaced in replaced {
        let path = Segment::path_of(dir, replaced);
        remove(storage, &path.with_extension("index"))?;
        remove(storage, &path.with_extension("timeindex"))?;
        if replaced != base {
            remove(storage, &path)?;
        }
    }
    // They must be gone for good before the name of the swap is, as nothing tells of them then.
    storage.sync_dir(dir).map_err(io("flush", dir))?;
    storage.rename(swap, &log).map_err(io("rename", swap))?;
    storage.sync_dir(dir).map_err(io("flush", dir))
}

fn remove(storage: &Arc<dyn Storage>, path: &Path) -> Result<(), LogError> {
    match storage.remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// What a crash left of compaction in a folder: swaps that were decided are finished, others are forgotten.
pub(super) fn finish_swaps(storage: &Arc<dyn Storage>, dir: &Path, names: &[String]) -> Result<(), LogError> {
    for name in names {
        let path: PathBuf = dir.join(name);
        if name.ends_with(".cleaned") {
            remove(storage, &path)?;
        }
        let range = name.strip_suffix(".swap").and_then(|range| range.split_once('.'));
        let Some((base, end)) = range.and_then(|(base, end)| Some((base.parse().ok()?, end.parse::<i64>().ok()?)))
        else {
            continue;
        };
        tracing::warn!(swap = %path.display(), "compaction was interrupted, it is finished");
        let replaced = names.iter().filter_map(|name| super::open::base_of(name));
        let replaced: Vec<i64> = replaced.filter(|b| (base..end).contains(b)).collect();
        finish_swap(storage, dir, &path, base, replaced.into_iter())?;
    }
    Ok(())
}
