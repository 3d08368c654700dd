//! Properties: whatever bytes come, decoding ends without a panic; whatever was encoded is decoded to the same.

#[cfg(test)]
#[path = "../fuzz/src/entry.rs"]
mod entry;

#[cfg(test)]
mod properties {
    use kafka_wire::encode::{BufMut, Encode, uvarint_len, varlong_len};
    use kafka_wire::fetch::{self, FetchRequest, ResponseHead};
    use kafka_wire::produce::{self, ProduceRequest};
    use kafka_wire::record::Header;
    use kafka_wire::{
        ApiKey, BatchBuilder, BatchHeader, BatchIter, Codec, Compression, Compressor, Cursor, Decompressor,
        FrameBuffer, RecordIter, RequestHeader, api, batch, frame,
    };
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::entry;

    /// A request header that is served, with any body.
    fn served() -> impl Strategy<Value = Vec<u8>> {
        (0..api::VERSIONS.len(), any::<u16>(), vec(any::<u8>(), 0..300)).prop_map(|(row, version, body)| {
            let row = &api::VERSIONS[row];
            let version = row.served_min + (version as i16 & i16::MAX) % (row.max - row.served_min + 1);
            let mut out = Vec::new();
            frame::start_request(&mut out, row.key, version, 1, "c");
            out.extend(body);
            out.split_off(4)
        })
    }

    type AnyRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    /// A record with everything that one may have or lack; some values are large.
    fn record() -> impl Strategy<Value = AnyRecord> {
        let bytes = |most| proptest::option::of(vec(any::<u8>(), 0..most));
        let value = prop_oneof![
            8 => bytes(200),
            1 => (any::<u8>(), 0usize..200_000).prop_map(|(byte, count)| Some(vec![byte; count])),
        ];
        (
            0i64..1 << 40,
            bytes(20),
            value,
            vec((vec(any::<u8>(), 0..10), bytes(30)), 0..4),
        )
    }

    fn compression() -> impl Strategy<Value = Compression> {
        (0..Codec::ALL.len(), -7i32..=12).prop_map(|(id, level)| {
            let codec = Codec::ALL[id];
            Compression::with_level(codec, level).unwrap_or_else(|_| Compression::new(codec))
        })
    }

    /// Small numbers and extremes: what lengths are made of.
    fn bytes_like_lengths() -> impl Strategy<Value = Vec<u8>> {
        vec(
            prop_oneof![
                Just(0u8),
                Just(1),
                Just(2),
                Just(0x7f),
                Just(0x80),
                Just(0xff),
                any::<u8>()
            ],
            0..200,
        )
    }

    /// The same cases every time, so that a failure is one for everybody.
    fn config() -> ProptestConfig {
        ProptestConfig {
            rng_seed: RngSeed::Fixed(20_240_601),
            ..ProptestConfig::default()
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..400)) {
            entry::request(&bytes);
            let _ = BatchHeader::checked(&bytes);
            let _ = ResponseHead::decode(&bytes);
            for version in 3..=12 {
                let _ = produce::decode_response(&bytes, version);
            }
        }

        #[test]
        fn any_body_of_any_api_is_read_without_a_panic(frame in served()) {
            entry::request(&frame);
        }

        #[test]
        fn bodies_that_look_like_lengths(
            row in 0..api::VERSIONS.len(),
            version in any::<u16>(),
            body in bytes_like_lengths(),
        ) {
            let row = &api::VERSIONS[row];
            let version = row.served_min + (version as i16 & i16::MAX) % (row.max - row.served_min + 1);
            let mut out = Vec::new();
            frame::start_request(&mut out, row.key, version, 1, "c");
            out.extend(body);
            entry::request(&out[4..]);
        }

