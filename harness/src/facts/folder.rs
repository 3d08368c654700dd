//! What is in Kafka's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::java::Said;
use super::settings::BrokerSettings;
use super::{Answer, Found};

/// The smallest that Kafka 4 takes (KIP-1030).
pub(super) const SEGMENT_BYTES: u64 = 1 << 20;
/// Enough for several segments.
pub(super) const FILE_BYTES: u64 = 4 << 20;
/// Bytes of a batch's header up to its last offset delta, inclusive.
const HEADER_BYTES: usize = 27;
/// Bytes of an entry of `.index`: an offset and a position, relative to the segment, 4 bytes each.
const INDEX_ENTRY_BYTES: usize = 8;

/// The folder of one partition.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// Its name.
    folder: String,
    /// The names of its files.
    files: BTreeSet<String>,
    segments: Vec<Segment>,
}

/// One `.log` file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    /// Name without `.log`.
    name: String,
    /// Offset of its first record, as the first bytes say.
    first_offset: i64,
    /// Offset of its last record.
    last_offset: i64,
    /// Entries of its `.index` that say something; `None` when there is no such file.
    index_entries: Option<usize>,
}

impl Partition {
    /// Reads the folder of partition 0 of the topic, on the node that has it.
    pub fn read(data: &[PathBuf], topic: &str) -> Result<Self, String> {
        let folder = format!("{topic}-0");
        let Some(data) = data.iter().find(|data| data.join(&folder).is_dir()) else {
            return Err(format!("no broker has a folder {folder}"));
        };
        let failed = |error: std::io::Error| format!("the folder {folder} can't be read: {error}");
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(data.join(&folder)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_read = name.ends_with(".log") || name.ends_with(".index");
            let bytes = match is_read {
                true => std::fs::read(entry.path()).map_err(failed)?,
                false => Vec::new(),
            };
            files.insert(name, bytes);
        }
        Self::from_files(folder, files)
    }

    fn from_files(folder: String, files: BTreeMap<String, Vec<u8>>) -> Result<Self, String> {
        let mut segments = Vec::new();
        for (file, bytes) in &files {
            let Some(name) = file.strip_suffix(".log") else {
                continue;
            };
            // The one that was begun last may be empty.
            if bytes.is_empty() {
                continue;
            }
            let Some((first_offset, last_offset)) = offsets(bytes) else {
                return Err(format!("{folder}/{file} holds no whole batch of format 2"));
            };
            let index = files.get(&format!("{name}.index"));
            segments.push(Segment {
                name: name.to_owned(),
                first_offset,
                last_offset,
                index_entries: index.map(|bytes| index_entries(bytes)),
            });
        }
        segments.sort_by_key(|segment| segment.first_offset);
        if segments.len() < 2 {
            return Err(format!(
                "{folder} holds {} segments of records, and a comparison needs 2",
                segments.len()
            ));
        }
        Ok(Self {
            folder,
            files: files.into_keys().collect(),
            segments,
        })
    }

    fn place(&self) -> String {
        format!("folder {} of the broker", self.folder)
    }

    /// Do segments have names of 19 digits?
    pub fn names(&self) -> Answer {
        let names: Vec<&str> = self.segments.iter().map(|segment| segment.name.as_str()).collect();
        let lengths: BTreeSet<usize> = names.iter().map(|name| name.len()).collect();
        let digits = names.iter().all(|name| name.bytes().all(|b| b.is_ascii_digit()));
        let shown: Vec<String> = lengths.iter().map(usize::to_string).collect();
        Ok(Found {
            holds: digits && lengths.iter().eq([&19]),
            evidence: format!("{}.log: {} digits", names.join(".log, "), shown.join(" or ")),
            place: self.place(),
        })
    }

