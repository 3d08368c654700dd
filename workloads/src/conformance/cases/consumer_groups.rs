//! Groups of KIP-848's protocol: how members come, are led to their assignments, are fenced and leave, and what the other requests make of such groups.

use std::time::Duration;

use kafka_wire::{ApiKey, Cursor};

use super::super::consumer_request::{Beat, describe};
use super::super::group_request::{self, As};
use super::super::request;
use super::super::{Bench, Case, CaseError};
use super::groups::{join_body, member, ready};

const HEARTBEAT: &str = "ConsumerGroupHeartbeat";
const LATEST: i16 = 1;
/// A coordinator may hear of a topic later than the topic's leader.
const TOPIC_IS_KNOWN: Duration = Duration::from_millis(300);

pub(super) fn add(all: &mut Vec<Case>) {
    requests(all);
    members(all);
    statics(all);
    kinds(all);
    offsets(all);
    admin(all);
}

fn beat(bench: &mut Bench, beat: Beat) -> Result<String, CaseError> {
    bench.ask(ApiKey::ConsumerGroupHeartbeat, LATEST, &beat.body(LATEST))
}

/// A topic that the coordinator has heard of, and a group.
fn topic_and_group(bench: &mut Bench, name: &str, partitions: i32) -> Result<(String, String), CaseError> {
    let topic = bench.topic(&format!("k848-{name}"), partitions)?;
    let group = ready(bench, &format!("k848-{name}"))?;
    std::thread::sleep(TOPIC_IS_KNOWN);
    Ok((topic, group))
}

/// The id of a topic.
fn id_of(bench: &mut Bench, topic: &str) -> Result<[u8; 16], CaseError> {
    let (frame, _) = bench.ask_raw(ApiKey::Metadata, 12, &request::metadata(12, Some(&[topic]), false))?;
    let c = &mut Cursor::new(&frame);
    c.i32()?; // correlation id
    c.skip_tagged_fields()?;
    c.i32()?; // throttle
    for _ in 0..c.array_len(true, 1)?.unwrap_or(0) {
        c.i32()?; // broker
        c.string(true)?;
        c.i32()?;
        c.nullable_string(true)?;
        c.skip_tagged_fields()?;
    }
    c.nullable_string(true)?; // cluster
    c.i32()?; // controller
    c.array_len(true, 1)?;
    c.i16()?; // error
    c.nullable_string(true)?;
    let mut id = [0; 16];
    id.copy_from_slice(c.take(16)?);
    Ok(id)
}

fn requests(all: &mut Vec<Case>) {
    for version in 0..=LATEST {
        all.push(Case::new(
            HEARTBEAT,
            format!("version {version}, a new member"),
            move |bench| {
                let (topic, group) = topic_and_group(bench, &format!("join-{version}"), 2)?;
                let body = Beat::joining(&group, "m", &[&topic]).body(version);
                bench.ask(ApiKey::ConsumerGroupHeartbeat, version, &body)
            },
        ));
    }
    all.push(Case::new(HEARTBEAT, "version 0, who has no id is given one", |bench| {
        let (topic, group) = topic_and_group(bench, "no-id", 2)?;
        let body = Beat::joining(&group, "", &[&topic]).body(0);
        bench.ask(ApiKey::ConsumerGroupHeartbeat, 0, &body)
    }));
    type Change = fn(&mut Beat);
    let wrong: [(&str, Change); 13] = [
        ("no member id", |b| b.member = ""),
        ("no group", |b| b.group = ""),
        ("an instance without a name", |b| b.instance = Some("")),
        ("no rebalance timeout", |b| b.rebalance_ms = -1),
        ("who joins says nothing of what it holds", |b| b.owned = None),
        ("who joins holds something", |b| b.owned = Some(&[([7; 16], &[0])])),
        ("neither topics nor a pattern", |b| b.topics = None),
        ("epoch -3", |b| b.epoch = -3),
        ("epoch -2 of who is not static", |b| b.epoch = -2),
        ("an assignor that does not exist", |b| b.assignor = Some("fair")),
        ("a pattern that is none", |b| b.pattern = Some("(")),
        ("epoch 5 of a group that is not there", |b| b.epoch = 5),
        ("who leaves a group that is not there", |b| b.epoch = -1),
    ];
    for (n, (what, change)) in wrong.into_iter().enumerate() {
        all.push(Case::new(HEARTBEAT, what, move |bench| {
            let name = ready(bench, &format!("k848-wrong-{n}"))?;
            let mut asked = Beat::joining(&name, "m", &["t"]);
            change(&mut asked);
            beat(bench, asked)
        }));
    }
    all.push(Case::new(HEARTBEAT, "a topic that is not there", |bench| {
        let name = ready(bench, "k848-no-topic")?;
        beat(bench, Beat::joining(&name, "m", &["nowhere"]))
    }));
}

