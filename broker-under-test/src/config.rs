//! The broker's settings: Kafka's property names where Kafka has one, one table for parsing, help and DescribeConfigs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::log::commit_log::{EntryKind, Options};
use crate::log::{FlushPolicy, Limits};

/// How the bytes of a fetch response get from the log file to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FetchPath {
    /// sendfile(2): the socket takes references to pages of the page cache.
    Sendfile,
    /// A shared mapping of the segment, written with send(2).
    Mmap,
    /// splice(2) through a pipe.
    Splice,
    /// preadv(2) into several buffers, then one writev(2) with the header.
    Vectored,
    /// pread(2) into one buffer and send(2), again and again: the buffered way.
    ReadWrite,
    /// A cache of log blocks in the broker's memory, written with sendmsg(2).
    HeapCache,
    /// O_DIRECT reads around the page cache, and send(2).
    Direct,
    /// sendfile(2) for short runs of records, splice(2) for long ones.
    Auto,
}

impl FetchPath {
    /// All paths with their names in `fetch.path`.
    pub const ALL: [(FetchPath, &'static str); 8] = [
        (FetchPath::Sendfile, "sendfile"),
        (FetchPath::Mmap, "mmap"),
        (FetchPath::Splice, "splice"),
        (FetchPath::Vectored, "vectored"),
        (FetchPath::ReadWrite, "read-write"),
        (FetchPath::HeapCache, "heap-cache"),
        (FetchPath::Direct, "direct"),
        (FetchPath::Auto, "auto"),
    ];
}

impl fmt::Display for FetchPath {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(
            Self::ALL
                .iter()
                .find(|(path, _)| path == self)
                .map_or("?", |(_, name)| name),
        )
    }
}

impl FromStr for FetchPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(|(_, name)| name).join(", ");
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found
            .map(|(path, _)| *path)
            .ok_or_else(|| format!("expected one of {}", names()))
    }
}

/// What a setting accepts.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// An integer in a closed range.
    Int(i64, i64),
    /// `PLAINTEXT://ip:port`.
    Listener,
    /// A folder.
    Dir,
    /// A [`FetchPath`].
    FetchPath,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Some of these words, with commas.
    ListOf(&'static [&'static str]),
    /// From 0 to 1.
    Share,
    /// The name of a TCP congestion control, or nothing for the kernel's default.
    CongestionControl,
}

/// One row of the table of settings.
#[derive(Debug)]
pub struct Setting {
    /// Kafka's name where it has one.
    pub name: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// In text form; empty when it must be given.
    pub default: &'static str,
    /// One sentence.
    pub doc: &'static str,
}

const fn setting(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting {
        name,
        kind,
        default,
        doc,
    }
}

