//! The event vocabulary of a history, and the files that hold it.
//!
//! A history is what a process says about itself while it works: sent, acknowledged, delivered, a fault began. Every event is a
//! fixed-width binary record written by write(2) *before* anybody relies on it, so a SIGKILL right after the call cannot take
//! it along: the bytes are in the page cache then. A batch is one event, because a run of records is kept as a base sequence
//! and a count.
//!
//! This module does not judge anything. It does not buffer writes, and it does not sync to disk: a history survives the death
//! of its process, not a power cut of the machine.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Size of the file header and of every event, in bytes.
pub const RECORD_BYTES: usize = 48;
/// First bytes of every history file.
pub const MAGIC: [u8; 8] = *b"ASSAYHIS";
/// Version of the layout below; a reader refuses any other.
pub const VERSION: u32 = 1;

/// Kafka's "no error" and the code of an event that has no error code.
pub const NO_CODE: i16 = 0;
/// Code of a failure that happened below the protocol: a reset, a timeout, a refused connection.
pub const CODE_CONNECTION: i16 = -100;

/// Nanoseconds of `CLOCK_MONOTONIC`: one axis for all processes of a machine, never stepped.
pub fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .expect("CLOCK_MONOTONIC exists on every Linux");
    // Both parts are non-negative on this clock, and 584 years of nanoseconds fit.
    (now.tv_sec() as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec() as u64)
}

/// A run of records with dense sequences: `base_sequence .. base_sequence + count`.
///
/// The identity of one record is (producer, partition, sequence).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Who wrote it.
    pub producer: u64,
    /// Partition of the workload's topic.
    pub partition: u32,
    /// First sequence; dense per producer and partition, from 0.
    pub base_sequence: u64,
    /// Number of records, at least 1.
    pub count: u32,
}

impl Run {
    /// One past the last sequence.
    pub fn end_sequence(&self) -> u64 {
        self.base_sequence.saturating_add(u64::from(self.count))
    }
}

/// A run of offsets of one partition, for records whose identity could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRun {
    /// Partition of the workload's topic.
    pub partition: u32,
    /// First offset.
    pub base_offset: i64,
    /// Number of offsets.
    pub count: u32,
}

/// What a fault was, as far as a history must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// SIGKILL of a process.
    Kill,
}

/// How a fault ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Healing {
    /// The target works again.
    Recovered,
    /// The target did not start, or was not ready within its time.
    DidNotStart,
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// About to be sent: written before the request leaves.
    Sent(Run),
    /// About to be sent with one bit flipped on purpose: the broker has to refuse it.
    SentDamaged(Run),
    /// The broker acknowledged the run.
    Acknowledged {
        /// The records.
        #[serde(flatten)]
        run: Run,
        /// Offset of the first one as the broker told; -1 when it told none.
        base_offset: i64,
    },
    /// The outcome is indeterminate: the run may be in the log or not.
    Failed {
        /// The records.
        #[serde(flatten)]
        run: Run,
        /// Kafka's error code, or [`CODE_CONNECTION`].
        code: i16,
    },
    /// The broker definitely did not store the run.
    Refused {
        /// The records.
        #[serde(flatten)]
        run: Run,
        /// Kafka's error code.
        code: i16,
    },
    /// Read from the log, with a good checksum.
    Delivered {
        /// The records.
        #[serde(flatten)]
        run: Run,
        /// Offset of the first one; the others follow densely.
        base_offset: i64,
    },
    /// Read in a sound batch, but the payload is not what any producer wrote.
    Corrupted(OffsetRun),
    /// Read in a batch whose CRC, length or record count is wrong.
    Torn(OffsetRun),
    /// The scan of a partition's log begins.
    ReadBegin {
        /// Partition of the workload's topic.
        partition: u32,
        /// The first offset that the scan asks for.
        offset: i64,
    },
    /// The scan of a partition's log came to the end of the log.
    ReadEnd {
        /// Partition of the workload's topic.
        partition: u32,
        /// One past the last offset of the log (the high watermark).
        next_offset: i64,
    },
    /// A fault is about to be injected.
    FaultBegin {
        /// Number of the fault, from 1.
        fault: u32,
        /// What it is.
        kind: FaultKind,
    },
    /// What was seen of a fault after it was injected.
    FaultBit {
        /// Number of the fault, from 1.
        fault: u32,
        /// How often it was seen to bite; 0 means no evidence.
        evidence: u32,
    },
    /// A fault was healed, or was meant to be.
    FaultEnd {
        /// Number of the fault, from 1.
        fault: u32,
        /// How it ended.
        healing: Healing,
    },
}

