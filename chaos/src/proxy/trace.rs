//! What members and the coordinator say to each other, read on the way: who asks to join, who is made leader, who sends assignments, who is fenced.
//!
//! A step is a request of the groups' APIs with its answer. Heartbeats, commits and look-ups that say nothing new are left out. What can't be read is counted and
//! passes all the same: the trace is for readers, and no verdict stands on it. The list is bounded, and so is what is kept of a frame.

mod read;
mod rounds;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use super::frames::LENGTH_BYTES;
use read::Told;

pub(super) use read::Asked;
pub use text::Mark;

/// Most steps that are kept; the first ones, as a trace is read from its beginning.
const STEPS_MAX: usize = 20_000;
/// What is kept of a frame to be read; a longer one is not read.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Longest text of a request or an answer.
const WORDS_BYTES_MAX: usize = 2000;
/// Most topics whose ids are kept.
const TOPICS_MAX: usize = 1000;
/// What stands before a member's subscription, before what it holds, and before what it is given, in heartbeats of KIP-848.
const WANTS: &str = ", wants ";
const HOLDS: &str = ", holds ";
const SHALL_HOLD: &str = "shall hold ";

/// What a request does to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A member asks to be one.
    Joins,
    /// It leaves.
    Leaves,
    /// The leader says who gets what.
    Assigns,
    /// Something else.
    Other,
}

/// A request of the groups' APIs with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When the whole request had come, `CLOCK_MONOTONIC` in nanoseconds.
    pub asked_ns: u64,
    /// When the whole answer had come.
    pub answered_ns: u64,
    /// The connection, numbered from 1 in the order in which clients came.
    pub connection: u32,
    /// The client's id, as it calls itself.
    pub client: String,
    /// Kafka's name of the API.
    pub api: &'static str,
    /// The group.
    pub group: String,
    /// The member's id: the one of the answer where that gives one.
    pub member: String,
    /// Generation or member epoch: the answer's where it has one, and otherwise the request's.
    pub epoch: Option<i32>,
    /// Kafka's code, 0 for none.
    pub error: i16,
    /// What the request does to its group.
    pub act: Act,
    /// What was asked, in words.
    pub asked: String,
    /// What was answered, in words; without the error.
    pub answered: String,
    /// The answer did not reach the client.
    pub is_lost: bool,
}

/// The steps so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// In the order of their answers.
    pub steps: Vec<Step>,
    /// Steps that found no place any more.
    pub left_out: u64,
    /// Requests or answers that could not be read, or were too long to be kept.
    pub unread: u64,
    /// Topics by what stands for them in words: the start of their id.
    topics: BTreeMap<String, String>,
    /// What clients said and were told last, by client and API; only of those that ask all the while.
    told: BTreeMap<(String, &'static str), (Option<i32>, String, String)>,
}

impl Trace {
    pub(super) fn learn(&mut self, told: Told) {
        match told {
            Told::Step(step) => self.add(step),
            Told::Topics(topics) => {
                for (id, name) in topics {
                    if self.topics.len() < TOPICS_MAX || self.topics.contains_key(&id) {
                        self.topics.insert(id, name);
                    }
                }
            }
            Told::Nothing => {}
        }
    }

    pub(super) fn add(&mut self, mut step: Step) {
        if self.steps.len() >= STEPS_MAX {
            self.left_out += 1;
            return;
        }
        if !self.is_new(&step) {
            return;
        }
        for words in [&mut step.asked, &mut step.answered] {
            if words.len() > WORDS_BYTES_MAX {
                let end = (0..=WORDS_BYTES_MAX).rev().find(|at| words.is_char_boundary(*at));
                words.truncate(end.unwrap_or(0));
                words.push('…');
            }
        }
        self.steps.push(step);
    }

    /// Whether it differs from the client's step before. Clients look up the coordinator on several connections, and members of KIP-848 say all
    /// of themselves and are told again what they shall hold until they hold it.
    fn is_new(&mut self, step: &Step) -> bool {
        if !["FindCoordinator", "ConsumerGroupHeartbeat"].contains(&step.api) {
            return true;
        }
        let key = (step.client.clone(), step.api);
        if step.error != 0 || step.is_lost {
            self.told.remove(&key);
            return true;
        }
        let behind = |words: &str, word: &str| {
            words
                .split_once(word)
                .map_or(String::new(), |(_, rest)| rest.to_owned())
        };
        let mut wants = behind(&step.asked, WANTS);
        wants.truncate(wants.find(HOLDS).unwrap_or(wants.len()));
        let given = match step.api {
            "FindCoordinator" => step.answered.clone(),
            _ => behind(&step.answered, SHALL_HOLD),
        };
        let now = (step.epoch, wants, given);
        self.told.insert(key, now.clone()) != Some(now) || step.act != Act::Other
    }
}

/// A copy of a frame that passes, as far as it is needed.
#[derive(Debug, Default)]
pub(super) struct Copied(Vec<u8>);

impl Copied {
    /// A copy of the frames of this API, if they are traced.
    pub fn of(key: i16) -> Option<Self> {
        read::is_traced(key).then(Copied::default)
    }

    /// More bytes of the frame, its length in front.
    pub fn extend(&mut self, bytes: &[u8]) {
        let room = (FRAME_BYTES_MAX + 1).saturating_sub(self.0.len());
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The frame behind its length; `None` when it was too long.
    pub fn frame(&self) -> Option<&[u8]> {
        self.0.get(LENGTH_BYTES..).filter(|_| self.0.len() <= FRAME_BYTES_MAX)
    }
}
