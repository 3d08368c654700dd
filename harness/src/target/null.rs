//! A target that answers and stores nothing: what a client reaches against it is the client's own ceiling.
//!
//! It is the bundled broker with [`LAYOUT`], so that sockets, frames and answers are the same.

use std::collections::BTreeMap;

/// What `--target` calls it.
pub const NAME: &str = workloads::definition::NULL;
/// Its `log.layout`.
pub const LAYOUT: &str = "null";

/// The settings of a bundled broker that is one.
pub fn settings(mut settings: BTreeMap<String, String>) -> BTreeMap<String, String> {
    settings.insert("log.layout".to_owned(), LAYOUT.to_owned());
    settings
}
