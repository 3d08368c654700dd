//! A file of the faulty storage.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use super::super::StoredFile;
use super::fault::{Operation, Verdict};
use super::{Shared, error, powerless};

/// An open file: the real one, and the journal beside it.
#[derive(Debug)]
pub(super) struct FaultyFile {
    pub inner: Arc<dyn StoredFile>,
    pub shared: Arc<Shared>,
    pub inode: u64,
    pub path: PathBuf,
}

impl FaultyFile {
    fn read(&self, bytes: usize) -> io::Result<bool> {
        match self.shared.enter(Operation::Read, &self.path, bytes as u64)? {
            Verdict::Fail { errno, .. } => Err(error(errno)),
            verdict => Ok(verdict == Verdict::Flip),
        }
    }
}

impl StoredFile for FaultyFile {
    fn descriptor(&self) -> &File {
        self.inner.descriptor()
    }

    fn before_kernel_read(&self, position: u64, bytes: usize) -> io::Result<()> {
        self.read(bytes)?;
        self.inner.before_kernel_read(position, bytes)
    }

    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let flip = self.read(buffer.len())?;
        self.inner.read_exact_at(buffer, position)?;
        if let (true, Some(middle)) = (flip, buffer.len().checked_sub(1)) {
            buffer[middle / 2] ^= 1;
        }
        Ok(())
    }

    fn write_all_at(&self, parts: &mut [IoSlice], position: u64) -> io::Result<u64> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let verdict = self.shared.enter(Operation::Write, &self.path, bytes)?;
        let mut journal = self.shared.journal(verdict)?;
        if let Verdict::Fail { errno, bytes } = verdict {
            if bytes > 0 {
                let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
                let first = &all[..bytes as usize];
                journal.writes(self.inode, self.inner.as_ref(), position, bytes)?;
                self.inner.write_all_at(&mut [IoSlice::new(first)], position)?;
            }
            return Err(error(errno));
        }
        journal.writes(self.inode, self.inner.as_ref(), position, bytes)?;
        let calls = self.inner.write_all_at(parts, position)?;
        powerless(verdict).map(|()| calls)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let verdict = self.shared.enter(Operation::SetLength, &self.path, 0)?;
        let mut journal = self.shared.journal(verdict)?;
        if let Verdict::Fail { errno, .. } = verdict {
            return Err(error(errno));
        }
        journal.cuts(self.inode, self.inner.as_ref(), bytes)?;
        self.inner.set_len(bytes)?;
        powerless(verdict)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        let verdict = self.shared.enter(Operation::Preallocate, &self.path, bytes)?;
        if let Verdict::Fail { errno, .. } = verdict {
            return Err(error(errno));
        }
        self.inner.preallocate(bytes)?;
        powerless(verdict)
    }

    fn sync_data(&self) -> io::Result<()> {
        let verdict = self.shared.enter(Operation::Flush, &self.path, 0)?;
        // Not held while the device works: others go on writing, and this flush does not speak for them.
        let sequence = self.shared.journal(verdict)?.sequence;
        match verdict {
            Verdict::Lie => return Ok(()),
            Verdict::Fail { errno, .. } => {
                self.shared.journal(verdict)?.flushed(self.inode, sequence, true);
                return Err(error(errno));
            }
            _ => {}
        }
        self.inner.sync_data()?;
        // The power went before the answer came: whether it is durable is open.
        powerless(verdict)?;
        self.shared.journal(verdict)?.flushed(self.inode, sequence, false);
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }
}