fn members(all: &mut Vec<Case>) {
    all.push(Case::new(
        HEARTBEAT,
        "nothing new, and then everything said again",
        |bench| {
            let (topic, group) = topic_and_group(bench, "again", 2)?;
            let id = id_of(bench, &topic)?;
            beat(bench, Beat::joining(&group, "m", &[&topic]))?;
            let quiet = beat(bench, Beat::alive(&group, "m", 2))?;
            let owned: &[([u8; 16], &[i32])] = &[(id, &[0, 1])];
            let topics = [topic.as_str()];
            let said = Beat {
                epoch: 2,
                owned: Some(owned),
                ..Beat::joining(&group, "m", &topics)
            };
            let said = beat(bench, said)?;
            let anew = beat(bench, Beat::joining(&group, "m", &[&topic]))?;
            Ok(format!("{quiet}; {said}; {anew}"))
        },
    ));
    all.push(Case::new(
        HEARTBEAT,
        "a second member: given up first, then given",
        |bench| {
            let (topic, group) = topic_and_group(bench, "second", 4)?;
            let id = id_of(bench, &topic)?;
            let topics = [topic.as_str()];
            let mut answers = vec![
                beat(bench, Beat::joining(&group, "a", &topics))?,
                beat(bench, Beat::joining(&group, "b", &topics))?,
                beat(bench, Beat::alive(&group, "a", 2))?,
                beat(bench, Beat::alive(&group, "a", 2))?,
                beat(bench, Beat::alive(&group, "b", 3))?,
            ];
            let kept: &[([u8; 16], &[i32])] = &[(id, &[0, 1])];
            let gave_up = Beat {
                owned: Some(kept),
                ..Beat::alive(&group, "a", 2)
            };
            answers.push(beat(bench, gave_up)?);
            answers.push(beat(bench, Beat::alive(&group, "b", 3))?);
            // Its answer was lost: with the epoch before, and what fits the new one.
            answers.push(beat(bench, gave_up)?);
            answers.push(beat(bench, Beat::alive(&group, "a", 2))?);
            answers.push(beat(bench, Beat::alive(&group, "a", 4))?);
            Ok(answers.join("; "))
        },
    ));
    all.push(Case::new(HEARTBEAT, "a member that nobody knows", |bench| {
        let (topic, group) = topic_and_group(bench, "unknown", 1)?;
        beat(bench, Beat::joining(&group, "m", &[&topic]))?;
        let alive = beat(bench, Beat::alive(&group, "x", 2))?;
        let leaves = beat(bench, Beat::alive(&group, "x", -1))?;
        Ok(format!("{alive}; {leaves}"))
    }));
    all.push(Case::new(
        HEARTBEAT,
        "who leaves, twice, and what the other is given then",
        |bench| {
            let (topic, group) = topic_and_group(bench, "leave", 2)?;
            beat(bench, Beat::joining(&group, "a", &[&topic]))?;
            beat(bench, Beat::joining(&group, "b", &[&topic]))?;
            let first = beat(bench, Beat::alive(&group, "a", -1))?;
            let again = beat(bench, Beat::alive(&group, "a", -1))?;
            let other = beat(bench, Beat::alive(&group, "b", 3))?;
            Ok(format!("{first}; {again}; {other}"))
        },
    ));
    all.push(Case::new(HEARTBEAT, "another subscription", |bench| {
        let (topic, group) = topic_and_group(bench, "resubscribe", 2)?;
        beat(bench, Beat::joining(&group, "m", &[&topic]))?;
        let none = Beat {
            topics: Some(&[]),
            ..Beat::alive(&group, "m", 2)
        };
        let told = beat(bench, none)?;
        let gave_up = beat(
            bench,
            Beat {
                owned: Some(&[]),
                ..Beat::alive(&group, "m", 2)
            },
        )?;
        Ok(format!("{told}; {gave_up}"))
    }));
    all.push(Case::new(HEARTBEAT, "the range assignor over two topics", |bench| {
        let first = bench.topic("k848-range-1", 3)?;
        let (second, group) = topic_and_group(bench, "range-2", 3)?;
        let topics = [first.as_str(), second.as_str()];
        let asks = |member| Beat {
            assignor: Some("range"),
            ..Beat::joining(&group, member, &topics)
        };
        let a = beat(bench, asks("a"))?;
        let b = beat(bench, asks("b"))?;
        let told = bench.ask(ApiKey::ConsumerGroupDescribe, LATEST, &describe(&[&group]))?;
        Ok(format!("{a}; {b}; {told}"))
    }));
    all.push(Case::new(HEARTBEAT, "a topic that has grown", |bench| {
        let (topic, group) = topic_and_group(bench, "grown", 1)?;
        beat(bench, Beat::joining(&group, "m", &[&topic]))?;
        bench.ask(
            ApiKey::CreatePartitions,
            3,
            &request::create_partitions(false, &[(&topic, 3)]),
        )?;
        let asked = Beat::alive(&group, "m", 2).body(LATEST);
        bench.ask_until(ApiKey::ConsumerGroupHeartbeat, LATEST, &asked, |answer| {
            answer.contains("[0 1 2]")
        })
    }));
    all.push(Case::new(HEARTBEAT, "a pattern", |bench| {
        let (topic, group) = topic_and_group(bench, "pattern", 2)?;
        let pattern = format!("{}.*n", topic.strip_suffix("tern").unwrap_or(&topic));
        let asked = Beat {
            topics: Some(&[]),
            pattern: Some(&pattern),
            ..Beat::joining(&group, "m", &[])
        };
        let is_given = |answer: &str| answer.contains("[0 1]");
        let answer = bench.ask_until(ApiKey::ConsumerGroupHeartbeat, LATEST, &asked.body(LATEST), is_given)?;
        // In which epoch depends on when the topics are looked through.
        Ok(answer
            .split_once("assignment=")
            .map_or(answer.clone(), |(_, given)| given.to_owned()))
    }));
}

