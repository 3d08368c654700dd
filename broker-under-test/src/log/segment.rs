//! One segment: a log file, its index, and how it is opened, scanned and mapped.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kafka_wire::BatchHeader;
use kafka_wire::batch::HEADER_BYTES;

use super::file::{LogFile, LogSlice};
use super::index::{Entry, OffsetIndex};
use super::open_files::OpenFiles;
use super::{LogError, io};
use crate::counters::{Counter, Counters};
use crate::storage::StoredFile;

/// Bytes that a look-up reads at a time.
const LOOKUP_BYTES: usize = 16 * 1024;
/// Bytes that recovery reads at a time; at least one batch of the largest size must fit.
const SCAN_BYTES: usize = 4 << 20;

/// A segment of a partition log.
#[derive(Debug)]
pub struct Segment {
    /// Offset of its first record.
    pub base_offset: i64,
    files: Arc<OpenFiles>,
    file: Arc<LogFile>,
    index: OffsetIndex,
    /// Bytes that were appended; readers see fewer until the high watermark moves.
    written: AtomicU64,
    /// Bytes that a flush of this process covered.
    flushed: AtomicU64,
    /// A file without write permission is never written, cut or appended to: runs link the same one many times.
    sealed: bool,
}

/// What a scan of the tail found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Offset behind the last whole batch.
    pub next_offset: i64,
    /// Bytes that were cut off.
    pub cut_bytes: u64,
}

impl Segment {
    /// Where a segment lives.
    pub fn path_of(dir: &Path, base_offset: i64) -> PathBuf {
        dir.join(format!("{base_offset:020}.log"))
    }

    /// Creates an empty segment.
    pub fn create(files: &Arc<OpenFiles>, dir: &Path, base_offset: i64) -> Result<Self, LogError> {
        let path = Self::path_of(dir, base_offset);
        let handle = files.create(&path).map_err(io("create", &path))?;
        let index_path = path.with_extension("index");
        match files.storage().remove_file(&index_path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", index_path)(e)),
            _ => {}
        }
        Ok(Segment {
            base_offset,
            files: files.clone(),
            index: OffsetIndex::empty(files.storage(), &index_path),
            file: Arc::new(LogFile::new(handle, 0)),
            written: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            sealed: false,
        })
    }

    /// Opens a segment that exists, without reading it.
    pub fn open(files: &Arc<OpenFiles>, dir: &Path, base_offset: i64) -> Result<Self, LogError> {
        let storage = files.storage();
        let path = Self::path_of(dir, base_offset);
        let info = storage.info(&path).map_err(io("open", &path))?;
        let sealed = info.read_only;
        let index_path = path.with_extension("index");
        let mut segment = Segment {
            base_offset,
            files: files.clone(),
            index: OffsetIndex::load(storage, &index_path, info.bytes)?,
            file: Arc::new(LogFile::new(files.handle(&path, !sealed), info.bytes)),
            written: AtomicU64::new(info.bytes),
            flushed: AtomicU64::new(info.bytes),
            sealed,
        };
        if !segment.index_fits()? {
            tracing::warn!(segment = %segment.path().display(), "the index is of other bytes, not used");
            segment.index = OffsetIndex::ignoring(storage, &index_path);
        }
        Ok(segment)
    }

