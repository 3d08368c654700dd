//! Definitions that pass, and one broken definition per kind of error: the message, the line and the remedy.

mod sections;

use super::*;
use std::collections::BTreeSet;

const ZERO_COPY: &str = include_str!("../../definitions/zero-copy.toml");

fn zero_copy() -> Definition {
    Definition::parse("zero-copy.toml", ZERO_COPY).unwrap()
}

#[test]
fn every_embedded_definition_passes_and_is_named_like_its_file() {
    let names: Vec<String> = embedded()
        .unwrap()
        .into_iter()
        .map(|definition| definition.file_name())
        .collect();
    let mut files: Vec<String> = embedded_texts().map(|(path, _)| path.to_owned()).collect();
    files.sort_by_key(|file| file.trim_end_matches(".toml").to_owned());
    assert_eq!(names, files);
    assert!(names.contains(&"zero-copy.toml".to_owned()));
}

#[test]
fn the_quick_profile_has_the_listed_cells() {
    let definition = zero_copy();
    let ids: Vec<&str> = definition
        .arms(ProfileName::Quick)
        .iter()
        .map(|arm| arm.id.as_str())
        .collect();
    assert_eq!(
        ids,
        [
            "read-write/64KiB/discard/hot",
            "vectored/64KiB/discard/hot",
            "mmap/64KiB/discard/hot",
            "splice/64KiB/discard/hot",
            "sendfile/64KiB/discard/hot",
            "read-write/1MiB/discard/hot",
            "control/read-write/1MiB/discard/hot",
            "bare-read-write/1MiB/discard/hot",
            "bare-sendfile/1MiB/discard/hot",
            "vectored/1MiB/discard/hot",
            "mmap/1MiB/discard/hot",
            "splice/1MiB/discard/hot",
            "sendfile/1MiB/discard/hot",
            "read-write/64KiB/copy/hot",
            "read-write/1MiB/copy/hot",
            "sendfile/64KiB/copy/hot",
            "sendfile/1MiB/copy/hot",
            "read-write/4MiB/discard/hot",
            "bare-read-write/4MiB/discard/hot",
            "bare-sendfile/4MiB/discard/hot",
            "sendfile/4MiB/discard/hot",
            "read-write/4KiB/discard/hot",
            "sendfile/4KiB/discard/hot",
            "read-write/1MiB/discard/cold",
            "sendfile/1MiB/discard/cold",
        ]
    );
    let limit = &definition.arms(ProfileName::Quick)[8];
    assert_eq!(
        (limit.role, limit.factors["fetch.path"].as_str()),
        (Role::Limit, "bare-sendfile")
    );
    assert_eq!(limit.factors["response_bytes"], "1048576");
}

#[test]
fn the_control_arm_has_the_factors_of_one_baseline_arm() {
    let definition = zero_copy();
    let arms = definition.arms(ProfileName::Quick);
    let control = arms.iter().find(|arm| arm.role == Role::Control).unwrap();
    let twins: Vec<_> = arms
        .iter()
        .filter(|arm| arm.role == Role::Measured && arm.factors == control.factors)
        .collect();
    assert_eq!(twins.len(), 1);
}

#[test]
fn the_full_profile_is_the_whole_grid_with_limits_and_controls() {
    let definition = zero_copy();
    let arms = definition.arms(ProfileName::Full);
    let count = |role| arms.iter().filter(|arm| arm.role == role).count();
    assert_eq!(count(Role::Measured), 5 * 4 * 2 * 2);
    assert_eq!(count(Role::Limit), 2 * 4 * 2 * 2);
    assert_eq!(count(Role::Control), 4 * 2 * 2);
    assert_eq!(
        arms.iter().map(|arm| &arm.id).collect::<BTreeSet<_>>().len(),
        arms.len()
    );
}

#[test]
fn claims_and_settings_are_read() {
    let definition = zero_copy();
    assert_eq!(definition.settings["socket.send.buffer.bytes"], "-1");
    assert_eq!(definition.settings["auto.create.topics.enable"], "false");
    let Claim::AtLeast {
        metric, level, ratio, ..
    } = &definition.claims[1]
    else {
        panic!("+60 % is an at_least")
    };
    assert_eq!(
        (metric.as_str(), level.as_str(), *ratio),
        ("throughput", "sendfile", 1.6)
    );
    let Claim::Counts { expected, .. } = &definition.claims[2] else {
        panic!("switches are counts")
    };
    assert_eq!(expected["read-write"], 4.0);
    let card = serde_json::to_value(&definition.claims[0]).unwrap();
    assert_eq!(
        (card["kind"].as_str(), card["level"].as_str()),
        (Some("faster"), Some("sendfile"))
    );
}

