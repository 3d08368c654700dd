//! History files: a header, then records of fixed width, appended one write(2) at a time.
//!
//! What the records mean stands in [`super::Event`].

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::record::part;
use super::{Event, MAGIC, RECORD_BYTES, Stamped, VERSION, monotonic_ns};

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

/// Writes a history, one write(2) per call.
#[derive(Debug)]
pub struct HistoryWriter {
    file: File,
    path: PathBuf,
    events: u64,
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
            .map_err(|source| HistoryError::Io {
                path: path.to_path_buf(),
                source,
            })?;
        let mut header = [0_u8; RECORD_BYTES];
        header[0..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&(RECORD_BYTES as u32).to_le_bytes());
        header[16..20].copy_from_slice(&std::process::id().to_le_bytes());
        let mut writer = Self {
            file,
            path: path.to_path_buf(),
            events: 0,
        };
        writer.write(&header)?;
        Ok(writer)
    }

    /// Writes one event stamped now. When this returns, the event outlives the process.
    ///
    /// # Errors
    /// When the file cannot be written; the caller must then not do what it announced.
    pub fn append(&mut self, event: Event) -> Result<(), HistoryError> {
        self.append_stamped(Stamped::now(event))
    }

    /// Writes an event whose time is known already, as in a synthetic history.
    ///
    /// # Errors
    /// As [`HistoryWriter::append`].
    pub fn append_stamped(&mut self, stamped: Stamped) -> Result<(), HistoryError> {
        self.write(&stamped.encode())?;
        self.events += 1;
        Ok(())
    }

    /// Writes several events, all stamped with one time, by one write(2).
    ///
    /// # Errors
    /// As [`HistoryWriter::append`].
    pub fn append_all(&mut self, events: impl IntoIterator<Item = Event>) -> Result<(), HistoryError> {
        let at_ns = monotonic_ns();
        let bytes: Vec<u8> = events
            .into_iter()
            .flat_map(|event| Stamped { at_ns, event }.encode())
            .collect();
        if !bytes.is_empty() {
            self.write(&bytes)?;
            self.events += (bytes.len() / RECORD_BYTES) as u64;
        }
        Ok(())
    }

    /// Ends the history by [`Event::Finished`], so that a reader knows that nothing is missing.
    ///
    /// # Errors
    /// As [`HistoryWriter::append`].
    pub fn finish(mut self) -> Result<(), HistoryError> {
        let events = self.events;
        self.append(Event::Finished { events })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), HistoryError> {
        // `File` has no user-space buffer: this is write(2), repeated only after a short count.
        self.file.write_all(bytes).map_err(|source| HistoryError::Io {
            path: self.path.clone(),
            source,
        })
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
        let file = File::open(path).map_err(|source| HistoryError::Io {
            path: path.to_path_buf(),
            source,
        })?;
        let mut reader = Self {
            input: BufReader::with_capacity(1 << 16, file),
            path: path.to_path_buf(),
            at_byte: 0,
            torn_bytes: 0,
            done: false,
        };
        let mut header = [0_u8; RECORD_BYTES];
        let header_error = |found: String| HistoryError::Header {
            path: path.to_path_buf(),
            found,
        };
        if reader.fill(&mut header)? < RECORD_BYTES {
            return Err(header_error("shorter than a header".to_owned()));
        }
        if header[0..8] != MAGIC {
            return Err(header_error("other magic bytes".to_owned()));
        }
        let (version, width) = (
            u32::from_le_bytes(part(&header, 8)),
            u32::from_le_bytes(part(&header, 12)),
        );
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
                Err(source) => {
                    return Err(HistoryError::Io {
                        path: self.path.clone(),
                        source,
                    });
                }
            }
        }
        self.at_byte += filled as u64;
        Ok(filled)
    }

    fn at_end(&mut self) -> Result<bool, HistoryError> {
        let buffered = self.input.fill_buf().map_err(|source| HistoryError::Io {
            path: self.path.clone(),
            source,
        })?;
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
            .map_err(|source| HistoryError::Io {
                path: path.clone(),
                source,
            })?;
        events += 1;
    }
    Ok(events)
}
