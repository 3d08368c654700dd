//! The clients of a load: what is held still by `[load]` and what factors say, each told once.

use super::check::{Checked, FILE_BYTES_MAX, STORED_BATCH_BYTES, Source};
use super::{CLIENT_FACTORS, Load, TARGET_FACTOR, Workload, wire};
use toml::Spanned;

/// What the clients of a load are told by factors.
const LOAD_FACTORS: [&str; 6] = [
    TARGET_FACTOR,
    "workload",
    "record_bytes",
    "batch_bytes",
    "partitions",
    "topics",
];

pub(super) fn check(source: &Source<'_>, load: &Spanned<wire::Load>, factors: &[wire::Factor]) -> Checked<Load> {
    let factor = |name: &str| factors.iter().find(|factor| factor.name.get_ref() == name);
    let compares_targets = factor(TARGET_FACTOR).is_some();
    let span = load.span();
    let load = load.get_ref();
    if factor("partitions").is_none() {
        let remedy = format!("a load has the factors {}", LOAD_FACTORS.join(", "));
        return source.fail(span, "there is no factor `partitions`", remedy);
    }
    for factor in factors {
        let name = factor.name.get_ref().as_str();
        // What no client knows is a setting, and a setting of one target says nothing to another.
        let is_of_another_kind = CLIENT_FACTORS.contains(&name) || compares_targets;
        if is_of_another_kind && !LOAD_FACTORS.contains(&name) {
            let remedy = format!("one of: {}", LOAD_FACTORS.join(", "));
            return source.fail(factor.name.span(), format!("a load knows no factor `{name}`"), remedy);
        }
    }
    for (name, held_still) in [
        ("workload", load.workload.as_ref().map(Spanned::span)),
        ("batch_bytes", load.batch_bytes.as_ref().map(Spanned::span)),
    ] {
        match (factor(name), held_still) {
            (Some(_), Some(span)) => {
                return source.fail(span, format!("{name} is a factor already"), "remove it here");
            }
            (None, None) => {
                let message = format!("there is no factor `{name}`");
                return source.fail(span, message, format!("add it, or hold it still: `{name} = ..`"));
            }
            _ => {}
        }
    }
    let response_bytes = source.within("response_bytes", &load.response_bytes, 4_096..=1 << 26)?;
    let checked = Load {
        workload: load.workload.as_ref().map(|workload| *workload.get_ref()),
        batch_bytes: load.batch_bytes.as_ref().map(|bytes| *bytes.get_ref()),
        connections: match &load.connections {
            Some(connections) => source.within("connections", connections, 1..=super::CONNECTIONS_MAX)?,
            None => 1,
        },
        in_flight: source.within("in_flight", &load.in_flight, 1..=super::IN_FLIGHT_MAX)?,
        acks: load.acks,
        pool_bytes: source.within("the pool", &load.pool_bytes, 1 << 20..=1 << 30)?,
        window_bytes_max: source.within("window_bytes_max", &load.window_bytes_max, 1 << 20..=FILE_BYTES_MAX)?,
        fetch_bytes: source.within("fetch_bytes", &load.fetch_bytes, 1 << 20..=FILE_BYTES_MAX)?,
        response_bytes,
        max_wait_ms: source.within("max_wait_ms", &load.max_wait_ms, 1..=30_000)?,
        receive_buffer_bytes: source.within("the receive buffer", &load.receive_buffer_bytes, 4_096..=1 << 26)?,
    };
    let levels = factor("batch_bytes")
        .into_iter()
        .flat_map(|factor| factor.levels.get_ref());
    let levels = levels.map(|level| (level.span(), level.get_ref().0.parse::<u32>().ok()));
    let held_still = load
        .batch_bytes
        .iter()
        .map(|bytes| (bytes.span(), Some(*bytes.get_ref())));
    for (span, bytes) in levels.chain(held_still) {
        if !bytes.is_some_and(|bytes| STORED_BATCH_BYTES.contains(&bytes) && bytes <= response_bytes) {
            let (low, high) = (
                STORED_BATCH_BYTES.start(),
                STORED_BATCH_BYTES.end().min(&response_bytes),
            );
            let remedy = format!("between {low} and {high} bytes");
            return source.fail(span, "a batch can't have that size", remedy);
        }
    }
    if let Some(topics) = factor("topics") {
        let fetches = factor("workload").is_some() || checked.workload == Some(Workload::Fetch);
        if fetches {
            let message = "topics of their own are for a load that only produces";
            return source.fail(
                topics.name.span(),
                message,
                "write `workload = \"produce\"` into `[load]`",
            );
        }
    }
    Ok(checked)
}
