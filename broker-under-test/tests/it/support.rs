//! A broker in this process, a client on a raw socket, and requests that the protocol crate encoded.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use broker_under_test::counters::Counter;
use broker_under_test::log::commit_log::frame::{FRAME_BYTES, Frame};
use broker_under_test::{Config, Server, ServerError};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_wire::frame::{finish_frame, start_request};
use kafka_wire::produce::{self, ProduceResult};
use kafka_wire::{ApiKey, BatchBuilder, Cursor};

/// An answer that takes longer than this is no answer. Only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The timestamp of the first record of every batch that tests make.
pub const BASE_TIMESTAMP_MS: i64 = 1_700_000_000_000;

/// A broker and its data folder, both gone when the test ends.
pub struct TestBroker {
    pub server: Option<Server>,
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
}

/// Starts a broker on `dir` and a free port.
pub fn start_in(dir: &Path, settings: &[(String, String)]) -> Result<Server, ServerError> {
    let mut config = Config::default();
    config.set("listeners", "PLAINTEXT://127.0.0.1:0", "test").unwrap();
    config.set("log.dirs", dir.to_str().unwrap(), "test").unwrap();
    config.set("log.layout", crate::LAYOUT, "test").unwrap();
    for (name, value) in settings {
        config.set(name, value, "test").unwrap();
    }
    Server::start(config.complete().unwrap(), None)
}

impl TestBroker {
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings: Vec<_> = settings.iter().map(owned).collect();
        let server = start_in(&folder.path().join("data"), &settings).unwrap();
        TestBroker {
            address: server.address,
            server: Some(server),
            folder,
            settings,
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    pub fn counter(&self, counter: Counter) -> u64 {
        self.server().broker.counters.get(counter)
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Stops gracefully; the folder stays.
    pub fn stop(&mut self) {
        self.server.take().unwrap().stop().unwrap();
    }

    /// Starts again on the same folder, with the same settings.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        let server = start_in(&self.data_dir(), &self.settings)?;
        self.address = server.address;
        self.server = Some(server);
        Ok(())
    }

    /// A copy of the data folder as a SIGKILL at this moment would leave it.
    pub fn killed_copy(&self) -> tempfile::TempDir {
        copy_of(&self.data_dir())
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let stopped = server.stop();
            if !std::thread::panicking() {
                stopped.unwrap();
            }
        }
    }
}

