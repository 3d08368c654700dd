//! Free ports of 127.0.0.1 that stay free until the broker takes them.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt::ReuseAddr,
};

/// How many times a pair of ports is looked for.
const TRIES: usize = 100;

/// A port that is bound and never listens: the kernel gives it to nobody else, not even while the broker is down. The broker
/// binds it as well, as both sides allow address reuse.
#[derive(Debug)]
pub struct HeldPort {
    port: u16,
    _socket: OwnedFd,
}

impl HeldPort {
    /// A free one.
    ///
    /// # Errors
    /// No port is free.
    pub fn new() -> anyhow::Result<Self> {
        Self::bind(0).context("no port can be held on 127.0.0.1")
    }

    /// A free one, and the one that is `below` smaller, in this order.
    ///
    /// # Errors
    /// No two such ports are free.
    pub fn pair(below: u16) -> anyhow::Result<(Self, Self)> {
        for _ in 0..TRIES {
            let upper = Self::new()?;
            let Some(lower) = upper.port.checked_sub(below).filter(|port| *port >= 1024) else {
                continue;
            };
            match Self::bind(lower) {
                Ok(lower) => return Ok((upper, lower)),
                Err(Errno::EADDRINUSE) => {}
                Err(error) => return Err(error).context("no port can be held on 127.0.0.1"),
            }
        }
        bail!("no two free ports with a distance of {below} were found on 127.0.0.1")
    }

    /// Its number.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn bind(port: u16) -> nix::Result<Self> {
        let held = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // Without reuse while it is bound: two holders must not hold one port.
        bind(held.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port))?;
        setsockopt(&held, ReuseAddr, &true)?;
        let port = getsockname::<SockaddrIn>(held.as_raw_fd())?.port();
        Ok(Self { port, _socket: held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_is_for_the_broker_only() {
        let (upper, lower) = HeldPort::pair(2).unwrap();
        assert_eq!(upper.port() - lower.port(), 2);
        assert!(HeldPort::bind(upper.port()).is_err());
        // The standard library allows address reuse, as Java does.
        std::net::TcpListener::bind(("127.0.0.1", upper.port())).unwrap();
    }
}
