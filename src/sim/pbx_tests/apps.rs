//! Applications, the dialplan, devices and trunks, as measured on a real Asterisk.

use serde_json::{Value, json};

use super::{APP, Bench, waiting};
use crate::caller::{CallSpec, CallerState, EndedBy};
use crate::pbx::{Output, Request};
use crate::phone::Habit;

#[test]
fn a_second_websocket_replaces_the_first_and_survives_its_closing() {
    let mut bench = Bench::new();
    bench.pbx.ws_open(2, &[APP.to_owned()], false);
    bench.collect();
    assert_eq!(bench.kinds(), ["ApplicationReplaced"]);
    bench.pbx.ws_close(1);
    let (caller, _) = bench.call(waiting());
    assert_eq!(bench.pbx.caller_state(caller), Some(CallerState::Waiting));
}

#[test]
fn an_application_with_channels_outlives_its_websocket_but_misses_events() {
    let mut bench = Bench::new();
    let (caller, id) = bench.call(waiting());
    bench.does(
        "POST",
        "applications/QueueARI/subscription?eventSource=deviceState:,channel:",
    );
    bench.pbx.ws_close(1);
    let (status, app) = bench.does("GET", "applications/QueueARI");
    assert_eq!((status, &app["channel_ids"]), (200, &json!([id])));
    assert_eq!(
        app["device_names"],
        json!([]),
        "subscriptions to all are lost"
    );
    bench.events.clear();
    let (other, _) = bench.call(waiting());
    assert_eq!(bench.pbx.caller_state(other), Some(CallerState::Ended));
    bench.pbx.ws_open(2, &[APP.to_owned()], false);
    bench.collect();
    assert!(
        bench.events.is_empty(),
        "no StasisStart for channels already inside"
    );
    bench.pbx.caller_hangs_up(caller);
    bench.collect();
    assert!(bench.kinds().contains(&"StasisEnd".to_owned()));
    bench.pbx.ws_close(2);
    assert_eq!(bench.does("GET", "applications/QueueARI").0, 404);
}

#[test]
fn a_hostile_call_blinds_the_list_but_not_the_application() {
    let mut bench = Bench::new();
    let (_, id) = bench.call(CallSpec {
        hostile: true,
        stasis_args: Some(vec![]),
        ..waiting()
    });
    assert!(bench.events.is_empty());
    assert_eq!(bench.does("GET", "channels").0, 500);
    assert_eq!(
        bench.does("GET", &format!("channels/{id}")),
        (200, Value::Null)
    );
    assert_eq!(
        bench.does("GET", "applications/QueueARI").1["channel_ids"],
        json!([id])
    );
    assert_eq!(bench.does("DELETE", &format!("channels/{id}")).0, 204);
    assert_eq!(bench.does("GET", "channels"), (200, json!([])));
}

#[test]
fn dialplan_mode_dials_the_call_string_and_comes_back_when_busy() {
    let mut bench = Bench::new();
    bench.pbx.phone_add("1001", Habit::Busy);
    bench.pbx.phone_add(
        "1002",
        Habit::Answer {
            after_ms: 20,
            talk_ms: Some(1000),
        },
    );
    let (caller, id) = bench.call(CallSpec::new("qd-sales", "5551000"));
    let set =
        |number: &str| format!("channels/{id}/variable?variable=call_string&value=PJSIP/{number}");
    assert_eq!(bench.does("POST", &set("1001")).0, 204);
    assert_eq!(
        bench.does("POST", &format!("channels/{id}/continue")).0,
        204
    );
    assert_eq!(bench.does("POST", &format!("channels/{id}/moh")).0, 409);
    bench.events.clear();
    bench.pass(50);
    assert_eq!(bench.events[0]["args"], json!(["sales", "again=BUSY"]));
    assert_eq!(bench.does("POST", &set("1002")).0, 204);
    assert_eq!(
        bench.does("POST", &format!("channels/{id}/continue")).0,
        204
    );
    bench.pass(100);
    assert_eq!(bench.pbx.callers[&caller].talked_to, ["1002"]);
    bench.pass(2000);
    let end = bench.pbx.callers[&caller].end.clone().unwrap();
    assert_eq!(
        end.by,
        EndedBy::Dialplan,
        "the caller goes on when the agent hangs up"
    );
    assert_eq!(end.dialplan["QUEUESTATUS"], "CONTINUE");
}

