//! Scenarios with a group: what they say, what the command line changes, and mistakes with line and remedy.

use workloads::member::{Commits, GroupProtocol};

use crate::Schedule;

use super::*;

fn kill_consumer() -> &'static str {
    embedded_text("kill-consumer").unwrap()
}

fn group(name: &str) -> GroupWorkload {
    Scenario::load(name).unwrap().group.unwrap()
}

#[test]
fn kill_consumer_says_what_it_says() {
    let scenario = Scenario::load("kill-consumer").unwrap();
    assert_eq!(
        scenario.roles_missing_from(&[]),
        [],
        "consumers need no role of the target"
    );
    assert!(scenario.faults.is_empty() && !scenario.needs_proxy());
    let group = scenario.group.as_ref().unwrap();
    assert_eq!((group.members, group.members_per_process), (4, 1));
    assert_eq!(group.id, "assay-kill-consumer");
    assert_eq!(group.subscription, ["orders"]);
    assert_eq!(group.rules.skipped, Bound::AtMost(0));
    assert_eq!(group.rules.redelivered, Bound::Counted);
    assert_eq!(group.rules.stalled_ms, Some(10_000));
    let settings = group.broker_settings();
    assert_eq!(settings["group.min.session.timeout.ms"], "3000");
    let repeated = scenario.with_repeat(7).unwrap();
    assert_eq!(repeated.group.unwrap().triggers[0].repeat, 7);
}

#[test]
fn a_burst_is_a_join_of_many_at_once() {
    let scenario = Scenario::load("join-burst").unwrap();
    let schedule = crate::schedule::Schedule::from(&scenario, 1);
    let actions: Vec<_> = schedule.triggers.iter().map(|timed| &timed.action).collect();
    assert_eq!(actions, [&crate::schedule::GroupAction::Join { members: 4 }]);
}

#[test]
fn a_scenario_without_a_group_is_written_as_before() {
    let json = serde_json::to_string(&Scenario::load("kill-broker").unwrap()).unwrap();
    assert!(!json.contains("group"), "{json}");
    let scenario = Scenario::load("group-churn").unwrap();
    let json = serde_json::to_string(&scenario).unwrap();
    assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), scenario);
}

#[test]
fn kip_848_has_floors_of_its_own() {
    let settings = group("kill-consumer")
        .with_protocol(GroupProtocol::Consumer)
        .broker_settings();
    for key in [
        "group.consumer.session.timeout.ms",
        "group.consumer.min.session.timeout.ms",
    ] {
        assert_eq!(settings[key], "3000", "{key}");
    }
    assert!(!settings.contains_key("group.min.session.timeout.ms"));
}

#[test]
fn commits_that_do_not_follow_processing_have_their_losses_counted() {
    for commits in Commits::ALL {
        let rules = group("kill-consumer").with_commits(commits).rules;
        let expected = match commits.follows_processing() {
            true => Bound::AtMost(0),
            false => Bound::Counted,
        };
        assert_eq!(rules.unprocessed, expected, "{}", commits.name());
        assert_eq!(rules.commit_regress, Bound::AtMost(0));
    }
}

#[test]
fn subscriptions_by_name_and_by_pattern_cover_their_topics() {
    let subscribed = |wanted: &[&str], topic| {
        let wanted: Vec<String> = wanted.iter().map(|&wanted| wanted.to_owned()).collect();
        crate::scenario::group::is_subscribed(&wanted, topic)
    };
    assert!(subscribed(&["orders"], "orders") && !subscribed(&["orders"], "orders-eu"));
    assert!(subscribed(&["^orders.*"], "orders-eu") && !subscribed(&["^orders.*"], "my-orders"));
    let scenario = Scenario::load("change-subscription").unwrap();
    let context = scenario.group.as_ref().unwrap().context(&scenario.workload, true);
    let seen: Vec<(bool, bool)> = context
        .topics
        .iter()
        .map(|topic| (topic.subscribed_at_start, topic.subscribed_at_end))
        .collect();
    assert_eq!(seen, [(true, true), (false, true), (false, true)]);
}

#[test]
fn names_get_a_prefix_wherever_they_stand() {
    let plain = Scenario::load("change-subscription").unwrap();
    let scenario = plain.clone().with_names_behind("", "x-");
    assert_eq!(scenario.topics(), ["x-orders", "x-orders-eu", "x-orders-us"]);
    let group = scenario.group.as_ref().unwrap();
    assert_eq!(group.id, "x-assay-change-subscription");
    assert_eq!(group.subscription, ["x-orders"]);
    assert_eq!(group.last_subscription(), ["^x-orders.*"]);
    let schedule = Schedule::from(&plain, 7).with_names_behind("", "x-");
    assert_eq!(schedule, Schedule::from(&scenario, 7));

    // A replay's prefix takes the place of the run's.
    assert_eq!(
        scenario.with_names_behind("x-", "longer-"),
        plain.clone().with_names_behind("", "longer-")
    );
    assert_eq!(
        schedule.with_names_behind("x-", "longer-"),
        Schedule::from(&plain, 7).with_names_behind("", "longer-")
    );
}

