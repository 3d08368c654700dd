//! All fetch paths send the same bytes, which are the bytes of the files, by the calls that are written down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use broker_under_test::counters::Counter;
use broker_under_test::{FetchPath, Server, fetch_path};
use kafka_protocol::messages::FetchResponse;
use kafka_wire::{ApiKey, BatchIter};

use crate::support::{
    Ask, Client, FetchLimits, Random, TestBroker, batch_of, copy_of, decode, fetch_request, frame_of, segments,
    start_in,
};

const TOPIC: &str = "paths";
const BUFFER_BYTES: u64 = 4096;
const PIPE_BYTES: u64 = 4 * 4096;

/// A stopped broker whose partition 0 has many segments of small batches, 1 has large batches in one segment, 2 is empty.
fn loaded() -> TestBroker {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 3, &[("segment.bytes", "60000")]), 0);
    assert_eq!(client.create_topic("large", 1, &[]), 0);
    let mut random = Random(7);
    for seed in 0..120 {
        let bytes = 100 + random.below(6000);
        client.append(TOPIC, 0, &batch_of(1 + random.below(20), bytes, seed));
    }
    // Larger than a segment: it stands alone in one.
    client.append(TOPIC, 1, &batch_of(3, 200_000, 1));
    for seed in 0..40 {
        let bytes = 20_000 + random.below(60_000);
        client.append("large", 0, &batch_of(5, bytes, seed));
    }
    broker.stop();
    broker
}

fn start(dir: &Path, path: FetchPath) -> Server {
    let settings = [
        ("fetch.path", path.to_string()),
        ("fetch.buffer.bytes", BUFFER_BYTES.to_string()),
        ("fetch.pipe.bytes", PIPE_BYTES.to_string()),
    ];
    start_in(dir, &settings.map(|(name, value)| (name.to_owned(), value))).unwrap()
}

/// Version, limits and partitions of one fetch.
type Fetch = (i16, FetchLimits, Vec<Ask>);

/// Seeded fetches: every version, sizes from nothing to everything, one to five partitions in any order.
fn fetches() -> Vec<Fetch> {
    let mut random = Random(42);
    let mut out = Vec::new();
    for round in 0..300 {
        let version = 4 + round % 9;
        let sizes = [0, 1, 61, 100, 4095, 4096, 5000, 16_384, 70_000, 1 << 20, i32::MAX];
        let mut size = || sizes[random.below(sizes.len())];
        let limits = FetchLimits {
            bytes_max: size(),
            ..FetchLimits::default()
        };
        let bytes_max = [size(), size(), size(), size(), size()];
        let count = 1 + random.below(5);
        let asks = bytes_max[..count].iter().map(|&bytes_max| {
            let (topic, partition, end) = [
                (TOPIC, 0, 1250),
                (TOPIC, 1, 3),
                (TOPIC, 2, 0),
                ("large", 0, 200),
                ("unknown", 0, 9),
            ][random.below(5)];
            Ask {
                topic,
                partition,
                offset: random.below(end + 2) as i64,
                bytes_max,
            }
        });
        out.push((version, limits, asks.collect()));
    }
    out
}

/// Where each batch stands: by topic and partition, first and last offset, segment and byte position.
struct Files {
    segments: BTreeMap<(&'static str, i32), Vec<Segment>>,
}

/// Base offset and bytes.
type Segment = (i64, Vec<u8>);

impl Files {
    fn read(dir: &Path) -> Self {
        let partitions = [(TOPIC, 0), (TOPIC, 1), (TOPIC, 2), ("large", 0)];
        let segments = partitions.map(|key| (key, segments(dir, key.0, key.1)));
        Files {
            segments: segments.into_iter().collect(),
        }
    }

