//! Waiting for several sockets at once, without an allocation per wait.

use super::ClientError;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The sockets of one wait, in the order that they were added.
#[derive(Debug, Default)]
pub(crate) struct Poller {
    entries: Vec<libc::pollfd>,
}

impl Poller {
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a socket; one that neither answers nor room is wanted from never becomes ready.
    pub fn add(&mut self, socket: &TcpStream, wants_input: bool, wants_room: bool) {
        let wanted = |wants, event| if wants { event } else { 0 };
        let events = wanted(wants_input, libc::POLLIN) | wanted(wants_room, libc::POLLOUT);
        // A negative descriptor is left out by poll(2); otherwise a peer that hangs up would wake up who waits for nothing.
        let fd = if events == 0 { -1 } else { socket.as_raw_fd() };
        let revents = 0;
        self.entries.push(libc::pollfd { fd, events, revents });
    }

    /// Waits until at least one is ready.
    ///
    /// # Errors
    /// None is within `limit`.
    pub fn wait(&mut self, limit: Duration, doing: &'static str) -> Result<(), ClientError> {
        match self.wait_for(limit, doing)? {
            true => Ok(()),
            false => Err(ClientError::Timeout { doing }),
        }
    }

    /// Waits for as long as `limit`, to the nanosecond as far as the system's timers go; answers whether one is ready.
    ///
    /// # Errors
    /// The system's.
    pub fn wait_for(&mut self, limit: Duration, doing: &'static str) -> Result<bool, ClientError> {
        let limit = libc::timespec {
            tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        loop {
            let (entries, count) = (self.entries.as_mut_ptr(), self.entries.len() as libc::nfds_t);
            // SAFETY: pointer and count are those of a live vector that is borrowed exclusively, the time lives as long as the call, and
            // null leaves the signals as they are.
            let ready = unsafe { libc::ppoll(entries, count, &raw const limit, std::ptr::null()) };
            match ready {
                0 => return Ok(false),
                1.. => return Ok(true),
                _ => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(ClientError::socket(doing, error)),
                },
            }
        }
    }

    /// Whether the socket can be read, or has an error to read.
    pub fn has_input(&self, place: usize) -> bool {
        let events = libc::POLLIN | libc::POLLERR | libc::POLLHUP;
        self.entries.get(place).is_some_and(|entry| entry.revents & events != 0)
    }
}
