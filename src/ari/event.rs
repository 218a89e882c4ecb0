//! One event text of the WebSocket, typed.
//!
//! [`decode`] is pure and total. A type we do not use is [`Event::Unknown`] with its text kept; a
//! text that cannot be used is [`Event::Malformed`], to be counted and answered by a reconcile,
//! and never ends the stream. Only what an event cannot mean anything without is required, mostly
//! a channel's id. Order is guaranteed by Asterisk for one channel only.

use serde_json::Value;

use crate::model::{Channel, DeviceState, number, text, texts};

/// Longest raw text that is kept of an unknown or malformed event.
const RAW_BYTES_MAX: usize = 4096;

/// What Asterisk reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A channel entered the application. Not always a new caller: also our own legs when they
    /// answer, callers who come back from the dialplan, and replacements after a transfer.
    StasisStart {
        /// The channel.
        channel: Box<Channel>,
        /// Arguments of `Stasis()` after the application, or those of our originate.
        args: Vec<String>,
        /// The channel that this one takes the place of, after a transfer by the agent's phone.
        replace_channel: Option<Box<Channel>>,
    },
    /// A channel left the application: to the dialplan or for good. For a caller this is the last
    /// event, unless the channel was subscribed to.
    StasisEnd {
        /// The channel.
        channel: Box<Channel>,
    },
    /// A channel rings or was answered.
    ChannelStateChange {
        /// The channel in its new state.
        channel: Box<Channel>,
    },
    /// Progress of a leg that we originated.
    Dial {
        /// Usually absent.
        caller: Option<Box<Channel>>,
        /// The leg.
        peer: Box<Channel>,
        /// Empty at the start, then RINGING, ANSWER, BUSY, NOANSWER, CONGESTION, CHANUNAVAIL ...
        dialstatus: String,
    },
    /// A channel is about to end.
    ChannelHangupRequest {
        /// The channel.
        channel: Box<Channel>,
        /// Q.850 cause; absent when the other side hung up.
        cause: Option<i64>,
        /// SIP status.
        tech_cause: Option<i64>,
    },
    /// A channel has ended. Comes for our own legs, and for callers only by subscription.
    ChannelDestroyed {
        /// The channel.
        channel: Box<Channel>,
        /// Q.850 cause: 16 normal, 17 busy, 19 no answer, 21 rejected, 26 answered elsewhere.
        cause: Option<i64>,
        /// Its text.
        cause_txt: String,
        /// SIP status.
        tech_cause: Option<i64>,
    },
    /// A key was pressed and let go.
    ChannelDtmfReceived {
        /// The channel.
        channel: Box<Channel>,
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
        /// Milliseconds it was held.
        duration_ms: i64,
    },
    /// A playback began, or went on to the next of its media.
    PlaybackStarted {
        /// Our id of it.
        playback: String,
        /// The channel or bridge, such as `channel:1795432327.6`.
        target_uri: String,
    },
    /// A playback ended, once for the whole list of media.
    PlaybackFinished {
        /// Our id of it.
        playback: String,
        /// The channel or bridge.
        target_uri: String,
        /// `done`, or `failed` for a missing sound or a caller who hung up.
        state: String,
    },
    /// A device changed its state.
    DeviceStateChanged {
        /// `PJSIP/1001`.
        device: String,
        /// Its new state.
        state: DeviceState,
    },
    /// A channel entered a bridge.
    ChannelEnteredBridge {
        /// The channel.
        channel: Box<Channel>,
        /// The bridge.
        bridge: String,
    },
    /// A channel left a bridge.
    ChannelLeftBridge {
        /// The channel.
        channel: Box<Channel>,
        /// The bridge.
        bridge: String,
    },
    /// A phone put its call on hold; Asterisk plays music to the other side by itself.
    ChannelHold {
        /// The channel of the phone.
        channel: Box<Channel>,
    },
    /// A phone took its call back from hold.
    ChannelUnhold {
        /// The channel of the phone.
        channel: Box<Channel>,
    },
    /// A phone asks for a transfer, and the channel is set to leave it to us.
    ChannelTransfer {
        /// The channel of the phone.
        channel: Box<Channel>,
        /// Number it wants to transfer to; empty when it names a channel.
        destination: String,
    },
    /// Another client took the application over. This socket is deaf from now on.
    ApplicationReplaced {
        /// The application.
        application: String,
    },
    /// A channel could not be moved to another application and stays.
    ApplicationMoveFailed {
        /// The channel.
        channel: Box<Channel>,
        /// The application that is not there.
        destination: String,
    },
    /// A type we do not use.
    Unknown {
        /// Its `type`.
        type_name: String,
        /// Its text, at most 4 KiB.
        raw: String,
    },
    /// A text that cannot be used. Something happened that we did not understand: reconcile.
    Malformed {
        /// Its `type`, when that could be read.
        type_name: Option<String>,
        /// What is wrong with it.
        why: String,
        /// Its text, at most 4 KiB.
        raw: String,
    },
}

