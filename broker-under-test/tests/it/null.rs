//! `log.layout=null`: every answer, and nothing behind it.

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse};
use kafka_wire::ApiKey;

use crate::support::{TestBroker, batch, topic};

const NULL: (&str, &str) = ("log.layout", "null");

#[test]
fn batches_are_acknowledged_and_are_nowhere() {
    let mut broker = TestBroker::start(&[NULL]);
    let mut client = broker.client();
    assert_eq!(client.create_topic("orders", 2, &[]), 0);
    assert_eq!(client.append("orders", 0, &batch(&[b"a", b"b", b"c"])), 0);
    assert_eq!(client.append("orders", 1, &batch(&[b"a"])), 0);
    // Nobody looks at the records, so nobody misses a byte of them.
    let mut damaged = batch(&[b"d", b"e"]);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(client.append("orders", 0, &damaged), 3);
    assert_eq!(client.append("orders", 0, &batch(&[b"f"])), 5);
    // What can't be a batch is refused all the same.
    assert_ne!(client.produce("orders", 0, &[0; 20]).error, 0);

    let fetched = client.fetch_one("orders", 0, 0, 1 << 20);
    assert_eq!((fetched.error_code, fetched.high_watermark), (0, 0));
    assert!(fetched.records.unwrap_or_default().is_empty());
    for time in [-1, -2] {
        assert_eq!(client.list_offset("orders", 0, time).1, 0, "{time}");
    }
    assert!(!broker.data_dir().join("orders-0").exists());

    broker.stop();
    broker.start_again().unwrap();
    let mut client = broker.client();
    assert_eq!(
        client.append("orders", 1, &batch(&[b"a"])),
        0,
        "the topic is there, and new"
    );
    assert_eq!(client.delete_topic("orders"), 0);
}

#[test]
fn clients_find_topics_and_producer_ids() {
    let broker = TestBroker::start(&[NULL, ("num.partitions", "7")]);
    let mut client = broker.client();
    let asked = kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
        .with_name(Some(topic("made-when-asked-for")));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![asked]))
        .with_allow_auto_topic_creation(true);
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 9, &request);
    assert_eq!(answer.topics[0].partitions.len(), 7);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(1_000);
    let ids: Vec<i64> = (0..2)
        .map(|_| {
            let answer: InitProducerIdResponse = client.call(ApiKey::InitProducerId, 4, &request);
            assert_eq!(answer.error_code, 0);
            answer.producer_id.0
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
}
