//! How fetch responses get to the socket: one module per path, the same bytes whichever is chosen.
//!
//! Every connection has a thread and a blocking socket, so a path is a fixed sequence of calls. For a response with a
//! head of H bytes and one run of B record bytes that begins O bytes behind a page of the file, with
//! N = `fetch.buffer.bytes` and P = `fetch.pipe.bytes`, a power of two (a slot of a pipe holds one page or a part of it):
//!
//! | path | calls | record bytes copied through user space |
//! | --- | --- | --- |
//! | `sendfile` | send(H, MSG_MORE), sendfile(B) | 0 |
//! | `splice` | send(H, MSG_MORE), then ceil((O+B)/P) x (splice(file to pipe), splice(pipe to socket)) | 0 |
//! | `mmap` | send(H, MSG_MORE), send(B) from the mapping | B (out); page faults on first touch |
//! | `vectored` | ceil(B/16N) x (preadv into up to 16 buffers, writev; the first one carries H too) | 2 B (in and out) |
//! | `read-write` | send(H, MSG_MORE), then ceil(B/N) x (pread, send) | 2 B (in and out) |
//! | `heap-cache` | send(H, MSG_MORE), then a sendmsg for each 16 blocks of 64 KiB; a pread for each block that is not cached | B (out), and the blocks that were read |
//! | `direct` | send(H, MSG_MORE), then about B/N x (pread around the page cache, send) | B (out) |
//! | `auto` | as `splice` from 256 KiB on where the system grants the pipe, as `sendfile` otherwise | 0 |
//!
//! These are the calls when the kernel takes everything at once, which blocking calls do but for signals and the send
//! timeout; short counts are carried on and counted. MSG_MORE keeps the head in one segment with what follows.

mod direct;
mod heap_cache;
mod mmap;
mod read_write;
mod sendfile;
mod splice;
mod vectored;

pub use direct::probe as probe_direct;
pub use heap_cache::HeapCache;

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::{MsgFlags, send};

use crate::config::{Config, FetchPath};
use crate::counters::{Counter, Counters};
use crate::log::LogSlice;
use crate::storage::StoredFile;

/// From here on `auto` splices: a pipe that holds many pages saves sendfile's own way through a pipe of 16. At 1 MiB it took 0.91 of sendfile's
/// CPU (95 % interval 0.85 to 0.97), and below 256 KiB more than it, on the machine of the reference runs.
const SPLICE_BYTES_MIN: usize = 256 * 1024;

/// A part of a response, in order.
#[derive(Debug)]
pub enum Piece {
    /// Protocol bytes.
    Bytes(Vec<u8>),
    /// Records in a segment.
    Records(LogSlice),
}

/// Sends responses on one connection and keeps what its path needs (a buffer, a pipe) for the next one.
#[derive(Debug)]
pub struct Sender {
    path: FetchPath,
    socket: TcpStream,
    counters: Arc<Counters>,
    buffer_bytes: usize,
    pipe_bytes: usize,
    buffer: Vec<u8>,
    pipe: Option<(OwnedFd, OwnedFd)>,
    direct: Option<direct::DirectFile>,
    cache: Arc<HeapCache>,
}

impl Sender {
    /// For one connection.
    pub fn new(socket: TcpStream, config: &Config, counters: Arc<Counters>, cache: Arc<HeapCache>) -> Self {
        Sender {
            path: config.fetch_path(),
            socket,
            counters,
            buffer_bytes: config.size("fetch.buffer.bytes"),
            pipe_bytes: config.size("fetch.pipe.bytes"),
            buffer: Vec::new(),
            pipe: None,
            direct: None,
            cache,
        }
    }

    /// Sends plain bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send_all(bytes, false, false)
    }

    /// Sends a response with records.
    ///
    /// # Errors
    /// The socket's; `TimedOut` when the client takes nothing for the send timeout; `UnexpectedEof` when the segment is
    /// shorter than the slice. The connection is of no use afterwards, as the frame is incomplete.
    pub fn response(&mut self, pieces: &[Piece]) -> io::Result<()> {
        let mut pieces = pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Bytes(head) => match (self.path, pieces.peek()) {
                    (FetchPath::Vectored, Some(Piece::Records(slice))) => {
                        pieces.next();
                        let more = pieces.peek().is_some();
                        self.count(slice, head.len());
                        self.vectored(head, slice, more)?;
                    }
                    (_, next) => {
                        let more = next.is_some();
                        self.counters.add(Counter::FetchHeadBytes, head.len() as u64);
                        self.send_all(head, more, false)?;
                    }
                },
                Piece::Records(slice) => {
                    let more = pieces.peek().is_some();
                    self.count(slice, 0);
                    match self.path {
                        FetchPath::Sendfile => self.sendfile(slice)?,
                        FetchPath::Mmap => self.mmap(slice, more)?,
                        FetchPath::Splice => self.splice(slice, more)?,
                        FetchPath::Vectored => self.vectored(&[], slice, more)?,
                        FetchPath::ReadWrite => self.read_write(slice, more)?,
                        FetchPath::HeapCache => self.heap_cache(slice, more)?,
                        FetchPath::Direct => self.direct(slice, more)?,
                        FetchPath::Auto => match slice.bytes >= SPLICE_BYTES_MIN && self.can_splice() {
                            true => self.splice(slice, more)?,
                            false => self.sendfile(slice)?,
                        },
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&self, slice: &LogSlice, head_bytes: usize) {
        self.counters.add(Counter::FetchBytes, slice.bytes as u64);
        self.counters.add(Counter::FetchSlices, 1);
        self.counters.add(Counter::FetchHeadBytes, head_bytes as u64);
    }

    /// The open file of a slice. The storage was asked about the read before the head was sent.
    fn to_read(&self, slice: &LogSlice) -> io::Result<Arc<dyn StoredFile>> {
        slice.file.open()
    }

    fn send_all(&self, mut bytes: &[u8], more: bool, body: bool) -> io::Result<()> {
        while !bytes.is_empty() {
            self.counters.add(Counter::CallSend, 1);
            self.counters.add(Counter::CallBody, u64::from(body));
            let sent = retry(|| send(self.socket.as_raw_fd(), bytes, send_flags(more)))?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// One more call that moved records.
    fn body_call(&self, counter: Counter) {
        self.counters.add(counter, 1);
        self.counters.add(Counter::CallBody, 1);
    }
}

/// No SIGPIPE, and MSG_MORE when bytes of the same response follow.
fn send_flags(more: bool) -> MsgFlags {
    let more = if more { libc::MSG_MORE } else { 0 };
    MsgFlags::MSG_NOSIGNAL | MsgFlags::from_bits_retain(more)
}

/// Repeats a call that a signal interrupted, and calls the send timeout by its name.
fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::EAGAIN) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client took no bytes for the send timeout",
                ));
            }
            other => return other.map_err(io::Error::from),
        }
    }
}

/// A segment that ended before its slice did.
fn truncated() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the segment is shorter than the records in it",
    )
}
