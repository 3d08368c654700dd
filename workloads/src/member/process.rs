//! The members of one process: a thread each, told what to do by lines.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::work::Member;
use super::{MemberCommand, MemberOrder, MemberSpec};
use crate::history::HistoryError;
use crate::native::{Bootstrap, ClientError, Security};
use crate::worker::WorkerEvent;

/// Orders that wait for a member.
const ORDERS_MAX: usize = 64;

/// Why members can't go on.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// A history can't be written.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// librdkafka refuses something.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A command that can't be understood, or for nobody.
    #[error("the command `{line}` can't be followed: {why}")]
    Command {
        /// What was said.
        line: String,
        /// What is wrong with it.
        why: String,
    },
    /// Stdin fails.
    #[error("stdin: {0}")]
    Pipe(#[from] io::Error),
    /// A member's thread panicked.
    #[error("member {0} panicked: this is a bug in Assay, please report it")]
    Panic(u32),
}

/// Runs members until `quit` or the end of stdin; what they tell goes to `notes`. All of them close then.
///
/// # Errors
/// [`MembersError`], after the other members have closed.
pub(crate) fn host(
    brokers: &Bootstrap,
    security: &Security,
    specs: &[MemberSpec],
    notes: &SyncSender<WorkerEvent>,
    mut next_line: impl FnMut() -> io::Result<String>,
) -> Result<(), MembersError> {
    std::thread::scope(|scope| {
        let mut lanes = BTreeMap::new();
        let mut threads = Vec::new();
        for spec in specs {
            let (lane, orders) = sync_channel::<MemberOrder>(ORDERS_MAX);
            lanes.insert(spec.member, lane);
            let notes = notes.clone();
            let work = move || live(spec, brokers, security, notes, &orders);
            threads.push((spec.member, scope.spawn(work)));
        }
        let commanded = command(&lanes, &mut next_line);
        drop(lanes);
        let mut ended = Ok(());
        for (member, thread) in threads {
            let outcome = thread.join().unwrap_or(Err(MembersError::Panic(member)));
            ended = ended.and(outcome);
        }
        commanded.and(ended)
    })
}

/// One member from its begin to its end. A failure is told at once, as nobody joins the thread before the others have ended.
fn live(
    spec: &MemberSpec,
    brokers: &Bootstrap,
    security: &Security,
    notes: SyncSender<WorkerEvent>,
    orders: &Receiver<MemberOrder>,
) -> Result<(), MembersError> {
    let outcome = Member::begin(spec, brokers, security, notes.clone()).and_then(|member| member.run(orders));
    if let Err(error) = &outcome {
        let message = format!("member {}: {error}", spec.member);
        let _ = notes.send(WorkerEvent::Error { message });
    }
    outcome
}

/// Hands commands to members until there are no more.
fn command(
    lanes: &BTreeMap<u32, SyncSender<MemberOrder>>,
    next_line: &mut impl FnMut() -> io::Result<String>,
) -> Result<(), MembersError> {
    loop {
        let line = next_line()?;
        let line = line.trim();
        if line.is_empty() || line == "quit" {
            return Ok(());
        }
        let wrong = |why: String| MembersError::Command {
            line: line.to_owned(),
            why,
        };
        let MemberCommand { member, order } = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let lane = lanes
            .get(&member)
            .ok_or_else(|| wrong("there is no such member in this process".to_owned()))?;
        // A member that has left takes nothing any more; whoever asks sees that it has.
        let _ = lane.try_send(order);
    }
}
