//! `[read]`: how consumers read what the bundled broker stored: at its tail, catching up with everything hot, or cold.

use super::check::{Checked, FILE_BYTES_MAX, STORED_BATCH_BYTES, Source};
use super::{Acks, CLIENT_FACTORS, wire};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use toml::Spanned;

/// What a reader's clients are told by factors.
const FACTORS: [&str; 4] = ["read", "beside", "partitions", "batch_bytes"];
/// What each factor can be.
const READS: [&str; 3] = ["tail", "catch-up", "cold"];
const BESIDE: [&str; 2] = ["alone", "writes"];

/// How a topic is read. Factors: `read` (what is read), `beside` (whether somebody writes to the same topic meanwhile), `partitions`, and
/// `batch_bytes` where it is not held still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Read {
    /// Exact size of a batch, bytes, where it is no factor.
    pub batch_bytes: Option<u32>,
    /// Record data that lies there before a reader catches up, bytes over all partitions.
    pub stored_bytes: u64,
    /// Record data that is produced while a reader follows at the tail, bytes over all partitions.
    pub tail_bytes: u64,
    /// What a producer stores beside a reader that catches up or reads cold, bytes per second over all partitions.
    pub beside_bytes_per_s: u64,
    /// `max_bytes` of each fetch.
    pub response_bytes: u32,
    /// `max_bytes` of each partition in it.
    pub partition_bytes: u32,
    /// Partitions of a fetch at most.
    pub partitions_per_fetch: u32,
    /// How long the broker may hold a fetch back, ms.
    pub max_wait_ms: u32,
    /// User-space buffer of the reader, bytes.
    pub receive_buffer_bytes: u32,
    /// Connections of the producer.
    pub connections: u32,
    /// Requests kept on each of them.
    pub in_flight: u32,
    /// Which acknowledgement it waits for.
    pub acks: Acks,
    /// Batches that it builds before the clock starts and sends again and again, bytes.
    pub pool_bytes: u64,
}

impl Read {
    /// A producer beside a reader stores its share of each so many milliseconds at once.
    pub const BESIDE_TICK_MS: u64 = 50;

    /// What it stores at once, bytes.
    pub fn beside_bytes_per_tick(&self) -> u64 {
        self.beside_bytes_per_s * Self::BESIDE_TICK_MS / 1_000
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    batch_bytes: Option<Spanned<u32>>,
    stored_bytes: Spanned<u64>,
    tail_bytes: Spanned<u64>,
    beside_bytes_per_s: Spanned<u64>,
    response_bytes: Spanned<u32>,
    partition_bytes: Spanned<u32>,
    partitions_per_fetch: Spanned<u32>,
    max_wait_ms: Spanned<u32>,
    receive_buffer_bytes: Spanned<u32>,
    connections: Spanned<u32>,
    in_flight: Spanned<u32>,
    acks: Acks,
    pool_bytes: Spanned<u64>,
}

pub(super) fn check<'l>(
    source: &Source<'_>,
    wire: &Spanned<Wire>,
    factors: &[wire::Factor],
    mut limits: impl Iterator<Item = &'l Spanned<String>>,
) -> Checked<Read> {
    let (span, wire) = (wire.span(), wire.get_ref());
    check_factors(source, wire, span, factors)?;
    if let Some(bare) = limits.next() {
        return source.fail(bare.span(), "a read has no bare loop", "remove the `[limit]` table");
    }
    let response_bytes = source.within("response_bytes", &wire.response_bytes, 4_096..=1 << 26)?;
    let partition_bytes = source.within("partition_bytes", &wire.partition_bytes, 4_096..=response_bytes)?;
    let partitions_max = numbers(factors, "partitions").map(|(_, n)| n).max().unwrap_or(1);
    let held_still = wire.batch_bytes.iter().map(|b| (b.span(), u64::from(*b.get_ref())));
    let mut batch_bytes_max = 0;
    for (span, bytes) in numbers(factors, "batch_bytes").chain(held_still) {
        let (low, high) = (
            *STORED_BATCH_BYTES.start(),
            *STORED_BATCH_BYTES.end().min(&partition_bytes),
        );
        if !(u64::from(low)..=u64::from(high)).contains(&bytes) {
            let remedy = format!("between {low} and {high} bytes");
            return source.fail(span, "a batch can't have that size", remedy);
        }
        batch_bytes_max = batch_bytes_max.max(bytes);
    }
    // A batch for each partition.
    let round_bytes = batch_bytes_max * partitions_max;
    let filled = |what: &str, bytes: &Spanned<u64>| source.within(what, bytes, round_bytes..=FILE_BYTES_MAX);
    let tick_bytes = batch_bytes_max * (1_000 / Read::BESIDE_TICK_MS);
    Ok(Read {
        batch_bytes: wire.batch_bytes.as_ref().map(|bytes| *bytes.get_ref()),
        stored_bytes: filled("stored_bytes", &wire.stored_bytes)?,
        tail_bytes: filled("tail_bytes", &wire.tail_bytes)?,
        beside_bytes_per_s: source.within("beside_bytes_per_s", &wire.beside_bytes_per_s, tick_bytes..=1 << 32)?,
        response_bytes,
        partition_bytes,
        partitions_per_fetch: source.within("partitions_per_fetch", &wire.partitions_per_fetch, 1..=10_000)?,
        max_wait_ms: source.within("max_wait_ms", &wire.max_wait_ms, 1..=30_000)?,
        receive_buffer_bytes: source.within("the receive buffer", &wire.receive_buffer_bytes, 4_096..=1 << 26)?,
        connections: source.within("connections", &wire.connections, 1..=super::CONNECTIONS_MAX)?,
        in_flight: source.within("in_flight", &wire.in_flight, 1..=super::IN_FLIGHT_MAX)?,
        acks: wire.acks,
        pool_bytes: source.within("the pool", &wire.pool_bytes, 1 << 20..=1 << 30)?,
    })
}

