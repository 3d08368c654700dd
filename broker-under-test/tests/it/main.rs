//! The bundled broker from the outside: a server in this process, clients on raw sockets, files in a temporary folder.

/// The layout that brokers are started with; `tests/commit_log` runs most of these tests on the other one.
#[cfg(test)]
const LAYOUT: &str = "partition-log";

// Under `cfg(test)`, clippy lets the helpers unwrap as the tests themselves may.
#[cfg(test)]
mod compaction;
#[cfg(test)]
mod concurrent;
#[cfg(test)]
mod consumer_groups;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fetch;
#[cfg(test)]
mod fetch_paths;
mod flush;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod idempotence;
#[cfg(test)]
mod null;
#[cfg(test)]
mod open_files;
#[cfg(test)]
mod produce;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod support;
#[cfg(test)]
mod times;
#[cfg(test)]
mod topics;
#[cfg(test)]
mod versions;
