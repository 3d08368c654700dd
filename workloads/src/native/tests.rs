//! The clients against brokers of a hundred lines that hold one topic in memory and can be told to go wrong.

use super::bare::{BareClient, BarePath, BareReceiveSpec, BareServeSpec, serve};
use super::connection::ConnectOptions;
use super::fetch::{FetchClient, FetchSpec};
use super::preload::{PreloadIndex, PreloadSpec, preload};
use super::produce::{ProduceClient, ProduceSpec};
use super::verify::{Check, verify};
use super::*;
use crate::payload::PayloadSpec;
use kafka_wire::encode::{BufMut, Encode};
use kafka_wire::fetch::{FetchRequest, FetchResult, ResponseWriter};
use kafka_wire::frame::finish_frame;
use kafka_wire::produce::{ProduceRequest, ProduceResult, encode_response};
use kafka_wire::{ApiKey, BatchHeader, Cursor, FrameBuffer, RequestHeader};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How the peer goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    None,
    /// Each fetch has one batch less than it should.
    ShortFetch,
    /// Each fetch is answered with this error.
    FetchError(i16),
    /// Correlation ids are one too high.
    WrongCorrelation,
    /// The connection is closed instead of the second answer.
    Close,
    /// Produce is acknowledged one offset too high.
    OffsetGap,
    /// Produce is answered with this error.
    ProduceError(i16),
    /// CreateTopics says that the topic exists.
    TopicExists,
}

#[derive(Default)]
struct Log {
    batches: Vec<Vec<u8>>,
    next_offset: i64,
    /// Fetches that do not show the last batch yet, as replicas that are behind don't.
    lag: u32,
}

/// One broker; all brokers of a cluster share the partitions, and each leads every so many of them.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    node: usize,
    cluster: Arc<Vec<SocketAddr>>,
    partitions: Arc<Mutex<Vec<Log>>>,
    /// Certificate and key, for a listener with TLS.
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ServerConfig>>,
    /// Whether SASL comes first; name and password are `alice` and `secret`, the mechanism is PLAIN.
    sasl: bool,
}

impl Peer {
    pub(super) fn start(fault: Fault) -> Self {
        Self::over(Arc::default(), fault)
    }

    /// A peer with the partitions of another one.
    fn over(partitions: Arc<Mutex<Vec<Log>>>, fault: Fault) -> Self {
        Self::cluster(partitions, &[fault])
    }

