//! What a load asks of a client: the native one, librdkafka, or one that a test plays.
//!
//! A client is driven by one thread. It has a bounded queue of its own, never blocks in [`Producing::send`], and works in
//! [`Producing::poll`] and [`Producing::flush`] only.

use crate::native::ClientError;
use crate::native::ledger::Ledger;
use serde::{Deserialize, Serialize};
use std::ops::Sub;

/// A record to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// Where, in the spread.
    pub place: usize,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: &'a [u8],
    /// Its time, ms since 1970.
    pub timestamp_ms: i64,
    /// What its acknowledgement is told by; given again when that has come.
    pub token: u64,
}

/// What became of a record that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// The client has it, and will tell what became of it, once.
    Taken,
    /// The send queue is full: the caller keeps the record, with its intended time, until a poll has made room.
    Full,
}

/// One batch that was acknowledged or failed; or one record, of a client that only tells those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered<'a> {
    /// Its records, in their order.
    pub tokens: &'a [u64],
    /// Where, in the spread.
    pub place: usize,
    /// Offset of the first one; `None` with acks=0, and where it is not told.
    pub base_offset: Option<i64>,
    /// When the request was handed to the system; `None` where the client can't tell, and for a record that was never sent.
    pub sent_ns: Option<u64>,
    /// When the acknowledgement, or the failure, was known.
    pub acked_ns: u64,
    /// Why it failed, in few words without figures, as failures are counted by them.
    pub error: Option<&'a str>,
}

/// A client that produces.
pub trait Producing {
    /// Takes a record into the send queue.
    ///
    /// # Errors
    /// The client is of no use any more. What happens to single records is told by [`Delivered::error`].
    fn send(&mut self, record: Outgoing<'_>) -> Result<Handed, ClientError>;

    /// Lets I/O go on until `until_ns` ([`super::clock::now_ns`]) at the latest; earlier when a record may be taken again or something was
    /// told. With a time that is over, it does what there is to do and does not wait.
    ///
    /// # Errors
    /// As [`Self::send`].
    fn poll(&mut self, until_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError>;

    /// Sends what lingers and waits until everything is acknowledged. What is not by `until_ns` is told as failed: afterwards the client
    /// has no record.
    ///
    /// # Errors
    /// As [`Self::send`].
    fn flush(&mut self, until_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError>;

    /// What it has done since it connected.
    fn counts(&self) -> ClientCounts;

    /// What was acknowledged since it connected, down to the checksum of each partition; `None` of a client that does not see its own
    /// batches, and with acks=0.
    fn ledger(&self) -> Option<&Ledger> {
        None
    }
}

/// What a client has done. What it does not know stays 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCounts {
    /// Requests sent.
    pub requests: u64,
    /// Batches sent; a batch that is sent twice counts twice.
    pub batches: u64,
    /// Bytes of requests.
    pub wire_bytes: u64,
    /// Bytes of the batches in them, as they are stored.
    pub batch_bytes: u64,
    /// Bytes of these batches before compression.
    pub raw_bytes: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Requests, or batches of them, that were answered with an error or not at all.
    pub errors: u64,
    /// Connections that had to be made anew.
    pub reconnects: u64,
    /// send calls.
    pub send_calls: u64,
    /// recv calls.
    pub receive_calls: u64,
}

impl Sub for ClientCounts {
    type Output = Self;

    /// What was done since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            batches: self.batches.saturating_sub(earlier.batches),
            wire_bytes: self.wire_bytes.saturating_sub(earlier.wire_bytes),
            batch_bytes: self.batch_bytes.saturating_sub(earlier.batch_bytes),
            raw_bytes: self.raw_bytes.saturating_sub(earlier.raw_bytes),
            retries: self.retries.saturating_sub(earlier.retries),
            errors: self.errors.saturating_sub(earlier.errors),
            reconnects: self.reconnects.saturating_sub(earlier.reconnects),
            send_calls: self.send_calls.saturating_sub(earlier.send_calls),
            receive_calls: self.receive_calls.saturating_sub(earlier.receive_calls),
        }
    }
}
