//! Queues, agents and members as JSON and TOML have them: every key, its meaning and the spelling of
//! queues.conf that is accepted for it. One shape for the HTTP endpoints, the declarative file and
//! the command line, so that what is shown can be sent back.
//!
//! Keys are written with `_`; where queues.conf has the option, its spelling works too and means
//! what it means there (so `timeout` is the ring time and `context` the exit context). Unknown keys
//! are refused. What the values may be is judged by the queue itself, not here.

use crate::duration::Dur;
use crate::empty_rule::EmptyDoc;
use crate::object::{named, object, objects};
use crate::words::{YesNo, some_strategy, strategy, yes_no};
use holdfast_acd::settings::{
    AgentSettings, Announce, AnnounceHoldTime, AnnouncePosition, Connect, Exit, MemberSettings,
    Prompts, QueueSettings, RetryDelays, Step, Strategy,
};
use holdfast_acd::{AgentId, PbxId, QueueName};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// A queue's settings. A key that is left out has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueDoc {
    /// Music on hold class: `musicclass`.
    #[serde(alias = "musicclass", alias = "musiconhold", alias = "music")]
    pub music_class: String,
    /// `ringall`, `rrmemory`, `linear`, `leastrecent`, `fewestcalls` or `random`.
    #[serde(deserialize_with = "strategy")]
    pub strategy: Strategy,
    /// How long an agent is rung: `timeout` of queues.conf, `ringTime` of the original.
    #[serde(alias = "timeout", alias = "ringTime")]
    pub ring_time: Dur,
    /// How long a caller waits at most, then QUEUESTATUS=TIMEOUT; left out: for ever. The fifth
    /// argument of `Queue()`.
    pub max_wait: Option<Dur>,
    /// Callers in line at most; 0 is without limit.
    #[serde(alias = "max_callers")]
    pub maxlen: u32,
    /// Rest after a call: `wrapuptime`.
    #[serde(alias = "wrapuptime")]
    pub wrap_up: Dur,
    /// Of queues that want the same agent the heavier is served first.
    pub weight: u32,
    /// `servicelevel`.
    #[serde(alias = "servicelevel")]
    pub service_level: Dur,
    /// What is played to who waits.
    #[serde(deserialize_with = "object")]
    pub announce: AnnounceDoc,
    /// When a caller is not taken: `joinempty`, its words or a shorthand.
    #[serde(alias = "joinempty", deserialize_with = "crate::empty_rule::join")]
    pub join_empty: EmptyDoc,
    /// When the callers are let go: `leavewhenempty`, its words or a shorthand.
    #[serde(
        alias = "leavewhenempty",
        deserialize_with = "crate::empty_rule::leave"
    )]
    pub leave_when_empty: EmptyDoc,
    /// Whether an agent who is busy elsewhere is offered calls: `ringinuse`.
    #[serde(alias = "ringinuse", deserialize_with = "yes_no")]
    pub ring_in_use: bool,
    /// Where a caller goes on who presses one of `exit_keys`: `context`.
    #[serde(alias = "context")]
    pub exit_context: Option<String>,
    /// The keys that lead out of the line.
    pub exit_keys: Vec<String>,
    /// `ari` (we originate and bridge) or `dialplan` (the dialplan dials `call_string`).
    pub connect: Connect,
    /// Where a caller goes on who leaves without an answer; left out: behind `Stasis()`.
    #[serde(deserialize_with = "object")]
    pub fallback: ExitDoc,
    /// Option `c` of `Queue()`: the caller goes on in the dialplan when the agent hangs up.
    #[serde(deserialize_with = "yes_no")]
    pub continue_after_agent: bool,
    /// How long an agent is left alone after an offer failed, by cause.
    #[serde(deserialize_with = "object")]
    pub retry: RetryDoc,
    /// Whether new callers are taken.
    #[serde(deserialize_with = "yes_no")]
    pub open: bool,
    /// How long the place of a caller is kept whose Asterisk died.
    pub resume_window: Dur,
    /// Who may be rung once a caller has waited so long; empty: all members at once.
    #[serde(deserialize_with = "objects")]
    pub steps: Vec<StepDoc>,
    /// In the declarative file alone: `["1001", "1002"]`, or `{ 1001 = { penalty = 1 } }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<MembersDoc>,

    // The announce options as queues.conf has them, beside the queue's other options.
    #[serde(alias = "announce-frequency", skip_serializing)]
    announce_frequency: Option<Dur>,
    #[serde(alias = "min-announce-frequency", skip_serializing)]
    min_announce_frequency: Option<Dur>,
    #[serde(alias = "announce-position", skip_serializing)]
    announce_position: Option<PositionDoc>,
    #[serde(alias = "announce-position-limit", skip_serializing)]
    announce_position_limit: Option<u32>,
    #[serde(alias = "announce-holdtime", skip_serializing)]
    announce_holdtime: Option<HoldTimeDoc>,
    #[serde(alias = "announce-round-seconds", skip_serializing)]
    announce_round_seconds: Option<u32>,
    #[serde(alias = "announce-to-first-user", skip_serializing)]
    announce_to_first_user: Option<YesNo>,
    #[serde(alias = "announce-position-only-up", skip_serializing)]
    announce_position_only_up: Option<YesNo>,
    #[serde(alias = "periodic-announce", skip_serializing)]
    periodic_announce: Option<Sounds>,
    #[serde(alias = "periodic-announce-frequency", skip_serializing)]
    periodic_announce_frequency: Option<Dur>,
}

