//! What the proxy's thread and its owner share: the armed fault, what came of it, and what was lost on the way.

use std::time::Instant;

use workloads::history::OffsetRun;

use super::link::Fate;
use super::plan::{Ending, ProxyFault, Then};
use super::trace::Trace;

/// Most lost answers that are kept until they are taken; beyond, they count as unknown.
const LOST_MAX: usize = 1 << 20;
/// Most notes that are kept.
const NOTES_MAX: usize = 20;

/// A batch that the broker applied and whose acknowledgement never reached the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostAnswer {
    /// The fault that took it; 0 when the client had left by itself.
    pub fault: u32,
    /// The batch's place in the log.
    pub run: OffsetRun,
}

/// What passed, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections of clients.
    pub connections: u64,
    /// Whole requests that went on to a broker.
    pub requests: u64,
    /// Records in them, of Produce requests that have an answer.
    pub produced_records: u64,
    /// Whole answers that came from a broker.
    pub answers: u64,
    /// Answers that a client did not get, of any API.
    pub answers_dropped: u64,
    /// The most bytes that one direction of a connection waited with.
    pub buffered_bytes_max: u64,
}

/// The fault that the proxy watches for.
#[derive(Debug)]
pub(super) struct Armed {
    pub(super) number: u32,
    pub(super) fault: ProxyFault,
    /// Requests or answers of its API so far.
    seen: u32,
    /// How often it was seen to bite.
    pub(super) bites: u32,
    /// In words, for the evidence.
    pub(super) what: String,
    /// Nothing more will be done to a connection for it.
    pub(super) done: bool,
}

#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) armed: Option<Armed>,
    /// Connections that still suffer from a fault: their last answers are awaited from the broker.
    pub(super) suffering: usize,
    /// Connections that are not over: those whose client has left may still wait for the broker.
    pub(super) links: usize,
    pub(super) refusing_until: Option<Instant>,
    pub(super) lost: Vec<LostAnswer>,
    /// Produce requests whose outcome could not be followed.
    pub(super) unknown: u32,
    pub(super) notes: Vec<String>,
    pub(super) counts: Counts,
    pub(super) trace: Trace,
    pub(super) stop: bool,
}

impl Board {
    pub(super) fn arm(&mut self, number: u32, fault: ProxyFault) {
        self.armed = Some(Armed {
            number,
            fault,
            seen: 0,
            bites: 0,
            what: String::new(),
            done: false,
        });
    }

    /// Whether the armed fault is over: it has bitten, and everything that it left behind is known.
    pub(super) fn is_over(&self) -> bool {
        self.armed.as_ref().is_none_or(|armed| armed.done) && self.suffering == 0 && self.refusing_until.is_none()
    }

    pub(super) fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note);
        }
    }

    pub(super) fn lose(&mut self, fault: u32, runs: &[OffsetRun]) {
        for &run in runs {
            if self.lost.len() < LOST_MAX {
                self.lost.push(LostAnswer { fault, run });
            } else {
                self.unknown += 1;
            }
        }
    }

    /// Books the head of a request; gives the fault's number, the bytes of the frame that pass, and how the connection then ends.
    pub(super) fn request_begins(&mut self, key: i16, frame_bytes: usize) -> Option<(u32, usize, Ending)> {
        let armed = self.armed.as_mut().filter(|armed| !armed.done)?;
        let ProxyFault::CutRequest {
            api,
            nth,
            at_millionths,
            ending,
        } = armed.fault
        else {
            return None;
        };
        if !armed.is_nth(api.0.code(), key, nth) {
            return None;
        }
        let bytes = ProxyFault::cut_after(frame_bytes, at_millionths);
        armed.bite(format!(
            "request {nth} to {api} was cut off after {bytes} of {frame_bytes} bytes"
        ));
        Some((armed.number, bytes, ending))
    }

    /// Books the head of an answer; gives the fault's number with what becomes of the answer, when it is the fault's.
    pub(super) fn answer_begins(&mut self, key: i16) -> Option<(u32, Fate)> {
        let armed = self.armed.as_mut().filter(|armed| !armed.done)?;
        let fault = armed.fault;
        match fault {
            ProxyFault::DropResponse { api, nth, then } if armed.is_nth(api.0.code(), key, nth) => {
                let end = match then {
                    Then::Close => "the connection was closed",
                    Then::Withhold => "none came after it",
                };
                armed.bite(format!("response {nth} of {api} was thrown away, and {end}"));
                Some((armed.number, Fate::Dropped(Some(then))))
            }
            ProxyFault::DelayResponse { api, nth, by_us } if armed.is_nth(api.0.code(), key, nth) => {
                armed.bite(format!("response {nth} of {api} came {by_us} us late"));
                Some((armed.number, Fate::Delayed { by_us }))
            }
            _ => None,
        }
    }
}

impl Armed {
    fn is_nth(&mut self, wanted: i16, key: i16, nth: u32) -> bool {
        self.seen += u32::from(wanted == key);
        wanted == key && self.seen == nth
    }

    fn bite(&mut self, what: String) {
        (self.bites, self.what, self.done) = (1, what, true);
    }
}
