//! The rendered folder: every file is there, the page is whole, self-contained and escaped, and rendering again gives
//! the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use results::report::render;
use results::schema::{ClaimCard, Factors, LedgerEntry, Manifest, file};
use results::writer::RunWriter;
use tempfile::TempDir;

use crate::synthetic::{Truth, at_least, counts, faster, manifest, write_run};

fn truth() -> Truth {
    Truth {
        blocks: 6,
        cells: vec![
            ("65536", "discard", "hot", vec![("sendfile", 1.9)]),
            ("1048576", "copy", "hot", vec![("sendfile", 0.6)]),
        ],
        limits: true,
        ..Truth::one_cell(1.0)
    }
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in [dir.to_owned(), dir.join(file::CHARTS)] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files.insert(
                    path.strip_prefix(dir).unwrap().display().to_string(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    files
}

#[test]
fn everything_is_written_and_written_the_same_again() {
    let dir = TempDir::new().unwrap();
    write_run(dir.path(), &truth(), vec![faster(), at_least(1.6), counts()]);
    let rendered = render(dir.path()).unwrap();
    assert_eq!(rendered.charts.len(), 5);
    let first = files(dir.path());
    for name in ["by-size", "cost-by-size", "ratios", "latency", "limit"] {
        assert!(
            first.contains_key(&format!("charts/zero-copy-{name}.svg")),
            "{name}: {:?}",
            first.keys()
        );
        let png = &first[&format!("charts/zero-copy-{name}.png")];
        assert!(
            png.starts_with(b"\x89PNG") && png.len() > 10_000,
            "{name} is a PNG with something on it"
        );
    }
    for name in [
        file::REPORT,
        file::SUMMARY,
        file::JUNIT,
        file::ESTIMATES,
        file::VERDICTS,
    ] {
        assert!(first.contains_key(name), "{name}");
    }
    render(dir.path()).unwrap();
    assert_eq!(first, files(dir.path()));
}

#[test]
fn the_page_answers_first_and_loads_nothing_from_outside() {
    let dir = TempDir::new().unwrap();
    write_run(dir.path(), &truth(), vec![faster()]);
    let rendered = render(dir.path()).unwrap();
    let page = fs::read_to_string(rendered.html).unwrap();
    let verdict = page.find("<span class=\"verdict\">CONDITIONAL</span>").unwrap();
    assert!(verdict < page.find("<table").unwrap() && verdict < page.find("<svg").unwrap());
    assert_eq!(page.matches("<svg").count(), 5);
    assert!(!page.contains("<script") && !page.contains("<link") && !page.contains("@import"));
    let addresses = page
        .match_indices("http")
        .filter(|(at, _)| !page[*at..].starts_with("http://www.w3.org/2000/svg"));
    assert_eq!(addresses.count(), 0, "the only address is the name space of SVG");
}

#[test]
fn names_that_look_like_markup_are_escaped_everywhere() {
    let evil = "<script>alert('1')</script>";
    let dir = TempDir::new().unwrap();
    let mut manifest: Manifest = manifest(&truth(), vec![]);
    manifest.name = evil.into();
    manifest.command = vec![evil.into()];
    manifest.machine.cpu_model = evil.into();
    manifest.machine.notes = vec![evil.into()];
    let card = &mut manifest.experiments[0];
    for text in [&mut card.title, &mut card.claim, &mut card.source, &mut card.why] {
        *text = evil.into();
    }
    card.published = vec![evil.into()];
    card.claims = vec![ClaimCard::Faster {
        id: evil.into(),
        text: evil.into(),
        metric: "throughput".into(),
        level: "sendfile".into(),
        only: Factors::new(),
    }];
    let inner = dir.path().join("inner");
    write_run(&inner, &truth(), vec![]);
    let mut writer = RunWriter::create(dir.path(), &manifest).unwrap();
    let run = results::reader::Run::open(&inner).unwrap();
    writer.trial(&run.trials).unwrap();
    let entry = LedgerEntry {
        experiment: "zero-copy".into(),
        trial: 0,
        arm: run.trials[0].arm.clone(),
        check: evil.into(),
        expected: evil.into(),
        observed: evil.into(),
        ok: false,
    };
    writer.ledger(&[entry]).unwrap();
    render(dir.path()).unwrap();
    for (name, bytes) in files(dir.path()) {
        let rendered = [file::REPORT, file::SUMMARY, file::JUNIT].contains(&name.as_str()) || name.ends_with(".svg");
        if rendered {
            let text = String::from_utf8(bytes).unwrap();
            assert!(!text.contains("<script"), "{name}");
            assert!(
                text.contains("&lt;script") || text.contains("&#60;script"),
                "{name} leaves out what it should tell"
            );
        }
    }
}

#[test]
fn an_empty_run_still_gives_a_page() {
    let dir = TempDir::new().unwrap();
    write_run(dir.path(), &Truth { blocks: 0, ..truth() }, vec![faster()]);
    let rendered = render(dir.path()).unwrap();
    assert!(rendered.charts.is_empty());
    assert!(
        fs::read_to_string(rendered.html)
            .unwrap()
            .contains("No cell of this run measures it.")
    );
}
