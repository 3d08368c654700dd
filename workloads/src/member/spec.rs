//! What a member of a consumer group is told: by its spec before it begins, and by commands while it works.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::history::PARTITIONS_PER_TOPIC;

/// How a group comes to agree on who reads what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupProtocol {
    /// Classic protocol, eager: everybody gives everything back; a range of each topic's partitions.
    Range,
    /// Classic protocol, eager: everybody gives everything back; partitions are dealt out in turn.
    Roundrobin,
    /// Classic protocol, incremental: only what moves is given back.
    CooperativeSticky,
    /// KIP-848: the broker assigns, members reconcile one by one.
    Consumer,
}

impl GroupProtocol {
    /// Every protocol there is.
    pub const ALL: [GroupProtocol; 4] = [
        GroupProtocol::Range,
        GroupProtocol::Roundrobin,
        GroupProtocol::CooperativeSticky,
        GroupProtocol::Consumer,
    ];

    /// Its name: for the classic ones that of the assignor.
    pub fn name(self) -> &'static str {
        match self {
            GroupProtocol::Range => "range",
            GroupProtocol::Roundrobin => "roundrobin",
            GroupProtocol::CooperativeSticky => "cooperative-sticky",
            GroupProtocol::Consumer => "consumer",
        }
    }
}

/// When a member commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Commits {
    /// The default of clients. With librdkafka an offset is stored as soon as its record is handed over, and committed in the client's own
    /// time; with Java's client a poll commits what the poll before handed over.
    AutoAtHandOver,
    /// Stored when a record is processed, and committed in the client's own time.
    AutoAfterProcessing,
    /// After each record, waiting for the answer.
    SyncPerRecord,
    /// After each batch, waiting for the answer.
    SyncPerBatch,
    /// After each batch, without waiting.
    AsyncPerBatch,
    /// Before a batch is processed, waiting for the answer: at most once.
    BeforeProcessing,
}

impl Commits {
    /// Every policy there is.
    pub const ALL: [Commits; 6] = [
        Commits::AutoAtHandOver,
        Commits::AutoAfterProcessing,
        Commits::SyncPerRecord,
        Commits::SyncPerBatch,
        Commits::AsyncPerBatch,
        Commits::BeforeProcessing,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Commits::AutoAtHandOver => "auto-at-hand-over",
            Commits::AutoAfterProcessing => "auto-after-processing",
            Commits::SyncPerRecord => "sync-per-record",
            Commits::SyncPerBatch => "sync-per-batch",
            Commits::AsyncPerBatch => "async-per-batch",
            Commits::BeforeProcessing => "before-processing",
        }
    }

    /// Whether the client commits in its own time.
    pub fn is_auto(self) -> bool {
        matches!(self, Commits::AutoAtHandOver | Commits::AutoAfterProcessing)
    }

    /// Whether a record is committed only when it is processed.
    pub fn follows_processing(self) -> bool {
        !matches!(self, Commits::AutoAtHandOver | Commits::BeforeProcessing)
    }
}

/// Whose client a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberClient {
    /// That of `assay worker`.
    #[default]
    Librdkafka,
    /// Kafka's own, in a JVM; see [`super::JAVA_SOURCES`].
    Java,
}

impl MemberClient {
    /// Every client there is.
    pub const ALL: [MemberClient; 2] = [MemberClient::Librdkafka, MemberClient::Java];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            MemberClient::Librdkafka => "librdkafka",
            MemberClient::Java => "java",
        }
    }

    /// What it can't do, and what to do instead.
    pub fn refusal(self, commits: Commits, handler_threads: u32) -> Option<(&'static str, &'static str)> {
        match self {
            MemberClient::Librdkafka => None,
            MemberClient::Java if commits == Commits::AutoAfterProcessing => Some((
                "Java's client has one way to commit by itself and can't be told what is processed",
                "take auto-at-hand-over: it commits with a poll what the poll before handed over, which is processed by then",
            )),
            MemberClient::Java if handler_threads > 0 => Some((
                "members with Java's client handle records between two polls",
                "set the handler's threads to 0, or take librdkafka",
            )),
            MemberClient::Java => None,
        }
    }
}

/// What the application does with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HandlerSpec {
    /// Time that each record takes, us.
    pub per_record_us: u64,
    /// Time that each batch takes besides, us.
    pub per_batch_us: u64,
    /// Whether that time is spent on the CPU instead of waiting.
    pub burns: bool,
    /// Threads that handle records while the member goes on polling, with partitions in hand paused; 0 handles between two polls.
    pub threads: u32,
}

/// Times of a member, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberTimes {
    /// `session.timeout.ms`; of the classic protocol, as KIP-848 leaves it to the broker.
    pub session_timeout_ms: u32,
    /// `heartbeat.interval.ms`; of the classic protocol.
    pub heartbeat_interval_ms: u32,
    /// `max.poll.interval.ms`.
    pub max_poll_interval_ms: u32,
    /// `auto.commit.interval.ms`.
    pub auto_commit_interval_ms: u32,
    /// `topic.metadata.refresh.interval.ms`: how soon a client notices new partitions by itself.
    pub metadata_refresh_ms: u32,
}

