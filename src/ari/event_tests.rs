//! Events as Asterisk 22 sent them (`testdata/events.jsonl`, one of each type), and what is left
//! of them when each field is taken away, replaced or blown up.

use serde_json::{Value, json};

use crate::client::USED_EVENTS;
use crate::event::{Event, decode};
use crate::model::DeviceState;

fn recorded() -> Vec<&'static str> {
    include_str!("testdata/events.jsonl").lines().collect()
}

fn recorded_as(type_name: &str) -> Value {
    let all = recorded();
    let values = all
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    values
        .into_iter()
        .find(|value| value["type"] == type_name)
        .unwrap()
}

#[test]
fn every_recorded_event_is_typed_or_known_to_be_unused() {
    let unused = [
        "ChannelCallerId",
        "ChannelConnectedLine",
        "ChannelDialplan",
        "ChannelVarset",
        "PlaybackContinuing",
    ];
    for line in recorded() {
        let wanted = serde_json::from_str::<Value>(line).unwrap();
        let wanted = wanted["type"].as_str().unwrap();
        match decode(line) {
            Event::Unknown { type_name, raw } => {
                assert!(unused.contains(&type_name.as_str()), "{type_name}");
                assert_eq!(raw, line);
            }
            Event::Malformed { why, .. } => panic!("{wanted}: {why}"),
            event => assert_eq!(event.type_name(), wanted),
        }
    }
}

#[test]
fn every_event_that_is_asked_for_is_understood() {
    for name in USED_EVENTS {
        let recorded = recorded_as(name);
        assert_eq!(decode(&recorded.to_string()).type_name(), name);
    }
}

#[test]
fn a_stasis_start_has_its_channel_and_arguments() {
    let Event::StasisStart {
        channel,
        args,
        replace_channel,
    } = decode(&recorded_as("StasisStart").to_string())
    else {
        panic!("no StasisStart");
    };
    assert_eq!(
        (channel.id.as_str(), channel.caller.number.as_str()),
        ("leg-1", "5551000")
    );
    assert_eq!(channel.caller.name, "Имя \u{202e}<x>");
    assert_eq!(args, ["leg", "1"]);
    assert_eq!(replace_channel, None);
}

#[test]
fn a_replacement_after_a_transfer_names_whom_it_replaces() {
    let mut value = recorded_as("StasisStart");
    value["replace_channel"] = json!({ "id": "leg-0" });
    value["args"] = json!([]);
    let Event::StasisStart {
        replace_channel, ..
    } = decode(&value.to_string())
    else {
        panic!("no StasisStart");
    };
    assert_eq!(replace_channel.unwrap().id, "leg-0");
}

#[test]
fn causes_may_be_absent() {
    let mut value = recorded_as("ChannelDestroyed");
    value
        .as_object_mut()
        .unwrap()
        .retain(|key, _| !key.contains("cause"));
    let Event::ChannelDestroyed {
        cause, tech_cause, ..
    } = decode(&value.to_string())
    else {
        panic!("no ChannelDestroyed");
    };
    assert_eq!((cause, tech_cause), (None, None));
}

#[test]
fn an_event_without_what_it_is_about_is_malformed() {
    for (type_name, field) in [
        ("StasisStart", "channel"),
        ("StasisEnd", "channel"),
        ("Dial", "peer"),
        ("ChannelDestroyed", "channel"),
        ("ChannelDtmfReceived", "digit"),
        ("PlaybackFinished", "playback"),
        ("DeviceStateChanged", "device_state"),
        ("ChannelEnteredBridge", "bridge"),
        ("ChannelLeftBridge", "channel"),
    ] {
        let mut value = recorded_as(type_name);
        value.as_object_mut().unwrap().remove(field);
        let event = decode(&value.to_string());
        let Event::Malformed {
            type_name: Some(named),
            why,
            ..
        } = event
        else {
            panic!("{type_name} without {field} is {event:?}");
        };
        assert_eq!(named, type_name);
        assert!(why.contains(field), "{why}");
    }
}

