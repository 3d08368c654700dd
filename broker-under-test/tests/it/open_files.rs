//! How many files of the logs are open, counted exactly.

use broker_under_test::counters::Counter;

use crate::support::{TestBroker, batch_of};

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
