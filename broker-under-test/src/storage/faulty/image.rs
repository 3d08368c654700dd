//! What a power cut leaves: some of what was not flushed is there, some is not.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::super::{Storage, StoredFile};
use super::journal::{Change, Inode, Journal, NameChange, State, parent, undo, undo_name};

/// What a device writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Which of the changes that were not flushed are there afterwards.
#[derive(Debug, Clone, Copy)]
enum Style {
    /// None.
    Nothing,
    /// All, but for the last one, which may be torn.
    Everything,
    /// All up to some moment, as a file system with a strict journal would have it.
    UpTo(u64),
    /// Any, each by itself; so many of 256.
    Any(u64),
}

/// xorshift64*: the same on every machine.
struct Random(u64);

impl Random {
    /// Neighbouring seeds must not give similar numbers.
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.below(2);
        random
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound.max(1)
    }
}

/// How much of a change is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lost,
    Torn,
    Whole,
}

/// Turns the folder into one that a power cut could have left. The same seed over the same changes gives the same folder.
pub(super) fn make(storage: &dyn Storage, journal: &mut Journal, seed: u64) -> io::Result<()> {
    let mut random = Random::new(seed);
    let first = open_changes(journal).min().unwrap_or(0);
    let last = open_changes(journal).max().unwrap_or(0);
    let style = match random.below(8) {
        0 | 1 => Style::Nothing,
        2 => Style::Everything,
        3 | 4 => Style::UpTo(first + random.below(last - first + 1)),
        n => Style::Any([64, 128, 224][n as usize - 5]),
    };
    for inode in journal.inodes.values().filter(|inode| !inode.changes.is_empty()) {
        let file = storage.open(&inode.location, true)?;
        data(file.as_ref(), inode, style, last, &mut random)?;
    }
    names(storage, journal, style, &mut random)
}

fn open_changes(journal: &Journal) -> impl Iterator<Item = u64> {
    let data = journal.inodes.values().flat_map(|inode| &inode.changes);
    let data = data.map(|change| change.sequence);
    data.chain(journal.names.iter().map(|naming| naming.sequence))
}

fn fate(style: Style, sequence: u64, last: u64, random: &mut Random) -> Fate {
    match style {
        Style::Nothing => Fate::Lost,
        Style::Everything if sequence < last => Fate::Whole,
        Style::Everything => Fate::Torn,
        Style::UpTo(end) if sequence < end => Fate::Whole,
        Style::UpTo(end) if sequence == end => Fate::Torn,
        Style::UpTo(_) => Fate::Lost,
        Style::Any(share) => match (random.below(256) < share, random.below(4)) {
            (_, 0) => Fate::Torn,
            (true, _) => Fate::Whole,
            (false, _) => Fate::Lost,
        },
    }
}

/// Takes all open changes of a file back, then does again those that are there.
fn data(file: &dyn StoredFile, inode: &Inode, style: Style, last: u64, random: &mut Random) -> io::Result<()> {
    let mut after = Vec::with_capacity(inode.changes.len());
    for change in inode.changes.iter().rev() {
        let mut bytes = vec![0; change.bytes as usize];
        file.read_exact_at(&mut bytes, change.position)?;
        undo(file, change)?;
        after.push(bytes);
    }
    for (change, bytes) in inode.changes.iter().zip(after.into_iter().rev()) {
        let fate = match change.state {
            State::Durable => Fate::Whole,
            State::Pending | State::Doubtful => fate(style, change.sequence, last, random),
        };
        match fate {
            Fate::Lost => {}
            Fate::Whole if change.bytes == 0 => file.set_len(change.length.1)?,
            Fate::Whole => {
                file.write_all_at(&mut [IoSlice::new(&bytes)], change.position)?;
            }
            // A length is changed or it is not.
            Fate::Torn if change.bytes == 0 => {}
            Fate::Torn => tear(file, change, &bytes, random)?,
        }
    }
    Ok(())
}

/// Some sectors of a write are there. Where the file became longer, the others hold zeros or noise, or the length is missing too.
fn tear(file: &dyn StoredFile, change: &Change, bytes: &[u8], random: &mut Random) -> io::Result<()> {
    let end = change.position + change.bytes;
    let in_order = random.below(2) == 0;
    let noise = random.below(4) == 0;
    let sectors = end.div_ceil(SECTOR_BYTES) - change.position / SECTOR_BYTES;
    let kept = random.below(sectors + 1);
    let mut start = change.position;
    for sector in 0..sectors {
        let stop = ((start / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        let part = &bytes[(start - change.position) as usize..(stop - change.position) as usize];
        let there = if in_order { sector < kept } else { random.below(2) == 0 };
        if there {
            file.write_all_at(&mut [IoSlice::new(part)], start)?;
        } else if noise && start >= change.length.0 {
            let noise: Vec<u8> = part.iter().map(|_| random.below(256) as u8).collect();
            file.write_all_at(&mut [IoSlice::new(&noise)], start)?;
        }
        start = stop;
    }
    if random.below(2) == 0 && file.bytes()? < end {
        file.set_len(end)?;
    }
    Ok(())
}

/// Takes back the names that are lost, the last first. What happened to a name later is lost with what happened to it before.
fn names(storage: &dyn Storage, journal: &Journal, style: Style, random: &mut Random) -> io::Result<()> {
    let mut touched: BTreeSet<&Path> = BTreeSet::new();
    let mut lost: Vec<&NameChange> = Vec::new();
    for naming in &journal.names {
        let (paths, emptied) = paths_of(&naming.what);
        let follows = paths
            .iter()
            .any(|path| path.ancestors().any(|above| touched.contains(above)))
            || emptied.is_some_and(|folder| touched.iter().any(|path| parent(path) == folder));
        // Nothing tears a name.
        if follows || fate(style, naming.sequence, u64::MAX, random) != Fate::Whole {
            touched.extend(paths.iter().map(|path| path.as_path()));
            lost.push(&naming.what);
        }
    }
    lost.into_iter().rev().try_for_each(|what| undo_name(storage, what))
}

/// The names that a change touches, and the folder that it found empty.
fn paths_of(what: &NameChange) -> (Vec<&PathBuf>, Option<&Path>) {
    match what {
        NameChange::Create(path) | NameChange::Remove(path, _) | NameChange::CreateFolder(path) => (vec![path], None),
        NameChange::RemoveFolder(path, _) => (vec![path], Some(path)),
        NameChange::Rename { from, to, .. } => (vec![from, to], None),
    }
}
