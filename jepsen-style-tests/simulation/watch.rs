//! What people, phones and Asterisks saw, written down for the judge.
//!
//! It reads the events that a watcher of everything gets from each Asterisk, and looks at the callers
//! themselves. Of the nodes it writes down only what the log tells of itself, apart from the rest.

use crate::asterisk::Asterisk;
use crate::book::Book;
use holdfast_drills::judge::history::{
    AsteriskSaw, BridgeSaw, CallerSaw, Channel, End, LegSaw, NodeSaw, Offer, Party, Rules, Seen,
};
use holdfast_drills::judge::{Recorder, Source};
use holdfast_sim::{CallSpec, CallerEnd, CallerState, EndedBy, Pbx};
use serde_json::Value;
use std::collections::BTreeMap;

/// Clones would be other watchers: there is one.
pub struct Watch {
    book: Book,
    recorder: Recorder,
    source: Source,
    /// Callers whose calls are under way, by their number in the world.
    callers: BTreeMap<u64, Watched>,
    /// The same by channel.
    channels: BTreeMap<Channel, u64>,
    /// Agents' legs that live: whose, and whether it is the phone's own channel.
    legs: BTreeMap<Channel, Leg>,
    /// Whether an event socket served each Asterisk's application at the last look.
    sockets: BTreeMap<String, bool>,
    /// Callers who entered, and of them those who have ended.
    pub entered: u64,
    pub ended: u64,
    pub talked: u64,
}

struct Watched {
    id: Channel,
    at: Asterisk,
    entered: bool,
    state: CallerState,
    /// When the last prompt began to tell a position.
    counts: Option<u64>,
}

#[derive(Clone)]
struct Leg {
    agent: String,
    offer: Option<Offer>,
    at_phone: bool,
}

impl Watch {
    pub fn new(book: Book) -> Watch {
        let clock = book.clock.clone();
        let recorder = Recorder::new(move || clock.now());
        Watch {
            book,
            // Nodes and Asterisks are stepped one after the other within one moment.
            source: recorder.source(0),
            recorder,
            callers: BTreeMap::new(),
            channels: BTreeMap::new(),
            legs: BTreeMap::new(),
            sockets: BTreeMap::new(),
            entered: 0,
            ended: 0,
            talked: 0,
        }
    }

    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// A source for others who see something.
    pub fn source(&self) -> Source {
        self.source.clone()
    }

    /// Callers whose calls are under way.
    pub fn under_way(&self) -> usize {
        self.callers.len()
    }

    pub fn saw(&self, seen: Seen) {
        self.book.tell(format_args!("saw {seen:?}"));
        self.source.saw(seen);
    }

    pub fn node(&self, node: &str, saw: NodeSaw) {
        self.saw(Seen::Node {
            node: node.into(),
            saw,
        });
    }

    pub fn asterisk(&self, pbx: &str, saw: AsteriskSaw) {
        self.saw(Seen::Asterisk {
            pbx: pbx.into(),
            saw,
        });
    }

    pub fn rules(&self, queue: &str, rules: Rules) {
        self.saw(Seen::Rules {
            queue: queue.into(),
            rules,
        });
    }

    /// A caller calls in at an Asterisk that runs; answers whether he entered.
    pub fn call(&mut self, at: &Asterisk, serial: u64, queue: &str, spec: CallSpec) -> bool {
        let (number, timeout_ms) = (spec.number.clone(), timeout_of(&spec.exten));
        let priority = spec.variables.iter().find(|(name, _)| name == "QUEUE_PRIO");
        let priority = priority.and_then(|(_, value)| value.parse().ok());
        at.act(|pbx| pbx.place_call(serial, spec));
        let (state, channel) = at.look(|pbx| {
            let channel = pbx.caller_channel(serial).unwrap_or_default().to_string();
            (pbx.caller_state(serial), channel)
        });
        let Some(state) = state else { return false };
        let id = Channel {
            pbx: at.name.clone(),
            channel,
        };
        let entered = state == CallerState::Waiting;
        if entered {
            self.entered += 1;
            self.caller(
                &id,
                CallerSaw::Entered {
                    number,
                    queue: queue.into(),
                    priority: priority.unwrap_or(0),
                    timeout_ms,
                },
            );
        }
        if state == CallerState::Ended {
            return false;
        }
        self.channels.insert(id.clone(), serial);
        let watched = Watched {
            id,
            at: at.clone(),
            entered,
            state,
            counts: None,
        };
        self.callers.insert(serial, watched);
        entered
    }

