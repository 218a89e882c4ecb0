//! Playbacks: how long they last, their events, and how they stop. Playing stops the music, which
//! does not come back by itself. Playback ids need not be unique (trap 5), and no number is stopped
//! while it is spoken (trap 2).

use serde_json::{Value, json};

use crate::bridge::Br;
use crate::channel::Ch;
use crate::pbx::{Pbx, Timer};

/// Names and lengths in milliseconds of the core sounds that come with Asterisk.
const SOUNDS: &str = include_str!("sounds.txt");
/// Length of a sound that the table does not know but the installation would (`custom/...`).
const CUSTOM_MS: u64 = 1500;
/// Length of one spoken digit or letter.
const DIGIT_MS: u64 = 400;
/// The most media in one playback.
const MEDIA_MAX: usize = 200;
/// The most playbacks alive at a time.
const PLAYBACKS_MAX: usize = 50_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Channel(Ch),
    Bridge(Br),
}

#[derive(Debug, Clone)]
pub(crate) struct Playback {
    pub id: String,
    pub target: Target,
    pub media: Vec<String>,
    pub index: usize,
    pub language: String,
    pub state: &'static str,
    paused: bool,
    due: bool,
}

/// What playing one medium comes to.
enum Length {
    Lasts(u64),
    /// No such sound: skipped.
    Missing,
    /// Unknown scheme: it is gone without any event.
    Lost,
}

impl Pbx {
    /// Makes a playback and queues it on its target; answers its JSON.
    pub(crate) fn play(
        &mut self,
        target: Target,
        id: Option<String>,
        media: Vec<String>,
        language: String,
    ) -> Option<Value> {
        if self.playbacks.len() >= PLAYBACKS_MAX || media.len() > MEDIA_MAX {
            return None;
        }
        let id = id.unwrap_or_else(|| self.uuid());
        let serial = self.next_serial();
        let playback = Playback {
            id,
            target,
            media,
            index: 0,
            language,
            state: "queued",
            paused: false,
            due: false,
        };
        let json = self.playback_json(&playback);
        self.playbacks.insert(serial, playback);
        match target {
            Target::Channel(ch) => self.command(ch, crate::queue::Command::Play(serial)),
            Target::Bridge(br) => {
                if let Some(bridge) = self.bridges.get_mut(&br) {
                    bridge.queued.push_back(serial);
                }
                self.bridge_plays_next(br);
            }
        }
        Some(json)
    }

    /// The newest living playback of this id.
    pub(crate) fn playback_by_id(&self, id: &str) -> Option<u64> {
        self.playbacks
            .iter()
            .rev()
            .find(|(_, playback)| playback.id == id)
            .map(|(s, _)| *s)
    }

    /// The channel's turn for this playback has come.
    pub(crate) fn start_playback(&mut self, serial: u64) {
        let Some(playback) = self.playbacks.get_mut(&serial) else {
            return;
        };
        if playback.state == "stopped" {
            // Stopped while it was still queued: its end is told now, when its turn comes.
            self.finish_playback(serial, "done");
            return;
        }
        playback.state = "playing";
        match playback.target {
            Target::Channel(ch) => {
                if let Some(channel) = self.channels.get_mut(&ch) {
                    channel.playing = Some(serial);
                    channel.moh = None;
                }
            }
            Target::Bridge(br) => {
                if let Some(bridge) = self.bridges.get_mut(&br) {
                    bridge.playing = Some(serial);
                    bridge.moh = None;
                }
            }
        }
        self.playback_event(serial, "PlaybackStarted");
        self.play_current(serial);
    }

    /// The current medium has ended.
    pub(crate) fn playback_step(&mut self, serial: u64) {
        let Some(playback) = self.playbacks.get_mut(&serial) else {
            return;
        };
        if playback.paused {
            playback.due = true;
            return;
        }
        self.next_medium(serial, "done");
    }

    /// The current medium has ended in this state: the next one starts, or the playback ends.
    fn next_medium(&mut self, serial: u64, state: &'static str) {
        let Some(playback) = self.playbacks.get_mut(&serial) else {
            return;
        };
        if playback.index + 1 >= playback.media.len() {
            self.finish_playback(serial, state);
            return;
        }
        playback.state = "continuing";
        self.playback_event(serial, "PlaybackContinuing");
        if let Some(playback) = self.playbacks.get_mut(&serial) {
            playback.index += 1;
            playback.state = "playing";
        }
        self.playback_event(serial, "PlaybackStarted");
        self.play_current(serial);
    }

    fn play_current(&mut self, serial: u64) {
        let Some(playback) = self.playbacks.get(&serial) else {
            return;
        };
        match playback
            .media
            .get(playback.index)
            .map_or(Length::Missing, |media| length(media))
        {
            Length::Lasts(ms) => {
                let ms = ms * u64::from(self.config.sound_percent) / 100;
                self.after(ms, Timer::PlaybackDone(serial));
                self.playback_heard(serial);
            }
            Length::Missing => self.next_medium(serial, "failed"),
            Length::Lost => self.end_playback(serial),
        }
    }

    fn playback_heard(&mut self, serial: u64) {
        match self.playbacks.get(&serial).map(|playback| playback.target) {
            Some(Target::Channel(ch)) => self.hearing_changed(ch),
            Some(Target::Bridge(br)) => self.hearing_in_bridge(br),
            None => {}
        }
    }

    /// Ends a playback, running or queued, and lets the channel's queue go on.
    pub(crate) fn finish_playback(&mut self, serial: u64, state: &'static str) {
        let Some(playback) = self.playbacks.get_mut(&serial) else {
            return;
        };
        playback.state = state;
        self.playback_event(serial, "PlaybackFinished");
        self.end_playback(serial);
    }

