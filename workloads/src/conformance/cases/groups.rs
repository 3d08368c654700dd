//! Groups of the classic protocol: members, generations and who is fenced.
//!
//! A member that is alone is answered at once when the initial delay is nothing, so a case needs one connection only.

use kafka_wire::encode::BufMut;
use kafka_wire::{ApiKey, Cursor};

use super::super::group_request::{self as request, As};
use super::super::request as other;
use super::super::{Bench, Case, CaseError};

pub(super) const SESSION_MS: i32 = 10_000;
pub(super) const CONSUMER: &str = "consumer";
pub(super) const JOIN_LATEST: i16 = 9;

/// The subscription to one topic, version 0, as consumers write it.
pub(super) fn subscription(topic: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i16(0);
    out.put_i32(1);
    out.put_i16(topic.len() as i16);
    out.put_slice(topic.as_bytes());
    out.put_i32(-1);
    out
}

/// Asks for the group until its coordinator has it.
pub(super) fn ready(bench: &mut Bench, group: &str) -> Result<String, CaseError> {
    let name = bench.group(group);
    bench.ask_until(
        ApiKey::FindCoordinator,
        3,
        &other::find_coordinator(3, 0, &name),
        |answer| !answer.contains("error="),
    )?;
    let body = request::fetch_offsets(7, &name, None);
    bench.ask_until(ApiKey::OffsetFetch, 7, &body, |answer| !answer.contains("error="))?;
    Ok(name)
}

/// The id, the generation and the text of the answer to a JoinGroup version 9.
pub(super) fn joined(bench: &mut Bench, body: &[u8]) -> Result<(String, i32, String), CaseError> {
    let (frame, text) = bench.ask_raw(ApiKey::JoinGroup, JOIN_LATEST, body)?;
    let c = &mut Cursor::new(&frame);
    c.i32()?; // correlation id
    c.skip_tagged_fields()?;
    c.i32()?; // throttle
    c.i16()?; // error
    let generation = c.i32()?;
    c.nullable_string(true)?; // protocol type
    c.nullable_string(true)?; // protocol
    c.string(true)?; // leader
    c.bool()?;
    let id = c.string(true)?.to_owned();
    Ok((id, generation, text))
}

pub(super) fn join_body(who: As) -> Vec<u8> {
    let topic = subscription("t");
    request::join(JOIN_LATEST, who, SESSION_MS, CONSUMER, &[("range", &topic)])
}

/// One member in generation 1 that has its assignment, when `sync`; its id.
pub(super) fn member(bench: &mut Bench, group: &str, instance: Option<&str>, sync: bool) -> Result<String, CaseError> {
    let who = As {
        group,
        instance,
        ..As::default()
    };
    let (mut id, _, _) = joined(bench, &join_body(who))?;
    if instance.is_none() {
        (id, _, _) = joined(bench, &join_body(As { member: &id, ..who }))?;
    }
    if sync {
        let who = As {
            member: &id,
            generation: 1,
            ..who
        };
        bench.ask(
            ApiKey::SyncGroup,
            5,
            &request::sync(5, who, Some("range"), &[(&id, b"all")]),
        )?;
    }
    Ok(id)
}

pub(super) fn add(all: &mut Vec<Case>) {
    joining(all);
    members(all);
    statics(all);
}

