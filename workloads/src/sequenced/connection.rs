//! A small blocking connection with deadlines: whole frames in, whole frames out.
//!
//! It does not reconnect and does not know what a failure means.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use kafka_wire::encode::{BufMut, Encode};
use kafka_wire::frame::{finish_frame, start_request};
use kafka_wire::{ApiKey, Cursor, ErrorCode, FrameBuffer, WireError};

/// Largest response that is accepted; a fetch asks for far less.
const FRAME_BYTES_MAX: usize = 64 << 20;
const CREATE_TOPICS_VERSION: i16 = 2;
const INIT_PRODUCER_ID_VERSION: i16 = 0;

/// What can go wrong between a client and a broker.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed, was closed, or did not answer in time.
    #[error("{address}: {source}")]
    Connection {
        /// The broker.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// The broker's answer is no valid answer.
    #[error("{address}: the answer cannot be read: {source}")]
    Wire {
        /// The broker.
        address: SocketAddr,
        /// The cause.
        source: WireError,
    },
    /// The answer belongs to another request.
    #[error("{address}: answer {found} came where {expected} was due")]
    Correlation {
        /// The broker.
        address: SocketAddr,
        /// Correlation id of the oldest open request.
        expected: i32,
        /// Correlation id that came.
        found: i32,
    },
    /// No producer id was given.
    #[error("{address}: the broker gives no producer id: error {code}; try again, or go without idempotence")]
    ProducerId {
        /// The broker.
        address: SocketAddr,
        /// Kafka's error code.
        code: i16,
    },
    /// A topic was refused.
    #[error("the broker refuses to create topic {topic:?}: error {code} {message}; give another name, or delete it")]
    CreateTopic {
        /// The topic.
        topic: String,
        /// Kafka's error code.
        code: i16,
        /// The broker's words.
        message: String,
    },
}

/// Names an idempotent producer to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProducerId {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// A connection to one broker.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    frames: FrameBuffer,
}

impl Connection {
    pub(super) fn open(address: SocketAddr, timeout: Duration) -> Result<Self, ClientError> {
        let error = |source| ClientError::Connection { address, source };
        let stream = TcpStream::connect_timeout(&address, timeout).map_err(error)?;
        if stream.local_addr().map_err(error)? == address {
            // While nobody listens, the kernel may pick the wanted port as the own one and connect a socket to itself.
            return Err(error(ErrorKind::ConnectionRefused.into()));
        }
        stream.set_nodelay(true).map_err(error)?;
        stream.set_write_timeout(Some(timeout)).map_err(error)?;
        Ok(Self {
            address,
            stream,
            frames: FrameBuffer::new(FRAME_BYTES_MAX),
        })
    }

    /// Writes one or several request frames.
    pub(super) fn send(&mut self, frames: &[u8]) -> Result<(), ClientError> {
        self.stream.write_all(frames).map_err(|source| self.failed(source))
    }

    /// Reads the next response frame (without its length) and hands it to `decode`, which gives the correlation id, too.
    pub(super) fn receive<T>(
        &mut self,
        deadline: Instant,
        expected: i32,
        decode: impl FnOnce(&[u8]) -> Result<(i32, T), WireError>,
    ) -> Result<T, ClientError> {
        let address = self.address;
        let wire = |source| ClientError::Wire { address, source };
        while self.frames.frame().map_err(wire)?.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.failed(ErrorKind::TimedOut.into()));
            }
            self.stream
                .set_read_timeout(Some(left))
                .map_err(|source| self.failed(source))?;
            match self.stream.read(self.frames.space()) {
                Ok(0) => return Err(self.failed(ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.frames.advance(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed(source)),
            }
        }
        let frame = self.frames.frame().map_err(wire)?.unwrap_or_default();
        let (found, decoded) = decode(frame).map_err(wire)?;
        self.frames.consume_frame();
        if found == expected {
            Ok(decoded)
        } else {
            Err(ClientError::Correlation {
                address,
                expected,
                found,
            })
        }
    }

    /// Asks for a producer id (InitProducerId version 0), with nothing else in flight.
    pub(super) fn init_producer_id(&mut self, timeout: Duration) -> Result<ProducerId, ClientError> {
        let mut request = Vec::new();
        let (key, version) = (ApiKey::InitProducerId, INIT_PRODUCER_ID_VERSION);
        let start = start_request(&mut request, key, version, 1, "assay");
        request.put_nullable_string(None, false); // transactional id
        request.put_i32(i32::MAX); // transaction timeout, which means nothing without one
        finish_frame(&mut request, start);
        self.send(&request)?;
        let (code, given) = self.receive(Instant::now() + timeout, 1, |frame| {
            let mut cursor = Cursor::new(frame);
            let correlation_id = cursor.i32()?;
            cursor.i32()?; // throttle time
            let (code, id, epoch) = (cursor.i16()?, cursor.i64()?, cursor.i16()?);
            cursor.finish()?;
            Ok((correlation_id, (code, ProducerId { id, epoch })))
        })?;
        if code == ErrorCode::None.code() {
            return Ok(given);
        }
        let address = self.address;
        Err(ClientError::ProducerId { address, code })
    }

    fn failed(&self, source: std::io::Error) -> ClientError {
        ClientError::Connection {
            address: self.address,
            source,
        }
    }
}

/// Creates a topic with one replica (CreateTopics version 2). A topic that exists is an error: its records would be foreign.
///
/// # Errors
/// When the broker cannot be reached within `timeout` or refuses.
pub fn create_topic(address: SocketAddr, topic: &str, partitions: u32, timeout: Duration) -> Result<(), ClientError> {
    let mut request = Vec::new();
    let start = start_request(&mut request, ApiKey::CreateTopics, CREATE_TOPICS_VERSION, 1, "assay");
    request.put_array_len(1, false);
    request.put_string(topic, false);
    request.put_i32(i32::try_from(partitions).unwrap_or(i32::MAX));
    request.put_i16(1); // replication factor
    request.put_array_len(0, false); // assignments
    request.put_array_len(0, false); // configs
    request.put_i32(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    request.put_u8(0); // not validate-only
    finish_frame(&mut request, start);

    let mut connection = Connection::open(address, timeout)?;
    connection.send(&request)?;
    let (code, message) = connection.receive(Instant::now() + timeout, 1, decode_create_topics)?;
    if code == ErrorCode::None.code() {
        return Ok(());
    }
    Err(ClientError::CreateTopic {
        topic: topic.to_owned(),
        code,
        message,
    })
}

/// Reads a CreateTopics response of one topic: correlation id, then error code and message.
fn decode_create_topics(frame: &[u8]) -> Result<(i32, (i16, String)), WireError> {
    let mut cursor = Cursor::new(frame);
    let correlation_id = cursor.i32()?;
    cursor.i32()?; // throttle time
    let mut outcome = (
        ErrorCode::UnknownServerError.code(),
        "the answer names no topic".to_owned(),
    );
    for _ in 0..cursor.array_len(false, 6)?.unwrap_or(0) {
        cursor.string(false)?;
        outcome = (
            cursor.i16()?,
            cursor.nullable_string(false)?.unwrap_or_default().to_owned(),
        );
    }
    cursor.finish()?;
    Ok((correlation_id, outcome))
}