/// Announcements to who waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnnounceDoc {
    /// `yes`, `no`, `limit` (only up to `position_limit`) or `more` ("more than N").
    pub position: PositionDoc,
    /// `announce-position-limit`.
    pub position_limit: u32,
    /// `yes`, `no` or `once`: `announce-holdtime`.
    #[serde(alias = "holdtime")]
    pub hold_time: HoldTimeDoc,
    /// Between announcements; 0 is off: `announce-frequency`.
    #[serde(alias = "every")]
    pub frequency: Dur,
    /// The least gap when the position has changed: `min-announce-frequency`.
    pub min_frequency: Dur,
    /// When the first announcement is due after joining.
    pub first_after: Dur,
    /// `announce-round-seconds`.
    pub round_seconds: u32,
    /// `announce-to-first-user`.
    #[serde(deserialize_with = "yes_no")]
    pub to_first_user: bool,
    /// `announce-position-only-up`.
    #[serde(deserialize_with = "yes_no")]
    pub only_up: bool,
    /// Sounds played in turn: `periodic-announce`.
    pub periodic: Sounds,
    /// `periodic-announce-frequency`; 0 is off.
    pub periodic_frequency: Dur,
    /// The sounds themselves.
    #[serde(deserialize_with = "object")]
    pub prompts: PromptsDoc,
}

/// The sounds, by their names in queues.conf without `queue-`. An empty name is silent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptsDoc {
    #[serde(alias = "queue-youarenext")]
    pub you_are_next: String,
    #[serde(alias = "queue-thereare")]
    pub there_are: String,
    #[serde(alias = "queue-callswaiting")]
    pub calls_waiting: String,
    #[serde(alias = "queue-quantity1")]
    pub quantity1: String,
    #[serde(alias = "queue-quantity2")]
    pub quantity2: String,
    #[serde(alias = "queue-holdtime")]
    pub hold_time: String,
    #[serde(alias = "queue-minute")]
    pub minute: String,
    #[serde(alias = "queue-minutes")]
    pub minutes: String,
    #[serde(alias = "queue-seconds")]
    pub seconds: String,
    #[serde(alias = "queue-thankyou")]
    pub thank_you: String,
    /// Played, in this order, when the waiting time is over.
    pub timeout: Vec<String>,
}