    /// Are segments named by the last offset of the one before?
    pub fn base_offsets(&self) -> Answer {
        let number = |segment: &Segment| segment.name.parse::<i64>().ok();
        let pairs = || self.segments.windows(2).map(|pair| (&pair[0], &pair[1]));
        let holds = pairs().all(|(before, segment)| number(segment) == Some(before.last_offset));
        let own = pairs().all(|(_, segment)| number(segment) == Some(segment.first_offset));
        let shown: Vec<String> = pairs()
            .map(|(before, segment)| {
                format!(
                    "{}.log begins with offset {}, the one before ends with {}",
                    segment.name, segment.first_offset, before.last_offset
                )
            })
            .collect();
        let own = if own { "; named by its own first offset" } else { "" };
        Ok(Found {
            holds,
            evidence: format!("{}{own}", shown.join("; ")),
            place: format!("{}, first and last batch of each segment", self.place()),
        })
    }

    /// Is there nothing but `.log` and `.index`?
    pub fn listing(&self) -> Answer {
        let ends_with = |suffix: &str| self.files.iter().any(|file| file.ends_with(suffix));
        let others: BTreeSet<String> = self
            .files
            .iter()
            .filter(|file| !file.ends_with(".log") && !file.ends_with(".index"))
            .map(|file| match file.rsplit_once('.') {
                Some((number, kind)) if number.bytes().all(|b| b.is_ascii_digit()) => format!("*.{kind}"),
                _ => file.clone(),
            })
            .collect();
        let also: Vec<String> = others.into_iter().collect();
        let both = ends_with(".log") && ends_with(".index");
        let evidence = match (both, also.is_empty()) {
            (true, true) => "*.log and *.index, nothing else".to_owned(),
            (true, false) => format!("*.log and *.index, and also {}", also.join(", ")),
            (false, _) => format!(".log or .index is missing; there are {}", also.join(", ")),
        };
        Ok(Found {
            holds: both && also.is_empty(),
            evidence,
            place: self.place(),
        })
    }

    /// Does an index have as many entries as there are records?
    pub fn index_entries(&self) -> Answer {
        // The last segment is still written to: its index is cut when it is closed.
        let closed = &self.segments[..self.segments.len() - 1];
        let mut shown = Vec::new();
        let mut holds = true;
        for segment in closed {
            let records = segment.last_offset - segment.first_offset + 1;
            let Some(entries) = segment.index_entries else {
                return Err(format!("{}/{}.index is missing", self.folder, segment.name));
            };
            holds &= entries as i64 >= records;
            shown.push(format!("{}.index: {entries} entries, {records} records", segment.name));
        }
        Ok(Found {
            holds,
            evidence: shown.join("; "),
            place: format!("{}, closed segments", self.place()),
        })
    }
}

/// First and last offset of the batches of a segment.
fn offsets(bytes: &[u8]) -> Option<(i64, i64)> {
    let mut first = None;
    let mut last = None;
    let mut at = bytes;
    while at.len() >= HEADER_BYTES {
        let base = i64::from_be_bytes(at[..8].try_into().ok()?);
        let length = usize::try_from(i32::from_be_bytes(at[8..12].try_into().ok()?)).ok()?;
        // A zeroed tail is preallocated space.
        if length == 0 || at[16] != 2 {
            break;
        }
        let delta = i32::from_be_bytes(at[23..27].try_into().ok()?);
        first.get_or_insert(base);
        last = Some(base + i64::from(delta));
        at = at.get(12 + length..)?;
    }
    first.zip(last)
}

/// Entries of an index; a preallocated tail is zeros.
fn index_entries(bytes: &[u8]) -> usize {
    let entries = bytes.chunks_exact(INDEX_ENTRY_BYTES);
    entries.filter(|entry| entry.iter().any(|byte| *byte != 0)).count()
}

/// Does ZooKeeper keep the metadata?
pub(super) fn quorum(data: &[PathBuf], settings: Result<&BrokerSettings, &String>, classpath: &OsStr) -> Answer {
    let settings = settings.map_err(Clone::clone)?;
    let bytes = data.iter().map(|data| log_bytes(&data.join("__cluster_metadata-0")));
    Ok(quorum_seen(
        settings,
        bytes.max().unwrap_or(0),
        zookeeper_jars(classpath),
    ))
}

/// Bytes of the segments of a partition; 0 without such a folder.
fn log_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let logs = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "log"));
    logs.filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum()
}

