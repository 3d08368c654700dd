//! Real brokers as a person asks for them. Java and Maven are scripts here, so that nothing is fetched and nothing runs; with the real
//! ones it is `ci/kafka`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use broker_under_test::ControlClient;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Ended, Place, eventually};

const JAVA: &str = "#!/bin/sh\necho 'openjdk version \"17.0.1\" 2021-10-19' >&2\n";
/// Puts one jar where `-DoutputDirectory` says, as Maven does.
const MAVEN: &str =
    "#!/bin/sh\necho '[INFO] Downloaded from central: x.jar'\necho made up > jars/kafka-clients-1.jar\n";

/// A folder of programs, and nothing else on the path.
fn programs(place: &Place, files: &[(&str, &str)]) -> PathBuf {
    let folder = place.path().join("bin");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// `assay target ..` with those programs and a cache of its own.
fn target(place: &Place, bin: &Path, arguments: &[&str]) -> Ended {
    let arguments = [&["target"], arguments].concat();
    let mut command = place.command(&arguments);
    command.env("PATH", bin).env_remove("JAVA_HOME");
    command.env("XDG_CACHE_HOME", place.path().join("cache"));
    Ended::of(&arguments, command.spawn().unwrap())
}

/// What is in the cache, without the lock files.
fn cached(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.path().join("cache/assay"))
        .into_iter()
        .flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.ends_with(".lock")).collect()
}

#[test]
fn what_is_missing_is_told_with_the_remedy() {
    let place = Place::new();
    let bin = programs(&place, &[]);
    for name in ["kafka", "rocketmq"] {
        target(&place, &bin, &["fetch", name])
            .code(3)
            .complains(&["no Java on the path", "install a JDK"]);
    }
    programs(
        &place,
        &[("java", "#!/bin/sh\necho 'java version \"1.8.0_401\"' >&2\n")],
    );
    target(&place, &bin, &["start", "kafka"])
        .code(3)
        .complains(&["is Java 1.8.0_401, too old", "17 or later"]);
    programs(&place, &[("java", "#!/bin/sh\nexit 1\n")]);
    target(&place, &bin, &["start", "kafka"])
        .code(3)
        .complains(&["does not run"]);
    programs(&place, &[("java", JAVA)]);
    target(&place, &bin, &["start", "kafka"])
        .code(3)
        .complains(&["no Maven (mvn) on the path", "apt-get install maven"]);
    assert_eq!(cached(&place), [] as [&str; 0]);
    assert!(!place.path().join("assay-targets").exists());
}

#[test]
fn a_fetch_that_fails_leaves_nothing() {
    let place = Place::new();
    let failing = "#!/bin/sh\necho '[ERROR] Could not transfer artifact x: Unknown host -> [Help 1]'\nexit 1\n";
    let bin = programs(&place, &[("java", JAVA), ("mvn", failing)]);
    target(&place, &bin, &["fetch", "kafka"]).code(3).complains(&[
        "Maven could not fetch Apache Kafka",
        "Could not transfer artifact x: Unknown host: check the network",
    ]);
    assert_eq!(cached(&place), [] as [&str; 0]);

    // Jars that are not the pinned ones.
    programs(&place, &[("mvn", MAVEN)]);
    target(&place, &bin, &["fetch", "kafka"]).code(3).complains(&[
        "is not Apache Kafka",
        "as it is pinned",
        "is missing",
        "nothing was kept",
    ]);
    assert_eq!(cached(&place), [] as [&str; 0]);
    target(&place, &bin, &["fetch", "kafka", "--version", "../../x"])
        .code(3)
        .complains(&["'../../x' is no version of Apache Kafka"]);
}

#[test]
fn another_version_is_recorded_and_a_damaged_jar_noticed() {
    let place = Place::new();
    let bin = programs(&place, &[("java", JAVA), ("mvn", MAVEN)]);
    let version = ["fetch", "kafka", "--version", "1"];
    target(&place, &bin, &version)
        .code(0)
        .says(&["Apache Kafka 1 is in ", "not pinned"])
        .complains(&["checksums are not pinned", "1 jars, checksums recorded"]);
    assert_eq!(cached(&place), ["kafka-1"]);
    // Neither fetched again nor checked by anybody else: without Maven it works.
    std::fs::remove_file(bin.join("mvn")).unwrap();
    assert_eq!(target(&place, &bin, &version).code(0).stderr, "");

    let jar = place.path().join("cache/assay/kafka-1/kafka-clients-1.jar");
    std::fs::write(&jar, "something else").unwrap();
    target(&place, &bin, &version).code(3).complains(&[
        "Apache Kafka 1 in the cache is damaged",
        "kafka-clients-1.jar has SHA-256",
        "no Maven",
    ]);
    programs(&place, &[("mvn", MAVEN)]);
    target(&place, &bin, &version)
        .code(0)
        .complains(&["is damaged", "it is fetched again"]);
    assert_eq!(std::fs::read_to_string(jar).unwrap(), "made up\n");
}

