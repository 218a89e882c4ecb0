//! Writes down what the Asterisks tell, in the words that the judge reads.
//!
//! It hears what the [`Oracle`](crate::lab::oracle) hears. A moment is the Asterisk's own timestamp.
//! How a caller's call ended is told by his telephone, and joined to his channel at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::callers::{Call, End};
use crate::judge::history::{
    AsteriskSaw, BridgeSaw, CallerSaw, Channel, End as Ended, LegSaw, Offer, Party, Seen,
};
use crate::judge::{Recorder, Source};
use crate::lab::moments::stamp;
use crate::lab::{APP, CallEnd};

/// Asterisks' timestamps are as good as this.
const STAMP_MS: u64 = 20;
/// A telephone is looked at this often, and then some.
const LOOK_MS: u64 = 250;

/// What is known of channels, to tell who they are.
#[derive(Default)]
struct Known {
    /// The channel of each caller who entered the application: by his number.
    callers: BTreeMap<String, Channel>,
    /// When each of them entered.
    entered: BTreeMap<Channel, u64>,
    /// When a caller's channel was gone.
    gone: BTreeMap<Channel, u64>,
    agents: BTreeMap<Channel, String>,
    /// Bridges that channels are in.
    inside: BTreeMap<Channel, (String, Party)>,
    /// By the playback's id: when it began, and whether its position was written down.
    playing: BTreeMap<String, (u64, bool)>,
}

/// The one who writes.
#[derive(Clone)]
pub struct Witness {
    stamped: Source,
    looked: Source,
    /// The drill's beginning by the wall clock.
    begun_ms: i64,
    phones: Arc<Vec<String>>,
    known: Arc<Mutex<Known>>,
}

impl Witness {
    /// Writes into this history.
    pub fn new(recorder: &Recorder, begun_ms: i64, phones: &[&str]) -> Witness {
        Witness {
            stamped: recorder.source(STAMP_MS),
            looked: recorder.source(LOOK_MS),
            begun_ms,
            phones: Arc::new(phones.iter().map(|phone| (*phone).to_owned()).collect()),
            known: Arc::default(),
        }
    }

    /// One event of an Asterisk.
    pub fn hears(&self, pbx: &str, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        let at = (stamp(event) - self.begun_ms).max(0) as u64;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(kind, "PlaybackStarted" | "PlaybackContinuing") {
            self.heard(&mut known, at, pbx, &event["playback"]);
            return;
        }
        let channel = &event["channel"];
        let Some(id) = channel["id"].as_str() else {
            return;
        };
        let name = channel["name"].as_str().unwrap_or_default();
        let id = Channel {
            pbx: pbx.to_owned(),
            channel: id.to_owned(),
        };
        match self.leg_of(&id, name) {
            Some((agent, offer, at_phone)) => {
                let saw = match (kind, channel["state"].as_str()) {
                    ("ChannelCreated", _) => Some(LegSaw::Called),
                    ("ChannelStateChange", Some("Ringing")) => Some(LegSaw::Ringing),
                    ("ChannelStateChange", Some("Up")) => Some(LegSaw::Answered),
                    ("ChannelDestroyed", _) => Some(LegSaw::Ended {
                        cause: event["cause"].as_u64().unwrap_or(0) as u16,
                    }),
                    _ => None,
                };
                if let Some(saw) = saw {
                    known.agents.insert(id.clone(), agent.clone());
                    let id = id.clone();
                    self.stamped.saw_at(
                        at,
                        Seen::Leg {
                            id,
                            agent,
                            offer,
                            at_phone,
                            saw,
                        },
                    );
                }
            }
            None => self.caller(&mut known, at, &id, kind, event),
        }
        self.bridge(&mut known, at, &id, kind, event);
    }

    /// The agent whom a channel leads to, the offer it is made for, and whether it is the phone's own.
    fn leg_of(&self, id: &Channel, name: &str) -> Option<(String, Option<Offer>, bool)> {
        let own = name
            .strip_prefix("PJSIP/")
            .and_then(|rest| rest.rsplit_once('-'))
            .map(|(endpoint, _)| endpoint.to_owned())
            .filter(|endpoint| self.phones.contains(endpoint));
        let offer = Offer::of_leg(&id.pbx, &id.channel);
        match (own, offer) {
            (Some(agent), offer) => Some((agent, offer.map(|(offer, _)| offer), true)),
            (None, Some((offer, agent))) => Some((agent, Some(offer), false)),
            (None, None) => None,
        }
    }

