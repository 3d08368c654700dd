//! What Kafka's own Java client says and does: `Facts.java`, run as one file with the jars that Kafka itself runs with.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::{Answer, Found, PREFIX};
use crate::interrupt;
use crate::process::{self, Process};
use crate::target::jvm;
use crate::target::kafka::Kafka;

/// The source, embedded, because a user has the binary only.
const SOURCE: &str = include_str!("Facts.java");
/// All look-ups together; each has a bound of its own.
const ALL_MAX: Duration = Duration::from_secs(300);
/// How often waiting looks for Ctrl-C.
const TICK: Duration = Duration::from_millis(100);
/// Longest line that is read, bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// How a line of the program begins.
const BEGIN: &[u8] = b"{\"look_up\":";

/// One line of `Facts.java`. What a look-up does not say is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Line {
    look_up: String,
    client: String,
    failure: Option<String>,
    values: BTreeMap<String, Option<String>>,
    jar: String,
    names: Vec<String>,
    topic_partitions: u32,
    partitions: Vec<u32>,
    max_poll_interval_ms: u32,
    in_time: Option<String>,
    late: Option<String>,
    own_assignor_refused: Option<String>,
    group_type: String,
    assignor: String,
    assigned: BTreeMap<String, Vec<u32>>,
    asked: Vec<String>,
}

/// Everything that the program said.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(BTreeMap<String, Line>);

