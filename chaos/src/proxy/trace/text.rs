//! The trace as text, for people and for programs. Times are told since the run's first event, as in the tables of a run folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Step, Trace};

/// Something beside the protocol that readers have to know of: what was done to whom, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When, `CLOCK_MONOTONIC` in nanoseconds.
    pub at_ns: u64,
    /// In words.
    pub what: String,
}

impl Trace {
    /// For people: a line for each step at the time of its answer, with `marks` (in the order of their times) between them. Ids of members are
    /// told once and are their clients' names from there on. What was left out or could not be read is said at the end.
    pub fn text(&self, start_ns: u64, marks: &[Mark]) -> String {
        let mut out = String::new();
        let clients: BTreeMap<&str, &str> = self.steps.iter().filter_map(Step::named).collect();
        let mut told = BTreeSet::new();
        let mut marks = marks.iter().peekable();
        for step in &self.steps {
            while let Some(mark) = marks.next_if(|mark| mark.at_ns <= step.answered_ns) {
                mark.tell(&mut out, start_ns);
            }
            let id = step.named().map(|(id, _)| id).filter(|id| told.insert(*id));
            let id = id.map_or(String::new(), |id| format!(" (its id is {id})"));
            let Step {
                client,
                connection,
                api,
                group,
                ..
            } = step;
            let epoch = step.epoch.map_or(String::new(), |epoch| format!(" [{epoch}]"));
            let lost = if step.is_lost {
                ", and the answer did not reach it"
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "{:9.3} s  {client}#{connection}{id}  {api}{epoch} {group}: {}{}{lost}, after {:.1} ms",
                millis(step.answered_ns, start_ns) / 1e3,
                readable(&step.what, &clients),
                error_text(step.error),
                millis(step.answered_ns, step.asked_ns),
            );
        }
        marks.for_each(|mark| mark.tell(&mut out, start_ns));
        for (count, why) in [
            (self.left_out, "more steps were left out"),
            (self.unread, "frames could not be read"),
        ] {
            if count > 0 {
                let _ = writeln!(out, "{count} {why}");
            }
        }
        out
    }

    /// For programs: one row for each step, in the order of their answers.
    ///
    /// | column | meaning |
    /// | --- | --- |
    /// | `asked_ms`, `answered_ms` | when the whole request, the whole answer had come, milliseconds since `start_ns` |
    /// | `connection` | numbered from 1 in the order in which clients came |
    /// | `client` | `client.id` |
    /// | `api` | Kafka's name |
    /// | `group`, `member` | their ids; the member's is the one of the answer where that gives one |
    /// | `epoch` | generation or member epoch, the answer's where it has one; empty where there is none |
    /// | `error` | Kafka's code, 0 for none |
    /// | `lost` | `true` when the answer did not reach the client |
    /// | `what` | what was asked and answered, in words |
    pub fn csv(&self, start_ns: u64) -> String {
        let mut out = "asked_ms,answered_ms,connection,client,api,group,member,epoch,error,lost,what\n".to_owned();
        for step in &self.steps {
            let [asked, answered] = [step.asked_ns, step.answered_ns].map(|at_ns| millis(at_ns, start_ns));
            let texts = [&step.client, step.api, &step.group, &step.member]
                .map(quoted)
                .join(",");
            let epoch = step.epoch.map_or(String::new(), |epoch| epoch.to_string());
            let Step {
                connection,
                error,
                is_lost,
                ..
            } = step;
            let what = quoted(&step.what);
            let _ = writeln!(
                out,
                "{asked:.3},{answered:.3},{connection},{texts},{epoch},{error},{is_lost},{what}"
            );
        }
        out
    }
}

impl Step {
    /// The member's id with its client's name, of a step that has both.
    fn named(&self) -> Option<(&str, &str)> {
        let is_one = !self.member.is_empty() && !self.member.contains(' ') && !self.client.is_empty();
        is_one.then_some((self.member.as_str(), self.client.as_str()))
    }
}

impl Mark {
    fn tell(&self, out: &mut String, start_ns: u64) {
        let _ = writeln!(out, "{:9.3} s  ** {}", millis(self.at_ns, start_ns) / 1e3, self.what);
    }
}

fn millis(at_ns: u64, start_ns: u64) -> f64 {
    at_ns.saturating_sub(start_ns) as f64 / 1e6
}

/// The words with clients' names in the place of ids.
fn readable(words: &str, clients: &BTreeMap<&str, &str>) -> String {
    let name = |word: &str| {
        let bare = word.trim_end_matches([':', ';', ',']);
        clients
            .get(bare)
            .map(|client| format!("{client}{}", &word[bare.len()..]))
    };
    let words: Vec<String> = words
        .split(' ')
        .map(|word| name(word).unwrap_or_else(|| word.to_owned()))
        .collect();
    words.join(" ")
}

/// A field of a CSV file.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn error_text(code: i16) -> String {
    match kafka_wire::ErrorCode::from_code(code) {
        Some(kafka_wire::ErrorCode::None) => String::new(),
        Some(error) => format!(", {error:?}"),
        None => format!(", error {code}"),
    }
}
