//! O_DIRECT: reads go around the page cache into an aligned buffer, and from there by send(2).
//!
//! What was appended and is dirty is written to the device before it is read. File systems may refuse; [`probe`] says so at the start.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Sender, retry, truncated};
use crate::counters::Counter;
use crate::log::LogSlice;

/// What is assumed where the kernel (before 6.1) or the file system does not tell: a page.
const ALIGNMENT: usize = 4096;

/// The file that a connection reads from, kept for its next response.
#[derive(Debug)]
pub struct DirectFile {
    number: u64,
    file: File,
    /// Of positions, lengths and memory, in bytes.
    alignment: usize,
}

impl DirectFile {
    fn open(path: &Path, number: u64) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.read(true).custom_flags(libc::O_DIRECT).open(path)?;
        Ok(DirectFile {
            number,
            file,
            alignment: alignment(path)?,
        })
    }
}

/// The alignment that statx(2) tells.
fn alignment(path: &Path) -> io::Result<usize> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: statx is a plain C struct for which all zeros is a value.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: `name` ends with a zero byte and `stat` is large enough, as it has the type that the call writes.
    let result = unsafe { libc::statx(libc::AT_FDCWD, name.as_ptr(), 0, libc::STATX_DIOALIGN, &mut stat) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let told = stat.stx_mask & libc::STATX_DIOALIGN != 0;
    let largest = stat.stx_dio_mem_align.max(stat.stx_dio_offset_align) as usize;
    Ok(if told && largest > 0 { largest } else { ALIGNMENT })
}

/// Whether the file system of `dir` takes O_DIRECT.
///
/// # Errors
/// It does not, or the folder can't be written.
pub fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join(".direct-probe");
    std::fs::write(&path, b"probe")?;
    let opened = DirectFile::open(&path, 0).map(drop);
    std::fs::remove_file(&path)?;
    opened.map_err(|error| {
        let remedy = "choose another fetch.path, or a data folder on ext4 or xfs";
        io::Error::other(format!("this file system refuses O_DIRECT ({error}); {remedy}"))
    })
}

impl Sender {
    pub(super) fn direct(&mut self, slice: &LogSlice, more: bool) -> io::Result<()> {
        let number = slice.file.number();
        let direct = match self.direct.take().filter(|direct| direct.number == number) {
            Some(direct) => direct,
            None => {
                self.counters.add(Counter::CallOpen, 1);
                DirectFile::open(slice.file.path(), number)?
            }
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.direct_in(&direct, &mut buffer, slice, more);
        self.buffer = buffer;
        self.direct = Some(direct);
        result
    }

    fn direct_in(&self, direct: &DirectFile, memory: &mut Vec<u8>, slice: &LogSlice, more: bool) -> io::Result<()> {
        let alignment = direct.alignment as u64;
        let buffer_bytes = self.buffer_bytes.next_multiple_of(direct.alignment);
        memory.resize(buffer_bytes + direct.alignment, 0);
        let skew = memory.as_ptr().align_offset(direct.alignment);
        let buffer = &mut memory[skew..skew + buffer_bytes];
        let mut position = slice.position;
        while position < slice.end() {
            let start = position / alignment * alignment;
            let want = (slice.end() - start)
                .next_multiple_of(alignment)
                .min(buffer_bytes as u64) as usize;
            self.body_call(Counter::CallPread);
            let got = retry(|| nix::sys::uio::pread(&direct.file, &mut buffer[..want], start as libc::off_t))?;
            let until = (start + got as u64).min(slice.end());
            if until <= position {
                return Err(truncated());
            }
            let bytes = &buffer[(position - start) as usize..(until - start) as usize];
            // The device wrote into the buffer; only the way out is a copy.
            self.counters.add(Counter::UserCopiedBytes, bytes.len() as u64);
            self.send_all(bytes, more || until < slice.end(), true)?;
            position = until;
        }
        Ok(())
    }
}
