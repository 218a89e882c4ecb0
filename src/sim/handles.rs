//! Handles of callers and phones.

use std::collections::BTreeMap;

use crate::asterisk::SimAsterisk;
use crate::caller::{CallerEnd, CallerState};
use crate::hearing::Heard;
use crate::pbx::Pbx;
use crate::phone::{DeviceState, Habit, PhoneState};

/// A caller of one Asterisk.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) asterisk: SimAsterisk,
    pub(crate) serial: u64,
}

impl Caller {
    /// Id of the caller's channel; empty while a paused Asterisk has not taken the call yet.
    pub fn channel_id(&self) -> String {
        self.look(|pbx| {
            pbx.callers
                .get(&self.serial)
                .map(|caller| caller.channel_id.clone())
        })
        .unwrap_or_default()
    }
    /// The caller hangs up.
    pub fn hang_up(&self) {
        let serial = self.serial;
        self.asterisk
            .shared
            .act(move |pbx| pbx.caller_hangs_up(serial));
    }
    /// The caller presses a key now.
    pub fn press(&self, digit: char) {
        let serial = self.serial;
        self.asterisk
            .shared
            .act(move |pbx| pbx.caller_presses(serial, digit));
    }
    /// Waits for the end of the call.
    pub async fn ended(&self) -> CallerEnd {
        let end = self.asterisk.shared.end_of(self.serial);
        end.await
            .expect("the sender is kept until the call has ended")
    }
    /// How it ended, if it has.
    pub fn end(&self) -> Option<CallerEnd> {
        self.look(|pbx| pbx.callers.get(&self.serial)?.end.clone())
    }

    /// Whether it is answered now.
    pub fn answered(&self) -> bool {
        let up = |pbx: &Pbx| {
            let ch = pbx.callers.get(&self.serial)?.ch;
            Some(pbx.channels.get(&ch)?.state == crate::channel::State::Up)
        };
        self.look(up).unwrap_or(false)
    }

    /// Where the call stands.
    pub fn state(&self) -> CallerState {
        self.look(|pbx| pbx.caller_state(self.serial))
            .unwrap_or(CallerState::Calling)
    }
    /// What the caller has heard so far, oldest first (at most the last 1000 changes).
    pub fn heard(&self) -> Vec<Heard> {
        self.look(|pbx| {
            let caller = pbx.callers.get(&self.serial)?;
            Some(caller.heard.iter().cloned().collect())
        })
        .unwrap_or_default()
    }
    /// Number of the phone (or caller) talked to right now.
    pub fn talking_to(&self) -> Option<String> {
        self.look(|pbx| Some(pbx.callers.get(&self.serial)?.talking.as_ref()?.0.clone()))
    }
    /// Channel variables when the call last came back into the dialplan (`QUEUESTATUS`,
    /// `STASISSTATUS`, ...); empty before that.
    pub fn dialplan_result(&self) -> BTreeMap<String, String> {
        self.look(|pbx| Some(pbx.callers.get(&self.serial)?.dialplan.clone()))
            .unwrap_or_default()
    }
    fn look<T>(&self, look: impl FnOnce(&Pbx) -> Option<T>) -> Option<T> {
        look(&self.asterisk.shared.lock().pbx)
    }

    /// A channel variable as it is now.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.look(|pbx| {
            let caller = pbx.callers.get(&self.serial)?;
            pbx.channels.get(&caller.ch)?.vars.get(name).cloned()
        })
    }
}

/// A phone registered at one Asterisk.
#[derive(Debug, Clone)]
pub struct Phone {
    pub(crate) asterisk: SimAsterisk,
    pub(crate) number: String,
}

impl Phone {
    fn act(&self, act: impl FnOnce(&mut Pbx, &str) + Send + 'static) {
        let number = self.number.clone();
        self.asterisk.shared.act(move |pbx| act(pbx, &number));
    }

    fn look<T>(&self, look: impl FnOnce(&PhoneState) -> T) -> Option<T> {
        self.asterisk
            .shared
            .lock()
            .pbx
            .phones
            .get(&self.number)
            .map(look)
    }

    /// Its number.
    pub fn number(&self) -> &str {
        &self.number
    }
    /// Leaves the registrar: device state UNAVAILABLE, calls to it fail.
    pub fn unregister(&self) {
        self.act(|pbx, number| pbx.phone_register(number, false));
    }
    /// Registers again.
    pub fn register(&self) {
        self.act(|pbx, number| pbx.phone_register(number, true));
    }
    /// From the next ring on, the person has another habit.
    pub fn set_habit(&self, habit: Habit) {
        self.act(move |pbx, number| {
            if let Some(phone) = pbx.phones.get_mut(number) {
                phone.habit = habit;
            }
        });
    }
    /// How many calls reached it (INVITEs), whatever it made of them.
    pub fn times_rung(&self) -> u64 {
        self.look(|phone| phone.times_rung).unwrap_or_default()
    }
    /// How many calls were answered.
    pub fn answered(&self) -> u64 {
        self.look(|phone| phone.answered).unwrap_or_default()
    }
    /// The most calls that were answered at the same time: above 1, an agent was taken twice.
    pub fn max_concurrent(&self) -> u64 {
        self.look(|phone| phone.max_concurrent).unwrap_or_default()
    }
    /// Hangs up all its calls.
    pub fn hang_up(&self) {
        self.act(|pbx, number| pbx.phone_hangs_up(number));
    }
    /// A private call outside of ARI begins or ends: device state INUSE, and 486 to other calls.
    pub fn busy_elsewhere(&self, busy: bool) {
        self.act(move |pbx, number| pbx.phone_busy_elsewhere(number, busy));
    }
    /// Its device state.
    pub fn device_state(&self) -> DeviceState {
        self.look(PhoneState::device_state)
            .unwrap_or(DeviceState::Unavailable)
    }
    /// Causes of the CANCELs and BYEs it was sent (26: answered elsewhere), oldest first.
    pub fn causes(&self) -> Vec<u16> {
        self.look(|phone| phone.causes.iter().copied().collect())
            .unwrap_or_default()
    }
    /// Numbers of the callers talking to it now, as its display shows them.
    pub fn talking_to(&self) -> Vec<String> {
        let state = self.asterisk.shared.lock();
        let Some(phone) = state.pbx.phones.get(&self.number) else {
            return Vec::new();
        };
        phone
            .talking_legs()
            .filter_map(|ch| state.pbx.other_party(ch))
            .collect()
    }
}
