//! An agent, and an agent as a member of a queue.
//!
//! Settings survive logging out; the session (login, pause, counters) survives every failover.
//! Who may be offered a call is decided in one place: `Agent::availability`, to be asked by way of
//! the state, which knows whose word on a phone still counts.

use crate::command::DeviceState;
use crate::id::{AgentId, Attempt, CallId, ChannelId, Millis, PbxId, QueueName};
use crate::pbx::Pbx;
use crate::settings::{AgentSettings, MemberSettings};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Agent {
    pub id: AgentId,
    pub settings: AgentSettings,
    /// Log index of the last write of the settings.
    pub revision: u64,
    pub queues: BTreeSet<QueueName>,
    /// Since when the agent is logged in.
    pub login_at: Option<Millis>,
    pub pause: Option<Pause>,
    pub hand: Hand,
    /// After a call, not before this.
    pub wrap_up_until: Option<Millis>,
    /// After a failed offer, not before this.
    pub retry_at: Option<Millis>,
    /// End of the last call, over all queues.
    pub last_call_at: Option<Millis>,
    pub calls_taken: u64,
    /// What each Asterisk says of the agent's device.
    pub devices: BTreeMap<PbxId, DeviceState>,
}

/// What an agent has in hand. At most one thing, by a committed decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hand {
    #[default]
    Free,
    Offered {
        call: CallId,
        attempt: Attempt,
    },
    InCall {
        call: CallId,
        since: Millis,
    },
    /// Talks with a caller whose call was given up, until that talk ends.
    Talking {
        pbx: PbxId,
        channel: ChannelId,
        queue: Option<QueueName>,
        since: Millis,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pause {
    pub reason: String,
    pub at: Millis,
    pub wall_ms: u64,
}

/// An agent in one queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    pub settings: MemberSettings,
    pub revision: u64,
    /// Paused in this queue alone.
    pub pause: Option<Pause>,
    pub calls_taken: u64,
    pub last_call_at: Option<Millis>,
}

/// Why an agent is or is not offered a call; also what the API shows as the agent's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    Available,
    LoggedOut,
    Paused,
    /// Has an offer of ours.
    Offered,
    /// Is in a call of ours, known to the log or given up by it.
    InCall,
    WrapUp,
    /// The delay after a failed offer.
    RetryDelay,
    /// In use by a call that is not ours (`ringinuse = no`).
    BusyElsewhere,
    /// The device is not registered where it should be.
    Unreachable,
}

impl Agent {
    /// What all Asterisks together say: in use if any says so; reachable if any home says so. That a
    /// phone is busy is the word of a moment: once nobody hears the Asterisk that said it, it counts
    /// as unknown, and a phone that is busy indeed says so itself when it is rung. Where a phone is
    /// registered stays.
    pub(crate) fn device(&self, pbxes: &BTreeMap<PbxId, Pbx>) -> DeviceState {
        let homes = &self.settings.home;
        let relevant = self
            .devices
            .iter()
            .filter(|(pbx, _)| homes.is_empty() || homes.contains(pbx));
        let words = relevant.map(|(pbx, state)| {
            let unheard = pbxes.get(pbx).is_some_and(|pbx| pbx.away_at.is_some());
            if unheard && is_busy(*state) {
                DeviceState::Unknown
            } else {
                *state
            }
        });
        words.reduce(combine).unwrap_or_default()
    }

    /// Whether a decision may take the agent, whose device is in this state, for queues with that
    /// `ring_in_use`. Wrap-up and retry delay end when their deadline fires, not when the clock
    /// passes it, so that all replicas and the index agree on the moment; that is why the clock does
    /// not count here.
    pub(crate) fn is_free(&self, device: DeviceState, ring_in_use: bool) -> bool {
        self.availability(device, 0, ring_in_use) == Availability::Available
    }

    /// At `now`, for queues with that `ring_in_use`.
    pub(crate) fn availability(
        &self,
        device: DeviceState,
        now: Millis,
        ring_in_use: bool,
    ) -> Availability {
        if self.login_at.is_none() {
            return Availability::LoggedOut;
        }
        match self.hand {
            Hand::Offered { .. } => return Availability::Offered,
            Hand::InCall { .. } | Hand::Talking { .. } => return Availability::InCall,
            Hand::Free => {}
        }
        if self.pause.is_some() {
            return Availability::Paused;
        }
        if self.wrap_up_until.is_some_and(|until| now < until) {
            return Availability::WrapUp;
        }
        if self.retry_at.is_some_and(|until| now < until) {
            return Availability::RetryDelay;
        }
        match device {
            DeviceState::Unavailable | DeviceState::Invalid => Availability::Unreachable,
            busy if is_busy(busy) && !ring_in_use => Availability::BusyElsewhere,
            _ => Availability::Available,
        }
    }
}

/// Says of a phone that it is in use, by whatever call.
fn is_busy(state: DeviceState) -> bool {
    matches!(
        state,
        DeviceState::InUse
            | DeviceState::Busy
            | DeviceState::Ringing
            | DeviceState::RingInUse
            | DeviceState::OnHold
    )
}

/// Of two Asterisks' words the busier one counts, and any word counts more than "not registered here".
fn combine(a: DeviceState, b: DeviceState) -> DeviceState {
    fn rank(state: DeviceState) -> u8 {
        match state {
            DeviceState::Invalid => 0,
            DeviceState::Unavailable => 1,
            DeviceState::Unknown => 2,
            DeviceState::NotInUse => 3,
            DeviceState::Ringing => 4,
            DeviceState::InUse => 5,
            DeviceState::OnHold => 6,
            DeviceState::RingInUse => 7,
            DeviceState::Busy => 8,
        }
    }
    if rank(a) >= rank(b) { a } else { b }
}
