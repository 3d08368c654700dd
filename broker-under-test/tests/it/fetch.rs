//! What Fetch waits for and how much it gives.

use std::sync::mpsc;
use std::time::Duration;

use broker_under_test::counters::Counter;
use kafka_protocol::messages::FetchResponse;
use kafka_wire::{ApiKey, ErrorCode};

use crate::support::{Ask, Client, FetchLimits, TestBroker, batch, batch_of, cut_at, fetch_request};

const TOPIC: &str = "events";

/// Longer than any test may last: a fetch that returns before it was woken, or it had enough.
const FOREVER_MS: i32 = 250_000;

fn broker() -> TestBroker {
    let broker = TestBroker::start(&[]);
    assert_eq!(broker.client().create_topic(TOPIC, 3, &[]), 0);
    broker
}

fn ask(partition: i32, offset: i64, bytes_max: i32) -> Ask {
    Ask {
        topic: TOPIC,
        partition,
        offset,
        bytes_max,
    }
}

fn waiting(bytes_min: i32) -> FetchLimits {
    FetchLimits {
        wait_ms_max: FOREVER_MS,
        bytes_min,
        bytes_max: i32::MAX,
    }
}

fn record_bytes(response: &FetchResponse) -> Vec<usize> {
    let partitions = response.responses.iter().flat_map(|t| &t.partitions);
    partitions
        .map(|p| p.records.as_ref().map_or(0, |records| records.len()))
        .collect()
}

/// Runs a fetch on a thread of its own; the channel gives its response.
fn in_background(broker: &TestBroker, limits: FetchLimits, asks: Vec<Ask>) -> mpsc::Receiver<FetchResponse> {
    let (sender, receiver) = mpsc::channel();
    let before = broker.counter(Counter::Requests);
    let mut client = broker.client();
    std::thread::spawn(move || {
        let _ = sender.send(client.fetch(11, limits, &asks));
    });
    while broker.counter(Counter::Requests) == before {
        std::thread::yield_now();
    }
    receiver
}

#[test]
fn a_long_poll_ends_with_the_append_that_makes_enough() {
    let broker = broker();
    let small = batch_of(1, 500, 1);
    let mut producer = broker.client();
    // Partition 2 is asked for as well and stays empty.
    let response = in_background(
        &broker,
        waiting(1200),
        vec![ask(0, 0, 1 << 20), ask(2, 0, 1 << 20), ask(1, 0, 1 << 20)],
    );
    producer.append(TOPIC, 0, &small);
    producer.append(TOPIC, 1, &small);
    assert!(
        response.try_recv().is_err(),
        "{} bytes are less than 1200",
        2 * small.len()
    );
    producer.append(TOPIC, 0, &small);
    let found = response.recv().unwrap();
    assert_eq!(record_bytes(&found), [2 * small.len(), 0, small.len()]);
}

#[test]
fn a_long_poll_gives_what_there_is_when_its_time_is_over() {
    let broker = broker();
    broker.client().append(TOPIC, 0, &batch(&[b"one"]));
    let limits = FetchLimits {
        wait_ms_max: 50,
        bytes_min: 1 << 20,
        bytes_max: i32::MAX,
    };
    let found = broker.client().fetch(12, limits, &[ask(0, 0, 1 << 20)]);
    assert!(record_bytes(&found)[0] > 0);
}

