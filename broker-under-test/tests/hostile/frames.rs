//! Frames that lie, end early, hold too much, or are noise.

use bytes::BufMut;
use kafka_wire::ApiKey;
use kafka_wire::encode::Encode;

use crate::samples;
use crate::storm::{GROWTH_BYTES_MAX, Storm, Taken};
use crate::support::{Random, frame_around};

/// Writes the true length in front of a frame.
fn reframed(mut frame: Vec<u8>) -> Vec<u8> {
    let length = frame.len() as u32 - 4;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// The frame with `bytes` in the place of the `replaced` bytes at `at`.
fn spliced(frame: &[u8], at: usize, replaced: usize, bytes: &[u8]) -> Vec<u8> {
    let rest = &frame[(at + replaced).min(frame.len())..];
    reframed([&frame[..at], bytes, rest].concat())
}

#[test]
fn lengths_that_lie_at_every_position() {
    let storm = Storm::begin(&[]);
    let mut client = None;
    let mut closed = 0;
    for (key, version) in samples::telling() {
        let frame = samples::frame(key, version, 1);
        for value in [i32::MAX, i32::MIN, -2] {
            let value = value.to_be_bytes();
            // The frame's own length: the broker refuses it, or waits for what never comes.
            let mut lying = frame.clone();
            lying[..4].copy_from_slice(&value);
            storm.attack_and_hang_up(&lying);
            for at in 4..frame.len() - 3 {
                let mut lying = frame.clone();
                lying[at..at + 4].copy_from_slice(&value);
                closed += usize::from(storm.attack(&mut client, &lying) == Taken::Closed);
            }
        }
        for at in 4..frame.len() - 1 {
            for value in [i16::MAX, -2] {
                closed += usize::from(
                    storm.attack(&mut client, &spliced(&frame, at, 2, &value.to_be_bytes())) == Taken::Closed,
                );
            }
        }
        for at in 4..frame.len() {
            // Compact lengths: the greatest, and one that does not end.
            for varint in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0x80; 12]] {
                closed += usize::from(storm.attack(&mut client, &spliced(&frame, at, 1, varint)) == Taken::Closed);
            }
        }
    }
    assert!(closed > 1000, "most of them can't be understood: {closed}");
    let growth = storm.growth_bytes();
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes");
    storm.end();
}

#[test]
fn frames_cut_at_every_byte() {
    let storm = Storm::begin(&[]);
    let mut client = None;
    for (key, version) in samples::all() {
        let frame = samples::frame(key, version, 1);
        for cut in 4..frame.len() {
            // With a length that fits: the body ends early.
            let taken = storm.attack(&mut client, &reframed(frame[..cut].to_vec()));
            let lenient = key == ApiKey::ApiVersions && cut >= 12;
            assert!(
                taken == Taken::Closed || lenient,
                "{key:?} v{version}, {cut} of {} bytes",
                frame.len()
            );
        }
        for extra in [1, 4, 1000] {
            let taken = storm.attack(&mut client, &spliced(&frame, frame.len(), 0, &vec![0; extra]));
            // librdkafka leaves three bytes behind a flexible Metadata request for all topics.
            let is_lenient = key == ApiKey::Metadata && version >= 9 && extra <= 3;
            assert_eq!(
                taken == Taken::Closed,
                !is_lenient,
                "{key:?} v{version} with {extra} more bytes"
            );
        }
    }
    // With the whole frame's length: the client goes away in the middle.
    let frame = samples::frame(ApiKey::Produce, 9, 1);
    for cut in 0..frame.len() {
        storm.attack_and_hang_up(&frame[..cut]);
    }
    let growth = storm.growth_bytes();
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes");
    storm.end();
}

#[test]
fn noise() {
    let storm = Storm::begin(&[]);
    let mut random = Random(2024);
    let all: Vec<_> = samples::all().collect();
    for _ in 0..300 {
        let bytes: Vec<u8> = (0..1 + random.below(3000)).map(|_| random.next() as u8).collect();
        storm.attack_and_hang_up(&bytes);
        // The same noise behind a true length and a header that is served.
        let (key, version) = all[random.below(all.len())];
        storm.attack_and_hang_up(&frame_around(key, version, 1, &bytes));
    }
    let mut client = None;
    for _ in 0..3000 {
        // A good request with some bytes changed. What Fetch waits for stays: noise would wait for minutes.
        let (key, version) = all[random.below(all.len())];
        let mut frame = samples::frame(key, version, 1);
        let fixed = if key == ApiKey::Fetch { 4 + 8 + 7 + 1 + 12 } else { 4 };
        for _ in 0..1 + random.below(4) {
            let at = fixed + random.below(frame.len() - fixed);
            frame[at] = random.next() as u8;
        }
        storm.attack(&mut client, &frame);
    }
    let growth = storm.growth_bytes();
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes");
    storm.end();
}

