//! Micro-benchmarks of what every request pays for: `cargo bench -p broker-under-test`, or with a name behind it.
//!
//! They answer "did this get slower", on one machine, before and after a change. They say nothing of a broker under load.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_under_test::log::{Limits, Log, OpenFiles, OpenMode, PartitionLog};
use broker_under_test::storage::RealDisk;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kafka_wire::fetch::{self, FetchRequest};
use kafka_wire::produce::{self, ProduceRequest};
use kafka_wire::{
    BatchBuilder, BatchHeader, Codec, Compression, Compressor, Cursor, Decompressor, FrameBuffer, RequestHeader, crc,
};

const BATCH_BYTES: [usize; 3] = [1 << 10, 16 << 10, 1 << 20];
/// Bytes appended to one log before it is thrown away, so that a run does not fill the disk.
const LOG_BYTES_MAX: usize = 256 << 20;

/// A batch of nearly `bytes` bytes, in records of 100.
fn batch(bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1_700_000_000_000);
    let value = [b'x'; 100];
    while builder.total_bytes() + builder.record_bytes(1_700_000_000_000, None, value.len()) <= bytes {
        builder.push(1_700_000_000_000, None, &value);
    }
    builder.finish().to_vec()
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    let mut request = Vec::new();
    fetch::encode_request(&mut request, 1, "orders", 0, 123_456, 1 << 20, 500);
    let mut buffer = FrameBuffer::new(1 << 20);
    group.throughput(Throughput::Bytes(request.len() as u64));
    group.bench_function("fetch request from the buffer to its fields", |b| {
        b.iter(|| {
            buffer.space()[..request.len()].copy_from_slice(&request);
            buffer.advance(request.len());
            let frame = buffer.frame().expect("a good frame").expect("a whole frame");
            let mut cursor = Cursor::new(frame);
            let header = RequestHeader::parse(&mut cursor).expect("a good header");
            let request = FetchRequest::decode(&mut cursor, header.api_version).expect("a good body");
            black_box(request);
            buffer.consume_frame();
        });
    });
    let mut request = Vec::new();
    produce::encode_request(&mut request, 1, "orders", 0, -1, &batch(16 << 10));
    group.throughput(Throughput::Bytes(request.len() as u64));
    group.bench_function("produce request of 16 KiB in place", |b| {
        b.iter(|| {
            let mut cursor = Cursor::new(&request[4..]);
            let header = RequestHeader::parse(&mut cursor).expect("a good header");
            black_box(ProduceRequest::decode(&mut cursor, header.api_version).expect("a good body"));
        });
    });
    group.finish();
}

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch");
    let small = batch(BATCH_BYTES[0]);
    group.bench_function("header", |b| b.iter(|| BatchHeader::parse(black_box(&small))));
    for bytes in BATCH_BYTES {
        let batch = batch(bytes);
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_with_input(BenchmarkId::new("checks with CRC", bytes), &batch, |b, batch| {
            b.iter(|| BatchHeader::checked_from_client(black_box(batch)));
        });
        group.bench_with_input(BenchmarkId::new("CRC-32C", bytes), &batch, |b, batch| {
            b.iter(|| crc::crc32c(black_box(batch)));
        });
    }
    group.finish();
}

/// Each codec with its default level, by the bytes before compression.
fn codecs(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    for bytes in BATCH_BYTES {
        let mut builder = BatchBuilder::new(1_700_000_000_000);
        let mut number = 0u64;
        while builder.total_bytes() < bytes {
            // Numbers that follow no order, so that no two records are nearly equal.
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = format!(r#"{{"order":{number},"customer":"c-{}","paid":true}}"#, number >> 48);
            builder.push(1_700_000_000_000, None, value.as_bytes());
        }
        group.throughput(Throughput::Bytes(builder.total_bytes() as u64));
        for codec in &Codec::ALL[1..] {
            let mut compressor = Compressor::new(Compression::new(*codec));
            group.bench_function(BenchmarkId::new(format!("{codec} compresses"), bytes), |b| {
                b.iter(|| black_box(builder.finish_compressed(&mut compressor).expect("memory").len()));
            });
            let batch = builder.finish_compressed(&mut compressor).expect("memory").to_vec();
            let header = BatchHeader::checked(&batch).expect("a good batch");
            let mut decompressor = Decompressor::default();
            group.bench_function(BenchmarkId::new(format!("{codec} is read"), bytes), |b| {
                b.iter(|| {
                    let records = decompressor
                        .records(header, black_box(&batch), 4 << 20)
                        .expect("good records");
                    black_box(records.count())
                });
            });
        }
    }
    group.finish();
}

fn open(dir: &std::path::Path, index_interval_bytes: usize) -> PartitionLog {
    let limits = Limits {
        index_interval_bytes,
        ..Limits::default()
    };
    let mode = OpenMode {
        clean: true,
        recovery_point: 0,
        start_offset: 0,
    };
    let files = OpenFiles::new(Arc::new(RealDisk), 16, Arc::default());
    PartitionLog::open(&files, dir, limits, mode, None).expect("a temporary folder can be written")
}

fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("index look-up");
    let batch = batch(1 << 10);
    let header = BatchHeader::checked(&batch).expect("a good batch");
    // Every batch has an entry, or every sixteenth: then headers are read from the nearest one on.
    for (name, index_interval_bytes) in [("of an entry", 0), ("and a scan of 16 KiB", 16 << 10)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = open(folder.path(), index_interval_bytes);
        for _ in 0..20_000 {
            log.append(&header, &batch).expect("room on the disk");
        }
        let end = log.bounds().end();
        let mut offset = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                // A stride that visits every batch in no order that a cache could guess.
                offset = (offset + i64::from(header.records_count) * 7919) % end;
                black_box(log.read(offset, 1 << 20, true).expect("an offset of the log"));
            });
        });
    }
    group.finish();
}

fn appends(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for bytes in BATCH_BYTES {
        let batch = batch(bytes);
        let header = BatchHeader::checked(&batch).expect("a good batch");
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &batch, |b, batch| {
            b.iter_custom(|iterations| {
                let mut left = iterations;
                let mut time = Duration::ZERO;
                while left > 0 {
                    let folder = tempfile::tempdir().expect("a temporary folder");
                    let log = open(folder.path(), 4096);
                    let now = left.min((LOG_BYTES_MAX / batch.len()) as u64);
                    let start = Instant::now();
                    for _ in 0..now {
                        black_box(log.append(&header, batch).expect("room on the disk"));
                    }
                    time += start.elapsed();
                    left -= now;
                }
                time
            });
        });
    }
    group.finish();
}

/// Quick by default; `-- --measurement-time 10` is for a closer look.
fn quick() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = broker;
    config = quick();
    targets = frames, batches, codecs, lookups, appends
}
criterion_main!(broker);
