//! Phones and the habits of the people beside them.

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
    /// Sends no SIP answer at all.
    Silent,
    /// Answers the INVITE with this SIP status at once.
    Fail {
        /// SIP status, 400 to 699.
        sip: u16,
    },
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
