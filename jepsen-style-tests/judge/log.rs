//! The log as its events tell of it, merged from all nodes, and the line that they add up to.
//!
//! [`Fold`] is a second, naive opinion of what the core does: a list per queue and a hand per agent.
//! It trusts no index and no counter of the core, and takes nothing from it but the events.

use super::history::Channel;
use super::story::{Story, When};
use holdfast_acd::call::Outcome;
use holdfast_acd::command::DeviceState;
use holdfast_acd::event::PassOver;
use holdfast_acd::{CallId, Event};
use std::collections::{BTreeMap, BTreeSet};

/// Log index, and place among the events of that entry.
pub type At = (u64, u32);

#[derive(Clone, Debug)]
pub struct LogEvent {
    pub at: At,
    pub cluster_ms: u64,
    /// When the first node was heard to tell of it.
    pub when: When,
    pub event: Event,
}

/// All events in the order of the log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    heard: BTreeMap<At, (String, LogEvent)>,
    pub events: Vec<LogEvent>,
    /// Two nodes told different things of one place of the log.
    pub conflicts: Vec<(At, When, String)>,
    /// Places that more than one node told of.
    pub compared: u64,
    by_channel: BTreeMap<Channel, Vec<u64>>,
}

impl Log {
    pub(super) fn hear(&mut self, when: When, node: &str, at: At, cluster_ms: u64, event: &Event) {
        match self.heard.get(&at) {
            None => {
                let told = LogEvent {
                    at,
                    cluster_ms,
                    when,
                    event: event.clone(),
                };
                self.heard.insert(at, (node.to_owned(), told));
            }
            Some((first, told)) => {
                self.compared += u64::from(first != node);
                if told.event != *event || told.cluster_ms != cluster_ms {
                    let what = format!("{first}: {:?}, {node}: {event:?}", told.event);
                    self.conflicts.push((at, when, what));
                }
            }
        }
    }

    pub(super) fn close(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        self.events = heard.into_values().map(|(_, event)| event).collect();
        for told in &self.events {
            if let Event::CallJoined {
                call, pbx, channel, ..
            } = &told.event
            {
                let id = Channel {
                    pbx: pbx.to_string(),
                    channel: channel.to_string(),
                };
                self.by_channel.entry(id).or_default().push(call.0);
            }
        }
    }

    /// The last attempt that a call was offered in up to some place of the log.
    pub fn attempt_of(&self, call: u64, at: At) -> u32 {
        let upto = self.events.partition_point(|told| told.at <= at);
        let attempts = self.events[..upto].iter().rev();
        let mut attempts = attempts.filter_map(|told| match &told.event {
            Event::OfferMade {
                call: it, attempt, ..
            } if it.0 == call => Some(attempt.0),
            _ => None,
        });
        attempts.next().unwrap_or(0)
    }

    /// The calls that a channel was, oldest first: more than one if it was given up as lost and
    /// lived after all.
    pub fn calls_of(&self, id: &Channel) -> &[u64] {
        self.by_channel.get(id).map_or(&[], Vec::as_slice)
    }
}

/// One call as the events tell of it.
#[derive(Clone, Debug)]
pub struct Call {
    pub queue: String,
    pub pbx: String,
    pub id: Channel,
    pub number: String,
    pub priority: i32,
    pub order: u64,
    pub joined_ms: u64,
    pub joined_at: When,
    /// The offer that rings, and who of it may still answer.
    pub offer: Option<(u32, BTreeSet<String>)>,
    /// Whoever was granted.
    pub connected: Option<String>,
    /// The last reason for being passed over, of the present attempt.
    pub passed: Option<PassOver>,
    /// By the cluster clock: since when he is in the line and nobody is rung for him.
    pub waiting_ms: u64,
    /// Since when his Asterisk is in sight, or he is in the line.
    pub in_sight_ms: u64,
    /// When he was put into the line last: by joining, or back from a grant that came to nothing.
    pub lined_up_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Up,
    NodeAway,
    Down,
}

/// The state that events up to some place add up to.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    pub calls: BTreeMap<u64, Call>,
    pub lines: BTreeMap<String, Vec<u64>>,
    /// Agent to the call and attempt in hand; attempt 0 once it is a call.
    pub hands: BTreeMap<String, (u64, u32)>,
    /// Paused everywhere: `None`; in one queue: its name.
    pub pauses: BTreeSet<(String, Option<String>)>,
    /// Queue and agent, of those who were made members or were rung as such.
    pub members: BTreeSet<(String, String)>,
    /// Agents who are logged out or deleted.
    pub out: BTreeSet<String>,
    /// What each Asterisk said last of an agent's phone.
    pub devices: BTreeMap<String, BTreeMap<String, DeviceState>>,
    pbxes: BTreeMap<String, (String, Sight)>,
    /// Places kept for callers of dead Asterisks, by queue and number.
    kept: BTreeMap<(String, String), u64>,
}

