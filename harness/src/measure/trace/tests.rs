use super::line::{Call, Line, Lines};
use super::*;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Captured from strace 6.1 on Kafka 4.3.1 (paths shortened): plain fetches, the controller's own log, a produce, new threads, the end.
const KAFKA: &str = r#"strace: Process 18269 attached with 106 threads
[pid 18551] sendfile(147<TCPv6:[[::ffff:127.0.0.1]:19500->[::ffff:127.0.0.1]:46136]>, 146</srv/data/demo-0/00000000000000000000.log>, [0] => [249050], 249050) = 249050
[pid 18551] sendfile(147<TCPv6:[[::ffff:127.0.0.1]:19500->[::ffff:127.0.0.1]:46136]>, 146</srv/data/demo-0/00000000000000000000.log>, [249050], 7) = -1 EAGAIN (Resource temporarily unavailable)
[pid 18434] pread64(108</srv/data/__cluster_metadata-0/00000000000000000000.log>,  <unfinished ...>
[pid 18543] write(147</srv/data/demo-0/partition.metadata.tmp>, ""..., 43) = 43
[pid 18434] <... pread64 resumed>""..., 17, 49652) = 17
strace: Process 26772 attached
[pid 26772] fsync(147</srv/data/demo-0/00000000000000000000.log> <unfinished ...>
[pid 18543] write(124<anon_inode:[eventfd]>, ""..., 8) = 8
[pid 26772] <... fsync resumed>) = 0
[pid 18543] mmap(NULL, 4096, PROT_READ, MAP_SHARED, 9</srv/data/demo-0/00000000000000000000.index>, 0) = 0x7f0000000000
[pid 18543] write(147<TCPv6:[[::ffff:127.0.0.1]:19500->[::ffff:127.0.0.1]:46136]>, ""..., 61) = 61
[pid 18543] read(147<TCPv6:[[::ffff:127.0.0.1]:19500->[::ffff:127.0.0.1]:46136]>,  <detached ...>
[pid 18543] +++ exited with 0 +++
strace: Process 18269 detached
"#;

fn sums(text: &str) -> Vec<Traced> {
    let (tell, _events) = channel();
    read(text.as_bytes(), &tell).unwrap().into_traced()
}

#[test]
fn calls_are_summed_by_what_they_are_on() {
    let shown: Vec<String> = sums(KAFKA).iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "fsync(segment) 1 times, 0 bytes",
            "mmap(file) 1 times, 0 bytes",
            "pread64(internal segment) 1 times, 17 bytes",
            "sendfile(tcp, segment) 2 times, 249050 bytes",
            "write(file) 1 times, 43 bytes",
            "write(tcp) 1 times, 61 bytes",
            "write(other) 1 times, 8 bytes",
        ]
    );
}

#[test]
fn the_example_is_the_first_call_and_names_no_folder_of_the_machine() {
    let sums = sums(KAFKA);
    let sendfile = sums.iter().find(|traced| traced.call == "sendfile").unwrap();
    assert_eq!(
        sendfile.example,
        "sendfile(147<TCPv6:[[::ffff:127.0.0.1]:19500->[::ffff:127.0.0.1]:46136]>, \
         146<demo-0/00000000000000000000.log>, [0] => [249050], 249050) = 249050"
    );
    assert!(sums.iter().all(|traced| !traced.example.contains("/srv/")), "{sums:?}");
}

#[test]
fn odd_lines_are_no_calls_and_odd_descriptors_are_told_apart() {
    let call = |text: &str| match Lines::default().parse(text) {
        Some(Line::Call(call)) => Some(call),
        _ => None,
    };
    for text in [
        "",
        "[pid 1",
        "[pid x] read(3<TCP:[1]>) = 1",
        "[pid 1] <... read resumed>) = 1",
        "read(",
        "read(3",
        "read(3</a.log",
        "read(3) 4",
        "exit_group(0) = ?<",
        "--- SIGSEGV {si_signo=SIGSEGV} ---",
    ] {
        assert!(call(text).is_none_or(|call| call.bytes == 0), "{text}");
    }
    let on = |text: &str| call(text).map(|Call { on, .. }| on).unwrap();
    assert_eq!(on("read(3<socket:[12]>, \"\"..., 1) = 1"), [Descriptor::Other]);
    assert_eq!(on("read(3</a/1.log (deleted)>, \"\"..., 1) = 1"), [Descriptor::Segment]);
    assert_eq!(on("read(3</a/server.log>, \"\"..., 1) = 1"), [Descriptor::File]);
    assert_eq!(on("read(3</a/.log>, \"\"..., 1) = 1"), [Descriptor::File]);
    assert_eq!(on("futex(0x7f, FUTEX_WAIT, 1, NULL) = 0"), [] as [Descriptor; 0]);
    assert_eq!(
        on("splice(3<pipe:[7]>, NULL, 4<TCP:[127.0.0.1:1->127.0.0.1:2]>, NULL, 9, 0) = 9"),
        [Descriptor::Other, Descriptor::Tcp]
    );
    assert_eq!(
        call("read(3<TCP:[127.0.0.1:1->127.0.0.1:2]>, 0x7f, 8) = ? ERESTARTSYS (To be restarted)")
            .unwrap()
            .bytes,
        0
    );
}

