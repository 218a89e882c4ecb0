//! From the replicated state to what the endpoints answer. Reads only; decides nothing.

use crate::api::{AgentView, CallView, EventView, MemberView, PauseView, QueueView};
use crate::auth::Role;
use crate::settings::{AgentDoc, MemberDoc, QueueDoc};
use holdfast_acd::agent::{Agent, Availability, Hand, Pause};
use holdfast_acd::call::{Call, Phase};
use holdfast_acd::queue::{Counters, Queue};
use holdfast_acd::{Event, Millis, State};
use holdfast_raft::Record;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A moment at which the state is looked at, by whom.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Cluster clock.
    pub now: Millis,
    pub role: Role,
}

impl Look {
    fn ago(self, then: Millis) -> u64 {
        self.now.saturating_sub(then)
    }

    /// A number as this role may see it.
    pub fn number(self, number: &str) -> String {
        if self.role > Role::Viewer {
            number.to_owned()
        } else {
            masked(number)
        }
    }
}

/// All but the last two digits or letters are hidden.
pub fn masked(number: &str) -> String {
    let hidden = number.chars().count().saturating_sub(2);
    number
        .chars()
        .enumerate()
        .map(|(n, c)| if n < hidden { '*' } else { c })
        .collect()
}

/// RFC 3339; empty for a moment that no calendar has.
pub fn wall(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(String::new, |at| format!("{at:.3}"))
}

/// The word that serde gives a variant.
pub fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

pub fn queue(state: &State, queue: &Queue, look: Look, with_settings: bool) -> QueueView {
    let mut agents = BTreeMap::new();
    for member in queue.members.keys() {
        let known = state.agent(member);
        let state = known
            .map(|agent| word(&state.availability(agent, look.now, queue.settings.ring_in_use)));
        *agents.entry(state.unwrap_or_default()).or_default() += 1;
    }
    let joined = queue.line.iter().filter_map(|place| state.call(place.call));
    QueueView {
        name: queue.name.to_string(),
        revision: queue.revision,
        template: queue.template.clone(),
        open: queue.settings.open,
        strategy: word(&queue.settings.strategy),
        waiting: queue.line.len(),
        oldest_wait_ms: joined
            .map(|call| look.ago(call.joined_at))
            .max()
            .unwrap_or(0),
        agents,
        counters: counters(&queue.counters),
        settings: with_settings.then(|| QueueDoc::of(&queue.settings)),
    }
}

/// By their names in the state.
pub fn counters(counters: &Counters) -> BTreeMap<String, u64> {
    let Ok(Value::Object(map)) = serde_json::to_value(counters) else {
        return BTreeMap::new();
    };
    map.into_iter()
        .filter_map(|(name, value)| Some((name, value.as_u64()?)))
        .collect()
}

fn pause(pause: &Pause, look: Look) -> PauseView {
    PauseView {
        reason: pause.reason.clone(),
        since: wall(pause.wall_ms),
        for_ms: look.ago(pause.at),
    }
}

pub fn members(state: &State, queue: &Queue, look: Look) -> Vec<MemberView> {
    let member = |(id, member): (&holdfast_acd::AgentId, &holdfast_acd::agent::Member)| {
        let agent = state.agent(id);
        let paused_here = member.pause.is_some();
        let available =
            agent.map(|agent| state.availability(agent, look.now, queue.settings.ring_in_use));
        let state = match available {
            Some(Availability::Available) if paused_here => word(&Availability::Paused),
            Some(availability) => word(&availability),
            None => String::new(),
        };
        MemberView {
            queue: queue.name.to_string(),
            agent: id.to_string(),
            name: agent.map_or_else(String::new, |agent| agent.settings.name.clone()),
            revision: member.revision,
            settings: MemberDoc::of(&member.settings),
            state,
            calls_taken: member.calls_taken,
            last_call_ms_ago: member.last_call_at.map(|at| look.ago(at)),
            pause: member.pause.as_ref().map(|p| pause(p, look)),
        }
    };
    queue.members.iter().map(member).collect()
}

