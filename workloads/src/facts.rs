//! Definitions of kind facts: statements that need no statistics, each with the place where it is looked up.
//!
//! The files in `workloads/facts/` are embedded in the binary. A definition is data: nothing here looks anything up.

use std::collections::BTreeSet;

use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::definition::DefinitionError;

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/facts");

/// Statements that are looked up on a running target. Always checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FactsDefinition {
    /// Name on the command line: lower-case letters, digits and dashes.
    pub name: String,
    /// What it is about in a few words.
    pub title: String,
    /// Why it is worth a look.
    pub why: String,
    /// The statements, at least one, in the order of the file.
    pub facts: Vec<Statement>,
    /// 64-bit FNV-1a of the file, 16 hex digits: two runs with the same digest asked the same questions.
    pub digest: String,
}

/// Something that is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// Short name, unique in the definition.
    pub id: String,
    /// What is said.
    pub statement: String,
    /// Who says so.
    pub source: String,
    /// The version from which on it no longer holds; `None` when it never held, or holds still.
    pub true_before: Option<Version>,
    /// A KIP or a version, and the place in the documentation.
    pub reference: String,
    /// Where it is looked up.
    pub look_up: LookUp,
}

/// Where a statement is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LookUp {
    /// The default of a setting, which the statement says is `says`.
    Default {
        /// Whose setting.
        of: Side,
        /// Its name.
        setting: String,
        /// Its value according to the statement.
        says: String,
    },
    /// Something that the code makes happen or sees, by its name there.
    Observe(String),
}

/// Who has a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The broker.
    Broker,
    /// The Java consumer.
    Consumer,
    /// The Java producer.
    Producer,
}

/// Numbers of a version, the most significant first; missing ones are 0, and what follows a dash is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version(Vec<u32>);