    /// A broker per fault; the first one of them.
    fn cluster(partitions: Arc<Mutex<Vec<Log>>>, faults: &[Fault]) -> Self {
        let template = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            node: 0,
            cluster: Arc::default(),
            partitions,
            #[cfg(feature = "tls")]
            tls: None,
            sasl: false,
        };
        template.listen(faults)
    }

    /// The same with TLS, once it listens anew.
    #[cfg(feature = "tls")]
    pub(super) fn with_tls(self, config: Arc<rustls::ServerConfig>) -> Self {
        let tls = Some(config);
        Self { tls, ..self }
    }

    /// A broker per fault, each like this one.
    pub(super) fn listen(self, faults: &[Fault]) -> Self {
        let listeners: Vec<TcpListener> = faults
            .iter()
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let cluster: Vec<SocketAddr> = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap())
            .collect();
        let cluster = Arc::new(cluster);
        for (node, (listener, fault)) in listeners.into_iter().zip(faults.iter().copied()).enumerate() {
            let served = Self {
                address: cluster[node],
                node,
                cluster: cluster.clone(),
                ..self.clone()
            };
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let peer = served.clone();
                    std::thread::spawn(move || peer.serve(stream.unwrap(), fault));
                }
            });
        }
        Self {
            address: cluster[0],
            cluster,
            ..self
        }
    }

    pub(super) fn brokers(&self) -> Bootstrap {
        self.address.into()
    }

    fn leads(&self, partition: i32) -> bool {
        partition as usize % self.cluster.len() == self.node
    }

    fn serve(&self, socket: TcpStream, fault: Fault) {
        socket.set_nodelay(true).unwrap();
        let handle = socket.try_clone().unwrap();
        #[cfg(feature = "tls")]
        if let Some(config) = &self.tls {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            return self.answer(rustls::StreamOwned::new(session, socket), &handle, fault);
        }
        self.answer(socket, &handle, fault);
    }

    fn answer(&self, mut stream: impl Read + Write, socket: &TcpStream, fault: Fault) {
        let mut buffer = FrameBuffer::new(1 << 24);
        let mut answered = 0;
        loop {
            while let Some(frame) = buffer.frame().unwrap() {
                let is_data = [0, 1].contains(&frame[1]);
                let response = self.response(frame, fault);
                buffer.consume_frame();
                answered += i32::from(is_data);
                if fault == Fault::Close && answered == 2 {
                    // Closed in an orderly way: unread requests would turn it into a reset.
                    socket.shutdown(std::net::Shutdown::Write).unwrap();
                    while stream.read(buffer.space()).is_ok_and(|read| read > 0) {}
                    return;
                }
                // A client that stops early closes while answers are under way.
                if stream.write_all(&response).is_err() {
                    return;
                }
            }
            match stream.read(buffer.space()) {
                Ok(read) if read > 0 => buffer.advance(read),
                _ => return,
            }
        }
    }

    fn response(&self, frame: &[u8], fault: Fault) -> Vec<u8> {
        let mut cursor = Cursor::new(frame);
        let header = RequestHeader::parse(&mut cursor).unwrap();
        if self.sasl && header.served().is_err() {
            return sasl_answer(&header, &mut cursor);
        }
        let (key, version) = (header.served().unwrap(), header.api_version);
        let mut out = Vec::new();
        out.put_i32(0);
        let is_data = [ApiKey::Produce, ApiKey::Fetch].contains(&key);
        out.put_i32(header.correlation_id + i32::from(is_data && fault == Fault::WrongCorrelation));
        out.put_no_tags(key.response_header_is_flexible(version));
        let mut logs = self.partitions.lock().unwrap();
        match key {
            ApiKey::Metadata => {
                let asked = (0..cursor.i32().unwrap()).map(|_| cursor.string(false).unwrap());
                let asked: Vec<&str> = asked.collect();
                out.put_i32(0);
                out.put_array_len(self.cluster.len(), false);
                for (node, address) in self.cluster.iter().enumerate() {
                    out.put_i32(node as i32);
                    out.put_string("127.0.0.1", false);
                    out.put_i32(i32::from(address.port()));
                    out.put_nullable_string(None, false);
                }
                out.put_nullable_string(None, false);
                out.put_i32(0);
                out.put_array_len(asked.len(), false);
                for topic in asked {
                    out.put_i16(if logs.is_empty() { 3 } else { 0 });
                    out.put_string(topic, false);
                    out.put_u8(0);
                    out.put_array_len(logs.len(), false);
                    for index in 0..logs.len() {
                        out.put_i16(0);
                        out.put_i32(index as i32);
                        out.put_i32((index % self.cluster.len()) as i32);
                        out.put_i32(0);
                        (0..3).for_each(|_| out.put_i32(0));
                    }
                }
            }
            ApiKey::ListOffsets => {
                cursor.take(9).unwrap();
                let topic = cursor.string(false).unwrap();
                let asked = cursor.i32().unwrap();
                out.put_i32(0);
                out.put_array_len(1, false);
                out.put_string(topic, false);
                out.put_array_len(asked as usize, false);
                for _ in 0..asked {
                    let partition = cursor.i32().unwrap();
                    cursor.i64().unwrap();
                    out.put_i32(partition);
                    out.put_i16(if self.leads(partition) { 0 } else { 6 });
                    out.put_i64(-1);
                    out.put_i64(logs[partition as usize].next_offset);
                }
            }
            ApiKey::CreateTopics => {
                cursor.i32().unwrap();
                out.put_i32(0);
                out.put_array_len(1, false);
                out.put_string(cursor.string(false).unwrap(), false);
                logs.resize_with(cursor.i32().unwrap() as usize, Log::default);
                out.put_i16(if fault == Fault::TopicExists { 36 } else { 0 });
                out.put_nullable_string((fault == Fault::TopicExists).then_some("it is there"), false);
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut cursor, version).unwrap();
                let partition = request.partitions[0];
                let log = &mut logs[partition.partition as usize];
                let mut batch = partition.records.unwrap().to_vec();
                let records = BatchHeader::checked_from_client(&batch).unwrap().records_count;
                let base_offset = log.next_offset + i64::from(fault == Fault::OffsetGap);
                kafka_wire::batch::stamp(&mut batch, base_offset, 0);
                log.batches.push(batch);
                log.next_offset += i64::from(records);
                let error = match fault {
                    Fault::ProduceError(code) => code,
                    _ if self.leads(partition.partition) => 0,
                    _ => 6,
                };
                let topic = partition.topic.to_owned();
                let result = ProduceResult {
                    topic,
                    partition: partition.partition,
                    error,
                    base_offset,
                    append_time_ms: -1,
                    log_start_offset: 0,
                    message: None,
                };
                encode_response(&mut out, version, &[result]);
            }
            ApiKey::Fetch => {
                let request = FetchRequest::decode(&mut cursor, version).unwrap();
                let asked = request.partitions[0];
                let log = &mut logs[asked.partition as usize];
                let is_behind = log.lag > 0;
                log.lag = log.lag.saturating_sub(1);
                let visible = &log.batches[..log.batches.len() - usize::from(is_behind)];
                let mut records = Vec::new();
                for batch in visible
                    .iter()
                    .skip_while(|batch| base_offset(batch) < asked.fetch_offset)
                {
                    let limit = asked.bytes_max as usize - if fault == Fault::ShortFetch { batch.len() } else { 0 };
                    if records.len() + batch.len() > limit {
                        break;
                    }
                    records.extend_from_slice(batch);
                }
                let error = match fault {
                    Fault::FetchError(code) => code,
                    _ if self.leads(asked.partition) => 0,
                    _ => 6,
                };
                let high_watermark = match log.batches.last() {
                    Some(hidden) if is_behind => base_offset(hidden),
                    _ => log.next_offset,
                };
                let records_bytes = records.len();
                let writer = ResponseWriter::new(version);
                writer.start(&mut out, 0, 1);
                writer.topic(&mut out, asked.topic, 1);
                let result = FetchResult {
                    partition: asked.partition,
                    error,
                    high_watermark,
                    log_start_offset: 0,
                    records_bytes,
                };
                writer.partition(&mut out, &result);
                out.extend_from_slice(&records);
                writer.end(&mut out);
            }
            other => panic!("no client here asks for {other:?}"),
        }
        finish_frame(&mut out, 0);
        out
    }
}

