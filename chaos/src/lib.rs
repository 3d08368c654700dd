//! Breaking brokers, and proving what happened.
//!
//! A scenario (`scenarios/*.toml`) is a workload, a timeline of faults and the invariants that must hold. [`Schedule`] fixes
//! the timeline from a seed, [`run::execute`] carries it out against a [`Cluster`] and leaves histories, and [`checker::check`] reads
//! those files alone and gives [`Findings`] with a three-valued [`Verdict`]. Faults between clients and broker are the [`proxy`]'s.
//!
//! This crate starts no process and prints nothing: it sees roles through the [`Cluster`] trait, which the harness implements.

pub mod checker;
pub mod cluster;
pub mod findings;
pub mod group_run;
pub mod intervals;
pub mod planted;
pub mod proxy;
pub mod render;
pub mod run;
pub mod scenario;
pub mod schedule;

pub use cluster::{Cluster, ClusterError, Evidence, Role};
pub use findings::{Findings, Outcome, Verdict};
pub use planted::PlantedBug;
pub use scenario::Scenario;
pub use schedule::Schedule;
