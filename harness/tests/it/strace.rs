//! The broker's own counters, held against what strace saw it do.
//!
//! A summary (`strace -c`) would mix in what the runtime and the control socket do, so the calls are listed with what
//! their descriptors are, and counted here: those on TCP sockets and on files of the log.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use broker_under_test::{ControlClient, FetchPath};
use kafka_wire::encode::Encode;
use kafka_wire::fetch::{self, ResponseHead};
use kafka_wire::frame::{finish_frame, start_request};
use kafka_wire::{ApiKey, BatchBuilder, produce};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const TOPIC: &str = "traced";
const CALLS: &str = "sendto,sendmsg,sendfile,splice,pread64,preadv,pwritev,recvfrom,mmap";
/// A traced broker that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why this machine can't trace, if it can't.
fn obstacle() -> Option<String> {
    let probe = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::piped())
        .output();
    match probe {
        Err(error) if error.kind() == ErrorKind::NotFound => Some("strace is not installed".to_owned()),
        Err(error) => Some(error.to_string()),
        Ok(output) if !output.status.success() => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Ok(_) => None,
    }
}

/// `assay broker` under strace; both end when it is dropped.
struct Traced {
    strace: Child,
    control: ControlClient,
    port: u16,
    pid: Pid,
}

impl Traced {
    fn start(folder: &Path, path: &str) -> Self {
        let data = folder.join("data");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-s", "0", "-yy", "-e"]);
        command.arg(format!("trace={CALLS}"));
        command.arg("-o").arg(folder.join("trace"));
        command
            .arg(env!("CARGO_BIN_EXE_assay"))
            .args(["broker", "--port", "0", "--data-dir"]);
        command.arg(&data);
        for setting in [
            "fetch.buffer.bytes=4096",
            "fetch.pipe.bytes=16384",
            "log.segment.bytes=2000000",
        ] {
            command.args(["--set", setting]);
        }
        command.args(["--set", &format!("fetch.path={path}")]);
        let strace = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut control = loop {
            match ControlClient::connect(&data) {
                Ok(control) => break control,
                Err(error) => assert!(Instant::now() < deadline, "the broker does not start: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let info = control.info().unwrap();
        Traced {
            strace,
            control,
            port: info.port,
            pid: Pid::from_raw(info.pid as i32),
        }
    }

    /// The counters, once the connections have ended and nothing moves any more.
    fn settled(&mut self) -> BTreeMap<String, u64> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = self.control.counters().unwrap();
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.control.counters().unwrap();
            if now == last {
                return now;
            }
            assert!(Instant::now() < deadline, "the counters do not come to rest");
            last = now;
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // An error means that it has ended already; strace ends with it.
        let _ = kill(self.pid, Signal::SIGTERM);
        let _ = self.strace.wait();
    }
}

fn ask(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer
}

/// Creates the topic, fills it and fetches it in several sizes.
fn drive(port: u16) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = Vec::new();
    let start = start_request(&mut request, ApiKey::Metadata, 1, 1, "strace");
    request.put_array_len(1, false);
    request.put_string(TOPIC, false);
    finish_frame(&mut request, start);
    ask(&mut stream, &request);
    for _ in 0..150 {
        let mut builder = BatchBuilder::new(1_700_000_000_000);
        (0..20).for_each(|_| builder.push(1_700_000_000_000, None, &[b'x'; 1000]));
        request.clear();
        produce::encode_request(&mut request, 2, TOPIC, 0, -1, builder.finish());
        let answer = ask(&mut stream, &request);
        let (_, results) = produce::decode_response(&answer, produce::CLIENT_VERSION).unwrap();
        assert_eq!(results[0].error, 0);
    }
    for (offset, bytes_max) in [
        (0, 1),
        (100, 4096),
        (205, 30_000),
        (1000, 100_000),
        (40, 1 << 20),
        (0, 5_000_000),
        (2990, 5_000_000),
        (3000, 4096),
    ] {
        request.clear();
        fetch::encode_request(&mut request, 3, TOPIC, 0, offset, bytes_max, 0);
        let answer = ask(&mut stream, &request);
        let head = ResponseHead::decode(&answer).unwrap();
        assert_eq!((head.result.error, head.result.records_bytes > 0), (0, offset < 3000));
    }
}

/// Calls by name, on what the broker counts.
fn traced_calls(trace: &str) -> BTreeMap<&str, u64> {
    let mut calls = BTreeMap::new();
    for line in trace.lines() {
        // "PID name(arguments": a call that another thread interrupts is finished on a line that has no name( in it.
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let Some((name, arguments)) = rest.split_once('(') else {
            continue;
        };
        let on_log = arguments.contains(".log>");
        let counted = match name {
            "sendto" | "sendmsg" | "recvfrom" => arguments.split(',').next().is_some_and(|a| a.contains("<TCP:")),
            "sendfile" | "splice" => true,
            "pread64" | "preadv" | "pwritev" | "mmap" => on_log,
            _ => false,
        };
        if counted {
            *calls.entry(name).or_default() += 1;
        }
    }
    calls
}

#[test]
fn the_counters_are_what_strace_sees() {
    if let Some(obstacle) = obstacle() {
        eprintln!("skipped, as strace can't be used: {obstacle}");
        return;
    }
    for (_, path) in FetchPath::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mut broker = Traced::start(folder.path(), path);
        drive(broker.port);
        let counters = broker.settled();
        drop(broker);
        let trace = std::fs::read_to_string(folder.path().join("trace")).unwrap();
        if !trace.contains("<TCP:") {
            eprintln!("skipped, as this strace can't tell what a socket is");
            return;
        }
        let traced = traced_calls(&trace);
        for (name, counted) in [
            ("sendto", vec!["call_send"]),
            ("sendmsg", vec!["call_sendmsg"]),
            ("sendfile", vec!["call_sendfile"]),
            ("splice", vec!["call_splice"]),
            ("pread64", vec!["call_pread", "call_pread_lookup"]),
            ("preadv", vec!["call_preadv"]),
            ("pwritev", vec!["call_pwritev"]),
            ("recvfrom", vec!["call_recv"]),
            ("mmap", vec!["call_mmap"]),
        ] {
            let expected: u64 = counted.iter().map(|counter| counters[*counter]).sum();
            let seen = traced.get(name).copied().unwrap_or(0);
            assert_eq!(seen, expected, "{path}: {name} seen against {counted:?} counted");
        }
        let moves_records = match path {
            "sendfile" => "sendfile",
            "splice" => "splice",
            "mmap" => "mmap",
            "vectored" => "preadv",
            _ => "pread64",
        };
        assert!(traced.get(moves_records).is_some_and(|n| *n > 0), "{path}: {traced:?}");
        assert_eq!(counters["append_batches"], traced["pwritev"]);
    }
}
