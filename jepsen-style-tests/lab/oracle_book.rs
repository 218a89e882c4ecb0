//! The judge's book: channels and bridges of all Asterisks as their events tell of them, who talks to
//! whom by that, and what must never be. It listens to nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;

use super::moments::{self, MOMENTS_MAX, Moment};
use super::oracle::{Played, Talk};

/// Kept of the events for the report of a failed test.
const TOLD_MAX: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Caller,
    Trunk,
    Phone,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Channel {
    pub name: String,
    pub number: String,
    pub state: String,
    pub bridge: Option<String>,
    /// When it entered that bridge, by the event's timestamp.
    pub entered_ms: i64,
}

/// The state of all Asterisks, and its history.
#[derive(Default)]
pub(super) struct Book {
    pub phones: BTreeSet<String>,
    pub heard: BTreeSet<String>,
    /// By Asterisk and channel id.
    pub channels: BTreeMap<(String, String), Channel>,
    pub rings: BTreeMap<String, usize>,
    pub talks: Vec<Talk>,
    pub played: Vec<Played>,
    pub moments: Vec<Moment>,
    pub faults: Vec<String>,
    pub told: Vec<String>,
}

impl Book {
    pub fn side(&self, name: &str) -> Side {
        if name.starts_with("PJSIP/trunk-") {
            Side::Trunk
        } else if self.phone_of(name).is_some() {
            Side::Phone
        } else {
            Side::Caller
        }
    }

    /// `PJSIP/1001-00000003` is phone `1001`, if that is one.
    pub fn phone_of(&self, name: &str) -> Option<String> {
        let (endpoint, _) = name.strip_prefix("PJSIP/")?.rsplit_once('-')?;
        self.phones.get(endpoint).cloned()
    }

    pub fn take(&mut self, pbx: &str, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        self.clock(pbx, event);
        // Most of all events, and nothing in them for the judge.
        if matches!(
            kind,
            "ChannelVarset" | "ChannelDialplan" | "DeviceStateChanged"
        ) {
            return;
        }
        self.tell(pbx, kind, event);
        match kind {
            "ChannelDestroyed" => {
                self.update(pbx, &event["channel"]);
                let id = event["channel"]["id"].as_str().unwrap_or_default();
                self.channels.remove(&(pbx.to_owned(), id.to_owned()));
            }
            "ChannelEnteredBridge" | "ChannelLeftBridge" => {
                if let Some(channel) = self.update(pbx, &event["channel"]) {
                    let bridge = event["bridge"]["id"].as_str().unwrap_or_default();
                    if kind == "ChannelEnteredBridge" {
                        channel.bridge = Some(bridge.to_owned());
                        channel.entered_ms = moments::stamp(event);
                    } else if channel.bridge.as_deref() == Some(bridge) {
                        channel.bridge = None;
                    }
                }
            }
            "PlaybackStarted" | "PlaybackContinuing" => self.playback(pbx, kind, event),
            _ => {
                self.update(pbx, &event["channel"]);
            }
        }
        self.judge();
    }

