//! Single cases with their answers, in a time that is made up.

mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_wire::ErrorCode;

use super::group::{Group, Limits, State};
use super::member::{Answer, Joined, Joining, Protocol, Synced, Syncing, Ticket};

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(30);
const DELAY: Duration = Duration::from_secs(3);

fn limits() -> Limits {
    Limits {
        initial_delay: DELAY,
        members_max: 100,
        bytes_max: 1 << 20,
    }
}

fn joining(fresh: &str, id: &str) -> Joining {
    Joining {
        member_id: id.to_owned(),
        fresh_id: fresh.to_owned(),
        instance: None,
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"m"),
        }],
        knows_required_id: false,
        knows_skipping: true,
    }
}

fn syncing(id: &str, generation: i32, assignments: &[(&str, &str)]) -> Syncing {
    let one = |(id, what): &(&str, &str)| ((*id).to_owned(), Bytes::copy_from_slice(what.as_bytes()));
    Syncing {
        member_id: id.to_owned(),
        instance: None,
        generation,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        assignments: assignments.iter().map(one).collect(),
    }
}

/// A group, a time, and all answers so far.
struct Bench {
    group: Group,
    start: Instant,
    now: Instant,
    next: Ticket,
    answers: BTreeMap<Ticket, Answer>,
}

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        Bench {
            group: Group::new(limits()),
            start,
            now: start,
            next: 0,
            answers: BTreeMap::new(),
        }
    }

    fn collect(&mut self) {
        for (ticket, answer) in self.group.take_outputs().answers {
            assert!(
                self.answers.insert(ticket, answer).is_none(),
                "ticket {ticket} was answered twice"
            );
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.group.tick(self.now);
        self.collect();
    }

    fn join(&mut self, joining: Joining) -> Ticket {
        self.next += 1;
        self.group.join(self.now, self.next, joining);
        self.collect();
        self.next
    }

    fn sync(&mut self, syncing: Syncing) -> Ticket {
        self.next += 1;
        self.group.sync(self.now, self.next, syncing);
        self.collect();
        self.next
    }

    fn joined(&mut self, ticket: Ticket) -> Joined {
        match self.answers.remove(&ticket) {
            Some(Answer::Join(joined)) => joined,
            other => panic!("ticket {ticket}: {other:?}"),
        }
    }

    fn synced(&mut self, ticket: Ticket) -> Synced {
        match self.answers.remove(&ticket) {
            Some(Answer::Sync(synced)) => synced,
            other => panic!("ticket {ticket}: {other:?}"),
        }
    }

    fn beat(&mut self, id: &str, generation: i32) -> ErrorCode {
        let error = self.group.heartbeat(self.now, id, None, generation);
        self.collect();
        error
    }

    /// Two members, `a` leads, both have what `a` gave out; generation 1.
    fn stable_pair() -> Self {
        let mut bench = Bench::new();
        let (a, b) = (bench.join(joining("a", "")), bench.join(joining("b", "")));
        bench.pass(DELAY * 2);
        assert_eq!((bench.joined(a).generation, bench.joined(b).generation), (1, 1));
        let b = bench.sync(syncing("b", 1, &[]));
        let a = bench.sync(syncing("a", 1, &[("a", "one"), ("b", "two")]));
        assert_eq!(bench.synced(a).assignment, "one");
        assert_eq!(bench.synced(b).assignment, "two");
        assert_eq!(bench.group.state(), State::Stable);
        bench
    }
}

#[test]
fn the_first_members_are_waited_for_and_the_first_one_leads() {
    let mut bench = Bench::new();
    let a = bench.join(joining("a", ""));
    bench.pass(DELAY - Duration::from_millis(1));
    assert!(bench.answers.is_empty());
    // One that comes late prolongs it once.
    let b = bench.join(joining("b", ""));
    bench.pass(DELAY);
    assert!(bench.answers.is_empty());
    bench.pass(Duration::from_millis(1));
    let (a, b) = (bench.joined(a), bench.joined(b));
    assert_eq!((a.leader.as_str(), b.leader.as_str()), ("a", "a"));
    let told: Vec<&str> = a.members.iter().map(|m| m.member_id.as_str()).collect();
    assert_eq!((told, b.members.len()), (vec!["a", "b"], 0));
    assert_eq!(bench.group.state(), State::CompletingRebalance);
}

