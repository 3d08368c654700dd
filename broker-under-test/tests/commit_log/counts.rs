//! What the layout costs, counted exactly: runs of records, look-ups, flushes, open files.

use broker_under_test::counters::Counter;

use crate::support::{Ask, FetchLimits, TestBroker, batch_of, stored};

const TOPIC: &str = "orders";

fn broker(partitions: i32, settings: &[(&str, &str)]) -> TestBroker {
    let broker = TestBroker::start(settings);
    assert_eq!(broker.client().create_topic(TOPIC, partitions, &[]), 0);
    broker
}

#[test]
fn each_batch_is_a_run_and_the_tail_needs_no_look_up() {
    let broker = broker(3, &[]);
    let mut client = broker.client();
    for seed in 0..30 {
        client.append(TOPIC, (seed % 3) as i32, &batch_of(2, 500, seed));
    }
    let ask = |partition, offset| Ask {
        topic: TOPIC,
        partition,
        offset,
        bytes_max: 1 << 20,
    };
    client.fetch(11, FetchLimits::default(), &[ask(0, 0), ask(2, 8)]);
    // Ten batches of the first partition, six of the other.
    assert_eq!(broker.counter(Counter::FetchSlices), 16);
    assert_eq!(broker.counter(Counter::CallSendfile), 16);
    assert_eq!(
        broker.counter(Counter::CallPreadLookup),
        0,
        "entries are in memory still"
    );
    assert_eq!(broker.counter(Counter::CallPwriteIndex), 0, "and not on disk yet");
}

#[test]
fn entries_that_left_memory_are_read_and_counted() {
    for (kind, width, per_batch) in [("batch", 32, 1), ("record", 20, 3)] {
        let broker = broker(1, &[("commit.log.entries", kind)]);
        let mut client = broker.client();
        for seed in 0..200 {
            client.append(TOPIC, 0, &batch_of(3, 300, seed));
        }
        // 200 batches: six groups of 32 were written, the last 8 wait, and 32 in front of them are in memory too.
        assert_eq!(broker.counter(Counter::CallPwriteIndex), 6, "{kind}");
        let before = broker.counter(Counter::LookupBytes);
        assert_eq!(
            client.fetch_one(TOPIC, 0, 3 * 160, 1 << 20).records.unwrap().len(),
            40 * batch_of(3, 300, 0).len()
        );
        assert_eq!(
            broker.counter(Counter::CallPreadLookup),
            0,
            "{kind}: what follows is in memory"
        );
        assert_eq!(
            client.fetch_one(TOPIC, 0, 3 * 159, 1).records.unwrap().len(),
            batch_of(3, 300, 0).len()
        );
        let lookups = broker.counter(Counter::CallPreadLookup);
        assert!(
            (1..=4).contains(&lookups),
            "{kind}: {lookups} look-ups for an offset on disk"
        );
        // From there on a reader goes on without searching: one read of entries for each fetch, and what they are for.
        let mut offset = 0;
        client.fetch_one(TOPIC, 0, 0, 1);
        let (calls, bytes) = (
            broker.counter(Counter::CallPreadLookup),
            broker.counter(Counter::LookupBytes),
        );
        for _ in 0..10 {
            offset += 3;
            client.fetch_one(TOPIC, 0, offset, 1);
        }
        assert_eq!(broker.counter(Counter::CallPreadLookup) - calls, 10, "{kind}");
        let most = 10 * (4096 / width) * width;
        let read = broker.counter(Counter::LookupBytes) - bytes;
        assert!(read <= most && read >= 10 * width * per_batch, "{kind}: {read} bytes");
        assert!(before == 0);
    }
}

#[test]
fn one_flush_serves_all_partitions() {
    let mut broker = broker(8, &[("flush.policy", "every-batch")]);
    let mut client = broker.client();
    let mut sent = Vec::new();
    for n in 0..16 {
        kafka_wire::produce::encode_request(&mut sent, n, TOPIC, n % 8, -1, &batch_of(1, 200, 1));
    }
    client.send(&sent);
    for n in 0..16 {
        let frame = client.receive().expect("an answer for each request");
        let (correlation_id, results) =
            kafka_wire::produce::decode_response(&frame, kafka_wire::produce::CLIENT_VERSION).unwrap();
        assert_eq!(
            (correlation_id, results[0].error, results[0].base_offset),
            (n, 0, i64::from(n / 8))
        );
    }
    let flushes = broker.counter(Counter::CallFdatasync);
    assert!(
        (1..=2).contains(&flushes),
        "{flushes} flushes for what came in one piece, or in two"
    );
    let written: usize = (0..8).map(|p| stored(&broker.data_dir(), TOPIC, p).len()).sum();
    assert_eq!(
        broker.counter(Counter::FlushedBytes) as usize,
        written + 16 * 32,
        "frame headers too"
    );
    for partition in 0..8 {
        assert_eq!(client.fetch_one(TOPIC, partition, 0, 1 << 20).high_watermark, 2);
    }
    drop(client);
    let counters = broker.server().broker.counters.clone();
    broker.stop();
    assert_eq!(
        counters.get(Counter::CallFdatasync),
        flushes + 8,
        "the clean stop flushes the queues"
    );
}

#[test]
fn a_start_after_a_clean_stop_opens_and_reads_nothing() {
    for kind in ["batch", "record"] {
        let mut broker = broker(
            60,
            &[
                ("log.segment.bytes", "5000"),
                ("commit.log.entries", kind),
                ("open.files.max", "16"),
            ],
        );
        let mut client = broker.client();
        for seed in 0..180 {
            client.append(TOPIC, (seed % 60) as i32, &batch_of(2, 200, seed));
            assert!(broker.counter(Counter::OpenFiles) <= 16);
        }
        let whole = client.read_all(TOPIC, 7, 0);
        drop(client);
        broker.stop();
        broker.start_again().unwrap();
        assert_eq!(broker.counter(Counter::CallOpen), 0, "{kind}");
        assert_eq!(broker.counter(Counter::CallPreadLookup), 0, "{kind}");
        let mut client = broker.client();
        assert!(client.read_all(TOPIC, 7, 0) == whole);
        assert_eq!(client.append(TOPIC, 7, &batch_of(1, 100, 1)), 6);
        assert_eq!(client.list_offset(TOPIC, 59, -1).1, 6);
    }
}

#[test]
fn more_batches_than_a_read_may_find() {
    let broker = broker(2, &[]);
    let mut client = broker.client();
    let small = batch_of(1, 80, 1);
    for _ in 0..1500 {
        client.append(TOPIC, 0, &small);
    }
    let limits = FetchLimits {
        // It can't wait for more than a read finds.
        bytes_min: 1500 * small.len() as i32,
        wait_ms_max: 200_000,
        ..FetchLimits::default()
    };
    let ask = Ask {
        topic: TOPIC,
        partition: 0,
        offset: 0,
        bytes_max: i32::MAX,
    };
    let found = client.fetch(11, limits, &[ask]);
    let records = found.responses[0].partitions[0].records.as_ref().unwrap().len();
    assert_eq!(records, 1024 * small.len());
    assert_eq!(client.read_all(TOPIC, 0, 0).len(), 1500 * small.len());
}