    fn caller(&self, id: &Channel, saw: CallerSaw) {
        self.saw(Seen::Caller {
            id: id.clone(),
            saw,
        });
    }

    /// A caller's call is over.
    pub fn caller_ended(&mut self, serial: u64, end: &CallerEnd) {
        let Some(watched) = self.callers.remove(&serial) else {
            return;
        };
        self.channels.remove(&watched.id);
        if !watched.entered {
            return;
        }
        self.ended += 1;
        if !end.talked_to.is_empty() {
            self.talked += 1;
        }
        let end = match end.by {
            EndedBy::Caller => End::HungUp,
            EndedBy::Ari => End::Dropped,
            EndedBy::Crash => End::Gone,
            EndedBy::Dialplan => End::Dialplan {
                status: end.dialplan.get("QUEUESTATUS").cloned().unwrap_or_default(),
            },
        };
        self.caller(&watched.id, CallerSaw::Ended { end });
    }

    /// Looks at the callers of one Asterisk, on which something happened.
    pub fn look(&mut self, at: &Asterisk) {
        let mut news = Vec::new();
        let mine = self
            .callers
            .iter_mut()
            .filter(|(_, it)| it.id.pbx == at.name);
        for (serial, watched) in mine {
            let state = watched.at.look(|pbx| pbx.caller_state(*serial));
            let Some(state) = state.filter(|state| *state != watched.state) else {
                continue;
            };
            let was = std::mem::replace(&mut watched.state, state);
            let dials = |pbx: &Pbx| !pbx.caller_variable(*serial, "call_string").is_empty();
            let saw = match (was, state) {
                (CallerState::Waiting, CallerState::Dialplan) if watched.at.look(dials) => {
                    CallerSaw::Dialled
                }
                (CallerState::Dialplan, CallerState::Waiting) => CallerSaw::Returned,
                _ => continue,
            };
            news.push((watched.id.clone(), saw));
        }
        for (id, saw) in news {
            self.caller(&id, saw);
        }
        let served = at.look(|pbx| pbx.app_active("QueueARI"));
        let was = self.sockets.insert(at.name.clone(), served);
        if was == Some(true) && !served {
            self.asterisk(&at.name, AsteriskSaw::SocketLost);
        }
    }

    /// The Asterisk has died: its legs are gone with it.
    pub fn died(&mut self, at: &Asterisk) {
        self.legs.retain(|id, _| id.pbx != at.name);
        self.sockets.remove(&at.name);
        self.asterisk(&at.name, AsteriskSaw::Died);
    }

    /// An event, as somebody who watches everything at this Asterisk got it.
    pub fn event(&mut self, at: &Asterisk, event: &Value) {
        let channel = &event["channel"];
        let id = Channel {
            pbx: at.name.clone(),
            channel: text(&channel["id"]).to_string(),
        };
        match text(&event["type"]) {
            "ChannelCreated" => self.created(at, id, text(&channel["name"])),
            "ChannelStateChange" => match text(&channel["state"]) {
                "Ringing" => self.leg(&id, LegSaw::Ringing),
                "Up" => self.leg(&id, LegSaw::Answered),
                _ => {}
            },
            "ChannelDestroyed" => {
                let cause = event["cause"].as_u64().unwrap_or(0);
                let cause = u16::try_from(cause).unwrap_or(0);
                self.leg(&id, LegSaw::Ended { cause });
                self.legs.remove(&id);
            }
            "ChannelEnteredBridge" => self.bridge(id, &event["bridge"], BridgeSaw::Joined),
            "ChannelLeftBridge" => self.bridge(id, &event["bridge"], BridgeSaw::Left),
            "ChannelDtmfReceived" if self.channels.contains_key(&id) => {
                let digit = text(&event["digit"]).chars().next().unwrap_or('?');
                self.caller(&id, CallerSaw::Key { digit });
            }
            "PlaybackStarted" => self.hears(at, &event["playback"]),
            _ => {}
        }
    }