#[test]
fn the_digest_follows_the_text() {
    let other = Definition::parse("zero-copy.toml", &ZERO_COPY.replace("margin = 0.05", "margin = 0.06")).unwrap();
    assert_eq!(zero_copy().digest, zero_copy().digest);
    assert_ne!(zero_copy().digest, other.digest);
    assert_eq!(other.digest.len(), 16);
}

/// Each row: what is replaced in `zero-copy.toml` (first place), by what, where the error points (its text starts with that; empty: not
/// looked at), and what message and remedy must contain.
const BROKEN: &[(&str, &str, &str, &str, &str)] = &[
    (
        "margin = 0.05",
        "margni = 0.05",
        "margni",
        "unknown field `margni`",
        "assay show",
    ),
    (
        "title = \"Does zero copy pay?\"",
        "title = 7",
        "7",
        "invalid type: integer `7`, expected a string",
        "assay show",
    ),
    ("[fetch]", "[fetch", "", "", "assay show"),
    (
        "name = \"zero-copy\"",
        "name = \"Zero Copy\"",
        "\"Zero Copy\"",
        "is not a name",
        "lower-case",
    ),
    (
        "treatment = \"fetch.path\"",
        "treatment = \"path\"",
        "\"path\"",
        "unknown factor `path`",
        "fetch.path, response_bytes",
    ),
    (
        "baseline = \"read-write\"",
        "baseline = \"readwrite\"",
        "\"readwrite\"",
        "unknown level",
        "read-write, vectored",
    ),
    (
        "focus = \"sendfile\"",
        "focus = \"read-write\"",
        "\"read-write\"",
        "the same level",
        "praises",
    ),
    (
        "margin = 0.05",
        "margin = 5.0",
        "5.0",
        "the margin is 5",
        "between 0.001 and 0.5",
    ),
    (
        "deciding_metric = \"throughput\"",
        "deciding_metric = \"speed\"",
        "\"speed\"",
        "unknown metric",
        "throughput, broker",
    ),
    (
        "transport = \"loopback\"",
        "transport = \"ib\"",
        "\"ib\"",
        "unknown transport",
        "loopback",
    ),
    (
        "[4096, 65536, 1048576, 4194304]",
        "[2048, 65536]",
        "2048",
        "can't hold a stored batch of 4096",
        "at least 4096",
    ),
    (
        "[4096, 65536, 1048576, 4194304]",
        "[\"big\"]",
        "\"big\"",
        "not a number of bytes",
        "65536",
    ),
    (
        "[4096, 65536, 1048576, 4194304]",
        "[67108864]",
        "67108864",
        "more than the file",
        "268435456",
    ),
    (
        "[4096, 65536, 1048576, 4194304]",
        "[4096, 4096]",
        "4096]",
        "there twice",
        "remove one",
    ),
    (
        "[4096, 65536, 1048576, 4194304]",
        "[]",
        "[]",
        "has no level",
        "at least one",
    ),
    (
        "\"mmap\", \"splice\"",
        "\"m;map\", \"splice\"",
        "\"m;map\"",
        "can't be a name or level",
        "letters",
    ),
    (
        "levels = [\"discard\", \"copy\"]",
        "levels = [\"drop\"]",
        "\"drop\"",
        "can't do `drop`",
        "copy, discard",
    ),
    (
        "levels = [\"hot\", \"cold\"]",
        "levels = [\"warm\"]",
        "\"warm\"",
        "can't do `warm`",
        "hot, restarted, cold",
    ),
    (
        "name = \"receiver\"",
        "name = \"cache\"",
        "\"cache\"",
        "factor `cache` is there twice",
        "into one",
    ),
    (
        "name = \"receiver\"",
        "name = \"limit\"",
        "\"limit\"",
        "is a switch of a cell",
        "another name",
    ),
    (
        "in_flight = 4",
        "in_flight = 0",
        "0",
        "in_flight is 0",
        "between 1 and 64",
    ),
    (
        "in_flight = 4",
        "in_flight = \"4\"",
        "\"4\"",
        "invalid type: string",
        "assay show",
    ),
    (
        "stored_batch_bytes = 4096",
        "stored_batch_bytes = 60",
        "60",
        "the stored batch is 60",
        "between 256",
    ),
    (
        "file_bytes = 134217728",
        "file_bytes = 134217729",
        "134217729",
        "whole number of batches",
        "134217728",
    ),
    (
        "cold_file_bytes = 134217728",
        "cold_file_bytes = 4194304",
        "",
        "a cold window can't hold 16 responses",
        "at least 16777216",
    ),
    (
        "record_bytes = 512",
        "record_bytes = 4096",
        "4096",
        "the record is 4096",
        "between 32 and 4000",
    ),
    (
        "entropy = 0.25",
        "entropy = 1.5",
        "1.5",
        "the entropy share is 1.5",
        "between 0 and 1",
    ),
    (
        "\"bare-sendfile\" = \"sendfile\"",
        "\"bare-sendfile\" = \"sendfil\"",
        "\"sendfil\"",
        "unknown level `sendfil`",
        "sendfile",
    ),
    (
        "\"bare-sendfile\" = \"sendfile\"",
        "mmap = \"sendfile\"",
        "mmap",
        "its limit too",
        "a name of its own",
    ),
    (
        "name = \"broker_cpu_s_per_gb\"",
        "name = \"throughput\"",
        "\"throughput\"",
        "metric `throughput` is there twice",
        "remove",
    ),
    (
        "better = \"higher\"",
        "better = \"up\"",
        "\"up\"",
        "unknown variant `up`",
        "assay show",
    ),
    (
        "id = \"switches\"",
        "id = \"faster\"",
        "\"faster\"",
        "claim `faster` is there twice",
        "an id of its own",
    ),
    (
        "metric = \"body_switches_per_response\"",
        "metric = \"switches\"",
        "\"switches\"",
        "unknown metric",
        "body_switches",
    ),
    (
        "{ read-write = 4, sendfile = 2 }",
        "{ readwrite = 4 }",
        "readwrite",
        "unknown level `readwrite`",
        "read-write",
    ),
    (
        "ratio = 1.6\n",
        "",
        "[[claims]]",
        "claim `plus-60-percent` has no `ratio`",
        "ratio = ",
    ),
    (
        "expected = { read-write = 4, sendfile = 2 }\n",
        "",
        "[[claims]]",
        "has no `expected`",
        "expected = ",
    ),
    (
        "ratio = 1.6\n",
        "ratio = 1.6\nlevel = \"read-write\"\n",
        "\"read-write\"",
        "baseline with itself",
        "another level",
    ),
    (
        "kind = \"faster\"",
        "kind = \"faster\"\nratio = 2",
        "2",
        "has no use for `ratio`",
        "remove `ratio`",
    ),
    (
        "blocks = 8",
        "blocks = 0",
        "0",
        "profile `quick` has 0 blocks",
        "between 1 and",
    ),
    (
        "window_ms = 350",
        "window_ms = 0",
        "0",
        "window_ms is 0",
        "between 1 and",
    ),
    (
        "receiver = [\"discard\"]",
        "reciever = [\"discard\"]",
        "reciever",
        "unknown factor `reciever`",
        "fetch.path, response_bytes, receiver",
    ),
    (
        "receiver = [\"discard\"]\n",
        "",
        "[[profile.quick.cells]]",
        "does not say `receiver`",
        "discard, copy",
    ),
    (
        "receiver = [\"discard\"]",
        "receiver = []",
        "[]",
        "no level of `receiver`",
        "at least one",
    ),
    (
        "response_bytes = [65536]",
        "response_bytes = [65537]",
        "65537",
        "unknown level of `response_bytes` `65537`",
        "4096, 65536",
    ),
    (
        "receiver = [\"discard\"]",
        "receiver = true",
        "true",
        "`receiver` is a factor",
        "list of its levels",
    ),
    (
        "limit = true",
        "limit = [\"yes\"]",
        "\"yes\"",
        "unknown bare loop `yes`",
        "bare-read-write, bare-sendfile",
    ),
    (
        "control = true",
        "control = [\"yes\"]",
        "[\"yes\"]",
        "`control` is a switch",
        "true or false",
    ),
    (
        "receiver = [\"copy\"]",
        "receiver = [\"discard\"]",
        "[[profile.quick.cells]]",
        "is there twice",
        "one entry",
    ),
    (
        "response_bytes = [4096]\nreceiver",
        "response_bytes = [4096]\nlimit = \"x\"\nreceiver",
        "\"x\"",
        "expected a list of levels",
        "",
    ),
    (
        "\"fetch.path\" = [\"read-write\", \"sendfile\"]\nresponse_bytes = [4096]",
        "\"fetch.path\" = [\"sendfile\"]\nresponse_bytes = [4096]",
        "[[profile.quick.cells]]",
        "nothing to divide by",
        "add the baseline",
    ),
    (
        "grid = true\n",
        "",
        "[profile.full]",
        "a switch that only a grid reads",
        "into a cell",
    ),
    (
        "grid = true\nlimit = true\ncontrol = true\n",
        "",
        "[profile.full]",
        "profile `full` has no arm",
        "grid = true",
    ),
    (
        "[profile.full]",
        "[profile.night]",
        "",
        "unknown field `night`",
        "assay show",
    ),
];

