//! librdkafka behind the traits of a load: what most people outside of Java run.
//!
//! It is driven through its C interface, as a C program would: records go in with one call each, delivery reports and records come out of a
//! queue in batches, and nothing is allocated in here for one of them, so that what is measured is librdkafka. It has a thread for itself and
//! one per broker; their CPU time is the client's, as it would be an application's. Requests and their bytes are counted by its
//! interceptors, on those threads.
//!
//! It is built from source with zstd and lz4. zlib and OpenSSL are features (`librdkafka-gzip`, `librdkafka-ssl`), as the one needs the
//! system's headers and the other Perl; whoever asks for what is not built in is told so.

mod consumer;
pub(crate) mod group;
pub(crate) mod handle;
mod producer;
mod properties;
mod traffic;
mod wake;

pub use consumer::Consumer;
pub use handle::version;
pub use producer::Producer;
pub(super) use properties::effective;
