//! Factors of the kinds of work whose clients know a fixed set of them.

use super::check::{Checked, Source};
use super::wire;
use std::ops::Range;

/// Fails unless all of `required` are there, and beside them only some of `optional`. `what` needs them, at `span`.
pub(super) fn check_names(
    source: &Source<'_>,
    (what, span): (&str, Range<usize>),
    factors: &[wire::Factor],
    required: &[&str],
    optional: &[&str],
) -> Checked<()> {
    let is_there = |name: &str| factors.iter().any(|factor| factor.name.get_ref() == name);
    if let Some(missing) = required.iter().find(|name| !is_there(name)) {
        let remedy = format!("{what} has the factors {}", required.join(", "));
        return source.fail(span, format!("there is no factor `{missing}`"), remedy);
    }
    let known = || required.iter().chain(optional);
    for factor in factors {
        let name = factor.name.get_ref().as_str();
        if !known().any(|known| *known == name) {
            let names: Vec<&str> = known().copied().collect();
            return source.fail(
                factor.name.span(),
                format!("{what} knows no factor `{name}`"),
                format!("one of: {}", names.join(", ")),
            );
        }
    }
    Ok(())
}

/// Fails at the first level of the factor `name` that is none of `known`.
pub(super) fn check_levels(source: &Source<'_>, factors: &[wire::Factor], name: &str, known: &[&str]) -> Checked<()> {
    for level in levels(factors, name) {
        let text = level.get_ref().0.as_str();
        if !known.contains(&text) {
            let remedy = format!("one of: {}", known.join(", "));
            return source.fail(level.span(), format!("`{name}` can't do `{text}`"), remedy);
        }
    }
    Ok(())
}

/// Fails at the first level of the factor `name` that is no whole number, or that `wrong` has a remedy for.
pub(super) fn check_numbers(
    source: &Source<'_>,
    factors: &[wire::Factor],
    name: &str,
    wrong: impl Fn(u64) -> Option<String>,
) -> Checked<()> {
    for level in levels(factors, name) {
        let text = level.get_ref().0.as_str();
        let remedy = match text.parse() {
            Ok(number) => wrong(number),
            Err(_) => Some("write a whole number".to_owned()),
        };
        if let Some(remedy) = remedy {
            return source.fail(level.span(), format!("`{name}` can't be {text}"), remedy);
        }
    }
    Ok(())
}

/// The levels of the factor `name` as numbers; what is none is left out.
pub(super) fn numbers(factors: &[wire::Factor], name: &str) -> Vec<u64> {
    let levels = levels(factors, name);
    levels.filter_map(|level| level.get_ref().0.parse().ok()).collect()
}

fn levels<'f>(factors: &'f [wire::Factor], name: &str) -> impl Iterator<Item = &'f toml::Spanned<wire::Scalar>> {
    let of = factors.iter().filter(move |factor| factor.name.get_ref() == name);
    of.flat_map(|factor| factor.levels.get_ref())
}
