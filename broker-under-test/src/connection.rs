//! One connection: one thread, one blocking socket, requests answered in order.
//!
//! Requests that arrived together are answered together: a client that pipelines gets one send for what one receive brought. A
//! fetch is answered by itself, as it may wait and its records come from a file; so is what waits for other members of a group.
//!
//! A thread and not a task: a cache miss in sendfile or in a mapping blocks whoever runs it, and a fixed sequence of
//! blocking calls can be counted exactly. What waits for other things than the socket (the listener, signals, the
//! control socket) runs on tokio.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_wire::{ApiKey, Cursor, FrameBuffer, RequestHeader, WireError};
use nix::sys::socket::{MsgFlags, recv};

use crate::broker::Broker;
use crate::counters::Counter;
use crate::fetch_path::Sender;
use crate::handlers::{self, Outcome, Owed};

/// Answers beyond this are sent before the next request is looked at.
const ANSWERS_BYTES: usize = 64 * 1024;
/// Responses that wait for a flush; a client that sends more is answered in between.
const OWED_MAX: usize = 1024;
/// How often a thread that waits for bytes looks at the clock.
const TICK_MAX: Duration = Duration::from_secs(1);

/// Why a connection ends other than by the client's own wish.
#[derive(Debug, thiserror::Error)]
enum Drop {
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a request was not complete after {0:?} (request.read.timeout.ms)")]
    SlowRequest(Duration),
    #[error("no request for {0:?} (connections.max.idle.ms)")]
    Idle(Duration),
    #[error("the client closed the connection in the middle of a request")]
    HalfRequest,
    #[error("{0}")]
    Refused(String),
}

/// Serves a connection until it ends.
pub fn serve(broker: &Arc<Broker>, socket: TcpStream) {
    let peer = socket.peer_addr().map_or_else(|_| "?".to_owned(), |a| a.to_string());
    let host = socket
        .peer_addr()
        .map_or_else(|_| String::new(), |a| format!("/{}", a.ip()));
    match run(broker, socket, &host) {
        Ok(()) => tracing::debug!(peer, "connection closed"),
        Err(Drop::Io(error)) if is_disconnect(&error) => tracing::debug!(peer, %error, "connection lost"),
        Err(_) if broker.is_stopping() => {}
        Err(reason) => {
            broker.counters.add(Counter::ConnectionsDropped, 1);
            tracing::warn!(peer, %reason, "connection dropped");
        }
    }
}

fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

/// `host` is how Kafka names the other side to those who ask who is in a group.
fn run(broker: &Arc<Broker>, socket: TcpStream, host: &str) -> Result<(), Drop> {
    let config = &broker.config;
    let request_timeout = Duration::from_millis(config.int("request.read.timeout.ms") as u64);
    let idle_timeout = Duration::from_millis(config.int("connections.max.idle.ms") as u64);
    configure(&socket, broker, request_timeout, idle_timeout)?;
    let descriptor = socket.as_raw_fd();
    let mut sender = Sender::new(socket, config, broker.counters.clone(), broker.cache.clone());
    let mut buffer = FrameBuffer::new(config.size("socket.request.max.bytes"));
    let mut last_request = Instant::now();
    let mut replies = Replies::default();
    loop {
        let served = answer_all(broker, host, &mut buffer, &mut sender, &mut replies);
        // A flush serves everything that is there: what the client has sent meanwhile is looked at before one begins.
        if served.is_ok() && replies.may_wait_for_more() {
            broker.counters.add(Counter::CallRecv, 1);
            if let Ok(n @ 1..) = recv(descriptor, buffer.space(), MsgFlags::MSG_DONTWAIT) {
                buffer.advance(n);
                last_request = Instant::now();
                continue;
            }
        }
        // Those in front of a request that ends the connection are owed all the same.
        replies.send(&mut sender)?;
        if served? {
            last_request = Instant::now();
        }
        broker.counters.add(Counter::CallRecv, 1);
        match recv(descriptor, buffer.space(), MsgFlags::empty()) {
            Ok(0) if buffer.is_empty() => return Ok(()),
            Ok(0) => return Err(Drop::HalfRequest),
            Ok(n) => {
                if buffer.is_empty() {
                    last_request = Instant::now();
                }
                buffer.advance(n);
            }
            Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let waited = last_request.elapsed();
        if buffer.is_empty() && waited > idle_timeout {
            return Err(Drop::Idle(idle_timeout));
        }
        if !buffer.is_empty() && waited > request_timeout && buffer.frame()?.is_none() {
            return Err(Drop::SlowRequest(request_timeout));
        }
    }
}

fn configure(socket: &TcpStream, broker: &Broker, request_timeout: Duration, idle: Duration) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(request_timeout.min(idle).min(TICK_MAX)))?;
    socket.set_write_timeout(Some(request_timeout))?;
    let raw = socket2::SockRef::from(socket);
    let send = broker.config.int("socket.send.buffer.bytes");
    if send > 0 {
        raw.set_send_buffer_size(send as usize)?;
    }
    let receive = broker.config.int("socket.receive.buffer.bytes");
    if receive > 0 {
        raw.set_recv_buffer_size(receive as usize)?;
    }
    Ok(())
}

