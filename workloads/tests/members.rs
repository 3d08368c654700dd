//! Members of a group, as a worker process hosts them, against the bundled broker: what their histories say.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lints know tests by their attribute and do not see the functions that tests call"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker_under_test::{Config, Server};
use workloads::history::{Event, HistoryReader, NO_CODE, Stamped};
use workloads::member::{
    Commits, GroupProtocol, HandlerSpec, MemberClient, MemberCommand, MemberNote, MemberOrder, MemberSpec, MemberTimes,
    MemberTold,
};
use workloads::native::{Admin, NewTopic, Security};
use workloads::sequenced::{Acks, Control, Producer, ProducerSpec};
use workloads::worker::{self, WorkerEvent, WorkerSpec};

/// More than ten times what anything here takes.
const WATCHDOG: Duration = Duration::from_secs(120);
const PARTITIONS: u32 = 4;
const TOPIC: &str = "orders";
const ILLEGAL_GENERATION: i16 = 22;
const REBALANCE_IN_PROGRESS: i16 = 27;

struct Bench {
    _server: Server,
    folder: tempfile::TempDir,
    address: std::net::SocketAddr,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut config = Config::default();
        for (key, value) in [
            ("log.dirs", data.to_str().unwrap()),
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("log.retention.ms", "-1"),
            ("group.initial.rebalance.delay.ms", "100"),
            ("group.min.session.timeout.ms", "1000"),
            ("offsets.topic.num.partitions", "2"),
        ] {
            config.set(key, value, "test").unwrap();
        }
        let server = Server::start(config.complete().unwrap(), None).unwrap();
        let address = server.address;
        let mut admin = Admin::connect(address, &Security::default()).unwrap();
        admin.create_topic(&NewTopic::new(TOPIC, PARTITIONS)).unwrap();
        Self {
            _server: server,
            folder,
            address,
        }
    }

    /// Acknowledges some thousand records; gives the ends of the partitions.
    fn produce(&self) -> BTreeMap<u32, i64> {
        let spec = ProducerSpec {
            address: self.address,
            producer: 1,
            topic: TOPIC.to_owned(),
            partitions: PARTITIONS,
            first_partition: 0,
            record_bytes: 100,
            batch_records: (1, 20),
            acks: Acks::All,
            idempotence: true,
            in_flight: 1,
            damage_every: None,
            rate_per_s: None,
            request_timeout: Duration::from_secs(10),
            seed: 7,
        };
        let history = self.folder.path().join(format!("producer-{:?}.bin", Instant::now()));
        let (producer, control) = (Producer::create(spec, &history).unwrap(), Control::default());
        std::thread::scope(|scope| {
            let running = scope.spawn(|| producer.run(&control));
            while control.acknowledged.load(Ordering::Relaxed) < 3_000 {
                std::thread::sleep(Duration::from_millis(1));
            }
            control.stop.store(true, Ordering::Relaxed);
            running.join().unwrap().unwrap();
        });
        let mut admin = Admin::connect(self.address, &Security::default()).unwrap();
        (0..).zip(admin.end_offsets(TOPIC, PARTITIONS).unwrap()).collect()
    }

    fn spec(&self, member: u32, protocol: GroupProtocol, commits: Commits) -> MemberSpec {
        MemberSpec {
            member,
            slot: member - 1,
            group: "readers".to_owned(),
            instance_id: None,
            topics: vec![TOPIC.to_owned()],
            subscription: vec![TOPIC.to_owned()],
            client: MemberClient::Librdkafka,
            protocol,
            remote_assignor: None,
            times: MemberTimes {
                session_timeout_ms: 5_000,
                heartbeat_interval_ms: 200,
                max_poll_interval_ms: 60_000,
                auto_commit_interval_ms: 200,
                metadata_refresh_ms: 200,
            },
            max_poll_records: 100,
            handler: HandlerSpec::default(),
            commits,
            planted: None,
            history: self.history(member),
        }
    }

    fn history(&self, member: u32) -> PathBuf {
        self.folder.path().join(format!("member-{member}.bin"))
    }

    fn process(&self, members: Vec<MemberSpec>) -> Hosted {
        Hosted::start(&WorkerSpec::Members {
            address: self.address.into(),
            security: Security::default(),
            members,
        })
    }
}

