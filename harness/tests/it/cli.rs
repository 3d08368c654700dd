//! What the commands say, to people who use them well and to people who mistype.

use std::process::Stdio;

use broker_under_test::ControlClient;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Ended, Place, TINY, closed_pipe, copy_folder, eventually};

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let place = Place::new();
    let verbs = [
        "run", "chaos", "list", "show", "report", "compare", "target", "broker", "doctor",
    ];
    let help = place.assay(&["--help"]).code(0);
    for verb in verbs {
        assert!(
            help.stdout.contains(&format!("\n  {verb} ")),
            "{verb} is not in the help:\n{}",
            help.stdout
        );
        let own = place.assay(&[verb, "--help"]).code(0);
        assert!(
            own.stdout.lines().all(|line| line.chars().count() <= 110),
            "{}",
            own.stdout
        );
    }
    assert!(!help.stdout.contains("worker"), "a command for the harness only");
    place
        .assay(&["run", "--help"])
        .code(0)
        .says(&["--require", "--payload", "Exit codes:", "130 interrupted"]);
    place
        .assay(&["broker", "--help"])
        .code(0)
        .says(&["--data-dir", "fetch.path [auto]", "log.segment.bytes"]);
    place.assay(&[]).code(3).complains(&["Usage: assay"]);
}

