//! splice(2): page references go from the file into a pipe and from the pipe into the socket.
//!
//! The pipe belongs to the connection and has one fixed size; unprivileged users share a soft limit of pipe pages, so it
//! is made once and kept.

use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};

use super::{Sender, retry, truncated};
use crate::counters::Counter;
use crate::log::LogSlice;

impl Sender {
    /// Whether there is a pipe, or one can be had: a system refuses large ones to unprivileged users who have many.
    pub(super) fn can_splice(&mut self) -> bool {
        if self.pipe.is_none() {
            self.pipe = self.open_pipe().ok();
        }
        self.pipe.is_some()
    }

    fn open_pipe(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&pipe.1, FcntlArg::F_SETPIPE_SZ(self.pipe_bytes as i32))?;
        Ok(pipe)
    }

    pub(super) fn splice(&mut self, slice: &LogSlice, more: bool) -> io::Result<()> {
        let (pipe_out, pipe_in) = match self.pipe.take() {
            Some(pipe) => pipe,
            None => self.open_pipe().map_err(|error| {
                let hint = "lower fetch.pipe.bytes or raise fs.pipe-max-size";
                io::Error::other(format!("a pipe of {} bytes: {error}; {hint}", self.pipe_bytes))
            })?,
        };
        let stored = self.to_read(slice)?;
        let mut offset = slice.position as libc::loff_t;
        let mut left = slice.bytes;
        while left > 0 {
            self.body_call(Counter::CallSplice);
            let want = left.min(self.pipe_bytes);
            let flags = SpliceFFlags::SPLICE_F_MOVE;
            let filled = retry(|| splice(stored.descriptor(), Some(&mut offset), &pipe_in, None, want, flags))?;
            if filled == 0 {
                return Err(truncated());
            }
            left -= filled;
            let mut in_pipe = filled;
            let mut flags = SpliceFFlags::SPLICE_F_MOVE;
            flags.set(SpliceFFlags::SPLICE_F_MORE, more || left > 0);
            while in_pipe > 0 {
                self.body_call(Counter::CallSplice);
                in_pipe -= retry(|| splice(&pipe_out, None, self.socket(), None, in_pipe, flags))?;
            }
        }
        // Only an empty pipe is kept: after an error it may hold bytes of a response that was never finished.
        self.pipe = Some((pipe_out, pipe_in));
        Ok(())
    }
}