/// A bug that a member can be started with, so that a checker can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberBug {
    /// It commits what it has not processed yet, whatever its policy says.
    CommitBeforeProcessing,
}

/// One member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberSpec {
    /// Its number in the run, from 1.
    pub member: u32,
    /// Which consumer it is: one that is started again is another member of the same slot.
    pub slot: u32,
    /// `group.id`.
    pub group: String,
    /// `group.instance.id`, for static membership.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// The workload's topics, in the order that partitions in the history are numbered by.
    pub topics: Vec<String>,
    /// What it subscribes to: names, or patterns that begin with `^`.
    pub subscription: Vec<String>,
    /// Whose client it is.
    #[serde(default)]
    pub client: MemberClient,
    /// How the group agrees.
    pub protocol: GroupProtocol,
    /// `group.remote.assignor` of KIP-848; the broker chooses where there is none.
    #[serde(default)]
    pub remote_assignor: Option<String>,
    /// Its times.
    pub times: MemberTimes,
    /// Records that it hands to the handler at once. librdkafka has no `max.poll.records`: so many are collected, then none is polled while
    /// they are handled. Java's client has it.
    pub max_poll_records: u32,
    /// What it does with them.
    pub handler: HandlerSpec,
    /// When it commits.
    pub commits: Commits,
    /// A planted bug.
    #[serde(default)]
    pub planted: Option<MemberBug>,
    /// Its history, which must not exist.
    pub history: PathBuf,
}

impl MemberSpec {
    /// When it really commits.
    pub(super) fn effective_commits(&self) -> Commits {
        match self.planted {
            Some(MemberBug::CommitBeforeProcessing) => Commits::BeforeProcessing,
            None => self.commits,
        }
    }

    /// Number of a partition in the history; `None` for a topic that is none of the workload's.
    pub(super) fn number_of(&self, topic: &[u8], partition: i32) -> Option<u32> {
        let index = self.topics.iter().position(|name| name.as_bytes() == topic)?;
        Some(u32::try_from(index).ok()? * PARTITIONS_PER_TOPIC + u32::try_from(partition).ok()?)
    }

    /// Topic and partition of a number in the history.
    pub(super) fn place_of(&self, number: u32) -> (&str, i32) {
        let index = (number / PARTITIONS_PER_TOPIC) as usize;
        let partition = i32::try_from(number % PARTITIONS_PER_TOPIC).unwrap_or(i32::MAX);
        (self.topics.get(index).map_or("", String::as_str), partition)
    }

    /// Its properties, in librdkafka's names.
    pub(super) fn properties(&self) -> Vec<(&'static str, String)> {
        let (times, commits) = (&self.times, self.effective_commits());
        let mut pairs = vec![
            ("client.id", format!("assay-member-{}", self.member)),
            ("group.id", self.group.clone()),
            ("auto.offset.reset", "earliest".to_owned()),
            ("enable.auto.commit", commits.is_auto().to_string()),
            ("auto.commit.interval.ms", times.auto_commit_interval_ms.to_string()),
            (
                "enable.auto.offset.store",
                (commits == Commits::AutoAtHandOver).to_string(),
            ),
            ("max.poll.interval.ms", times.max_poll_interval_ms.to_string()),
            (
                "topic.metadata.refresh.interval.ms",
                times.metadata_refresh_ms.to_string(),
            ),
            ("allow.auto.create.topics", "false".to_owned()),
            ("fetch.wait.max.ms", "100".to_owned()),
            // Its default of 1 s looks like a stall whenever the application falls behind.
            ("fetch.queue.backoff.ms", "1".to_owned()),
            ("fetch.error.backoff.ms", "100".to_owned()),
        ];
        if let Some(id) = &self.instance_id {
            pairs.push(("group.instance.id", id.clone()));
        }
        if self.protocol == GroupProtocol::Consumer {
            // The other times are the broker's, and errors here.
            pairs.push(("group.protocol", "consumer".to_owned()));
            if let Some(assignor) = &self.remote_assignor {
                pairs.push(("group.remote.assignor", assignor.clone()));
            }
        } else {
            pairs.push(("group.protocol", "classic".to_owned()));
            pairs.push(("partition.assignment.strategy", self.protocol.name().to_owned()));
            pairs.push(("session.timeout.ms", times.session_timeout_ms.to_string()));
            pairs.push(("heartbeat.interval.ms", times.heartbeat_interval_ms.to_string()));
        }
        pairs
    }
}

