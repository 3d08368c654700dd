//! What the device under a folder has written, as the kernel counts it: journal, metadata and other processes' pages included.
//!
//! `write_bytes` of a process is not it: the kernel counts there when a page becomes dirty, whether it is ever written or not.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `/sys` counts in sectors of this size whatever the device has.
const SECTOR_BYTES: u64 = 512;

/// A block device.
#[derive(Debug)]
pub struct Device(PathBuf);

impl Device {
    /// The one that holds the folder; `None` for file systems without one.
    pub fn under(folder: &Path) -> Option<Self> {
        let device = std::fs::metadata(folder).ok()?.dev();
        let numbers = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let found = Device(PathBuf::from(format!(
            "/sys/dev/block/{}:{}/stat",
            numbers.0, numbers.1
        )));
        found.written_bytes().map(|_| found)
    }

    /// Bytes written since it is there.
    pub fn written_bytes(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(&self.0).ok()?;
        // Reads, merged, sectors, ms; then the same of writes.
        let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
        Some(sectors * SECTOR_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flushed_file_is_written() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let Some(device) = Device::under(folder.path()) else {
            eprintln!("skipped: the folder lies on no block device that the kernel counts for");
            return;
        };
        let before = device.written_bytes().unwrap();
        let file = std::fs::File::create(folder.path().join("f")).unwrap();
        std::io::Write::write_all(&mut &file, &vec![1; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        assert!(device.written_bytes().unwrap() - before >= 1 << 20);
        assert!(Device::under(Path::new("/proc")).is_none());
    }
}