#[test]
fn continue_brings_variables_back_and_a_bad_context_drops_the_call() {
    let mut bench = Bench::new();
    let (caller, id) = bench.call(waiting());
    bench.does(
        "POST",
        &format!("channels/{id}/variable?variable=QUEUESTATUS&value=TIMEOUT"),
    );
    let on = format!("channels/{id}/continue?context=fallback&extension=s&priority=1");
    assert_eq!(bench.does("POST", &on).0, 204);
    let end = bench.pbx.callers[&caller].end.clone().unwrap();
    assert_eq!(end.dialplan["QUEUESTATUS"], "TIMEOUT");
    assert_eq!(end.continued_to, Some(("fallback".into(), "s".into(), 1)));
    let (caller, id) = bench.call(waiting());
    assert_eq!(
        bench
            .does("POST", &format!("channels/{id}/continue?label=nope"))
            .0,
        404
    );
    assert_eq!(
        bench
            .does("POST", &format!("channels/{id}/continue?context=nowhere"))
            .0,
        204
    );
    let end = bench.pbx.callers[&caller].end.clone().unwrap();
    assert_eq!((end.by, end.continued_to), (EndedBy::Dialplan, None));
}

#[test]
fn device_states_follow_the_phone() {
    let mut bench = Bench::new();
    let subscribe = "applications/QueueARI/subscription?eventSource=deviceState:PJSIP/1001";
    assert_eq!(bench.does("POST", subscribe).0, 200);
    bench.pbx.phone_add(
        "1001",
        Habit::Answer {
            after_ms: 50,
            talk_ms: Some(100),
        },
    );
    bench.does(
        "POST",
        "channels?endpoint=PJSIP/1001&app=other&channelId=leg",
    );
    bench.pbx.ws_open(2, &["other".to_owned()], false);
    bench.pass(500);
    bench.pbx.phone_register("1001", false);
    bench.collect();
    let states: Vec<_> = bench
        .events
        .iter()
        .filter(|event| event["type"] == "DeviceStateChanged")
        .map(|event| event["device_state"]["state"].as_str().unwrap())
        .collect();
    assert_eq!(
        states,
        ["NOT_INUSE", "RINGING", "INUSE", "NOT_INUSE", "UNAVAILABLE"]
    );
    let (status, state) = bench.does("GET", "deviceStates/PJSIP%2F1001");
    assert_eq!((status, &state["state"]), (200, &json!("UNAVAILABLE")));
    assert_eq!(bench.does("GET", "deviceStates/PJSIP/1001").0, 404);
}

#[test]
fn dialling_a_created_leg_twice_kills_it() {
    let mut bench = Bench::new();
    bench.pbx.phone_add("1001", Habit::NoAnswer);
    bench.does(
        "POST",
        "channels/create?endpoint=PJSIP/1001&app=QueueARI&channelId=leg",
    );
    assert_eq!(bench.kinds(), ["StasisStart"]);
    assert_eq!(bench.does("POST", "channels/leg/dial").0, 204);
    assert_eq!(bench.does("POST", "channels/leg/dial").0, 204);
    assert_eq!(bench.does("GET", "channels/leg").0, 404);
    bench.does(
        "POST",
        "channels/create?endpoint=PJSIP/1001&app=QueueARI&channelId=leg",
    );
    bench.does("POST", "channels/leg/dial");
    bench.pass(20);
    assert_eq!(bench.does("POST", "channels/leg/dial").0, 409);
}

