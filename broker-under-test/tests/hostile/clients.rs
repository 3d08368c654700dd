//! Clients that are slow, silent, half gone, or too many.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use broker_under_test::counters::Counter;
use kafka_wire::ApiKey;

use crate::samples::{self, TOPIC};
use crate::storm::{GROWTH_BYTES_MAX, Storm};
use crate::support::{Ask, Client, FetchLimits, TestBroker, batch_of, fetch_request, frame_of, is_closed};

/// Waits until `done`, for as long as only a broken broker takes.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < patience, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn ping(client: &mut Client) -> bool {
    client.send(&samples::frame(ApiKey::ApiVersions, 0, 5));
    client.receive().is_some()
}

#[test]
fn a_request_byte_by_byte_is_a_request() {
    let storm = Storm::begin(&[]);
    let mut client = storm.broker.client();
    for (id, (key, version)) in (1..).zip(samples::all().filter(|(_, version)| version % 3 == 0)) {
        for byte in samples::frame(key, version, id) {
            client.stream.write_all(&[byte]).unwrap();
        }
        let answer = client.receive().unwrap();
        samples::error_codes(&answer, key, version, id);
    }
    storm.end();
}

#[test]
fn a_request_that_never_ends_is_dropped() {
    let storm = Storm::begin(&[("request.read.timeout.ms", "200")]);
    let mut client = storm.broker.client();
    let before = storm.broker.counter(Counter::ConnectionsDropped);
    // Every byte comes well within the time, the request never does.
    let frame = frame_of(ApiKey::Produce, 9, 1, &samples::produce(1));
    let mut bytes = frame.iter().chain(std::iter::repeat(&0));
    let mut length = 1_000_000i32.to_be_bytes().into_iter();
    wait_until("the slow request is dropped", || {
        let byte = length.next().unwrap_or_else(|| *bytes.next().unwrap());
        std::thread::sleep(Duration::from_millis(20));
        client.stream.write_all(&[byte]).is_err()
    });
    assert_eq!(storm.broker.counter(Counter::ConnectionsDropped), before + 1);
    // A client that only waits between its requests stays.
    let mut client = storm.broker.client();
    assert!(ping(&mut client));
    std::thread::sleep(Duration::from_millis(500));
    assert!(ping(&mut client));
    storm.end();
}

#[test]
fn a_connection_without_requests_is_closed() {
    let storm = Storm::begin(&[("connections.max.idle.ms", "1000")]);
    let mut client = storm.broker.client();
    assert!(ping(&mut client));
    assert_eq!(client.receive(), None);
    assert_eq!(storm.broker.client().receive(), None, "also when it never sent a byte");
    storm.end();
}

#[test]
fn a_client_that_reads_nothing_is_dropped() {
    for path in broker_under_test::FetchPath::ALL.map(|(_, name)| name) {
        let storm = Storm::begin(&[("request.read.timeout.ms", "200"), ("fetch.path", path)]);
        let mut producer = storm.broker.client();
        for seed in 0..40 {
            producer.append(TOPIC, 1, &batch_of(2, 100_000, seed));
        }
        let ask = Ask {
            topic: TOPIC,
            partition: 1,
            offset: 0,
            bytes_max: 1 << 20,
        };
        let before = storm.broker.counter(Counter::ConnectionsDropped);
        let request = frame_of(ApiKey::Fetch, 11, 1, &fetch_request(FetchLimits::default(), &[ask]));
        let mut client = storm.broker.client();
        client.stream.write_all(&request.repeat(100)).unwrap();
        wait_until("the client that reads nothing is dropped", || {
            storm.broker.counter(Counter::ConnectionsDropped) > before
        });
        // What is left ends within the response that was under way.
        let mut rest = Vec::new();
        match client.stream.read_to_end(&mut rest) {
            Err(e) => assert!(is_closed(e.kind()), "{path}: {e}"),
            Ok(_) => assert!(rest.len() < 100 << 20),
        }
        let growth = storm.growth_bytes();
        assert!(growth < GROWTH_BYTES_MAX, "{path}: {growth} bytes");
        drop(producer);
        storm.end();
    }
}

#[test]
fn half_a_request_and_a_closed_writing_side() {
    let storm = Storm::begin(&[]);
    let before = storm.broker.counter(Counter::ConnectionsDropped);
    let frame = samples::frame(ApiKey::Metadata, 9, 1);
    storm.attack_and_hang_up(&frame[..frame.len() / 2]);
    assert_eq!(storm.broker.counter(Counter::ConnectionsDropped), before + 1);
    // Whole requests are still answered.
    let mut client = storm.broker.client();
    client.send(&frame.repeat(3));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!((0..4).filter(|_| client.receive().is_some()).count(), 3);
    storm.end();
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    let storm = Storm::begin(&[("max.connections", "8")]);
    let open = |broker: &TestBroker| {
        let mut client = broker.client();
        ping(&mut client).then_some(client)
    };
    wait_until("the connection of the preparation is gone", || {
        open(&storm.broker).is_some() && storm.broker.counter(Counter::ConnectionsRefused) == 0
    });
    let mut clients: Vec<Client> = Vec::new();
    // A connection that was closed a moment ago may hold its place a little longer.
    wait_until("eight are let in", || {
        clients.extend(open(&storm.broker));
        clients.len() == 8
    });
    let refused = storm.broker.counter(Counter::ConnectionsRefused);
    for _ in 0..30 {
        assert!(open(&storm.broker).is_none());
    }
    assert_eq!(storm.broker.counter(Counter::ConnectionsRefused), refused + 30);
    assert!(clients.iter_mut().all(ping), "those that are in stay in");
    clients.truncate(4);
    wait_until("a place that became free is given away", || {
        open(&storm.broker).is_some()
    });
    storm.end_of_a_crowd();
}
