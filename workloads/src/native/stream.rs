//! The bytes to and from a broker: a TCP socket, with TLS over it or without. Counts its system calls.
//!
//! The socket blocks, within its time limits; whoever serves several of them says so per call.

use super::ClientError;
#[cfg(feature = "tls")]
use super::tls::Session;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Whether a call may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until something happens or the time limit of the socket is over.
    Yes,
    /// Not at all: [`io::ErrorKind::WouldBlock`] instead.
    No,
}

/// A connected stream.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    #[cfg(feature = "tls")]
    session: Option<Box<Session>>,
    calls: Calls,
}

/// System calls so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub send: u64,
    pub receive: u64,
}

impl Stream {
    /// A stream without TLS.
    pub fn plain(socket: TcpStream) -> Self {
        Self {
            socket,
            #[cfg(feature = "tls")]
            session: None,
            calls: Calls::default(),
        }
    }

    /// The socket, to wait for and, without TLS, to receive from.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the bytes on the socket are the bytes of the protocol.
    pub fn is_plain(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.session.is_none();
        #[cfg(not(feature = "tls"))]
        true
    }

    pub fn calls(&self) -> Calls {
        self.calls
    }

    /// Counts a receive that was made on [`Self::socket`] itself.
    pub fn count_receive(&mut self) {
        self.calls.receive += 1;
    }

    /// Reads what is there; 0 is the end of the stream.
    pub fn read(&mut self, buffer: &mut [u8], wait: Wait) -> io::Result<usize> {
        let mut raw = Raw::new(&self.socket, wait, &mut self.calls);
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session.read(&mut raw, buffer);
        }
        raw.read(buffer)
    }

    /// Drops 1 to `bytes_max` bytes of a stream with TLS, behind its decryption; 0 is the end of the stream. The kernel drops those of a
    /// plain one.
    pub fn skip(&mut self, bytes_max: usize) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session.skip(&mut Raw::new(&self.socket, Wait::Yes, &mut self.calls), bytes_max);
        }
        Err(io::Error::other(format!(
            "{bytes_max} bytes of a plain stream can't be skipped"
        )))
    }

    /// Whether decrypted bytes wait to be read, of which the socket knows nothing.
    pub fn has_plaintext(&mut self) -> bool {
        #[cfg(feature = "tls")]
        return self.session.as_mut().is_some_and(|session| session.has_input());
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Writes all of it, and waits for that.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        const DOING: &str = "sending a request";
        let mut raw = Raw::new(&self.socket, Wait::Yes, &mut self.calls);
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session
                .write_all(&mut raw, bytes)
                .map_err(|error| ClientError::socket(DOING, error));
        }
        raw.write_all(bytes).map_err(|error| ClientError::socket(DOING, error))
    }

    /// Writes as much of `parts` as there is room for, without waiting: bytes taken, 0 when there is no room.
    pub fn write_parts(&mut self, parts: &[IoSlice]) -> io::Result<usize> {
        let mut raw = Raw::new(&self.socket, Wait::No, &mut self.calls);
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session.write_parts(&mut raw, parts);
        }
        no_room_is_nothing(raw.write_vectored(parts))
    }

    /// Hands encrypted bytes on that the socket had no room for; false while some are left.
    pub fn flush_some(&mut self) -> io::Result<bool> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session.flush_some(&mut Raw::new(&self.socket, Wait::No, &mut self.calls));
        }
        Ok(true)
    }
}

#[cfg(feature = "tls")]
impl Stream {
    /// A stream with TLS, after its handshake.
    pub fn secured(socket: TcpStream, session: Session, calls: Calls) -> Self {
        let session = Some(Box::new(session));
        Self { socket, session, calls }
    }
}

/// A write without room is no error where nobody waits.
pub(super) fn no_room_is_nothing(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}

/// recv(2) and sendmsg(2) on a socket, again after a signal, each counted.
pub(crate) struct Raw<'a> {
    socket: &'a TcpStream,
    flags: libc::c_int,
    calls: &'a mut Calls,
}

impl<'a> Raw<'a> {
    pub fn new(socket: &'a TcpStream, wait: Wait, calls: &'a mut Calls) -> Self {
        let flags = if wait == Wait::No { libc::MSG_DONTWAIT } else { 0 };
        Self { socket, flags, calls }
    }
}

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.calls.receive += 1;
            // SAFETY: the descriptor is open while `socket` is borrowed; pointer and length are those of a live, exclusively borrowed slice.
            let received = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    self.flags,
                )
            };
            match done(received)? {
                Some(bytes) => return Ok(bytes),
                None => continue,
            }
        }
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice]) -> io::Result<usize> {
        // SAFETY: all-zero is a valid msghdr: null pointers with lengths of 0.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // IoSlice has the layout of iovec on Unix (its documentation), and sendmsg does not write through it.
        message.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = parts.len().min(libc::UIO_MAXIOV as usize) as _;
        loop {
            self.calls.send += 1;
            // SAFETY: the descriptor is open while `socket` is borrowed; the message names as many parts as there are, all of them borrowed.
            let sent = unsafe {
                let flags = self.flags | libc::MSG_NOSIGNAL;
                libc::sendmsg(self.socket.as_raw_fd(), &raw const message, flags)
            };
            match done(sent)? {
                Some(bytes) => return Ok(bytes),
                None => continue,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a call returned: bytes, an error, or `None` when a signal came first.
fn done(returned: libc::ssize_t) -> io::Result<Option<usize>> {
    match usize::try_from(returned) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            error => Err(error),
        },
    }
}
