//! What came: records per place, the sequences of each producer's run, and how long each record took from end to end.
//!
//! A set of sequences is kept as bits, so that a record that comes twice is told from one that comes late, however far apart they are.

use super::Received;
use crate::load::stamp::Stamp;
use crate::native::phase::latency_histogram;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Sequences of a run that are told apart; of records beyond, only their number is known.
pub const SEQUENCES_MAX: u64 = 1 << 32;
/// Runs that are told apart; records of further ones are foreign.
const RUNS_MAX: usize = 16;
/// Sequences of one piece of a set.
const PIECE_SEQUENCES: u64 = 1 << 20;
/// Pieces of all runs together: half a gigabyte, whatever stamps claim.
const PIECES_MAX: usize = 4_096;
const PIECE_WORDS: usize = (PIECE_SEQUENCES / 64) as usize;

/// What came of one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceReceipts {
    /// The place in the spread.
    pub place: usize,
    /// Offset that it began with.
    pub first_offset: i64,
    /// Offset behind the last record that came.
    pub next_offset: i64,
    /// Records that came.
    pub records: u64,
    /// Records that came with an offset that had come already, or that is too low.
    pub repeated_offsets: u64,
    /// Offsets that were left out; in a log that is not compacted, records that were not delivered.
    pub skipped_offsets: u64,
}

/// What came of one producer's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReceipts {
    /// The run, as its stamps name it.
    pub run: u32,
    /// Records that came.
    pub records: u64,
    /// Different ones among them.
    pub distinct: u64,
    /// Records that had come already.
    pub duplicates: u64,
    /// Lowest sequence that came.
    pub lowest: u64,
    /// Highest sequence that came.
    pub highest: u64,
    /// Records whose sequence is lower than one that came before of the same place, and that had not come before.
    pub out_of_order: u64,
    /// Records whose sequence is too high for the set, or too far from all others.
    pub untracked: u64,
}

impl RunReceipts {
    /// Sequences between the lowest and the highest that did not come: records that were lost, or that failed and were never stored.
    pub fn missing(&self) -> u64 {
        match self.distinct {
            0 => 0,
            distinct => self.highest - self.lowest + 1 - distinct,
        }
    }
}

/// A run, with what is needed to tell its records apart.
struct Run {
    told: RunReceipts,
    pieces: Vec<Option<Box<[u64; PIECE_WORDS]>>>,
    /// Sequence behind the highest one of each place.
    next_of_place: Vec<u64>,
}

/// Keeps count of what came.
pub struct Receipts {
    places: Vec<PlaceReceipts>,
    /// Index in `places` of each place of the spread; `usize::MAX` for one that is not read.
    index_of_place: Vec<usize>,
    runs: Vec<Run>,
    /// The run of the last record, as the next one is likely to be of it too.
    last_run: usize,
    pieces_left: usize,
    foreign: u64,
    timeless: u64,
    end_to_end_ns: Histogram<u64>,
}

impl Receipts {
    /// Of places that begin with these offsets.
    pub fn new(starts: &[(usize, i64)]) -> Self {
        let places: Vec<PlaceReceipts> = starts
            .iter()
            .map(|(place, offset)| PlaceReceipts {
                place: *place,
                first_offset: *offset,
                next_offset: *offset,
                records: 0,
                repeated_offsets: 0,
                skipped_offsets: 0,
            })
            .collect();
        let end = starts.iter().map(|(place, _)| place + 1).max().unwrap_or(0);
        let mut index_of_place = vec![usize::MAX; end];
        for (index, (place, _)) in starts.iter().enumerate() {
            index_of_place[*place] = index;
        }
        Self {
            places,
            index_of_place,
            runs: Vec::new(),
            last_run: 0,
            pieces_left: PIECES_MAX,
            foreign: 0,
            timeless: 0,
            end_to_end_ns: latency_histogram(),
        }
    }