const I32: i64 = i32::MAX as i64;

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    setting("node.id", Kind::Int(0, I32), "1", "The broker's id in metadata."),
    setting(
        "listeners",
        Kind::Listener,
        "PLAINTEXT://127.0.0.1:9092",
        "Where to listen; also what is advertised.",
    ),
    setting("log.dirs", Kind::Dir, "", "The one data folder."),
    setting(
        "num.partitions",
        Kind::Int(1, 100_000),
        "1",
        "Partitions of a topic that does not say how many.",
    ),
    setting(
        "auto.create.topics.enable",
        Kind::Bool,
        "true",
        "Create a topic when a client asks for its metadata.",
    ),
    setting("delete.topic.enable", Kind::Bool, "true", "Whether DeleteTopics works."),
    setting(
        "log.segment.bytes",
        Kind::Int(1024, I32),
        "1073741824",
        "A segment is rolled before it grows beyond this; with log.layout=commit-log, one of the shared log.",
    ),
    setting(
        "log.index.interval.bytes",
        Kind::Int(0, I32),
        "4096",
        "Log bytes between two entries of the offset index.",
    ),
    setting(
        "log.layout",
        Kind::OneOf(&["partition-log", "commit-log", "null"]),
        "partition-log",
        "Where batches are stored: partition-log (segments of each partition, as Kafka), commit-log (one log for all partitions, with a consume queue each, as RocketMQ), null (nowhere: everything is acknowledged, and readers see empty partitions). A data folder keeps the layout it was made with. Not a Kafka setting.",
    ),
    setting(
        "commit.log.entries",
        Kind::OneOf(&["batch", "record"]),
        "batch",
        "What a consume queue has an entry for, with log.layout=commit-log: each batch (32 bytes), or each record (20 bytes), RocketMQ's way. Not a Kafka setting.",
    ),
    setting(
        "log.preallocate",
        Kind::Bool,
        "false",
        "Reserve the room of a segment when it is created.",
    ),
    setting(
        "open.files.max",
        Kind::Int(1, 1_000_000),
        "1024",
        "Log files that are kept open, at most half of what the process may open; the one that was not used for longest is closed. Not a Kafka setting.",
    ),
    setting(
        "num.recovery.threads.per.data.dir",
        Kind::Int(1, 1000),
        "2",
        "Logs that are opened at once at a start, and flushed at once at a clean stop.",
    ),
    setting(
        "flush.policy",
        Kind::OneOf(&["never", "interval", "every-batch"]),
        "never",
        "When to flush the log: never (only when a segment is rolled, and at a clean stop), interval, every-batch (in front of each acknowledgement). Not a Kafka setting.",
    ),
    setting(
        "log.flush.interval.ms",
        Kind::Int(1, I32),
        "500",
        "Time between two flushes with flush.policy=interval.",
    ),
    setting(
        "log.flush.offset.checkpoint.interval.ms",
        Kind::Int(1, I32),
        "60000",
        "Time between two checkpoints of what was flushed: a recovery looks at what lies behind.",
    ),
    setting(
        "log.retention.ms",
        Kind::Int(-1, i64::MAX),
        "604800000",
        "A segment goes when its latest record is older than this; -1 keeps it for ever.",
    ),
    setting(
        "log.retention.bytes",
        Kind::Int(-1, i64::MAX),
        "-1",
        "The oldest segments of a partition go as long as this many bytes are left; -1 keeps them all. With log.layout=commit-log, of the shared log.",
    ),
    setting(
        "log.retention.check.interval.ms",
        Kind::Int(1, I32),
        "300000",
        "Time between two looks for what retention lets go of.",
    ),
    setting(
        "log.cleanup.policy",
        Kind::ListOf(&["delete", "compact"]),
        "delete",
        "What becomes of old segments: delete (by log.retention.*), compact (the last record of each key stays), or both.",
    ),
    setting(
        "log.cleaner.min.cleanable.ratio",
        Kind::Share,
        "0.5",
        "A log is compacted when this part of its closed segments was not yet.",
    ),
    setting(
        "log.cleaner.delete.retention.ms",
        Kind::Int(0, i64::MAX),
        "86400000",
        "How long a compacted log keeps a tombstone, counted from the record's time.",
    ),
    setting(
        "log.cleaner.dedupe.buffer.size",
        Kind::Int(1024, i64::MAX),
        "134217728",
        "Memory for the keys of one pass of compaction; a pass ends early where it is used up.",
    ),
    setting(
        "log.cleaner.backoff.ms",
        Kind::Int(1, I32),
        "15000",
        "Time between two looks for logs to compact.",
    ),
    setting(
        "producer.id.expiration.ms",
        Kind::Int(1, I32),
        "86400000",
        "An idempotent producer that appended nothing to a partition for this long is forgotten there.",
    ),
    setting(
        "producer.id.expiration.check.interval.ms",
        Kind::Int(1, I32),
        "600000",
        "Time between two looks for producers to forget.",
    ),
    setting(
        "producer.ids.per.partition.max",
        Kind::Int(1, 1_000_000),
        "1000",
        "Idempotent producers that are known of a partition, in about 200 bytes each; those whose last batches lie furthest back are forgotten first. Not a Kafka setting.",
    ),
    setting(
        "group.initial.rebalance.delay.ms",
        Kind::Int(0, I32),
        "3000",
        "How long an empty group waits for more members once the first one has come; each that comes prolongs it, up to its rebalance timeout.",
    ),
    setting(
        "group.min.session.timeout.ms",
        Kind::Int(1, I32),
        "6000",
        "The shortest session timeout that a member may ask for.",
    ),
    setting(
        "group.max.session.timeout.ms",
        Kind::Int(1, I32),
        "1800000",
        "The longest session timeout that a member may ask for.",
    ),
    setting(
        "group.max.size",
        Kind::Int(1, 100_000),
        "10000",
        "Members of a group at most; what they say of themselves must fit message.max.bytes together.",
    ),
    setting(
        "group.consumer.session.timeout.ms",
        Kind::Int(1, I32),
        "45000",
        "How long a member of a group of KIP-848's protocol may be silent. Kafka has bounds for groups with settings of their own, which there are none of here.",
    ),
    setting(
        "group.consumer.heartbeat.interval.ms",
        Kind::Int(1, I32),
        "5000",
        "How often such members are told to send heartbeats.",
    ),
    setting(
        "group.consumer.min.session.timeout.ms",
        Kind::Int(1, I32),
        "45000",
        "The least that group.consumer.session.timeout.ms may be.",
    ),
    setting(
        "group.consumer.max.session.timeout.ms",
        Kind::Int(1, I32),
        "60000",
        "The most that group.consumer.session.timeout.ms may be.",
    ),
    setting(
        "group.consumer.min.heartbeat.interval.ms",
        Kind::Int(1, I32),
        "5000",
        "The least that group.consumer.heartbeat.interval.ms may be.",
    ),
    setting(
        "group.consumer.max.heartbeat.interval.ms",
        Kind::Int(1, I32),
        "15000",
        "The most that group.consumer.heartbeat.interval.ms may be.",
    ),
    setting(
        "group.consumer.assignment.interval.ms",
        Kind::Int(0, 15_000),
        "1000",
        "Time between two assignments of such a group, so that members that come together are assigned together (KIP-1263); the first is made at once.",
    ),
    setting(
        "group.consumer.max.size",
        Kind::Int(1, 100_000),
        "10000",
        "Members of such a group at most; what they are subscribed to must fit message.max.bytes together.",
    ),
    setting(
        "group.consumer.assignors",
        Kind::ListOf(crate::groups::ASSIGNORS),
        "uniform,range",
        "The assignors that such members may ask for; the first is for those who ask for none.",
    ),
    setting(
        "group.consumer.migration.policy",
        Kind::OneOf(&["disabled"]),
        "disabled",
        "Whether a group with members may change its protocol: it may not; an empty one does. Kafka's default is bidirectional.",
    ),
    setting(
        "max.groups",
        Kind::Int(1, 1_000_000),
        "10000",
        "Groups at most. Not a Kafka setting.",
    ),
    setting(
        "offsets.topic.num.partitions",
        Kind::Int(1, 10_000),
        "50",
        "Partitions of __consumer_offsets, which the first group that has something to remember creates.",
    ),
    setting(
        "offsets.topic.segment.bytes",
        Kind::Int(1024, I32),
        "104857600",
        "Segments of __consumer_offsets; only closed ones are compacted.",
    ),
    setting(
        "offset.metadata.max.bytes",
        Kind::Int(0, 30_000),
        "4096",
        "The longest text that a client may commit along with an offset.",
    ),
    setting(
        "offsets.retention.minutes",
        Kind::Int(1, I32),
        "10080",
        "How long offsets are kept once their group is empty.",
    ),
    setting(
        "offsets.retention.check.interval.ms",
        Kind::Int(1, i64::MAX),
        "600000",
        "Time between two looks for offsets to forget.",
    ),
    setting(
        "message.max.bytes",
        Kind::Int(61, I32),
        "1048588",
        "The largest record batch that is accepted.",
    ),
    setting(
        "socket.request.max.bytes",
        Kind::Int(1024, I32),
        "104857600",
        "The largest request.",
    ),
    setting(
        "socket.send.buffer.bytes",
        Kind::Int(-1, I32),
        "102400",
        "SO_SNDBUF of connections; -1 is the kernel's own tuning.",
    ),
    setting(
        "socket.receive.buffer.bytes",
        Kind::Int(-1, I32),
        "102400",
        "SO_RCVBUF of connections; -1 is the kernel's own tuning.",
    ),
    setting(
        "socket.congestion.control",
        Kind::CongestionControl,
        "",
        "TCP congestion control of connections; nothing is the kernel's default. Not a Kafka setting.",
    ),
    setting(
        "max.connections",
        Kind::Int(1, 100_000),
        "1000",
        "Connections beyond this are closed at once.",
    ),
    setting(
        "connections.max.idle.ms",
        Kind::Int(1000, I32),
        "600000",
        "A connection without a request for this long is closed.",
    ),
    setting(
        "request.read.timeout.ms",
        Kind::Int(100, I32),
        "30000",
        "A request that has begun must be complete after this long; a response must make progress within it. Not a Kafka setting.",
    ),
    setting(
        "fetch.max.bytes",
        Kind::Int(1024, I32),
        "57671680",
        "The most record bytes in one fetch response, whatever the client asks.",
    ),
    setting(
        "fetch.path",
        Kind::FetchPath,
        "auto",
        "How records get from the log to the socket: sendfile, mmap, splice, vectored, read-write, heap-cache, direct, or auto (sendfile, and splice for runs of 256 KiB and more). Not a Kafka setting.",
    ),
    setting(
        "fetch.buffer.bytes",
        Kind::Int(4096, 64 << 20),
        "65536",
        "The user-space buffer of the paths that copy. Not a Kafka setting.",
    ),
    setting(
        "fetch.cache.bytes",
        Kind::Int(65536, 1 << 40),
        "67108864",
        "The most that the heap-cache path keeps in the broker's memory. Not a Kafka setting.",
    ),
    setting(
        "fetch.pipe.bytes",
        Kind::Int(4096, 64 << 20),
        "1048576",
        "The pipe of the splice path. Not a Kafka setting.",
    ),
    setting(
        "max.partitions",
        Kind::Int(1, 1_000_000),
        "20000",
        "Partitions of all topics together. Not a Kafka setting.",
    ),
];

