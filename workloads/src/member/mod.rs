//! Members of a consumer group as an application has them: a real consumer, a handler, and a policy for commits.
//!
//! [`MemberSpec`] says what one is, [`MemberOrder`] what it is told while it works. Each member has a thread, a client and a history of its own;
//! one process may hold several. Whatever it does is written to the history before it relies on it, so that a SIGKILL takes nothing along.
//! This module judges nothing.
//!
//! The consumer is librdkafka's. What is done here, [`JAVA_SOURCES`] do with Kafka's own: they take the same task, and write the same history.

mod batch;
mod crew;
mod log;
mod process;
mod spec;
mod work;

pub use process::MembersError;
pub(crate) use process::host;
pub use spec::{
    Commits, GroupProtocol, HandlerSpec, MemberBug, MemberClient, MemberCommand, MemberNote, MemberOrder, MemberSpec,
    MemberTimes, MemberTold,
};

/// A worker for members with Kafka's own Java client: names and texts of the files of a program whose main class is `Worker`.
pub const JAVA_SOURCES: [(&str, &str); 4] = [
    ("Worker.java", include_str!("../../java/Worker.java")),
    ("Client.java", include_str!("../../java/Client.java")),
    ("GroupMember.java", include_str!("../../java/GroupMember.java")),
    ("History.java", include_str!("../../java/History.java")),
];
