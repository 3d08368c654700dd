//! What takes long and blocks, on a thread of its own that ends with it: finding out who leads, connecting, a new producer id. The schedule
//! of a load goes on meanwhile.

use crate::native::admin::{Admin, Leaders};
use crate::native::connection::{ConnectOptions, Connection};
use crate::native::endpoint::{Bootstrap, Endpoint};
use crate::native::stream::Stream;
use crate::native::{ClientError, Security, Spread};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

/// How a client connects: quicker to give up than others, as it tries again.
pub(super) fn options() -> ConnectOptions {
    ConnectOptions {
        connect_timeout: Duration::from_secs(5),
        ..ConnectOptions::default()
    }
}

/// What is known of the cluster, as far as a connection needs it.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub brokers: Bootstrap,
    pub security: Security,
    pub spread: Spread,
}

/// Work that is under way.
#[derive(Debug)]
pub(super) struct Job<T>(Receiver<Result<T, ClientError>>);

impl<T: Send + 'static> Job<T> {
    fn start(work: impl FnOnce() -> Result<T, ClientError> + Send + 'static) -> Self {
        let (send, receive) = sync_channel(1);
        let name = "renewal".to_owned();
        // Without a thread the other end is gone at once, which counts as a failure like any other.
        let _ = std::thread::Builder::new().name(name).spawn(move || {
            let _ = send.send(work());
        });
        Self(receive)
    }

    /// What came of it; `None` while it goes on.
    pub fn done(&self) -> Option<Result<T, ClientError>> {
        match self.0.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(ClientError::Closed { doing: "connecting" })),
        }
    }
}

/// Who leads by now, and a connection to one of them.
pub(super) fn connect(cluster: &Cluster, to: Endpoint) -> Job<(Leaders, Option<Stream>)> {
    let cluster = cluster.clone();
    Job::start(move || {
        let leaders = Admin::connect(&cluster.brokers, &cluster.security)?.leaders_of(&cluster.spread)?;
        // A broker that leads nothing any more is not missed.
        let leads = leaders.brokers.iter().any(|(endpoint, _)| *endpoint == to);
        let stream = match leads {
            true => Some(Connection::open(&to, &cluster.security, &options())?.into_stream()),
            false => None,
        };
        Ok((leaders, stream))
    })
}

/// Who leads by now.
pub(super) fn leaders(cluster: &Cluster) -> Job<Leaders> {
    let cluster = cluster.clone();
    Job::start(move || Admin::connect(&cluster.brokers, &cluster.security)?.leaders_of(&cluster.spread))
}

/// A new producer id.
pub(super) fn identity(cluster: &Cluster) -> Job<(i64, i16)> {
    let cluster = cluster.clone();
    Job::start(move || Admin::connect(&cluster.brokers, &cluster.security)?.init_producer_id())
}