#[test]
fn no_single_broken_field_makes_an_event_something_else() {
    let huge = "x".repeat(10_000);
    let breakages = [
        Value::Null,
        json!(-1),
        json!(1e300),
        json!(true),
        json!(huge),
        json!([]),
        json!({}),
        json!("\u{0}\u{202e}\r\n\u{1b}[31m"),
    ];
    let mut decoded = 0;
    for line in recorded() {
        let whole: Value = serde_json::from_str(line).unwrap();
        let name = whole["type"].as_str().unwrap().to_string();
        for path in paths(&whole, String::new()) {
            for breakage in &breakages {
                let mut broken = whole.clone();
                *broken.pointer_mut(&path).unwrap() = breakage.clone();
                let event = decode(&broken.to_string());
                let fits = match &event {
                    Event::Malformed { raw, .. } => raw.len() <= 4096,
                    Event::Unknown { raw, type_name } => raw.len() <= 4096 && type_name.len() <= 64,
                    event => event.type_name() == name,
                };
                assert!(fits, "{name} with {path} broken is {}", event.type_name());
                decoded += 1;
            }
        }
    }
    assert!(decoded > 2_000, "{decoded}");
}

/// Pointers to every value inside.
fn paths(value: &Value, base: String) -> Vec<String> {
    let mut found = Vec::new();
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let path = format!("{base}/{key}");
        found.extend(paths(child, path.clone()));
        found.push(path);
    }
    found
}

#[test]
fn texts_that_are_no_events_are_malformed() {
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "null",
        "[]",
        "{}",
        "\"StasisStart\"",
        r#"{"type":7}"#,
        r#"{"type":"StasisStart""#,
        r#"{"type":"StasisStart","channel":{"id":""}}"#,
        r#"{"type":"StasisStart","channel":{"id":"\ud800"}}"#,
        "{\"type\":\"StasisStart\",\"channel\":{\"id\":\"a\nb\"}}",
        deep.as_str(),
    ] {
        assert!(
            matches!(decode(text), Event::Malformed { .. }),
            "{}",
            &text[..text.len().min(60)]
        );
    }
}

#[test]
fn hostile_texts_are_kept_as_they_are() {
    let name = "\u{202e}\u{0}\u{1b}[31m\r\n\"<x>\u{fffd}".to_string() + &"я".repeat(10_000);
    let event = json!({
        "type": "StasisStart",
        "args": ["a,b", "../../etc", "${SHELL(id)}", 5],
        "channel": { "id": "../a::b|c", "caller": { "name": name, "number": "\"<x>" } }
    });
    let Event::StasisStart { channel, args, .. } = decode(&event.to_string()) else {
        panic!("no StasisStart");
    };
    assert_eq!(channel.id, "../a::b|c");
    assert_eq!(channel.caller.name, name);
    assert_eq!(
        args,
        ["a,b", "../../etc", "${SHELL(id)}"],
        "what is no text is left out"
    );
    assert!(
        !format!("{channel:?}").contains('\u{1b}'),
        "Debug shows no control characters"
    );
}

#[test]
fn duplicate_fields_do_not_confuse() {
    let event =
        decode(r#"{"type":"Bogus","type":"StasisEnd","channel":{"id":"a"},"channel":{"id":"b"}}"#);
    assert_eq!(event.channel().unwrap().id, "b");
}

#[test]
fn device_states_of_the_future_are_unknown() {
    let event = json!({
        "type": "DeviceStateChanged",
        "device_state": { "name": "PJSIP/1001", "state": "TELEPATHY" }
    });
    let wanted = Event::DeviceStateChanged {
        device: "PJSIP/1001".into(),
        state: DeviceState::Unknown,
    };
    assert_eq!(decode(&event.to_string()), wanted);
}
