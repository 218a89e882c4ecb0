//! The dialplan's Dial application: rings several phones, bridges the first that answers.

use crate::bridge::Br;
use crate::channel::{Ch, Far, Party, Place, State};
use crate::pbx::{HangUp, Pbx, Timer};
use crate::trunk::Said;

/// How many phones one Dial may ring.
const DIAL_MAX: usize = 100;

/// A Dial under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct DialOp {
    pub legs: Vec<Ch>,
    pub answered: Option<Ch>,
    pub bridge: Option<Br>,
    pub rings: bool,
    last_cause: u16,
}

impl Pbx {
    /// `Dial(PJSIP/1001&PJSIP/1002@trunk-b, seconds)`.
    /// With `music` (option m) the caller hears that instead of ringing.
    pub(crate) fn dial(&mut self, ch: Ch, call_string: &str, seconds: u64, music: bool) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        channel.dial = Some(DialOp {
            last_cause: 20,
            ..DialOp::default()
        });
        channel.app_name = "Dial".to_owned();
        channel.app_data = format!("{call_string},{seconds}");
        channel.moh = music.then(|| "default".to_owned());
        let caller = channel.caller.clone();
        let mut legs = Vec::new();
        for endpoint in call_string.split('&').take(DIAL_MAX) {
            let Some((far, tech_name)) = self.resolve(endpoint) else {
                continue;
            };
            let leg = self.new_leg(None, far, &tech_name);
            if let Some(channel) = self.channels.get_mut(&leg) {
                channel.place = Place::DialLeg { parent: ch };
                channel.connected = Party::new(&caller.name, &caller.number);
            }
            legs.push(leg);
        }
        if let Some(dial) = self
            .channels
            .get_mut(&ch)
            .and_then(|channel| channel.dial.as_mut())
        {
            dial.legs = legs.clone();
        }
        if legs.is_empty() {
            self.dial_over(ch, "CHANUNAVAIL");
            return;
        }
        for leg in legs {
            self.start_leg(leg);
        }
        self.after(seconds.saturating_mul(1000), Timer::DialTimeout(ch));
    }

    pub(crate) fn dial_leg_rings(&mut self, parent: Ch) {
        let Some(channel) = self.channels.get_mut(&parent) else {
            return;
        };
        if let Some(dial) = &mut channel.dial {
            dial.rings = true;
        }
        if matches!(channel.far, Far::TrunkIn { .. }) {
            self.trunk_send(parent, Said::Ringing);
        }
        self.hearing_changed(parent);
    }

    pub(crate) fn dial_answered(&mut self, parent: Ch, leg: Ch) {
        let Some(dial) = self.channels.get_mut(&parent).and_then(|c| c.dial.as_mut()) else {
            return;
        };
        if dial.answered.is_some() {
            self.hang_up(leg, HangUp::asterisk(26));
            return;
        }
        dial.answered = Some(leg);
        let losers: Vec<Ch> = dial
            .legs
            .iter()
            .copied()
            .filter(|other| *other != leg)
            .collect();
        for loser in losers {
            self.hang_up(loser, HangUp::asterisk(26));
        }
        if matches!(
            self.channels.get(&parent).map(|c| &c.far),
            Some(Far::TrunkIn { .. })
        ) {
            self.trunk_send(parent, Said::Answer);
        }
        self.set_state(parent, State::Up);
        if let Some(channel) = self.channels.get_mut(&parent) {
            channel.moh = None;
        }
        let id = self.uuid();
        let br = self.new_bridge(id, String::new(), "mixing".to_owned());
        if let Some(bridge) = self.bridges.get_mut(&br) {
            bridge.dialplan = true;
        }
        if let Some(dial) = self.channels.get_mut(&parent).and_then(|c| c.dial.as_mut()) {
            dial.bridge = Some(br);
        }
        self.join_bridge(parent, br);
        self.join_bridge(leg, br);
    }

    pub(crate) fn dial_leg_gone(&mut self, parent: Ch, leg: Ch, cause: u16, was_up: bool) {
        let Some(dial) = self.channels.get_mut(&parent).and_then(|c| c.dial.as_mut()) else {
            return;
        };
        dial.legs.retain(|other| *other != leg);
        if dial.answered == Some(leg) && was_up {
            self.dial_over(parent, "ANSWER");
            return;
        }
        if dial.answered.is_none() {
            // Busy weighs more than anything said before or after it.
            if dial.last_cause != 17 {
                dial.last_cause = cause;
            }
            if dial.legs.is_empty() {
                let status = match dial.last_cause {
                    17 => "BUSY",
                    34 | 38 | 42 => "CONGESTION",
                    1 | 20 => "CHANUNAVAIL",
                    _ => "NOANSWER",
                };
                self.dial_over(parent, status);
            }
        }
    }

    pub(crate) fn dial_timeout(&mut self, ch: Ch) {
        let Some(dial) = self
            .channels
            .get(&ch)
            .and_then(|channel| channel.dial.as_ref())
        else {
            return;
        };
        if dial.answered.is_some() {
            return;
        }
        for leg in dial.legs.clone() {
            // The last of them ends the Dial, with NOANSWER.
            self.hang_up(leg, HangUp::asterisk(19));
        }
    }

    /// The channel that dials ends: so do the legs.
    pub(crate) fn stop_dialling(&mut self, ch: Ch) {
        let Some(dial) = self
            .channels
            .get_mut(&ch)
            .and_then(|channel| channel.dial.take())
        else {
            return;
        };
        for leg in dial.legs {
            self.hang_up(leg, HangUp::asterisk(16));
        }
        if let Some(br) = dial.bridge {
            self.destroy_bridge(br);
        }
    }

    /// Takes a Dial that has ended off the channel, and its bridge with it.
    fn dial_over(&mut self, ch: Ch, status: &str) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        let dial = channel.dial.take().unwrap_or_default();
        channel.app_name.clear();
        channel.app_data.clear();
        channel.moh = None;
        if let Some(br) = dial.bridge {
            self.destroy_bridge(br);
        }
        self.set_variable(ch, "DIALSTATUS", status, false);
        self.hearing_changed(ch);
        let cause = if status == "ANSWER" {
            16
        } else {
            dial.last_cause
        };
        self.returned_from_dial(ch, status, cause);
    }
}
