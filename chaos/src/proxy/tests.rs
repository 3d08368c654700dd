//! A whole proxy between a client and a broker of this test, over loopback.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use kafka_wire::ApiKey;
use kafka_wire::encode::{BufMut, Encode};
use kafka_wire::frame::finish_frame;
use proptest::prelude::*;
use workloads::history::OffsetRun;

use super::*;

/// More than ten times what anything here takes.
const WATCHDOG: Duration = Duration::from_secs(60);
/// An API that the proxy neither rewrites nor accounts for.
const PLAIN: i16 = 2;
const METADATA: i16 = 3;

/// A broker that takes one connection after another and answers each request by what `answer` gives for its frame; it tells all bytes that
/// came on a connection, once that has ended.
fn broker(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, came) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut all, mut at, mut chunk) = (Vec::new(), 0, [0; 4096]);
            while let Ok(count @ 1..) = stream.read(&mut chunk) {
                all.extend(&chunk[..count]);
                while let Some(frame) = whole_frame(&all[at..]) {
                    at += 4 + frame.len();
                    let _ = stream.write_all(&answer(frame));
                }
            }
            if told.send(all).is_err() {
                return;
            }
        }
    });
    (address, came)
}

fn whole_frame(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    bytes.get(4..4 + length)
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

fn request(key: i16, version: i16, correlation_id: i32, rest: &[u8]) -> Vec<u8> {
    let head = [
        &key.to_be_bytes()[..],
        &version.to_be_bytes(),
        &correlation_id.to_be_bytes(),
    ]
    .concat();
    framed(&[&head[..], rest].concat())
}

/// What an echoing broker answers: the correlation id, and the request's own bytes behind it.
fn echo(frame: &[u8]) -> Vec<u8> {
    framed(&frame[4..])
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(WATCHDOG)).unwrap();
    stream
}

/// What comes until the connection ends; the error that ends it, if it is one.
fn read_to_end(mut stream: &TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return (all, None),
            Ok(count) => all.extend(&chunk[..count]),
            Err(error) => return (all, Some(error.kind())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn pipelined_frames_pass_byte_by_byte(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 1..20),
        pieces in prop::collection::vec(1_usize..9_000, 1..20),
    ) {
        let (address, came) = broker(echo);
        let proxy = Proxy::start(address).unwrap();
        let mut client = connect(&proxy);
        let sent: Vec<u8> = bodies.iter().zip(0..).flat_map(|(body, id)| request(PLAIN, 1, id, body)).collect();
        let expected: Vec<u8> = bodies.iter().zip(0_i32..).flat_map(|(body, id)| {
            framed(&[&id.to_be_bytes()[..], body].concat())
        }).collect();
        let mut reader = client.try_clone().unwrap();
        let answers = std::thread::spawn(move || {
            let mut answers = vec![0; expected.len()];
            reader.read_exact(&mut answers).unwrap();
            assert!(answers == expected, "answers differ");
        });
        let mut left = &sent[..];
        for &piece in pieces.iter().cycle() {
            if left.is_empty() {
                break;
            }
            let (now, later) = left.split_at(piece.min(left.len()));
            client.write_all(now).unwrap();
            left = later;
        }
        answers.join().unwrap();
        drop(client);
        prop_assert!(came.recv_timeout(WATCHDOG).unwrap() == sent, "requests differ");
        let counts = proxy.counts();
        prop_assert_eq!((counts.requests, counts.answers), (bodies.len() as u64, bodies.len() as u64));
        prop_assert_eq!(proxy.notes(), Vec::<String>::new());
    }
}

#[test]
fn a_request_is_cut_exactly_at_its_byte_and_nothing_behind_it_passes() {
    for (at_millionths, ending) in [
        (0, Ending::Reset),
        (40_000, Ending::Close),
        (500_000, Ending::Reset),
        (MILLION, Ending::Close),
    ] {
        let (address, came) = broker(echo);
        let proxy = Proxy::start(address).unwrap();
        let api = Api(ApiKey::ListOffsets);
        proxy.inject(
            5,
            ProxyFault::CutRequest {
                api,
                nth: 3,
                at_millionths,
                ending,
            },
        );
        let frames: Vec<Vec<u8>> = (0..5).map(|id| request(PLAIN, 1, id, &[id as u8; 200])).collect();
        let mut client = connect(&proxy);
        client.write_all(&frames.concat()).unwrap();
        let evidence = proxy.wait_over(WATCHDOG, &|| false);
        let passed = ProxyFault::cut_after(frames[2].len(), at_millionths);
        let what = format!("request 3 to ListOffsets was cut off after {passed} of 212 bytes");
        assert_eq!((evidence.count, evidence.what.as_str()), (1, what.as_str()));
        let (_, end) = read_to_end(&client);
        assert_eq!(end.is_some(), ending == Ending::Reset, "{end:?}");
        drop(client);
        let all = frames.concat();
        let expected = &all[..frames[0].len() + frames[1].len() + passed];
        assert!(came.recv_timeout(WATCHDOG).unwrap() == expected, "at {at_millionths}");
    }
}

