//! The bundled broker: one that any Kafka client can use, and a laboratory with a switch for every design decision
//! under test.
//!
//! Try it: `cargo run --release -- broker --port 9092 --data-dir data`, then `kcat -b 127.0.0.1:9092 -L`.
//!
//! A request goes `server` -> `connection` -> `handlers` -> `topics` and `log`; a fetch response goes out by
//! `fetch_path`. Nothing in here knows of experiments, schedules of faults or statistics.

pub mod broker;
mod checkpoint;
pub mod config;
mod connection;
pub mod control;
pub mod counters;
pub mod fetch_path;
mod groups;
mod handlers;
mod housekeeping;
pub mod log;
pub mod planted;
pub mod server;
mod side_by_side;
pub mod storage;
pub mod topics;

pub use config::{Config, ConfigError, FetchPath};
pub use control::ControlClient;
pub use planted::PlantedBug;
pub use server::{Server, ServerError};

/// Runs a broker until SIGTERM or SIGINT, then stops it gracefully.
pub fn run(config: Config, planted: Option<PlantedBug>) -> Result<(), ServerError> {
    use tokio::signal::unix::{SignalKind, signal};
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the start, so that a signal during recovery is not the default action.
    let (mut terminate, mut interrupt) = {
        let _guard = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    // Outside of the runtime: a start that fails drops a runtime of its own, which may not be done inside of one.
    let server = Server::start(config, planted)?;
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
    });
    server.stop()
}

/// Raises the soft limit of open files to the hard one: every partition and every connection needs some.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}
