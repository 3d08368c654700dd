//! Starts and stops a broker: listener, control socket and admission on tokio, a thread per connection.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::broker::Broker;
use crate::config::Config;
use crate::connection;
use crate::control;
use crate::counters::Counter;
use crate::housekeeping::Housekeeping;
use crate::log::{LogError, io};
use crate::planted::PlantedBug;
use crate::storage::{RealDisk, Storage};

/// Stack of a connection's thread: the handlers keep 16 KiB buffers at most.
const STACK_BYTES: usize = 512 * 1024;
/// Pending connections.
const BACKLOG: u32 = 1024;
/// How long the listener rests after an error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a broker did not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address can't be used.
    #[error("can't listen on {address}: {source}{}", if source.kind() == std::io::ErrorKind::AddrInUse { "; choose another with --port, 0 takes a free one" } else { "" })]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel does not have it, or does not let this user have it.
    #[error("socket.congestion.control = {name}: {source}; see /proc/sys/net/ipv4/tcp_allowed_congestion_control")]
    CongestionControl {
        /// As configured.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The data folder.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A thread or the runtime could not be made.
    #[error("can't start: {0}")]
    System(#[from] std::io::Error),
}

/// A running broker.
#[derive(Debug)]
pub struct Server {
    /// What it serves.
    pub broker: Arc<Broker>,
    /// Where it listens.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    acceptor: JoinHandle<()>,
    housekeeping: Housekeeping,
    connections: Arc<Connections>,
}

/// A handle of the socket, and the thread once it has started.
type Connection = (TcpStream, Option<JoinHandle<()>>);

/// Open connections, so that a stop can end them.
#[derive(Debug, Default)]
struct Connections {
    open: Mutex<HashMap<u64, Connection>>,
}

impl Server {
    /// Opens the data folder and starts to listen. Port 0 takes a free one.
    pub fn start(config: Config, planted: Option<PlantedBug>) -> Result<Self, ServerError> {
        Self::start_on(Arc::new(RealDisk), config, planted)
    }

    /// As [`Self::start`], on a storage of the caller's: a faulty one, say.
    pub fn start_on(
        storage: Arc<dyn Storage>,
        config: Config,
        planted: Option<PlantedBug>,
    ) -> Result<Self, ServerError> {
        let asked = config.listener();
        let listen_error = |source| ServerError::Listen { address: asked, source };
        // Bound before the logs are opened, so that the port is known; listens after, so that nobody is let in early.
        let socket = socket2::Socket::new(socket2::Domain::for_address(asked), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        let congestion = config.text("socket.congestion.control");
        if !congestion.is_empty() {
            // Accepted sockets inherit it.
            socket
                .set_tcp_congestion(congestion.as_bytes())
                .map_err(|source| ServerError::CongestionControl {
                    name: congestion.to_owned(),
                    source,
                })?;
        }
        socket.bind(&asked.into()).map_err(listen_error)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(asked);
        let data_dir = config.data_dir();
        let broker = Arc::new(Broker::open(storage, config, address.port(), planted)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (control, listener) = {
            let _guard = runtime.enter();
            let control = control::bind(&data_dir).map_err(io("bind", data_dir.join(control::SOCKET)))?;
            socket.listen(BACKLOG as i32).map_err(listen_error)?;
            (control, TcpListener::from_std(socket.into())?)
        };
        let (stop, stopped) = oneshot::channel();
        let connections = Arc::new(Connections::default());
        let acceptor = {
            let (broker, connections) = (broker.clone(), connections.clone());
            let body = move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(&listener, &broker, &connections) => {}
                        () = control::serve(control, broker.clone()) => {}
                        _ = stopped => {}
                    }
                });
            };
            std::thread::Builder::new().name("acceptor".into()).spawn(body)?
        };
        let housekeeping = Housekeeping::start(broker.clone())?;
        tracing::info!(%address, fetch_path = %broker.config.fetch_path(), planted = ?broker.planted, "listening");
        Ok(Server {
            broker,
            address,
            stop,
            acceptor,
            housekeeping,
            connections,
        })
    }

    /// Stops gracefully: no new connections, open ones end, logs are flushed, the clean-shutdown marker is written.
    pub fn stop(self) -> Result<(), ServerError> {
        self.broker.begin_stop();
        let _ = self.stop.send(());
        let _ = self.acceptor.join();
        let open: Vec<_> = {
            let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.drain().map(|(_, connection)| connection).collect()
        };
        // Reading ends at once; a response under way may still be written.
        for (socket, _) in &open {
            let _ = socket.shutdown(Shutdown::Read);
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        for (socket, thread) in open {
            while thread.as_ref().is_some_and(|t| !t.is_finished()) && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            let _ = socket.shutdown(Shutdown::Both);
            if let Some(thread) = thread {
                let _ = thread.join();
            }
        }
        self.housekeeping.stop();
        self.broker.close_cleanly()?;
        tracing::info!("stopped cleanly");
        Ok(())
    }
}

async fn accept(listener: &TcpListener, broker: &Arc<Broker>, connections: &Arc<Connections>) {
    let limit = broker.config.size("max.connections");
    let mut next_id = 0u64;
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        broker.counters.add(Counter::Connections, 1);
        next_id += 1;
        let open = connections.open.lock().unwrap_or_else(PoisonError::into_inner).len();
        if open >= limit {
            broker.counters.add(Counter::ConnectionsRefused, 1);
            tracing::warn!(limit, "connection refused: max.connections is reached");
            continue;
        }
        if let Err(error) = admit(socket, next_id, broker, connections) {
            tracing::warn!(%error, "a connection could not be served");
        }
    }
}

/// A connection's entry, taken out when its thread ends, by a panic too: the socket would stay open otherwise.
struct Place {
    connections: Arc<Connections>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.id);
    }
}

fn admit(
    socket: tokio::net::TcpStream,
    id: u64,
    broker: &Arc<Broker>,
    connections: &Arc<Connections>,
) -> std::io::Result<()> {
    let socket = socket.into_std()?;
    socket.set_nonblocking(false)?;
    let handle = socket.try_clone()?;
    // Entered before the thread starts, so that it finds itself when it leaves.
    let lock = |c: &Arc<Connections>| {
        c.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, (handle, None))
    };
    lock(connections);
    let body = {
        let (broker, connections) = (broker.clone(), connections.clone());
        move || {
            let _place = Place { connections, id };
            connection::serve(&broker, socket);
        }
    };
    let thread = std::thread::Builder::new()
        .name(format!("connection-{id}"))
        .stack_size(STACK_BYTES)
        .spawn(body);
    let mut open = connections.open.lock().unwrap_or_else(PoisonError::into_inner);
    match thread {
        Ok(thread) => {
            if let Some(entry) = open.get_mut(&id) {
                entry.1 = Some(thread);
            }
            Ok(())
        }
        Err(error) => {
            open.remove(&id);
            Err(error)
        }
    }
}
