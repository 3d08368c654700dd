//! Targets: what an experiment or a scenario is run against.

pub mod bundled;
