//! Measuring: data that is ready, trials that run, figures from the kernel.

pub mod assign;
pub mod bench;
pub mod blocks;
pub mod client;
pub mod dataset;
pub mod device;
pub mod drain;
pub mod group;
pub mod listener;
pub mod load;
pub mod look_ups;
pub mod machine;
pub mod outcome;
pub mod paths;
pub mod read;
pub mod sample;
pub mod stage;
pub mod trace;
pub mod warm_up;
pub mod window;
pub mod worker;
