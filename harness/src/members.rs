//! Members of a group as worker processes: started, told, struck by signals, and listened to.

pub mod java;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use chaos::group_run::Members;
use chaos::{ClusterError, Evidence};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use workloads::member::{MemberClient, MemberCommand, MemberNote, MemberOrder, MemberSpec, MemberTold};
use workloads::native::{Bootstrap, Security};
use workloads::worker::{WorkerEvent, WorkerSpec};

use crate::process::{self, Process};
use java::JavaMembers;

/// Events of all processes that wait to be heard.
const EVENTS_MAX: usize = 4_096;
/// How long the kernel may take to stop a process, which may be in the middle of a system call.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(1);

/// What a process says, or that it says nothing any more.
type Said = (usize, Option<anyhow::Result<WorkerEvent>>);

/// The processes with the members of one group.
pub struct MemberProcesses {
    brokers: Bootstrap,
    java: Option<Arc<JavaMembers>>,
    hosts: Vec<Host>,
    said: Receiver<Said>,
    sender: SyncSender<Said>,
    crashed: Vec<(u32, String)>,
}

struct Host {
    process: Process,
    /// Dropped to have it end.
    stdin: Option<ChildStdin>,
    members: Vec<u32>,
    /// Members that have left.
    left: usize,
    /// Its end was asked for.
    is_expected_to_end: bool,
    /// It is a JVM, with a log.
    is_java: bool,
}

impl MemberProcesses {
    /// None yet; they will connect to `brokers`. Those with Java's client need `java`.
    pub fn of(brokers: Bootstrap, java: Option<Arc<JavaMembers>>) -> Self {
        let (sender, said) = sync_channel(EVENTS_MAX);
        Self {
            brokers,
            java,
            hosts: Vec::new(),
            said,
            sender,
            crashed: Vec::new(),
        }
    }

    fn host_of(&mut self, member: u32) -> Result<&mut Host, ClusterError> {
        let host = self.hosts.iter_mut().find(|host| host.members.contains(&member));
        host.ok_or_else(|| failed(format!("nobody hosts member {member}"), "report this as a bug"))
    }

    fn take(&mut self, (index, said): Said, notes: &mut Vec<MemberNote>) -> Result<(), ClusterError> {
        let host = &mut self.hosts[index];
        match said {
            Some(Ok(WorkerEvent::Member(note))) => {
                if note.told == MemberTold::Left {
                    host.left += 1;
                    if host.left == host.members.len() {
                        host.is_expected_to_end = true;
                        host.stdin = None;
                    }
                }
                notes.push(note);
            }
            Some(Ok(WorkerEvent::Error { message })) => {
                return Err(failed(
                    format!("a member can't do its work: {message}"),
                    "look at its history and the broker's log",
                ));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                return Err(failed(
                    format!("a member says what nobody understands: {error:#}"),
                    "report this as a bug",
                ));
            }
            None if !host.is_expected_to_end => {
                let ended = host.process.wait(STOP_WITHIN).ok().flatten();
                let mut how = ended.map_or_else(|| "it closed its stdout".to_owned(), process::describe);
                if let Some(java) = self.java.as_ref().filter(|_| host.is_java) {
                    how += &format!("; {}", java.quote());
                }
                host.is_expected_to_end = true;
                let members = host.members.iter().map(|member| (*member, how.clone()));
                self.crashed.extend(members);
            }
            None => {}
        }
        Ok(())
    }
}

impl Host {
    fn signal(&mut self, signal: Signal) -> Result<(), ClusterError> {
        // The process is ours and not waited for, so its number is nobody else's.
        kill(Pid::from_raw(self.process.id() as i32), signal).map_err(|error| {
            failed(
                format!("a member can't be sent {signal}: {error}"),
                "look for it with ps",
            )
        })
    }

    fn say(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin
            && writeln!(stdin, "{line}").is_err()
        {
            // It has ended: that is heard of by its stdout.
            self.stdin = None;
        }
    }
}

