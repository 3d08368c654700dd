//! What clients do: experiment definitions, plans, payloads, and the clients that carry them out.
//!
//! Nothing here knows how a result is judged, what is broken meanwhile, or how anything is printed.

pub mod assign;
pub mod blocks;
pub mod conformance;
pub mod definition;
pub mod facts;
pub mod history;
pub mod load;
pub mod member;
pub mod native;
pub mod payload;
pub mod plan;
pub mod sequenced;
pub mod worker;
