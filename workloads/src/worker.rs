//! The body of `assay worker`: one client process, driven over stdin and stdout by JSON lines.
//!
//! The first line on stdin is a [`WorkerSpec`]. The worker warms up, says `{"event":"ready"}` with nothing in flight, and waits: whoever drives it
//! reads CPU clocks now, writes `go`, and reads them again after `{"event":"done","result":{..}}`. Then the worker waits for another `go`, for
//! `quit`, or for the end of stdin. [`WorkerSpec::Preload`] and [`WorkerSpec::Verify`] have no window and answer `done` at once;
//! [`WorkerSpec::BareServe`] and [`WorkerSpec::BareTake`] say `{"event":"listening","port":..}`, serve one connection and then answer `done`. What
//! goes wrong is `{"event":"error","message":".."}` and exit code 3.
//!
//! [`WorkerSpec::Load`] and [`WorkerSpec::Consume`] tell how far they are, `{"event":"produced",..}` and `{"event":"received",..}`, when
//! `ticks_ms` is not 0; a thread writes these lines, as no record may be late for them. Whoever runs the worker may end such a window early by
//! a flag.
//!
//! A worker starts no other threads, but for the short ones in which a load reconnects, and reports no CPU time: the kernel knows it per process.

use crate::blocks::{BlockWriter, BlocksSpec, Written};
use crate::load::{
    self, ConsumeSpec, ConsumeTick, Consumed, Consumer, Engine, LoadSpec, Loaded, ProducedTick, Tick, TickJoiner,
};
use crate::member::{self, MemberNote, MemberSpec, MembersError};
use crate::native::bare::{BareClient, BareReceiveSpec, BareServeSpec, BareServed, serve};
use crate::native::bare_produce::{AppendSpec, Appender, BareFile, BareTaken, take};
use crate::native::endpoint::Bootstrap;
use crate::native::fetch::{FetchClient, FetchSpec};
use crate::native::follow::{FollowClient, FollowSpec, Followed};
use crate::native::ledger::Ledger;
use crate::native::look_up::{LookUpClient, LookUpSpec, LookedUp};
use crate::native::preload::{PreloadIndex, PreloadSpec, preload};
use crate::native::produce::{ProduceClient, ProduceSpec};
use crate::native::security::Security;
use crate::native::verify::{Check, verify};
use crate::native::{ClientError, Phase, PhaseResult};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// Longest line on stdin, bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Ticks that wait to be written.
const TICKS_WAITING_MAX: usize = 8;

/// Notes of members that wait to be written.
const NOTES_WAITING_MAX: usize = 1_024;

/// Exit code of a worker that did its task.
pub const EXIT_DONE: u8 = 0;
/// Exit code of a worker that could not.
pub const EXIT_ERROR: u8 = 3;