/// An event with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub at_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What can go wrong with a history file.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The operating system refused.
    #[error("{path}: {source}; check that the folder exists and has space left")]
    Io {
        /// The history file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The header is not that of a history, or of another version.
    #[error("{path}: not a history of version {VERSION} ({found}); give a file from a run's histories/ folder")]
    Header {
        /// The file.
        path: PathBuf,
        /// What was there instead.
        found: String,
    },
    /// A record in the middle of the file does not add up.
    #[error("{path}: damaged record at byte {at_byte} ({what}); the history cannot be judged, repeat the run")]
    Damaged {
        /// The history file.
        path: PathBuf,
        /// Where the record starts.
        at_byte: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The one flat layout of all events, little-endian:
/// at_ns u64, sequence u64, offset i64, producer u64, partition u32, count u32, kind u8, detail u8, code i16, crc32c u32.
#[derive(Debug, Default)]
struct Flat {
    at_ns: u64,
    sequence: u64,
    offset: i64,
    producer: u64,
    partition: u32,
    count: u32,
    kind: u8,
    detail: u8,
    code: i16,
}

impl Flat {
    fn of_run(run: Run) -> Self {
        Self {
            sequence: run.base_sequence,
            producer: run.producer,
            partition: run.partition,
            count: run.count,
            ..Self::default()
        }
    }

    fn of_offsets(run: OffsetRun) -> Self {
        Self { offset: run.base_offset, partition: run.partition, count: run.count, ..Self::default() }
    }

    fn run(&self) -> Run {
        Run { producer: self.producer, partition: self.partition, base_sequence: self.sequence, count: self.count }
    }

    fn offsets(&self) -> OffsetRun {
        OffsetRun { partition: self.partition, base_offset: self.offset, count: self.count }
    }
}

impl Stamped {
    /// The event, now.
    pub fn now(event: Event) -> Self {
        Self { at_ns: monotonic_ns(), event }
    }

    /// The binary record.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let (kind, flat) = match self.event {
            Event::Sent(run) => (1, Flat::of_run(run)),
            Event::SentDamaged(run) => (2, Flat::of_run(run)),
            Event::Acknowledged { run, base_offset } => (3, Flat { offset: base_offset, ..Flat::of_run(run) }),
            Event::Failed { run, code } => (4, Flat { code, ..Flat::of_run(run) }),
            Event::Refused { run, code } => (5, Flat { code, ..Flat::of_run(run) }),
            Event::Delivered { run, base_offset } => (6, Flat { offset: base_offset, ..Flat::of_run(run) }),
            Event::Corrupted(run) => (7, Flat::of_offsets(run)),
            Event::Torn(run) => (8, Flat::of_offsets(run)),
            Event::ReadBegin { partition, offset } => (9, Flat { partition, offset, ..Flat::default() }),
            Event::ReadEnd { partition, next_offset } => {
                (10, Flat { partition, offset: next_offset, ..Flat::default() })
            }
            Event::FaultBegin { fault, kind: FaultKind::Kill } => {
                (11, Flat { sequence: u64::from(fault), detail: 1, ..Flat::default() })
            }
            Event::FaultBit { fault, evidence } => {
                (13, Flat { sequence: u64::from(fault), count: evidence, ..Flat::default() })
            }
            Event::FaultEnd { fault, healing } => {
                let detail = match healing {
                    Healing::Recovered => 1,
                    Healing::DidNotStart => 2,
                };
                (12, Flat { sequence: u64::from(fault), detail, ..Flat::default() })
            }
        };
        let mut bytes = [0_u8; RECORD_BYTES];
        bytes[0..8].copy_from_slice(&self.at_ns.to_le_bytes());
        bytes[8..16].copy_from_slice(&flat.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&flat.offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&flat.producer.to_le_bytes());
        bytes[32..36].copy_from_slice(&flat.partition.to_le_bytes());
        bytes[36..40].copy_from_slice(&flat.count.to_le_bytes());
        bytes[40] = kind;
        bytes[41] = flat.detail;
        bytes[42..44].copy_from_slice(&flat.code.to_le_bytes());
        let checksum = crc32c(&bytes[..44]);
        bytes[44..48].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a binary record back.
    ///
    /// # Errors
    /// A phrase that says what does not add up: the checksum, the kind of event, a run of no records.
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Result<Self, &'static str> {
        if crc32c(&bytes[..44]) != u32::from_le_bytes(part(bytes, 44)) {
            return Err("the checksum does not match");
        }
        let flat = Flat {
            at_ns: u64::from_le_bytes(part(bytes, 0)),
            sequence: u64::from_le_bytes(part(bytes, 8)),
            offset: i64::from_le_bytes(part(bytes, 16)),
            producer: u64::from_le_bytes(part(bytes, 24)),
            partition: u32::from_le_bytes(part(bytes, 32)),
            count: u32::from_le_bytes(part(bytes, 36)),
            kind: bytes[40],
            detail: bytes[41],
            code: i16::from_le_bytes(part(bytes, 42)),
        };
        if (1..=8).contains(&flat.kind) && flat.count == 0 {
            return Err("a run of no records");
        }
        let fault = || u32::try_from(flat.sequence).map_err(|_| "the fault's number is out of range");
        let event = match (flat.kind, flat.detail) {
            (1, _) => Event::Sent(flat.run()),
            (2, _) => Event::SentDamaged(flat.run()),
            (3, _) => Event::Acknowledged { run: flat.run(), base_offset: flat.offset },
            (4, _) => Event::Failed { run: flat.run(), code: flat.code },
            (5, _) => Event::Refused { run: flat.run(), code: flat.code },
            (6, _) => Event::Delivered { run: flat.run(), base_offset: flat.offset },
            (7, _) => Event::Corrupted(flat.offsets()),
            (8, _) => Event::Torn(flat.offsets()),
            (9, _) => Event::ReadBegin { partition: flat.partition, offset: flat.offset },
            (10, _) => Event::ReadEnd { partition: flat.partition, next_offset: flat.offset },
            (11, 1) => Event::FaultBegin { fault: fault()?, kind: FaultKind::Kill },
            (12, 1) => Event::FaultEnd { fault: fault()?, healing: Healing::Recovered },
            (12, 2) => Event::FaultEnd { fault: fault()?, healing: Healing::DidNotStart },
            (13, _) => Event::FaultBit { fault: fault()?, evidence: flat.count },
            _ => return Err("an unknown kind of event"),
        };
        Ok(Self { at_ns: flat.at_ns, event })
    }
}

