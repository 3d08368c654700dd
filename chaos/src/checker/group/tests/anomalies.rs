//! One anomaly each, and what only looks like it.

use workloads::history::{Event, FaultKind, OffsetRun, Stamped};

use super::*;
use crate::checker::group::DuplicateClass;
use crate::scenario::Bound;

/// Place of the last event of a member that fits.
fn last_of(group: &Group, member: u32, fits: impl Fn(&Event) -> bool) -> usize {
    let file = Group::file_of(member);
    let found = group
        .events
        .iter()
        .rposition(|(name, one)| *name == file && fits(&one.event));
    found.expect("the member has such an event")
}

/// Takes events of a member out that fit.
fn forget(group: &mut Group, member: u32, fits: impl Fn(&Event) -> bool) -> Vec<Stamped> {
    let file = Group::file_of(member);
    let mut gone = Vec::new();
    group.events.retain(|(name, one)| {
        let goes = *name == file && fits(&one.event);
        if goes {
            gone.push(*one);
        }
        !goes
    });
    gone
}

fn polls(base: i64) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Polled { base_offset, .. } if *base_offset == base)
}

#[test]
fn a_batch_that_nobody_polled_and_the_group_went_past_is_skipped() {
    let mut group = steady();
    group.finish();
    // Member 2 has partition 1; 100 is in the middle.
    assert_eq!(forget(&mut group, 2, polls(100)).len(), 1);
    let found = judged(&group);
    assert_violated(&found, &["skipped"]);
    assert_eq!(found.skipped.count, 10);
    let one = &found.skipped.examples[0];
    assert_eq!((one.partition, one.offset, one.records), (1, 100, 10));
    assert_eq!((one.producer, one.sequence), (Some(0), Some(50)));
    assert_eq!(
        one.owner.map(|owner| (owner.member, owner.slot, owner.epoch)),
        Some((2, 2, 1))
    );
    assert_eq!(one.earlier.map(|owner| owner.member), Some(2));
    assert_eq!(one.cause, None, "no fault had begun");
}

#[test]
fn a_member_that_begins_behind_what_anybody_polled_has_skipped() {
    let mut group = steady();
    let fault = group.begin_fault(FaultKind::Join, &[]);
    // Somebody commits what nobody has polled.
    group.produce();
    let committed = group.committed[&0];
    group.commit(1, 0, committed + 10, true);
    group.rebalance();
    group.end_fault(fault);
    group.work(10);
    group.finish();
    let found = judged(&group);
    assert_violated(&found, &["skipped"]);
    assert_eq!((found.skipped.count, found.rebalances[0].skipped), (10, 10));
    let one = &found.skipped.examples[0];
    assert_eq!((one.partition, one.offset), (0, committed));
    assert_eq!(one.earlier.map(|owner| owner.epoch), Some(1));
}

#[test]
fn what_the_group_has_not_come_to_is_undelivered_and_not_skipped() {
    let mut group = steady();
    group.finish();
    let last = last_of(&group, 1, |event| matches!(event, Event::Polled { .. }));
    let Event::Polled { base_offset, .. } = group.events[last].1.event else {
        unreachable!()
    };
    let gone = |event: &Event| match event {
        Event::Polled { base_offset: at, .. } => *at >= base_offset,
        Event::Processed { base_offset: at, .. } => *at >= base_offset,
        Event::CommitCalled { offset, .. } | Event::Committed { offset, .. } => *offset > base_offset,
        _ => false,
    };
    forget(&mut group, 1, gone);
    let found = judged(&group);
    assert_violated(&found, &["undelivered"]);
    assert_eq!(found.undelivered.count, 10);
    // Without waiting for the group, it may have been too slow.
    let folder = tempfile::tempdir().unwrap();
    let context = GroupContext {
        drained: false,
        ..group.context()
    };
    let found = judge(&group.write(folder.path()), &GroupRules::default(), &context).unwrap();
    assert_eq!(names(&found, Outcome::Unknown), ["undelivered"]);
}

