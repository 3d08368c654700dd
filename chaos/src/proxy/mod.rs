//! A fault proxy for Kafka's protocol: clients connect to it, it connects to the broker, and on the way it cuts, drops and delays.
//!
//! It follows the frames of both directions, pipelined as they may be, and knows which answer belongs to which request. Answers
//! that name brokers are rewritten, so that clients come back through it: each broker has a listener of its own. Faults come one
//! at a time ([`Proxy::inject`]), each with every value fixed ([`ProxyFault`]), so that a schedule decides and not the proxy. Every
//! batch that the broker applied and whose acknowledgement did not reach its client is told ([`LostAnswer`]): it is what a retry
//! stores twice.
//!
//! Beside that it tells what members of consumer groups and their coordinator say to each other ([`Proxy::trace`]).
//!
//! What waits in memory is bounded: one read for each direction of a connection, and an answer that has to be rewritten. A side that
//! does not read stops the other one.
//!
//! It does not know the versions of Produce before 3, and neither TLS nor SASL without Kafka's frames (SaslHandshake version 0).

mod board;
mod event_loop;
mod frames;
mod link;
mod nodes;
mod outbox;
mod plan;
mod produce;
mod rewrite;
mod trace;

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use board::{Counts, LostAnswer};
pub use plan::{Api, Ending, MILLION, ProxyFault, Then};
pub use trace::{Act, Mark, Step, Trace};

use crate::cluster::Evidence;
use board::Board;
use event_loop::EventLoop;
use nodes::Nodes;

/// How often a wait looks whether it is to be given up.
const LOOK: Duration = Duration::from_millis(5);

/// What the owner and the thread of a proxy share.
#[derive(Debug, Default)]
struct Shared {
    board: Mutex<Board>,
    changed: Condvar,
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        // Whoever panicked left counts and no broken promises.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was lost since it was asked last.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Applied batches whose acknowledgements were lost.
    pub answers: Vec<LostAnswer>,
    /// Produce requests whose outcome could not be followed.
    pub unknown: u32,
}

/// A running proxy; it ends when it is dropped, and takes its connections along.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    orders: UnixStream,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts in front of the broker at `bootstrap`, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub fn start(bootstrap: SocketAddr) -> std::io::Result<Self> {
        let mut nodes = Nodes::default();
        let address = nodes.add(&bootstrap.ip().to_string(), bootstrap.port())?;
        let (orders, received) = UnixStream::pair()?;
        received.set_nonblocking(true)?;
        orders.set_nonblocking(true)?;
        let shared = Arc::new(Shared::default());
        let event_loop = EventLoop::new(shared.clone(), received, nodes);
        let thread = std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || event_loop.run())?;
        Ok(Self {
            shared,
            orders,
            address,
            thread: Some(thread),
        })
    }

    /// Where clients of the bootstrap broker connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Arms a fault, which takes the place of one that has not bitten. `number` names it among what is lost.
    pub fn inject(&self, number: u32, fault: ProxyFault) {
        self.shared.board().arm(number, fault);
        self.wake();
    }

    /// Waits until the armed fault has bitten and every connection that it struck has been seen to its end, and disarms it.
    /// Gives it up after `within`, or when `is_given_up` says so: the evidence then counts what was seen, perhaps nothing.
    pub fn wait_over(&self, within: Duration, is_given_up: &dyn Fn() -> bool) -> Evidence {
        self.wait(within, |board| board.is_over() || is_given_up());
        let armed = self.shared.board().armed.take();
        match armed {
            Some(armed) if armed.bites > 0 => Evidence {
                count: armed.bites,
                what: armed.what,
            },
            _ => Evidence {
                count: 0,
                what: "nothing came by that it could strike".to_owned(),
            },
        }
    }

    /// Waits until every client has left and the last answers of each are known, or `within` is over.
    pub fn drain(&self, within: Duration) {
        self.wait(within, |board| board.links == 0);
    }

    /// Takes what was lost so far.
    pub fn take_lost(&self) -> Lost {
        let mut board = self.shared.board();
        Lost {
            answers: std::mem::take(&mut board.lost),
            unknown: std::mem::take(&mut board.unknown),
        }
    }

    /// What went wrong with connections by itself, in words; the first few.
    pub fn notes(&self) -> Vec<String> {
        self.shared.board().notes.clone()
    }

    /// What members of groups and their coordinator said to each other so far.
    pub fn trace(&self) -> Trace {
        self.shared.board().trace.clone()
    }

    /// What passed so far.
    pub fn counts(&self) -> Counts {
        self.shared.board().counts
    }

    fn wait(&self, within: Duration, is_done: impl Fn(&Board) -> bool) {
        let end = Instant::now() + within;
        let mut board = self.shared.board();
        while !is_done(&board) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            board = match self.shared.changed.wait_timeout(board, left.min(LOOK)) {
                Ok((board, _)) => board,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn wake(&self) {
        // A full pipe wakes as well.
        let _ = (&self.orders).write(&[0]);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.board().stop = true;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
