use super::*;

fn topics(partitions: &[u32]) -> Vec<Topic> {
    let topic = |(number, partitions): (usize, &u32)| Topic {
        name: format!("t{number}"),
        partitions: *partitions,
    };
    partitions.iter().enumerate().map(topic).collect()
}

fn member(id: &str, topics: &[usize], owned: &[(usize, u32)]) -> Member {
    let place = |(topic, partition): &(usize, u32)| Place {
        topic: *topic,
        partition: *partition,
    };
    Member {
        id: id.to_owned(),
        topics: topics.iter().copied().collect(),
        owned: owned.iter().map(place).collect(),
    }
}

const ALL: [Assignor; 4] = [
    Assignor::Range,
    Assignor::RoundRobin,
    Assignor::Sticky,
    Assignor::CooperativeSticky,
];

#[test]
fn a_group_that_is_not_one_is_told() {
    let topics = topics(&[2, 1]);
    let refused = |members: &[Member]| assign(Assignor::Sticky, &topics, members).unwrap_err();
    let twice = [member("a", &[0], &[(0, 1)]), member("b", &[0], &[(0, 1)])];
    assert_eq!(refused(&twice), AssignError::OwnedTwice { topic: 0, partition: 1 });
    let unsorted = [member("b", &[0], &[]), member("a", &[0], &[])];
    assert_eq!(refused(&unsorted), AssignError::Unsorted("a".to_owned()));
    assert_eq!(refused(&[member("a", &[2], &[])]), AssignError::Unknown("a".to_owned()));
    assert_eq!(
        refused(&[member("a", &[0], &[(0, 2)])]),
        AssignError::Unknown("a".to_owned())
    );
    assert_eq!(assign(Assignor::Range, &topics, &[]), Ok(Vec::new()));
}

#[test]
fn what_moves_is_withheld_until_its_owner_has_let_go() {
    let topics = topics(&[4]);
    let members = [
        member("a", &[0], &[(0, 0), (0, 1), (0, 2), (0, 3)]),
        member("b", &[0], &[]),
    ];
    let eager = assign(Assignor::Sticky, &topics, &members).unwrap();
    assert_eq!(eager.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    let cooperative = assign(Assignor::CooperativeSticky, &topics, &members).unwrap();
    assert_eq!((&cooperative[0], cooperative[1].len()), (&eager[0], 0));
}

#[test]
fn the_minimum_is_that_of_a_full_search() {
    // Three members, four partitions of two topics, every ownership: small enough to try every assignment.
    let topics = topics(&[3, 2]);
    let all: Vec<Place> = places(&topics, 0..2).collect();
    for owned in 0..4_u32.pow(5) {
        let mut members = [
            member("a", &[0, 1], &[]),
            member("b", &[0], &[]),
            member("c", &[0, 1], &[]),
        ];
        for (place, index) in all.iter().zip(0..) {
            let owner = (owned / 4_u32.pow(index) % 4) as usize;
            // 3: nobody owns it. A member may own what it does not subscribe to any more.
            if owner < 3 {
                members[owner].owned.push(*place);
            }
        }
        let mut best = (usize::MAX, u32::MAX);
        for answer in 0..3_usize.pow(5) {
            let to = |index: u32| answer / 3_usize.pow(index) % 3;
            let mut loads = [0_usize; 3];
            let mut moved = 0;
            let mut fits = true;
            for (place, index) in all.iter().zip(0..) {
                let member = to(index);
                loads[member] += 1;
                fits &= members[member].topics.contains(&place.topic);
                let owner = members.iter().position(|member| member.owned.contains(place));
                moved += u32::from(owner.is_some_and(|owner| owner != member));
            }
            if fits {
                best = best.min((loads.iter().map(|load| load * load).sum(), moved));
            }
        }
        let even = most_even(&topics, &members, 0).unwrap();
        let squares = even.assigned.iter().map(|places| places.len().pow(2)).sum();
        assert_eq!((squares, even.moved), best, "{owned}");
    }
}

#[test]
fn every_partition_has_one_owner_after_every_change() {
    for assignor in ALL {
        for layout in [Layout::One, Layout::ManySmall, Layout::Mixed] {
            for subscriptions in [Subscriptions::Same, Subscriptions::Different] {
                if layout == Layout::One && subscriptions == Subscriptions::Different {
                    continue;
                }
                for change in [Change::Join, Change::Leave, Change::Kill, Change::Rolling, Change::Grow] {
                    let mut group = Group::start(assignor, layout, subscriptions, 8, 11).unwrap();
                    let counted = group.change(change).unwrap();
                    let (all, once) = group.owned_once();
                    assert_eq!(all, once, "{assignor:?} {layout:?} {subscriptions:?} {change:?}");
                    assert!(counted.stopped >= counted.stopped_for_nothing);
                    // Elsewhere it may be given back what was meant for somebody else.
                    if assignor == Assignor::CooperativeSticky && subscriptions == Subscriptions::Same {
                        assert_eq!(counted.stopped_for_nothing, 0);
                    }
                }
            }
        }
    }
}

#[test]
fn sticky_moves_no_more_than_it_must() {
    for (seed, change) in (0..).zip([Change::Join, Change::Leave, Change::Kill, Change::Grow]) {
        for assignor in [Assignor::Sticky, Assignor::CooperativeSticky] {
            let mut group = Group::start(assignor, Layout::Mixed, Subscriptions::Same, 8, seed).unwrap();
            let counted = group.change(change).unwrap();
            assert_eq!(counted.moved, counted.moved_least, "{assignor:?} {change:?}");
        }
    }
    // A group of eight in which one more joins: with 24 partitions it is given two, and range hands on most of them.
    let mut group = Group::start(Assignor::Range, Layout::One, Subscriptions::Same, 8, 0).unwrap();
    let counted = group.change(Change::Join).unwrap();
    assert!(counted.moved > counted.moved_least, "{counted:?}");
    assert_eq!(counted.moved_least, 2);
}