#[test]
fn a_commit_before_the_batch_loses_it_when_its_member_is_killed() {
    let mut group = Group::new(2, 2, Policy::BeforeBatch);
    group.start();
    group.work(20);
    let next = group.committed[&0];
    group.kill(0);
    group.work(10);
    group.finish();
    let found = judged(&group);
    assert_violated(&found, &["unprocessed"]);
    let one = &found.unprocessed.examples[0];
    assert_eq!((one.partition, one.offset, one.records), (0, next, 10));
    assert_eq!(one.owner.map(|owner| owner.member), Some(1));
    assert_eq!(
        one.cause.map(|cause| (cause.fault, cause.kind)),
        Some((1, FaultKind::Kill))
    );
    assert_eq!(found.rebalances[0].unprocessed, 10);
}

#[test]
fn what_was_not_committed_comes_again_within_the_budget() {
    let mut group = Group::new(2, 2, Policy::Async);
    group.start();
    group.work(21);
    group.kill(0);
    group.work(10);
    group.finish();
    let found = judged(&group);
    assert_sound(&found);
    assert!(found.redelivered.count > 0);
    let row = &found.detail.duplicates[0];
    assert_eq!(row.instance.earlier.map(|owner| owner.member), Some(1), "{row:?}");
    assert_eq!(
        row.instance.owner.map(|owner| owner.epoch),
        Some(2),
        "the rebalance that caused it"
    );
    assert_eq!(row.instance.cause.map(|cause| cause.fault), Some(1));
    assert_eq!(found.rebalances[0].redelivered_records(), found.redelivered.count);
    let by_class: u64 = found.redelivered_by_class.values().sum();
    assert_eq!(by_class, found.redelivered.count);
}

#[test]
fn an_owner_that_begins_before_an_accepted_commit_is_beyond_the_budget() {
    let mut group = steady();
    let fault = group.begin_fault(FaultKind::Join, &[]);
    // The coordinator forgets what it has accepted.
    let committed = group.committed[&1];
    group.committed.insert(1, committed - 20);
    let owner = group.member_at(1);
    // Whoever gives back commits nothing more, so that nothing sets it right.
    assert_eq!(owner, 2);
    group.rebalance();
    group.end_fault(fault);
    group.work(10);
    group.finish();
    let found = judged(&group);
    // It commits the same offsets again then, which is a regress, too.
    assert_violated(&found, &["redelivered_beyond_budget", "commit_regress"]);
    assert_eq!(found.redelivered_beyond_budget.count, 20);
    let one = &found.redelivered_beyond_budget.examples[0];
    assert_eq!((one.partition, one.offset, one.records), (1, committed - 20, 20));
    assert_eq!(one.cause.map(|cause| cause.fault), Some(1));
}

#[test]
fn a_commit_that_was_answered_after_the_next_owner_began_is_undecided() {
    let mut group = steady();
    let fault = group.begin_fault(FaultKind::Join, &[]);
    let owner = group.member_at(1);
    let before = group.committed[&1];
    group.work(1);
    group.rebalance();
    // The answer to the last commit before the rebalance is written down late, and the coordinator had not taken it yet.
    let answer = last_of(
        &group,
        owner,
        |event| matches!(event, Event::Committed { claim, .. } if claim.partition == 1),
    );
    let assigned = last_of(&group, owner, |event| matches!(event, Event::Assigned { .. }));
    assert!(answer < assigned);
    let (file, mut late) = group.events.remove(answer);
    late.at_ns = group.events.last().unwrap().1.at_ns;
    group.events.push((file, late));
    group.rewind(1, before);
    group.end_fault(fault);
    group.work(10);
    group.finish();
    let found = judged(&group);
    assert_sound(&found);
    assert_eq!(
        found.redelivered_by_class.into_iter().collect::<Vec<_>>(),
        [(DuplicateClass::UndecidedCommit, 10)]
    );
}

