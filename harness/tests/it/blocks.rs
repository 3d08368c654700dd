//! Blocks without a broker, from the definition to the report. Only counts are looked at.

use std::path::Path;

use results::reader::Run;
use results::schema::TrialRole;

use crate::support::{Figures, Place};

const TINY_BLOCKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tiny-blocks.toml");

#[test]
fn every_block_is_written_once_flushed_as_told_and_found_again() {
    let place = Place::new();
    place
        .assay(&["run", TINY_BLOCKS, "--require", "tiny-blocks/a-flush-each"])
        .code(0);
    place.assert_nothing_left();
    let folder = place.run_folder();
    assert!(!folder.join("scratch").exists());
    let run = Run::open(&folder).unwrap();
    let notes = run.manifest.machine.notes.join("\n");
    assert!(notes.contains("working set: at most 0 MiB"), "{notes}");
    let can_direct = !notes.contains("refuses O_DIRECT");
    assert!(run.manifest.targets.is_empty(), "there is no broker to tell of");
    assert!(run.plan.iter().all(|trial| trial.target == "machine"));

    let figures = Figures::of(&run);
    for trial in &run.plan {
        let figure = |metric: &str| figures.need(trial, metric);
        let is_limit = trial.role == TrialRole::Limit;
        if is_limit && !can_direct {
            assert_eq!(figure("not_measured"), 1.0);
            continue;
        }
        let blocks = if is_limit { 8.0 } else { 16.0 };
        assert_eq!(
            (figure("responses"), figure("delivered_bytes")),
            (blocks, 65536.0),
            "{}",
            trial.arm
        );
        let flushes = match trial.factors["flush"].as_str() {
            "never" => 1.0,
            _ => blocks,
        };
        assert_eq!(figure("flushes"), flushes, "{}", trial.arm);
        assert!(figure("durable_mb_per_s") > 0.0 && figure("durable_mb_per_s") <= figure("throughput"));
    }
    // Each arm but the bare loops is read back.
    assert!(
        run.ledger.iter().all(|entry| entry.ok && entry.observed == "16"),
        "{:?}",
        run.ledger
    );
    assert_eq!(run.ledger.len(), 2 * 2 * 3 + 2);
}

#[test]
fn memory_is_no_disk() {
    let shm = Path::new("/dev/shm");
    let in_memory =
        nix::sys::statfs::statfs(shm).is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC);
    let Some(out) = in_memory.then(|| tempfile::tempdir_in(shm).ok()).flatten() else {
        eprintln!("skipped: /dev/shm is no file system in memory");
        return;
    };
    let place = Place::new();
    let ended = place.assay(&["run", TINY_BLOCKS, "--out", out.path().to_str().unwrap()]);
    ended
        .code(3)
        .complains(&["lies in memory (tmpfs)", "choose a folder on a disk with --out"]);
}

#[test]
fn a_target_has_nothing_to_do_with_it() {
    let place = Place::new();
    let ended = place.assay(&["run", TINY_BLOCKS, "--target", "bundled"]);
    ended
        .code(3)
        .complains(&["tiny-blocks: needs no broker: run it without --target"]);
    assert_eq!(place.runs().len(), 0);
}