#[test]
fn ctrl_c_ends_a_fetch_and_leaves_nothing() {
    let place = Place::new();
    let sleep = "#!/bin/sh\necho started > started\nexec /bin/sleep 1000\n";
    let bin = programs(&place, &[("java", JAVA), ("mvn", sleep)]);
    let arguments = ["target", "fetch", "kafka"];
    let mut command = place.command(&arguments);
    command
        .env("PATH", &bin)
        .env_remove("JAVA_HOME")
        .env("XDG_CACHE_HOME", place.path().join("cache"));
    let child = command.spawn().unwrap();
    let part = || {
        cached(&place)
            .iter()
            .any(|name| place.path().join("cache/assay").join(name).join("started").exists())
    };
    eventually("Maven runs", part);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    Ended::of(&arguments, child).code(130);
    assert_eq!(cached(&place), [] as [&str; 0]);
    place.assert_nothing_left();
}

#[test]
fn a_broker_that_does_not_start_says_why_and_its_folder_is_told_and_removed() {
    let place = Place::new();
    // A Java that knows its version and nothing else.
    let java = "#!/bin/sh\ncase $1 in -version) echo 'openjdk version \"17.0.1\"' >&2 ;; *) echo 'no such class' >&2; exit 1 ;; esac\n";
    let bin = programs(&place, &[("java", java), ("mvn", MAVEN)]);
    let start = ["start", "kafka", "--version", "1"];
    target(&place, &bin, &start)
        .code(3)
        .complains(&["the format of Kafka's folder ended with exit code 1", "no such class"]);
    target(&place, &bin, &["status", "kafka"])
        .code(1)
        .says(&["kafka does not run", "it failed: the format"]);
    target(&place, &bin, &["logs", "kafka"])
        .code(0)
        .says(&["output.log:", "no such class"]);
    // The next start tells what it found, and removes it.
    target(&place, &bin, &start)
        .code(3)
        .complains(&["it failed", "its files were removed"]);
    target(&place, &bin, &["stop", "kafka"])
        .code(0)
        .says(&["kafka did not run", "its files are removed now"]);
    target(&place, &bin, &["stop", "kafka"])
        .code(0)
        .says(&["kafka does not run", "nothing to stop"]);
    target(&place, &bin, &["logs", "kafka"])
        .code(3)
        .complains(&["there are no logs"]);
    assert!(!place.path().join("assay-targets").exists());
    place.assert_nothing_left();
}

#[test]
fn mistakes_have_a_hint() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("mine")).unwrap();
    place.file("mine/precious", "");
    place.file("wrong.properties", "security.protocol=TLS\n");
    for (arguments, hints) in [
        (&["start", "kafak"][..], &["possible values: kafka, rocketmq"][..]),
        (&["start", "kafka", "--nodes", "2"], &["1 or 3"]),
        (&["start", "kafka", "--set", "x"], &["KEY=VALUE"]),
        (&["start", "rocketmq", "--tls"], &["are Kafka's"]),
        (
            &["start", "kafka", "--dir", "mine"],
            &["holds files of others, for example precious"],
        ),
        (&["stop", "kafka", "--dir", "mine"], &["holds files of others"]),
        (
            &["status", "nothing"],
            &["there is no target 'nothing'", "kafka, rocketmq"],
        ),
        (&["status", "kafka://h"], &["host:port"]),
        (
            &[
                "status",
                "kafka://127.0.0.1:1",
                "--client-properties",
                "wrong.properties",
            ],
            &["wrong.properties:1: security.protocol is PLAINTEXT"],
        ),
        (
            &["status", "kafka://127.0.0.1:1"],
            &["kafka://127.0.0.1:1 does not answer"],
        ),
    ] {
        place.assay(&[&["target"], arguments].concat()).code(3).complains(hints);
    }
    assert!(place.path().join("mine/precious").exists());
    place
        .assay(&["target", "status"])
        .code(0)
        .says(&["kafka does not run", "rocketmq does not run"]);
    place.assay(&["target", "status", "rocketmq"]).code(1);
}

#[test]
fn a_cluster_by_its_address_answers() {
    let place = Place::new();
    let arguments = ["broker", "--port", "0", "--data-dir", "data"];
    let broker = place.start(&arguments);
    let mut port = 0;
    eventually("the broker answers", || {
        let info = ControlClient::connect(&place.path().join("data")).and_then(|mut control| control.info());
        port = info.as_ref().map_or(0, |info| info.port);
        info.is_ok()
    });
    let address = format!("kafka://127.0.0.1:{port}");
    place
        .assay(&["target", "status", &address])
        .code(0)
        .says(&[&address, "answers over PLAINTEXT: 1 brokers, 0 topics"]);
    kill(Pid::from_raw(broker.id() as i32), Signal::SIGTERM).unwrap();
    Ended::of(&arguments, broker).code(0);
}
