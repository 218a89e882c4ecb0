//! What happened, as `apply` tells it: for the journal, the event stream, and to wake who has work.
//!
//! Facts, not orders: an executor that misses one finds the same work in the state. Append-only.
//! Where queue_log has a name for a thing, `Event::queue_log_name` gives it.

use crate::call::Outcome;
use crate::command::{DeviceState, EndedBy, FailCause};
use crate::id::{AgentId, Attempt, CallId, ChannelId, Millis, NodeName, PbxId, QueueName};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    CallJoined {
        call: CallId,
        queue: QueueName,
        pbx: PbxId,
        channel: ChannelId,
        number: String,
        position: u32,
        resumed: bool,
    },
    /// A caller was not taken; the `QUEUESTATUS` he got.
    CallRefused {
        queue: QueueName,
        pbx: PbxId,
        channel: ChannelId,
        status: String,
    },
    /// Back at the old place: from the dialplan, or after a grant that came to nothing.
    CallReturned {
        call: CallId,
    },
    /// Prompts are due for a waiting caller.
    AnnounceDue {
        call: CallId,
        number: u32,
        position: u32,
    },
    OfferMade {
        call: CallId,
        queue: QueueName,
        attempt: Attempt,
        agents: Vec<AgentId>,
        ring_until: Millis,
    },
    OfferRinging {
        call: CallId,
        attempt: Attempt,
        agent: AgentId,
    },
    /// One agent's part of an offer ended without a grant.
    OfferFailed {
        call: CallId,
        attempt: Attempt,
        agent: AgentId,
        cause: FailCause,
        rang_ms: u64,
    },
    CallConnected {
        call: CallId,
        queue: QueueName,
        attempt: Attempt,
        agent: AgentId,
        waited_ms: u64,
        rang_ms: u64,
    },
    /// The one end of a call.
    CallLeft {
        call: CallId,
        queue: QueueName,
        outcome: Outcome,
        /// At the end of waiting, 0 if it was answered.
        position: u32,
        waited_ms: u64,
    },
    CallReleased {
        call: CallId,
    },
    CallMoved {
        call: CallId,
        from: QueueName,
        to: QueueName,
    },
    CallPriority {
        call: CallId,
        priority: i32,
    },
    /// An earlier caller was passed over by the offer in the same batch, and why.
    CallPassedOver {
        call: CallId,
        by: CallId,
        reason: PassOver,
    },
    AgentLogin {
        agent: AgentId,
    },
    AgentLogout {
        agent: AgentId,
    },
    AgentPaused {
        agent: AgentId,
        queue: Option<QueueName>,
        reason: String,
    },
    AgentUnpaused {
        agent: AgentId,
        queue: Option<QueueName>,
    },
    AgentWrapUp {
        agent: AgentId,
        until: Millis,
    },
    AgentReady {
        agent: AgentId,
    },
    AgentDevice {
        agent: AgentId,
        pbx: PbxId,
        state: DeviceState,
    },
    QueueChanged {
        queue: QueueName,
    },
    QueueDeleted {
        queue: QueueName,
    },
    AgentChanged {
        agent: AgentId,
    },
    AgentDeleted {
        agent: AgentId,
    },
    MemberChanged {
        queue: QueueName,
        agent: AgentId,
    },
    MemberDeleted {
        queue: QueueName,
        agent: AgentId,
    },
    TemplateChanged {
        name: String,
    },
    TemplateDeleted {
        name: String,
    },
    PbxUp {
        pbx: PbxId,
        node: NodeName,
        epoch: u64,
    },
    PbxDown {
        pbx: PbxId,
        lost: bool,
    },
    NodeAway {
        node: NodeName,
    },
    NodeBack {
        node: NodeName,
    },
    NodeLost {
        node: NodeName,
        pbx: PbxId,
    },
    CallCompleted {
        call: CallId,
        agent: AgentId,
        by: EndedBy,
        talked_ms: u64,
    },
    /// A node was given an Asterisk: its own, or (`takeover`) that of a node which is away.
    PbxClaimed {
        pbx: PbxId,
        node: NodeName,
        /// Who had it before, if it was another.
        from: Option<NodeName>,
        epoch: u64,
        takeover: bool,
    },
    /// A talk whose call had been given up goes on: the agent is offered nothing meanwhile.
    TalkKept {
        agent: AgentId,
        pbx: PbxId,
        channel: ChannelId,
    },
    /// It is over, or its Asterisk was given up again.
    TalkOver {
        agent: AgentId,
        pbx: PbxId,
        channel: ChannelId,
        talked_ms: u64,
    },
}

/// Why a caller was passed over although earlier in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassOver {
    /// Already being offered.
    BeingOffered,
    /// Its Asterisk or node is out of sight.
    OwnerAway,
    /// Its channel is in the dialplan.
    InDialplan,
    /// No free agent is in the step that its waiting time has reached.
    StepNotReached,
}

impl Event {
    /// The call that an event is about.
    pub fn call(&self) -> Option<CallId> {
        match self {
            Event::CallJoined { call, .. }
            | Event::CallReturned { call }
            | Event::AnnounceDue { call, .. }
            | Event::OfferMade { call, .. }
            | Event::OfferRinging { call, .. }
            | Event::OfferFailed { call, .. }
            | Event::CallConnected { call, .. }
            | Event::CallLeft { call, .. }
            | Event::CallReleased { call }
            | Event::CallMoved { call, .. }
            | Event::CallPriority { call, .. }
            | Event::CallPassedOver { call, .. }
            | Event::CallCompleted { call, .. } => Some(*call),
            _ => None,
        }
    }
}
