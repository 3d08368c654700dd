//! Waiting for a queue of librdkafka to the nanosecond: its own waits count in milliseconds, and a schedule does not.

use super::handle::{Queue, failed};
use crate::load::clock;
use crate::native::ClientError;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use rdkafka_sys as sys;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

const DOING: &str = "waiting";

/// Wakes up who waits for a queue that was empty.
pub(super) struct Wake {
    /// librdkafka's threads write to it until the queue is told not to.
    event: EventFd,
    queue: Queue,
}

impl Wake {
    /// Over the queue.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub fn over(queue: Queue) -> Result<Self, ClientError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).map_err(|error| failed(DOING, error.to_string()))?;
        let one = 1u64;
        // SAFETY: the queue and the descriptor live until `drop`, which takes the descriptor away; the payload is copied.
        unsafe {
            let payload = (&raw const one).cast();
            sys::rd_kafka_queue_io_event_enable(queue.raw(), event.as_raw_fd(), payload, size_of::<u64>());
        }
        Ok(Self { event, queue })
    }

    /// The queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Waits until something came by the queue after it was last found empty, or until `until_ns`.
    ///
    /// # Errors
    /// The system can't wait.
    pub fn wait(&self, until_ns: u64) -> Result<(), ClientError> {
        let left_ns = until_ns.saturating_sub(clock::now_ns());
        if left_ns == 0 {
            return Ok(());
        }
        let limit = TimeSpec::from_duration(Duration::from_nanos(left_ns));
        let mut sources = [PollFd::new(self.event.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut sources, Some(limit), None) {
            Ok(0) | Err(Errno::EINTR) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(failed(DOING, error.to_string())),
        }
        match self.event.read() {
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(error) => Err(failed(DOING, error.to_string())),
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        // SAFETY: the queue lives; a descriptor of -1 ends the writing.
        unsafe { sys::rd_kafka_queue_io_event_enable(self.queue.raw(), -1, std::ptr::null(), 0) };
    }
}