fn check_factors(source: &Source<'_>, wire: &Wire, span: Range<usize>, factors: &[wire::Factor]) -> Checked<()> {
    let factor = |name: &str| factors.iter().find(|factor| factor.name.get_ref() == name);
    for name in ["read", "beside", "partitions"] {
        if factor(name).is_none() {
            let remedy = "a read has the factors read, beside and partitions";
            return source.fail(span, format!("there is no factor `{name}`"), remedy);
        }
    }
    match (factor("batch_bytes"), &wire.batch_bytes) {
        (Some(_), Some(bytes)) => {
            return source.fail(bytes.span(), "batch_bytes is a factor already", "remove it here");
        }
        (None, None) => {
            let remedy = "add it, or hold it still: `batch_bytes = ..`";
            return source.fail(span, "there is no factor `batch_bytes`", remedy);
        }
        _ => {}
    }
    for factor in factors {
        let name = factor.name.get_ref().as_str();
        // What no client knows is a setting of the broker.
        if CLIENT_FACTORS.contains(&name) && !FACTORS.contains(&name) {
            let remedy = format!("one of: {}, or a setting of the bundled broker", FACTORS.join(", "));
            return source.fail(factor.name.span(), format!("a read knows no factor `{name}`"), remedy);
        }
        let known: &[&str] = match name {
            "read" => &READS,
            "beside" => &BESIDE,
            _ => continue,
        };
        for level in factor.levels.get_ref() {
            if !known.contains(&level.get_ref().0.as_str()) {
                let message = format!("`{name}` can't do `{}`", level.get_ref().0);
                return source.fail(level.span(), message, format!("one of: {}", known.join(", ")));
            }
        }
    }
    Ok(())
}

/// The tail is where somebody writes.
pub(super) fn check_cell<'c>(
    source: &Source<'_>,
    span: Range<usize>,
    of: impl Fn(&str) -> Option<&'c str>,
) -> Checked<()> {
    match (of("read"), of("beside")) {
        (Some("tail"), Some("alone")) => {
            let message = "the tail can't be read alone: nothing comes there when nobody writes";
            source.fail(
                span,
                message,
                "give tail cells of their own with `beside = [\"writes\"]`",
            )
        }
        _ => Ok(()),
    }
}

