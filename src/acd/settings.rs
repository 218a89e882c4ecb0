//! What an operator sets: queues, their members, agents, templates. Replicated, never a local file.
//!
//! Names and defaults follow `queues.conf` where it has the option; durations are milliseconds.
//! Reading TOML or JSON words such as `"15s"` is the admin crate's work.

use crate::id::{AgentId, PbxId};
use serde::{Deserialize, Serialize};

/// `strategy` of queues.conf.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    #[default]
    RingAll,
    /// Round robin with memory: continues behind the member who was rung last.
    RrMemory,
    /// The members' own order, from the start each time.
    Linear,
    /// Who ended a call the longest time ago, over all queues.
    LeastRecent,
    /// Who took the fewest calls of this queue.
    FewestCalls,
    /// Decided by the leader and written into the decision, so that replicas agree.
    Random,
}

/// How a granted call reaches its agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Connect {
    /// The owner originates the agents' legs and bridges.
    #[default]
    Ari,
    /// The owner sets `call_string` and continues in the dialplan, which dials.
    Dialplan,
}

/// `announce-position` of queues.conf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnnouncePosition {
    No,
    #[default]
    Yes,
    /// Only when the position is at most `position_limit`.
    Limit,
    /// Beyond the limit says "more than N".
    More,
}

/// `announce-holdtime` of queues.conf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnnounceHoldTime {
    #[default]
    No,
    Yes,
    Once,
}

/// What is played to who waits. A prompt never delays an offer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Announce {
    pub position: AnnouncePosition,
    /// `announce-position-limit`.
    pub position_limit: u32,
    pub hold_time: AnnounceHoldTime,
    /// `announce-frequency`; 0 is off.
    pub frequency_ms: u64,
    /// `min-announce-frequency`: the least gap when the position has changed.
    pub min_frequency_ms: u64,
    /// When the first announcement is due after joining (the original: 3 s).
    pub first_after_ms: u64,
    /// `announce-round-seconds`; 0 rounds to minutes only.
    pub round_seconds: u32,
    /// `announce-to-first-user`.
    pub to_first_user: bool,
    /// `announce-position-only-up`: only when the position improved since the last time.
    pub only_up: bool,
    /// `periodic-announce`: sounds played in turn.
    pub periodic: Vec<String>,
    /// `periodic-announce-frequency`; 0 is off.
    pub periodic_frequency_ms: u64,
    pub prompts: Prompts,
}

/// The sounds of announcements, by their names in queues.conf. An empty name is silent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prompts {
    pub you_are_next: String,
    pub there_are: String,
    pub calls_waiting: String,
    /// `queue-quantity1`, before the limit with `announce-position = more`.
    pub quantity1: String,
    pub quantity2: String,
    pub hold_time: String,
    pub minute: String,
    pub minutes: String,
    pub seconds: String,
    pub thank_you: String,
    /// Played, in this order, to a caller whose queue timeout has come.
    pub timeout: Vec<String>,
}

/// The conditions of `joinempty` and `leavewhenempty`: a member in any listed condition does not
/// count as being there. An empty list switches the rule off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EmptyRule(pub Vec<Empty>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Empty {
    Paused,
    Penalty,
    InUse,
    Ringing,
    Unavailable,
    Invalid,
    Unknown,
    WrapUp,
}

/// How long an agent is left alone after an offer failed, by cause (mod_callcenter's `*-delay-time`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RetryDelays {
    pub no_answer_ms: u64,
    pub busy_ms: u64,
    pub rejected_ms: u64,
    pub unreachable_ms: u64,
}

/// One step of the plan: who may be rung once a caller has waited `after_ms`, and how.
/// The original's staged tasks `name@1`, `name@2`. The last step that is due counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Step {
    pub after_ms: u64,
    /// Only these members; empty means all.
    pub agents: Vec<AgentId>,
    /// Only members up to this penalty.
    pub max_penalty: Option<u32>,
    /// Instead of the queue's own.
    pub ring_time_ms: Option<u64>,
    /// Instead of the queue's own.
    pub strategy: Option<Strategy>,
}

/// Where in the dialplan a caller goes on. `None` fields: the next priority of where he came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exit {
    pub context: Option<String>,
    pub exten: Option<String>,
    pub priority: Option<u32>,
}

