//! `commitlog/checkpoint`: up to where the shared log and the queues are on the device.
//!
//! Text, a row a line, replaced atomically:
//!
//! ```text
//! 1                                     version
//! position 4096                         everything in front of it is on the device, and in the queues as they are told below
//! entries batch 262144                  what queues have an entry for, entries in a file
//! segment 0 1700000000000               position, and greatest timestamp
//! queue <topic id> 0 0 0 12 36 1700000  partition, first entry, its offset, number behind the last entry, offset behind it, greatest timestamp
//! crc 1c291ca3                          CRC-32C of everything above
//! ```
//!
//! It is written some time after a segment was rolled, when segments go, and at a clean stop, where its position is the end of the log: a start then
//! has nothing to look at. One that is missing or damaged is ignored, and the queues are made again from the whole log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;

use kafka_wire::crc::crc32c;
use uuid::Uuid;

use super::super::{LogError, io};
use super::entry::EntryKind;
use super::queue::{Format, Mark};
use crate::storage::Storage;

/// Its name beside the segments.
pub const FILE: &str = "checkpoint";

/// A partition: id of the topic, and number.
pub type Key = (Uuid, i32);

/// What a checkpoint tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything in front of it is on the device.
    pub position: u64,
    /// How the queues are laid out.
    pub format: Format,
    /// Position and greatest timestamp of each segment.
    pub segments: Vec<(u64, i64)>,
    /// The queues as they were at that position.
    pub queues: BTreeMap<Key, Mark>,
}

impl Checkpoint {
    /// Reads the one in `dir`; `None` when there is none that can be used.
    pub fn read(storage: &dyn Storage, dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join(FILE);
        let raw = match storage.read(&path) {
            Ok(raw) => raw,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io("read", path)(e)),
        };
        let parsed = std::str::from_utf8(&raw).ok().and_then(parse);
        if parsed.is_none() {
            tracing::warn!(file = %path.display(), "damaged checkpoint, ignored: consume queues are made again from the log");
        }
        Ok(parsed)
    }

    /// Writes it into `dir`, atomically and durably.
    pub fn write(&self, storage: &dyn Storage, dir: &Path) -> Result<(), LogError> {
        let path = dir.join(FILE);
        storage
            .replace(&path, self.text().as_bytes())
            .map_err(io("replace", path))
    }

    fn text(&self) -> String {
        let Format { kind, entries_per_file } = self.format;
        let mut out = format!(
            "1\nposition {}\nentries {} {entries_per_file}\n",
            self.position,
            kind.name()
        );
        for (base, time_max) in &self.segments {
            let _ = writeln!(out, "segment {base} {time_max}");
        }
        for ((topic, partition), m) in &self.queues {
            let (first, first_offset, next, end_offset) = (m.first, m.first_offset, m.next, m.end_offset);
            let _ = writeln!(
                out,
                "queue {topic} {partition} {first} {first_offset} {next} {end_offset} {}",
                m.time_max
            );
        }
        let crc = crc32c(out.as_bytes());
        let _ = writeln!(out, "crc {crc:08x}");
        out
    }
}

fn parse(text: &str) -> Option<Checkpoint> {
    let (body, crc) = text.strip_suffix('\n')?.rsplit_once("\ncrc ")?;
    let body = &text[..=body.len()];
    if u32::from_str_radix(crc, 16).ok()? != crc32c(body.as_bytes()) {
        return None;
    }
    let mut lines = body.lines();
    if lines.next()? != "1" {
        return None;
    }
    let position = lines.next()?.strip_prefix("position ")?.parse().ok()?;
    let (kind, entries_per_file) = lines.next()?.strip_prefix("entries ")?.split_once(' ')?;
    let (kind, _) = *EntryKind::ALL.iter().find(|(_, name)| *name == kind)?;
    let entries_per_file = entries_per_file.parse().ok().filter(|n| *n > 0)?;
    let mut checkpoint = Checkpoint {
        position,
        format: Format { kind, entries_per_file },
        segments: Vec::new(),
        queues: BTreeMap::new(),
    };
    for line in lines {
        let mut words = line.split(' ');
        match words.next()? {
            "segment" => checkpoint
                .segments
                .push((words.next()?.parse().ok()?, words.next()?.parse().ok()?)),
            "queue" => {
                let key = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                let mark = Mark {
                    first: words.next()?.parse().ok()?,
                    first_offset: words.next()?.parse().ok()?,
                    next: words.next()?.parse().ok()?,
                    end_offset: words.next()?.parse().ok()?,
                    time_max: words.next()?.parse().ok()?,
                };
                checkpoint.queues.insert(key, mark);
            }
            _ => return None,
        }
    }
    Some(checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;

    #[test]
    fn round_trip_and_damage() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Checkpoint::read(&RealDisk, dir.path()).unwrap(), None);
        let mark = Mark {
            first: 1,
            first_offset: 3,
            next: 12,
            end_offset: 36,
            time_max: -5,
        };
        let checkpoint = Checkpoint {
            position: 4096,
            format: Format {
                kind: EntryKind::Record,
                entries_per_file: 7,
            },
            segments: vec![(0, i64::MIN), (2048, 17)],
            queues: BTreeMap::from([((Uuid::from_u128(5), 0), mark), ((Uuid::from_u128(5), 1), Mark::EMPTY)]),
        };
        checkpoint.write(&RealDisk, dir.path()).unwrap();
        assert_eq!(Checkpoint::read(&RealDisk, dir.path()).unwrap(), Some(checkpoint));
        let path = dir.path().join(FILE);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            for damaged in [&flipped[..], &good[..at]] {
                std::fs::write(&path, damaged).unwrap();
                assert_eq!(Checkpoint::read(&RealDisk, dir.path()).unwrap(), None, "byte {at}");
            }
        }
    }
}