impl Members for MemberProcesses {
    fn start(&mut self, members: &[MemberSpec]) -> Result<(), ClusterError> {
        let broken = |what: &str| {
            failed(
                format!("a member's process can't be started: {what}"),
                "check ulimit -u",
            )
        };
        let is_java = members.iter().any(|member| member.client == MemberClient::Java);
        let mut process = match is_java {
            false => Process::start_self(["worker"], None, Stdio::inherit(), true)
                .map_err(|error| broken(&error.to_string()))?,
            true => {
                let java = self
                    .java
                    .as_ref()
                    .ok_or_else(|| broken("Java's client was not made ready"))?;
                java.start(members.len())
                    .map_err(|error| broken(&format!("{error:#}")))?
            }
        };
        let (stdin, stdout) = process.pipes().ok_or_else(|| broken("it has no pipes"))?;
        let (index, sender) = (self.hosts.len(), self.sender.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let event = line
                    .map_err(anyhow::Error::from)
                    .and_then(|line| Ok(serde_json::from_str(&line)?));
                if sender.send((index, Some(event))).is_err() {
                    return;
                }
            }
            let _ = sender.send((index, None));
        });
        let task = WorkerSpec::Members {
            address: self.brokers.clone(),
            security: Security::default(),
            members: members.to_vec(),
        };
        let task = serde_json::to_string(&task).map_err(|error| broken(&error.to_string()))?;
        let mut host = Host {
            process,
            stdin: Some(stdin),
            members: members.iter().map(|member| member.member).collect(),
            left: 0,
            is_expected_to_end: false,
            is_java,
        };
        // Nothing has to be measured before they begin.
        host.say(&task);
        host.say("go");
        self.hosts.push(host);
        Ok(())
    }

    fn order(&mut self, member: u32, order: &MemberOrder) -> Result<(), ClusterError> {
        let command = MemberCommand {
            member,
            order: order.clone(),
        };
        let line = serde_json::to_string(&command)
            .map_err(|error| failed(format!("an order can't be written: {error}"), "report this as a bug"))?;
        self.host_of(member)?.say(&line);
        Ok(())
    }

    fn together(&self, member: u32) -> Vec<u32> {
        let host = self.hosts.iter().find(|host| host.members.contains(&member));
        host.map_or_else(Vec::new, |host| host.members.clone())
    }

    fn kill(&mut self, member: u32) -> Result<Evidence, ClusterError> {
        let host = self.host_of(member)?;
        host.is_expected_to_end = true;
        host.stdin = None;
        let status = host
            .process
            .kill()
            .map_err(|error| failed(format!("a member can't be killed: {error}"), "look for it with ps"))?;
        // A process that had ended before is a zombie: the signal goes nowhere, and its own status is read.
        let count = u32::from(status.signal() == Some(Signal::SIGKILL as i32));
        let what = format!("process {} ended by {}", host.process.id(), process::describe(status));
        Ok(Evidence { count, what })
    }

    fn pause(&mut self, member: u32) -> Result<Evidence, ClusterError> {
        let host = self.host_of(member)?;
        host.signal(Signal::SIGSTOP)?;
        let (id, deadline) = (host.process.id(), Instant::now() + STOP_WITHIN);
        loop {
            let state = state_of(id);
            let count = u32::from(state == Some('T'));
            if count == 1 || Instant::now() > deadline {
                let what = match state {
                    Some(state) => format!("process {id} is in state {state}"),
                    None => format!("there is no process {id}"),
                };
                return Ok(Evidence { count, what });
            }
            std::thread::sleep(LOOK);
        }
    }

    fn resume(&mut self, member: u32) -> Result<(), ClusterError> {
        self.host_of(member)?.signal(Signal::SIGCONT)
    }

    fn hear(&mut self, wait: Duration) -> Result<Vec<MemberNote>, ClusterError> {
        let mut notes = Vec::new();
        if let Ok(said) = self.said.recv_timeout(wait) {
            self.take(said, &mut notes)?;
        }
        while let Ok(said) = self.said.try_recv() {
            self.take(said, &mut notes)?;
        }
        Ok(notes)
    }

    fn crashed(&mut self) -> Vec<(u32, String)> {
        std::mem::take(&mut self.crashed)
    }

    fn close(&mut self, within: Duration) -> Result<(), ClusterError> {
        let deadline = Instant::now() + within;
        for host in &mut self.hosts {
            host.is_expected_to_end = true;
            host.stdin = None;
        }
        for host in &mut self.hosts {
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = host.process.wait(left);
            let ended = ended.map_err(|error| failed(format!("a member can't be waited for: {error}"), "try again"))?;
            if ended.is_none() {
                // It is given up: its history ends without a word, and the checker sees that.
                let _ = host.process.kill();
            }
        }
        Ok(())
    }
}

/// The state letter of a process, as the kernel tells it.
fn state_of(process: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn failed(what: String, remedy: &str) -> ClusterError {
    ClusterError::Environment {
        what,
        remedy: remedy.to_owned(),
    }
}
