//! Single cases with their answers, in a time that is made up and with topics that are made up.

mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_wire::{Cursor, ErrorCode};
use uuid::Uuid;

use super::assignor::{Assignor, Places};
use super::records::{Part, Read, decode_key, records, tombstones};
use super::{Beat, Beaten, ConsumerGroup, JOIN, LEAVE, LEAVE_FOR_NOW, Limits, Refused};
use crate::groups::records::Record;
use crate::topics::Catalog;

const SESSION: Duration = Duration::from_secs(45);
const REBALANCE: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits {
        session_timeout: SESSION,
        heartbeat_interval: Duration::from_secs(5),
        assignment_interval: Duration::ZERO,
        members_max: 200,
        bytes_max: 1 << 20,
        assignor: Assignor::Uniform,
    }
}

fn id(topic: &str) -> Uuid {
    let bytes = topic.as_bytes();
    Uuid::from_u128(bytes.iter().fold(7, |hash, byte| hash * 257 + u128::from(*byte)))
}

/// A consumer as clients are: it gives up at once what it is told to, and says with every heartbeat what it holds.
#[derive(Debug, Clone, Default)]
struct Client {
    id: String,
    instance: Option<String>,
    epoch: i32,
    topics: Vec<String>,
    pattern: Option<String>,
    held: Places,
}

impl Client {
    fn beat(&self) -> Beat {
        Beat {
            member_id: self.id.clone(),
            epoch: self.epoch,
            instance: self.instance.clone(),
            rebalance_timeout: Some(REBALANCE),
            topics: Some(self.topics.iter().cloned().collect()),
            pattern: self.pattern.clone(),
            owned: Some(self.held.clone()),
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            ..Beat::default()
        }
    }

    fn hears(&mut self, beaten: Beaten) {
        self.epoch = beaten.epoch;
        if let Some(assignment) = beaten.assignment {
            self.held = assignment;
        }
    }

    fn holds(&self, topic: &str) -> Vec<i32> {
        self.held.get(&id(topic)).into_iter().flatten().copied().collect()
    }
}