/// What a worker is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case", deny_unknown_fields)]
pub enum WorkerSpec {
    /// Drain a topic.
    Fetch {
        /// Brokers to begin with.
        address: Bootstrap,
        /// TLS and SASL.
        #[serde(default)]
        security: Security,
        /// File with the [`PreloadIndex`] of the topic.
        index: PathBuf,
        /// How it is drained.
        fetch: FetchSpec,
        /// Traffic before `ready`, ms; 0 where the data must stay untouched until `go`.
        warmup_ms: u32,
        /// Traffic after each `go`.
        window: Phase,
    },
    /// Follow a topic.
    Follow {
        /// Brokers to begin with.
        address: Bootstrap,
        /// TLS and SASL.
        #[serde(default)]
        security: Security,
        /// File with the [`Ledger`] of what is stored, or with the [`PreloadIndex`].
        stored: PathBuf,
        /// How it is followed.
        follow: FollowSpec,
        /// Traffic before `ready`, ms; 0 where the data must stay untouched until `go`.
        warmup_ms: u32,
        /// Traffic after each `go`.
        window: Phase,
        /// File that the [`Ledger`] of what came is written to, at the end.
        #[serde(default)]
        ledger: Option<PathBuf>,
    },
    /// Produce to a topic that exists.
    Produce {
        /// Brokers to begin with.
        address: Bootstrap,
        /// TLS and SASL.
        #[serde(default)]
        security: Security,
        /// What, and how.
        produce: ProduceSpec,
        /// Traffic before `ready`, ms.
        warmup_ms: u32,
        /// Traffic after each `go`.
        window: Phase,
        /// File with the [`Ledger`] of what is stored already, or with the [`PreloadIndex`]: the client's own goes on from it.
        #[serde(default)]
        stored: Option<PathBuf>,
        /// File that the [`Ledger`] of all phases is written to, at the end.
        #[serde(default)]
        ledger: Option<PathBuf>,
    },
    /// Load topics that exist, record by record.
    Load {
        /// Brokers to begin with.
        address: Bootstrap,
        /// TLS and SASL.
        #[serde(default)]
        security: Security,
        /// What, when, and how.
        load: Box<LoadSpec>,
        /// Load before `ready`, ms; each window begins the schedule anew.
        warmup_ms: u32,
        /// Load after each `go`; it ends early with `records_max`, or with the trace.
        window: Phase,
        /// File that the [`Ledger`] of all that was acknowledged is written to, at the end; of the native client with acks 1 or -1.
        #[serde(default)]
        ledger: Option<PathBuf>,
        /// How often the window is told of, ms; 0 for never.
        #[serde(default)]
        ticks_ms: u32,
    },
    /// Consume what a load produces, and tell how long it took from end to end.
    Consume {
        /// Brokers to begin with.
        address: Bootstrap,
        /// TLS and SASL.
        #[serde(default)]
        security: Security,
        /// What, from where, and how; looked up before `ready`, so that nothing is missed that is produced afterwards.
        consume: ConsumeSpec,
        /// Reading after each `go`, if it is not ended early; then it goes on to the end of what lies there.
        window: Phase,
        /// How long that may take, ms.
        drain_ms: u32,
        /// How often the window is told of, ms; 0 for never.
        #[serde(default)]
        ticks_ms: u32,
    },
    /// Look up places in a topic.
    LookUp {
        /// Brokers to begin with.
        address: Bootstrap,
        /// TLS and SASL.
        #[serde(default)]
        security: Security,
        /// File with the [`PreloadIndex`] of the topic.
        index: PathBuf,
        /// Which places.
        look_up: LookUpSpec,
        /// Traffic before `ready`, ms.
        warmup_ms: u32,
        /// Traffic after each `go`.
        window: Phase,
    },
    /// Write blocks into a file, without a broker.
    WriteBlocks {
        /// What, and how.
        blocks: BlocksSpec,
        /// Writing after `go`.
        window: Phase,
    },
    /// Send a file without a protocol to one connection.
    BareServe {
        /// What, and how.
        serve: BareServeSpec,
    },
    /// Take what a bare server sends.
    BareReceive {
        /// The server.
        address: SocketAddr,
        /// How it is taken.
        receive: BareReceiveSpec,
        /// Traffic before `ready`, ms; with 0 the connection itself is made after `go`, because the server sends at once.
        warmup_ms: u32,
        /// Traffic after each `go`.
        window: Phase,
    },
    /// Append the batches of one connection to a file.
    BareTake {
        /// Where.
        to: BareFile,
    },
    /// Produce to a bare taker.
    BareProduce {
        /// The taker.
        address: SocketAddr,
        /// What, and how; its spread names one partition.
        produce: ProduceSpec,
        /// Traffic before `ready`, ms.
        warmup_ms: u32,
        /// Traffic after each `go`.
        window: Phase,
    },
    /// Append batches to a file and flush it.
    BareAppend {
        /// What, and where.
        append: AppendSpec,
        /// Work before `ready`, ms.
        warmup_ms: u32,
        /// Work after each `go`.
        window: Phase,
    },
    /// Fill a topic.
    Preload {
        /// Brokers to begin with.
        address: Bootstrap,
        /// TLS and SASL.
        #[serde(default)]
        security: Security,
        /// With what.
        preload: PreloadSpec,
        /// File that the [`PreloadIndex`] is written to.
        index: PathBuf,
    },
    /// Be members of a consumer group; see [`crate::member`]. After `go` each line on stdin is a command to one of them, until `quit`.
    Members {
        /// Brokers to begin with.
        address: Bootstrap,
        /// TLS and SASL.
        #[serde(default)]
        security: Security,
        /// Who; they begin after `go`.
        members: Vec<MemberSpec>,
    },
    /// Check a topic.
    Verify {
        /// Brokers to begin with.
        address: Bootstrap,
        /// TLS and SASL.
        #[serde(default)]
        security: Security,
        /// File with the [`PreloadIndex`] or the [`Ledger`] of the topic.
        index: PathBuf,
        /// `max_bytes` of each fetch.
        response_bytes: u32,
    },
}

