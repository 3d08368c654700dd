//! pread(2) into one buffer and send(2) from it: the buffered way, two copies and two calls per buffer.

use std::io;

use super::{Sender, retry, truncated};
use crate::counters::Counter;
use crate::log::LogSlice;

impl Sender {
    pub(super) fn read_write(&mut self, slice: &LogSlice, more: bool) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(self.buffer_bytes, 0);
        let result = self.read_write_in(&mut buffer, slice, more);
        self.buffer = buffer;
        result
    }

    fn read_write_in(&self, buffer: &mut [u8], slice: &LogSlice, more: bool) -> io::Result<()> {
        let stored = self.to_read(slice)?;
        let mut position = slice.position as libc::off_t;
        let mut left = slice.bytes;
        while left > 0 {
            let want = left.min(buffer.len());
            self.body_call(Counter::CallPread);
            let got = retry(|| nix::sys::uio::pread(stored.descriptor(), &mut buffer[..want], position))?;
            if got == 0 {
                return Err(truncated());
            }
            position += got as libc::off_t;
            left -= got;
            self.counters.add(Counter::UserCopiedBytes, 2 * got as u64);
            self.send_all(&buffer[..got], more || left > 0, true)?;
        }
        Ok(())
    }
}
