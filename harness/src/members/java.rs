//! Members with Kafka's own Java client: a program that is compiled once for a run, with the jars that Kafka itself runs with.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use workloads::member::JAVA_SOURCES;

use crate::interrupt;
use crate::process::{self, Process};
use crate::target::Unavailable;
use crate::target::jars::{self, Installed, Product};
use crate::target::jvm;

/// Jars of Kafka that its client needs, by the begins of their names: a JVM looks through all that it is given each time it starts.
const JARS: [&str; 8] = [
    "jackson-annotations-",
    "jackson-core-",
    "jackson-databind-",
    "kafka-clients-",
    "lz4-java-",
    "slf4j-api-",
    "snappy-java-",
    "zstd-jni-",
];
/// The class that is run.
const MAIN: &str = "Worker";
/// How long the compiler may take.
const COMPILE_WITHIN: Duration = Duration::from_secs(120);
/// How often waiting for it looks for Ctrl-C.
const TICK: Duration = Duration::from_millis(20);
/// Heap of a process with one member, MiB, and of each further one in it.
const HEAP_MB: usize = 64;
const HEAP_MB_PER_MEMBER: usize = 24;
/// Lines of the log that an error quotes.
const QUOTED_LINES: usize = 10;
/// A short life: the cheaper compiler and collector, no file outside of the run's folder, and an end instead of half a client.
const FLAGS: [&str; 4] = [
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+PerfDisableSharedMem",
    "-XX:+ExitOnOutOfMemoryError",
];

/// Java and the jars, without fetching anything.
///
/// # Errors
/// One line that says what is missing and what to do: no Java, a JRE, no jars, or damaged ones.
pub fn look() -> Result<Installed, Unavailable> {
    let Some(installed) = jars::look(Product::Kafka, None)? else {
        return Err(Unavailable::new(
            "members with Kafka's Java client need Kafka's jars, and they are not fetched",
            "assay target fetch kafka",
        ));
    };
    installed.java.require_compiler()?;
    Ok(installed)
}

/// What a manifest calls the client of such members.
pub fn told(installed: &Installed) -> String {
    format!("kafka-clients {} on Java {}", installed.version, installed.java.version)
}

/// The program, compiled. Its folder is removed when it is dropped; the log stays.
#[derive(Debug)]
pub struct JavaMembers {
    installed: Installed,
    folder: PathBuf,
    classpath: OsString,
    log: PathBuf,
}

impl JavaMembers {
    /// Compiles the program into `folder`, which must not exist. What JVMs print is appended to `log`.
    ///
    /// # Errors
    /// A file that can't be written, a compiler that fails or takes too long, or Ctrl-C.
    pub fn compile(installed: &Installed, folder: &Path, log: &Path) -> anyhow::Result<Self> {
        fs::create_dir(folder).with_context(|| format!("can't create {}", folder.display()))?;
        let java = Self {
            installed: installed.clone(),
            folder: folder.to_path_buf(),
            classpath: classpath(&installed.folder, folder)?,
            log: log.to_path_buf(),
        };
        let mut command = jvm::plain(&installed.java.program);
        command
            .args(FLAGS)
            .args(["-m", "jdk.compiler/com.sun.tools.javac.Main", "-d"]);
        command.arg(folder).arg("-cp").arg(&java.classpath);
        for (name, text) in JAVA_SOURCES {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
            command.arg(path);
        }
        command
            .stdin(Stdio::null())
            .stdout(java.output()?)
            .stderr(java.output()?);
        let mut compiler = Process::start(command, None).context("can't start java")?;
        let deadline = Instant::now() + COMPILE_WITHIN;
        loop {
            interrupt::check()?;
            match compiler.wait(TICK)? {
                Some(status) if status.success() => return Ok(java),
                Some(status) => bail!(
                    "members with Kafka's Java client can't be compiled ({}): {}",
                    process::describe(status),
                    java.quote()
                ),
                None if Instant::now() > deadline => {
                    bail!("Java's compiler took more than {} s", COMPILE_WITHIN.as_secs())
                }
                None => {}
            }
        }
    }

