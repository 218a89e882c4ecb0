//! Moments for programs that measure: callers reach the application, ARI makes a leg for them, the leg
//! is over. Kept only when asked for, and stamped by the driver, so that nobody has to listen to all
//! events to know them. What comes of them is not known here.

use std::time::Instant;

use crate::channel::{Ch, Channel};
use crate::pbx::Pbx;
use crate::server::State;

/// Kept until they are taken; later ones are not.
const MOMENTS_MAX: usize = 1_000_000;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// A caller of this number is in the application.
    Arrived {
        /// The caller's number.
        number: String,
    },
    /// ARI made a leg to this phone, here or behind a trunk.
    Called {
        /// The phone's number.
        phone: String,
        /// Number of the caller it was made for; empty if the request did not say.
        number: String,
    },
    /// Such a leg is gone.
    Over {
        /// The phone's number.
        phone: String,
    },
}

impl Pbx {
    pub(crate) fn caller_arrived(&mut self, ch: Ch) {
        let channel = self.channels.get(&ch);
        if let Some(channel) = channel.filter(|channel| channel.caller_serial().is_some()) {
            let number = channel.caller.number.clone();
            self.note(Moment::Arrived { number });
        }
    }

    pub(crate) fn leg_made(&mut self, ch: Ch, originator: Option<Ch>) {
        let number = originator.and_then(|ch| self.channels.get(&ch));
        let number = number.map(|channel| channel.caller.number.clone());
        let phone = self.channels.get(&ch).and_then(Channel::agent_number);
        if let Some(phone) = phone.map(str::to_owned) {
            let number = number.unwrap_or_default();
            self.note(Moment::Called { phone, number });
        }
    }

    /// For a channel that is gone.
    pub(crate) fn leg_over(&mut self, channel: &Channel) {
        if let Some(phone) = channel.agent_number().filter(|_| channel.leg.app.is_some()) {
            let phone = phone.to_owned();
            self.note(Moment::Over { phone });
        }
    }

    fn note(&mut self, moment: Moment) {
        if let Some(moments) = &mut self.moments {
            moments.push(moment);
        }
    }
}

impl State {
    /// Stamps what has happened just now.
    pub(crate) fn stamp_moments(&mut self) {
        let now = Instant::now();
        for moment in self.pbx.moments.iter_mut().flat_map(std::mem::take) {
            if self.moments.len() < MOMENTS_MAX {
                self.moments.push((now, moment));
            }
        }
    }
}
