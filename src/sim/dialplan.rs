//! The simulator's dialplan: what `config/asterisk/extensions.conf` does, with extensions to get in.
//!
//! | extension | does |
//! | --- | --- |
//! | `q-NAME`, `qd-NAME`, NAME in context `holdfast-in` | the queue NAME |
//! | `qt-NAME-SECS` | the same with the argument `timeout=SECS` |
//! | `*45` `*46` `*47` `*48` | Stasis with `login`, `logout`, `pause`, `unpause` |
//! | `held` | answers and waits for ten seconds |
//! | a number, `NUMBER@trunk-NAME` | Dial of that phone |
//!
//! A queue call passes the guard, is answered, gets music and an absolute timeout, and enters
//! `Stasis(app,NAME,...)`. When it comes back with `call_string` set, that is dialled, and unless
//! somebody answered it enters Stasis again with `again=DIALSTATUS`. Otherwise its variables are
//! recorded and it is hung up. It knows the shipped fragment only in this form, not its syntax.

use crate::channel::{Ch, Channel, Party, State};
use crate::pbx::{HangUp, Pbx, Timer};

/// `RINGTIME` when it is not set: seconds.
const RINGTIME_DEFAULT: u64 = 20;
/// `HOLDFAST_MAX_WAIT` when it is not set: seconds.
const MAX_WAIT_DEFAULT: u64 = 3600;
/// How long a call that came by a trunk, or a private call, rings: seconds.
const DIRECT_RING: u64 = 300;
/// How long `held` holds.
const HELD_MS: u64 = 10_000;

/// Where `continue` sends a channel: context, extension, priority.
pub(crate) type Destination = (String, String, i64);

/// What the dialplan does when the channel comes back to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub app: String,
    pub then: Then,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Then {
    /// Record the variables, hang up.
    #[default]
    Leave,
    /// The dialplan of this queue.
    Queue(String),
}

impl Pbx {
    /// Runs an extension from its first priority.
    pub(crate) fn run_exten(&mut self, ch: Ch, context: &str, exten: &str) {
        let spec = self.channels.get(&ch).and_then(Channel::caller_serial);
        let spec = spec.and_then(|serial| Some(self.callers.get(&serial)?.spec.clone()));
        let spec = spec.unwrap_or_else(|| crate::caller::CallSpec::new(exten, ""));
        let app = spec.app.unwrap_or_else(|| self.config.app.clone());
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        channel.place = crate::channel::Place::Dialplan;
        channel.context = context.to_owned();
        channel.exten = exten.to_owned();
        channel.priority = 1;
        channel.plan = Plan {
            app,
            then: Then::Leave,
        };
        if let Some(args) = spec.stasis_args {
            self.answer_with_music(ch, spec.answer, spec.moh.as_deref());
            if spec.stasis_delay_ms > 0 {
                self.after(spec.stasis_delay_ms, Timer::StasisLater(ch, args));
            } else {
                self.run_stasis(ch, &args);
            }
            return;
        }
        let code = match exten {
            "*45" => "login",
            "*46" => "logout",
            "*47" => "pause",
            "*48" => "unpause",
            "held" => {
                self.answer_with_music(ch, true, None);
                self.after(HELD_MS, Timer::DialplanEnds(ch));
                return;
            }
            _ => "",
        };
        if !code.is_empty() {
            self.answer_with_music(ch, true, None);
            self.set_variable(ch, "TIMEOUT(absolute)", "30", false);
            self.run_stasis(ch, &[code.to_owned()]);
            return;
        }
        let queue = match exten.split_once('-') {
            _ if context == "holdfast-in" => exten,
            Some(("q" | "qd", queue)) => queue,
            Some(("qt", rest)) => {
                let (queue, seconds) = rest.rsplit_once('-').unwrap_or((rest, "0"));
                self.set_variable(ch, "HOLDFAST_ARGS", &format!("timeout={seconds}"), false);
                queue
            }
            _ => {
                self.dial_number(ch, exten);
                return;
            }
        };
        self.run_queue_exten(ch, queue, spec.answer, spec.moh.as_deref());
    }

