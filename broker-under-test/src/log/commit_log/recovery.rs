//! Opening the shared log, and repairing what a crash left.
//!
//! The checkpoint says up to where log and queues are on the device. Behind it everything is looked at (frame headers, checksums of the batches), what is
//! torn is cut off, and the queues are caught up; nothing is read when there is nothing behind it, as after a clean stop. A queue whose files hold less
//! than the checkpoint says is made again from the frame headers in front of it; damage there costs the frames that it hit and no other.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kafka_wire::BatchHeader;

use super::super::producers::{FILE, Producers};
use super::super::{LogError, OpenFiles, io};
use super::checkpoint::{self, Checkpoint, Key};
use super::producers::Saved;
use super::queue::{Mark, Queue, Stored};
use super::scan::{Seen, next_frame, walk};
use super::segments::Segment;
use super::shared::{CommitLog, Known, Options, Partition, Reached, empty_queue};
use crate::counters::Counters;

/// Where the segments are.
pub(super) fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("commitlog")
}

/// Where the queues are.
pub(super) fn queues_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("consumequeue")
}

/// A partition while its queue is caught up.
struct Opening {
    queue: Queue,
    end: i64,
    /// Its queue lacks what is in front of the checkpoint.
    again: bool,
    producers: Producers,
}

impl Opening {
    /// Enters a batch that was found in the log. Producers are learned from `producers_from` on.
    fn enter(&mut self, seen: &Seen, producers_from: u64) -> Result<(), LogError> {
        let header = &seen.header;
        if header.base_offset < self.end {
            tracing::error!(queue = %self.queue.dir().display(), position = seen.position, offset = header.base_offset, expected = self.end, "an offset that was there already, left out");
            return Ok(());
        }
        let group_is_full = self.queue.push(&Stored {
            position: seen.position,
            bytes: seen.frame.batch_bytes,
            // Offsets that are missing, as their bytes were damaged, lead to the batch behind them.
            offset: if self.queue.is_empty() {
                header.base_offset
            } else {
                self.end
            },
            end_offset: header.last_offset() + 1,
            time_max: header.max_timestamp,
        });
        self.end = header.last_offset() + 1;
        if seen.position >= producers_from {
            self.learn(header);
        }
        if group_is_full { self.queue.write() } else { Ok(()) }
    }

    fn learn(&mut self, header: &BatchHeader) {
        if header.has_producer() {
            self.producers.record(header, header.base_offset);
        }
    }
}