#[test]
fn a_zombie_handles_what_it_has_and_is_refused() {
    let mut group = steady();
    let zombie = group.pause(0, true);
    group.work(10);
    group.finish();
    let found = judged(&group);
    assert_sound(&found);
    assert!(found.redelivered_by_class[&DuplicateClass::Zombie] > 0, "{found:#?}");
    assert_eq!(
        found.commits_refused.keys().copied().collect::<Vec<_>>(),
        [model::UNKNOWN_MEMBER]
    );
    assert_eq!(found.rebalances[0].commits_refused, found.commits_refused);
    let row = found
        .detail
        .duplicates
        .iter()
        .find(|row| row.class == DuplicateClass::Zombie)
        .unwrap();
    assert_eq!(row.instance.owner.map(|owner| owner.member), Some(zombie));
    assert_ne!(row.instance.earlier.map(|owner| owner.member), Some(zombie));
}

#[test]
fn a_zombie_whose_commits_are_accepted_overlaps_and_sets_the_offset_back() {
    let mut group = steady();
    group.forgets_to_fence = true;
    let zombie = group.pause(0, true);
    group.work(10);
    group.finish();
    let found = judged(&group);
    let violated = names(&found, Outcome::Violated);
    assert!(violated.contains(&"zombie_overlap"), "{violated:?}");
    assert!(violated.contains(&"commit_regress"), "{violated:?}");
    let one = &found.zombie_overlap.examples[0];
    assert_eq!(one.owner.map(|owner| (owner.member, owner.epoch)), Some((zombie, 1)));
    assert_eq!(one.earlier.map(|owner| owner.epoch), Some(2));
    assert_eq!(one.cause.map(|cause| cause.kind), Some(FaultKind::Pause));
}

#[test]
fn a_commit_that_was_under_way_when_its_member_fell_asleep_is_no_overlap() {
    let mut group = steady();
    let zombie = group.member_at(0);
    // The last commit before its sleep is answered, and the answer is written down only once it wakes up.
    let answer = last_of(&group, zombie, |event| matches!(event, Event::Committed { .. }));
    let (file, mut late) = group.events.remove(answer);
    group.pause(0, true);
    let wakes = group
        .events
        .iter()
        .find(|(_, one)| matches!(one.event, Event::FaultEnd { .. }))
        .unwrap();
    late.at_ns = wakes.1.at_ns + 1;
    group.events.push((file, late));
    group.work(10);
    group.finish();
    assert_sound(&judged(&group));
}

#[test]
fn a_short_sleep_is_no_rebalance() {
    let mut group = steady();
    group.pause(0, false);
    group.work(10);
    group.finish();
    let found = judged(&group);
    assert_sound(&found);
    assert_eq!((found.rebalances[0].rebalances, found.redelivered.count), (0, 0));
}

#[test]
fn one_offset_with_two_records_is_inconsistent() {
    let mut group = steady();
    group.finish();
    let place = last_of(&group, 1, polls(100));
    let Event::Polled { run, .. } = &mut group.events[place].1.event else {
        unreachable!()
    };
    run.base_sequence += 1;
    let found = judged(&group);
    assert_violated(&found, &["inconsistent_offset"]);
    assert_eq!(found.inconsistent_offset.count, 10);
    assert_eq!(found.inconsistent_offset.examples[0].sequence, Some(50));
}

#[test]
fn without_the_log_nobody_knows_whose_record_stood_where() {
    let mut group = steady();
    group.finish();
    group.events.retain(|(file, _)| file != "final-read.bin");
    let found = judged(&group);
    assert_eq!(names(&found, Outcome::Unknown), ["undelivered", "inconsistent_offset"]);
}