/// A worker on a thread of this process.
struct Hosted {
    pipe: BufReader<UnixStream>,
    thread: std::thread::JoinHandle<u8>,
    positions: BTreeMap<u32, i64>,
    held: BTreeMap<u32, (i32, u32)>,
    left: BTreeSet<u32>,
}

impl Hosted {
    fn start(spec: &WorkerSpec) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(WATCHDOG)).unwrap();
        let input = BufReader::new(theirs.try_clone().unwrap());
        let thread = std::thread::spawn(move || worker::run(input, theirs, &AtomicBool::new(false)));
        let mut hosted = Self {
            pipe: BufReader::new(ours),
            thread,
            positions: BTreeMap::new(),
            held: BTreeMap::new(),
            left: BTreeSet::new(),
        };
        hosted.say(&serde_json::to_string(spec).unwrap());
        assert_eq!(hosted.hear(), WorkerEvent::Ready { warmup: None });
        hosted.say("go");
        hosted
    }

    fn say(&mut self, line: &str) {
        writeln!(self.pipe.get_mut(), "{line}").unwrap();
    }

    fn order(&mut self, member: u32, order: MemberOrder) {
        self.say(&serde_json::to_string(&MemberCommand { member, order }).unwrap());
    }

    fn hear(&mut self) -> WorkerEvent {
        let mut line = String::new();
        self.pipe.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// Listens until something is so.
    fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + WATCHDOG;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{:?} {:?}", self.held, self.positions);
            let WorkerEvent::Member(MemberNote { member, told }) = self.hear() else {
                panic!("no note");
            };
            match told {
                MemberTold::Rebalanced { epoch, partitions } => {
                    self.held.insert(member, (epoch, partitions));
                }
                MemberTold::Counts { positions, .. } => self.positions.extend(positions),
                MemberTold::Left => {
                    self.left.insert(member);
                }
                _ => {}
            }
        }
    }

    fn quit(mut self) {
        self.say("quit");
        while !matches!(self.hear(), WorkerEvent::Done { .. }) {}
        assert_eq!(self.thread.join().unwrap(), worker::EXIT_DONE);
    }
}

fn events(path: &Path) -> Vec<Event> {
    let events: Vec<Stamped> = HistoryReader::open(path).unwrap().map(|event| event.unwrap()).collect();
    let (last, before) = events.split_last().unwrap();
    assert_eq!(
        last.event,
        Event::Finished {
            events: before.len() as u64
        }
    );
    before.iter().map(|stamped| stamped.event).collect()
}

/// What a member's own history must obey, whatever its policy: nothing is handled or committed that it does not hold, everything handled was
/// polled first, commits go no further than what was polled and are refused with one of `refusals` only. Gives how far it processed each
/// partition.
fn obeys_but_for(events: &[Event], refusals: &[i16]) -> BTreeMap<u32, i64> {
    let (mut held, mut polled, mut processed) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    for event in events {
        match *event {
            Event::Assigned { claim } => assert!(held.insert(claim.partition), "{event:?}"),
            Event::Revoked { claim } | Event::Lost { claim } => assert!(held.remove(&claim.partition), "{event:?}"),
            Event::Polled { run, base_offset, .. } => {
                assert!(held.contains(&run.partition), "{event:?}");
                polled.insert(run.partition, base_offset + i64::from(run.count));
            }
            Event::Processed {
                claim,
                base_offset,
                count,
            } => {
                assert!(held.contains(&claim.partition) && claim.epoch >= 0, "{event:?}");
                let end = base_offset + i64::from(count);
                assert!(polled[&claim.partition] >= end, "{event:?}");
                processed.insert(claim.partition, end);
            }
            Event::CommitCalled { claim, offset } => {
                assert!(held.contains(&claim.partition), "{event:?}");
                assert!(polled[&claim.partition] >= offset, "{event:?}");
            }
            Event::Committed { code, .. } => assert!(code == NO_CODE || refusals.contains(&code), "{event:?}"),
            _ => {}
        }
    }
    assert!(held.is_empty(), "it closed with {held:?}");
    processed
}

