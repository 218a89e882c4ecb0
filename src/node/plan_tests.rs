//! What is planned from which views. No Asterisk, no store: two values in, steps out.

use crate::config::FeatureCode;
use crate::have::{
    Bridge, Closing, Found, Have, Leg, LegState, Place, Playback, PlaybackOf, Replacement,
};
use crate::ingest::{Route, route};
use crate::legs::{LegKey, leg_channel};
use crate::plan::{Step, plan};
use crate::want::{Leave, Then, Want, WantLeg};
use holdfast_acd::call::{Announcement, Prompt};
use holdfast_acd::command::{EndedBy, FailCause, LeaveReason};
use holdfast_acd::settings::Exit;
use holdfast_acd::{AgentId, Attempt, CallId, Command, PbxId};
use holdfast_ari::{CallerId, Endpoint, Event, HangupReason, decode};

const CALL: CallId = CallId(7);
const ATTEMPT: Attempt = Attempt(2);

fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}

fn pbx() -> PbxId {
    PbxId::new("a").unwrap()
}

fn leg_id(attempt: Attempt, id: &str) -> String {
    let key = LegKey {
        epoch: 1,
        call: CALL,
        attempt,
        agent: agent(id),
    };
    leg_channel(&pbx(), &key).unwrap().to_string()
}

fn leg(attempt: Attempt, id: &str, state: LegState) -> Leg {
    Leg::new(leg_id(attempt, id), attempt, agent(id), state)
}

fn caller() -> Have {
    Have {
        channel: "a-1.1".into(),
        music: Some("default".into()),
        ..Have::default()
    }
}

fn with_legs(legs: Vec<Leg>) -> Have {
    let bridge = Some(Bridge {
        attempt: ATTEMPT,
        with: None,
    });
    Have {
        legs,
        bridge,
        ..caller()
    }
}

fn waits(announcement: Option<Announcement>) -> Want {
    Want::Wait {
        music: "default".into(),
        announcement,
        exit_keys: vec!["2".into()],
    }
}

fn want_leg(id: &str) -> WantLeg {
    let endpoint = Endpoint::new(&format!("PJSIP/{id}")).ok();
    WantLeg {
        agent: agent(id),
        endpoint,
        ringing: false,
    }
}

fn rings(agents: &[&str]) -> Want {
    Want::Ring {
        music: "default".into(),
        exit_keys: Vec::new(),
        attempt: ATTEMPT,
        ring_s: 15,
        legs: agents.iter().map(|id| want_leg(id)).collect(),
        shown: CallerId::default(),
    }
}

fn talks(id: &str) -> Want {
    Want::Talk {
        attempt: ATTEMPT,
        agent: agent(id),
    }
}

fn steps(want: &Want, have: &Have) -> Vec<Step> {
    plan(Some(CALL), want, have)
}

fn proposed(want: &Want, have: &Have) -> Vec<Command> {
    let facts = steps(want, have).into_iter();
    facts
        .filter_map(|step| {
            if let Step::Propose(fact) = step {
                Some(fact)
            } else {
                None
            }
        })
        .collect()
}

fn event(text: &str) -> Event {
    decode(text)
}

fn about(kind: &str, id: &str, more: &str) -> Event {
    event(&format!(
        r#"{{"type":"{kind}","channel":{{"id":"{id}"}}{more}}}"#
    ))
}

#[test]
fn a_new_caller_hears_music_before_anything_is_proposed() {
    let have = Have {
        channel: "a-1.1".into(),
        ..Have::default()
    };
    assert_eq!(
        plan(None, &Want::Nothing, &have),
        [Step::StartMusic(String::new()), Step::Join]
    );
}

#[test]
fn a_waiting_caller_with_music_needs_nothing() {
    assert_eq!(steps(&waits(None), &caller()), []);
}

