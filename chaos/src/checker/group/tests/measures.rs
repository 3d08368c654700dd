//! What a rebalance cost, with figures that can be counted by hand.

use std::path::PathBuf;

use workloads::history::{Claim, Event, FaultKind, Healing, HistoryWriter, Run, Stamped};

use super::*;
use crate::checker::group::{DUPLICATES_FILE, OWNERSHIP_FILE, REBALANCES_FILE, STOPS_FILE};

const MS: u64 = 1_000_000;

/// Events of files, with times in milliseconds.
#[derive(Default)]
struct Story(Vec<(u64, String, Event)>);

impl Story {
    fn member(&mut self, at_ms: u64, member: u32, event: Event) {
        self.0.push((at_ms, format!("member-{member}.bin"), event));
    }

    fn fault(&mut self, at_ms: u64, event: Event) {
        self.0.push((at_ms, "faults.bin".to_owned(), event));
    }

    fn begins(&mut self, at_ms: u64, member: u32) {
        let (slot, process) = (member, member);
        self.member(at_ms, member, Event::MemberBegan { member, slot, process });
    }

    fn assigned(&mut self, at_ms: u64, member: u32, epoch: i32, partition: u32) {
        let claim = claim(member, epoch, partition);
        self.member(at_ms, member, Event::Assigned { claim });
    }

    fn revoked(&mut self, at_ms: u64, member: u32, epoch: i32, partition: u32) {
        let claim = claim(member, epoch, partition);
        self.member(at_ms, member, Event::Revoked { claim });
    }

    fn rebalanced(&mut self, at_ms: u64, member: u32, epoch: i32, partitions: u32) {
        let event = Event::Rebalanced {
            member,
            epoch,
            partitions,
        };
        self.member(at_ms, member, event);
    }

    /// Ten records each 10 ms, to each partition.
    fn produce(&mut self, partitions: u32, from_ms: u64, to_ms: u64) {
        for at_ms in (from_ms..=to_ms).step_by(10) {
            for partition in 0..partitions {
                let run = run(partition, offset_at(at_ms) - 10, 10);
                let base_offset = offset_at(at_ms) - 10;
                self.0.push((at_ms, "producer-1.bin".to_owned(), Event::Sent(run)));
                let acknowledged = Event::Acknowledged { run, base_offset };
                self.0.push((at_ms, "producer-1.bin".to_owned(), acknowledged));
            }
        }
    }

    /// A member polls and processes everything between two offsets.
    fn polls(&mut self, at_ms: u64, member: u32, epoch: i32, partition: u32, from: i64, to: i64) {
        let count = u32::try_from(to - from).unwrap();
        let run = run(partition, from, count);
        let base_offset = from;
        let polled = Event::Polled {
            member,
            epoch,
            run,
            base_offset,
        };
        self.member(at_ms, member, polled);
        let claim = claim(member, epoch, partition);
        let processed = Event::Processed {
            claim,
            base_offset,
            count,
        };
        self.member(at_ms, member, processed);
    }

    /// A member polls a batch a millisecond after each that was acknowledged in a time.
    fn follows(&mut self, member: u32, epoch: i32, partition: u32, from_ms: u64, to_ms: u64) {
        for at_ms in (from_ms..=to_ms).step_by(10) {
            let end = offset_at(at_ms);
            self.polls(at_ms + 1, member, epoch, partition, end - 10, end);
        }
    }

    fn scan(&mut self, partitions: u32, at_ms: u64, end: i64) {
        for partition in 0..partitions {
            for event in [
                Event::ReadBegin { partition, offset: 0 },
                Event::Delivered {
                    run: run(partition, 0, u32::try_from(end).unwrap()),
                    base_offset: 0,
                },
                Event::ReadEnd {
                    partition,
                    next_offset: end,
                },
            ] {
                self.0.push((at_ms, "final-read.bin".to_owned(), event));
            }
        }
    }

    /// Judges it; `killed` are members whose histories have no end.
    fn judged(mut self, context: &GroupContext, killed: &[u32]) -> GroupFindings {
        self.0.sort_by_key(|(at_ms, ..)| *at_ms);
        let folder = tempfile::tempdir().unwrap();
        let mut names: Vec<String> = self.0.iter().map(|(_, name, _)| name.clone()).collect();
        names.sort();
        names.dedup();
        let mut files: Vec<PathBuf> = Vec::new();
        for name in names {
            let path = folder.path().join(&name);
            let mut writer = HistoryWriter::create(&path).unwrap();
            let own = self.0.iter().filter(|(_, file, _)| *file == name);
            let mut events: Vec<(u64, Event)> = own.map(|(at_ms, _, event)| (*at_ms, *event)).collect();
            if !killed.iter().any(|member| name == format!("member-{member}.bin")) {
                let count = events.len() as u64;
                events.push((10_000, Event::Finished { events: count }));
            }
            for (at_ms, event) in events {
                let at_ns = 5_000 * MS + at_ms * MS;
                writer.append_stamped(Stamped { at_ns, event }).unwrap();
            }
            files.push(path);
        }
        judge(&files, &GroupRules::default(), context).unwrap()
    }
}

