//! Asterisks and nodes that come and go, and callers who are in the dialplan.

mod common;

use common::*;
use holdfast_acd::agent::{Availability, Hand};
use holdfast_acd::call::{Outcome, Phase};
use holdfast_acd::command::{DeviceState, EndedBy, FailCause};
use holdfast_acd::limits::{DIALPLAN_GRACE_MS, LEAVING_MS_MAX};
use holdfast_acd::reply::Reject;
use holdfast_acd::settings::{Connect, QueueSettings};
use holdfast_acd::*;

fn dialplan() -> QueueSettings {
    QueueSettings {
        connect: Connect::Dialplan,
        ..linear()
    }
}

fn down(world: &mut World, lost: bool) {
    world
        .apply(Command::PbxDown {
            pbx: pbx("p1"),
            epoch: 1,
            lost,
        })
        .unwrap();
}

fn away(world: &mut World) {
    let command = Command::NodeAway {
        node: node("node-p1"),
        node_lost_after_ms: 60_000,
    };
    world.apply(command).unwrap();
}

#[test]
fn a_caller_who_returns_from_the_dialplan_has_the_old_place_and_the_offer_failed() {
    let mut world = World::new(dialplan(), 1);
    let call = world.join("q", "c1");
    let behind = world.join("q", "c2");
    world.serve();
    world.pass(16_000);
    assert!(
        world.state.call(call).unwrap().offer().is_some(),
        "the dialplan has some grace"
    );
    assert_eq!(world.join("q", "c1"), call);
    assert!(world.last.iter().any(|event| {
        matches!(
            event,
            Event::OfferFailed {
                cause: FailCause::NoAnswer,
                ..
            }
        )
    }));
    assert_eq!(world.state.position(call), Some(1));
    assert_eq!(world.state.position(behind), Some(2));
    world.pass(2_000);
    assert_eq!(world.serve()[0].0, call);
}

#[test]
fn a_caller_stuck_in_the_dialplan_is_passed_over_until_he_is_back() {
    let mut world = World::new(dialplan(), 1);
    let call = world.join("q", "c1");
    let behind = world.join("q", "c2");
    world.serve();
    world.pass(15_000 + DIALPLAN_GRACE_MS - 1);
    assert!(world.state.call(call).unwrap().offer().is_some());
    world.pass(1);
    assert_eq!(
        world.state.call(call).unwrap().phase,
        Phase::Waiting { away: true }
    );
    world.pass(2_000);
    assert_eq!(world.serve()[0].0, behind);
    world.join("q", "c1");
    assert_eq!(world.state.position(call), Some(1));
}

#[test]
fn a_timeout_in_the_dialplan_waits_for_the_return() {
    let mut world = World::new(
        QueueSettings {
            timeout_ms: Some(5_000),
            ..dialplan()
        },
        1,
    );
    let call = world.join("q", "c1");
    world.serve();
    world.pass(9_000);
    assert!(world.outcomes().is_empty());
    world.join("q", "c1");
    world.pass(0);
    assert_eq!(world.outcomes(), [(call, "timeout")]);
}

#[test]
fn a_comparison_ends_whoever_is_gone_and_keeps_the_rest_in_order() {
    let mut world = World::new(linear(), 2);
    let calls: Vec<_> = (1..=4).map(|n| world.join("q", &format!("c{n}"))).collect();
    world.serve();
    world.answer(calls[0], "a1").unwrap();
    down(&mut world, false);
    assert!(world.serve().is_empty(), "nobody out of sight is offered");
    world.up("p1", 2, false, &["c2", "c4"]);
    assert_eq!(
        world.outcomes(),
        [(calls[0], "answered"), (calls[2], "abandoned")]
    );
    assert_eq!(world.state.agent(&agent("a1")).unwrap().hand, Hand::Free);
    let waiting = Phase::Waiting { away: false };
    assert_eq!(
        world.state.call(calls[1]).unwrap().phase,
        waiting,
        "its leg is stale"
    );
    assert_eq!(world.state.position(calls[3]), Some(2));
}

