//! Both producers and both consumers against the bundled broker: what goes in comes out, once and in its order.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic is how a test fails, also in what tests share"
)]

mod bench;
mod end_to_end;
mod engine;
mod trouble;
mod worker;
