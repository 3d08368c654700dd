//! The physical limit of fetching: the same file through the same kind of socket to the same receiver, without a protocol.
//!
//! [`serve`] is the inner loop of a fetch path and nothing else; [`BareClient`] takes the stream with the fetch client's own code. What a broker
//! reaches is read as a share of this.

use super::ClientError;
use super::connection::{ConnectOptions, open_stream};
use super::intake::{Intake, Receiver};
use super::phase::{Phase, PhaseResult, latency_histogram, record};
use super::stream::Stream;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long [`serve`] waits for its one connection.
const ACCEPT_TIMEOUT_MS: u16 = 30_000;
/// Bytes that flow after a pause before the clock of a window starts: what lay ready in the socket buffers was not sent in the window.
const SETTLE_BYTES_MIN: u64 = 16 << 20;
/// How often, and how many times, the receive queue is looked at until it stands still.
const STILL_POLL: Duration = Duration::from_millis(1);
const STILL_POLLS_MAX: u32 = 200;
const STILL_POLLS_SAME: u32 = 5;

/// Which loop sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BarePath {
    /// sendfile(2) of a chunk.
    BareSendfile,
    /// pread(2) into a buffer and write(2) of it.
    BareReadWrite,
}

/// What is sent, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BareServeSpec {
    /// Which loop sends.
    pub path: BarePath,
    /// The file, for example the segment of a pre-loaded topic.
    pub file: PathBuf,
    /// Bytes of it that are sent, from its start.
    pub file_bytes: u64,
    /// Bytes of a chunk: the counterpart of a response.
    pub chunk_bytes: usize,
    /// Buffer of the read-write loop, bytes.
    pub buffer_bytes: usize,
    /// Whether the connection is closed after one pass; otherwise the file is sent again and again.
    pub single_pass: bool,
    /// SO_SNDBUF, bytes; `None` leaves it to the kernel's tuning.
    pub socket_send_buffer_bytes: Option<usize>,
    /// TCP congestion control; `None` is the kernel's default.
    pub socket_congestion_control: Option<String>,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BareServed {
    /// Bytes that the socket took.
    pub sent_bytes: u64,
    /// sendfile or write calls.
    pub send_calls: u64,
    /// pread calls.
    pub read_calls: u64,
    /// Send calls that took less than they were given.
    pub short_sends: u64,
}

/// Serves one connection until the peer closes it, which is the normal end, or a single pass is over.
///
/// # Errors
/// The file cannot be read or is shorter than said, nobody connects, or the connection breaks in another way than by the peer's close.
pub fn serve(listener: &TcpListener, spec: &BareServeSpec) -> Result<BareServed, ClientError> {
    let failed = |source| ClientError::File {
        path: spec.file.clone(),
        source,
    };
    let file = File::open(&spec.file).map_err(failed)?;
    let there = file.metadata().map_err(failed)?.len();
    if spec.chunk_bytes == 0 || spec.buffer_bytes == 0 || spec.file_bytes == 0 || there < spec.file_bytes {
        let path = spec.file.display();
        return Err(ClientError::Spec(format!(
            "{path} has {there} bytes: ask for 1 to as many, in chunks and buffers above 0"
        )));
    }
    let stream = accept(listener)?;
    let socket = socket2::SockRef::from(&stream);
    let options = || -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        if let Some(name) = &spec.socket_congestion_control {
            socket.set_tcp_congestion(name.as_bytes())?;
        }
        spec.socket_send_buffer_bytes
            .map_or(Ok(()), |bytes| socket.set_send_buffer_size(bytes))
    };
    options().map_err(|source| ClientError::socket("setting socket options", source))?;

    let mut served = BareServed::default();
    let mut buffer = vec![0; spec.buffer_bytes];
    loop {
        let mut position = 0;
        while position < spec.file_bytes {
            let chunk_bytes = (spec.chunk_bytes as u64).min(spec.file_bytes - position) as usize;
            let sent = match spec.path {
                BarePath::BareSendfile => send_chunk(&stream, &file, position, chunk_bytes, &mut served),
                BarePath::BareReadWrite => copy_chunk(&stream, &file, position, chunk_bytes, &mut buffer, &mut served),
            };
            match sent {
                Ok(()) => position += chunk_bytes as u64,
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    return Ok(served);
                }
                Err(error) => return Err(ClientError::socket("sending the file", error)),
            }
        }
        if spec.single_pass {
            return Ok(served);
        }
    }
}

pub(super) fn accept(listener: &TcpListener) -> Result<TcpStream, ClientError> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    const DOING: &str = "waiting for the receiver";
    let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    match poll(&mut waiting, PollTimeout::from(ACCEPT_TIMEOUT_MS)) {
        Ok(0) => Err(ClientError::Timeout { doing: DOING }),
        Ok(_) => listener
            .accept()
            .map(|(stream, _)| stream)
            .map_err(|error| ClientError::socket(DOING, error)),
        Err(errno) => Err(ClientError::socket(DOING, errno.into())),
    }
}

fn ended_early() -> io::Error {
    io::Error::other("the file ended early; nothing may change it while it is sent")
}