    /// `holdfast-in` and `holdfast-hold`.
    fn run_queue_exten(&mut self, ch: Ch, queue: &str, answer: bool, moh: Option<&str>) {
        let clean = |c: char| c.is_ascii_alphanumeric() || "*#+._@-".contains(c);
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        if channel.hostile || queue.is_empty() || !queue.chars().all(clean) {
            // Refused before the answer: such a call would blind ARI.
            self.hang_up(ch, HangUp::asterisk(1));
            return;
        }
        let named = |c: &char| *c >= ' ' && !"\"<>\\".contains(*c) && *c != '\x7f';
        let numbered = |c: &char| c.is_ascii_alphanumeric() || "*#+._-".contains(*c);
        channel.caller = Party {
            name: channel.caller.name.chars().filter(named).collect(),
            number: channel.caller.number.chars().filter(numbered).collect(),
        };
        channel.plan.then = Then::Queue(queue.to_owned());
        self.set_variable(ch, "QUEUE_NAME", queue, false);
        self.set_variable(ch, "QUEUESTATUS", "", false);
        self.set_variable(ch, "call_string", "", false);
        self.answer_with_music(ch, answer, moh);
        let extra = self.channel_var(ch, "HOLDFAST_ARGS");
        let mut args = vec![queue.to_owned()];
        args.extend(
            extra
                .split(',')
                .filter(|arg| !arg.is_empty())
                .map(str::to_owned),
        );
        self.start_absolute_timeout(ch);
        self.run_stasis(ch, &args);
    }

    fn start_absolute_timeout(&mut self, ch: Ch) {
        let seconds = self.channel_var(ch, "HOLDFAST_MAX_WAIT").parse().ok();
        let seconds = seconds.unwrap_or(MAX_WAIT_DEFAULT).to_string();
        self.set_variable(ch, "TIMEOUT(absolute)", &seconds, false);
    }

    fn answer_with_music(&mut self, ch: Ch, answer: bool, moh: Option<&str>) {
        if answer {
            self.set_state(ch, State::Up);
        }
        if let Some(channel) = self.channels.get_mut(&ch) {
            channel.moh = moh.map(crate::rest::class_or_default);
        }
        self.hearing_changed(ch);
    }

    /// A plain call to a phone, without any queue.
    fn dial_number(&mut self, ch: Ch, exten: &str) {
        let number = exten.split('@').next().unwrap_or_default();
        if self.phones.contains_key(number) || exten.contains("@trunk-") {
            self.dial(ch, &format!("PJSIP/{exten}"), DIRECT_RING, false);
        } else {
            // No such extension: 404.
            self.record_and_hang_up(ch, 1);
        }
    }

