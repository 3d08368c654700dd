//! A bounded cache of log blocks in the broker's own memory, as brokers have it that do not trust the page cache.
//!
//! A hit costs one copy, from the cache into the socket. A miss reads the whole block (pread) and keeps it; the least recently used one goes.
//! The page cache stands below it all the same, so what is cached here is in memory twice.

use std::io::{self, IoSlice};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use nix::sys::socket::{SockaddrStorage, sendmsg};

use super::{Sender, retry, send_flags};
use crate::counters::Counter;
use crate::log::LogSlice;

/// Bytes of a block. The last one of a file that grows is shorter, and read again when more of it is asked for.
pub const BLOCK_BYTES: u64 = 64 * 1024;
/// Blocks in one sendmsg(2).
const BLOCKS: usize = 16;

/// Number of a file and of a block in it.
type Key = (u64, u64);

/// The cache, shared by all connections.
#[derive(Debug)]
pub struct HeapCache {
    blocks: Mutex<LruCache<Key, Arc<Vec<u8>>>>,
}

impl HeapCache {
    /// Of at most `bytes`, and at least one block.
    pub fn new(bytes: usize) -> Self {
        let blocks = NonZeroUsize::new(bytes / BLOCK_BYTES as usize).unwrap_or(NonZeroUsize::MIN);
        HeapCache {
            blocks: Mutex::new(LruCache::new(blocks)),
        }
    }

    fn get(&self, key: Key) -> Option<Arc<Vec<u8>>> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.get(&key).cloned()
    }

    fn keep(&self, key: Key, block: Arc<Vec<u8>>) {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.put(key, block);
    }
}

impl Sender {
    pub(super) fn heap_cache(&mut self, slice: &LogSlice, more: bool) -> io::Result<()> {
        let mut position = slice.position;
        while position < slice.end() {
            let mut blocks = Vec::with_capacity(BLOCKS);
            while blocks.len() < BLOCKS && position < slice.end() {
                let number = position / BLOCK_BYTES;
                let start = number * BLOCK_BYTES;
                let until = slice.end().min(start + BLOCK_BYTES);
                let block = self.block(slice, number, (until - start) as usize, until - position)?;
                blocks.push((block, (position - start) as usize..(until - start) as usize));
                position = until;
            }
            let mut parts: Vec<IoSlice> = blocks
                .iter()
                .map(|(block, range)| IoSlice::new(&block[range.clone()]))
                .collect();
            let bytes: usize = parts.iter().map(|part| part.len()).sum();
            self.counters.add(Counter::UserCopiedBytes, bytes as u64);
            self.send_parts(&mut parts, more || position < slice.end())?;
        }
        Ok(())
    }

    /// The block with that number, at least `bytes_min` of it; `wanted` of them are for this response.
    fn block(&self, slice: &LogSlice, number: u64, bytes_min: usize, wanted: u64) -> io::Result<Arc<Vec<u8>>> {
        let key = (slice.file.number(), number);
        if let Some(block) = self.cache.get(key).filter(|block| block.len() >= bytes_min) {
            self.counters.add(Counter::CacheHitBytes, wanted);
            return Ok(block);
        }
        let start = number * BLOCK_BYTES;
        let bytes = (slice.file.bytes().max(start + bytes_min as u64) - start).min(BLOCK_BYTES) as usize;
        let mut block = vec![0; bytes];
        self.body_call(Counter::CallPread);
        slice.file.open()?.read_exact_at(&mut block, start)?;
        self.counters.add(Counter::CacheMissBytes, wanted);
        self.counters.add(Counter::UserCopiedBytes, bytes as u64);
        let block = Arc::new(block);
        self.cache.keep(key, block.clone());
        Ok(block)
    }

    fn send_parts(&self, mut parts: &mut [IoSlice], more: bool) -> io::Result<()> {
        while !parts.is_empty() {
            self.body_call(Counter::CallSendmsg);
            let flags = send_flags(more);
            let sent = retry(|| sendmsg::<SockaddrStorage>(self.socket.as_raw_fd(), parts, &[], flags, None))?;
            IoSlice::advance_slices(&mut parts, sent);
        }
        Ok(())
    }
}