    /// Counts a record; answers how long it took from end to end, ns, if its stamp tells.
    pub fn take(&mut self, received: &Received<'_>) -> Option<u64> {
        let index = self.index_of_place.get(received.place).copied().unwrap_or(usize::MAX);
        let Some(place) = self.places.get_mut(index) else {
            self.foreign += 1;
            return None;
        };
        place.take(received.offset);
        let Some(stamp) = Stamp::parse(received.value) else {
            self.foreign += 1;
            return None;
        };
        let Some(run) = self.run_of(stamp.run) else {
            self.foreign += 1;
            return None;
        };
        self.runs[run].take(index, stamp.sequence, &mut self.pieces_left);
        // Another machine's clock, or the clock before a restart, tells nothing.
        let Some(took_ns) = received.received_ns.checked_sub(stamp.intended_ns) else {
            self.timeless += 1;
            return None;
        };
        self.end_to_end_ns.saturating_record(took_ns);
        Some(took_ns)
    }

    /// Where the run of that number is; `None` when there are too many.
    fn run_of(&mut self, number: u32) -> Option<usize> {
        if self.runs.get(self.last_run).is_none_or(|run| run.told.run != number) {
            self.last_run = match self.runs.iter().position(|run| run.told.run == number) {
                Some(known) => known,
                None if self.runs.len() == RUNS_MAX => return None,
                None => {
                    self.runs.push(Run::new(number, self.places.len()));
                    self.runs.len() - 1
                }
            };
        }
        Some(self.last_run)
    }

    /// Each place that is read.
    pub fn places(&self) -> &[PlaceReceipts] {
        &self.places
    }

    /// Each run, in the order in which they were met.
    pub fn runs(&self) -> Vec<RunReceipts> {
        self.runs.iter().map(|run| run.told).collect()
    }

    /// Records without a stamp, of a place that is not read, or of a run too many.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Records whose intended time lies behind the time at which they came.
    pub fn timeless(&self) -> u64 {
        self.timeless
    }

    /// Received minus intended, ns; takes it out, so that the next window begins with an empty one.
    pub fn take_end_to_end_ns(&mut self) -> Histogram<u64> {
        std::mem::replace(&mut self.end_to_end_ns, latency_histogram())
    }
}

impl PlaceReceipts {
    fn take(&mut self, offset: i64) {
        self.records += 1;
        if offset < self.next_offset {
            self.repeated_offsets += 1;
            return;
        }
        self.skipped_offsets += (offset - self.next_offset) as u64;
        self.next_offset = offset.saturating_add(1);
    }
}

impl Run {
    fn new(run: u32, places: usize) -> Self {
        Self {
            told: RunReceipts {
                run,
                records: 0,
                distinct: 0,
                duplicates: 0,
                lowest: 0,
                highest: 0,
                out_of_order: 0,
                untracked: 0,
            },
            pieces: Vec::new(),
            next_of_place: vec![0; places],
        }
    }

    fn take(&mut self, place: usize, sequence: u64, pieces_left: &mut usize) {
        self.told.records += 1;
        match self.insert(sequence, pieces_left) {
            Some(true) => {}
            Some(false) => {
                self.told.duplicates += 1;
                return;
            }
            None => {
                self.told.untracked += 1;
                return;
            }
        }
        self.told.distinct += 1;
        if self.told.distinct == 1 || sequence < self.told.lowest {
            self.told.lowest = sequence;
        }
        self.told.highest = self.told.highest.max(sequence);
        let next = &mut self.next_of_place[place];
        match sequence < *next {
            true => self.told.out_of_order += 1,
            false => *next = sequence + 1,
        }
    }