/// Settings with those that bound them, as in Kafka.
const BOUNDED: &[(&str, &str, &str)] = &[
    (
        "group.consumer.session.timeout.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.max.session.timeout.ms",
    ),
    (
        "group.consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
];

/// A setting that can't be used, with the place it came from.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such setting.
    #[error("{place}: there is no setting '{name}'{hint}")]
    Unknown {
        /// File and line, or the flag.
        place: String,
        /// As given.
        name: String,
        /// A similar name, or where to look.
        hint: String,
    },
    /// A value out of range or of another type.
    #[error("{place}: {name} = {value}: {problem}")]
    Invalid {
        /// File and line, or the flag.
        place: String,
        /// The setting.
        name: String,
        /// As given.
        value: String,
        /// What is expected.
        problem: String,
    },
    /// A line that is no `key=value`.
    #[error("{place}: expected key=value, found '{text}'")]
    NotAPair {
        /// File and line, or the flag.
        place: String,
        /// As given.
        text: String,
    },
    /// The file can't be read.
    #[error("can't read the configuration file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A setting without a default was not given.
    #[error("{name} is not set: give {remedy}")]
    Missing {
        /// The setting.
        name: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

/// The effective settings.
#[derive(Debug, Clone)]
pub struct Config {
    values: BTreeMap<&'static str, String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            values: SETTINGS.iter().map(|s| (s.name, s.default.to_owned())).collect(),
        }
    }
}

