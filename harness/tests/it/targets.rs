//! `assay run` on several targets, as far as it goes without Java: a broker of ours takes the place of somebody's cluster.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use results::reader::Run;
use workloads::native::{Admin, Security};

use crate::support::{Place, eventually};

/// The smallest comparison of targets.
const TINY_LOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tiny-load.toml");

/// A broker that the run knows by its address only.
pub struct Guest {
    process: Child,
    pub address: std::net::SocketAddr,
}

impl Guest {
    pub fn start(place: &Place) -> Self {
        let log = place.file("guest.log", "");
        let mut command = place.command(&["broker", "--port", "0", "--data-dir", "guest"]);
        command.env("RUST_LOG", "info").stdout(Stdio::null());
        command.stderr(std::fs::File::options().append(true).open(&log).unwrap());
        let process = command.spawn().unwrap();
        let address = || {
            let text = std::fs::read_to_string(&log).unwrap();
            let rest = text.split("address=").nth(1)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        eventually("the guest listens", || address().is_some());
        Guest {
            process,
            address: address().unwrap(),
        }
    }

    pub fn topics(&self) -> Vec<String> {
        Admin::connect(self.address, &Security::default())
            .unwrap()
            .list_topics()
            .unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_cluster_is_measured_from_outside_and_left_as_it_was() {
    let place = Place::new();
    let guest = Guest::start(&place);
    let mut admin = Admin::connect(guest.address, &Security::default()).unwrap();
    admin
        .create_topic(&workloads::native::NewTopic::new("somebodys-own", 2))
        .unwrap();
    let target = format!("kafka://{}", guest.address);
    place
        .assay(&["run", TINY_LOAD, "--target", "bundled", "--target", &target])
        .code(0)
        .says(&["tiny-load: Does the smallest", "absent", "cluster"]);
    assert_eq!(guest.topics(), ["somebodys-own"], "topics of the run are left");

    let run = Run::open(&place.run_folder()).unwrap();
    let rows = |target: &str| {
        let of_target = run.trials.iter().filter(|row| row.target == target);
        of_target.map(|row| row.metric.clone()).collect::<BTreeSet<String>>()
    };
    // What can't be read from outside has no row, and no zero.
    let (outside, inside) = (rows("cluster"), rows("bundled"));
    for metric in ["throughput", "records_per_s", "client_cpu_ms_per_mb"] {
        assert!(
            outside.contains(metric) && inside.contains(metric),
            "{metric}: {outside:?}"
        );
    }
    for metric in ["broker_cpu_ms_per_mb", "broker_rss_mb", "context_switches_per_mb"] {
        assert!(
            !outside.contains(metric) && inside.contains(metric),
            "{metric}: {outside:?}"
        );
    }
    assert!(
        run.ledger.iter().all(|entry| entry.ok) && run.ledger.len() > 8,
        "{:?}",
        run.ledger
    );
    assert!(
        run.phases
            .iter()
            .any(|point| point.metric == "first_batch_of_each_partition")
    );
    let receipts: Vec<&str> = run
        .manifest
        .targets
        .iter()
        .map(|receipt| receipt.name.as_str())
        .collect();
    assert!(
        receipts.contains(&"cluster") && receipts.contains(&"bundled"),
        "{receipts:?}"
    );
    let cluster = run
        .manifest
        .targets
        .iter()
        .find(|receipt| receipt.name == "cluster")
        .unwrap();
    assert!(
        cluster
            .differences
            .iter()
            .any(|sentence| sentence.contains("can't be read"))
    );
}

#[test]
fn topics_on_a_cluster_go_also_when_the_run_is_interrupted() {
    let place = Place::new();
    let guest = Guest::start(&place);
    let target = format!("kafka://{}", guest.address);
    // Windows long enough that it is still at work.
    let child = place.start(&[
        "run",
        TINY_LOAD,
        "--target",
        "bundled",
        "--target",
        &target,
        "--window-ms",
        "20000",
    ]);
    eventually("a topic of the run is there", || !guest.topics().is_empty());
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    crate::support::Ended::of(&["run"], child)
        .code(130)
        .complains(&["interrupted: "]);
    eventually("the topics are gone", || guest.topics().is_empty());
}

#[test]
fn a_cluster_that_does_not_answer_is_told_before_anything_starts() {
    let place = Place::new();
    // Port 1 of loopback: nobody listens.
    place
        .assay(&["run", TINY_LOAD, "--target", "kafka://127.0.0.1:1"])
        .code(3)
        .complains(&["kafka://127.0.0.1:1 can't be measured"]);
    place
        .assay(&["run", TINY_LOAD, "--client-properties", "x.properties"])
        .code(3)
        .complains(&["--client-properties is for a kafka:// target"]);
    place
        .assay(&["run", "--target", "rocketmq"])
        .code(3)
        .complains(&["not driven yet"]);
    assert_eq!(place.runs().len(), 0);
}

#[test]
fn without_java_the_run_goes_on_without_kafka() {
    let place = Place::new();
    let empty = place.path().join("no-programs");
    std::fs::create_dir(&empty).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command
            .env("PATH", &empty)
            .env_remove("JAVA_HOME")
            .env("XDG_CACHE_HOME", &empty);
        crate::support::Ended::of(arguments, command.spawn().unwrap())
    };
    run(&["run", TINY_LOAD, "--target", "bundled", "--target", "kafka"])
        .code(0)
        .complains(&["kafka is left out: ", "apt-get install"]);
    let folder = place.run_folder();
    let run_left = Run::open(&folder).unwrap();
    assert!(run_left.trials.iter().all(|row| row.target == "bundled"));
    assert!(
        run_left
            .manifest
            .machine
            .notes
            .iter()
            .any(|note| note.starts_with("left out: kafka: "))
    );
    // One side of a comparison is none, unless it was asked for by name.
    run(&["run", "head-to-head"]).code(3).complains(&[
        "kafka is left out: ",
        "head-to-head: left out, it needs Apache Kafka",
        "nothing could be measured",
    ]);
    run(&["run", "folklore-facts"])
        .code(3)
        .complains(&["kafka is left out: ", "nothing could be measured"]);
}
