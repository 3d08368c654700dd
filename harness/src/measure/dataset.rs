//! Pre-loaded topics, linked into the data folder of every trial, and the page cache under them.
//!
//! A topic is produced once per run through the protocol, its segments are made read-only, and each trial gets hard links
//! to them: no copy, and the same pages in the page cache. The broker never writes to a read-only segment.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use workloads::native::Security;
use workloads::native::preload::PreloadSpec;

use crate::measure::drain;
use crate::target::bundled::{BrokerSpec, BundledBroker};

/// The topic of every pre-loaded data set.
pub const TOPIC: &str = "preloaded";
/// A share of resident pages up to this counts as cold: the broker has read the end of the log when it opened it.
const COLD_SHARE_MAX: f64 = 0.01;

/// How often pages that could not be dropped at once are dropped again, and the pause before.
const COLD_ATTEMPTS: u32 = 20;
const COLD_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// A topic on disk that trials are linked to.
#[derive(Debug)]
pub struct Dataset {
    dir: PathBuf,
    /// The client's index of it.
    pub index: PathBuf,
    /// The segments with the records, in the order of their offsets.
    pub segments: Vec<PathBuf>,
}

impl Dataset {
    /// Starts a broker in `dir`, produces the topic and stops the broker.
    pub fn make(broker: &BrokerSpec, preload: PreloadSpec) -> anyhow::Result<Self> {
        let dir = broker.data_dir.clone();
        let index = dir.with_extension("index.json");
        let running = BundledBroker::start(broker)?;
        drain::fill(running.address().into(), Security::default(), preload, &index)?;
        running.stop()?;
        let folder = dir.join(format!("{TOPIC}-0"));
        let segments = segments(&folder)?;
        for segment in &segments {
            std::fs::set_permissions(segment, Permissions::from_mode(0o444))?;
            File::open(segment)?.sync_all()?;
        }
        Ok(Dataset { dir, index, segments })
    }

