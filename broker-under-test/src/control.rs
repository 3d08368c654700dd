//! The control socket in the data folder: what the harness asks a bundled broker beside the Kafka protocol.
//!
//! One JSON object per line and one answer per line: `{"op":"info"}`, `{"op":"counters"}`. Folders may be deeper than the
//! 108 bytes of a socket address, so both sides go through `/proc/self/fd/N`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::broker::Broker;

/// The socket's name in the data folder.
pub const SOCKET: &str = "control.sock";
/// A longer line is no request.
const LINE_BYTES_MAX: u64 = 4096;
/// How long the listener rests after an error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections served at a time.
const CONNECTIONS_MAX: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
enum Request {
    Info,
    Counters,
}

/// Who is at the other end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Info {
    /// Port of the Kafka listener.
    pub port: u16,
    /// Process id.
    pub pid: u32,
    /// Version of the broker.
    pub version: String,
    /// Every setting as it is in force.
    pub settings: BTreeMap<String, String>,
    /// The settings that differ from their defaults.
    pub differs: BTreeMap<String, String>,
}

fn short_path(dir: &Path) -> io::Result<(File, PathBuf)> {
    let handle = File::open(dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd())).join(SOCKET);
    Ok((handle, path))
}

/// Binds the socket, replacing what a crashed broker left; the folder's lock says that there is no other.
pub(crate) fn bind(dir: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(dir.join(SOCKET)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let (_handle, path) = short_path(dir)?;
    UnixListener::bind(path)
}

/// Answers requests until the task is dropped.
pub(crate) async fn serve(listener: UnixListener, broker: Arc<Broker>) {
    let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // As for the listener: too many open files would otherwise keep this loop from ever yielding.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let broker = broker.clone();
        tokio::spawn(async move {
            let _slot = slot;
            let (read, mut write) = stream.into_split();
            let mut read = tokio::io::BufReader::new(read);
            loop {
                let mut line = String::new();
                match (&mut read).take(LINE_BYTES_MAX).read_line(&mut line).await {
                    Ok(n) if n > 0 => {}
                    _ => return,
                }
                let mut answer = respond(&broker, &line);
                answer.push('\n');
                if write.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn respond(broker: &Broker, line: &str) -> String {
    let text = |(s, v): (&crate::config::Setting, &str)| (s.name.to_owned(), v.to_owned());
    let answer = match serde_json::from_str(line) {
        Ok(Request::Info) => serde_json::to_string(&Info {
            port: broker.port,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: broker.config.effective().map(text).collect(),
            differs: broker
                .config
                .effective()
                .filter(|(s, v)| s.default != *v)
                .map(text)
                .collect(),
        }),
        Ok(Request::Counters) => serde_json::to_string(&broker.counters.snapshot()),
        Err(error) => serde_json::to_string(&BTreeMap::from([("error", error.to_string())])),
    };
    answer.unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// The harness's side.
#[derive(Debug)]
pub struct ControlClient {
    stream: BufReader<UnixStream>,
}

impl ControlClient {
    /// Connects to the broker that uses `data_dir`.
    ///
    /// # Errors
    /// `NotFound` and `ConnectionRefused` while it is not up.
    pub fn connect(data_dir: &Path) -> io::Result<Self> {
        let (_handle, path) = short_path(data_dir)?;
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(ControlClient {
            stream: BufReader::new(stream),
        })
    }

    fn ask<T: serde::de::DeserializeOwned>(&mut self, request: &Request) -> io::Result<T> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes())?;
        line.clear();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Port, process id and settings.
    pub fn info(&mut self) -> io::Result<Info> {
        self.ask(&Request::Info)
    }

    /// All counters by name, see [`crate::counters::Counter`].
    pub fn counters(&mut self) -> io::Result<BTreeMap<String, u64>> {
        self.ask(&Request::Counters)
    }
}