/// Answers SaslHandshake and SaslAuthenticate for `alice` with the password `secret`.
fn sasl_answer(header: &RequestHeader, cursor: &mut Cursor) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i32(0);
    out.put_i32(header.correlation_id);
    if header.api_key == 17 {
        out.put_i16(if cursor.string(false) == Ok("PLAIN") { 0 } else { 33 });
        out.put_array_len(1, false);
        out.put_string("PLAIN", false);
    } else {
        assert_eq!(header.api_key, 36);
        let is_right = cursor.nullable_bytes(false) == Ok(Some(b"\0alice\0secret"));
        out.put_i16(if is_right { 0 } else { 58 });
        out.put_nullable_string((!is_right).then_some("Authentication failed"), false);
        out.put_i32(0);
        out.put_i64(0);
    }
    finish_frame(&mut out, 0);
    out
}

fn base_offset(batch: &[u8]) -> i64 {
    BatchHeader::parse(batch).unwrap().base_offset
}

pub(super) fn preload_spec() -> PreloadSpec {
    PreloadSpec {
        topic: "orders".to_owned(),
        partitions: 1,
        replicas: 1,
        configs: Default::default(),
        stored_batch_bytes: 1_024,
        file_bytes: 100 * 1_024,
        payload: PayloadSpec::Json {
            record_bytes: 200,
            entropy: 0.25,
        },
        seed: 9,
        base_timestamp_ms: 1_700_000_000_000,
    }
}

/// A peer with a hundred batches of 1 KiB, and its index.
fn loaded() -> (Peer, PreloadIndex) {
    let peer = Peer::start(Fault::None);
    let index = preload(&peer.brokers(), &PLAIN, &preload_spec()).unwrap();
    (peer, index)
}

pub(super) fn fetch_spec(receiver: Receiver, response_bytes: u32, in_flight: usize) -> FetchSpec {
    let (max_wait_ms, receive_buffer_bytes, socket_receive_buffer_bytes) = (100, 10_000, None);
    FetchSpec {
        response_bytes,
        in_flight,
        max_wait_ms,
        receiver,
        receive_buffer_bytes,
        socket_receive_buffer_bytes,
    }
}

const PLAIN: Security = Security { tls: None, sasl: None };

pub(super) const ONE_PASS: Phase = Phase {
    duration_ms: 60_000,
    single_pass: true,
};

pub(super) fn failed(checks: &[Check]) -> Vec<&str> {
    checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| check.name.as_str())
        .collect()
}

#[test]
fn a_preloaded_topic_passes_the_full_check() {
    let (peer, index) = loaded();
    assert_eq!((index.base_offsets[0].len(), index.total_bytes()), (100, 102_400));
    assert!(
        peer.partitions.lock().unwrap()[0]
            .batches
            .iter()
            .all(|batch| batch.len() == 1_024)
    );
    for response_bytes in [1_024, 5_000, 1 << 20] {
        let checks = verify(&peer.brokers(), &PLAIN, &index.ledger, response_bytes).unwrap();
        assert_eq!(failed(&checks), [""; 0], "{checks:?}");
        assert_eq!(checks.len(), 7);
    }
}

#[test]
fn the_same_seed_preloads_the_same_bytes() {
    let (_, index) = loaded();
    let (_, again) = loaded();
    assert_eq!(index, again);
    let other = preload(
        &Peer::start(Fault::None).brokers(),
        &PLAIN,
        &PreloadSpec {
            seed: 10,
            ..preload_spec()
        },
    )
    .unwrap();
    assert_ne!(index.ledger.partitions[0].checksum, other.ledger.partitions[0].checksum);
}

