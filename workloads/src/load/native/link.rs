//! One connection to a leader: requests of several batches, pipelined, written and read without waiting.

use super::lane::Batch;
use crate::load::clock::now_ns;
use crate::native::endpoint::Endpoint;
use crate::native::stream::{Calls, Stream, Wait};
use kafka_wire::FrameBuffer;
use kafka_wire::produce::{BatchPlace, encode_request_around, read_answers};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::TcpStream;

/// Largest answer, bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Parts of one write.
const PARTS_MAX: usize = 64;

/// A request, from its encoding to its answer.
#[derive(Debug)]
struct Request {
    correlation_id: i32,
    sent_ns: u64,
    /// Everything but the batches.
    around: Vec<u8>,
    /// Where in it the batches belong.
    cuts: Vec<usize>,
    /// `None` once answered.
    batches: Vec<Option<Batch>>,
    bytes: usize,
}

/// What an answer says of a batch; no code where it says nothing.
#[derive(Debug)]
pub struct Answered {
    pub batch: Batch,
    pub code: Option<i16>,
    pub base_offset: i64,
    pub at_ns: u64,
}

/// What a request was made of, for the counts.
#[derive(Debug, Clone, Copy)]
pub struct Encoded {
    pub wire_bytes: u64,
    pub batch_bytes: u64,
}

/// A connection to a leader, or the want of one.
#[derive(Debug)]
pub struct Link {
    pub endpoint: Endpoint,
    /// Which of the connections to this leader.
    pub number: u32,
    stream: Option<Stream>,
    frames: FrameBuffer,
    requests: VecDeque<Request>,
    /// Requests at the front that are wholly written.
    written: usize,
    /// Bytes of the one behind them that are.
    written_bytes: usize,
    /// Whether TLS holds bytes that the socket had no room for.
    is_flushed: bool,
    correlation_id: i32,
    /// Lanes with something to send, in turn.
    pub ready: VecDeque<usize>,
    /// Calls on earlier streams.
    calls_before: Calls,
}

impl Link {
    pub fn new(endpoint: Endpoint, number: u32) -> Self {
        Self {
            endpoint,
            number,
            stream: None,
            frames: FrameBuffer::new(ANSWER_BYTES_MAX),
            requests: VecDeque::new(),
            written: 0,
            written_bytes: 0,
            is_flushed: true,
            correlation_id: 0,
            ready: VecDeque::new(),
            calls_before: Calls::default(),
        }
    }

    pub fn is_up(&self) -> bool {
        self.stream.is_some()
    }

    /// The socket, while there is one.
    pub fn socket(&self) -> Option<&TcpStream> {
        self.stream.as_ref().map(Stream::socket)
    }

    /// Requests on their way.
    pub fn in_flight(&self) -> usize {
        self.requests.len()
    }

    /// Whether bytes wait for room in the socket.
    pub fn wants_room(&self) -> bool {
        self.written < self.requests.len() || !self.is_flushed
    }

    /// When the oldest request that is not answered was handed to the system.
    pub fn oldest_ns(&self) -> Option<u64> {
        self.requests.front().map(|request| request.sent_ns)
    }

    /// System calls so far.
    pub fn calls(&self) -> (u64, u64) {
        let now = self.stream.as_ref().map(Stream::calls).unwrap_or_default();
        (
            self.calls_before.send + now.send,
            self.calls_before.receive + now.receive,
        )
    }

    /// Takes a new stream.
    pub fn connect(&mut self, stream: Stream) {
        self.stream = Some(stream);
    }

    /// Gives the stream up; answers the batches that were on their way, in their order.
    pub fn disconnect(&mut self) -> Vec<Batch> {
        if let Some(stream) = self.stream.take() {
            let calls = stream.calls();
            self.calls_before.send += calls.send;
            self.calls_before.receive += calls.receive;
        }
        self.frames = FrameBuffer::new(ANSWER_BYTES_MAX);
        (self.written, self.written_bytes, self.is_flushed) = (0, 0, true);
        let requests = self.requests.drain(..);
        requests
            .flat_map(|request| request.batches.into_iter().flatten())
            .collect()
    }

