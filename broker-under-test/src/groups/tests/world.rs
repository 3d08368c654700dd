//! Members that join, leave, fall silent and come back in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::ErrorCode;
use proptest::prelude::*;

use super::super::group::State;
use super::super::member::{Answer, Joining, Syncing, Ticket};
use super::{Bench, DELAY, joining, syncing};

/// What a client does next.
#[derive(Debug, Clone)]
enum Act {
    /// Client `n` joins, again or for the first time.
    Join(usize),
    Sync(usize),
    Beat(usize),
    Commit(usize),
    Leave(usize),
    /// It forgets its id, as one that was killed and started again.
    Forget(usize),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let client = 0..5usize;
    prop_oneof![
        4 => client.clone().prop_map(Act::Join),
        4 => client.clone().prop_map(Act::Sync),
        2 => client.clone().prop_map(Act::Beat),
        1 => client.clone().prop_map(Act::Commit),
        1 => client.clone().prop_map(Act::Leave),
        1 => client.prop_map(Act::Forget),
        2 => (0..20_000u64).prop_map(Act::Pass),
    ]
}

/// A client with what it was told; odd ones are static, and the last two know that an id may be required.
#[derive(Default, Clone)]
struct Client {
    id: String,
    generation: i32,
    leads: bool,
    others: Vec<String>,
    waits: Option<Ticket>,
}

struct World {
    bench: Bench,
    clients: Vec<Client>,
    ids: usize,
    generation: i32,
    /// Of the generation that it is of: what each member was given.
    given: BTreeMap<i32, BTreeMap<String, Bytes>>,
}

impl World {
    fn new() -> Self {
        World {
            bench: Bench::new(),
            clients: vec![Client::default(); 5],
            ids: 0,
            generation: 0,
            given: BTreeMap::new(),
        }
    }