#[test]
fn the_version_names_the_revision() {
    let ended = Place::new().assay(&["--version"]).code(0);
    let version = ended.stdout.trim();
    let revision = option_env!("ASSAY_GIT_REVISION").map_or(String::new(), |revision| format!(" ({revision})"));
    assert_eq!(version, format!("assay {}{revision}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn list_and_show_tell_what_there_is() {
    let place = Place::new();
    place
        .assay(&["list"])
        .code(0)
        .says(&["zero-copy", "Does zero copy pay?", "kill-broker"]);
    let shown = place.assay(&["show", "zero-copy"]).code(0).says(&[
        "The folklore\n",
        "Source\n",
        "fetch.path: read-write, vectored, mmap, splice, sendfile (under test, against read-write)",
        "Claims and how they are judged",
        "body_switches_per_response counted exactly: read-write 4, sendfile 2",
        "Profile quick",
    ]);
    assert!(
        shown.stdout.lines().all(|line| line.chars().count() <= 110),
        "{}",
        shown.stdout
    );
    place.assay(&["show", "nothing"]).code(3).complains(&[
        "there is no experiment 'nothing'; there are: assignors, async-pipelining, batching, client-cost, commit-log-reads, ",
    ]);

    place
        .assay(&["show", "zero-copy", "--target", "kafka"])
        .code(0)
        .says(&["zero-copy (on kafka)", "listener: tls, plain (under test, against tls)"]);
    place
        .assay(&["show", "zero-copy", "--target", "rocketmq"])
        .code(3)
        .complains(&["zero-copy has definitions for bundled, kafka"]);
    place
        .assay(&["show", "folklore-facts"])
        .code(0)
        .says(&["Statements\n", "zookeeper"]);
    place.assay(&["show", "head-to-head"]).code(0).says(&[
        "on kafka and bundled",
        "Held still on kafka",
        "only at batch_bytes",
    ]);

    // What it prints is a definition.
    let text = place.assay(&["show", "zero-copy", "--toml"]).code(0).stdout;
    place.file("mine.toml", text);
    place
        .assay(&["run", "mine.toml", "--require", "zero-copy/none"])
        .code(3)
        .complains(&["zero-copy claims faster"]);
}

#[test]
fn doctor_says_what_is_possible_here() {
    let place = Place::new();
    let mut command = place.command(&["doctor"]);
    // An empty cache, whatever that of this machine holds.
    command.env("XDG_CACHE_HOME", place.path());
    Ended::of(&["doctor"], command.spawn().unwrap()).code(0).says(&[
        "machine: ",
        "Linux",
        "runs go to ",
        "ok       bundled broker over loopback",
        "skipped  Apache Kafka as a target",
        "skipped  Apache RocketMQ as a target",
    ]);
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn mistakes_on_the_command_line_have_a_hint() {
    let place = Place::new();
    for (arguments, hint) in [
        (&["run", "--blcks", "3"][..], "a similar argument exists: '--blocks'"),
        (&["lst"], "a similar subcommand exists: 'list'"),
        (&["run", "--profile", "slow"], "[possible values: quick, full]"),
        (&["run", "--blocks", "0"], "0 is not in 1..=1000"),
        (&["run", "--window-ms", "5"], "5 is not in 10..=60000"),
        (&["run", "--seed", "x"], "invalid digit"),
        (
            &["run", "zero-cpy"],
            "there is no experiment 'zero-cpy'; there are: assignors, async-pipelining, batching, client-cost, commit-log-reads, ",
        ),
        (
            &["run", "--target", "kafak"],
            "there is no target 'kafak'; there are: bundled, null, kafka, rocketmq",
        ),
        (&["run", "--target", "kafka://h"], "is not host:port"),
        (&["run", "--payload"], "a value is required"),
        (&["report"], "<DIR>"),
        (&["show"], "<NAME>"),
    ] {
        place.assay(arguments).code(3).complains(&["error: ", hint]);
    }
    place.file("plain", "no folder");
    place
        .tiny(&["--out", "plain"])
        .code(3)
        .complains(&["plain", "choose another with --out"]);
    assert_eq!(place.runs().len(), 0);
}

#[test]
fn a_definition_with_a_mistake_shows_the_line() {
    let place = Place::new();
    let sound = std::fs::read_to_string(TINY).unwrap();
    for (from, to, what) in [
        ("margin = 0.05", "margn = 0.05", "unknown field `margn`"),
        ("margin = 0.05", "margin = \"much\"", "invalid type"),
        ("margin = 0.05", "margin = = 1", "mine.toml:"),
        (
            "baseline = \"read-write\"",
            "baseline = \"write\"",
            "read-write, sendfile",
        ),
        ("response_bytes = [65536]", "response_bytes = [65537]", "response_bytes"),
        ("levels = [65536]", "levels = [1024]", "KIP-74"),
        ("receiver = [\"discard\"]", "receiver = [\"drop\"]", "discard"),
    ] {
        let line = sound.lines().position(|line| line.starts_with(from)).unwrap() + 1;
        place.file("mine.toml", sound.replacen(&format!("\n{from}"), &format!("\n{to}"), 1));
        let ended = place.assay(&["run", "mine.toml"]).code(3);
        ended.complains(&[&format!("mine.toml:{line}:"), what]);
    }
    place
        .assay(&["run", "absent.toml"])
        .code(3)
        .complains(&["absent.toml", "No such file"]);
    // What only the broker knows is asked before anything starts, too.
    place.file("mine.toml", sound.replace("fetch.buffer.bytes", "fetch.bufer.bytes"));
    place
        .assay(&["run", "mine.toml"])
        .code(3)
        .complains(&["settings of tiny", "there is no setting 'fetch.bufer.bytes'"]);
    place.file(
        "mine.toml",
        sound.replace(
            "\"read-write\", \"sendfile\"]",
            "\"read-write\", \"sendfile\", \"warp\"]",
        ),
    );
    place
        .assay(&["run", "mine.toml"])
        .code(3)
        .complains(&["factor fetch.path of tiny", "warp", "splice"]);
    assert_eq!(place.runs().len(), 0);
}

#[test]
fn a_folder_that_is_no_run_or_a_broken_one() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("empty")).unwrap();
    place.file("file", "");
    for folder in ["missing", "empty"] {
        place
            .assay(&["report", folder])
            .code(3)
            .complains(&["manifest.json is missing: is this a run folder?"]);
    }
    let ended = place
        .assay(&["report", "file"])
        .code(3)
        .complains(&["file/manifest.json", "Not a directory"]);
    assert_eq!(
        ended.stderr.matches("Not a directory").count(),
        1,
        "told twice: {}",
        ended.stderr
    );

    place.tiny(&[]).code(0);
    let sound = place.run_folder();
    let broken = |name: &str, file: &str, change: &dyn Fn(&str) -> String| {
        let folder = place.path().join(name);
        copy_folder(&sound, &folder);
        let path = folder.join(file);
        let changed = change(&std::fs::read_to_string(&path).unwrap());
        std::fs::write(path, changed).unwrap();
        place.assay(&["report", name])
    };
    broken("garbage", "manifest.json", &|_| "{\"schema_version\": 1, ".into())
        .code(3)
        .complains(&["garbage/manifest.json, line 1", "run the experiment again"]);
    broken("newer", "manifest.json", &|text| {
        text.replace("\"schema_version\": 2", "\"schema_version\": 99")
    })
    .code(3)
    .complains(&["schema version 99", "use a newer assay"]);
    broken("value", "trials.csv", &|text| {
        text.replacen(",throughput,MB/s,", ",throughput,MB/s,x", 1)
    })
    .code(3)
    .complains(&["value/trials.csv, line 2", "value"]);
    broken("column", "trials.csv", &|text| text.replacen("metric,unit", "unit", 1))
        .code(3)
        .complains(&["column/trials.csv, line 1"]);
    // A line that a crash tore is no mistake: it is left out, and told.
    broken("torn", "trials.csv", &|text| text[..text.len() - 20].to_owned())
        .code(0)
        .says(&["The last line of trials.csv is torn"]);
    std::fs::remove_file(place.path().join("torn/trials.csv")).unwrap();
    place
        .assay(&["report", "torn"])
        .code(3)
        .complains(&["torn/trials.csv is missing"]);
}

#[test]
fn colour_only_on_a_terminal() {
    let place = Place::new();
    let run = place.tiny(&[]).code(0);
    let broken = place.assay(&["run", "absent.toml"]).code(3);
    let usage = place.assay(&["run", "--blcks"]).code(3);
    for ended in [run, broken, usage] {
        assert!(
            !ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'),
            "{ended:?}"
        );
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let place = Place::new();
    for arguments in [
        &["list"][..],
        &["show", "zero-copy"],
        &["--help"],
        &["doctor"],
        &["broker", "--help"],
    ] {
        let mut command = place.command(arguments);
        command.stdout(closed_pipe());
        let ended = Ended::of(arguments, command.spawn().unwrap()).code(0);
        assert_eq!(ended.stderr, "");
    }
    // A full disk is one.
    let mut command = place.command(&["list"]);
    command.stdout(Stdio::from(
        std::fs::File::options().write(true).open("/dev/full").unwrap(),
    ));
    Ended::of(&["list"], command.spawn().unwrap())
        .code(3)
        .complains(&["can't write to standard output"]);
}

#[test]
fn a_broker_that_cannot_start_says_why() {
    let place = Place::new();
    place.file("mine.properties", "num.partitions=2\nfoo.bar=1\n");
    place.file("plain", "no folder");
    for (arguments, what) in [
        (&["--port", "0"][..], &["log.dirs is not set", "--data-dir"][..]),
        (
            &["--data-dir", "d", "--set", "nope=1"],
            &["--set", "no setting 'nope'", "assay broker --help"],
        ),
        (&["--data-dir", "d", "--set", "nope"], &["--set", "expected key=value"]),
        (
            &["--data-dir", "d", "--set", "num.partitions=x"],
            &["num.partitions = x", "an integer from 1"],
        ),
        (
            &["--data-dir", "d", "--set", "fetch.path=warp"],
            &["fetch.path = warp", "sendfile"],
        ),
        (
            &["--data-dir", "d", "--config", "mine.properties"],
            &["mine.properties:2", "foo.bar"],
        ),
        (
            &["--data-dir", "d", "--config", "absent.properties"],
            &["absent.properties", "No such file"],
        ),
        (&["--data-dir", "d", "--port", "65536"], &["--port", "65535"]),
        (&["--data-dir", "plain", "--port", "0"], &["plain"]),
        (
            &["--data-dir", "d", "--planted", "no-such-bug"],
            &["no-such-bug", "ack-before-write"],
        ),
        (
            &["--data-dir", "d", "--planted", "skip-crc"],
            &["needs ASSAY_PLANTED_BUG=skip-crc in the environment"],
        ),
    ] {
        place
            .assay(&[&["broker"], arguments].concat())
            .code(3)
            .complains(&["error: "])
            .complains(what);
    }
}

#[test]
fn a_broker_has_its_port_and_folder_alone_and_stops_on_sigterm() {
    let place = Place::new();
    let arguments = ["broker", "--port", "0", "--data-dir", "first"];
    let child = place.start(&arguments);
    let pid = Pid::from_raw(child.id() as i32);
    let mut port = 0;
    eventually("the broker answers", || {
        let info = ControlClient::connect(&place.path().join("first")).and_then(|mut control| control.info());
        info.is_ok_and(|info| {
            port = info.port;
            true
        })
    });
    let taken = place.assay(&["broker", "--port", &port.to_string(), "--data-dir", "second"]);
    taken
        .code(3)
        .complains(&[&format!("can't listen on 127.0.0.1:{port}"), "--port"]);
    place
        .assay(&["broker", "--port", "0", "--data-dir", "first"])
        .code(3)
        .complains(&["first", "another broker uses"]);
    kill(pid, Signal::SIGTERM).unwrap();
    Ended::of(&arguments, child)
        .code(0)
        .complains(&["listening", &format!("127.0.0.1:{port}"), "stopped cleanly"]);
    // And its folder can be used again.
    let child = place.start(&arguments);
    let pid = Pid::from_raw(child.id() as i32);
    eventually("the broker answers again", || {
        let info = ControlClient::connect(&place.path().join("first")).and_then(|mut control| control.info());
        info.is_ok_and(|info| info.pid == pid.as_raw() as u32)
    });
    kill(pid, Signal::SIGINT).unwrap();
    Ended::of(&arguments, child).code(0);
}

#[test]
fn the_null_broker_needs_no_folder_and_leaves_none() {
    let place = Place::new();
    let arguments = ["broker", "--null", "--port", "0"];
    let mut command = place.command(&arguments);
    let child = command.env("TMPDIR", place.path()).spawn().unwrap();
    let folder = place.path().join(format!("assay-null-{}", child.id()));
    let mut info = None;
    eventually("the broker answers", || {
        info = ControlClient::connect(&folder)
            .and_then(|mut control| control.info())
            .ok();
        info.is_some()
    });
    assert_eq!(info.unwrap().settings["log.layout"], "null");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    Ended::of(&arguments, child).code(0);
    assert!(!folder.exists());
    place
        .assay(&["run", "zero-copy", "--target", "null"])
        .code(3)
        .complains(&["is made for bundled, kafka"]);
}