    /// Starts a process for so many members, with pipes.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(&self, members: usize) -> anyhow::Result<Process> {
        let heap_mb = HEAP_MB + HEAP_MB_PER_MEMBER * members.saturating_sub(1);
        let mut command = jvm::plain(&self.installed.java.program);
        command.args(FLAGS).arg(format!("-Xmx{heap_mb}m"));
        command.arg(jvm::with_path("-Djava.io.tmpdir=", &self.folder));
        command.arg(jvm::with_path("-XX:ErrorFile=", &self.log.with_extension("%p.log")));
        command.arg("-cp").arg(&self.classpath).arg(MAIN);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.output()?);
        Process::start(command, None).context("can't start java")
    }

    /// The end of the log, for an error.
    pub fn quote(&self) -> String {
        let tail = process::tail(&self.log, QUOTED_LINES);
        format!("{} ends with:\n{tail}", self.log.display())
    }

    fn output(&self) -> anyhow::Result<File> {
        let opened = File::options().create(true).append(true).open(&self.log);
        opened.with_context(|| format!("can't write {}", self.log.display()))
    }
}

impl Drop for JavaMembers {
    fn drop(&mut self) {
        // It lies in a run folder, where a person would find it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The folder with the classes, and the jars.
fn classpath(jars: &Path, classes: &Path) -> anyhow::Result<OsString> {
    let entries = fs::read_dir(jars).with_context(|| format!("can't read {}", jars.display()))?;
    let mut classpath = classes.as_os_str().to_owned();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if JARS.iter().any(|begin| name.to_string_lossy().starts_with(begin)) {
            classpath.push(":");
            classpath.push(entry.path());
        }
    }
    Ok(classpath)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use broker_under_test::{Config, Server};
    use chaos::group_run::Members;
    use workloads::history::{Event, HistoryReader, NO_CODE, Stamped, monotonic_ns};
    use workloads::member::{
        Commits, GroupProtocol, HandlerSpec, MemberClient, MemberOrder, MemberSpec, MemberTimes, MemberTold,
    };
    use workloads::native::{Admin, NewTopic, Security};
    use workloads::sequenced::{Acks, Control, Producer, ProducerSpec};

    use super::*;
    use crate::members::MemberProcesses;

    /// More than ten times what anything here takes.
    const WATCHDOG: Duration = Duration::from_secs(120);
    const TOPIC: &str = "orders";
    const PARTITIONS: u32 = 4;
    const RECORDS: u64 = 2_000;

    fn broker(folder: &Path) -> Server {
        let data = folder.join("data");
        let mut config = Config::default();
        for (key, value) in [
            ("log.dirs", data.to_str().unwrap()),
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("log.retention.ms", "-1"),
            ("group.initial.rebalance.delay.ms", "100"),
            ("group.min.session.timeout.ms", "1000"),
            ("offsets.topic.num.partitions", "2"),
        ] {
            config.set(key, value, "test").unwrap();
        }
        Server::start(config.complete().unwrap(), None).unwrap()
    }

    /// Acknowledges some records; gives the ends of the partitions.
    fn produce(address: std::net::SocketAddr, history: &Path) -> BTreeMap<u32, i64> {
        let mut admin = Admin::connect(address, &Security::default()).unwrap();
        admin.create_topic(&NewTopic::new(TOPIC, PARTITIONS)).unwrap();
        let spec = ProducerSpec {
            address,
            producer: 1,
            topic: TOPIC.to_owned(),
            partitions: PARTITIONS,
            first_partition: 0,
            record_bytes: 100,
            batch_records: (1, 20),
            acks: Acks::All,
            idempotence: true,
            in_flight: 1,
            damage_every: None,
            rate_per_s: None,
            request_timeout: Duration::from_secs(10),
            seed: 7,
        };
        let (producer, control) = (Producer::create(spec, history).unwrap(), Control::default());
        std::thread::scope(|scope| {
            let running = scope.spawn(|| producer.run(&control));
            while control.acknowledged.load(Ordering::Relaxed) < RECORDS {
                std::thread::sleep(Duration::from_millis(1));
            }
            control.stop.store(true, Ordering::Relaxed);
            running.join().unwrap().unwrap();
        });
        (0..).zip(admin.end_offsets(TOPIC, PARTITIONS).unwrap()).collect()
    }

    fn spec(member: u32, folder: &Path) -> MemberSpec {
        MemberSpec {
            member,
            slot: member - 1,
            group: "readers".to_owned(),
            instance_id: None,
            topics: vec![TOPIC.to_owned()],
            subscription: vec![TOPIC.to_owned()],
            client: MemberClient::Java,
            protocol: GroupProtocol::CooperativeSticky,
            remote_assignor: None,
            times: MemberTimes {
                session_timeout_ms: 10_000,
                heartbeat_interval_ms: 200,
                max_poll_interval_ms: 60_000,
                auto_commit_interval_ms: 200,
                metadata_refresh_ms: 200,
            },
            max_poll_records: 50,
            handler: HandlerSpec::default(),
            commits: Commits::SyncPerBatch,
            planted: None,
            history: folder.join(format!("member-{member}.bin")),
        }
    }

    /// Nobody yet, and where the program of those who come lies.
    fn members(installed: &Installed, server: &Server, folder: &Path) -> (PathBuf, MemberProcesses) {
        let classes = folder.join("members");
        let java = JavaMembers::compile(installed, &classes, &folder.join("members.log")).unwrap();
        (
            classes,
            MemberProcesses::of(server.address.into(), Some(Arc::new(java))),
        )
    }

    fn history(path: &Path) -> Vec<Stamped> {
        HistoryReader::open(path).unwrap().map(Result::unwrap).collect()
    }

    /// Listens until it has heard enough.
    fn hear(members: &mut MemberProcesses, mut enough: impl FnMut(u32, &MemberTold) -> bool) {
        let deadline = Instant::now() + WATCHDOG;
        loop {
            assert!(Instant::now() < deadline, "the members did not come to an end");
            let notes = members.hear(Duration::from_millis(100)).unwrap();
            if notes.iter().filter(|note| enough(note.member, &note.told)).count() > 0 {
                return;
            }
            assert_eq!(members.crashed(), []);
        }
    }

    #[test]
    fn what_java_writes_down_reads_back() {
        let installed = match look() {
            Ok(installed) => installed,
            Err(why) => return errln!("skipped: {why}"),
        };
        let folder = tempfile::tempdir().unwrap();
        let server = broker(folder.path());
        let ends = produce(server.address, &folder.path().join("producer.bin"));
        let (classes, mut members) = members(&installed, &server, folder.path());
        let began_ns = monotonic_ns();
        members
            .start(&[1, 2].map(|member| spec(member, folder.path())))
            .unwrap();

        let mut reached = BTreeMap::new();
        hear(&mut members, |_, told| {
            if let MemberTold::Counts { positions, .. } = told {
                reached.extend(positions.iter().copied());
            }
            reached == ends
        });
        for member in [1, 2] {
            members.order(member, &MemberOrder::Leave).unwrap();
        }
        let mut left = 0;
        hear(&mut members, |_, told| {
            left += u32::from(*told == MemberTold::Left);
            left == 2
        });
        members.close(WATCHDOG).unwrap();
        drop(members);
        assert!(!classes.exists());

        let (mut polled, mut processed, mut committed) = (0, 0, BTreeMap::new());
        for member in [1, 2] {
            let events = history(&spec(member, folder.path()).history);
            assert!(events.is_sorted_by_key(|stamped| stamped.at_ns));
            assert!(events[0].at_ns > began_ns && events.last().unwrap().at_ns < monotonic_ns());
            assert!(matches!(events[0].event, Event::MemberBegan { slot, .. } if slot == member - 1));
            let finished = Event::Finished {
                events: events.len() as u64 - 1,
            };
            assert_eq!(events.last().unwrap().event, finished);
            assert!(
                events
                    .iter()
                    .any(|stamped| stamped.event == Event::MemberLeft { member })
            );
            for stamped in events {
                match stamped.event {
                    Event::Polled { run, epoch, .. } => {
                        assert!(run.producer == 1 && epoch > 0, "{run:?}");
                        polled += u64::from(run.count);
                    }
                    Event::Processed { count, .. } => processed += u64::from(count),
                    Event::Committed { claim, offset, code } if code == NO_CODE => {
                        let highest = committed.entry(claim.partition).or_insert(offset);
                        *highest = offset.max(*highest);
                    }
                    Event::Corrupted(run) => panic!("{run:?}"),
                    _ => {}
                }
            }
        }
        let all = ends.values().sum::<i64>() as u64;
        assert!(
            polled >= all && processed == polled,
            "{polled} of {all}, {processed} processed"
        );
        assert_eq!(committed, ends);
    }
}
