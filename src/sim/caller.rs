//! Callers as the driver of the simulator sees them: what to dial, and how it ended.

use std::collections::BTreeMap;

/// A call to place.
#[derive(Debug, Clone, Default)]
pub struct CallSpec {
    /// What is dialled: `q-NAME` (a queue), `qt-NAME-SECS` (with argument `timeout=SECS`), `qd-NAME`
    /// (a queue in dialplan mode), `*45` log in, `*46` log out, `*47` pause, or a phone's number.
    pub exten: String,
    /// Caller's number.
    pub number: String,
    /// Caller's name.
    pub name: String,
    /// Dialplan context the call comes in at; empty for `inbound`.
    pub context: String,
    /// Channel variables set before the dialplan runs.
    pub variables: Vec<(String, String)>,
    /// Hangs up when nobody was reached by then (milliseconds from the start of the call).
    pub patience_ms: Option<u64>,
    /// Hangs up after this much talking, if the other side has not.
    pub talk_ms: Option<u64>,
    /// Keys pressed: milliseconds from the start of the call, and the key.
    pub digits: Vec<(u64, char)>,
    /// Enters Stasis with exactly these arguments, instead of what `exten` would give.
    pub stasis_args: Option<Vec<String>>,
    /// Enters this Stasis application instead of the configured one.
    pub app: Option<String>,
    /// The dialplan answers before Stasis.
    pub answer: bool,
    /// The dialplan starts music of this class before Stasis (empty: `default`).
    pub moh: Option<String>,
    /// Non-UTF-8 Call-ID: no StasisStart is ever sent, `GET /channels` answers 500 while it lives,
    /// and its own GET answers 200 with an empty body.
    pub hostile: bool,
}

impl CallSpec {
    /// A call to `exten` from `number`, answered and put on music before Stasis as the shipped
    /// dialplan does, with endless patience.
    pub fn new(exten: &str, number: &str) -> CallSpec {
        CallSpec {
            exten: exten.to_owned(),
            number: number.to_owned(),
            answer: true,
            moh: Some(String::new()),
            ..CallSpec::default()
        }
    }

    /// Sets the patience.
    pub fn patience_ms(mut self, ms: u64) -> CallSpec {
        self.patience_ms = Some(ms);
        self
    }

    /// Sets a channel variable before the dialplan runs.
    pub fn variable(mut self, name: &str, value: &str) -> CallSpec {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerState {
    /// Placed, not yet in the dialplan (the Asterisk is paused).
    Calling,
    /// In a Stasis application, not talking.
    Waiting,
    /// In the dialplan, not talking.
    Dialplan,
    /// Bridged with somebody.
    Talking,
    /// Over.
    Ended,
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The caller: patience, talk time or [`crate::Caller::hang_up`].
    Caller,
    /// ARI's `DELETE /channels/{id}`.
    Ari,
    /// The dialplan came to its end, or the other party of a dialplan Dial hung up.
    Dialplan,
    /// Asterisk was killed.
    Crash,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerEnd {
    /// Who ended it.
    pub by: EndedBy,
    /// Hang-up cause (Q.850).
    pub cause: u16,
    /// Milliseconds from the start of the call.
    pub after_ms: u64,
    /// Numbers of the phones talked to, in order.
    pub talked_to: Vec<String>,
    /// Milliseconds spent talking.
    pub talked_ms: u64,
    /// Channel variables when the call came back into the dialplan for the last time.
    pub dialplan: BTreeMap<String, String>,
    /// Where `continue` sent it: context, extension, priority.
    pub continued_to: Option<(String, String, i64)>,
}