#[test]
fn the_index_reads_back() {
    let (_, index) = loaded();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.json");
    index.write(&path).unwrap();
    assert_eq!(PreloadIndex::read(&path).unwrap(), index);
    std::fs::write(&path, "{}").unwrap();
    assert!(
        PreloadIndex::read(&path)
            .unwrap_err()
            .to_string()
            .contains("index.json")
    );
}

#[test]
fn the_full_check_finds_each_kind_of_damage() {
    type Damage = fn(&mut Log);
    let rows: [(&str, Damage, &[&str]); 6] = [
        (
            "a flipped bit",
            |log| log.batches[3][500] ^= 1,
            &["batches with a wrong CRC or count", "payload checksum"],
        ),
        (
            "a lost tail",
            |log| drop(log.batches.pop()),
            &["batches", "bytes", "records", "payload checksum"],
        ),
        (
            "a doubled batch at the end",
            |log| {
                let mut last = log.batches[99].clone();
                kafka_wire::batch::stamp(&mut last, log.next_offset, 0);
                log.next_offset += i64::from(BatchHeader::parse(&last).unwrap().records_count);
                log.batches.push(last);
            },
            &["batches", "bytes", "records", "high watermark", "payload checksum"],
        ),
        (
            "a gap",
            |log| {
                let moved = base_offset(&log.batches[50]) + 1;
                kafka_wire::batch::stamp(&mut log.batches[50], moved, 0);
            },
            &["batches at another offset"],
        ),
        (
            "swapped content",
            |log| {
                let (a, b) = (base_offset(&log.batches[1]), base_offset(&log.batches[2]));
                log.batches.swap(1, 2);
                kafka_wire::batch::stamp(&mut log.batches[1], a, 0);
                kafka_wire::batch::stamp(&mut log.batches[2], b, 0);
            },
            &["payload checksum"],
        ),
        (
            "an empty log",
            |log| log.batches.clear(),
            &["batches", "bytes", "records", "payload checksum"],
        ),
    ];
    for (what, damage, expected) in rows {
        let (peer, index) = loaded();
        damage(&mut peer.partitions.lock().unwrap()[0]);
        let checks = verify(&peer.brokers(), &PLAIN, &index.ledger, 8_192).unwrap();
        let found = failed(&checks);
        assert!(expected.iter().all(|name| found.contains(name)), "{what}: {found:?}");
    }
}

#[test]
fn the_full_check_waits_for_replicas_that_are_behind() {
    let (peer, index) = loaded();
    peer.partitions.lock().unwrap()[0].lag = 15;
    let checks = verify(&peer.brokers(), &PLAIN, &index.ledger, 10_240).unwrap();
    assert_eq!(failed(&checks), [""; 0], "{checks:?}");
    assert_eq!(peer.partitions.lock().unwrap()[0].lag, 0);
}

#[test]
fn a_single_pass_delivers_every_byte_once() {
    let (peer, index) = loaded();
    for receiver in [Receiver::Copy, Receiver::Discard] {
        for in_flight in [1, 2, 4, 7] {
            // 7 KiB does not divide 100 KiB, and 5,000 bytes are no whole number of batches.
            for (response_bytes, responses) in [(1_024, 100), (7_168, 15), (5_000, 25), (1 << 20, 1)] {
                let spec = fetch_spec(receiver, response_bytes, in_flight);
                let mut client = FetchClient::connect(&peer.brokers(), &PLAIN, index.clone(), spec).unwrap();
                let result = client.run(ONE_PASS).unwrap();
                assert_eq!(
                    (result.responses, result.delivered_bytes),
                    (responses, 102_400),
                    "{receiver:?} {response_bytes}"
                );
                assert_eq!((result.moved_bytes, result.data_ended), (102_400, true));
                assert_eq!(result.latency_ns.len(), responses);
                assert_eq!(result.response_bytes_achieved, 102_400.0 / responses as f64);
                // The end is reached: another pass would be answered from the cache.
                assert_eq!(client.run(ONE_PASS).unwrap().responses, 0);
            }
        }
    }
}

