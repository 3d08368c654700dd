//! The members of a group as an engine sees them: numbers that can be started, told and struck, not processes.
//!
//! The harness implements [`Members`] over worker processes.

use std::time::Duration;

use workloads::member::{MemberNote, MemberOrder, MemberSpec};

use crate::cluster::{ClusterError, Evidence};

/// Processes with members of a consumer group.
pub trait Members {
    /// Starts a process that hosts these members; they begin to join.
    ///
    /// # Errors
    /// The process can't be started.
    fn start(&mut self, members: &[MemberSpec]) -> Result<(), ClusterError>;

    /// Tells a member what to do from now on.
    ///
    /// # Errors
    /// Its process is gone.
    fn order(&mut self, member: u32, order: &MemberOrder) -> Result<(), ClusterError>;

    /// All members of the process that hosts this one, itself included: what strikes one strikes them all.
    fn together(&self, member: u32) -> Vec<u32>;

    /// Sends SIGKILL to a member's process and waits until it is gone.
    ///
    /// # Errors
    /// The signal can't be sent. A process that was found dead already is no error but evidence with count 0.
    fn kill(&mut self, member: u32) -> Result<Evidence, ClusterError>;

    /// Sends SIGSTOP to a member's process and waits until the kernel says that it is stopped.
    ///
    /// # Errors
    /// The signal can't be sent.
    fn pause(&mut self, member: u32) -> Result<Evidence, ClusterError>;

    /// Sends SIGCONT to a member's process.
    ///
    /// # Errors
    /// The signal can't be sent.
    fn resume(&mut self, member: u32) -> Result<(), ClusterError>;

    /// What members have told; waits at most so long for the first of it.
    ///
    /// # Errors
    /// A member reports that it can't do its work for a reason of its own, such as a full disk.
    fn hear(&mut self, wait: Duration) -> Result<Vec<MemberNote>, ClusterError>;

    /// Members whose process ended although nobody told it to, with how.
    fn crashed(&mut self) -> Vec<(u32, String)>;

    /// Ends all processes, in an orderly manner those whose members have left; waits at most so long.
    ///
    /// # Errors
    /// A process can't be waited for.
    fn close(&mut self, within: Duration) -> Result<(), ClusterError>;
}