#[test]
fn an_epoch_that_is_over_changes_nothing() {
    let mut world = World::new(linear(), 0);
    let call = world.join("q", "c1");
    world.up("p1", 7, false, &["c1"]);
    let stale = Command::PbxUp {
        pbx: pbx("p1"),
        node: node("other"),
        epoch: 7,
        restarted: true,
        channels: vec![],
    };
    assert_eq!(world.apply(stale), Err(Reject::StaleEpoch { epoch: 7 }));
    let stale = Command::PbxDown {
        pbx: pbx("p1"),
        epoch: 6,
        lost: true,
    };
    assert_eq!(world.apply(stale), Err(Reject::StaleEpoch { epoch: 6 }));
    assert!(world.state.call(call).is_some());
}

#[test]
fn a_comparison_that_is_sent_again_is_answered_again_and_changes_nothing() {
    let mut world = World::new(linear(), 0);
    let up = Command::PbxUp {
        pbx: pbx("p1"),
        node: node("node-p1"),
        epoch: 7,
        restarted: false,
        channels: vec![],
    };
    assert_eq!(world.apply(up.clone()), Ok(Done::Ok));
    // He came between the two, so the first knows nothing of him.
    let call = world.join("q", "c1");
    assert_eq!(world.apply(up), Ok(Done::Ok));
    assert!(world.state.call(call).is_some());
}

#[test]
fn a_lost_asterisk_ends_its_calls_and_frees_its_agents() {
    let mut world = World::new(linear(), 2);
    let calls: Vec<_> = (1..=3).map(|n| world.join("q", &format!("c{n}"))).collect();
    world.serve();
    world.answer(calls[0], "a1").unwrap();
    world.device("a1", DeviceState::InUse);
    down(&mut world, true);
    let ends = [
        (calls[0], "answered"),
        (calls[1], "lost"),
        (calls[2], "lost"),
    ];
    assert_eq!(world.outcomes(), ends);
    assert!(world.state.agents().all(|agent| agent.hand == Hand::Free));
    assert_eq!(world.state.calls().count(), 0);
    assert_eq!(
        world.state.device(world.state.agent(&agent("a1")).unwrap()),
        DeviceState::Unavailable
    );
}

#[test]
fn the_same_number_gets_the_old_place_back_on_any_server_within_the_window() {
    let mut world = World::new(linear(), 0);
    world.up("p2", 1, false, &[]);
    let number = |join: &mut command::CallerJoin| join.number = "49301234".into();
    let lost = world.join_with("q", "c1", number).unwrap();
    let other = world
        .join_with("q", "c2", |join| join.pbx = pbx("p2"))
        .unwrap();
    world.pass(30_000);
    down(&mut world, true);
    assert_eq!(world.outcomes(), [(lost, "lost")]);
    assert_eq!(world.state.position(other), Some(1));
    world.pass(60_000);
    let back = world.join_with("q", "c9", |join| {
        number(join);
        join.pbx = pbx("p2");
    });
    let back = back.unwrap();
    assert_eq!(world.state.position(back), Some(1));
    assert_eq!(world.state.position(other), Some(2));
    assert!(matches!(
        world.last[0],
        Event::CallJoined { resumed: true, .. }
    ));
    let third = world.join_with("q", "c10", |join| {
        number(join);
        join.pbx = pbx("p2");
    });
    assert_eq!(
        world.state.position(third.unwrap()),
        Some(3),
        "a place is given back once"
    );
}

