//! A recorded arrival of records: CSV whose first column is seconds since the start.

use crate::native::ClientError;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Longest line, bytes.
const LINE_BYTES_MAX: u64 = 4_096;
/// Latest time, s: three years.
const SECONDS_MAX: f64 = 1e8;

/// A trace, read line by line while it is played.
#[derive(Debug)]
pub(super) struct Trace {
    path: PathBuf,
    lines: BufReader<File>,
    text: String,
    line: u64,
    last_ns: u64,
}

impl Trace {
    /// Opens the file.
    ///
    /// # Errors
    /// It can't be read.
    pub fn open(path: &Path) -> Result<Self, ClientError> {
        let opened = File::open(path).and_then(|file| match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("not a regular file")),
        });
        let file = opened.map_err(|source| ClientError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            lines: BufReader::with_capacity(1 << 18, file),
            text: String::new(),
            line: 0,
            last_ns: 0,
        })
    }

    /// The next time, ns since the start; `None` at the end of the file.
    ///
    /// # Errors
    /// The file can't be read, or a line is no time at or behind the one in front of it.
    pub fn next_ns(&mut self) -> Result<Option<u64>, ClientError> {
        loop {
            self.text.clear();
            self.line += 1;
            let read = self.lines.by_ref().take(LINE_BYTES_MAX).read_line(&mut self.text);
            let bytes = read.map_err(|source| ClientError::File {
                path: self.path.clone(),
                source,
            })?;
            if bytes == 0 {
                return Ok(None);
            }
            let first = self.text.split(',').next().unwrap_or_default().trim();
            if first.is_empty() {
                continue;
            }
            let Some(seconds) = first.parse::<f64>().ok().filter(|s| (0.0..=SECONDS_MAX).contains(s)) else {
                // A first line of words names the columns.
                if self.line == 1 && first.starts_with(|c: char| c.is_ascii_alphabetic()) {
                    continue;
                }
                return Err(self.wrong("does not begin with seconds since the start"));
            };
            let at_ns = (seconds * 1e9) as u64;
            if at_ns < self.last_ns {
                return Err(self.wrong("is earlier than the line in front of it: sort the trace by time"));
            }
            self.last_ns = at_ns;
            return Ok(Some(at_ns));
        }
    }

    fn wrong(&self, what: &str) -> ClientError {
        ClientError::Spec(format!("{}, line {}: {what}", self.path.display(), self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(text: &str) -> Result<Vec<u64>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut trace = Trace::open(file.path()).unwrap();
        let mut times = Vec::new();
        while let Some(at_ns) = trace.next_ns().map_err(|error| error.to_string())? {
            times.push(at_ns);
        }
        Ok(times)
    }

    #[test]
    fn seconds_become_times() {
        let ms = 1_000_000;
        assert_eq!(play("0\n0.001\n0.001,x\n 2 , y\n"), Ok(vec![0, ms, ms, 2_000 * ms]));
        assert_eq!(play("seconds,bytes\n\n0.5,100"), Ok(vec![500 * ms]));
        assert_eq!(play(""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_time_is_told_with_its_line() {
        for (text, what) in [
            ("0\nx\n", "line 2: does not begin with seconds"),
            ("a\nb\n", "line 2: does not begin with seconds"),
            ("-1\n", "line 1: does not begin with seconds"),
            ("NaN\nNaN\n", "line 2: does not begin with seconds"),
            ("1\n0.5\n", "line 2: is earlier"),
        ] {
            let error = play(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
        assert!(Trace::open(Path::new("/no/such/trace.csv")).is_err());
        assert!(Trace::open(Path::new("/")).is_err());
    }
}