#[test]
fn an_announcement_is_played_once_and_the_next_waits_for_the_playback() {
    let due = |number| {
        let prompts = vec![Prompt::Sound("queue-youarenext".into())];
        waits(Some(Announcement {
            number,
            at: 0,
            prompts,
            position: 1,
        }))
    };
    let have = caller();
    assert!(matches!(
        steps(&due(1), &have)[..],
        [Step::Announce { number: 1, .. }]
    ));
    let playback = Some(Playback {
        id: "hfp-7-a1".into(),
        of: PlaybackOf::Announcement,
    });
    let mut have = Have {
        announced: 1,
        playback,
        ..caller()
    };
    assert_eq!(steps(&due(1), &have), []);
    assert_eq!(steps(&due(2), &have), []);
    have.observe(&event(
        r#"{"type":"PlaybackFinished","playback":{"id":"hfp-7-a1","target_uri":"channel:a-1.1","state":"done"}}"#,
    ));
    assert_eq!(steps(&due(1), &have), []);
    assert!(matches!(
        steps(&due(2), &have)[..],
        [Step::Announce { number: 2, .. }]
    ));
}

#[test]
fn an_offer_is_rung_at_once_even_while_a_prompt_plays() {
    let playback = Some(Playback {
        id: "x".into(),
        of: PlaybackOf::Announcement,
    });
    let have = Have {
        playback,
        ..caller()
    };
    let steps = steps(&rings(&["1001", "1002"]), &have);
    assert!(
        matches!(&steps[0], Step::Originate { legs, .. } if legs.len() == 2),
        "{steps:?}"
    );
    assert_eq!(steps[1], Step::MakeBridge(ATTEMPT));
    assert!(!steps.contains(&Step::StopPlayback));
}

#[test]
fn at_the_grant_losers_stop_then_prompt_and_music_then_the_bridge() {
    let mut have = with_legs(vec![
        leg(ATTEMPT, "1001", LegState::Ringing),
        leg(ATTEMPT, "1002", LegState::Up),
    ]);
    have.playback = Some(Playback {
        id: "x".into(),
        of: PlaybackOf::Announcement,
    });
    let channel = leg_id(ATTEMPT, "1002");
    assert_eq!(
        steps(&talks("1002"), &have),
        [
            Step::HangUpLeg {
                channel: leg_id(ATTEMPT, "1001"),
                reason: HangupReason::AnsweredElsewhere
            },
            Step::StopPlayback,
            Step::StopMusic,
            Step::Bridge {
                attempt: ATTEMPT,
                channel: channel.clone()
            },
        ]
    );
    have.legs[0].hung_up = true;
    have.playback = None;
    have.bridge = Some(Bridge {
        attempt: ATTEMPT,
        with: Some(channel),
    });
    assert_eq!(steps(&talks("1002"), &have), []);
}

#[test]
fn each_state_of_a_leg_is_told_as_its_fact() {
    let (call, attempt) = (CALL, ATTEMPT);
    let agent = agent("1001");
    let cases = [
        (LegState::Made, None),
        (
            LegState::Ringing,
            Some(Command::OfferRinging {
                call,
                attempt,
                agent: agent.clone(),
            }),
        ),
        (
            LegState::Up,
            Some(Command::OfferAnswer {
                call,
                attempt,
                agent: agent.clone(),
            }),
        ),
        (
            LegState::Ended(FailCause::Busy),
            Some(Command::OfferFail {
                call,
                attempt,
                agent,
                cause: FailCause::Busy,
            }),
        ),
    ];
    for (state, fact) in cases {
        let have = with_legs(vec![leg(ATTEMPT, "1001", state)]);
        assert_eq!(
            proposed(&rings(&["1001"]), &have),
            Vec::from_iter(fact),
            "{state:?}"
        );
    }
}

#[test]
fn an_agent_without_an_allowed_endpoint_is_unreachable_and_not_dialled() {
    let mut want = rings(&["1001"]);
    if let Want::Ring { legs, .. } = &mut want {
        legs[0].endpoint = None;
    }
    let have = with_legs(Vec::new());
    assert!(
        !steps(&want, &have)
            .iter()
            .any(|step| matches!(step, Step::Originate { .. }))
    );
    let failed = failed(FailCause::Unreachable);
    assert_eq!(proposed(&want, &have), [failed]);
}

