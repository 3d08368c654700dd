//! Payloads: the same seed gives the same bytes, sizes and shares hold, and files at their edges.

use super::*;
use std::io::Write;

fn json(record_bytes: usize, entropy: f64) -> PayloadSpec {
    PayloadSpec::Json { record_bytes, entropy }
}

fn take(spec: &PayloadSpec, seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut source = RecordSource::open(spec, seed).unwrap();
    let mut record = Vec::new();
    let mut next = || source.next(&mut record).map(|()| record.clone()).unwrap();
    (0..count).map(|_| next()).collect()
}

/// Compressed bytes per byte of a quarter of a megabyte, in one stream as a batch would be.
fn gzip_ratio(spec: &PayloadSpec) -> f64 {
    let records = take(spec, 5, 512).concat();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&records).unwrap();
    encoder.finish().unwrap().len() as f64 / records.len() as f64
}

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

fn by(file: &tempfile::NamedTempFile, cut: Cut) -> PayloadSpec {
    PayloadSpec::File {
        path: file.path().to_owned(),
        cut,
    }
}

fn texts(records: Vec<Vec<u8>>) -> Vec<String> {
    records
        .into_iter()
        .map(|record| String::from_utf8(record).unwrap())
        .collect()
}

#[test]
fn the_seed_fixes_every_byte() {
    for spec in [
        json(512, 0.25),
        PayloadSpec::Text {
            record_bytes: 100,
            entropy: 0.5,
        },
        PayloadSpec::Random { record_bytes: 64 },
    ] {
        assert_eq!(take(&spec, 1, 50), take(&spec, 1, 50));
        assert_ne!(take(&spec, 1, 50), take(&spec, 2, 50));
    }
}

#[test]
fn json_events_are_valid_and_exactly_as_long_as_asked_for() {
    for record_bytes in [RECORD_BYTES_MIN, 33, 60, 100, 150, 200, 230, 256, 512, 4_000] {
        for entropy in [0.0, 0.25, 1.0] {
            for record in take(&json(record_bytes, entropy), 3, 40) {
                assert_eq!(record.len(), record_bytes);
                let value: serde_json::Value = serde_json::from_slice(&record).unwrap();
                assert!(value["message"].is_string());
            }
        }
    }
    let event: serde_json::Value = serde_json::from_slice(&take(&json(512, 0.25), 3, 1)[0]).unwrap();
    assert!(event["ts"].as_str().unwrap().starts_with("2025-01-01T00:00:00."));
    assert!(event["trace_id"].as_str().unwrap().len() == 16 && event["user_id"].as_u64().is_some());
}

#[test]
fn json_events_compress_like_real_ones_and_the_knob_works() {
    let [none, default, half, all] = [0.0, 0.25, 0.5, 1.0].map(|entropy| gzip_ratio(&json(512, entropy)));
    assert!((0.15..=0.35).contains(&default), "default {default}");
    assert!(
        none < default && default < half && half < all,
        "{none} {default} {half} {all}"
    );
    assert!(gzip_ratio(&PayloadSpec::Random { record_bytes: 512 }) > 0.99);
}

#[test]
fn entropy_is_measured_in_bits_per_byte() {
    let bits = |spec: &PayloadSpec| profile(spec, 1, 1 << 18).unwrap().entropy_bits_per_byte;
    assert!(bits(&PayloadSpec::Random { record_bytes: 1_000 }) > 7.99);
    // 64 letters, all as likely: six bits.
    assert!(
        (bits(&PayloadSpec::Text {
            record_bytes: 1_000,
            entropy: 1.0
        }) - 6.0)
            .abs()
            < 0.01
    );
    assert!((3.5..6.0).contains(&bits(&json(512, 0.25))));
    let one_letter = file(&[b'a'; 4_096]);
    assert_eq!(bits(&by(&one_letter, Cut::Bytes(100))).abs(), 0.0);
}

#[test]
fn a_profile_counts_what_it_saw() {
    let lines = file(b"one\nthree\n");
    let seen = profile(&by(&lines, Cut::Lines), 0, 9).unwrap();
    assert_eq!(
        (seen.records, seen.bytes, seen.record_bytes_min, seen.record_bytes_max),
        (3, 11, 3, 5)
    );
}

#[test]
fn a_file_is_cut_by_line_and_starts_again() {
    let lines = file(b"first\r\n\nsecond\nlast without an end");
    let expected = ["first", "second", "last without an end", "first", "second"];
    assert_eq!(texts(take(&by(&lines, Cut::Lines), 0, 5)), expected);
}

