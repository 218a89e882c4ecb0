//! Callers, legs, bridges, sounds and music, as measured on a real Asterisk.

use serde_json::json;

use super::{APP, Bench, waiting};
use crate::caller::{CallerState, EndedBy};
use crate::hearing::Hearing;
use crate::phone::Habit;

#[test]
fn a_call_enters_stasis_with_its_queue_and_on_music() {
    let mut bench = Bench::new();
    let (caller, id) = bench.call(waiting());
    let start = &bench.events[0];
    assert_eq!(start["type"], "StasisStart");
    assert_eq!(start["application"], APP);
    assert_eq!(start["args"], json!(["sales"]));
    assert_eq!(start["channel"]["caller"]["number"], "5551000");
    assert_eq!(start["channel"]["state"], "Up");
    let (status, value) = bench.does(
        "GET",
        &format!("channels/{id}/variable?variable=QUEUE_NAME"),
    );
    assert_eq!((status, &value["value"]), (200, &json!("sales")));
    assert_eq!(
        bench.hears(caller),
        Hearing::Music {
            class: "default".into()
        }
    );
}

#[test]
fn without_an_application_stasis_fails_and_the_dialplan_goes_on() {
    let mut bench = Bench::deaf();
    let (caller, _) = bench.call(waiting());
    let end = bench.pbx.callers[&caller].end.clone().unwrap();
    assert_eq!(end.by, EndedBy::Dialplan);
    assert_eq!(end.dialplan["STASISSTATUS"], "FAILED");
}

#[test]
fn bridging_does_not_stop_the_music() {
    let mut bench = Bench::new();
    bench.pbx.phone_add(
        "1001",
        Habit::Answer {
            after_ms: 100,
            talk_ms: None,
        },
    );
    let (caller, id) = bench.call(waiting());
    let (status, _) = bench.does(
        "POST",
        "channels?endpoint=PJSIP/1001&app=QueueARI&channelId=leg&timeout=20",
    );
    assert_eq!(status, 200);
    bench.pass(200);
    assert_eq!(bench.does("POST", "bridges?bridgeId=b").0, 200);
    assert_eq!(
        bench
            .does("POST", &format!("bridges/b/addChannel?channel={id},leg"))
            .0,
        204
    );
    let over = |music| Hearing::Bridged {
        with: "1001".into(),
        over_music: music,
    };
    assert_eq!(bench.hears(caller), over(true));
    assert_eq!(bench.does("DELETE", &format!("channels/{id}/moh")).0, 204);
    assert_eq!(bench.hears(caller), over(false));
    assert_eq!(bench.pbx.caller_state(caller), Some(CallerState::Talking));
}

#[test]
fn a_running_sound_holds_back_variable_addchannel_and_continue() {
    let mut bench = Bench::new();
    let (caller, id) = bench.call(waiting());
    bench.does("POST", "bridges?bridgeId=b");
    let (status, playback) = bench.does(
        "POST",
        &format!("channels/{id}/play/p?media=sound:demo-congrats"),
    );
    assert_eq!((status, &playback["state"]), (201, &json!("queued")));
    let variable = bench.ask(
        "POST",
        &format!("channels/{id}/variable?variable=X&value=1"),
        "",
    );
    let add = bench.ask("POST", &format!("bridges/b/addChannel?channel={id}"), "");
    let go_on = bench.ask("POST", &format!("channels/{id}/continue"), "");
    assert_eq!(bench.status_of(variable), None);
    assert_eq!(bench.status_of(add), None);
    assert_eq!(bench.status_of(go_on), Some(204));
    assert_eq!(bench.pbx.caller_state(caller), Some(CallerState::Waiting));
    assert_eq!(bench.does("DELETE", "playbacks/p").0, 204);
    assert_eq!(bench.status_of(variable), Some(204));
    assert_eq!(bench.status_of(add), Some(204));
    assert_eq!(bench.pbx.caller_state(caller), Some(CallerState::Ended));
}

#[test]
fn conflict_on_originate_has_two_meanings() {
    let mut bench = Bench::new();
    bench.pbx.phone_add("1001", Habit::NoAnswer);
    let originate = |endpoint: &str, id: &str| {
        format!("channels?endpoint={endpoint}&app=QueueARI&channelId={id}")
    };
    assert_eq!(bench.does("POST", &originate("PJSIP/1001", "x")).0, 200);
    let duplicate = bench.does("POST", &originate("PJSIP/1001", "x"));
    assert_eq!(duplicate.0, 409);
    let unreachable: Vec<_> = (0..20)
        .map(|_| bench.does("POST", &originate("PJSIP/9999", "y")))
        .collect();
    assert!(
        unreachable.contains(&duplicate),
        "the same answer for another reason"
    );
    assert!(unreachable.contains(&(500, json!({ "error": "Allocation failed" }))));
    let without_id = bench.does("POST", "channels?endpoint=PJSIP/9999&app=QueueARI");
    assert_eq!(without_id, (500, json!({ "error": "Allocation failed" })));
    let create = |endpoint: &str, id: &str| {
        format!("channels/create?endpoint={endpoint}&app=QueueARI&channelId={id}")
    };
    assert_eq!(bench.does("POST", &create("PJSIP/1001", "x")).0, 409);
    assert_eq!(bench.does("POST", &create("PJSIP/9999", "z")).0, 500);
    assert_eq!(bench.does("DELETE", "channels/x").0, 204);
    assert_eq!(
        bench.does("POST", &originate("PJSIP/1001", "x")).0,
        200,
        "an id is free again"
    );
}