/// A group, a time, topics, and what a log would hold of the group.
struct Bench {
    group: ConsumerGroup,
    now: Instant,
    version: u64,
    topics: BTreeMap<String, i32>,
    log: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Bench {
    fn new(topics: &[(&str, i32)]) -> Self {
        Bench {
            group: ConsumerGroup::new(limits()),
            now: Instant::now(),
            version: 1,
            topics: topics
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            log: BTreeMap::new(),
        }
    }

    fn catalog(&self) -> Catalog {
        let rows = self.topics.iter().map(|(name, count)| (name.clone(), id(name), *count));
        Catalog::of(self.version, rows)
    }

    fn topic(&mut self, name: &str, count: i32) {
        self.version += 1;
        self.topics.insert(name.to_owned(), count);
    }

    fn append(&mut self, records: Vec<Record>) {
        for (key, value) in records {
            match value {
                Some(value) => drop(self.log.insert(key, value)),
                None => drop(self.log.remove(&key)),
            }
        }
    }

    fn write(&mut self) {
        let changes = self.group.take_changes();
        self.append(records("g", &self.group, &changes));
    }

    fn send(&mut self, beat: Beat) -> Result<Beaten, Refused> {
        let catalog = self.catalog();
        let answer = match beat.epoch < JOIN {
            false => self.group.heartbeat(self.now, &catalog, beat),
            true => self
                .group
                .leave(self.now, &beat.member_id, beat.instance.as_deref(), beat.epoch),
        };
        self.write();
        answer
    }

    fn beat(&mut self, client: &mut Client) {
        let beaten = self.send(client.beat()).unwrap();
        client.hears(beaten);
    }

    fn error(&mut self, beat: Beat) -> ErrorCode {
        self.send(beat).unwrap_err().error
    }

    fn join(&mut self, id: &str, topics: &[&str]) -> Client {
        let mut client = Client {
            id: id.to_owned(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            ..Client::default()
        };
        self.beat(&mut client);
        client
    }

    fn join_static(&mut self, id: &str, instance: &str) -> Client {
        let mut client = Client {
            id: id.to_owned(),
            instance: Some(instance.to_owned()),
            topics: vec!["t".to_owned()],
            ..Client::default()
        };
        self.beat(&mut client);
        client
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.group.tick(self.now);
        self.write();
    }

    /// The group as a broker that starts reads it.
    fn read_back(&self) -> Option<ConsumerGroup> {
        let mut read = Read::default();
        for (key, value) in &self.log {
            let c = &mut Cursor::new(key);
            let version = c.i16().unwrap();
            let (group, part) = decode_key(version, c).unwrap().unwrap();
            assert_eq!(group, "g");
            c.finish().unwrap();
            read.apply(part, Some(value), self.now).unwrap();
        }
        read.finish(limits(), self.now)
    }

    /// Everybody beats until nothing moves; how often that was.
    fn settle(&mut self, clients: &mut [Client]) -> usize {
        for round in 0..10 {
            let before = clients.to_vec();
            clients.iter_mut().for_each(|client| self.beat(client));
            if self.group.state() == "Stable"
                && clients
                    .iter()
                    .zip(&before)
                    .all(|(c, b)| c.held == b.held && c.epoch == b.epoch)
            {
                return round;
            }
        }
        panic!("it does not settle: {}", self.group.state());
    }
}

#[test]
fn what_moves_is_given_up_first_and_then_given() {
    let mut bench = Bench::new(&[("t", 4)]);
    let mut a = bench.join("a", &["t"]);
    assert_eq!(
        (a.epoch, a.holds("t"), bench.group.state()),
        (2, vec![0, 1, 2, 3], "Stable")
    );
    let mut b = bench.join("b", &["t"]);
    assert_eq!(
        (b.epoch, b.holds("t"), bench.group.state()),
        (3, vec![], "Reconciling"),
        "a holds all of it"
    );
    // a is told what to keep and stays in its epoch until it says that it gave up the rest.
    let before = a.held.clone();
    bench.beat(&mut a);
    assert_eq!((a.epoch, a.holds("t")), (2, vec![0, 1]));
    bench.beat(&mut b);
    assert_eq!(b.holds("t"), vec![] as Vec<i32>, "a may still hold it");
    // A heartbeat that says nothing of it, and one that still has it, change nothing.
    let silent = Beat {
        member_id: "a".to_owned(),
        epoch: 2,
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        ..Beat::default()
    };
    for owned in [None, Some(before)] {
        let answer = bench
            .send(Beat {
                owned,
                ..silent.clone()
            })
            .unwrap();
        assert_eq!((answer.epoch, answer.assignment), (2, None));
    }
    bench.beat(&mut a);
    assert_eq!((a.epoch, a.holds("t")), (3, vec![0, 1]));
    let answer = bench
        .send(Beat {
            member_id: "b".to_owned(),
            epoch: 3,
            ..silent
        })
        .unwrap();
    let given = answer.assignment.clone().unwrap();
    b.hears(answer);
    assert_eq!((given, b.holds("t")), ([(id("t"), [2, 3].into())].into(), vec![2, 3]));
    assert_eq!(
        (bench.group.state(), bench.group.epoch(), bench.group.target_epoch()),
        ("Stable", 3, 3)
    );
    // Nothing to say: no assignment, and nothing is written.
    let answer = bench
        .group
        .heartbeat(
            bench.now,
            &bench.catalog(),
            Beat {
                topics: None,
                ..b.beat()
            },
        )
        .unwrap();
    assert_eq!((answer.assignment, bench.group.take_changes().is_empty()), (None, true));
}

#[test]
fn a_hundred_members_and_a_thousand_partitions_are_stable_and_a_join_takes_only_what_it_gets() {
    let mut bench = Bench::new(&[("t", 1000)]);
    let mut clients: Vec<Client> = (0..99).map(|n| bench.join(&format!("member-{n:03}"), &["t"])).collect();
    bench.settle(&mut clients);
    let before = clients.clone();
    clients.push(bench.join("member-099", &["t"]));
    bench.settle(&mut clients);
    let mut owners = BTreeMap::new();
    for client in &clients {
        assert_eq!(client.holds("t").len(), 10);
        for partition in client.holds("t") {
            assert_eq!(
                owners.insert(partition, &client.id),
                None,
                "partition {partition} has two owners"
            );
        }
    }
    assert_eq!(owners.len(), 1000);
    let gained: Vec<(&str, i32)> = clients
        .iter()
        .zip(&before)
        .flat_map(|(now, before)| {
            let had = before.holds("t");
            now.holds("t")
                .into_iter()
                .filter(move |p| !had.contains(p))
                .map(|p| (now.id.as_str(), p))
        })
        .collect();
    assert_eq!(
        gained,
        [],
        "nobody but the new one was given anything, so ten moved and no more"
    );
    assert!(
        bench.log.values().map(Vec::len).sum::<usize>() < 100_000,
        "what is written is bounded"
    );
}

#[test]
fn who_is_silent_or_keeps_what_it_must_give_up_is_given_up() {
    let mut bench = Bench::new(&[("t", 2)]);
    let mut a = bench.join("a", &["t"]);
    bench.pass(SESSION - Duration::from_millis(1));
    let mut b = bench.join("b", &["t"]);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.error(a.beat()), ErrorCode::UnknownMemberId);
    bench.beat(&mut b);
    assert_eq!((b.epoch, b.holds("t")), (4, vec![0, 1]));
    // b is told to give up a partition for c, and never says that it did.
    let c = bench.join("c", &["t"]);
    let before = b.clone();
    bench.beat(&mut b);
    assert_eq!(b.holds("t").len(), 1);
    for _ in 0..3 {
        bench.pass(REBALANCE / 3 - Duration::from_millis(1));
        bench
            .send(Beat {
                epoch: b.epoch,
                ..before.beat()
            })
            .unwrap();
        bench.send(c.beat()).unwrap();
    }
    bench.pass(Duration::from_millis(3));
    assert_eq!(bench.error(before.beat()), ErrorCode::UnknownMemberId);
    let mut c = Client {
        epoch: bench.group.members()["c"].epoch,
        ..c
    };
    bench.beat(&mut c);
    assert_eq!(c.holds("t"), [0, 1]);
    a.epoch = JOIN;
    a.held.clear();
    bench.beat(&mut a);
    bench.settle(&mut [a, c]);
}

#[test]
fn epochs_fence() {
    use ErrorCode::{FencedMemberEpoch, StaleMemberEpoch, UnknownMemberId, UnsupportedVersion};
    let mut bench = Bench::new(&[("t", 2), ("u", 2)]);
    let mut a = bench.join("a", &["t", "u"]);
    let all = a.clone();
    let mut b = bench.join("b", &["t", "u"]);
    bench.beat(&mut a);
    bench.beat(&mut a);
    bench.beat(&mut b);
    assert_eq!((a.epoch, b.epoch), (3, 3));
    let (topic, kept) = a
        .held
        .iter()
        .next()
        .map(|(topic, p)| (*topic, *p.first().unwrap()))
        .unwrap();
    let kept = (bench.catalog().name(topic).unwrap().to_owned(), kept);
    let given = b
        .held
        .iter()
        .next()
        .map(|(topic, p)| (*topic, *p.first().unwrap()))
        .unwrap();
    let given = (bench.catalog().name(given.0).unwrap().to_owned(), given.1);
    // Heartbeats: the epoch before is taken from who did not hear of this one, if it holds nothing else.
    assert_eq!(bench.error(Beat { epoch: 4, ..a.beat() }), FencedMemberEpoch);
    assert_eq!(
        bench.error(Beat {
            epoch: 2,
            owned: None,
            ..a.beat()
        }),
        FencedMemberEpoch
    );
    assert_eq!(
        bench.error(Beat { epoch: 2, ..all.beat() }),
        FencedMemberEpoch,
        "it holds what is b's"
    );
    assert_eq!(bench.send(Beat { epoch: 2, ..a.beat() }).unwrap().epoch, 3);
    assert_eq!(
        bench.error(Beat {
            member_id: "x".to_owned(),
            ..a.beat()
        }),
        UnknownMemberId
    );
    // Commits: in the present epoch, or in an earlier one for what was the member's then and still is.
    let (now, catalog) = (bench.now, bench.catalog());
    let mut check = |id: &str, epoch, (topic, partition): &(String, i32)| {
        bench
            .group
            .check_commit(now, &catalog, (id, epoch), true, &[(topic.as_str(), *partition)])
    };
    assert_eq!(check("a", 3, &kept), Ok(()));
    assert_eq!(check("a", 3, &given), Ok(()), "the epoch is what counts");
    assert_eq!(check("a", 2, &kept), Ok(()), "it was a's in epoch 2 and is");
    assert_eq!(check("a", 2, &given), Err(StaleMemberEpoch), "a zombie's");
    assert_eq!(
        check("b", 2, &given),
        Err(StaleMemberEpoch),
        "it was not b's in epoch 2"
    );
    assert_eq!(check("a", 4, &kept), Err(StaleMemberEpoch));
    assert_eq!(check("x", 3, &kept), Err(UnknownMemberId));
    assert_eq!(check("", -1, &kept), Err(UnknownMemberId), "there are members");
    assert_eq!(
        bench.group.check_commit(now, &catalog, ("a", 2), false, &[]),
        Err(UnsupportedVersion)
    );
    let mut fetch = |id: &str, epoch| bench.group.check_fetch(now, id, epoch);
    assert_eq!(
        (fetch("a", 3), fetch("a", 2), fetch("x", 3)),
        (Ok(()), Err(StaleMemberEpoch), Err(UnknownMemberId))
    );
    for client in [&a, &b] {
        bench
            .send(Beat {
                epoch: LEAVE,
                ..client.beat()
            })
            .unwrap();
    }
    assert_eq!(
        bench.group.check_commit(now, &catalog, ("", -1), true, &[("t", 0)]),
        Ok(())
    );
    assert_eq!(
        bench.error(Beat {
            epoch: LEAVE,
            ..a.beat()
        }),
        UnknownMemberId
    );
    assert_eq!(bench.group.state(), "Empty");
}

#[test]
fn a_static_member_keeps_its_place_while_it_is_away() {
    let mut bench = Bench::new(&[("t", 4)]);
    let mut a = bench.join_static("a-1", "a");
    let b = bench.join_static("b-1", "b");
    let mut both = [a.clone(), b];
    bench.settle(&mut both);
    let [now_a, mut b] = both;
    a = now_a;
    let (epoch, held) = (bench.group.epoch(), a.holds("t"));
    // Nobody may take a name that is in use: the new one is refused, unlike in the classic protocol.
    let second = Client {
        id: "a-2".to_owned(),
        epoch: JOIN,
        held: Places::new(),
        ..a.clone()
    };
    assert_eq!(bench.error(second.beat()), ErrorCode::UnreleasedInstanceId);
    let left = bench
        .send(Beat {
            epoch: LEAVE_FOR_NOW,
            ..a.beat()
        })
        .unwrap();
    assert_eq!(
        (left.epoch, bench.group.epoch()),
        (LEAVE_FOR_NOW, epoch),
        "nobody rebalances"
    );
    bench.beat(&mut b);
    assert_eq!(b.holds("t").len(), 2);
    assert_eq!(
        bench.error(Beat { epoch, ..a.beat() }),
        ErrorCode::FencedMemberEpoch,
        "it is away"
    );
    let mut second = second;
    bench.beat(&mut second);
    assert_eq!(
        (second.epoch, second.holds("t"), bench.group.epoch()),
        (epoch, held.clone(), epoch)
    );
    assert_eq!(
        bench.error(a.beat()),
        ErrorCode::FencedInstanceId,
        "its successor has its name"
    );
    assert_eq!(
        bench.group.expel(bench.now, "", Some("nobody")),
        ErrorCode::UnknownMemberId
    );
    assert_eq!(
        bench.group.expel(bench.now, "a-1", Some("a")),
        ErrorCode::FencedInstanceId
    );
    // Who stays away for a session is given up.
    bench
        .send(Beat {
            epoch: LEAVE_FOR_NOW,
            ..second.beat()
        })
        .unwrap();
    bench.pass(SESSION - Duration::from_millis(1));
    bench.beat(&mut b);
    bench.pass(Duration::from_millis(1));
    bench.settle(std::slice::from_mut(&mut b));
    assert_eq!(b.holds("t"), [0, 1, 2, 3]);
    assert_eq!(bench.group.expel(bench.now, "", Some("b")), ErrorCode::None);
    assert_eq!(
        (
            bench.group.members().len(),
            bench.group.instances.len(),
            bench.group.held.len()
        ),
        (0, 0, 0)
    );
}

#[test]
fn topics_that_come_grow_and_go_are_noticed() {
    let mut bench = Bench::new(&[("t", 2)]);
    let mut a = bench.join("a", &["t", "later"]);
    assert_eq!((a.epoch, a.holds("later")), (2, vec![]));
    bench.topic("other", 5);
    bench.beat(&mut a);
    assert_eq!(a.epoch, 2, "it is none of the group's");
    bench.topic("later", 1);
    bench.beat(&mut a);
    assert_eq!((a.epoch, a.holds("later")), (3, vec![0]));
    bench.topic("t", 4);
    bench.beat(&mut a);
    assert_eq!((a.epoch, a.holds("t")), (4, vec![0, 1, 2, 3]));
    bench.version += 1;
    bench.topics.remove("t");
    bench.beat(&mut a);
    assert_eq!(a.holds("t"), [] as [i32; 0], "a client is told to give up what is gone");
    bench.beat(&mut a);
    assert_eq!((a.epoch, bench.group.state()), (5, "Stable"));
    // By a pattern, beside names.
    a.pattern = Some("x-.*".to_owned());
    bench.beat(&mut a);
    assert_eq!(a.epoch, 6);
    bench.topic("x-1", 2);
    bench.beat(&mut a);
    assert_eq!(
        (a.epoch, a.holds("x-1"), bench.group.is_subscribed("x-1")),
        (7, vec![0, 1], true)
    );
    (a.topics, a.pattern) = (vec![], Some(String::new()));
    bench.beat(&mut a);
    bench.beat(&mut a);
    assert_eq!((a.epoch, a.held.len(), bench.group.is_subscribed("x-1")), (8, 0, false));
}

#[test]
fn members_that_come_together_are_assigned_together() {
    let mut bench = Bench::new(&[("t", 6)]);
    bench.group.limits.assignment_interval = Duration::from_secs(1);
    let mut a = bench.join("a", &["t", "u"]);
    let mut b = bench.join("b", &["t"]);
    let mut c = bench.join("c", &["t"]);
    assert_eq!((a.epoch, b.epoch, c.epoch, bench.group.state()), (2, 2, 2, "Assigning"));
    bench.pass(Duration::from_millis(999));
    bench.beat(&mut a);
    assert_eq!((a.epoch, a.holds("t").len()), (2, 6));
    // What a member is not subscribed to any more it gives up at once.
    a.topics = vec!["u".to_owned()];
    bench.beat(&mut a);
    assert_eq!((a.epoch, a.holds("t").len()), (2, 0));
    bench.pass(Duration::from_millis(1));
    for _ in 0..2 {
        [&mut a, &mut b, &mut c]
            .into_iter()
            .for_each(|client| bench.beat(client));
    }
    assert_eq!((b.holds("t").len(), c.holds("t").len(), bench.group.epoch()), (3, 3, 5));
}

#[test]
fn what_is_too_much_is_refused() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.group.limits.members_max = 2;
    bench.group.limits.bytes_max = 1000;
    let mut a = bench.join("a", &["t"]);
    let join = |id: &str| {
        Client {
            id: id.to_owned(),
            topics: vec!["t".to_owned()],
            ..Client::default()
        }
        .beat()
    };
    let epoch = bench.group.epoch();
    let large = Beat {
        topics: Some([("x".repeat(2000))].into()),
        ..join("b")
    };
    assert_eq!(bench.error(large), ErrorCode::GroupMaxSizeReached);
    let wrong = Beat {
        pattern: Some("(".to_owned()),
        ..join("b")
    };
    assert_eq!(bench.error(wrong), ErrorCode::InvalidRegularExpression);
    bench.send(join("b")).unwrap();
    assert_eq!(bench.error(join("c")), ErrorCode::GroupMaxSizeReached);
    assert_eq!(bench.group.epoch(), epoch + 1, "what is refused changes nothing");
    bench.beat(&mut a);
    bench.group.limits.members_max = 1000;
    bench.group.limits.bytes_max = 1 << 20;
    let pattern = |n: usize| Beat {
        pattern: Some(format!("p{n}")),
        ..join(&format!("m{n}"))
    };
    let refused = (0..200).filter(|n| bench.send(pattern(*n)).is_err()).count();
    assert!((100..=101).contains(&refused), "{refused} of 200 patterns were refused");
}