fn claim(member: u32, epoch: i32, partition: u32) -> Claim {
    Claim {
        member,
        epoch,
        partition,
    }
}

fn run(partition: u32, offset: i64, count: u32) -> Run {
    Run {
        producer: 1,
        partition,
        base_sequence: u64::try_from(offset).unwrap(),
        count,
    }
}

/// One past the last record that is acknowledged at a time.
fn offset_at(at_ms: u64) -> i64 {
    i64::try_from(at_ms / 10 * 10).unwrap()
}

/// Members 1 and 2 share four partitions and read until 111 ms, when a third one has joined.
fn before_the_join() -> Story {
    let mut story = Story::default();
    story.produce(4, 10, 300);
    for (member, partitions) in [(1, [0, 1]), (2, [2, 3])] {
        story.begins(0, member);
        for partition in partitions {
            story.assigned(2, member, 1, partition);
            story.follows(member, 1, partition, 10, 110);
        }
        story.rebalanced(2, member, 1, 2);
    }
    let kind = FaultKind::Join;
    story.fault(105, Event::FaultBegin { fault: 1, kind });
    story.fault(105, Event::FaultAimed { fault: 1, member: 3 });
    story.begins(106, 3);
    story
}

fn after_the_join(story: &mut Story) {
    story.fault(154, Event::FaultBit { fault: 1, evidence: 1 });
    let healing = Healing::Recovered;
    story.fault(155, Event::FaultEnd { fault: 1, healing });
    for member in 1..=3 {
        story.member(400, member, Event::MemberLeft { member });
    }
    story.scan(4, 500, 300);
}

#[test]
fn an_eager_join_stops_everybody() {
    let mut story = before_the_join();
    for (at_ms, member, partition) in [(115, 1, 0), (116, 1, 1), (117, 2, 2), (118, 2, 3)] {
        story.revoked(at_ms, member, 1, partition);
    }
    for (member, partition, first_ms) in [(1, 0, 161), (1, 1, 162), (2, 2, 163), (3, 3, 171)] {
        story.assigned(150, member, 2, partition);
        story.polls(first_ms, member, 2, partition, 110, offset_at(first_ms));
        story.follows(member, 2, partition, (first_ms / 10 + 1) * 10, 300);
    }
    for (member, partitions) in [(1, 2), (2, 1), (3, 1)] {
        story.rebalanced(151, member, 2, partitions);
    }
    after_the_join(&mut story);
    let found = story.judged(&GroupContext::of_one_topic(4, 2, true), &[]);
    assert_sound(&found);
    let one = &found.rebalances[0];
    assert_eq!(
        (one.fault, one.kind, one.members.as_slice()),
        (1, FaultKind::Join, &[3][..])
    );
    assert_eq!((one.at_ms, one.healed_ms), (105.0, Some(50.0)));
    assert_eq!((one.detected_ms, one.settled_ms), (Some(10.0), Some(46.0)));
    assert_eq!(
        (one.rebalances, one.partitions_given, one.partitions_not_again),
        (1, 4, 0)
    );
    assert_eq!((one.again_ms, one.again.p50, one.again.min), (Some(66.0), 57.0, 56.0));
    // Each partition was polled every 10 ms before.
    assert_eq!(
        (one.stop.count, one.stop.min, one.stop.p50, one.stop.max),
        (4, 40.0, 41.0, 50.0)
    );
    assert_eq!(one.group_stop_ms, 40.0);
    assert_eq!((one.moved, one.moved_least, one.revoked_in_vain), (1, 1, 3));
    assert_eq!((one.lag_before, one.lag_peak, one.lag_back_ms), (40, 200, Some(66.0)));
    assert_eq!(found.detail.stops[3].again_ms, Some(66.0));
    assert_eq!(found.detail.stops[3].longest_gap_ms, 60.0);
}

#[test]
fn a_cooperative_join_stops_only_what_moves() {
    let mut story = before_the_join();
    story.revoked(115, 2, 1, 3);
    for (member, partition) in [(1, 0), (1, 1), (2, 2)] {
        story.follows(member, 1, partition, 120, 300);
    }
    story.assigned(150, 3, 3, 3);
    story.polls(171, 3, 3, 3, 110, 170);
    story.follows(3, 3, 3, 180, 300);
    for (at_ms, epoch) in [(120, 2), (150, 3)] {
        for (member, partitions) in [(1, 2), (2, 1)] {
            story.rebalanced(at_ms, member, epoch, partitions);
        }
    }
    after_the_join(&mut story);
    let found = story.judged(&GroupContext::of_one_topic(4, 2, true), &[]);
    assert_sound(&found);
    let one = &found.rebalances[0];
    assert_eq!(
        (one.rebalances, one.moved, one.moved_least, one.revoked_in_vain),
        (2, 1, 1, 0)
    );
    assert_eq!((one.stop.p50, one.stop.max, one.group_stop_ms), (0.0, 50.0, 0.0));
    assert_eq!((one.partitions_given, one.again_ms), (1, Some(66.0)));
}

