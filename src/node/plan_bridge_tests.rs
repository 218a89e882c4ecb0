//! What is planned for a granted call when little is known of its leg or its bridge: after the death of
//! the process that had them, or when an answer of Asterisk was lost.

use crate::have::{Bridge, Found, Have, Leg, LegState, Place};
use crate::plan::{Step, plan};
use crate::want::{Leave, Then, Want};
use holdfast_acd::command::{EndedBy, FailCause};
use holdfast_acd::{AgentId, Attempt, CallId, Command};

const CALL: CallId = CallId(7);
const ATTEMPT: Attempt = Attempt(1);
const CALLER: &str = "a-1.1";

fn agent() -> AgentId {
    AgentId::new("1001").unwrap()
}

/// A caller whom a process that has just started finds in Asterisk, with these bridges.
fn found(bridges: Vec<(Attempt, Vec<String>)>) -> Have {
    let mut have = Have {
        channel: CALLER.into(),
        ..Have::default()
    };
    have.compared(Found {
        place: Place::Stasis,
        bridges,
        ..Found::default()
    });
    have
}

fn proposed(have: &Have) -> Vec<Command> {
    let want = Want::Talk {
        attempt: ATTEMPT,
        agent: agent(),
    };
    let proposed = |step| match step {
        Step::Propose(command) => Some(command),
        _ => None,
    };
    plan(Some(CALL), &want, have)
        .into_iter()
        .filter_map(proposed)
        .collect()
}

#[test]
fn who_was_granted_and_never_bridged_keeps_the_place_when_the_leg_is_gone() {
    let back = Command::OfferFail {
        call: CALL,
        attempt: ATTEMPT,
        agent: agent(),
        cause: FailCause::Cancelled,
    };
    assert_eq!(proposed(&found(Vec::new())), std::slice::from_ref(&back));
    assert_eq!(proposed(&found(vec![(ATTEMPT, Vec::new())])), [back]);
}

#[test]
fn who_was_bridged_is_let_go_when_the_leg_is_gone() {
    let (call, attempt, by) = (CALL, ATTEMPT, EndedBy::Failure);
    let over = Command::CallEnd { call, attempt, by };
    let bridged = found(vec![(ATTEMPT, vec![CALLER.into()])]);
    assert_eq!(proposed(&bridged), [over]);
}

#[test]
fn a_bridge_whose_answer_was_lost_is_made_again_for_a_talk_and_dropped_without_one() {
    let leg = Leg::new("leg".into(), ATTEMPT, agent(), LegState::Up);
    let have = Have {
        legs: vec![leg],
        bridge: Some(Bridge {
            attempt: ATTEMPT,
            with: None,
        }),
        bridge_unsure: true,
        ..found(Vec::new())
    };
    let talk = Want::Talk {
        attempt: ATTEMPT,
        agent: agent(),
    };
    assert!(plan(Some(CALL), &talk, &have).contains(&Step::MakeBridge(ATTEMPT)));
    let gone = Have {
        place: Place::Gone,
        ..have
    };
    assert!(plan(Some(CALL), &talk, &gone).contains(&Step::DropBridge));
}

/// Found by a soak: the agent rang, the quorum was lost, and the bridge stayed for ever.
#[test]
fn who_is_sent_away_without_a_quorum_leaves_no_bridge_behind() {
    let have = Have {
        bridge: Some(Bridge {
            attempt: ATTEMPT,
            with: None,
        }),
        no_quorum: true,
        sent_away: Some(Leave {
            status: Some("NOQUORUM".into()),
            prompts: Vec::new(),
            then: Then::LetBe,
            results: Vec::new(),
        }),
        ..found(Vec::new())
    };
    let steps = plan(Some(CALL), &Want::Away, &have);
    assert!(steps.contains(&Step::DropBridge), "{steps:?}");
}

/// Seed 12452 of the simulation: the process died between the two, and the next one put the caller
/// into the line again.
#[test]
fn who_has_talked_is_let_go_before_the_bridge_that_shows_it_is_dropped() {
    let leave = Leave {
        status: None,
        prompts: Vec::new(),
        then: Then::HangUp,
        results: Vec::new(),
    };
    let have = found(vec![(ATTEMPT, vec![CALLER.into()])]);
    let steps = plan(Some(CALL), &Want::Leave(leave), &have);
    assert_eq!(steps, [Step::HangUpCaller, Step::DropBridge]);
}

#[test]
fn who_was_in_the_bridge_has_talked_whatever_became_of_the_answer() {
    let mut have = found(Vec::new());
    let leg = Leg::new("leg".into(), ATTEMPT, agent(), LegState::Up);
    have.legs.push(leg);
    for kind in ["ChannelEnteredBridge", "ChannelDestroyed"] {
        let event = format!(
            r#"{{"type":"{kind}","cause":16,"bridge":{{"id":"hfb-a-7-1"}},
                "channel":{{"id":"leg","name":"PJSIP/1001-1","state":"Up"}}}}"#
        );
        have.observe(&holdfast_ari::decode(&event));
    }
    let (call, attempt, by) = (CALL, ATTEMPT, EndedBy::Agent);
    assert_eq!(proposed(&have), [Command::CallEnd { call, attempt, by }]);
}
