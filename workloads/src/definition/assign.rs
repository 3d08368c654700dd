//! `[assign]`: who gets which partition, worked out without a broker.

use super::check::{Checked, Source};
use super::{Payload, PayloadKind, factors, wire};
use serde::{Deserialize, Serialize};
use toml::Spanned;

/// The least search takes the square of it.
const MEMBERS_MAX: u32 = 64;

/// No record is made.
pub(super) const NO_PAYLOAD: Payload = Payload {
    kind: PayloadKind::Json,
    record_bytes: 0,
    entropy: 0.0,
};

const FACTORS: [&str; 4] = ["assignor", "layout", "subscriptions", "change"];

/// Which group an assignor is asked about. Factors: `assignor`, `layout` (which topics, and how many partitions each has), `subscriptions` (who reads which), and
/// `change` (what happens to the group).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Assign {
    /// Members before the change.
    pub members: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    members: Spanned<u32>,
}

pub(super) fn check<'a>(
    source: &Source<'_>,
    wire: &Spanned<Wire>,
    all: &[wire::Factor],
    mut bare: impl Iterator<Item = &'a Spanned<String>>,
) -> Checked<Assign> {
    let (span, wire) = (wire.span(), wire.get_ref());
    factors::check_names(source, ("`[assign]`", span), all, &FACTORS, &[])?;
    let assignors = ["range", "roundrobin", "sticky", "cooperative-sticky"];
    factors::check_levels(source, all, "assignor", &assignors)?;
    factors::check_levels(source, all, "layout", &["one", "many-small", "mixed"])?;
    factors::check_levels(source, all, "subscriptions", &["same", "different"])?;
    let changes = ["join", "leave", "kill", "rolling", "grow"];
    factors::check_levels(source, all, "change", &changes)?;
    if let Some(bare) = bare.next() {
        let message = format!("assignments have no bare loop `{}`", bare.get_ref());
        return source.fail(bare.span(), message, "remove `[limit]`");
    }
    Ok(Assign {
        members: source.within("members", &wire.members, 2..=MEMBERS_MAX)?,
    })
}
