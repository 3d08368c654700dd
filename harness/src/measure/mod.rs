//! Measuring: data that is ready, trials that run, figures from the kernel.

pub mod dataset;
pub mod machine;
pub mod sample;
#[cfg_attr(not(test), expect(dead_code, reason = "the runs against Apache Kafka use it"))]
pub mod trace;
pub mod trial;
pub mod worker;