impl Event {
    /// The channel it is about, when it is about one. For `Dial` the leg.
    pub fn channel(&self) -> Option<&Channel> {
        match self {
            Event::StasisStart { channel, .. }
            | Event::StasisEnd { channel }
            | Event::ChannelStateChange { channel }
            | Event::Dial { peer: channel, .. }
            | Event::ChannelHangupRequest { channel, .. }
            | Event::ChannelDestroyed { channel, .. }
            | Event::ChannelDtmfReceived { channel, .. }
            | Event::ChannelEnteredBridge { channel, .. }
            | Event::ChannelLeftBridge { channel, .. }
            | Event::ChannelHold { channel }
            | Event::ChannelUnhold { channel }
            | Event::ChannelTransfer { channel, .. }
            | Event::ApplicationMoveFailed { channel, .. } => Some(channel),
            _ => None,
        }
    }

    /// Name of the type, for counters. Of an unknown one it is `Unknown`, so that the set stays
    /// bounded.
    pub fn type_name(&self) -> &'static str {
        match self {
            Event::StasisStart { .. } => "StasisStart",
            Event::StasisEnd { .. } => "StasisEnd",
            Event::ChannelStateChange { .. } => "ChannelStateChange",
            Event::Dial { .. } => "Dial",
            Event::ChannelHangupRequest { .. } => "ChannelHangupRequest",
            Event::ChannelDestroyed { .. } => "ChannelDestroyed",
            Event::ChannelDtmfReceived { .. } => "ChannelDtmfReceived",
            Event::PlaybackStarted { .. } => "PlaybackStarted",
            Event::PlaybackFinished { .. } => "PlaybackFinished",
            Event::DeviceStateChanged { .. } => "DeviceStateChanged",
            Event::ChannelEnteredBridge { .. } => "ChannelEnteredBridge",
            Event::ChannelLeftBridge { .. } => "ChannelLeftBridge",
            Event::ChannelHold { .. } => "ChannelHold",
            Event::ChannelUnhold { .. } => "ChannelUnhold",
            Event::ChannelTransfer { .. } => "ChannelTransfer",
            Event::ApplicationReplaced { .. } => "ApplicationReplaced",
            Event::ApplicationMoveFailed { .. } => "ApplicationMoveFailed",
            Event::Unknown { .. } => "Unknown",
            Event::Malformed { .. } => "Malformed",
        }
    }
}

/// Reads one event. Never fails: what cannot be used is [`Event::Malformed`].
pub fn decode(raw: &str) -> Event {
    let value: Value = match serde_json::from_str(raw) {
        Ok(value) => value,
        Err(error) => return malformed(None, error.to_string(), raw),
    };
    let Some(type_name) = value["type"].as_str() else {
        return malformed(None, "no type".into(), raw);
    };
    match typed(type_name, &value) {
        Ok(Some(event)) => event,
        Ok(None) => Event::Unknown {
            type_name: cut(type_name, 64),
            raw: cut(raw, RAW_BYTES_MAX),
        },
        Err(missing) => malformed(Some(cut(type_name, 64)), format!("no {missing}"), raw),
    }
}