#[test]
fn adding_channels_is_all_or_nothing() {
    let mut bench = Bench::new();
    let (_, id) = bench.call(waiting());
    bench.does("POST", "bridges?bridgeId=b");
    assert_eq!(
        bench
            .does("POST", &format!("bridges/b/addChannel?channel={id},nobody"))
            .0,
        400
    );
    assert_eq!(bench.does("GET", "bridges/b").1["channels"], json!([]));
    assert_eq!(
        bench
            .does("POST", &format!("bridges/b/removeChannel?channel={id}"))
            .0,
        422
    );
    assert_eq!(bench.does("POST", "bridges?bridgeId=b").0, 409);
    assert_eq!(bench.does("POST", "bridges/b/addChannel").0, 400);
    assert_eq!(bench.does("DELETE", "bridges/b").0, 204);
    assert_eq!(bench.does("DELETE", "bridges/b").0, 404);
    assert_eq!(bench.does("PUT", "bridges").0, 405);
    let token = bench.ask("POST", "channels", "{nonsense");
    assert_eq!(bench.status_of(token), Some(400));
}

#[test]
fn reported_variables_are_shown_with_the_channel() {
    let mut bench = Bench::new();
    let (_, id) = bench.call(waiting());
    let body = r#"{"variables":{"hf_b":{"value":"2","report_events":true},"plain":"x"}}"#;
    let token = bench.ask("POST", &format!("channels/{id}/variables"), body);
    assert_eq!(bench.status_of(token), Some(204));
    let (_, channel) = bench.does("GET", &format!("channels/{id}"));
    assert_eq!(channel["channelvars"], json!({ "hf_b": "2" }));
}

#[test]
fn a_call_over_a_trunk_reaches_the_phone_at_the_other_and_ends_on_both() {
    let (mut a, mut b) = (Bench::new(), Bench::new());
    b.pbx.config.name = "b".into();
    a.pbx.trunk_add("b");
    b.pbx.trunk_add("a");
    b.pbx.phone_add(
        "1001",
        Habit::Answer {
            after_ms: 50,
            talk_ms: Some(500),
        },
    );
    let run = |a: &mut Bench, b: &mut Bench, ms: u64| {
        for _ in 0..ms {
            a.pbx.advance(a.pbx.now + 1);
            b.pbx.advance(b.pbx.now + 1);
            loop {
                let from_a = a.pbx.take_outputs();
                let from_b = b.pbx.take_outputs();
                if from_a.is_empty() && from_b.is_empty() {
                    break;
                }
                for output in from_a {
                    match output {
                        Output::Trunk { message, .. } => b.pbx.trunk_message("a", message),
                        Output::Event { text, .. } => {
                            a.events.push(serde_json::from_str(&text).unwrap());
                        }
                        _ => {}
                    }
                }
                for output in from_b {
                    if let Output::Trunk { message, .. } = output {
                        a.pbx.trunk_message("b", message);
                    }
                }
            }
        }
    };
    let (status, _) = a.does(
        "POST",
        "channels?endpoint=PJSIP/1001@trunk-b&app=QueueARI&channelId=leg",
    );
    assert_eq!(status, 200);
    run(&mut a, &mut b, 200);
    assert_eq!(a.kinds().last().unwrap(), "StasisStart");
    assert_eq!(b.pbx.phones["1001"].device_state().as_str(), "INUSE");
    run(&mut a, &mut b, 600);
    assert_eq!(a.kinds().last().unwrap(), "ChannelDestroyed");
    assert!(b.pbx.channels.is_empty() && b.pbx.bridges.is_empty());
    assert_eq!(b.pbx.phones["1001"].device_state().as_str(), "NOT_INUSE");
    a.does(
        "POST",
        "channels?endpoint=PJSIP/1001@trunk-b&app=QueueARI&channelId=leg",
    );
    run(&mut a, &mut b, 10);
    assert_eq!(b.pbx.phones["1001"].device_state().as_str(), "RINGING");
    a.pbx.request(
        1,
        &Request::parse("DELETE", "channels/leg", "reason=answered_elsewhere", b""),
    );
    run(&mut a, &mut b, 10);
    assert_eq!(a.events.last().unwrap()["cause"], 26);
    assert_eq!(b.pbx.phones["1001"].device_state().as_str(), "NOT_INUSE");
    assert!(b.pbx.channels.is_empty());
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut bench = Bench::new();
        bench.pbx.phone_add(
            "1001",
            Habit::Answer {
                after_ms: 30,
                talk_ms: Some(70),
            },
        );
        for _ in 0..5 {
            bench.call(waiting());
            bench.does("POST", "channels?endpoint=PJSIP/1001&app=QueueARI");
            bench.does("POST", "bridges");
            bench.pass(40);
        }
        (bench.events, bench.answers)
    };
    assert_eq!(run(), run());
}