const CONTENTION: &str = include_str!("../../definitions/partition-contention.kafka.toml");

/// The same for loads with settings as factors, and for claims that go along a factor, in `partition-contention.kafka.toml`.
const BROKEN_SETTINGS: &[(&str, &str, &str, &str, &str)] = &[
    (
        "[topic_settings.\"flush.policy\".every-batch]",
        "[topic_settings.\"flush.policy\".always]",
        "always",
        "unknown level of `flush.policy` `always`",
        "never, interval, every-batch",
    ),
    (
        "name = \"flush.policy\"",
        "name = \"flush.rule\"",
        "",
        "unknown factor of a cell `flush.policy`",
        "flush.rule",
    ),
    (
        "levels = [\"partition-log\"]",
        "levels = [\"partition-log\", \"commit-log\"]",
        "",
        "focus and baseline are the same level",
        "the level that the claim praises",
    ),
    (
        "from = 1",
        "from = 3",
        "3",
        "unknown level of `partitions` `3`",
        "1, 16, 64",
    ),
    (
        "from = 1",
        "from = 1\nat = 1",
        "1",
        "`1` is compared with itself",
        "another level",
    ),
    (
        "factor = \"partitions\"\n",
        "",
        "[[claims]]",
        "claim `kafka-keeps-when-flushed` has no `factor`",
        "factor = ",
    ),
    (
        "kind = \"keeps\"",
        "kind = \"of_limit\"",
        "\"partitions\"",
        "has no use for `factor`",
        "remove `factor`",
    ),
    (
        "only = { \"flush.policy\" = \"every-batch\" }",
        "only = { partitions = 16 }",
        "\"partitions\"",
        "`partitions` is gone along",
        "leave it out of `only`",
    ),
    (
        "connections = 8",
        "connections = 80",
        "80",
        "connections is 80",
        "between 1 and 64",
    ),
    (
        "workload = \"produce\"\n",
        "",
        "[load]",
        "there is no factor `workload`",
        "hold it still",
    ),
    (
        "workload = \"produce\"",
        "workload = \"fetch\"",
        "\"topics\"",
        "topics of their own are for a load that only produces",
        "workload = \"produce\"",
    ),
];

