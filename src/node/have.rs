//! What Asterisk has for one call, as far as this node knows: the other half of `plan`.
//!
//! It is changed by ARI events (`observe`), by what a comparison found, and by the answers to our
//! own requests. Nothing of it is replicated, and all of it can be found again in Asterisk.

use crate::legs::LegKey;
use crate::want::Leave;
use holdfast_acd::command::FailCause;
use holdfast_acd::{AgentId, Attempt, CallId};
use holdfast_ari::{Channel, ChannelState, Event};
use std::collections::BTreeMap;

/// Keys that are remembered of a caller.
const KEYS_MAX: usize = 8;

/// Where a caller's channel is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// In our hands.
    #[default]
    Stasis,
    /// Alive, in the dialplan.
    Dialplan,
    /// It has ended.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LegState {
    /// Asked for; the answer was lost, so it may exist now or later.
    Unsure,
    /// Was looked for and is not there: ask once more, under the same id.
    ToRepeat,
    Made,
    Ringing,
    /// Answered.
    Up,
    /// Has ended. Its id is never used again.
    Ended(FailCause),
}

/// An agent's leg.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leg {
    pub channel: String,
    pub attempt: Attempt,
    pub agent: AgentId,
    pub state: LegState,
    /// The grant was refused.
    pub refused: bool,
    /// We asked for its end.
    pub hung_up: bool,
    /// It ended while the caller's channel was still there.
    pub ended_first: bool,
    /// It was in the bridge with the caller.
    pub bridged: bool,
    /// Last word of the `Dial` events.
    pub dialstatus: String,
    /// Requests made for it.
    pub tries: u32,
}

impl Leg {
    pub fn new(channel: String, attempt: Attempt, agent: AgentId, state: LegState) -> Leg {
        Leg {
            channel,
            attempt,
            agent,
            state,
            refused: false,
            hung_up: false,
            ended_first: false,
            bridged: false,
            dialstatus: String::new(),
            tries: 0,
        }
    }

    /// May be there in Asterisk.
    pub fn lives(&self) -> bool {
        !matches!(self.state, LegState::Ended(_) | LegState::ToRepeat)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaybackOf {
    Announcement,
    Closing,
}

/// A playback that runs, or may run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Playback {
    pub id: String,
    pub of: PlaybackOf,
}

/// The prompts before a caller is let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Closing {
    #[default]
    No,
    Playing,
    Done,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bridge {
    pub attempt: Attempt,
    /// Channel of the leg that is in it with the caller.
    pub with: Option<String>,
}

/// The channel that took the place of an agent's leg by a transfer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Replacement {
    pub channel: String,
    pub lives: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Have {
    /// The caller's channel.
    pub channel: String,
    pub place: Place,
    /// Class of the music that runs or is queued behind the playback.
    pub music: Option<String>,
    pub playback: Option<Playback>,
    /// Number of the last announcement that was played.
    pub announced: u32,
    pub legs: Vec<Leg>,
    pub bridge: Option<Bridge>,
    /// It was asked for, and no answer came: it may be there, or come to be.
    pub bridge_unsure: bool,
    /// A comparison found the caller in the bridge of this attempt: the two were connected, even if
    /// nothing is known of the agent's leg any more.
    pub was_bridged: Option<Attempt>,
    /// The call of a talk that goes on, or went on, without being known to the state.
    pub kept: Option<CallId>,
    pub bridging_failed: bool,
    pub replacement: Option<Replacement>,
    /// The offer for which the caller was continued in the dialplan.
    pub dialled: Option<Attempt>,
    pub dial_legs: BTreeMap<AgentId, LegState>,
    /// Channel names of those legs, as in `PJSIP/1001-0000000a`, to tell whose they are.
    pub dial_names: BTreeMap<AgentId, String>,
    pub dial_ended: bool,
    /// Keys pressed, the latest last.
    pub keys: String,
    pub closing: Closing,
    /// Result variables that Asterisk has taken, with their values.
    pub results: Vec<(&'static str, String)>,
    /// We continued it or hung it up for good.
    pub let_go: bool,
    /// How it is let go by our own decision: refused, or no quorum.
    pub sent_away: Option<Leave>,
    pub no_quorum: bool,
    /// Asterisk has said that the caller's channel is about to end.
    pub hanging_up: bool,
}

impl Have {
    pub fn leg(&self, attempt: Attempt, agent: &AgentId) -> Option<&Leg> {
        // The newest: an older one of the same offer belongs to an epoch that is over.
        self.legs
            .iter()
            .rev()
            .find(|leg| leg.attempt == attempt && leg.agent == *agent)
    }

    pub fn leg_mut(&mut self, channel: &str) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.channel == channel)
    }

