//! Whole runs against a broker in this process that forgets, lies and stays away on demand.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kafka_wire::encode::{BufMut, Encode};
use kafka_wire::frame::finish_frame;
use kafka_wire::{ApiKey, BatchHeader, Cursor, FrameBuffer, RequestHeader, batch, fetch, produce};

use super::*;
use crate::checker::{CheckError, check_folder};
use crate::findings::{Findings, Outcome, Verdict};

/// What is wrong with the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    Nothing,
    /// A kill takes the last acknowledged batch of each partition along.
    ForgetsTheLastBatch,
    /// A batch with a wrong CRC is stored and acknowledged.
    SkipsCrc,
    /// It does not come back from the second kill.
    StaysAway,
    /// The kill left no trace.
    NoEvidence,
    /// Each third batch is stored and not answered, so that it comes again.
    DropsAnswers,
    /// Offsets leave one out after each kill.
    LeavesOffsetsOut,
    /// A kill takes the first half of each partition along.
    LosesTheHead,
    /// After the last kill it knows no topic when it is read.
    ForgetsTheTopic,
    /// It ends by itself after the first kill.
    Crashes,
}

/// Batches of each partition with the offset behind them.
#[derive(Debug, Default)]
struct Log {
    partitions: BTreeMap<i32, (Vec<Vec<u8>>, i64)>,
    requests: u64,
    has_no_topic: bool,
}

struct FakeBroker {
    bug: Bug,
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    /// Set for the threads of one life.
    dead: Arc<AtomicBool>,
    accepting: Option<std::thread::JoinHandle<()>>,
    kills: u32,
}