/// Answers that were not sent yet, in the order of their requests.
#[derive(Debug, Default)]
struct Replies {
    /// Whole frames.
    ready: Vec<u8>,
    /// Behind them: responses that wait for a flush.
    owed: Vec<Owed>,
}

impl Replies {
    fn may_wait_for_more(&self) -> bool {
        !self.owed.is_empty() && self.owed.len() < OWED_MAX
    }

    /// Waits for the flushes that are owed.
    fn settle(&mut self) -> Result<(), Drop> {
        let mut owed = self.owed.drain(..);
        owed.try_for_each(|owed| owed.settle(&mut self.ready).map_err(Drop::Refused))
    }

    fn send(&mut self, sender: &mut Sender) -> Result<(), Drop> {
        let settled = self.settle();
        if !self.ready.is_empty() {
            let sent = sender.bytes(&self.ready);
            self.ready.clear();
            self.ready.shrink_to(ANSWERS_BYTES);
            sent?;
        }
        settled
    }
}

/// Serves every whole frame in the buffer. Whether there was one.
fn answer_all(
    broker: &Arc<Broker>,
    host: &str,
    buffer: &mut FrameBuffer,
    sender: &mut Sender,
    replies: &mut Replies,
) -> Result<bool, Drop> {
    let mut served = false;
    while let Some(frame) = buffer.frame()? {
        answer(broker, host, frame, sender, replies)?;
        buffer.consume_frame();
        served = true;
    }
    Ok(served)
}

fn answer(
    broker: &Arc<Broker>,
    host: &str,
    frame: &[u8],
    sender: &mut Sender,
    replies: &mut Replies,
) -> Result<(), Drop> {
    let mut cursor = Cursor::new(frame);
    let header = RequestHeader::parse(&mut cursor)?;
    broker.counters.add(Counter::Requests, 1);
    let may_wait = [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup];
    if may_wait.iter().any(|key| key.code() == header.api_key) {
        replies.send(sender)?;
    } else if header.api_key != ApiKey::Produce.code() {
        replies.settle()?;
    }
    // Frames that are ready go behind those that are owed: these come first then.
    let owed_before = replies.owed.len();
    let mut ready = Vec::new();
    let out = if owed_before > 0 {
        &mut ready
    } else {
        &mut replies.ready
    };
    match handlers::handle(broker, host, &header, cursor, frame, out)? {
        Outcome::Replied if owed_before > 0 => {
            replies.settle()?;
            replies.ready.extend_from_slice(&ready);
        }
        Outcome::Replied => {}
        Outcome::Reply(bytes) => replies.ready.extend_from_slice(&bytes),
        Outcome::Owed(owed) => replies.owed.push(owed),
        Outcome::Records(pieces) => {
            broker.counters.add(Counter::FetchResponses, 1);
            sender.response(&pieces)?;
        }
        Outcome::Silent => {}
        Outcome::Close(reason) => return Err(Drop::Refused(reason)),
    }
    if replies.ready.len() >= ANSWERS_BYTES || replies.owed.len() >= OWED_MAX {
        replies.send(sender)?;
    }
    Ok(())
}
