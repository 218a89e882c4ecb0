//! Any stream of commands keeps the promises of the core: invariants, order, deadlines, replay.

#[path = "../common/mod.rs"]
mod common;
mod streams;

use common::*;
use holdfast_acd::call::{Outcome, Phase};
use holdfast_acd::command::*;
use holdfast_acd::event::PassOver;
use holdfast_acd::limits::DIALPLAN_GRACE_MS;
use holdfast_acd::pbx::Sight;
use holdfast_acd::settings::{Connect, QueueSettings};
use holdfast_acd::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::{BTreeMap, BTreeSet};
use streams::{Step, commands_of, stream};

/// Plays a stream and answers the log that it made: what the leader would have written.
fn play(steps: &[Step], mut look: impl FnMut(&World, &State, &Command)) -> Vec<(Stamp, Command)> {
    let mut world = World::empty();
    let mut log = Vec::new();
    let mut write = |world: &mut World, command: Command| {
        let before = world.state.clone();
        let stamp = Stamp {
            index: world.index + 1,
            ..world.stamp_now()
        };
        log.push((stamp, command.clone()));
        let _ = world.apply(command.clone());
        look(world, &before, &command);
    };
    for step in steps {
        for command in commands_of(&world.state, step, &mut world.at) {
            write(&mut world, command);
        }
        // Whoever leads ticks as soon as a deadline is due.
        while world.state.next_deadline().is_some_and(|at| at <= world.at) {
            write(&mut world, Command::Tick);
        }
    }
    log
}

impl World {
    fn stamp_now(&self) -> Stamp {
        Stamp {
            index: self.index,
            at: self.at,
            wall_ms: 1_700_000_000_000 + self.at,
        }
    }
}

fn encode(state: &State) -> Vec<u8> {
    bincode::serde::encode_to_vec(state, bincode::config::standard()).unwrap()
}

fn decode(bytes: &[u8]) -> State {
    bincode::serde::decode_from_slice(bytes, bincode::config::standard())
        .unwrap()
        .0
}

fn replay(mut state: State, log: &[(Stamp, Command)]) -> (State, Vec<Event>) {
    let mut events = Vec::new();
    for (stamp, command) in log {
        let _ = state.apply(*stamp, command, &mut events);
    }
    (state, events)
}

/// Whether the agent, by what everybody can see, could be rung for this call.
fn could_ring(state: &State, call: &call::Call, agent: &AgentId) -> bool {
    let queue = state.queue(&call.queue).unwrap();
    let settings = &queue.settings;
    let (Some(member), Some(agent)) = (queue.members.get(agent), state.agent(agent)) else {
        return false;
    };
    let waited_ms = state.now() - call.joined_at;
    let reached = settings
        .plan()
        .iter()
        .rfind(|step| step.after_ms <= waited_ms);
    let admitted = reached.is_some_and(|step| step.admits(&agent.id, &member.settings));
    admitted && member.pause.is_none() && state.is_free(agent, settings.ring_in_use)
}

/// Why a caller who stands earlier may be passed over in favour of these agents; `None` if he may not.
fn excuse(state: &State, call: &call::Call, agents: &[AgentId]) -> Option<PassOver> {
    match call.phase {
        Phase::Offered(_) => Some(PassOver::BeingOffered),
        Phase::Waiting { away: true } => Some(PassOver::InDialplan),
        _ if state.pbx(&call.pbx).is_none_or(|it| it.sight != Sight::Up) => {
            Some(PassOver::OwnerAway)
        }
        _ if agents.iter().any(|agent| could_ring(state, call, agent)) => None,
        _ => Some(PassOver::StepNotReached),
    }
}