#[test]
fn offsets_that_run_backwards_within_an_assignment_are_reordered() {
    let mut group = steady();
    poll_again(&mut group, 10);
    group.finish();
    let found = judged(&group);
    assert_violated(&found, &["reordered_poll"]);
    assert_eq!(found.reordered_poll.count, 10);
    assert_eq!(found.redelivered.count, 10, "it came again, too");
}

/// Member 1 polls the records before its position in partition 0 again, `back` of them.
fn poll_again(group: &mut Group, back: i64) {
    let claim = group.claim(1, 0);
    let from = group.committed[&0] - back;
    let polled = Event::Polled {
        member: 1,
        epoch: claim.epoch,
        run: Group::run_at(0, from, u32::try_from(back).unwrap()),
        base_offset: from,
    };
    group.say(1, polled);
}

/// Member 1 answers a rebalance that leaves it what it has.
fn keeps_all(group: &mut Group) {
    let rebalanced = Event::Rebalanced {
        member: 1,
        epoch: group.claim(1, 0).epoch,
        partitions: 1,
    };
    group.say(1, rebalanced);
}

#[test]
fn the_last_record_before_a_rebalance_may_come_again_from_the_client_that_keeps_the_partition() {
    let mut group = steady();
    keeps_all(&mut group);
    poll_again(&mut group, 1);
    group.finish();
    let found = judged(&group);
    assert_sound(&found);
    assert_eq!(
        found.redelivered_by_class.into_iter().collect::<Vec<_>>(),
        [(DuplicateClass::ClientRewind, 1)]
    );
}

#[test]
fn a_client_may_not_go_back_further_nor_later_nor_twice() {
    let mut further = steady();
    keeps_all(&mut further);
    poll_again(&mut further, 2);
    let mut later = steady();
    keeps_all(&mut later);
    later.work(1);
    poll_again(&mut later, 1);
    let mut twice = steady();
    keeps_all(&mut twice);
    poll_again(&mut twice, 1);
    poll_again(&mut twice, 1);
    for mut group in [further, later, twice] {
        group.finish();
        assert_violated(&judged(&group), &["reordered_poll"]);
    }
}

#[test]
fn a_poll_of_a_partition_that_somebody_else_holds_is_unowned() {
    let mut group = steady();
    let epoch = group.generation;
    let offset = group.committed[&1];
    let polled = Event::Polled {
        member: 1,
        epoch,
        run: Group::run_at(1, offset - 10, 10),
        base_offset: offset - 10,
    };
    group.say(1, polled);
    group.finish();
    let found = judged(&group);
    assert_violated(&found, &["redelivered_beyond_budget", "unowned_poll"]);
    assert_eq!(found.unowned_poll.count, 10);
}

#[test]
fn a_payload_that_nobody_wrote_is_corrupted() {
    let mut group = steady();
    group.finish();
    let place = last_of(&group, 1, polls(100));
    group.events[place].1.event = Event::Corrupted(OffsetRun {
        partition: 0,
        base_offset: 100,
        count: 10,
    });
    let found = judged(&group);
    assert_violated(&found, &["corrupted_poll"]);
    assert_eq!(
        found.corrupted_poll.examples[0].owner.map(|owner| owner.member),
        Some(1)
    );
}

#[test]
fn a_committed_offset_that_goes_back_is_a_regress() {
    let mut group = steady();
    let last = group.committed[&0];
    group.commit(1, 0, last - 30, true);
    group.work(5);
    group.finish();
    let found = judged(&group);
    assert_violated(&found, &["commit_regress"]);
    let one = &found.commit_regress.examples[0];
    assert_eq!(
        (one.partition, one.offset, one.detail.as_str()),
        (0, last - 30, format!("{last} had been committed").as_str())
    );
}

