//! The one place for Kafka's bytes on the wire: frames, bounded decoding, record batches, CRC-32C.
//!
//! Broker, native client and proxy share it. Nothing in here does I/O, and nothing allocates because a
//! length on the wire asked for it: every length is held against the bytes that are really there first.
//!
//! What it leaves to the `kafka-protocol` crate: the bodies of control messages (Metadata, CreateTopics, …).
//! [`schema::check_request`] walks such a body before that crate may decode it.

// This crate itself would build elsewhere. It says so for all that stand on it, as it is built before them and they would drown the
// one sentence that matters in errors about missing system calls.
#[cfg(not(target_os = "linux"))]
compile_error!(
    "Assay runs on Linux only: it measures sendfile, splice, mincore and /proc, which other systems do not have."
);

pub mod admin;
pub mod api;
pub mod batch;
pub mod builder;
pub mod codec;
pub mod crc;
pub mod cursor;
pub mod encode;
pub mod fetch;
pub mod frame;
pub mod produce;
pub mod record;
pub mod sasl;
pub mod schema;

pub use api::{ApiKey, ErrorCode};
pub use batch::{BatchError, BatchHeader, BatchIter};
pub use builder::BatchBuilder;
pub use codec::{Codec, Compression, Compressor, Decompressor};
pub use cursor::{Cursor, WireError};
pub use frame::{FrameBuffer, RequestHeader};
pub use record::{Record, RecordIter};