fn joining(all: &mut Vec<Case>) {
    for version in 0..=JOIN_LATEST {
        all.push(Case::new(
            "JoinGroup",
            format!("version {version}, a new member"),
            move |bench| {
                let name = ready(bench, &format!("join-{version}"))?;
                let who = As {
                    group: &name,
                    ..As::default()
                };
                let topic = subscription("t");
                let body = request::join(version, who, SESSION_MS, CONSUMER, &[("range", &topic)]);
                bench.ask(ApiKey::JoinGroup, version, &body)
            },
        ));
    }
    for (what, session_ms, protocol_type, protocol) in [
        ("a session timeout of 5 seconds", 5_000, CONSUMER, Some("range")),
        ("a session timeout of an hour", 3_600_000, CONSUMER, Some("range")),
        ("no protocol type", SESSION_MS, "", Some("range")),
        ("no protocol", SESSION_MS, CONSUMER, None),
    ] {
        all.push(Case::new("JoinGroup", what, move |bench| {
            let name = ready(bench, &what.replace(' ', "-"))?;
            let who = As {
                group: &name,
                ..As::default()
            };
            let protocols: Vec<(&str, &[u8])> = protocol.map(|name| (name, &b"m"[..])).into_iter().collect();
            let body = request::join(JOIN_LATEST, who, session_ms, protocol_type, &protocols);
            bench.ask(ApiKey::JoinGroup, JOIN_LATEST, &body)
        }));
    }
    all.push(Case::new("JoinGroup", "a group without a name", |bench| {
        let body = join_body(As::default());
        bench.ask(ApiKey::JoinGroup, JOIN_LATEST, &body)
    }));
    all.push(Case::new("JoinGroup", "a member that nobody knows", |bench| {
        let name = ready(bench, "join-unknown")?;
        let who = As {
            group: &name,
            member: "nobody",
            ..As::default()
        };
        bench.ask(ApiKey::JoinGroup, JOIN_LATEST, &join_body(who))
    }));
    all.push(Case::new("JoinGroup", "with the id that was required", |bench| {
        let name = ready(bench, "join-required")?;
        let who = As {
            group: &name,
            ..As::default()
        };
        let (id, _, first) = joined(bench, &join_body(who))?;
        let (_, _, second) = joined(bench, &join_body(As { member: &id, ..who }))?;
        Ok(format!("{first}; {second}"))
    }));
    all.push(Case::new(
        "JoinGroup",
        "again and unchanged, by the leader and before its assignment",
        |bench| {
            let name = ready(bench, "join-again")?;
            let id = member(bench, &name, None, false)?;
            let who = As {
                group: &name,
                member: &id,
                ..As::default()
            };
            let (_, _, completing) = joined(bench, &join_body(who))?;
            let synced = As { generation: 1, ..who };
            bench.ask(
                ApiKey::SyncGroup,
                5,
                &request::sync(5, synced, Some("range"), &[(&id, b"all")]),
            )?;
            let (_, _, stable) = joined(bench, &join_body(who))?;
            Ok(format!("{completing}; {stable}"))
        },
    ));
    all.push(Case::new(
        "JoinGroup",
        "a protocol that the other member does not know",
        |bench| {
            let name = ready(bench, "join-inconsistent")?;
            member(bench, &name, None, true)?;
            let who = As {
                group: &name,
                ..As::default()
            };
            let sticky = request::join(JOIN_LATEST, who, SESSION_MS, CONSUMER, &[("sticky", b"m")]);
            let connect = request::join(JOIN_LATEST, who, SESSION_MS, "connect", &[("range", b"m")]);
            let sticky = bench.ask(ApiKey::JoinGroup, JOIN_LATEST, &sticky)?;
            let connect = bench.ask(ApiKey::JoinGroup, JOIN_LATEST, &connect)?;
            Ok(format!("{sticky}; {connect}"))
        },
    ));
}

