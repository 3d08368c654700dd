//! A group that does everything right, whatever happens to it, is never blamed; one that does a thing wrong always is.

use proptest::prelude::*;
use workloads::history::{Event, FaultKind};

use super::*;

const KINDS: [FaultKind; 4] = [FaultKind::Kill, FaultKind::Pause, FaultKind::Join, FaultKind::Leave];

/// What happens to a group, one thing after another: the kind, the member, and for how long there is peace afterwards.
fn happenings() -> impl Strategy<Value = Vec<(usize, usize, u32)>> {
    prop::collection::vec((0..KINDS.len(), 0_usize..8, 1_u32..12), 1..7)
}

fn policies() -> impl Strategy<Value = Policy> {
    prop::sample::select(Policy::SOUND.to_vec())
}

fn carried_out(members: u32, partitions: u32, policy: Policy, happenings: &[(usize, usize, u32)]) -> Group {
    let mut group = Group::new(members, partitions, policy);
    group.start();
    group.work(15);
    for &(kind, place, peace) in happenings {
        // The last one stays, so that somebody reads.
        let kind = match KINDS[kind] {
            _ if group.known() < 2 => FaultKind::Join,
            kind => kind,
        };
        group.trigger(kind, place);
        group.work(peace);
    }
    group
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_sound_group_is_never_blamed(
        members in 1_u32..5,
        partitions in 1_u32..7,
        policy in policies(),
        happenings in happenings(),
    ) {
        let mut group = carried_out(members, partitions, policy, &happenings);
        group.finish();
        let found = judged(&group);
        let wrong: Vec<_> = found
            .checks
            .iter()
            .filter(|check| check.outcome == Outcome::Violated)
            .collect();
        prop_assert!(wrong.is_empty(), "{:#?}", wrong);
        prop_assert_eq!(found.rebalances.len(), happenings.len());
        let by_trigger: u64 = found.rebalances.iter().map(|one| one.redelivered_records()).sum();
        prop_assert_eq!(by_trigger, found.redelivered.count, "each duplicate has its trigger");
        let least_is_least = found.rebalances.iter().all(|one| one.moved_least <= u64::from(partitions));
        prop_assert!(least_is_least);
    }

    #[test]
    fn a_delivery_that_is_dropped_is_missed(
        policy in policies(),
        happenings in happenings(),
        which in any::<prop::sample::Index>(),
    ) {
        let mut group = carried_out(3, 5, policy, &happenings);
        group.finish();
        let once: Vec<usize> = (0..group.events.len()).filter(|&place| is_polled_once(&group, place)).collect();
        let place = once[which.index(once.len())];
        let Event::Polled { run, base_offset, .. } = group.events.remove(place).1.event else {
            unreachable!()
        };
        let found = judged(&group);
        let missed = found.skipped.examples.iter().chain(&found.undelivered.examples);
        let named: Vec<_> = missed.map(|one| (one.partition, one.offset)).collect();
        prop_assert!(named.contains(&(run.partition, base_offset)), "{:?} {:?}", run, found);
    }

    #[test]
    fn a_commit_too_far_is_found(policy in policies(), happenings in happenings(), partition in 0_u32..5) {
        let mut group = carried_out(3, 5, policy, &happenings);
        // Everything is committed and taken before the next round.
        group.poll_all();
        group.rebalance();
        let committed = group.committed[&partition];
        group.committed.insert(partition, committed + 10);
        group.produce();
        group.rebalance();
        group.work(5);
        group.finish();
        let found = judged(&group);
        prop_assert_eq!(found.skipped.count, 10, "{:#?}", found);
        prop_assert_eq!(found.skipped.examples[0].offset, committed);
    }

    #[test]
    fn an_owner_that_is_not_fenced_is_found(happenings in happenings(), place in 0_usize..8) {
        let mut group = carried_out(3, 5, Policy::AfterBatch, &happenings);
        while group.known() < 2 {
            group.trigger(FaultKind::Join, 0);
        }
        group.work(5);
        group.forgets_to_fence = true;
        // Only who owns something can go on with it.
        let owners = group.known().min(5);
        let zombie = group.pause(place % owners, true);
        group.work(5);
        group.finish();
        let found = judged(&group);
        let violated = names(&found, Outcome::Violated);
        prop_assert!(violated.contains(&"zombie_overlap"), "{:?}", violated);
        let blamed = found.zombie_overlap.examples.iter().map(|one| one.owner.map(|owner| owner.member));
        prop_assert!(blamed.into_iter().all(|member| member == Some(zombie)));
    }
}

/// Whether an event is a poll of records that were polled no other time.
fn is_polled_once(group: &Group, place: usize) -> bool {
    let of = |event: &Event| match event {
        Event::Polled { run, base_offset, .. } => Some((run.partition, *base_offset)),
        _ => None,
    };
    let Some(key) = of(&group.events[place].1.event) else {
        return false;
    };
    group
        .events
        .iter()
        .filter(|(_, one)| of(&one.event) == Some(key))
        .count()
        == 1
}

#[test]
fn memory_follows_owners_and_gaps_and_not_records() {
    let fragments = |ticks: u32| {
        let mut group = Group::new(2, 4, Policy::AfterBatch);
        group.start();
        group.work(ticks);
        group.trigger(FaultKind::Join, 0);
        group.work(ticks);
        group.finish();
        let folder = tempfile::tempdir().unwrap();
        let files = group.write(folder.path());
        let (rules, context) = (GroupRules::default(), group.context());
        let survey = survey::Survey::of(&files, &context).unwrap();
        let mut book = book::Book::new(&survey, &rules, &context);
        let mut merged = merge::Merged::open(&files).unwrap();
        while let Some(next) = merged.next().unwrap() {
            match next {
                merge::Next::Event(place, stamped) => book.apply(place, stamped).unwrap(),
                merge::Next::Ended(place) => book.ended(place),
            }
        }
        let polled = book.found.polled;
        (book.fragments(), polled)
    };
    let (few, records) = fragments(20);
    let (many, more_records) = fragments(400);
    assert!(more_records > 15 * records);
    assert_eq!(few, many);
}
