//! The ledger workload: producers of dense sequences, and the reader that scans the whole log at the end.
//!
//! Every record names its producer, partition and sequence and carries a checksum, so that a ledger can account for each one.
//! A batch is repeated until it is acknowledged; what happened is written to a [`crate::history`] before anybody relies on it.
//! This module judges nothing.

mod connection;
mod identity;
mod producer;
mod reader;

use serde::{Deserialize, Serialize};

pub use connection::{ClientError, create_topic};
pub use identity::{Identity, RECORD_BYTES_MIN};
pub use producer::{Control, Producer, ProducerSpec};
pub use reader::{ReadError, Reader};

/// What the broker has to do before it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acks {
    /// `acks=1`: the leader has it.
    Leader,
    /// `acks=all`: all in-sync replicas have it. On one node this is the same as `Leader`.
    All,
}

impl Acks {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        match self {
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}