    pub(crate) fn run_stasis(&mut self, ch: Ch, args: &[String]) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        channel.priority = 7;
        let plan = channel.plan.clone();
        if self.enter_stasis(ch, &plan.app, args) {
            return;
        }
        self.set_variable(ch, "STASISSTATUS", "FAILED", false);
        if matches!(plan.then, Then::Queue(_)) {
            self.set_variable(ch, "QUEUESTATUS", "FAILED", false);
        }
        self.record_and_hang_up(ch, 16);
    }

    /// Stasis has ended by `continue`.
    pub(crate) fn returned_from_stasis(&mut self, ch: Ch, to: Option<Destination>) {
        if let Some(to) = to {
            self.record(ch);
            self.go_to(ch, to);
            return;
        }
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        channel.absolute_deadline = None;
        let call_string = self.channel_var(ch, "call_string");
        let is_queue = self.queue_of(ch).is_some();
        if !is_queue || call_string.is_empty() {
            self.record_and_hang_up(ch, 16);
        } else if only_pjsip(&call_string) {
            let digits = self.channel_var(ch, "RINGTIME");
            let seconds = digits.parse().unwrap_or(RINGTIME_DEFAULT);
            self.dial(ch, &call_string, seconds, true);
        } else {
            self.again(ch);
        }
    }

    fn go_to(&mut self, ch: Ch, (context, exten, priority): Destination) {
        if !self.contexts.contains(&context) {
            self.hang_up(ch, HangUp::asterisk(0));
            return;
        }
        let serial = self.channels.get(&ch).and_then(Channel::caller_serial);
        if let Some(caller) = serial.and_then(|serial| self.callers.get_mut(&serial)) {
            caller.continued_to = Some((context.clone(), exten.clone(), priority));
        }
        let queue = ["q-", "qt-", "qd-", "*4"]
            .iter()
            .any(|start| exten.starts_with(start));
        if priority == 1 && (queue || context == "holdfast-in") {
            self.run_exten(ch, &context, &exten);
        } else {
            self.hang_up(ch, HangUp::asterisk(16));
        }
    }

    /// A Dial has ended.
    pub(crate) fn returned_from_dial(&mut self, ch: Ch, status: &str, cause: u16) {
        match self.queue_of(ch) {
            Some(_) if status == "ANSWER" => {
                self.set_variable(ch, "QUEUESTATUS", "CONTINUE", false);
                self.record_and_hang_up(ch, 16);
            }
            Some(_) => self.again(ch),
            None => self.hang_up(ch, HangUp::asterisk(cause)),
        }
    }

    /// Nobody answered: back into Stasis.
    fn again(&mut self, ch: Ch) {
        let Some(queue) = self.queue_of(ch) else {
            return;
        };
        let status = self.channel_var(ch, "DIALSTATUS");
        let status = if status.is_empty() { "NONE" } else { &status };
        self.set_variable(ch, "call_string", "", false);
        self.answer_with_music(ch, false, Some(""));
        self.start_absolute_timeout(ch);
        self.run_stasis(ch, &[queue, format!("again={status}")]);
    }

    /// TIMEOUT(absolute): extension T, also out of Stasis and with no node alive.
    pub(crate) fn absolute_timeout(&mut self, ch: Ch) {
        let now = self.now;
        let due = |channel: &Channel| channel.absolute_deadline.is_some_and(|at| at <= now);
        if !self.channels.get(&ch).is_some_and(due) {
            return;
        }
        if self.queue_of(ch).is_none() {
            self.hang_up(ch, HangUp::asterisk(16));
            return;
        }
        self.stop_playbacks(ch);
        self.stop_dialling(ch);
        self.leave_bridge(ch);
        self.end_stasis(ch);
        self.set_variable(ch, "QUEUESTATUS", "FAILED", false);
        self.record_and_hang_up(ch, 16);
    }

    fn queue_of(&self, ch: Ch) -> Option<String> {
        match &self.channels.get(&ch)?.plan.then {
            Then::Queue(queue) => Some(queue.clone()),
            Then::Leave => None,
        }
    }

    fn channel_var(&self, ch: Ch, name: &str) -> String {
        let channel = self.channels.get(&ch);
        channel
            .and_then(|channel| channel.vars.get(name).cloned())
            .unwrap_or_default()
    }

    fn record_and_hang_up(&mut self, ch: Ch, cause: u16) {
        self.record(ch);
        self.hang_up(ch, HangUp::asterisk(cause));
    }

    /// Keeps the variables as they are on return to the dialplan.
    fn record(&mut self, ch: Ch) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        if let Some(caller) = channel
            .caller_serial()
            .and_then(|serial| self.callers.get_mut(&serial))
        {
            caller.dialplan = channel.vars.clone();
        }
    }
}

/// The guard of the shipped dialplan: nothing but PJSIP endpoints joined by `&`.
fn only_pjsip(call_string: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    call_string
        .split('&')
        .all(|endpoint| match endpoint.strip_prefix("PJSIP/") {
            Some(resource) => match resource.split_once('@') {
                Some((number, trunk)) => word(number) && word(trunk),
                None => word(resource),
            },
            None => false,
        })
}