#[test]
fn a_new_client_is_given_its_id_first() {
    let mut bench = Bench::new();
    let required = |id: &str| Joining {
        knows_required_id: true,
        ..joining("a", id)
    };
    let ticket = bench.join(required(""));
    let answer = bench.joined(ticket);
    assert_eq!(
        (answer.error, answer.member_id.as_str()),
        (ErrorCode::MemberIdRequired, "a")
    );
    let ticket = bench.join(required("a"));
    bench.pass(DELAY);
    assert_eq!(bench.joined(ticket).error, ErrorCode::None);
    // One that never comes back is forgotten.
    let late = bench.join(Joining {
        fresh_id: "late".to_owned(),
        ..required("")
    });
    assert_eq!(bench.joined(late).error, ErrorCode::MemberIdRequired);
    bench.pass(SESSION);
    let late = bench.join(required("late"));
    assert_eq!(bench.joined(late).error, ErrorCode::UnknownMemberId);
}

#[test]
fn who_leaves_makes_the_others_join_again() {
    let mut bench = Bench::stable_pair();
    assert_eq!(bench.group.leave(bench.now, "a", None), ErrorCode::None);
    assert_eq!(bench.group.leave(bench.now, "a", None), ErrorCode::UnknownMemberId);
    assert_eq!(bench.beat("b", 1), ErrorCode::RebalanceInProgress);
    let b = bench.join(joining("", "b"));
    let joined = bench.joined(b);
    assert_eq!(
        (joined.generation, joined.leader.as_str(), joined.members.len()),
        (2, "b", 1)
    );
    assert_eq!(bench.beat("b", 1), ErrorCode::IllegalGeneration);
    assert_eq!(bench.beat("b", 2), ErrorCode::None);
}

#[test]
fn who_is_silent_is_given_up_and_who_does_not_join_again_too() {
    let mut bench = Bench::stable_pair();
    bench.pass(SESSION - Duration::from_millis(1));
    assert_eq!(bench.beat("a", 1), ErrorCode::None);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.group.members().len(), 1, "b was silent");
    assert_eq!(bench.beat("b", 1), ErrorCode::UnknownMemberId);
    let mut bench = Bench::stable_pair();
    // The leader joins again, and b only sends heartbeats.
    let a = bench.join(joining("", "a"));
    for _ in 0..5 {
        bench.pass(REBALANCE / 5 - Duration::from_millis(1));
        assert_eq!(bench.beat("b", 1), ErrorCode::RebalanceInProgress);
    }
    bench.pass(Duration::from_millis(5));
    assert_eq!((bench.joined(a).generation, bench.group.members().len()), (2, 1));
}

#[test]
fn members_that_do_not_sync_are_given_up() {
    let mut bench = Bench::stable_pair();
    let a = bench.join(joining("", "a"));
    let b = bench.join(joining("", "b"));
    assert_eq!((bench.joined(a).generation, bench.joined(b).generation), (2, 2));
    let b = bench.sync(syncing("b", 2, &[]));
    // The leader has its session, but never an assignment.
    for _ in 0..3 {
        bench.pass(SESSION - Duration::from_millis(1));
        assert_eq!(bench.beat("a", 2), ErrorCode::None);
    }
    bench.pass(Duration::from_millis(3));
    assert_eq!(bench.synced(b).error, ErrorCode::RebalanceInProgress);
    assert!(!bench.group.members().contains_key("a"));
}

