//! Bytes and clients that mean harm: an error or a closed connection, bounded memory, never a panic.
//!
//! A program of its own, because its allocator counts what the whole process holds; one storm at a time for the same
//! reason.

/// The layout that brokers are started with.
#[cfg(test)]
const LAYOUT: &str = "partition-log";

#[cfg(test)]
mod clients;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod memory;
#[cfg(test)]
#[expect(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/samples.rs"]
mod samples;
#[cfg(test)]
mod storm;
#[cfg(test)]
#[expect(dead_code, reason = "the other tests use the rest of it")]
#[path = "../it/support.rs"]
mod support;