    pub fn bridged_with(&self, attempt: Attempt, agent: &AgentId) -> bool {
        let with = self
            .bridge
            .as_ref()
            .and_then(|bridge| bridge.with.as_deref());
        with.is_some() && with == self.leg(attempt, agent).map(|leg| leg.channel.as_str())
    }

    /// The bridge of this attempt is there for sure.
    pub fn has_bridge(&self, attempt: Attempt) -> bool {
        let bridge = self.bridge.as_ref();
        bridge.is_some_and(|bridge| bridge.attempt == attempt) && !self.bridge_unsure
    }

    /// The agent's leg with which the caller talks now.
    pub fn talking(&self) -> Option<&Leg> {
        let bridged = |leg: &&Leg| leg.lives() && self.in_bridge(&leg.channel);
        let legs = (self.place == Place::Stasis).then_some(&self.legs);
        legs.and_then(|legs| legs.iter().find(bridged))
    }

    /// Was put together with an agent since the caller is here.
    pub fn has_talked(&self) -> bool {
        self.was_bridged.is_some() || self.legs.iter().any(|leg| leg.bridged)
    }

    fn in_bridge(&self, leg: &str) -> bool {
        let bridge = self.bridge.as_ref();
        bridge.is_some_and(|bridge| bridge.with.as_deref() == Some(leg))
    }

    /// Out of our hands.
    pub fn left(&self) -> bool {
        self.place != Place::Stasis
    }

    pub fn transferred(&self) -> bool {
        self.replacement.is_some()
    }

    /// Takes in what Asterisk reports. Unknown channels and late events change nothing.
    pub fn observe(&mut self, event: &Event) {
        match event {
            Event::PlaybackFinished { playback, .. } => self.playback_finished(playback),
            Event::StasisStart {
                channel,
                replace_channel: Some(old),
                ..
            } => {
                if self.leg_mut(&old.id).is_some_and(|leg| leg.lives()) {
                    self.replacement = Some(Replacement {
                        channel: channel.id.clone(),
                        lives: true,
                    });
                }
            }
            Event::Dial {
                peer, dialstatus, ..
            } => self.dial(peer, dialstatus),
            other => {
                let Some(channel) = other.channel() else {
                    return;
                };
                if channel.id == self.channel {
                    self.observe_caller(other);
                } else if self
                    .replacement
                    .as_ref()
                    .is_some_and(|r| r.channel == channel.id)
                {
                    if matches!(
                        other,
                        Event::StasisEnd { .. } | Event::ChannelDestroyed { .. }
                    ) && let Some(replacement) = &mut self.replacement
                    {
                        replacement.lives = false;
                    }
                } else {
                    self.observe_leg(&channel.id, other);
                }
            }
        }
    }

    fn observe_caller(&mut self, event: &Event) {
        match event {
            Event::StasisStart { .. } if self.place == Place::Dialplan => self.back_in_stasis(),
            Event::ChannelHangupRequest { .. } => {
                self.hanging_up = true;
                if self.place == Place::Dialplan {
                    self.place = Place::Gone;
                }
            }
            Event::StasisEnd { .. } => {
                let lives_on = !self.hanging_up && (self.place == Place::Dialplan || self.let_go);
                if self.place != Place::Gone {
                    self.place = if lives_on {
                        Place::Dialplan
                    } else {
                        Place::Gone
                    };
                }
                self.music = None;
                self.playback = None;
            }
            Event::ChannelDestroyed { .. } => self.place = Place::Gone,
            Event::ChannelDtmfReceived { digit, .. } => {
                self.keys.push(*digit);
                if self.keys.chars().count() > KEYS_MAX {
                    self.keys.remove(0);
                }
            }
            _ => {}
        }
    }

    fn back_in_stasis(&mut self) {
        self.place = Place::Stasis;
        self.music = None;
        self.playback = None;
        self.let_go = false;
        self.closing = Closing::No;
        self.results.clear();
        self.sent_away = None;
        self.no_quorum = false;
        self.was_bridged = None;
        for leg in &mut self.legs {
            leg.bridged = false;
        }
        self.kept = None;
        self.keys.clear();
    }

