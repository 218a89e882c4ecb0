//! What the replica wants for one call, cut down to what its actor must do. Pure.
//!
//! Read anew each time; nothing of it is remembered. How to get there from what Asterisk has is in
//! `plan.rs`.

use crate::config::{AsteriskSection, CallerIdPass};
use holdfast_acd::agent::Agent;
use holdfast_acd::call::{Announcement, Call, Offer, Outcome, Phase};
use holdfast_acd::command::{DeviceState, EndedBy};
use holdfast_acd::queue::Queue;
use holdfast_acd::settings::{Connect, Exit};
use holdfast_acd::{AgentId, Attempt, CallId, PbxId, State};
use holdfast_ari::{CallerId, Endpoint, EndpointRules};

/// What should be the case for a caller's channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Want {
    /// The state does not know the call (any more).
    Nothing,
    /// Music, and announcements as they come due.
    Wait {
        music: String,
        announcement: Option<Announcement>,
        exit_keys: Vec<String>,
    },
    /// These agents' legs ring; the caller goes on waiting.
    Ring {
        music: String,
        exit_keys: Vec<String>,
        attempt: Attempt,
        ring_s: u32,
        legs: Vec<WantLeg>,
        shown: CallerId,
    },
    /// The dialplan rings these agents.
    Dial {
        attempt: Attempt,
        ring_s: u32,
        legs: Vec<WantLeg>,
    },
    /// In the dialplan with an offer that took too long; waits for the return.
    Away,
    /// Bridged with this agent's leg.
    Talk { attempt: Attempt, agent: AgentId },
    /// The state does not know the call (any more), or cannot be asked; but the caller was found
    /// talking, and is let go so when that is over.
    TalkOn {
        leave: Leave,
        /// The agent is to be held for it, and nothing of ours is in the agent's way.
        hold: bool,
    },
    /// The dialplan has connected them.
    TalkInDialplan { attempt: Attempt, agent: AgentId },
    /// Out of our hands, with these results.
    Leave(Leave),
}

/// One agent to ring.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WantLeg {
    pub agent: AgentId,
    /// `None`: the settings give no endpoint that this node allows.
    pub endpoint: Option<Endpoint>,
    /// The state knows already that it rings.
    pub ringing: bool,
}

/// How a caller is let go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leave {
    pub status: Option<String>,
    pub prompts: Vec<String>,
    pub then: Then,
    /// Values of result variables, by their fixed names.
    pub results: Vec<(&'static str, String)>,
}

/// What becomes of the channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Then {
    Continue(Exit),
    HangUp,
    /// It is not ours any more, or has to join again.
    LetBe,
}

/// What a node knows by its own settings and needs to compose endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub pbx: PbxId,
    pub rules: EndpointRules,
    pub agent_endpoint: String,
    pub remote_endpoint: String,
    pub caller_id: CallerIdPass,
}

impl Local {
    /// Settings that `validate` accepted.
    pub fn new(pbx: PbxId, asterisk: &AsteriskSection) -> Local {
        let technologies: Vec<&str> = asterisk
            .allowed_technologies
            .iter()
            .map(String::as_str)
            .collect();
        Local {
            pbx,
            rules: EndpointRules::with_technologies(&technologies).unwrap_or_default(),
            agent_endpoint: asterisk.agent_endpoint.clone(),
            remote_endpoint: asterisk.remote_endpoint.clone(),
            caller_id: asterisk.caller_id,
        }
    }
}

/// What the state wants of a call. Announcements up to number `played` are over.
pub(crate) fn want(state: &State, local: &Local, call: CallId, played: u32) -> Want {
    let Some(call) = state.call(call) else {
        return Want::Nothing;
    };
    let queue = state.queue(&call.queue);
    let keys = || {
        queue
            .map(|queue| queue.settings.exit_keys.clone())
            .unwrap_or_default()
    };
    match &call.phase {
        Phase::Waiting { away: true } => Want::Away,
        Phase::Waiting { away: false } => Want::Wait {
            music: call.music_class.clone(),
            announcement: state
                .announcement_now(call.id)
                .filter(|it| it.number > played),
            exit_keys: keys(),
        },
        Phase::Offered(offer) => match offer.connect {
            Connect::Ari => Want::Ring {
                music: call.music_class.clone(),
                exit_keys: keys(),
                attempt: offer.attempt,
                ring_s: seconds(offer.ring_time_ms),
                legs: legs(state, local, offer),
                shown: shown(local.caller_id, call),
            },
            Connect::Dialplan => Want::Dial {
                attempt: offer.attempt,
                ring_s: seconds(offer.ring_time_ms),
                legs: legs(state, local, offer),
            },
        },
        Phase::Connected {
            attempt,
            agent,
            connect: Connect::Ari,
            ..
        } => Want::Talk {
            attempt: *attempt,
            agent: agent.clone(),
        },
        Phase::Connected {
            attempt,
            agent,
            connect: Connect::Dialplan,
            ..
        } => Want::TalkInDialplan {
            attempt: *attempt,
            agent: agent.clone(),
        },
        Phase::Leaving { outcome, at } => Want::Leave(leave(state, queue, call, outcome, *at)),
    }
}

