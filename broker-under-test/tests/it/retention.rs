//! Retention by time and by size, and a log start that stays where it was moved.

use kafka_wire::BatchBuilder;

use crate::support::{BASE_TIMESTAMP_MS, Client, TestBroker, batch_of, segments, start_in};

const TOPIC: &str = "orders";
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Ten segments of one batch, a day apart.
fn broker(settings: &[(&str, &str)]) -> TestBroker {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let settings = [&[("segment.bytes", "2000")], settings].concat();
    assert_eq!(client.create_topic(TOPIC, 1, &settings), 0);
    for day in 0..10 {
        append(&mut client, BASE_TIMESTAMP_MS + day * DAY_MS);
    }
    assert_eq!(segments(&broker.data_dir(), TOPIC, 0).len(), 10);
    broker
}

fn append(client: &mut Client, time: i64) -> i64 {
    let mut builder = BatchBuilder::new(time);
    (0..3).for_each(|_| builder.push(time, None, &[3; 500]));
    client.append(TOPIC, 0, builder.finish())
}

fn bases(broker: &TestBroker) -> Vec<i64> {
    segments(&broker.data_dir(), TOPIC, 0)
        .iter()
        .map(|(base, _)| *base)
        .collect()
}

fn retain(broker: &TestBroker, day: i64) {
    let now_ms = BASE_TIMESTAMP_MS + day * DAY_MS;
    broker.server().broker.topics.retain(now_ms).unwrap();
}

#[test]
fn segments_go_by_their_latest_record() {
    let mut broker = broker(&[("retention.ms", &(3 * DAY_MS).to_string())]);
    let start = |broker: &TestBroker| broker.client().list_offset(TOPIC, 0, -2).1;
    retain(&broker, 3);
    assert_eq!(start(&broker), 0, "exactly as old as may be");
    retain(&broker, 5);
    assert_eq!((start(&broker), bases(&broker)[0]), (6, 6));
    assert_eq!(broker.client().fetch_one(TOPIC, 0, 5, 100).error_code, 1);
    let rest = broker.client().read_all(TOPIC, 0, 6);
    // A late record keeps its segment and what is behind it.
    let late = append(&mut broker.client(), BASE_TIMESTAMP_MS);
    assert_eq!(late, 30);
    let killed = broker.killed_copy();
    for clean in [true, false] {
        if clean {
            broker.stop();
            broker.start_again().unwrap();
            assert_eq!(start(&broker), 6);
        } else {
            let server = start_in(killed.path(), &[]).unwrap();
            let mut client = Client::connect(server.address);
            assert_eq!(client.list_offset(TOPIC, 0, -2).1, 6);
            assert!(client.read_all(TOPIC, 0, 6).starts_with(&rest));
            drop(client);
            server.stop().unwrap();
        }
    }
    // After a restart too, though nothing has been read yet.
    retain(&broker, 8);
    assert_eq!((start(&broker), bases(&broker)[0]), (15, 15));
    // All of it is old: the active segment is rolled and goes, and offsets go on.
    retain(&broker, 100);
    assert_eq!((start(&broker), bases(&broker)), (33, vec![33]));
    assert_eq!(broker.client().list_offset(TOPIC, 0, -1).1, 33);
    retain(&broker, 200);
    assert_eq!(bases(&broker), [33], "an empty segment stays");
    assert_eq!(append(&mut broker.client(), BASE_TIMESTAMP_MS), 33);
    broker.stop();
    broker.start_again().unwrap();
    assert_eq!(start(&broker), 33);
}

#[test]
fn the_oldest_bytes_go_as_long_as_enough_is_left() {
    let broker = broker(&[("retention.ms", "-1"), ("retention.bytes", "8000")]);
    let all = segments(&broker.data_dir(), TOPIC, 0);
    let each = all[0].1.len();
    retain(&broker, 10_000);
    let left = segments(&broker.data_dir(), TOPIC, 0);
    assert_eq!(left.len(), 8000_usize.div_ceil(each));
    assert_eq!(left.last(), all.last());
    assert_eq!(broker.client().list_offset(TOPIC, 0, -2).1, left[0].0);
    assert!(broker.client().read_all(TOPIC, 0, left[0].0).len() >= 8000);
}

#[test]
fn nothing_goes_that_is_kept_for_ever_and_a_linked_segment_only_here() {
    let broker = broker(&[("retention.ms", "-1")]);
    retain(&broker, 10_000);
    assert_eq!(bases(&broker).len(), 10);
    drop(broker);
    // A read-only segment with another name elsewhere.
    let mut broker = self::broker(&[("retention.ms", "1000")]);
    broker.stop();
    let elsewhere = broker.data_dir().join("elsewhere");
    let path = broker.data_dir().join(format!("{TOPIC}-0/{:020}.log", 0));
    std::fs::hard_link(&path, &elsewhere).unwrap();
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let before = std::fs::read(&path).unwrap();
    broker.start_again().unwrap();
    retain(&broker, 5);
    assert!(!path.exists());
    assert!(std::fs::read(&elsewhere).unwrap() == before);
}

#[test]
fn a_reader_finishes_what_it_began() {
    let broker = broker(&[("retention.ms", "1000")]);
    let log = broker.server().broker.topics.log(TOPIC, 0).unwrap();
    let before = segments(&broker.data_dir(), TOPIC, 0);
    let found = log.read(0, 1 << 20, true).unwrap();
    retain(&broker, 100);
    assert!(!found.slices[0].file.path().exists());
    assert!(found.slices[0].to_vec().unwrap() == before[0].1);
}

#[test]
fn the_broker_looks_by_itself() {
    let settings = [("log.retention.check.interval.ms", "10"), ("log.retention.ms", "60000")];
    let broker = TestBroker::start(&settings);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &[]), 0);
    // Long ago, by any clock.
    client.append(TOPIC, 0, &batch_of(3, 600, 1));
    while client.list_offset(TOPIC, 0, -2).1 != 3 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(client.list_offset(TOPIC, 0, -1).1, 3);
}
