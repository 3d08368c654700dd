//! A connection on which a case says exactly which bytes are sent.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// An answer that takes longer is no answer. Only a broker that hangs makes anyone wait for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer of a case is nearly as large.
const FRAME_BYTES_MAX: usize = 16 << 20;

pub(super) struct Wire {
    stream: TcpStream,
}

impl Wire {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Wire { stream })
    }

    /// Sends bytes; the broker may have closed the connection already, which the next receive tells.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.stream.write_all(bytes) {
            Err(error) if is_closed(error.kind()) => Ok(()),
            other => other,
        }
    }

    /// Says that nothing more will be sent.
    pub(super) fn end(&mut self) -> io::Result<()> {
        match self.stream.shutdown(Shutdown::Write) {
            Err(error) if is_closed(error.kind()) => Ok(()),
            other => other,
        }
    }

    /// The next frame without its length; `None` when the broker closed the connection.
    pub(super) fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        if !self.fill(&mut length)? {
            return Ok(None);
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("an answer of {length} bytes, more than {FRAME_BYTES_MAX}"),
            ));
        }
        // It grows with the bytes that come.
        let mut frame = Vec::new();
        match (&mut self.stream).take(length as u64).read_to_end(&mut frame) {
            Err(error) if is_closed(error.kind()) => return Ok(None),
            other => other.map_err(patience)?,
        };
        Ok((frame.len() == length).then_some(frame))
    }

    /// Whether all of it came before the end.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.stream.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if is_closed(error.kind()) => Ok(false),
            Err(error) => Err(patience(error)),
        }
    }
}

fn patience(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => io::Error::new(
            ErrorKind::TimedOut,
            format!("neither an answer nor the end of the connection within {PATIENCE:?}"),
        ),
        _ => error,
    }
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
    )
}
