//! One connection of a client, with its own connection to the broker: frames are followed in both directions, and nothing waits in
//! memory but one read each way and an answer that has to be rewritten.
//!
//! A client that is gone, cut off or not, leaves requests behind that the broker may still apply. Their answers are read all the same,
//! so that every batch whose acknowledgement was lost is known. Kafka's clients never close one direction only, so the end of what a
//! client sends is taken for its end.

mod follow;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;
use workloads::history::OffsetRun;

use super::board::Board;
use super::frames::{ANSWER_HEAD_BYTES, Frames, Head, ImpossibleLength, REQUEST_HEAD_BYTES};
use super::outbox::Outbox;
use super::plan::{Ending, Then};
use super::rewrite;
use super::trace::{Asked, Copied};

const PRODUCE: i16 = 0;
/// Largest answer that is held because it has to be rewritten or accounted for.
pub(super) const HELD_BYTES_MAX: usize = 16 << 20;
/// Requests without an answer; a client that has more has to wait.
const CALLS_MAX: usize = 1 << 16;
/// How long answers are awaited for a client that is gone.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Passed,
    /// Read and thrown away; what becomes of the connection, when this answer decides it.
    Dropped(Option<Then>),
    Delayed {
        by_us: u64,
    },
}

/// Why a connection can't be followed any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Length(#[from] ImpossibleLength),
    #[error("the broker answers request {0}, and nothing was asked")]
    Unasked(i32),
    #[error("the broker answers request {found} where {due} was due")]
    Correlation { found: i32, due: i32 },
    #[error("an answer of {0} bytes would have to be held, and {HELD_BYTES_MAX} is the limit")]
    TooLarge(usize),
    #[error(transparent)]
    Rewrite(#[from] rewrite::RewriteError),
    #[error("a Produce request or its answer can't be read: {0}")]
    Produce(#[from] kafka_wire::WireError),
}

#[derive(Debug)]
enum Client {
    Open(TcpStream),
    /// It was told the end; what it still sends is thrown away until it ends, too.
    Closing(TcpStream),
    Gone,
}

/// A request on its way.
#[derive(Debug)]
struct Request {
    head: Head,
    /// A Produce request behind its length, as far as it is kept.
    captured: Option<Vec<u8>>,
    /// One that the trace may tell of.
    copied: Option<Copied>,
    /// Bytes that still pass before the connection is cut.
    cut: Option<(usize, Ending)>,
}

/// A request that the broker has, and that has an answer to come.
#[derive(Debug)]
struct Call {
    key: i16,
    version: i16,
    correlation_id: i32,
    /// Records by partition, for Produce; `None` when they could not be counted.
    records: Option<Vec<(i32, u32)>>,
    /// What it asks, for the trace, and when it had come.
    asked: Option<(Asked, u64)>,
}

/// An answer on its way.
#[derive(Debug)]
struct Answer {
    call: Call,
    fate: Fate,
    /// The answer behind its length, when it is needed as a whole.
    held: Option<Vec<u8>>,
    /// For the trace.
    copied: Option<Copied>,
}

#[derive(Debug)]
pub(super) struct Link {
    /// From 1, in the order in which clients came.
    number: u32,
    client: Client,
    broker: Option<TcpStream>,
    connected: bool,
    requests: Frames,
    answers: Frames,
    request: Option<Request>,
    answer: Option<Answer>,
    calls: VecDeque<Call>,
    to_broker: Outbox,
    to_client: Outbox,
    /// Acknowledged batches that wait in `to_client`, each with the place in the stream where its answer ends.
    unsent: VecDeque<(u64, Vec<OffsetRun>)>,
    /// The fault that it suffers from.
    fault: Option<u32>,
    /// No answer is delivered any more.
    silent: bool,
    delayed_until: Option<Instant>,
    deadline: Option<Instant>,
}

impl Link {
    /// Both sockets must not block; the one to the broker may still be connecting.
    pub(super) fn new(number: u32, client: TcpStream, broker: TcpStream) -> Self {
        Self {
            number,
            client: Client::Open(client),
            broker: Some(broker),
            connected: false,
            requests: Frames::new(REQUEST_HEAD_BYTES),
            answers: Frames::new(ANSWER_HEAD_BYTES),
            request: None,
            answer: None,
            calls: VecDeque::new(),
            to_broker: Outbox::default(),
            to_client: Outbox::default(),
            unsent: VecDeque::new(),
            fault: None,
            silent: false,
            delayed_until: None,
            deadline: None,
        }
    }

    /// The client's socket with what it is waited for: input, room.
    pub(super) fn client_interest(&self) -> Option<(&TcpStream, bool, bool)> {
        match &self.client {
            Client::Open(socket) => {
                let room = !self.to_client.is_empty() && self.delayed_until.is_none();
                Some((socket, self.wants_request(), room))
            }
            Client::Closing(socket) => Some((socket, true, false)),
            Client::Gone => None,
        }
    }

    /// The broker's socket with what it is waited for: input, room.
    pub(super) fn broker_interest(&self) -> Option<(&TcpStream, bool, bool)> {
        let room = !self.connected || !self.to_broker.is_empty();
        self.broker.as_ref().map(|socket| (socket, self.wants_answer(), room))
    }

    /// When it has to be looked at again even if no socket is ready.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        [self.delayed_until, self.deadline].into_iter().flatten().min()
    }

    /// Whether a fault struck it whose consequences are not all known yet.
    pub(super) fn suffers(&self) -> bool {
        self.fault.is_some() && self.broker.is_some()
    }

    /// Whether the client is gone, so that answers are read for the account only.
    fn drains(&self) -> bool {
        !matches!(self.client, Client::Open(_))
    }

    pub(super) fn is_over(&self) -> bool {
        self.broker.is_none() && matches!(self.client, Client::Gone)
    }

    fn wants_request(&self) -> bool {
        self.to_broker.is_empty() && self.calls.len() < CALLS_MAX && self.broker.is_some()
    }

    fn wants_answer(&self) -> bool {
        self.connected && self.to_client.is_empty() && self.delayed_until.is_none()
    }

    /// Moves on whatever can be moved; an error ends the connection and is noted.
    pub(super) fn pump(&mut self, scratch: &mut [u8], board: &mut Board, addresses: &mut dyn rewrite::Addresses) {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return self.abandon(board);
        }
        if let Err(error) = self.pumped(scratch, board, addresses) {
            board.note(format!("a connection was given up: {error}"));
            self.abandon(board);
        }
        let waiting = self.to_client.waiting_bytes().max(self.to_broker.waiting_bytes()) as u64;
        board.counts.buffered_bytes_max = board.counts.buffered_bytes_max.max(waiting);
    }

    fn pumped(
        &mut self,
        scratch: &mut [u8],
        board: &mut Board,
        addresses: &mut dyn rewrite::Addresses,
    ) -> Result<(), LinkError> {
        if !self.connect(board) {
            return Ok(());
        }
        self.flush(board);
        let wants_request = self.wants_request();
        match &mut self.client {
            Client::Open(socket) if wants_request => match read(socket, scratch) {
                Input::Bytes(count) => self.requests(&scratch[..count], board)?,
                Input::Nothing => {}
                Input::End => self.client_left(board),
            },
            Client::Closing(socket) => {
                if let Input::End = read(socket, scratch) {
                    self.client = Client::Gone;
                }
            }
            Client::Open(_) | Client::Gone => {}
        }
        if self.wants_answer()
            && let Some(broker) = &mut self.broker
        {
            match read(broker, scratch) {
                Input::Bytes(count) => self.answers(&scratch[..count], board, addresses)?,
                Input::Nothing => {}
                Input::End => self.broker_left(board),
            }
        }
        self.flush(board);
        self.finish();
        Ok(())
    }

    /// Whether the connection to the broker stands.
    fn connect(&mut self, board: &mut Board) -> bool {
        let Some(broker) = self.broker.as_ref().filter(|_| !self.connected) else {
            return true;
        };
        match broker.take_error() {
            Ok(None) => self.connected = broker.peer_addr().is_ok(),
            Ok(Some(_)) | Err(_) => self.abandon(board),
        }
        self.connected
    }

    fn flush(&mut self, board: &mut Board) {
        if let Some(broker) = &self.broker
            && self.to_broker.flush(broker).is_err()
        {
            self.broker_left(board);
        }
        if let Some(until) = self.delayed_until {
            if Instant::now() < until {
                return;
            }
            (self.delayed_until, self.fault) = (None, None);
        }
        if let Client::Open(client) = &self.client {
            if self.to_client.flush(client).is_err() {
                return self.client_left(board);
            }
            while self
                .unsent
                .front()
                .is_some_and(|(end, _)| *end <= self.to_client.sent_in_all())
            {
                self.unsent.pop_front();
            }
        }
    }

    /// Closes what has nothing more to do.
    fn finish(&mut self) {
        let is_idle = self.calls.is_empty() && self.answer.is_none() && self.to_broker.is_empty();
        match self.client {
            Client::Open(_) if self.broker.is_none() && self.to_client.is_empty() => self.client = Client::Gone,
            Client::Closing(_) | Client::Gone if is_idle => self.broker = None,
            _ => {}
        }
    }

    /// The client ended the connection, or was cut off: from here on answers are read for the account only.
    fn client_left(&mut self, board: &mut Board) {
        self.client = Client::Gone;
        self.undelivered(board);
    }

    fn undelivered(&mut self, board: &mut Board) {
        for (_, runs) in std::mem::take(&mut self.unsent) {
            board.counts.answers_dropped += 1;
            board.lose(self.fault.unwrap_or(0), &runs);
        }
        self.to_client.clear();
        self.delayed_until = None;
        self.deadline = Some(Instant::now() + DRAIN_WITHIN);
    }

    fn broker_left(&mut self, board: &mut Board) {
        self.broker = None;
        let open = self.answer.take().map(|answer| answer.call);
        let produce = self.calls.drain(..).chain(open).filter(|call| call.key == PRODUCE);
        board.unknown += u32::try_from(produce.count()).unwrap_or(u32::MAX);
    }

    /// Ends everything at once.
    fn abandon(&mut self, board: &mut Board) {
        self.client_left(board);
        self.broker_left(board);
        self.to_broker.clear();
        self.fault = None;
    }

    /// Cuts the client off, by fault `number`; false when there is no client any more.
    pub(super) fn cut(&mut self, number: u32, ending: Ending, board: &mut Board) -> bool {
        let Client::Open(client) = std::mem::replace(&mut self.client, Client::Gone) else {
            return false;
        };
        self.fault = Some(number);
        match ending {
            Ending::Reset => {
                // Without a time to linger, closing sends RST.
                let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
            }
            Ending::Close => {
                let _ = client.shutdown(Shutdown::Write);
                self.client = Client::Closing(client);
            }
        }
        self.undelivered(board);
        true
    }
}

/// What a read that does not block gives.
enum Input {
    Bytes(usize),
    Nothing,
    /// The end, or an error, which is the same to a connection.
    End,
}

fn read(socket: &mut TcpStream, scratch: &mut [u8]) -> Input {
    match socket.read(scratch) {
        Ok(0) => Input::End,
        Ok(count) => Input::Bytes(count),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Input::Nothing,
        Err(_) => Input::End,
    }
}
