//! The file of known differences.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// Known differences, in the order of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Differences {
    #[serde(default)]
    pub(super) difference: Vec<Difference>,
}

/// Cases that differ for one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Difference {
    /// Titles: `Api: name`.
    pub(super) cases: Vec<String>,
    pub(super) why: String,
}

impl Differences {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        Self::parse(&text, &path.display().to_string())
    }

    pub(super) fn parse(text: &str, place: &str) -> anyhow::Result<Self> {
        let known: Self = toml::from_str(text).map_err(|error| anyhow::anyhow!("{place}: {error}"))?;
        let mut seen = BTreeSet::new();
        for title in known.titles() {
            if !seen.insert(title) {
                bail!("{place}: '{title}' is listed twice; leave one of them");
            }
        }
        if let Some(empty) = known.difference.iter().find(|d| d.why.trim().is_empty()) {
            bail!("{place}: {:?} has no reason; say why", empty.cases);
        }
        Ok(known)
    }

    pub(super) fn titles(&self) -> impl Iterator<Item = &str> {
        self.difference.iter().flat_map(|d| d.cases.iter().map(String::as_str))
    }

    pub(super) fn reason(&self, title: &str) -> Option<&str> {
        let found = self
            .difference
            .iter()
            .find(|d| d.cases.iter().any(|case| case == title));
        found.map(|d| d.why.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_and_the_case() {
        for (text, expected) in [
            ("[[difference]]\ncases = [\"a\"]\n", "why"),
            ("[[difference]]\ncases = [\"a\"]\nwhy = \" \"\n", "no reason"),
            (
                "[[difference]]\ncases = [\"a\", \"a\"]\nwhy = \"b\"\n",
                "'a' is listed twice",
            ),
            ("[[differences]]\n", "differences"),
        ] {
            let message = Differences::parse(text, "known.toml").unwrap_err().to_string();
            assert!(
                message.contains("known.toml") && message.contains(expected),
                "{message}"
            );
        }
    }
}
