//! Both indexes of a segment, by offset and by time, which get their entries together.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::LogError;
use super::index::{Index, Moment, Place};
use super::open_files::OpenFiles;
use super::state::IndexState;

/// The indexes of one segment, and where they stand.
#[derive(Debug)]
pub struct Indexes {
    /// By offset.
    pub places: Index<Place>,
    /// By time.
    pub moments: Index<Moment>,
    interval_bytes: usize,
    tail: Mutex<Tail>,
}

#[derive(Debug)]
struct Tail {
    /// The first batch with the latest record.
    latest: Option<Moment>,
    /// Position of the last batch with an entry.
    indexed_at: Option<u64>,
}

impl Indexes {
    /// Without entries, in the place of what is there; `interval_bytes` of the log lie between two.
    pub fn empty(files: &Arc<OpenFiles>, log: &Path, interval_bytes: usize) -> Self {
        let places = Index::empty(files, &log.with_extension("index"));
        Self::over(
            places,
            Index::empty(files, &log.with_extension("timeindex")),
            interval_bytes,
        )
    }

    /// Reads what the files say of the first `log_bytes` of the log.
    pub fn load(files: &Arc<OpenFiles>, log: &Path, log_bytes: u64, interval_bytes: usize) -> Result<Self, LogError> {
        let places = Index::load(files, &log.with_extension("index"), |place: &Place| {
            u64::from(place.position) < log_bytes
        })?;
        let moments = Index::load(files, &log.with_extension("timeindex"), |_: &Moment| log_bytes > 0)?;
        Ok(Self::over(places, moments, interval_bytes))
    }

    fn over(places: Index<Place>, moments: Index<Moment>, interval_bytes: usize) -> Self {
        let tail = Tail {
            latest: moments.last(),
            indexed_at: places.last().map(|place| u64::from(place.position)),
        };
        Indexes {
            places,
            moments,
            interval_bytes,
            tail: Mutex::new(tail),
        }
    }

    /// Takes note of a batch that was appended, and writes a group of entries when it is full.
    pub fn add(&self, batch: Place, max_timestamp: i64) -> Result<(), LogError> {
        let mut tail = self.tail();
        let latest = match tail.latest {
            Some(latest) if latest.timestamp_ms >= max_timestamp => latest,
            _ => Moment {
                timestamp_ms: max_timestamp,
                relative_offset: batch.relative_offset,
            },
        };
        tail.latest = Some(latest);
        let position = u64::from(batch.position);
        if tail
            .indexed_at
            .is_some_and(|at| position < at + self.interval_bytes as u64)
        {
            return Ok(());
        }
        tail.indexed_at = Some(position);
        let is_full = self.places.push(batch);
        self.push_moment(latest);
        drop(tail);
        if is_full { self.write() } else { Ok(()) }
    }

    fn push_moment(&self, latest: Moment) {
        if self
            .moments
            .last()
            .is_none_or(|last| last.timestamp_ms < latest.timestamp_ms)
        {
            self.moments.push(latest);
        }
    }

    /// Lets the last entry of the time index name the latest record; for a segment that is closed.
    pub fn complete(&self) -> Result<(), LogError> {
        let latest = self.tail().latest;
        latest.into_iter().for_each(|latest| self.push_moment(latest));
        self.write()
    }

    /// Writes the entries that wait. They are not flushed: recovery makes them again from the log.
    pub fn write(&self) -> Result<(), LogError> {
        self.places.write()?;
        self.moments.write().map(drop)
    }

    /// Flushes both files to the device.
    pub fn sync(&self) -> Result<(), LogError> {
        self.places.sync()?;
        self.moments.sync()
    }

    /// Forgets everything behind the batch at `last`, or everything.
    pub fn truncate(&self, last: Option<Place>) {
        let is_kept = |relative_offset: u32| last.is_some_and(|last| relative_offset <= last.relative_offset);
        self.places.truncate(|place| is_kept(place.relative_offset));
        self.moments.truncate(|moment| is_kept(moment.relative_offset));
        let mut tail = self.tail();
        tail.latest = self.moments.last();
        tail.indexed_at = last.map(|last| u64::from(last.position));
    }

    /// The first batch with the latest record.
    pub fn latest(&self) -> Option<Moment> {
        self.tail().latest
    }

    /// What a clean stop writes down.
    pub fn state(&self) -> IndexState {
        IndexState {
            places: self.places.entries(),
            moments: self.moments.entries(),
            latest_ms: self.latest().map(|latest| latest.timestamp_ms),
        }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