/// The `N` bytes at `at`; every caller's range lies within the record.
fn part<const N: usize>(bytes: &[u8; RECORD_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// CRC-32C (Castagnoli), as in Kafka's record batches.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    kafka_wire::crc::crc32c(bytes)
}

/// Writes a history, one write(2) per call.
#[derive(Debug)]
pub struct HistoryWriter {
    file: File,
    path: PathBuf,
}

impl HistoryWriter {
    /// Creates the file and writes its header.
    ///
    /// # Errors
    /// When the file exists (a history is never overwritten) or cannot be written.
    pub fn create(path: &Path) -> Result<Self, HistoryError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(|source| HistoryError::Io { path: path.to_path_buf(), source })?;
        let mut header = [0_u8; RECORD_BYTES];
        header[0..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&(RECORD_BYTES as u32).to_le_bytes());
        header[16..20].copy_from_slice(&std::process::id().to_le_bytes());
        let mut writer = Self { file, path: path.to_path_buf() };
        writer.write(&header)?;
        Ok(writer)
    }

    /// Writes one event stamped now. When this returns, the event outlives the process.
    ///
    /// # Errors
    /// When the file cannot be written; the caller must then not do what it announced.
    pub fn append(&mut self, event: Event) -> Result<(), HistoryError> {
        self.write(&Stamped::now(event).encode())
    }

    /// Writes several events, all stamped with one time, by one write(2).
    ///
    /// # Errors
    /// As [`HistoryWriter::append`].
    pub fn append_all(&mut self, events: impl IntoIterator<Item = Event>) -> Result<(), HistoryError> {
        let at_ns = monotonic_ns();
        let bytes: Vec<u8> = events.into_iter().flat_map(|event| Stamped { at_ns, event }.encode()).collect();
        if bytes.is_empty() { Ok(()) } else { self.write(&bytes) }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), HistoryError> {
        // `File` has no user-space buffer: this is write(2), repeated only after a short count.
        self.file.write_all(bytes).map_err(|source| HistoryError::Io { path: self.path.clone(), source })
    }
}