#[test]
fn after_the_window_the_place_is_gone_and_withheld_numbers_keep_none() {
    let mut world = World::new(linear(), 0);
    world
        .join_with("q", "c1", |join| join.number = "49301234".into())
        .unwrap();
    world
        .join_with("q", "c2", |join| join.number = "anonymous".into())
        .unwrap();
    down(&mut world, true);
    world.up("p1", 2, true, &[]);
    world.join("q", "c3");
    world
        .join_with("q", "c4", |join| join.number = "anonymous".into())
        .unwrap();
    assert!(matches!(
        world.last[0],
        Event::CallJoined { resumed: false, .. }
    ));
    world.pass(120_000);
    world
        .join_with("q", "c5", |join| join.number = "49301234".into())
        .unwrap();
    assert!(matches!(
        world.last[0],
        Event::CallJoined {
            resumed: false,
            position: 3,
            ..
        }
    ));
}

#[test]
fn callers_of_a_node_that_is_away_keep_their_place_and_are_served_when_it_is_back() {
    let mut world = World::new(linear(), 1);
    let call = world.join("q", "c1");
    away(&mut world);
    world.pass(59_999);
    assert!(world.serve().is_empty());
    let back = Command::NodeBack {
        node: node("node-p1"),
    };
    world.apply(back).unwrap();
    world.pass(60_000);
    assert_eq!(world.serve()[0].0, call);
}

#[test]
fn callers_of_a_node_that_stays_away_are_lost_at_its_time_and_not_before() {
    let mut world = World::new(linear(), 1);
    let call = world.join("q", "c1");
    away(&mut world);
    away(&mut world);
    world.pass(59_999);
    assert!(world.outcomes().is_empty());
    world.pass(1);
    assert_eq!(world.outcomes(), [(call, "lost")]);
    let back = Command::NodeBack {
        node: node("node-p1"),
    };
    world.apply(back).unwrap();
    world.join("q", "c2");
    assert!(world.serve().is_empty(), "it has to compare first");
    world.up("p1", 2, false, &["c2"]);
    assert_eq!(world.serve().len(), 1);
}

#[test]
fn an_asterisk_that_was_down_before_its_node_went_away_stays_down_when_it_is_back() {
    let mut world = World::new(linear(), 1);
    world.join("q", "c1");
    down(&mut world, false);
    away(&mut world);
    world
        .apply(Command::NodeBack {
            node: node("node-p1"),
        })
        .unwrap();
    assert!(world.serve().is_empty());
}

#[test]
fn a_timeout_is_not_lost_on_a_node_that_is_away() {
    let mut world = World::new(
        QueueSettings {
            timeout_ms: Some(5_000),
            ..linear()
        },
        0,
    );
    let call = world.join("q", "c1");
    away(&mut world);
    world.pass(10_000);
    assert!(world.outcomes().is_empty(), "nobody could tell the caller");
    world
        .apply(Command::NodeBack {
            node: node("node-p1"),
        })
        .unwrap();
    world.pass(0);
    assert_eq!(world.outcomes(), [(call, "timeout")]);
}

#[test]
fn a_leaving_call_that_nobody_releases_is_cleaned_up() {
    let mut world = World::new(
        QueueSettings {
            timeout_ms: Some(5_000),
            ..linear()
        },
        0,
    );
    let call = world.join("q", "c1");
    world.pass(5_000);
    world.pass(LEAVING_MS_MAX - 1);
    assert!(world.state.call(call).is_some());
    world.pass(1);
    assert!(world.state.call(call).is_none());
    assert_eq!(world.outcomes(), [(call, "timeout")], "it ended once");
}

#[test]
fn a_caller_whose_agent_hangs_up_is_released_by_the_owner() {
    let mut world = World::new(linear(), 1);
    let call = world.join("q", "c1");
    world.serve();
    world.answer(call, "a1").unwrap();
    world.pass(4_000);
    world.end(call, EndedBy::Agent).unwrap();
    let Phase::Leaving { outcome, .. } = &world.state.call(call).unwrap().phase else {
        panic!()
    };
    let (agent, by) = (agent("a1"), EndedBy::Agent);
    assert_eq!(
        *outcome,
        Outcome::Answered {
            agent,
            by,
            talked_ms: 4_000
        }
    );
    world.end(call, EndedBy::Agent).unwrap();
    world.apply(Command::CallReleased { call }).unwrap();
    assert_eq!(world.outcomes().len(), 1);
}

