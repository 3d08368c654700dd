//! Several histories as one, by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use workloads::history::{HistoryReader, Stamped};

use crate::checker::CheckError;

/// Most histories of one run; each is an open file and a buffer.
pub(super) const FILES_MAX: usize = 4_096;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// An event of the file with this place.
    Event(usize, Stamped),
    /// The file with this place has ended.
    Ended(usize),
}

/// Events of all files, oldest first; of two with one stamp, that of the earlier file.
pub(super) struct Merged<'a> {
    files: &'a [PathBuf],
    readers: Vec<HistoryReader>,
    heads: Vec<Option<Stamped>>,
    due: BinaryHeap<Reverse<(u64, usize)>>,
    ended: Vec<usize>,
}

impl<'a> Merged<'a> {
    /// Opens all files.
    pub(super) fn open(files: &'a [PathBuf]) -> Result<Self, CheckError> {
        if files.len() > FILES_MAX {
            return Err(CheckError::TooIrregular {
                what: "histories",
                limit: FILES_MAX,
            });
        }
        let readers = files
            .iter()
            .map(|path| HistoryReader::open(path))
            .collect::<Result<Vec<_>, _>>()?;
        let mut merged = Self {
            files,
            heads: vec![None; readers.len()],
            readers,
            due: BinaryHeap::new(),
            ended: Vec::new(),
        };
        for place in 0..files.len() {
            merged.advance(place, 0)?;
        }
        Ok(merged)
    }

    /// The next event, or the end of a file; `None` when all have ended.
    pub(super) fn next(&mut self) -> Result<Option<Next>, CheckError> {
        if let Some(place) = self.ended.pop() {
            return Ok(Some(Next::Ended(place)));
        }
        let Some(Reverse((at_ns, place))) = self.due.pop() else {
            return Ok(None);
        };
        let Some(stamped) = self.heads[place].take() else {
            return Ok(None);
        };
        self.advance(place, at_ns)?;
        Ok(Some(Next::Event(place, stamped)))
    }

    fn advance(&mut self, place: usize, after_ns: u64) -> Result<(), CheckError> {
        match self.readers[place].next().transpose()? {
            Some(stamped) if stamped.at_ns < after_ns => Err(runs_backwards(&self.files[place])),
            Some(stamped) => {
                self.heads[place] = Some(stamped);
                self.due.push(Reverse((stamped.at_ns, place)));
                Ok(())
            }
            None => {
                self.ended.push(place);
                Ok(())
            }
        }
    }
}

fn runs_backwards(path: &Path) -> CheckError {
    CheckError::Contradiction(format!("the times in {} run backwards", path.display()))
}
