//! The few questions of RocketMQ's remoting protocol that tell whether it is ready.
//!
//! A frame: length of the rest (u32), header encoding (top byte, 0 is JSON) and header length (24 bits), header, body.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// See `protocol`: what is up answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// Far above the answers of a broker that has just been started.
const FRAME_BYTES_MAX: u32 = 4 << 20;
/// What a broker runs with and did so far.
const GET_BROKER_RUNTIME_INFO: i32 = 28;
/// The brokers that are registered at a name server.
const GET_BROKER_CLUSTER_INFO: i32 = 106;
/// The code of a good answer.
const SUCCESS: i64 = 0;

/// Whether the name server knows a broker of this name.
///
/// # Errors
/// Nobody answers, or not in RocketMQ's words.
pub fn knows_broker(name_server: SocketAddr, broker: &str) -> io::Result<bool> {
    // The table's keys are strings of no use elsewhere, and ids in it are no JSON: the name in quotes is looked for.
    let body = ask(name_server, GET_BROKER_CLUSTER_INFO)?;
    let quoted = format!("\"{broker}\"");
    Ok(body.windows(quoted.len()).any(|part| part == quoted.as_bytes()))
}

/// Asks a broker for its state.
///
/// # Errors
/// Nobody answers, not in RocketMQ's words, or the broker refuses.
pub fn answers(broker: SocketAddr) -> io::Result<()> {
    ask(broker, GET_BROKER_RUNTIME_INFO).map(drop)
}

/// Sends one request without arguments and answers the body of the answer.
fn ask(address: SocketAddr, code: i32) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&request(code))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > FRAME_BYTES_MAX {
        return Err(not_rocketmq(format!("a frame of {length} bytes")));
    }
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame)?;
    body(frame)
}

fn request(code: i32) -> Vec<u8> {
    let header = json!({
        "code": code, "language": "OTHER", "version": 0, "opaque": 1, "flag": 0, "serializeTypeCurrentRPC": "JSON", "extFields": {},
    });
    let header = header.to_string();
    let mut frame = Vec::new();
    frame.extend((header.len() as u32 + 4).to_be_bytes());
    frame.extend((header.len() as u32).to_be_bytes());
    frame.extend(header.as_bytes());
    frame
}

/// The body of an answer, which must be a good one.
fn body(mut frame: Vec<u8>) -> io::Result<Vec<u8>> {
    let short = || not_rocketmq("a frame that ends too soon".to_owned());
    let word = frame
        .first_chunk::<4>()
        .map(|word| u32::from_be_bytes(*word))
        .ok_or_else(short)?;
    if word >> 24 != 0 {
        return Err(not_rocketmq(format!("a header in encoding {}", word >> 24)));
    }
    let end = 4 + (word & 0xff_ffff) as usize;
    let header = frame.get(4..end).ok_or_else(short)?;
    let header: Value = serde_json::from_slice(header).map_err(|error| not_rocketmq(error.to_string()))?;
    match header["code"].as_i64() {
        Some(SUCCESS) => Ok(frame.split_off(end)),
        code => {
            let remark = header["remark"].as_str().unwrap_or_default();
            Err(io::Error::other(format!("refused with code {code:?} {remark}")))
        }
    }
}

fn not_rocketmq(what: String) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("this is not RocketMQ's answer: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(header: &str, rest: &[u8]) -> Vec<u8> {
        let mut frame = (header.len() as u32).to_be_bytes().to_vec();
        frame.extend(header.as_bytes());
        frame.extend(rest);
        frame
    }

    #[test]
    fn answers_are_read_and_garbage_is_refused() {
        assert_eq!(body(frame(r#"{"code":0}"#, b"body")).unwrap(), b"body");
        let refused = body(frame(r#"{"code":1,"remark":"no topic"}"#, b"")).unwrap_err();
        assert!(refused.to_string().contains("no topic"));
        for garbage in [&b""[..], b"\0\0\0\x05{}", b"\x01\0\0\0", b"\0\0\0\x02{]"] {
            assert!(body(garbage.to_vec()).is_err(), "{garbage:?}");
        }
        let request = request(28);
        assert_eq!(
            request.len(),
            4 + u32::from_be_bytes(*request.first_chunk().unwrap()) as usize
        );
    }
}