/// Copies regular files, two folders deep; sockets are left out.
pub fn copy_of(from: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                copy(&entry.path(), &target);
            } else if kind.is_file() {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

/// A connection on which a test says exactly which bytes are sent.
pub struct Client {
    pub stream: TcpStream,
    correlation_id: i32,
}

/// What a fetch is asked for; one partition each.
#[derive(Clone, Copy)]
pub struct Ask {
    pub topic: &'static str,
    pub partition: i32,
    pub offset: i64,
    pub bytes_max: i32,
}

/// The limits of a whole fetch.
#[derive(Clone, Copy)]
pub struct FetchLimits {
    pub wait_ms_max: i32,
    pub bytes_min: i32,
    pub bytes_max: i32,
}

impl Default for FetchLimits {
    fn default() -> Self {
        FetchLimits {
            wait_ms_max: 0,
            bytes_min: 0,
            bytes_max: i32::MAX,
        }
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream,
            correlation_id: 100,
        }
    }

    /// Sends bytes; the broker may have closed the connection already, which the next read tells.
    pub fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Err(e) if is_closed(e.kind()) => {}
            result => result.unwrap(),
        }
    }

    /// The next frame without its length; `None` when the broker closed the connection.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Err(e) if is_closed(e.kind()) => return None,
            result => result.unwrap(),
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        match self.stream.read_exact(&mut frame) {
            Err(e) if is_closed(e.kind()) => None,
            result => {
                result.unwrap();
                Some(frame)
            }
        }
    }

    /// Sends a request and decodes the whole answer.
    pub fn call<A: Decodable>(&mut self, key: ApiKey, version: i16, request: &impl Encodable) -> A {
        self.correlation_id += 1;
        self.send(&frame_of(key, version, self.correlation_id, request));
        let frame = self.receive().expect("the broker answers");
        decode(&frame, key, version, self.correlation_id)
    }

    pub fn create_topic(&mut self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> i16 {
        let setting = |(name, value): &(&str, &str)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
            .with_configs(settings.iter().map(setting).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let answer: CreateTopicsResponse = self.call(ApiKey::CreateTopics, 7, &request);
        answer.topics[0].error_code
    }

    pub fn delete_topic(&mut self, name: &str) -> i16 {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic(name)]);
        let answer: DeleteTopicsResponse = self.call(ApiKey::DeleteTopics, 5, &request);
        answer.responses[0].error_code
    }

    /// Answers the error code and the low watermark.
    pub fn delete_records(&mut self, name: &str, partition: i32, offset: i64) -> (i16, i64) {
        use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
        let one = DeleteRecordsPartition::default()
            .with_partition_index(partition)
            .with_offset(offset);
        let topics = vec![
            DeleteRecordsTopic::default()
                .with_name(topic(name))
                .with_partitions(vec![one]),
        ];
        let request = DeleteRecordsRequest::default().with_topics(topics);
        let answer: DeleteRecordsResponse = self.call(ApiKey::DeleteRecords, 2, &request);
        let partition = &answer.topics[0].partitions[0];
        (partition.error_code, partition.low_watermark)
    }

    /// Produces one batch with acks=all.
    pub fn produce(&mut self, topic: &str, partition: i32, batch: &[u8]) -> ProduceResult {
        self.correlation_id += 1;
        let mut out = Vec::new();
        produce::encode_request(&mut out, self.correlation_id, topic, partition, -1, batch);
        self.send(&out);
        let frame = self.receive().expect("the broker answers");
        let (correlation_id, mut results) = produce::decode_response(&frame, produce::CLIENT_VERSION).unwrap();
        assert_eq!((correlation_id, results.len()), (self.correlation_id, 1));
        results.remove(0)
    }

    /// Produces and expects success; answers the base offset.
    pub fn append(&mut self, topic: &str, partition: i32, batch: &[u8]) -> i64 {
        let result = self.produce(topic, partition, batch);
        assert_eq!((result.error, result.message), (0, None));
        result.base_offset
    }

    pub fn fetch(&mut self, version: i16, limits: FetchLimits, asks: &[Ask]) -> FetchResponse {
        self.call(ApiKey::Fetch, version, &fetch_request(limits, asks))
    }

    /// Fetches one partition.
    pub fn fetch_one(&mut self, topic: &'static str, partition: i32, offset: i64, bytes_max: i32) -> PartitionData {
        let ask = Ask {
            topic,
            partition,
            offset,
            bytes_max,
        };
        let mut response = self.fetch(11, FetchLimits::default(), &[ask]);
        response.responses.remove(0).partitions.remove(0)
    }

    /// Everything in a partition from `offset` on, in small fetches; every batch is checked and must follow the last.
    pub fn read_all(&mut self, topic: &'static str, partition: i32, mut offset: i64) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let answer = self.fetch_one(topic, partition, offset, 10_000);
            assert_eq!(answer.error_code, 0, "fetch at {offset}");
            let records = answer.records.unwrap_or_default();
            if records.is_empty() {
                assert_eq!(offset, answer.high_watermark);
                return out;
            }
            for batch in kafka_wire::BatchIter::new(&records) {
                let (header, bytes) = batch.unwrap();
                kafka_wire::BatchHeader::checked(bytes).unwrap();
                // Only the first batch of a read may begin in front of what was asked for.
                if header.base_offset != offset {
                    assert!(out.is_empty() && header.base_offset < offset, "dense offsets");
                }
                offset = header.last_offset() + 1;
                out.extend_from_slice(bytes);
            }
        }
    }

    /// ListOffsets for one partition: error code, offset, timestamp.
    pub fn list_offset(&mut self, name: &str, partition: i32, timestamp: i64) -> (i16, i64, i64) {
        use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
        let one = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(timestamp);
        let topics = vec![
            ListOffsetsTopic::default()
                .with_name(topic(name))
                .with_partitions(vec![one]),
        ];
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(topics);
        let answer: ListOffsetsResponse = self.call(ApiKey::ListOffsets, 8, &request);
        let p = &answer.topics[0].partitions[0];
        (p.error_code, p.offset, p.timestamp)
    }
}

/// Whether an error means that the other side closed the connection.
pub fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

pub fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A whole frame.
pub fn frame_of(key: ApiKey, version: i16, correlation_id: i32, request: &impl Encodable) -> Vec<u8> {
    let mut body = BytesMut::new();
    request
        .encode(&mut body, version)
        .unwrap_or_else(|e| panic!("{key:?} v{version}: {e}"));
    frame_around(key, version, correlation_id, &body)
}

/// A whole frame around a body.
pub fn frame_around(key: ApiKey, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = start_request(&mut out, key, version, correlation_id, "tests");
    out.extend_from_slice(body);
    finish_frame(&mut out, start);
    out
}