#[test]
fn a_timed_phase_wraps_at_the_end_and_stops_with_nothing_in_flight() {
    let (peer, index) = loaded();
    for receiver in [Receiver::Copy, Receiver::Discard] {
        let spec = fetch_spec(receiver, 16 * 1_024, 4);
        let mut client = FetchClient::connect(&peer.brokers(), &PLAIN, index.clone(), spec).unwrap();
        let mut delivered_bytes = 0;
        // As many phases as it takes on a slow machine; each leaves the connection clean for the next.
        for _ in 0..1_000 {
            let result = client
                .run(Phase {
                    duration_ms: 5,
                    single_pass: false,
                })
                .unwrap();
            assert!(!result.data_ended && result.wall_ns >= 5_000_000);
            assert!(
                result.send_calls <= result.responses.div_ceil(2) + 1,
                "several requests share a send"
            );
            delivered_bytes += result.delivered_bytes;
            if delivered_bytes > 3 * index.total_bytes() {
                break;
            }
        }
        assert!(delivered_bytes > 3 * index.total_bytes(), "it goes on from the start");
        let idle = client
            .run(Phase {
                duration_ms: 0,
                single_pass: false,
            })
            .unwrap();
        assert_eq!((idle.responses, idle.send_calls, idle.receive_calls), (0, 0, 0));
    }
}

#[test]
fn discarding_takes_two_calls_per_response() {
    let (peer, index) = loaded();
    let mut client =
        FetchClient::connect(&peer.brokers(), &PLAIN, index, fetch_spec(Receiver::Discard, 10_240, 1)).unwrap();
    let result = client.run(ONE_PASS).unwrap();
    assert_eq!(
        (result.responses, result.receive_calls, result.send_calls),
        (10, 20, 10)
    );
}

#[test]
fn a_fetch_that_goes_wrong_is_an_error_and_no_figure() {
    let (peer, index) = loaded();
    let rows = [
        (Fault::ShortFetch, "carried 1024 record bytes where 2048 were due"),
        (
            Fault::FetchError(1),
            "Fetch of topic `orders`, partition 0, was refused: error 1 (OffsetOutOfRange)",
        ),
        (Fault::FetchError(3), "error 3 (UnknownTopicOrPartition)"),
        (Fault::WrongCorrelation, "answer 2 came where answer 1 was due"),
        (Fault::Close, "the peer closed the connection"),
    ];
    for (fault, expected) in rows {
        for receiver in [Receiver::Copy, Receiver::Discard] {
            let faulty = Peer::over(peer.partitions.clone(), fault);
            let spec = fetch_spec(receiver, 2_048, 2);
            let mut client = FetchClient::connect(&faulty.brokers(), &PLAIN, index.clone(), spec).unwrap();
            let error = client.run(ONE_PASS).unwrap_err().to_string();
            assert!(error.contains(expected), "{fault:?}: {error}");
        }
    }
}

#[test]
fn a_preload_that_goes_wrong_is_an_error() {
    let rows = [
        (
            Fault::TopicExists,
            "CreateTopics of topic `orders` was refused: error 36 (TopicAlreadyExists): it is there",
        ),
        (
            Fault::ProduceError(87),
            "Produce of topic `orders`, partition 0, was refused: error 87 (InvalidRecord)",
        ),
        (
            Fault::OffsetGap,
            "batch 0 of partition 0 got base offset 1 where 0 was due",
        ),
        (Fault::Close, "the peer closed the connection"),
    ];
    for (fault, expected) in rows {
        let error = preload(&Peer::start(fault).brokers(), &PLAIN, &preload_spec())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{fault:?}: {error}");
    }
    let spec = PreloadSpec {
        file_bytes: 1_000,
        ..preload_spec()
    };
    assert!(
        preload(&Peer::start(Fault::None).brokers(), &PLAIN, &spec)
            .unwrap_err()
            .to_string()
            .contains("a multiple of them")
    );
}

#[test]
fn nobody_at_the_address_is_told_with_a_remedy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Connection::open(&address.into(), &PLAIN, &ConnectOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("is the broker running"),
        "{error}"
    );
}

#[test]
fn a_response_that_cannot_hold_a_batch_is_refused() {
    let (peer, index) = loaded();
    for spec in [
        fetch_spec(Receiver::Copy, 1_023, 1),
        fetch_spec(Receiver::Copy, 4_096, 0),
    ] {
        assert!(matches!(
            FetchClient::connect(&peer.brokers(), &PLAIN, index.clone(), spec),
            Err(ClientError::Spec(_))
        ));
    }
}

fn bare_pair(
    path: BarePath,
    receiver: Receiver,
    single_pass: bool,
    content: &[u8],
) -> (BareClient, std::thread::JoinHandle<bare::BareServed>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let spec = BareServeSpec {
        path,
        file: file.path().to_owned(),
        file_bytes: content.len() as u64,
        chunk_bytes: 100_000,
        buffer_bytes: 65_536,
        single_pass,
        socket_send_buffer_bytes: None,
        socket_congestion_control: None,
    };
    let server = std::thread::spawn(move || {
        let _keep = file;
        serve(&listener, &spec).unwrap()
    });
    let (chunk_bytes, receive_buffer_bytes, socket_receive_buffer_bytes) = (100_000, 65_536, None);
    let spec = BareReceiveSpec {
        chunk_bytes,
        receiver,
        receive_buffer_bytes,
        socket_receive_buffer_bytes,
    };
    (BareClient::connect(address, spec).unwrap(), server)
}

