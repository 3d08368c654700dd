//! Metadata, DescribeCluster, FindCoordinator.

use kafka_wire::ApiKey;
use kafka_wire::encode::BufMut;

use super::super::request;
use super::super::{Bench, Case, CaseError};

const API: &str = "Metadata";
const LATEST: i16 = 12;

fn ask(bench: &mut Bench, version: i16, topics: Option<&[&str]>, may_create: bool) -> Result<String, CaseError> {
    bench.ask(
        ApiKey::Metadata,
        version,
        &request::metadata(version, topics, may_create),
    )
}

/// What is said of topics, without the brokers.
fn topics_only(answer: String) -> String {
    match answer.split_once(" topics=") {
        Some((_, topics)) => format!("topics={topics}"),
        None => answer,
    }
}

pub(super) fn add(all: &mut Vec<Case>) {
    for version in 0..=LATEST {
        all.push(Case::new(
            API,
            format!("version {version}, a topic of two partitions"),
            move |bench| {
                let topic = bench.topic(&format!("metadata-{version}"), 2)?;
                ask(bench, version, Some(&[&topic]), false)
            },
        ));
    }
    for version in [4, LATEST] {
        all.push(Case::new(
            API,
            format!("version {version}, an unknown topic, creation not allowed"),
            move |bench| {
                let name = bench.name("metadata-unknown");
                ask(bench, version, Some(&[&name]), false).map(topics_only)
            },
        ));
        all.push(Case::new(
            API,
            format!("version {version}, an unknown topic, creation allowed"),
            move |bench| {
                let name = bench.name(&format!("metadata-created-{version}"));
                bench.created(&name);
                ask(bench, version, Some(&[&name]), true).map(topics_only)
            },
        ));
        all.push(Case::new(
            API,
            format!("version {version}, a topic that was created by asking, when it is ready"),
            move |bench| {
                let name = bench.name(&format!("metadata-awaited-{version}"));
                bench.created(&name);
                ask(bench, version, Some(&[&name]), true)?;
                bench.ready(&name, 1)?;
                ask(bench, version, Some(&[&name]), false).map(topics_only)
            },
        ));
    }
    all.push(Case::new(API, "an empty list of topics", |bench| {
        ask(bench, LATEST, Some(&[]), false)
    }));
    all.push(Case::new(
        API,
        "null, all topics: those of this script among them",
        |bench| {
            let name = bench.topic("metadata-all", 1)?;
            let answer = ask(bench, LATEST, None, false)?;
            Ok(format!(
                "{} time(s) there",
                answer
                    .matches(&format!(" name={} ", name.trim_start_matches(&bench.name(""))))
                    .count()
            ))
        },
    ));
    all.push(Case::new(
        API,
        "an empty list in version 0, all topics: those of this script among them",
        |bench| {
            bench.topic("metadata-all-0", 1)?;
            let answer = ask(bench, 0, Some(&[]), false)?;
            Ok(format!(
                "{} time(s) there",
                answer.matches("name=metadata-all-0 ").count()
            ))
        },
    ));
    for (what, name) in [
        ("an empty name", String::new()),
        ("a name with a slash", "a/b".to_owned()),
        ("the name ..", "..".to_owned()),
        ("a name of 250 letters", "x".repeat(250)),
        ("a name that is not ASCII", "zażółć".to_owned()),
    ] {
        all.push(Case::new(API, format!("{what}, creation allowed"), move |bench| {
            ask(bench, LATEST, Some(&[&name]), true).map(topics_only)
        }));
    }
    all.push(Case::new(API, "the same topic twice", |bench| {
        let name = bench.topic("metadata-twice", 1)?;
        ask(bench, LATEST, Some(&[&name, &name]), false).map(topics_only)
    }));
    all.push(Case::new(API, "an unknown topic id", |bench| {
        bench
            .ask(ApiKey::Metadata, LATEST, &request::metadata_by_id(0x1234_5678_9abc))
            .map(topics_only)
    }));
    all.push(Case::new("DescribeCluster", "version 0", |bench| {
        bench.ask(ApiKey::DescribeCluster, 0, &[0, 0])
    }));
    for (what, kind) in [
        ("brokers", 1u8),
        ("controllers, asked of a broker", 2),
        ("an unknown kind of endpoint", 9),
    ] {
        all.push(Case::new(
            "DescribeCluster",
            format!("version 1, {what}"),
            move |bench| {
                let mut body = Vec::new();
                body.put_u8(0);
                body.put_u8(kind);
                body.put_u8(0);
                bench.ask(ApiKey::DescribeCluster, 1, &body)
            },
        ));
    }
    for (what, version, kind) in [("a group", 3, 0), ("a group", 4, 0), ("an unknown kind", 4, 9)] {
        all.push(Case::new(
            "FindCoordinator",
            format!("version {version}, {what}"),
            move |bench| {
                let key = bench.name("group");
                let body = request::find_coordinator(version, kind, &key);
                // A broker makes the topic of offsets when the first group asks, and says meanwhile that there is no coordinator.
                bench.ask_until(ApiKey::FindCoordinator, version, &body, |answer| {
                    !answer.contains("CoordinatorNotAvailable")
                })
            },
        ));
    }
}