#[test]
fn the_assignor_that_most_ask_for_counts() {
    let mut bench = Bench::new(&[("t", 3), ("u", 3)]);
    let ask = |id: &str, assignor: Option<&str>| {
        let client = Client {
            id: id.to_owned(),
            topics: vec!["t".to_owned(), "u".to_owned()],
            ..Client::default()
        };
        Beat {
            assignor: assignor.map(str::to_owned),
            ..client.beat()
        }
    };
    bench.send(ask("a", None)).unwrap();
    assert_eq!(bench.group.assignor(), Assignor::Uniform);
    bench.send(ask("b", Some("range"))).unwrap();
    assert_eq!(bench.group.assignor(), Assignor::Range);
    let target = |bench: &Bench, id: &str| {
        bench.group.members()[id]
            .target
            .values()
            .flatten()
            .copied()
            .collect::<Vec<i32>>()
    };
    assert_eq!(
        (target(&bench, "a"), target(&bench, "b")),
        (vec![0, 1, 0, 1], vec![2, 2])
    );
}

#[test]
fn a_group_that_was_written_goes_on_where_it_was() {
    let mut bench = Bench::new(&[("t", 4)]);
    let mut a = bench.join_static("a-1", "a");
    bench.join("b", &["t"]);
    bench.beat(&mut a);
    // In the middle of a rebalance: a was told to give up half, and did not say yet that it did.
    let mut group = bench.read_back().unwrap();
    assert_eq!(
        (group.epoch(), group.target_epoch(), group.state()),
        (3, 3, "Reconciling")
    );
    assert_eq!(group.members(), bench.group.members());
    assert_eq!(
        (&group.held, &group.instances),
        (&bench.group.held, &bench.group.instances)
    );
    std::mem::swap(&mut bench.group, &mut group);
    bench.beat(&mut a);
    assert_eq!(
        (a.epoch, a.holds("t"), bench.group.epoch()),
        (3, vec![0, 1], 3),
        "a restart is no reason to rebalance"
    );
    bench.pass(SESSION);
    assert_eq!(bench.group.members().len(), 0, "nobody came back");
    let kept: Vec<i16> = bench
        .log
        .keys()
        .map(|key| i16::from_be_bytes([key[0], key[1]]))
        .collect();
    assert_eq!(kept, [3, 6], "of members nothing is left");
    let empty = bench.read_back().unwrap();
    assert_eq!((empty.epoch(), empty.state()), (5, "Empty"));
    let gone = tombstones("g", &bench.group);
    bench.append(gone);
    assert!(bench.log.is_empty() && bench.read_back().is_none());
}

