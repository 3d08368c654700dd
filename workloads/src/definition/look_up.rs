//! `[look_up]`: offsets and times that are found in the bundled broker's log, and what is read from there.

use super::check::{Checked, STORED_BATCH_BYTES, Source};
use super::{factors, wire};
use serde::{Deserialize, Serialize};
use toml::Spanned;

/// Largest log that is filled for look-ups.
const LOG_BYTES_MAX: u64 = 1 << 34;
/// What a look-up may move its place by around the distance that was asked for, as a share of that distance: no two are the same.
pub const JITTER_SHARE: f64 = 0.1;

/// The broker's settings that the factors stand for.
pub(super) const SETTINGS: [&str; 2] = ["log.index.interval.bytes", "log.segment.bytes"];

const REQUIRED: [&str; 3] = ["index", "segment_bytes", "look_up"];
/// Without it the places lie anywhere.
const DISTANCE: &str = "distance";

/// How places in a log are looked up. Factors: `index` (how dense), `segment_bytes`, `look_up` (by what), and perhaps `distance` (from the
/// end of the log, % of it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LookUp {
    /// Exact size of every stored batch, bytes with its header.
    pub stored_batch_bytes: u32,
    /// Record data of the log, bytes; a log has at least one whole segment.
    pub log_bytes: u64,
    /// What is read on from each place; 0 takes its batch alone.
    pub read_bytes: u64,
    /// `max_bytes` of each fetch that reads on.
    pub response_bytes: u32,
}

impl LookUp {
    /// Record data of a log in segments of that size, bytes.
    pub fn log_bytes_of(&self, segment_bytes: u64) -> u64 {
        self.log_bytes.max(segment_bytes)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    stored_batch_bytes: Spanned<u32>,
    log_bytes: Spanned<u64>,
    read_bytes: Spanned<u64>,
    response_bytes: Spanned<u32>,
}

pub(super) fn check<'a>(
    source: &Source<'_>,
    wire: &Spanned<Wire>,
    all: &[wire::Factor],
    mut bare: impl Iterator<Item = &'a Spanned<String>>,
) -> Checked<LookUp> {
    let (span, wire) = (wire.span(), wire.get_ref());
    factors::check_names(source, ("`[look_up]`", span), all, &REQUIRED, &[DISTANCE])?;
    factors::check_levels(source, all, "index", &["sparse", "dense", "scan"])?;
    factors::check_levels(source, all, "look_up", &["offset", "record", "time"])?;
    if let Some(bare) = bare.next() {
        return source.fail(bare.span(), "a look-up has no bare loop", "remove the `[limit]` table");
    }
    let stored_batch_bytes = source.within("the stored batch", &wire.stored_batch_bytes, STORED_BATCH_BYTES)?;
    let batch_bytes = u64::from(stored_batch_bytes);
    let whole = |bytes: u64| bytes > 0 && bytes.is_multiple_of(batch_bytes);
    factors::check_numbers(source, all, "segment_bytes", |bytes| {
        (!whole(bytes) || bytes > 1 << 30).then(|| format!("a multiple of {batch_bytes}, at most {}", 1 << 30))
    })?;
    let log_bytes = source.within("the log", &wire.log_bytes, batch_bytes..=LOG_BYTES_MAX)?;
    if !whole(log_bytes) {
        let message = format!("{log_bytes} bytes do not hold a whole number of batches of {batch_bytes} bytes");
        let remedy = format!("for example {}", log_bytes.next_multiple_of(batch_bytes));
        return source.fail(wire.log_bytes.span(), message, remedy);
    }
    let response_bytes = source.within("response_bytes", &wire.response_bytes, stored_batch_bytes..=1 << 26)?;
    factors::check_numbers(source, all, DISTANCE, |per_cent| {
        (!(1..=99).contains(&per_cent)).then(|| "1 to 99: % of the log, back from its end".to_owned())
    })?;
    let read_bytes = *wire.read_bytes.get_ref();
    // What lies behind the nearest place, which may lie nearer by the jitter.
    let nearest = factors::numbers(all, DISTANCE).into_iter().min();
    let behind = nearest.map_or(0, |per_cent| {
        (log_bytes as f64 * per_cent as f64 / 100.0 * (1.0 - JITTER_SHARE)) as u64
    });
    if read_bytes > 0 && read_bytes + batch_bytes > behind {
        let message = format!("{read_bytes} bytes can't be read from every place: behind the last one lie {behind}");
        let remedy = "make it smaller, the log larger, or give a factor `distance` that leaves room for it";
        return source.fail(wire.read_bytes.span(), message, remedy);
    }
    Ok(LookUp {
        stored_batch_bytes,
        log_bytes,
        read_bytes,
        response_bytes,
    })
}