#[test]
fn a_partition_that_delivers_nothing_though_it_has_records_is_stalled() {
    let rules = GroupRules {
        stalled_ms: Some(45),
        ..GroupRules::default()
    };
    let mut group = steady();
    group.sleep(1, 6);
    group.finish();
    let found = judged_by(&group, &rules);
    assert_violated(&found, &["stalled"]);
    assert_eq!(found.stalled.examples[0].partition, 0);
    // As long a silence while a fault is on is none.
    let mut group = steady();
    let fault = group.begin_fault(FaultKind::Pause, &[1]);
    group.sleep(1, 6);
    group.end_fault(fault);
    group.work(5);
    group.finish();
    assert_sound(&judged_by(&group, &rules));
}

#[test]
fn a_generation_that_comes_long_after_the_last_change_is_unsettled() {
    let rules = GroupRules {
        settles_within_ms: Some(150),
        ..GroupRules::default()
    };
    let mut group = steady();
    group.rebalance();
    group.work(1);
    group.rebalance();
    group.finish();
    let found = judged_by(&group, &rules);
    assert_violated(&found, &["unsettled"]);
    assert_eq!(found.unsettled.count, 2);
    let mut group = steady();
    group.trigger(FaultKind::Join, 0);
    group.work(5);
    group.rebalance();
    group.finish();
    assert_sound(&judged_by(&group, &rules));
}

#[test]
fn a_member_that_died_by_itself_leaves_absences_unknown() {
    let mut group = steady();
    group.finish();
    group.cut_short(2);
    forget(&mut group, 2, polls(100));
    let found = judged(&group);
    assert_violated(&found, &[]);
    let unknown = names(&found, Outcome::Unknown);
    assert!(
        unknown.contains(&"skipped") && unknown.contains(&"undelivered"),
        "{unknown:?}"
    );
}

#[test]
fn a_member_without_a_history_leaves_absences_unknown() {
    let mut group = steady();
    group.finish();
    group.events.retain(|(file, _)| *file != Group::file_of(2));
    let found = judged(&group);
    assert_violated(&found, &[]);
    assert!(names(&found, Outcome::Unknown).contains(&"skipped"));
}

#[test]
fn a_trigger_that_changes_the_group_and_shows_nothing_is_inconclusive() {
    let mut group = steady();
    let fault = group.begin_fault(FaultKind::AddPartitions, &[]);
    group.work(3);
    group.end_fault(fault);
    group.finish();
    assert_eq!(names(&judged(&group), Outcome::Unknown), ["rebalances_seen"]);
}

#[test]
fn a_group_that_polls_nothing_after_a_fault_is_inconclusive() {
    let mut group = steady();
    let fault = group.begin_fault(FaultKind::Pause, &[1]);
    group.end_fault(fault);
    group.finish();
    assert_eq!(
        names(&judged(&group), Outcome::Unknown),
        ["group_delivers_between_faults"]
    );
}

#[test]
fn what_is_counted_is_never_a_violation() {
    let rules = GroupRules {
        commit_regress: Bound::Counted,
        ..GroupRules::default()
    };
    let mut group = steady();
    let last = group.committed[&0];
    group.commit(1, 0, last - 30, true);
    group.work(5);
    group.finish();
    let found = judged_by(&group, &rules);
    assert_sound(&found);
    assert_eq!(found.commit_regress.count, 1);
}

#[test]
fn times_that_run_backwards_are_a_contradiction() {
    let mut group = steady();
    group.finish();
    let folder = tempfile::tempdir().unwrap();
    let files = group.write(folder.path());
    let path = folder.path().join("member-9.bin");
    let mut writer = workloads::history::HistoryWriter::create(&path).unwrap();
    for at_ns in [2_000, 1_000] {
        let event = Event::MemberBegan {
            member: if at_ns == 2_000 { 3 } else { 4 },
            slot: 3,
            process: 1,
        };
        writer.append_stamped(Stamped { at_ns, event }).unwrap();
    }
    let files: Vec<_> = files.into_iter().chain([path]).collect();
    let error = judge(&files, &GroupRules::default(), &group.context()).unwrap_err();
    assert!(error.to_string().contains("run backwards"), "{error}");
}
