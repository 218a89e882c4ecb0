//! How `apply` answers: a reply, or a rejection. Both are values in the log's answer, equal on all nodes.
//!
//! Append-only, like the commands: answers are kept for requests that are sent twice.

use crate::id::{AgentId, Attempt, CallId, NodeName, PbxId, QueueName};
use serde::{Deserialize, Serialize};

pub type Reply = Result<Done, Reject>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Done {
    /// Nothing more to say; also for a fact that was known already.
    Ok,
    /// The caller is in the line (or was). `position` counts from 1; 0 when no longer waiting.
    Joined {
        call: CallId,
        position: u32,
    },
    Offered {
        attempt: Attempt,
    },
    /// This answer won: bridge now.
    Granted,
    /// An admin write: the object's revision from now on (the log index of the write).
    Written {
        revision: u64,
    },
}

/// A refusal that is part of the business. Each has a stable code, see docs/errors.md.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reject {
    UnknownQueue(QueueName),
    QueueClosed(QueueName),
    /// `maxlen` reached: QUEUESTATUS=FULL.
    QueueFull(QueueName),
    /// `joinempty`: QUEUESTATUS=JOINEMPTY.
    JoinEmpty(QueueName),
    UnknownCall(CallId),
    UnknownAgent(AgentId),
    UnknownMember(QueueName, AgentId),
    /// A template, or another named thing, that does not exist.
    UnknownName(String),
    /// The attempt is not the call's current one, or the agent is not (any more) part of it.
    StaleAttempt {
        call: CallId,
        attempt: Attempt,
    },
    /// An agent of the decision is not free, or the call cannot be offered.
    NotOfferable(CallId),
    /// The call is not in a phase in which this can be done.
    WrongPhase(CallId),
    AgentBusy(AgentId),
    QueueNotEmpty(QueueName),
    /// `if_revision` did not fit; the revision it has.
    RevisionMismatch {
        revision: u64,
    },
    /// A bound of `limits` was met: what, and how many.
    LimitReached {
        what: String,
        max: u64,
    },
    /// A value makes no sense: where it stands, and what is wrong with it.
    Invalid {
        what: String,
        problem: String,
    },
    /// The same request id was used for another write.
    RequestReused,
    /// A PbxUp or PbxDown of an epoch that is over.
    StaleEpoch {
        epoch: u64,
    },
    /// This node drives the Asterisk, and not the one that spoke.
    DrivenByOther {
        node: NodeName,
    },
    /// The Asterisk cannot be taken over now: its driver is not away for long enough, or it is not
    /// allowed.
    NoTakeover(PbxId),
}

impl Reject {
    /// The stable code, `HF-Q..`, of docs/errors.md.
    pub fn code(&self) -> &'static str {
        match self {
            Reject::UnknownQueue(_) => "HF-Q01",
            Reject::QueueClosed(_) => "HF-Q02",
            Reject::QueueFull(_) => "HF-Q03",
            Reject::JoinEmpty(_) => "HF-Q04",
            Reject::UnknownCall(_) => "HF-Q05",
            Reject::UnknownAgent(_) => "HF-Q06",
            Reject::UnknownMember(..) => "HF-Q07",
            Reject::UnknownName(_) => "HF-Q08",
            Reject::StaleAttempt { .. } => "HF-Q09",
            Reject::NotOfferable(_) => "HF-Q10",
            Reject::WrongPhase(_) => "HF-Q11",
            Reject::AgentBusy(_) => "HF-Q12",
            Reject::QueueNotEmpty(_) => "HF-Q13",
            Reject::RevisionMismatch { .. } => "HF-Q14",
            Reject::LimitReached { .. } => "HF-Q15",
            Reject::Invalid { .. } => "HF-Q16",
            Reject::RequestReused => "HF-Q17",
            Reject::StaleEpoch { .. } => "HF-Q18",
            Reject::DrivenByOther { .. } => "HF-Q19",
            Reject::NoTakeover(_) => "HF-Q20",
        }
    }

    /// The `QUEUESTATUS` that a caller who was refused brings back to the dialplan.
    pub fn queue_status(&self) -> &'static str {
        match self {
            Reject::QueueFull(_) | Reject::LimitReached { .. } => "FULL",
            Reject::JoinEmpty(_) => "JOINEMPTY",
            Reject::QueueClosed(_) => "CLOSED",
            _ => "UNKNOWN",
        }
    }
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reject::UnknownQueue(queue) => write!(f, "there is no queue {queue}"),
            Reject::QueueClosed(queue) => write!(f, "queue {queue} is closed"),
            Reject::QueueFull(queue) => write!(f, "queue {queue} is full (its maxlen)"),
            Reject::JoinEmpty(queue) => write!(f, "queue {queue} has no agents (its join_empty)"),
            Reject::UnknownCall(call) => write!(f, "there is no call {call}"),
            Reject::UnknownAgent(agent) => write!(f, "there is no agent {agent}"),
            Reject::UnknownMember(queue, agent) => {
                write!(f, "agent {agent} is not a member of queue {queue}")
            }
            Reject::UnknownName(name) => write!(f, "there is no {name:?}"),
            Reject::StaleAttempt { call, attempt } => {
                write!(f, "offer {attempt} of call {call} is over")
            }
            Reject::NotOfferable(call) => {
                write!(f, "call {call} cannot be offered to these agents now")
            }
            Reject::WrongPhase(call) => write!(f, "call {call} is not in a phase that allows this"),
            Reject::AgentBusy(agent) => write!(f, "agent {agent} has an offer or a call"),
            Reject::QueueNotEmpty(queue) => write!(f, "queue {queue} still holds callers"),
            Reject::RevisionMismatch { revision } => {
                write!(
                    f,
                    "it was changed meanwhile and has revision {revision} now"
                )
            }
            Reject::LimitReached { what, max } => write!(f, "there may be at most {max} {what}"),
            Reject::Invalid { what, problem } => write!(f, "{what}: {problem}"),
            Reject::RequestReused => f.write_str("this request id was used for another write"),
            Reject::StaleEpoch { epoch } => write!(f, "epoch {epoch} is over"),
            Reject::DrivenByOther { node } => write!(f, "node {node} drives this asterisk"),
            Reject::NoTakeover(pbx) => write!(f, "asterisk {pbx} cannot be taken over now"),
        }
    }
}