/// Reads a history in bounded memory, oldest event first.
///
/// A last record that is cut short is no error: its process died in the middle of the write, before it relied on it. It is
/// left out and told by [`HistoryReader::torn_bytes`].
#[derive(Debug)]
pub struct HistoryReader {
    input: BufReader<File>,
    path: PathBuf,
    at_byte: u64,
    torn_bytes: u64,
    done: bool,
}

impl HistoryReader {
    /// Opens the file and checks its header.
    ///
    /// # Errors
    /// When it cannot be read, or is no history of this version.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let file = File::open(path).map_err(|source| HistoryError::Io { path: path.to_path_buf(), source })?;
        let mut reader = Self {
            input: BufReader::with_capacity(1 << 16, file),
            path: path.to_path_buf(),
            at_byte: 0,
            torn_bytes: 0,
            done: false,
        };
        let mut header = [0_u8; RECORD_BYTES];
        let header_error = |found: String| HistoryError::Header { path: path.to_path_buf(), found };
        if reader.fill(&mut header)? < RECORD_BYTES {
            return Err(header_error("shorter than a header".to_owned()));
        }
        if header[0..8] != MAGIC {
            return Err(header_error("other magic bytes".to_owned()));
        }
        let (version, width) = (u32::from_le_bytes(part(&header, 8)), u32::from_le_bytes(part(&header, 12)));
        if version != VERSION || width as usize != RECORD_BYTES {
            return Err(header_error(format!("version {version} with records of {width} bytes")));
        }
        Ok(reader)
    }

    /// Bytes at the end that make no whole record; final once the iterator has ended.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Reads until the buffer is full or the file ends; gives the number of bytes read.
    fn fill(&mut self, buffer: &mut [u8; RECORD_BYTES]) -> Result<usize, HistoryError> {
        let mut filled = 0;
        while filled < RECORD_BYTES {
            match io::Read::read(&mut self.input, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(HistoryError::Io { path: self.path.clone(), source }),
            }
        }
        self.at_byte += filled as u64;
        Ok(filled)
    }

    fn at_end(&mut self) -> Result<bool, HistoryError> {
        let buffered = self.input.fill_buf().map_err(|source| HistoryError::Io { path: self.path.clone(), source })?;
        Ok(buffered.is_empty())
    }

    fn read_event(&mut self) -> Result<Option<Stamped>, HistoryError> {
        let mut bytes = [0_u8; RECORD_BYTES];
        let filled = self.fill(&mut bytes)?;
        if filled < RECORD_BYTES {
            self.torn_bytes = filled as u64;
            return Ok(None);
        }
        match Stamped::decode(&bytes) {
            Ok(event) => Ok(Some(event)),
            Err(_) if self.at_end()? => {
                self.torn_bytes = RECORD_BYTES as u64;
                Ok(None)
            }
            Err(what) => Err(HistoryError::Damaged {
                path: self.path.clone(),
                at_byte: self.at_byte - RECORD_BYTES as u64,
                what,
            }),
        }
    }
}

