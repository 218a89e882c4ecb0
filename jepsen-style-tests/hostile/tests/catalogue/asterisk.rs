//! What an Asterisk, or who pretends to be one, may send: events and the bodies of answers.

use crate::{Entry, same, shown, told};
use holdfast_acd::PbxId;
use holdfast_ari::{AriError, Event, decode, doors};
use holdfast_node::doors as node;

const CHANNEL: &str = r#"{"id":"a-1.1","state":"Up","caller":{"name":"B","number":"5"}}"#;

/// The type that an event text becomes, and whom it is for.
fn becomes(text: &str) -> (String, String) {
    let event = decode(text);
    let pbx = PbxId::new("a").expect("a is a name");
    let route = node::route_of(&pbx, &event, false);
    (event.type_name().to_owned(), route)
}

pub fn events() -> Vec<Entry> {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let huge = format!(
        "{{\"type\":\"StasisStart\",\"args\":[\"{}\"]}}",
        "x".repeat(1 << 20)
    );
    let wide = format!("{{\"type\":\"Weird\",\"x\":\"{}\"}}", "é".repeat(100_000));
    let malformed: &[&str] = &[
        "",
        " ",
        "null",
        "7",
        "[]",
        "\"StasisStart\"",
        "{",
        "{}",
        "{\"type\":null}",
        "{\"type\":7}",
        "{\"type\":[]}",
        "{\"type\":\"StasisStart\"",
        "{\"type\":\"StasisStart\"}}",
        "\u{feff}{}",
        r#"{"type":"StasisStart"}"#,
        r#"{"type":"StasisStart","channel":null}"#,
        r#"{"type":"StasisStart","channel":7}"#,
        r#"{"type":"StasisStart","channel":[]}"#,
        r#"{"type":"StasisStart","channel":{}}"#,
        r#"{"type":"StasisStart","channel":{"id":null}}"#,
        r#"{"type":"StasisStart","channel":{"id":""}}"#,
        r#"{"type":"StasisStart","channel":{"id":7}}"#,
        r#"{"type":"StasisStart","channel":{"id":["a"]}}"#,
        r#"{"type":"StasisEnd"}"#,
        r#"{"type":"ChannelDestroyed","channel":{"name":"x"}}"#,
        r#"{"type":"ChannelHangupRequest","cause":16}"#,
        r#"{"type":"ChannelStateChange","channel":"a-1.1"}"#,
        r#"{"type":"Dial"}"#,
        r#"{"type":"Dial","peer":{}}"#,
        r#"{"type":"ChannelDtmfReceived","channel":{"id":"a"}}"#,
        r#"{"type":"ChannelDtmfReceived","channel":{"id":"a"},"digit":""}"#,
        r#"{"type":"ChannelDtmfReceived","channel":{"id":"a"},"digit":5}"#,
        r#"{"type":"PlaybackFinished"}"#,
        r#"{"type":"PlaybackFinished","playback":{}}"#,
        r#"{"type":"DeviceStateChanged"}"#,
        r#"{"type":"DeviceStateChanged","device_state":{"state":"INUSE"}}"#,
        r#"{"type":"ChannelEnteredBridge","channel":{"id":"a"}}"#,
        r#"{"type":"ChannelLeftBridge","bridge":{"id":"b"}}"#,
        r#"{"type":"ChannelTransfer"}"#,
        "{\"type\":\"\\ud800\"}",
        "{\"type\":\"Stasis\u{1}Start\"}",
        &deep,
        &huge,
    ];
    let mut entries: Vec<Entry> = malformed
        .iter()
        .map(|text| {
            let got = becomes(text);
            let wanted = ("Malformed".to_owned(), "nobody".to_owned());
            same(&format!("event {}", shown(text)), got, wanted)
        })
        .collect();
    let unknown = [
        r#"{"type":""}"#,
        r#"{"type":"stasisstart"}"#,
        r#"{"type":"ChannelTalkingStarted"}"#,
        r#"{"type":"StasisStart\n"}"#,
        r#"{"type":"RESTResponse","status_code":200}"#,
        &wide,
    ];
    for text in unknown {
        let kept = match decode(text) {
            Event::Unknown { raw, type_name } => raw.len() <= 4096 && type_name.len() <= 64,
            _ => false,
        };
        entries.push(same(
            &format!("event of no known type {}", shown(text)),
            kept,
            true,
        ));
    }
    let start = |id: &str, more: &str| {
        format!("{{\"type\":\"StasisStart\",\"channel\":{{\"id\":{id:?}{more}}}}}")
    };
    // Odd, and used for what can be used of it.
    let used = [
        ("a name that is no text", start("a-1.1", r#","caller":{"name":7,"number":[]}"#), "new caller"),
        ("a caller that is a list", start("a-1.1", r#","caller":[]"#), "new caller"),
        ("a state that is none", start("a-1.1", r#","state":"Sideways""#), "new caller"),
        ("a dialplan of another type", start("a-1.1", r#","dialplan":"s""#), "new caller"),
        ("an id with a slash", start("a/../b", ""), "new caller"),
        ("an id with a percent", start("a%2e", ""), "new caller"),
        ("an id that looks like a leg of another", start("hf-z-1-2-3-4", ""), "foreign leg"),
        ("an id that looks like half a leg", start("hf-", ""), "foreign leg"),
        ("a leg's id with a number too large", start("hf-a-1-99999999999999999999999-1-1", ""), "foreign leg"),
        ("a leg of nobody", start("hf-a-1-7-1-", ""), "foreign leg"),
        ("arguments that are no texts", r#"{"type":"StasisStart","channel":{"id":"x"},"args":[null,7,{}]}"#.into(), "new caller"),
        ("arguments that are no list", r#"{"type":"StasisStart","channel":{"id":"x"},"args":"login"}"#.into(), "new caller"),
        ("a feature code", r#"{"type":"StasisStart","channel":{"id":"x"},"args":["login"]}"#.into(), "feature Login"),
        ("a feature code in capitals", r#"{"type":"StasisStart","channel":{"id":"x"},"args":["LOGIN"]}"#.into(), "new caller"),
        ("two types, of which the last counts", r#"{"type":"StasisEnd","type":"StasisStart","channel":{"id":"x"}}"#.into(), "new caller"),
        ("two channels", r#"{"type":"StasisStart","channel":{"id":"x"},"channel":{"id":"y"}}"#.into(), "new caller"),
        ("an end before the start", format!("{{\"type\":\"StasisEnd\",\"channel\":{CHANNEL}}}"), "caller a-1.1"),
        ("a playback of a bridge", r#"{"type":"PlaybackFinished","playback":{"id":"p","target_uri":"bridge:b"}}"#.into(), "nobody"),
        ("a playback of nothing", r#"{"type":"PlaybackFinished","playback":{"id":"p"}}"#.into(), "nobody"),
        ("a device of an unknown state", r#"{"type":"DeviceStateChanged","device_state":{"name":"PJSIP/1","state":"ON FIRE"}}"#.into(), "device"),
        ("a replacement of another's leg", r#"{"type":"StasisStart","channel":{"id":"x"},"replace_channel":{"id":"hf-z-1-2-3-4"}}"#.into(), "new caller"),
        ("an application that was replaced", r#"{"type":"ApplicationReplaced","application":7}"#.into(), "nobody"),
    ];
    for (what, text, wanted) in used {
        entries.push(same(what, becomes(&text).1, wanted.to_owned()));
    }
    entries
}

pub fn answers() -> Vec<Entry> {
    let mut entries = Vec::new();
    for text in [
        "",
        " ",
        "<html>502</html>",
        "{",
        "[1,",
        "\u{0}",
        "nul",
        "{\"id\":1e999}",
        "'x'",
    ] {
        let error = doors::body(text.as_bytes()).err();
        let answer = error.map(|error| error.to_string()).unwrap_or_default();
        entries.push(told(
            &format!("an answer 200 with {}", shown(text)),
            &answer,
            &["a test"],
        ));
    }
    let none = [
        "null",
        "7",
        "[]",
        "{}",
        "[null,7,[],{}]",
        "[{\"id\":\"\"}]",
        "{\"id\":null}",
    ];
    for text in none {
        let read = doors::body(text.as_bytes()).expect("it is JSON");
        let seen = read.channel.is_some() || !read.channels.is_empty() || !read.bridges.is_empty();
        entries.push(same(
            &format!("an answer 200 about nobody, {text}"),
            seen,
            false,
        ));
    }
    type Refusal = (u16, &'static str, fn(&AriError) -> bool);
    let refusals: [Refusal; 9] = [
        (401, "<html>", |error| *error == AriError::Unauthorized),
        (403, "", |error| matches!(error, AriError::Forbidden(_))),
        (404, "{\"message\":7}", |error| error.is_gone()),
        (
            409,
            "{\"message\":\"Channel not in Stasis application\"}",
            |error| *error == AriError::NotInStasis,
        ),
        (409, "[]", |error| matches!(error, AriError::Conflict(_))),
        (500, "{\"error\":\"Allocation failed\"}", |error| {
            matches!(error, AriError::Server { status: 500, .. })
        }),
        (502, "\u{ff}", |error| {
            matches!(error, AriError::Server { status: 502, .. })
        }),
        (413, "", |error| matches!(error, AriError::Invalid(_))),
        (302, "Location", |error| {
            matches!(error, AriError::Server { status: 302, .. })
        }),
    ];
    for (status, body, fits) in refusals {
        let error = doors::refusal(status, body.as_bytes());
        entries.push(same(
            &format!("an answer {status} with {}", shown(body)),
            fits(&error),
            true,
        ));
    }
    let long = format!("{{\"message\":\"{}\\n\"}}", "x".repeat(100_000));
    let text = doors::refusal(400, long.as_bytes()).to_string();
    entries.push(same(
        "a message of 100 kB with a line end",
        text.len() < 400 && !text.contains('\n'),
        true,
    ));
    for id in ["", ".", ".."] {
        entries.push(same(
            &format!("the id {id:?} in a path"),
            doors::segment(id).is_err(),
            true,
        ));
    }
    for (id, wanted) in [
        ("a/b", "a%2Fb"),
        ("../x", "..%2Fx"),
        ("a?b#c", "a%3Fb%23c"),
        ("%00", "%2500"),
        ("\r\n", "%0D%0A"),
    ] {
        entries.push(same(
            &format!("the id {id:?} is one segment"),
            doors::segment(id).ok(),
            Some(wanted.to_owned()),
        ));
    }
    entries
}