#[test]
fn a_long_poll_ends_for_an_error_a_deleted_topic_and_a_stop() {
    let mut broker = broker();
    // An error is told at once.
    let mut client = broker.client();
    let found = client.fetch(11, waiting(1), &[ask(0, 0, 100), ask(9, 0, 100)]);
    assert_eq!(
        found.responses[0].partitions[1].error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
    let response = in_background(&broker, waiting(1), vec![ask(0, 0, 100)]);
    assert_eq!(client.delete_topic(TOPIC), 0);
    let found = response.recv().unwrap();
    assert_eq!(
        found.responses[0].partitions[0].error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
    assert_eq!(client.create_topic(TOPIC, 1, &[]), 0);
    let response = in_background(&broker, waiting(1), vec![ask(0, 0, 100)]);
    broker.stop();
    assert_eq!(record_bytes(&response.recv().unwrap()), [0]);
}

/// More cannot come than was asked for, so waiting for more has no end but the clock's.
#[test]
fn bytes_min_is_capped_by_bytes_max_and_the_end_of_a_segment() {
    let broker = TestBroker::start(&[("log.segment.bytes", "4000")]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &[]), 0);
    for seed in 0..8 {
        client.append(TOPIC, 0, &batch_of(1, 1000, seed));
    }
    let limits = FetchLimits {
        bytes_max: 1500,
        ..waiting(100_000)
    };
    let response = in_background(&broker, limits, vec![ask(0, 0, 1 << 20)]);
    let found = response
        .recv_timeout(Duration::from_secs(60))
        .expect("1500 bytes are all it may have");
    assert_eq!(record_bytes(&found), [cut_at(1500, batch_of(1, 1000, 0).len())]);
    if crate::LAYOUT == "commit-log" {
        // A read goes over the end of a segment of the shared log.
        return;
    }
    let response = in_background(&broker, waiting(100_000), vec![ask(0, 0, 1 << 20)]);
    let found = response
        .recv_timeout(Duration::from_secs(60))
        .expect("no byte will be added to an old segment");
    assert!((2000..=4000).contains(&record_bytes(&found)[0]));
}

#[test]
fn at_least_one_batch_and_not_more_than_the_limits() {
    let broker = broker();
    let mut client = broker.client();
    let (large, small) = (batch_of(3, 9000, 1), batch_of(1, 1000, 2));
    for partition in [0, 1] {
        client.append(TOPIC, partition, &large);
        for _ in 0..20 {
            client.append(TOPIC, partition, &small);
        }
    }
    for version in 4..=12 {
        let mut get = |bytes_max: i32, asks: &[Ask]| {
            let limits = FetchLimits {
                bytes_max,
                ..FetchLimits::default()
            };
            record_bytes(&client.fetch(version, limits, asks))
        };
        let whole = large.len();
        // The first batch is whole whatever the limits say, in the first partition that has something.
        assert_eq!(get(1, &[ask(0, 0, 1), ask(1, 0, 1)]), [whole, 0]);
        assert_eq!(get(i32::MAX, &[ask(0, 0, 0), ask(1, 0, 0)]), [whole, 0]);
        assert_eq!(get(-1, &[ask(0, 0, -1)]), [whole]);
        assert_eq!(get(0, &[ask(2, 0, 100), ask(1, 1, 100), ask(0, 0, 100)]), [0, whole, 0]);
        // An offset in the middle of a batch begins with that batch.
        assert_eq!(get(i32::MAX, &[ask(0, 2, 1)]), [whole]);
        // The second partition has what the first one left.
        let found = get(12_000, &[ask(0, 3, 5000), ask(1, 3, 50_000)]);
        assert!(
            found[0] <= 5000 && found[1] > 1000 && found[0] + found[1] <= 12_000,
            "{found:?}"
        );
        // A later partition gets nothing that is larger than its limit.
        assert_eq!(get(i32::MAX, &[ask(1, 3, 1000), ask(0, 0, 5000)])[1], 0);
    }
}

#[test]
fn the_brokers_own_limit_holds() {
    let broker = TestBroker::start(&[("fetch.max.bytes", "3000")]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &[]), 0);
    for seed in 0..10 {
        client.append(TOPIC, 0, &batch_of(1, 1000, seed));
    }
    let expected = cut_at(3000, batch_of(1, 1000, 0).len());
    assert_eq!(client.fetch_one(TOPIC, 0, 0, i32::MAX).records.unwrap().len(), expected);
}

#[test]
fn offsets_outside_of_the_log() {
    let broker = broker();
    let mut client = broker.client();
    client.append(TOPIC, 0, &batch(&[b"one", b"two"]));
    for offset in [-1, 3, i64::MAX, i64::MIN] {
        let found = client.fetch_one(TOPIC, 0, offset, 100);
        assert_eq!(found.error_code, ErrorCode::OffsetOutOfRange.code(), "{offset}");
        assert!(found.records.unwrap_or_default().is_empty());
    }
    let end = client.fetch_one(TOPIC, 0, 2, 100);
    assert_eq!((end.error_code, end.high_watermark, end.last_stable_offset), (0, 2, 2));
    assert!(end.aborted_transactions.unwrap_or_default().is_empty());
    assert_eq!(client.delete_records(TOPIC, 0, 1), (0, 1));
    assert_eq!(
        client.fetch_one(TOPIC, 0, 0, 100).error_code,
        ErrorCode::OffsetOutOfRange.code()
    );
    assert_eq!(client.fetch_one(TOPIC, 0, 1, 100).log_start_offset, 1);
    assert_eq!(client.delete_records(TOPIC, 0, 9).0, ErrorCode::OffsetOutOfRange.code());
    assert_eq!(client.delete_records(TOPIC, 0, -1), (0, 2), "-1 is the high watermark");
}