pub fn agent(state: &State, agent: &Agent, look: Look) -> AgentView {
    AgentView {
        id: agent.id.to_string(),
        revision: agent.revision,
        state: word(&state.availability(agent, look.now, false)),
        settings: AgentDoc::of(&agent.settings),
        queues: agent.queues.iter().map(ToString::to_string).collect(),
        logged_in_ms: agent.login_at.map(|at| look.ago(at)),
        pause: agent.pause.as_ref().map(|p| pause(p, look)),
        call: match agent.hand {
            Hand::Free | Hand::Talking { .. } => None,
            Hand::Offered { call, .. } | Hand::InCall { call, .. } => Some(call.0),
        },
        wrap_up_left_ms: agent
            .wrap_up_until
            .and_then(|until| until.checked_sub(look.now))
            .filter(|left| *left > 0),
        calls_taken: agent.calls_taken,
        last_call_ms_ago: agent.last_call_at.map(|at| look.ago(at)),
        devices: agent
            .devices
            .iter()
            .map(|(pbx, d)| (pbx.to_string(), word(d)))
            .collect(),
    }
}

/// `position` is not worked out where the caller knows it already.
pub fn call(state: &State, call: &Call, position: Option<u32>, look: Look) -> CallView {
    let (phase, agents, outcome) = match &call.phase {
        Phase::Waiting { away: false } => ("waiting", Vec::new(), None),
        Phase::Waiting { away: true } => ("in_dialplan", Vec::new(), None),
        Phase::Offered(offer) => (
            "offered",
            offer.agents.iter().map(|a| a.agent.to_string()).collect(),
            None,
        ),
        Phase::Connected { agent, .. } => ("connected", vec![agent.to_string()], None),
        Phase::Leaving { outcome, .. } => ("leaving", Vec::new(), Some(outcome.word().to_owned())),
    };
    let position = match position {
        None if call.in_line() => state.position(call.id),
        known => known,
    };
    CallView {
        id: call.id.0,
        queue: call.queue.to_string(),
        pbx: call.pbx.to_string(),
        channel: call.channel.to_string(),
        number: look.number(&call.number),
        name: if look.role > Role::Viewer {
            call.name.clone()
        } else {
            String::new()
        },
        priority: call.priority,
        position,
        joined_position: call.joined_position,
        joined: wall(call.joined_wall_ms),
        age_ms: look.ago(call.joined_at),
        phase: phase.to_owned(),
        agents,
        attempts: call.attempts.0,
        timeout_in_ms: call.timeout_at.map(|at| at.saturating_sub(look.now)),
        outcome,
    }
}

/// An event as the journal has it; its own fields beside cursor, time and type.
pub fn event(record: &Record<Event>, look: Look) -> EventView {
    let (kind, mut fields) = match serde_json::to_value(&record.event) {
        Ok(Value::Object(map)) => match map.into_iter().next() {
            Some((kind, Value::Object(fields))) => (kind, fields),
            _ => (String::new(), Map::new()),
        },
        Ok(Value::String(kind)) => (kind, Map::new()),
        _ => (String::new(), Map::new()),
    };
    if let Some(Value::String(number)) = fields.get_mut("number") {
        *number = look.number(number);
    }
    EventView {
        id: format!("{}-{}", record.index, record.seq),
        at: wall(record.wall_ms),
        cluster_ms: record.at_ms,
        kind,
        fields,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_acd::{CallId, QueueName};

    #[test]
    fn a_viewer_sees_the_last_two_digits_of_a_number() {
        assert_eq!(masked("+4930123456"), "*********56");
        assert_eq!(masked("7"), "7");
        assert_eq!(masked(""), "");
        let queue = QueueName::new("q").unwrap();
        let event = Event::CallJoined {
            call: CallId(1),
            queue,
            pbx: holdfast_acd::PbxId::new("a").unwrap(),
            channel: holdfast_acd::ChannelId::new("1.2").unwrap(),
            number: "4930123456".into(),
            position: 1,
            resumed: false,
        };
        let record = Record {
            index: 7,
            seq: 2,
            at_ms: 5,
            wall_ms: 1_700_000_000_123,
            event,
        };
        let shown = |role| super::event(&record, Look { now: 9, role });
        assert_eq!(shown(Role::Viewer).fields["number"], "********56");
        assert_eq!(shown(Role::Agent).fields["number"], "4930123456");
        let view = shown(Role::Admin);
        assert_eq!(
            (view.id.as_str(), view.kind.as_str()),
            ("7-2", "call_joined")
        );
        assert_eq!(view.cluster_ms, 5);
        assert_eq!(view.at, "2023-11-14T22:13:20.123Z");
    }
}