#[test]
fn a_file_is_cut_by_size_and_starts_again() {
    let bytes = file(b"abcdefgh");
    assert_eq!(
        texts(take(&by(&bytes, Cut::Bytes(3)), 0, 5)),
        ["abc", "def", "gh", "abc", "def"]
    );
    assert_eq!(
        texts(take(&by(&bytes, Cut::Bytes(100)), 0, 2)),
        ["abcdefgh", "abcdefgh"]
    );
}

#[test]
fn the_longest_line_passes_and_one_byte_more_does_not() {
    for end in [&b""[..], b"\n", b"\r\n"] {
        let longest = file(&[&vec![b'x'; RECORD_BYTES_MAX], end].concat());
        assert_eq!(take(&by(&longest, Cut::Lines), 0, 2)[1].len(), RECORD_BYTES_MAX);
        let longer = file(&[&vec![b'x'; RECORD_BYTES_MAX + 1], end].concat());
        let error = RecordSource::open(&by(&longer, Cut::Lines), 0).unwrap_err().to_string();
        assert!(
            error.contains("line 1: longer than 1000000 bytes; cut the file by size"),
            "{error}"
        );
        assert!(error.contains(longer.path().to_str().unwrap()));
    }
}

#[test]
fn unusable_files_are_told_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let empty = file(b"");
    let blank = file(b"\n\r\n\n");
    let missing = folder.path().join("missing.log");
    let rows = [
        (
            empty.path(),
            Cut::Lines,
            "has no record when cut by line; give a file with content",
        ),
        (empty.path(), Cut::Bytes(10), "has no record when cut by 10 bytes"),
        (blank.path(), Cut::Lines, "has no record when cut by line"),
        (folder.path(), Cut::Lines, "is not a regular file"),
        (missing.as_path(), Cut::Lines, "No such file"),
        (blank.path(), Cut::Bytes(0), "between 1 and 1000000"),
        (blank.path(), Cut::Bytes(2_000_000), "between 1 and 1000000"),
    ];
    for (path, cut, expected) in rows {
        let error = RecordSource::open(
            &PayloadSpec::File {
                path: path.to_owned(),
                cut,
            },
            0,
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn sizes_and_shares_out_of_range_are_refused() {
    for spec in [
        json(31, 0.2),
        json(RECORD_BYTES_MAX + 1, 0.2),
        PayloadSpec::Random { record_bytes: 0 },
    ] {
        assert!(
            RecordSource::open(&spec, 0)
                .unwrap_err()
                .to_string()
                .contains("choose a size")
        );
    }
    for share in [-0.1, 1.1, f64::NAN] {
        assert!(
            RecordSource::open(&json(100, share), 0)
                .unwrap_err()
                .to_string()
                .contains("between 0")
        );
    }
}

#[test]
fn a_file_that_is_emptied_meanwhile_ends_in_an_error_and_not_in_a_loop() {
    let lines = file(b"one\ntwo\n");
    let mut source = RecordSource::open(&by(&lines, Cut::Lines), 0).unwrap();
    let mut record = Vec::new();
    source.next(&mut record).unwrap();
    lines.as_file().set_len(0).unwrap();
    // Two records may still be buffered.
    assert!((0..4).any(|_| source.next(&mut record).is_err()));
}

#[test]
fn specs_read_back_and_unknown_keys_are_refused() {
    let spec = PayloadSpec::File {
        path: "x.log".into(),
        cut: Cut::Bytes(7),
    };
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<PayloadSpec>(&text).unwrap(), spec);
    assert!(serde_json::from_str::<PayloadSpec>(r#"{"kind":"random","record_bytes":1,"size":2}"#).is_err());
}

/// Real logs, where they lie beside the project.
#[test]
fn real_logs_are_cut_by_line() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    for name in ["Apache_2k.log", "HDFS_2k.log", "OpenSSH_2k.log", "OpenStack_2k.log"] {
        let path = folder.join(name);
        if !path.exists() {
            eprintln!("skipped: {} is not here", path.display());
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        let lines: Vec<Vec<u8>> = content
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
            .filter(|line| !line.is_empty())
            .collect();
        let spec = PayloadSpec::File { path, cut: Cut::Lines };
        let mut twice = lines.clone();
        twice.extend(lines.iter().cloned());
        assert_eq!(take(&spec, 0, twice.len()), twice, "{name}");
    }
}
