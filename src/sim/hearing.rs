//! What a caller hears, as a history: the oracle for "nobody hears silence".

/// What somebody hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hearing {
    /// Nothing.
    Silence,
    /// Ringback.
    Ringing,
    /// Music on hold of a class.
    Music {
        /// The class asked for.
        class: String,
    },
    /// A sound or number being played: its media URI.
    Sound(String),
    /// Another party.
    Bridged {
        /// The other party: an agent's phone number, or a caller's number.
        with: String,
        /// True when music goes on beneath the voice: somebody forgot to stop it (trap 1).
        over_music: bool,
    },
}

/// One stretch of a caller's hearing, which lasts until the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// When it began, in milliseconds from the start of the call.
    pub at_ms: u64,
    /// What it was.
    pub what: Hearing,
}
