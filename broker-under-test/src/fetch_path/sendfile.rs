//! sendfile(2): the socket's buffers refer to pages of the page cache, nothing is copied on the sending side.
//!
//! The pages alias the file until the receiver has taken them, so a segment is never overwritten in place.

use std::io;

use super::{Sender, retry, truncated};
use crate::counters::Counter;
use crate::log::LogSlice;

impl Sender {
    pub(super) fn sendfile(&mut self, slice: &LogSlice) -> io::Result<()> {
        let stored = self.to_read(slice)?;
        let mut offset = slice.position as libc::off_t;
        let mut left = slice.bytes;
        while left > 0 {
            self.body_call(Counter::CallSendfile);
            let sent =
                retry(|| nix::sys::sendfile::sendfile(self.socket(), stored.descriptor(), Some(&mut offset), left))?;
            if sent == 0 {
                return Err(truncated());
            }
            left -= sent;
        }
        Ok(())
    }
}