/// Delays after a failed offer, by cause: `*-delay-time` of mod_callcenter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryDoc {
    pub no_answer: Dur,
    pub busy: Dur,
    pub rejected: Dur,
    pub unreachable: Dur,
}

/// A place in the dialplan. Left out: the next priority of where the caller came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExitDoc {
    pub context: Option<String>,
    #[serde(alias = "extension")]
    pub exten: Option<String>,
    pub priority: Option<u32>,
}

/// One step of a queue's plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepDoc {
    /// From this waiting time on.
    pub after: Dur,
    /// Only these members; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentId>,
    /// Only members up to this penalty.
    pub max_penalty: Option<u32>,
    /// Instead of the queue's own.
    pub ring_time: Option<Dur>,
    /// Instead of the queue's own.
    #[serde(deserialize_with = "some_strategy")]
    pub strategy: Option<Strategy>,
}

/// An agent as a member of a queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemberDoc {
    /// Members of a lower penalty are rung first.
    pub penalty: u32,
    /// Place for `linear` and `rrmemory`.
    pub order: u32,
    /// Instead of the queue's own: `wrapuptime` of a member.
    #[serde(alias = "wrapuptime")]
    pub wrap_up: Option<Dur>,
}

/// Memberships: a list of names (in the order of ringing), or a table with each one's settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Named<K: Ord> {
    List(Vec<K>),
    Table(BTreeMap<K, MemberDoc>),
}

/// Members of a queue, by agent.
pub type MembersDoc = Named<AgentId>;
/// Queues of an agent.
pub type QueuesDoc = Named<QueueName>;

impl<K: Ord + Clone> Named<K> {
    /// Name and settings of each; a list gives each its place in the list as `order`.
    pub fn entries(&self) -> Vec<(K, MemberDoc)> {
        match self {
            Named::Table(table) => table
                .iter()
                .map(|(k, doc)| (k.clone(), doc.clone()))
                .collect(),
            Named::List(list) => {
                let doc = |order| MemberDoc {
                    order,
                    ..MemberDoc::default()
                };
                list.iter()
                    .zip(0..)
                    .map(|(k, order)| (k.clone(), doc(order)))
                    .collect()
            }
        }
    }
}

impl<'de, K: Ord + Deserialize<'de>> Deserialize<'de> for Named<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamedVisitor(PhantomData))
    }
}

struct NamedVisitor<K>(PhantomData<K>);

impl<'de, K: Ord + Deserialize<'de>> Visitor<'de> for NamedVisitor<K> {
    type Value = Named<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names, or a table of names with their settings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Named<K>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Named::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Named<K>, A::Error> {
        named(MapAccessDeserializer::new(map)).map(Named::Table)
    }
}

/// An agent's settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentDoc {
    /// The person's name.
    pub name: String,
    /// The Asterisks at which the endpoint registers; empty: any.
    #[serde(alias = "nodes")]
    pub home: Vec<PbxId>,
    pub skills: Vec<String>,
    /// Instead of the node's template, such as `PJSIP/1001`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// In the declarative file alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<QueuesDoc>,
}

/// `announce-position` in its words, or a truth value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct PositionDoc(pub AnnouncePosition);

/// `announce-holdtime` in its words, or a truth value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct HoldTimeDoc(pub AnnounceHoldTime);

/// Names of sounds: a list, or one text with commas as in queues.conf.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Sounds(pub Vec<String>);

