//! What may be written into the log: facts seen by a node, decisions of the leader, admin writes.
//!
//! The enums are append-only: bincode writes the position of a variant, so a variant is never moved
//! or removed and a field is never added to one (add a new variant). Every command is safe to apply
//! twice: facts are keyed by call and attempt, admin writes by their request id.

use crate::id::{
    AgentId, Attempt, CallId, ChannelId, Millis, NodeName, PbxId, QueueName, RequestId,
};
use crate::settings::{AgentSettings, MemberSettings, QueueSettings, Template};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Command {
    // Facts, from the node that saw them.
    /// A caller's channel entered Stasis. Joins, or finds the call that it already is: sent again for
    /// a channel that is known it answers `Joined` with the same call and changes nothing, except
    /// that a call which was away in the dialplan is back (its offer has failed).
    CallerJoin(CallerJoin),
    /// The caller left the line by himself, or his channel is gone.
    CallerLeave {
        call: CallId,
        reason: LeaveReason,
    },
    /// An agent's phone rings.
    OfferRinging {
        call: CallId,
        attempt: Attempt,
        agent: AgentId,
    },
    /// An agent's leg was answered and asks for the grant. Exactly one answer of an attempt is granted.
    OfferAnswer {
        call: CallId,
        attempt: Attempt,
        agent: AgentId,
    },
    /// An agent's leg ended before it was granted; or it was granted and ended before the two were
    /// bridged: then the caller, who heard nothing of it, is back at the old place.
    OfferFail {
        call: CallId,
        attempt: Attempt,
        agent: AgentId,
        cause: FailCause,
    },
    /// A connected call is over.
    CallEnd {
        call: CallId,
        attempt: Attempt,
        by: EndedBy,
    },
    /// The owner is done with a call that was leaving: its channel is out of our hands.
    CallReleased {
        call: CallId,
    },
    /// What an Asterisk says of an agent's device.
    AgentDevice {
        pbx: PbxId,
        agent: AgentId,
        state: DeviceState,
    },
    /// A node drives an Asterisk and has compared: `channels` are all of its callers that live.
    /// Calls of this Asterisk that are not among them have ended while nobody looked.
    PbxUp {
        pbx: PbxId,
        node: NodeName,
        epoch: u64,
        restarted: bool,
        channels: Vec<ChannelId>,
    },
    /// A node lost the sight of its Asterisk: its calls are not offered until `PbxUp`. With `lost`
    /// the Asterisk itself is gone and so are its calls.
    PbxDown {
        pbx: PbxId,
        epoch: u64,
        lost: bool,
    },

    // Decisions, from the leader alone.
    /// Reserve these agents for this call and ring them. `attempt` is the number the offer will have;
    /// with another number, or with nobody of `agents` free, it is rejected.
    OfferMake {
        call: CallId,
        attempt: Attempt,
        agents: Vec<AgentId>,
    },
    /// Deadlines up to the stamp are due.
    Tick,
    /// A node does not answer: its callers are not offered, and are lost after `node_lost_after_ms`.
    NodeAway {
        node: NodeName,
        node_lost_after_ms: u64,
    },
    /// It answers again.
    NodeBack {
        node: NodeName,
    },

    // Admin writes.
    Admin(Admin),

    // Facts again: what came later stands behind.
    /// A node asks to drive an Asterisk and must not touch it before it was granted. `epoch` is the
    /// one it will have: one above the known one, so that of several who ask one alone is granted.
    PbxClaim {
        pbx: PbxId,
        node: NodeName,
        epoch: u64,
        claim: Claim,
    },
    /// As `AgentDevice`, and refused when it comes from a driver whose epoch is over.
    DeviceSeen {
        pbx: PbxId,
        epoch: u64,
        agent: AgentId,
        state: DeviceState,
    },
    /// As `Admin`, for a change that is worked out from the present state, so that the same request
    /// may lead to another operation when it is sent again: `asked` is a digest of what was asked,
    /// by which a repetition is told from another write under the same id.
    AdminAsked {
        asked: u64,
        admin: Admin,
    },
    /// A caller was found in the bridge with a living leg of this agent, and the call is known no
    /// longer: it was given up while nobody saw its Asterisk. They talk on, and the agent is offered
    /// nothing until `TalkOver`. `queue` is the one by which they met, for the wrap-up.
    TalkKept {
        pbx: PbxId,
        epoch: u64,
        channel: ChannelId,
        agent: AgentId,
        queue: Option<QueueName>,
    },
    /// The talk of this caller's channel is over.
    TalkOver {
        pbx: PbxId,
        channel: ChannelId,
    },
}