        #[test]
        fn varints_round_trip(unsigned in any::<u32>(), signed in any::<i64>()) {
            let mut out = Vec::new();
            out.put_uvarint(unsigned);
            prop_assert_eq!(out.len(), uvarint_len(unsigned));
            out.put_varlong(signed);
            prop_assert_eq!(out.len(), uvarint_len(unsigned) + varlong_len(signed));
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.uvarint(), Ok(unsigned));
            prop_assert_eq!(cursor.varlong(), Ok(signed));
            prop_assert_eq!(cursor.finish(), Ok(()));
        }

        #[test]
        fn strings_round_trip(text in proptest::option::of(".{0,300}"), flexible in any::<bool>()) {
            let mut out = Vec::new();
            out.put_nullable_string(text.as_deref(), flexible);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.nullable_string(flexible), Ok(text.as_deref()));
            prop_assert_eq!(cursor.finish(), Ok(()));
        }

        #[test]
        fn headers_round_trip(
            row in 0..api::VERSIONS.len(),
            version in any::<u16>(),
            id in any::<i32>(),
            client in ".{0,40}",
            body in vec(any::<u8>(), 0..50),
        ) {
            let row = &api::VERSIONS[row];
            let version = row.served_min + (version as i16 & i16::MAX) % (row.max - row.served_min + 1);
            let mut out = Vec::new();
            let start = frame::start_request(&mut out, row.key, version, id, &client);
            out.extend(&body);
            frame::finish_frame(&mut out, start);
            prop_assert_eq!(out[..4].to_vec(), (out.len() as u32 - 4).to_be_bytes().to_vec());
            let mut cursor = Cursor::new(&out[4..]);
            let header = RequestHeader::parse(&mut cursor).unwrap();
            prop_assert_eq!(header.served(), Ok(row.key));
            prop_assert_eq!((header.api_version, header.correlation_id), (version, id));
            prop_assert_eq!(header.client_id, Some(client.as_str()));
            prop_assert_eq!(cursor.remaining(), body.len());
        }

        #[test]
        fn frames_are_the_same_in_any_pieces(
            frames in vec(vec(any::<u8>(), 0..2000), 0..20),
            pieces in vec(1usize..5000, 1..50),
        ) {
            let mut stream = Vec::new();
            for frame in &frames {
                stream.put_u32(frame.len() as u32);
                stream.extend(frame);
            }
            let mut buffer = FrameBuffer::new(2000);
            let mut seen = Vec::new();
            let mut rest = &stream[..];
            for piece in pieces.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let space = buffer.space();
                let n = (*piece).min(space.len()).min(rest.len());
                space[..n].copy_from_slice(&rest[..n]);
                buffer.advance(n);
                rest = &rest[n..];
                while let Some(frame) = buffer.frame().unwrap() {
                    seen.push(frame.to_vec());
                    buffer.consume_frame();
                }
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn a_frame_buffer_holds_no_more_than_came(bytes in vec(any::<u8>(), 0..3000), limit in 0usize..1 << 30) {
            let mut buffer = FrameBuffer::new(limit);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let space = buffer.space();
                let n = space.len().min(rest.len());
                space[..n].copy_from_slice(&rest[..n]);
                buffer.advance(n);
                rest = &rest[n..];
                while let Ok(Some(_)) = buffer.frame() {
                    buffer.consume_frame();
                }
                prop_assert!(buffer.capacity() <= 128 * 1024);
                if buffer.frame().is_err() {
                    break;
                }
            }
        }

        #[test]
        fn batches_round_trip(
            records in vec((0i64..1 << 40, proptest::option::of(vec(any::<u8>(), 0..20)), vec(any::<u8>(), 0..200)), 1..40),
            base_timestamp in 0i64..1 << 40,
            base_offset in 0i64..1 << 60,
            epoch in any::<i32>(),
        ) {
            let mut builder = BatchBuilder::new(base_timestamp);
            for (timestamp, key, value) in &records {
                builder.push(*timestamp, key.as_deref(), value);
            }
            let mut bytes = builder.finish().to_vec();
            batch::stamp(&mut bytes, base_offset, epoch);
            let header = BatchHeader::checked_from_client(&bytes).unwrap();
            prop_assert_eq!(header.total_bytes(), bytes.len());
            prop_assert_eq!((header.base_offset, header.partition_leader_epoch), (base_offset, epoch));
            prop_assert_eq!(header.last_offset(), base_offset + records.len() as i64 - 1);
            let found: Vec<_> = RecordIter::new(header, &bytes).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(found.len(), records.len());
            for (i, (record, (timestamp, key, value))) in found.iter().zip(&records).enumerate() {
                prop_assert_eq!((record.offset, record.timestamp_ms), (base_offset + i as i64, *timestamp));
                prop_assert_eq!(record.key, key.as_deref());
                prop_assert_eq!(record.value, Some(value.as_slice()));
            }
            let twice = bytes.repeat(2);
            prop_assert_eq!(BatchIter::new(&twice).count(), 2);
            prop_assert_eq!(BatchIter::new(&twice[..twice.len() - 1]).count(), 1);
        }

        #[test]
        fn compressed_batches_round_trip(
            records in vec(record(), 1..20),
            compression in compression(),
            base_timestamp in 0i64..1 << 40,
        ) {
            let mut builder = BatchBuilder::new(base_timestamp);
            let mut compressor = Compressor::new(compression);
            let mut decompressor = Decompressor::default();
            // Twice, as memory and contexts are used again.
            for _ in 0..2 {
                builder.clear(base_timestamp);
                for (timestamp, key, value, headers) in &records {
                    let headers: Vec<_> =
                        headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
                    builder.push_record(*timestamp, key.as_deref(), value.as_deref(), &headers);
                }
                let plain_bytes = builder.total_bytes() - batch::HEADER_BYTES;
                let batch = builder.finish_compressed(&mut compressor).unwrap();
                let header = BatchHeader::checked_from_client(batch).unwrap();
                prop_assert_eq!(Codec::of(&header), Ok(compression.codec()));
                prop_assert_eq!(header.records_count as usize, records.len());
                let found: Vec<_> =
                    decompressor.records(header, batch, plain_bytes).unwrap().collect::<Result<_, _>>().unwrap();
                prop_assert_eq!(found.len(), records.len());
                for (found, (timestamp, key, value, headers)) in found.iter().zip(&records) {
                    prop_assert_eq!(found.timestamp_ms, *timestamp);
                    prop_assert_eq!((found.key, found.value), (key.as_deref(), value.as_deref()));
                    let expected = headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
                    prop_assert!(found.headers.map(|header| (header.key, header.value)).eq(expected));
                }
            }
        }

        #[test]
        fn damaged_sections_are_read_without_a_panic_and_within_the_limit(
            text in vec(0u8..4, 0..3_000),
            compression in compression(),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            limit_bytes in 0usize..4_000,
        ) {
            let mut section = Vec::new();
            Compressor::new(compression).compress(&text, &mut section).unwrap();
            for (at, byte) in damage {
                if !section.is_empty() {
                    let at = at.index(section.len());
                    section[at] = byte;
                }
            }
            let mut decompressor = Decompressor::default();
            if let Ok(out) = decompressor.decompress(compression.codec(), &section, limit_bytes) {
                prop_assert!(compression.codec() == Codec::None || out.len() <= limit_bytes);
            }
        }

        #[test]
        fn client_requests_are_what_the_broker_reads(
            topic in "[a-z]{1,40}",
            partition in any::<i32>(),
            offset in any::<i64>(),
            limits in any::<(i32, i32)>(),
            records in vec(any::<u8>(), 0..300),
        ) {
            let mut out = Vec::new();
            produce::encode_request(&mut out, 1, &topic, partition, -1, &records);
            let mut cursor = Cursor::new(&out[4..]);
            let header = RequestHeader::parse(&mut cursor).unwrap();
            let request = ProduceRequest::decode(&mut cursor, header.api_version).unwrap();
            let one = request.partitions[0];
            prop_assert_eq!((one.topic, one.partition, one.records), (topic.as_str(), partition, Some(&records[..])));

            out.clear();
            fetch::encode_request(&mut out, 1, &topic, partition, offset, limits.0, limits.1);
            let mut cursor = Cursor::new(&out[4..]);
            let header = RequestHeader::parse(&mut cursor).unwrap();
            prop_assert_eq!(header.served(), Ok(ApiKey::Fetch));
            let request = FetchRequest::decode(&mut cursor, header.api_version).unwrap();
            let one = request.partitions[0];
            prop_assert_eq!((one.topic, one.partition, one.fetch_offset), (topic.as_str(), partition, offset));
            prop_assert_eq!((one.bytes_max, request.wait_ms_max), limits);
        }
    }
}