/// What a worker says, one JSON line each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum WorkerEvent {
    /// The bare server or taker can be connected to.
    Listening {
        /// On 127.0.0.1.
        port: u16,
    },
    /// Warmed up, nothing in flight, waiting for `go`.
    Ready {
        /// What the warm-up moved; absent without one.
        warmup: Option<PhaseResult>,
    },
    /// How far a window of [`WorkerSpec::Load`] is.
    Produced(ProducedTick),
    /// How far a window of [`WorkerSpec::Consume`] is.
    Received(ConsumeTick),
    /// What a member of [`WorkerSpec::Members`] tells.
    Member(MemberNote),
    /// The task, or a window of it, is over.
    Done {
        /// What came of it.
        result: WorkerResult,
    },
    /// The task cannot be done.
    Error {
        /// Why.
        message: String,
    },
}

/// What came of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerResult {
    /// Of a window of a client, or of [`WorkerSpec::BareAppend`].
    Phase(PhaseResult),
    /// Of a window of [`WorkerSpec::Load`].
    Loaded(Box<Loaded>),
    /// Of a window of [`WorkerSpec::Consume`].
    Consumed(Box<Consumed>),
    /// Of a window of [`WorkerSpec::LookUp`].
    LookedUp(LookedUp),
    /// Of a window of [`WorkerSpec::WriteBlocks`].
    Written(Written),
    /// Of a window of [`WorkerSpec::Follow`].
    Followed(Followed),
    /// Of [`WorkerSpec::BareServe`].
    Served(BareServed),
    /// Of [`WorkerSpec::BareTake`].
    Taken(BareTaken),
    /// Of [`WorkerSpec::Preload`]: batches and records stored.
    Preloaded {
        /// Batches.
        batches: u64,
        /// Records.
        records: u64,
    },
    /// Of [`WorkerSpec::Verify`].
    Checks(Vec<Check>),
    /// Of [`WorkerSpec::Members`]: all of them have closed.
    Closed,
}

