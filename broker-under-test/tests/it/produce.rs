//! What Produce accepts and refuses, and what is stored.

use broker_under_test::counters::Counter;
use kafka_protocol::messages::{ProduceResponse, TransactionalId};
use kafka_wire::{ApiKey, BatchHeader, ErrorCode};

use crate::samples;
use crate::support::{TestBroker, batch, batch_of, frame_of, patched, stored, text};

const TOPIC: &str = "orders";

/// Positions in a batch header.
const MAGIC: usize = 16;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const RECORDS: usize = 57;

fn broker() -> TestBroker {
    let broker = TestBroker::start(&[("auto.create.topics.enable", "false")]);
    let settings = [("max.message.bytes", "5000")];
    assert_eq!(broker.client().create_topic(TOPIC, 2, &settings), 0);
    broker
}

/// A message set of format 0 or 1 with one message, as old clients send it.
fn old_message(magic: u8) -> Vec<u8> {
    let mut message = vec![magic, 0];
    if magic == 1 {
        message.extend(1_700_000_000_000i64.to_be_bytes());
    }
    message.extend((-1i32).to_be_bytes());
    message.extend(5i32.to_be_bytes());
    message.extend(b"value");
    let mut out = 0i64.to_be_bytes().to_vec();
    out.extend((message.len() as i32 + 4).to_be_bytes());
    out.extend([0; 4]);
    out.extend(message);
    out
}

#[test]
fn what_is_wrong_is_refused_and_leaves_no_byte() {
    let broker = broker();
    let mut client = broker.client();
    let good = batch(&[b"one", b"two", b"three"]);
    client.append(TOPIC, 0, &good);
    let before = stored(&broker.data_dir(), TOPIC, 0);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let with_length = |length: i32| {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    let count = |records: i32, delta: i32| {
        let bytes = patched(&good, RECORDS, &records.to_be_bytes());
        patched(&bytes, LAST_OFFSET_DELTA, &delta.to_be_bytes())
    };
    let attributes = |bits: u16| patched(&good, ATTRIBUTES, &bits.to_be_bytes());
    let magic = |magic: u8| {
        let mut bytes = good.clone();
        bytes[MAGIC] = magic;
        bytes
    };
    use ErrorCode::{
        CorruptMessage, InvalidRecord, MessageTooLarge, TransactionalIdAuthorizationFailed, UnsupportedCompressionType,
    };
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("a flipped bit of the CRC", flipped(CRC), CorruptMessage),
        (
            "a flipped bit of the last record",
            flipped(good.len() - 2),
            CorruptMessage,
        ),
        ("a flipped bit of a timestamp", flipped(30), CorruptMessage),
        ("more records than offsets", count(4, 2), InvalidRecord),
        ("more offsets than records", count(3, 3), InvalidRecord),
        ("no record", count(0, -1), InvalidRecord),
        ("a negative count", count(-3, -4), InvalidRecord),
        ("an overflowing count", count(i32::MIN, i32::MAX), InvalidRecord),
        (
            "the last byte is missing",
            good[..good.len() - 1].to_vec(),
            InvalidRecord,
        ),
        ("half a header", good[..30].to_vec(), InvalidRecord),
        ("length of i32::MAX", with_length(i32::MAX), InvalidRecord),
        ("a negative length", with_length(-1), CorruptMessage),
        ("length 0", with_length(0), CorruptMessage),
        ("nothing", Vec::new(), InvalidRecord),
        ("two batches", [&good[..], &good[..]].concat(), InvalidRecord),
        ("a byte behind the batch", [&good[..], &[0]].concat(), InvalidRecord),
        ("a control batch", attributes(0x20), InvalidRecord),
        (
            "a transactional batch",
            attributes(0x10),
            TransactionalIdAuthorizationFailed,
        ),
        ("codec 5", attributes(5), UnsupportedCompressionType),
        ("codec 7", attributes(7), UnsupportedCompressionType),
        ("a message of format 0", old_message(0), InvalidRecord),
        ("a message of format 1", old_message(1), InvalidRecord),
        ("format 1 in a batch header", magic(1), InvalidRecord),
        ("format 3", magic(3), CorruptMessage),
        ("more than max.message.bytes", batch_of(1, 6000, 1), MessageTooLarge),
    ];
    for (what, bytes, error) in cases {
        let result = client.produce(TOPIC, 0, &bytes);
        assert_eq!(
            (result.error, result.base_offset),
            (error.code(), -1),
            "{what}: {:?}",
            result.message
        );
        assert!(result.message.is_some(), "{what}");
    }
    for (topic, partition) in [(TOPIC, 2), (TOPIC, -1), (TOPIC, i32::MAX), ("unknown", 0), ("", 0)] {
        let result = client.produce(topic, partition, &good);
        assert_eq!(
            result.error,
            ErrorCode::UnknownTopicOrPartition.code(),
            "{topic}-{partition}"
        );
    }
    assert_eq!(stored(&broker.data_dir(), TOPIC, 0), before);
    assert_eq!(client.list_offset(TOPIC, 0, -1).1, 3);
    assert_eq!(
        client.append(TOPIC, 0, &good),
        3,
        "the next good one follows without a hole"
    );
}

