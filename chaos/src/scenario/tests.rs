//! Sound scenarios load, and each mistake is told with its line and a remedy.

use super::*;

mod group;

fn kill_broker() -> &'static str {
    embedded_text("kill-broker").unwrap()
}

#[test]
fn every_embedded_scenario_is_sound() {
    assert!(embedded_names().contains(&"kill-broker".to_owned()));
    for name in embedded_names() {
        let scenario = Scenario::load(&name).unwrap();
        assert_eq!(scenario.name, name);
        assert_eq!(scenario.roles_missing_from(&Role::ALL), []);
    }
}

#[test]
fn kill_broker_says_what_it_says() {
    let scenario = Scenario::load("kill-broker").unwrap();
    assert_eq!(scenario.invariants, Invariants::default());
    assert_eq!(
        (scenario.workload.topic.as_str(), scenario.workload.partitions),
        ("ledger", 4)
    );
    assert_eq!(
        (scenario.faults[0].repeat, scenario.faults[0].gap_ms),
        (20, Span { min: 100, max: 700 })
    );
    assert_eq!(scenario.roles_missing_from(&[]), [Role::Broker]);
    assert!(!scenario.needs_proxy() && !scenario.workload.idempotence && scenario.workload.in_flight == 1);
    assert_eq!(scenario.clone().with_repeat(100).unwrap().faults[0].repeat, 100);
    assert!(scenario.with_repeat(0).unwrap_err().contains("1 to 10000"));
}

/// One mistake per row: what is replaced in the sound file, by what, and what the error must name.
#[test]
fn mistakes_are_told_with_line_and_remedy() {
    let table: &[(&str, &str, &str, &str)] = &[
        (
            "producers = 4",
            "producers = 4\nproduser = 1",
            "unknown field `produser`",
            "assay chaos show",
        ),
        (
            "producers = 4",
            "producers = \"two\"",
            "invalid type",
            "assay chaos show",
        ),
        ("producers = 4", "", "missing field `producers`", "assay chaos show"),
        ("producers = 4", "producers = 0", "producers is 0", "1 to 64"),
        ("partitions = 4", "partitions = 5000", "partitions is 5000", "1 to 1024"),
        ("name = \"ledger\"", "name = \"led ger\"", "refuses a topic", "a-z"),
        (
            "record_bytes = 100",
            "record_bytes = 3",
            "record_bytes is 3",
            "give a number from",
        ),
        (
            "min = 1, max = 200",
            "min = 1, max = 9009",
            "900900 bytes",
            "stay below",
        ),
        (
            "min = 1, max = 200",
            "min = 0, max = 200",
            "batch_records is 0",
            "1 to 10000",
        ),
        (
            "rate_per_s = 60000",
            "rate_per_s = 0",
            "rate_per_s is 0",
            "1 to 1000000000",
        ),
        ("acks = \"all\"", "acks = \"0\"", "acks is \"0\"", "\"all\" or \"1\""),
        (
            "damage_every = 50",
            "damage_every = 0",
            "damage_every is 0",
            "1 to 1000000",
        ),
        ("burst_ms = 20", "burst_ms = 2000", "burst_ms is 2000", "0 to 1000"),
        ("min = 100, max = 700", "min = 700, max = 100", "no range", "swap"),
        (
            "min = 100, max = 700",
            "min = 100, max = 700000000",
            "gap_ms is 700000000",
            "0 to 600000",
        ),
        ("repeat = 20", "repeat = 0", "repeat is 0", "1 to 10000"),
        (
            "kind = \"kill\"",
            "kind = \"flood\"",
            "no fault called \"flood\"",
            "\"kill\"",
        ),
        ("role = \"broker\"", "role = \"janitor\"", "role \"janitor\"", "broker"),
        ("warm_up_ms = 1000", "warm_up_ms = 0", "warm_up_ms is 0", "1000"),
        ("lost = 0", "lost = \"few\"", "lost is \"few\"", "counted"),
        ("lost = 0", "lost = -1", "tolerated", "assay chaos show"),
        ("[[fault]]", "[[fault]", "", "assay chaos show"),
        (
            "why = \"\"\"",
            "why = \" \"\nx = \"\"\"",
            "unknown field `x`",
            "assay chaos show",
        ),
    ];
    for (sound, mistaken, message, remedy) in table {
        assert!(kill_broker().contains(sound), "the table is stale: {sound}");
        let text = kill_broker().replacen(sound, mistaken, 1);
        let LoadError::Scenario(error) = Scenario::parse("some/bad.toml", &text).unwrap_err() else {
            panic!("{mistaken}: not an error of the file");
        };
        let shown = error.to_string();
        assert!(shown.contains(message), "{mistaken}: {shown}");
        assert!(error.remedy.contains(remedy), "{mistaken}: {}", error.remedy);
        // A missing key points at its table; all others at their own line.
        if !mistaken.is_empty() {
            let at = kill_broker().find(sound).unwrap();
            let line = kill_broker()[..at].lines().count().max(1);
            let near = (line..=line + 5).any(|line| shown.starts_with(&format!("some/bad.toml:{line}:")));
            assert!(near, "{mistaken}: {shown}, expected near line {line}");
        }
    }
}