/// Decodes a response frame and expects nothing behind it.
pub fn decode<A: Decodable>(frame: &[u8], key: ApiKey, version: i16, correlation_id: i32) -> A {
    let mut cursor = Cursor::new(frame);
    assert_eq!(cursor.i32(), Ok(correlation_id), "{key:?} v{version}");
    if key.response_header_is_flexible(version) {
        cursor.skip_tagged_fields().unwrap();
    }
    let mut body = Bytes::copy_from_slice(&frame[cursor.position()..]);
    let answer = A::decode(&mut body, version).unwrap_or_else(|e| panic!("{key:?} v{version}: {e}"));
    assert!(body.is_empty(), "{key:?} v{version}: {} bytes are left", body.len());
    answer
}

pub fn fetch_request(limits: FetchLimits, asks: &[Ask]) -> FetchRequest {
    let partition = |ask: &Ask| {
        FetchPartition::default()
            .with_partition(ask.partition)
            .with_fetch_offset(ask.offset)
            .with_partition_max_bytes(ask.bytes_max)
    };
    let topics = asks
        .chunk_by(|a, b| a.topic == b.topic)
        .map(|asks| {
            FetchTopic::default()
                .with_topic(topic(asks[0].topic))
                .with_partitions(asks.iter().map(partition).collect())
        })
        .collect();
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(limits.wait_ms_max)
        .with_min_bytes(limits.bytes_min)
        .with_max_bytes(limits.bytes_max)
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// An uncompressed batch; record `i` has its value and the timestamp [`BASE_TIMESTAMP_MS`] + `i`.
pub fn batch(values: &[&[u8]]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BASE_TIMESTAMP_MS);
    for (i, value) in values.iter().enumerate() {
        builder.push(BASE_TIMESTAMP_MS + i as i64, None, value);
    }
    builder.finish().to_vec()
}

/// A batch of `records` records whose whole size is near `bytes`, filled from `seed`.
pub fn batch_of(records: usize, bytes: usize, seed: u64) -> Vec<u8> {
    let each = (bytes.saturating_sub(61) / records).saturating_sub(8);
    let mut random = Random(seed | 1);
    let values: Vec<Vec<u8>> = (0..records)
        .map(|_| (0..each).map(|_| random.next() as u8).collect())
        .collect();
    batch(&values.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// Marsaglia's xorshift64*: seeded, the same on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A batch with `bytes` written at `at` and a CRC that fits again.
pub fn patched(batch: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = batch.to_vec();
    out[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = kafka_wire::crc::crc32c(&out[kafka_wire::batch::CRC_START..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The segments of a partition by base offset, with their bytes.
pub fn segments(data_dir: &Path, topic: &str, partition: i32) -> Vec<(i64, Vec<u8>)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(data_dir.join(format!("{topic}-{partition}"))).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "log") {
            let base = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            out.push((base, std::fs::read(path).unwrap()));
        }
    }
    out.sort_unstable();
    out
}

/// How many bytes a fetch gets that is limited to fewer than there are, of batches that have no index entry: the partition log cuts the last batch, the
/// commit log does not begin it.
pub fn cut_at(limit: usize, batch_bytes: usize) -> usize {
    match crate::LAYOUT {
        "commit-log" => limit / batch_bytes * batch_bytes,
        _ => limit,
    }
}

/// All bytes of a partition, in either layout.
pub fn stored(data_dir: &Path, topic: &str, partition: i32) -> Vec<u8> {
    if crate::LAYOUT == "commit-log" {
        return framed(data_dir, topic, partition);
    }
    segments(data_dir, topic, partition)
        .into_iter()
        .flat_map(|(_, bytes)| bytes)
        .collect()
}

/// The batches of a partition in the shared log.
fn framed(data_dir: &Path, topic: &str, partition: i32) -> Vec<u8> {
    let topics = std::fs::read(data_dir.join("topics.json")).unwrap();
    let topics: serde_json::Value = serde_json::from_slice(&topics).unwrap();
    let id: uuid::Uuid = topics[topic]["id"].as_str().unwrap().parse().unwrap();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(data_dir.join("commitlog"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .collect();
    paths.sort_unstable();
    let mut out = Vec::new();
    for path in paths {
        let base: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let bytes = std::fs::read(path).unwrap();
        let mut at = 0;
        while at < bytes.len() {
            let frame = Frame::parse(&bytes[at..], base + at as u64).expect("frames lie one behind the other");
            let end = at + FRAME_BYTES + frame.batch_bytes as usize;
            if (frame.topic, frame.partition) == (id, partition) {
                out.extend_from_slice(&bytes[at + FRAME_BYTES..end]);
            }
            at = end;
        }
    }
    out
}
