//! `assay compare` as people and CI call it, on copies of a committed reference run.

use std::path::{Path, PathBuf};

use crate::support::{Place, copy_folder};

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/reference/zero-copy-quick")
}

/// A copy of the reference run in which one file is changed.
fn changed(place: &Place, name: &str, file: &str, change: impl Fn(&str) -> String) {
    let folder = place.path().join(name);
    copy_folder(&reference(), &folder);
    let path = folder.join(file);
    let text = change(&std::fs::read_to_string(&path).unwrap());
    std::fs::write(path, text).unwrap();
}

/// A place with the reference run as `A`, and `B` with the throughput of splice cut to a tenth.
fn place() -> Place {
    let place = Place::new();
    copy_folder(&reference(), &place.path().join("A"));
    changed(&place, "B", "trials.csv", |text| {
        let slower = |line: &str| match line.split_once(",throughput,MB/s,") {
            Some((start, rest)) if start.contains("fetch.path=splice") => {
                let (value, flags) = rest.split_once(',').unwrap();
                let value: f64 = value.parse().unwrap();
                format!("{start},throughput,MB/s,{},{flags}\n", value / 10.0)
            }
            _ => format!("{line}\n"),
        };
        text.lines().map(slower).collect()
    });
    place
}

#[test]
fn the_exit_code_is_the_gates() {
    let place = place();
    let same = place.assay(&["compare", "A", "A", "--gate"]).code(0).says(&[
        "the very same figures in all 20 arms",
        "EQUAL  Of 60 figures that decide: 60 equal.",
    ]);
    assert!(!same.stdout.contains('\u{1b}') && !same.stdout.contains("compare.csv"));
    let left = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(left, 2, "nothing is written unless --out says where");

    let regressed = [
        "Throughput, MB/s, higher is better",
        "splice",
        "0.100x",
        "REGRESSED  Of 60 figures that decide: ",
    ];
    place.assay(&["compare", "A", "B"]).code(0).says(&regressed);
    place.assay(&["compare", "A", "B", "--gate"]).code(1).says(&regressed);
    place
        .assay(&["compare", "B", "A", "--gate"])
        .code(0)
        .says(&["IMPROVED  Of 60"]);
    place
        .assay(&["compare", "A", "B", "--gate", "--metric", "body_switches_per_response"])
        .code(0)
        .says(&["EQUAL  Of 20 figures"]);

    // Two trials of each arm leave the figures open, and open is no success.
    changed(&place, "short", "trials.csv", |text| {
        let kept = text.lines().filter(|line| {
            let block = line.split(',').nth(2).unwrap();
            !line.contains(",throughput,") || block == "1" || block == "2"
        });
        kept.map(|line| format!("{line}\n")).collect()
    });
    place.assay(&["compare", "A", "short"]).code(0);
    place
        .assay(&["compare", "A", "short", "--gate"])
        .code(2)
        .says(&["INCONCLUSIVE  Of 60"]);
}

#[test]
fn what_cannot_be_compared_is_told_with_every_reason() {
    let place = place();
    changed(&place, "elsewhere", "manifest.json", |text| {
        text.replace("AMD EPYC", "Another CPU")
            .replace("6.18.44-fc-v595", "7.0.0")
    });
    let reasons = [
        "INCOMPARABLE  CPU: AMD EPYC in A, Another CPU in B",
        "INCOMPARABLE  kernel: 6.18.44-fc-v595 in A, 7.0.0 in B",
        "not compared.",
        "the very same figures in all 20 arms",
    ];
    for gate in [&[][..], &["--gate"]] {
        place
            .assay(&[&["compare", "A", "elsewhere"], gate].concat())
            .code(2)
            .says(&reasons);
    }
    let allowed = place
        .assay(&["compare", "A", "elsewhere", "--gate", "--allow-different-machine"])
        .code(0);
    assert!(
        allowed
            .stdout
            .starts_with("Different machines, compared because it was asked for: CPU"),
        "{allowed:?}"
    );
    changed(&place, "synced", "manifest.json", |text| {
        text.replace("page cache (no", "every batch (no")
    });
    place
        .assay(&["compare", "A", "synced", "--allow-different-machine"])
        .code(2)
        .says(&[
            "INCOMPARABLE  durability class of bundled: ",
            "Nothing could be compared.",
        ]);
}

#[test]
fn a_broken_folder_and_a_wrong_name_are_errors() {
    let place = place();
    changed(&place, "cut", "trials.csv", |text| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines[9] = &lines[9][..60];
        lines.join("\n") + "\n"
    });
    changed(&place, "newer", "manifest.json", |text| {
        text.replace("\"schema_version\": 1", "\"schema_version\": 99")
    });
    std::fs::create_dir(place.path().join("empty")).unwrap();
    for (arguments, complaints) in [
        (
            &["A", "empty"][..],
            &["empty/manifest.json is missing: is this a run folder?"][..],
        ),
        (
            &["A", "cut", "--gate"],
            &[
                "cut/trials.csv, line 10",
                "the line ends before this column",
                "mend or remove",
            ],
        ),
        (
            &["newer", "A"],
            &["newer/manifest.json has schema version 99", "use a newer assay"],
        ),
        (
            &["A", "B", "--metric", "speed"],
            &["neither run has the metric 'speed'; there are: ", "throughput"],
        ),
        (
            &["A", "B", "--experiment", "zero-cpy"],
            &["neither run has the experiment 'zero-cpy'; there are: zero-copy"],
        ),
        (&["A"], &["<B>"]),
        (&["A", "A", "--out", "B/trials.csv"], &["B/trials.csv"]),
    ] {
        place
            .assay(&[&["compare"], arguments].concat())
            .code(3)
            .complains(&["error: "])
            .complains(complaints);
    }
    // A last line that a crash tore is left out, and told.
    changed(&place, "torn", "trials.csv", |text| text[..text.len() - 20].to_owned());
    place
        .assay(&["compare", "A", "torn"])
        .code(0)
        .says(&["Note: B: The last line of trials.csv is torn"]);
}

#[test]
fn the_files_are_left_where_it_is_told() {
    let place = place();
    place
        .assay(&["compare", "A", "B", "--out", "new/compared"])
        .code(0)
        .says(&["compare.csv, compare.md, compare.junit.xml, charts: new/compared"]);
    let out = place.path().join("new/compared");
    let text = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    assert!(text("compare.csv").starts_with("experiment,target,cell,level,metric,"));
    assert!(text("compare.md").starts_with("# B against A\n\n**REGRESSED** Of 60 figures"));
    assert!(text("compare.junit.xml").contains("<failure type=\"REGRESSED\""));
    assert!(text("charts/compare-zero-copy-bundled-throughput.svg").contains("REGRESSED"));
    assert!(out.join("charts/compare-zero-copy-bundled-throughput.png").is_file());
}
