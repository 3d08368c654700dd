//! What is below the APIs: keys and versions that do not exist, lengths that lie, bodies that end early or go on, order.

use kafka_wire::ApiKey;
use kafka_wire::encode::BufMut;

use super::super::Case;
use super::super::request;

const API: &str = "Frames";

/// Metadata version 1 of all topics.
const ALL_TOPICS: [u8; 4] = [0xff; 4];

pub(super) fn add(all: &mut Vec<Case>) {
    for key in [999i16, -1, i16::MAX] {
        all.push(Case::new(
            API,
            format!("API key {key}, which does not exist"),
            move |bench| bench.throw(&request::frame(key, 0, false, 1, &[0; 16]), false),
        ));
    }
    for version in [99i16, -1, i16::MIN] {
        all.push(Case::new(
            API,
            format!("Metadata in version {version}, which does not exist"),
            move |bench| bench.throw(&request::frame(3, version, false, 1, &ALL_TOPICS), false),
        ));
    }
    for (version, why) in [(3i16, "which was removed"), (99, "which does not exist")] {
        all.push(Case::new(
            API,
            format!("Fetch in version {version}, {why}"),
            move |bench| bench.throw(&request::frame(1, version, false, 1, &[0; 32]), false),
        ));
    }
    for (what, length) in [
        ("-1", -1i32),
        ("the least number", i32::MIN),
        ("the greatest number", i32::MAX),
        ("a byte more than socket.request.max.bytes", 104_857_601),
    ] {
        all.push(Case::new(API, format!("a length of {what}"), move |bench| {
            bench.throw(&length.to_be_bytes(), false)
        }));
    }
    all.push(Case::new(API, "a length of 0", |bench| bench.throw(&[0; 4], false)));
    for length in [1usize, 7, 9] {
        all.push(Case::new(
            API,
            format!("a frame of {length} bytes, less than a header"),
            move |bench| {
                let mut frame = (length as u32).to_be_bytes().to_vec();
                frame.extend(&[0, 3, 0, 1, 0, 0, 0, 1, 0, 0][..length]);
                bench.throw(&frame, false)
            },
        ));
    }
    all.push(Case::new(API, "a client id that is longer than the frame", |bench| {
        let mut frame = request::frame(3, 1, false, 1, &ALL_TOPICS);
        frame[12..14].copy_from_slice(&i16::MAX.to_be_bytes());
        bench.throw(&frame, false)
    }));
    all.push(Case::new(API, "a client id of null", |bench| {
        let mut frame = vec![0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
        frame.extend([0; 4]);
        bench.throw(&frame, false).map(answered)
    }));
    all.push(Case::new(API, "a client id that is not UTF-8", |bench| {
        let mut frame = request::frame(3, 1, false, 1, &[0; 4]);
        frame[14] = 0xff;
        bench.throw(&frame, false).map(answered)
    }));
    all.push(Case::new(API, "noise", |bench| {
        let noise: Vec<u8> = (0..200u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let mut frame = (noise.len() as u32).to_be_bytes().to_vec();
        frame.extend(noise);
        bench.throw(&frame, false)
    }));
    all.push(Case::new(API, "HTTP", |bench| {
        bench.throw(b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n", true)
    }));
    all.push(Case::new(
        API,
        "a request that ends in the middle, and then the connection",
        |bench| {
            let frame = request::frame(3, 1, false, 1, &ALL_TOPICS);
            bench.throw(&frame[..frame.len() - 2], true)
        },
    ));
    all.push(Case::new(API, "a body that ends in the middle", |bench| {
        bench.throw(&request::frame(3, 1, false, 1, &ALL_TOPICS[..2]), false)
    }));
    all.push(Case::new(API, "bytes behind the end of a body", |bench| {
        bench
            .throw(&request::frame(3, 1, false, 1, &[0, 0, 0, 0, 1, 2]), false)
            .map(answered)
    }));
    for (what, count) in [("the greatest number", i32::MAX), ("-2", -2)] {
        all.push(Case::new(
            API,
            format!("Metadata with {what} of topics"),
            move |bench| {
                bench
                    .throw(&request::frame(3, 1, false, 1, &count.to_be_bytes()), false)
                    .map(answered)
            },
        ));
    }
    all.push(Case::new(
        API,
        "Produce that ends in the middle of its batch",
        |bench| {
            let mut body = Vec::new();
            body.put_slice(&[
                0xff, 0xff, 0xff, 0xff, 0, 0, 0, 100, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0,
            ]);
            body.put_i32(1000);
            body.put_slice(&[0; 100]);
            bench.throw(&request::frame(0, 3, false, 1, &body), false)
        },
    ));
    all.push(Case::new(
        API,
        "requests of several APIs sent at once are answered in order",
        |bench| {
            let topic = bench.topic("order", 1)?;
            let asked = [
                (ApiKey::Metadata, 12, request::metadata(12, Some(&[&topic]), false)),
                (ApiKey::ListOffsets, 6, request::list_offsets(6, &[(&topic, 0, -1)])),
                (ApiKey::DescribeCluster, 0, vec![0, 0]),
                (ApiKey::ListOffsets, 1, request::list_offsets(1, &[(&topic, 0, -2)])),
            ];
            let mut stream = Vec::new();
            let mut ids = Vec::new();
            for (key, version, body) in &asked {
                let id = bench.next_id();
                ids.push(id);
                stream.extend(request::frame(
                    key.code(),
                    *version,
                    key.is_flexible(*version),
                    id,
                    body,
                ));
            }
            let mut wire = bench.connect()?;
            wire.send(&stream)?;
            let mut answers = Vec::new();
            for ((key, version, _), id) in asked.iter().zip(ids) {
                answers.push(bench.read(&mut wire, *key, *version, id)?);
            }
            Ok(answers.join("; "))
        },
    ));
    all.push(Case::new(API, "a request that arrives byte by byte", |bench| {
        let mut wire = bench.connect()?;
        let id = bench.next_id();
        for byte in request::frame(3, 1, false, id, &[0; 4]) {
            wire.send(&[byte])?;
        }
        bench.read(&mut wire, ApiKey::Metadata, 1, id)
    }));
}

/// Not how long an answer is, which depends on who answers, but that there is one.
fn answered(answer: String) -> String {
    if answer.starts_with("an answer") {
        "an answer".to_owned()
    } else {
        answer
    }
}