#[test]
fn destroyed_is_told_for_legs_but_not_for_callers() {
    let mut bench = Bench::new();
    bench.pbx.phone_add("1001", Habit::Busy);
    let (caller, _) = bench.call(waiting());
    bench.kinds();
    bench.pbx.caller_hangs_up(caller);
    bench.collect();
    assert_eq!(bench.kinds().last().unwrap(), "StasisEnd");
    bench.does(
        "POST",
        "channels?endpoint=PJSIP/1001&app=QueueARI&channelId=leg",
    );
    bench.pass(50);
    let destroyed = bench.events.last().unwrap().clone();
    assert_eq!(
        (
            &destroyed["cause"],
            &destroyed["cause_txt"],
            &destroyed["tech_cause"]
        ),
        (&json!(17), &json!("User busy"), &json!(486)),
    );
    let kinds = bench.kinds();
    assert_eq!(
        kinds,
        ["Dial", "ChannelHangupRequest", "Dial", "ChannelDestroyed"]
    );
}

#[test]
fn an_answered_leg_rings_answers_and_starts_in_this_order() {
    let mut bench = Bench::new();
    bench.pbx.phone_add(
        "1001",
        Habit::Answer {
            after_ms: 50,
            talk_ms: Some(500),
        },
    );
    bench.does(
        "POST",
        "channels?endpoint=PJSIP/1001&app=QueueARI&channelId=leg&appArgs=agent,1",
    );
    bench.pass(100);
    let start = bench.events.last().unwrap().clone();
    assert_eq!(start["args"], json!(["agent", "1"]));
    assert_eq!(
        bench.kinds(),
        [
            "Dial",
            "ChannelStateChange",
            "Dial",
            "ChannelStateChange",
            "Dial",
            "StasisStart"
        ]
    );
    bench.pass(1000);
    let kinds = bench.kinds();
    assert_eq!(kinds[0], "ChannelHangupRequest");
    assert_eq!(kinds[kinds.len() - 2..], ["StasisEnd", "ChannelDestroyed"]);
}

#[test]
fn a_silent_phone_ends_at_the_time_out_with_cause_19() {
    let mut bench = Bench::new();
    bench.pbx.phone_add("1001", Habit::Silent);
    bench.does(
        "POST",
        "channels?endpoint=PJSIP/1001&app=QueueARI&channelId=leg&timeout=1",
    );
    bench.pass(999);
    assert_eq!(bench.kinds(), ["Dial"]);
    bench.pass(1);
    assert_eq!(bench.events[0]["cause"], 19);
    assert_eq!(bench.kinds(), ["ChannelDestroyed"]);
}

#[test]
fn music_queued_behind_sounds_plays_after_them() {
    let mut bench = Bench::new();
    let (caller, id) = bench.call(waiting());
    bench.kinds();
    let play = format!("channels/{id}/play?media=sound:queue-thereare,number:3");
    assert_eq!(bench.does("POST", &play).0, 201);
    assert_eq!(bench.does("POST", &format!("channels/{id}/moh")).0, 204);
    assert_eq!(
        bench.hears(caller),
        Hearing::Sound("sound:queue-thereare".into())
    );
    bench.pass(2300);
    assert_eq!(bench.hears(caller), Hearing::Sound("number:3".into()));
    bench.pass(400);
    assert_eq!(
        bench.kinds(),
        [
            "PlaybackStarted",
            "PlaybackContinuing",
            "PlaybackStarted",
            "PlaybackFinished"
        ]
    );
    assert_eq!(
        bench.hears(caller),
        Hearing::Music {
            class: "default".into()
        }
    );
}

#[test]
fn the_same_playback_id_plays_twice() {
    let mut bench = Bench::new();
    let (_, id) = bench.call(waiting());
    bench.kinds();
    for _ in 0..2 {
        let play = format!("channels/{id}/play/same?media=sound:sorry");
        assert_eq!(bench.does("POST", &play).0, 201);
    }
    bench.pass(10_000);
    assert_eq!(
        bench
            .kinds()
            .iter()
            .filter(|kind| *kind == "PlaybackFinished")
            .count(),
        2
    );
}
