//! One channel: what Asterisk knows about it, and its JSON. What happens to it is in `pbx.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value, json};

use crate::bridge::Br;
use crate::dial::DialOp;
use crate::dialplan::Plan;
use crate::pbx::Pbx;
use crate::queue::Command;

/// Key of a channel: never used again, unlike its id (trap 4).
pub(crate) type Ch = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Down,
    Ring,
    Ringing,
    Up,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            State::Down => "Down",
            State::Ring => "Ring",
            State::Ringing => "Ringing",
            State::Up => "Up",
        }
    }
}

/// Who is at the far end.
#[derive(Debug, Clone)]
pub(crate) enum Far {
    Caller(u64),
    Phone(String),
    TrunkOut {
        peer: String,
        call: u64,
        number: String,
    },
    TrunkIn {
        peer: String,
        call: u64,
    },
}

/// Who runs the channel.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Originated and not answered yet; answered, it goes to where `leg` says.
    Leg,
    Stasis {
        app: String,
    },
    Dialplan,
    /// A leg of another channel's Dial.
    DialLeg {
        parent: Ch,
    },
}

/// What an originated leg is to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leg {
    pub app: Option<(String, Vec<String>)>,
    /// Dialplan destination instead of an application.
    pub exten: Option<(String, String, i64)>,
    pub timeout_ms: Option<u64>,
    /// INVITE was sent.
    pub invited: bool,
    /// `dial` was asked for a channel made by `create`.
    pub dialled: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Party {
    pub name: String,
    pub number: String,
}

impl Party {
    pub(crate) fn new(name: &str, number: &str) -> Party {
        Party {
            name: name.to_owned(),
            number: number.to_owned(),
        }
    }

    /// Reads `"Name" <number>`, `Name <number>` or a bare number.
    pub(crate) fn parse(text: &str) -> Party {
        match text.split_once('<') {
            Some((name, rest)) => {
                let name = name.trim().trim_matches('"');
                Party::new(name, rest.split('>').next().unwrap_or_default().trim())
            }
            None => Party::new("", text.trim()),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "name": self.name, "number": self.number })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Channel {
    pub id: String,
    pub name: String,
    pub state: State,
    pub protocol_id: String,
    pub caller: Party,
    pub connected: Party,
    pub accountcode: String,
    pub context: String,
    pub exten: String,
    pub priority: i64,
    pub app_name: String,
    pub app_data: String,
    pub created_at: u64,
    pub vars: BTreeMap<String, String>,
    /// Names of variables set with report_events: shown as `channelvars`.
    pub reported: BTreeSet<String>,
    pub far: Far,
    pub place: Place,
    pub leg: Leg,
    pub plan: Plan,
    pub dial: Option<DialOp>,
    /// When TIMEOUT(absolute) ends it.
    pub absolute_deadline: Option<u64>,
    pub moh: Option<String>,
    pub ring_tone: bool,
    /// The playback that runs; everything in `commands` waits for it (trap 2).
    pub playing: Option<u64>,
    pub commands: VecDeque<Command>,
    pub bridge: Option<Br>,
    /// How many reasons each application has to get this channel's events.
    pub interest: BTreeMap<String, u32>,
    pub hostile: bool,
    pub ending: bool,
    pub cause: u16,
}

impl Channel {
    pub(crate) fn new(id: String, far: Far) -> Channel {
        Channel {
            id,
            name: String::new(),
            state: State::Down,
            protocol_id: String::new(),
            caller: Party::default(),
            connected: Party::default(),
            accountcode: String::new(),
            context: String::new(),
            exten: String::new(),
            priority: 1,
            app_name: String::new(),
            app_data: String::new(),
            created_at: 0,
            vars: BTreeMap::new(),
            reported: BTreeSet::new(),
            far,
            place: Place::Dialplan,
            leg: Leg::default(),
            plan: Plan::default(),
            dial: None,
            absolute_deadline: None,
            moh: None,
            ring_tone: false,
            playing: None,
            commands: VecDeque::new(),
            bridge: None,
            interest: BTreeMap::new(),
            hostile: false,
            ending: false,
            cause: 16,
        }
    }

    pub(crate) fn app(&self) -> Option<&str> {
        match &self.place {
            Place::Stasis { app } => Some(app),
            _ => None,
        }
    }

    pub(crate) fn caller_serial(&self) -> Option<u64> {
        match self.far {
            Far::Caller(serial) => Some(serial),
            _ => None,
        }
    }

    /// Number of the phone registered here that is at the far end.
    pub(crate) fn phone_number(&self) -> Option<&str> {
        match &self.far {
            Far::Phone(number) => Some(number),
            _ => None,
        }
    }

    /// Number of the phone this leg leads to, here or behind a trunk.
    pub(crate) fn agent_number(&self) -> Option<&str> {
        match &self.far {
            Far::Phone(number) | Far::TrunkOut { number, .. } => Some(number),
            Far::Caller(_) | Far::TrunkIn { .. } => None,
        }
    }

    /// The number by which the other party knows the one at the far end.
    pub(crate) fn who(&self) -> String {
        self.agent_number()
            .unwrap_or(&self.caller.number)
            .to_owned()
    }

    /// Technology and resource, such as `PJSIP/1001`.
    pub(crate) fn endpoint(&self) -> &str {
        self.name
            .rsplit_once('-')
            .map_or(self.name.as_str(), |(endpoint, _)| endpoint)
    }
}

impl Pbx {
    /// The channel as ARI shows it.
    pub(crate) fn channel_json(&self, channel: &Channel) -> Value {
        let mut json = json!({
            "id": channel.id,
            "name": channel.name,
            "state": channel.state.as_str(),
            "protocol_id": channel.protocol_id,
            "caller": channel.caller.json(),
            "connected": channel.connected.json(),
            "accountcode": channel.accountcode,
            "dialplan": {
                "context": channel.context,
                "exten": channel.exten,
                "priority": channel.priority,
                "app_name": channel.app_name,
                "app_data": channel.app_data,
            },
            "creationtime": self.stamp_at(channel.created_at),
            "language": "en",
        });
        if !channel.reported.is_empty() {
            let vars: Map<String, Value> = channel
                .reported
                .iter()
                .map(|name| {
                    let value = channel.vars.get(name).cloned().unwrap_or_default();
                    (name.clone(), Value::String(value))
                })
                .collect();
            json["channelvars"] = Value::Object(vars);
        }
        json
    }
}