/// A request that really has the elements that it announces, each a few bytes short.
fn crowded(key: ApiKey, version: i16, elements: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let flexible = key.is_flexible(version);
    match key {
        ApiKey::Produce => {
            body.put_nullable_string(None, flexible);
            body.put_i16(-1);
            body.put_i32(0);
            body.put_array_len(1, flexible);
            body.put_string("unknown", flexible);
            body.put_array_len(elements, flexible);
            (0..elements).for_each(|_| body.put_slice(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]));
        }
        ApiKey::Fetch => {
            body.put_slice(&[0; 16]);
            body.put_i8(0);
            body.put_array_len(1, flexible);
            body.put_string("unknown", flexible);
            body.put_array_len(elements, flexible);
            (0..elements).for_each(|_| body.put_slice(&[0; 16]));
        }
        ApiKey::Metadata => {
            body.put_array_len(elements, flexible);
            (0..elements).for_each(|_| body.put_string("", flexible));
            body.put_u8(0);
        }
        ApiKey::DescribeConfigs => {
            body.put_array_len(elements, flexible);
            (0..elements).for_each(|_| body.put_slice(&[4, 0, 1, b'1', 0xff, 0xff, 0xff, 0xff]));
            body.put_u8(0);
        }
        ApiKey::CreateTopics => {
            body.put_array_len(elements, flexible);
            (0..elements).for_each(|_| {
                body.put_string("same", flexible);
                body.put_slice(&[0; 14]);
            });
            body.put_i32(0);
            body.put_u8(1);
        }
        ApiKey::FindCoordinator => {
            body.put_u8(0);
            body.put_array_len(elements, flexible);
            (0..elements).for_each(|_| body.put_string("", flexible));
            body.put_no_tags(flexible);
        }
        other => panic!("no crowd for {other:?}"),
    }
    frame_around(key, version, 1, &body)
}

#[test]
fn crowds_are_bounded() {
    for (key, version) in [
        (ApiKey::Produce, 3),
        (ApiKey::Fetch, 4),
        (ApiKey::Metadata, 4),
        (ApiKey::DescribeConfigs, 1),
        (ApiKey::CreateTopics, 2),
        (ApiKey::FindCoordinator, 4),
    ] {
        let mut client = None;
        let storm = Storm::begin(&[]);
        let frame = crowded(key, version, 90_000);
        assert_eq!(storm.attack(&mut client, &frame), Taken::GoesOn, "{key:?}");
        let growth = storm.growth_bytes();
        assert!(growth < GROWTH_BYTES_MAX, "{key:?}: {growth} bytes for {}", frame.len());
        // More than any client needs: refused before anything is made of it.
        let frame = crowded(key, version, 1_000_000);
        assert_eq!(storm.attack(&mut client, &frame), Taken::Closed, "{key:?}");
        let growth = storm.growth_bytes();
        assert!(
            growth < GROWTH_BYTES_MAX + 4 * frame.len(),
            "{key:?}: {growth} bytes for {}",
            frame.len()
        );
        storm.end();
    }
}

#[test]
fn tagged_fields_without_number() {
    let storm = Storm::begin(&[]);
    let mut client = None;
    let mut body = Vec::new();
    // Metadata of no topic, and then a million tags without content.
    body.put_slice(&[1, 0, 0]);
    let tags = 1_000_000;
    body.put_uvarint(tags);
    for tag in 0..tags {
        body.put_uvarint(tag);
        body.put_u8(0);
    }
    let frame = frame_around(ApiKey::Metadata, 12, 1, &body);
    assert_eq!(storm.attack(&mut client, &frame), Taken::Closed);
    let growth = storm.growth_bytes();
    assert!(growth < 6 * frame.len(), "{growth} bytes for {}", frame.len());
    storm.end();
}
