//! Compressed batches: what real clients wrote is read, and what lies about itself costs an error and little memory.

#[cfg(test)]
mod codecs {
    use kafka_wire::codec::{Codec, CodecError, Compression, Compressor, Decompressor};
    use kafka_wire::{BatchError, BatchHeader, RecordIter};

    /// Batches of 1,000 records that clients wrote: the Java client 4.3.1 and librdkafka 2.12.1 by confluent-kafka 2.16.1.
    const GOLDEN: [(&str, Codec, &[u8]); 8] = [
        ("java", Codec::Gzip, include_bytes!("golden/java-gzip.batch")),
        ("java", Codec::Snappy, include_bytes!("golden/java-snappy.batch")),
        ("java", Codec::Lz4, include_bytes!("golden/java-lz4.batch")),
        ("java", Codec::Zstd, include_bytes!("golden/java-zstd.batch")),
        (
            "librdkafka",
            Codec::Gzip,
            include_bytes!("golden/librdkafka-gzip.batch"),
        ),
        (
            "librdkafka",
            Codec::Snappy,
            include_bytes!("golden/librdkafka-snappy.batch"),
        ),
        ("librdkafka", Codec::Lz4, include_bytes!("golden/librdkafka-lz4.batch")),
        (
            "librdkafka",
            Codec::Zstd,
            include_bytes!("golden/librdkafka-zstd.batch"),
        ),
    ];
    /// Bytes of the records of a golden batch, decompressed.
    const GOLDEN_BYTES: usize = 112_194;
    const GOLDEN_RECORDS: usize = 1_000;
    const LIMIT_BYTES: usize = 1 << 20;

    fn sections() -> impl Iterator<Item = (String, Codec, &'static [u8])> {
        GOLDEN
            .map(|(client, codec, batch)| (format!("{client} {codec}"), codec, &batch[61..]))
            .into_iter()
    }

    #[test]
    fn what_real_clients_compressed_is_read() {
        let mut decompressor = Decompressor::default();
        for (client, codec, batch) in GOLDEN {
            let header = BatchHeader::checked_from_client(batch).unwrap();
            assert_eq!(Codec::of(&header), Ok(codec));
            let mut count = 0;
            for (i, record) in decompressor.records(header, batch, LIMIT_BYTES).unwrap().enumerate() {
                let record = record.unwrap();
                let key = (i % 3 != 0).then(|| format!("key-{i}"));
                let value = (i % 7 != 6).then(|| format!("record {i:08} of the golden batch, ").repeat(3));
                assert_eq!(record.offset, header.base_offset + i as i64, "{client} {codec}");
                assert_eq!(record.timestamp_ms, 1_700_000_000_000 + i as i64);
                assert_eq!(record.key, key.as_deref().map(str::as_bytes));
                assert_eq!(record.value, value.as_deref().map(str::as_bytes));
                let headers: Vec<_> = record.headers.map(|header| (header.key, header.value)).collect();
                let number = i.to_string();
                let expected = [(&b"h"[..], Some(number.as_bytes())), (b"n", None)];
                assert_eq!(headers, if i % 5 == 0 { &expected[..] } else { &[] });
                count += 1;
            }
            assert_eq!(count, GOLDEN_RECORDS, "{client} {codec}");
        }
    }

    #[test]
    fn compressed_records_are_not_walked_over_as_they_are() {
        for (_, codec, batch) in GOLDEN {
            let header = BatchHeader::parse(batch).unwrap();
            let items: Vec<_> = RecordIter::new(header, batch).collect();
            assert_eq!(items, [Err(BatchError::Compressed(codec as i16))]);
        }
    }

    #[test]
    fn the_limit_is_exact() {
        let mut decompressor = Decompressor::default();
        for (what, codec, section) in sections() {
            let whole = decompressor.decompress(codec, section, GOLDEN_BYTES).map(<[u8]>::len);
            assert_eq!(whole, Ok(GOLDEN_BYTES), "{what}");
            // With memory that is warm, and without.
            for mut decompressor in [std::mem::take(&mut decompressor), Decompressor::default()] {
                for limit_bytes in [GOLDEN_BYTES - 1, 65_536, 1_000, 0] {
                    let result = decompressor.decompress(codec, section, limit_bytes);
                    assert_eq!(result, Err(CodecError::TooLarge { codec, limit_bytes }), "{what}");
                }
            }
        }
    }

    #[test]
    fn what_is_cut_off_is_an_error_at_any_byte() {
        let mut decompressor = Decompressor::default();
        for (what, codec, section) in sections() {
            for cut in (1..section.len()).filter(|cut| *cut < 40 || cut % 331 == 0 || *cut > section.len() - 40) {
                let result = decompressor.decompress(codec, &section[..cut], LIMIT_BYTES);
                // Behind a chunk of Java's snappy frames the stream may end; the records are then too few.
                match result {
                    Ok(short) => assert!(codec == Codec::Snappy && short.len() < GOLDEN_BYTES, "{what} at {cut}"),
                    Err(error) => assert!(
                        matches!(error, CodecError::Malformed { .. }),
                        "{what} at {cut}: {error}"
                    ),
                }
            }
        }
    }

    #[test]
    fn bytes_behind_the_end_are_an_error() {
        let mut decompressor = Decompressor::default();
        for (what, codec, section) in sections() {
            let longer = [section, b"trailing"].concat();
            let error = decompressor.decompress(codec, &longer, LIMIT_BYTES).unwrap_err();
            assert!(matches!(error, CodecError::Malformed { .. }), "{what}: {error}");
        }
    }