/// [`obeys_but_for`] where no commit may be refused.
fn obeys(events: &[Event]) -> BTreeMap<u32, i64> {
    obeys_but_for(events, &[])
}

/// Offsets of the last commits that were accepted.
fn committed(events: &[Event]) -> BTreeMap<u32, i64> {
    let commits = events.iter().filter_map(|event| match event {
        Event::Committed { claim, offset, .. } => Some((claim.partition, *offset)),
        _ => None,
    });
    commits.collect()
}

#[test]
fn every_policy_commits_all_that_was_processed_before_it_closes() {
    for commits in Commits::ALL {
        let bench = Bench::start();
        let ends = bench.produce();
        let mut hosted = bench.process(vec![bench.spec(1, GroupProtocol::Range, commits)]);
        hosted.until(|hosted| hosted.positions == ends);
        hosted.quit();
        let events = events(&bench.history(1));
        assert_eq!(obeys(&events), ends, "{}", commits.name());
        assert_eq!(committed(&events), ends, "{}", commits.name());
        assert!(matches!(events[0], Event::MemberBegan { member: 1, slot: 0, .. }));
    }
}

#[test]
fn commits_follow_processing_where_they_say_so() {
    for (commits, follows) in [(Commits::SyncPerRecord, true), (Commits::BeforeProcessing, false)] {
        let bench = Bench::start();
        let ends = bench.produce();
        let mut hosted = bench.process(vec![bench.spec(1, GroupProtocol::Range, commits)]);
        hosted.until(|hosted| hosted.positions == ends);
        hosted.quit();
        let mut processed = BTreeMap::new();
        let mut ahead = 0;
        for event in events(&bench.history(1)) {
            match event {
                Event::Processed {
                    claim,
                    base_offset,
                    count,
                } => {
                    processed.insert(claim.partition, base_offset + i64::from(count));
                }
                Event::CommitCalled { claim, offset } => {
                    ahead += usize::from(processed.get(&claim.partition).copied().unwrap_or(0) < offset);
                }
                _ => {}
            }
        }
        assert_eq!(ahead == 0, follows, "{}: {ahead}", commits.name());
    }
}

#[test]
fn a_member_that_joins_takes_partitions_and_gives_them_back_when_it_leaves() {
    for protocol in [
        GroupProtocol::Range,
        GroupProtocol::Roundrobin,
        GroupProtocol::CooperativeSticky,
    ] {
        let bench = Bench::start();
        let ends = bench.produce();
        let mut first = bench.process(vec![bench.spec(1, protocol, Commits::SyncPerBatch)]);
        first.until(|hosted| hosted.held.get(&1).is_some_and(|held| held.1 == PARTITIONS));
        let mut second = bench.process(vec![bench.spec(2, protocol, Commits::SyncPerBatch)]);
        second.until(|hosted| hosted.held.get(&2).is_some_and(|held| held.1 == PARTITIONS / 2));
        first.until(|hosted| hosted.held[&1].1 == PARTITIONS / 2);
        second.order(2, MemberOrder::Leave);
        second.until(|hosted| hosted.left.contains(&2));
        first.until(|hosted| hosted.held[&1].1 == PARTITIONS);
        let more = bench.produce();
        first.until(|hosted| hosted.positions == more);
        assert!(more.iter().all(|(partition, end)| *end > ends[partition]));
        first.quit();
        second.quit();
        let (first, second) = (events(&bench.history(1)), events(&bench.history(2)));
        // A member of the cooperative protocol works on while it joins, so its generation may be over when its commit comes.
        let refusals: &[i16] = match protocol {
            GroupProtocol::CooperativeSticky => &[ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS],
            _ => &[],
        };
        obeys_but_for(&first, refusals);
        obeys_but_for(&second, refusals);
        let given = |events: &[Event]| {
            let assigned = events.iter().filter(|event| matches!(event, Event::Assigned { .. }));
            assigned.count() as u32
        };
        // Who gives everything back is given it again; who keeps what stays is given only what comes.
        let expected = match protocol {
            GroupProtocol::CooperativeSticky => PARTITIONS + PARTITIONS / 2,
            _ => 2 * PARTITIONS + PARTITIONS / 2,
        };
        assert_eq!(given(&first), expected, "{}", protocol.name());
        assert_eq!(given(&second), PARTITIONS / 2, "{}", protocol.name());
        let epochs: BTreeSet<i32> = first
            .iter()
            .filter_map(|event| match event {
                Event::Rebalanced { epoch, .. } if *epoch >= 0 => Some(*epoch),
                _ => None,
            })
            .collect();
        assert!(epochs.len() >= 3, "{epochs:?}");
    }
}

