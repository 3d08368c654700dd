//! Run folders of before are read and drawn as they were: the committed reference run, rendered again, gives the
//! committed answers, tables and charts.

use std::fs;
use std::path::Path;

use results::report::render;
use results::schema::file;
use tempfile::TempDir;

/// The page from its body on: its styles may change.
fn body(page: &str) -> &str {
    &page[page.find("<body>").unwrap()..]
}

/// The same text, or the same figure but for what logarithms of another C library may change.
fn is_alike(found: &str, committed: &str) -> bool {
    match (found.parse::<f64>(), committed.parse::<f64>()) {
        (Ok(found), Ok(committed)) => (found - committed).abs() <= 1e-9 * committed.abs().max(1e-9),
        _ => found == committed,
    }
}

#[test]
fn a_run_of_schema_version_1_is_drawn_as_before() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/zero-copy-quick");
    let dir = TempDir::new().unwrap();
    let measured = [
        file::MANIFEST,
        file::PLAN,
        file::TRIALS,
        file::SERIES,
        file::LATENCY,
        file::LEDGER,
    ];
    for name in measured {
        fs::copy(reference.join(name), dir.path().join(name)).unwrap();
    }
    assert!(
        fs::read_to_string(reference.join(file::MANIFEST))
            .unwrap()
            .contains("\"schema_version\": 1,")
    );
    let rendered = render(dir.path()).unwrap();
    let text = |dir: &Path, name: &str| fs::read_to_string(dir.join(name)).unwrap();
    for name in [file::SUMMARY, file::VERDICTS, file::JUNIT] {
        assert_eq!(text(dir.path(), name), text(&reference, name), "{name}");
    }
    let (found, committed) = (text(dir.path(), file::ESTIMATES), text(&reference, file::ESTIMATES));
    assert_eq!(found.lines().count(), committed.lines().count());
    for (found, committed) in found.split([',', '\n']).zip(committed.split([',', '\n'])) {
        assert!(is_alike(found, committed), "{found} is not {committed}");
    }
    let charts: Vec<String> = rendered
        .charts
        .iter()
        .map(|chart| format!("charts/{}.svg", chart.slug))
        .collect();
    assert_eq!(
        charts.len(),
        fs::read_dir(reference.join(file::CHARTS)).unwrap().count() / 2
    );
    for name in &charts {
        assert_eq!(text(dir.path(), name), text(&reference, name), "{name}");
    }
    let (found, committed) = (text(dir.path(), file::REPORT), text(&reference, file::REPORT));
    let (found, committed) = (body(&found), body(&committed));
    for (found, committed) in found.lines().zip(committed.lines()) {
        assert_eq!(found, committed);
    }
    assert_eq!(found.len(), committed.len());
}
