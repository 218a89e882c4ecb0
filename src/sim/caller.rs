//! Callers as the driver of the simulator sees them: what to dial, and how it ended.

use std::collections::{BTreeMap, VecDeque};

use crate::channel::{Ch, Far, Party, Place, State};
use crate::hearing::Heard;
use crate::pbx::{CHANNELS_MAX, HangUp, Output, Pbx, Timer};

/// A call to place.
#[derive(Debug, Clone, Default)]
pub struct CallSpec {
    /// What is dialled: `q-NAME` (a queue), `qt-NAME-SECS` (with argument `timeout=SECS`), `*45` log
    /// in, `*46` log out, `*47` pause, `*48` unpause, `held`, or a phone's number.
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
    /// Enters Stasis with exactly these arguments, without the guard and the rest of the shipped
    /// dialplan; then hangs up.
    pub stasis_args: Option<Vec<String>>,
    /// Waits so long between the answer and Stasis, when `stasis_args` are given: 506 for `Answer()`
    /// and a caller who sends no sound (trap 9).
    pub stasis_delay_ms: u64,
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
    /// The final SIP status, when it was refused before an answer.
    pub refused: Option<u16>,
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

/// A caller's side of a call, kept after its end.
#[derive(Debug, Clone)]
pub(crate) struct CallerRecord {
    pub spec: CallSpec,
    pub ch: Ch,
    pub channel_id: String,
    pub started_at: u64,
    pub heard: VecDeque<Heard>,
    /// Who is being talked to, and since when.
    pub talking: Option<(String, u64)>,
    pub talked_to: Vec<String>,
    pub talked_ms: u64,
    pub dialplan: BTreeMap<String, String>,
    pub continued_to: Option<(String, String, i64)>,
    pub end: Option<CallerEnd>,
}

impl CallerRecord {
    pub(crate) fn stop_talking(&mut self, now: u64) {
        if let Some((_, since)) = self.talking.take() {
            self.talked_ms += now - since;
        }
    }
}

impl Pbx {
    /// A call comes in from the outside. `serial` is the caller's key, chosen by the driver.
    pub fn place_call(&mut self, serial: u64, mut spec: CallSpec) {
        if spec.context.is_empty() {
            spec.context = "inbound".to_owned();
        }
        let mut record = CallerRecord {
            spec: spec.clone(),
            ch: 0,
            channel_id: String::new(),
            started_at: self.now,
            heard: VecDeque::new(),
            talking: None,
            talked_to: Vec::new(),
            talked_ms: 0,
            dialplan: BTreeMap::new(),
            continued_to: None,
            end: None,
        };
        if !self.alive || self.channels.len() >= CHANNELS_MAX {
            let by = if self.alive {
                EndedBy::Dialplan
            } else {
                EndedBy::Crash
            };
            self.remember_caller(serial, record);
            self.caller_gone(serial, by, 34, false);
            return;
        }
        self.contexts.insert(spec.context.clone());
        // Agents call from their own phones, everybody else from the outside.
        let agent = self.phones.contains_key(&spec.number) || spec.exten.starts_with('*');
        let tech_name = if agent {
            format!("PJSIP/{}", spec.number)
        } else {
            "PJSIP/anonymous".to_owned()
        };
        let ch = self.new_channel(None, &tech_name, Far::Caller(serial));
        if let Some(channel) = self.channels.get_mut(&ch) {
            channel.caller = Party::new(&spec.name, &spec.number);
            channel.hostile = spec.hostile;
            record.ch = ch;
            record.channel_id = channel.id.clone();
        }
        self.remember_caller(serial, record);
        if let Some(ms) = spec.patience_ms {
            self.after(ms, Timer::CallerPatience(serial));
        }
        for (ms, digit) in spec.digits.iter().take(1000) {
            self.after(*ms, Timer::CallerDigit(serial, *digit));
        }
        for (name, value) in &spec.variables {
            self.set_variable(ch, name, value, false);
        }
        self.hearing_changed(ch);
        self.run_exten(ch, &spec.context, &spec.exten);
    }

    /// The caller hangs up.
    pub fn caller_hangs_up(&mut self, serial: u64) {
        let Some(caller) = self.callers.get(&serial) else {
            return;
        };
        let ch = caller.ch;
        if caller.end.is_some() {
            return;
        }
        let up = self
            .channels
            .get(&ch)
            .is_some_and(|channel| channel.state == State::Up);
        // A CANCEL before the answer is told as cause 127 with SIP status 487.
        let how = if up {
            HangUp::far(16)
        } else {
            HangUp {
                tech_cause: Some(487),
                ..HangUp::far(127)
            }
        };
        self.hang_up(ch, how);
    }