#[test]
fn the_guard_refuses_hostile_calls_and_tames_names() {
    let mut bench = Bench::new();
    for spec in [
        CallSpec {
            hostile: true,
            ..waiting()
        },
        CallSpec::new("q-a&PJSIP/1900", "5551001"),
        CallSpec::new("q-../etc", "5551001"),
    ] {
        let (caller, _) = bench.call(spec);
        let end = bench.pbx.callers[&caller].end.clone().unwrap();
        assert_eq!((end.by, end.refused), (EndedBy::Dialplan, Some(404)));
    }
    assert!(bench.events.is_empty());
    bench.call(CallSpec {
        name: "Имя <x>".into(),
        ..waiting()
    });
    assert_eq!(bench.events[0]["channel"]["caller"]["name"], "Имя x");
}

#[test]
fn the_absolute_timeout_takes_the_caller_back_unless_lifted() {
    let mut bench = Bench::new();
    let (caller, _) = bench.call(waiting().variable("HOLDFAST_MAX_WAIT", "2"));
    let (kept, id) = bench.call(waiting().variable("HOLDFAST_MAX_WAIT", "2"));
    let lift = format!("channels/{id}/variable?variable=TIMEOUT(absolute)&value=0");
    assert_eq!(bench.does("POST", &lift).0, 204);
    bench.pass(1999);
    assert_eq!(bench.pbx.caller_state(caller), Some(CallerState::Waiting));
    bench.pass(10_000);
    let end = bench.pbx.callers[&caller].end.clone().unwrap();
    assert_eq!(end.dialplan["QUEUESTATUS"], "FAILED");
    assert_eq!(bench.pbx.caller_state(kept), Some(CallerState::Waiting));
}

#[test]
fn a_call_string_of_anything_but_pjsip_is_not_dialled() {
    let mut bench = Bench::new();
    bench.pbx.phone_add("1002", Habit::NoAnswer);
    let (_, id) = bench.call(waiting());
    for hostile in [
        "PJSIP/1002%26Local/1002@x",
        "PJSIP/1002,20,G(x)",
        "Local/x@y",
    ] {
        bench.events.clear();
        let set = format!("channels/{id}/variable?variable=call_string&value={hostile}");
        assert_eq!(bench.does("POST", &set).0, 204);
        assert_eq!(
            bench.does("POST", &format!("channels/{id}/continue")).0,
            204
        );
        let start = bench.events.last().unwrap();
        assert_eq!(start["args"], json!(["sales", "again=NONE"]));
    }
    assert_eq!(bench.pbx.phones["1002"].times_rung, 0);
}

#[test]
fn agents_codes_come_from_channels_named_after_their_phones() {
    let mut bench = Bench::new();
    for (code, word) in [("*45", "login"), ("*48", "unpause")] {
        bench.events.clear();
        bench.call(CallSpec::new(code, "1001"));
        assert_eq!(bench.events[0]["args"], json!([word]));
        let name = bench.events[0]["channel"]["name"].as_str().unwrap();
        assert!(name.starts_with("PJSIP/1001-"), "{name}");
    }
}