    fn caller(&self, known: &mut Known, at: u64, id: &Channel, kind: &str, event: &Value) {
        let channel = &event["channel"];
        let number = channel["caller"]["number"].as_str().unwrap_or_default();
        let dialplan = &channel["dialplan"];
        let entered = kind == "ChannelDialplan" && dialplan["app_name"] == "Stasis";
        if entered {
            let data = dialplan["app_data"].as_str().unwrap_or_default();
            let mut words = data.split(',');
            let (app, queue) = (words.next(), words.next().unwrap_or_default());
            let asked = |key: &str| {
                let mut arguments = data.split(',').skip(2);
                arguments.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            };
            if app != Some(APP) || number.is_empty() {
                return;
            }
            let saw = match known.callers.get(number) {
                Some(before) if before == id => CallerSaw::Returned,
                Some(_) => return,
                None => CallerSaw::Entered {
                    number: number.to_owned(),
                    queue: queue.to_owned(),
                    priority: asked("priority").and_then(|n| n.parse().ok()).unwrap_or(0),
                    timeout_ms: asked("timeout")
                        .and_then(|n| n.parse::<u64>().ok())
                        .map(|seconds| seconds * 1000),
                },
            };
            known.callers.insert(number.to_owned(), id.clone());
            known.entered.entry(id.clone()).or_insert(at);
            let id = id.clone();
            self.stamped.saw_at(at, Seen::Caller { id, saw });
        }
        if kind == "ChannelDestroyed" {
            known.gone.insert(id.clone(), at);
        }
    }

    fn bridge(&self, known: &mut Known, at: u64, id: &Channel, kind: &str, event: &Value) {
        let entered = match kind {
            "ChannelEnteredBridge" => true,
            "ChannelLeftBridge" => false,
            _ => return,
        };
        let bridge = event["bridge"]["id"].as_str().unwrap_or_default();
        let channel = id.channel.clone();
        let party = match known.agents.get(id) {
            Some(agent) => Party::Agent {
                agent: agent.clone(),
                channel,
            },
            None if known.callers.values().any(|caller| caller == id) => Party::Caller { channel },
            // A trunk's other end, at the phone's Asterisk.
            None => return,
        };
        let saw = match entered {
            true => {
                let place = (bridge.to_owned(), party.clone());
                known.inside.insert(id.clone(), place);
                BridgeSaw::Joined
            }
            false => {
                known.inside.remove(id);
                BridgeSaw::Left
            }
        };
        self.stamped.saw_at(
            at,
            Seen::Bridge {
                pbx: id.pbx.clone(),
                bridge: bridge.to_owned(),
                party,
                saw,
            },
        );
    }

    /// One playback is `queue-thereare`, `number:3`, `queue-callswaiting`; or `queue-youarenext`. Its
    /// events name the sound that plays and the one behind it; it counts once, from its beginning.
    fn heard(&self, known: &mut Known, at: u64, pbx: &str, playback: &Value) {
        let target = playback["target_uri"].as_str().unwrap_or_default();
        let (Some(channel), Some(play)) = (
            target.strip_prefix("channel:"),
            playback["id"].as_str().map(str::to_owned),
        ) else {
            return;
        };
        let id = Channel {
            pbx: pbx.to_owned(),
            channel: channel.to_owned(),
        };
        if !known.callers.values().any(|caller| *caller == id) {
            return;
        }
        let (begun, told) = known.playing.get(&play).copied().unwrap_or((at, false));
        let sounds = ["media_uri", "next_media_uri"];
        let position = sounds.iter().find_map(|field| {
            let media = playback[*field].as_str()?;
            match media.strip_prefix("number:") {
                Some(number) => number.parse().ok(),
                None => (media == "sound:queue-youarenext").then_some(1),
            }
        });
        known
            .playing
            .insert(play, (begun, told || position.is_some()));
        if let (false, Some(position)) = (told, position) {
            let saw = CallerSaw::Heard { position };
            self.stamped.saw_at(begun, Seen::Caller { id, saw });
        }
    }

    /// An Asterisk is killed, or back.
    pub fn asterisk(&self, pbx: &str, saw: AsteriskSaw) {
        let pbx = pbx.to_owned();
        self.looked.saw(Seen::Asterisk { pbx, saw });
    }

    /// How each call ended by its telephone, for those that entered the application.
    pub fn ends(&self, calls: &[Call]) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for call in calls {
            let Some(id) = known.callers.get(&call.number) else {
                continue;
            };
            let Some((looked_ms, end)) = &call.ended else {
                continue;
            };
            let end = match (end, &call.status) {
                (End::Lost, _) => Ended::Gone,
                (End::Told(CallEnd::ByCaller), _) => Ended::HungUp,
                (End::Told(_), Some(status)) => Ended::Dialplan {
                    status: status.clone(),
                },
                (End::Told(_), None) => Ended::Dropped,
            };
            let id = id.clone();
            let gone = known.gone.get(&id).copied();
            let entered = known.entered.get(&id).copied().unwrap_or(0);
            let looked = looked_ms.saturating_sub(LOOK_MS).max(entered + 1);
            let seen = Seen::Caller {
                id,
                saw: CallerSaw::Ended { end },
            };
            match gone {
                Some(at) => self.stamped.saw_at(at, seen),
                None => self.looked.saw_at(looked, seen),
            }
        }
    }
}