/// A Produce request of version 9 with one batch of `records` records.
fn produce_request(correlation_id: i32, acks: i16, records: usize) -> Vec<u8> {
    let mut builder = kafka_wire::BatchBuilder::new(0);
    (0..records).for_each(|_| builder.push(0, None, b"value"));
    let mut out = Vec::new();
    kafka_wire::produce::encode_request(&mut out, correlation_id, "t", 6, acks, builder.finish());
    out
}

/// Answers Produce requests with base offset ten times their correlation id.
fn acknowledge(frame: &[u8]) -> Vec<u8> {
    let correlation_id = i32::from_be_bytes(*frame[4..].first_chunk().unwrap());
    if kafka_wire::produce::ProduceRequest::decode(&mut body_of(frame), 9)
        .unwrap()
        .acks
        == 0
    {
        return Vec::new();
    }
    let result = kafka_wire::produce::ProduceResult {
        topic: "t".to_owned(),
        partition: 6,
        error: 0,
        base_offset: i64::from(correlation_id) * 10,
        append_time_ms: -1,
        log_start_offset: 0,
        message: None,
    };
    let mut out = vec![0; 4];
    out.put_i32(correlation_id);
    out.put_no_tags(true);
    kafka_wire::produce::encode_response(&mut out, 9, &[result]);
    finish_frame(&mut out, 0);
    out
}

fn body_of(frame: &[u8]) -> kafka_wire::Cursor<'_> {
    let mut cursor = kafka_wire::Cursor::new(frame);
    kafka_wire::RequestHeader::parse(&mut cursor).unwrap();
    cursor
}

fn lost(fault: u32, base_offset: i64, count: u32) -> LostAnswer {
    let run = OffsetRun {
        partition: 6,
        base_offset,
        count,
    };
    LostAnswer { fault, run }
}

#[test]
fn the_nth_response_is_dropped_and_every_batch_behind_it_is_told() {
    let (address, came) = broker(acknowledge);
    let proxy = Proxy::start(address).unwrap();
    let api = Api(ApiKey::Produce);
    let then = Then::Close;
    proxy.inject(9, ProxyFault::DropResponse { api, nth: 3, then });
    // Number 2 asks for no answer, so the third answer is that to number 4.
    let frames: Vec<Vec<u8>> = (1..=5)
        .map(|id| produce_request(id, if id == 2 { 0 } else { -1 }, id as usize))
        .collect();
    let mut client = connect(&proxy);
    client.write_all(&frames.concat()).unwrap();
    let (answers, end) = read_to_end(&client);
    assert_eq!(end, None, "it is closed in an orderly way");
    let heard: Vec<u8> = [1, 3]
        .iter()
        .flat_map(|id| acknowledge(&produce_request(*id, -1, 1)[4..]))
        .collect();
    assert!(answers == heard, "{answers:?}");
    drop(client);
    let evidence = proxy.wait_over(WATCHDOG, &|| false);
    assert_eq!(
        evidence.what,
        "response 3 of Produce was thrown away, and the connection was closed"
    );
    assert!(
        came.recv_timeout(WATCHDOG).unwrap() == frames.concat(),
        "the broker got all of it"
    );
    let told = proxy.take_lost();
    assert_eq!((told.answers, told.unknown), (vec![lost(9, 40, 4), lost(9, 50, 5)], 0));
    assert_eq!(proxy.take_lost(), Lost::default());
}

