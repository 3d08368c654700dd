//! A listener for each broker that clients were told of.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};

use socket2::{Domain, Socket, Type};

use super::rewrite::Addresses;

/// Most brokers of a cluster that get a listener.
const NODES_MAX: usize = 64;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

#[derive(Debug)]
struct Node {
    host: String,
    port: u16,
    /// Bound and never listening, so that the port stays ours while connections are refused.
    _held: Socket,
    local: SocketAddr,
    listener: Option<TcpListener>,
}

/// The brokers, each with its listener; one that is named for the first time gets one.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    /// Set while connections are refused.
    is_refusing: bool,
}

impl Nodes {
    /// The listeners that are open, each with its broker's place.
    pub(super) fn listeners(&self) -> impl Iterator<Item = (usize, &TcpListener)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(place, node)| Some((place, node.listener.as_ref()?)))
    }

    /// Takes a waiting connection; `None` when there is none.
    pub(super) fn accept(&self, place: usize) -> io::Result<Option<TcpStream>> {
        let Some(listener) = self.nodes.get(place).and_then(|node| node.listener.as_ref()) else {
            return Ok(None);
        };
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Some(stream))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins to connect to the broker at `place`, without waiting for it.
    pub(super) fn connect(&self, place: usize) -> io::Result<TcpStream> {
        let node = self.nodes.get(place).ok_or(io::ErrorKind::NotFound)?;
        let mut addresses = (node.host.as_str(), node.port).to_socket_addrs()?;
        let address = addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(socket.into())
    }

    /// Closes every listener: the kernel refuses whoever comes.
    pub(super) fn refuse(&mut self) {
        self.is_refusing = true;
        for node in &mut self.nodes {
            node.listener = None;
        }
    }

    /// Listens again.
    ///
    /// # Errors
    /// When a port can't be listened on; it may be tried again.
    pub(super) fn admit(&mut self) -> io::Result<()> {
        for node in self.nodes.iter_mut().filter(|node| node.listener.is_none()) {
            node.listener = Some(listen(node.local)?);
        }
        self.is_refusing = false;
        Ok(())
    }

    /// Adds a broker, or finds it; gives the address of its listener.
    ///
    /// # Errors
    /// When there are too many, or no port is left.
    pub(super) fn add(&mut self, host: &str, port: u16) -> io::Result<SocketAddr> {
        let known = self.nodes.iter().find(|node| node.host == host && node.port == port);
        if let Some(node) = known {
            return Ok(node.local);
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(io::Error::other(format!("there are more than {NODES_MAX} brokers")));
        }
        let held = bound((Ipv4Addr::LOCALHOST, 0).into())?;
        let local = held.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let listener = if self.is_refusing { None } else { Some(listen(local)?) };
        self.nodes.push(Node {
            host: host.to_owned(),
            port,
            _held: held,
            local,
            listener,
        });
        Ok(local)
    }
}

impl Addresses for Nodes {
    fn of(&mut self, host: &str, port: i32) -> Result<(String, u16), String> {
        let broker = u16::try_from(port).map_err(|_| format!("broker {host} has port {port}"))?;
        let told = |error| format!("broker {host}:{port} gets no listener: {error}");
        let local = self.add(host, broker).map_err(told)?;
        Ok((local.ip().to_string(), local.port()))
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
