//! What an Asterisk sends: texts of the event WebSocket and bodies of answers.

use holdfast_acd::PbxId;
use holdfast_acd::limits::TEXT_BYTES_MAX;
use holdfast_ari::{Channel, Event, decode, doors};
use holdfast_node::doors as node;

/// Longest text that is kept of an event that is not used.
const RAW_BYTES_MAX: usize = 4096;

/// One message of the WebSocket, on its way to a command.
pub fn event(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        // The WebSocket refuses texts that are no UTF-8.
        return;
    };
    let event = decode(text);
    assert_eq!(event, decode(text), "the same text is the same event");
    assert!(!event.type_name().is_empty());
    if let Event::Unknown { raw, .. } | Event::Malformed { raw, .. } = &event {
        assert!(raw.len() <= RAW_BYTES_MAX);
        assert!(event.channel().is_none());
    }
    let pbx = PbxId::new("a").expect("a is a name");
    for known in [false, true] {
        let route = node::route_of(&pbx, &event, known);
        if let Event::StasisStart { channel, args, .. } = &event {
            if route == "new caller" {
                new_caller(&pbx, channel, args);
            }
            let _ = node::feature(channel, args);
        }
    }
    if let Some(channel) = event.channel() {
        assert!(!channel.id.is_empty(), "an event about nobody");
        path(&channel.id);
    }
}

/// A caller who is taken has names of the grammar and text that is bounded and clean.
pub fn new_caller(pbx: &PbxId, channel: &Channel, args: &[String]) {
    match node::caller(pbx, channel, args, None, None, None) {
        Ok(join) => {
            for text in [&join.number, &join.name] {
                assert!(text.len() <= TEXT_BYTES_MAX);
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
            assert!(join.queue.as_str().is_ascii());
        }
        Err(why) => assert!(why.len() < 1000, "an error of {} bytes", why.len()),
    }
}

/// An id becomes one segment of a path, or none.
pub fn path(id: &str) {
    if let Ok(segment) = doors::segment(id) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~%".contains(&b);
        assert!(segment.bytes().all(plain), "{segment}");
        assert!(segment != "." && segment != "..");
    }
}

/// The body of an answer; the first byte chooses the status.
pub fn body(data: &[u8]) {
    let Some((status, bytes)) = data.split_first() else {
        return;
    };
    if let Ok(read) = doors::body(bytes) {
        let list = read.channels.iter().chain(&read.channel);
        for channel in list {
            assert!(!channel.id.is_empty());
            path(&channel.id);
            assert!(!format!("{:?}", channel.caller).contains('\n'));
        }
        for bridge in &read.bridges {
            assert!(!bridge.id.is_empty());
        }
    }
    let status = 300 + u16::from(*status);
    let text = doors::refusal(status, bytes).to_string();
    assert!(
        text.chars().count() < 1000,
        "an error of {} bytes",
        text.len()
    );
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
