//! Finding entries of a consume queue: by offset, by time, by position. What is not in memory is read, and counted.

use std::io::{Error, ErrorKind};

use super::super::{LogError, io};
use super::entry::{EntryKind, Place};
use super::queue::{Queue, State, Tailed};
use crate::counters::Counter;

/// Entries that the last step of a search reads at a time.
const SEARCH_ENTRIES: u64 = 128;

/// Entries one behind the other.
#[derive(Debug)]
pub(super) struct Block {
    /// With their numbers. With an entry per record, those in memory are one per batch.
    pub places: Vec<(u64, Place)>,
    /// Number behind the last one.
    pub next: u64,
}

impl Queue {
    /// Number of the entry for the batch that holds `offset`; `None` when that is in front of the first.
    pub(super) fn number_of(&self, offset: i64) -> Result<Option<u64>, LogError> {
        let (first, next) = {
            let state = self.lock();
            if let Some((_, number)) = state.readers.iter().find(|(at, _)| *at == offset) {
                return Ok(Some(*number));
            }
            (state.mark.first, state.mark.next)
        };
        Ok(match self.format.kind {
            EntryKind::Record => u64::try_from(offset).ok().filter(|n| (first..next).contains(n)),
            EntryKind::Batch => {
                let behind = self.search(first, next, |place| place.offset > offset)?;
                behind.checked_sub(1).filter(|n| *n >= first)
            }
        })
    }

    /// Remembers where a reader goes on.
    pub(super) fn remember(&self, offset: i64, number: u64) {
        let mut state = self.lock();
        state.readers.truncate(super::queue::READERS - 1);
        state.readers.push_front((offset, number));
    }

    /// Entries from `number` on, `count` of them or fewer. None behind the end.
    pub(super) fn block(&self, number: u64, count: u64) -> Result<Block, LogError> {
        let on_disk = {
            let state = self.lock();
            let tail_first = state.tail_first();
            if number >= tail_first {
                let batches = state.tail.iter().filter(|t| t.number + t.entries > number);
                let place = |t: &Tailed| {
                    let number = t.number.max(number);
                    (number, t.at(number, self.format))
                };
                return Ok(Block {
                    places: batches.map(place).collect(),
                    next: state.mark.next,
                });
            }
            tail_first - number
        };
        let places = self.read(number, count.min(on_disk))?;
        Ok(Block {
            next: number + places.len() as u64,
            places: (number..).zip(places).collect(),
        })
    }

    /// The entry with that number.
    pub(super) fn place(&self, number: u64) -> Result<Option<Place>, LogError> {
        Ok(self.block(number, 1)?.places.first().map(|(_, place)| *place))
    }

    /// Number of the first entry from `from` on whose batch, or one in front of it in the same file, has a timestamp at or above `timestamp_ms`.
    pub(super) fn first_reaching(&self, from: u64, timestamp_ms: i64) -> Result<Option<u64>, LogError> {
        let reached = |place: &Place| place.time_max >= timestamp_ms;
        let next = self.lock().mark.next;
        let mut from = from;
        while from < next {
            let until = self.file_end(from).min(next);
            if self.place(from)?.is_some_and(|place| reached(&place)) {
                return Ok(Some(from));
            }
            if self.place(until - 1)?.is_some_and(|place| reached(&place)) {
                return self.search(from, until, reached).map(Some);
            }
            from = until;
        }
        Ok(None)
    }

    /// The greatest timestamp in files of the queue from the one with `from` on.
    pub(super) fn time_max(&self, from: u64) -> Result<Option<i64>, LogError> {
        let next = self.lock().mark.next;
        let mut from = from;
        let mut greatest = None;
        while from < next {
            let until = self.file_end(from).min(next);
            greatest = greatest.max(self.place(until - 1)?.map(|place| place.time_max));
            from = until;
        }
        Ok(greatest)
    }

    /// Number and offset of the first batch at or behind `position` in the shared log; the number behind the last entry when there is none.
    pub(super) fn first_at(&self, position: u64) -> Result<(u64, Option<i64>), LogError> {
        let (first, next) = {
            let state = self.lock();
            (state.mark.first, state.mark.next)
        };
        let number = self.search(first, next, |place| place.position >= position)?;
        let place = if number < next { self.place(number)? } else { None };
        Ok((number, place.map(|place| place.offset)))
    }

    fn file_end(&self, number: u64) -> u64 {
        (number / self.format.entries_per_file + 1) * self.format.entries_per_file
    }

    /// The first number in `[from, until)` whose entry is a hit, `until` when none is. Behind the first hit all must be hits.
    fn search(&self, from: u64, until: u64, hit: impl Fn(&Place) -> bool) -> Result<u64, LogError> {
        let (mut low, mut high) = (from, until);
        {
            let state = self.lock();
            let tail_first = state.tail_first().max(from);
            if tail_first < until {
                let mut batches = state
                    .tail
                    .iter()
                    .filter(|t| t.number + t.entries > from && t.number < until);
                let found = batches.find(|t| hit(&t.at(t.number.max(from), self.format)));
                match found.map(|t| t.number.max(from)) {
                    // The first one in memory: there may be one in front of it.
                    Some(number) if number == tail_first => high = tail_first,
                    Some(number) => return Ok(number),
                    None => return Ok(until),
                }
            }
        }
        let found_behind = high;
        while high - low > SEARCH_ENTRIES {
            let middle = low + (high - low) / 2;
            match self.read(middle, 1)?.first() {
                Some(place) if hit(place) => high = middle,
                _ => low = middle + 1,
            }
        }
        while low < high {
            let places = self.read(low, high - low)?;
            if let Some(i) = places.iter().position(&hit) {
                return Ok(low + i as u64);
            }
            low += places.len() as u64;
        }
        Ok(low.min(found_behind))
    }

    /// Reads entries that are in a file, up to the end of that file.
    fn read(&self, number: u64, count: u64) -> Result<Vec<Place>, LogError> {
        let within = number % self.format.entries_per_file;
        let count = count.min(self.format.entries_per_file - within);
        let width = self.format.kind.width();
        let handle = self.lock().handle(self, number / self.format.entries_per_file);
        let mut raw = vec![0; count as usize * width];
        let counters = self.files.counters();
        counters.add(Counter::CallPreadLookup, 1);
        counters.add(Counter::LookupBytes, raw.len() as u64);
        let read = handle
            .open()
            .and_then(|file| file.read_exact_at(&mut raw, within * width as u64));
        read.map_err(io("read", handle.path()))?;
        let entry = |(raw, number): (&[u8], u64)| {
            self.format.kind.decode(raw, number).ok_or_else(|| {
                let remedy = format!(
                    "entry {number} is damaged: stop the broker, remove the folder {}, and the next start makes it again from the log",
                    self.dir().display()
                );
                io("read", handle.path())(Error::new(ErrorKind::InvalidData, remedy))
            })
        };
        raw.chunks_exact(width).zip(number..).map(entry).collect()
    }
}

impl State {
    /// Number of the first entry that is in memory.
    fn tail_first(&self) -> u64 {
        self.tail.front().map_or(self.mark.next, |batch| batch.number)
    }
}
