//! Phones and the habits of the people beside them.

use std::collections::{BTreeMap, VecDeque};

use rand::Rng;
use serde_json::{Value, json};

use crate::channel::Ch;
use crate::pbx::{HangUp, Pbx, Timer};

/// How many causes are remembered per phone.
const CAUSES_MAX: usize = 10_000;

/// What the person beside a phone does when it rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Answers, and hangs up after talking for a time (never, when `None`).
    Answer {
        /// Milliseconds of ringing before the answer.
        after_ms: u64,
        /// Milliseconds from the answer to the agent's hang-up.
        talk_ms: Option<u64>,
    },
    /// 486 Busy here at once.
    Busy,
    /// 603 Decline at once.
    Reject,
    /// Rings for ever.
    NoAnswer,
    /// Decides anew at each ring, by chance (of the seeded generator).
    Person(Person),
    /// Sends no SIP answer at all.
    Silent,
    /// Answers the INVITE with this SIP status at once.
    Fail {
        /// SIP status, 400 to 699.
        sip: u16,
    },
}

/// A person's ways: ranges are (least, most) in milliseconds, chances in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// Time until the answer.
    pub answer_ms: (u64, u64),
    /// Time from the answer to the agent's hang-up.
    pub talk_ms: (u64, u64),
    /// Chance that it rings unheard.
    pub no_answer_percent: u8,
    /// Chance of 486 Busy here.
    pub busy_percent: u8,
    /// Chance of 603 Decline.
    pub reject_percent: u8,
}

/// Asterisk's device state of a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceState {
    /// Registered and idle.
    NotInuse,
    /// In a call.
    Inuse,
    /// Ringing only.
    Ringing,
    /// In a call, and another one rings.
    Ringinuse,
    /// Not registered.
    Unavailable,
}

impl DeviceState {
    /// ARI's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            DeviceState::NotInuse => "NOT_INUSE",
            DeviceState::Inuse => "INUSE",
            DeviceState::Ringing => "RINGING",
            DeviceState::Ringinuse => "RINGINUSE",
            DeviceState::Unavailable => "UNAVAILABLE",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Invited,
    Rings,
    Talks,
}

#[derive(Debug, Clone)]
pub(crate) struct PhoneState {
    pub habit: Habit,
    pub registered: bool,
    pub busy_elsewhere: bool,
    lines: BTreeMap<Ch, Line>,
    pub times_rung: u64,
    pub answered: u64,
    pub max_concurrent: u64,
    pub causes: VecDeque<u16>,
    published: DeviceState,
}

impl PhoneState {
    /// Not registered yet.
    pub(crate) fn new(habit: Habit) -> PhoneState {
        PhoneState {
            habit,
            registered: false,
            busy_elsewhere: false,
            lines: BTreeMap::new(),
            times_rung: 0,
            answered: 0,
            max_concurrent: 0,
            causes: VecDeque::new(),
            published: DeviceState::Unavailable,
        }
    }

    pub(crate) fn device_state(&self) -> DeviceState {
        let is = |wanted| self.lines.values().any(|line| *line == wanted);
        let talks = is(Line::Talks) || self.busy_elsewhere;
        match (self.registered, talks, is(Line::Rings)) {
            (false, ..) => DeviceState::Unavailable,
            (true, true, true) => DeviceState::Ringinuse,
            (true, true, false) => DeviceState::Inuse,
            (true, false, true) => DeviceState::Ringing,
            (true, false, false) => DeviceState::NotInuse,
        }
    }

    pub(crate) fn forget_calls(&mut self) {
        self.lines.clear();
        self.published = self.device_state();
    }

    pub(crate) fn talking_legs(&self) -> impl Iterator<Item = Ch> + '_ {
        self.lines
            .iter()
            .filter(|(_, line)| **line == Line::Talks)
            .map(|(ch, _)| *ch)
    }
}

impl Pbx {
    /// Registers a phone, or gives a known one a new habit and registers it again.
    pub fn phone_add(&mut self, number: &str, habit: Habit) {
        let new = || PhoneState::new(habit);
        let phone = self.phones.entry(number.to_owned()).or_insert_with(new);
        phone.habit = habit;
        self.phone_register(number, true);
    }

    /// Registers or unregisters a phone.
    pub fn phone_register(&mut self, number: &str, registered: bool) {
        let Some(phone) = self.phones.get_mut(number) else {
            return;
        };
        if std::mem::replace(&mut phone.registered, registered) == registered {
            return;
        }
        let endpoint = format!("PJSIP/{number}");
        let status = if registered {
            "Reachable"
        } else {
            "Unreachable"
        };
        self.endpoint_event(&endpoint, "EndpointStateChange", &json!({}));
        let peer = json!({ "peer": { "peer_status": status, "cause": "" } });
        self.endpoint_event(&endpoint, "PeerStatusChange", &peer);
        self.device_may_have_changed(number);
        let status = if registered {
            "NonQualified"
        } else {
            "Removed"
        };
        let contact = json!({ "contact_info": {
            "uri": format!("sip:{number}@127.0.0.1:5060"), "contact_status": status,
            "aor": number, "roundtrip_usec": "",
        }});
        self.endpoint_event(&endpoint, "ContactStatusChange", &contact);
    }

    /// From the next ring on, the person has another habit.
    pub fn phone_habit(&mut self, number: &str, habit: Habit) {
        if let Some(phone) = self.phones.get_mut(number) {
            phone.habit = habit;
        }
    }

    /// A private call of the phone begins or ends.
    pub fn phone_busy_elsewhere(&mut self, number: &str, busy: bool) {
        if let Some(phone) = self.phones.get_mut(number) {
            phone.busy_elsewhere = busy;
            self.device_may_have_changed(number);
        }
    }

