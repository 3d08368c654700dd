use super::*;
use std::collections::BTreeSet;
use workloads::facts;

#[test]
fn every_fact_has_a_look_up_and_every_look_up_a_fact() {
    let definition = facts::embedded().unwrap().remove(0);
    let observed: Vec<&str> = definition
        .facts
        .iter()
        .filter_map(|fact| match &fact.look_up {
            LookUp::Observe(name) => Some(name.as_str()),
            LookUp::Default { .. } => None,
        })
        .collect();
    let known: BTreeSet<&str> = OBSERVATIONS.into();
    assert_eq!(observed.iter().copied().collect::<BTreeSet<_>>(), known);
    assert_eq!(observed.len(), known.len(), "an observation is used twice");
}

#[test]
fn every_observation_is_answered_by_code() {
    let nothing = || Err("not tried".to_owned());
    let seen = Seen {
        settings: Err("not tried".to_owned()),
        folder: Err("not tried".to_owned()),
        quorum: nothing(),
        flushes: nothing(),
        plain: nothing(),
        tls: nothing(),
        java: Err("not tried".to_owned()),
        committed: nothing(),
    };
    let definition = facts::embedded().unwrap().remove(0);
    for fact in &definition.facts {
        assert_eq!(seen.answer(fact), nothing(), "{}", fact.id);
    }
}

#[test]
fn the_verdict_follows_what_was_seen_and_the_version() {
    let mut statement = facts::embedded().unwrap().remove(0).facts.remove(0);
    statement.true_before = Version::parse("3.0.0");
    let (old, new) = (Version::parse("2.8.2"), Version::parse("4.3.1"));
    let of = |holds, version: &Option<Version>| verdict(&statement, holds, version.as_ref());
    assert_eq!(of(true, &new), FactVerdict::True);
    assert_eq!(of(false, &new), FactVerdict::Outdated);
    assert_eq!(of(false, &Version::parse("3.0.0")), FactVerdict::Outdated);
    // It is said to hold there, and does not.
    assert_eq!(of(false, &old), FactVerdict::False);
    assert_eq!(of(false, &None), FactVerdict::False);
    statement.true_before = None;
    assert_eq!(verdict(&statement, false, new.as_ref()), FactVerdict::False);
}

#[test]
fn a_failed_step_is_a_reason_and_ctrl_c_an_error() {
    let failed = anyhow::anyhow!("no route").context("the topic could not be filled");
    let reason = step::<()>(Err(failed)).unwrap().unwrap_err();
    assert_eq!(reason, "the topic could not be filled: no route");
    let interrupted = step::<()>(Err(interrupt::Interrupted.into())).unwrap_err();
    assert!(interrupted.is::<interrupt::Interrupted>());
}

/// What is known of the pinned version; a new one may change it, and then this list is looked through again.
const EXPECTED: &[(&str, &[&str])] = &[
    (
        "TRUE",
        &[
            "segments-of-1-gib",
            "retention-7-days",
            "transferto-is-sendfile",
            "tls-loses-sendfile",
            "one-partition-by-default",
            "one-replica-by-default",
            "heartbeat-3s",
            "max-poll-interval-5min",
            "max-poll-records-500",
            "auto-offset-reset-latest",
            "commit-after-max-poll-interval-fails",
            "leader-computes-assignment",
            "no-compression",
        ],
    ),
    (
        "FALSE",
        &[
            "segment-names-19-digits",
            "segment-named-by-last-offset-of-previous",
            "index-has-every-message",
            "every-message-is-flushed",
            "consumers-read-committed",
        ],
    ),
    (
        "OUTDATED",
        &[
            "partition-folder-holds-log-and-index",
            "zookeeper-coordinates",
            "offsets-in-zookeeper",
            "message-max-1000000",
            "unclean-election-by-default",
            "session-timeout-10s",
            "only-range-and-roundrobin",
            "only-clients-assign",
            "acks-1",
            "idempotence-off",
            "retries-0",
            "linger-0",
            "keyless-round-robin",
        ],
    ),
];

/// From end to end, where Java and the jars are there already: nothing is fetched for a test.
#[test]
fn a_running_kafka_is_looked_up() {
    match crate::target::jars::look(crate::target::jars::Product::Kafka, None) {
        Ok(Some(_)) => {}
        Ok(None) => {
            eprintln!("skipped: Kafka's jars are not in the cache (assay target fetch kafka)");
            return;
        }
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let kafka = Kafka::start(&kafka::KafkaSpec {
        dir: folder.path().join("kafka"),
        nodes: 1,
        version: None,
        heap_mb: 512,
        tls: cfg!(feature = "tls"),
        cpus: None,
        settings: std::collections::BTreeMap::new(),
        congestion_control: None,
    })
    .unwrap();
    let definition = facts::embedded().unwrap().remove(0);
    let facts = look_up(&kafka, &definition, &scratch).unwrap();
    let left: Vec<String> = Admin::connect(Bootstrap::from(kafka.addresses()[0]), &Security::default())
        .unwrap()
        .list_topics()
        .unwrap()
        .into_iter()
        .filter(|topic| topic.starts_with(PREFIX))
        .collect();
    assert_eq!(left, [] as [String; 0]);
    kafka.stop().unwrap();

    let ids: Vec<&str> = facts.iter().map(|fact| fact.id.as_str()).collect();
    let defined: Vec<&str> = definition.facts.iter().map(|fact| fact.id.as_str()).collect();
    assert_eq!(ids, defined);
    for fact in &facts {
        let id = fact.id.as_str();
        if fact.verdict == FactVerdict::NotLookedUp {
            // What may be missing on a machine, and nothing else.
            let remedies = match cfg!(feature = "tls") {
                true => ["strace", "JDK"].as_slice(),
                false => &["strace", "JDK", "TLS"],
            };
            assert!(
                remedies.iter().any(|remedy| fact.evidence.contains(remedy)),
                "{id}: {}",
                fact.evidence
            );
            eprintln!("{id} was not looked up: {}", fact.evidence);
            continue;
        }
        let expected = EXPECTED
            .iter()
            .find(|(_, ids)| ids.contains(&id))
            .map(|(verdict, _)| *verdict);
        assert_eq!(Some(fact.verdict.as_str()), expected, "{id}: {}", fact.evidence);
        assert!(
            !fact.evidence.is_empty() && !fact.evidence_source.is_empty(),
            "{fact:?}"
        );
        // Where this machine keeps things is nobody's business.
        assert!(!fact.evidence.contains(folder.path().to_str().unwrap()), "{fact:?}");
        if id == "every-message-is-flushed" {
            assert!(fact.evidence.contains(", 0 calls of fsync"), "{}", fact.evidence);
        }
    }
}