#[test]
fn a_bare_single_pass_moves_the_file_once() {
    let content = vec![7; 1_000_001];
    for path in [BarePath::BareSendfile, BarePath::BareReadWrite] {
        for receiver in [Receiver::Copy, Receiver::Discard] {
            let (mut client, server) = bare_pair(path, receiver, true, &content);
            let result = client.run(ONE_PASS).unwrap();
            assert_eq!(
                (result.delivered_bytes, result.responses, result.data_ended),
                (1_000_001, 11, true)
            );
            let served = server.join().unwrap();
            assert_eq!(served.sent_bytes, 1_000_001);
            // Ten chunks in two buffers each and one of a byte, and a chunk per sendfile, unless a call falls short.
            match path {
                BarePath::BareSendfile => {
                    assert_eq!((served.read_calls, served.send_calls - served.short_sends), (0, 11))
                }
                BarePath::BareReadWrite => {
                    assert_eq!((served.read_calls, served.send_calls - served.short_sends), (21, 21))
                }
            }
        }
    }
}

#[test]
fn a_bare_stream_goes_on_until_the_receiver_closes() {
    let content = vec![7; 1_000_000];
    for path in [BarePath::BareSendfile, BarePath::BareReadWrite] {
        let (mut client, server) = bare_pair(path, Receiver::Discard, false, &content);
        let warmup = client
            .run(Phase {
                duration_ms: 20,
                single_pass: false,
            })
            .unwrap();
        assert_eq!(warmup.moved_bytes, warmup.delivered_bytes);
        let window = client
            .run(Phase {
                duration_ms: 50,
                single_pass: false,
            })
            .unwrap();
        assert!(window.delivered_bytes > 0 && window.moved_bytes > window.delivered_bytes);
        drop(client);
        let served = server.join().unwrap();
        assert!(served.sent_bytes >= warmup.moved_bytes + window.moved_bytes);
    }
}

#[test]
fn a_bare_server_wants_a_file_that_is_long_enough() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let spec = BareServeSpec {
        path: BarePath::BareSendfile,
        file: file.path().to_owned(),
        file_bytes: 1,
        chunk_bytes: 1,
        buffer_bytes: 1,
        single_pass: true,
        socket_send_buffer_bytes: None,
        socket_congestion_control: None,
    };
    assert!(serve(&listener, &spec).unwrap_err().to_string().contains("has 0 bytes"));
}

#[test]
fn a_phase_result_reads_back_with_its_histogram() {
    let (peer, index) = loaded();
    let mut client =
        FetchClient::connect(&peer.brokers(), &PLAIN, index, fetch_spec(Receiver::Copy, 4_096, 2)).unwrap();
    let result = client.run(ONE_PASS).unwrap();
    let text = serde_json::to_string(&result).unwrap();
    assert_eq!(serde_json::from_str::<PhaseResult>(&text).unwrap(), result);
    let wall_s = result.wall_ns as f64 / 1e9;
    assert!((result.throughput_mb_per_s() * wall_s - 0.1024).abs() < 1e-9);
}

/// Three brokers with a topic of seven partitions.
fn three_brokers() -> (Peer, PreloadIndex) {
    let peer = Peer::cluster(Arc::default(), &[Fault::None; 3]);
    let spec = PreloadSpec {
        partitions: 7,
        file_bytes: 7 * 10 * 1_024,
        ..preload_spec()
    };
    let index = preload(&peer.brokers(), &PLAIN, &spec).unwrap();
    (peer, index)
}

#[test]
fn partitions_of_several_leaders_are_filled_drained_and_checked() {
    let (peer, index) = three_brokers();
    assert_eq!(index.ledger.total_batches(), 70);
    for receiver in [Receiver::Copy, Receiver::Discard] {
        for in_flight in [1, 5] {
            let spec = fetch_spec(receiver, 4_096, in_flight);
            let mut client = FetchClient::connect(&peer.brokers(), &PLAIN, index.clone(), spec).unwrap();
            let result = client.run(ONE_PASS).unwrap();
            // Ten batches of each partition, four in a response.
            assert_eq!((result.responses, result.delivered_bytes), (7 * 3, index.total_bytes()));
            assert_eq!(
                (result.records, result.data_ended),
                (index.ledger.total_records(), true)
            );
        }
    }
    let checks = verify(&peer.brokers(), &PLAIN, &index.ledger, 4_096).unwrap();
    assert_eq!(failed(&checks), [""; 0], "{checks:?}");
    peer.partitions.lock().unwrap()[4].batches[3][700] ^= 1;
    let checks = verify(&peer.brokers(), &PLAIN, &index.ledger, 4_096).unwrap();
    assert_eq!(
        checks.last().map(|check| check.observed.as_str()),
        Some("4"),
        "{checks:?}"
    );
}