#[test]
fn withheld_responses_leave_the_connection_silent_and_open() {
    let (address, came) = broker(acknowledge);
    let proxy = Proxy::start(address).unwrap();
    let api = Api(ApiKey::Produce);
    let then = Then::Withhold;
    proxy.inject(2, ProxyFault::DropResponse { api, nth: 1, then });
    let mut client = connect(&proxy);
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    for id in 1..=2 {
        client.write_all(&produce_request(id, 1, 2)).unwrap();
        let error = client.read(&mut [0; 64]).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "{error}"
        );
    }
    // The client gives up.
    drop(client);
    assert_eq!(proxy.wait_over(WATCHDOG, &|| false).count, 1);
    assert_eq!(
        came.recv_timeout(WATCHDOG).unwrap().len(),
        2 * produce_request(1, 1, 2).len()
    );
    assert_eq!(proxy.take_lost().answers, [lost(2, 10, 2), lost(2, 20, 2)]);
}

#[test]
fn a_delayed_response_comes_late_and_whole() {
    let (address, _came) = broker(acknowledge);
    let proxy = Proxy::start(address).unwrap();
    let api = Api(ApiKey::Produce);
    let (nth, by_us) = (2, 30_000);
    proxy.inject(1, ProxyFault::DelayResponse { api, nth, by_us });
    let mut client = connect(&proxy);
    let frames: Vec<Vec<u8>> = (1..=3).map(|id| produce_request(id, 1, 1)).collect();
    let begun = Instant::now();
    client.write_all(&frames.concat()).unwrap();
    let expected: Vec<u8> = frames.iter().flat_map(|frame| acknowledge(&frame[4..])).collect();
    let mut answers = vec![0; expected.len()];
    client.read_exact(&mut answers).unwrap();
    assert!(answers == expected && begun.elapsed() >= Duration::from_micros(by_us));
    assert_eq!(proxy.wait_over(WATCHDOG, &|| false).count, 1);
    assert_eq!(proxy.take_lost(), Lost::default());
}

#[test]
fn what_was_answered_before_a_reset_is_read_and_what_comes_later_is_told() {
    // It answers the second request only when it is told to: after the cut.
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (address, _came) = broker(move |frame| {
        if frame[7] == 2 {
            let _ = wait.lock().unwrap().recv_timeout(WATCHDOG);
        }
        acknowledge(frame)
    });
    let proxy = Proxy::start(address).unwrap();
    let mut client = connect(&proxy);
    let first = produce_request(1, 1, 3);
    client.write_all(&first).unwrap();
    let expected = acknowledge(&first[4..]);
    // The answer has come, and is not read yet.
    while client.peek(&mut vec![0; expected.len()]).unwrap() < expected.len() {}
    client.write_all(&produce_request(2, 1, 4)).unwrap();
    while proxy.counts().requests < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    proxy.inject(3, ProxyFault::Cut { ending: Ending::Reset });
    let (answers, end) = read_to_end(&client);
    assert!(answers == expected, "{answers:?}");
    assert_eq!(end, Some(ErrorKind::ConnectionReset));
    go.send(()).unwrap();
    let evidence = proxy.wait_over(WATCHDOG, &|| false);
    assert_eq!((evidence.count, evidence.what.as_str()), (1, "1 connections were cut"));
    assert_eq!(proxy.take_lost().answers, [lost(3, 20, 4)]);
}

#[test]
fn new_connections_are_refused_for_a_while() {
    let (address, _came) = broker(echo);
    let proxy = Proxy::start(address).unwrap();
    let client = connect(&proxy);
    while proxy.counts().connections < 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    proxy.inject(1, ProxyFault::Refuse { for_us: 100_000 });
    assert_eq!(read_to_end(&client).1, Some(ErrorKind::ConnectionReset));
    let refused = TcpStream::connect(proxy.address())
        .map(drop)
        .map_err(|error| error.kind());
    assert_eq!(proxy.wait_over(WATCHDOG, &|| false).count, 1);
    // A machine that stood still in between may have missed it.
    assert!(
        matches!(refused, Ok(()) | Err(ErrorKind::ConnectionRefused)),
        "{refused:?}"
    );
    let mut client = connect(&proxy);
    client.write_all(&request(PLAIN, 1, 1, b"again")).unwrap();
    let mut answer = [0; 13];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[8..], b"again");
}