    fn observe_leg(&mut self, id: &str, event: &Event) {
        let caller_there = self.place != Place::Gone && !self.hanging_up;
        let bridged = self.in_bridge(id);
        let Some(leg) = self.leg_mut(id) else { return };
        // The answer to the request that put it there may be lost, or still to come; and it may have
        // been missed already.
        leg.bridged |= matches!(event, Event::ChannelEnteredBridge { .. });
        if let LegState::Ended(_) = leg.state {
            // A request that ran late has made it again: it is not ours any more.
            if !matches!(
                event,
                Event::ChannelDestroyed { .. } | Event::StasisEnd { .. }
            ) {
                leg.state = LegState::Made;
                leg.refused = true;
                leg.hung_up = false;
            }
            return;
        }
        match event {
            Event::StasisStart { .. } => leg.state = LegState::Up,
            Event::ChannelStateChange { channel }
                if channel.state == ChannelState::Ringing && leg.state != LegState::Up =>
            {
                leg.state = LegState::Ringing;
            }
            Event::StasisEnd { .. } | Event::ChannelDestroyed { .. } => {
                let cause = match event {
                    Event::ChannelDestroyed { cause, .. } => *cause,
                    _ => Some(16),
                };
                leg.ended_first = caller_there;
                leg.state = LegState::Ended(fail_cause(leg, cause));
                leg.bridged |= bridged;
                if let Some(bridge) = self.bridge.as_mut().filter(|_| bridged) {
                    bridge.with = None;
                }
            }
            _ => {}
        }
    }

    fn dial(&mut self, peer: &Channel, dialstatus: &str) {
        if let Some(leg) = self.leg_mut(&peer.id) {
            if !dialstatus.is_empty() {
                leg.dialstatus = dialstatus.into();
            }
            if dialstatus == "RINGING" && leg.state == LegState::Made {
                leg.state = LegState::Ringing;
            }
            return;
        }
        // Legs that the dialplan has dialled: told apart by the name of their device.
        let device = peer
            .name
            .rsplit_once('-')
            .map_or(peer.name.as_str(), |(device, _)| device);
        let mut owners = self
            .dial_names
            .iter()
            .filter(|(_, name)| name.as_str() == device);
        let owner = match (owners.next(), owners.next()) {
            (Some((agent, _)), None) => agent.clone(),
            // Several behind one trunk cannot be told apart.
            _ => return,
        };
        let state = match dialstatus {
            "RINGING" => LegState::Ringing,
            "ANSWER" => LegState::Up,
            "" => return,
            _ if matches!(self.dial_legs.get(&owner), Some(LegState::Up)) => {
                self.dial_ended = true;
                return;
            }
            "BUSY" => LegState::Ended(FailCause::Busy),
            "NOANSWER" => LegState::Ended(FailCause::NoAnswer),
            "CANCEL" => LegState::Ended(FailCause::Cancelled),
            _ => LegState::Ended(FailCause::Unreachable),
        };
        self.dial_legs.insert(owner, state);
    }

    pub fn playback_finished(&mut self, id: &str) {
        if let Some(playback) = self.playback.take_if(|playback| playback.id == id)
            && playback.of == PlaybackOf::Closing
        {
            self.closing = Closing::Done;
        }
    }

    /// What a comparison with Asterisk found; of earlier knowledge only what Asterisk cannot tell
    /// is kept.
    pub fn compared(&mut self, found: Found) {
        let Found {
            place,
            legs,
            bridges,
            announced,
            kept,
        } = found;
        if place == Place::Stasis && self.place == Place::Dialplan {
            self.back_in_stasis();
        }
        self.place = place;
        self.kept = kept.or(self.kept);
        self.hanging_up = false;
        self.music = None;
        self.announced = self.announced.max(announced);
        let with = self.bridge.as_ref().and_then(|bridge| bridge.with.clone());
        for leg in &mut self.legs {
            if leg.lives() && !legs.iter().any(|(channel, ..)| *channel == leg.channel) {
                leg.state = LegState::Ended(fail_cause(leg, Some(16)));
                leg.bridged |= with.as_ref() == Some(&leg.channel);
            }
        }
        for (channel, key, state) in legs {
            match self.leg_mut(&channel) {
                Some(leg) => leg.state = state,
                None => self
                    .legs
                    .push(Leg::new(channel, key.attempt, key.agent, state)),
            }
        }
        let mut inside = bridges
            .iter()
            .filter(|(_, members)| members.contains(&self.channel));
        self.was_bridged = inside.next().map(|(attempt, _)| *attempt);
        for leg in &mut self.legs {
            // Nobody comes into that bridge alone.
            leg.bridged |= self.was_bridged == Some(leg.attempt);
        }
        self.bridge_unsure = false;
        self.bridge =
            bridges
                .into_iter()
                .max_by_key(|(attempt, _)| *attempt)
                .map(|(attempt, members)| {
                    let with = members.contains(&self.channel).then(|| {
                        let mut live = self.legs.iter().filter(|leg| leg.lives());
                        live.find(|leg| members.contains(&leg.channel))
                            .map(|leg| leg.channel.clone())
                    });
                    Bridge {
                        attempt,
                        with: with.flatten(),
                    }
                });
    }
}