impl QueueDoc {
    /// The settings that are meant; options in the spelling of queues.conf win over `announce`.
    pub fn settings(&self) -> QueueSettings {
        QueueSettings {
            music_class: self.music_class.clone(),
            strategy: self.strategy,
            steps: self.steps.iter().map(StepDoc::step).collect(),
            ring_time_ms: self.ring_time.0,
            timeout_ms: self.max_wait.map(|dur| dur.0),
            maxlen: self.maxlen,
            wrap_up_ms: self.wrap_up.0,
            weight: self.weight,
            service_level_ms: self.service_level.0,
            announce: self.announce_settings(),
            join_empty: self.join_empty.rule(),
            leave_when_empty: self.leave_when_empty.rule(),
            ring_in_use: self.ring_in_use,
            exit_context: self.exit_context.clone(),
            exit_keys: self.exit_keys.clone(),
            connect: self.connect,
            fallback: Exit {
                context: self.fallback.context.clone(),
                exten: self.fallback.exten.clone(),
                priority: self.fallback.priority,
            },
            continue_after_agent: self.continue_after_agent,
            retry: RetryDelays {
                no_answer_ms: self.retry.no_answer.0,
                busy_ms: self.retry.busy.0,
                rejected_ms: self.retry.rejected.0,
                unreachable_ms: self.retry.unreachable.0,
            },
            open: self.open,
            resume_window_ms: self.resume_window.0,
        }
    }

    fn announce_settings(&self) -> Announce {
        let doc = &self.announce;
        Announce {
            position: self.announce_position.unwrap_or(doc.position).0,
            position_limit: self.announce_position_limit.unwrap_or(doc.position_limit),
            hold_time: self.announce_holdtime.unwrap_or(doc.hold_time).0,
            frequency_ms: self.announce_frequency.unwrap_or(doc.frequency).0,
            min_frequency_ms: self.min_announce_frequency.unwrap_or(doc.min_frequency).0,
            first_after_ms: doc.first_after.0,
            round_seconds: self.announce_round_seconds.unwrap_or(doc.round_seconds),
            to_first_user: self
                .announce_to_first_user
                .map_or(doc.to_first_user, |word| word.0),
            only_up: self
                .announce_position_only_up
                .map_or(doc.only_up, |word| word.0),
            periodic: self
                .periodic_announce
                .as_ref()
                .unwrap_or(&doc.periodic)
                .0
                .clone(),
            periodic_frequency_ms: self
                .periodic_announce_frequency
                .unwrap_or(doc.periodic_frequency)
                .0,
            prompts: doc.prompts.prompts(),
        }
    }

    /// The document of settings, with every key.
    pub fn of(settings: &QueueSettings) -> Self {
        Self {
            music_class: settings.music_class.clone(),
            strategy: settings.strategy,
            ring_time: Dur(settings.ring_time_ms),
            max_wait: settings.timeout_ms.map(Dur),
            maxlen: settings.maxlen,
            wrap_up: Dur(settings.wrap_up_ms),
            weight: settings.weight,
            service_level: Dur(settings.service_level_ms),
            announce: AnnounceDoc::of(&settings.announce),
            join_empty: EmptyDoc::of(&settings.join_empty),
            leave_when_empty: EmptyDoc::of(&settings.leave_when_empty),
            ring_in_use: settings.ring_in_use,
            exit_context: settings.exit_context.clone(),
            exit_keys: settings.exit_keys.clone(),
            connect: settings.connect,
            fallback: ExitDoc {
                context: settings.fallback.context.clone(),
                exten: settings.fallback.exten.clone(),
                priority: settings.fallback.priority,
            },
            continue_after_agent: settings.continue_after_agent,
            retry: RetryDoc {
                no_answer: Dur(settings.retry.no_answer_ms),
                busy: Dur(settings.retry.busy_ms),
                rejected: Dur(settings.retry.rejected_ms),
                unreachable: Dur(settings.retry.unreachable_ms),
            },
            open: settings.open,
            resume_window: Dur(settings.resume_window_ms),
            steps: settings.steps.iter().map(StepDoc::of).collect(),
            members: None,
            announce_frequency: None,
            min_announce_frequency: None,
            announce_position: None,
            announce_position_limit: None,
            announce_holdtime: None,
            announce_round_seconds: None,
            announce_to_first_user: None,
            announce_position_only_up: None,
            periodic_announce: None,
            periodic_announce_frequency: None,
        }
    }
}

