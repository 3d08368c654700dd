//! What a connection carries: requests on their way to the broker, and the answers that belong to them.

use std::time::{Duration, Instant};

use workloads::history::monotonic_ns;

use super::super::board::Board;
use super::super::frames::{Head, LENGTH_BYTES, Piece};
use super::super::plan::{Ending, Then};
use super::super::trace::{Asked, Copied};
use super::super::{produce, rewrite};
use super::{Answer, Call, Client, Fate, HELD_BYTES_MAX, Link, LinkError, PRODUCE, Request};

/// What is kept of a Produce request while it passes, to count its records; Kafka's clients send 1 MiB by default.
const CAPTURED_BYTES_MAX: usize = 8 << 20;

impl Link {
    /// Follows what the client sends.
    pub(super) fn requests(&mut self, mut bytes: &[u8], board: &mut Board) -> Result<(), LinkError> {
        while let Some(piece) = self.requests.next(&mut bytes)? {
            match piece {
                Piece::Head(head) => {
                    let key = head.request().0;
                    let cut = board.request_begins(key, head.frame_bytes());
                    if let Some((number, ..)) = cut {
                        self.fault = Some(number);
                    }
                    self.request = Some(Request {
                        head,
                        captured: (key == PRODUCE).then(Vec::new),
                        copied: Copied::of(key),
                        cut: cut.map(|(_, bytes, ending)| (bytes, ending)),
                    });
                    if self.send_on(head.bytes(), board) {
                        return Ok(());
                    }
                }
                Piece::Body(body) => {
                    if self.send_on(body, board) {
                        return Ok(());
                    }
                }
                Piece::End => self.request_ends(board)?,
            }
        }
        Ok(())
    }

    /// Hands a part of the request at hand on to the broker; true when the connection was cut behind it.
    fn send_on(&mut self, bytes: &[u8], board: &mut Board) -> bool {
        let Some(request) = &mut self.request else { return false };
        if let Some(captured) = &mut request.captured
            && captured.len() < CAPTURED_BYTES_MAX
        {
            captured.extend_from_slice(bytes);
        }
        if let Some(copied) = &mut request.copied {
            copied.extend(bytes);
        }
        let Some((left, ending)) = &mut request.cut else {
            self.to_broker.push(bytes);
            return false;
        };
        let passing = bytes.len().min(*left);
        *left -= passing;
        let (is_cut, ending) = (*left == 0, *ending);
        self.to_broker.push(&bytes[..passing]);
        if is_cut {
            self.request = None;
            self.cut(self.fault.unwrap_or(0), ending, board);
        }
        is_cut
    }

    fn request_ends(&mut self, board: &mut Board) -> Result<(), LinkError> {
        let Some(Request {
            head, captured, copied, ..
        }) = self.request.take()
        else {
            return Ok(());
        };
        board.counts.requests += 1;
        let (key, version, correlation_id) = head.request();
        let mut records = None;
        if let Some(captured) = captured {
            let frame = captured.get(LENGTH_BYTES..).unwrap_or_default();
            if produce::acks(frame, version)? == 0 {
                return Ok(()); // it has no answer
            }
            records = produce::records_by_partition(frame, version).ok();
            let counts = records.iter().flatten().map(|(_, count)| u64::from(*count));
            board.counts.produced_records += counts.sum::<u64>();
        }
        let asked = copied.and_then(|copied| asked(&copied, board));
        self.calls.push_back(Call {
            key,
            version,
            correlation_id,
            records,
            asked,
        });
        Ok(())
    }

    /// Follows what the broker answers.
    pub(super) fn answers(
        &mut self,
        mut bytes: &[u8],
        board: &mut Board,
        addresses: &mut dyn rewrite::Addresses,
    ) -> Result<(), LinkError> {
        while let Some(piece) = self.answers.next(&mut bytes)? {
            match piece {
                Piece::Head(head) => self.answer_begins(head, board)?,
                Piece::Body(body) => {
                    if let Some(answer) = &mut self.answer {
                        if let Some(copied) = &mut answer.copied {
                            copied.extend(body);
                        }
                        match &mut answer.held {
                            Some(held) => held.extend_from_slice(body),
                            None => self.deliver(body),
                        }
                    }
                }
                Piece::End => self.answer_ends(board, addresses)?,
            }
        }
        Ok(())
    }