    /// The one segment with the records.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn segment(&self) -> anyhow::Result<&Path> {
        the_only(&self.segments, &self.dir).map(PathBuf::as_path)
    }

    /// Takes the segments of another data set in place of its own ones, which hold the same bytes: they lie on the disk and in the
    /// page cache once, and only what the brokers made beside them differs.
    ///
    /// # Errors
    /// The segments differ in number, name or size.
    pub fn share_segments_of(&self, other: &Dataset) -> anyhow::Result<()> {
        let shape = |segments: &[PathBuf]| -> anyhow::Result<Vec<_>> {
            let of = |path: &PathBuf| Ok((path.file_name().map(ToOwned::to_owned), std::fs::metadata(path)?.len()));
            segments.iter().map(of).collect()
        };
        if shape(&self.segments)? != shape(&other.segments)? {
            bail!(
                "{} and {} hold different segments",
                self.dir.display(),
                other.dir.display()
            );
        }
        for (own, others) in self.segments.iter().zip(&other.segments) {
            std::fs::remove_file(own)?;
            std::fs::hard_link(others, own).with_context(|| format!("can't link {}", own.display()))?;
        }
        Ok(())
    }

    /// Bytes of what the broker keeps beside the segments with the records, to find its way in them.
    pub fn index_bytes(&self) -> anyhow::Result<u64> {
        let folder = self.dir.join(format!("{TOPIC}-0"));
        let mut bytes = 0;
        for entry in std::fs::read_dir(&folder).with_context(|| format!("can't list {}", folder.display()))? {
            let entry = entry?;
            if !self.segments.contains(&entry.path()) {
                bytes += entry.metadata()?.len();
            }
        }
        Ok(bytes)
    }

    /// Makes `data_dir`, a fresh folder for one broker, with links to the segments and copies of the small files.
    pub fn link_into(&self, data_dir: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(data_dir).with_context(|| format!("can't create {}", data_dir.display()))?;
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let (from, to) = (entry.path(), data_dir.join(entry.file_name()));
            if entry.file_type()?.is_file() && entry.file_name() != ".lock" {
                std::fs::copy(&from, &to).with_context(|| format!("can't copy {}", from.display()))?;
            } else if entry.file_type()?.is_dir() {
                std::fs::create_dir(&to)?;
                for file in std::fs::read_dir(&from)? {
                    let file = file?;
                    let to = to.join(file.file_name());
                    match file.file_name().to_string_lossy().ends_with(".log") {
                        true => std::fs::hard_link(file.path(), &to).map(|()| 0),
                        false => std::fs::copy(file.path(), &to),
                    }
                    .with_context(|| format!("can't link {}", to.display()))?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a segment until all of it is in the page cache; answers the resident share.
pub fn make_hot(segment: &Path) -> anyhow::Result<f64> {
    for _ in 0..3 {
        let share = resident_share(segment)?;
        if share >= 1.0 {
            return Ok(share);
        }
        std::io::copy(&mut File::open(segment)?, &mut std::io::sink())?;
    }
    let share = resident_share(segment)?;
    if share < 1.0 {
        bail!(
            "only {:.1} % of {} stay in the page cache: more memory is needed",
            share * 100.0,
            segment.display()
        );
    }
    Ok(share)
}

/// Drops a segment from the page cache; answers the resident share.
///
/// # Errors
/// When pages stay: they are dirty, mapped or locked, or the file system keeps them.
pub fn make_cold(segment: &Path) -> anyhow::Result<f64> {
    until_cold(&segment.display().to_string(), || drop_from_cache(segment))
}

/// Drops pages until they are gone; `drop_them` answers the share that stayed.
fn until_cold(what: &str, drop_them: impl Fn() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let mut share = drop_them()?;
    for _ in 0..COLD_ATTEMPTS {
        if share <= COLD_SHARE_MAX {
            break;
        }
        // Pages that another CPU has only just touched can't be dropped yet.
        std::thread::sleep(COLD_PAUSE);
        share = drop_them()?;
    }
    if share > COLD_SHARE_MAX {
        bail!(
            "{:.1} % of {what} stay in the page cache after it was dropped: use a folder on a disk file system",
            share * 100.0
        );
    }
    Ok(share)
}

/// Reads every file in a folder until all of them are in the page cache; answers the resident share.
///
/// # Errors
/// Not all of them stay there.
pub fn make_folder_hot(folder: &Path) -> anyhow::Result<f64> {
    for file in files_in(folder)? {
        make_hot(&file)?;
    }
    Ok(1.0)
}

/// Drops every file in a folder from the page cache; answers the resident share of all of them together.
///
/// # Errors
/// When pages stay: they are dirty, mapped or locked, or the file system keeps them.
pub fn make_folder_cold(folder: &Path) -> anyhow::Result<f64> {
    let files = files_in(folder)?;
    let drop_all = || -> anyhow::Result<f64> {
        let (mut hot, mut all) = (0, 0);
        for file in &files {
            let resident = drop_pages(file)?;
            (hot, all) = (hot + resident.0, all + resident.1);
        }
        Ok(hot as f64 / all.max(1) as f64)
    };
    until_cold(&folder.display().to_string(), drop_all)
}

/// The files in a folder, and in the folders in it, that hold something.
fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("can't list {}", folder.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.metadata()?.len() > 0 {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// The one segment of a partition that holds records.
///
/// # Errors
/// There is none, or more than one.
pub fn only_segment(folder: &Path) -> anyhow::Result<PathBuf> {
    let segments = segments(folder)?;
    the_only(&segments, folder).cloned()
}

fn the_only<'s>(segments: &'s [PathBuf], folder: &Path) -> anyhow::Result<&'s PathBuf> {
    match segments {
        [segment] => Ok(segment),
        _ => bail!(
            "{} holds {} segments with records, one was expected: raise log.segment.bytes",
            folder.display(),
            segments.len()
        ),
    }
}

fn segments(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| {
        path.extension().is_some_and(|extension| extension == "log")
            && std::fs::metadata(path).is_ok_and(|m| m.len() > 0)
    });
    // Their names are their first offsets, in a fixed number of digits.
    paths.sort();
    Ok(paths)
}

/// Flushes a file, drops its pages from the page cache and answers the share that stayed.
pub fn drop_from_cache(path: &Path) -> anyhow::Result<f64> {
    drop_pages(path).map(share)
}

fn drop_pages(path: &Path) -> anyhow::Result<(usize, usize)> {
    let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    // Dirty pages are not dropped.
    file.sync_data()?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    resident_pages(path)
}

fn share((hot, all): (usize, usize)) -> f64 {
    hot as f64 / all.max(1) as f64
}

/// The share of a file's pages that are in the page cache, by mincore(2): 0 to 1.
pub fn resident_share(path: &Path) -> anyhow::Result<f64> {
    resident_pages(path).map(share)
}

/// How many of a file's pages are in the page cache, and how many there are.
fn resident_pages(path: &Path) -> anyhow::Result<(usize, usize)> {
    let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    // SAFETY: the mapping is never read, only asked about; a file that shrinks meanwhile can't fault it.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    let pages = map.len().div_ceil(crate::measure::sample::page_bytes() as usize);
    let mut resident = vec![0u8; pages];
    // SAFETY: the range is the mapping's own, and `resident` has a byte for each of its pages.
    let answer = unsafe { libc::mincore(map.as_ptr() as *mut libc::c_void, map.len(), resident.as_mut_ptr()) };
    nix::errno::Errno::result(answer).context("mincore")?;
    let hot = resident.iter().filter(|page| **page & 1 == 1).count();
    Ok((hot, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_hot_or_cold_with_all_that_is_in_it() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        std::fs::create_dir(dir.path().join("inner")).unwrap();
        std::fs::write(dir.path().join("empty"), "").unwrap();
        for file in ["a", "inner/b"] {
            std::fs::write(dir.path().join(file), vec![1u8; 1 << 20]).unwrap();
        }
        assert_eq!(files_in(dir.path()).unwrap().len(), 2);
        assert_eq!(make_folder_hot(dir.path()).unwrap(), 1.0);
        match make_folder_cold(dir.path()) {
            Ok(share) => assert!(share <= COLD_SHARE_MAX),
            Err(error) => assert!(error.to_string().contains("use a folder on a disk"), "{error}"),
        }
    }

    #[test]
    fn residency_of_a_file_that_was_just_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, vec![1u8; 1 << 20]).unwrap();
        assert_eq!(resident_share(&path).unwrap(), 1.0);
    }
}