#[test]
fn commits_are_fenced_by_member_and_generation() {
    use ErrorCode::{FencedInstanceId, IllegalGeneration, RebalanceInProgress, UnknownMemberId};
    let mut bench = Bench::stable_pair();
    let now = bench.now;
    let mut check = |id: &str, instance, generation| bench.group.check_commit(now, id, instance, generation);
    assert_eq!(check("a", None, 1), Ok(()));
    assert_eq!(check("a", None, 0), Err(IllegalGeneration));
    assert_eq!(check("a", None, 2), Err(IllegalGeneration));
    assert_eq!(check("x", None, 1), Err(UnknownMemberId));
    assert_eq!(
        check("", None, -1),
        Err(UnknownMemberId),
        "who is in no group can't commit for one with members"
    );
    assert_eq!(check("a", Some("i"), 1), Err(UnknownMemberId));
    let (a, b) = (bench.join(joining("", "a")), bench.join(joining("", "b")));
    assert_eq!((bench.joined(a).generation, bench.joined(b).generation), (2, 2));
    let mut check = |id: &str, generation| bench.group.check_commit(now, id, None, generation);
    assert_eq!(
        check("a", 2),
        Err(RebalanceInProgress),
        "the assignment is not known yet"
    );
    assert_eq!(check("a", 1), Err(IllegalGeneration));
    let mut empty = Group::new(limits());
    assert_eq!(empty.check_commit(now, "", None, -1), Ok(()));
    assert_eq!(empty.check_commit(now, "a", None, 1), Err(UnknownMemberId));
    let mut fenced = Bench::new();
    let of_instance = |fresh: &str| Joining {
        instance: Some("i".to_owned()),
        ..joining(fresh, "")
    };
    let first = fenced.join(of_instance("i-1"));
    fenced.pass(DELAY);
    assert_eq!(fenced.joined(first).error, ErrorCode::None);
    let leader = fenced.sync(Syncing {
        instance: Some("i".to_owned()),
        ..syncing("i-1", 1, &[("i-1", "all")])
    });
    assert_eq!(fenced.synced(leader).assignment, "all");
    // It comes back without its id: the same generation, and the assignment stays.
    let again = fenced.join(of_instance("i-2"));
    let again = fenced.joined(again);
    assert_eq!(
        (again.generation, again.member_id.as_str(), again.skip_assignment),
        (1, "i-2", true)
    );
    let now = fenced.now;
    let mut check = |id: &str| fenced.group.check_commit(now, id, Some("i"), 1);
    assert_eq!((check("i-1"), check("i-2")), (Err(FencedInstanceId), Ok(())));
    assert_eq!(fenced.group.heartbeat(now, "i-1", Some("i"), 1), FencedInstanceId);
    assert_eq!(
        fenced.group.leave(now, "", Some("i")),
        ErrorCode::None,
        "by its instance alone"
    );
    assert_eq!(fenced.group.state(), State::Empty);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut bench = Bench::stable_pair();
    let mut other = joining("c", "");
    other.protocols[0].name = "sticky".to_owned();
    let ticket = bench.join(other);
    assert_eq!(bench.joined(ticket).error, ErrorCode::InconsistentGroupProtocol);
    let ticket = bench.join(Joining {
        protocol_type: "connect".to_owned(),
        ..joining("c", "")
    });
    assert_eq!(bench.joined(ticket).error, ErrorCode::InconsistentGroupProtocol);
    let mut large = joining("c", "");
    large.protocols[0].metadata = Bytes::from(vec![0; 1 << 20]);
    let ticket = bench.join(large);
    assert_eq!(bench.joined(ticket).error, ErrorCode::GroupMaxSizeReached);
    bench.group.limits.members_max = 2;
    let ticket = bench.join(joining("c", ""));
    assert_eq!(bench.joined(ticket).error, ErrorCode::GroupMaxSizeReached);
    let wrong = Syncing {
        protocol: Some("sticky".to_owned()),
        ..syncing("a", 1, &[])
    };
    let ticket = bench.sync(wrong);
    assert_eq!(bench.synced(ticket).error, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(bench.group.state(), State::Stable, "nothing of it disturbs the group");
}

#[test]
fn the_protocol_that_most_name_first_of_those_that_all_know() {
    let mut bench = Bench::new();
    let with = |fresh: &str, names: &[&str]| {
        let protocol = |name: &&str| Protocol {
            name: (*name).to_owned(),
            metadata: Bytes::copy_from_slice(name.as_bytes()),
        };
        Joining {
            protocols: names.iter().map(protocol).collect(),
            ..joining(fresh, "")
        }
    };
    let a = bench.join(with("a", &["new", "sticky", "range"]));
    bench.join(with("b", &["range", "sticky"]));
    bench.join(with("c", &["sticky", "range"]));
    bench.pass(DELAY * 3);
    let joined = bench.joined(a);
    assert_eq!(joined.protocol.as_deref(), Some("sticky"));
    assert!(joined.members.iter().all(|m| m.metadata == "sticky"));
}

#[test]
fn a_group_that_was_written_goes_on() {
    let bench = Bench::stable_pair();
    let value = super::records::group_value(&bench.group, 5);
    let read = super::records::read_group(&value, limits(), bench.now).unwrap();
    let (mut group, since_ms) = read.unwrap();
    assert_eq!(
        (since_ms, group.state(), group.generation(), group.leader()),
        (5, State::Stable, 1, Some("a"))
    );
    assert_eq!(group.heartbeat(bench.now, "b", None, 1), ErrorCode::None);
    group.sync(bench.now, 1, syncing("b", 1, &[]));
    let outputs = group.take_outputs();
    let Some((1, Answer::Sync(synced))) = outputs.answers.first() else {
        panic!("{outputs:?}");
    };
    assert_eq!(synced.assignment, "two");
    group.tick(bench.now + SESSION);
    assert_eq!(group.state(), State::Empty, "nobody came back");
}