    fn instance(n: usize) -> Option<String> {
        (n % 2 == 1).then(|| format!("i{n}"))
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Join(n) if self.clients[n].waits.is_none() => {
                self.ids += 1;
                let ticket = self.bench.join(Joining {
                    instance: Self::instance(n),
                    knows_required_id: n >= 3,
                    ..joining(&format!("{n}-{}", self.ids), &self.clients[n].id)
                });
                self.clients[n].waits = Some(ticket);
            }
            Act::Sync(n) if self.clients[n].waits.is_none() => {
                let client = self.clients[n].clone();
                let all: Vec<(&str, &str)> = client.others.iter().map(|id| (id.as_str(), id.as_str())).collect();
                let ticket = self.bench.sync(Syncing {
                    instance: Self::instance(n),
                    ..syncing(&client.id, client.generation, if client.leads { &all } else { &[] })
                });
                self.clients[n].waits = Some(ticket);
            }
            // Who has an id only does not send any.
            Act::Beat(n) if self.clients[n].generation > 0 => {
                let client = self.clients[n].clone();
                let instance = Self::instance(n);
                let now = self.bench.now;
                let group = &mut self.bench.group;
                let error = group.heartbeat(now, &client.id, instance.as_deref(), client.generation);
                if matches!(error, ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId) {
                    let waits = client.waits;
                    self.clients[n] = Client {
                        waits,
                        ..Client::default()
                    };
                }
            }
            Act::Commit(n) => {
                let client = self.clients[n].clone();
                let instance = Self::instance(n);
                let now = self.bench.now;
                let group = &mut self.bench.group;
                let accepted = group.check_commit(now, &client.id, instance.as_deref(), client.generation);
                if accepted.is_ok() && client.generation > 0 {
                    assert_eq!(client.generation, group.generation(), "an old generation is fenced");
                    assert!(group.members().contains_key(&client.id));
                }
            }
            Act::Leave(n) => {
                let client = std::mem::take(&mut self.clients[n]);
                let instance = Self::instance(n);
                let now = self.bench.now;
                self.bench.group.leave(now, &client.id, instance.as_deref());
            }
            Act::Forget(n) => self.clients[n] = Client::default(),
            Act::Pass(ms) => self.bench.pass(Duration::from_millis(ms)),
            Act::Join(_) | Act::Sync(_) | Act::Beat(_) => {}
        }
        self.bench.collect();
        self.hear();
        self.check();
    }

    /// Clients read their answers.
    fn hear(&mut self) {
        for client in &mut self.clients {
            let Some(answer) = client.waits.and_then(|ticket| self.bench.answers.remove(&ticket)) else {
                continue;
            };
            client.waits = None;
            match answer {
                Answer::Join(joined) => match joined.error {
                    ErrorCode::None => {
                        client.id = joined.member_id;
                        client.generation = joined.generation;
                        client.leads = joined.leader == client.id && !joined.skip_assignment;
                        client.others = joined.members.iter().map(|m| m.member_id.clone()).collect();
                        assert!(!client.leads || !client.others.is_empty(), "a leader knows its members");
                    }
                    ErrorCode::MemberIdRequired => client.id = joined.member_id,
                    ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => *client = Client::default(),
                    _ => {}
                },
                Answer::Sync(synced) => match synced.error {
                    ErrorCode::None => {
                        let of_generation = self.given.entry(client.generation).or_default();
                        // Each member is given its own name, or nothing when it came in the place of another one.
                        let name = Bytes::copy_from_slice(client.id.as_bytes());
                        let is_replaced = client.id.starts_with(['1', '3']);
                        assert!(synced.assignment == name || synced.assignment.is_empty() || is_replaced);
                        if !synced.assignment.is_empty() {
                            let earlier = of_generation.insert(client.id.clone(), synced.assignment.clone());
                            assert!(earlier.is_none_or(|earlier| earlier == synced.assignment));
                        }
                    }
                    ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => *client = Client::default(),
                    _ => {}
                },
            }
        }
    }

    fn check(&mut self) {
        let group = &self.bench.group;
        assert!(group.generation() >= self.generation, "a generation never goes back");
        self.generation = group.generation();
        let members = group.members();
        // The first ones may be gone again before the initial delay is over.
        let may_be_empty = matches!(group.state(), State::Empty | State::PreparingRebalance);
        assert!(if members.is_empty() {
            may_be_empty
        } else {
            group.state() != State::Empty
        });
        assert_eq!(group.leader().is_some(), !members.is_empty());
        assert!(group.leader().is_none_or(|leader| members.contains_key(leader)));
        let instances: BTreeSet<&str> = members.values().filter_map(|m| m.instance.as_deref()).collect();
        let statics = members.values().filter(|m| m.instance.is_some()).count();
        assert_eq!(
            (instances.len(), group.instances.len()),
            (statics, statics),
            "one member per instance"
        );
        let waiting: Vec<Ticket> = members
            .values()
            .flat_map(|m| [m.awaits_join, m.awaits_sync])
            .flatten()
            .collect();
        // Whoever waits is known to the group, or its answer would never come.
        for ticket in self.clients.iter().filter_map(|client| client.waits) {
            assert!(waiting.contains(&ticket), "ticket {ticket} was forgotten");
        }
        let is_waiting = |state: State| matches!(state, State::PreparingRebalance | State::CompletingRebalance);
        assert!(
            !is_waiting(group.state()) || group.next_deadline().is_some(),
            "nothing would ever happen"
        );
        assert!(
            group.next_deadline().is_none_or(|at| at > self.bench.now),
            "what is due was done"
        );
    }

    /// Everybody does what a good client does: soon all have the same generation and their assignments.
    fn settle(&mut self) {
        for _ in 0..8 {
            for n in 0..self.clients.len() {
                self.act(&Act::Beat(n));
                self.act(&Act::Join(n));
            }
            self.bench.pass(DELAY);
            self.hear();
            for n in 0..self.clients.len() {
                if self.clients[n].generation == self.bench.group.generation() && !self.clients[n].id.is_empty() {
                    self.act(&Act::Sync(n));
                }
            }
            let group = &self.bench.group;
            let generation = group.generation();
            let is_current =
                |c: &Client| c.waits.is_none() && c.generation == generation && group.members().contains_key(&c.id);
            if group.state() == State::Stable && group.members().len() == 5 && self.clients.iter().all(is_current) {
                return;
            }
        }
        let (state, members) = (self.bench.group.state(), self.bench.group.members().len());
        panic!(
            "it does not settle: {state:?}, {members} members, {:?}",
            self.bench.now - self.bench.start
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_members_do_the_group_keeps_its_promises_and_settles(acts in prop::collection::vec(act(), 0..80)) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        // Those that were killed are given up, and what waits is over.
        world.bench.pass(Duration::from_secs(400));
        world.hear();
        world.check();
        world.settle();
    }
}
