//! The physical limit of producing: the same requests from the same client to a loop that checks each batch's CRC-32C and appends it to
//! one file, and the same appends with a flush behind so many of them, without a socket.
//!
//! [`take`] answers Produce requests and nothing else; [`Appender`] writes what a broker would have written between two flushes.

use super::ClientError;
use super::bare::accept;
use super::phase::{Phase, PhaseResult, latency_histogram, record};
use super::produce::{Pool, ProduceSpec};
use kafka_wire::admin::CLIENT_ID;
use kafka_wire::encode::Encode;
use kafka_wire::frame::finish_frame;
use kafka_wire::produce::{CLIENT_VERSION, ProduceRequest, ProduceResult, encode_response};
use kafka_wire::{BatchHeader, Cursor, FrameBuffer, RequestHeader};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Largest request, bytes: the largest batch of an experiment and what is around it.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// Where batches are appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BareFile {
    /// The file; it must not exist.
    pub path: PathBuf,
    /// Allocated beforehand, as a broker does with `log.preallocate`; 0 for none.
    pub preallocate_bytes: u64,
}

impl BareFile {
    fn create(&self) -> Result<File, ClientError> {
        let create = || {
            let file = File::options().write(true).create_new(true).open(&self.path)?;
            if self.preallocate_bytes > 0 {
                let bytes = i64::try_from(self.preallocate_bytes).map_err(io::Error::other)?;
                nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, bytes)?;
            }
            Ok(file)
        };
        create().map_err(|source| failed(&self.path, source))
    }
}

fn failed(path: &Path, source: io::Error) -> ClientError {
    let path = path.to_owned();
    ClientError::File { path, source }
}

/// What was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BareTaken {
    /// Batches appended.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their records.
    pub records: u64,
}

/// Takes Produce requests from one connection until the peer closes it, which is the normal end.
///
/// # Errors
/// The file can't be written, nobody connects, the connection breaks, or bytes that are no request or whose CRC-32C is wrong.
pub fn take(listener: &TcpListener, to: &BareFile) -> Result<BareTaken, ClientError> {
    const DOING: &str = "taking batches";
    let file = to.create()?;
    let mut stream = accept(listener)?;
    stream
        .set_nodelay(true)
        .map_err(|error| ClientError::socket(DOING, error))?;
    let mut frames = FrameBuffer::new(REQUEST_BYTES_MAX);
    let mut taken = BareTaken::default();
    let mut answers = Vec::new();
    loop {
        match stream.read(frames.space()) {
            Ok(0) => return Ok(taken),
            Ok(bytes) => frames.advance(bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(taken),
            Err(error) => return Err(ClientError::socket(DOING, error)),
        }
        answers.clear();
        while let Some(frame) = frames.frame()? {
            append(frame, &file, to, &mut taken, &mut answers)?;
            frames.consume_frame();
        }
        answer(&mut stream, &answers)?;
    }
}

fn answer(stream: &mut TcpStream, answers: &[u8]) -> Result<(), ClientError> {
    match answers.is_empty() {
        true => Ok(()),
        false => stream
            .write_all(answers)
            .map_err(|error| ClientError::socket("answering", error)),
    }
}

/// Appends the batch of one request, and its answer to `answers`.
fn append(
    frame: &[u8],
    file: &File,
    to: &BareFile,
    taken: &mut BareTaken,
    answers: &mut Vec<u8>,
) -> Result<(), ClientError> {
    let mut cursor = Cursor::new(frame);
    let header = RequestHeader::parse(&mut cursor)?;
    let request = ProduceRequest::decode(&mut cursor, header.api_version)?;
    let only = request.partitions.first().filter(|_| request.partitions.len() == 1);
    let Some((partition, batch)) = only.and_then(|partition| Some((partition, partition.records?))) else {
        let message = format!("a request of {CLIENT_ID} without exactly one batch; let only its own client connect");
        return Err(ClientError::Spec(message));
    };
    let checked = BatchHeader::checked(batch).map_err(|error| ClientError::Spec(format!("a batch: {error}")))?;
    file.write_all_at(batch, taken.bytes)
        .map_err(|source| failed(&to.path, source))?;
    let start = answers.len();
    answers.extend_from_slice(&[0; 4]);
    answers.extend_from_slice(&header.correlation_id.to_be_bytes());
    answers.put_no_tags(true);
    let result = ProduceResult {
        topic: partition.topic.to_owned(),
        partition: partition.partition,
        error: 0,
        base_offset: i64::try_from(taken.records).unwrap_or(i64::MAX),
        append_time_ms: -1,
        log_start_offset: 0,
        message: None,
    };
    encode_response(answers, CLIENT_VERSION, &[result]);
    finish_frame(answers, start);
    taken.batches += 1;
    taken.bytes += batch.len() as u64;
    taken.records += u64::try_from(checked.records_count).unwrap_or_default();
    Ok(())
}

/// What is appended, and how much of it between two flushes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppendSpec {
    /// Where.
    pub to: BareFile,
    /// The batches, as a client would send them: their size, records and pool, and the most bytes of a phase.
    pub produce: ProduceSpec,
    /// Batches between two flushes.
    pub batches_per_flush: u32,
}

/// Appends batches to one file, with an fdatasync behind so many of them.
pub struct Appender {
    file: File,
    pool: Pool,
    spec: AppendSpec,
    written_bytes: u64,
    batches: u64,
}