/// Runs the program against the broker.
///
/// # Errors
/// There is no JDK, the program ends before its time or takes too long, or Ctrl-C.
pub(super) fn run(kafka: &Kafka, address: SocketAddr, scratch: &Path) -> anyhow::Result<Said> {
    kafka.java().require_compiler()?;
    let source = scratch.join("Facts.java");
    let log = scratch.join("facts-java.log");
    std::fs::write(&source, SOURCE).with_context(|| format!("can't write {}", source.display()))?;
    let errors = std::fs::File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
    let mut command = jvm::plain(&kafka.java().program);
    // A short life: a small heap, and no files outside of the scratch folder.
    command
        .args([
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-XX:+PerfDisableSharedMem",
        ])
        .arg(format!("-Djava.io.tmpdir={}", scratch.display()))
        .arg("-cp")
        .arg(kafka.classpath())
        .arg(&source)
        .args([address.to_string().as_str(), PREFIX])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors);
    let mut process = Process::start(command, None).context("can't start java")?;
    let (_stdin, stdout) = process.pipes().context("java without pipes")?;
    let (send, lines) = sync_channel(16);
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        loop {
            let mut line = Vec::new();
            match (&mut stdout).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if send.send(line).is_err() => return,
                Ok(_) => {}
            }
        }
    });
    let deadline = Instant::now() + ALL_MAX;
    let mut said = Said::default();
    loop {
        interrupt::check()?;
        match lines.recv_timeout(TICK) {
            Ok(line) => said.hear(&line)?,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                bail!("the Java client did not come to an end within {} s", ALL_MAX.as_secs())
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    if said.0.is_empty() {
        bail!(
            "the Java client said nothing; its log ends with:\n{}",
            process::tail(&log, 5)
        );
    }
    Ok(said)
}

impl Said {
    fn hear(&mut self, line: &[u8]) -> anyhow::Result<()> {
        // The logging of the client may share the stream.
        if !line.starts_with(BEGIN) {
            return Ok(());
        }
        let line: Line = serde_json::from_slice(line)
            .with_context(|| format!("the Java client said {:?}", String::from_utf8_lossy(line)))?;
        self.0.insert(line.look_up.clone(), line);
        Ok(())
    }

    /// What a look-up said, or why it did not come off.
    fn of(&self, look_up: &str) -> Result<&Line, String> {
        match self.0.get(look_up) {
            Some(Line {
                failure: Some(failure), ..
            }) => Err(format!("the Java client failed: {failure}; look it up again")),
            Some(line) => Ok(line),
            None => Err("the Java client ended before this look-up; look it up again".to_owned()),
        }
    }

    /// Whether the default of a setting of the `consumer` or the `producer` is what is said.
    pub fn compare(&self, side: &str, setting: &str, says: &str) -> Answer {
        let line = self.of(&format!("{side}-defaults"))?;
        let Some(value) = line.values.get(setting) else {
            return Err(format!(
                "the {side} of kafka-clients {} has no setting {setting}; the name may be wrong for this version",
                line.client
            ));
        };
        let value = value.as_deref().unwrap_or("null");
        Ok(Found {
            holds: value == says,
            evidence: format!("{setting} = {value}, when nobody sets it"),
            place: format!("Java {side} of kafka-clients {}", line.client),
        })
    }

    /// Are there no assignors but Range and RoundRobin?
    pub fn assignors(&self) -> Answer {
        let line = self.of("assignors")?;
        if line.names.is_empty() {
            return Err(format!("no assignor was found in {}", line.jar));
        }
        let known = ["RangeAssignor", "RoundRobinAssignor"];
        Ok(Found {
            holds: line.names.iter().all(|name| known.contains(&name.as_str())),
            evidence: line.names.join(", "),
            place: format!("classes in {}", line.jar),
        })
    }

    /// Has a commit in time come off?
    pub fn committed(&self) -> Result<(), String> {
        match &self.of("late-commit")?.in_time {
            None => Ok(()),
            Some(failure) => Err(format!("a commit in time failed: {failure}")),
        }
    }

    /// Does a commit after max.poll.interval.ms fail, where one before it does not?
    pub fn late_commit(&self) -> Answer {
        let line = self.of("late-commit")?;
        self.committed()?;
        let late = line.late.as_deref();
        Ok(Found {
            holds: late.is_some(),
            evidence: format!(
                "with max.poll.interval.ms = {} commitSync in time succeeds, and after that time {}",
                line.max_poll_interval_ms,
                late.map_or("succeeds too".to_owned(), |failure| format!("throws {failure}"))
            ),
            place: format!("a Java consumer of kafka-clients {}", line.client),
        })
    }

    /// Does one of the clients, and only one, compute the assignment under the default protocol?
    pub fn leader_assigns(&self) -> Answer {
        let line = self.of("classic-group")?;
        let default = self
            .of("consumer-defaults")?
            .values
            .get("group.protocol")
            .cloned()
            .flatten();
        let mut asked = line.asked.clone();
        asked.sort();
        asked.dedup();
        // A version without the setting has the classic protocol only.
        let is_default = default
            .as_deref()
            .is_none_or(|protocol| protocol.eq_ignore_ascii_case("classic"));
        Ok(Found {
            holds: asked.len() == 1 && is_default,
            evidence: format!(
                "group.protocol = {} by default; with classic, of the members first and second {} asked to assign, which led to {}",
                default.as_deref().unwrap_or("classic (no such setting)"),
                match asked.as_slice() {
                    [] => "none was".to_owned(),
                    [one] => format!("only `{one}` was"),
                    all => format!("{} were", all.join(" and ")),
                },
                shares(&line.assigned)
            ),
            place: format!(
                "two Java consumers with a recording assignor, kafka-clients {}",
                line.client
            ),
        })
    }

    /// Is every assignment made by a client, also under `group.protocol=consumer`?
    pub fn only_clients_assign(&self) -> Answer {
        let line = self.of("consumer-group")?;
        let by_client = !line.asked.is_empty() || line.group_type != "Consumer";
        let refused = match &line.own_assignor_refused {
            Some(refusal) => format!(" (\"{refusal}\")"),
            None => String::new(),
        };
        Ok(Found {
            holds: by_client,
            evidence: format!(
                "with group.protocol=consumer {} asked to assign{refused}; the group is of type {}, its assignor is `{}`, which led to {}",
                match line.asked.as_slice() {
                    [] => "no client was".to_owned(),
                    asked => format!("{} was", asked.join(", ")),
                },
                line.group_type,
                line.assignor,
                shares(&line.assigned)
            ),
            place: format!(
                "two Java consumers of kafka-clients {}, and DescribeConsumerGroups",
                line.client
            ),
        })
    }

    /// Does each record without a key go to the partition after the one of the record before?
    pub fn keyless(&self) -> Answer {
        let line = self.of("keyless")?;
        if line.partitions.len() < 2 || line.topic_partitions < 2 {
            return Err(format!(
                "{} records were sent, and a comparison needs 2",
                line.partitions.len()
            ));
        }
        let next = |pair: &[u32]| pair[1] == (pair[0] + 1) % line.topic_partitions;
        let changes = line.partitions.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let first: Vec<String> = line.partitions.iter().take(12).map(u32::to_string).collect();
        Ok(Found {
            holds: line.partitions.windows(2).all(next),
            evidence: format!(
                "{} records for {} partitions, one after the other, went to {}, ..: the partition changed {changes} times",
                line.partitions.len(),
                line.topic_partitions,
                first.join(", ")
            ),
            place: format!("a Java producer of kafka-clients {}", line.client),
        })
    }
}

/// Who has which partitions.
fn shares(assigned: &BTreeMap<String, Vec<u32>>) -> String {
    let share = |(member, partitions): (&String, &Vec<u32>)| {
        let numbers: Vec<String> = partitions.iter().map(u32::to_string).collect();
        format!("{member}: {}", numbers.join(" and "))
    };
    assigned.iter().map(share).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured from kafka-clients 4.3.1, the defaults shortened to those that are used.
    const SAID: &str = include_str!("facts-4.3.1.jsonl");

    /// What was captured, with replacements.
    fn said(replace: &[(&str, &str)]) -> Said {
        let mut text = SAID.to_owned();
        for (from, to) in replace {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let mut said = Said::default();
        text.lines().for_each(|line| said.hear(line.as_bytes()).unwrap());
        said
    }

    #[test]
    fn defaults_are_compared() {
        let found = said(&[]).compare("consumer", "session.timeout.ms", "10000").unwrap();
        assert!(!found.holds);
        assert_eq!(found.evidence, "session.timeout.ms = 45000, when nobody sets it");
        assert_eq!(found.place, "Java consumer of kafka-clients 4.3.1");
        assert!(said(&[]).compare("producer", "linger.ms", "5").unwrap().holds);
        assert!(
            said(&[("\"45000\"", "\"10000\"")])
                .compare("consumer", "session.timeout.ms", "10000")
                .unwrap()
                .holds
        );
        let unknown = said(&[]).compare("producer", "linger", "0").unwrap_err();
        assert!(unknown.contains("no setting linger"), "{unknown}");
    }

    #[test]
    fn assignors_are_listed() {
        let found = said(&[]).assignors().unwrap();
        assert!(!found.holds);
        assert_eq!(
            found.evidence,
            "CooperativeStickyAssignor, RangeAssignor, RoundRobinAssignor, StickyAssignor"
        );
        let old = said(&[("\"CooperativeStickyAssignor\",", ""), (",\"StickyAssignor\"", "")]);
        assert!(old.assignors().unwrap().holds);
    }

    #[test]
    fn a_late_commit_fails_or_does_not() {
        let found = said(&[]).late_commit().unwrap();
        assert!(
            found.holds
                && found
                    .evidence
                    .contains("throws org.apache.kafka.clients.consumer.CommitFailedException"),
            "{found:?}"
        );
        let start = SAID.find("\"late\":\"").unwrap() + 7;
        let end = start + SAID[start..].find("\"}").unwrap() + 1;
        let found = said(&[(&SAID[start..end], "null")]).late_commit().unwrap();
        assert!(!found.holds && found.evidence.ends_with("succeeds too"), "{found:?}");
        // Without a commit in time that works, a failing one says nothing.
        let broken = said(&[("\"in_time\":null", "\"in_time\":\"no\"")]);
        assert!(broken.late_commit().is_err() && broken.committed().is_err());
    }

    #[test]
    fn who_assigns_is_told() {
        let found = said(&[]).leader_assigns().unwrap();
        assert!(
            found.holds && found.evidence.contains("only `first` was asked"),
            "{found:?}"
        );
        assert!(!said(&[("[\"first\",\"first\"]", "[]")]).leader_assigns().unwrap().holds);
        assert!(
            !said(&[("[\"first\",\"first\"]", "[\"first\",\"second\"]")])
                .leader_assigns()
                .unwrap()
                .holds
        );
        assert!(
            !said(&[("\"group.protocol\":\"classic\"", "\"group.protocol\":\"consumer\"")])
                .leader_assigns()
                .unwrap()
                .holds
        );

        let found = said(&[]).only_clients_assign().unwrap();
        assert!(
            !found.holds && found.evidence.contains("no client was asked") && found.evidence.contains("`uniform`"),
            "{found:?}"
        );
        assert!(
            said(&[("\"asked\":[]", "\"asked\":[\"second\"]")])
                .only_clients_assign()
                .unwrap()
                .holds
        );
        assert!(
            said(&[("\"Consumer\"", "\"Classic\"")])
                .only_clients_assign()
                .unwrap()
                .holds
        );
    }

    #[test]
    fn turns_are_told_from_batches() {
        let found = said(&[]).keyless().unwrap();
        assert!(!found.holds, "{found:?}");
        let line = "{\"look_up\":\"keyless\",\"client\":\"2.3.0\",\"topic_partitions\":4,\"partitions\":[2,3,0,1,2,3]}";
        let mut turns = Said::default();
        turns.hear(line.as_bytes()).unwrap();
        assert!(turns.keyless().unwrap().holds);
        let mut none = Said::default();
        none.hear(b"{\"look_up\":\"keyless\",\"topic_partitions\":4,\"partitions\":[2]}")
            .unwrap();
        assert!(none.keyless().is_err());
    }

    #[test]
    fn a_failure_or_silence_is_no_evidence() {
        let mut said = Said::default();
        assert!(said.assignors().unwrap_err().contains("ended before"));
        said.hear(b"{\"look_up\":\"assignors\",\"client\":\"4.3.1\",\"failure\":\"java.lang.Error: no\"}")
            .unwrap();
        assert!(said.assignors().unwrap_err().contains("java.lang.Error: no"));
        said.hear(b"[main] ERROR something else\n").unwrap();
        assert_eq!(said.0.len(), 1);
        assert!(said.hear(b"{\"look_up\":\"assignors\",\"client").is_err());
    }
}