/// How a caller goes who was refused, or for whom there is no quorum.
pub(crate) fn leave_unserved(queue: Option<&Queue>, status: &str) -> Leave {
    Leave {
        status: Some(status.into()),
        prompts: Vec::new(),
        then: Then::Continue(
            queue
                .map(|q| q.settings.fallback.clone())
                .unwrap_or_default(),
        ),
        results: Vec::new(),
    }
}

/// How a caller goes whose agent has hung up: as `leave` does it for a call that is known.
pub(crate) fn leave_after_talk(queue: Option<&Queue>) -> Leave {
    let go_on = queue.is_some_and(|queue| queue.settings.continue_after_agent);
    Leave {
        status: Some("CONTINUE".into()),
        prompts: Vec::new(),
        then: if go_on {
            Then::Continue(Exit::default())
        } else {
            Then::HangUp
        },
        results: Vec::new(),
    }
}

fn leave(state: &State, queue: Option<&Queue>, call: &Call, outcome: &Outcome, at: u64) -> Leave {
    let fallback = || {
        queue
            .map(|q| q.settings.fallback.clone())
            .unwrap_or_default()
    };
    let then = match outcome {
        Outcome::Answered {
            by: EndedBy::Agent, ..
        } if queue.is_some_and(|queue| queue.settings.continue_after_agent) => {
            Then::Continue(Exit::default())
        }
        Outcome::Answered { .. } => Then::HangUp,
        Outcome::Key(key) => {
            Then::Continue(match queue.and_then(|q| q.settings.exit_context.clone()) {
                Some(context) => Exit {
                    context: Some(context),
                    exten: Some(key.clone()),
                    priority: Some(1),
                },
                None => fallback(),
            })
        }
        Outcome::Timeout | Outcome::Empty | Outcome::Withdrawn { .. } | Outcome::NoQuorum => {
            Then::Continue(fallback())
        }
        Outcome::Abandoned | Outcome::Lost => Then::LetBe,
    };
    let prompts = match (outcome, queue) {
        (Outcome::Timeout, Some(queue)) => queue.settings.announce.prompts.timeout.clone(),
        _ => Vec::new(),
    };
    let talked_ms = match outcome {
        Outcome::Answered { talked_ms, .. } => *talked_ms,
        _ => 0,
    };
    let waited_ms = at.saturating_sub(call.joined_at).saturating_sub(talked_ms);
    let mut results = vec![
        ("QUEUEWAIT", (waited_ms / 1000).to_string()),
        ("QUEUEORIGINALPOS", call.joined_position.to_string()),
    ];
    let mut userfield = format!("queue={};wait={}", call.queue, waited_ms / 1000);
    match outcome {
        Outcome::Answered { agent, .. } => {
            userfield.push_str(&format!(";agent={agent}"));
            let name = state.agent(agent).map(|agent| agent.settings.name.clone());
            results.push((
                "MEMBERNAME",
                name.filter(|n| !n.is_empty()).unwrap_or(agent.to_string()),
            ));
        }
        Outcome::Withdrawn { info } => results.push(("QUEUE_WITHDRAW_INFO", info.clone())),
        _ => {}
    }
    results.push(("CDR(userfield)", userfield));
    Leave {
        status: outcome.queue_status().map(Into::into),
        prompts,
        then,
        results,
    }
}

fn legs(state: &State, local: &Local, offer: &Offer) -> Vec<WantLeg> {
    let leg = |offered: &holdfast_acd::call::OfferedAgent| WantLeg {
        agent: offered.agent.clone(),
        endpoint: state
            .agent(&offered.agent)
            .and_then(|agent| endpoint(local, agent)),
        ringing: offered.ringing_since.is_some(),
    };
    #[cfg(feature = "planted")]
    if crate::planted::is("double-reserve")
        && let (Some(first), Some(offered)) = (state.agents().next(), offer.agents.first())
    {
        let mut offered = offered.clone();
        offered.agent = first.id.clone();
        return vec![leg(&offered)];
    }
    offer.agents.iter().map(leg).collect()
}

