//! preadv(2) into several buffers, then one writev(2) with the head: few calls, two copies.

use std::io::{self, IoSlice, IoSliceMut};

use nix::sys::socket::{SockaddrStorage, sendmsg};
use std::os::fd::AsRawFd;

use super::{Sender, retry, send_flags, truncated};
use crate::counters::Counter;
use crate::log::LogSlice;

/// Buffers per call.
const BUFFERS: usize = 16;

impl Sender {
    pub(super) fn vectored(&mut self, head: &[u8], slice: &LogSlice, more: bool) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(
            (self.buffer_bytes * BUFFERS)
                .min(slice.bytes.next_multiple_of(self.buffer_bytes))
                .max(buffer.len()),
            0,
        );
        let result = self.vectored_in(&mut buffer, head, slice, more);
        self.buffer = buffer;
        result
    }

    fn vectored_in(&self, buffer: &mut [u8], mut head: &[u8], slice: &LogSlice, more: bool) -> io::Result<()> {
        let stored = self.to_read(slice)?;
        let mut position = slice.position as libc::off_t;
        let mut left = slice.bytes;
        while left > 0 {
            let want = left.min(buffer.len());
            let mut targets: Vec<IoSliceMut> = buffer[..want]
                .chunks_mut(self.buffer_bytes)
                .map(IoSliceMut::new)
                .collect();
            self.body_call(Counter::CallPreadv);
            let got = retry(|| nix::sys::uio::preadv(stored.descriptor(), &mut targets, position))?;
            if got == 0 {
                return Err(truncated());
            }
            self.counters.add(Counter::UserCopiedBytes, 2 * got as u64);
            position += got as libc::off_t;
            left -= got;
            self.writev(head, &buffer[..got], more || left > 0)?;
            head = &[];
        }
        Ok(())
    }

    /// writev(2) by its socket name, sendmsg(2), which can say MSG_MORE and MSG_NOSIGNAL.
    fn writev(&self, mut head: &[u8], mut body: &[u8], more: bool) -> io::Result<()> {
        let flags = send_flags(more);
        while !head.is_empty() || !body.is_empty() {
            let mut parts = Vec::with_capacity(BUFFERS + 1);
            if !head.is_empty() {
                parts.push(IoSlice::new(head));
            }
            parts.extend(body.chunks(self.buffer_bytes).map(IoSlice::new));
            self.body_call(Counter::CallSendmsg);
            let sent = retry(|| sendmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &parts, &[], flags, None))?;
            let from_head = sent.min(head.len());
            head = &head[from_head..];
            body = &body[sent - from_head..];
        }
        Ok(())
    }
}