/// Something that a member is to do from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum MemberOrder {
    /// Leave the group and close, once the batch in hand is done.
    Leave,
    /// Subscribe to something else.
    Subscribe {
        /// Names, or patterns that begin with `^`.
        topics: Vec<String>,
    },
    /// Handle in another way; the number of threads stays.
    Handler {
        /// How.
        handler: HandlerSpec,
    },
    /// Be stuck once, with the next batch.
    Stick {
        /// How long.
        for_ms: u64,
    },
}

/// One line on stdin of a process with members, after `go`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberCommand {
    /// To whom.
    pub member: u32,
    /// What.
    #[serde(flatten)]
    pub order: MemberOrder,
}

/// What a member tells besides its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberNote {
    /// Who.
    pub member: u32,
    /// What.
    pub told: MemberTold,
}

/// The kinds of notes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberTold {
    /// It has carried out what a rebalance asked, or learned of another generation.
    Rebalanced {
        /// Generation or member epoch.
        epoch: i32,
        /// Partitions that it holds.
        partitions: u32,
    },
    /// How far it is, about five times a second while something happens.
    Counts {
        /// Records handed over.
        polled: u64,
        /// Records processed.
        processed: u64,
        /// Partitions (as in the history) whose next record to process moved since the last note, and where that is.
        positions: Vec<(u32, i64)>,
    },
    /// Its client told that something is wrong.
    Failed {
        /// A code of Kafka, or a negative one of librdkafka.
        code: i32,
        /// It can't go on.
        is_fatal: bool,
        /// In words.
        message: String,
    },
    /// It was stuck, as it was ordered.
    Stuck {
        /// How long, ms.
        for_ms: u64,
    },
    /// It has subscribed to something else.
    Subscribed,
    /// It has closed.
    Left,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(protocol: GroupProtocol, commits: Commits) -> MemberSpec {
        MemberSpec {
            member: 3,
            slot: 1,
            group: "g".to_owned(),
            instance_id: Some("g-1".to_owned()),
            topics: vec!["a".to_owned(), "b".to_owned()],
            subscription: vec!["a".to_owned()],
            client: MemberClient::Librdkafka,
            protocol,
            remote_assignor: None,
            times: MemberTimes {
                session_timeout_ms: 3_000,
                heartbeat_interval_ms: 500,
                max_poll_interval_ms: 4_000,
                auto_commit_interval_ms: 1_000,
                metadata_refresh_ms: 500,
            },
            max_poll_records: 500,
            handler: HandlerSpec::default(),
            commits,
            planted: None,
            history: PathBuf::from("member-3.bin"),
        }
    }

    #[test]
    fn what_the_broker_decides_is_left_out_with_kip_848() {
        let names = |protocol| -> Vec<&str> {
            let pairs = spec(protocol, Commits::SyncPerBatch).properties();
            pairs.iter().map(|pair| pair.0).collect()
        };
        for brokers in [
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "partition.assignment.strategy",
        ] {
            assert!(names(GroupProtocol::Range).contains(&brokers));
            assert!(!names(GroupProtocol::Consumer).contains(&brokers));
        }
    }

    #[test]
    fn only_the_default_stores_offsets_at_the_hand_over() {
        for commits in Commits::ALL {
            let pairs = spec(GroupProtocol::Range, commits).properties();
            let stores = pairs.contains(&("enable.auto.offset.store", "true".to_owned()));
            assert_eq!(stores, commits == Commits::AutoAtHandOver);
            assert!(pairs.contains(&("enable.auto.commit", commits.is_auto().to_string())));
        }
    }

    #[test]
    fn the_java_client_refuses_what_it_can_not_do() {
        let refuses = |commits, threads| MemberClient::Java.refusal(commits, threads).is_some();
        for commits in Commits::ALL {
            assert_eq!(refuses(commits, 0), commits == Commits::AutoAfterProcessing);
            assert!(refuses(commits, 1));
            assert_eq!(MemberClient::Librdkafka.refusal(commits, 1), None);
        }
    }

    #[test]
    fn partitions_are_numbered_by_topic_and_back() {
        let spec = spec(GroupProtocol::Range, Commits::SyncPerBatch);
        let number = spec.number_of(b"b", 7).unwrap();
        assert_eq!(number, PARTITIONS_PER_TOPIC + 7);
        assert_eq!(spec.place_of(number), ("b", 7));
        assert_eq!(spec.number_of(b"c", 7), None);
    }

    #[test]
    fn commands_and_notes_are_lines_that_read_back() {
        let command = MemberCommand {
            member: 2,
            order: MemberOrder::Stick { for_ms: 9 },
        };
        let line = serde_json::to_string(&command).unwrap();
        assert_eq!(line, r#"{"member":2,"do":"stick","for_ms":9}"#);
        assert_eq!(serde_json::from_str::<MemberCommand>(&line).unwrap(), command);
        for name in Commits::ALL {
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("{:?}", name.name()));
        }
        for name in MemberClient::ALL {
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("{:?}", name.name()));
        }
        for name in GroupProtocol::ALL {
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("{:?}", name.name()));
        }
    }
}
