//! What groups commit and who may, what is told of groups, and how they end.

use kafka_wire::ApiKey;

use super::super::Case;
use super::super::group_request::{self as request, As};
use super::groups::{CONSUMER, JOIN_LATEST, SESSION_MS, joined, member, ready, subscription};

pub(super) fn add(all: &mut Vec<Case>) {
    offsets(all);
    offsets_of_members(all);
    admin(all);
}

fn offsets(all: &mut Vec<Case>) {
    for version in 2..=9 {
        all.push(Case::new(
            "OffsetCommit",
            format!("version {version}, of who is in no group"),
            move |bench| {
                let topic = bench.topic(&format!("commit-{version}"), 2)?;
                let name = ready(bench, &format!("commit-{version}"))?;
                let who = As {
                    group: &name,
                    generation: -1,
                    ..As::default()
                };
                let body = request::commit(version, who, &[(&topic, 0, 5, Some("said")), (&topic, 7, 5, None)]);
                bench.ask(ApiKey::OffsetCommit, version, &body)
            },
        ));
    }
    for version in 1..=9 {
        all.push(Case::new(
            "OffsetFetch",
            format!("version {version}, one partition of two"),
            move |bench| {
                let topic = bench.topic(&format!("fetch-offset-{version}"), 2)?;
                let name = ready(bench, &format!("fetch-offset-{version}"))?;
                let who = As {
                    group: &name,
                    generation: -1,
                    ..As::default()
                };
                bench.ask(
                    ApiKey::OffsetCommit,
                    8,
                    &request::commit(8, who, &[(&topic, 1, 6, Some("said"))]),
                )?;
                let body = request::fetch_offsets(version, &name, Some((&topic, &[0, 1])));
                bench.ask(ApiKey::OffsetFetch, version, &body)
            },
        ));
    }
    for version in [2, 7, 9] {
        all.push(Case::new(
            "OffsetFetch",
            format!("version {version}, everything"),
            move |bench| {
                let topic = bench.topic(&format!("fetch-all-{version}"), 2)?;
                let name = ready(bench, &format!("fetch-all-{version}"))?;
                let who = As {
                    group: &name,
                    generation: -1,
                    ..As::default()
                };
                let nothing = bench.ask(
                    ApiKey::OffsetFetch,
                    version,
                    &request::fetch_offsets(version, &name, None),
                )?;
                let both = [(&*topic, 0, 5, None), (&*topic, 1, 6, Some("said"))];
                bench.ask(ApiKey::OffsetCommit, 8, &request::commit(8, who, &both))?;
                let all = bench.ask(
                    ApiKey::OffsetFetch,
                    version,
                    &request::fetch_offsets(version, &name, None),
                )?;
                Ok(format!("{nothing}; {all}"))
            },
        ));
    }
    all.push(Case::new("OffsetFetch", "a topic that is not there", |bench| {
        let (name, topic) = (ready(bench, "fetch-unknown")?, bench.name("fetch-unknown"));
        let body = request::fetch_offsets(9, &name, Some((&topic, &[0])));
        bench.ask(ApiKey::OffsetFetch, 9, &body)
    }));
    for (what, bytes) in [("4096", 4096), ("4097", 4097)] {
        all.push(Case::new(
            "OffsetCommit",
            format!("metadata of {what} bytes"),
            move |bench| {
                let topic = bench.topic(&format!("commit-metadata-{bytes}"), 2)?;
                let name = ready(bench, &format!("commit-metadata-{bytes}"))?;
                let who = As {
                    group: &name,
                    generation: -1,
                    ..As::default()
                };
                let words = "m".repeat(bytes);
                let body = request::commit(8, who, &[(&topic, 0, 5, Some(&words)), (&topic, 1, 5, None)]);
                bench.ask(ApiKey::OffsetCommit, 8, &body)
            },
        ));
    }
    for (what, version, generation) in [
        ("a generation of a group that is not there", 8, 3),
        ("a generation of a group that is not there", 9, 3),
    ] {
        all.push(Case::new(
            "OffsetCommit",
            format!("version {version}, {what}"),
            move |bench| {
                let topic = bench.topic(&format!("commit-nowhere-{version}"), 1)?;
                let name = ready(bench, &format!("commit-nowhere-{version}"))?;
                let who = As {
                    group: &name,
                    member: "m",
                    generation,
                    ..As::default()
                };
                bench.ask(
                    ApiKey::OffsetCommit,
                    version,
                    &request::commit(version, who, &[(&topic, 0, 5, None)]),
                )
            },
        ));
    }
}