/// Why a worker stopped.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("the task can't be read: {0}")]
    Spec(#[from] serde_json::Error),
    #[error("`{0}` where `go` or `quit` was due")]
    Command(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Members(#[from] MembersError),
    #[error("stdin or stdout: {0}")]
    Pipe(#[from] io::Error),
}

/// Does one task and returns the exit code of the process. Once `stop` is set, windows of a load end at their next tick.
pub fn run(input: impl BufRead, output: impl Write + Send, stop: &AtomicBool) -> u8 {
    let mut driver = Driver { input, output, stop };
    let Err(error) = driver.work() else { return EXIT_DONE };
    // Whoever started the worker may be gone, and then nobody is left to be told.
    let _ = driver.say(&WorkerEvent::Error {
        message: error.to_string(),
    });
    EXIT_ERROR
}

/// The two pipes to whoever started the worker.
struct Driver<'a, I, O> {
    input: I,
    output: O,
    stop: &'a AtomicBool,
}

impl<I: BufRead, O: Write + Send> Driver<'_, I, O> {
    fn work(&mut self) -> Result<(), WorkerError> {
        let result = match serde_json::from_str(&self.line()?)? {
            WorkerSpec::Fetch {
                address,
                security,
                index,
                fetch,
                warmup_ms,
                window,
            } => {
                let mut client = FetchClient::connect(&address, &security, PreloadIndex::read(&index)?, fetch)?;
                let warmup = warmup_phase(warmup_ms).map(|phase| client.run(phase)).transpose()?;
                return self.windows(warmup, || client.run(window).map(WorkerResult::Phase));
            }
            WorkerSpec::LookUp {
                address,
                security,
                index,
                look_up,
                warmup_ms,
                window,
            } => {
                let mut client = LookUpClient::connect(&address, &security, PreloadIndex::read(&index)?, look_up)?;
                let warmup = warmup_phase(warmup_ms).map(|phase| client.run(phase)).transpose()?;
                let warmup = warmup.map(|looked_up| looked_up.phase);
                return self.windows(warmup, || client.run(window).map(WorkerResult::LookedUp));
            }
            WorkerSpec::WriteBlocks { blocks, window } => {
                let mut writer = BlockWriter::prepare(blocks)?;
                return self.windows(None, || writer.run(window).map(WorkerResult::Written));
            }
            WorkerSpec::Follow {
                address,
                security,
                stored,
                follow,
                warmup_ms,
                window,
                ledger,
            } => {
                let mut client = FollowClient::connect(&address, &security, Ledger::read(&stored)?, follow)?;
                let warmup = warmup_phase(warmup_ms).map(|phase| client.run(phase)).transpose()?;
                let warmup = warmup.map(|followed| followed.phase);
                self.windows(warmup, || client.run(window).map(WorkerResult::Followed))?;
                return Ok(ledger.map_or(Ok(()), |path| client.ledger().write(&path))?);
            }
            WorkerSpec::Produce {
                address,
                security,
                produce,
                warmup_ms,
                window,
                stored,
                ledger,
            } => {
                let mut client = ProduceClient::connect(&address, &security, produce)?;
                if let Some(stored) = stored {
                    client.go_on_from(Ledger::read(&stored)?)?;
                }
                let warmup = warmup_phase(warmup_ms).map(|phase| client.run(phase)).transpose()?;
                self.windows(warmup, || client.run(window).map(WorkerResult::Phase))?;
                // Not before, as it would be work of the window.
                return Ok(ledger.map_or(Ok(()), |path| client.ledger().write(&path))?);
            }
            WorkerSpec::Load {
                address,
                security,
                load,
                warmup_ms,
                window,
                ledger,
                ticks_ms,
            } => {
                let mut engine = Engine::new((*load).clone(), load::connect(&address, &security, &load)?)?;
                if ledger.is_some() && engine.client().ledger().is_none() {
                    let message =
                        "only the native client with acks 1 or -1 keeps a ledger: ask for none, or change the client";
                    return Err(ClientError::Spec(message.to_owned()).into());
                }
                let mut warm_up = |phase: Phase| engine.run(phase.duration(), &mut |_| ControlFlow::Continue(()));
                let warmup = warmup_phase(warmup_ms).map(&mut warm_up).transpose()?;
                let warmup = warmup.map(|loaded| loaded.phase);
                self.telling_windows(warmup, ticks_ms, |tell| {
                    let on =
                        &mut |tick: &Tick<'_>| tell.tell(|joiner| joiner.produced(tick).map(WorkerEvent::Produced));
                    let loaded = engine.run(window.duration(), on)?;
                    Ok(WorkerResult::Loaded(Box::new(loaded)))
                })?;
                let Some((path, kept)) = ledger.zip(engine.client().ledger()) else {
                    return Ok(());
                };
                return Ok(kept.write(&path)?);
            }
            WorkerSpec::Consume {
                address,
                security,
                consume,
                window,
                drain_ms,
                ticks_ms,
            } => {
                let mut consumer = Consumer::connect(&address, &security, consume)?;
                let drain = Duration::from_millis(u64::from(drain_ms));
                return self.telling_windows(None, ticks_ms, |tell| {
                    let on =
                        &mut |tick: &ConsumeTick| tell.tell(|joiner| joiner.received(tick).map(WorkerEvent::Received));
                    let consumed = consumer.run(window.duration(), drain, on)?;
                    Ok(WorkerResult::Consumed(Box::new(consumed)))
                });
            }
            WorkerSpec::Members {
                address,
                security,
                members,
            } => return self.members(&address, &security, &members),
            WorkerSpec::BareReceive {
                address,
                receive,
                warmup_ms,
                window,
            } => {
                let mut client = None;
                let mut run = |phase| match &mut client {
                    Some(client) => BareClient::run(client, phase),
                    None => client.insert(BareClient::connect(address, receive.clone())?).run(phase),
                };
                let warmup = warmup_phase(warmup_ms).map(&mut run).transpose()?;
                return self.windows(warmup, || run(window).map(WorkerResult::Phase));
            }
            WorkerSpec::BareServe { serve: spec } => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                self.say(&WorkerEvent::Listening {
                    port: listener.local_addr()?.port(),
                })?;
                WorkerResult::Served(serve(&listener, &spec)?)
            }
            WorkerSpec::BareTake { to } => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                self.say(&WorkerEvent::Listening {
                    port: listener.local_addr()?.port(),
                })?;
                WorkerResult::Taken(take(&listener, &to)?)
            }
            WorkerSpec::BareProduce {
                address,
                produce,
                warmup_ms,
                window,
            } => {
                let mut client = ProduceClient::bare(address, produce)?;
                let warmup = warmup_phase(warmup_ms).map(|phase| client.run(phase)).transpose()?;
                return self.windows(warmup, || client.run(window).map(WorkerResult::Phase));
            }
            WorkerSpec::BareAppend {
                append,
                warmup_ms,
                window,
            } => {
                let mut appender = Appender::create(append)?;
                let warmup = warmup_phase(warmup_ms).map(|phase| appender.run(phase)).transpose()?;
                return self.windows(warmup, || appender.run(window).map(WorkerResult::Phase));
            }
            WorkerSpec::Preload {
                address,
                security,
                preload: spec,
                index,
            } => {
                let stored = preload(&address, &security, &spec)?;
                stored.write(&index)?;
                WorkerResult::Preloaded {
                    batches: stored.ledger.total_batches(),
                    records: stored.ledger.total_records(),
                }
            }
            WorkerSpec::Verify {
                address,
                security,
                index,
                response_bytes,
            } => WorkerResult::Checks(verify(&address, &security, &Ledger::read(&index)?, response_bytes)?),
        };
        self.say(&WorkerEvent::Done { result })?;
        self.go_again().map(drop)
    }

    /// Says `ready`, and runs a window for each `go`.
    fn windows(
        &mut self,
        warmup: Option<PhaseResult>,
        mut window: impl FnMut() -> Result<WorkerResult, ClientError>,
    ) -> Result<(), WorkerError> {
        self.say(&WorkerEvent::Ready { warmup })?;
        while self.go_again()? {
            self.say(&WorkerEvent::Done { result: window()? })?;
        }
        Ok(())
    }

    /// The same with windows that tell how far they are, and that may be ended early.
    fn telling_windows(
        &mut self,
        warmup: Option<PhaseResult>,
        ticks_ms: u32,
        mut window: impl FnMut(&mut Teller<'_>) -> Result<WorkerResult, ClientError>,
    ) -> Result<(), WorkerError> {
        self.say(&WorkerEvent::Ready { warmup })?;
        while self.go_again()? {
            let (stop, output) = (self.stop, &mut self.output);
            let (result, written) = std::thread::scope(|scope| {
                let (events, told) = sync_channel(TICKS_WAITING_MAX);
                let writer = scope.spawn(move || told.iter().try_for_each(|event| write_line(output, &event)));
                let mut teller = Teller {
                    joiner: (ticks_ms > 0).then(|| TickJoiner::every(ticks_ms)),
                    events,
                    stop,
                };
                let result = window(&mut teller);
                drop(teller);
                (result, writer.join())
            });
            written.map_err(|_| io::Error::other("the thread that writes ticks panicked"))??;
            self.say(&WorkerEvent::Done { result: result? })?;
        }
        Ok(())
    }

    /// Says `ready`, and after `go` hosts members until `quit`.
    fn members(&mut self, address: &Bootstrap, security: &Security, members: &[MemberSpec]) -> Result<(), WorkerError> {
        self.say(&WorkerEvent::Ready { warmup: None })?;
        if !self.go_again()? {
            return Ok(());
        }
        let (input, output) = (&mut self.input, &mut self.output);
        let (result, written) = std::thread::scope(|scope| {
            let (notes, told) = sync_channel(NOTES_WAITING_MAX);
            let writer = scope.spawn(move || told.iter().try_for_each(|event| write_line(output, &event)));
            let result = member::host(address, security, members, &notes, || read_line(input));
            drop(notes);
            (result, writer.join())
        });
        written.map_err(|_| io::Error::other("the thread that writes notes panicked"))??;
        result?;
        let result = WorkerResult::Closed;
        Ok(self.say(&WorkerEvent::Done { result })?)
    }

    /// Waits for a command: true for `go`, false for `quit` or the end of stdin.
    fn go_again(&mut self) -> Result<bool, WorkerError> {
        match self.line()?.trim() {
            "go" => Ok(true),
            "quit" | "" => Ok(false),
            other => Err(WorkerError::Command(other.to_owned())),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        read_line(&mut self.input)
    }

    fn say(&mut self, event: &WorkerEvent) -> io::Result<()> {
        write_line(&mut self.output, event)
    }
}

fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)?;
    Ok(line)
}