impl FakeBroker {
    fn started(bug: Bug) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::default();
        let mut broker = Self {
            bug,
            address,
            log,
            dead: Arc::default(),
            accepting: None,
            kills: 0,
        };
        broker.listen(listener);
        broker
    }

    fn listen(&mut self, listener: TcpListener) {
        self.dead = Arc::default();
        let (dead, log, bug) = (self.dead.clone(), self.log.clone(), self.bug);
        listener.set_nonblocking(true).unwrap();
        self.accepting = Some(std::thread::spawn(move || {
            std::thread::scope(|scope| {
                while !dead.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) => {
                            let (dead, log) = (&dead, &log);
                            scope.spawn(move || serve(stream, dead, log, bug));
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
            });
        }));
    }

    fn stop(&mut self) {
        self.dead.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Cluster for FakeBroker {
    fn roles(&self) -> Vec<Role> {
        vec![Role::Broker]
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn crashed(&mut self, _role: Role) -> Option<String> {
        (self.bug == Bug::Crashes && self.kills == 1).then(|| {
            self.stop();
            "signal 6".to_owned()
        })
    }

    fn kill(&mut self, _role: Role) -> Result<Evidence, ClusterError> {
        self.stop();
        self.kills += 1;
        let mut log = self.log.lock().unwrap();
        log.has_no_topic = self.bug == Bug::ForgetsTheTopic && self.kills == 3;
        for (batches, next_offset) in log.partitions.values_mut() {
            match self.bug {
                Bug::ForgetsTheLastBatch => {
                    if let Some(last) = batches.pop() {
                        *next_offset = BatchHeader::parse(&last).unwrap().base_offset;
                    }
                }
                Bug::LeavesOffsetsOut => *next_offset += 1,
                Bug::LosesTheHead => {
                    batches.drain(..batches.len() / 2);
                }
                _ => {}
            }
        }
        Ok(Evidence {
            count: u32::from(self.bug != Bug::NoEvidence),
            what: "threads ended".to_owned(),
        })
    }

    fn start(&mut self, role: Role) -> Result<(), ClusterError> {
        if self.bug == Bug::StaysAway && self.kills == 2 {
            return Err(ClusterError::DidNotStart {
                role,
                reason: "it sulks".to_owned(),
            });
        }
        self.listen(TcpListener::bind(self.address).unwrap());
        Ok(())
    }

    fn wait_ready(&mut self, _role: Role, _timeout: Duration) -> Result<(), ClusterError> {
        Ok(())
    }
}

fn serve(mut stream: TcpStream, dead: &AtomicBool, log: &Mutex<Log>, bug: Bug) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let mut frames = FrameBuffer::new(1 << 24);
    while !dead.load(Ordering::Relaxed) {
        match stream.read(frames.space()) {
            Ok(0) => return,
            Ok(count) => frames.advance(count),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => return,
        }
        while let Some(frame) = frames.frame().unwrap() {
            let Some(response) = answer(frame, &mut log.lock().unwrap(), bug) else {
                return;
            };
            if stream.write_all(&response).is_err() {
                return;
            }
            frames.consume_frame();
        }
    }
}

/// The response frame; `None` closes the connection.
fn answer(frame: &[u8], log: &mut Log, bug: Bug) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(frame);
    let header = RequestHeader::parse(&mut cursor).unwrap();
    let mut out = vec![0; 4];
    out.put_i32(header.correlation_id);
    match header.served().unwrap() {
        ApiKey::CreateTopics => {
            out.put_i32(0);
            out.put_i32(1);
            out.put_string("ledger", false);
            out.put_i16(0);
            out.put_nullable_string(None, false);
        }
        ApiKey::Produce => {
            out.put_u8(0);
            let request = produce::ProduceRequest::decode(&mut cursor, header.api_version).unwrap();
            let one = request.partitions[0];
            let mut bytes = one.records.unwrap().to_vec();
            let mut result =
                produce::ProduceResult::refused(one.topic, one.partition, kafka_wire::ErrorCode::CorruptMessage, None);
            if BatchHeader::checked(&bytes).is_ok() || bug == Bug::SkipsCrc {
                let (batches, next_offset) = log.partitions.entry(one.partition).or_default();
                batch::stamp(&mut bytes, *next_offset, 0);
                (result.error, result.base_offset) = (0, *next_offset);
                // A flipped bit in the count must not run away with the offsets of this broker.
                *next_offset += i64::from(BatchHeader::parse(&bytes).unwrap().records_count.clamp(1, 16));
                batches.push(bytes);
            }
            log.requests += 1;
            if bug == Bug::DropsAnswers && log.requests.is_multiple_of(3) {
                return None;
            }
            produce::encode_response(&mut out, header.api_version, &[result]);
        }
        ApiKey::Fetch => {
            let request = fetch::FetchRequest::decode(&mut cursor, header.api_version).unwrap();
            let wanted = request.partitions[0];
            let empty = (Vec::new(), 0);
            let (batches, next_offset) = log.partitions.get(&wanted.partition).unwrap_or(&empty);
            let base_offset = |batch: &Vec<u8>| BatchHeader::parse(batch).unwrap().base_offset;
            let behind = batches.partition_point(|one| base_offset(one) < wanted.fetch_offset);
            let mut records: Vec<u8> = batches[behind..].iter().take(50).flatten().copied().collect();
            let log_start_offset = batches.first().map_or(*next_offset, base_offset);
            let error = match () {
                () if log.has_no_topic => kafka_wire::ErrorCode::UnknownTopicOrPartition,
                () if wanted.fetch_offset < log_start_offset => kafka_wire::ErrorCode::OffsetOutOfRange,
                () => kafka_wire::ErrorCode::None,
            };
            if error != kafka_wire::ErrorCode::None {
                records.clear();
            }
            let writer = fetch::ResponseWriter::new(header.api_version);
            writer.start(&mut out, 0, 1);
            writer.topic(&mut out, wanted.topic, 1);
            let (partition, records_bytes) = (wanted.partition, records.len());
            let result = fetch::FetchResult {
                partition,
                error: error.code(),
                high_watermark: *next_offset,
                log_start_offset,
                records_bytes,
            };
            writer.partition(&mut out, &result);
            out.extend(records);
        }
        other => panic!("the workload does not send {other:?}"),
    }
    finish_frame(&mut out, 0);
    Some(out)
}