pub(super) fn produce_spec(partitions: u32) -> ProduceSpec {
    ProduceSpec {
        spread: Spread::one_topic("orders", partitions),
        batch_bytes: 2_000,
        payload: preload_spec().payload,
        seed: 5,
        in_flight: 5,
        connections: 1,
        acks: -1,
        pool_batches: 16,
        bytes_max: None,
        socket_send_buffer_bytes: None,
        // Others idle on a loopback with small buffers.
        socket_congestion_control: Some("reno".to_owned()),
    }
}

/// A cluster with an empty topic.
fn empty_topic(faults: &[Fault], partitions: u32) -> Peer {
    let peer = Peer::cluster(Arc::default(), faults);
    Admin::connect(peer.address, &PLAIN)
        .unwrap()
        .create_topic(&NewTopic::new("orders", partitions))
        .unwrap();
    peer
}

#[test]
fn a_phase_sends_no_more_than_it_may() {
    let peer = empty_topic(&[Fault::None], 3);
    let spec = ProduceSpec {
        bytes_max: Some(7 * 2_000 + 1_999),
        ..produce_spec(3)
    };
    let mut client = ProduceClient::connect(&peer.brokers(), &PLAIN, spec).unwrap();
    let phase = Phase {
        duration_ms: 60_000,
        single_pass: false,
    };
    for _ in 0..2 {
        let sent = client.run(phase).unwrap();
        assert_eq!(
            (sent.responses, sent.delivered_bytes, sent.data_ended),
            (7, 14_000, true)
        );
    }
}

#[test]
fn what_was_produced_is_what_lies_there() {
    for (brokers, partitions, in_flight) in [(1, 1, 1), (1, 1, 5), (1, 3, 64), (3, 3, 2), (3, 7, 5)] {
        let peer = empty_topic(&[Fault::None; 3][..brokers], partitions);
        let spec = ProduceSpec {
            in_flight,
            ..produce_spec(partitions)
        };
        let mut client = ProduceClient::connect(&peer.brokers(), &PLAIN, spec).unwrap();
        let mut result = client.run(ONE_PASS).unwrap();
        assert_eq!(
            (result.responses, result.delivered_bytes, result.data_ended),
            (16, 32_000, true)
        );
        assert_eq!(result.latency_ns.len(), 16);
        for _ in 0..3 {
            let phase = Phase {
                duration_ms: 5,
                single_pass: false,
            };
            let before = client.ledger().total_records();
            result = client.run(phase).unwrap();
            assert!(result.responses > 0 && !result.data_ended);
            assert_eq!(client.ledger().total_records() - before, result.records);
        }
        let partitions_of = &client.ledger().partitions;
        assert!(
            partitions_of
                .iter()
                .all(|partition| partition.dense && partition.first_offset == 0)
        );
        let checks = verify(&peer.brokers(), &PLAIN, client.ledger(), 10_000).unwrap();
        assert_eq!(
            failed(&checks),
            [""; 0],
            "{brokers} {partitions} {in_flight}: {checks:?}"
        );
        // A foreign batch is noticed by the ledger and by the check.
        let mut other = ProduceClient::connect(&peer.brokers(), &PLAIN, produce_spec(partitions)).unwrap();
        other.run(ONE_PASS).unwrap();
        client.run(ONE_PASS).unwrap();
        assert!(!client.ledger().partitions[0].dense);
        assert!(!failed(&verify(&peer.brokers(), &PLAIN, client.ledger(), 10_000).unwrap()).is_empty());
    }
}

#[test]
fn a_refill_is_one_send() {
    let peer = empty_topic(&[Fault::None], 1);
    let mut client = ProduceClient::connect(&peer.brokers(), &PLAIN, produce_spec(1)).unwrap();
    let result = client.run(ONE_PASS).unwrap();
    // Five at first, then at least three at a time.
    assert!(result.send_calls <= 1 + 11u64.div_ceil(3), "{}", result.send_calls);
}

