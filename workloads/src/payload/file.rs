//! A file of the user's as records: read in a stream, so its size does not matter, and from its start again when it ends.

use super::{Cut, PayloadError, RECORD_BYTES_MAX, open_regular};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// Records cut from a file.
#[derive(Debug)]
pub(super) struct Records {
    path: PathBuf,
    reader: BufReader<File>,
    cut: Cut,
    /// Lines read in this pass, for messages.
    line: u64,
    /// Whether this pass gave a record: a pass that gives none would cycle for ever.
    pass_gave_a_record: bool,
}

impl Records {
    /// Opens the file and finds its first record, so that an unusable file is told before anything runs.
    pub fn open(path: &Path, cut: Cut) -> Result<Self, PayloadError> {
        let reader = BufReader::with_capacity(1 << 16, open_regular(path)?);
        let mut records = Self {
            path: path.to_owned(),
            reader,
            cut,
            line: 0,
            pass_gave_a_record: false,
        };
        records.next(&mut Vec::new())?;
        records.rewind()?;
        Ok(records)
    }

    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        loop {
            let at_end = match self.cut {
                Cut::Bytes(bytes) => self.read_at_most(out, bytes)? == 0,
                Cut::Lines => self.read_line(out)?,
            };
            if !out.is_empty() {
                self.pass_gave_a_record = true;
                return Ok(());
            }
            if at_end {
                if !self.pass_gave_a_record {
                    let cut = match self.cut {
                        Cut::Lines => "line".to_owned(),
                        Cut::Bytes(bytes) => format!("{bytes} bytes"),
                    };
                    return Err(PayloadError::Empty {
                        path: self.path.clone(),
                        cut,
                    });
                }
                self.rewind()?;
            }
        }
    }

    fn rewind(&mut self) -> Result<(), PayloadError> {
        self.line = 0;
        self.pass_gave_a_record = false;
        self.reader.rewind().map_err(|source| self.unreadable(source))
    }

    fn read_at_most(&mut self, out: &mut Vec<u8>, bytes: usize) -> Result<usize, PayloadError> {
        self.reader
            .by_ref()
            .take(bytes as u64)
            .read_to_end(out)
            .map_err(|source| self.unreadable(source))
    }

    /// Reads one line without its end; true at the end of the file.
    fn read_line(&mut self, out: &mut Vec<u8>) -> Result<bool, PayloadError> {
        self.line += 1;
        // Room for the longest record and CR LF; one byte more proves that the line is too long.
        let mut bounded = self.reader.by_ref().take(RECORD_BYTES_MAX as u64 + 2);
        let read = bounded.read_until(b'\n', out);
        let read = read.map_err(|source| self.unreadable(source))?;
        if out.last() == Some(&b'\n') {
            out.pop();
            if out.last() == Some(&b'\r') {
                out.pop();
            }
        }
        if out.len() > RECORD_BYTES_MAX {
            return Err(PayloadError::LongLine {
                path: self.path.clone(),
                line: self.line,
            });
        }
        Ok(read == 0)
    }

    fn unreadable(&self, source: io::Error) -> PayloadError {
        PayloadError::Unreadable {
            path: self.path.clone(),
            source,
        }
    }
}
