//! Clients on raw blocking sockets, cheap enough that the broker is the limit: they speak Kafka's protocol through `kafka-wire`, decode
//! nothing that a check does not need, and allocate nothing per response.
//!
//! [`preload`] stores batches of one exact size, [`fetch`] drains them, [`verify`] checks every byte once, and [`bare`] moves the same
//! file without a protocol: the physical limit. They serve one partition on one connection; none of them is a client for
//! applications.

pub mod bare;
pub mod connection;
pub mod fetch;
mod intake;
pub mod phase;
pub mod preload;
#[cfg(test)]
mod tests;
pub mod verify;

pub use connection::Connection;
pub use intake::Receiver;
pub use phase::{Phase, PhaseResult};

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
    /// The broker refuses.
    #[error("{request} of topic `{topic}` was refused: error {code} ({name}){message}")]
    Refused {
        /// The request's name.
        request: &'static str,
        /// Topic.
        topic: String,
        /// Kafka's error code.
        code: i16,
        /// Its name, where it is known.
        name: String,
        /// The broker's own words, with a separator in front, or empty.
        message: String,
    },
    /// A response that does not carry what the index says lies there.
    #[error(
        "a fetch from offset {offset} carried {observed} record bytes where {expected} were due; the topic must be pre-loaded with this index \
         and lie in one segment"
    )]
    ResponseSize {
        /// Where the fetch began.
        offset: i64,
        /// Record bytes that the index says.
        expected: u64,
        /// Record bytes that came.
        observed: u64,
    },
    /// The pre-load did not get the dense offsets that it needs.
    #[error("batch {batch} got base offset {observed} where {expected} was due; pre-load into a topic of its own")]
    NotDense {
        /// Number of the batch, from 0.
        batch: u64,
        /// Offset that was due.
        expected: i64,
        /// Offset that the broker gave.
        observed: i64,
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
    fn socket(doing: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout { doing },
            io::ErrorKind::UnexpectedEof => Self::Closed { doing },
            _ => Self::Io { doing, source },
        }
    }

    /// An error code of a response.
    fn refused(request: &'static str, topic: &str, code: i16, message: Option<&str>) -> Self {
        let name =
            kafka_wire::ErrorCode::from_code(code).map_or_else(|| "unknown".to_owned(), |code| format!("{code:?}"));
        let message = message.map(|message| format!(": {message}")).unwrap_or_default();
        Self::Refused {
            request,
            topic: topic.to_owned(),
            code,
            name,
            message,
        }
    }
}
