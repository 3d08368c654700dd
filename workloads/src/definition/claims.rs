//! The claims of a definition: metrics, levels and cells that exist, and figures that make sense.

use super::check::{Checked, Source};
use super::{Factor, Metric, wire};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;

/// A statement that a run confirms or refutes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Claim {
    /// `level` beats the baseline beyond the margin.
    Faster {
        /// Short name, unique in the definition.
        id: String,
        /// The statement, for people.
        text: String,
        /// Metric that decides.
        metric: String,
        /// Level of the treatment.
        level: String,
        /// The cells that it is judged in.
        only: Only,
    },
    /// `level` is at least `ratio` times the baseline.
    AtLeast {
        /// Short name, unique in the definition.
        id: String,
        /// The statement, for people.
        text: String,
        /// Metric that decides.
        metric: String,
        /// Level of the treatment.
        level: String,
        /// Claimed ratio to the baseline.
        ratio: f64,
        /// Judged over all of its cells together and not in each.
        together: bool,
        /// The cells that it is judged in.
        only: Only,
    },
    /// An exact count per level.
    Counts {
        /// Short name, unique in the definition.
        id: String,
        /// The statement, for people.
        text: String,
        /// Metric that is counted.
        metric: String,
        /// Level of the treatment -> claimed count.
        expected: BTreeMap<String, f64>,
        /// The cells that it is judged in.
        only: Only,
    },
    /// `level` keeps at least `ratio` of what it reaches at another level of `factor`, all else being equal.
    Keeps {
        /// Short name, unique in the definition.
        id: String,
        /// The statement, for people.
        text: String,
        /// Metric that decides.
        metric: String,
        /// Level of the treatment.
        level: String,
        /// The factor that is gone along.
        factor: String,
        /// Its level that the others are divided by.
        from: String,
        /// The level that is claimed of; `None` means all others.
        at: Option<String>,
        /// Claimed ratio to what is reached at `from`.
        ratio: f64,
        /// The cells that it is judged in.
        only: Only,
    },
    /// `level` reaches at least `ratio` of its physical limit.
    OfLimit {
        /// Short name, unique in the definition.
        id: String,
        /// The statement, for people.
        text: String,
        /// Metric that decides.
        metric: String,
        /// Level of the treatment.
        level: String,
        /// Claimed ratio to the limit, in terms of better: 0.5 of a cost is at most twice the limit's.
        ratio: f64,
        /// The cells that it is judged in.
        only: Only,
    },
    /// `level` itself comes to `bound` or better: at most so much where less is better, otherwise at least.
    Reaches {
        /// Short name, unique in the definition.
        id: String,
        /// The statement, for people.
        text: String,
        /// Metric that decides.
        metric: String,
        /// Level of the treatment.
        level: String,
        /// The claimed figure, in the metric's unit.
        bound: f64,
        /// The cells that it is judged in.
        only: Only,
    },
}

/// Factor -> the level at which a claim is judged; a factor that is not named is not restricted.
pub type Only = BTreeMap<String, String>;

impl Claim {
    /// Short name, unique in the definition.
    pub fn id(&self) -> &str {
        match self {
            Self::Faster { id, .. }
            | Self::AtLeast { id, .. }
            | Self::Counts { id, .. }
            | Self::Keeps { id, .. }
            | Self::OfLimit { id, .. }
            | Self::Reaches { id, .. } => id,
        }
    }

    /// The level of the treatment that it talks of, where it is one.
    pub fn level(&self) -> Option<&str> {
        match self {
            Self::Faster { level, .. }
            | Self::AtLeast { level, .. }
            | Self::Keeps { level, .. }
            | Self::OfLimit { level, .. }
            | Self::Reaches { level, .. } => Some(level),
            Self::Counts { .. } => None,
        }
    }

    /// The metric that it talks of.
    pub fn metric(&self) -> &str {
        match self {
            Self::Faster { metric, .. }
            | Self::AtLeast { metric, .. }
            | Self::Counts { metric, .. }
            | Self::Keeps { metric, .. }
            | Self::OfLimit { metric, .. }
            | Self::Reaches { metric, .. } => metric,
        }
    }

    /// The cells that it is judged in.
    pub fn only(&self) -> &Only {
        match self {
            Self::Faster { only, .. }
            | Self::AtLeast { only, .. }
            | Self::Counts { only, .. }
            | Self::Keeps { only, .. }
            | Self::OfLimit { only, .. }
            | Self::Reaches { only, .. } => only,
        }
    }
}

