//! Clients on raw blocking sockets, cheap enough that the broker is the limit: they speak Kafka's protocol through `kafka-wire`, decode
//! nothing that a check does not need, and allocate nothing per response.
//!
//! [`preload`] stores batches of one exact size, [`fetch`] drains them, [`follow`] reads all partitions with one request at a time, [`look_up`]
//! finds places among them, [`produce`] stores batches for a while, [`verify`] checks every byte once, [`admin`] does what has to be done around
//! that, and [`bare`] and [`bare_produce`] move the same bytes without a broker: the physical limit. They use
//! one thread and, unless it is said otherwise, a connection per leader; none of them is a client for applications.

pub mod admin;
pub mod bare;
pub mod bare_produce;
pub mod batches;
pub mod connection;
pub mod endpoint;
pub mod fetch;
pub mod follow;
mod intake;
pub mod ledger;
pub mod look_up;
pub mod phase;
pub(crate) mod poller;
pub mod preload;
pub mod produce;
mod sasl;
#[cfg(feature = "tls")]
mod scram;
pub mod security;
pub mod spread;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
#[cfg(test)]
#[cfg(feature = "tls")]
mod tls_tests;
pub mod verify;

pub use admin::{Admin, NewTopic};
pub use connection::Connection;
pub use endpoint::{Bootstrap, Endpoint};
pub use intake::Receiver;
pub use phase::{Phase, PhaseResult};
pub use security::{Sasl, SaslMechanism, Security, Tls};
pub use spread::Spread;

use kafka_wire::ErrorCode;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a native client stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the address.
    #[error("can't connect to {address}: {source}; is the broker running and is the port right?")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The name of a broker has no address.
    #[error(
        "can't find {endpoint}: {source}; is the name right, and can this machine resolve what the broker advertises?"
    )]
    Resolve {
        /// Which broker.
        endpoint: Endpoint,
        /// What the system says.
        source: io::Error,
    },
    /// No TLS session comes about.
    #[error("no TLS with {endpoint}: {message}")]
    Tls {
        /// Which broker.
        endpoint: Endpoint,
        /// Why, and what to do.
        message: String,
    },
    /// The broker does not take the name and password.
    #[error("SASL {mechanism} with {endpoint} failed: {message}")]
    Sasl {
        /// Which broker.
        endpoint: Endpoint,
        /// The mechanism.
        mechanism: SaslMechanism,
        /// Why, and what to do.
        message: String,
    },
    /// A broker that closes the connection, or answers in other bytes, at the first question.
    #[error(
        "{endpoint} does not answer Kafka's protocol over {protocol}: does its listener want another security.protocol?"
    )]
    Protocol {
        /// Which broker.
        endpoint: Endpoint,
        /// Kafka's name of what was tried.
        protocol: &'static str,
    },
    /// The connection broke.
    #[error("while {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// No byte came for as long as the connection waits.
    #[error("while {doing}: no answer within the time limit of the connection")]
    Timeout {
        /// What was being done.
        doing: &'static str,
    },
    /// The peer closed the connection.
    #[error("while {doing}: the peer closed the connection; its log says why")]
    Closed {
        /// What was being done.
        doing: &'static str,
    },
    /// Bytes that are no valid response.
    #[error("an answer of the peer can't be read: {0}")]
    Wire(#[from] kafka_wire::WireError),
    /// An answer to another question.
    #[error("answer {observed} came where answer {expected} was due")]
    Correlation {
        /// Correlation id that was due.
        expected: i32,
        /// Correlation id that came.
        observed: i32,
    },
    /// An answer to no question.
    #[error("answer {0} came where none was due")]
    Unasked(i32),
    /// The broker refuses.
    #[error("{request} of {of} was refused: error {code} ({name}){message}{remedy}")]
    Refused {
        /// The request's name.
        request: &'static str,
        /// Topic and partition, or broker.
        of: String,
        /// Kafka's error code.
        code: i16,
        /// Its name, where it is known.
        name: String,
        /// The broker's own words, with a separator in front, or empty.
        message: String,
        /// What to do, with a separator in front, or empty.
        remedy: &'static str,
    },
    /// A response that does not carry what the index says lies there.
    #[error(
        "a fetch of partition {partition} from offset {offset} carried {observed} record bytes where {expected} were due; the topic must be pre-loaded with this index \
         and lie in one segment"
    )]
    ResponseSize {
        /// Partition.
        partition: i32,
        /// Where the fetch began.
        offset: i64,
        /// Record bytes that the index says.
        expected: u64,
        /// Record bytes that came.
        observed: u64,
    },
    /// The pre-load did not get the dense offsets that it needs.
    #[error(
        "batch {batch} of partition {partition} got base offset {observed} where {expected} was due; pre-load into a topic of its own"
    )]
    NotDense {
        /// Partition.
        partition: i32,
        /// Number of the batch in it, from 0.
        batch: u64,
        /// Offset that was due.
        expected: i64,
        /// Offset that the broker gave.
        observed: i64,
    },
    /// Batches that are not those that lie there, or not in their order.
    #[error("what came of topic `{topic}`, partition {partition}, is not what lies there: {what}")]
    Misread {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// What came and what was due.
        what: String,
    },
    /// librdkafka can't go on.
    #[error("librdkafka, while {doing}: {message}")]
    Librdkafka {
        /// What was being done.
        doing: &'static str,
        /// What it says, and what to do.
        message: String,
    },
    /// A figure that cannot work.
    #[error("{0}")]
    Spec(String),
    /// A file of the run cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The payload gives no records.
    #[error(transparent)]
    Payload(#[from] crate::payload::PayloadError),
}