    /// The rest of the segment from the batch that holds `offset` on, and where that batch stands in its segment.
    fn from(&self, topic: &str, partition: i32, offset: i64) -> Option<(&[u8], u64)> {
        let segments = self.segments.iter().find(|(key, _)| **key == (topic, partition))?.1;
        for (_, bytes) in segments {
            let mut position = 0;
            for batch in BatchIter::new(bytes) {
                let (header, batch) = batch.unwrap();
                if header.last_offset() >= offset {
                    return (header.base_offset <= offset).then_some((&bytes[position..], position as u64));
                }
                position += batch.len();
            }
        }
        None
    }
}

#[test]
fn every_path_sends_the_same_bytes_and_they_are_the_files() {
    let broker = loaded();
    let files = Files::read(&broker.data_dir());
    assert!(files.segments[&(TOPIC, 0)].len() > 4, "several segments");
    let mut expected: Option<Vec<Vec<u8>>> = None;
    let mut with_records = 0;
    for (path, name) in FetchPath::ALL {
        let folder = copy_of(&broker.data_dir());
        if path == FetchPath::Direct && fetch_path::probe_direct(folder.path()).is_err() {
            eprintln!("the file system of temporary folders refuses O_DIRECT");
            continue;
        }
        let server = start(folder.path(), path);
        let mut client = Client::connect(server.address);
        let mut answers = Vec::new();
        for (i, (version, limits, asks)) in fetches().iter().enumerate() {
            let id = i as i32;
            client.send(&frame_of(ApiKey::Fetch, *version, id, &fetch_request(*limits, asks)));
            let answer = client
                .receive()
                .unwrap_or_else(|| panic!("{name}: closed at fetch {i}"));
            let response: FetchResponse = decode(&answer, ApiKey::Fetch, *version, id);
            let partitions: Vec<_> = response.responses.iter().flat_map(|t| &t.partitions).collect();
            assert_eq!(partitions.len(), asks.len());
            for (ask, partition) in asks.iter().zip(partitions) {
                let records = partition.records.as_deref().unwrap_or_default();
                if !records.is_empty() {
                    let (rest, _) = files.from(ask.topic, ask.partition, ask.offset).unwrap();
                    assert!(
                        rest.starts_with(records),
                        "{name}: fetch {i} has bytes that are not the file's"
                    );
                    with_records += 1;
                }
            }
            answers.push(answer);
        }
        match &expected {
            None => expected = Some(answers),
            Some(expected) => {
                for (i, (answer, expected)) in answers.iter().zip(expected).enumerate() {
                    assert!(answer == expected, "{name}: the response to fetch {i} differs");
                }
            }
        }
        drop(client);
        server.stop().unwrap();
    }
    assert!(with_records > 1000, "the fetches do read: {with_records}");
}

/// Blocks of the heap cache.
const BLOCK_BYTES: u64 = 64 * 1024;

/// What the table in `fetch_path` says of a response with one run of records. `cached` are the blocks that earlier ones left in the heap cache.
fn expected_calls(
    path: FetchPath,
    bytes: u64,
    position: u64,
    file_bytes: u64,
    cached: &mut BTreeSet<u64>,
) -> (Vec<(Counter, u64)>, u64) {
    use Counter::{CallPread, CallPreadv, CallSend, CallSendfile, CallSendmsg, CallSplice};
    match path {
        FetchPath::Sendfile => (vec![(CallSend, 1), (CallSendfile, 1)], 0),
        FetchPath::Mmap => (vec![(CallSend, 2)], bytes),
        FetchPath::Splice => {
            let rounds = (bytes + position % 4096).div_ceil(PIPE_BYTES);
            (vec![(CallSend, 1), (CallSplice, 2 * rounds)], 0)
        }
        FetchPath::Vectored => {
            let rounds = bytes.div_ceil(16 * BUFFER_BYTES);
            (vec![(CallPreadv, rounds), (CallSendmsg, rounds)], 2 * bytes)
        }
        FetchPath::ReadWrite => {
            let rounds = bytes.div_ceil(BUFFER_BYTES);
            (vec![(CallSend, 1 + rounds), (CallPread, rounds)], 2 * bytes)
        }
        FetchPath::HeapCache => {
            let blocks = position / BLOCK_BYTES..(position + bytes).div_ceil(BLOCK_BYTES);
            let rounds = (blocks.end - blocks.start).div_ceil(16);
            let missed: Vec<u64> = blocks.filter(|block| cached.insert(*block)).collect();
            let read = missed
                .iter()
                .map(|block| (file_bytes - block * BLOCK_BYTES).min(BLOCK_BYTES));
            (
                vec![(CallSend, 1), (CallSendmsg, rounds), (CallPread, missed.len() as u64)],
                bytes + read.sum::<u64>(),
            )
        }
        FetchPath::Auto if bytes < 256 * 1024 => (vec![(CallSend, 1), (CallSendfile, 1)], 0),
        FetchPath::Auto => expected_calls(FetchPath::Splice, bytes, position, file_bytes, cached),
        FetchPath::Direct => unreachable!("its reads are aligned as the file system asks"),
    }
}

#[test]
fn the_calls_of_a_response_are_the_ones_written_down() {
    use Counter::{
        CallBody, CallPread, CallPreadv, CallSend, CallSendfile, CallSendmsg, CallSplice, FetchBytes, FetchHeadBytes,
        FetchResponses, UserCopiedBytes,
    };
    const CALLS: [Counter; 6] = [CallSend, CallSendmsg, CallSendfile, CallSplice, CallPread, CallPreadv];
    let broker = loaded();
    let files = Files::read(&broker.data_dir());
    for (path, name) in FetchPath::ALL
        .into_iter()
        .filter(|(path, _)| *path != FetchPath::Direct)
    {
        let mut cached = BTreeSet::new();
        let folder = copy_of(&broker.data_dir());
        let server = start(folder.path(), path);
        let counters = &server.broker.counters;
        let mut client = Client::connect(server.address);
        for (offset, bytes_max) in [
            (0, 1),
            (0, 4096),
            (7, 4097),
            (30, 16_384),
            (61, 16_385),
            (62, 65_536),
            (120, 65_537),
            (121, 300_000),
            (3, 1 << 20),
            (0, i32::MAX),
        ] {
            let (rest, position) = files.from("large", 0, offset).unwrap();
            let file_bytes = position + rest.len() as u64;
            let before = Counter::ALL.iter().map(|c| counters.get(*c)).collect::<Vec<_>>();
            let records = client.fetch_one("large", 0, offset, bytes_max).records.unwrap();
            let grown = |counter: Counter| counters.get(counter) - before[counter as usize];
            let bytes = records.len() as u64;
            let (expected, copied) = expected_calls(path, bytes, position, file_bytes, &mut cached);
            for call in CALLS {
                let expected = expected.iter().find(|(c, _)| *c == call).map_or(0, |(_, n)| *n);
                assert_eq!(
                    grown(call),
                    expected,
                    "{name}: {call:?} of {bytes} bytes from {position}"
                );
            }
            let total: u64 = expected.iter().map(|(_, n)| n).sum();
            // Only the vectored path sends the head together with records.
            let heads = u64::from(path != FetchPath::Vectored);
            assert_eq!(grown(CallBody), total - heads, "{name}");
            assert_eq!(grown(UserCopiedBytes), copied, "{name}");
            assert_eq!((grown(FetchResponses), grown(FetchBytes)), (1, bytes), "{name}");
            assert_eq!(
                grown(FetchHeadBytes),
                4 + kafka_wire::fetch::response_head_bytes("large") as u64
            );
        }
        drop(client);
        server.stop().unwrap();
    }
}

#[test]
fn direct_reads_send_what_they_read_and_copy_it_once() {
    let broker = loaded();
    if let Err(error) = fetch_path::probe_direct(&broker.data_dir()) {
        assert!(error.to_string().contains("choose another fetch.path"), "{error}");
        return;
    }
    let server = start(&broker.data_dir(), FetchPath::Direct);
    let counters = &server.broker.counters;
    let mut client = Client::connect(server.address);
    let mut opened = None;
    for (offset, bytes_max) in [(0, 1), (7, 4097), (61, 16_385), (3, 1 << 20), (0, i32::MAX)] {
        let before = [Counter::CallPread, Counter::CallSend, Counter::UserCopiedBytes].map(|c| counters.get(c));
        let bytes = client.fetch_one("large", 0, offset, bytes_max).records.unwrap().len() as u64;
        let after = [Counter::CallPread, Counter::CallSend, Counter::UserCopiedBytes].map(|c| counters.get(c));
        let reads = after[0] - before[0];
        assert!(reads >= bytes.div_ceil(BUFFER_BYTES) && reads <= bytes.div_ceil(BUFFER_BYTES) + 1);
        assert_eq!((after[1] - before[1], after[2] - before[2]), (1 + reads, bytes));
        let now = counters.get(Counter::CallOpen);
        assert_eq!(*opened.get_or_insert(now), now, "the connection keeps the file open");
    }
    drop(client);
    server.stop().unwrap();
}

#[test]
fn the_heap_cache_is_bounded_and_sees_a_file_grow() {
    let broker = TestBroker::start(&[("fetch.path", "heap-cache"), ("fetch.cache.bytes", "65536")]);
    let mut client = broker.client();
    assert_eq!(client.create_topic("grows", 1, &[]), 0);
    let mut expected = Vec::new();
    for seed in 0..30 {
        let bytes = batch_of(2, 9_000, seed);
        let base = client.append("grows", 0, &bytes);
        let read = client.fetch_one("grows", 0, base, 1 << 20).records.unwrap();
        assert_eq!(read.len(), bytes.len());
        assert_eq!(read[61..], bytes[61..]);
        expected.extend_from_slice(&read);
    }
    assert!(client.read_all("grows", 0, 0) == expected);
    assert!(client.read_all("grows", 0, 0) == expected);
    // One block fits, so a pass over five misses again.
    assert!(broker.counter(Counter::CacheMissBytes) > expected.len() as u64);
    assert!(broker.counter(Counter::CacheHitBytes) > 0);
}
