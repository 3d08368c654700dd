//! Crash safety, tested as storage engines are: a seeded workload, the power goes at a seeded moment, and what is there afterwards is held against what
//! was promised. One seed is one crash point: `ASSAY_CRASH_SEED=123 cargo test -p broker-under-test --test crash` runs that one and tells what it did;
//! `ASSAY_CRASH_POINTS=5000` runs so many per layout.
//!
//! The broker runs without its sockets and without threads of its own, so that a seed always means the same calls in the same order. What a power
//! cut may leave is decided by [`broker_under_test::storage::FaultyDisk`], whose documentation is the model.

// Under `cfg(test)`, clippy lets the helpers unwrap as the tests themselves may.
#[cfg(test)]
mod compacted;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod model;
#[cfg(test)]
mod point;
#[cfg(test)]
mod points;
#[cfg(test)]
mod producers;
#[cfg(test)]
mod verify;