/// What claims may speak of.
pub(super) struct Claims<'a> {
    pub source: &'a Source<'a>,
    pub metrics: &'a [Metric],
    pub factors: &'a [Factor],
    pub treatment: &'a String,
    /// For claims that name none.
    pub deciding_metric: &'a String,
    pub baseline: &'a String,
    /// The level of claims that name none.
    pub focus: &'a String,
    /// Bare loop -> levels that it is the limit of.
    pub limit: &'a BTreeMap<String, Vec<String>>,
}

/// The words of a claim that only some kinds have a use for.
#[derive(Clone, Copy, PartialEq)]
enum Key {
    Level,
    Ratio,
    Together,
    Bound,
    Expected,
    Factor,
}

impl Claims<'_> {
    pub fn check(&self, claims: &[Spanned<wire::Claim>]) -> Checked<Vec<Claim>> {
        let mut ids = BTreeSet::new();
        let mut checked = Vec::with_capacity(claims.len());
        for claim in claims {
            let id = &claim.get_ref().id;
            if !ids.insert(id.get_ref()) {
                let message = format!("claim `{}` is there twice", id.get_ref());
                return self.source.fail(id.span(), message, "give each claim an id of its own");
            }
            checked.push(self.check_one(claim)?);
        }
        Ok(checked)
    }

    fn check_one(&self, spanned: &Spanned<wire::Claim>) -> Checked<Claim> {
        let (source, claim) = (self.source, spanned.get_ref());
        let (id, text) = (claim.id.get_ref().clone(), claim.text.clone());
        let metric = match &claim.metric {
            Some(metric) => source.known("metric", metric, self.metrics.iter().map(|metric| &metric.name))?,
            None => self.deciding_metric.clone(),
        };
        let level = match &claim.level {
            Some(level) => source.known("level", level, self.levels(self.treatment))?,
            None => self.focus.clone(),
        };
        let of_kind: &[Key] = match claim.kind {
            wire::ClaimKind::Faster => &[Key::Level],
            wire::ClaimKind::AtLeast => &[Key::Level, Key::Ratio, Key::Together],
            wire::ClaimKind::OfLimit => &[Key::Level, Key::Ratio],
            wire::ClaimKind::Counts => &[Key::Expected],
            wire::ClaimKind::Keeps => &[Key::Level, Key::Ratio, Key::Factor],
            wire::ClaimKind::Reaches => &[Key::Level, Key::Bound],
        };
        self.no_useless_key(spanned, of_kind)?;
        let is_compared = matches!(claim.kind, wire::ClaimKind::Faster | wire::ClaimKind::AtLeast);
        if is_compared && level == *self.baseline {
            let span = claim.level.as_ref().map_or(spanned.span(), Spanned::span);
            let message = format!("claim `{id}` compares the baseline with itself");
            return source.fail(span, message, "name another level");
        }
        let only = self.check_only(claim)?;
        let ratio = || match &claim.ratio {
            Some(ratio) => source.within("the claimed ratio", ratio, 0.01..=1_000.0),
            None => self.missing(spanned, "ratio"),
        };
        Ok(match claim.kind {
            wire::ClaimKind::Faster => Claim::Faster {
                id,
                text,
                metric,
                level,
                only,
            },
            wire::ClaimKind::AtLeast => Claim::AtLeast {
                ratio: ratio()?,
                together: claim.together.as_ref().is_some_and(|together| *together.get_ref()),
                id,
                text,
                metric,
                level,
                only,
            },
            wire::ClaimKind::Counts => Claim::Counts {
                expected: self.check_expected(spanned)?,
                id,
                text,
                metric,
                only,
            },
            wire::ClaimKind::Keeps => {
                let (factor, from, at) = self.check_along(spanned, &only)?;
                Claim::Keeps {
                    ratio: ratio()?,
                    id,
                    text,
                    metric,
                    level,
                    factor,
                    from,
                    at,
                    only,
                }
            }
            wire::ClaimKind::OfLimit => {
                if !self.limit.values().any(|levels| levels.contains(&level)) {
                    let message = format!("claim `{id}` speaks of a limit, and `{level}` has none");
                    return source.fail(spanned.span(), message, "name the level in `[limit]`");
                }
                Claim::OfLimit {
                    ratio: ratio()?,
                    id,
                    text,
                    metric,
                    level,
                    only,
                }
            }
            wire::ClaimKind::Reaches => Claim::Reaches {
                bound: match &claim.bound {
                    Some(bound) => source.within("the claimed figure", bound, 0.0..=1e12)?,
                    None => return self.missing(spanned, "bound"),
                },
                id,
                text,
                metric,
                level,
                only,
            },
        })
    }

    fn levels(&self, factor: &str) -> &[String] {
        let found = self.factors.iter().find(|known| known.name == *factor);
        found.map_or(&[], |factor| &factor.levels)
    }

    fn no_useless_key(&self, spanned: &Spanned<wire::Claim>, useful: &[Key]) -> Checked<()> {
        let claim = spanned.get_ref();
        let keys: [(Key, &str, Option<Range<usize>>); 8] = [
            (Key::Level, "level", claim.level.as_ref().map(Spanned::span)),
            (Key::Ratio, "ratio", claim.ratio.as_ref().map(Spanned::span)),
            (Key::Together, "together", claim.together.as_ref().map(Spanned::span)),
            (Key::Bound, "bound", claim.bound.as_ref().map(Spanned::span)),
            (
                Key::Expected,
                "expected",
                claim.expected.as_ref().map(|_| spanned.span()),
            ),
            (Key::Factor, "factor", claim.factor.as_ref().map(Spanned::span)),
            (Key::Factor, "from", claim.from.as_ref().map(Spanned::span)),
            (Key::Factor, "at", claim.at.as_ref().map(Spanned::span)),
        ];
        for (key, name, span) in keys {
            if let Some(span) = span.filter(|_| !useful.contains(&key)) {
                let message = format!("claim `{}` has no use for `{name}`", claim.id.get_ref());
                let remedy = format!("remove `{name}`, or change the claim's kind");
                return self.source.fail(span, message, remedy);
            }
        }
        Ok(())
    }

    fn missing<T>(&self, claim: &Spanned<wire::Claim>, key: &str) -> Checked<T> {
        let message = format!("claim `{}` has no `{key}`", claim.get_ref().id.get_ref());
        let remedy = format!("say what is claimed: `{key} = ..`");
        self.source.fail(claim.span(), message, remedy)
    }

    fn check_expected(&self, spanned: &Spanned<wire::Claim>) -> Checked<BTreeMap<String, f64>> {
        let counts = spanned.get_ref().expected.as_ref();
        let Some(counts) = counts.filter(|counts| !counts.is_empty()) else {
            return self.missing(spanned, "expected");
        };
        let mut expected = BTreeMap::new();
        for (level, count) in counts {
            let count = self.source.within("a claimed count", count, 0.0..=1e9)?;
            expected.insert(self.source.known("level", level, self.levels(self.treatment))?, count);
        }
        Ok(expected)
    }

    /// The factor that is gone along, the level that it begins at, and the one that is claimed of.
    fn check_along(&self, spanned: &Spanned<wire::Claim>, only: &Only) -> Checked<(String, String, Option<String>)> {
        let claim = spanned.get_ref();
        let Some(factor) = &claim.factor else {
            return self.missing(spanned, "factor");
        };
        let name = self.factor_of_cells(factor)?;
        if only.contains_key(&name) {
            let message = format!("`{name}` is gone along and can't be held still");
            return self.source.fail(factor.span(), message, "leave it out of `only`");
        }
        let Some(from) = &claim.from else {
            return self.missing(spanned, "from");
        };
        let begin = self.level_of(&name, from)?;
        let at = claim.at.as_ref().map(|at| self.level_of(&name, at)).transpose()?;
        if let Some(place) = claim.at.as_ref().filter(|_| at.as_ref() == Some(&begin)) {
            let message = format!("`{begin}` is compared with itself");
            return self
                .source
                .fail(place.span(), message, "name another level, or none for all others");
        }
        Ok((name, begin, at))
    }

    fn check_only(&self, claim: &wire::Claim) -> Checked<Only> {
        let mut only = Only::new();
        for (name, level) in &claim.only {
            let name = self.factor_of_cells(name)?;
            let level = self.level_of(&name, level)?;
            only.insert(name, level);
        }
        Ok(only)
    }

    fn factor_of_cells(&self, name: &Spanned<String>) -> Checked<String> {
        let others = self.factors.iter().filter(|factor| factor.name != *self.treatment);
        self.source
            .known("factor of a cell", name, others.map(|factor| &factor.name))
    }

    fn level_of(&self, factor: &str, level: &Spanned<wire::Scalar>) -> Checked<String> {
        let text = Spanned::new(level.span(), level.get_ref().0.clone());
        self.source
            .known(&format!("level of `{factor}`"), &text, self.levels(factor))
    }
}
