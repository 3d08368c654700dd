//! Whether two targets may be compared at all: only under the same durability class.

use std::collections::BTreeMap;

use crate::schema::{ExperimentCard, Manifest};

/// Levels of a card that can't be compared with its baseline.
#[derive(Debug)]
pub(super) struct Incomparable(BTreeMap<String, String>);

impl Incomparable {
    /// Only a card whose treatment is the target compares targets.
    pub fn of(manifest: &Manifest, card: &ExperimentCard) -> Self {
        let levels = card.factor(&card.treatment).map_or(&[][..], |factor| &factor.levels);
        let others = levels
            .iter()
            .filter(|level| card.compares_targets() && **level != card.baseline);
        let found = others.filter_map(|level| Some((level.clone(), difference(manifest, &card.baseline, level)?)));
        Self(found.collect())
    }

    /// Why the level is not compared.
    pub fn why(&self, level: &str) -> Option<&str> {
        self.0.get(level).map(String::as_str)
    }

    /// Level and sentence.
    pub fn into_sentences(self) -> BTreeMap<String, String> {
        self.0
    }
}

/// Why two targets can't be compared, in a whole sentence; nothing when they run under the same durability class. A class
/// that is not known is not the same as another.
pub(super) fn difference(manifest: &Manifest, one: &str, other: &str) -> Option<String> {
    let class = |name: &str| {
        let receipt = manifest.targets.iter().find(|receipt| receipt.name == name)?;
        Some(receipt.durability_class.trim()).filter(|class| !class.is_empty())
    };
    let (first, second) = (class(one), class(other));
    if first.is_some() && first == second {
        return None;
    }
    let told = |class: Option<&str>| class.map_or("not known".to_owned(), |class| format!("\"{class}\""));
    Some(format!(
        "{one} and {other} are not compared: the durability class of {one} is {}, that of {other} is {}.",
        told(first),
        told(second)
    ))
}
