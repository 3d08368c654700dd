//! What a group is subscribed to: names, and patterns that the broker matches against the topics that there are.

use std::collections::{BTreeMap, BTreeSet};

use kafka_wire::ErrorCode;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use uuid::Uuid;

use super::member::{Member, Refused, refuse};
use crate::topics::Catalog;

/// Different patterns in one group. Kafka has no such bound.
pub(super) const PATTERNS_MAX: usize = 100;
/// Memory of one compiled pattern, which lives as long as it takes to match the topics.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// The names that a pattern matches as a whole, as in RE2: no look-around and no back references, and time that grows with the length of the name
/// only. Classes such as `\w` are ASCII, as names of topics are.
///
/// # Errors
/// INVALID_REGULAR_EXPRESSION, for one that is too large as well.
pub(super) fn matching(pattern: &str, catalog: &Catalog) -> Result<BTreeSet<String>, Refused> {
    let regex = compile(pattern)?;
    let names = catalog.names().filter(|name| regex.is_match(name));
    Ok(names.map(str::to_owned).collect())
}

/// Compiles a pattern.
pub(super) fn compile(pattern: &str) -> Result<Regex, Refused> {
    // On its own first, so that a parenthesis that closes ours is an error.
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    let limits = Regex::config()
        .nfa_size_limit(Some(COMPILED_BYTES_MAX))
        .utf8_empty(false);
    let build = |text: &str| {
        let built = Regex::builder().syntax(syntax).configure(limits.clone()).build(text);
        built.map_err(Box::new)
    };
    match build(pattern).and_then(|_| build(&format!("^(?:{pattern})$"))) {
        Ok(regex) => Ok(regex),
        Err(error) => {
            let message = format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {error}.");
            refuse(ErrorCode::InvalidRegularExpression, message)
        }
    }
}

/// Patterns of a group with the topics that they match.
#[derive(Debug, Default)]
pub(super) struct Patterns(BTreeMap<String, BTreeSet<String>>);

impl Patterns {
    /// Makes it the patterns of these members, matched against these topics.
    pub fn resolve<'a>(&mut self, members: impl Iterator<Item = &'a Member>, catalog: &Catalog) {
        let wanted: BTreeSet<&str> = members.map(|m| m.pattern.as_str()).filter(|p| !p.is_empty()).collect();
        // They were compiled when they were accepted.
        let resolve = |pattern: &str| (pattern.to_owned(), matching(pattern, catalog).unwrap_or_default());
        self.0 = wanted.into_iter().map(resolve).collect();
    }

    /// Everything that a member is subscribed to, whether it exists or not.
    pub fn names<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a str> {
        let matched = self.0.get(&member.pattern).into_iter().flatten();
        member.topics.iter().chain(matched).map(String::as_str)
    }

    /// The topics of a member that there are.
    pub fn topics(&self, member: &Member, catalog: &Catalog) -> BTreeSet<Uuid> {
        self.names(member)
            .filter_map(|name| catalog.topic(name).map(|(id, _)| id))
            .collect()
    }
}

/// What a group's topics are at a time: equal as long as none comes, goes, grows or is made anew. FNV-1a, 64 bits; Kafka's own is another one, so
/// one that reads our records assigns anew once.
pub(super) fn metadata_hash<'a>(names: impl Iterator<Item = &'a str>, catalog: &Catalog) -> i64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let names: BTreeSet<&str> = names.collect();
    for name in names {
        if let Some((id, partitions)) = catalog.topic(name) {
            add(name.as_bytes());
            add(id.as_bytes());
            add(&partitions.to_be_bytes());
        }
    }
    hash as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(names: &[&str]) -> Catalog {
        Catalog::of(
            1,
            (1..)
                .zip(names)
                .map(|(n, name)| ((*name).to_owned(), Uuid::from_u128(n), 3)),
        )
    }

    #[test]
    fn patterns_match_whole_names() {
        let topics = catalog(&["orders", "orders-eu", "payments", "x.y", "xzy"]);
        let names = |pattern: &str| matching(pattern, &topics).map(|names| Vec::from_iter(names).join(" "));
        for (pattern, expected) in [
            ("orders", "orders"),
            ("orders.*", "orders orders-eu"),
            ("orders|pay.*", "orders payments"),
            ("^orders$", "orders"),
            (r"x\.y", "x.y"),
            (r"\w+", "orders payments xzy"),
            ("(?i)ORDERS", "orders"),
            ("", ""),
        ] {
            assert_eq!(names(pattern).as_deref(), Ok(expected), "{pattern}");
        }
        for pattern in ["(", "a)(b", r"(a)\1", "(?=a)", "*", "((a{1000}){1000}){1000}"] {
            let error = names(pattern).map_err(|refused| refused.error);
            assert_eq!(error, Err(ErrorCode::InvalidRegularExpression), "{pattern}");
        }
    }

    #[test]
    fn the_hash_tells_every_change_of_a_topic_and_no_other() {
        let topics = catalog(&["a", "b"]);
        let hash = |names: &[&str], topics: &Catalog| metadata_hash(names.iter().copied(), topics);
        let both = hash(&["a", "b"], &topics);
        assert_eq!(both, hash(&["b", "a", "a", "not there"], &topics));
        assert_ne!(both, hash(&["a"], &topics));
        let one = |id, partitions| Catalog::of(2, [("a".to_owned(), Uuid::from_u128(id), partitions)].into_iter());
        assert_eq!(hash(&["a"], &topics), hash(&["a"], &one(1, 3)));
        assert_ne!(hash(&["a"], &topics), hash(&["a"], &one(1, 4)), "it has grown");
        assert_ne!(hash(&["a"], &topics), hash(&["a"], &one(9, 3)), "it was made anew");
    }
}