    /// The caller presses a key.
    pub fn caller_presses(&mut self, serial: u64, digit: char) {
        let Some(caller) = self
            .callers
            .get(&serial)
            .filter(|caller| caller.end.is_none())
        else {
            return;
        };
        let fields = serde_json::json!({ "digit": digit.to_string(), "duration_ms": 120 });
        self.channel_event(caller.ch, "ChannelDtmfReceived", fields);
    }

    /// Number of the phone to which a living channel leads, be it registered here or behind a trunk.
    pub fn channel_phone(&self, id: &str) -> Option<&str> {
        let ch = self.ids.get(id)?;
        self.channels.get(ch)?.agent_number()
    }

    /// How a caller's call ended, if it has.
    pub fn caller_end(&self, serial: u64) -> Option<&CallerEnd> {
        self.callers.get(&serial)?.end.as_ref()
    }

    /// Id of a caller's channel.
    pub fn caller_channel(&self, serial: u64) -> Option<&str> {
        Some(self.callers.get(&serial)?.channel_id.as_str())
    }

    /// Numbers of the phones that a caller talked to so far, in order.
    pub fn caller_talked_to(&self, serial: u64) -> &[String] {
        self.callers
            .get(&serial)
            .map_or(&[], |caller| &caller.talked_to)
    }

    /// A variable of a caller's channel as it is now; empty if it is not set.
    pub fn caller_variable(&self, serial: u64, name: &str) -> String {
        let channel = self.callers.get(&serial).map(|caller| caller.ch);
        let channel = channel.and_then(|ch| self.channels.get(&ch));
        let value = channel.and_then(|channel| channel.vars.get(name));
        value.cloned().unwrap_or_default()
    }

    pub(crate) fn caller_patience_ends(&mut self, serial: u64) {
        if self
            .callers
            .get(&serial)
            .is_some_and(|caller| caller.talked_to.is_empty())
        {
            self.caller_hangs_up(serial);
        }
    }

    pub(crate) fn caller_talked_enough(&mut self, serial: u64) {
        let now = self.now;
        let Some(caller) = self.callers.get(&serial) else {
            return;
        };
        let (Some(talk_ms), Some((_, since))) = (caller.spec.talk_ms, &caller.talking) else {
            return;
        };
        if now - since >= talk_ms {
            self.caller_hangs_up(serial);
        }
    }

    pub(crate) fn caller_gone(&mut self, serial: u64, by: EndedBy, cause: u16, answered: bool) {
        let now = self.now;
        let Some(caller) = self.callers.get_mut(&serial) else {
            return;
        };
        if caller.end.is_some() {
            return;
        }
        caller.stop_talking(now);
        caller.end = Some(CallerEnd {
            by,
            cause,
            refused: (!answered && by != EndedBy::Caller).then(|| final_status(cause)),
            after_ms: now - caller.started_at,
            talked_to: caller.talked_to.clone(),
            talked_ms: caller.talked_ms,
            dialplan: caller.dialplan.clone(),
            continued_to: caller.continued_to.clone(),
        });
        self.output(Output::CallerEnded { caller: serial });
    }

    /// Where a caller's call stands; `None` if there is no such caller (yet).
    pub fn caller_state(&self, serial: u64) -> Option<CallerState> {
        let caller = self.callers.get(&serial)?;
        let Some(channel) = self
            .channels
            .get(&caller.ch)
            .filter(|_| caller.end.is_none())
        else {
            return Some(CallerState::Ended);
        };
        Some(match (&caller.talking, &channel.place) {
            (Some(_), _) => CallerState::Talking,
            (None, Place::Stasis { .. }) => CallerState::Waiting,
            (None, _) => CallerState::Dialplan,
        })
    }
}

/// The SIP status by which an unanswered call is refused, as measured.
fn final_status(cause: u16) -> u16 {
    match cause {
        1 => 404,
        17 => 486,
        18 => 408,
        19 | 20 | 31 => 480,
        21 => 403,
        28 => 484,
        34 => 503,
        38 | 127 => 500,
        58 => 488,
        _ => 603,
    }
}