const HEAD_TO_HEAD: &str = include_str!("../../definitions/head-to-head.toml");

/// The same for what only a comparison of targets has, in `head-to-head.toml`.
const BROKEN_LOADS: &[(&str, &str, &str, &str, &str)] = &[
    (
        "levels = [\"kafka\", \"bundled\"]",
        "levels = [\"kafka\", \"pulsar\"]",
        "",
        "unknown level `bundled`",
        "kafka, pulsar",
    ),
    (
        "levels = [\"kafka\", \"bundled\"]",
        "levels = [\"kafka\", \"bundled\", \"pulsar\"]",
        "\"pulsar\"",
        "`target` can't do `pulsar`",
        "bundled, kafka",
    ),
    (
        "levels = [\"produce\", \"fetch\"]",
        "levels = [\"produce\", \"fetch\", \"copy\"]",
        "\"copy\"",
        "`workload` can't do `copy`",
        "produce, fetch",
    ),
    (
        "name = \"partitions\"",
        "name = \"partition\"",
        "[load]",
        "there is no factor `partitions`",
        "a load has the factors target, workload",
    ),
    (
        "levels = [1, 16]",
        "levels = [0, 16]",
        "0",
        "`0` is not a number of partitions",
        "between 1 and",
    ),
    (
        "levels = [16384, 65536, 1048576]",
        "levels = [16384, 65536, 2097152]",
        "2097152",
        "a batch can't have that size",
        "between 256 and 1048576",
    ),
    (
        "levels = [100, 1024]",
        "levels = [8, 1024]",
        "8",
        "the record is 8",
        "between 32 and 16288",
    ),
    (
        "acks = \"all\"",
        "acks = \"none\"",
        "\"none\"",
        "unknown variant `none`",
        "assay show",
    ),
    (
        "in_flight = 5",
        "in_flight = 500",
        "500",
        "in_flight is 500",
        "between 1 and 64",
    ),
    ("[load]", "[lode]", "lode", "unknown field `lode`", "assay show"),
    (
        "entropy = 0.25",
        "entropy = 0.25\nrecord_bytes = 100",
        "100",
        "a factor already",
        "remove it",
    ),
    (
        "windows = 15",
        "windows = 2",
        "2",
        "the windows that are looked at is 2",
        "between 3 and 100",
    ),
    (
        "[settings_of.kafka]",
        "[settings_of.pulsar]",
        "pulsar",
        "unknown target `pulsar`",
        "bundled, kafka",
    ),
    (
        "only = { workload = \"fetch\" }",
        "only = { workload = \"copy\" }",
        "\"copy\"",
        "unknown level of `workload` `copy`",
        "produce, fetch",
    ),
    (
        "only = { workload = \"fetch\" }",
        "only = { target = \"kafka\" }",
        "target",
        "unknown factor of a cell `target`",
        "workload, record_bytes",
    ),
    (
        "transport = \"loopback\"",
        "transport = \"loopback\"\ntarget = \"rocketmq\"",
        "\"rocketmq\"",
        "unknown target `rocketmq`",
        "bundled, kafka",
    ),
    (
        "[warm_up]",
        "[fetch]\nin_flight = 4\nin_flight_bytes = 1\nstored_batch_bytes = 4096\nfile_bytes = 4096\ncold_file_bytes = 4096\n\
         max_wait_ms = 5\nreceive_buffer_bytes = 4096\n\n[warm_up]",
        "[load]",
        "`fetch` and `load` are both there",
        "keep the one",
    ),
];