impl ClientError {
    /// Sorts an error of a socket into a timeout, a close, or the rest.
    pub(crate) fn socket(doing: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout { doing },
            io::ErrorKind::UnexpectedEof => Self::Closed { doing },
            _ => Self::Io { doing, source },
        }
    }

    /// An error code of a response, for a topic or one partition of it.
    pub(crate) fn refused(
        request: &'static str,
        topic: &str,
        partition: Option<i32>,
        code: i16,
        message: Option<&str>,
    ) -> Self {
        let partition = partition
            .map(|number| format!(", partition {number},"))
            .unwrap_or_default();
        Self::refused_of(request, format!("topic `{topic}`{partition}"), code, message)
    }

    /// An error code of a response.
    pub(crate) fn refused_of(request: &'static str, of: String, code: i16, message: Option<&str>) -> Self {
        let known = ErrorCode::from_code(code);
        let name = known.map_or_else(|| "unknown".to_owned(), |code| format!("{code:?}"));
        let message = message.map(|message| format!(": {message}")).unwrap_or_default();
        let remedy = known.map(remedy).unwrap_or_default();
        Self::Refused {
            request,
            of,
            code,
            name,
            message,
            remedy,
        }
    }
}

/// What to do about an error code, with a separator in front; empty where the name says it.
fn remedy(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch => {
            "; the partition has another leader by now: keep the cluster still while it is measured"
        }
        ErrorCode::LeaderNotAvailable => "; wait until the partition has a leader, or look for brokers that are down",
        ErrorCode::UnknownTopicOrPartition => "; create the topic with as many partitions first",
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
            "; choose smaller batches, or raise message.max.bytes of the broker or max.message.bytes of the topic"
        }
        ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
            "; start the brokers that are down, or lower min.insync.replicas"
        }
        ErrorCode::RequestTimedOut => {
            "; the broker or its replicas are too slow: lower the load, or look at their logs"
        }
        ErrorCode::InvalidTimestamp => "; set the clocks right, or message.timestamp.after.max.ms of the topic",
        ErrorCode::InvalidReplicationFactor => "; ask for at most as many replicas as there are brokers",
        ErrorCode::TopicAlreadyExists => "; choose another name, or delete it",
        ErrorCode::TopicAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed => {
            "; give the user the right to do so"
        }
        ErrorCode::KafkaStorageError => "; look at the broker's log and its disk",
        ErrorCode::UnsupportedVersion => "; this broker is too old or too new for this client",
        _ => "",
    }
}
