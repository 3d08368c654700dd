//! The client's side of SaslHandshake and SaslAuthenticate (KIP-152); what the bytes of a mechanism mean is not looked at.

use bytes::BufMut;

use crate::admin::CLIENT_ID;
use crate::cursor::{Cursor, Result};
use crate::encode::Encode;
use crate::frame::finish_frame;

const HANDSHAKE_KEY: i16 = 17;
const AUTHENTICATE_KEY: i16 = 36;
/// The last versions without compact lengths; with version 1 of the handshake, what follows is framed as requests.
const VERSION: i16 = 1;

/// The answer to a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Kafka's error code.
    pub error: i16,
    /// Mechanisms that the listener takes.
    pub mechanisms: Vec<String>,
}

/// The answer to one step of a mechanism.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated<'a> {
    /// Kafka's error code.
    pub error: i16,
    /// The broker's words.
    pub message: Option<&'a str>,
    /// The mechanism's own bytes.
    pub bytes: &'a [u8],
}

/// As [`crate::frame::start_request`], for the two APIs that the bundled broker does not serve.
fn start(out: &mut Vec<u8>, key: i16, correlation_id: i32) -> usize {
    let start = out.len();
    out.put_i32(0);
    out.put_i16(key);
    out.put_i16(VERSION);
    out.put_i32(correlation_id);
    out.put_string(CLIENT_ID, false);
    start
}

/// Appends the request to begin a mechanism.
pub fn encode_handshake(out: &mut Vec<u8>, correlation_id: i32, mechanism: &str) {
    let start = start(out, HANDSHAKE_KEY, correlation_id);
    out.put_string(mechanism, false);
    finish_frame(out, start);
}

/// Reads the answer behind the frame's length.
///
/// # Errors
/// Bytes that are no answer.
pub fn decode_handshake(frame: &[u8]) -> Result<Handshake> {
    let c = &mut Cursor::new(frame);
    c.i32()?; // correlation id
    let error = c.i16()?;
    let mut mechanisms = Vec::new();
    for _ in 0..c.array_len(false, 2)?.unwrap_or(0) {
        mechanisms.push(c.string(false)?.to_owned());
    }
    c.finish()?;
    Ok(Handshake { error, mechanisms })
}

/// Appends one step of a mechanism.
pub fn encode_authenticate(out: &mut Vec<u8>, correlation_id: i32, bytes: &[u8]) {
    let start = start(out, AUTHENTICATE_KEY, correlation_id);
    out.put_i32(bytes.len() as i32);
    out.put_slice(bytes);
    finish_frame(out, start);
}

/// Reads the answer behind the frame's length.
///
/// # Errors
/// Bytes that are no answer.
pub fn decode_authenticate(frame: &[u8]) -> Result<Authenticated<'_>> {
    let c = &mut Cursor::new(frame);
    c.i32()?; // correlation id
    let error = c.i16()?;
    let message = c.nullable_string(false)?;
    let bytes = c.nullable_bytes(false)?.unwrap_or_default();
    c.i64()?; // for how long it holds, ms
    c.finish()?;
    Ok(Authenticated { error, message, bytes })
}