    fn created(&mut self, at: &Asterisk, id: Channel, name: &str) {
        let offer = Offer::of_leg(&id.pbx, &id.channel);
        let Some(device) = name.strip_prefix("PJSIP/") else {
            return;
        };
        let at_phone = !device.starts_with("trunk-");
        let phone = || at.look(|pbx| pbx.channel_phone(&id.channel).map(String::from));
        let agent = match offer {
            Some((_, ref agent)) => Some(agent.clone()),
            // One that the dialplan dials. What leads to no phone is a caller, or came by a trunk.
            None => phone(),
        };
        let Some(agent) = agent else { return };
        let leg = Leg {
            agent,
            offer: offer.map(|(offer, _)| offer),
            at_phone,
        };
        self.legs.insert(id.clone(), leg);
        self.leg(&id, LegSaw::Called);
    }

    fn leg(&self, id: &Channel, saw: LegSaw) {
        if let Some(leg) = self.legs.get(id) {
            self.saw(Seen::Leg {
                id: id.clone(),
                agent: leg.agent.clone(),
                offer: leg.offer,
                at_phone: leg.at_phone,
                saw,
            });
        }
    }

    fn bridge(&self, id: Channel, bridge: &Value, saw: BridgeSaw) {
        if text(&bridge["bridge_type"]) == "holding" {
            return;
        }
        let channel = id.channel.clone();
        let party = match self.legs.get(&id) {
            Some(leg) => Party::Agent {
                agent: leg.agent.clone(),
                channel,
            },
            None if self.channels.contains_key(&id) => Party::Caller { channel },
            // The trunk's end at the agent's Asterisk.
            None => return,
        };
        self.saw(Seen::Bridge {
            pbx: id.pbx,
            bridge: text(&bridge["id"]).into(),
            party,
            saw,
        });
    }

    /// "You are next", or "there are" and a number.
    fn hears(&mut self, at: &Asterisk, playback: &Value) {
        let target = text(&playback["target_uri"]);
        let id = Channel {
            pbx: at.name.clone(),
            channel: target.strip_prefix("channel:").unwrap_or_default().into(),
        };
        let watched = self.channels.get(&id);
        let Some(watched) = watched.and_then(|serial| self.callers.get_mut(serial)) else {
            return;
        };
        let media = text(&playback["media_uri"]);
        let now = self.recorder.now_ms();
        let counted = watched.counts.filter(|_| media.starts_with("number:"));
        watched.counts = (media == "sound:queue-thereare").then_some(now);
        let position = match media.strip_prefix("number:") {
            Some(number) if counted.is_some() => number.parse().ok(),
            _ => (media == "sound:queue-youarenext").then_some(1),
        };
        if let Some(position) = position {
            let saw = CallerSaw::Heard { position };
            let seen = Seen::Caller { id, saw };
            self.book.tell(format_args!("saw {seen:?}"));
            self.source.saw_at(counted.unwrap_or(now), seen);
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What `qt-NAME-SECS` asks for.
fn timeout_of(exten: &str) -> Option<u64> {
    let (_, seconds) = exten.strip_prefix("qt-")?.rsplit_once('-')?;
    Some(seconds.parse::<u64>().ok()? * 1000)
}
