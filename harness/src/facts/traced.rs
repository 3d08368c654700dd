//! What only the system calls tell: how records get to the socket, and whether they are flushed.

use std::net::SocketAddr;

use anyhow::Context;
use workloads::native::endpoint::Bootstrap;
use workloads::native::preload::PreloadIndex;
use workloads::native::security::{Security, Tls};
use workloads::native::verify::verify;

use super::{Answer, Found, fill};
use crate::measure::trace::{Descriptor, TraceError, Traced, trace};
use crate::target::kafka::Kafka;

/// Bytes of a stored batch.
pub(super) const BATCH_BYTES: usize = 16 * 1024;
/// Kafka's default: no segment ends while a topic is filled, as closing one flushes it.
pub(super) const SEGMENT_BYTES: u64 = 1 << 30;
/// Bytes that are produced, and drained by each listener.
pub(super) const FILE_BYTES: u64 = 4 << 20;
/// Bytes asked for at once.
const RESPONSE_BYTES: u32 = 256 * 1024;

/// Calls that flush a file. Not msync: Kafka maps indexes, its records are written, which the trace shows too.
const FLUSHES: [&str; 3] = ["fsync", "fdatasync", "sync_file_range"];
/// Calls that write to a file.
const WRITES: [&str; 4] = ["write", "writev", "pwrite64", "pwritev"];
/// Calls that send to a socket.
const SENDS: [&str; 4] = ["write", "writev", "sendto", "sendmsg"];
/// Calls that read a file.
const READS: [&str; 4] = ["read", "pread64", "preadv", "readv"];

/// Counts of the calls for which `is` holds: calls and bytes.
fn sum(traced: &[Traced], calls: &[&str], is: impl Fn(&[Descriptor]) -> bool) -> (u64, u64) {
    let matching = traced
        .iter()
        .filter(|one| calls.contains(&one.call.as_str()) && is(&one.on));
    matching.fold((0, 0), |(count, bytes), one| (count + one.count, bytes + one.bytes))
}

/// One line of the trace.
fn example<'a>(traced: &'a [Traced], calls: &[&str], on: &[Descriptor]) -> Option<&'a str> {
    let found = traced
        .iter()
        .find(|one| calls.contains(&one.call.as_str()) && one.on == on && one.bytes > 0)?;
    Some(&found.example)
}

