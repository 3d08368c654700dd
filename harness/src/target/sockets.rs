//! Options of the listening sockets of a broker that has no setting for them.
//!
//! The harness duplicates the sockets of a process that it started (pidfd_getfd) and sets the option on them; what such a socket
//! accepts afterwards inherits it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc;
use socket2::Socket;

/// `0A` in /proc/net/tcp: LISTEN.
const LISTENING: &str = "0A";
/// The device that only this machine reaches.
const LOOPBACK: &[u8] = b"lo";

/// A listening TCP socket of another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Its descriptor there.
    fd: i32,
    /// Its port.
    pub port: u16,
    /// Whether it takes connections from this machine only.
    pub on_loopback: bool,
}

/// Sets the congestion control of everything that a process listens on, reads it back, and answers how many sockets it were.
///
/// # Errors
/// The kernel does not know the algorithm, or does not let this process at the sockets of that one.
pub fn set_congestion_control(process: u32, algorithm: &str) -> io::Result<usize> {
    let sockets = listening(process)?;
    let pidfd = pidfd_open(process)?;
    for socket in &sockets {
        let socket = duplicate(&pidfd, socket.fd)?;
        socket.set_tcp_congestion(algorithm.as_bytes())?;
        let name = socket.tcp_congestion()?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if name != algorithm.as_bytes() {
            let name = String::from_utf8_lossy(name);
            return Err(io::Error::other(format!(
                "the kernel answers {name} after {algorithm} was set"
            )));
        }
    }
    Ok(sockets.len())
}

/// Binds every socket that a process listens on, and that takes connections from elsewhere, to the loopback device, so that it
/// does so no more. Answers the ports of those that were bound.
///
/// # Errors
/// The kernel does not let this process at the sockets of that one, or is older than 5.7 and wants a privilege for it.
pub fn keep_on_loopback(process: u32) -> io::Result<Vec<u16>> {
    let open: Vec<Listening> = listening(process)?
        .into_iter()
        .filter(|socket| !socket.on_loopback)
        .collect();
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let pidfd = pidfd_open(process)?;
    let mut bound = Vec::new();
    for Listening { fd, port, .. } in open {
        let socket = duplicate(&pidfd, fd)?;
        // Once is enough, and a second time needs a privilege.
        if socket.device()?.as_deref() != Some(LOOPBACK) {
            socket.bind_device(Some(LOOPBACK))?;
            bound.push(port);
        }
    }
    Ok(bound)
}

/// The TCP sockets that a process listens on, IPv4 and IPv6.
///
/// # Errors
/// The process is gone or belongs to somebody else.
pub fn listening(process: u32) -> io::Result<Vec<Listening>> {
    let mut by_inode = BTreeMap::new();
    for table in ["tcp", "tcp6"] {
        // A kernel without IPv6 has no second table.
        let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        by_inode.extend(text.lines().skip(1).filter_map(listening_line));
    }
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        let entry = entry?;
        // A descriptor may be closed since it was listed.
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let inode = target
            .to_str()
            .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        let fd = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let (Some(&(port, on_loopback)), Some(fd)) = (inode.and_then(|inode: u64| by_inode.get(&inode)), fd) {
            sockets.push(Listening { fd, port, on_loopback });
        }
    }
    sockets.sort_by_key(|socket| socket.port);
    Ok(sockets)
}

/// Inode, port and whether it is on loopback, of a line of /proc/net/tcp or tcp6 whose socket listens.
fn listening_line(line: &str) -> Option<(u64, (u16, bool))> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != LISTENING {
        return None;
    }
    // Words of four bytes in the order of the machine; 127.x.x.x also as an IPv4 address mapped into IPv6, and ::1.
    let last = u32::from_str_radix(address.get(address.len().checked_sub(8)?..)?, 16)
        .ok()?
        .to_ne_bytes();
    let front = &address[..address.len() - 8];
    let on_loopback = match front {
        "" | "0000000000000000FFFF0000" => last[0] == 127,
        "000000000000000000000000" => last == [0, 0, 0, 1],
        _ => false,
    };
    Some((
        fields.get(9)?.parse().ok()?,
        (u16::from_str_radix(port, 16).ok()?, on_loopback),
    ))
}

fn pidfd_open(process: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process as libc::pid_t, 0) };
    owned(fd)
}

fn duplicate(pidfd: &OwnedFd, fd: i32) -> io::Result<Socket> {
    // SAFETY: pidfd_getfd takes three integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    owned(fd).map(Socket::from)
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    fn algorithm_of(socket: &impl std::os::fd::AsFd) -> String {
        let name = socket2::SockRef::from(socket).tcp_congestion().unwrap();
        String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned()
    }

    #[test]
    fn accepted_connections_inherit_what_is_set_on_the_listener() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let any = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port_of = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let own = std::process::id();
        let found = listening(own).unwrap();
        let of = |port: u16| found.iter().find(|socket| socket.port == port).copied().unwrap();
        assert!(of(port_of(&listener)).on_loopback);
        assert!(!of(port_of(&any)).on_loopback);
        if let Ok(six) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
            let found = listening(own).unwrap();
            assert!(
                found
                    .iter()
                    .any(|socket| socket.port == port_of(&six) && socket.on_loopback)
            );
        }

        // reno is part of every kernel that has TCP.
        assert!(set_congestion_control(own, "reno").unwrap() >= 2);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(algorithm_of(&accepted), "reno");
        assert!(set_congestion_control(own, "nonsense").is_err());
    }

    #[test]
    fn what_listens_everywhere_can_be_kept_on_loopback() {
        let any = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = any.local_addr().unwrap().port();
        match keep_on_loopback(std::process::id()) {
            Ok(bound) => assert!(bound.contains(&port), "{bound:?}"),
            Err(error) => return eprintln!("skipped, this kernel refuses: {error}"),
        }
        assert_eq!(
            socket2::SockRef::from(&any).device().unwrap().as_deref(),
            Some(LOOPBACK)
        );
        let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        any.accept().unwrap();
    }
}