#[test]
fn a_stale_busy_delays_an_agent_and_never_sticks() {
    let mut world = World::new(linear(), 1);
    let call = world.join("q", "c1");
    world.serve();
    world.device("a1", DeviceState::InUse);
    world.answer(call, "a1").unwrap();
    world.end(call, EndedBy::Caller).unwrap();
    world.join("q", "c2");
    assert!(world.serve().is_empty());
    world.device("a1", DeviceState::NotInUse);
    assert_eq!(world.serve().len(), 1);
}

/// `ringinuse = no`: one server's word is enough.
#[test]
fn busy_on_another_server_is_busy() {
    let mut world = World::new(linear(), 1);
    world.device("a1", DeviceState::NotInUse);
    let (pbx, agent) = (pbx("p2"), agent("a1"));
    let state = DeviceState::InUse;
    world
        .apply(Command::AgentDevice { pbx, agent, state })
        .unwrap();
    world.join("q", "c1");
    assert!(world.serve().is_empty());
}

/// An agent who hangs up between the grant and the bridge: the caller heard nothing of it.
#[test]
fn a_grant_that_came_to_nothing_puts_the_caller_back_at_the_old_place() {
    let mut world = World::new(linear(), 2);
    let first = world.join("q", "c1");
    let second = world.join("q", "c2");
    world.pass(1_000);
    assert_eq!(world.serve().len(), 2);
    world.answer(first, "a1").unwrap();
    world.fail(first, "a1", FailCause::NoAnswer).unwrap();
    assert!(world.last.contains(&Event::CallReturned { call: first }));
    assert_eq!(world.state.position(first), Some(1));
    assert_eq!(world.state.position(second), Some(2));
    let counters = &world.state.queue(&queue("q")).unwrap().counters;
    assert_eq!(
        (counters.answered, counters.answered_in_service_level),
        (0, 0)
    );
    let gone = world.state.agent(&agent("a1")).unwrap();
    let delayed = world.state.availability(gone, world.at, false);
    assert_eq!(delayed, Availability::RetryDelay);
    let attempt = Attempt(1);
    assert_eq!(
        world.fail(first, "a1", FailCause::NoAnswer),
        Err(Reject::StaleAttempt {
            call: first,
            attempt
        }),
        "sent again"
    );
    world.pass(3_000);
    assert_eq!(world.serve(), [(first, vec!["a1".to_string()])]);
}

/// The leader offers a caller whose node has just died: nobody will ever ring that agent.
#[test]
fn an_offer_that_does_not_ring_ends_when_its_node_falls_silent_and_a_ringing_one_stays() {
    let mut world = World::new(linear(), 2);
    let first = world.join("q", "c1");
    let second = world.join("q", "c2");
    assert_eq!(world.serve().len(), 2);
    world
        .apply(Command::OfferRinging {
            call: first,
            attempt: Attempt(1),
            agent: agent("a1"),
        })
        .unwrap();
    let owner = world.state.pbx(&pbx("p1")).unwrap().node.clone();
    world
        .apply(Command::NodeAway {
            node: owner,
            node_lost_after_ms: 60_000,
        })
        .unwrap();
    let hand = |name: &str| world.state.agent(&agent(name)).unwrap().hand.clone();
    let (call, attempt) = (first, Attempt(1));
    assert_eq!(hand("a1"), Hand::Offered { call, attempt });
    assert_eq!(hand("a2"), Hand::Free);
    let waiting = Phase::Waiting { away: false };
    assert_eq!(world.state.call(second).unwrap().phase, waiting);
    assert_eq!(world.state.position(second), Some(2));
    assert!(world.serve().is_empty(), "its owner is out of sight");
}