impl Appender {
    /// Builds the batches and creates the file.
    ///
    /// # Errors
    /// A figure that cannot work, or a file that can't be made.
    pub fn create(spec: AppendSpec) -> Result<Self, ClientError> {
        if spec.batches_per_flush == 0 || spec.produce.batch_bytes == 0 || spec.produce.pool_batches == 0 {
            let message = "choose at least one batch per flush, of a pool of at least one".to_owned();
            return Err(ClientError::Spec(message));
        }
        Ok(Self {
            pool: Pool::build(&spec.produce)?,
            file: spec.to.create()?,
            spec,
            written_bytes: 0,
            batches: 0,
        })
    }

    /// Appends and flushes for the phase. A latency is that of the appends and the flush of one group.
    ///
    /// # Errors
    /// The file can't be written or flushed.
    pub fn run(&mut self, phase: Phase) -> Result<PhaseResult, ClientError> {
        let group = u64::from(self.spec.batches_per_flush);
        let group_bytes = group * self.spec.produce.batch_bytes as u64;
        let groups_max = (self.spec.produce.bytes_max.unwrap_or(u64::MAX) / group_bytes).max(1);
        let mut latency_ns = latency_histogram();
        let (mut groups, mut records) = (0u64, 0u64);
        let started = Instant::now();
        let mut now = started;
        while now - started < phase.duration() && groups < groups_max {
            for _ in 0..group {
                let place = (self.batches % self.pool.facts.len() as u64) as usize;
                self.file
                    .write_all_at(self.pool.batch(place), self.written_bytes)
                    .map_err(|source| failed(&self.spec.to.path, source))?;
                records += u64::try_from(self.pool.facts[place].0).unwrap_or_default();
                self.written_bytes += self.spec.produce.batch_bytes as u64;
                self.batches += 1;
            }
            self.file
                .sync_data()
                .map_err(|source| failed(&self.spec.to.path, source))?;
            let flushed_at = Instant::now();
            record(&mut latency_ns, flushed_at - now);
            now = flushed_at;
            groups += 1;
        }
        let bytes = groups * group_bytes;
        Ok(PhaseResult {
            responses: groups * group,
            records,
            delivered_bytes: bytes,
            moved_bytes: bytes,
            wall_ns: u64::try_from((now - started).as_nanos()).unwrap_or(u64::MAX),
            response_bytes_achieved: self.spec.produce.batch_bytes as f64,
            send_calls: 0,
            receive_calls: 0,
            data_ended: groups == groups_max,
            latency_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::tests::produce_spec;
    use std::net::Ipv4Addr;

    fn target(folder: &tempfile::TempDir, preallocate_bytes: u64) -> BareFile {
        let path = folder.path().join("bare.log");
        BareFile {
            path,
            preallocate_bytes,
        }
    }

    #[test]
    fn what_the_client_sends_lies_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let to = target(&folder, 0);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let sink = {
            let to = to.clone();
            std::thread::spawn(move || take(&listener, &to).unwrap())
        };
        let mut client = super::super::produce::ProduceClient::bare(address, produce_spec(1)).unwrap();
        let pass = Phase {
            duration_ms: 60_000,
            single_pass: true,
        };
        let sent = client.run(pass).unwrap();
        let ledger = client.ledger().partitions[0].clone();
        drop(client);
        let taken = sink.join().unwrap();
        assert_eq!((taken.batches, taken.bytes), (16, 32_000));
        assert_eq!((sent.responses, sent.records, ledger.dense), (16, taken.records, true));
        assert_eq!(ledger.next_offset as u64, taken.records);
        let stored = std::fs::read(&to.path).unwrap();
        let whole = kafka_wire::BatchIter::new(&stored)
            .filter(|batch| batch.is_ok())
            .count();
        assert_eq!((stored.len(), whole), (32_000, 16));
        assert!(
            take(&TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), &to).is_err(),
            "the file is there"
        );
    }

    #[test]
    fn a_batch_with_a_wrong_crc_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let to = target(&folder, 0);
        let mut builder = kafka_wire::BatchBuilder::new(1_000);
        builder.push(1_000, None, &[7; 400]);
        let mut batch = builder.finish().to_vec();
        batch[300] ^= 1;
        let mut frame = Vec::new();
        kafka_wire::produce::encode_request(&mut frame, 1, "bare", 0, -1, &batch);
        let file = to.create().unwrap();
        let error = append(&frame[4..], &file, &to, &mut BareTaken::default(), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().starts_with("a batch: "), "{error}");
        assert_eq!(std::fs::metadata(&to.path).unwrap().len(), 0);
    }

    #[test]
    fn groups_are_whole_and_no_phase_writes_more_than_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let spec = AppendSpec {
            to: target(&folder, 1 << 20),
            produce: ProduceSpec {
                bytes_max: Some(20_000),
                ..produce_spec(1)
            },
            batches_per_flush: 4,
        };
        let path = spec.to.path.clone();
        let mut appender = Appender::create(spec).unwrap();
        let phase = Phase {
            duration_ms: 60_000,
            single_pass: false,
        };
        for passes in 1..=2 {
            let done = appender.run(phase).unwrap();
            assert_eq!(
                (done.responses, done.delivered_bytes, done.latency_ns.len()),
                (8, 16_000, 2)
            );
            assert!(done.data_ended && done.records > 0);
            assert_eq!(
                std::fs::metadata(&path).unwrap().len(),
                passes * 16_000,
                "its size is what was appended"
            );
        }
    }
}