impl Config {
    /// Reads a file in Kafka's properties format over what is set already.
    pub fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File {
            path: path.to_owned(),
            source,
        })?;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with(['#', '!']) {
                self.set_pair(line, &format!("{}:{}", path.display(), index + 1))?;
            }
        }
        Ok(())
    }

    /// Sets one `key=value`; `place` is named in errors.
    pub fn set_pair(&mut self, pair: &str, place: &str) -> Result<(), ConfigError> {
        match pair.split_once('=') {
            Some((name, value)) => self.set(name.trim(), value.trim(), place),
            None => Err(ConfigError::NotAPair {
                place: place.to_owned(),
                text: pair.to_owned(),
            }),
        }
    }

    /// Sets one value; `place` is named in errors.
    pub fn set(&mut self, name: &str, value: &str, place: &str) -> Result<(), ConfigError> {
        let Some(setting) = SETTINGS.iter().find(|s| s.name == name) else {
            let known = SETTINGS.iter().find(|s| s.name.contains(name) || name.contains(s.name));
            let hint = known.map_or("; see `assay broker --help` for all".to_owned(), |s| {
                format!("; did you mean {}?", s.name)
            });
            return Err(ConfigError::Unknown {
                place: place.to_owned(),
                name: name.to_owned(),
                hint,
            });
        };
        check(setting.kind, value).map_err(|problem| ConfigError::Invalid {
            place: place.to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            problem,
        })?;
        self.values.insert(setting.name, value.to_owned());
        Ok(())
    }

    /// Fails when a setting without a default is missing, or one is beyond the bound that another gives it.
    pub fn complete(self) -> Result<Self, ConfigError> {
        if self.text("log.dirs").is_empty() {
            return Err(ConfigError::Missing {
                name: "log.dirs",
                remedy: "--data-dir FOLDER",
            });
        }
        for (name, least, most) in BOUNDED {
            let range = self.int(least)..=self.int(most);
            if !range.contains(&self.int(name)) {
                let (start, end) = (range.start(), range.end());
                return Err(ConfigError::Invalid {
                    place: "the settings together".to_owned(),
                    name: (*name).to_owned(),
                    value: self.text(name).to_owned(),
                    problem: format!("{least} is {start} and {most} is {end}"),
                });
            }
        }
        Ok(self)
    }

    /// The text of a setting of the table.
    pub fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// An integer setting.
    pub fn int(&self, name: &str) -> i64 {
        self.text(name).parse().expect("checked when it was set")
    }

    /// An integer setting that is not negative, as a size.
    pub fn size(&self, name: &str) -> usize {
        usize::try_from(self.int(name)).unwrap_or(0)
    }

    /// A boolean setting.
    pub fn bool(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// The address to listen on.
    pub fn listener(&self) -> SocketAddr {
        parse_listener(self.text("listeners")).expect("checked when it was set")
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.text("log.dirs"))
    }

    /// The path of fetch responses.
    pub fn fetch_path(&self) -> FetchPath {
        self.text("fetch.path").parse().expect("checked when it was set")
    }

    /// When the log is flushed.
    pub fn flush_policy(&self) -> FlushPolicy {
        let policies = FlushPolicy::ALL.iter();
        let mut named = policies.filter(|(_, name)| *name == self.text("flush.policy"));
        named.next().expect("checked when it was set").0
    }

    /// How the shared log is written, with `log.layout=commit-log`.
    pub fn commit_log(&self) -> Option<Options> {
        if self.text("log.layout") != "commit-log" {
            return None;
        }
        let mut kinds = EntryKind::ALL.iter();
        let kind = kinds.find(|(_, name)| *name == self.text("commit.log.entries"));
        let limits = Limits {
            segment_bytes: self.int("log.segment.bytes") as u64,
            flush: self.flush_policy(),
            preallocate: self.bool("log.preallocate"),
            producers_max: self.size("producer.ids.per.partition.max"),
            ..Limits::default()
        };
        Some(Options::new(limits, kind.expect("checked when it was set").0))
    }

    /// Every setting and its effective value, in the order of the table.
    pub fn effective(&self) -> impl Iterator<Item = (&'static Setting, &str)> {
        SETTINGS.iter().map(|s| (s, self.text(s.name)))
    }
}

