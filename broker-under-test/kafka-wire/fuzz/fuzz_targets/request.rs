//! What a stranger can send as one request. From `broker-under-test/kafka-wire`:
//!
//! `cargo +nightly fuzz run request -- -malloc_limit_mb=64 -max_total_time=120`
//!
//! A crash goes into `corpus/request` under a name that says what it was.

#![no_main]

#[path = "../src/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|frame: &[u8]| entry::request(frame));
