//! Trunks: what two simulated Asterisks say to each other, in place of SIP between servers.
//!
//! `PJSIP/1001@trunk-b` on a sends an invite to b, whose dialplan dials phone 1001 registered
//! there. Answers, hang-ups and a crash travel the same way. A message to a dead Asterisk is lost.

use crate::caller::CallSpec;
use crate::channel::{Ch, Far, Party, State};
use crate::pbx::{CHANNELS_MAX, HangUp, Output, Pbx, Timer};

/// How long until a leg whose peer crashed is noticed by missing RTP.
const RTP_TIMEOUT_MS: u64 = 30_000;

/// A message between Asterisks about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkMessage {
    /// The inviter's number for the call.
    pub(crate) call: u64,
    /// True when the sender is the one who invited.
    pub(crate) from_inviter: bool,
    pub(crate) what: Said,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Invite {
        exten: String,
        number: String,
        name: String,
    },
    Ringing,
    Answer,
    End {
        cause: u16,
    },
    /// The sender crashed; it says nothing, but its media stop.
    Lost,
}

impl TrunkMessage {
    pub(crate) fn lost(peer: &str, call: u64, from_inviter: bool) -> (String, TrunkMessage) {
        (
            peer.to_owned(),
            TrunkMessage {
                call,
                from_inviter,
                what: Said::Lost,
            },
        )
    }
}

impl Pbx {
    /// From now on there is a trunk to the Asterisk of that name.
    pub fn trunk_add(&mut self, peer: &str) {
        self.trunks.insert(peer.to_owned());
    }

    pub(crate) fn is_trunk(&self, endpoint: &str) -> bool {
        endpoint
            .strip_prefix("trunk-")
            .is_some_and(|peer| self.trunks.contains(peer))
    }

    pub(crate) fn trunk_send(&mut self, ch: Ch, what: Said) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        let (to, call, from_inviter) = match &channel.far {
            Far::TrunkOut { peer, call, .. } => (peer.clone(), *call, true),
            Far::TrunkIn { peer, call } => (peer.clone(), *call, false),
            Far::Caller(_) | Far::Phone(_) => return,
        };
        let message = TrunkMessage {
            call,
            from_inviter,
            what,
        };
        self.output(Output::Trunk { to, message });
    }

    /// A message from another Asterisk.
    pub fn trunk_message(&mut self, from: &str, message: TrunkMessage) {
        if !self.alive {
            return;
        }
        let TrunkMessage {
            call,
            from_inviter,
            what,
        } = message;
        if let Said::Invite {
            exten,
            number,
            name,
        } = what
        {
            self.trunk_invited(from, call, &exten, Party { name, number });
            return;
        }
        let ch = if from_inviter {
            self.trunk_in.get(&(from.to_owned(), call)).copied()
        } else {
            Some(call).filter(|ch| {
                let far = self.channels.get(ch).map(|channel| &channel.far);
                matches!(far, Some(Far::TrunkOut { peer, .. }) if peer == from)
            })
        };
        let Some(ch) = ch else { return };
        match what {
            Said::Invite { .. } => {}
            Said::Ringing => self.leg_rings(ch),
            Said::Answer => self.leg_answers(ch),
            Said::End { cause } => self.far_hangs_up(ch, cause),
            Said::Lost => self.after(RTP_TIMEOUT_MS, Timer::FarHangsUp(ch)),
        }
    }

    fn trunk_invited(&mut self, from: &str, call: u64, exten: &str, caller: Party) {
        let far = Far::TrunkIn {
            peer: from.to_owned(),
            call,
        };
        if self.channels.len() >= CHANNELS_MAX {
            let message = TrunkMessage {
                call,
                from_inviter: false,
                what: Said::End { cause: 34 },
            };
            self.output(Output::Trunk {
                to: from.to_owned(),
                message,
            });
            return;
        }
        let ch = self.new_channel(None, &format!("PJSIP/trunk-{from}"), far);
        self.trunk_in.insert((from.to_owned(), call), ch);
        if let Some(channel) = self.channels.get_mut(&ch) {
            channel.caller = caller;
        }
        let context = CallSpec::default().context;
        self.run_exten(
            ch,
            if context.is_empty() {
                "from-trunk"
            } else {
                &context
            },
            exten,
        );
    }

    /// The far end of a channel ends it, be it ringing or talking.
    pub(crate) fn far_hangs_up(&mut self, ch: Ch, cause: u16) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        let ringing_leg = channel.agent_number().is_some() && channel.state != State::Up;
        if ringing_leg {
            self.leg_fails_with(ch, cause, sip_of(cause));
        } else {
            self.hang_up(ch, HangUp::far(cause));
        }
    }
}

/// The SIP status by which a cause travels.
pub(crate) fn sip_of(cause: u16) -> u16 {
    match cause {
        1 => 404,
        17 => 486,
        20 => 480,
        21 => 603,
        34 => 503,
        _ => 480,
    }
}