fn statics(all: &mut Vec<Case>) {
    all.push(Case::new(
        HEARTBEAT,
        "a name that is in use, and one that is away",
        |bench| {
            let (topic, group) = topic_and_group(bench, "static", 2)?;
            let topics = [topic.as_str()];
            let of = |member, epoch| Beat {
                instance: Some("i"),
                ..Beat::alive(&group, member, epoch)
            };
            let joins = |member| Beat {
                instance: Some("i"),
                ..Beat::joining(&group, member, &topics)
            };
            let answers = [
                beat(bench, joins("a"))?,
                beat(bench, joins("b"))?,
                beat(bench, of("b", 2))?,
                beat(bench, of("a", -2))?,
                beat(bench, of("a", 2))?,
                beat(bench, joins("b"))?,
                beat(bench, of("a", 2))?,
                beat(bench, of("a", -1))?,
                beat(bench, of("b", -1))?,
                beat(bench, of("b", -1))?,
            ];
            Ok(answers.join("; "))
        },
    ));
}

fn kinds(all: &mut Vec<Case>) {
    all.push(Case::new(
        HEARTBEAT,
        "a classic group with a member, and when it is empty",
        |bench| {
            let (topic, group) = topic_and_group(bench, "to-consumer", 2)?;
            let id = member(bench, &group, None, true)?;
            let topics = [topic.as_str()];
            let joins = Beat::joining(&group, "m", &topics);
            let refused = beat(bench, joins)?;
            let alive = beat(bench, Beat::alive(&group, "m", 2))?;
            bench.ask(ApiKey::LeaveGroup, 5, &group_request::leave(5, &group, &[(&id, None)]))?;
            let joined = beat(bench, joins)?;
            Ok(format!("{refused}; {alive}; {joined}"))
        },
    ));
    all.push(Case::new(
        "JoinGroup",
        "a group of KIP-848 with a member, and when it is empty",
        |bench| {
            let (topic, group) = topic_and_group(bench, "to-classic", 2)?;
            beat(bench, Beat::joining(&group, "m", &[&topic]))?;
            let who = As {
                group: &group,
                ..As::default()
            };
            let joins = join_body(who);
            let of_member = As {
                member: "m",
                generation: 2,
                ..who
            };
            let mut answers = vec![
                bench.ask(ApiKey::JoinGroup, 9, &joins)?,
                bench.ask(
                    ApiKey::SyncGroup,
                    5,
                    &group_request::sync(5, of_member, Some("range"), &[]),
                )?,
                bench.ask(ApiKey::Heartbeat, 4, &group_request::heartbeat(4, of_member))?,
                bench.ask(
                    ApiKey::LeaveGroup,
                    5,
                    &group_request::leave(5, &group, &[("m", None), ("x", None)]),
                )?,
            ];
            beat(bench, Beat::alive(&group, "m", -1))?;
            answers.push(bench.ask(ApiKey::JoinGroup, 9, &joins)?);
            Ok(answers.join("; "))
        },
    ));
}