    /// Hands bytes on to the client, if it is to get the answer at hand.
    fn deliver(&mut self, bytes: &[u8]) {
        let is_dropped = matches!(&self.answer, Some(answer) if matches!(answer.fate, Fate::Dropped(_)));
        if !is_dropped && matches!(self.client, Client::Open(_)) {
            self.to_client.push(bytes);
        }
    }

    fn answer_begins(&mut self, head: Head, board: &mut Board) -> Result<(), LinkError> {
        let found = head.answer();
        let call = self.calls.pop_front().ok_or(LinkError::Unasked(found))?;
        if call.correlation_id != found {
            return Err(LinkError::Correlation {
                found,
                due: call.correlation_id,
            });
        }
        let mut fate = Fate::Passed;
        if self.silent || self.drains() {
            fate = Fate::Dropped(None);
        } else if let Some((number, afflicted)) = board.answer_begins(call.key) {
            (self.fault, fate) = (Some(number), afflicted);
        }
        if let Fate::Delayed { by_us } = fate {
            // What stands in front of it is not late.
            self.flush(board);
            self.delayed_until = Some(Instant::now() + Duration::from_micros(by_us));
        }
        let is_rewritten = rewrite::concerns(call.key, call.version) && !matches!(fate, Fate::Dropped(_));
        let is_held = call.key == PRODUCE || is_rewritten;
        if is_held && head.frame_bytes() > HELD_BYTES_MAX {
            return Err(LinkError::TooLarge(head.frame_bytes()));
        }
        let mut copied = call.asked.is_some().then(Copied::default);
        if let Some(copied) = &mut copied {
            copied.extend(head.bytes());
        }
        self.answer = Some(Answer {
            call,
            fate,
            copied,
            held: is_held.then(|| head.bytes()[LENGTH_BYTES..].to_vec()),
        });
        if !is_held {
            self.deliver(head.bytes());
        }
        Ok(())
    }

    fn answer_ends(&mut self, board: &mut Board, addresses: &mut dyn rewrite::Addresses) -> Result<(), LinkError> {
        let Some(Answer {
            mut call,
            fate,
            held,
            copied,
        }) = self.answer.take()
        else {
            return Ok(());
        };
        board.counts.answers += 1;
        let is_lost = matches!(fate, Fate::Dropped(_)) || self.drains();
        if let (Some((asked, asked_ns)), Some(copied)) = (call.asked.take(), copied) {
            let times = (asked_ns, monotonic_ns());
            let frame = copied.frame();
            match frame.map(|frame| asked.answered(frame, times, self.number, is_lost)) {
                Some(Ok(told)) => board.trace.learn(told),
                Some(Err(_)) | None => board.trace.unread += 1,
            }
        }
        let mut applied = Vec::new();
        if call.key == PRODUCE
            && let Some(held) = &held
        {
            match &call.records {
                Some(records) => applied = produce::applied(held, call.version, records)?,
                None => board.unknown += u32::from(is_lost),
            }
        }
        if is_lost {
            board.counts.answers_dropped += 1;
            board.lose(self.fault.unwrap_or(0), &applied);
            match fate {
                Fate::Dropped(Some(Then::Withhold)) => self.silent = true,
                Fate::Dropped(Some(Then::Close)) => {
                    self.flush(board);
                    self.cut(self.fault.unwrap_or(0), Ending::Close, board);
                }
                _ => {}
            }
            return Ok(());
        }
        if let Some(mut held) = held {
            if rewrite::concerns(call.key, call.version) {
                held = rewrite::rewrite(&held, call.key, call.version, addresses)?;
            }
            self.to_client.push(&(held.len() as u32).to_be_bytes());
            self.to_client.push(&held);
        }
        if !applied.is_empty() {
            self.unsent.push_back((self.to_client.end(), applied));
        }
        Ok(())
    }
}

/// What a request asks that the trace may tell of, and when it had come.
fn asked(copied: &Copied, board: &mut Board) -> Option<(Asked, u64)> {
    match copied.frame().map(Asked::read) {
        Some(Ok(asked)) => asked.map(|asked| (asked, monotonic_ns())),
        Some(Err(_)) | None => {
            board.trace.unread += 1;
            None
        }
    }
}