impl Version {
    /// Reads `4.3.1`, `0.10.1`, `4.0` or `4.1.0-rc1`; at most four numbers.
    pub fn parse(text: &str) -> Option<Self> {
        let numbers = text.split('-').next().unwrap_or_default().split('.').map(str::parse);
        let mut numbers: Vec<u32> = numbers.collect::<Result<_, _>>().ok()?;
        if numbers.len() < 2 || numbers.len() > 4 {
            return None;
        }
        numbers.resize(4, 0);
        Some(Self(numbers))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let used = self
            .0
            .iter()
            .rposition(|number| *number != 0)
            .map_or(2, |last| last + 1);
        let numbers: Vec<String> = self.0[..used.max(2)].iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

/// The file as serde reads it.
mod wire {
    use super::{Deserialize, Spanned};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct File {
        pub name: Spanned<String>,
        pub title: String,
        pub why: String,
        pub facts: Spanned<Vec<Statement>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Statement {
        pub id: Spanned<String>,
        pub statement: Spanned<String>,
        pub source: Spanned<String>,
        pub true_before: Option<Spanned<String>>,
        pub reference: Spanned<String>,
        pub look_up: Spanned<LookUp>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct LookUp {
        pub broker: Option<String>,
        pub consumer: Option<String>,
        pub producer: Option<String>,
        pub observe: Option<String>,
        pub says: Option<String>,
    }
}

/// Lower-case letters, digits and dashes.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

impl FactsDefinition {
    /// Parses and checks the text of a file that is called `path` in messages.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and remedy.
    pub fn parse(path: &str, text: &str) -> Result<Self, Box<DefinitionError>> {
        let fail = |span: std::ops::Range<usize>, message: String, remedy: &str| {
            Err(DefinitionError::at(path, text, span, message, remedy.to_owned()))
        };
        let file: wire::File = toml::from_str(text).map_err(|error| {
            DefinitionError::at(
                path,
                text,
                error.span().unwrap_or(0..0),
                error.message().to_owned(),
                "`assay show folklore-facts --toml` prints a definition with every key that there is".to_owned(),
            )
        })?;
        if !is_name(file.name.get_ref()) {
            let message = format!("`{}` is not a name", file.name.get_ref());
            return fail(file.name.span(), message, "use lower-case letters, digits and dashes");
        }
        if file.facts.get_ref().is_empty() {
            return fail(file.facts.span(), "no statement".to_owned(), "add one `[[facts]]`");
        }
        let mut ids = BTreeSet::new();
        let mut facts = Vec::new();
        for wire in file.facts.into_inner() {
            let id = wire.id.get_ref();
            if !is_name(id) {
                let message = format!("`{id}` is not a name");
                return fail(wire.id.span(), message, "use lower-case letters, digits and dashes");
            }
            if !ids.insert(id.clone()) {
                let message = format!("fact `{id}` is there twice");
                return fail(wire.id.span(), message, "give each an id of its own");
            }
            for (what, value) in [
                ("statement", &wire.statement),
                ("source", &wire.source),
                ("reference", &wire.reference),
            ] {
                if value.get_ref().trim().is_empty() {
                    let message = format!("fact `{id}` has an empty `{what}`");
                    return fail(value.span(), message, "say it in words");
                }
            }
            let true_before = match &wire.true_before {
                None => None,
                Some(version) => match Version::parse(version.get_ref()) {
                    None => {
                        let message = format!("`{}` is not a version", version.get_ref());
                        return fail(version.span(), message, "write it like 3.0.0");
                    }
                    parsed => parsed,
                },
            };
            let span = wire.look_up.span();
            let Some(look_up) = look_up(wire.look_up.into_inner()) else {
                let message = format!("fact `{id}` says in no clear way where it is looked up");
                let remedy = "write { broker = .., says = .. }, { consumer = .., says = .. }, { producer = .., says = .. } or { observe = .. }";
                return fail(span, message, remedy);
            };
            facts.push(Statement {
                id: wire.id.into_inner(),
                statement: wire.statement.into_inner(),
                source: wire.source.into_inner(),
                true_before,
                reference: wire.reference.into_inner(),
                look_up,
            });
        }
        Ok(Self {
            name: file.name.into_inner(),
            title: file.title,
            why: file.why,
            facts,
            digest: format!("{:016x}", crate::payload::fnv1a(text.as_bytes())),
        })
    }
}

fn look_up(wire: wire::LookUp) -> Option<LookUp> {
    let sides = [
        (Side::Broker, wire.broker),
        (Side::Consumer, wire.consumer),
        (Side::Producer, wire.producer),
    ];
    let mut settings = sides.into_iter().filter_map(|(of, setting)| Some((of, setting?)));
    match (settings.next(), settings.next(), wire.observe, wire.says) {
        (Some((of, setting)), None, None, Some(says)) => Some(LookUp::Default { of, setting, says }),
        (None, None, Some(observe), None) => Some(LookUp::Observe(observe)),
        _ => None,
    }
}

/// All definitions in the binary, by name.
///
/// # Errors
/// An embedded definition that does not pass its own checks; a test keeps that from being shipped.
pub fn embedded() -> Result<Vec<FactsDefinition>, Box<DefinitionError>> {
    let mut definitions = embedded_texts()
        .map(|(path, text)| FactsDefinition::parse(path, text))
        .collect::<Result<Vec<_>, _>>()?;
    definitions.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(definitions)
}

/// File name and text of each definition in the binary.
pub fn embedded_texts() -> impl Iterator<Item = (&'static str, &'static str)> {
    EMBEDDED
        .files()
        .filter_map(|file| Some((file.path().to_str()?, file.contents_utf8()?)))
        .filter(|(path, _)| path.ends_with(".toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLKLORE: &str = include_str!("../facts/folklore-facts.toml");

    #[test]
    fn the_embedded_definition_is_read() {
        let all = embedded().unwrap();
        assert_eq!(all.len(), 1);
        let folklore = &all[0];
        assert_eq!(folklore.name, "folklore-facts");
        assert!(folklore.facts.len() >= 20, "{}", folklore.facts.len());
        let session = folklore
            .facts
            .iter()
            .find(|fact| fact.id == "session-timeout-10s")
            .unwrap();
        assert_eq!(session.true_before, Version::parse("3.0"));
        let look_up = LookUp::Default {
            of: Side::Consumer,
            setting: "session.timeout.ms".to_owned(),
            says: "10000".to_owned(),
        };
        assert_eq!(session.look_up, look_up);
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("0.10.1") > version("0.9.0.1") && version("4.3.1") > version("4.3"));
        assert_eq!(version("4.0"), version("4.0.0"));
        assert_eq!(version("4.1.0-rc1"), version("4.1"));
        assert_eq!(version("0.10.1").to_string(), "0.10.1");
        assert_eq!(version("3.0.0").to_string(), "3.0");
        for text in ["", "4", "v4.0", "4.0.x", "1.2.3.4.5"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    /// What is replaced, by what, where the error points, and what it says.
    const BROKEN: &[(&str, &str, &str, &str)] = &[
        (
            "name = \"folklore-facts\"",
            "name = \"Folklore\"",
            "\"Folklore\"",
            "is not a name",
        ),
        (
            "id = \"heartbeat-3s\"",
            "id = \"acks-1\"",
            "\"acks-1\"",
            "`acks-1` is there twice",
        ),
        (
            "id = \"heartbeat-3s\"",
            "id = \"heartbeat 3s\"",
            "\"heartbeat 3s\"",
            "is not a name",
        ),
        (
            "true_before = \"3.0.0\"",
            "true_before = \"three\"",
            "\"three\"",
            "`three` is not a version",
        ),
        (
            "statement = \"heartbeat.interval.ms is 3 s.\"",
            "statement = \"\"",
            "\"\"",
            "empty `statement`",
        ),
        (
            "look_up = { observe = \"segment-names\" }",
            "look_up = { observe = \"segment-names\", says = \"20\" }",
            "{ observe",
            "in no clear way",
        ),
        (
            "look_up = { broker = \"num.partitions\", says = \"1\" }",
            "look_up = { broker = \"num.partitions\" }",
            "{ broker",
            "in no clear way",
        ),
        (
            "observe = \"segment-names\"",
            "observes = \"segment-names\"",
            "observes",
            "unknown field `observes`",
        ),
    ];

    #[test]
    fn each_kind_of_error_names_file_line_and_remedy() {
        for (from, to, points_at, message) in BROKEN {
            assert!(FOLKLORE.contains(from), "the definition has no {from:?} any more");
            let text = FOLKLORE.replacen(from, to, 1);
            let error = FactsDefinition::parse("facts.toml", &text).expect_err(to);
            assert!(error.message.contains(message), "{to:?}: {error}");
            assert!(!error.remedy.is_empty());
            let line = text.lines().nth(error.line - 1).unwrap_or_default();
            let place: String = line.chars().skip(error.column - 1).collect();
            assert!(
                place.starts_with(points_at),
                "{to:?}: points at {place:?} in line {}",
                error.line
            );
        }
    }

    #[test]
    fn a_definition_without_statements_is_refused() {
        let error =
            FactsDefinition::parse("none.toml", "name = \"none\"\ntitle = \"\"\nwhy = \"\"\nfacts = []\n").unwrap_err();
        assert!(error.to_string().starts_with("none.toml:4:"), "{error}");
    }
}