    /// Whether the first and the last entry of the index name batches that are there. Kafka's check at start looks at
    /// the last one too; to look at all of them would read the whole file.
    fn index_fits(&self) -> Result<bool, LogError> {
        for entry in [self.index.first(), self.index.last()].into_iter().flatten() {
            let mut raw = [0u8; HEADER_BYTES];
            let offset = self.base_offset + i64::from(entry.relative_offset);
            let read = self.stored()?.read_exact_at(&mut raw, u64::from(entry.position));
            if read.is_err() || !BatchHeader::parse(&raw).is_ok_and(|header| header.base_offset == offset) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The file, as slices of it refer to it.
    pub fn file(&self) -> &Arc<LogFile> {
        &self.file
    }

    fn stored(&self) -> Result<Arc<dyn StoredFile>, LogError> {
        self.file.open().map_err(io("open", self.path()))
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<(), LogError> {
        let read = self.stored()?.read_exact_at(buffer, position);
        read.map_err(io("read", self.path()))
    }

    /// The log file's place.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes that may be read.
    pub fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// Bytes that were appended.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Whether the file is read-only.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Writes a batch whose first 16 bytes are replaced by `stamped_prefix` behind what is there, and indexes it when
    /// `index_it`. Readers see it after [`LogFile::publish`].
    ///
    /// # Errors
    /// The file system's; the file is cut back to where it was, so that no half batch stays.
    pub fn append(
        &self,
        stamped_prefix: &[u8; 16],
        batch: &[u8],
        base_offset: i64,
        index_it: bool,
        counters: &Counters,
    ) -> Result<(), LogError> {
        let position = self.written();
        let stored = self.stored()?;
        let mut parts = [IoSlice::new(stamped_prefix), IoSlice::new(&batch[16..])];
        match stored.write_all_at(&mut parts, position) {
            Ok(calls) => counters.add(Counter::CallPwritev, calls),
            Err(source) => {
                if let Err(error) = stored.set_len(position) {
                    tracing::error!(segment = %self.path().display(), %error, "could not cut a failed write off");
                }
                return Err(io("append to", self.path())(source));
            }
        }
        self.written.store(position + batch.len() as u64, Ordering::Release);
        if index_it {
            let relative_offset = (base_offset - self.base_offset) as u32;
            if self.index.push(Entry {
                relative_offset,
                position: position as u32,
            }) && self.index.flush()?
            {
                counters.add(Counter::CallPwriteIndex, 1);
            }
        }
        Ok(())
    }

    /// Checks every batch from the last index entry at or below `from` on, cuts off what is torn, and completes the
    /// index with an entry each `index_interval_bytes`.
    pub fn recover(&self, index_interval_bytes: usize, from: i64) -> Result<Scan, LogError> {
        if !self.sealed {
            // Entries behind the recovery point may speak of bytes that never arrived.
            let trusted = u32::try_from(from - self.base_offset)
                .ok()
                .and_then(|relative| self.index.floor(relative));
            self.index.truncate(trusted.map_or(0, |e| u64::from(e.position) + 1))?;
        }
        let trusted = self.index.last();
        let start = trusted.map_or(0, |e| u64::from(e.position));
        let mut next_offset = self.base_offset + trusted.map_or(0, |e| i64::from(e.relative_offset));
        let mut indexed_at = self.index.last().map(|e| u64::from(e.position));
        let mut position = start;
        let mut problem = None;
        let file_bytes = self.bytes();
        let mut buffer = Vec::new();
        while position < file_bytes && problem.is_none() {
            let mut want = SCAN_BYTES.min((file_bytes - position) as usize);
            loop {
                buffer.resize(want, 0);
                self.read_at(&mut buffer, position)?;
                match BatchHeader::parse(&buffer) {
                    // A batch larger than the window: look at all of it, if the file holds it.
                    Ok(h) if h.total_bytes() > want && h.total_bytes() as u64 <= file_bytes - position => {
                        want = h.total_bytes()
                    }
                    _ => break,
                }
            }
            let mut consumed = 0u64;
            while problem.is_none() && (consumed as usize) < buffer.len() {
                let rest = &buffer[consumed as usize..];
                match BatchHeader::checked(rest) {
                    Ok(header) => {
                        if header.base_offset != next_offset {
                            problem = Some(format!("offset {} where {next_offset} should be", header.base_offset));
                            break;
                        }
                        let at = position + consumed;
                        if !self.sealed && indexed_at.is_none_or(|i| at >= i + index_interval_bytes as u64) {
                            let relative_offset = (header.base_offset - self.base_offset) as u32;
                            self.index.push(Entry {
                                relative_offset,
                                position: at as u32,
                            });
                            indexed_at = Some(at);
                        }
                        next_offset += i64::from(header.records_count);
                        consumed += header.total_bytes() as u64;
                    }
                    // The window ends inside a batch and the file goes on: read on from there.
                    Err(kafka_wire::BatchError::Truncated { .. })
                        if consumed > 0 && position + (buffer.len() as u64) < file_bytes =>
                    {
                        break;
                    }
                    Err(error) => problem = Some(error.to_string()),
                }
            }
            position += consumed;
        }
        let cut_bytes = file_bytes - position;
        if let Some(problem) = problem {
            if self.sealed {
                return Err(LogError::Damaged {
                    path: self.path().to_owned(),
                    position,
                    problem,
                });
            }
            tracing::warn!(segment = %self.path().display(), position, cut_bytes, problem, "cutting off a torn tail");
            let cut = self.stored()?.set_len(position);
            cut.map_err(io("truncate", self.path()))?;
            self.file.set_bytes(position);
            self.written.store(position, Ordering::Release);
        }
        if !self.sealed {
            self.index.flush()?;
        }
        Ok(Scan { next_offset, cut_bytes })
    }

    /// The offset behind the last batch of a segment that was closed cleanly: headers from the last index entry on.
    pub fn next_offset(&self, counters: &Counters) -> Result<i64, LogError> {
        let mut position = self.index.last().map_or(0, |e| u64::from(e.position));
        let mut next = self.base_offset;
        while let Some(header) = self.header_at(position, counters)? {
            next = header.last_offset().saturating_add(1);
            position += header.total_bytes() as u64;
        }
        if position != self.bytes() {
            let problem = "the file does not end with a batch".to_owned();
            return Err(LogError::Damaged {
                path: self.path().to_owned(),
                position,
                problem,
            });
        }
        Ok(next)
    }

    /// The header of the batch at `position`; `None` at the end.
    pub fn header_at(&self, position: u64, counters: &Counters) -> Result<Option<BatchHeader>, LogError> {
        let remaining = self.bytes().saturating_sub(position);
        if remaining < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut raw = [0u8; HEADER_BYTES];
        counters.add(Counter::CallPreadLookup, 1);
        self.read_at(&mut raw, position)?;
        BatchHeader::parse(&raw).map(Some).map_err(|error| LogError::Damaged {
            path: self.path().to_owned(),
            position,
            problem: error.to_string(),
        })
    }

    /// Where the batch that holds `offset` begins. Without a system call when an index entry names it.
    pub fn position_of(&self, offset: i64, counters: &Counters) -> Result<u64, LogError> {
        let relative_offset = (offset - self.base_offset).clamp(0, i64::from(u32::MAX)) as u32;
        let mut position = match self.index.floor(relative_offset) {
            Some(entry) if entry.relative_offset == relative_offset => return Ok(u64::from(entry.position)),
            entry => entry.map_or(0, |e| u64::from(e.position)),
        };
        let mut buffer = [0u8; LOOKUP_BYTES];
        loop {
            let want = LOOKUP_BYTES.min(self.bytes().saturating_sub(position) as usize);
            if want < HEADER_BYTES {
                return Ok(self.bytes());
            }
            counters.add(Counter::CallPreadLookup, 1);
            self.read_at(&mut buffer[..want], position)?;
            let mut at = 0usize;
            while let Ok(header) = BatchHeader::parse(&buffer[at.min(want)..want]) {
                if header.last_offset() >= offset {
                    return Ok(position + at as u64);
                }
                at += header.total_bytes();
            }
            if at == 0 && position > 0 {
                tracing::warn!(segment = %self.path().display(), position, "the index points at no batch, searching from the start");
                position = 0;
                continue;
            }
            if at == 0 {
                let problem = "no batch header".to_owned();
                return Err(LogError::Damaged {
                    path: self.path().to_owned(),
                    position,
                    problem,
                });
            }
            position += at as u64;
        }
    }

    /// Batches from the one that holds `offset`, up to `bytes_max`. A first batch that is larger comes whole when
    /// `whole_first`, and not at all otherwise.
    pub fn read(
        &self,
        offset: i64,
        bytes_max: usize,
        whole_first: bool,
        counters: &Counters,
    ) -> Result<LogSlice, LogError> {
        let end = self.bytes();
        let position = self.position_of(offset, counters)?;
        let limit = end.min(position + bytes_max as u64);
        let stop = match self.index.boundary(position, limit) {
            _ if limit == end => end,
            Some(boundary) => boundary,
            // No known boundary within the limit: the first batch may be larger than it.
            None => match self
                .header_at(position, counters)?
                .map(|h| position + h.total_bytes() as u64)
            {
                Some(first_ends) if first_ends > limit && whole_first => first_ends.min(end),
                Some(first_ends) if first_ends > limit => position,
                _ => limit,
            },
        };
        Ok(LogSlice {
            file: self.file.clone(),
            position,
            bytes: stop.saturating_sub(position) as usize,
        })
    }

    /// Offset and time of the first record from offset `from` on that is at or after `timestamp_ms`; for ListOffsets.
    pub fn find_time(&self, timestamp_ms: i64, from: i64, counters: &Counters) -> Result<Option<(i64, i64)>, LogError> {
        let mut position = 0;
        while let Some(header) = self.header_at(position, counters)? {
            if header.max_timestamp >= timestamp_ms && header.last_offset() >= from {
                let found = self.exact_time(position, header, timestamp_ms, from)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            position += header.total_bytes() as u64;
        }
        Ok(None)
    }

    /// Offset and time of the record inside one batch; a compressed batch answers with its first record.
    fn exact_time(
        &self,
        position: u64,
        header: BatchHeader,
        timestamp_ms: i64,
        from: i64,
    ) -> Result<Option<(i64, i64)>, LogError> {
        if header.codec() == 0 {
            let total = header.total_bytes().min(self.bytes().saturating_sub(position) as usize);
            let mut batch = vec![0; total];
            self.read_at(&mut batch, position)?;
            let mut records = kafka_wire::RecordIter::new(header, &batch).map_while(Result::ok);
            let found = records.find(|r| r.offset >= from && r.timestamp_ms >= timestamp_ms);
            return Ok(found.map(|record| (record.offset, record.timestamp_ms)));
        }
        Ok(Some((header.base_offset.max(from), header.base_timestamp)))
    }

    /// The greatest timestamp and the first offset from `from` on that has it, by batch headers.
    pub fn max_time(&self, from: i64, counters: &Counters) -> Result<Option<(i64, i64)>, LogError> {
        let mut best: Option<(u64, BatchHeader)> = None;
        let mut position = 0;
        while let Some(header) = self.header_at(position, counters)? {
            if header.last_offset() >= from && best.is_none_or(|(_, b)| header.max_timestamp > b.max_timestamp) {
                best = Some((position, header));
            }
            position += header.total_bytes() as u64;
        }
        match best {
            Some((position, header)) => self.exact_time(position, header, header.max_timestamp, from),
            None => Ok(None),
        }
    }

    /// Reserves room for the log file.
    pub fn preallocate(&self, bytes: u64) -> Result<(), LogError> {
        self.stored()?
            .preallocate(bytes)
            .map_err(io("preallocate", self.path()))
    }

    /// Writes the index entries that wait. They are not flushed: the index can be made again from the log.
    pub fn write_index(&self, counters: &Counters) -> Result<(), LogError> {
        if !self.sealed && self.index.flush()? {
            counters.add(Counter::CallPwriteIndex, 1);
        }
        Ok(())
    }

    /// Flushes the log to the device.
    pub fn flush(&self, counters: &Counters) -> Result<(), LogError> {
        if self.sealed {
            return Ok(());
        }
        counters.add(Counter::CallFdatasync, 1);
        let stored = self.stored()?;
        // In front of the flush, as an append during it is not covered.
        self.file.set_unflushed(false);
        let end = self.written();
        let flushed = stored.sync_data();
        flushed.map_err(io("flush", self.path()))?;
        let before = self.flushed.fetch_max(end, Ordering::AcqRel);
        counters.add(Counter::FlushedBytes, end.saturating_sub(before));
        Ok(())
    }

    /// Removes the files.
    pub fn remove(&self) -> Result<(), LogError> {
        let storage = self.files.storage();
        storage.remove_file(self.path()).map_err(io("remove", self.path()))?;
        let index = self.path().with_extension("index");
        match storage.remove_file(&index) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("remove", index)(e)),
            _ => Ok(()),
        }
    }
}