fn parse_listener(text: &str) -> Result<SocketAddr, String> {
    let address = text
        .strip_prefix("PLAINTEXT://")
        .ok_or("expected PLAINTEXT://ip:port, TLS is not served")?;
    address
        .parse()
        .map_err(|_| format!("'{address}' is no ip:port (names are not looked up)"))
}

fn check(kind: Kind, value: &str) -> Result<(), String> {
    match kind {
        Kind::Bool => matches!(value, "true" | "false")
            .then_some(())
            .ok_or("expected true or false".into()),
        Kind::Int(min, max) => match value.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(()),
            _ => Err(format!("expected an integer from {min} to {max}")),
        },
        Kind::Listener => parse_listener(value).map(drop),
        Kind::Dir if value.is_empty() => Err("expected a folder".into()),
        Kind::Dir if value.contains(',') => Err("one folder only; several log folders are not supported".into()),
        Kind::Dir => Ok(()),
        Kind::FetchPath => value.parse::<FetchPath>().map(drop),
        Kind::OneOf(words) if words.contains(&value) => Ok(()),
        Kind::OneOf(words) => Err(format!("expected one of {}", words.join(", "))),
        Kind::ListOf(words) if value.split(',').all(|word| words.contains(&word.trim())) => Ok(()),
        Kind::ListOf(words) => Err(format!("expected some of {}, with commas", words.join(", "))),
        Kind::Share => match value.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(()),
            _ => Err("expected a number from 0 to 1".into()),
        },
        Kind::CongestionControl
            if value.len() < 16 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') =>
        {
            Ok(())
        }
        Kind::CongestionControl => Err("expected a name such as reno, cubic or bbr".into()),
    }
}

