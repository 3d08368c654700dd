//! Members of a consumer group as an application has them: a real librdkafka consumer, a handler, and a policy for commits.
//!
//! [`MemberSpec`] says what one is, [`MemberOrder`] what it is told while it works. Each member has a thread, a client and a history of its own;
//! one process may hold several. Whatever it does is written to the history before it relies on it, so that a SIGKILL takes nothing along.
//! This module judges nothing.

mod batch;
mod crew;
mod log;
mod process;
mod spec;
mod work;

pub use process::MembersError;
pub(crate) use process::host;
pub use spec::{
    Commits, GroupProtocol, HandlerSpec, MemberBug, MemberCommand, MemberNote, MemberOrder, MemberSpec, MemberTimes,
    MemberTold,
};