    #[test]
    fn records_that_are_too_few_or_too_many_are_errors_at_their_place() {
        let mut decompressor = Decompressor::default();
        for (_, _, batch) in GOLDEN {
            let header = BatchHeader::parse(batch).unwrap();
            for records_count in [999, 1_001] {
                let header = BatchHeader {
                    records_count,
                    ..header
                };
                let items: Vec<_> = decompressor.records(header, batch, LIMIT_BYTES).unwrap().collect();
                let (last, before) = items.split_last().unwrap();
                assert!(before.iter().all(Result::is_ok));
                assert_eq!(before.len(), GOLDEN_RECORDS.min(records_count as usize));
                let index = before.len() as i32;
                assert!(
                    matches!(last, Err(BatchError::Record { index: at, .. }) if *at == index),
                    "{last:?}"
                );
            }
        }
    }

    #[test]
    fn a_time_of_append_is_that_of_all_records() {
        let (_, _, batch) = GOLDEN[0];
        let header = BatchHeader::parse(batch).unwrap();
        let header = BatchHeader {
            attributes: header.attributes | 8,
            max_timestamp: 7,
            ..header
        };
        let mut decompressor = Decompressor::default();
        let mut records = decompressor.records(header, batch, LIMIT_BYTES).unwrap();
        assert!(records.all(|record| record.unwrap().timestamp_ms == 7));
    }

    #[test]
    fn codecs_that_do_not_exist() {
        let (_, _, batch) = GOLDEN[0];
        let header = BatchHeader::parse(batch).unwrap();
        for id in 5..8 {
            let header = BatchHeader {
                attributes: id,
                ..header
            };
            let result = Decompressor::default().records(header, batch, LIMIT_BYTES).map(|_| ());
            assert_eq!(result, Err(CodecError::Unknown(id)));
        }
    }

    /// Every codec with its default and with the ends of its levels, but for the slowest.
    const COMPRESSIONS: [&str; 13] = [
        "none",
        "gzip",
        "gzip:1",
        "gzip:9",
        "snappy",
        "lz4",
        "lz4:1",
        "lz4:12",
        "lz4:17",
        "zstd",
        "zstd:-131072",
        "zstd:1",
        "zstd:19",
    ];

    fn compressed(compression: &str, section: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let compression: Compression = compression.parse().unwrap();
        Compressor::new(compression).compress(section, &mut out).unwrap();
        out
    }

    #[test]
    fn every_level_gives_back_what_it_was_given() {
        let mut decompressor = Decompressor::default();
        let (_, _, golden) = sections().next().unwrap();
        let text = decompressor
            .decompress(Codec::Gzip, golden, LIMIT_BYTES)
            .unwrap()
            .to_vec();
        // Does not compress: xorshift from a fixed seed.
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(200_000)
        .collect();
        // Around the sizes of snappy's chunks and lz4's blocks, and of zeros, which expand the most.
        let zeros = vec![0; 300_000];
        for name in COMPRESSIONS {
            let codec = name.parse::<Compression>().unwrap().codec();
            for source in [&text, &noise, &zeros] {
                for bytes in [0, 1, 7, 32_767, 32_768, 32_769, 65_536, 65_537, source.len()] {
                    let section = &source[..bytes];
                    let packed = compressed(name, section);
                    let back = decompressor.decompress(codec, &packed, bytes);
                    assert!(
                        back == Ok(section),
                        "{name}: {bytes} bytes, {:?}",
                        back.map(<[u8]>::len)
                    );
                }
            }
        }
    }

    #[test]
    fn higher_levels_compress_more() {
        let mut decompressor = Decompressor::default();
        let (_, _, golden) = sections().next().unwrap();
        let text = decompressor.decompress(Codec::Gzip, golden, LIMIT_BYTES).unwrap();
        for (low, high) in [
            ("gzip:1", "gzip:9"),
            ("lz4", "lz4:1"),
            ("lz4:1", "lz4:17"),
            ("zstd:-7", "zstd"),
            ("zstd", "zstd:19"),
        ] {
            let bytes = [low, high].map(|name| compressed(name, text).len());
            assert!(bytes[0] > bytes[1], "{low} {high}: {bytes:?}");
        }
    }

    #[test]
    fn lz4_is_byte_for_byte_what_java_writes() {
        let (_, _, java) = sections().find(|(_, codec, _)| *codec == Codec::Lz4).unwrap();
        let mut decompressor = Decompressor::default();
        let text = decompressor.decompress(Codec::Lz4, java, LIMIT_BYTES).unwrap();
        assert_eq!(compressed("lz4", text), java);
    }

    #[test]
    fn snappy_has_the_chunks_of_java() {
        let shape = |section: &[u8]| {
            let mut rest = &section[16..];
            let mut chunks = Vec::new();
            while let Some((length, behind)) = rest.split_first_chunk() {
                let (chunk, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
                chunks.push(snap::raw::decompress_len(chunk).unwrap());
                rest = behind;
            }
            (section[..16].to_vec(), chunks)
        };
        let (_, _, java) = sections()
            .find(|(what, codec, _)| what.starts_with("java") && *codec == Codec::Snappy)
            .unwrap();
        let mut decompressor = Decompressor::default();
        let text = decompressor.decompress(Codec::Snappy, java, LIMIT_BYTES).unwrap();
        assert_eq!(shape(&compressed("snappy", text)), shape(java));
    }
}
