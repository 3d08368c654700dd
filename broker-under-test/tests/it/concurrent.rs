//! Many clients at a time.

use std::sync::atomic::{AtomicBool, Ordering};

use broker_under_test::FetchPath;
use kafka_wire::{BatchHeader, BatchIter};

use crate::support::{Ask, Client, FetchLimits, TestBroker, batch_of, stored};

const TOPIC: &str = "shared";
const PRODUCERS: u64 = 4;
const BATCHES: u64 = 150;
const RECORDS: i64 = 3;

/// Follows a partition by long polls until `end`; answers its bytes.
fn follow(mut client: Client, end: i64) -> Vec<u8> {
    let limits = FetchLimits {
        wait_ms_max: 60_000,
        bytes_min: 1,
        bytes_max: i32::MAX,
    };
    let mut out = Vec::new();
    let mut offset = 0;
    while offset < end {
        let ask = Ask {
            topic: TOPIC,
            partition: 0,
            offset,
            bytes_max: 3000,
        };
        let answer = client.fetch(11, limits, &[ask]);
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        for batch in BatchIter::new(partition.records.as_deref().unwrap_or_default()) {
            let (header, bytes) = batch.unwrap();
            BatchHeader::checked(bytes).unwrap();
            assert_eq!(header.base_offset, offset, "dense and in order");
            offset = header.last_offset() + 1;
            assert!(offset <= partition.high_watermark, "nothing behind the high watermark");
            out.extend_from_slice(bytes);
        }
    }
    out
}

#[test]
fn producers_and_followers_of_one_partition() {
    for (_, path) in FetchPath::ALL {
        let broker = TestBroker::start(&[("fetch.path", path), ("log.segment.bytes", "50000")]);
        assert_eq!(broker.client().create_topic(TOPIC, 1, &[]), 0);
        let end = (PRODUCERS * BATCHES) as i64 * RECORDS;
        std::thread::scope(|scope| {
            let followers: Vec<_> = (0..3)
                .map(|_| {
                    let client = broker.client();
                    scope.spawn(move || follow(client, end))
                })
                .collect();
            for producer in 0..PRODUCERS {
                let mut client = broker.client();
                scope.spawn(move || {
                    let mut last = -1;
                    for i in 0..BATCHES {
                        let offset = client.append(TOPIC, 0, &batch_of(RECORDS as usize, 400, producer * 1000 + i));
                        assert!(offset > last, "one client's batches keep their order");
                        last = offset;
                    }
                });
            }
            let read: Vec<Vec<u8>> = followers.into_iter().map(|f| f.join().unwrap()).collect();
            let stored = stored(&broker.data_dir(), TOPIC, 0);
            assert!(read.iter().all(|bytes| *bytes == stored), "{path}");
        });
    }
}

/// Topics come and go and records are deleted while everything is restarted from: the small files must stay whole.
#[test]
fn changes_of_topics_at_the_same_time() {
    let mut broker = TestBroker::start(&[]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let changers: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|name| {
                let mut client = broker.client();
                scope.spawn(move || {
                    for round in 0..8 {
                        assert_eq!(client.create_topic(name, 2, &[]), 0);
                        client.append(name, 1, &batch_of(5, 300, round));
                        assert_eq!(client.delete_records(name, 1, 2), (0, 2));
                        if round < 7 {
                            assert_eq!(client.delete_topic(name), 0);
                        }
                    }
                })
            })
            .collect();
        let watcher = {
            let mut client = broker.client();
            let done = &done;
            scope.spawn(move || {
                assert_eq!(client.create_topic("same", 1, &[]), 0);
                while !done.load(Ordering::Acquire) {
                    assert_eq!(client.list_offset("same", 0, -1), (0, 0, -1));
                    std::thread::yield_now();
                }
            })
        };
        changers.into_iter().for_each(|changer| changer.join().unwrap());
        done.store(true, Ordering::Release);
        watcher.join().unwrap();
    });
    let killed = broker.killed_copy();
    broker.stop();
    broker.start_again().unwrap();
    let restarted = crate::support::start_in(killed.path(), &[]).unwrap();
    for address in [broker.address, restarted.address] {
        let mut client = Client::connect(address);
        for name in ["a", "b", "c"] {
            assert_eq!(client.list_offset(name, 1, -2).1, 2, "the deletion is remembered");
            assert_eq!(client.list_offset(name, 1, -1).1, 5);
        }
    }
    restarted.stop().unwrap();
}
