//! A leg's life from INVITE to its end: ringing, answer, failure, time-out.

use serde_json::json;

use crate::channel::{Ch, Far, Place, State};
use crate::pbx::{By, HangUp, Pbx, Timer};
use crate::trunk::Said;

impl Pbx {
    /// Sends the INVITE in a moment, and starts the ring time-out.
    pub(crate) fn start_leg(&mut self, ch: Ch) {
        self.after(1, Timer::LegInvited(ch));
        if let Some(ms) = self
            .channels
            .get(&ch)
            .and_then(|channel| channel.leg.timeout_ms)
        {
            self.after(ms, Timer::LegTimeout(ch));
        }
    }

    pub(crate) fn leg_invited(&mut self, ch: Ch) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        channel.leg.invited = true;
        let far = channel.far.clone();
        let (number, name) = match &channel.connected.number {
            number if number.is_empty() => (channel.caller.number.clone(), String::new()),
            number => (number.clone(), channel.connected.name.clone()),
        };
        self.dial_event(ch, "");
        match far {
            Far::Phone(phone) => self.phone_invited(&phone, ch),
            Far::TrunkOut { number: exten, .. } => {
                self.trunk_send(
                    ch,
                    Said::Invite {
                        exten,
                        number,
                        name,
                    },
                );
            }
            Far::Caller(_) | Far::TrunkIn { .. } => {}
        }
    }

    pub(crate) fn leg_rings(&mut self, ch: Ch) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        if channel.state != State::Down {
            return;
        }
        let phone = channel.phone_number().map(str::to_owned);
        self.set_state(ch, State::Ringing);
        self.dial_event(ch, "RINGING");
        if let Some(phone) = phone {
            self.phone_rings(&phone, ch);
        }
        if let Some(Place::DialLeg { parent }) = self.channels.get(&ch).map(|c| c.place.clone()) {
            self.dial_leg_rings(parent);
        }
    }

    pub(crate) fn leg_answers(&mut self, ch: Ch) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        if channel.state == State::Up {
            return;
        }
        let phone = channel.phone_number().map(str::to_owned);
        let (place, leg) = (channel.place.clone(), channel.leg.clone());
        self.set_state(ch, State::Up);
        self.dial_event(ch, "ANSWER");
        if let Some(phone) = phone {
            self.phone_answers(&phone, ch);
        }
        match place {
            Place::DialLeg { parent } => self.dial_answered(parent, ch),
            Place::Leg => match (leg.app, leg.exten) {
                (Some((app, args)), _) => {
                    if !self.enter_stasis(ch, &app, &args) {
                        self.hang_up(ch, HangUp::asterisk(16));
                    }
                }
                (None, Some((context, exten, _))) => {
                    if let Some(channel) = self.channels.get_mut(&ch) {
                        channel.place = Place::Dialplan;
                    }
                    self.run_exten(ch, &context, &exten);
                }
                (None, None) => self.hang_up(ch, HangUp::asterisk(16)),
            },
            // Made by `create`: it is in the application already, and may be in a bridge.
            Place::Stasis { .. } | Place::Dialplan => {
                if let Some(br) = self.channels.get(&ch).and_then(|channel| channel.bridge) {
                    self.hearing_in_bridge(br);
                }
            }
        }
    }

    /// The phone's final SIP answer is an error.
    pub(crate) fn leg_fails(&mut self, ch: Ch, sip: u16) {
        self.leg_fails_with(ch, cause_of(sip), sip);
    }

    pub(crate) fn leg_fails_with(&mut self, ch: Ch, cause: u16, sip: u16) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        if channel.state == State::Up {
            return;
        }
        let status = match cause {
            17 => "BUSY",
            34 | 38 | 42 => "CONGESTION",
            _ => "NOANSWER",
        };
        let how = HangUp {
            tech_cause: Some(sip),
            dial_status: Some(status),
            ..HangUp::far(cause)
        };
        self.hang_up(ch, how);
    }

    pub(crate) fn leg_timeout(&mut self, ch: Ch) {
        let ringing = self
            .channels
            .get(&ch)
            .is_some_and(|channel| channel.state != State::Up);
        if ringing {
            self.hang_up(
                ch,
                HangUp {
                    tech_cause: Some(480),
                    ..HangUp::asterisk(19)
                },
            );
        }
    }

    /// Says goodbye to the far end, unless it was the one who went.
    pub(crate) fn tell_far_end(&mut self, ch: Ch, how: &HangUp) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        let ours = how.by != By::Far;
        match channel.far.clone() {
            Far::Phone(number) => {
                self.phone_line_over(&number, ch, ours.then_some(how.cause));
            }
            Far::TrunkOut { .. } | Far::TrunkIn { .. } if ours => {
                self.trunk_send(ch, Said::End { cause: how.cause });
            }
            Far::TrunkOut { .. } | Far::TrunkIn { .. } | Far::Caller(_) => {}
        }
    }

    /// A Dial event, to those who watch the leg or the channel that dials it.
    pub(crate) fn dial_event(&mut self, ch: Ch, status: &str) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        let mut receivers = self.watchers(channel);
        let mut event = json!({
            "dialstatus": status,
            "forward": "",
             "dialstring": channel.endpoint().split_once('/').map_or("", |(_, resource)| resource),
            "peer": self.channel_json(channel),
        });
        if let Place::DialLeg { parent } = channel.place
            && let Some(parent) = self.channels.get(&parent)
        {
            event["caller"] = self.channel_json(parent);
            for name in self.watchers(parent) {
                if !receivers.contains(&name) {
                    receivers.push(name);
                }
            }
        }
        for name in receivers {
            self.deliver(&name, "Dial", event.clone());
        }
    }
}

/// Asterisk's hang-up cause for a SIP status, as measured.
fn cause_of(sip: u16) -> u16 {
    match sip {
        403 | 603 => 21,
        404 | 604 => 1,
        408 => 18,
        410 => 22,
        480 => 19,
        484 => 28,
        486 | 600 => 17,
        488 => 58,
        500 => 38,
        503 => 34,
        _ => 127,
    }
}