fn scenario() -> Scenario {
    let mut scenario = Scenario::load("kill-broker").unwrap().with_repeat(3).unwrap();
    let short = crate::scenario::Span { min: 5, max: 20 };
    (scenario.faults[0].gap_ms, scenario.faults[0].heal_after_ms) = (short, short);
    let workload = &mut scenario.workload;
    (workload.warm_up_ms, workload.settle_ms, workload.damage_every) = (20, 20, Some(7));
    workload.partitions = 2;
    (workload.batch_records, workload.burst_ms) = (crate::scenario::Span { min: 1, max: 8 }, 5);
    // A load that the machine can't bear must not fail a test.
    scenario.steady.acknowledged_per_s_at_least = None;
    scenario
}

fn executed(bug: Bug, folder: &Path) -> (RunSummary, Vec<Progress>, Result<Findings, CheckError>) {
    let (scenario, mut told) = (scenario(), Vec::new());
    let schedule = Schedule::from(&scenario, 3);
    let mut broker = FakeBroker::started(bug);
    let interrupt = AtomicBool::new(false);
    let mut progress = |one| told.push(one);
    let summary = execute(&scenario, &schedule, &mut broker, folder, &interrupt, &mut progress).unwrap();
    (summary, told, check_folder(folder))
}

fn outcome(findings: &Findings, name: &str) -> Outcome {
    findings.checks.iter().find(|check| check.name == name).unwrap().outcome
}

#[test]
fn a_sound_broker_holds_and_leaves_a_whole_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (summary, told, findings) = executed(Bug::Nothing, folder.path());
    let findings = findings.unwrap();
    assert_eq!(
        findings.verdict,
        Verdict::Holds,
        "{}",
        crate::render::text(&findings, false)
    );
    assert!(findings.acknowledged > 0 && findings.acknowledged == summary.acknowledged);
    assert_eq!(
        (findings.delivered, summary.faults, summary.interrupted),
        (summary.delivered, 3, false)
    );
    assert_eq!(summary.troubles, [] as [String; 0]);
    assert_eq!(
        told.iter().filter(|one| matches!(one, Progress::Healed { .. })).count(),
        3
    );
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(
        serde_json::from_str::<Schedule>(&read(SCHEDULE_FILE)).unwrap(),
        Schedule::from(&scenario(), 3)
    );
    assert_eq!(
        serde_json::from_str::<Scenario>(&read(SCENARIO_FILE)).unwrap(),
        scenario()
    );
    let evidence: Vec<FaultEvidence> = serde_json::from_str(&read(EVIDENCE_FILE)).unwrap();
    assert!(
        evidence
            .iter()
            .all(|one| one.evidence.count == 1 && one.ready_after_ms.is_some())
    );
    for name in ["producer-0.bin", "producer-1.bin", "faults.bin", "final-read.bin"] {
        assert!(folder.path().join(HISTORIES_FOLDER).join(name).exists(), "{name}");
    }
}

#[test]
fn every_bug_is_found_and_blamed() {
    for (bug, blamed) in [
        (Bug::ForgetsTheLastBatch, "lost"),
        (Bug::SkipsCrc, "torn"),
        (Bug::LeavesOffsetsOut, "offsets_dense"),
        (Bug::LosesTheHead, "lost"),
        (Bug::LosesTheHead, "offsets_dense"),
        (Bug::ForgetsTheTopic, "lost"),
        (Bug::Crashes, "stays_up"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let findings = executed(bug, folder.path()).2.unwrap();
        assert_eq!(
            outcome(&findings, blamed),
            Outcome::Violated,
            "{bug:?}: {}",
            crate::render::text(&findings, false)
        );
        assert_eq!(findings.verdict, Verdict::Violated);
    }
}

#[test]
fn a_folder_that_lacks_a_history_is_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(executed(Bug::Nothing, folder.path()).2.unwrap().verdict, Verdict::Holds);
    fs::remove_file(folder.path().join(HISTORIES_FOLDER).join(producer_history(1))).unwrap();
    let findings = check_folder(folder.path()).unwrap();
    assert_eq!(
        (outcome(&findings, "lost"), findings.verdict),
        (Outcome::Unknown, Verdict::Inconclusive)
    );
}

