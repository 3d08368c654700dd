//! The two ways to take bytes off a socket: copied out to user space, or dropped in the kernel.
//!
//! On loopback the receiver decides the answer of a zero-copy experiment, so the fetch client and the bare limit share this code.

use super::ClientError;
use super::stream::{Stream, Wait};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::AsRawFd;

const DOING: &str = "receiving records";

/// What a receiver does with record bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// recv into one user buffer that is used again, and nothing else.
    Copy,
    /// recv with MSG_TRUNC and no buffer: TCP drops the bytes without a copy (tcp(7)). Over TLS they are decrypted first, and then dropped.
    Discard,
}

/// Takes a stream apart into heads, which are looked at, and bodies, which are only counted.
#[derive(Debug)]
pub(super) struct Intake {
    receiver: Receiver,
    buffer: Vec<u8>,
    /// Unread bytes are `buffer[start..end]`; always empty when the receiver discards.
    start: usize,
    end: usize,
}

impl Intake {
    /// `buffer_bytes` is the user buffer of the receiver that copies; the other needs room for a head only.
    pub fn new(receiver: Receiver, buffer_bytes: usize, head_bytes_max: usize) -> Self {
        let bytes = match receiver {
            Receiver::Copy => buffer_bytes.max(head_bytes_max),
            Receiver::Discard => head_bytes_max,
        };
        Self {
            receiver,
            buffer: vec![0; bytes],
            start: 0,
            end: 0,
        }
    }

    /// Whether bytes wait here, of which the socket knows nothing.
    pub fn has_bytes(&self) -> bool {
        self.start < self.end
    }

    /// Takes exactly `bytes` to look at; not more than the `head_bytes_max` of [`Self::new`].
    pub fn head(&mut self, stream: &mut Stream, bytes: usize) -> Result<&[u8], ClientError> {
        if self.buffer.len() - self.start < bytes {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < bytes {
            // One that discards must not read a byte more than the head.
            let (to, flags) = match self.receiver {
                Receiver::Copy => (self.buffer.len(), 0),
                Receiver::Discard => (self.start + bytes, libc::MSG_WAITALL),
            };
            self.end += receive(stream, Some(&mut self.buffer[self.end..to]), 0, flags)?;
        }
        let head = self.start..self.start + bytes;
        self.start = head.end;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        Ok(&self.buffer[head])
    }

    /// Takes exactly `bytes` and looks at none.
    pub fn body(&mut self, stream: &mut Stream, bytes: usize) -> Result<(), ClientError> {
        let mut left = bytes;
        while left > 0 {
            left -= self.some(stream, left)?;
        }
        Ok(())
    }

    /// Takes 1 to `bytes` as they come and looks at none.
    pub fn some(&mut self, stream: &mut Stream, bytes: usize) -> Result<usize, ClientError> {
        match self.receiver {
            // Waiting for all of it costs one call per body instead of one per wake-up.
            Receiver::Discard => receive(stream, None, bytes, libc::MSG_TRUNC | libc::MSG_WAITALL),
            Receiver::Copy => {
                if self.start == self.end {
                    self.start = 0;
                    self.end = receive(stream, Some(&mut self.buffer), 0, 0)?;
                }
                let taken = bytes.min(self.end - self.start);
                self.start += taken;
                Ok(taken)
            }
        }
    }
}

/// Receives, again after a signal: into `buffer`, or without one for at most `discard_bytes`. Never returns 0.
fn receive(
    stream: &mut Stream,
    buffer: Option<&mut [u8]>,
    discard_bytes: usize,
    flags: libc::c_int,
) -> Result<usize, ClientError> {
    if !stream.is_plain() {
        return match buffer {
            Some(buffer) => some_bytes(stream.read(buffer, Wait::Yes)),
            None => some_bytes(stream.skip(discard_bytes)),
        };
    }
    let (address, length) = match buffer {
        Some(buffer) => (buffer.as_mut_ptr(), buffer.len()),
        None => (std::ptr::null_mut(), discard_bytes),
    };
    loop {
        stream.count_receive();
        // SAFETY: the descriptor is open while `stream` is borrowed. Either the pointer and length are those of a live, exclusively
        // borrowed slice, or the pointer is null and the flags hold MSG_TRUNC, with which TCP writes nothing.
        let received = unsafe { libc::recv(stream.socket().as_raw_fd(), address.cast(), length, flags) };
        if let Ok(bytes) = usize::try_from(received) {
            return some_bytes(Ok(bytes));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return some_bytes(Err(error));
        }
    }
}

fn some_bytes(received: io::Result<usize>) -> Result<usize, ClientError> {
    match received {
        Ok(0) => Err(ClientError::Closed { doing: DOING }),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(ClientError::socket(DOING, error)),
    }
}