/// The endpoint at which this Asterisk reaches an agent: its own, or the trunk to the agent's home.
pub(crate) fn endpoint(local: &Local, agent: &Agent) -> Option<Endpoint> {
    let settings = &agent.settings;
    let reachable = |pbx: &PbxId| {
        !matches!(
            agent.devices.get(pbx),
            Some(DeviceState::Unavailable | DeviceState::Invalid)
        )
    };
    let here = settings.home.is_empty() || settings.home.contains(&local.pbx);
    let elsewhere = if settings.home.is_empty() {
        agent
            .devices
            .keys()
            .find(|pbx| **pbx != local.pbx && reachable(pbx))
    } else {
        let mut homes = settings.home.iter().filter(|pbx| **pbx != local.pbx);
        let first = homes.clone().next();
        homes.find(|pbx| reachable(pbx)).or(first)
    };
    let own = settings
        .endpoint
        .as_deref()
        .unwrap_or(&local.agent_endpoint);
    let fill = |template: &str, name: &str, pbx: &PbxId| {
        let text = template
            .replace("{agent}", name)
            .replace("{pbx}", pbx.as_str());
        Endpoint::with_rules(&text, &local.rules).ok()
    };
    match elsewhere {
        Some(home) if !(here && reachable(&local.pbx)) => {
            // The other side knows the agent by the name of the device there.
            let device = own.split_once('/').map_or(own, |(_, name)| name);
            let name = device.replace("{agent}", agent.id.as_str());
            fill(
                &local.remote_endpoint,
                name.split('@').next().unwrap_or_default(),
                home,
            )
        }
        _ => fill(own, agent.id.as_str(), &local.pbx),
    }
}

/// The device of an agent at this Asterisk, whose state is watched; `None` if it has none here.
pub(crate) fn device(local: &Local, agent: &Agent) -> Option<Endpoint> {
    let settings = &agent.settings;
    if !settings.home.is_empty() && !settings.home.contains(&local.pbx) {
        return None;
    }
    let template = settings
        .endpoint
        .as_deref()
        .unwrap_or(&local.agent_endpoint);
    let text = template
        .replace("{agent}", agent.id.as_str())
        .replace("{pbx}", local.pbx.as_str());
    // A device behind a trunk has no state of its own here.
    Endpoint::with_rules(&text, &local.rules)
        .ok()
        .filter(|e| !e.as_str().contains('@'))
}

fn shown(pass: CallerIdPass, call: &Call) -> CallerId {
    match pass {
        CallerIdPass::None => CallerId::default(),
        CallerIdPass::Caller => CallerId {
            name: call.name.clone(),
            number: call.number.clone(),
        },
        CallerIdPass::QueueAndCaller => CallerId {
            name: format!("{}: {}", call.queue, call.name),
            number: call.number.clone(),
        },
    }
}

fn seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_acd::command::{Admin, AdminOp, CallerJoin, JoinOptions, LeaveReason};
    use holdfast_acd::settings::{Announce, QueueSettings};
    use holdfast_acd::{ChannelId, Command, QueueName, RequestId, Stamp};

    fn apply(state: &mut State, at: u64, command: Command) {
        let stamp = Stamp {
            at,
            ..Stamp::default()
        };
        let reply = state.apply(stamp, &command, &mut Vec::new());
        reply.expect("the commands of this test are good");
    }

    #[test]
    fn a_position_that_waited_for_another_prompt_is_told_as_it_is_by_then() {
        let queue = QueueName::new("q").unwrap();
        let announce = Announce {
            frequency_ms: 5_000,
            first_after_ms: 1_000,
            ..Announce::default()
        };
        let settings = QueueSettings {
            announce,
            ..QueueSettings::default()
        };
        let mut state = State::default();
        let op = AdminOp::QueuePut {
            queue: queue.clone(),
            settings: Box::new(settings),
        };
        let put = Admin {
            request: RequestId(1),
            actor: "test".into(),
            if_revision: None,
            op,
        };
        apply(&mut state, 1, Command::Admin(put));
        let pbx = PbxId::new("a").unwrap();
        let node = holdfast_acd::NodeName::new("a").unwrap();
        let up = Command::PbxUp {
            pbx: pbx.clone(),
            node,
            epoch: 1,
            restarted: false,
            channels: Vec::new(),
        };
        apply(&mut state, 1, up);
        for channel in ["a.1", "a.2"] {
            let join = CallerJoin {
                pbx: pbx.clone(),
                channel: ChannelId::new(channel).unwrap(),
                queue: queue.clone(),
                number: channel.into(),
                name: String::new(),
                priority: 0,
                options: JoinOptions::default(),
            };
            apply(&mut state, 2, Command::CallerJoin(join));
        }
        apply(&mut state, 1_002, Command::Tick);
        let local = Local::new(pbx, &AsteriskSection::default());
        let told = |state: &State, played| match want(state, &local, CallId(2), played) {
            Want::Wait { announcement, .. } => announcement.map(|it| it.position),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&state, 0), Some(2));
        assert_eq!(told(&state, 1), None, "it was played");
        let (call, reason) = (CallId(1), LeaveReason::HungUp);
        apply(&mut state, 1_200, Command::CallerLeave { call, reason });
        assert_eq!(told(&state, 0), Some(1), "he is next by now");
    }
}