#[test]
fn addresses_lead_back_through_the_proxy_and_each_broker_has_its_own() {
    // The first broker names itself and a second one; the second answers by its name.
    let (second, _came) = broker(|frame| framed(&[&frame[4..8], b"second"].concat()));
    let listener_port = Arc::new(Mutex::new(0));
    let own_port = listener_port.clone();
    let (first, _came) = broker(move |frame| {
        let mut out = vec![0; 4];
        out.put_slice(&frame[4..8]);
        out.put_array_len(2, false);
        for port in [*own_port.lock().unwrap(), second.port()] {
            out.put_i32(i32::from(port));
            out.put_string("127.0.0.1", false);
            out.put_i32(i32::from(port));
        }
        out.put_array_len(0, false);
        finish_frame(&mut out, 0);
        out
    });
    *listener_port.lock().unwrap() = first.port();
    let proxy = Proxy::start(first).unwrap();
    let mut client = connect(&proxy);
    client.write_all(&request(METADATA, 0, 7, &[0xff; 2])).unwrap();
    let mut length = [0; 4];
    client.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    client.read_exact(&mut answer).unwrap();
    let mut cursor = kafka_wire::Cursor::new(&answer);
    assert_eq!(
        (cursor.i32().unwrap(), cursor.array_len(false, 1).unwrap()),
        (7, Some(2))
    );
    let mut named = || {
        cursor.i32().unwrap();
        assert_eq!(cursor.string(false).unwrap(), "127.0.0.1");
        cursor.i32().unwrap()
    };
    let (one, other) = (named(), named());
    assert_eq!(one, i32::from(proxy.address().port()));
    assert!(other != one && other != i32::from(second.port()));
    let mut client = TcpStream::connect(("127.0.0.1", other as u16)).unwrap();
    client.set_read_timeout(Some(WATCHDOG)).unwrap();
    client.write_all(&request(PLAIN, 1, 1, &[])).unwrap();
    let mut answer = [0; 14];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[8..], b"second");
}

#[test]
fn hostile_lengths_and_answers_end_their_connection_and_no_other() {
    let (address, _came) = broker(|frame| match frame[7] {
        1 => i32::MAX.to_be_bytes().iter().chain(&frame[4..8]).copied().collect(),
        2 => framed(&9_i32.to_be_bytes()),
        3 => [echo(frame), echo(frame)].concat(),
        4 => (-5_i32).to_be_bytes().to_vec(),
        5 => framed(&[&frame[4..8], &i32::MAX.to_be_bytes()].concat()),
        _ => echo(frame),
    });
    let proxy = Proxy::start(address).unwrap();
    for (key, id) in [(METADATA, 1), (PLAIN, 2), (PLAIN, 3), (PLAIN, 4), (METADATA, 5)] {
        let mut client = connect(&proxy);
        client.write_all(&request(key, 0, id, &[])).unwrap();
        read_to_end(&client);
    }
    let mut client = connect(&proxy);
    client.write_all(&(-1_i32).to_be_bytes()).unwrap();
    read_to_end(&client);
    let notes = proxy.notes();
    for (note, said) in notes.iter().zip([
        "2147483651 bytes would have to be held",
        "answers request 9 where 2 was due",
        "answers request 3, and nothing was asked",
        "a frame of -5 bytes",
        "names brokers can't be read",
        "a frame of -1 bytes",
    ]) {
        assert!(note.contains(said), "{note}");
    }
    assert_eq!(notes.len(), 6, "{notes:?}");
    let mut client = connect(&proxy);
    client.write_all(&request(PLAIN, 1, 8, b"sound")).unwrap();
    let mut answer = [0; 13];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[8..], b"sound");
}

#[test]
fn large_frames_are_streamed_and_a_reader_that_stops_stops_the_broker() {
    const BYTES: usize = 24 << 20;
    let (address, _came) = broker(|frame| {
        let mut out = framed(&[&frame[4..8], &vec![7; BYTES]].concat());
        out[100] = 8;
        out
    });
    let proxy = Proxy::start(address).unwrap();
    let mut client = connect(&proxy);
    client.write_all(&request(PLAIN, 1, 1, &vec![5; BYTES])).unwrap();
    // The answer waits for a reader, and no more of it than a read is in the proxy's memory.
    while proxy.counts().buffered_bytes_max == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut answer = vec![0; BYTES + 8];
    client.read_exact(&mut answer).unwrap();
    assert!(answer[100] == 8 && answer[101..].iter().all(|&byte| byte == 7));
    let buffered = proxy.counts().buffered_bytes_max;
    assert!(buffered <= 128 << 10, "{buffered} bytes waited");
}