#[test]
fn a_produce_that_goes_wrong_is_an_error_that_says_where() {
    let rows = [
        (
            Fault::ProduceError(6),
            "Produce of topic `orders`, partition 0, was refused: error 6 (NotLeaderOrFollower)",
        ),
        (Fault::ProduceError(10), "(MessageTooLarge); choose smaller batches"),
        (Fault::WrongCorrelation, "answer 2 came where answer 1 was due"),
        (Fault::Close, "the peer closed the connection"),
    ];
    for (fault, expected) in rows {
        let peer = empty_topic(&[fault], 1);
        let mut client = ProduceClient::connect(&peer.brokers(), &PLAIN, produce_spec(1)).unwrap();
        let error = client.run(ONE_PASS).unwrap_err().to_string();
        assert!(error.contains(expected), "{fault:?}: {error}");
    }
    type Change = fn(&mut ProduceSpec);
    let rows: [(Change, &str); 9] = [
        (|spec| spec.spread.partitions = 0, "at least one partition"),
        (|spec| spec.connections = 0, "1 to 64 connections"),
        (|spec| spec.connections = 2, "the most bytes of a phase"),
        (
            |spec| spec.spread.partitions = 2,
            "Metadata of topic `orders`, partition 1, was refused: error 3",
        ),
        (|spec| spec.in_flight = 65, "1 to 64 requests"),
        (|spec| spec.acks = 0, "leaves nothing to count"),
        (|spec| spec.pool_batches = usize::MAX, "at most 1073741824 bytes"),
        (|spec| spec.batch_bytes = 100, "batches of 100 bytes: choose 256 to"),
        (
            |spec| spec.socket_congestion_control = Some("none".to_owned()),
            "the congestion control `none` is refused",
        ),
    ];
    for (change, expected) in rows {
        let peer = empty_topic(&[Fault::None], 1);
        let mut spec = produce_spec(1);
        change(&mut spec);
        let error = ProduceClient::connect(&peer.brokers(), &PLAIN, spec)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_batch_larger_than_every_buffer_on_its_way_arrives() {
    let peer = empty_topic(&[Fault::None; 2], 2);
    let spec = ProduceSpec {
        batch_bytes: 3 << 20,
        pool_batches: 8,
        socket_send_buffer_bytes: Some(200_000),
        ..produce_spec(2)
    };
    let mut client = ProduceClient::connect(&peer.brokers(), &PLAIN, spec).unwrap();
    assert_eq!(client.run(ONE_PASS).unwrap().delivered_bytes, 8 * (3 << 20));
    let checks = verify(&peer.brokers(), &PLAIN, client.ledger(), 4 << 20).unwrap();
    assert_eq!(failed(&checks), [""; 0], "{checks:?}");
}

#[test]
fn a_password_is_taken_or_the_reason_is_told() {
    let peer = Peer {
        sasl: true,
        ..Peer::start(Fault::None)
    };
    let peer = peer.listen(&[Fault::None; 2]);
    let with = |mechanism, password: &str| Security {
        tls: None,
        sasl: Some(Sasl {
            mechanism,
            username: "alice".to_owned(),
            password: password.to_owned(),
        }),
    };
    let security = with(SaslMechanism::Plain, "secret");
    let mut admin = Admin::connect(peer.address, &security).unwrap();
    admin.create_topic(&NewTopic::new("orders", 2)).unwrap();
    let mut client = ProduceClient::connect(&peer.brokers(), &security, produce_spec(2)).unwrap();
    client.run(ONE_PASS).unwrap();
    let checks = verify(&peer.brokers(), &security, client.ledger(), 10_000).unwrap();
    assert_eq!(failed(&checks), [""; 0], "{checks:?}");

    let error = Admin::connect(peer.address, &with(SaslMechanism::Plain, "guess"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("SaslAuthenticationFailed: Authentication failed; look at sasl.username"),
        "{error}"
    );
    assert!(!error.contains("guess"));
    let error = Admin::connect(peer.address, &with(SaslMechanism::ScramSha256, "secret"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("SASL SCRAM-SHA-256 with 127.0.0.1:") && error.contains("takes PLAIN only"),
        "{error}"
    );
}

#[test]
fn hostile_answers_cost_an_error_and_no_memory() {
    // A count of i32::MAX at the first array of each answer.
    let hostile: Vec<u8> = [0u8; 8]
        .into_iter()
        .chain(i32::MAX.to_be_bytes())
        .chain([0; 64])
        .collect();
    assert!(kafka_wire::admin::decode_metadata(&hostile).is_err());
    assert!(kafka_wire::admin::decode_create_topics(&hostile).is_err());
    assert!(kafka_wire::admin::decode_describe_configs(&hostile).is_err());
    assert!(kafka_wire::admin::decode_list_offsets(&hostile).is_err());
    let hostile: Vec<u8> = [0u8; 6]
        .into_iter()
        .chain([0xff, 0xff, 0xff, 0xff, 0x0f])
        .chain([0; 64])
        .collect();
    assert!(kafka_wire::admin::decode_api_versions(&hostile).is_err());
    assert!(kafka_wire::produce::ResponseHead::decode(&hostile).is_err());
    let hostile: Vec<u8> = [0u8; 6]
        .into_iter()
        .chain(i32::MAX.to_be_bytes())
        .chain([0; 64])
        .collect();
    assert!(kafka_wire::sasl::decode_handshake(&hostile).is_err());
    assert!(kafka_wire::sasl::decode_authenticate(&hostile).is_err());
}
