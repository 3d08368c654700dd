//! Members that join, leave, fall silent, lose answers and come back in any order, while topics grow and the broker is killed.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::super::assignor::Places;
use super::super::{Beat, JOIN, LEAVE, LEAVE_FOR_NOW};
use super::{Bench, Client, REBALANCE};

/// What happens next.
#[derive(Debug, Clone)]
enum Act {
    /// Client `n` sends a heartbeat; it joins when it is not in the group.
    Beat(usize),
    /// It does, and never hears the answer.
    BeatUnheard(usize),
    Leave(usize),
    /// It is started anew, with another id.
    Restart(usize),
    Subscribe(usize, u8),
    Pass(u64),
    Grow(u8),
    /// The broker is killed, and reads what it wrote.
    Kill,
}

fn act() -> impl Strategy<Value = Act> {
    let client = 0..4usize;
    prop_oneof![
        12 => client.clone().prop_map(Act::Beat),
        2 => client.clone().prop_map(Act::BeatUnheard),
        1 => client.clone().prop_map(Act::Leave),
        1 => client.clone().prop_map(Act::Restart),
        1 => (client, 1..4u8).prop_map(|(n, topics)| Act::Subscribe(n, topics)),
        2 => (0..30_000u64).prop_map(Act::Pass),
        1 => (0..2u8).prop_map(Act::Grow),
        1 => Just(Act::Kill),
    ]
}

const TOPICS: [&str; 2] = ["t", "u"];

struct World {
    bench: Bench,
    clients: Vec<Client>,
    ids: usize,
    epoch: i32,
}

impl World {
    fn new() -> Self {
        let client = |n: usize| Client {
            id: format!("client-{n}"),
            // The last one is static.
            instance: (n == 3).then(|| "fixed".to_owned()),
            topics: TOPICS.map(str::to_owned).to_vec(),
            ..Client::default()
        };
        World {
            bench: Bench::new(&[("t", 5), ("u", 3)]),
            clients: (0..4).map(client).collect(),
            ids: 4,
            epoch: 0,
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Beat(n) => self.beat(n),
            Act::BeatUnheard(n) => drop(self.bench.send(self.clients[n].beat())),
            Act::Leave(n) => {
                let client = &mut self.clients[n];
                let epoch = if client.instance.is_some() {
                    LEAVE_FOR_NOW
                } else {
                    LEAVE
                };
                let _ = self.bench.send(Beat { epoch, ..client.beat() });
                client.epoch = JOIN;
                client.held.clear();
            }
            Act::Restart(n) => {
                self.ids += 1;
                let client = &mut self.clients[n];
                client.id = format!("client-{}", self.ids);
                client.epoch = JOIN;
                client.held.clear();
            }
            Act::Subscribe(n, topics) => {
                let chosen = TOPICS.iter().enumerate().filter(|(bit, _)| topics & (1 << bit) != 0);
                self.clients[n].topics = chosen.map(|(_, topic)| (*topic).to_owned()).collect();
            }
            Act::Pass(ms) => self.bench.pass(Duration::from_millis(ms)),
            Act::Grow(n) => {
                let topic = TOPICS[usize::from(n)];
                let count = self.bench.topics[topic] + 1;
                self.bench.topic(topic, count);
            }
            Act::Kill => {
                if let Some(group) = self.bench.read_back() {
                    let members: BTreeMap<_, _> = group
                        .members()
                        .iter()
                        .map(|(id, m)| (id, (m.epoch, &m.owned)))
                        .collect();
                    let lived = self
                        .bench
                        .group
                        .members()
                        .iter()
                        .map(|(id, m)| (id, (m.epoch, &m.owned)));
                    assert_eq!(members, lived.collect(), "what is read is what was");
                    self.bench.group = group;
                }
            }
        }
        self.check();
    }

    /// A heartbeat as clients send it: who is fenced or unknown gives up everything and joins again.
    fn beat(&mut self, n: usize) {
        let client = &mut self.clients[n];
        match self.bench.send(client.beat()) {
            Ok(beaten) => client.hears(beaten),
            Err(_) => {
                client.epoch = JOIN;
                client.held.clear();
            }
        }
    }

    fn check(&mut self) {
        let group = &self.bench.group;
        assert!(group.epoch() >= self.epoch, "the epoch went back");
        assert!(group.target_epoch() <= group.epoch());
        self.epoch = group.epoch();
        // Nothing is held twice, and the set of what is held is exactly that.
        let mut owners: BTreeMap<(Uuid, i32), &str> = BTreeMap::new();
        for (id, member) in group.members() {
            assert!(member.epoch <= group.target_epoch());
            for (topic, partitions) in member.owned.iter().chain(&member.revoking) {
                for partition in partitions.keys() {
                    assert_eq!(owners.insert((*topic, *partition), id), None, "two owners");
                }
            }
        }
        assert_eq!(owners.len(), group.held.len());
        assert!(owners.keys().all(|place| group.held.contains(place)));
        // No client that the group knows in its epoch holds what is another's.
        for client in &self.clients {
            let Some(member) = group.members().get(&client.id).filter(|m| m.epoch == client.epoch) else {
                continue;
            };
            for (topic, partitions) in &client.held {
                for partition in partitions {
                    let owner = owners.get(&(*topic, *partition));
                    assert!(
                        owner.is_none_or(|owner| *owner == client.id),
                        "{member:?} holds what is {owner:?}'s"
                    );
                }
            }
        }
    }

    /// With everybody alive, the group settles, and every partition that somebody wants has one owner.
    fn settle(&mut self) {
        // Who is not there any more is given up first.
        for _ in 0..4 {
            self.bench.pass(REBALANCE / 4);
            (0..4).for_each(|n| self.beat(n));
        }
        for _ in 0..8 {
            (0..4).for_each(|n| self.beat(n));
            self.check();
        }
        assert_eq!(self.bench.group.state(), "Stable");
        let mut held = Places::new();
        for client in &self.clients {
            for (topic, partitions) in &client.held {
                held.entry(*topic).or_default().extend(partitions);
            }
        }
        let total: usize = self.clients.iter().flat_map(|c| c.held.values()).map(|p| p.len()).sum();
        let distinct: usize = held.values().map(|p| p.len()).sum();
        let wanted = TOPICS
            .iter()
            .filter(|topic| self.clients.iter().any(|c| c.topics.iter().any(|t| t == *topic)));
        let expected: i32 = wanted.map(|topic| self.bench.topics[*topic]).sum();
        assert_eq!((total, distinct), (expected as usize, expected as usize));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_nothing_is_owned_twice_and_the_group_settles(acts in prop::collection::vec(act(), 1..80)) {
        let mut world = World::new();
        acts.into_iter().for_each(|act| world.act(act));
        world.settle();
    }
}
