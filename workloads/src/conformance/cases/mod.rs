//! The cases, API by API.

mod admin;
mod committed;
mod consumer_groups;
mod fetch;
mod frames;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod versions;

use super::Case;

/// Every case, in the order of the table.
pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    versions::add(&mut all);
    metadata::add(&mut all);
    produce::add(&mut all);
    producers::add(&mut all);
    fetch::add(&mut all);
    offsets::add(&mut all);
    admin::add(&mut all);
    groups::add(&mut all);
    committed::add(&mut all);
    consumer_groups::add(&mut all);
    frames::add(&mut all);
    all
}