    /// The person hangs up every call of the phone, ringing ones too (603).
    pub fn phone_hangs_up(&mut self, number: &str) {
        let Some(phone) = self.phones.get(number) else {
            return;
        };
        let lines: Vec<(Ch, Line)> = phone.lines.iter().map(|(ch, line)| (*ch, *line)).collect();
        for (ch, line) in lines {
            match line {
                Line::Talks => self.hang_up(ch, HangUp::far(16)),
                Line::Invited | Line::Rings => self.leg_fails(ch, 603),
            }
        }
    }

    /// The INVITE of a leg reaches the phone.
    pub(crate) fn phone_invited(&mut self, number: &str, ch: Ch) {
        let Some(phone) = self.phones.get_mut(number) else {
            return;
        };
        phone.times_rung += 1;
        phone.lines.insert(ch, Line::Invited);
        if phone.busy_elsewhere {
            self.after(2, Timer::LegFails(ch, 486));
            return;
        }
        let habit = match phone.habit {
            Habit::Person(person) => self.person_decides(person),
            habit => habit,
        };
        match habit {
            Habit::Answer { after_ms, talk_ms } => {
                self.after(2, Timer::LegRings(ch));
                self.after(after_ms.max(3), Timer::LegAnswers(ch));
                if let Some(talk_ms) = talk_ms {
                    self.after(after_ms.max(3) + talk_ms, Timer::FarHangsUp(ch));
                }
            }
            Habit::Busy => self.after(2, Timer::LegFails(ch, 486)),
            Habit::Reject => self.after(2, Timer::LegFails(ch, 603)),
            Habit::NoAnswer => self.after(2, Timer::LegRings(ch)),
            Habit::Fail { sip } => self.after(2, Timer::LegFails(ch, sip)),
            Habit::Silent | Habit::Person(_) => {}
        }
    }

    fn person_decides(&mut self, person: Person) -> Habit {
        let chance = self.rng.random_range(0..100u8);
        let busy = person.busy_percent;
        let reject = busy.saturating_add(person.reject_percent);
        let ignore = reject.saturating_add(person.no_answer_percent);
        let mut within = |(least, most): (u64, u64)| self.rng.random_range(least..=most.max(least));
        let (after_ms, talk_ms) = (within(person.answer_ms), within(person.talk_ms));
        match chance {
            _ if chance < busy => Habit::Busy,
            _ if chance < reject => Habit::Reject,
            _ if chance < ignore => Habit::NoAnswer,
            _ => Habit::Answer {
                after_ms,
                talk_ms: Some(talk_ms),
            },
        }
    }

    pub(crate) fn phone_rings(&mut self, number: &str, ch: Ch) {
        if let Some(phone) = self.phones.get_mut(number) {
            phone.lines.insert(ch, Line::Rings);
            self.device_may_have_changed(number);
        }
    }

    pub(crate) fn phone_answers(&mut self, number: &str, ch: Ch) {
        if let Some(phone) = self.phones.get_mut(number) {
            phone.lines.insert(ch, Line::Talks);
            phone.answered += 1;
            let talking = phone.talking_legs().count() as u64;
            phone.max_concurrent = phone.max_concurrent.max(talking);
            self.device_may_have_changed(number);
        }
    }

    /// A leg of the phone is over; `cancelled` with a cause when Asterisk ended it.
    pub(crate) fn phone_line_over(&mut self, number: &str, ch: Ch, cancelled: Option<u16>) {
        let Some(phone) = self.phones.get_mut(number) else {
            return;
        };
        let line = phone.lines.remove(&ch);
        if let (Some(cause), Some(_)) = (cancelled, line) {
            if phone.causes.len() >= CAUSES_MAX {
                phone.causes.pop_front();
            }
            phone.causes.push_back(cause);
        }
    }

    /// Tells the new device state, if there is one.
    pub(crate) fn device_may_have_changed(&mut self, number: &str) {
        let Some(phone) = self.phones.get_mut(number) else {
            return;
        };
        let state = phone.device_state();
        if std::mem::replace(&mut phone.published, state) != state {
            self.device_event(&format!("PJSIP/{number}"), state.as_str());
        }
    }

    /// Asterisk's state of any device by name.
    pub(crate) fn device_state(&self, device: &str) -> String {
        if let Some(state) = self.stasis_devices.get(device) {
            return state.clone();
        }
        let Some(number) = device.strip_prefix("PJSIP/") else {
            return if device.starts_with("Stasis:") {
                "UNKNOWN"
            } else {
                "INVALID"
            }
            .to_owned();
        };
        match self.phones.get(number) {
            Some(phone) => phone.device_state().as_str().to_owned(),
            None if self.is_trunk(number) => "NOT_INUSE".to_owned(),
            None => "INVALID".to_owned(),
        }
    }

    /// `online` or `offline`; `None` for an endpoint that is not configured.
    pub(crate) fn endpoint_state(&self, endpoint: &str) -> Option<&'static str> {
        let number = endpoint.strip_prefix("PJSIP/")?;
        match self.phones.get(number) {
            Some(phone) if phone.registered => Some("online"),
            Some(_) => Some("offline"),
            None => self.is_trunk(number).then_some("online"),
        }
    }

    pub(crate) fn endpoint_json(&self, endpoint: &str) -> Value {
        let (tech, resource) = endpoint.split_once('/').unwrap_or((endpoint, ""));
        let channels: Vec<&str> = self
            .channels
            .values()
            .filter(|channel| channel.endpoint() == endpoint)
            .map(|channel| channel.id.as_str())
            .collect();
        json!({
            "technology": tech,
            "resource": resource,
            "state": self.endpoint_state(endpoint).unwrap_or("unknown"),
            "channel_ids": channels,
        })
    }
}
