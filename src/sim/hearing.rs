//! What a caller hears, as a history: the oracle for "nobody hears silence".

use crate::bridge::Br;
use crate::channel::{Ch, Channel};
use crate::pbx::{Pbx, Timer};

/// What somebody hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hearing {
    /// Nothing.
    Silence,
    /// Ringback.
    Ringing,
    /// Music on hold of a class.
    Music {
        /// The class asked for.
        class: String,
    },
    /// A sound or number being played: its media URI.
    Sound(String),
    /// Another party.
    Bridged {
        /// The other party: an agent's phone number, or a caller's number.
        with: String,
        /// True when music goes on beneath the voice: somebody forgot to stop it (trap 1).
        over_music: bool,
    },
}

/// One stretch of a caller's hearing, which lasts until the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// When it began, in milliseconds from the start of the call.
    pub at_ms: u64,
    /// What it was.
    pub what: Hearing,
}

/// How many changes are kept per caller.
const HEARD_MAX: usize = 1000;

impl Pbx {
    /// What the party at the far end of a channel hears now.
    fn hears(&self, ch: Ch) -> Hearing {
        let Some(channel) = self.channels.get(&ch) else {
            return Hearing::Silence;
        };
        let bridge = channel.bridge.and_then(|br| self.bridges.get(&br));
        let playing = channel.playing.or(bridge.and_then(|bridge| bridge.playing));
        if let Some(playback) = playing.and_then(|serial| self.playbacks.get(&serial)) {
            let media = playback
                .media
                .get(playback.index)
                .cloned()
                .unwrap_or_default();
            return Hearing::Sound(media);
        }
        let music = channel
            .moh
            .as_ref()
            .or(bridge.and_then(|bridge| bridge.moh.as_ref()));
        if let Some(with) = self.other_party(ch) {
            return Hearing::Bridged {
                with,
                over_music: music.is_some(),
            };
        }
        if let Some(class) = music {
            return Hearing::Music {
                class: class.clone(),
            };
        }
        if channel.ring_tone || channel.dial.as_ref().is_some_and(|dial| dial.rings) {
            return Hearing::Ringing;
        }
        Hearing::Silence
    }

    /// Something changed for this channel: writes down what its caller hears, and whether the caller
    /// talks.
    pub(crate) fn hearing_changed(&mut self, ch: Ch) {
        let Some(serial) = self.channels.get(&ch).and_then(Channel::caller_serial) else {
            return;
        };
        let what = self.hears(ch);
        let now = self.now;
        let Some(caller) = self.callers.get_mut(&serial) else {
            return;
        };
        if caller.heard.back().is_some_and(|last| last.what == what) {
            return;
        }
        if caller.heard.len() >= HEARD_MAX {
            caller.heard.pop_front();
        }
        let with = match &what {
            Hearing::Bridged { with, .. } => Some(with.clone()),
            _ => None,
        };
        caller.heard.push_back(Heard {
            at_ms: now - caller.started_at,
            what,
        });
        if with != caller.talking.as_ref().map(|(with, _)| with.clone()) {
            caller.stop_talking(now);
            if let Some(with) = with {
                caller.talked_to.push(with.clone());
                caller.talking = Some((with, now));
                if let Some(ms) = caller.spec.talk_ms {
                    self.after(ms, Timer::CallerTalked(serial));
                }
            }
        }
    }

    pub(crate) fn hearing_in_bridge(&mut self, br: Br) {
        let members = self.bridges.get(&br).map(|bridge| bridge.members.clone());
        for ch in members.unwrap_or_default() {
            self.hearing_changed(ch);
        }
    }
}
