//! Flush policies: how many flushes there are, what they cover, and what waits for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_under_test::counters::Counter;
use broker_under_test::log::{FlushPolicy, Limits, Log, OpenFiles, OpenMode, PartitionLog};
use broker_under_test::storage::RealDisk;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_wire::{ApiKey, produce};

use crate::support::{Ask, FetchLimits, TestBroker, batch, batch_of, decode, frame_of, stored};

const TOPIC: &str = "orders";

fn broker(policy: &str, more: &[(&str, &str)]) -> TestBroker {
    let settings = [&[("flush.policy", policy)], more].concat();
    let broker = TestBroker::start(&settings);
    assert_eq!(broker.client().create_topic(TOPIC, 4, &[]), 0);
    broker
}

fn produce_frame(correlation_id: i32, partition: i32, acks: i16, batch: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    produce::encode_request(&mut out, correlation_id, TOPIC, partition, acks, batch);
    out
}

#[test]
fn never_flushes_nothing_until_the_clean_stop() {
    let mut broker = broker("never", &[]);
    for _ in 0..20 {
        broker.client().append(TOPIC, 1, &batch(&[b"x"]));
    }
    assert_eq!(broker.counter(Counter::CallFdatasync), 0);
    let written = stored(&broker.data_dir(), TOPIC, 1).len() as u64;
    let counters = broker.server().broker.counters.clone();
    broker.stop();
    assert_eq!(
        counters.get(Counter::CallFdatasync),
        1,
        "only one log had anything to flush"
    );
    assert_eq!(counters.get(Counter::FlushedBytes), written);
}

#[test]
fn one_flush_for_each_batch_that_waits_alone() {
    let broker = broker("every-batch", &[]);
    let mut client = broker.client();
    for n in 0..5 {
        assert_eq!(client.append(TOPIC, 0, &batch(&[b"a", b"b"])), 2 * n);
    }
    assert_eq!(broker.counter(Counter::CallFdatasync), 5);
    let fetched = client.fetch_one(TOPIC, 0, 0, 1 << 20);
    assert_eq!(fetched.high_watermark, 10);
}

#[test]
fn what_was_pipelined_shares_a_flush_for_each_log_and_is_answered_in_order() {
    let broker = broker("every-batch", &[]);
    let mut client = broker.client();
    let bytes = batch(&[b"value"]);
    let mut sent = Vec::new();
    for n in 0..16 {
        sent.extend(produce_frame(n, n % 4, -1, &bytes));
    }
    sent.extend(frame_of(ApiKey::ApiVersions, 0, 16, &ApiVersionsRequest::default()));
    sent.extend(produce_frame(17, 0, -1, &bytes));
    client.send(&sent);
    for n in 0..18 {
        let frame = client.receive().expect("an answer for each request");
        if n == 16 {
            decode::<ApiVersionsResponse>(&frame, ApiKey::ApiVersions, 0, n);
            continue;
        }
        let (correlation_id, results) = produce::decode_response(&frame, produce::CLIENT_VERSION).unwrap();
        assert_eq!(correlation_id, n);
        assert_eq!(
            (results[0].error, results[0].base_offset),
            (0, i64::from(if n == 17 { 4 } else { n / 4 }))
        );
    }
    // Four logs in front of the request that is no produce, and one behind it.
    assert_eq!(broker.counter(Counter::CallFdatasync), 5);
    let written: usize = (0..4).map(|p| stored(&broker.data_dir(), TOPIC, p).len()).sum();
    assert_eq!(broker.counter(Counter::FlushedBytes), written as u64);
}

#[test]
fn a_long_poll_ends_when_the_flush_let_the_high_watermark_move() {
    let broker = broker("every-batch", &[]);
    let mut reader = broker.client();
    let limits = FetchLimits {
        wait_ms_max: 20_000,
        bytes_min: 1,
        ..FetchLimits::default()
    };
    let ask = Ask {
        topic: TOPIC,
        partition: 2,
        offset: 0,
        bytes_max: 1 << 20,
    };
    let waiting = std::thread::scope(|scope| {
        let reader = scope.spawn(|| reader.fetch(11, limits, &[ask]));
        broker.client().append(TOPIC, 2, &batch(&[b"x"]));
        reader.join().unwrap()
    });
    assert_eq!(waiting.responses[0].partitions[0].high_watermark, 1);
}

#[test]
fn acks_0_is_flushed_too() {
    let broker = broker("every-batch", &[]);
    let mut client = broker.client();
    client.send(&produce_frame(1, 3, 0, &batch(&[b"x"])));
    assert_eq!(client.append(TOPIC, 3, &batch(&[b"y"])), 1);
    assert!(broker.counter(Counter::CallFdatasync) >= 1);
}

#[test]
fn the_background_flushes_what_was_written_and_then_rests() {
    let broker = broker("interval", &[("log.flush.interval.ms", "5")]);
    broker.client().append(TOPIC, 0, &batch(&[b"x"]));
    let written = stored(&broker.data_dir(), TOPIC, 0).len() as u64;
    let watchdog = Instant::now() + Duration::from_secs(30);
    while broker.counter(Counter::FlushedBytes) < written {
        assert!(Instant::now() < watchdog, "nothing was flushed");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(
        broker.counter(Counter::CallFdatasync),
        1,
        "a log without new bytes is left alone"
    );
}

#[test]
fn bytes_behind_the_high_watermark_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let files = OpenFiles::new(Arc::new(RealDisk), 16, Arc::default());
    let limits = Limits {
        flush: FlushPolicy::EveryBatch,
        segment_bytes: 1500,
        ..Limits::default()
    };
    let mode = OpenMode {
        clean: true,
        recovery_point: 0,
        start_offset: 0,
    };
    let log = PartitionLog::open(&files, &folder.path().join("orders-0"), limits, mode, None).unwrap();
    let append = || {
        let bytes = batch_of(3, 600, 1);
        let header = kafka_wire::BatchHeader::checked(&bytes).unwrap();
        log.append(&header, &bytes).unwrap()
    };
    let (first, second) = (append(), append());
    assert!(log.read(0, 10_000, true).unwrap().slices.is_empty());
    log.await_flush(first.await_flush.unwrap()).unwrap();
    // One flush covered both; the next two, in a fresh segment, are not covered yet.
    let third = append();
    assert_eq!(log.bounds().high_watermark(), second.base_offset + 3);
    let fourth = append();
    assert_eq!(log.bounds().high_watermark(), third.base_offset);
    let readable = |from: i64| log.read(from, 10_000, true).unwrap().bytes();
    let whole = readable(0);
    assert_eq!(readable(third.base_offset), 0);
    log.await_flush(fourth.await_flush.unwrap()).unwrap();
    assert_eq!((readable(0), readable(third.base_offset)), (whole, whole));
}
