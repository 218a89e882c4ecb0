//! What must hold of the state after every command, whatever came. Checked by tests, by the
//! simulation, and wherever somebody wants to know.
//!
//! The check computes from the facts and trusts no index. It costs the whole state each time.

use crate::agent::{Agent, Hand};
use crate::call::{Call, Phase};
use crate::id::{AgentId, CallId, PbxId, QueueName};
use crate::index::Index;
use crate::limits;
use crate::pbx::Sight;
use crate::queue::Place;
use crate::state::State;
use std::collections::BTreeSet;

/// A broken promise. The number is the property's name in documents and does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// I1: an agent who has an offer or a call in hand is part of exactly that one, and the call knows;
    /// one whose call was given up talks on an Asterisk that is known.
    HandWithoutCall { agent: AgentId },
    /// I2: every agent of an offer, and the agent of a connected call, has it in hand.
    CallWithoutHand { call: CallId, agent: AgentId },
    /// I3: a call that waits or is offered stands in the line of its queue, at its own place.
    NotInLine { call: CallId },
    /// I4: a line holds nobody else, and nobody twice.
    StrangerInLine { queue: QueueName, call: CallId },
    /// I5: an offer rings at least one agent, nobody twice, and is the call's last attempt.
    BadOffer { call: CallId },
    /// I6: an agent who is offered is logged in, not paused, and a member of the call's queue.
    OfferedWhileAway { call: CallId, agent: AgentId },
    /// I7: the queue of a call exists, whatever the call's phase.
    CallWithoutQueue { call: CallId },
    /// I8: queue and agent agree on who is a member.
    MemberMismatch { queue: QueueName, agent: AgentId },
    /// I9: two calls never have the same channel.
    ChannelTwice { call: CallId },
    /// I10: what is kept for waiting is kept for exactly those who wait.
    WaitMismatch { call: CallId },
    /// I11: indexes and deadlines are what a computation from the facts gives.
    IndexDiffers,
    /// I12: a bound of `limits` is exceeded.
    LimitExceeded { what: &'static str },
    /// I13: an Asterisk whose node is away, and no other, is given up at a time and may be taken over
    /// after a time; one that was taken over has compared before it is served.
    PbxMismatch { pbx: PbxId },
    /// I14: call numbers are counted up and never in the future.
    CallFromTheFuture { call: CallId },
    /// I15: of callers who ended their wait, as many are counted as entered and are not waiting.
    CountersDiffer { queue: QueueName },
    /// I16: a step that a caller has reached is one that the plan has and whose time has come.
    StepTooEarly { call: CallId },
}

/// All violations; empty when all is well.
pub fn check(state: &State) -> Vec<Violation> {
    let mut found = Vec::new();
    state
        .agents
        .values()
        .for_each(|agent| check_agent(state, agent, &mut found));
    let mut channels = BTreeSet::new();
    for call in state.calls.values() {
        check_call(state, call, &mut found);
        if !channels.insert((&call.pbx, &call.channel)) {
            found.push(Violation::ChannelTwice { call: call.id });
        }
    }
    check_lines(state, &mut found);
    check_pbxes(state, &mut found);
    check_limits(state, &mut found);
    if Index::of(state) != state.index {
        found.push(Violation::IndexDiffers);
    }
    found
}

fn check_agent(state: &State, agent: &Agent, found: &mut Vec<Violation>) {
    let held = match &agent.hand {
        Hand::Free => true,
        Hand::Offered { call, attempt } => state.call(*call).is_some_and(|call| {
            let offer = call.offer().filter(|offer| offer.attempt == *attempt);
            offer.is_some_and(|offer| offer.agents.iter().any(|it| it.agent == agent.id))
        }),
        Hand::InCall { call, .. } => state.call(*call).is_some_and(
            |call| matches!(&call.phase, Phase::Connected { agent: it, .. } if *it == agent.id),
        ),
        // Whoever drives that Asterisk, or its loss, ends it.
        Hand::Talking { pbx, .. } => state.pbx(pbx).is_some(),
    };
    if !held {
        found.push(Violation::HandWithoutCall {
            agent: agent.id.clone(),
        });
    }
    for name in &agent.queues {
        if !state
            .queue(name)
            .is_some_and(|queue| queue.members.contains_key(&agent.id))
        {
            let (queue, agent) = (name.clone(), agent.id.clone());
            found.push(Violation::MemberMismatch { queue, agent });
        }
    }
}