fn check_order(world: &World, before: &State, named: &mut BTreeSet<(CallId, Attempt, String)>) {
    for event in &world.last {
        if let Event::CallPassedOver { call, reason, .. } = event {
            let attempt = before.call(*call).unwrap().attempts;
            named.insert((*call, attempt, format!("{reason:?}")));
        }
    }
    for event in &world.last {
        let Event::OfferMade {
            call,
            queue,
            agents,
            ..
        } = event
        else {
            continue;
        };
        for agent in agents {
            assert!(
                could_ring(before, before.call(*call).unwrap(), agent),
                "{agent} was not free"
            );
        }
        let line = &before.queue(queue).unwrap().line;
        for earlier in line.iter().take_while(|place| place.call != *call) {
            let earlier = before.call(earlier.call).unwrap();
            let reason = excuse(before, earlier, agents);
            let reason = reason.unwrap_or_else(|| panic!("{call} overtook {}", earlier.id));
            let key = (earlier.id, earlier.attempts, format!("{reason:?}"));
            assert!(
                named.contains(&key),
                "nobody said why {} was passed over",
                earlier.id
            );
        }
    }
}

fn check_deadlines(world: &World, before: &State, command: &Command) {
    let (now, old) = (world.state.now(), |call: &CallId| {
        before.call(*call).unwrap()
    });
    for event in &world.last {
        match event {
            Event::CallLeft {
                call,
                outcome: Outcome::Timeout,
                ..
            } => {
                assert!(
                    old(call).timeout_at.is_some_and(|at| at <= now),
                    "timeout too early"
                );
            }
            Event::OfferFailed {
                call,
                cause: FailCause::NoAnswer,
                ..
            } if matches!(command, Command::Tick) => {
                let offer = old(call).offer().unwrap();
                let grace = if offer.connect == Connect::Dialplan {
                    DIALPLAN_GRACE_MS
                } else {
                    0
                };
                assert!(offer.ring_until + grace <= now, "ring timeout too early");
            }
            Event::AgentReady { agent } if matches!(command, Command::Tick) => {
                let until = before.agent(agent).unwrap().wrap_up_until;
                assert!(until.is_some_and(|at| at <= now), "wrap-up ended too early");
            }
            Event::AnnounceDue { call, number, .. } => {
                let last = old(call)
                    .announcement
                    .as_ref()
                    .map_or(0, |last| last.number);
                assert_eq!(*number, last + 1, "announced twice");
            }
            Event::NodeLost { pbx, .. } => {
                let lost_at = before.pbx(pbx).unwrap().lost_at;
                assert!(lost_at.is_some_and(|at| at <= now), "node lost too early");
            }
            _ => {}
        }
    }
}

