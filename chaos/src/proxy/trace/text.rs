//! The trace as text, for people and for programs. Times are told since the run's first event, as in the tables of a run folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::rounds::rounds;
use super::{Act, Step, Trace};

/// Something beside the protocol that readers have to know of: what was done to whom, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When, `CLOCK_MONOTONIC` in nanoseconds.
    pub at_ns: u64,
    /// In words.
    pub what: String,
}

/// A request that waited so long for its answer has a line of its own.
const WAITED_NS: u64 = 10_000_000;
/// What a reader has to know of the lines.
const HEAD: &str = "\
# Seconds since the run's first event. `**` what was done, `==` what became of the group.
# A line is a request with its answer, when that came. One that waited 10 ms has two: the request's ends in `...`, the answer's begins with it.
# Heartbeats, commits and look-ups that say nothing new are left out. Ids of members, topics and connections are in the table beside.
";

/// A line, before it has its place.
struct Line {
    at_ns: u64,
    /// What stands above at the same time.
    rank: u8,
    text: String,
}

impl Trace {
    /// For people: what was said, what was done (`marks`), and what became of the group, in the order of their times. Members and topics go by
    /// their names. What was left out or could not be read is said at the end.
    pub fn text(&self, start_ns: u64, marks: &[Mark]) -> String {
        let mut names: BTreeMap<&str, &str> = self.steps.iter().filter_map(Step::named).collect();
        names.extend(self.topics.iter().map(|(id, name)| (id.as_str(), name.as_str())));
        let groups: BTreeSet<&str> = self.steps.iter().map(|step| step.group.as_str()).collect();
        let width = |of: fn(&Step) -> usize| self.steps.iter().map(of).max().unwrap_or(0);
        let widths = (width(|step| step.client.len()), width(|step| step.api_text(true).len()));
        let mut lines = Vec::new();
        for mark in marks {
            let text = format!("** {}", mark.what);
            let at_ns = mark.at_ns;
            lines.push(Line { at_ns, rank: 0, text });
        }
        for round in rounds(&self.steps) {
            let text = format!("== {}", round.what);
            let at_ns = round.at_ns;
            lines.push(Line { at_ns, rank: 1, text });
        }
        for step in &self.steps {
            step.lines(widths, groups.len() > 1, &names, &mut lines);
        }
        lines.sort_by_key(|line| (line.at_ns, line.rank));
        let mut out = HEAD.to_owned();
        for line in lines {
            let _ = writeln!(out, "{:9.3} s  {}", millis(line.at_ns, start_ns) / 1e3, line.text);
        }
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
    /// | `asked`, `answered` | what was asked and answered, in words |
    pub fn csv(&self, start_ns: u64) -> String {
        let topics = self
            .topics
            .iter()
            .map(|(id, name)| (id.as_str(), name.as_str()))
            .collect();
        let mut out =
            "asked_ms,answered_ms,connection,client,api,group,member,epoch,error,lost,asked,answered\n".to_owned();
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
            let words = [&step.asked, &step.answered]
                .map(|words| quoted(&readable(words, &topics)))
                .join(",");
            let _ = writeln!(
                out,
                "{asked:.3},{answered:.3},{connection},{texts},{epoch},{error},{is_lost},{words}"
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

    /// The API, with the epoch where it is known. A request to join does not know the one that its answer has.
    fn api_text(&self, is_answered: bool) -> String {
        let is_known = is_answered || !["JoinGroup", "ConsumerGroupHeartbeat"].contains(&self.api);
        let epoch = self.epoch.filter(|_| is_known);
        epoch.map_or(self.api.to_owned(), |epoch| format!("{} [{epoch}]", self.api))
    }

    /// One line, or two where others may stand between request and answer. What the leader assigns stands before what others are given.
    fn lines(&self, widths: (usize, usize), has_group: bool, names: &BTreeMap<&str, &str>, lines: &mut Vec<Line>) {
        let waited_ns = self.answered_ns.saturating_sub(self.asked_ns);
        let is_split = waited_ns >= WAITED_NS || self.act == Act::Assigns;
        let mut line = |is_answered: bool, words: String| {
            let group = if has_group {
                format!("{}: ", self.group)
            } else {
                String::new()
            };
            let (client, api) = (&self.client, self.api_text(is_answered));
            let text = format!("{client:0$}  {api:1$}  {group}{words}", widths.0, widths.1);
            let at_ns = if is_answered { self.answered_ns } else { self.asked_ns };
            lines.push(Line { at_ns, rank: 2, text });
        };
        let error = error_text(self.error);
        let mut answers: Vec<&str> = [self.answered.as_str(), &error].into();
        if self.is_lost {
            answers.push("the answer did not reach it");
        }
        answers.retain(|words| !words.is_empty());
        let asked = readable(&self.asked, names);
        let answered = readable(&answers.join(", "), names);
        if is_split {
            line(false, format!("{asked} ..."));
            let space = if answered.is_empty() { "" } else { " " };
            line(
                true,
                format!("...{space}{answered}, after {:.1} ms", waited_ns as f64 / 1e6),
            );
        } else if answered.is_empty() {
            line(true, asked);
        } else {
            line(true, format!("{asked}: {answered}"));
        }
    }
}

fn millis(at_ns: u64, start_ns: u64) -> f64 {
    at_ns.saturating_sub(start_ns) as f64 / 1e6
}

/// The words with names in the place of ids.
fn readable(words: &str, names: &BTreeMap<&str, &str>) -> String {
    let name = |word: &str| {
        let bare = word.trim_end_matches([':', ';', ',']);
        names.get(bare).map(|name| format!("{name}{}", &word[bare.len()..]))
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
        Some(error) => format!("{error:?}"),
        None => format!("error {code}"),
    }
}