fn check_call(state: &State, call: &Call, found: &mut Vec<Violation>) {
    let id = call.id;
    let queue = state.queue(&call.queue);
    if queue.is_none() {
        found.push(Violation::CallWithoutQueue { call: id });
    }
    if call.in_line() && !queue.is_some_and(|queue| queue.line.contains(&Place::of(call))) {
        found.push(Violation::NotInLine { call: id });
    }
    if call.in_line() != state.waits.contains_key(&id) {
        found.push(Violation::WaitMismatch { call: id });
    }
    if id.0 > state.calls_made || call.joined_at > state.now {
        found.push(Violation::CallFromTheFuture { call: id });
    }
    let reached = state.waits.get(&id).map_or(0, |wait| wait.step);
    let waited_ms = state.now.saturating_sub(call.joined_at);
    if queue.is_some_and(|queue| queue.settings.steps_reached(waited_ms) < reached) {
        found.push(Violation::StepTooEarly { call: id });
    }
    match &call.phase {
        Phase::Offered(_) => check_offer(state, call, found),
        Phase::Connected { agent, .. } => {
            let hand = state.agent(agent).map(|agent| &agent.hand);
            if !matches!(hand, Some(Hand::InCall { call, .. }) if *call == id) {
                found.push(Violation::CallWithoutHand {
                    call: id,
                    agent: agent.clone(),
                });
            }
        }
        Phase::Waiting { .. } | Phase::Leaving { .. } => {}
    }
}

fn check_offer(state: &State, call: &Call, found: &mut Vec<Violation>) {
    let Some(offer) = call.offer() else { return };
    let id = call.id;
    let agents: BTreeSet<&AgentId> = offer.agents.iter().map(|it| &it.agent).collect();
    if agents.is_empty() || agents.len() != offer.agents.len() || offer.attempt != call.attempts {
        found.push(Violation::BadOffer { call: id });
    }
    for name in agents {
        let agent = state.agent(name);
        let wanted = Hand::Offered {
            call: id,
            attempt: offer.attempt,
        };
        if agent.is_none_or(|agent| agent.hand != wanted) {
            found.push(Violation::CallWithoutHand {
                call: id,
                agent: name.clone(),
            });
        }
        let member = state
            .queue(&call.queue)
            .and_then(|queue| queue.members.get(name));
        let here = agent.is_some_and(|agent| agent.login_at.is_some() && agent.pause.is_none());
        if !here || member.is_none_or(|member| member.pause.is_some()) {
            found.push(Violation::OfferedWhileAway {
                call: id,
                agent: name.clone(),
            });
        }
    }
}

fn check_lines(state: &State, found: &mut Vec<Violation>) {
    for queue in state.queues.values() {
        for place in &queue.line {
            let call = state.call(place.call);
            let own = call.is_some_and(|call| {
                call.queue == queue.name && call.in_line() && Place::of(call) == *place
            });
            if !own {
                let (queue, call) = (queue.name.clone(), place.call);
                found.push(Violation::StrangerInLine { queue, call });
            }
        }
        for agent in queue.members.keys() {
            if !state
                .agent(agent)
                .is_some_and(|agent| agent.queues.contains(&queue.name))
            {
                let (queue, agent) = (queue.name.clone(), agent.clone());
                found.push(Violation::MemberMismatch { queue, agent });
            }
        }
        let it = &queue.counters;
        let ended = it.answered + it.abandoned + it.timeout + it.key + it.empty + it.withdrawn;
        let ended = ended + it.lost + it.no_quorum + it.moved_out;
        if it.entered != ended + queue.line.len() as u64 {
            found.push(Violation::CountersDiffer {
                queue: queue.name.clone(),
            });
        }
    }
}

fn check_pbxes(state: &State, found: &mut Vec<Violation>) {
    for pbx in state.pbxes.values() {
        let (given_up, taken) = (pbx.lost_at.is_some(), pbx.away_at.is_some());
        let fits = match pbx.sight {
            Sight::Up => !given_up && !taken,
            Sight::NodeAway => given_up && taken,
            Sight::Taken => taken && pbx.node != pbx.home,
            Sight::Down => taken || !given_up,
        };
        if !fits {
            found.push(Violation::PbxMismatch {
                pbx: pbx.id.clone(),
            });
        }
    }
}

fn check_limits(state: &State, found: &mut Vec<Violation>) {
    let members = state.queues.values().map(|queue| queue.members.len()).max();
    let queues = state.agents.values().map(|agent| agent.queues.len()).max();
    let offers = state.calls.values().filter_map(|call| call.offer());
    let offered = offers.map(|offer| offer.agents.len()).max();
    for (what, len, max) in [
        ("queues", state.queues.len(), limits::QUEUES_MAX),
        ("agents", state.agents.len(), limits::AGENTS_MAX),
        ("calls", state.calls.len(), limits::CALLS_MAX),
        ("pbxes", state.pbxes.len(), limits::PBXES_MAX),
        ("templates", state.templates.len(), limits::TEMPLATES_MAX),
        ("resumes", state.resumes.len(), limits::RESUMES_MAX),
        ("requests", state.requests.len(), limits::REQUESTS_MAX),
        (
            "members of a queue",
            members.unwrap_or(0),
            limits::MEMBERS_MAX,
        ),
        (
            "queues of an agent",
            queues.unwrap_or(0),
            limits::QUEUES_PER_AGENT_MAX,
        ),
        (
            "agents of an offer",
            offered.unwrap_or(0),
            limits::OFFER_AGENTS_MAX,
        ),
    ] {
        if len > max {
            found.push(Violation::LimitExceeded { what });
        }
    }
}