#[test]
fn an_agent_who_is_gone_before_the_bridge_costs_the_caller_nothing() {
    let (attempt, cause) = (ATTEMPT, FailCause::NoAnswer);
    let want = Want::Talk {
        attempt,
        agent: agent("1001"),
    };
    let mut have = with_legs(vec![leg(attempt, "1001", LegState::Ended(cause))]);
    assert_eq!(proposed(&want, &have), [failed(cause)]);
    have.legs[0].bridged = true;
    let (call, by) = (CALL, EndedBy::Agent);
    let ended = Command::CallEnd { call, attempt, by };
    assert_eq!(proposed(&want, &have), [ended]);
}

fn failed(cause: FailCause) -> Command {
    Command::OfferFail {
        call: CALL,
        attempt: ATTEMPT,
        agent: agent("1001"),
        cause,
    }
}

#[test]
fn a_leg_that_has_ended_is_never_asked_for_again() {
    let have = with_legs(vec![leg(
        ATTEMPT,
        "1001",
        LegState::Ended(FailCause::NoAnswer),
    )]);
    let steps = steps(&rings(&["1001"]), &have);
    assert!(
        !steps
            .iter()
            .any(|step| matches!(step, Step::Originate { .. })),
        "{steps:?}"
    );
}

#[test]
fn a_request_without_an_answer_is_looked_at_before_it_is_repeated() {
    let mut have = with_legs(vec![leg(ATTEMPT, "1001", LegState::Unsure)]);
    let look = Step::LookAtLeg(leg_id(ATTEMPT, "1001"));
    assert_eq!(steps(&rings(&["1001"]), &have), [look]);
    have.legs[0].state = LegState::ToRepeat;
    assert!(matches!(
        steps(&rings(&["1001"]), &have)[..],
        [Step::Originate { .. }]
    ));
}

#[test]
fn legs_of_stale_attempts_and_refused_ones_are_hung_up() {
    let mut have = with_legs(vec![
        leg(Attempt(1), "1001", LegState::Up),
        leg(ATTEMPT, "1001", LegState::Up),
    ]);
    have.legs[1].refused = true;
    let hung_up: Vec<String> = steps(&rings(&["1001"]), &have)
        .into_iter()
        .filter_map(|step| match step {
            Step::HangUpLeg { channel, .. } => Some(channel),
            _ => None,
        })
        .collect();
    assert_eq!(
        hung_up,
        [leg_id(Attempt(1), "1001"), leg_id(ATTEMPT, "1001")]
    );
}