fn write_line(output: &mut impl Write, event: &WorkerEvent) -> io::Result<()> {
    let mut line = serde_json::to_string(event)?;
    line.push('\n');
    output.write_all(line.as_bytes())?;
    output.flush()
}

/// Where a window tells how far it is.
struct Teller<'a> {
    joiner: Option<TickJoiner>,
    events: SyncSender<WorkerEvent>,
    stop: &'a AtomicBool,
}

impl Teller<'_> {
    /// Tells what the joiner makes of a tick; a break when the window is to end.
    fn tell(&mut self, join: impl FnOnce(&mut TickJoiner) -> Option<WorkerEvent>) -> ControlFlow<()> {
        if let Some(event) = self.joiner.as_mut().and_then(join) {
            // The writer has ended when nobody reads any more: the next word to them fails too.
            let _ = self.events.send(event);
        }
        match self.stop.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

fn warmup_phase(duration_ms: u32) -> Option<Phase> {
    (duration_ms > 0).then_some(Phase {
        duration_ms,
        single_pass: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::Receiver;
    use crate::native::bare::BarePath;
    use std::io::BufReader;
    use std::os::unix::net::UnixStream;

    /// Runs a worker on a script of input lines.
    fn script(lines: &[String]) -> (u8, Vec<WorkerEvent>) {
        let mut output = Vec::new();
        let code = run(lines.join("\n").as_bytes(), &mut output, &AtomicBool::new(false));
        let events = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        (code, events.map(|line| serde_json::from_slice(line).unwrap()).collect())
    }

    fn message(events: &[WorkerEvent]) -> &str {
        let Some(WorkerEvent::Error { message }) = events.last() else {
            panic!("{events:?}")
        };
        message
    }

    #[test]
    fn a_task_that_cannot_be_read_or_done_is_an_error_event_and_exit_3() {
        let (code, events) = script(&["{\"task\":\"fly\"}".to_owned()]);
        assert_eq!(code, EXIT_ERROR);
        assert!(message(&events).contains("the task can't be read: unknown variant `fly`"));
        assert_eq!(script(&[]).0, EXIT_ERROR);

        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let spec = WorkerSpec::Verify {
            address: address.into(),
            security: Security::default(),
            index: "no/such/index.json".into(),
            response_bytes: 1,
        };
        let (code, events) = script(&[serde_json::to_string(&spec).unwrap()]);
        assert_eq!(code, EXIT_ERROR);
        assert!(message(&events).starts_with("no/such/index.json: "));
    }

    /// A bare server and a bare receiver as two workers, with real pipes between them and their driver.
    #[test]
    fn two_workers_play_a_bare_trial() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[1; 300_000]).unwrap();
        let served = WorkerSpec::BareServe {
            serve: BareServeSpec {
                path: BarePath::BareSendfile,
                file: file.path().to_owned(),
                file_bytes: 300_000,
                chunk_bytes: 65_536,
                buffer_bytes: 65_536,
                single_pass: false,
                socket_send_buffer_bytes: None,
                socket_congestion_control: None,
            },
        };
        let mut server = start(&served);
        let WorkerEvent::Listening { port } = server.hear() else {
            panic!("a server listens first")
        };
        let mut receiver = start(&WorkerSpec::BareReceive {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            receive: BareReceiveSpec {
                chunk_bytes: 65_536,
                receiver: Receiver::Discard,
                receive_buffer_bytes: 0,
                socket_receive_buffer_bytes: None,
            },
            warmup_ms: 10,
            window: Phase {
                duration_ms: 20,
                single_pass: false,
            },
        });
        let WorkerEvent::Ready { warmup: Some(warmup) } = receiver.hear() else {
            panic!("ready after the warm-up")
        };
        let mut moved_bytes = warmup.moved_bytes;
        for _ in 0..2 {
            receiver.pipe.get_mut().write_all(b"go\n").unwrap();
            let WorkerEvent::Done {
                result: WorkerResult::Phase(phase),
            } = receiver.hear()
            else {
                panic!("a window ends")
            };
            assert!(phase.delivered_bytes > 0 && phase.latency_ns.len() == phase.responses);
            moved_bytes += phase.moved_bytes;
        }
        receiver.pipe.get_mut().write_all(b"stop\n").unwrap();
        let WorkerEvent::Error { message } = receiver.hear() else {
            panic!("an unknown command is an error")
        };
        assert!(message.contains("`stop` where `go` or `quit` was due"));
        assert_eq!(receiver.thread.join().unwrap(), EXIT_ERROR);

        let WorkerEvent::Done {
            result: WorkerResult::Served(sent),
        } = server.hear()
        else {
            panic!("the peer closed")
        };
        assert!(sent.sent_bytes >= moved_bytes);
        server.pipe.get_mut().write_all(b"quit\n").unwrap();
        assert_eq!(server.thread.join().unwrap(), EXIT_DONE);
    }

    struct Started {
        pipe: BufReader<UnixStream>,
        thread: std::thread::JoinHandle<u8>,
    }

    impl Started {
        fn hear(&mut self) -> WorkerEvent {
            let mut line = String::new();
            self.pipe.read_line(&mut line).unwrap();
            serde_json::from_str(&line).unwrap()
        }
    }

    fn start(spec: &WorkerSpec) -> Started {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        writeln!(ours, "{}", serde_json::to_string(spec).unwrap()).unwrap();
        let input = BufReader::new(theirs.try_clone().unwrap());
        Started {
            pipe: BufReader::new(ours),
            thread: std::thread::spawn(move || run(input, theirs, &AtomicBool::new(false))),
        }
    }
}
