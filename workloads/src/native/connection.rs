//! One blocking connection to a broker: frames out, frames in, correlation ids checked, everything bounded in time and size.
//!
//! It does not reconnect and does not retry: a client that measures must know when its connection broke.

use super::ClientError;
use super::endpoint::Endpoint;
use super::security::Security;
use super::stream::{Stream, Wait};
use kafka_wire::{Cursor, FrameBuffer};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Largest response frame that is read, bytes: far above every response size of an experiment.
pub const FRAME_BYTES_MAX: usize = 128 << 20;

/// How a connection is made.
#[derive(Debug, Clone, Copy)]
pub struct ConnectOptions {
    /// For the connection to be made, and for each step until it may be used.
    pub connect_timeout: Duration,
    /// For each send or receive.
    pub io_timeout: Duration,
    /// SO_RCVBUF in bytes; `None` leaves it to the kernel's tuning.
    pub receive_buffer_bytes: Option<usize>,
    /// SO_SNDBUF in bytes; `None` leaves it to the kernel's tuning.
    pub send_buffer_bytes: Option<usize>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        let (connect_timeout, io_timeout) = (Duration::from_secs(10), Duration::from_secs(30));
        Self {
            connect_timeout,
            io_timeout,
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
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
        if let Some(bytes) = options.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        socket.connect_timeout(&address.into(), options.connect_timeout)?;
        socket.set_tcp_nodelay(true)?;
        set_time_limit(&socket, options.io_timeout)?;
        Ok(socket.into())
    };
    connect().map_err(|source| ClientError::Connect { address, source })
}

fn set_time_limit(socket: &socket2::Socket, limit: Duration) -> std::io::Result<()> {
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))
}

/// A connection that answers come back on in the order of the requests.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    buffer: FrameBuffer,
    /// Whether the frame at the front of the buffer was handed out and may be dropped.
    front_is_read: bool,
    correlation_id: i32,
}

impl Connection {
    /// Connects to the first address of `endpoint` that answers, and secures the connection.
    ///
    /// # Errors
    /// Nobody is there, or the two ends don't agree on the security.
    pub fn open(endpoint: &Endpoint, security: &Security, options: &ConnectOptions) -> Result<Self, ClientError> {
        let mut failure = None;
        for address in endpoint.resolve()? {
            match open_stream(address, options) {
                Ok(socket) => return Self::secure(socket, endpoint, security, options),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or(ClientError::Closed { doing: "connecting" }))
    }

    #[cfg_attr(
        not(feature = "tls"),
        expect(unused_variables, reason = "only a TLS handshake has time limits of its own")
    )]
    fn secure(
        socket: TcpStream,
        endpoint: &Endpoint,
        security: &Security,
        options: &ConnectOptions,
    ) -> Result<Self, ClientError> {
        let stream = match &security.tls {
            None => Stream::plain(socket),
            #[cfg(feature = "tls")]
            Some(tls) => super::tls::secure(socket, endpoint, tls, options)?,
            #[cfg(not(feature = "tls"))]
            Some(_) => {
                return Err(ClientError::Tls {
                    endpoint: endpoint.clone(),
                    message: "this program is built without the feature `tls`; build it with `--features tls`"
                        .to_owned(),
                });
            }
        };
        let mut connection = Self::over(stream);
        if let Some(sasl) = &security.sasl {
            super::sasl::authenticate(&mut connection, endpoint, sasl)?;
        }
        Ok(connection)
    }

    /// Connects without TLS or SASL.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(address: SocketAddr, options: &ConnectOptions) -> Result<Self, ClientError> {
        Ok(Self::over(Stream::plain(open_stream(address, options)?)))
    }

    fn over(stream: Stream) -> Self {
        Self {
            stream,
            buffer: FrameBuffer::new(FRAME_BYTES_MAX),
            front_is_read: false,
            correlation_id: 0,
        }
    }

    /// The stream, between two requests.
    pub(crate) fn into_stream(self) -> Stream {
        self.stream
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
        self.stream.write_all(frames)
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
            let read = self
                .stream
                .read(self.buffer.space(), Wait::Yes)
                .map_err(|error| ClientError::socket(DOING, error))?;
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

    /// Sends the request that `encode` appends and receives its answer.
    ///
    /// # Errors
    /// As [`Self::send`] and [`Self::receive`].
    pub fn ask(&mut self, encode: impl FnOnce(&mut Vec<u8>, i32)) -> Result<&[u8], ClientError> {
        let correlation_id = self.next_correlation_id();
        let mut request = Vec::new();
        encode(&mut request, correlation_id);
        self.send(&request)?;
        self.receive(correlation_id)
    }
}
