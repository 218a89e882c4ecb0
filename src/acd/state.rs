//! The replicated state and what may be asked of it. Only `apply` changes it.
//!
//! The fields are facts, written to snapshots and hashed into the digest; the index is derived from
//! them and computed anew when a snapshot is read.

use crate::agent::{Agent, Availability};
use crate::call::Call;
use crate::command::{Config, DeviceState};
use crate::digest;
use crate::id::{AgentId, CallId, ChannelId, Millis, PbxId, QueueName, RequestId};
use crate::index::Index;
use crate::pbx::Pbx;
use crate::queue::{Place, Queue};
use crate::reply::Reply;
use crate::settings::Template;
use crate::shared::SharedMap;
use crate::wait::{Resume, ResumeKey, Wait};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

pub use crate::distribute::distribute;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Snapshot")]
pub struct State {
    pub(crate) now: Millis,
    /// Calls so far; the next one has this number plus one.
    pub(crate) calls_made: u64,
    /// Log index of the last write of any setting.
    pub(crate) config_revision: u64,
    pub(crate) queues: BTreeMap<QueueName, Queue>,
    pub(crate) agents: SharedMap<AgentId, Agent>,
    pub(crate) calls: SharedMap<CallId, Call>,
    /// One for each call that is in a line.
    pub(crate) waits: SharedMap<CallId, Wait>,
    pub(crate) pbxes: BTreeMap<PbxId, Pbx>,
    pub(crate) templates: BTreeMap<String, StoredTemplate>,
    pub(crate) resumes: BTreeMap<ResumeKey, Resume>,
    pub(crate) requests: BTreeMap<RequestId, Answer>,
    #[serde(skip)]
    pub(crate) index: Index,
}

/// The fields of `State` as written, in the same order.
#[derive(Deserialize)]
struct Snapshot {
    now: Millis,
    calls_made: u64,
    config_revision: u64,
    queues: BTreeMap<QueueName, Queue>,
    agents: BTreeMap<AgentId, Agent>,
    calls: BTreeMap<CallId, Call>,
    waits: BTreeMap<CallId, Wait>,
    pbxes: BTreeMap<PbxId, Pbx>,
    templates: BTreeMap<String, StoredTemplate>,
    resumes: BTreeMap<ResumeKey, Resume>,
    requests: BTreeMap<RequestId, Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct StoredTemplate {
    pub revision: u64,
    pub template: Template,
}

/// The answer to an admin write, kept for its being sent again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub at: Millis,
    /// Digest of what was asked.
    pub asked: u64,
    pub reply: Reply,
}

impl From<Snapshot> for State {
    fn from(mut read: Snapshot) -> State {
        // Names that all calls have are there once, as they were.
        for call in read.calls.values_mut() {
            if let Some(queue) = read.queues.get(&call.queue) {
                call.queue = queue.name.clone();
            }
            if let Some(pbx) = read.pbxes.get(&call.pbx) {
                call.pbx = pbx.id.clone();
            }
        }
        let mut state = State {
            now: read.now,
            calls_made: read.calls_made,
            config_revision: read.config_revision,
            queues: read.queues,
            agents: read.agents.into(),
            calls: read.calls.into(),
            waits: read.waits.into(),
            pbxes: read.pbxes,
            templates: read.templates,
            resumes: read.resumes,
            requests: read.requests,
            index: Index::default(),
        };
        state.index = Index::of(&state);
        state
    }
}