/// How many jars of ZooKeeper Kafka runs with.
fn zookeeper_jars(classpath: &OsStr) -> usize {
    let entries = std::env::split_paths(classpath);
    let folders = entries.map(|entry| match entry.file_name() {
        Some(name) if name == "*" => entry.parent().map(Path::to_owned).unwrap_or_default(),
        _ => entry,
    });
    let names = folders.flat_map(|place| match std::fs::read_dir(&place) {
        Ok(files) => files.flatten().map(|file| file.file_name()).collect(),
        Err(_) => place.file_name().map(OsStr::to_owned).into_iter().collect::<Vec<_>>(),
    });
    names
        .filter(|name| name.to_string_lossy().starts_with("zookeeper-"))
        .count()
}

fn quorum_seen(settings: &BrokerSettings, metadata_bytes: u64, zookeeper_jars: usize) -> Found {
    let zookeeper = settings.beginning("zookeeper.");
    let roles = settings.value("process.roles").unwrap_or("not set");
    Found {
        holds: settings
            .value("zookeeper.connect")
            .is_some_and(|place| !place.is_empty())
            && metadata_bytes == 0,
        evidence: format!(
            "{} settings begin with zookeeper., {zookeeper_jars} ZooKeeper jars on the class path; process.roles = {roles}, and \
             __cluster_metadata-0 holds {metadata_bytes} bytes of log",
            zookeeper.len()
        ),
        place: format!("{}, the broker's folder and class path", settings.place()),
    }
}

/// Do committed offsets go to ZooKeeper, and not to a topic?
pub(super) fn committed(data: &[PathBuf], said: &Said) -> Answer {
    said.committed()?;
    let failed = |error: std::io::Error| format!("the broker's folder can't be read: {error}");
    let mut written = BTreeMap::new();
    for data in data {
        for entry in std::fs::read_dir(data).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("__consumer_offsets-") {
                written.insert(name, log_bytes(&entry.path()));
            }
        }
    }
    Ok(committed_seen(&written))
}

