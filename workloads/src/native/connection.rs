//! One blocking connection to a broker: frames out, frames in, correlation ids checked, everything bounded in time and size.
//!
//! It does not reconnect and does not retry: a client that measures must know when its connection broke.

use super::ClientError;
use kafka_wire::encode::{BufMut, Encode};
use kafka_wire::frame::{finish_frame, start_request};
use kafka_wire::{ApiKey, Cursor, FrameBuffer};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Largest response frame that is read, bytes: far above every response size of an experiment.
pub const FRAME_BYTES_MAX: usize = 128 << 20;
/// CreateTopics before it became flexible.
const CREATE_TOPICS_VERSION: i16 = 4;

/// How a connection is made.
#[derive(Debug, Clone, Copy)]
pub struct ConnectOptions {
    /// For the connection to be made.
    pub connect_timeout: Duration,
    /// For each send or receive.
    pub io_timeout: Duration,
    /// SO_RCVBUF in bytes; `None` leaves it to the kernel's tuning.
    pub receive_buffer_bytes: Option<usize>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        let (connect_timeout, io_timeout) = (Duration::from_secs(10), Duration::from_secs(30));
        Self {
            connect_timeout,
            io_timeout,
            receive_buffer_bytes: None,
        }
    }
}

/// Opens a TCP connection without Nagle's delay.
///
/// # Errors
/// The peer is not there, or an option is refused.
pub fn open_stream(address: SocketAddr, options: &ConnectOptions) -> Result<TcpStream, ClientError> {
    let connect = || -> std::io::Result<TcpStream> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        // The window is agreed on while connecting, so the buffer is set before.
        if let Some(bytes) = options.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect_timeout(&address.into(), options.connect_timeout)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(options.io_timeout))?;
        socket.set_write_timeout(Some(options.io_timeout))?;
        Ok(socket.into())
    };
    connect().map_err(|source| ClientError::Connect { address, source })
}

/// A connection that answers come back on in the order of the requests.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: FrameBuffer,
    /// Whether the frame at the front of the buffer was handed out and may be dropped.
    front_is_read: bool,
    correlation_id: i32,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(address: SocketAddr, options: &ConnectOptions) -> Result<Self, ClientError> {
        let stream = open_stream(address, options)?;
        Ok(Self {
            stream,
            buffer: FrameBuffer::new(FRAME_BYTES_MAX),
            front_is_read: false,
            correlation_id: 0,
        })
    }

    /// A correlation id that this connection has not used yet.
    pub fn next_correlation_id(&mut self) -> i32 {
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        self.correlation_id
    }

    /// Sends whole request frames, one or several.
    ///
    /// # Errors
    /// The connection broke or the peer does not read for the time limit.
    pub fn send(&mut self, frames: &[u8]) -> Result<(), ClientError> {
        self.stream
            .write_all(frames)
            .map_err(|error| ClientError::socket("sending a request", error))
    }

    /// Receives the next frame, behind its length; it must begin with `correlation_id`.
    ///
    /// # Errors
    /// The connection broke, a frame too long, or an answer to another request.
    pub fn receive(&mut self, correlation_id: i32) -> Result<&[u8], ClientError> {
        const DOING: &str = "receiving a response";
        if std::mem::take(&mut self.front_is_read) {
            self.buffer.consume_frame();
        }
        while self.buffer.frame()?.is_none() {
            let read = match self.stream.read(self.buffer.space()) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| ClientError::socket(DOING, error))?,
            };
            if read == 0 {
                return Err(ClientError::Closed { doing: DOING });
            }
            self.buffer.advance(read);
        }
        self.front_is_read = true;
        let frame = self.buffer.frame()?.unwrap_or_default();
        let observed = Cursor::new(frame).i32()?;
        if observed != correlation_id {
            return Err(ClientError::Correlation {
                expected: correlation_id,
                observed,
            });
        }
        Ok(frame)
    }

    /// Creates a topic with one replica of each partition.
    ///
    /// # Errors
    /// The broker refuses, for example because the topic exists already.
    pub fn create_topic(&mut self, topic: &str, partitions: i32) -> Result<(), ClientError> {
        let correlation_id = self.next_correlation_id();
        let mut request = Vec::new();
        let start = start_request(
            &mut request,
            ApiKey::CreateTopics,
            CREATE_TOPICS_VERSION,
            correlation_id,
            "assay",
        );
        request.put_array_len(1, false);
        request.put_string(topic, false);
        request.put_i32(partitions);
        request.put_i16(1); // replicas
        request.put_array_len(0, false); // assignments
        request.put_array_len(0, false); // configs
        request.put_i32(30_000); // timeout, ms
        request.put_u8(0); // not only validated
        finish_frame(&mut request, start);
        self.send(&request)?;

        let mut cursor = Cursor::new(self.receive(correlation_id)?);
        cursor.i32()?; // correlation id, checked already
        cursor.i32()?; // throttle time
        for _ in 0..cursor.array_len(false, 6)?.unwrap_or(0) {
            let name = cursor.string(false)?;
            let code = cursor.i16()?;
            let message = cursor.nullable_string(false)?;
            if name == topic && code != 0 {
                return Err(ClientError::refused("CreateTopics", topic, code, message));
            }
        }
        Ok(())
    }
}
