//! What every assignment must be, over made-up groups that change.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::{Assignor, Places, Spec, Subject};

/// Members with their subscriptions; topics with their partitions.
#[derive(Debug, Clone)]
struct Group {
    members: BTreeMap<String, BTreeSet<u8>>,
    topics: BTreeMap<u8, i32>,
}

fn id(topic: u8) -> Uuid {
    Uuid::from_u128(u128::from(topic))
}

impl Group {
    fn assign(&self, by: Assignor, before: &BTreeMap<String, Places>) -> BTreeMap<String, Places> {
        let none = Places::new();
        let subject = |(member, topics): (&'_ String, &BTreeSet<u8>)| Subject {
            instance: None,
            topics: topics
                .iter()
                .filter(|t| self.topics.contains_key(t))
                .map(|t| id(*t))
                .collect(),
            before: before.get(member).unwrap_or(&none),
        };
        let members = self.members.iter().map(|m| (m.0.as_str(), subject(m))).collect();
        let wanted: BTreeSet<u8> = self.members.values().flatten().copied().collect();
        let wanted = self.topics.iter().filter(|(t, _)| wanted.contains(t));
        let partitions = wanted.map(|(t, count)| (id(*t), *count)).collect();
        by.assign(&Spec { members, partitions })
    }

    /// Each partition of a topic with subscribers has one owner, which is subscribed to it.
    fn check(&self, targets: &BTreeMap<String, Places>) {
        assert!(targets.keys().eq(self.members.keys()));
        let mut owned = BTreeMap::new();
        for (member, places) in targets {
            for (topic, partitions) in places {
                assert!(!partitions.is_empty(), "an empty set says nothing");
                for partition in partitions {
                    assert!(
                        self.members[member].iter().any(|t| id(*t) == *topic),
                        "{member} is not subscribed"
                    );
                    assert_eq!(owned.insert((*topic, *partition), member), None, "two owners");
                }
            }
        }
        let wanted: BTreeSet<u8> = self.members.values().flatten().copied().collect();
        let expected: usize = self
            .topics
            .iter()
            .filter(|(t, _)| wanted.contains(t))
            .map(|(_, n)| *n as usize)
            .sum();
        assert_eq!(owned.len(), expected, "every partition");
    }
}

fn size(places: &Places) -> usize {
    places.values().map(BTreeSet::len).sum()
}

/// Partitions that somebody has in both.
fn stayed(before: &BTreeMap<String, Places>, after: &BTreeMap<String, Places>) -> usize {
    let same = |(member, places): (&String, &Places)| {
        let now = after.get(member)?;
        Some(
            places
                .iter()
                .filter_map(|(t, p)| Some(p.intersection(now.get(t)?).count()))
                .sum::<usize>(),
        )
    };
    before.iter().filter_map(same).sum()
}

fn group(same: bool) -> impl Strategy<Value = Group> {
    let topics = prop::collection::btree_map(0..5u8, 1..9i32, 1..5);
    let subscription = prop::collection::btree_set(0..5u8, 1..5);
    let members = prop::collection::btree_map("[a-j]", subscription, 1..9);
    (topics, members).prop_map(move |(topics, mut members)| {
        if same {
            let all: BTreeSet<u8> = topics.keys().copied().collect();
            members.values_mut().for_each(|own| own.clone_from(&all));
        }
        Group { members, topics }
    })
}

proptest! {
    #[test]
    fn each_partition_has_one_subscriber(before in group(false), after in group(false)) {
        for by in [Assignor::Uniform, Assignor::Range] {
            let first = before.assign(by, &BTreeMap::new());
            before.check(&first);
            let second = after.assign(by, &first);
            after.check(&second);
            prop_assert_eq!(&second, &after.assign(by, &second), "nothing changed, nothing moves");
        }
    }

    #[test]
    fn uniform_with_equal_subscriptions_is_even_and_moves_the_fewest(before in group(true), after in group(true)) {
        let first = before.assign(Assignor::Uniform, &BTreeMap::new());
        let second = after.assign(Assignor::Uniform, &first);
        let sizes: Vec<usize> = second.values().map(size).collect();
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", sizes);
        // The most that could stay: of each member what it had and is still there, cut to quotas of which the larger go to who had most.
        let there = |(topic, partitions): (&Uuid, &BTreeSet<i32>)| {
            let count = after.topics.iter().find(|(t, _)| id(**t) == *topic).map_or(0, |(_, n)| *n);
            partitions.iter().filter(|p| **p < count).count()
        };
        let had = |member: &String| first.get(member).map_or(0, |places| places.iter().map(there).sum::<usize>());
        let mut had: Vec<usize> = after.members.keys().map(had).collect();
        had.sort_unstable_by_key(|n| std::cmp::Reverse(*n));
        let total: usize = sizes.iter().sum();
        let quota = |rank: usize| total / sizes.len() + usize::from(rank < total % sizes.len());
        let best: usize = had.iter().enumerate().map(|(rank, had)| (*had).min(quota(rank))).sum();
        prop_assert_eq!(stayed(&first, &second), best);
    }

    #[test]
    fn uniform_leaves_no_single_move_that_would_even_out(before in group(false), after in group(false)) {
        let first = before.assign(Assignor::Uniform, &BTreeMap::new());
        let second = after.assign(Assignor::Uniform, &first);
        for (from, places) in &second {
            for topic in places.keys() {
                for (to, topics) in &after.members {
                    let may = topics.iter().any(|t| id(*t) == *topic);
                    prop_assert!(!may || size(places) < size(&second[to]) + 2, "{} to {}: {:?}", from, to, second);
                }
            }
        }
    }
}

#[test]
fn range_cuts_equal_topics_alike_and_knows_static_members_by_name() {
    let topics: BTreeSet<Uuid> = [id(1), id(2)].into();
    let none = Places::new();
    let subject = |instance| Subject {
        instance,
        topics: topics.clone(),
        before: &none,
    };
    // By id the order would be a, b, c; by name it is c, b, and a follows as it has none.
    let members = [
        ("a", subject(None)),
        ("b", subject(Some("2"))),
        ("c", subject(Some("1"))),
    ]
    .into();
    let targets = Assignor::Range.assign(&Spec {
        members,
        partitions: [(id(1), 5), (id(2), 5)].into(),
    });
    let both = |partitions: &[i32]| -> Places {
        let partitions: BTreeSet<i32> = partitions.iter().copied().collect();
        [(id(1), partitions.clone()), (id(2), partitions)].into()
    };
    let expected = [("a", both(&[4])), ("b", both(&[2, 3])), ("c", both(&[0, 1]))];
    assert_eq!(
        targets,
        expected.map(|(member, places)| (member.to_owned(), places)).into()
    );
}

#[test]
fn a_thousand_partitions_and_a_hundred_members_take_what_they_must_and_no_more() {
    let member = |n: usize| format!("member-{n:03}");
    let mut group = Group {
        members: (0..99).map(|n| (member(n), [0].into())).collect(),
        topics: [(0, 1000)].into(),
    };
    let before = group.assign(Assignor::Uniform, &BTreeMap::new());
    group.members.insert(member(99), [0].into());
    let after = group.assign(Assignor::Uniform, &before);
    group.check(&after);
    assert!(after.values().all(|places| size(places) == 10));
    assert_eq!(stayed(&before, &after), 990, "the ten of the new one moved");
}