impl CommitLog {
    /// Opens or creates the shared log in `data_dir` for the partitions that exist, and repairs what a crash left.
    ///
    /// # Errors
    /// The file system's; bytes that are missing in front of the checkpoint; damage in a read-only segment. A torn tail is cut off and logged.
    pub fn open(
        files: &Arc<OpenFiles>,
        data_dir: &Path,
        options: Options,
        known: &[Known],
    ) -> Result<Arc<Self>, LogError> {
        let (dir, queues_dir) = (log_dir(data_dir), queues_dir(data_dir));
        let storage = files.storage();
        storage.create_dir(&dir).map_err(io("create", &dir))?;
        storage.create_dir(&queues_dir).map_err(io("create", &queues_dir))?;
        let mut checkpoint = Checkpoint::read(storage.as_ref(), &dir)?;
        let mut segments = segments(files, &dir, checkpoint.as_ref())?;
        let first = segments.first().map_or(0, |s| s.base);
        let end = segments.last().map_or(0, |s| s.end());
        if let Some(c) = &checkpoint
            && (c.segments.first().is_some_and(|(base, _)| *base != first) || end < c.position)
        {
            tracing::error!(folder = %dir.display(), first, end, checkpoint = c.position, "the log is not the one that its checkpoint speaks of: queues are made again from what is there");
            checkpoint = None;
        }
        let position = checkpoint.as_ref().map_or(first, |c| c.position);
        let mut partitions = BTreeMap::new();
        for k in known {
            let dir = queues_dir.join(format!("{}-{}", k.name, k.partition));
            partitions.insert(
                (k.topic, k.partition),
                open_queue(files, dir, options, checkpoint.as_ref(), k)?,
            );
        }
        let saved = Saved::read(storage.as_ref(), &dir, options.limits.producers_max)?;
        let has_producers_file = saved.is_there();
        // A snapshot that can't be used is made again, too.
        let known_from = saved.fits(end).then(|| saved.until());
        if known_from.is_some() {
            for (key, producers) in saved.partitions {
                if let Some(opening) = partitions.get_mut(&key) {
                    opening.producers = producers;
                }
            }
        }
        let producers_from = known_from.unwrap_or(0);
        if known_from.is_none() || partitions.values().any(|p| p.again) {
            catch_up_again(files.counters(), &segments, position, &mut partitions, producers_from)?;
        }
        let end = catch_up(files, &dir, &mut segments, position, &mut partitions, producers_from)?;
        if end < producers_from {
            tracing::error!(folder = %dir.display(), end, producers_from, "the log lost what its producers are known by: they begin anew");
            let anew = |opening: &mut Opening| opening.producers = Producers::new(options.limits.producers_max);
            partitions.values_mut().for_each(anew);
        }
        let mut changed =
            checkpoint.is_none() || end != position || known_from.is_none() || partitions.values().any(|p| p.again);
        if segments.last().is_none_or(|s| s.sealed) {
            let fresh = Segment::create(files, &dir, end, options.limits)?;
            segments.push(Arc::new(fresh));
        }
        let mut opened = BTreeMap::new();
        for k in known {
            let key = (k.topic, k.partition);
            let Some(opening) = partitions.remove(&key) else {
                continue;
            };
            let Opening {
                queue,
                mut end,
                producers,
                ..
            } = opening;
            if end < k.start_offset {
                // A tail was lost, and everything in front of it had been deleted: the partition goes on where it may be read.
                tracing::warn!(queue = %queue.dir().display(), end, start_offset = k.start_offset, "the partition begins anew");
                queue.restart_at(k.start_offset);
                end = k.start_offset;
                changed = true;
            }
            let start = queue.mark(end).first_offset.max(k.start_offset);
            opened.insert(key, Arc::new(Partition::new(key, queue, start, end, producers)));
        }
        let reached = Reached {
            end,
            flushed: position,
            has_producers_file,
        };
        let log = CommitLog::assemble(files, data_dir, options, segments, opened, reached);
        if changed {
            let synced = storage.sync_dir(data_dir);
            synced.map_err(io("flush", data_dir))?;
            // What was looked at may be in the page cache only.
            log.checkpoint()?;
        }
        Ok(Arc::new(log))
    }
}

/// The segments in `dir` that lie one behind the other. Those that retention had begun to remove are removed; those behind a hole can't follow, and are
/// put aside, unless the checkpoint says that the hole was once filled.
fn segments(
    files: &Arc<OpenFiles>,
    dir: &Path,
    checkpoint: Option<&Checkpoint>,
) -> Result<Vec<Arc<Segment>>, LogError> {
    let storage = files.storage();
    let mut bases = Vec::new();
    for name in storage.list(dir).map_err(io("list", dir))? {
        let digits = name
            .strip_suffix(".log")
            .filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()));
        if let Some(base) = digits.and_then(|d| d.parse::<u64>().ok()) {
            bases.push(base);
        } else if ![checkpoint::FILE, FILE].contains(&name.as_str())
            && !name.ends_with(".tmp")
            && !name.ends_with(".discarded")
        {
            tracing::warn!(folder = %dir.display(), file = %name, "not a file of this log, left alone");
        }
    }
    bases.sort_unstable();
    let kept_from = checkpoint.and_then(|c| c.segments.first()).map_or(0, |(base, _)| *base);
    let gone = bases.partition_point(|base| *base < kept_from);
    for base in bases.drain(..gone) {
        let path = Segment::path_of(dir, base);
        storage.remove_file(&path).map_err(io("remove", path))?;
    }
    let flushed = checkpoint.map_or(0, |c| c.position);
    let mut out: Vec<Arc<Segment>> = Vec::new();
    for (i, base) in bases.iter().copied().enumerate() {
        let path = Segment::path_of(dir, base);
        let expected = out.last().map_or(base, |s| s.end());
        if base != expected && base <= flushed {
            let problem = format!("bytes {expected} to {base} of the log are missing in front of this segment");
            return Err(io("open", path)(Error::new(ErrorKind::InvalidData, problem)));
        }
        if base != expected {
            discard(files, dir, &bases[i..])?;
            break;
        }
        let info = storage.info(&path).map_err(io("open", &path))?;
        let flushed = flushed.saturating_sub(base).min(info.bytes);
        let segment = Segment::existing(files, dir, base, info.bytes, info.read_only, flushed);
        let told = checkpoint.and_then(|c| c.segments.iter().find(|(b, _)| *b == base));
        if let Some((_, time_max)) = told {
            segment.time_max.store(*time_max, Ordering::Relaxed);
        }
        out.push(Arc::new(segment));
    }
    Ok(out)
}

