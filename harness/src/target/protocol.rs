//! The few questions that tell whether a started broker is ready.

use std::net::SocketAddr;
use std::time::Duration;

use kafka_wire::encode::Encode;
use kafka_wire::frame::{finish_frame, start_request};
use kafka_wire::{ApiKey, Cursor};
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
    let answer = ask(&mut connection, ApiKey::ApiVersions, 0, |_| {})?;
    let mut cursor = Cursor::new(answer);
    cursor.i32()?; // correlation id, checked already
    let code = cursor.i16()?;
    if code != 0 {
        return Err(ClientError::Spec(format!("ApiVersions is answered with error {code}")));
    }
    let answer = ask(&mut connection, ApiKey::Metadata, 1, |request| {
        request.put_array_len(0, false); // no topics
    })?;
    let mut cursor = Cursor::new(answer);
    cursor.i32()?;
    // The least that a broker takes: id, host, port, rack.
    Ok(cursor.array_len(false, 12)?.unwrap_or(0))
}

fn ask(
    connection: &mut Connection,
    key: ApiKey,
    version: i16,
    body: impl FnOnce(&mut Vec<u8>),
) -> Result<&[u8], ClientError> {
    let correlation_id = connection.next_correlation_id();
    let mut request = Vec::new();
    let start = start_request(&mut request, key, version, correlation_id, "assay");
    body(&mut request);
    finish_frame(&mut request, start);
    connection.send(&request)?;
    connection.receive(correlation_id)
}