/// sendfile until the chunk is sent.
fn send_chunk(stream: &TcpStream, file: &File, position: u64, bytes: usize, served: &mut BareServed) -> io::Result<()> {
    let mut offset = i64::try_from(position).map_err(io::Error::other)?;
    let mut left = bytes;
    while left > 0 {
        served.send_calls += 1;
        match nix::sys::sendfile::sendfile64(stream, file, Some(&mut offset), left) {
            Ok(0) => return Err(ended_early()),
            Ok(sent) => {
                served.short_sends += u64::from(sent < left);
                served.sent_bytes += sent as u64;
                left -= sent;
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// pread and write, one buffer after the other, until the chunk is sent.
fn copy_chunk(
    stream: &TcpStream,
    file: &File,
    position: u64,
    bytes: usize,
    buffer: &mut [u8],
    served: &mut BareServed,
) -> io::Result<()> {
    let mut done = 0;
    while done < bytes {
        let room = buffer.len().min(bytes - done);
        served.read_calls += 1;
        let read = match file.read_at(&mut buffer[..room], position + done as u64) {
            Ok(0) => return Err(ended_early()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let mut written = 0;
        while written < read {
            served.send_calls += 1;
            match io::Write::write(&mut &*stream, &buffer[written..read]) {
                Ok(sent) => {
                    served.short_sends += u64::from(sent < read - written);
                    served.sent_bytes += sent as u64;
                    written += sent;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        done += read;
    }
    Ok(())
}

/// How a bare stream is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BareReceiveSpec {
    /// Bytes of a chunk, for counting.
    pub chunk_bytes: usize,
    /// What happens to the bytes.
    pub receiver: Receiver,
    /// User buffer of the receiver that copies, bytes.
    pub receive_buffer_bytes: usize,
    /// SO_RCVBUF, bytes; `None` leaves it to the kernel's tuning.
    pub socket_receive_buffer_bytes: Option<usize>,
}

/// The receiving end of [`serve`].
pub struct BareClient {
    stream: Stream,
    spec: BareReceiveSpec,
    intake: Intake,
    flowed: bool,
}

impl BareClient {
    /// Connects; the sender begins at once, and stops when the socket buffers are full.
    ///
    /// # Errors
    /// The sender is not there, or the chunk is 0.
    pub fn connect(address: SocketAddr, spec: BareReceiveSpec) -> Result<Self, ClientError> {
        if spec.chunk_bytes == 0 {
            return Err(ClientError::Spec("choose chunks above 0 bytes".to_owned()));
        }
        let options = ConnectOptions {
            receive_buffer_bytes: spec.socket_receive_buffer_bytes,
            ..ConnectOptions::default()
        };
        let stream = Stream::plain(open_stream(address, &options)?);
        let intake = Intake::new(spec.receiver, spec.receive_buffer_bytes, 1);
        Ok(Self {
            stream,
            spec,
            intake,
            flowed: false,
        })
    }

    /// Receives for the phase. Without requests the sender is stopped by full socket buffers: each phase ends when the queue stands still,
    /// so that nobody uses a CPU between phases, and the buffers are as full before as after.
    ///
    /// # Errors
    /// The connection breaks; or the stream ends although it should not.
    pub fn run(&mut self, phase: Phase) -> Result<PhaseResult, ClientError> {
        let receive_calls_before = self.stream.calls().receive;
        let mut settled_bytes = 0;
        let mut data_ended = false;
        if self.flowed && !phase.single_pass {
            while settled_bytes < SETTLE_BYTES_MIN {
                settled_bytes += self.chunk(phase)?.0;
            }
        }
        self.flowed = true;
        let mut latency_ns = latency_histogram();
        let (mut responses, mut delivered_bytes) = (0u64, 0u64);
        let started = Instant::now();
        let mut now = started;
        while now - started < phase.duration() && !data_ended {
            let (bytes, ended) = self.chunk(phase)?;
            data_ended = ended;
            if bytes > 0 {
                let chunk_at = Instant::now();
                record(&mut latency_ns, chunk_at - now);
                now = chunk_at;
                responses += 1;
                delivered_bytes += bytes;
            }
        }
        if !data_ended {
            self.wait_until_still()?;
        }
        Ok(PhaseResult {
            responses,
            records: 0,
            delivered_bytes,
            moved_bytes: delivered_bytes + settled_bytes,
            wall_ns: u64::try_from((now - started).as_nanos()).unwrap_or(u64::MAX),
            response_bytes_achieved: delivered_bytes as f64 / responses.max(1) as f64,
            send_calls: 0,
            receive_calls: self.stream.calls().receive - receive_calls_before,
            data_ended,
            latency_ns,
        })
    }

    /// Takes a chunk; fewer bytes, and true, at the end of a single pass.
    fn chunk(&mut self, phase: Phase) -> Result<(u64, bool), ClientError> {
        let mut taken = 0;
        while taken < self.spec.chunk_bytes {
            match self.intake.some(&mut self.stream, self.spec.chunk_bytes - taken) {
                Ok(bytes) => taken += bytes,
                Err(ClientError::Closed { .. }) if phase.single_pass => return Ok((taken as u64, true)),
                Err(error) => return Err(error),
            }
        }
        Ok((taken as u64, false))
    }

    /// Waits until the receive queue no longer grows: the sender sleeps.
    fn wait_until_still(&self) -> Result<(), ClientError> {
        let (mut before, mut same) = (None, 0);
        for _ in 0..STILL_POLLS_MAX {
            let queued = queued_bytes(self.stream.socket())
                .map_err(|error| ClientError::socket("reading the queue's length", error))?;
            same = if before == Some(queued) { same + 1 } else { 0 };
            if same >= STILL_POLLS_SAME {
                break;
            }
            before = Some(queued);
            std::thread::sleep(STILL_POLL);
        }
        Ok(())
    }
}

/// Bytes that wait in the receive queue.
fn queued_bytes(stream: &TcpStream) -> io::Result<libc::c_int> {
    let mut queued: libc::c_int = 0;
    // SAFETY: the descriptor is open while `stream` is borrowed, and FIONREAD writes one c_int (tcp(7)).
    let outcome = unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONREAD, &raw mut queued) };
    if outcome == 0 {
        Ok(queued)
    } else {
        Err(io::Error::last_os_error())
    }
}
