//! What a run leaves behind, and what follows from it.
//!
//! Files in, files out: [`schema`] names every column, [`writer`] appends while a run goes on, [`reader`] opens the
//! folder again, [`analysis`] turns trials into estimates and verdicts, and [`report`] draws tables, charts and one
//! HTML page. This crate never measures, never talks to a broker, and doesn't know how a figure was produced; so a run
//! made last year on another machine is analysed in exactly the same way as one that has just ended.

pub mod analysis;
pub mod charts;
pub mod compare;
pub mod estimate;
pub mod export;
pub mod figures;
pub mod load;
pub mod reader;
pub mod report;
pub mod schema;
pub mod tables;
pub mod terms;
pub mod verdict;
pub mod wording;
pub mod writer;

// Unit tests share the synthetic runs of `tests/it`, which call this crate by its name.
#[cfg(test)]
extern crate self as results;
#[cfg(test)]
#[path = "../tests/it/partitions.rs"]
mod partitions;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests from outside, which use more of it")]
#[path = "../tests/it/synthetic.rs"]
mod synthetic;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests from outside, which use more of it")]
#[path = "../tests/it/targets.rs"]
mod targets;