/// The table of settings for `--help`.
pub fn help() -> String {
    let rows = SETTINGS.iter().map(|s| {
        let default = if s.default.is_empty() {
            String::new()
        } else {
            format!(" [{}]", s.default)
        };
        format!("  {}{default}\n      {}\n", s.name, s.doc)
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        for s in SETTINGS.iter().filter(|s| s.name != "log.dirs") {
            assert_eq!(check(s.kind, s.default), Ok(()), "{}", s.name);
        }
    }

    #[test]
    fn errors_name_the_place() {
        let mut config = Config::default();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.properties");
        for (line, expected) in [
            ("segment.bytes=1", "did you mean log.segment.bytes"),
            ("num.partitions=0", "expected an integer from 1"),
            ("fetch.path=teleport", "expected one of sendfile, mmap"),
            ("listeners=SSL://127.0.0.1:1", "TLS is not served"),
            ("nonsense", "expected key=value"),
        ] {
            std::fs::write(&file, format!("# a comment\n\n{line}\n")).unwrap();
            let message = config.read_file(&file).unwrap_err().to_string();
            assert!(
                message.contains("server.properties:3") && message.contains(expected),
                "{message}"
            );
        }
        assert!(config.complete().is_err());
        let mut config = Config::default();
        config.set("log.dirs", "/tmp/data", "test").unwrap();
        config.set("group.consumer.session.timeout.ms", "3000", "test").unwrap();
        let error = config.clone().complete().unwrap_err().to_string();
        assert!(
            error.contains("group.consumer.min.session.timeout.ms is 45000"),
            "{error}"
        );
        config
            .set("group.consumer.min.session.timeout.ms", "3000", "test")
            .unwrap();
        config.complete().unwrap();
    }
}