#[test]
fn a_loss_is_blamed_on_the_kill_that_followed() {
    let folder = tempfile::tempdir().unwrap();
    let findings = executed(Bug::ForgetsTheLastBatch, folder.path()).2.unwrap();
    let first = &findings.lost.examples[0];
    assert!(
        first.acknowledged_ns.is_some() && first.producer.is_some() && first.offset.is_some(),
        "{first:?}"
    );
    assert!((1..=3).contains(&first.window.unwrap().fault));
}

#[test]
fn dropped_answers_are_duplicates_and_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let findings = executed(Bug::DropsAnswers, folder.path()).2.unwrap();
    assert_eq!(
        findings.verdict,
        Verdict::Holds,
        "{}",
        crate::render::text(&findings, false)
    );
    assert!(findings.log_duplicates.count > 0);
    assert_eq!(outcome(&findings, "log_duplicates"), Outcome::Counted);
}

#[test]
fn staying_away_violates_and_missing_evidence_is_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    let (summary, _, findings) = executed(Bug::StaysAway, folder.path());
    let findings = findings.unwrap();
    assert_eq!(
        (outcome(&findings, "always_starts"), findings.verdict),
        (Outcome::Violated, Verdict::Violated)
    );
    assert_eq!((summary.faults, summary.delivered), (2, 0));
    assert_eq!(summary.troubles, ["broker did not start: it sulks"]);

    let folder = tempfile::tempdir().unwrap();
    let findings = executed(Bug::NoEvidence, folder.path()).2.unwrap();
    assert_eq!(
        (outcome(&findings, "faults_bit"), findings.verdict),
        (Outcome::Unknown, Verdict::Inconclusive)
    );
}

#[test]
fn an_interrupt_stops_starts_again_what_is_down_and_passes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = scenario();
    let schedule = Schedule::from(&scenario, 3);
    let mut broker = FakeBroker::started(Bug::Nothing);
    let interrupt = AtomicBool::new(false);
    let mut progress = |one| {
        if matches!(one, Progress::FaultInjected { fault: 2, .. }) {
            interrupt.store(true, Ordering::Relaxed);
        }
    };
    let summary = execute(
        &scenario,
        &schedule,
        &mut broker,
        folder.path(),
        &interrupt,
        &mut progress,
    )
    .unwrap();
    assert!(summary.interrupted);
    assert_eq!((summary.faults, summary.delivered), (2, 0));
    assert!(TcpStream::connect(broker.address()).is_ok());
    assert_eq!(check_folder(folder.path()).unwrap().verdict, Verdict::Inconclusive);
}

#[test]
fn a_target_without_the_role_and_an_occupied_folder_are_told() {
    struct Rigid;
    impl Cluster for Rigid {
        fn roles(&self) -> Vec<Role> {
            Vec::new()
        }
        fn address(&self) -> SocketAddr {
            ([127, 0, 0, 1], 1).into()
        }
        fn kill(&mut self, _: Role) -> Result<Evidence, ClusterError> {
            unreachable!("nothing starts on a target that cannot take the fault")
        }
        fn crashed(&mut self, _: Role) -> Option<String> {
            unreachable!("nothing starts on a target that cannot take the fault")
        }
        fn start(&mut self, _: Role) -> Result<(), ClusterError> {
            unreachable!("nothing starts on a target that cannot take the fault")
        }
        fn wait_ready(&mut self, _: Role, _: Duration) -> Result<(), ClusterError> {
            unreachable!("nothing starts on a target that cannot take the fault")
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (scenario, interrupt) = (scenario(), AtomicBool::new(false));
    let schedule = Schedule::from(&scenario, 3);
    let error = execute(&scenario, &schedule, &mut Rigid, folder.path(), &interrupt, &mut |_| {}).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("aimed at: broker"), "{error}");

    fs::create_dir(folder.path().join(HISTORIES_FOLDER)).unwrap();
    let mut broker = FakeBroker::started(Bug::Nothing);
    let error = execute(
        &scenario,
        &schedule,
        &mut broker,
        folder.path(),
        &interrupt,
        &mut |_| {},
    )
    .unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("give an empty folder"), "{error}");
}
