//! A client of the smallest kind, which `ci/clients` holds against the real ones: lines to records and back, with this
//! crate and a socket.
//!
//! ```text
//! lines produce BOOTSTRAP TOPIC PARTITIONS COMPRESSION < lines       the topic must exist; for example `zstd:19`
//! lines consume BOOTSTRAP TOPIC PARTITIONS > partition, tab, value per record
//! ```

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use kafka_wire::fetch::ResponseHead;
use kafka_wire::{BatchBuilder, BatchHeader, BatchIter, Compressor, Decompressor, fetch, produce};

/// A batch is sent when its records reach this size, before they are compressed.
const BATCH_BYTES: usize = 256 * 1024;
/// Largest response, and most bytes that a batch may hold.
const BYTES_MAX: usize = 64 << 20;
const TIMESTAMP_MS: i64 = 1_700_000_000_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["produce", bootstrap, topic, partitions, compression] => {
            let compressor = Compressor::new(compression.parse()?);
            produce_lines(TcpStream::connect(bootstrap)?, topic, partitions.parse()?, compressor)
        }
        ["consume", bootstrap, topic, partitions] => {
            consume_lines(TcpStream::connect(bootstrap)?, topic, partitions.parse()?)
        }
        _ => bail!(
            "usage: lines produce BOOTSTRAP TOPIC PARTITIONS COMPRESSION | lines consume BOOTSTRAP TOPIC PARTITIONS"
        ),
    }
}

/// Line by line round the partitions, a batch at a time.
fn produce_lines(mut socket: TcpStream, topic: &str, partitions: i32, mut compressor: Compressor) -> Result<()> {
    let mut builders = vec![BatchBuilder::new(TIMESTAMP_MS); usize::try_from(partitions)?];
    let mut send = |partition: usize, builder: &mut BatchBuilder| -> Result<()> {
        if builder.records() > 0 {
            let batch = builder.finish_compressed(&mut compressor)?;
            let mut request = Vec::new();
            produce::encode_request(&mut request, 1, topic, partition as i32, -1, batch);
            let response = ask(&mut socket, &request)?;
            let head = produce::ResponseHead::decode(&response)?;
            ensure!(head.error == 0, "{topic}-{partition}: Kafka's error {}", head.error);
            builder.clear(TIMESTAMP_MS);
        }
        Ok(())
    };
    for (i, line) in io::stdin().lock().split(b'\n').enumerate() {
        let partition = i % builders.len();
        let builder = &mut builders[partition];
        builder.push(TIMESTAMP_MS, None, &line?);
        if builder.total_bytes() >= BATCH_BYTES {
            send(partition, builder)?;
        }
    }
    builders
        .iter_mut()
        .enumerate()
        .try_for_each(|(partition, builder)| send(partition, builder))
}

fn consume_lines(mut socket: TcpStream, topic: &str, partitions: i32) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut decompressor = Decompressor::default();
    for partition in 0..partitions {
        let mut offset = 0;
        loop {
            let mut request = Vec::new();
            fetch::encode_request(&mut request, 1, topic, partition, offset, 1 << 20, 500);
            let response = ask(&mut socket, &request)?;
            let head = ResponseHead::decode(&response)?;
            ensure!(
                head.result.error == 0,
                "{topic}-{partition}: Kafka's error {}",
                head.result.error
            );
            let before = offset;
            for item in BatchIter::new(&response[head.head_bytes..][..head.result.records_bytes]) {
                let (_, batch) = item?;
                let header = BatchHeader::checked(batch)?;
                for record in decompressor.records(header, batch, BYTES_MAX)? {
                    let record =
                        record.with_context(|| format!("{topic}-{partition}, batch {}", header.base_offset))?;
                    write!(out, "{partition}\t")?;
                    out.write_all(record.value.unwrap_or_default())?;
                    out.write_all(b"\n")?;
                }
                offset = header.last_offset() + 1;
            }
            if offset >= head.result.high_watermark {
                break;
            }
            ensure!(offset > before, "{topic}-{partition}: no whole batch at {offset}");
        }
    }
    Ok(out.flush()?)
}

/// Sends a request and answers its response, without the length in front.
fn ask(socket: &mut TcpStream, request: &[u8]) -> Result<Vec<u8>> {
    socket.write_all(request)?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!(length <= BYTES_MAX, "a response of {length} bytes");
    let mut response = Vec::new();
    socket.take(length as u64).read_to_end(&mut response)?;
    ensure!(response.len() == length, "the connection was closed");
    Ok(response)
}