fn open_queue(
    files: &Arc<OpenFiles>,
    dir: PathBuf,
    options: Options,
    checkpoint: Option<&Checkpoint>,
    known: &Known,
) -> Result<Opening, LogError> {
    let key = (known.topic, known.partition);
    let told = checkpoint.and_then(|c| Some((c.format, *c.queues.get(&key)?)));
    let (format, mark) = told.unwrap_or((options.queues, Mark::EMPTY));
    let opened = if format == options.queues {
        Queue::open(files, dir.clone(), format, mark)?
    } else {
        None
    };
    let again = opened.is_none();
    let queue = match opened {
        Some(queue) => queue,
        None => {
            tracing::warn!(queue = %dir.display(), "made again from the log");
            empty_queue(files, dir, options.queues)?
        }
    };
    Ok(Opening {
        queue,
        end: if again { 0 } else { mark.end_offset },
        again,
        producers: Producers::new(options.limits.producers_max),
    })
}

/// Catches the queues that lack something up to `position`, by headers; and what is known of producers, if that is not known from there on.
fn catch_up_again(
    counters: &Counters,
    segments: &[Arc<Segment>],
    position: u64,
    partitions: &mut BTreeMap<Key, Opening>,
    producers_from: u64,
) -> Result<(), LogError> {
    for segment in segments.iter().filter(|s| s.base < position) {
        let mut from = segment.base;
        loop {
            let stop = walk(segment, counters, from, false, |seen| {
                let opening = partitions.get_mut(&(seen.frame.topic, seen.frame.partition));
                match opening.filter(|_| seen.position < position) {
                    Some(opening) if opening.again => return opening.enter(seen, producers_from),
                    Some(opening) if seen.position >= producers_from => opening.learn(&seen.header),
                    _ => {}
                }
                Ok(())
            })?;
            let Some(problem) = stop.problem.filter(|_| stop.position < position) else {
                break;
            };
            from = next_frame(segment, counters, stop.position + 1)?;
            tracing::error!(segment = %segment.path().display(), position = stop.position, until = from, problem, "damaged, left out");
        }
    }
    Ok(())
}

/// Looks at everything from `position` on, cuts off what is torn, and enters the rest. Answers where the log ends.
fn catch_up(
    files: &Arc<OpenFiles>,
    dir: &Path,
    segments: &mut Vec<Arc<Segment>>,
    position: u64,
    partitions: &mut BTreeMap<Key, Opening>,
    producers_from: u64,
) -> Result<u64, LogError> {
    let mut end = position;
    let mut keep = segments.len();
    for (i, segment) in segments.iter().enumerate().filter(|(_, s)| s.end() > position) {
        let stop = walk(segment, files.counters(), segment.base.max(position), true, |seen| {
            segment.time_max.fetch_max(seen.header.max_timestamp, Ordering::Relaxed);
            match partitions.get_mut(&(seen.frame.topic, seen.frame.partition)) {
                Some(opening) => opening.enter(seen, producers_from),
                // Of a topic that was deleted.
                None => Ok(()),
            }
        })?;
        end = stop.position;
        if let Some(problem) = stop.problem {
            let (path, position) = (segment.path().to_owned(), stop.position - segment.base);
            if segment.sealed {
                return Err(LogError::Damaged {
                    path,
                    position,
                    problem,
                });
            }
            let cut_bytes = segment.end() - end;
            tracing::warn!(segment = %path.display(), position, cut_bytes, problem, "cutting off a torn tail");
            segment.cut(end, files.counters())?;
            keep = i + 1;
            break;
        }
    }
    let bases: Vec<u64> = segments.drain(keep..).map(|s| s.base).collect();
    discard(files, dir, &bases)?;
    Ok(end)
}

/// Segments behind a cut can't follow it any more; they are put aside and not deleted, if there is something in them.
fn discard(files: &Arc<OpenFiles>, dir: &Path, bases: &[u64]) -> Result<(), LogError> {
    let storage = files.storage();
    for base in bases {
        let path = Segment::path_of(dir, *base);
        if storage.info(&path).map_err(io("open", &path))?.bytes == 0 {
            storage.remove_file(&path).map_err(io("remove", path))?;
            continue;
        }
        tracing::error!(segment = %path.display(), "put aside: it follows a hole in the log");
        let aside = path.with_extension("log.discarded");
        storage.rename(&path, &aside).map_err(io("rename", path))?;
    }
    Ok(())
}