#[test]
fn a_refusal_is_one_line_with_the_remedy() {
    let (tell, events) = channel();
    let said = "strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted\n";
    read(said.as_bytes(), &tell).unwrap();
    let Ok(Event::Complaint(complaint)) = events.recv() else {
        panic!("strace's words are lost");
    };
    let shown = Unavailable::Refused(complaint).to_string();
    assert!(
        shown.contains("Operation not permitted") && shown.contains("ptrace_scope"),
        "{shown}"
    );
    assert!(!shown.contains('\n'));
}

/// Why this machine can't trace, if it can't.
fn obstacle() -> Option<String> {
    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    let tried = Tracing::attach(&[sleeper.id()], &["read"]).map(drop);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    match tried {
        Err(TraceError::Unavailable(why)) => Some(why.to_string()),
        Err(TraceError::Other(error)) => panic!("{error:#}"),
        Ok(()) => None,
    }
}

/// Whether no thread of the process is traced or stopped.
fn runs_free(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.contains("TracerPid:\t0\n") && !is_stopped(pid)
}

#[test]
fn a_running_process_is_traced_and_let_go() {
    if let Some(obstacle) = obstacle() {
        eprintln!("skipped: {obstacle}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let segment = folder.path().join("00000000000000000042.log");
    let mut child = Command::new("tee")
        .arg(&segment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let ((), traced) = trace(&[child.id()], &["write", "read"], || {
        stdin.write_all(&[b'x'; 1000])?;
        stdout.read_exact(&mut [0; 1000])?;
        // The pipe says so before the file is written; the file says when it is.
        while std::fs::metadata(&segment)?.len() < 1000 {
            std::thread::yield_now();
        }
        Ok(())
    })
    .unwrap();
    assert!(runs_free(child.id()));
    // It works on.
    stdin.write_all(b"more").unwrap();
    stdout.read_exact(&mut [0; 4]).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    let of = |name: &str| traced.iter().find(|traced| traced.name() == name);
    let (written, piped) = (of("write(segment)").unwrap(), of("write(other)").unwrap());
    assert_eq!(
        (written.count, written.bytes, piped.bytes),
        (1, 1000, 1000),
        "{traced:?}"
    );
    assert!(written.example.contains("/00000000000000000042.log>"), "{written:?}");
    assert_eq!(of("read(other)").unwrap().bytes, 1000);
}

#[test]
fn threads_and_their_connections_are_seen() {
    if let Some(obstacle) = obstacle() {
        eprintln!("skipped: {obstacle}");
        return;
    }
    // A process with a second thread that makes the calls: perl and python may be missing, this very test binary isn't.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "measure::trace::tests::peer_of_another_test"])
        .env("ASSAY_TRACE_PEER", address.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let ((), traced) = trace(&[child.id()], &["sendto", "write"], || {
        connection.write_all(&[1; 64])?;
        connection.read_exact(&mut [0; 64])?;
        Ok(())
    })
    .unwrap();
    assert!(runs_free(child.id()));
    drop(connection);
    assert!(child.wait().unwrap().success());
    let sent: u64 = traced
        .iter()
        .filter(|traced| traced.on == [Descriptor::Tcp])
        .map(|traced| traced.bytes)
        .sum();
    assert_eq!(sent, 64, "{traced:?}");
}

#[test]
#[ignore = "another test starts it as a process of its own"]
fn peer_of_another_test() {
    let Ok(address) = std::env::var("ASSAY_TRACE_PEER") else {
        return;
    };
    let mut connection = TcpStream::connect(address).unwrap();
    let mut bytes = [0; 64];
    connection.read_exact(&mut bytes).unwrap();
    connection.write_all(&bytes).unwrap();
    // Until the other side is done.
    let _ = connection.read(&mut bytes);
}

#[test]
fn what_was_to_be_traced_may_fail_and_the_process_runs_on() {
    if let Some(obstacle) = obstacle() {
        eprintln!("skipped: {obstacle}");
        return;
    }
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let outcome = trace(&[child.id()], &["read"], || -> anyhow::Result<()> {
        anyhow::bail!("it broke")
    });
    assert!(matches!(outcome, Err(TraceError::Other(error)) if error.to_string() == "it broke"));
    assert!(runs_free(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_process_that_is_gone_is_refused() {
    if let Some(obstacle) = obstacle() {
        eprintln!("skipped: {obstacle}");
        return;
    }
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let outcome = trace(&[child.id()], &["read"], || Ok(()));
    let Err(TraceError::Unavailable(Unavailable::Refused(why))) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(why.contains("No such process"), "{why}");
}