/// KIP-227: epoch 0 asks for a new session and -1 for none, whatever the id; the answer to both is "no session".
#[test]
fn sessions_are_declined() {
    let broker = broker();
    let mut client = broker.client();
    let mut code = |id: i32, epoch: i32| {
        let request = fetch_request(FetchLimits::default(), &[ask(0, 0, 100)])
            .with_session_id(id)
            .with_session_epoch(epoch);
        let answer: FetchResponse = client.call(ApiKey::Fetch, 11, &request);
        assert_eq!(answer.session_id, 0);
        (answer.error_code, answer.responses.len())
    };
    assert_eq!([code(0, 0), code(0, -1), code(7, 0), code(7, -1)], [(0, 1); 4]);
    let unknown = ErrorCode::FetchSessionIdNotFound.code();
    assert_eq!([code(7, 1), code(0, 1), code(i32::MAX, i32::MAX)], [(unknown, 0); 3]);
}

#[test]
fn a_leader_epoch_of_the_future_is_told() {
    let broker = broker();
    let mut client = broker.client();
    for (epoch, expected) in [
        (-1, ErrorCode::None),
        (0, ErrorCode::None),
        (1, ErrorCode::UnknownLeaderEpoch),
    ] {
        let mut request = fetch_request(FetchLimits::default(), &[ask(0, 0, 100)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let answer: FetchResponse = client.call(ApiKey::Fetch, 12, &request);
        assert_eq!(
            answer.responses[0].partitions[0].error_code,
            expected.code(),
            "epoch {epoch}"
        );
    }
}

#[test]
fn times_are_looked_up_to_the_record() {
    use crate::support::BASE_TIMESTAMP_MS as T;
    let broker = broker();
    let mut client = broker.client();
    client.append(TOPIC, 0, &batch(&[b"0", b"1", b"2"]));
    client.append(TOPIC, 0, &batch(&[b"3", b"4", b"5", b"6"]));
    assert_eq!(client.list_offset(TOPIC, 0, 0), (0, 0, T));
    assert_eq!(client.list_offset(TOPIC, 0, T + 1), (0, 1, T + 1));
    assert_eq!(client.list_offset(TOPIC, 0, T + 3), (0, 6, T + 3));
    assert_eq!(client.list_offset(TOPIC, 0, T + 4), (0, -1, -1));
    assert_eq!(
        client.list_offset(TOPIC, 0, -3),
        (0, 6, T + 3),
        "the greatest timestamp"
    );
    assert_eq!(client.list_offset(TOPIC, 0, -2), (0, 0, -1));
    assert_eq!(client.list_offset(TOPIC, 1, -3), (0, -1, -1), "an empty log");
    // Deleted records are not found any more, also where their batch is still in the file.
    assert_eq!(client.delete_records(TOPIC, 0, 2), (0, 2));
    assert_eq!(client.list_offset(TOPIC, 0, 0), (0, 2, T + 2));
    assert_eq!(client.delete_records(TOPIC, 0, 3), (0, 3));
    assert_eq!(client.list_offset(TOPIC, 0, T + 2), (0, 5, T + 2));
    assert_eq!(client.delete_records(TOPIC, 0, 7), (0, 7));
    assert_eq!(client.list_offset(TOPIC, 0, -3), (0, -1, -1));
}

#[test]
fn a_client_that_closes_its_writing_side_gets_its_answers() {
    let broker = broker();
    let mut client = broker.client();
    client.append(TOPIC, 0, &batch(&[b"one"]));
    let request = fetch_request(FetchLimits::default(), &[ask(0, 0, 100)]);
    client.send(&crate::support::frame_of(ApiKey::Fetch, 11, 1, &request));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.receive().is_some());
    assert_eq!(client.receive(), None);
    // A new connection is served as ever.
    assert_eq!(
        Client::connect(broker.address).fetch_one(TOPIC, 0, 1, 100).error_code,
        0
    );
}