/// By what right a node asks to drive an Asterisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Claim {
    /// It is the node's own: granted, whoever drives it. `takeover` says whether others may take it
    /// over.
    Home { takeover: bool },
    /// Its driver has been away for at least so long.
    Takeover { after_ms: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallerJoin {
    pub pbx: PbxId,
    pub channel: ChannelId,
    pub queue: QueueName,
    /// Caller's number and name, at most `limits::TEXT_BYTES_MAX` bytes, free of control characters.
    pub number: String,
    pub name: String,
    /// `QUEUE_PRIO`: higher is served first.
    pub priority: i32,
    pub options: JoinOptions,
}

/// What the dialplan asked for this one call (`Stasis(QueueARI,timeout=60,announce=30)`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JoinOptions {
    /// Instead of the queue's `timeout_ms`.
    pub timeout_ms: Option<u64>,
    /// Instead of `announce.frequency_ms`.
    pub announce_ms: Option<u64>,
    /// Instead of `music_class`.
    pub music_class: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LeaveReason {
    /// The caller hung up, or the channel was not there at a comparison with its Asterisk.
    HungUp,
    /// One of the queue's exit keys.
    Key(String),
    /// The owner sent the caller to the fallback because there was no quorum for too long.
    NoQuorum,
}

/// Why an offer to one agent ended without a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailCause {
    NoAnswer,
    Busy,
    Rejected,
    /// Not registered, unknown endpoint, trunk down.
    Unreachable,
    /// Our own doing: another agent won, the caller left, the node restarted. Costs the agent no delay.
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndedBy {
    Caller,
    Agent,
    /// Their Asterisk or its node was lost, or the bridge could not be made.
    Failure,
}

/// Device states of Asterisk, worst last.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeviceState {
    #[default]
    Unknown,
    NotInUse,
    InUse,
    Busy,
    Ringing,
    RingInUse,
    OnHold,
    Unavailable,
    Invalid,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Admin {
    pub request: RequestId,
    /// Who asked: a token's name, `socket`, `dialplan`. For the journal.
    pub actor: String,
    /// If set, the write is refused unless this is the revision of the object it touches
    /// (0: must not exist yet).
    pub if_revision: Option<u64>,
    pub op: AdminOp,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AdminOp {
    QueuePut {
        queue: QueueName,
        settings: Box<QueueSettings>,
    },
    /// Refused while callers are in it.
    QueueDelete {
        queue: QueueName,
    },
    AgentPut {
        agent: AgentId,
        settings: AgentSettings,
    },
    /// Refused while the agent is offered or in a call.
    AgentDelete {
        agent: AgentId,
    },
    MemberPut {
        queue: QueueName,
        agent: AgentId,
        settings: MemberSettings,
    },
    MemberDelete {
        queue: QueueName,
        agent: AgentId,
    },
    TemplatePut {
        name: String,
        template: Box<Template>,
    },
    TemplateDelete {
        name: String,
    },
    AgentLogin {
        agent: AgentId,
    },
    /// A call in hand goes on; an offer is withdrawn.
    AgentLogout {
        agent: AgentId,
    },
    /// In one queue or in all. An offer in flight is withdrawn.
    AgentPause {
        agent: AgentId,
        queue: Option<QueueName>,
        reason: String,
    },
    AgentUnpause {
        agent: AgentId,
        queue: Option<QueueName>,
    },
    /// Ends wrap-up before its time.
    AgentReady {
        agent: AgentId,
    },
    CallWithdraw {
        call: CallId,
        info: String,
    },
    /// To another queue, keeping the time of arrival; behind the callers there who came earlier.
    CallMove {
        call: CallId,
        queue: QueueName,
    },
    CallPriority {
        call: CallId,
        priority: i32,
    },
    /// The whole declared set at once: puts all, and with `prune` deletes what is not in it.
    /// All or nothing.
    ConfigPut {
        config: Box<Config>,
        prune: bool,
    },
}

/// The declared set: what `apply -f` sends and `GET /v1/config` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Config {
    pub queues: Vec<(QueueName, QueueSettings)>,
    pub agents: Vec<(AgentId, AgentSettings)>,
    pub members: Vec<(QueueName, AgentId, MemberSettings)>,
    pub templates: Vec<(String, Template)>,
}

/// When a batch was written. Equal on all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Index of the log entry.
    pub index: u64,
    pub at: Millis,
    /// The leader's wall clock, milliseconds since 1970. For display and reports; decides nothing.
    pub wall_ms: u64,
}