fn offsets(all: &mut Vec<Case>) {
    all.push(Case::new("OffsetCommit", "members of KIP-848 by epoch", |bench| {
        let (topic, group) = topic_and_group(bench, "commit", 4)?;
        let id = id_of(bench, &topic)?;
        let topics = [topic.as_str()];
        beat(bench, Beat::joining(&group, "a", &topics))?;
        beat(bench, Beat::joining(&group, "b", &topics))?;
        beat(bench, Beat::alive(&group, "a", 2))?;
        let commit = |bench: &mut Bench, version, member, generation, partition| {
            let who = As {
                group: &group,
                member,
                generation,
                ..As::default()
            };
            let body = group_request::commit(version, who, &[(&topic, partition, 5, None)]);
            bench.ask(ApiKey::OffsetCommit, version, &body)
        };
        // a was told to give up 2 and 3, and may commit for them until it has.
        let mut answers = vec![commit(bench, 9, "a", 2, 2)?];
        let kept: &[([u8; 16], &[i32])] = &[(id, &[0, 1])];
        beat(
            bench,
            Beat {
                owned: Some(kept),
                ..Beat::alive(&group, "a", 2)
            },
        )?;
        beat(bench, Beat::alive(&group, "b", 3))?;
        for (version, member, epoch, partition) in [
            (9, "a", 3, 0),
            (9, "a", 2, 0),
            (9, "a", 2, 2),
            (9, "a", 3, 2),
            (9, "b", 2, 2),
            (9, "a", 4, 0),
            (9, "x", 3, 0),
            (9, "", -1, 0),
            (8, "a", 3, 0),
        ] {
            answers.push(commit(bench, version, member, epoch, partition)?);
        }
        Ok(answers.join("; "))
    }));
    all.push(Case::new("OffsetFetch", "members of KIP-848 by epoch", |bench| {
        let (topic, group) = topic_and_group(bench, "fetch", 1)?;
        beat(bench, Beat::joining(&group, "m", &[&topic]))?;
        let mut answers = Vec::new();
        for asks in [None, Some(("m", 2)), Some(("m", 1)), Some(("m", 3)), Some(("x", 2))] {
            let body = group_request::fetch_offsets_as(9, &group, asks, Some((&topic, &[0])));
            answers.push(bench.ask(ApiKey::OffsetFetch, 9, &body)?);
        }
        Ok(answers.join("; "))
    }));
    all.push(Case::new(
        "OffsetDelete",
        "a topic that a member of KIP-848 consumes",
        |bench| {
            let (topic, group) = topic_and_group(bench, "delete", 1)?;
            beat(bench, Beat::joining(&group, "m", &[&topic]))?;
            let who = As {
                group: &group,
                member: "m",
                generation: 2,
                ..As::default()
            };
            bench.ask(
                ApiKey::OffsetCommit,
                9,
                &group_request::commit(9, who, &[(&topic, 0, 5, None)]),
            )?;
            let subscribed = bench.ask(
                ApiKey::OffsetDelete,
                0,
                &group_request::delete_offset(&group, &topic, 0),
            )?;
            beat(bench, Beat::alive(&group, "m", -1))?;
            let empty = bench.ask(
                ApiKey::OffsetDelete,
                0,
                &group_request::delete_offset(&group, &topic, 0),
            )?;
            Ok(format!("{subscribed}; {empty}"))
        },
    ));
}

