//! The layout `commit-log`: what every layout must do (the tests in `tests/it` once more), and what is its own.

/// The layout that brokers are started with.
#[cfg(test)]
const LAYOUT: &str = "commit-log";

#[cfg(test)]
#[path = "../it/concurrent.rs"]
mod concurrent;
#[cfg(test)]
mod counts;
#[cfg(test)]
#[path = "../it/fetch.rs"]
mod fetch;
#[cfg(test)]
#[path = "../it/groups.rs"]
mod groups;
#[cfg(test)]
#[path = "../it/idempotence.rs"]
mod idempotence;
#[cfg(test)]
mod model;
#[cfg(test)]
#[path = "../it/produce.rs"]
mod produce;
#[cfg(test)]
mod recovery;
#[cfg(test)]
#[path = "../it/samples.rs"]
mod samples;
#[cfg(test)]
mod start;
#[cfg(test)]
#[path = "../it/support.rs"]
mod support;
#[cfg(test)]
#[path = "../it/topics.rs"]
mod topics;
#[cfg(test)]
#[path = "../it/versions.rs"]
mod versions;