    /// Adds a request of these batches, whose topics `topic_of` knows by place. Batches of one topic stand together.
    pub fn add<'a>(
        &mut self,
        mut batches: Vec<Batch>,
        acks: i16,
        topic_of: impl Fn(usize) -> (&'a str, i32),
    ) -> Encoded {
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        let place = |batch: &Batch| {
            let (topic, partition) = topic_of(batch.place);
            let bytes = batch.bytes().len();
            BatchPlace {
                topic,
                partition,
                bytes,
            }
        };
        let places: Vec<BatchPlace<'_>> = batches.iter().map(place).collect();
        let batch_bytes: usize = places.iter().map(|place| place.bytes).sum();
        let (mut around, mut cuts) = (Vec::new(), Vec::with_capacity(places.len()));
        encode_request_around(&mut around, &mut cuts, self.correlation_id, acks, &places);
        let sent_ns = now_ns();
        batches.iter_mut().for_each(|batch| batch.sent_ns = Some(sent_ns));
        let bytes = around.len() + batch_bytes;
        self.requests.push_back(Request {
            correlation_id: self.correlation_id,
            sent_ns,
            around,
            cuts,
            batches: batches.into_iter().map(Some).collect(),
            bytes,
        });
        Encoded {
            wire_bytes: bytes as u64,
            batch_bytes: batch_bytes as u64,
        }
    }

    /// Writes what the socket has room for.
    ///
    /// # Errors
    /// The connection broke.
    pub fn write(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while self.written < self.requests.len() {
            let mut parts = [IoSlice::new(&[]); PARTS_MAX];
            let mut count = 0;
            let mut skip = self.written_bytes;
            'gather: for request in self.requests.iter().skip(self.written) {
                for part in request.parts() {
                    if count == PARTS_MAX {
                        break 'gather;
                    }
                    if let Some(rest) = part.get(skip..).filter(|rest| !rest.is_empty()) {
                        parts[count] = IoSlice::new(rest);
                        count += 1;
                    }
                    skip = skip.saturating_sub(part.len());
                }
            }
            match stream.write_parts(&parts[..count])? {
                0 => return Ok(()),
                taken => self.written_bytes += taken,
            }
            while let Some(request) = self.requests.get(self.written)
                && self.written_bytes >= request.bytes
            {
                self.written_bytes -= request.bytes;
                self.written += 1;
            }
        }
        self.is_flushed = stream.flush_some()?;
        Ok(())
    }

    /// Takes the batches of requests that are wholly written, where nobody answers (acks=0).
    pub fn take_written(&mut self, at_ns: u64, answered: &mut Vec<Answered>) {
        for request in self.requests.drain(..self.written) {
            let batches = request.batches.into_iter().flatten();
            answered.extend(batches.map(|batch| Answered {
                batch,
                code: Some(0),
                base_offset: -1,
                at_ns,
            }));
        }
        self.written = 0;
    }

    /// Reads what is there, without waiting, and takes the batches of the requests that it answers.
    ///
    /// # Errors
    /// The connection broke, or what came is no answer to what was asked.
    pub fn read<'a>(
        &mut self,
        topic_of: impl Fn(usize) -> (&'a str, i32),
        answered: &mut Vec<Answered>,
    ) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        loop {
            match stream.read(self.frames.space(), Wait::No) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => self.frames.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            // The rest of what was decrypted does not make the socket readable.
            if !stream.has_plaintext() {
                break;
            }
        }
        let at_ns = now_ns();
        while let Some(frame) = self.frames.frame().map_err(io::Error::other)? {
            let Some(request) = self.requests.front_mut().filter(|_| self.written > 0) else {
                return Err(io::Error::other("an answer came where none was due"));
            };
            let mut next = 0;
            let correlation_id = read_answers(frame, |answer| {
                let is_it = |batch: &Option<Batch>| {
                    let at = batch.as_ref().map(|batch| topic_of(batch.place));
                    at == Some((answer.topic, answer.partition))
                };
                // Answers come in the order of the request, from most brokers.
                let found = match request.batches.get(next).is_some_and(is_it) {
                    true => Some(next),
                    false => request.batches.iter().position(is_it),
                };
                if let Some(place) = found {
                    next = place + 1;
                    answered.extend(request.batches[place].take().map(|batch| Answered {
                        batch,
                        code: Some(answer.error),
                        base_offset: answer.base_offset,
                        at_ns,
                    }));
                }
            })
            .map_err(io::Error::other)?;
            if correlation_id != request.correlation_id {
                return Err(io::Error::other("the answer to another request came"));
            }
            let left_out = request.batches.drain(..).flatten();
            answered.extend(left_out.map(|batch| Answered {
                batch,
                code: None,
                base_offset: -1,
                at_ns,
            }));
            self.requests.pop_front();
            self.written -= 1;
            self.frames.consume_frame();
        }
        Ok(())
    }
}

impl Request {
    /// Its bytes, in their order.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.cuts.iter().copied());
        let ends = self.cuts.iter().copied().chain([self.around.len()]);
        let batches = self
            .batches
            .iter()
            .map(|batch| batch.as_ref().map_or(&[][..], Batch::bytes));
        let around = starts.zip(ends).map(|(start, end)| &self.around[start..end]);
        around
            .zip(batches.chain([&[][..]]))
            .flat_map(|(around, batch)| [around, batch])
    }
}
