//! The few questions that tell whether a started broker is ready, and what it runs with.

use std::net::SocketAddr;
use std::time::Duration;

use kafka_wire::encode::{BufMut, Encode};
use kafka_wire::frame::{finish_frame, start_request};
use kafka_wire::{ApiKey, Cursor};
use workloads::native::ClientError;
use workloads::native::connection::{ConnectOptions, Connection};

/// A broker that is up answers within milliseconds; one that is not must not hold up the look at its process.
const PATIENCE: Duration = Duration::from_secs(2);

/// `config source` of a value that nobody gave.
const DEFAULT_CONFIG: i8 = 5;
/// `resource type` of a broker.
const BROKER: i8 = 4;

/// One setting of a broker, as DescribeConfigs tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value; `None` when there is none, or when it is secret.
    pub value: Option<String>,
    /// Whether nobody gave it.
    pub is_default: bool,
    /// Whether its value is secret.
    pub is_secret: bool,
}

/// Asks a broker for its API versions and then for the live brokers of its cluster; answers how many there are.
///
/// # Errors
/// Nobody answers, or not in Kafka's words.
pub fn live_brokers(address: SocketAddr) -> Result<usize, ClientError> {
    let mut connection = connect(address)?;
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

/// Every setting of the broker `id`, asked of itself.
///
/// # Errors
/// Nobody answers, not in Kafka's words, or it refuses.
pub fn settings(address: SocketAddr, id: u8) -> Result<Vec<Setting>, ClientError> {
    let mut connection = connect(address)?;
    let answer = ask(&mut connection, ApiKey::DescribeConfigs, 1, |request| {
        request.put_array_len(1, false);
        request.put_i8(BROKER);
        request.put_string(&id.to_string(), false);
        request.put_i32(-1); // every name
        request.put_u8(0); // no synonyms
    })?;
    let mut cursor = Cursor::new(answer);
    cursor.i32()?; // correlation id, checked already
    cursor.i32()?; // throttle time
    let mut settings = Vec::new();
    for _ in 0..cursor.array_len(false, 11)?.unwrap_or(0) {
        let code = cursor.i16()?;
        let message = cursor.nullable_string(false)?;
        if code != 0 {
            let message = message.unwrap_or_default();
            return Err(ClientError::Spec(format!(
                "DescribeConfigs is refused with error {code} {message}"
            )));
        }
        cursor.i8()?; // resource type
        cursor.string(false)?; // resource name
        for _ in 0..cursor.array_len(false, 11)?.unwrap_or(0) {
            let name = cursor.string(false)?.to_owned();
            let value = cursor.nullable_string(false)?.map(str::to_owned);
            cursor.bool()?; // read only
            let is_default = cursor.i8()? == DEFAULT_CONFIG;
            let is_secret = cursor.bool()?;
            for _ in 0..cursor.array_len(false, 5)?.unwrap_or(0) {
                cursor.string(false)?;
                cursor.nullable_string(false)?;
                cursor.i8()?;
            }
            settings.push(Setting {
                name,
                value,
                is_default,
                is_secret,
            });
        }
    }
    Ok(settings)
}

fn connect(address: SocketAddr) -> Result<Connection, ClientError> {
    let options = ConnectOptions {
        connect_timeout: PATIENCE,
        io_timeout: PATIENCE,
        ..ConnectOptions::default()
    };
    Connection::connect(address, &options)
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
