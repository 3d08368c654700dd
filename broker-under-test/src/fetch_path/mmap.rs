//! mmap + send(2): one copy, from the mapped page cache into socket buffers. Faults count as mode switches too.

use std::io;

use super::Sender;
use crate::counters::Counter;
use crate::log::LogSlice;

impl Sender {
    pub(super) fn mmap(&mut self, slice: &LogSlice, more: bool) -> io::Result<()> {
        let end = slice.end();
        let map = slice.file.mapped(end, &self.counters)?;
        let bytes = &map[slice.position as usize..end as usize];
        self.counters.add(Counter::UserCopiedBytes, bytes.len() as u64);
        self.send_all(bytes, more, true)
    }
}
