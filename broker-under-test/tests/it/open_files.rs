//! How many files of the logs are open, counted exactly.

use broker_under_test::counters::Counter;

use crate::support::{Client, TestBroker, batch_of, start_in};

const TOPIC: &str = "orders";

#[test]
fn more_partitions_than_files_may_be_open() {
    for policy in ["never", "every-batch"] {
        let broker = TestBroker::start(&[("open.files.max", "8"), ("flush.policy", policy)]);
        let mut client = broker.client();
        assert_eq!(client.create_topic(TOPIC, 40, &[("segment.bytes", "3000")]), 0);
        for seed in 0..12 {
            for partition in 0..40 {
                let base = client.append(TOPIC, partition, &batch_of(3, 600, seed));
                assert_eq!(base, 3 * seed as i64);
                assert!(broker.counter(Counter::OpenFiles) <= 8);
            }
        }
        let whole = client.read_all(TOPIC, 0, 0);
        for partition in 0..40 {
            assert!(
                client.read_all(TOPIC, partition, 0) == whole,
                "{policy}, partition {partition}"
            );
            assert!(broker.counter(Counter::OpenFiles) <= 8);
        }
        // A file that is open is not opened again.
        let before = broker.counter(Counter::CallOpen);
        client.read_all(TOPIC, 39, 30);
        client.read_all(TOPIC, 39, 30);
        assert_eq!(broker.counter(Counter::CallOpen), before);
    }
}

#[test]
fn a_start_after_a_clean_stop_opens_and_reads_nothing() {
    const PARTITIONS: i32 = 2000;
    let mut broker = TestBroker::start(&[("open.files.max", "64")]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, PARTITIONS, &[("segment.bytes", "2000")]), 0);
    for partition in (0..PARTITIONS).step_by(50) {
        for seed in 0..5 {
            client.append(TOPIC, partition, &batch_of(3, 600, seed));
        }
    }
    assert_eq!(client.delete_records(TOPIC, 100, 4), (0, 4));
    let whole = client.read_all(TOPIC, 50, 0);
    drop(client);
    broker.stop();
    broker.start_again().unwrap();
    let looked = [
        Counter::CallOpen,
        Counter::OpenFiles,
        Counter::CallPreadLookup,
        Counter::LookupBytes,
        Counter::RecoveryBytes,
    ];
    assert_eq!(looked.map(|c| broker.counter(c)), [0; 5]);
    let mut client = broker.client();
    for partition in (0..PARTITIONS).step_by(50) {
        assert_eq!(client.list_offset(TOPIC, partition, -1).1, 15);
        assert_eq!(
            client.list_offset(TOPIC, partition, -2).1,
            if partition == 100 { 4 } else { 0 }
        );
    }
    assert_eq!(
        looked.map(|c| broker.counter(c)),
        [0; 5],
        "offsets are known without a look"
    );
    assert!(client.read_all(TOPIC, 50, 0) == whole);
    assert_eq!(client.append(TOPIC, 50, &batch_of(3, 600, 9)), 15);
    assert_eq!(client.append(TOPIC, 1, &batch_of(3, 600, 9)), 0);
    assert_eq!(broker.counter(Counter::RecoveryBytes), 0);
}

#[test]
fn recovery_reads_what_was_not_flushed() {
    let settings = [("segment.bytes", "2000"), ("index.interval.bytes", "0")];
    let mut broker = TestBroker::start(&[("flush.policy", "every-batch")]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &settings), 0);
    let batches: Vec<Vec<u8>> = (0..8).map(|seed| batch_of(3, 600, seed)).collect();
    for batch in &batches {
        client.append(TOPIC, 0, batch);
    }
    // Any change of topics writes the checkpoints.
    assert_eq!(client.create_topic("other", 1, &[]), 0);
    let behind = batch_of(3, 500, 99);
    client.append(TOPIC, 0, &behind);
    let killed = broker.killed_copy();
    drop(client);
    broker.stop();
    let server = start_in(killed.path(), &[]).unwrap();
    // The last entry that is trusted names the batch in front of the recovery point.
    let read = server.broker.counters.get(Counter::RecoveryBytes);
    assert_eq!(read, (batches[7].len() + behind.len()) as u64);
    assert_eq!(Client::connect(server.address).list_offset(TOPIC, 0, -1).1, 27);
    server.stop().unwrap();
}

#[test]
fn a_log_that_changed_since_the_stop_is_looked_at() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &[("segment.bytes", "2000")]), 0);
    for seed in 0..8 {
        client.append(TOPIC, 0, &batch_of(3, 600, seed));
    }
    let whole = client.read_all(TOPIC, 0, 0);
    drop(client);
    broker.stop();
    // The oldest segment is taken away by hand.
    let folder = broker.data_dir().join(format!("{TOPIC}-0"));
    std::fs::remove_file(folder.join("00000000000000000000.log")).unwrap();
    broker.start_again().unwrap();
    let mut client = broker.client();
    let start = client.list_offset(TOPIC, 0, -2).1;
    assert!(start > 0);
    assert!(whole.ends_with(&client.read_all(TOPIC, 0, start)));
    drop(client);
    broker.stop();
    // What can't be read is not believed, and costs a look.
    std::fs::write(broker.data_dir().join("log-state.json"), "{").unwrap();
    broker.start_again().unwrap();
    assert_eq!(broker.client().list_offset(TOPIC, 0, -1).1, 24);
}