impl Fold {
    /// Before all events. Nodes that were started drive their Asterisks until the log says otherwise,
    /// for a source may have begun to listen only after it said so.
    pub fn of(story: &Story) -> Fold {
        let driven = |(pbx, node): (&String, &String)| (pbx.clone(), (node.clone(), Sight::Up));
        Fold {
            pbxes: story.drivers.iter().map(driven).collect(),
            ..Fold::default()
        }
    }

    /// From 1, in the line of the call's queue.
    pub fn position(&self, call: u64) -> Option<u32> {
        let line = self.lines.get(&self.calls.get(&call)?.queue)?;
        let place = line.iter().position(|it| *it == call)?;
        Some(place as u32 + 1)
    }

    pub fn in_sight(&self, pbx: &str) -> bool {
        self.pbxes
            .get(pbx)
            .is_some_and(|(_, sight)| *sight == Sight::Up)
    }

    /// `priority` is what the caller's channel asked for; events do not tell it.
    pub fn apply(&mut self, told: &LogEvent, priority: i32) {
        let now = told.cluster_ms;
        match &told.event {
            Event::CallJoined {
                call,
                queue,
                pbx,
                channel,
                number,
                position,
                resumed,
            } => {
                let (queue, number) = (queue.to_string(), number.clone());
                let kept = self.kept.remove(&(queue.clone(), number.clone()));
                let order = if *resumed {
                    kept.unwrap_or_else(|| self.order_at(&queue, *position))
                } else {
                    call.0
                };
                let id = Channel {
                    pbx: pbx.to_string(),
                    channel: channel.to_string(),
                };
                let new = Call {
                    queue,
                    pbx: pbx.to_string(),
                    id,
                    number,
                    priority,
                    order,
                    joined_ms: now,
                    joined_at: told.when,
                    offer: None,
                    connected: None,
                    passed: None,
                    waiting_ms: now,
                    in_sight_ms: now,
                    lined_up_ms: now,
                };
                self.calls.insert(call.0, new);
                self.line_up(call.0);
            }
            Event::OfferMade {
                call,
                queue,
                attempt,
                agents,
                ..
            } => {
                let agents: BTreeSet<String> = agents.iter().map(ToString::to_string).collect();
                for agent in &agents {
                    self.members.insert((queue.to_string(), agent.clone()));
                    self.hands.insert(agent.clone(), (call.0, attempt.0));
                }
                if let Some(it) = self.calls.get_mut(&call.0) {
                    it.offer = Some((attempt.0, agents));
                    it.passed = None;
                }
            }
            Event::OfferFailed { call, agent, .. } => {
                self.let_go(*call, agent.as_str());
                if let Some(it) = self.calls.get_mut(&call.0)
                    && let Some((_, agents)) = &mut it.offer
                {
                    agents.remove(agent.as_str());
                    if agents.is_empty() {
                        it.offer = None;
                        it.waiting_ms = now;
                    }
                }
            }
            Event::CallConnected { call, agent, .. } => {
                self.leave_line(call.0);
                self.hands.insert(agent.to_string(), (call.0, 0));
                if let Some(it) = self.calls.get_mut(&call.0) {
                    it.offer = None;
                    it.connected = Some(agent.to_string());
                }
            }
            Event::CallReturned { call } => {
                let in_line = self.position(call.0).is_some();
                if let Some(it) = self.calls.get_mut(&call.0) {
                    it.connected = None;
                    it.waiting_ms = now;
                    it.in_sight_ms = now;
                    if !in_line {
                        it.passed = None;
                        it.lined_up_ms = now;
                        self.line_up(call.0);
                    }
                }
            }
            Event::CallLeft { call, outcome, .. } => {
                self.leave_line(call.0);
                let agent = self.calls.get(&call.0).and_then(|it| it.connected.clone());
                if let Some(agent) = agent {
                    self.let_go(*call, &agent);
                }
                if let Some(it) = self.calls.get(&call.0)
                    && *outcome == Outcome::Lost
                {
                    let key = (it.queue.clone(), it.number.clone());
                    self.kept.entry(key).or_insert(it.order);
                }
            }
            Event::CallMoved { call, to, .. } => {
                self.leave_line(call.0);
                if let Some(it) = self.calls.get_mut(&call.0) {
                    it.queue = to.to_string();
                    self.line_up(call.0);
                }
            }
            Event::CallPriority { call, priority } => {
                self.leave_line(call.0);
                if let Some(it) = self.calls.get_mut(&call.0) {
                    it.priority = *priority;
                    self.line_up(call.0);
                }
            }
            Event::CallPassedOver { call, reason, .. } => {
                if let Some(it) = self.calls.get_mut(&call.0) {
                    it.passed = Some(*reason);
                }
            }
            Event::AgentPaused { agent, queue, .. } => {
                let queue = queue.as_ref().map(ToString::to_string);
                self.pauses.insert((agent.to_string(), queue));
            }
            Event::AgentUnpaused { agent, queue } => {
                let queue = queue.as_ref().map(ToString::to_string);
                let ends = |of: &(String, Option<String>)| {
                    of.0 == agent.as_str() && (queue.is_none() || of.1 == queue)
                };
                self.pauses.retain(|of| !ends(of));
            }
            Event::AgentLogout { agent } | Event::AgentDeleted { agent } => {
                self.pauses.retain(|of| of.0 != agent.as_str());
                self.out.insert(agent.to_string());
            }
            Event::AgentLogin { agent } => {
                self.out.remove(agent.as_str());
            }
            Event::MemberChanged { queue, agent } => {
                self.members.insert((queue.to_string(), agent.to_string()));
            }
            Event::MemberDeleted { queue, agent } => {
                self.members.remove(&(queue.to_string(), agent.to_string()));
            }
            Event::AgentDevice { agent, pbx, state } => {
                let said = self.devices.entry(agent.to_string()).or_default();
                said.insert(pbx.to_string(), *state);
            }
            Event::PbxUp { pbx, node, .. } => {
                let new = (node.to_string(), Sight::Up);
                self.pbxes.insert(pbx.to_string(), new);
                self.seen_again(pbx.as_str(), now);
            }
            // Whoever was given it has to compare first.
            Event::PbxClaimed { pbx, node, .. } => {
                let new = (node.to_string(), Sight::Down);
                self.pbxes.insert(pbx.to_string(), new);
            }
            // Who was given up has to compare, too: that his node answers is not enough.
            Event::PbxDown { pbx, .. } | Event::NodeLost { pbx, .. } => {
                if let Some(it) = self.pbxes.get_mut(pbx.as_str()) {
                    it.1 = Sight::Down;
                }
            }
            Event::NodeAway { node } => self.change(node.as_str(), Sight::Up, Sight::NodeAway, now),
            Event::NodeBack { node } => self.change(node.as_str(), Sight::NodeAway, Sight::Up, now),
            _ => {}
        }
    }