fn members(all: &mut Vec<Case>) {
    for version in 0..=5 {
        all.push(Case::new(
            "SyncGroup",
            format!("version {version}, the leader and again"),
            move |bench| {
                let name = ready(bench, &format!("sync-{version}"))?;
                let id = member(bench, &name, None, false)?;
                let who = As {
                    group: &name,
                    member: &id,
                    generation: 1,
                    ..As::default()
                };
                let first = request::sync(version, who, Some("range"), &[(&id, b"all of it")]);
                let first = bench.ask(ApiKey::SyncGroup, version, &first)?;
                let again = bench.ask(
                    ApiKey::SyncGroup,
                    version,
                    &request::sync(version, who, Some("range"), &[]),
                )?;
                Ok(format!("{first}; {again}"))
            },
        ));
    }
    for version in 0..=4 {
        all.push(Case::new("Heartbeat", format!("version {version}"), move |bench| {
            let name = ready(bench, &format!("beat-{version}"))?;
            let id = member(bench, &name, None, true)?;
            let who = As {
                group: &name,
                member: &id,
                generation: 1,
                ..As::default()
            };
            bench.ask(ApiKey::Heartbeat, version, &request::heartbeat(version, who))
        }));
    }
    for (what, generation, id_is_known) in [
        ("an old generation", 0, true),
        ("a generation of the future", 2, true),
        ("a member that nobody knows", 1, false),
    ] {
        all.push(Case::new("Heartbeat", what, move |bench| {
            let name = ready(bench, &format!("beat-{generation}-{id_is_known}"))?;
            let id = member(bench, &name, None, true)?;
            let who = As {
                group: &name,
                member: if id_is_known { &id } else { "nobody" },
                generation,
                ..As::default()
            };
            let beat = bench.ask(ApiKey::Heartbeat, 4, &request::heartbeat(4, who))?;
            let sync = bench.ask(ApiKey::SyncGroup, 5, &request::sync(5, who, Some("range"), &[]))?;
            Ok(format!("{beat}; {sync}"))
        }));
    }
    for (what, protocol) in [("another protocol", Some("sticky")), ("no protocol", None)] {
        all.push(Case::new("SyncGroup", what, move |bench| {
            let name = ready(bench, &format!("sync-{}", protocol.unwrap_or("none")))?;
            let id = member(bench, &name, None, false)?;
            let who = As {
                group: &name,
                member: &id,
                generation: 1,
                ..As::default()
            };
            bench.ask(ApiKey::SyncGroup, 5, &request::sync(5, who, protocol, &[]))
        }));
    }
    for (what, group) in [
        ("a group without a name", ""),
        ("a group that is not there", "beat-nowhere"),
    ] {
        all.push(Case::new("Heartbeat", what, move |bench| {
            let name = if group.is_empty() {
                String::new()
            } else {
                ready(bench, group)?
            };
            let who = As {
                group: &name,
                member: "m",
                generation: 1,
                ..As::default()
            };
            let beat = bench.ask(ApiKey::Heartbeat, 4, &request::heartbeat(4, who))?;
            let sync = bench.ask(ApiKey::SyncGroup, 5, &request::sync(5, who, Some("range"), &[]))?;
            let leave = bench.ask(ApiKey::LeaveGroup, 5, &request::leave(5, &name, &[("m", None)]))?;
            Ok(format!("{beat}; {sync}; {leave}"))
        }));
    }
    for version in 0..=5 {
        all.push(Case::new(
            "LeaveGroup",
            format!("version {version}, twice"),
            move |bench| {
                let name = ready(bench, &format!("leave-{version}"))?;
                let id = member(bench, &name, None, true)?;
                let body = request::leave(version, &name, &[(&id, None)]);
                let first = bench.ask(ApiKey::LeaveGroup, version, &body)?;
                let again = bench.ask(ApiKey::LeaveGroup, version, &body)?;
                Ok(format!("{first}; {again}"))
            },
        ));
    }
    all.push(Case::new(
        "LeaveGroup",
        "who has an id and never came back with it",
        |bench| {
            let name = ready(bench, "leave-pending")?;
            let who = As {
                group: &name,
                ..As::default()
            };
            let (id, _, _) = joined(bench, &join_body(who))?;
            bench.ask(
                ApiKey::LeaveGroup,
                5,
                &request::leave(5, &name, &[(&id, None), ("nobody", None)]),
            )
        },
    ));
}

fn statics(all: &mut Vec<Case>) {
    all.push(Case::new(
        "JoinGroup",
        "a static member that comes back without its id",
        |bench| {
            let name = ready(bench, "static-again")?;
            let id = member(bench, &name, Some("i"), true)?;
            let who = As {
                group: &name,
                instance: Some("i"),
                ..As::default()
            };
            let (fresh, generation, text) = joined(bench, &join_body(who))?;
            let old = As {
                member: &id,
                generation,
                ..who
            };
            let fenced = bench.ask(ApiKey::Heartbeat, 4, &request::heartbeat(4, old))?;
            let fresh = As { member: &fresh, ..old };
            let beat = bench.ask(ApiKey::Heartbeat, 4, &request::heartbeat(4, fresh))?;
            let synced = bench.ask(ApiKey::SyncGroup, 5, &request::sync(5, fresh, Some("range"), &[]))?;
            Ok(format!("{text}; {fenced}; {beat}; {synced}"))
        },
    ));
    all.push(Case::new(
        "LeaveGroup",
        "a static member by its instance alone",
        |bench| {
            let name = ready(bench, "static-leave")?;
            member(bench, &name, Some("i"), true)?;
            let body = request::leave(5, &name, &[("", Some("i")), ("", Some("other")), ("", None)]);
            bench.ask(ApiKey::LeaveGroup, 5, &body)
        },
    ));
}