/// What Asterisk has of one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Found {
    pub place: Place,
    pub legs: Vec<(String, LegKey, LegState)>,
    /// Bridges of the call by attempt, with their members.
    pub bridges: Vec<(Attempt, Vec<String>)>,
    /// Announcements up to this number are over and not to be repeated.
    pub announced: u32,
    /// They are of this call, which the state does not know, or may not.
    pub kept: Option<CallId>,
}

/// Why a leg ended, by Q.850 cause and the last `Dial` word.
fn fail_cause(leg: &Leg, cause: Option<i64>) -> FailCause {
    if leg.hung_up {
        return FailCause::Cancelled;
    }
    match (cause.unwrap_or(0), leg.dialstatus.as_str()) {
        (17, _) | (0, "BUSY") => FailCause::Busy,
        (21, _) => FailCause::Rejected,
        (18 | 19, _) | (0, "NOANSWER") => FailCause::NoAnswer,
        (26, _) | (0, "CANCEL") => FailCause::Cancelled,
        (16, _) => match leg.state {
            // Answered, and hung up before the grant.
            LegState::Up => FailCause::Rejected,
            LegState::Ringing => FailCause::NoAnswer,
            _ => FailCause::Cancelled,
        },
        _ => FailCause::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_ari::{USED_EVENTS, decode};

    /// A caller with the leg of one attempt that is up, and what makes its events.
    fn with_a_leg() -> (Have, impl Fn(&str) -> Event) {
        let leg = "hf-a-1-7-1-1001";
        let mut have = Have {
            place: Place::Stasis,
            channel: "a-1.1".into(),
            ..Have::default()
        };
        let agent = AgentId::new("1001").unwrap();
        let (attempt, state) = (Attempt(1), LegState::Up);
        have.legs.push(Leg::new(leg.into(), attempt, agent, state));
        let channel = move |kind: &str| {
            let channel = format!(r#"{{"id":"{leg}","name":"PJSIP/1001-1","state":"Up"}}"#);
            let bridge = r#"{"id":"hfb-a-7-1","bridge_type":"mixing","channels":[]}"#;
            decode(&format!(
                r#"{{"type":"{kind}","application":"QueueARI","cause":16,"cause_txt":"",
                "channel":{channel},"bridge":{bridge}}}"#
            ))
        };
        (have, channel)
    }

    /// The request's answer was lost, and the agent hung up before it could be made again.
    #[test]
    fn who_entered_the_bridge_was_bridged_whatever_became_of_the_answer() {
        let (mut have, channel) = with_a_leg();
        have.observe(&channel("ChannelDestroyed"));
        assert!(!have.legs[0].bridged, "it never entered");

        // It was looked for, and was gone, before its events came.
        have.observe(&channel("ChannelEnteredBridge"));
        have.observe(&channel("ChannelDestroyed"));
        assert!(have.legs[0].bridged, "it had entered");
    }

    #[test]
    fn who_is_found_in_a_bridge_of_ours_was_bridged() {
        let mut have = Have {
            channel: "a-1.1".into(),
            ..Have::default()
        };
        let agent = AgentId::new("1001").unwrap();
        let up = |attempt| {
            let channel = format!("hf-a-1-7-{attempt}-1001");
            Leg::new(channel, Attempt(attempt), agent.clone(), LegState::Up)
        };
        have.legs = vec![up(1), up(2)];
        have.compared(Found {
            bridges: vec![(Attempt(2), vec!["a-1.1".into()])],
            ..Found::default()
        });
        let legs = have.legs.iter();
        let bridged: Vec<bool> = legs.map(|leg| leg.bridged).collect();
        assert_eq!(bridged, [false, true]);
        assert!(have.legs.iter().all(|leg| !leg.lives()), "both have gone");
    }

    /// So that they need not be asked for: what Asterisk would tell and the filter keeps back.
    #[test]
    fn events_that_are_not_asked_for_change_nothing() {
        for kind in [
            "ChannelLeftBridge",
            "ChannelHold",
            "ChannelUnhold",
            "ChannelTransfer",
            "ApplicationMoveFailed",
        ] {
            assert!(!USED_EVENTS.contains(&kind), "{kind} is asked for");
            let (mut have, event) = with_a_leg();
            have.observe(&event("ChannelEnteredBridge"));
            let before = format!("{have:?}");
            have.observe(&event(kind));
            assert_eq!(format!("{have:?}"), before, "{kind}");
        }
    }

    #[test]
    fn who_entered_the_bridge_and_left_it_was_bridged() {
        let (mut have, channel) = with_a_leg();
        have.observe(&channel("ChannelEnteredBridge"));
        have.observe(&channel("ChannelLeftBridge"));
        have.observe(&channel("ChannelDestroyed"));
        assert!(matches!(have.legs[0].state, LegState::Ended(_)));
        assert!(have.legs[0].bridged);
    }
}