    /// Writes down when a caller's or a phone's channel came, was answered and went.
    fn clock(&mut self, pbx: &str, event: &Value) {
        let Some(what) = moments::what(event) else {
            return;
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let channel = &event["channel"];
        let name = text(&channel["name"]);
        if self.side(&name) == Side::Trunk || self.moments.len() >= MOMENTS_MAX {
            return;
        }
        self.moments.push(Moment {
            at_ms: moments::stamp(event),
            pbx: pbx.to_owned(),
            what,
            channel: text(&channel["id"]),
            phone: self.phone_of(&name),
            number: text(&channel["caller"]["number"]),
        });
    }

    pub fn update(&mut self, pbx: &str, seen: &Value) -> Option<&mut Channel> {
        let id = seen["id"].as_str()?;
        let name = seen["name"].as_str()?;
        let key = (pbx.to_owned(), id.to_owned());
        if !self.channels.contains_key(&key)
            && let Some(phone) = self.phone_of(name)
        {
            *self.rings.entry(phone).or_default() += 1;
        }
        let channel = self.channels.entry(key).or_default();
        channel.name = name.to_owned();
        channel.number = seen["caller"]["number"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        channel.state = seen["state"].as_str().unwrap_or_default().to_owned();
        Some(channel)
    }

    fn playback(&mut self, pbx: &str, kind: &str, event: &Value) {
        let playback = &event["playback"];
        let target = playback["target_uri"].as_str().unwrap_or_default();
        let id = target.strip_prefix("channel:").unwrap_or_default();
        let channel = self.channels.get(&(pbx.to_owned(), id.to_owned()));
        let caller = channel
            .map(|channel| channel.number.clone())
            .unwrap_or_default();
        // `PlaybackContinuing` names the sound that it is about and the one behind it.
        let fields: &[&str] = match kind {
            "PlaybackContinuing" => &["media_uri", "next_media_uri"],
            _ => &["media_uri"],
        };
        for media in fields.iter().filter_map(|field| playback[*field].as_str()) {
            let mut of_caller = self
                .played
                .iter()
                .rev()
                .filter(|played| played.caller == caller);
            if of_caller.next().is_some_and(|last| last.media == media) {
                continue;
            }
            self.played.push(Played {
                pbx: pbx.to_owned(),
                caller: caller.clone(),
                media: media.to_owned(),
                at: Instant::now(),
            });
        }
    }

    /// Derives who talks to whom now, and what must not be.
    pub fn judge(&mut self) {
        let book: &Book = self;
        let mut bridges: BTreeMap<(&str, &str), Vec<&Channel>> = BTreeMap::new();
        for ((pbx, _), channel) in &book.channels {
            if let Some(bridge) = &channel.bridge {
                bridges.entry((pbx, bridge)).or_default().push(channel);
            }
        }
        // A caller is connected when his own Asterisk has bridged him; which phone that is, is told
        // by the Asterisk where the phone is, for a leg through a trunk carries his number there.
        let mut served: BTreeMap<String, (usize, i64)> = BTreeMap::new();
        let mut reached: BTreeMap<(String, String), i64> = BTreeMap::new();
        let mut faults = Vec::new();
        for ((pbx, bridge), members) in &bridges {
            let of = |side| {
                members
                    .iter()
                    .filter(move |member| book.side(&member.name) == side)
            };
            if members.len() > 2 || of(Side::Caller).count() > 1 || of(Side::Phone).count() > 1 {
                let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
                faults.push(format!("bridge {bridge} at {pbx} holds {names:?}"));
            }
            if members.len() == 2 {
                let entered = members.iter().map(|member| member.entered_ms).max();
                let entered = entered.unwrap_or(0);
                for caller in of(Side::Caller) {
                    let (times, last) = served.entry(caller.number.clone()).or_default();
                    (*times, *last) = (*times + 1, entered.max(*last));
                }
                for phone in of(Side::Phone).filter_map(|member| book.phone_of(&member.name)) {
                    for other in members.iter().filter(|m| book.side(&m.name) != Side::Phone) {
                        reached.insert((other.number.clone(), phone.clone()), entered);
                    }
                }
            }
        }
        for (caller, (times, _)) in &served {
            if *times > 1 {
                faults.push(format!("caller {caller} is in {times} bridges"));
            }
        }
        let talking: BTreeMap<(String, String), i64> = reached
            .into_iter()
            .filter_map(|(pair, entered)| {
                let (_, last) = served.get(&pair.0)?;
                Some((pair, entered.max(*last)))
            })
            .collect();
        self.enter(talking, faults);
    }

    fn enter(&mut self, mut talking: BTreeMap<(String, String), i64>, mut faults: Vec<String>) {
        // Two phones that answer at once may both be bridged behind their trunks for the moment
        // until the loser is hung up; who was there first keeps the caller, a second is not yet one.
        let mut phones_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (caller, phone) in talking.keys() {
            phones_of
                .entry(caller.clone())
                .or_default()
                .push(phone.clone());
        }
        talking.retain(|(caller, _), _| phones_of[caller].len() == 1);
        let mut callers_of: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
        for (caller, phone) in talking.keys() {
            callers_of.entry(phone).or_default().push(caller);
        }
        for (phone, callers) in callers_of {
            if callers.len() > 1 {
                faults.push(format!(
                    "agent {phone} talks to {callers:?} at the same time"
                ));
            }
        }
        let now = Instant::now();
        for talk in self.talks.iter_mut().filter(|talk| talk.ended.is_none()) {
            if talking
                .remove(&(talk.caller.clone(), talk.agent.clone()))
                .is_none()
                && !phones_of
                    .get(&talk.caller)
                    .is_some_and(|phones| phones.contains(&talk.agent))
            {
                talk.ended = Some(now);
            }
        }
        let begun = talking.into_iter();
        self.talks
            .extend(begun.map(|((caller, agent), begun_ms)| Talk {
                caller,
                agent,
                begun: now,
                begun_ms,
                ended: None,
            }));
        for fault in faults {
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        }
    }

    /// The Asterisk is out of sight: what it had is not known, and counts as gone.
    pub fn lose(&mut self, pbx: &str) {
        self.heard.remove(pbx);
        self.channels.retain(|(at, _), _| at != pbx);
        self.judge();
    }

    fn tell(&mut self, pbx: &str, kind: &str, event: &Value) {
        if self.told.len() >= TOLD_MAX {
            self.told.remove(0);
        }
        let channel = &event["channel"];
        let bridge = event["bridge"]["id"].as_str().unwrap_or_default();
        let media = event["playback"]["media_uri"].as_str().unwrap_or_default();
        let name = channel["name"].as_str().unwrap_or_default();
        let state = channel["state"].as_str().unwrap_or_default();
        let number = channel["caller"]["number"].as_str().unwrap_or_default();
        let at = event["timestamp"].as_str().unwrap_or_default();
        self.told.push(format!(
            "{at} {pbx} {kind} {name} {state} {number} {bridge} {media}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn book() -> Book {
        Book {
            phones: ["1001", "1002"].map(str::to_owned).into(),
            ..Book::default()
        }
    }

    fn moved(book: &mut Book, kind: &str, pbx: &str, name: &str, number: &str, bridge: &str) {
        let channel =
            json!({"id": name, "name": name, "state": "Up", "caller": {"number": number}});
        book.take(
            pbx,
            &json!({"type": kind, "channel": channel, "bridge": {"id": bridge}}),
        );
    }

    fn enters(book: &mut Book, pbx: &str, name: &str, number: &str, bridge: &str) {
        moved(book, "ChannelEnteredBridge", pbx, name, number, bridge);
    }

    #[test]
    fn a_talk_through_a_trunk_is_one_talk() {
        let mut book = book();
        enters(&mut book, "b", "PJSIP/trunk-a-01", "5551", "y");
        enters(&mut book, "b", "PJSIP/1001-02", "", "y");
        assert!(
            book.talks.is_empty(),
            "the caller himself is not connected yet"
        );
        enters(&mut book, "a", "PJSIP/outside-01", "5551", "x");
        enters(&mut book, "a", "PJSIP/trunk-b-02", "1001", "x");
        assert_eq!(book.talks.len(), 1);
        assert_eq!(
            (book.talks[0].caller.as_str(), book.talks[0].agent.as_str()),
            ("5551", "1001")
        );
        moved(
            &mut book,
            "ChannelLeftBridge",
            "a",
            "PJSIP/outside-01",
            "5551",
            "x",
        );
        assert!(book.talks[0].ended.is_some());
        assert!(book.faults.is_empty(), "{:?}", book.faults);
    }

    #[test]
    fn two_phones_with_one_caller_are_a_fault() {
        let mut book = book();
        enters(&mut book, "a", "PJSIP/outside-01", "5551", "x");
        enters(&mut book, "a", "PJSIP/1001-02", "", "x");
        assert!(book.faults.is_empty());
        enters(&mut book, "a", "PJSIP/1002-03", "", "x");
        assert_eq!(book.faults.len(), 1);
    }

    #[test]
    fn one_agent_in_two_calls_is_a_fault() {
        let mut book = book();
        for (number, bridge) in [("5551", "x"), ("5552", "y")] {
            enters(
                &mut book,
                "a",
                &format!("PJSIP/outside-{number}"),
                number,
                bridge,
            );
            enters(&mut book, "a", &format!("PJSIP/1001-{number}"), "", bridge);
        }
        assert_eq!(book.faults.len(), 1, "{:?}", book.faults);
    }
}