#[test]
fn acks_and_transactions_that_do_not_exist_are_refused() {
    let broker = broker();
    let mut client = broker.client();
    let codes = |response: &ProduceResponse| -> Vec<i16> {
        let partitions = response.responses.iter().flat_map(|t| &t.partition_responses);
        partitions.map(|p| p.error_code).collect()
    };
    for acks in [2, -2, i16::MAX] {
        let answer: ProduceResponse = client.call(ApiKey::Produce, 9, &samples::produce(acks));
        assert_eq!(codes(&answer), [ErrorCode::InvalidRequiredAcks.code(); 2]);
    }
    let request = samples::produce(-1).with_transactional_id(Some(TransactionalId(text("tx"))));
    let answer: ProduceResponse = client.call(ApiKey::Produce, 9, &request);
    assert_eq!(
        codes(&answer),
        [ErrorCode::TransactionalIdAuthorizationFailed.code(); 2]
    );
    assert!(stored(&broker.data_dir(), TOPIC, 0).is_empty());
}

#[test]
fn zstd_needs_version_7() {
    let broker = broker();
    let mut client = broker.client();
    let zstd = patched(&batch(&[b"not looked into"]), ATTRIBUTES, &4u16.to_be_bytes());
    let mut request = samples::produce(-1);
    request.topic_data.truncate(1);
    request.topic_data[0].name = crate::support::topic(TOPIC);
    request.topic_data[0].partition_data[0].records = Some(zstd.into());
    for (version, expected) in [(6, ErrorCode::UnsupportedCompressionType), (7, ErrorCode::None)] {
        client.send(&frame_of(ApiKey::Produce, version, 1, &request));
        let answer = client.receive().unwrap();
        let codes = samples::error_codes(&answer, ApiKey::Produce, version, 1);
        assert_eq!(codes, [expected.code()], "version {version}");
    }
}

#[test]
fn stored_bytes_are_the_bytes_that_came_but_for_base_offset_and_epoch() {
    let broker = broker();
    let mut client = broker.client();
    let mut expected = Vec::new();
    let mut next = 0;
    for seed in 0..50u64 {
        let mut sent = batch_of(1 + seed as usize % 7, 200 + 90 * seed as usize, seed);
        // What the client writes there does not matter.
        sent[..8].copy_from_slice(&(-1i64).to_be_bytes());
        sent[12..16].copy_from_slice(&77i32.to_be_bytes());
        // Compressed batches are not looked into.
        let sent = patched(&sent, ATTRIBUTES, &((seed % 5) as u16).to_be_bytes());
        assert_eq!(client.append(TOPIC, 1, &sent), next);
        let mut stamped = sent.clone();
        kafka_wire::batch::stamp(&mut stamped, next, 0);
        next += i64::from(BatchHeader::checked(&sent).unwrap().records_count);
        expected.extend(stamped);
    }
    assert!(stored(&broker.data_dir(), TOPIC, 1) == expected);
    assert!(client.read_all(TOPIC, 1, 0) == expected);
}

#[test]
fn one_request_with_many_partitions_gets_an_answer_for_each() {
    let broker = broker();
    let mut client = broker.client();
    let mut request = samples::produce(-1);
    let good = request.topic_data[0].partition_data[0].clone();
    let bad = good.clone().with_records(None);
    request.topic_data[0].name = crate::support::topic(TOPIC);
    request.topic_data[0].partition_data = vec![good.clone(), bad, good.clone().with_index(1), good.with_index(9)];
    let answer: ProduceResponse = client.call(ApiKey::Produce, 12, &request);
    let found: Vec<(i32, i16, i64)> = answer.responses[0]
        .partition_responses
        .iter()
        .map(|p| (p.index, p.error_code, p.base_offset))
        .collect();
    assert_eq!(found, [(0, 0, 0), (0, 87, -1), (1, 0, 0), (9, 3, -1)]);
}

/// Frames of Produce, one batch of one record each, ids from 1.
fn pipelined(count: i32) -> Vec<u8> {
    let mut stream = Vec::new();
    for id in 1..=count {
        kafka_wire::produce::encode_request(&mut stream, id, TOPIC, 0, -1, &batch(&[b"one"]));
    }
    stream
}

/// Correlation id, error and base offset of the next answer.
fn next_answer(client: &mut crate::support::Client) -> Option<(i32, i16, i64)> {
    let frame = client.receive()?;
    let (id, results) = kafka_wire::produce::decode_response(&frame, kafka_wire::produce::CLIENT_VERSION).unwrap();
    Some((id, results[0].error, results[0].base_offset))
}

#[test]
fn what_arrived_together_is_answered_together() {
    let broker = broker();
    let mut client = broker.client();
    client.append(TOPIC, 0, &batch(&[b"the connection is up"]));
    let before = [Counter::CallSend, Counter::CallPwritev].map(|counter| broker.counter(counter));
    // Far less than a segment of the loopback, so that one receive takes it.
    client.send(&pipelined(20));
    for id in 1..=20 {
        assert_eq!(next_answer(&mut client), Some((id, 0, i64::from(id))));
    }
    let after = [Counter::CallSend, Counter::CallPwritev].map(|counter| broker.counter(counter));
    assert_eq!(after[0] - before[0], 1, "one send for all");
    assert_eq!(after[1] - before[1], 20, "one write for each batch");
}

#[test]
fn answers_in_front_of_nonsense_still_come() {
    let broker = broker();
    let mut client = broker.client();
    let mut stream = pipelined(3);
    // A length that no request has.
    stream.extend((-1i32).to_be_bytes());
    client.send(&stream);
    for id in 1..=3 {
        assert_eq!(next_answer(&mut client), Some((id, 0, i64::from(id) - 1)));
    }
    assert_eq!(next_answer(&mut client), None);
}
