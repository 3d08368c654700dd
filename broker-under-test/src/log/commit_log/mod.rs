//! The layout `commit-log`, RocketMQ's: the batches of all partitions are appended to one shared log, and each partition has a consume queue that says
//! where its batches are.
//!
//! | in the data folder | what it is |
//! | --- | --- |
//! | `commitlog/00000000000000000000.log`, … | segments of the log, named by the position of their first byte in all of it; one ends where the next begins |
//! | `commitlog/checkpoint` | up to where the log and the queues are on the device, see [`checkpoint`] |
//! | `commitlog/producers.snapshot` | what is known of idempotent producers, see [`producers`] |
//! | `consumequeue/orders-0/00000000000000000000`, … | files of a queue, named by the position of their first byte in all of it; see [`queue`] |
//!
//! **The log is the truth.** It is a row of frames (32 bytes that name topic and partition, see [`frame`], and the batch as it came but for base offset
//! and leader epoch). Queues are written late, in groups, and are not flushed in front of an acknowledgement: what they lack after a crash is made again
//! from the frames behind the checkpoint, and a queue that is missing from all frames.
//!
//! **One lock** gives out base offset and position and writes. Under `flush.policy=every-batch` one flush serves every partition that waits, as
//! [`GroupCommit`](super::GroupCommit) counts in positions of the shared log; the high watermarks of all partitions in it move then. A flush that failed,
//! or a write that failed and can't be cut off again, takes the log of the whole broker offline: appends to all partitions are refused, reads go on.
//!
//! **Reads gather.** Batches of a partition lie where they came, so each is a run of its own in what a read finds (a frame header lies between two
//! neighbours at least), at most [`SLICES_MAX`] of them.
//!
//! **Retention is by segment of the shared log** (`log.retention.bytes` and `log.retention.ms` for all of it; topics have no say). Partitions begin with
//! their first batch that is left. DeleteRecords only moves a partition's start; deleting a topic removes its queues, and its batches stay until
//! their segments go. Topics whose names begin with `__` are never in here: retention would delete what must be kept.

pub mod checkpoint;
mod durable;
mod entry;
pub mod frame;
mod lookup;
mod partition;
mod producers;
pub mod queue;
mod queue_files;
mod recovery;
mod retention;
mod scan;
mod segments;
mod shared;

pub use entry::EntryKind;
pub use partition::SLICES_MAX;
pub use shared::{CommitLog, Known, Options};
