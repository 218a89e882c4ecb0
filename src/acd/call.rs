//! A call: our record of one caller's channel from joining the line to leaving our hands.
//!
//! The position is derived (`State::position`), never stored. Media and requests to Asterisk are
//! not here: the owner of the channel reads the phase and does what it asks for.

use crate::command::{CallerJoin, EndedBy};
use crate::id::{AgentId, Attempt, CallId, ChannelId, Millis, PbxId, QueueName};
use crate::settings::Connect;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Call {
    pub id: CallId,
    pub pbx: PbxId,
    pub channel: ChannelId,
    pub queue: QueueName,
    pub number: String,
    pub name: String,
    pub priority: i32,
    /// Place among equals of priority: lower is earlier. Usually the call's own id; a caller who
    /// comes back within `resume_window_ms` has the one of his lost call.
    pub order: u64,
    pub joined_at: Millis,
    /// Wall clock at joining, milliseconds since 1970, for display.
    pub joined_wall_ms: u64,
    /// Position at joining, from 1.
    pub joined_position: u32,
    /// The queue's music class, or what the dialplan asked for.
    pub music_class: String,
    /// When the caller has waited enough.
    pub timeout_at: Option<Millis>,
    /// Between position announcements; 0 is off.
    pub announce_frequency_ms: u64,
    /// The last announcement that was due, if any.
    pub announcement: Option<Announcement>,
    /// Offers made so far.
    pub attempts: Attempt,
    pub phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// In the line, with music. `away` while the channel is in the dialplan with an offer that
    /// took too long: it keeps the place but cannot be offered.
    Waiting { away: bool },
    /// Agents are being rung. Still in the line.
    Offered(Offer),
    /// One agent's answer was granted. Out of the line.
    Connected {
        attempt: Attempt,
        agent: AgentId,
        connect: Connect,
        at: Millis,
    },
    /// Over; the owner sets the result variables and lets go of the channel, then says `CallReleased`.
    Leaving { outcome: Outcome, at: Millis },
}

/// A reservation of agents for one call until `ring_until`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offer {
    pub attempt: Attempt,
    pub connect: Connect,
    pub made_at: Millis,
    pub ring_time_ms: u64,
    pub ring_until: Millis,
    /// Those who may still answer, with whether their phone is known to ring.
    pub agents: Vec<OfferedAgent>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OfferedAgent {
    pub agent: AgentId,
    pub ringing_since: Option<Millis>,
}

/// Prompts that are due. The owner plays `prompts` once per `number` while the call is waiting,
/// then music again; an offer or a grant does not wait for them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Announcement {
    /// Counts up within the call from 1.
    pub number: u32,
    pub at: Millis,
    pub prompts: Vec<Prompt>,
    /// The position that it tells, 0 if none.
    pub position: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Prompt {
    /// A sound by name, `sound:NAME`.
    Sound(String),
    /// A spoken number, `number:N`.
    Number(u32),
}

/// How a call ended. Every call has exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Was connected to `agent`; who ended it.
    Answered {
        agent: AgentId,
        by: EndedBy,
        talked_ms: u64,
    },
    /// Hung up while waiting.
    Abandoned,
    Timeout,
    Key(String),
    /// `leavewhenempty`.
    Empty,
    Withdrawn {
        info: String,
    },
    /// Its Asterisk or its node was lost.
    Lost,
    NoQuorum,
}

impl Outcome {
    /// `QUEUESTATUS` for the dialplan; `None` where Queue() sets none (answered, abandoned, lost).
    pub fn queue_status(&self) -> Option<&'static str> {
        match self {
            Outcome::Answered { .. } => Some("CONTINUE"),
            Outcome::Timeout => Some("TIMEOUT"),
            Outcome::Key(_) => Some("KEY"),
            Outcome::Empty => Some("LEAVEEMPTY"),
            Outcome::Withdrawn { .. } => Some("WITHDRAW"),
            Outcome::NoQuorum => Some("NOQUORUM"),
            Outcome::Abandoned | Outcome::Lost => None,
        }
    }

    /// One word for API, metrics and journal.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Answered { .. } => "answered",
            Outcome::Abandoned => "abandoned",
            Outcome::Timeout => "timeout",
            Outcome::Key(_) => "key",
            Outcome::Empty => "empty",
            Outcome::Withdrawn { .. } => "withdrawn",
            Outcome::Lost => "lost",
            Outcome::NoQuorum => "noquorum",
        }
    }
}

impl Call {
    /// The names of what joined, for an idempotent second `CallerJoin`.
    pub fn is_of(&self, join: &CallerJoin) -> bool {
        self.pbx == join.pbx && self.channel == join.channel
    }

    pub fn offer(&self) -> Option<&Offer> {
        match &self.phase {
            Phase::Offered(offer) => Some(offer),
            _ => None,
        }
    }

    /// Waiting or offered: holds a place in the line.
    pub fn in_line(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. } | Phase::Offered(_))
    }
}