#[test]
fn an_ended_leg_that_a_late_request_makes_again_is_hung_up_on_sight() {
    let id = leg_id(ATTEMPT, "1001");
    let mut have = with_legs(vec![leg(
        ATTEMPT,
        "1001",
        LegState::Ended(FailCause::Cancelled),
    )]);
    have.observe(&about("StasisStart", &id, r#","args":["leg"]"#));
    let reason = HangupReason::Normal;
    let expected = Step::HangUpLeg {
        channel: id,
        reason,
    };
    assert!(steps(&rings(&["1001"]), &have).contains(&expected));
    assert!(steps(&waits(None), &have).contains(&expected));
}

#[test]
fn a_caller_who_hangs_up_takes_the_legs_along_and_is_told_by_phase() {
    let mut have = with_legs(vec![leg(ATTEMPT, "1001", LegState::Ringing)]);
    have.observe(&about("ChannelHangupRequest", "a-1.1", ""));
    have.observe(&about("StasisEnd", "a-1.1", ""));
    assert_eq!(have.place, Place::Gone);
    let steps = steps(&rings(&["1001"]), &have);
    assert!(matches!(
        &steps[..],
        [Step::HangUpLeg { .. }, Step::DropBridge, Step::Propose(_)]
    ));
    let reason = LeaveReason::HungUp;
    assert_eq!(
        proposed(&rings(&["1001"]), &have),
        [Command::CallerLeave { call: CALL, reason }]
    );
    let over = Command::CallEnd {
        call: CALL,
        attempt: ATTEMPT,
        by: EndedBy::Caller,
    };
    assert_eq!(proposed(&talks("1001"), &have), [over]);
}

#[test]
fn an_agent_who_hangs_up_ends_the_call_and_then_the_caller_is_hung_up() {
    let id = leg_id(ATTEMPT, "1001");
    let mut have = with_legs(vec![leg(ATTEMPT, "1001", LegState::Up)]);
    have.bridge = Some(Bridge {
        attempt: ATTEMPT,
        with: Some(id.clone()),
    });
    have.observe(&about("ChannelDestroyed", &id, r#","cause":16"#));
    let over = Command::CallEnd {
        call: CALL,
        attempt: ATTEMPT,
        by: EndedBy::Agent,
    };
    assert_eq!(proposed(&talks("1001"), &have), [over]);
}

#[test]
fn the_prompts_of_the_timeout_play_to_their_end_before_the_results_are_set() {
    let leave = Leave {
        status: Some("TIMEOUT".into()),
        prompts: vec!["sorry".into()],
        then: Then::Continue(Exit::default()),
        results: Vec::new(),
    };
    let want = Want::Leave(leave.clone());
    let mut have = caller();
    assert_eq!(steps(&want, &have), [Step::Close(vec!["sorry".into()])]);
    have.playback = Some(Playback {
        id: "hfp-7-end".into(),
        of: PlaybackOf::Closing,
    });
    have.closing = Closing::Playing;
    assert_eq!(steps(&want, &have), []);
    have.playback_finished("hfp-7-end");
    let out = [Step::SetResults(leave), Step::Continue(Exit::default())];
    assert_eq!(steps(&want, &have), out);
    have.let_go = true;
    assert_eq!(steps(&want, &have), []);
    have.observe(&about("StasisEnd", "a-1.1", ""));
    assert_eq!(
        proposed(&want, &have),
        [Command::CallReleased { call: CALL }]
    );
}

#[test]
fn an_exit_key_counts_only_if_it_is_one() {
    let mut have = caller();
    have.observe(&about(
        "ChannelDtmfReceived",
        "a-1.1",
        r#","digit":"1","duration_ms":100"#,
    ));
    assert_eq!(steps(&waits(None), &have), []);
    have.observe(&about(
        "ChannelDtmfReceived",
        "a-1.1",
        r#","digit":"2","duration_ms":100"#,
    ));
    let reason = LeaveReason::Key("2".into());
    assert_eq!(
        proposed(&waits(None), &have),
        [Command::CallerLeave { call: CALL, reason }]
    );
}

#[test]
fn by_dialplan_the_caller_is_continued_once_and_joins_again_when_back() {
    let want = Want::Dial {
        attempt: ATTEMPT,
        ring_s: 15,
        legs: vec![want_leg("1001")],
    };
    let mut have = caller();
    assert!(matches!(steps(&want, &have)[..], [Step::Dial { .. }]));
    have.dialled = Some(ATTEMPT);
    have.place = Place::Dialplan;
    have.dial_names = [(agent("1001"), "PJSIP/1001".to_string())].into();
    have.observe(&about("StasisEnd", "a-1.1", ""));
    assert_eq!((have.place, steps(&want, &have)), (Place::Dialplan, vec![]));
    let dial = |status: &str| {
        event(&format!(
            r#"{{"type":"Dial","caller":{{"id":"a-1.1"}},"peer":{{"id":"a-1.2","name":"PJSIP/1001-0000000a"}},"dialstatus":"{status}"}}"#
        ))
    };
    have.observe(&dial("RINGING"));
    assert!(matches!(
        proposed(&want, &have)[..],
        [Command::OfferRinging { .. }]
    ));
    let mut answered = have.clone();
    answered.observe(&dial("ANSWER"));
    assert!(matches!(
        proposed(&want, &answered)[..],
        [Command::OfferAnswer { .. }]
    ));
    let mut rejected = have.clone();
    rejected.observe(&dial("BUSY"));
    assert_eq!(proposed(&want, &rejected).len(), 1);
    // The agent is not free before this caller can be offered again, or the next one would overtake.
    have.observe(&dial("NOANSWER"));
    assert_eq!(proposed(&want, &have), []);
    have.observe(&about(
        "StasisStart",
        "a-1.1",
        r#","args":["again","NOANSWER"]"#,
    ));
    assert_eq!(have.place, Place::Stasis);
    assert_eq!(
        steps(&want, &have),
        [Step::StartMusic(String::new()), Step::Join]
    );
}

#[test]
fn a_transfer_by_the_agent_frees_the_agent_and_keeps_the_caller_talking() {
    let id = leg_id(ATTEMPT, "1001");
    let mut have = with_legs(vec![leg(ATTEMPT, "1001", LegState::Up)]);
    have.observe(&event(&format!(
        r#"{{"type":"StasisStart","args":[],"channel":{{"id":"local-1"}},"replace_channel":{{"id":"{id}"}}}}"#
    )));
    have.observe(&about("ChannelDestroyed", &id, r#","cause":16"#));
    let over = Command::CallEnd {
        call: CALL,
        attempt: ATTEMPT,
        by: EndedBy::Agent,
    };
    assert_eq!(steps(&talks("1001"), &have), [Step::Propose(over)]);
    let lives = have.replacement.clone();
    assert_eq!(
        lives,
        Some(Replacement {
            channel: "local-1".into(),
            lives: true
        })
    );
    have.observe(&about("StasisEnd", "local-1", ""));
    assert!(steps(&Want::Nothing, &have).contains(&Step::HangUpCaller));
}

#[test]
fn a_comparison_keeps_the_living_legs_and_ends_the_others() {
    let mut have = with_legs(vec![
        leg(ATTEMPT, "1001", LegState::Ringing),
        leg(ATTEMPT, "1002", LegState::Ringing),
    ]);
    let key = LegKey {
        epoch: 1,
        call: CALL,
        attempt: ATTEMPT,
        agent: agent("1002"),
    };
    have.compared(Found {
        place: Place::Stasis,
        legs: vec![(leg_id(ATTEMPT, "1002"), key, LegState::Up)],
        announced: 3,
        ..Found::default()
    });
    assert!(!have.legs[0].lives());
    assert_eq!((have.legs[1].state, have.announced), (LegState::Up, 3));
    assert_eq!(have.music, None);
}

#[test]
fn events_find_their_call_and_only_strangers_are_new_callers() {
    let codes = [("login".to_string(), FeatureCode::Login)].into();
    let id = leg_id(ATTEMPT, "1001");
    let to = |event: &Event| route(&pbx(), &codes, event, |id| id == "a-1.1");
    let start = |id: &str, args: &str| about("StasisStart", id, &format!(r#","args":[{args}]"#));
    assert_eq!(to(&start("a-1.9", "")), Route::NewCaller);
    assert_eq!(
        to(&start("a-1.9", r#""login","1001""#)),
        Route::Feature(FeatureCode::Login)
    );
    assert_eq!(
        to(&start("a-1.1", r#""again""#)),
        Route::Caller("a-1.1".into())
    );
    assert_eq!(to(&start(&id, r#""leg""#)), Route::Leg(CALL));
    assert_eq!(to(&start("hf-b-1-7-2-1001", r#""leg""#)), Route::ForeignLeg);
    assert_eq!(
        to(&about("ChannelDestroyed", &id, r#","cause":17"#)),
        Route::Leg(CALL)
    );
    assert_eq!(
        to(&about("StasisEnd", "a-1.1", "")),
        Route::Caller("a-1.1".into())
    );
    let replaced = event(&format!(
        r#"{{"type":"StasisStart","args":[],"channel":{{"id":"x"}},"replace_channel":{{"id":"{id}"}}}}"#
    ));
    assert_eq!(to(&replaced), Route::Replaces(CALL, "x".into()));
    assert_eq!(to(&event("{}")), Route::Nobody);
}