/// The typed event, `None` for a type we do not use, or the name of the field it lacks.
fn typed(type_name: &str, value: &Value) -> Result<Option<Event>, &'static str> {
    let channel = || party(value, "channel").ok_or("channel.id");
    let bridge = || {
        value["bridge"]["id"]
            .as_str()
            .map(String::from)
            .ok_or("bridge.id")
    };
    let playback = &value["playback"];
    let playback_id = || {
        playback["id"]
            .as_str()
            .map(String::from)
            .ok_or("playback.id")
    };
    let cause = number(value, "cause");
    let tech_cause = number(value, "tech_cause");
    Ok(Some(match type_name {
        "StasisStart" => Event::StasisStart {
            channel: channel()?,
            args: texts(value, "args"),
            replace_channel: party(value, "replace_channel"),
        },
        "StasisEnd" => Event::StasisEnd {
            channel: channel()?,
        },
        "ChannelStateChange" => Event::ChannelStateChange {
            channel: channel()?,
        },
        "Dial" => Event::Dial {
            caller: party(value, "caller"),
            peer: party(value, "peer").ok_or("peer.id")?,
            dialstatus: text(value, "dialstatus"),
        },
        "ChannelHangupRequest" => Event::ChannelHangupRequest {
            channel: channel()?,
            cause,
            tech_cause,
        },
        "ChannelDestroyed" => Event::ChannelDestroyed {
            channel: channel()?,
            cause,
            cause_txt: text(value, "cause_txt"),
            tech_cause,
        },
        "ChannelDtmfReceived" => Event::ChannelDtmfReceived {
            channel: channel()?,
            digit: value["digit"]
                .as_str()
                .and_then(|s| s.chars().next())
                .ok_or("digit")?,
            duration_ms: number(value, "duration_ms").unwrap_or(0),
        },
        "PlaybackStarted" => Event::PlaybackStarted {
            playback: playback_id()?,
            target_uri: text(playback, "target_uri"),
        },
        "PlaybackFinished" => Event::PlaybackFinished {
            playback: playback_id()?,
            target_uri: text(playback, "target_uri"),
            state: text(playback, "state"),
        },
        "DeviceStateChanged" => {
            let device = &value["device_state"];
            Event::DeviceStateChanged {
                device: device["name"].as_str().ok_or("device_state.name")?.into(),
                state: DeviceState::from_word(device["state"].as_str().unwrap_or_default()),
            }
        }
        "ChannelEnteredBridge" => Event::ChannelEnteredBridge {
            channel: channel()?,
            bridge: bridge()?,
        },
        "ChannelLeftBridge" => Event::ChannelLeftBridge {
            channel: channel()?,
            bridge: bridge()?,
        },
        "ChannelHold" => Event::ChannelHold {
            channel: channel()?,
        },
        "ChannelUnhold" => Event::ChannelUnhold {
            channel: channel()?,
        },
        "ChannelTransfer" => Event::ChannelTransfer {
            channel: party(&value["referred_by"], "source_channel")
                .or_else(|| party(value, "channel"))
                .ok_or("referred_by.source_channel.id")?,
            destination: text(&value["refer_to"]["requested_destination"], "destination"),
        },
        "ApplicationReplaced" => Event::ApplicationReplaced {
            application: text(value, "application"),
        },
        "ApplicationMoveFailed" => Event::ApplicationMoveFailed {
            channel: channel()?,
            destination: text(value, "destination"),
        },
        _ => return Ok(None),
    }))
}

fn party(value: &Value, key: &str) -> Option<Box<Channel>> {
    Channel::from_value(&value[key]).map(Box::new)
}

fn malformed(type_name: Option<String>, why: String, raw: &str) -> Event {
    Event::Malformed {
        type_name,
        why,
        raw: cut(raw, RAW_BYTES_MAX),
    }
}

/// The first `longest` bytes, cut at a character's end.
fn cut(text: &str, longest: usize) -> String {
    let mut end = longest.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}
