//! The proxy's one thread: waits for sockets, times and orders, and moves the connections on.

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Shared;
use super::board::Board;
use super::link::Link;
use super::nodes::Nodes;
use super::plan::{Ending, ProxyFault};

/// Bytes that one read may bring.
const READ_BYTES: usize = 64 << 10;
/// Most connections at a time; more are refused.
const LINKS_MAX: usize = 1024;
/// When something that failed is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// Whom a descriptor belongs to.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Orders,
    Node(usize),
    Link(usize),
}

pub(super) struct EventLoop {
    shared: Arc<Shared>,
    /// Readable when there is an order.
    orders: UnixStream,
    nodes: Nodes,
    links: Vec<Link>,
    scratch: Vec<u8>,
}

impl EventLoop {
    pub(super) fn new(shared: Arc<Shared>, orders: UnixStream, nodes: Nodes) -> Self {
        Self {
            shared,
            orders,
            nodes,
            links: Vec::new(),
            scratch: vec![0; READ_BYTES],
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            let refusing_until = shared.board().refusing_until;
            let ready = self.wait(refusing_until);
            let mut board = shared.board();
            if board.stop {
                return;
            }
            self.carry_out(&mut board);
            for owner in ready {
                match owner {
                    Owner::Orders => self.read_orders(),
                    Owner::Node(place) => self.accept(place, &mut board),
                    Owner::Link(place) => self.pump(place, &mut board),
                }
            }
            let now = Instant::now();
            for place in 0..self.links.len() {
                if self.links[place].wakes_at().is_some_and(|at| at <= now) {
                    self.pump(place, &mut board);
                }
            }
            self.links.retain(|link| !link.is_over());
            board.suffering = self.links.iter().filter(|link| link.suffers()).count();
            board.links = self.links.len();
            drop(board);
            shared.changed.notify_all();
        }
    }

    /// Waits for whatever comes first; gives who is ready.
    fn wait(&self, refusing_until: Option<Instant>) -> Vec<Owner> {
        let mut fds = vec![PollFd::new(self.orders.as_fd(), PollFlags::POLLIN)];
        let mut owners = vec![Owner::Orders];
        for (place, listener) in self.nodes.listeners() {
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
            owners.push(Owner::Node(place));
        }
        for (place, link) in self.links.iter().enumerate() {
            let sides = [link.client_interest(), link.broker_interest()];
            for (socket, input, room) in sides.into_iter().flatten().filter(|side| side.1 || side.2) {
                fds.push(interest(socket, input, room));
                owners.push(Owner::Link(place));
            }
        }
        let wakes_at = self.links.iter().filter_map(Link::wakes_at).chain(refusing_until).min();
        let timeout = match wakes_at.map(|at| at.saturating_duration_since(Instant::now())) {
            None => PollTimeout::NONE,
            // Rounded up, or the last millisecond would be spent turning round.
            Some(left) => PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX),
        };
        if poll(&mut fds, timeout).is_err() {
            std::thread::sleep(Duration::from_millis(1)); // a signal, or no memory: look again
            return Vec::new();
        }
        let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let ready = fds.iter().zip(owners).filter(|(fd, _)| is_ready(fd));
        ready.map(|(_, owner)| owner).collect()
    }

    fn read_orders(&mut self) {
        // What was ordered stands on the board; the bytes only wake.
        let mut bytes = [0; 64];
        let _ = self.orders.read(&mut bytes);
    }

    /// Faults that do not wait for a request or an answer.
    fn carry_out(&mut self, board: &mut Board) {
        if let Some(until) = board.refusing_until
            && until <= Instant::now()
        {
            board.refusing_until = match self.nodes.admit() {
                Ok(()) => None,
                Err(error) => {
                    board.note(format!("a port can't be listened on again: {error}"));
                    Some(Instant::now() + AGAIN)
                }
            };
        }
        let Some(armed) = board.armed.as_ref().filter(|armed| !armed.done) else {
            return;
        };
        let (number, (ending, refused)) = match (armed.number, armed.fault) {
            (number, ProxyFault::Cut { ending }) => (number, (ending, None)),
            (number, ProxyFault::Refuse { for_us }) => (number, (Ending::Reset, Some(for_us))),
            _ => return,
        };
        if let Some(for_us) = refused {
            self.nodes.refuse();
            board.refusing_until = Some(Instant::now() + Duration::from_micros(for_us));
        }
        let cut = self.links.iter_mut().map(|link| link.cut(number, ending, board));
        let bites = cut.filter(|is_cut| *is_cut).count() as u32;
        if let Some(armed) = &mut board.armed {
            let then = refused.map_or(String::new(), |for_us| {
                format!(", and new ones refused for {for_us} us")
            });
            armed.what = format!("{bites} connections were cut{then}");
            (armed.bites, armed.done) = (bites, true);
        }
        // Whoever was cut off may be done at once.
        for place in 0..self.links.len() {
            self.pump(place, board);
        }
    }

    fn accept(&mut self, place: usize, board: &mut Board) {
        loop {
            let client = match self.nodes.accept(place) {
                Ok(Some(client)) => client,
                Ok(None) => return,
                Err(error) => {
                    board.note(format!("a connection can't be accepted: {error}"));
                    return std::thread::sleep(Duration::from_millis(1));
                }
            };
            if self.links.len() >= LINKS_MAX {
                board.note(format!("more than {LINKS_MAX} connections: one was refused"));
                continue;
            }
            match self.nodes.connect(place) {
                Ok(broker) => {
                    board.counts.connections += 1;
                    let number = u32::try_from(board.counts.connections).unwrap_or(u32::MAX);
                    self.links.push(Link::new(number, client, broker));
                }
                Err(error) => board.note(format!("the broker can't be connected to: {error}")),
            }
        }
    }

    fn pump(&mut self, place: usize, board: &mut Board) {
        if let Some(link) = self.links.get_mut(place) {
            link.pump(&mut self.scratch, board, &mut self.nodes);
        }
    }
}

fn interest(socket: &TcpStream, input: bool, room: bool) -> PollFd<'_> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::POLLIN, input);
    flags.set(PollFlags::POLLOUT, room);
    PollFd::new(socket.as_fd(), flags)
}
