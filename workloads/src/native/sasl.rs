//! Shows a name and a password to a broker, before the first request of a connection.
//!
//! A broker that limits how long that holds closes the connection afterwards; nothing here shows them again.

use super::ClientError;
use super::connection::Connection;
use super::endpoint::Endpoint;
use super::security::{Sasl, SaslMechanism};
use kafka_wire::ErrorCode;
use kafka_wire::sasl as wire;

/// Goes through the steps of the mechanism.
///
/// # Errors
/// The listener does not take the mechanism, the password is wrong, or the broker does not prove that it knows it.
pub(super) fn authenticate(connection: &mut Connection, endpoint: &Endpoint, sasl: &Sasl) -> Result<(), ClientError> {
    let mechanism = sasl.mechanism;
    let failed = |message: String| ClientError::Sasl {
        endpoint: endpoint.clone(),
        mechanism,
        message,
    };
    let frame = connection.ask(|out, id| wire::encode_handshake(out, id, mechanism.name()));
    let answer = wire::decode_handshake(frame.map_err(|error| failed(not_sasl(&error)))?)?;
    if answer.error != 0 && answer.mechanisms.is_empty() {
        return Err(failed(
            "the listener takes no name and password; leave sasl.mechanism out".to_owned(),
        ));
    }
    if answer.error != 0 {
        let taken = answer.mechanisms.join(", ");
        return Err(failed(format!(
            "the listener takes {taken} only; choose one of them as sasl.mechanism"
        )));
    }
    match mechanism {
        SaslMechanism::Plain => {
            let bytes = format!("\0{}\0{}", sasl.username, sasl.password);
            step(connection, bytes.as_bytes()).map(drop).map_err(failed)
        }
        SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 => scram(connection, sasl).map_err(failed),
    }
}

fn not_sasl(error: &ClientError) -> String {
    format!("{error}; is it a listener with SASL?")
}

/// One step; answers the mechanism's bytes of the broker.
fn step(connection: &mut Connection, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let frame = connection
        .ask(|out, id| wire::encode_authenticate(out, id, bytes))
        .map_err(|error| error.to_string())?;
    let answer = wire::decode_authenticate(frame).map_err(|error| error.to_string())?;
    if answer.error == 0 {
        return Ok(answer.bytes.to_vec());
    }
    let name = ErrorCode::from_code(answer.error).map_or_else(|| answer.error.to_string(), |code| format!("{code:?}"));
    let message = answer.message.unwrap_or("no reason is given");
    Err(format!("{name}: {message}; look at sasl.username and sasl.password"))
}

#[cfg(feature = "tls")]
fn scram(connection: &mut Connection, sasl: &Sasl) -> Result<(), String> {
    use super::scram::{Exchange, Hash};
    let hash = match sasl.mechanism {
        SaslMechanism::ScramSha512 => Hash::sha512(),
        _ => Hash::sha256(),
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "a message of the server is no text".to_owned());
    let exchange = Exchange::new(hash, &sasl.username, &sasl.password)?;
    let server_first = text(step(connection, exchange.first_message().as_bytes())?)?;
    let proof = exchange.prove(&server_first)?;
    let server_final = text(step(connection, proof.message.as_bytes())?)?;
    proof.check(&server_final)
}

#[cfg(not(feature = "tls"))]
fn scram(_: &mut Connection, _: &Sasl) -> Result<(), String> {
    Err(
        "this program is built without the feature `tls`, which SCRAM needs too; build it with `--features tls`"
            .to_owned(),
    )
}