impl Iterator for HistoryReader {
    type Item = Result<Stamped, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.read_event().transpose();
        // After an error there is nothing that could be trusted, so the stream ends there too.
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Writes a history as JSON Lines, one event a line; gives the number of events.
///
/// # Errors
/// When the history cannot be read; a failing output is told with the history's path.
pub fn export_json_lines(reader: HistoryReader, output: &mut impl Write) -> Result<u64, HistoryError> {
    let path = reader.path.clone();
    let mut events = 0;
    for event in reader {
        let event = event?;
        serde_json::to_writer(&mut *output, &event)
            .map_err(io::Error::from)
            .and_then(|()| output.write_all(b"\n"))
            .map_err(|source| HistoryError::Io { path: path.clone(), source })?;
        events += 1;
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(base_sequence: u64, count: u32) -> Run {
        Run { producer: 7, partition: 3, base_sequence, count }
    }

    fn every_event() -> Vec<Event> {
        vec![
            Event::Sent(run(0, 16)),
            Event::SentDamaged(run(u64::MAX - 1, 1)),
            Event::Acknowledged { run: run(0, 16), base_offset: i64::MAX },
            Event::Failed { run: run(16, 16), code: CODE_CONNECTION },
            Event::Refused { run: run(32, 4), code: 10 },
            Event::Delivered { run: run(0, u32::MAX), base_offset: 0 },
            Event::Corrupted(OffsetRun { partition: 1, base_offset: 9, count: 1 }),
            Event::Torn(OffsetRun { partition: 1, base_offset: 10, count: 5 }),
            Event::ReadBegin { partition: 1, offset: 0 },
            Event::ReadEnd { partition: 1, next_offset: 15 },
            Event::FaultBegin { fault: 2, kind: FaultKind::Kill },
            Event::FaultBit { fault: 2, evidence: 1 },
            Event::FaultEnd { fault: 2, healing: Healing::Recovered },
            Event::FaultEnd { fault: 3, healing: Healing::DidNotStart },
        ]
    }

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("a.bin");
        let mut writer = HistoryWriter::create(&path).unwrap();
        writer.append(every_event()[0]).unwrap();
        writer.append_all(every_event().into_iter().skip(1)).unwrap();
        path
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn every_event_survives_the_file() {
        let folder = folder();
        let mut reader = HistoryReader::open(&written(folder.path())).unwrap();
        let events: Vec<Stamped> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(events.iter().map(|stamped| stamped.event).collect::<Vec<_>>(), every_event());
        assert!(events.is_sorted_by_key(|stamped| stamped.at_ns));
        assert_eq!(reader.torn_bytes(), 0);
    }

    #[test]
    fn a_cut_anywhere_loses_the_last_record_only() {
        let folder = folder();
        let path = written(folder.path());
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..RECORD_BYTES {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut reader = HistoryReader::open(&path).unwrap();
            assert_eq!(reader.by_ref().map(Result::unwrap).count(), every_event().len() - 1);
            assert_eq!(reader.torn_bytes(), (RECORD_BYTES - cut) as u64);
        }
    }

    #[test]
    fn a_flipped_bit_in_the_middle_is_an_error_and_at_the_end_a_torn_record() {
        let folder = folder();
        let path = written(folder.path());
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[RECORD_BYTES * 2 + 5] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = HistoryReader::open(&path).unwrap().find_map(Result::err).unwrap();
        assert!(error.to_string().contains("damaged record at byte 96"), "{error}");

        let mut bytes = whole;
        let last = bytes.len() - 20;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut reader = HistoryReader::open(&path).unwrap();
        assert_eq!(reader.by_ref().map(Result::unwrap).count(), every_event().len() - 1);
        assert_eq!(reader.torn_bytes(), RECORD_BYTES as u64);
    }

    #[test]
    fn a_foreign_file_and_another_version_are_refused() {
        let folder = folder();
        let path = folder.path().join("foreign.bin");
        let mut other_version = [0_u8; RECORD_BYTES];
        other_version[..8].copy_from_slice(&MAGIC);
        other_version[8] = 99;
        for (bytes, expected) in [
            (&b"short"[..], "shorter than a header"),
            (&[b'x'; 100][..], "other magic bytes"),
            (&other_version[..], "version 99"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = HistoryReader::open(&path).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_history_is_never_overwritten() {
        let folder = folder();
        let path = written(folder.path());
        assert!(matches!(HistoryWriter::create(&path), Err(HistoryError::Io { .. })));
    }

    #[test]
    fn json_lines_read_back_as_the_same_events() {
        let folder = folder();
        let mut output = Vec::new();
        let count = export_json_lines(HistoryReader::open(&written(folder.path())).unwrap(), &mut output).unwrap();
        assert_eq!(count, every_event().len() as u64);
        let events: Vec<Event> = String::from_utf8(output)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Stamped>(line).unwrap().event)
            .collect();
        assert_eq!(events, every_event());
    }
}
