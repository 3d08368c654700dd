//! Bytes that wait for room in a socket.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;

/// Room that is kept between two uses; a held answer may have needed more.
const KEEP_BYTES: usize = 256 << 10;

/// A queue of bytes. Whoever fills it reads no more before it is empty, so it holds one read, or one held answer, at most.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Bytes sent in all its life.
    sent_in_all: u64,
}

impl Outbox {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Where the next byte stands in the stream.
    pub(super) fn end(&self) -> u64 {
        self.sent_in_all + self.waiting_bytes() as u64
    }

    pub(super) fn sent_in_all(&self) -> u64 {
        self.sent_in_all
    }

    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.sent = 0;
    }

    /// Sends what there is room for.
    ///
    /// # Errors
    /// The socket's, but for a lack of room.
    pub(super) fn flush(&mut self, mut socket: &TcpStream) -> io::Result<()> {
        while !self.is_empty() {
            match socket.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count;
                    self.sent_in_all += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.sent = 0;
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes.shrink_to(KEEP_BYTES);
        }
        Ok(())
    }
}
