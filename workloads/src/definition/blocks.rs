//! `[blocks]`: a process that writes blocks into a file, without a broker.

use super::check::{Checked, Source};
use super::{factors, wire};
use serde::{Deserialize, Serialize};
use toml::Spanned;

/// The one bare loop of blocks: written around the page cache, one after the other.
pub const BARE_SEQUENTIAL: &str = "bare-sequential";
/// Block sizes are multiples of it: of a page, and of the sectors that O_DIRECT wants.
const BLOCK_UNIT_BYTES: u64 = 4096;
/// Largest block.
const BLOCK_BYTES_MAX: u64 = 16 << 20;
/// Largest file, and most bytes of a window.
const FILE_BYTES_MAX: u64 = 1 << 36;

const FACTORS: [&str; 5] = ["placement", "block_bytes", "flush", "file", "file_bytes"];

/// How blocks are written. Factors: `placement` (where the next block goes), `block_bytes`, `flush`, `file` (what it was before), `file_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Blocks {
    /// A window ends when that much was written, so that all placements write the same.
    pub window_bytes_max: u64,
    /// Block of the bare loop, bytes.
    pub limit_block_bytes: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    window_bytes_max: Spanned<u64>,
    limit_block_bytes: Spanned<u32>,
}

pub(super) fn check<'a>(
    source: &Source<'_>,
    wire: &Spanned<Wire>,
    all: &[wire::Factor],
    mut bare: impl Iterator<Item = &'a Spanned<String>>,
) -> Checked<Blocks> {
    let (span, wire) = (wire.span(), wire.get_ref());
    factors::check_names(source, ("`[blocks]`", span), all, &FACTORS, &[])?;
    factors::check_levels(source, all, "placement", &["sequential", "random"])?;
    factors::check_levels(source, all, "flush", &["never", "every-batch"])?;
    factors::check_levels(source, all, "file", &["growing", "preallocated", "rewritten"])?;
    let whole = |bytes: u64| bytes > 0 && bytes.is_multiple_of(BLOCK_UNIT_BYTES);
    factors::check_numbers(source, all, "block_bytes", |bytes| {
        let fits = whole(bytes) && bytes <= BLOCK_BYTES_MAX;
        (!fits).then(|| format!("a multiple of {BLOCK_UNIT_BYTES}, at most {BLOCK_BYTES_MAX}"))
    })?;
    let limit_block_bytes = source.within(
        "the limit's block",
        &wire.limit_block_bytes,
        4096..=BLOCK_BYTES_MAX as u32,
    )?;
    if !whole(u64::from(limit_block_bytes)) {
        let remedy = format!("a multiple of {BLOCK_UNIT_BYTES}");
        return source.fail(
            wire.limit_block_bytes.span(),
            "the limit's block can't be written around the page cache",
            remedy,
        );
    }
    let window_bytes_max = source.within("window_bytes_max", &wire.window_bytes_max, 1 << 16..=FILE_BYTES_MAX)?;
    let largest = factors::numbers(all, "block_bytes")
        .into_iter()
        .chain([u64::from(limit_block_bytes)])
        .max();
    let largest = largest.unwrap_or(BLOCK_UNIT_BYTES);
    if !window_bytes_max.is_multiple_of(largest) {
        return source.fail(
            wire.window_bytes_max.span(),
            format!("{window_bytes_max} bytes are no whole number of blocks of {largest} bytes"),
            format!("for example {}", window_bytes_max.next_multiple_of(largest)),
        );
    }
    factors::check_numbers(source, all, "file_bytes", |bytes| {
        let fits = bytes >= window_bytes_max && bytes <= FILE_BYTES_MAX && bytes.is_multiple_of(largest);
        (!fits).then(|| {
            format!("a multiple of {largest}, at least window_bytes_max, so that each block is written once at most")
        })
    })?;
    if let Some(unknown) = bare.find(|bare| bare.get_ref() != BARE_SEQUENTIAL) {
        let message = format!("blocks have no bare loop `{}`", unknown.get_ref());
        return source.fail(unknown.span(), message, format!("the one there is: {BARE_SEQUENTIAL}"));
    }
    Ok(Blocks {
        window_bytes_max,
        limit_block_bytes,
    })
}
