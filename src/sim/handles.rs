//! Handles of callers and phones.

use std::collections::BTreeMap;

use crate::asterisk::SimAsterisk;
use crate::caller::{CallerEnd, CallerState};
use crate::hearing::Heard;
use crate::phone::{DeviceState, Habit};

/// A caller of one Asterisk.
#[derive(Clone)]
pub struct Caller {
    pub(crate) asterisk: SimAsterisk,
    pub(crate) serial: u64,
}

impl Caller {
    /// Id of the caller's channel; empty while a paused Asterisk has not taken the call yet.
    pub fn channel_id(&self) -> String {
        todo!()
    }
    /// The caller hangs up.
    pub fn hang_up(&self) {
        todo!()
    }
    /// The caller presses a key now.
    pub fn press(&self, digit: char) {
        todo!()
    }
    /// Waits for the end of the call.
    pub async fn ended(&self) -> CallerEnd {
        todo!()
    }
    /// Where the call stands.
    pub fn state(&self) -> CallerState {
        todo!()
    }
    /// What the caller has heard so far, oldest first (at most the last 1000 changes).
    pub fn heard(&self) -> Vec<Heard> {
        todo!()
    }
    /// Number of the phone (or caller) talked to right now.
    pub fn talking_to(&self) -> Option<String> {
        todo!()
    }
    /// Channel variables when the call last came back into the dialplan (`QUEUESTATUS`,
    /// `STASISSTATUS`, ...); empty before that.
    pub fn dialplan_result(&self) -> BTreeMap<String, String> {
        todo!()
    }
    /// A channel variable as it is now.
    pub fn variable(&self, name: &str) -> Option<String> {
        todo!()
    }
}

/// A phone registered at one Asterisk.
#[derive(Clone)]
pub struct Phone {
    pub(crate) asterisk: SimAsterisk,
    pub(crate) number: String,
}

impl Phone {
    /// Its number.
    pub fn number(&self) -> &str {
        &self.number
    }
    /// Leaves the registrar: device state UNAVAILABLE, calls to it fail.
    pub fn unregister(&self) {
        todo!()
    }
    /// Registers again.
    pub fn register(&self) {
        todo!()
    }
    /// From the next ring on, the person has another habit.
    pub fn set_habit(&self, habit: Habit) {
        todo!()
    }
    /// How often it has rung.
    pub fn times_rung(&self) -> u64 {
        todo!()
    }
    /// How many calls were answered.
    pub fn answered(&self) -> u64 {
        todo!()
    }
    /// The most calls that were answered at the same time: above 1, an agent was taken twice.
    pub fn max_concurrent(&self) -> u64 {
        todo!()
    }
    /// Hangs up all its calls.
    pub fn hang_up(&self) {
        todo!()
    }
    /// A private call outside of ARI begins or ends: device state INUSE, and 486 to other calls.
    pub fn busy_elsewhere(&self, busy: bool) {
        todo!()
    }
    /// Its device state.
    pub fn device_state(&self) -> DeviceState {
        todo!()
    }
    /// Causes of the CANCELs it received while ringing (26: answered elsewhere), oldest first.
    pub fn cancels(&self) -> Vec<u16> {
        todo!()
    }
    /// Numbers of the callers talking to it now, as its display shows them.
    pub fn talking_to(&self) -> Vec<String> {
        todo!()
    }
}