#[test]
fn handlers_with_threads_of_their_own_keep_order_and_finish_what_is_in_hand() {
    let bench = Bench::start();
    let ends = bench.produce();
    let mut spec = bench.spec(1, GroupProtocol::Range, Commits::SyncPerBatch);
    spec.handler = HandlerSpec {
        per_record_us: 50,
        threads: 3,
        ..HandlerSpec::default()
    };
    let mut hosted = bench.process(vec![spec]);
    hosted.until(|hosted| hosted.positions.values().sum::<i64>() > 500);
    hosted.quit();
    let events = events(&bench.history(1));
    let processed = obeys(&events);
    assert_eq!(committed(&events), processed);
    assert!(processed.iter().all(|(partition, end)| *end <= ends[partition]));
    // In each partition one record follows the other.
    let mut next: BTreeMap<u32, i64> = BTreeMap::new();
    for event in &events {
        if let Event::Processed {
            claim,
            base_offset,
            count,
        } = event
        {
            let expected = next.entry(claim.partition).or_insert(0);
            assert_eq!(base_offset, expected);
            *expected += i64::from(*count);
        }
    }
}

#[test]
fn a_member_that_is_stuck_beyond_its_poll_interval_loses_its_partitions_and_its_commit_is_refused() {
    let bench = Bench::start();
    bench.produce();
    let mut spec = bench.spec(1, GroupProtocol::Range, Commits::SyncPerBatch);
    spec.times.session_timeout_ms = 1_000;
    spec.times.max_poll_interval_ms = 1_000;
    // Somebody who keeps the group alive: an empty one takes commits of anyone.
    let mut other = bench.process(vec![bench.spec(2, GroupProtocol::Range, Commits::SyncPerBatch)]);
    other.until(|hosted| hosted.held.get(&2).is_some_and(|held| held.1 == PARTITIONS));
    let mut hosted = bench.process(vec![spec]);
    hosted.until(|hosted| hosted.held.get(&1).is_some_and(|held| held.1 == PARTITIONS / 2));
    hosted.order(1, MemberOrder::Stick { for_ms: 3_000 });
    // The batch that it is stuck with.
    bench.produce();
    other.until(|hosted| hosted.held[&2].1 == PARTITIONS);
    hosted.until(|hosted| hosted.held[&1].1 == 0);
    hosted.until(|hosted| hosted.held[&1].1 == PARTITIONS / 2);
    hosted.quit();
    other.quit();
    let events = events(&bench.history(1));
    let refused: BTreeSet<i16> = events
        .iter()
        .filter_map(|event| match event {
            Event::Committed { code, .. } if *code != NO_CODE => Some(*code),
            _ => None,
        })
        .collect();
    /// UNKNOWN_MEMBER_ID: its client left the group by itself.
    const UNKNOWN_MEMBER_ID: i16 = 25;
    assert_eq!(refused, BTreeSet::from([UNKNOWN_MEMBER_ID]));
    /// librdkafka's code for a poll interval that was exceeded.
    const MAX_POLL_EXCEEDED: i16 = -147;
    let is_told = |event: &Event| matches!(event, Event::MemberFailed { code, .. } if *code == MAX_POLL_EXCEEDED);
    assert!(events.iter().any(is_told));
    let lost = events
        .iter()
        .filter(|event| matches!(event, Event::Lost { .. }))
        .count();
    assert_eq!(lost, PARTITIONS as usize / 2);
}