fn offsets_of_members(all: &mut Vec<Case>) {
    for (what, generation, known, sync) in [
        ("of its generation", 1, true, true),
        ("of an old generation", 0, true, true),
        ("of a member that nobody knows", 1, false, true),
        ("in front of the assignment", 1, true, false),
        ("of who is in no group, while one has members", -1, false, true),
    ] {
        all.push(Case::new("OffsetCommit", format!("a commit {what}"), move |bench| {
            let topic = bench.topic(&format!("commit-{generation}-{known}-{sync}"), 1)?;
            let name = ready(bench, &format!("commit-{generation}-{known}-{sync}"))?;
            let id = member(bench, &name, None, sync)?;
            let who = As {
                group: &name,
                member: match (known, generation) {
                    (true, _) => &id,
                    (false, -1) => "",
                    (false, _) => "nobody",
                },
                generation,
                ..As::default()
            };
            bench.ask(
                ApiKey::OffsetCommit,
                8,
                &request::commit(8, who, &[(&topic, 0, 5, None)]),
            )
        }));
    }
    all.push(Case::new(
        "OffsetDelete",
        "of a subscribed topic, of another, and once more",
        |bench| {
            let (name, mine) = (ready(bench, "delete-offset")?, bench.topic("delete-offset", 1)?);
            let free = bench.topic("delete-offset-free", 1)?;
            let none = As {
                group: &name,
                generation: -1,
                ..As::default()
            };
            let both = [(&*mine, 0, 5, None), (&*free, 0, 5, None)];
            bench.ask(ApiKey::OffsetCommit, 8, &request::commit(8, none, &both))?;
            let join = |member| {
                let who = As {
                    group: &name,
                    member,
                    ..As::default()
                };
                request::join(
                    JOIN_LATEST,
                    who,
                    SESSION_MS,
                    CONSUMER,
                    &[("range", &subscription(&mine))],
                )
            };
            let (id, _, _) = joined(bench, &join(""))?;
            joined(bench, &join(&id))?;
            let mut answers = Vec::new();
            for topic in [&mine, &free, &free] {
                answers.push(bench.ask(ApiKey::OffsetDelete, 0, &request::delete_offset(&name, topic, 0))?);
            }
            Ok(answers.join("; "))
        },
    ));
    all.push(Case::new("OffsetDelete", "of a group that is not there", |bench| {
        let (name, topic) = (ready(bench, "delete-nowhere")?, bench.topic("delete-nowhere", 1)?);
        bench.ask(ApiKey::OffsetDelete, 0, &request::delete_offset(&name, &topic, 0))
    }));
}

fn admin(all: &mut Vec<Case>) {
    for version in 0..=6 {
        all.push(Case::new(
            "DescribeGroups",
            format!("version {version}, stable, not there"),
            move |bench| {
                let name = ready(bench, &format!("describe-{version}"))?;
                member(bench, &name, (version >= 4).then_some("i"), true)?;
                let nowhere = bench.name("describe-nowhere");
                bench.ask(
                    ApiKey::DescribeGroups,
                    version,
                    &request::describe(version, &[&name, &nowhere]),
                )
            },
        ));
    }
    all.push(Case::new(
        "DescribeGroups",
        "in front of the assignment, and empty",
        |bench| {
            let name = ready(bench, "describe-states")?;
            let id = member(bench, &name, None, false)?;
            let completing = bench.ask(ApiKey::DescribeGroups, 5, &request::describe(5, &[&name]))?;
            bench.ask(ApiKey::LeaveGroup, 5, &request::leave(5, &name, &[(&id, None)]))?;
            let empty = bench.ask(ApiKey::DescribeGroups, 5, &request::describe(5, &[&name]))?;
            Ok(format!("{completing}; {empty}"))
        },
    ));
    all.push(Case::new("ListGroups", "every version, and filters", |bench| {
        let name = ready(bench, "list-stable")?;
        member(bench, &name, None, true)?;
        let topic = bench.topic("list-offsets", 1)?;
        let simple = ready(bench, "list-simple")?;
        let none = As {
            group: &simple,
            generation: -1,
            ..As::default()
        };
        bench.ask(
            ApiKey::OffsetCommit,
            8,
            &request::commit(8, none, &[(&topic, 0, 5, None)]),
        )?;
        let only = |text: String| {
            // What other cases left is not of this one.
            let groups = text.split('{').filter(|group| group.starts_with("name=list-"));
            groups
                .map(|group| group.trim_end_matches([' ', ']', '}']))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mut answers = Vec::new();
        for version in 0..=5 {
            answers.push(only(bench.ask(
                ApiKey::ListGroups,
                version,
                &request::list(version, &[], &[]),
            )?));
        }
        for (states, types) in [
            (&["Stable"][..], &[][..]),
            (&["empty"], &["Classic"]),
            (&[], &["consumer"]),
            (&["Odd"], &[]),
        ] {
            answers.push(only(bench.ask(
                ApiKey::ListGroups,
                5,
                &request::list(5, states, types),
            )?));
        }
        Ok(answers.join("; "))
    }));
    for version in 0..=2 {
        all.push(Case::new(
            "DeleteGroups",
            format!("version {version}, with a member, without, gone"),
            move |bench| {
                let name = ready(bench, &format!("delete-{version}"))?;
                let id = member(bench, &name, None, true)?;
                let body = request::delete(version, &[&name]);
                let with = bench.ask(ApiKey::DeleteGroups, version, &body)?;
                bench.ask(ApiKey::LeaveGroup, 5, &request::leave(5, &name, &[(&id, None)]))?;
                let without = bench.ask(ApiKey::DeleteGroups, version, &body)?;
                let gone = bench.ask(ApiKey::DeleteGroups, version, &body)?;
                Ok(format!("{with}; {without}; {gone}"))
            },
        ));
    }
}