#[test]
fn each_kind_of_error_names_file_line_and_remedy() {
    let of = |file: &'static str| move |row: &'static (_, _, _, _, _)| (file, row);
    let rows = BROKEN
        .iter()
        .map(of(ZERO_COPY))
        .chain(BROKEN_LOADS.iter().map(of(HEAD_TO_HEAD)))
        .chain(BROKEN_SETTINGS.iter().map(of(CONTENTION)));
    rows.for_each(|(definition, row)| assert_refused(definition, row));
}

/// What is replaced in a definition (first place), by what, where the error points, and what message and remedy must contain.
pub(super) type Broken = (&'static str, &'static str, &'static str, &'static str, &'static str);

#[track_caller]
pub(super) fn assert_refused(definition: &str, (from, to, points_at, message, remedy): &Broken) {
    assert!(definition.contains(from), "the definition has no {from:?} any more");
    let text = definition.replacen(from, to, 1);
    let error = Definition::parse("mine.toml", &text).expect_err(to);
    assert!(error.message.contains(message), "{to:?}: {error}");
    assert!(error.remedy.contains(remedy), "{to:?}: {}", error.remedy);
    assert!(
        error
            .to_string()
            .starts_with(&format!("mine.toml:{}:{}: ", error.line, error.column))
    );
    let line = text.lines().nth(error.line - 1).unwrap_or_default();
    let place: String = line.chars().skip(error.column - 1).collect();
    assert!(
        place.starts_with(points_at),
        "{to:?}: points at {place:?} in line {}",
        error.line
    );
}

#[test]
fn too_many_arms_are_refused() {
    let levels: Vec<String> = (1..=40).map(|n| (n * 4096).to_string()).collect();
    let text = ZERO_COPY.replace(
        "[4096, 65536, 1048576, 4194304]",
        &format!("[{}, 1048576, 4194304]", levels.join(", ")),
    );
    let error = Definition::parse("many.toml", &text).unwrap_err();
    assert!(
        error.message.contains("420 arms") || error.message.contains("840 arms"),
        "{error}"
    );
}

#[test]
fn the_printed_error_shows_the_line_of_the_file() {
    let text = ZERO_COPY.replace("in_flight = 4", "in_flight = 400");
    let error = Definition::parse("mine.toml", &text).unwrap_err();
    let printed = format!("{:?}", miette::Report::from(*error));
    assert!(
        printed.contains("mine.toml") && printed.contains("in_flight = 400"),
        "{printed}"
    );
    assert!(printed.contains("between 1 and 64"), "{printed}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = load(Path::new("no/such/file.toml")).unwrap_err();
    assert!(
        error.to_string().starts_with("no/such/file.toml:1:1: cannot be read"),
        "{error}"
    );
    assert!(error.remedy.contains("assay list"));
}
