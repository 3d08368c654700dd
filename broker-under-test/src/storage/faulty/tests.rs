//! The model, held to what its documentation says, over many seeds.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::storage::RealDisk;

const SEEDS: u64 = 200;

/// In memory where there is room: what is durable is decided by the model, so that no flush has to reach a device.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// What is under a folder afterwards: names with their content.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let inner = content(&entry.path());
            out.push((format!("{name}/"), Vec::new()));
            out.extend(inner.into_iter().map(|(n, bytes)| (format!("{name}/{n}"), bytes)));
        } else {
            out.push((name, fs::read(entry.path()).unwrap()));
        }
    }
    out.sort_unstable();
    out
}

/// All folders that a power cut may leave behind `work`, which begins in an empty folder.
fn outcomes(work: impl Fn(&FaultyDisk, &Path)) -> BTreeSet<Vec<(String, Vec<u8>)>> {
    let outcome = |seed| {
        let folder = scratch();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let disk = FaultyDisk::new(Arc::new(RealDisk), &folder.path().join("graves")).unwrap();
        work(&disk, &data);
        disk.crash_image(seed).unwrap();
        assert!(!folder.path().join("graves").exists());
        content(&data)
    };
    (0..SEEDS).map(outcome).collect()
}

fn put(file: &dyn StoredFile, bytes: &[u8], position: u64) {
    file.write_all_at(&mut [io::IoSlice::new(bytes)], position).unwrap();
}

fn fault(what: FaultKind, path: &str) -> Fault {
    Fault {
        what,
        path: path.into(),
        nth: 1,
        count: None,
    }
}

#[test]
fn flushed_bytes_stay_and_others_may_go_by_sectors() {
    let all = outcomes(|disk, dir| {
        let file = disk.create(&dir.join("a")).unwrap();
        disk.sync_dir(dir).unwrap();
        put(file.as_ref(), &[1; 700], 0);
        file.sync_data().unwrap();
        put(file.as_ref(), &[2; 1000], 700);
        put(file.as_ref(), &[3; 300], 1700);
    });
    let files: Vec<&Vec<u8>> = all.iter().map(|files| &files[0].1).collect();
    assert!(files.iter().all(|bytes| bytes[..700] == [1; 700]));
    let is = |bytes: &[u8], range: std::ops::Range<usize>, value: u8| {
        bytes.get(range).is_some_and(|part| part.iter().all(|b| *b == value))
    };
    assert!(files.iter().any(|bytes| bytes.len() == 700));
    assert!(
        files
            .iter()
            .any(|bytes| is(bytes, 700..1700, 2) && is(bytes, 1700..2000, 3))
    );
    let torn = |bytes: &Vec<u8>| is(bytes, 700..1024, 2) && !is(bytes, 1024..1536, 2);
    assert!(files.iter().any(|bytes| torn(bytes)), "in the middle of a write");
    let later = |bytes: &Vec<u8>| is(bytes, 700..1700, 0) && is(bytes, 1700..2000, 3);
    assert!(files.iter().any(|bytes| later(bytes)), "the later write alone");
}

#[test]
fn names_need_a_flush_of_their_folder() {
    let all = outcomes(|disk, dir| {
        disk.create_dir(&dir.join("p-0")).unwrap();
        for name in ["a", "b"] {
            let file = disk.create(&dir.join("p-0").join(name)).unwrap();
            put(file.as_ref(), b"x", 0);
            file.sync_data().unwrap();
        }
    });
    let names: BTreeSet<Vec<&str>> = all
        .iter()
        .map(|f| f.iter().map(|(n, _)| n.as_str()).collect())
        .collect();
    let expected = [
        vec![],
        vec!["p-0/"],
        vec!["p-0/", "p-0/a"],
        vec!["p-0/", "p-0/a", "p-0/b"],
        vec!["p-0/", "p-0/b"],
    ];
    assert_eq!(names, expected.into_iter().collect());
    assert!(
        all.iter()
            .flatten()
            .all(|(name, bytes)| name == "p-0/" || bytes == b"x")
    );
}

#[test]
fn a_replaced_file_is_old_or_new() {
    let all = outcomes(|disk, dir| {
        let path = dir.join("c");
        disk.replace(&path, b"old").unwrap();
        let temporary = disk.create(&dir.join("c.tmp")).unwrap();
        put(temporary.as_ref(), b"new", 0);
        temporary.sync_data().unwrap();
        disk.rename(&dir.join("c.tmp"), &path).unwrap();
    });
    let contents: BTreeSet<&[u8]> = all
        .iter()
        .map(|f| f.iter().find(|(n, _)| n == "c").unwrap().1.as_slice())
        .collect();
    assert_eq!(contents, [&b"new"[..], b"old"].into_iter().collect());
    let done = outcomes(|disk, dir| {
        disk.replace(&dir.join("c"), b"old").unwrap();
        disk.replace(&dir.join("c"), b"new").unwrap();
    });
    assert_eq!(
        done.into_iter().collect::<Vec<_>>(),
        [[("c".to_owned(), b"new".to_vec())]]
    );
}