/// A queue as it is set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QueueSettings {
    /// `musicclass`.
    pub music_class: String,
    pub strategy: Strategy,
    /// Empty: all members at once, by penalty.
    pub steps: Vec<Step>,
    /// `timeout` of queues.conf: how long an agent is rung.
    pub ring_time_ms: u64,
    /// Fifth argument of `Queue()`: how long a caller waits at most; `None` for ever.
    pub timeout_ms: Option<u64>,
    /// `maxlen`; 0 is without limit (but for `limits::CALLS_MAX`).
    pub maxlen: u32,
    /// `wrapuptime`.
    pub wrap_up_ms: u64,
    /// `weight`: of queues that want the same agent, the heavier is served first.
    pub weight: u32,
    /// `servicelevel`.
    pub service_level_ms: u64,
    pub announce: Announce,
    /// `joinempty`.
    pub join_empty: EmptyRule,
    /// `leavewhenempty`.
    pub leave_when_empty: EmptyRule,
    /// `ringinuse`: whether an agent who is busy elsewhere is offered calls.
    pub ring_in_use: bool,
    /// `context`: a caller who presses one of `exit_keys` goes on there, at the extension pressed.
    pub exit_context: Option<String>,
    pub exit_keys: Vec<String>,
    pub connect: Connect,
    /// Where a caller goes who leaves without an answer (timeout, empty, withdrawn, no quorum).
    pub fallback: Exit,
    /// Option `c` of `Queue()`: when the agent hangs up, the caller goes on in the dialplan.
    pub continue_after_agent: bool,
    pub retry: RetryDelays,
    /// Whether new callers are taken.
    pub open: bool,
    /// How long the place of a caller is kept whose Asterisk died.
    pub resume_window_ms: u64,
}

/// An agent as a member of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemberSettings {
    pub penalty: u32,
    /// Place for `linear` and `rrmemory`; equal places go by agent id.
    pub order: u32,
    /// Instead of the queue's own.
    pub wrap_up_ms: Option<u64>,
}

/// An agent as set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AgentSettings {
    /// The person's name, for people.
    pub name: String,
    /// The Asterisks at which the agent's endpoint registers; empty means any.
    pub home: Vec<PbxId>,
    pub skills: Vec<String>,
    /// Instead of the nodes' endpoint template, such as `PJSIP/{agent}`. Checked by each node
    /// against the technologies it allows.
    pub endpoint: Option<String>,
}

/// Queues that a call may bring into being: names that match `pattern` get `settings` and `members`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Template {
    /// A queue name in which `*` stands for any run of characters.
    pub pattern: String,
    pub settings: QueueSettings,
    pub members: Vec<(AgentId, MemberSettings)>,
}

impl Default for Announce {
    fn default() -> Self {
        Self {
            position: AnnouncePosition::Yes,
            position_limit: 10,
            hold_time: AnnounceHoldTime::No,
            frequency_ms: 0,
            min_frequency_ms: 15_000,
            first_after_ms: 3_000,
            round_seconds: 0,
            to_first_user: true,
            only_up: false,
            periodic: Vec::new(),
            periodic_frequency_ms: 0,
            prompts: Prompts::default(),
        }
    }
}

impl Default for Prompts {
    fn default() -> Self {
        Self {
            you_are_next: "queue-youarenext".into(),
            there_are: "queue-thereare".into(),
            calls_waiting: "queue-callswaiting".into(),
            quantity1: "queue-quantity1".into(),
            quantity2: "queue-quantity2".into(),
            hold_time: "queue-holdtime".into(),
            minute: "queue-minute".into(),
            minutes: "queue-minutes".into(),
            seconds: "queue-seconds".into(),
            thank_you: "queue-thankyou".into(),
            timeout: vec![
                "sorry".into(),
                "tt-allbusy_short".into(),
                "pls-try-call-later".into(),
            ],
        }
    }
}

impl Default for RetryDelays {
    fn default() -> Self {
        Self {
            no_answer_ms: 2_000,
            busy_ms: 5_000,
            rejected_ms: 10_000,
            unreachable_ms: 5_000,
        }
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            music_class: "default".into(),
            strategy: Strategy::RingAll,
            steps: Vec::new(),
            ring_time_ms: 15_000,
            timeout_ms: None,
            maxlen: 0,
            wrap_up_ms: 0,
            weight: 0,
            service_level_ms: 20_000,
            announce: Announce::default(),
            join_empty: EmptyRule::default(),
            leave_when_empty: EmptyRule::default(),
            ring_in_use: false,
            exit_context: None,
            exit_keys: Vec::new(),
            connect: Connect::Ari,
            fallback: Exit::default(),
            continue_after_agent: false,
            retry: RetryDelays::default(),
            open: true,
            resume_window_ms: 120_000,
        }
    }
}

/// The plan of a queue without steps: all members, from the start.
static EVERYONE: Step = Step {
    after_ms: 0,
    agents: Vec::new(),
    max_penalty: None,
    ring_time_ms: None,
    strategy: None,
};

impl QueueSettings {
    /// The steps, never empty: a queue without any has one that lets everyone in at once.
    pub fn plan(&self) -> &[Step] {
        if self.steps.is_empty() {
            std::slice::from_ref(&EVERYONE)
        } else {
            &self.steps
        }
    }

    /// How many steps of the plan a caller has reached who waited so long. The last of them counts.
    pub fn steps_reached(&self, waited_ms: u64) -> u32 {
        let plan = self.plan().iter();
        plan.take_while(|step| step.after_ms <= waited_ms).count() as u32
    }
}

impl Step {
    /// Whether this step lets the member be rung, whatever he is doing now.
    pub fn admits(&self, agent: &AgentId, member: &MemberSettings) -> bool {
        let named = self.agents.is_empty() || self.agents.contains(agent);
        named && self.max_penalty.is_none_or(|max| member.penalty <= max)
    }
}