/// Member 2 of two is killed at 105 ms; nobody takes what it had before 150 ms.
fn killed() -> Story {
    let mut story = Story::default();
    story.produce(2, 10, 300);
    for member in 1..=2 {
        story.begins(0, member);
        story.assigned(2, member, 1, member - 1);
        story.rebalanced(2, member, 1, 1);
    }
    story.follows(1, 1, 0, 10, 300);
    story.follows(2, 1, 1, 10, 100);
    let kind = FaultKind::Kill;
    story.fault(105, Event::FaultBegin { fault: 1, kind });
    story.fault(105, Event::FaultAimed { fault: 1, member: 2 });
    story.fault(106, Event::FaultBit { fault: 1, evidence: 1 });
    let healing = Healing::Recovered;
    story.fault(107, Event::FaultEnd { fault: 1, healing });
    story.member(400, 1, Event::MemberLeft { member: 1 });
    story.scan(2, 500, 300);
    story
}

#[test]
fn a_kill_stops_what_the_member_had_until_it_is_noticed() {
    let mut story = killed();
    story.assigned(150, 1, 2, 1);
    story.rebalanced(151, 1, 2, 2);
    // It had committed nothing of its last ten batches.
    story.polls(155, 1, 2, 1, 0, 150);
    story.follows(1, 2, 1, 160, 300);
    let found = story.judged(&GroupContext::of_one_topic(2, 2, true), &[2]);
    assert_sound(&found);
    let one = &found.rebalances[0];
    assert_eq!(
        (one.detected_ms, one.settled_ms, one.again_ms),
        (Some(45.0), Some(46.0), Some(50.0))
    );
    assert_eq!((one.stop.count, one.stop.min, one.stop.max), (2, 0.0, 44.0));
    assert_eq!((one.moved, one.moved_least, one.revoked_in_vain), (1, 1, 0));
    assert_eq!((one.redelivered_records(), found.redelivered.count), (100, 100));
    // All of it is one row, with both owners.
    let [row] = found.detail.duplicates.as_slice() else {
        panic!("{:?}", found.detail.duplicates)
    };
    assert_eq!((row.instance.offset, row.instance.records), (0, 100));
    assert_eq!(
        row.instance.earlier.map(|owner| (owner.member, owner.epoch)),
        Some((2, 1))
    );
    let ends: Vec<_> = found
        .detail
        .ownership
        .iter()
        .map(|one| (one.partition, one.end))
        .collect();
    assert_eq!(
        ends,
        [(0, HoldingEnd::Left), (1, HoldingEnd::Killed), (1, HoldingEnd::Left)]
    );
    assert_eq!(found.detail.ownership[1].to_ms, 105.0);
}

#[test]
fn a_partition_that_nobody_takes_over_is_told() {
    let found = killed().judged(&GroupContext::of_one_topic(2, 2, false), &[2]);
    let one = &found.rebalances[0];
    assert_eq!(
        (one.partitions_not_again, one.again_ms, one.detected_ms),
        (1, None, None)
    );
    let unknown = names(&found, Outcome::Unknown);
    assert_eq!(unknown, ["undelivered", "rebalances_seen"]);
}

#[test]
fn tables_have_a_figure_or_nothing_for_each_column() {
    let mut group = Group::new(3, 6, Policy::Seldom);
    group.start();
    group.work(20);
    group.trigger(FaultKind::Kill, 1);
    group.work(20);
    group.trigger(FaultKind::Pause, 0);
    group.work(20);
    group.finish();
    let found = judged(&group);
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &found).unwrap();
    for (name, rows) in [
        (REBALANCES_FILE, found.rebalances.len()),
        (STOPS_FILE, found.detail.stops.len()),
        (OWNERSHIP_FILE, found.detail.ownership.len()),
        (DUPLICATES_FILE, found.detail.duplicates.len()),
    ] {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        let columns = |line: &str| line.split(',').count();
        let mut lines = text.lines();
        let title = lines.next().unwrap();
        assert_eq!(lines.clone().count(), rows, "{name}");
        assert!(rows > 1, "{name} has something to show");
        for line in lines {
            assert_eq!(columns(line), columns(title), "{name}: {title}\n{line}");
        }
    }
}
