//! What members and the coordinator say to each other, read on the way: who asks to join, who is made leader, who sends assignments, who is fenced.
//!
//! A step is a request of the groups' APIs with its answer. Heartbeats and commits that say nothing new are left out. What can't be read is counted and
//! passes all the same: the trace is for readers, and no verdict stands on it. The list is bounded, and so is what is kept of a frame.

mod read;
#[cfg(test)]
mod tests;
mod text;

use super::frames::LENGTH_BYTES;

pub(super) use read::Asked;
pub use text::Mark;

/// Most steps that are kept; the first ones, as a trace is read from its beginning.
const STEPS_MAX: usize = 20_000;
/// What is kept of a frame to be read; a longer one is not read.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Longest text of one step.
const WORDS_BYTES_MAX: usize = 2000;

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
    /// What was asked and answered, in words.
    pub what: String,
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
}

impl Trace {
    pub(super) fn add(&mut self, mut step: Step) {
        if self.steps.len() >= STEPS_MAX {
            self.left_out += 1;
            return;
        }
        if step.what.len() > WORDS_BYTES_MAX {
            let end = (0..=WORDS_BYTES_MAX)
                .rev()
                .find(|at| step.what.is_char_boundary(*at))
                .unwrap_or(0);
            step.what.truncate(end);
            step.what.push('…');
        }
        self.steps.push(step);
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