    fn change(&mut self, node: &str, from: Sight, to: Sight, now: u64) {
        let mut changed = Vec::new();
        for (pbx, (driver, sight)) in &mut self.pbxes {
            if driver == node && *sight == from {
                *sight = to;
                changed.push(pbx.clone());
            }
        }
        if to == Sight::Up {
            changed.iter().for_each(|pbx| self.seen_again(pbx, now));
        }
    }

    fn seen_again(&mut self, pbx: &str, now: u64) {
        for call in self.calls.values_mut().filter(|call| call.pbx == pbx) {
            call.in_sight_ms = now;
        }
    }

    fn let_go(&mut self, call: CallId, agent: &str) {
        if self.hands.get(agent).is_some_and(|hand| hand.0 == call.0) {
            self.hands.remove(agent);
        }
    }

    fn leave_line(&mut self, call: u64) {
        if let Some(line) = self
            .calls
            .get(&call)
            .and_then(|it| self.lines.get_mut(&it.queue))
        {
            line.retain(|other| *other != call);
        }
    }

    fn line_up(&mut self, call: u64) {
        let Some(it) = self.calls.get(&call) else {
            return;
        };
        let key = |id: &u64| {
            let other = self.calls.get(id);
            other.map(|other| (std::cmp::Reverse(other.priority), other.order, *id))
        };
        let line = self.lines.entry(it.queue.clone()).or_default();
        let place = line.partition_point(|other| key(other) < key(&call));
        line.insert(place, call);
    }

    /// The place of the caller who stands where this one comes in.
    fn order_at(&self, queue: &str, position: u32) -> u64 {
        let line = self.lines.get(queue);
        let next = line.and_then(|line| line.get(position.saturating_sub(1) as usize));
        next.and_then(|call| self.calls.get(call))
            .map_or(u64::MAX, |call| call.order.saturating_sub(1))
    }
}
