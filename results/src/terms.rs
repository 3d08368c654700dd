//! On which terms targets are compared: what is the same between them, and what differs and is printed therefore.
//!
//! It reads the targets' receipts and judges nothing; whether two targets may be compared is decided in
//! [`crate::analysis`].

use std::collections::BTreeSet;

use crate::schema::{Manifest, TargetReceipt};

/// The terms of a run with several targets.
#[derive(Debug, Clone, PartialEq)]
pub struct EqualTerms {
    /// The targets with their versions, in the order of the manifest.
    pub targets: Vec<String>,
    /// Durability class, heap, client and the like.
    pub terms: Vec<Term>,
    /// Every setting that some target runs with another value than its default.
    pub settings: Vec<Term>,
    /// The target's name, and what it does that others don't, in a whole sentence.
    pub differences: Vec<(String, String)>,
}

/// One term, target by target.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Its name for people.
    pub name: String,
    /// One value per target; absent where a target's is not known, or where it has no such setting.
    pub values: Vec<Option<String>>,
    /// Whether all targets have it, with the same value.
    pub is_same: bool,
}

impl EqualTerms {
    /// The terms, or nothing with fewer than two targets.
    pub fn of(manifest: &Manifest) -> Option<Self> {
        let receipts = &manifest.targets;
        if receipts.len() < 2 {
            return None;
        }
        let class = |receipt: &TargetReceipt| {
            let class = receipt.durability_class.trim();
            Some(class.to_owned()).filter(|class| !class.is_empty())
        };
        let mut terms = vec![Term::of("durability class", receipts.iter().map(class).collect())];
        let names: BTreeSet<&String> = receipts.iter().flat_map(|receipt| receipt.terms.keys()).collect();
        terms.extend(names.into_iter().map(|name| {
            let values = receipts.iter().map(|receipt| receipt.terms.get(name).cloned());
            Term::of(name, values.collect())
        }));
        let changed = receipts.iter().flat_map(|receipt| receipt.differs_from_default.keys());
        let changed: BTreeSet<&String> = changed.collect();
        let settings = changed.into_iter().map(|name| setting(receipts, name)).collect();
        let differences = receipts.iter().flat_map(|receipt| {
            let sentences = receipt.differences.iter();
            sentences.map(|sentence| (receipt.name.clone(), sentence.clone()))
        });
        Some(Self {
            targets: receipts.iter().map(named).collect(),
            terms,
            settings,
            differences: differences.collect(),
        })
    }
}

impl Term {
    fn of(name: &str, values: Vec<Option<String>>) -> Self {
        let is_same = values.iter().all(|value| value.is_some() && *value == values[0]);
        Self {
            name: name.to_owned(),
            values,
            is_same,
        }
    }
}

fn named(receipt: &TargetReceipt) -> String {
    format!("{} {}", receipt.name, receipt.version).trim_end().to_owned()
}

/// A setting that was left at its default is marked as such: it was not chosen for this run.
fn setting(receipts: &[TargetReceipt], name: &str) -> Term {
    let value = |receipt: &TargetReceipt| {
        let changed = receipt.differs_from_default.get(name);
        changed.or_else(|| receipt.effective_config.get(name)).cloned()
    };
    let Term { is_same, .. } = Term::of(name, receipts.iter().map(value).collect());
    let shown = receipts.iter().map(|receipt| {
        let value = value(receipt)?;
        let is_default = !receipt.differs_from_default.contains_key(name);
        Some(if is_default {
            format!("{value} (default)")
        } else {
            value
        })
    });
    Term {
        name: name.to_owned(),
        values: shown.collect(),
        is_same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{Truth, manifest};

    fn receipt(name: &str, class: &str, terms: &[(&str, &str)], settings: &[(&str, &str)]) -> TargetReceipt {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        TargetReceipt {
            name: name.into(),
            version: "1".into(),
            effective_config: map(settings),
            differs_from_default: map(&settings[..settings.len().min(1)]),
            durability_class: class.into(),
            differences: vec![format!("{name} does more.")],
            terms: map(terms),
        }
    }

    #[test]
    fn what_is_unknown_is_not_the_same() {
        let mut manifest = manifest(&Truth::one_cell(1.0), vec![]);
        assert_eq!(
            EqualTerms::of(&manifest),
            None,
            "one target has nothing to be compared with"
        );
        manifest.targets = vec![
            receipt(
                "a",
                "class",
                &[("client", "own"), ("heap", "none")],
                &[("x", "1"), ("y", "2")],
            ),
            receipt("b", "class", &[("client", "own")], &[("y", "2")]),
            receipt("c", "class", &[("client", "own")], &[]),
        ];
        let found = EqualTerms::of(&manifest).unwrap();
        let told = |term: &Term| {
            let values: Vec<&str> = term
                .values
                .iter()
                .map(|value| value.as_deref().unwrap_or("-"))
                .collect();
            format!("{} {} {}", term.name, values.join("|"), term.is_same)
        };
        assert_eq!(
            found.terms.iter().map(told).collect::<Vec<_>>(),
            [
                "durability class class|class|class true",
                "client own|own|own true",
                "heap none|-|- false"
            ]
        );
        assert_eq!(
            found.settings.iter().map(told).collect::<Vec<_>>(),
            ["x 1|-|- false", "y 2 (default)|2|- false"]
        );
        assert_eq!(found.targets, ["a 1", "b 1", "c 1"]);
        assert_eq!(found.differences[1], ("b".to_owned(), "b does more.".to_owned()));
        manifest.targets[1].durability_class = " ".into();
        assert!(!EqualTerms::of(&manifest).unwrap().terms[0].is_same);
    }
}