#[test]
fn records_are_kafkas() {
    let mut bench = Bench::new(&[("t", 1)]);
    bench.join_static("m", "i");
    let value = |version: u8, member: bool| {
        let member: &[u8] = if member { &[0, 1, b'm'] } else { &[] };
        bench.log[&[&[0, version, 0, 1, b'g'][..], member].concat()].clone()
    };
    let topic = id("t").into_bytes();
    let hash = bench.group.metadata_hash.to_be_bytes();
    assert_eq!(value(3, false), [&[0, 0, 0, 0, 0, 2, 1, 0, 8][..], &hash].concat());
    let rebalance = 60_000i32.to_be_bytes();
    let said = [
        &[0, 0, 2, b'i', 0, 2, b'c', 11][..],
        b"/127.0.0.1",
        &[2, 2, b't', 0],
        &rebalance,
        &[0, 0],
    ];
    assert_eq!(value(5, true), said.concat());
    assert_eq!(value(6, false), [0, 0, 0, 0, 0, 2, 0]);
    assert_eq!(
        value(7, true),
        [&[0, 0, 2][..], &topic, &[2, 0, 0, 0, 0, 0, 0]].concat()
    );
    // Epoch 2, before 0, stable; the partition with its epoch in tagged field 0; nothing to give up.
    let current = [
        &[0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 2][..],
        &topic,
        &[2, 0, 0, 0, 0, 1, 0, 5, 2, 0, 0, 0, 2, 1, 0],
    ];
    assert_eq!(value(8, true), current.concat());
    // One of Kafka before 4.3, without epochs of partitions and without the hash.
    let mut read = Read::default();
    let old = [
        &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2][..],
        &topic,
        &[2, 0, 0, 0, 0, 0, 1, 0],
    ]
    .concat();
    for (part, value) in [
        (Part::Current("m".to_owned()), old),
        (Part::Member("m".to_owned()), value(5, true)),
        (Part::Group, vec![0, 0, 0, 0, 0, 1, 0]),
        (Part::Group, vec![0, 9, 1]),
    ] {
        read.apply(part, Some(&value), bench.now).unwrap();
    }
    let group = read.finish(limits(), bench.now).unwrap();
    assert_eq!(group.members()["m"].owned, [(id("t"), [(0, 0)].into())].into());
    assert!(Read::default().apply(Part::Group, Some(&[0, 0, 1]), bench.now).is_err());
}
