//! Measuring: data that is ready, trials that run, figures from the kernel.

pub mod dataset;
pub mod machine;
pub mod sample;
pub mod trace;
pub mod trial;
pub mod worker;