impl State {
    /// The cluster clock of the last command applied.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// When the next deadline is due; in the past if a `Tick` is already wanted.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.index.deadlines.first().map(|(at, _)| *at)
    }

    pub fn queue(&self, name: &QueueName) -> Option<&Queue> {
        self.queues.get(name)
    }

    /// In order of name.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.agents.get(id)
    }

    /// In order of id.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// What all Asterisks that are heard say of an agent's phone.
    pub fn device(&self, agent: &Agent) -> DeviceState {
        agent.device(&self.pbxes)
    }

    /// Why an agent is or is not offered a call at `now`, for queues with that `ring_in_use`.
    pub fn availability(&self, agent: &Agent, now: Millis, ring_in_use: bool) -> Availability {
        agent.availability(self.device(agent), now, ring_in_use)
    }

    /// Whether a decision may take the agent, for queues with that `ring_in_use`.
    pub fn is_free(&self, agent: &Agent, ring_in_use: bool) -> bool {
        agent.is_free(self.device(agent), ring_in_use)
    }

    pub fn call(&self, id: CallId) -> Option<&Call> {
        self.calls.get(&id)
    }

    /// In order of id, that is, of arrival.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.values()
    }

    /// The call of a caller's channel.
    pub fn call_of(&self, pbx: &PbxId, channel: &ChannelId) -> Option<&Call> {
        let call = self.index.channels.get(pbx)?.get(channel)?;
        self.calls.get(call)
    }

    /// The calls whose channels live on an Asterisk, by id.
    pub fn calls_on<'a>(&'a self, pbx: &'a PbxId) -> impl Iterator<Item = &'a Call> {
        let calls = self.index.on_pbx.get(pbx).into_iter().flatten();
        calls.filter_map(|call| self.calls.get(call))
    }

    pub fn pbx(&self, id: &PbxId) -> Option<&Pbx> {
        self.pbxes.get(id)
    }

    pub fn pbxes(&self) -> impl Iterator<Item = &Pbx> {
        self.pbxes.values()
    }

    /// 1 for who is next; `None` for a call that is not in a line. Costs O(callers
    /// ahead), or behind if they are fewer.
    pub fn position(&self, call: CallId) -> Option<u32> {
        let call = self.calls.get(&call).filter(|call| call.in_line())?;
        let queue = self.queues.get(&call.queue)?;
        u32::try_from(queue.position(&Place::of(call))).ok()
    }

    /// By name, with the log index of its last write.
    pub fn template(&self, name: &str) -> Option<(&Template, u64)> {
        let stored = self.templates.get(name)?;
        Some((&stored.template, stored.revision))
    }

    /// The declared set as it stands: without the queues that calls brought into being.
    pub fn config(&self) -> Config {
        let declared = || {
            self.queues
                .values()
                .filter(|queue| queue.template.is_none())
        };
        let members = declared().flat_map(|queue| {
            let members = queue.members.iter();
            members.map(|(id, member)| (queue.name.clone(), id.clone(), member.settings.clone()))
        });
        let agents = self.agents.values();
        let templates = self.templates.iter();
        Config {
            queues: declared()
                .map(|queue| (queue.name.clone(), queue.settings.clone()))
                .collect(),
            agents: agents
                .map(|agent| (agent.id.clone(), agent.settings.clone()))
                .collect(),
            members: members.collect(),
            templates: templates
                .map(|(name, it)| (name.clone(), it.template.clone()))
                .collect(),
        }
    }

    /// Log index of the last write of any setting: the revision of the whole declared set.
    pub fn config_revision(&self) -> u64 {
        self.config_revision
    }

    /// A copy of the facts alone, without what is derived from them: for a snapshot and for the digest.
    /// Nothing can be applied to it or asked of it.
    pub fn facts(&self) -> State {
        State {
            now: self.now,
            calls_made: self.calls_made,
            config_revision: self.config_revision,
            queues: self.queues.clone(),
            agents: self.agents.clone(),
            calls: self.calls.clone(),
            waits: self.waits.clone(),
            pbxes: self.pbxes.clone(),
            templates: self.templates.clone(),
            resumes: self.resumes.clone(),
            requests: self.requests.clone(),
            index: Index::default(),
        }
    }

    /// Equal on all replicas at equal index.
    pub fn digest(&self) -> u64 {
        digest::digest(self)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.now, self.calls_made, self.config_revision).hash(hasher);
        (&self.queues, &self.agents, &self.calls, &self.waits).hash(hasher);
        (&self.pbxes, &self.templates, &self.resumes, &self.requests).hash(hasher);
    }
}