#[test]
fn removed_files_come_back_until_the_folder_is_flushed() {
    let remove = |flush: bool| {
        outcomes(move |disk, dir| {
            let old = dir.join("p-0");
            disk.create_dir(&old).unwrap();
            for name in ["a", "b"] {
                disk.replace(&old.join(name), b"old").unwrap();
            }
            disk.sync_dir(dir).unwrap();
            disk.remove_dir(&old).unwrap();
            disk.create_dir(&old).unwrap();
            disk.create(&old.join("a")).unwrap();
            if flush {
                disk.sync_dir(dir).unwrap();
            }
        })
    };
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    let all = remove(false);
    let whole = vec![file("p-0/", b""), file("p-0/a", b"old"), file("p-0/b", b"old")];
    for expected in [
        whole.clone(),
        whole[..2].to_vec(),
        vec![],
        vec![file("p-0/", b""), file("p-0/a", b"")],
    ] {
        assert!(all.contains(&expected), "{expected:?} in {all:?}");
    }
    assert!(
        remove(true).iter().flatten().all(|(_, bytes)| bytes.is_empty()),
        "the old folder is gone for good"
    );
}

#[test]
fn no_later_flush_speaks_for_a_failed_one() {
    let all = outcomes(|disk, dir| {
        let file = disk.create(&dir.join("a")).unwrap();
        disk.sync_dir(dir).unwrap();
        put(file.as_ref(), &[1; 512], 0);
        let id = disk.arm(fault(FaultKind::FailFlush, "a"));
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(disk.disarm(id), 1);
        put(file.as_ref(), &[2; 512], 512);
        file.sync_data().unwrap();
    });
    assert!(all.iter().all(|files| files[0].1[512..] == [2; 512]));
    assert!(all.iter().any(|files| files[0].1[..512] == [0; 512]));
    assert!(all.iter().any(|files| files[0].1[..512] == [1; 512]));
}

#[test]
fn a_flush_that_lies() {
    let all = outcomes(|disk, dir| {
        disk.arm(fault(FaultKind::LieFlush, ""));
        disk.replace(&dir.join("c"), b"told to be there").unwrap();
    });
    assert!(all.contains(&Vec::new()), "{all:?}");
}

#[test]
fn a_full_disk_cuts_a_write_short_and_heals() {
    let folder = scratch();
    let disk = FaultyDisk::new(Arc::new(RealDisk), &folder.path().join("graves")).unwrap();
    let path = folder.path().join("a");
    let file = disk.create(&path).unwrap();
    let id = disk.arm(fault(FaultKind::Full { room_bytes: 5 }, ""));
    put(file.as_ref(), b"abc", 0);
    let full = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    full(
        file.write_all_at(&mut [io::IoSlice::new(b"de"), io::IoSlice::new(b"f")], 3)
            .unwrap_err(),
    );
    full(file.preallocate(100).unwrap_err());
    assert_eq!(fs::read(&path).unwrap(), b"abcde");
    assert_eq!(disk.disarm(id), 2);
    put(file.as_ref(), b"def", 3);
    assert_eq!(fs::read(&path).unwrap(), b"abcdef");
}

#[test]
fn reads_fail_and_bits_flip() {
    let folder = scratch();
    let disk = FaultyDisk::new(Arc::new(RealDisk), &folder.path().join("graves")).unwrap();
    let path = folder.path().join("a");
    disk.replace(&path, &[0; 9]).unwrap();
    let flip = disk.arm(fault(FaultKind::FlipBit, "a"));
    assert_eq!(disk.read(&path).unwrap().iter().map(|b| b.count_ones()).sum::<u32>(), 1);
    disk.disarm(flip);
    assert_eq!(disk.read(&path).unwrap(), [0; 9]);
    let file = disk.open(&path, false).unwrap();
    disk.arm(fault(FaultKind::FailRead, "a"));
    let errno = |result: io::Result<()>| result.unwrap_err().raw_os_error();
    assert_eq!(errno(file.before_kernel_read(0, 9)), Some(libc::EIO));
    assert_eq!(errno(file.read_exact_at(&mut [0], 0)), Some(libc::EIO));
    disk.arm(fault(FaultKind::ReadOnly, ""));
    assert_eq!(errno(disk.remove_file(&path)), Some(libc::EROFS));
    assert!(path.exists());
}

#[test]
fn after_the_crash_nothing_answers_and_nothing_changes() {
    let folder = scratch();
    let disk = FaultyDisk::new(Arc::new(RealDisk), &folder.path().join("graves")).unwrap();
    let path = folder.path().join("a");
    let file = disk.create(&path).unwrap();
    disk.arm(Fault {
        nth: 2,
        ..fault(FaultKind::Crash, "")
    });
    put(file.as_ref(), b"before", 0);
    assert!(file.write_all_at(&mut [io::IoSlice::new(b"during")], 6).is_err());
    assert!(disk.has_crashed());
    assert!(file.write_all_at(&mut [io::IoSlice::new(b"after")], 12).is_err());
    assert!(file.sync_data().is_err() && disk.read(&path).is_err() && disk.remove_file(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"beforeduring");
    assert_eq!(disk.counts()[&Operation::Write], 2);
    assert!(disk.trace().last().unwrap().starts_with("Write"), "{:?}", disk.trace());
}