/// As above, for faults on the way.
#[test]
fn mistakes_in_faults_on_the_way_are_told() {
    let sound = embedded_text("lost-responses").unwrap();
    let table: &[(&str, &str, &str, &str)] = &[
        (
            "api = \"Produce\"",
            "api = \"produce\"",
            "no API is called \"produce\"",
            "Produce, Fetch",
        ),
        ("api = \"Produce\"\n", "", "\"drop-response\" needs api", "add api"),
        (
            "then = \"close\"",
            "then = \"shrug\"",
            "then is \"shrug\"",
            "\"close\" or \"withhold\"",
        ),
        ("min = 1, max = 40", "min = 0, max = 40", "nth is 0", "1 to 1000000"),
        (
            "repeat = 4",
            "repeat = 4\nby_ms = { min = 1, max = 2 }",
            "has no by_ms",
            "api, nth, then",
        ),
        (
            "repeat = 4",
            "repeat = 4\nready_within_ms = 1",
            "ready_within_ms is 1",
            "100 to",
        ),
        ("in_flight = 5", "in_flight = 6", "in_flight is 6", "1 to 5"),
        (
            "log_duplicates = 0",
            "log_duplicates = \"exact\"",
            "log_duplicates is",
            "counted",
        ),
        ("lost = 0", "lost = \"explained\"", "lost is", "counted"),
        (
            "idempotence = true ",
            "damage_every = 5 ",
            "sends damaged batches",
            "in_flight to 1",
        ),
    ];
    for (right, mistaken, message, remedy) in table {
        assert!(sound.contains(right), "the table is stale: {right}");
        let text = sound.replacen(right, mistaken, 1);
        let LoadError::Scenario(error) = Scenario::parse("bad.toml", &text).unwrap_err() else {
            panic!("{mistaken}: not an error of the file");
        };
        assert!(error.to_string().contains(message), "{mistaken}: {error}");
        assert!(error.remedy.contains(remedy), "{mistaken}: {}", error.remedy);
    }
    let text = kill_broker().replace("log_duplicates = \"counted\"", "log_duplicates = \"explained\"");
    let error = Scenario::parse("a.toml", &text).unwrap_err().to_string();
    assert!(error.contains("can't be explained"), "{error}");
}

#[test]
fn idempotence_decides_what_may_come_twice() {
    let duplicates = |name: &str, is_on| {
        let scenario = Scenario::load(name).unwrap().with_idempotence(is_on).unwrap();
        assert_eq!(scenario.workload.idempotence, is_on);
        scenario.invariants.log_duplicates
    };
    assert_eq!(duplicates("lost-responses", true), Bound::AtMost(0));
    assert_eq!(duplicates("lost-responses", false), Bound::Explained);
    assert_eq!(duplicates("kill-broker", false), Bound::Counted);
    let mut scenario = Scenario::load("lost-responses").unwrap();
    scenario.workload.damage_every = Some(5);
    assert!(
        scenario
            .with_idempotence(false)
            .unwrap_err()
            .contains("leave idempotence on")
    );
}

#[test]
fn empty_why_and_no_fault_are_mistakes() {
    let (workload, _) = kill_broker().split_once("[steady]").unwrap();
    let error = Scenario::parse("a.toml", workload).unwrap_err();
    assert!(error.to_string().contains("there is no fault"), "{error}");
    let after_why = kill_broker().rsplit_once("\"\"\"").unwrap().1;
    let error = Scenario::parse("a.toml", &format!("why = ' '{after_why}")).unwrap_err();
    assert_eq!(error.to_string(), "a.toml:1: why is empty");
}

#[test]
fn an_unknown_name_and_a_missing_file_say_what_there_is() {
    let error = Scenario::load("kill-brokers").unwrap_err();
    assert!(
        miette::Diagnostic::help(&error)
            .unwrap()
            .to_string()
            .contains("kill-broker")
    );
    assert!(matches!(Scenario::load("no/such/file.toml"), Err(LoadError::Io { .. })));
}
