//! Whether a broker is ready, asked without the patience that its clients have.

use std::net::SocketAddr;
use std::time::Duration;

use kafka_wire::admin as wire;
use workloads::native::ClientError;
use workloads::native::connection::{ConnectOptions, Connection};

/// A broker that is up answers within milliseconds; one that is not must not hold up the look at its process.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks a broker for its API versions and then for the live brokers of its cluster; answers how many there are.
///
/// # Errors
/// Nobody answers, or not in Kafka's words.
pub fn live_brokers(address: SocketAddr) -> Result<usize, ClientError> {
    let options = ConnectOptions {
        connect_timeout: PATIENCE,
        io_timeout: PATIENCE,
        ..ConnectOptions::default()
    };
    let mut connection = Connection::connect(address, &options)?;
    let versions = wire::decode_api_versions(connection.ask(wire::encode_api_versions)?)?;
    if versions.error != 0 {
        let error = versions.error;
        return Err(ClientError::Spec(format!("ApiVersions is answered with error {error}")));
    }
    let metadata = connection.ask(|out, id| wire::encode_metadata(out, id, Some(&[])))?;
    Ok(wire::decode_metadata(metadata)?.brokers.len())
}