impl Default for QueueDoc {
    fn default() -> Self {
        Self::of(&QueueSettings::default())
    }
}

impl AnnounceDoc {
    fn of(announce: &Announce) -> Self {
        Self {
            position: PositionDoc(announce.position),
            position_limit: announce.position_limit,
            hold_time: HoldTimeDoc(announce.hold_time),
            frequency: Dur(announce.frequency_ms),
            min_frequency: Dur(announce.min_frequency_ms),
            first_after: Dur(announce.first_after_ms),
            round_seconds: announce.round_seconds,
            to_first_user: announce.to_first_user,
            only_up: announce.only_up,
            periodic: Sounds(announce.periodic.clone()),
            periodic_frequency: Dur(announce.periodic_frequency_ms),
            prompts: PromptsDoc::of(&announce.prompts),
        }
    }
}

impl Default for AnnounceDoc {
    fn default() -> Self {
        Self::of(&Announce::default())
    }
}

impl PromptsDoc {
    fn of(prompts: &Prompts) -> Self {
        let p = prompts.clone();
        Self {
            you_are_next: p.you_are_next,
            there_are: p.there_are,
            calls_waiting: p.calls_waiting,
            quantity1: p.quantity1,
            quantity2: p.quantity2,
            hold_time: p.hold_time,
            minute: p.minute,
            minutes: p.minutes,
            seconds: p.seconds,
            thank_you: p.thank_you,
            timeout: p.timeout,
        }
    }

    fn prompts(&self) -> Prompts {
        let p = self.clone();
        Prompts {
            you_are_next: p.you_are_next,
            there_are: p.there_are,
            calls_waiting: p.calls_waiting,
            quantity1: p.quantity1,
            quantity2: p.quantity2,
            hold_time: p.hold_time,
            minute: p.minute,
            minutes: p.minutes,
            seconds: p.seconds,
            thank_you: p.thank_you,
            timeout: p.timeout,
        }
    }
}

impl Default for PromptsDoc {
    fn default() -> Self {
        Self::of(&Prompts::default())
    }
}

impl Default for RetryDoc {
    fn default() -> Self {
        QueueDoc::of(&QueueSettings::default()).retry
    }
}

impl StepDoc {
    fn step(&self) -> Step {
        Step {
            after_ms: self.after.0,
            agents: self.agents.clone(),
            max_penalty: self.max_penalty,
            ring_time_ms: self.ring_time.map(|dur| dur.0),
            strategy: self.strategy,
        }
    }

    fn of(step: &Step) -> Self {
        Self {
            after: Dur(step.after_ms),
            agents: step.agents.clone(),
            max_penalty: step.max_penalty,
            ring_time: step.ring_time_ms.map(Dur),
            strategy: step.strategy,
        }
    }
}

impl MemberDoc {
    pub fn settings(&self) -> MemberSettings {
        MemberSettings {
            penalty: self.penalty,
            order: self.order,
            wrap_up_ms: self.wrap_up.map(|dur| dur.0),
        }
    }

    pub fn of(settings: &MemberSettings) -> Self {
        Self {
            penalty: settings.penalty,
            order: settings.order,
            wrap_up: settings.wrap_up_ms.map(Dur),
        }
    }
}

impl AgentDoc {
    pub fn settings(&self) -> AgentSettings {
        AgentSettings {
            name: self.name.clone(),
            home: self.home.clone(),
            skills: self.skills.clone(),
            endpoint: self.endpoint.clone(),
        }
    }

    pub fn of(settings: &AgentSettings) -> Self {
        Self {
            name: settings.name.clone(),
            home: settings.home.clone(),
            skills: settings.skills.clone(),
            endpoint: settings.endpoint.clone(),
            queues: None,
        }
    }
}
