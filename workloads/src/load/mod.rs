//! Load as applications make it: every record is built and stamped apart, arrives at a time that a schedule says, and is followed to its
//! acknowledgement.
//!
//! [`LoadSpec`] says what and how much, [`Engine`] carries it out over a client behind [`Producing`], [`Loaded`] is what came of it. Four
//! stamps are taken of each record: intended, enqueued, sent and acknowledged. The headline is acknowledged minus *intended*, so that a
//! stall of the target, or of the client, can't hide in records that were sent late (coordinated omission).
//!
//! [`crate::native::produce`] is another thing: batches that were built beforehand, for what a broker can take.

pub mod arrivals;
pub mod client;
pub mod clock;
pub mod consume;
mod effective;
pub mod engine;
pub mod keys;
pub mod librdkafka;
pub mod native;
pub mod partitioner;
mod recorder;
pub mod records;
pub mod spec;
pub mod stamp;
pub mod ticks;
mod trace;
mod zipf;

pub use arrivals::{Arrivals, Schedule};
pub use client::{ClientCounts, Delivered, Handed, Outgoing, Producing};
pub use consume::{ConsumeSpec, ConsumeTick, Consumed, Consumer, Consuming, Received};
pub use effective::Property;
pub use engine::{Engine, Loaded, Tick};
pub use keys::Keys;
pub use native::NativeProducer;
pub use partitioner::Partitioner;
pub use records::{LoadPayload, Sizes};
pub use spec::{ClientKind, LoadSpec, ProducerSettings};
pub use stamp::Stamp;
pub use ticks::{ProducedTick, TickJoiner};

use crate::native::{Bootstrap, ClientError, Security};

/// Connects the client that the spec names.
///
/// # Errors
/// A figure that cannot work, a topic with fewer partitions, a broker that is not there, or a client that this program is built without.
pub fn connect(brokers: &Bootstrap, security: &Security, spec: &LoadSpec) -> Result<Box<dyn Producing>, ClientError> {
    match spec.producer.client {
        ClientKind::Native => Ok(Box::new(NativeProducer::connect(brokers, security, spec)?)),
        ClientKind::Librdkafka => Ok(Box::new(librdkafka::Producer::connect(brokers, security, spec)?)),
    }
}
