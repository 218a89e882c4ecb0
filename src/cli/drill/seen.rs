//! What a drill has seen: all that its report is made of. Data only.
//!
//! Times are milliseconds of this program's own monotonic clock since the drill began; what a node
//! says of a time is used only where it is measured on the cluster clock, which stands in `Event`s.

use holdfast_admin::api::{CallView, EventView};

/// How the leader was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Not at all: the drill only watched.
    Watched,
    StepDown,
    KillCommand,
    KillPid,
    /// By the operator, while the drill waited.
    ByHand,
}

/// One thing that was noticed at one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub at_ms: f64,
    /// The node that told it.
    pub node: String,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// From its event stream.
    Event(EventView),
    /// Whom the node sees leading.
    Led { leader: Option<String>, term: u64 },
    /// Its event stream ended.
    Cut,
    /// Its event stream is there (again).
    Open,
    /// It answered a read that a quorum had to confirm.
    Confirmed,
}

/// A drill from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Seen {
    pub how: How,
    /// When the leader was asked to go, or its killing was begun. By hand: when it was gone.
    pub at_ms: f64,
    /// Who led before, and in which term.
    pub leader: String,
    pub term: u64,
    /// Applied index before: events up to here are older than the drill.
    pub index: u64,
    /// All calls just before, with the cluster clock of that moment.
    pub before: Vec<CallView>,
    pub clock_ms: u64,
    /// All calls at the end; `None` if nobody could be asked.
    pub after: Option<Vec<CallView>>,
    /// Asterisks that the old leader drives.
    pub its_pbxes: Vec<String>,
    /// Queues whose agents the dialplan rings: their offers end by its clock.
    pub dialplan_queues: Vec<String>,
    /// In the order in which they came.
    pub notes: Vec<Note>,
    /// Of each node that answers at the end: applied index and digest of the state.
    pub digests: Vec<(String, u64, String)>,
    pub limits: Limits,
}

/// Beyond these a drill is no success, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Without a leader that a quorum confirms.
    pub gap_ms: f64,
    /// A deadline that fires so late.
    pub late_ms: u64,
}