    fn end_playback(&mut self, serial: u64) {
        let Some(playback) = self.playbacks.remove(&serial) else {
            return;
        };
        match playback.target {
            Target::Channel(ch) => {
                if let Some(channel) = self.channels.get_mut(&ch)
                    && channel.playing == Some(serial)
                {
                    channel.playing = None;
                    self.hearing_changed(ch);
                    self.run_queue(ch);
                }
            }
            Target::Bridge(br) => {
                if let Some(bridge) = self.bridges.get_mut(&br)
                    && bridge.playing == Some(serial)
                {
                    bridge.playing = None;
                    self.hearing_in_bridge(br);
                    self.bridge_plays_next(br);
                }
            }
        }
    }

    fn bridge_plays_next(&mut self, br: Br) {
        let Some(bridge) = self.bridges.get_mut(&br) else {
            return;
        };
        if bridge.playing.is_none()
            && let Some(serial) = bridge.queued.pop_front()
        {
            self.start_playback(serial);
        }
    }

    /// `DELETE /playbacks/{id}`: a running one ends at once, a queued one when its turn comes. While
    /// a number is spoken it is without effect, and answered as if it had one.
    pub(crate) fn stop_playback(&mut self, serial: u64) {
        let Some(playback) = self.playbacks.get_mut(&serial) else {
            return;
        };
        let medium = playback.media.get(playback.index);
        if playback.state == "queued" {
            playback.state = "stopped";
        } else if medium.is_none_or(|medium| !medium.starts_with("number:")) {
            self.finish_playback(serial, "done");
        }
    }

    /// The channel ends: its playbacks fail, running one first.
    pub(crate) fn stop_playbacks(&mut self, ch: Ch) {
        let mine: Vec<u64> = self
            .playbacks
            .iter()
            .filter(|(_, playback)| playback.target == Target::Channel(ch))
            .map(|(serial, _)| *serial)
            .collect();
        for serial in mine {
            self.finish_playback(serial, "failed");
        }
    }

    /// `POST /playbacks/{id}/control`; false for an unknown operation.
    pub(crate) fn control_playback(&mut self, serial: u64, operation: &str) -> bool {
        let Some(playback) = self.playbacks.get_mut(&serial) else {
            return true;
        };
        match operation {
            "pause" => playback.paused = true,
            "unpause" => {
                playback.paused = false;
                if std::mem::take(&mut playback.due) {
                    self.playback_step(serial);
                }
            }
            "restart" | "reverse" | "forward" => {}
            _ => return false,
        }
        true
    }

    fn playback_event(&mut self, serial: u64, kind: &str) {
        let Some(playback) = self.playbacks.get(&serial) else {
            return;
        };
        let event = json!({ "playback": self.playback_json(playback) });
        let receivers = match playback.target {
            Target::Channel(ch) => match self.channels.get(&ch) {
                Some(channel) if !channel.hostile => self.watchers(channel),
                _ => Vec::new(),
            },
            Target::Bridge(br) => self.bridge_watchers(br),
        };
        for name in receivers {
            self.deliver(&name, kind, event.clone());
        }
    }

    pub(crate) fn playback_json(&self, playback: &Playback) -> Value {
        let target = match playback.target {
            Target::Channel(ch) => {
                format!(
                    "channel:{}",
                    self.channels.get(&ch).map_or("", |channel| &channel.id)
                )
            }
            Target::Bridge(br) => {
                format!(
                    "bridge:{}",
                    self.bridges.get(&br).map_or("", |bridge| &bridge.id)
                )
            }
        };
        let last = playback.media.len().saturating_sub(1);
        let mut json = json!({
            "id": playback.id,
            "media_uri": playback.media.get(playback.index.min(last)),
            "target_uri": target,
            "language": playback.language,
            "state": if playback.state == "stopped" { "queued" } else { playback.state },
        });
        if let Some(next) = playback.media.get(playback.index + 1) {
            json["next_media_uri"] = next.as_str().into();
        }
        json
    }
}

fn length(media: &str) -> Length {
    let Some((scheme, rest)) = media.split_once(':') else {
        return sound_length(media);
    };
    let digits = || Length::Lasts(rest.chars().count().max(1) as u64 * DIGIT_MS);
    match scheme {
        "sound" => sound_length(rest),
        "number" if rest.parse::<i64>().is_ok() => digits(),
        "digits" | "characters" => digits(),
        "number" | "recording" | "tone" => Length::Missing,
        _ => Length::Lost,
    }
}

fn sound_length(name: &str) -> Length {
    if name.starts_with("custom/") {
        return Length::Lasts(CUSTOM_MS);
    }
    let line = SOUNDS.lines().find_map(|line| {
        let (sound, ms) = line.split_once(' ')?;
        (sound == name).then(|| ms.parse().ok()).flatten()
    });
    line.map_or(Length::Missing, Length::Lasts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sounds_of_the_original_are_known_and_invented_ones_are_not() {
        for name in [
            "queue-thereare",
            "queue-callswaiting",
            "queue-youarenext",
            "sorry",
        ] {
            assert!(
                matches!(sound_length(name), Length::Lasts(ms) if ms > 100),
                "{name}"
            );
        }
        assert!(matches!(length("sound:no-such-sound"), Length::Missing));
        assert!(matches!(length("bogus:x"), Length::Lost));
        assert!(matches!(length("number:12"), Length::Lasts(800)));
    }
}