/// One mistake per row: what is replaced in the sound file, by what, and what the error must name.
#[test]
fn mistakes_of_groups_are_told_with_line_and_remedy() {
    let table: &[(&str, &str, &str, &str)] = &[
        ("members = 4", "members = 0", "members is 0", "1 to 500"),
        (
            "protocol = \"range\"",
            "protocol = \"sticky\"",
            "protocol is \"sticky\"",
            "\"cooperative-sticky\"",
        ),
        (
            "commits = \"sync-per-batch\"",
            "commits = \"never\"",
            "commits is \"never\"",
            "\"sync-per-record\"",
        ),
        (
            "heartbeat_interval_ms = 500",
            "heartbeat_interval_ms = 3000",
            "second heartbeat",
            "a third",
        ),
        (
            "max_poll_interval_ms = 6000",
            "max_poll_interval_ms = 2000",
            "librdkafka refuses",
            "raise it",
        ),
        (
            "commits = \"sync-per-batch\"",
            "commits = \"auto-after-processing\"\nclient = \"java\"",
            "one way to commit",
            "take auto-at-hand-over",
        ),
        (
            "handler = { per_record_us = 1000 }",
            "handler = { threads = 2 }\nclient = \"java\"",
            "between two polls",
            "threads to 0",
        ),
        (
            "members = 4",
            "members = 4\nclient = \"pigeon\"",
            "client is \"pigeon\"",
            "\"java\"",
        ),
        ("rate_per_s = 2000", "", "needs a rate_per_s", "[workload]"),
        (
            "members = 4",
            "members = 4\nsubscription = [\"^(a|b)$\"]",
            "can't be subscribed to",
            "a prefix and .*",
        ),
        (
            "members = 4",
            "members = 4\nmore_topics = [{ name = \"orders\", partitions = 1 }]",
            "one more topic",
            "different names",
        ),
        (
            "handler = { per_record_us = 1000 }",
            "handler = { per_hour = 200 }",
            "unknown field `per_hour`",
            "assay chaos show",
        ),
        (
            "kind = \"kill\"",
            "kind = \"cut\"",
            "no fault called \"cut\"",
            "\"rolling-restart\"",
        ),
        (
            "heal_after_ms = { min = 500, max = 1500 }",
            "",
            "needs heal_after_ms",
            "add heal_after_ms",
        ),
        (
            "kind = \"kill\"",
            "kind = \"kill\"\nfor_ms = { min = 1, max = 2 }",
            "has no for_ms",
            "heal_after_ms",
        ),
        (
            "kind = \"kill\"",
            "kind = \"any\"\nof = [\"explode\"]",
            "no trigger called \"explode\"",
            "\"join\"",
        ),
        (
            "role = \"consumer\"",
            "role = \"broker\"",
            "faults of its members only",
            "consumer",
        ),
        ("skipped = 0", "skipped = \"few\"", "skipped is \"few\"", "counted"),
        ("stalled_ms = 10000", "stalled_ms = 0", "stalled_ms is 0", "1 to 600000"),
    ];
    for (sound, mistaken, message, remedy) in table {
        assert!(kill_consumer().contains(sound), "the table is stale: {sound}");
        let text = kill_consumer().replacen(sound, mistaken, 1);
        let LoadError::Scenario(error) = Scenario::parse("some/bad.toml", &text).unwrap_err() else {
            panic!("{mistaken}: not an error of the file");
        };
        assert!(error.message.contains(message), "{mistaken}: {}", error.message);
        assert!(error.remedy.contains(remedy), "{mistaken}: {}", error.remedy);
    }
}

#[test]
fn what_is_asked_of_a_group_needs_one() {
    let told = |sound: &str, mistaken: &str| {
        let text = super::kill_broker().replacen(sound, mistaken, 1);
        match Scenario::parse("bad.toml", &text).unwrap_err() {
            LoadError::Scenario(error) => error.message.clone(),
            other => panic!("{other}"),
        }
    };
    assert!(told("lost = 0", "lost = 0\nskipped = 0").contains("skipped is asked of a group"));
    assert!(told("role = \"broker\"", "role = \"consumer\"").contains("nobody consumes"));
}
