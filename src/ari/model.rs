//! What Asterisk tells about itself: channels, bridges, applications, device states.
//!
//! Decoding is by hand and tolerant. Only an object's id is required: any other field that is
//! absent or of a wrong type reads as empty, because a caller must never vanish from our sight
//! for an odd name. Text is kept as it came; whoever shows it escapes it.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// State of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ChannelState {
    /// There, and nothing has happened yet.
    Down,
    /// Called us, and is not answered.
    Ring,
    /// We call it, and it rings.
    Ringing,
    /// Answered.
    Up,
    /// Any other.
    #[default]
    Other,
}

/// Name and number of a party. `Debug` shows the last two digits only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CallerId {
    /// Name, as the caller sent it: not to be trusted.
    pub name: String,
    /// Number, as the caller sent it: not to be trusted.
    pub number: String,
}

impl fmt::Debug for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skip = self.number.chars().count().saturating_sub(2);
        let tail: String = self
            .number
            .chars()
            .skip(skip)
            .filter(|c| c.is_ascii_digit())
            .collect();
        write!(f, "CallerId(..{tail})")
    }
}

/// Where a channel is in the dialplan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DialplanPoint {
    /// Context.
    pub context: String,
    /// Extension.
    pub exten: String,
    /// Priority.
    pub priority: i64,
    /// Application that runs.
    pub app_name: String,
    /// Its arguments, such as `QueueARI,support,timeout=60`.
    pub app_data: String,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Channel {
    /// Unique while the channel lives, and not after.
    pub id: String,
    /// `PJSIP/1001-00000003`.
    pub name: String,
    /// State.
    pub state: ChannelState,
    /// The party at this channel.
    pub caller: CallerId,
    /// The party it is connected to.
    pub connected: CallerId,
    /// `accountcode` of its endpoint.
    pub accountcode: String,
    /// Where it is in the dialplan.
    pub dialplan: DialplanPoint,
    /// When it was made, as Asterisk writes it.
    pub creationtime: String,
    /// Language of prompts.
    pub language: String,
    /// SIP Call-ID.
    pub protocol_id: String,
    /// Variables that were set with `report_events`.
    pub channelvars: BTreeMap<String, String>,
}

impl Channel {
    pub(crate) fn from_value(value: &Value) -> Option<Channel> {
        let id = id_of(value)?;
        let party = |key| CallerId {
            name: text(&value[key], "name"),
            number: text(&value[key], "number"),
        };
        let plan = &value["dialplan"];
        Some(Channel {
            id,
            name: text(value, "name"),
            state: match value["state"].as_str() {
                Some("Down") => ChannelState::Down,
                Some("Ring") => ChannelState::Ring,
                Some("Ringing") => ChannelState::Ringing,
                Some("Up") => ChannelState::Up,
                _ => ChannelState::Other,
            },
            caller: party("caller"),
            connected: party("connected"),
            accountcode: text(value, "accountcode"),
            dialplan: DialplanPoint {
                context: text(plan, "context"),
                exten: text(plan, "exten"),
                priority: number(plan, "priority").unwrap_or(0),
                app_name: text(plan, "app_name"),
                app_data: text(plan, "app_data"),
            },
            creationtime: text(value, "creationtime"),
            language: text(value, "language"),
            protocol_id: text(value, "protocol_id"),
            channelvars: value["channelvars"]
                .as_object()
                .map(|vars| {
                    let pair = |(k, v): (&String, &Value)| Some((k.clone(), v.as_str()?.into()));
                    vars.iter().filter_map(pair).collect()
                })
                .unwrap_or_default(),
        })
    }
}

/// One bridge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bridge {
    /// Unique while the bridge lives.
    pub id: String,
    /// `mixing`, `holding`.
    pub bridge_type: String,
    /// Channels in it.
    pub channels: Vec<String>,
}

impl Bridge {
    pub(crate) fn from_value(value: &Value) -> Option<Bridge> {
        Some(Bridge {
            id: id_of(value)?,
            bridge_type: text(value, "bridge_type"),
            channels: texts(value, "channels"),
        })
    }
}

/// A Stasis application: what is in it and what it listens to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Application {
    /// Name.
    pub name: String,
    /// Channels in it. Names every one, also those that blind `GET /channels`.
    pub channel_ids: Vec<String>,
    /// Bridges it listens to.
    pub bridge_ids: Vec<String>,
    /// Endpoints it listens to.
    pub endpoint_ids: Vec<String>,
    /// Devices it listens to.
    pub device_names: Vec<String>,
}

impl Application {
    pub(crate) fn from_value(value: &Value) -> Option<Application> {
        Some(Application {
            name: value["name"].as_str()?.into(),
            channel_ids: texts(value, "channel_ids"),
            bridge_ids: texts(value, "bridge_ids"),
            endpoint_ids: texts(value, "endpoint_ids"),
            device_names: texts(value, "device_names"),
        })
    }
}

/// Which Asterisk this is, and since when it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// `systemname` of asterisk.conf. Unlike the entity id it tells Asterisks of one host apart.
    pub systemname: String,
    /// `22.10.1`.
    pub version: String,
    /// When it started, as Asterisk writes it. Another value means it was restarted.
    pub startup_time: String,
    /// `entityid` of asterisk.conf, else made from a MAC address and the same for all Asterisks
    /// of one host.
    pub entity_id: String,
}

impl Info {
    pub(crate) fn from_value(value: &Value) -> Option<Info> {
        value.as_object()?;
        Some(Info {
            systemname: text(&value["config"], "name"),
            version: text(&value["system"], "version"),
            startup_time: text(&value["status"], "startup_time"),
            entity_id: text(&value["system"], "entity_id"),
        })
    }
}

/// State of a device. It is a veto and no lock: a busy device still accepts a second call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum DeviceState {
    /// Asterisk cannot tell.
    #[default]
    Unknown,
    /// Registered and idle.
    NotInUse,
    /// In a call.
    InUse,
    /// In as many calls as `device_state_busy_at` allows.
    Busy,
    /// No such device.
    Invalid,
    /// Not registered, or not reachable.
    Unavailable,
    /// Rings.
    Ringing,
    /// Rings while in a call.
    RingInUse,
    /// Has a call on hold.
    OnHold,
}

impl DeviceState {
    /// Reads Asterisk's word for it; a word we do not know is [`DeviceState::Unknown`].
    pub fn from_word(word: &str) -> DeviceState {
        match word {
            "NOT_INUSE" => DeviceState::NotInUse,
            "INUSE" => DeviceState::InUse,
            "BUSY" => DeviceState::Busy,
            "INVALID" => DeviceState::Invalid,
            "UNAVAILABLE" => DeviceState::Unavailable,
            "RINGING" => DeviceState::Ringing,
            "RINGINUSE" => DeviceState::RingInUse,
            "ONHOLD" => DeviceState::OnHold,
            _ => DeviceState::Unknown,
        }
    }
}

/// The text at `key`, or an empty one.
pub(crate) fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().into()
}

/// The whole number at `key`, be it written as a number or as text.
pub(crate) fn number(value: &Value, key: &str) -> Option<i64> {
    value[key]
        .as_i64()
        .or_else(|| value[key].as_str()?.trim().parse().ok())
}

/// The texts of the list at `key`; what is no text is left out.
pub(crate) fn texts(value: &Value, key: &str) -> Vec<String> {
    let list = value[key].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|item| Some(item.as_str()?.to_string()))
        .collect()
}

fn id_of(value: &Value) -> Option<String> {
    value["id"]
        .as_str()
        .filter(|id| !id.is_empty())
        .map(Into::into)
}
