//! The files of a consume queue: written in groups, flushed with a checkpoint.

use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;

use super::super::{LogError, io};
use super::queue::{GROUP_BATCHES, Queue, State};
use crate::counters::Counter;
use crate::storage::StoredFile;

impl Queue {
    /// Writes the entries that wait. They are not flushed.
    pub fn write(&self) -> Result<(), LogError> {
        self.write_locked(&mut self.lock())
    }

    fn write_locked(&self, state: &mut State) -> Result<(), LogError> {
        if state.removed {
            return Ok(());
        }
        let waiting = state.tail.len() - state.waiting();
        let mut raw = Vec::new();
        let mut start = state.written;
        for i in waiting..state.tail.len() {
            let batch = state.tail[i];
            for number in batch.number..batch.number + batch.entries {
                if number % self.format.entries_per_file == 0 && !raw.is_empty() {
                    self.write_run(state, start, &raw)?;
                    raw.clear();
                    start = number;
                }
                self.format.kind.encode(&batch.at(number, self.format), &mut raw);
            }
        }
        if !raw.is_empty() {
            self.write_run(state, start, &raw)?;
        }
        state.written = state.mark.next;
        let too_many = state.tail.len().saturating_sub(GROUP_BATCHES);
        state.tail.drain(..too_many);
        Ok(())
    }

    /// Writes entries of one file.
    fn write_run(&self, state: &mut State, number: u64, raw: &[u8]) -> Result<(), LogError> {
        let file = number / self.format.entries_per_file;
        let within = number % self.format.entries_per_file;
        let path = self.path(file);
        let opened = if within == 0 {
            // What an earlier queue of this name left there is gone.
            self.create(state, file)
        } else {
            match state.handle(self, file).open() {
                Err(e) if e.kind() == ErrorKind::NotFound => self.create(state, file),
                other => other.map_err(io("open", &path)),
            }
        }?;
        let written = opened.write_all_at(&mut [IoSlice::new(raw)], within * self.format.kind.width() as u64);
        let calls = written.map_err(io("write", path))?;
        self.files.counters().add(Counter::CallPwriteIndex, calls);
        state.unsynced.insert(file);
        Ok(())
    }

    fn create(&self, state: &mut State, file: u64) -> Result<Arc<dyn StoredFile>, LogError> {
        let storage = self.files.storage();
        storage.create_dir(self.dir()).map_err(io("create", self.dir()))?;
        let path = self.path(file);
        let handle = self.files.create(&path).map_err(io("create", &path))?;
        let opened = handle.open().map_err(io("open", path))?;
        state.handles.insert(file, Arc::new(handle));
        state.names_changed = true;
        Ok(opened)
    }

    /// Writes what waits and flushes everything. Whether files came or went, so that the folder above has to be flushed too.
    pub fn sync(&self) -> Result<bool, LogError> {
        let (unsynced, names_changed) = {
            let mut state = self.lock();
            self.write_locked(&mut state)?;
            let files = std::mem::take(&mut state.unsynced);
            let handles: Vec<_> = files.into_iter().map(|file| state.handle(self, file)).collect();
            (handles, std::mem::take(&mut state.names_changed))
        };
        for handle in unsynced {
            self.files.counters().add(Counter::CallFdatasync, 1);
            let flushed = handle.open().and_then(|file| file.sync_data());
            flushed.map_err(io("flush", handle.path()))?;
        }
        if names_changed {
            let flushed = self.files.storage().sync_dir(self.dir());
            flushed.map_err(io("flush", self.dir()))?;
        }
        Ok(names_changed)
    }

    /// Removes its files; nothing is written any more.
    pub fn remove(&self) -> Result<(), LogError> {
        {
            let mut state = self.lock();
            state.removed = true;
            state.handles.clear();
            state.unsynced.clear();
            state.names_changed = false;
        }
        match self.files.storage().remove_dir(self.dir()) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(io("remove", self.dir())(e)),
            _ => Ok(()),
        }
    }
}