fn numbers<'f>(factors: &'f [wire::Factor], name: &str) -> impl Iterator<Item = (Range<usize>, u64)> + use<'f> {
    let found = factors.iter().find(|factor| factor.name.get_ref() == name);
    let levels = found.into_iter().flat_map(|factor| factor.levels.get_ref());
    levels.map(|level| (level.span(), level.get_ref().0.parse().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Broken, assert_refused};
    use super::super::{Definition, ProfileName};

    const COMMIT_LOG_READS: &str = include_str!("../../definitions/commit-log-reads.toml");

    const BROKEN_READS: &[Broken] = &[
        (
            "levels = [\"tail\", \"catch-up\", \"cold\"]",
            "levels = [\"tail\", \"catch-up\", \"cold\", \"head\"]",
            "\"head\"",
            "`read` can't do `head`",
            "tail, catch-up, cold",
        ),
        (
            "levels = [\"alone\", \"writes\"]",
            "levels = [\"alone\", \"deletes\"]",
            "\"deletes\"",
            "`beside` can't do `deletes`",
            "alone, writes",
        ),
        (
            "read = [\"tail\"]\nbeside = [\"writes\"]",
            "read = [\"tail\"]\nbeside = [\"alone\", \"writes\"]",
            "",
            "the tail can't be read alone",
            "cells of their own",
        ),
        (
            "name = \"beside\"",
            "name = \"receiver\"",
            "[read]",
            "there is no factor `beside`",
            "read, beside and partitions",
        ),
        (
            "[[factors]]\nname = \"partitions\"",
            "[[factors]]\nname = \"cache\"\nlabel = \"Cache\"\nlevels = [\"hot\"]\n\n[[factors]]\nname = \"partitions\"",
            "\"cache\"",
            "a read knows no factor `cache`",
            "read, beside, partitions, batch_bytes",
        ),
        (
            "[read]",
            "[read]\nbatch_bytes = 4096",
            "4096",
            "a factor already",
            "remove it",
        ),
        (
            "levels = [4096, 16384, 65536]",
            "levels = [4096, 16384, 2097152]",
            "2097152",
            "a batch can't have that size",
            "between 256 and 1048576",
        ),
        (
            "stored_bytes = 67108864",
            "stored_bytes = 67108863",
            "67108863",
            "stored_bytes is 67108863",
            "between 67108864",
        ),
        (
            "tail_bytes = 67108864",
            "tail_bytes = 1",
            "1",
            "tail_bytes is 1",
            "between 67108864",
        ),
        (
            "beside_bytes_per_s = 33554432",
            "beside_bytes_per_s = 65536",
            "65536",
            "beside_bytes_per_s is 65536",
            "between 1310720",
        ),
        (
            "partition_bytes = 1048576",
            "partition_bytes = 60000000",
            "60000000",
            "partition_bytes is 60000000",
            "52428800",
        ),
        (
            "partitions_per_fetch = 1000",
            "partitions_per_fetch = 0",
            "0",
            "partitions_per_fetch is 0",
            "between 1 and 10000",
        ),
        (
            "[read]",
            "[limit]\nbare-read = \"commit-log\"\n\n[read]",
            "bare-read",
            "a read has no bare loop",
            "remove the `[limit]` table",
        ),
        (
            "transport = \"loopback\"",
            "transport = \"loopback\"\ntarget = \"kafka\"",
            "\"kafka\"",
            "settings of the bundled broker",
            "remove `target`",
        ),
    ];

    #[test]
    fn what_no_reader_can_do_is_refused() {
        for row in BROKEN_READS {
            assert_refused(COMMIT_LOG_READS, row);
        }
    }

    #[test]
    fn the_layouts_are_settings_of_the_broker_and_the_tail_is_never_read_alone() {
        let definition = Definition::parse("commit-log-reads.toml", COMMIT_LOG_READS).unwrap();
        let varied: Vec<&str> = definition
            .settings_varied()
            .map(|factor| factor.name.as_str())
            .collect();
        assert_eq!(varied, ["log.layout", "commit.log.entries"]);
        for profile in [ProfileName::Quick, ProfileName::Full] {
            for arm in definition.arms(profile) {
                let settings = definition.settings_of_trial(&arm.factors);
                assert_eq!(settings["log.layout"], arm.factors["log.layout"]);
                assert!(!settings.contains_key("read") && !settings.contains_key("beside"));
                assert!(arm.factors["read"] != "tail" || arm.factors["beside"] == "writes");
            }
        }
    }
}