fn admin(all: &mut Vec<Case>) {
    for version in 0..=LATEST {
        all.push(Case::new(
            "ConsumerGroupDescribe",
            format!("version {version}, in the middle of a rebalance, and groups of other kinds"),
            move |bench| {
                let (topic, group) = topic_and_group(bench, &format!("describe-{version}"), 4)?;
                let classic = ready(bench, &format!("k848-classic-{version}"))?;
                member(bench, &classic, None, true)?;
                let topics = [topic.as_str()];
                beat(
                    bench,
                    Beat {
                        instance: Some("i"),
                        ..Beat::joining(&group, "a", &topics)
                    },
                )?;
                beat(
                    bench,
                    Beat {
                        pattern: Some("nothing.*"),
                        ..Beat::joining(&group, "b", &topics)
                    },
                )?;
                let nowhere = bench.name("k848-nowhere");
                bench.ask(
                    ApiKey::ConsumerGroupDescribe,
                    version,
                    &describe(&[&group, &classic, &nowhere]),
                )
            },
        ));
    }
    all.push(Case::new("ConsumerGroupDescribe", "a group without a name", |bench| {
        bench.ask(ApiKey::ConsumerGroupDescribe, LATEST, &describe(&[""]))
    }));
    all.push(Case::new(
        "ConsumerGroupDescribe",
        "an empty group, and then a deleted one",
        |bench| {
            let (topic, group) = topic_and_group(bench, "end", 1)?;
            beat(bench, Beat::joining(&group, "m", &[&topic]))?;
            let delete = group_request::delete(2, &[&group]);
            let mut answers = vec![bench.ask(ApiKey::DeleteGroups, 2, &delete)?];
            beat(bench, Beat::alive(&group, "m", -1))?;
            answers.push(bench.ask(ApiKey::ConsumerGroupDescribe, LATEST, &describe(&[&group]))?);
            answers.push(bench.ask(ApiKey::DeleteGroups, 2, &delete)?);
            answers.push(bench.ask(ApiKey::ConsumerGroupDescribe, LATEST, &describe(&[&group]))?);
            Ok(answers.join("; "))
        },
    ));
    all.push(Case::new(
        "DescribeGroups",
        "groups of KIP-848, versions 5 and 6",
        |bench| {
            let (topic, group) = topic_and_group(bench, "described", 1)?;
            beat(bench, Beat::joining(&group, "m", &[&topic]))?;
            let mut answers = Vec::new();
            for version in [5, 6] {
                answers.push(bench.ask(
                    ApiKey::DescribeGroups,
                    version,
                    &group_request::describe(version, &[&group]),
                )?);
            }
            Ok(answers.join("; "))
        },
    ));
    all.push(Case::new(
        "ListGroups",
        "groups of KIP-848 by type and state",
        |bench| {
            let (topic, group) = topic_and_group(bench, "listed", 1)?;
            beat(bench, Beat::joining(&group, "m", &[&topic]))?;
            let mut answers = Vec::new();
            for (states, types) in [
                (&[][..], &["consumer"][..]),
                (&["stable"], &["Consumer"]),
                (&["Empty"], &["consumer"]),
            ] {
                let answer = bench.ask(ApiKey::ListGroups, 5, &group_request::list(5, states, types))?;
                answers.push(format!("{}", answer.contains("k848-listed")));
            }
            Ok(answers.join("; "))
        },
    ));
}