    /// Whether the sequence is new; `None` when there is no room to remember it.
    fn insert(&mut self, sequence: u64, pieces_left: &mut usize) -> Option<bool> {
        if sequence >= SEQUENCES_MAX {
            return None;
        }
        let piece = (sequence / PIECE_SEQUENCES) as usize;
        if piece >= self.pieces.len() {
            self.pieces.resize_with(piece + 1, || None);
        }
        if self.pieces[piece].is_none() {
            *pieces_left = pieces_left.checked_sub(1)?;
        }
        let words = self.pieces[piece].get_or_insert_with(|| Box::new([0; PIECE_WORDS]));
        let word = &mut words[(sequence % PIECE_SEQUENCES / 64) as usize];
        let bit = 1 << (sequence % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        Some(is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(receipts: &mut Receipts, place: usize, offset: i64, stamp: Option<Stamp>) -> Option<u64> {
        let mut value = [0; 30];
        if let Some(stamp) = stamp {
            stamp.write(&mut value);
        }
        receipts.take(&Received {
            place,
            offset,
            timestamp_ms: 0,
            key: None,
            value: &value,
            received_ns: 1_000,
        })
    }

    fn stamp(run: u32, sequence: u64) -> Option<Stamp> {
        Some(Stamp {
            run,
            sequence,
            intended_ns: 400,
        })
    }

    #[test]
    fn duplicates_gaps_and_disorder_are_told_apart() {
        let mut receipts = Receipts::new(&[(1, 10), (3, 0)]);
        // 0, 2 and 3 at place 1, 1 and 6 at place 3, 2 and 6 again, 5 late, 4 never.
        for (place, offset, sequence) in [
            (1, 10, 0),
            (3, 0, 1),
            (1, 11, 2),
            (1, 12, 3),
            (3, 1, 6),
            (3, 2, 6),
            (1, 13, 2),
            (3, 3, 5),
        ] {
            assert_eq!(receive(&mut receipts, place, offset, stamp(7, sequence)), Some(600));
        }
        let runs = receipts.runs();
        let run = runs[0];
        assert_eq!((runs.len(), run.run, run.records), (1, 7, 8));
        assert_eq!((run.distinct, run.duplicates, run.out_of_order), (6, 2, 1));
        assert_eq!((run.lowest, run.highest, run.missing()), (0, 6, 1));
        let of_place = |index: usize| {
            let place = receipts.places()[index];
            (place.place, place.first_offset, place.next_offset, place.records)
        };
        assert_eq!((of_place(0), of_place(1)), ((1, 10, 14, 4), (3, 0, 4, 4)));
        assert_eq!(receipts.take_end_to_end_ns().len(), 8);
        assert_eq!(receipts.take_end_to_end_ns().len(), 0);
    }

    #[test]
    fn offsets_that_repeat_or_leap_are_counted() {
        let mut receipts = Receipts::new(&[(0, 5)]);
        for offset in [4, 5, 6, 6, 9] {
            receive(&mut receipts, 0, offset, None);
        }
        let place = receipts.places()[0];
        assert_eq!(
            (place.records, place.repeated_offsets, place.skipped_offsets),
            (5, 2, 2)
        );
        assert_eq!((place.next_offset, receipts.foreign()), (10, 5));
    }

    #[test]
    fn what_is_not_ours_is_counted_and_costs_no_memory() {
        let mut receipts = Receipts::new(&[(0, 0)]);
        let huge = Stamp {
            run: 1,
            sequence: u64::MAX,
            intended_ns: 2_000,
        };
        assert_eq!(receive(&mut receipts, 0, 0, Some(huge)), None);
        assert_eq!(receive(&mut receipts, 9, 0, stamp(1, 1)), None);
        for run in 0..20 {
            receive(&mut receipts, 0, 1 + i64::from(run), stamp(run, SEQUENCES_MAX - 1));
        }
        assert_eq!((receipts.timeless(), receipts.foreign()), (1, 1 + 4));
        assert_eq!(receipts.runs().len(), RUNS_MAX);
        let first = receipts.runs()[0];
        assert_eq!(
            (first.run, first.untracked, first.distinct, first.missing()),
            (1, 1, 1, 0)
        );
    }
}