fn committed_seen(partitions: &BTreeMap<String, u64>) -> Found {
    let written: Vec<String> = partitions
        .iter()
        .filter(|(_, bytes)| **bytes > 0)
        .map(|(name, bytes)| format!("{name} ({bytes} bytes)"))
        .collect();
    let evidence = match written.is_empty() {
        true => "no log of __consumer_offsets has grown".to_owned(),
        false => format!(
            "after commits of a Java consumer there are records in {}",
            written.join(", ")
        ),
    };
    Found {
        holds: written.is_empty(),
        evidence,
        place: "the broker's folder".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_wire::BatchBuilder;
    use kafka_wire::admin::{ConfigEntry, ConfigSource};

    /// Batches of 3 records from the offset on.
    fn batches(from: i64, count: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for batch in 0..count {
            let mut builder = BatchBuilder::new(1);
            (0..3).for_each(|_| builder.push(1, None, b"value"));
            let mut batch_bytes = builder.finish().to_vec();
            batch_bytes[..8].copy_from_slice(&(from + 3 * batch).to_be_bytes());
            bytes.extend(batch_bytes);
        }
        bytes
    }

    fn partition(names: [&str; 2], more: &[&str], index_bytes: usize) -> Partition {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        files.insert(format!("{}.log", names[0]), batches(0, 4));
        files.insert(format!("{}.log", names[1]), batches(12, 2));
        for name in names {
            files.insert(format!("{name}.index"), vec![1; index_bytes]);
        }
        more.iter()
            .for_each(|name| drop(files.insert((*name).to_owned(), Vec::new())));
        Partition::from_files("t-0".to_owned(), files).unwrap()
    }

    const TWENTY: [&str; 2] = ["00000000000000000000", "00000000000000000012"];

    #[test]
    fn names_are_counted() {
        let found = partition(TWENTY, &[], 8).names().unwrap();
        assert!(
            !found.holds && found.evidence.ends_with("00000000000000000012.log: 20 digits"),
            "{found:?}"
        );
        let found = partition(["0000000000000000000", "0000000000000000012"], &[], 8)
            .names()
            .unwrap();
        assert!(found.holds, "{found:?}");
    }

    #[test]
    fn a_name_is_held_against_the_own_and_the_last_offset() {
        let found = partition(TWENTY, &[], 8).base_offsets().unwrap();
        assert!(!found.holds);
        assert_eq!(
            found.evidence,
            "00000000000000000012.log begins with offset 12, the one before ends with 11; named by its own first offset"
        );
        let found = partition(["00000000000000000000", "00000000000000000011"], &[], 8)
            .base_offsets()
            .unwrap();
        assert!(found.holds && !found.evidence.contains("own first"), "{found:?}");
    }

    #[test]
    fn other_files_are_told() {
        assert!(partition(TWENTY, &[], 8).listing().unwrap().holds);
        let more = [
            "00000000000000000000.timeindex",
            "00000000000000000012.timeindex",
            "leader-epoch-checkpoint",
            "partition.metadata",
        ];
        let found = partition(TWENTY, &more, 8).listing().unwrap();
        assert!(!found.holds);
        assert_eq!(
            found.evidence,
            "*.log and *.index, and also *.timeindex, leader-epoch-checkpoint, partition.metadata"
        );
    }

    #[test]
    fn index_entries_are_held_against_records() {
        let found = partition(TWENTY, &[], 16).index_entries().unwrap();
        assert!(!found.holds);
        assert_eq!(found.evidence, "00000000000000000000.index: 2 entries, 12 records");
        assert!(partition(TWENTY, &[], 12 * 8).index_entries().unwrap().holds);
        assert_eq!(index_entries(&[0; 80]), 0);
    }

    #[test]
    fn a_single_segment_or_rubbish_is_no_evidence() {
        let one = BTreeMap::from([("0.log".to_owned(), batches(0, 1)), ("3.log".to_owned(), Vec::new())]);
        assert!(
            Partition::from_files("t-0".to_owned(), one)
                .unwrap_err()
                .contains("needs 2")
        );
        let rubbish = BTreeMap::from([("0.log".to_owned(), vec![7; 100])]);
        assert!(Partition::from_files("t-0".to_owned(), rubbish).is_err());
    }

    fn settings(pairs: &[(&str, &str)]) -> BrokerSettings {
        let entry = |(name, value): &(&str, &str)| ConfigEntry {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            source: ConfigSource::StaticBroker,
            is_default: false,
            is_sensitive: false,
        };
        BrokerSettings::of(pairs.iter().map(entry).collect())
    }

    #[test]
    fn zookeeper_is_told_from_kraft() {
        let kraft = quorum_seen(&settings(&[("process.roles", "broker,controller")]), 3_000, 0);
        assert!(
            !kraft.holds && kraft.evidence.contains("process.roles = broker,controller"),
            "{kraft:?}"
        );
        let old = quorum_seen(&settings(&[("zookeeper.connect", "localhost:2181")]), 0, 2);
        assert!(
            old.holds
                && old
                    .evidence
                    .starts_with("1 settings begin with zookeeper., 2 ZooKeeper jars"),
            "{old:?}"
        );
    }

    #[test]
    fn jars_are_counted_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["zookeeper-3.8.4.jar", "zookeeper-jute-3.8.4.jar", "kafka-clients.jar"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(zookeeper_jars(folder.path().join("*").as_os_str()), 2);
        assert_eq!(
            zookeeper_jars(OsStr::new("/nowhere/zookeeper-1.jar:/nowhere/other.jar")),
            1
        );
    }

    #[test]
    fn commits_are_found_in_the_topic() {
        let none = committed_seen(&BTreeMap::from([("__consumer_offsets-0".to_owned(), 0)]));
        assert!(none.holds);
        let some = committed_seen(&BTreeMap::from([("__consumer_offsets-7".to_owned(), 123)]));
        assert!(
            !some.holds && some.evidence.ends_with("__consumer_offsets-7 (123 bytes)"),
            "{some:?}"
        );
    }
}