/// A trace, or the reason why there is none.
fn traced(
    kafka: &Kafka,
    calls: &[&[&str]],
    during: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Result<Vec<Traced>, String>> {
    match trace(&kafka.processes(), &calls.concat(), during) {
        Ok(((), traced)) => Ok(Ok(traced)),
        Err(TraceError::Unavailable(why)) => Ok(Err(why.to_string())),
        Err(TraceError::Other(error)) => Err(error),
    }
}

/// Is there a flush for each acknowledged batch?
pub(super) fn flushes(kafka: &Kafka, address: SocketAddr) -> anyhow::Result<Answer> {
    let mut batches = 0;
    let traced = traced(kafka, &[&FLUSHES, &WRITES], || {
        let index = fill(address, "flushed", SEGMENT_BYTES, FILE_BYTES)?;
        batches = index.ledger.partitions.iter().map(|partition| partition.batches).sum();
        Ok(())
    })?;
    Ok(traced.and_then(|traced| flushes_seen(&traced, batches)))
}

fn flushes_seen(traced: &[Traced], batches: u64) -> Answer {
    let segment = |on: &[Descriptor]| on == [Descriptor::Segment];
    let (synced, _) = sum(traced, &FLUSHES, segment);
    let (writes, bytes) = sum(traced, &WRITES, segment);
    if bytes == 0 {
        return Err(
            "the trace shows no write to a segment, so that it proves nothing about flushes; look it up again"
                .to_owned(),
        );
    }
    Ok(Found {
        holds: synced >= batches,
        evidence: format!(
            "while {batches} batches were acknowledged with acks=all: {writes} writes to the segment ({bytes} bytes), {synced} calls of \
             {} on it",
            FLUSHES.join(", ")
        ),
        place: "strace of the broker".to_owned(),
    })
}

/// Does the plain listener send by sendfile from a segment?
pub(super) fn plain_fetch(kafka: &Kafka, address: SocketAddr, index: &PreloadIndex) -> anyhow::Result<Answer> {
    let traced = traced(kafka, &[&["sendfile"], &SENDS, &READS], || {
        drain(address, &Security::default(), index)
    })?;
    Ok(traced.and_then(|traced| plain_seen(&traced, index.total_bytes())))
}

fn plain_seen(traced: &[Traced], drained: u64) -> Answer {
    let seen = Sent::of(traced);
    seen.check(drained)?;
    let line = example(traced, &["sendfile"], &[Descriptor::Tcp, Descriptor::Segment]);
    Ok(Found {
        // More than half: headers of responses, and what a full socket leaves for later, go their own ways.
        holds: seen.sendfile.1 * 2 > drained,
        evidence: format!("{}{}", seen.in_words(drained), quoted(line)),
        place: "strace of the broker while the plain listener is drained".to_owned(),
    })
}

/// Does the TLS listener do without sendfile?
pub(super) fn tls_fetch(kafka: &Kafka, index: &PreloadIndex) -> anyhow::Result<Answer> {
    let Some(address) = kafka.tls_addresses().first().copied() else {
        return Ok(Err("Kafka runs without a TLS listener; start it with one".to_owned()));
    };
    let security = Security {
        tls: Some(Tls {
            ca_file: kafka.ca_file().map(ToOwned::to_owned),
            ..Tls::default()
        }),
        sasl: None,
    };
    let traced = traced(kafka, &[&["sendfile"], &SENDS, &READS], || {
        drain(address, &security, index)
    })?;
    Ok(traced.and_then(|traced| tls_seen(&traced, index.total_bytes())))
}

fn tls_seen(traced: &[Traced], drained: u64) -> Answer {
    let seen = Sent::of(traced);
    seen.check(drained)?;
    let line = example(traced, &SENDS, &[Descriptor::Tcp]);
    Ok(Found {
        holds: seen.sendfile.0 == 0,
        evidence: format!("{}{}", seen.in_words(drained), quoted(line)),
        place: "strace of the broker while the TLS listener is drained".to_owned(),
    })
}

/// How records got to the socket: calls and bytes.
struct Sent {
    /// sendfile from a segment to a TCP connection.
    sendfile: (u64, u64),
    /// Writes to TCP connections.
    written: (u64, u64),
    /// Reads of segments.
    read: (u64, u64),
}

impl Sent {
    fn of(traced: &[Traced]) -> Self {
        Self {
            sendfile: sum(traced, &["sendfile"], |on| on == [Descriptor::Tcp, Descriptor::Segment]),
            written: sum(traced, &SENDS, |on| on == [Descriptor::Tcp]),
            read: sum(traced, &READS, |on| on == [Descriptor::Segment]),
        }
    }

    /// A trace that misses what a client received proves nothing.
    fn check(&self, drained: u64) -> Result<(), String> {
        let sent = self.sendfile.1 + self.written.1;
        if sent < drained {
            return Err(format!(
                "the trace shows {sent} bytes sent where a client received {drained}, so that it proves nothing; look it up again"
            ));
        }
        Ok(())
    }

    fn in_words(&self, drained: u64) -> String {
        format!(
            "{drained} bytes of batches drained: sendfile from the segment {} times ({} bytes), writes to TCP {} times ({} bytes), reads of the \
             segment {} times ({} bytes)",
            self.sendfile.0, self.sendfile.1, self.written.0, self.written.1, self.read.0, self.read.1
        )
    }
}

/// A line of the trace behind the counts.
fn quoted(line: Option<&str>) -> String {
    line.map(|line| format!("; {line}")).unwrap_or_default()
}

/// Reads the whole topic, and holds every byte of it against what was stored.
fn drain(address: SocketAddr, security: &Security, index: &PreloadIndex) -> anyhow::Result<()> {
    let checks = verify(&Bootstrap::from(address), security, &index.ledger, RESPONSE_BYTES)
        .context("the topic could not be drained")?;
    if let Some(wrong) = checks.iter().find(|check| !check.ok) {
        anyhow::bail!(
            "{} of the drained topic is {} where {} was stored",
            wrong.name,
            wrong.observed,
            wrong.expected
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Descriptor::{File, InternalSegment, Segment, Tcp};

    fn one(call: &str, on: &[Descriptor], count: u64, bytes: u64) -> Traced {
        Traced {
            call: call.to_owned(),
            on: on.to_vec(),
            count,
            bytes,
            example: format!("{call}(..) = {bytes}"),
        }
    }

    #[test]
    fn sendfile_must_carry_the_records() {
        let plain = [
            one("sendfile", &[Tcp, Segment], 16, 4_000),
            one("write", &[Tcp], 20, 1_000),
        ];
        let found = plain_seen(&plain, 4_000).unwrap();
        assert!(
            found.holds && found.evidence.ends_with("; sendfile(..) = 4000"),
            "{found:?}"
        );
        let copied = [one("pread64", &[Segment], 16, 4_000), one("write", &[Tcp], 20, 5_000)];
        assert!(!plain_seen(&copied, 4_000).unwrap().holds);
        // From another file it is no evidence, and neither is a trace that missed the bytes.
        let other = [
            one("sendfile", &[Tcp, File], 1, 9_000),
            one("sendfile", &[Tcp, InternalSegment], 1, 9_000),
        ];
        assert!(plain_seen(&other, 4_000).unwrap_err().contains("0 bytes sent"));
        assert!(plain_seen(&[], 4_000).is_err());
    }

    #[test]
    fn under_tls_a_single_sendfile_refutes() {
        let tls = [one("pread64", &[Segment], 16, 4_000), one("write", &[Tcp], 20, 4_400)];
        let found = tls_seen(&tls, 4_000).unwrap();
        assert!(
            found.holds && found.evidence.contains("sendfile from the segment 0 times"),
            "{found:?}"
        );
        let kernel = [
            one("sendfile", &[Tcp, Segment], 1, 4_000),
            one("write", &[Tcp], 20, 400),
        ];
        assert!(!tls_seen(&kernel, 4_000).unwrap().holds);
        assert!(tls_seen(&[], 4_000).is_err());
    }

    #[test]
    fn flushes_are_held_against_batches() {
        let lazy = [
            one("write", &[Segment], 256, 4_000),
            one("fsync", &[File], 9, 0),
            one("fsync", &[InternalSegment], 900, 0),
        ];
        let found = flushes_seen(&lazy, 256).unwrap();
        assert!(
            !found.holds
                && found
                    .evidence
                    .contains("256 writes to the segment (4000 bytes), 0 calls"),
            "{found:?}"
        );
        let eager = [
            one("write", &[Segment], 256, 4_000),
            one("fdatasync", &[Segment], 256, 0),
        ];
        assert!(flushes_seen(&eager, 256).unwrap().holds);
        assert!(flushes_seen(&[one("fsync", &[Segment], 256, 0)], 256).is_err());
    }
}
