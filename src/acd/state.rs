//! The replicated state and what may be asked of it. Only `apply` changes it.

use crate::agent::Agent;
use crate::call::Call;
use crate::command::{Command, Config, Stamp};
use crate::event::Event;
use crate::id::{AgentId, CallId, ChannelId, Millis, PbxId, QueueName};
use crate::pbx::Pbx;
use crate::queue::Queue;
use crate::reply::Reply;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    now: Millis,
    queues: BTreeMap<QueueName, Queue>,
    agents: BTreeMap<AgentId, Agent>,
    calls: BTreeMap<CallId, Call>,
    pbxes: BTreeMap<PbxId, Pbx>,
}

impl State {
    /// Applies one command. Pure: no clock, no randomness, no IO. Never panics, whatever comes.
    /// What happened is appended to `events`.
    pub fn apply(&mut self, _stamp: Stamp, _command: &Command, _events: &mut Vec<Event>) -> Reply {
        Ok(crate::reply::Done::Ok)
    }

    /// The cluster clock of the last command applied.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// When the next deadline is due.
    pub fn next_deadline(&self) -> Option<Millis> {
        None
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

    pub fn call(&self, id: CallId) -> Option<&Call> {
        self.calls.get(&id)
    }

    /// In order of id, that is, of arrival.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.values()
    }

    /// The call of a caller's channel.
    pub fn call_of(&self, _pbx: &PbxId, _channel: &ChannelId) -> Option<&Call> {
        None
    }

    /// The calls whose channels live on an Asterisk, by id.
    pub fn calls_on<'a>(&'a self, pbx: &'a PbxId) -> impl Iterator<Item = &'a Call> {
        self.calls.values().filter(move |call| call.pbx == *pbx)
    }

    pub fn pbx(&self, id: &PbxId) -> Option<&Pbx> {
        self.pbxes.get(id)
    }

    pub fn pbxes(&self) -> impl Iterator<Item = &Pbx> {
        self.pbxes.values()
    }

    /// 1 for who is next; `None` for a call that is not in a line. Costs O(callers ahead).
    pub fn position(&self, _call: CallId) -> Option<u32> {
        None
    }

    /// The declared set as it stands.
    pub fn config(&self) -> Config {
        Config::default()
    }

    /// Equal on all replicas at equal index.
    pub fn digest(&self) -> u64 {
        0
    }
}

/// The decisions that can be made now: an `OfferMake` for each call that can be offered to free
/// agents, in the order in which they should be written. Pure; `random(n)` gives a number below `n`
/// for strategy `random`, so the choice is the leader's and is written in the decision.
/// At most `max` decisions, so that one pass is bounded.
pub fn distribute(
    _state: &State,
    _max: usize,
    _random: &mut dyn FnMut(u64) -> u64,
) -> Vec<Command> {
    Vec::new()
}