/// As many as `PROPTEST_CASES` says, else as many as run in seconds.
fn cases() -> u32 {
    let wanted = std::env::var("PROPTEST_CASES").ok();
    wanted.and_then(|number| number.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_stream_keeps_invariants_order_and_deadlines(steps in stream()) {
        let mut named = BTreeSet::new();
        let mut left: BTreeMap<CallId, u32> = BTreeMap::new();
        play(&steps, |world, before, command| {
            check_order(world, before, &mut named);
            check_deadlines(world, before, command);
            for event in &world.last {
                if let Event::CallLeft { call, .. } = event {
                    *left.entry(*call).or_default() += 1;
                    assert_eq!(left[call], 1, "{call} ended twice");
                }
                if let Event::CallReleased { call } = event {
                    assert!(left.contains_key(call), "{call} vanished without an end");
                }
            }
        });
    }

    #[test]
    fn the_same_log_gives_the_same_state_and_snapshot_plus_tail_equals_replay(
        steps in stream(),
        cut in any::<prop::sample::Index>(),
    ) {
        let log = play(&steps, |_, _, _| {});
        let (whole, events) = replay(State::default(), &log);
        let (again, events_again) = replay(State::default(), &log);
        prop_assert_eq!(whole.digest(), again.digest());
        prop_assert_eq!(&events, &events_again);
        let (head, tail) = log.split_at(cut.index(log.len()));
        let (half, _) = replay(State::default(), head);
        let restored = decode(&encode(&half));
        prop_assert_eq!(&restored, &half);
        let (resumed, _) = replay(restored, tail);
        prop_assert_eq!(resumed.digest(), whole.digest());
        prop_assert_eq!(resumed, whole);
    }

    #[test]
    fn every_command_applied_twice_in_a_row_counts_once(steps in stream()) {
        let log = play(&steps, |_, _, _| {});
        let mut state = State::default();
        for (stamp, command) in log {
            let mut events = Vec::new();
            let reply = state.apply(stamp, &command, &mut events);
            // A caller who is refused leaves no trace but the counter of refusals, so he is refused again.
            if matches!(command, Command::CallerJoin(_)) && reply.is_err() {
                continue;
            }
            let once = state.digest();
            let mut again = Vec::new();
            let _ = state.apply(stamp, &command, &mut again);
            prop_assert_eq!(state.digest(), once, "{:?} counted twice", &command);
            prop_assert_eq!(again, vec![], "{:?} was told twice", command);
        }
    }

    #[test]
    fn what_is_distributed_is_accepted_and_nothing_is_left_over(steps in stream()) {
        let log = play(&steps, |_, _, _| {});
        let (mut state, _) = replay(State::default(), &log);
        let stamp = Stamp { index: 10_000, at: state.now(), wall_ms: 0 };
        let mut taken = BTreeSet::new();
        for command in distribute(&state, 1_000, &mut |below| below / 2) {
            let Command::OfferMake { agents, .. } = &command else { panic!() };
            for agent in agents {
                prop_assert!(taken.insert(agent.clone()), "{} was given away twice", agent);
            }
            let reply = state.apply(stamp, &command, &mut Vec::new());
            prop_assert!(reply.is_ok(), "{:?} for {:?}", reply, command);
        }
        prop_assert_eq!(distribute(&state, 1_000, &mut |_| 0), vec![]);
        // The naive way finds nobody either: no caller with a free agent is left.
        for call in state.calls() {
            let waits = call.phase == Phase::Waiting { away: false };
            if waits && state.pbx(&call.pbx).is_some_and(|it| it.sight == Sight::Up) {
                for agent in state.agents() {
                    prop_assert!(!could_ring(&state, call, &agent.id), "{} idle", agent.id);
                }
            }
        }
    }
}

#[test]
fn a_stamp_that_runs_backwards_counts_as_the_last_one() {
    let mut world = World::new(QueueSettings::default(), 1);
    world.at = 50_000;
    world.join("q", "c1");
    world.at = 10;
    world.join("q", "c2");
    assert_eq!(world.state.now(), 50_000);
}

/// The properties above would hold of streams in which nothing happens; so this looks at what does.
#[test]
fn the_streams_reach_every_kind_of_event_and_outcome() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..150 {
        let steps = stream().new_tree(&mut runner).unwrap().current();
        play(&steps, |world, _, _| {
            for event in &world.last {
                let word = match event {
                    Event::CallLeft { outcome, .. } => format!("CallLeft {}", outcome.word()),
                    Event::CallPassedOver { reason, .. } => format!("CallPassedOver {reason:?}"),
                    Event::OfferFailed { cause, .. } => format!("OfferFailed {cause:?}"),
                    Event::CallJoined { resumed, .. } => format!("CallJoined {resumed}"),
                    other => {
                        let name = format!("{other:?}");
                        name.split(' ').next().unwrap().to_string()
                    }
                };
                *seen.entry(word).or_default() += 1;
            }
        });
    }
    let wanted = "CallJoined true|CallJoined false|CallRefused|CallReturned|AnnounceDue|OfferMade|\
        OfferRinging|OfferFailed NoAnswer|OfferFailed Busy|OfferFailed Cancelled|CallConnected|\
        CallLeft answered|CallLeft abandoned|CallLeft timeout|CallLeft key|CallLeft empty|\
        CallLeft withdrawn|CallLeft lost|CallLeft noquorum|CallReleased|CallMoved|CallPriority|\
        CallPassedOver BeingOffered|CallPassedOver OwnerAway|CallPassedOver InDialplan|\
        CallPassedOver StepNotReached|AgentWrapUp|AgentReady|QueueDeleted|AgentDeleted|\
        MemberDeleted|TemplateChanged|NodeAway|NodeBack|NodeLost|CallCompleted|\
        PbxClaimed";
    for word in wanted.split('|') {
        assert!(
            seen.contains_key(word),
            "no stream reached {word}; reached: {seen:?}"
        );
    }
}
