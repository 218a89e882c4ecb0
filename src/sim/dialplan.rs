//! The simulator's dialplan: queues, feature codes, phones, and the Dial application.
//!
//! | extension | does |
//! | --- | --- |
//! | `q-NAME` | `QUEUE_NAME=NAME`, Stasis; afterwards records the channel's variables and hangs up |
//! | `qt-NAME-SECS` | the same with the argument `timeout=SECS` |
//! | `qd-NAME` | dialplan mode: back with `call_string` set, `Dial(call_string,RINGTIME)`; when nobody answers, Stasis again with the arguments `again` and DIALSTATUS |
//! | `*45`, `*46`, `*47` | Stasis with `login`, `logout`, `pause` |
//! | a number | Dial of the phone registered here, or `NUMBER@trunk-NAME` |

use crate::bridge::Br;
use crate::channel::{Ch, Channel, Far, Party, Place, State};
use crate::pbx::{HangUp, Pbx, Timer};
use crate::trunk::Said;

/// `RINGTIME` when it is not set: seconds.
const RINGTIME_DEFAULT: u64 = 20;
/// How many phones one Dial may ring.
const DIAL_MAX: usize = 100;

/// Where `continue` sends a channel: context, extension, priority.
pub(crate) type Destination = (String, String, i64);

/// What the dialplan does when the channel comes back to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub app: String,
    pub args: Vec<String>,
    pub then: Then,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Then {
    /// Record the variables, hang up.
    #[default]
    Leave,
    /// Dial `call_string`.
    DialString,
}

/// A Dial under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct DialOp {
    pub legs: Vec<Ch>,
    pub answered: Option<Ch>,
    pub bridge: Option<Br>,
    pub rings: bool,
    last_cause: u16,
}

impl Pbx {
    /// Runs an extension from its first priority.
    pub(crate) fn run_exten(&mut self, ch: Ch, context: &str, exten: &str) {
        let default_app = self.config.app.clone();
        let spec = self.channels.get(&ch).and_then(Channel::caller_serial);
        let spec = spec.and_then(|serial| Some(self.callers.get(&serial)?.spec.clone()));
        let (app, own_args) = match spec {
            Some(spec) => (spec.app.unwrap_or(default_app), spec.stasis_args),
            None => (default_app, None),
        };
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        channel.place = Place::Dialplan;
        channel.context = context.to_owned();
        channel.exten = exten.to_owned();
        channel.priority = 1;
        let (then, queue, args) = match exten {
            "*45" => (Then::Leave, None, vec!["login".to_owned()]),
            "*46" => (Then::Leave, None, vec!["logout".to_owned()]),
            "*47" => (Then::Leave, None, vec!["pause".to_owned()]),
            _ => match exten.split_once('-') {
                Some(("q", queue)) => (Then::Leave, Some(queue), vec![]),
                Some(("qd", queue)) => (Then::DialString, Some(queue), vec![]),
                Some(("qt", rest)) => {
                    let (queue, seconds) = rest.rsplit_once('-').unwrap_or((rest, "0"));
                    (Then::Leave, Some(queue), vec![format!("timeout={seconds}")])
                }
                _ if own_args.is_some() => (Then::Leave, None, vec![]),
                _ => {
                    self.dial_number(ch, exten);
                    return;
                }
            },
        };
        if let Some(queue) = queue {
            self.set_variable(ch, "QUEUE_NAME", queue, false);
        }
        let plan = Plan {
            app,
            args: own_args.unwrap_or(args),
            then,
        };
        let args = plan.args.clone();
        if let Some(channel) = self.channels.get_mut(&ch) {
            channel.priority = 3;
            channel.plan = plan;
        }
        self.run_stasis(ch, &args);
    }

    /// A plain call to a phone, without any queue.
    fn dial_number(&mut self, ch: Ch, exten: &str) {
        let number = exten.split('@').next().unwrap_or_default();
        if !self.phones.contains_key(number) && !exten.contains("@trunk-") {
            // Nothing of that name in this context: left without an answer, 404.
            self.record_and_hang_up(ch, 1);
            return;
        }
        self.dial(ch, &format!("PJSIP/{exten}"), RINGTIME_DEFAULT * 3);
    }

    fn run_stasis(&mut self, ch: Ch, args: &[String]) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        let app = channel.plan.app.clone();
        if !self.enter_stasis(ch, &app, args) {
            self.set_variable(ch, "STASISSTATUS", "FAILED", false);
            self.record_and_hang_up(ch, 16);
        }
    }

    /// Stasis has ended by `continue`.
    pub(crate) fn returned_from_stasis(&mut self, ch: Ch, to: Option<Destination>) {
        self.record(ch);
        if let Some((context, exten, priority)) = to {
            let serial = self.channels.get(&ch).and_then(Channel::caller_serial);
            if !self.contexts.contains(&context) {
                self.hang_up(ch, HangUp::asterisk(0));
                return;
            }
            if let Some(caller) = serial.and_then(|serial| self.callers.get_mut(&serial)) {
                caller.continued_to = Some((context.clone(), exten.clone(), priority));
            }
            let known = ["q-", "qt-", "qd-", "*4"]
                .iter()
                .any(|start| exten.starts_with(start));
            if known && priority == 1 {
                self.run_exten(ch, &context, &exten);
            } else {
                self.hang_up(ch, HangUp::asterisk(16));
            }
            return;
        }
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        let call_string = channel.vars.get("call_string").cloned().unwrap_or_default();
        if channel.plan.then == Then::DialString && !call_string.is_empty() {
            let seconds = channel
                .vars
                .get("RINGTIME")
                .and_then(|text| text.parse().ok());
            if let Some(channel) = self.channels.get_mut(&ch) {
                channel.vars.remove("call_string");
            }
            self.dial(ch, &call_string, seconds.unwrap_or(RINGTIME_DEFAULT));
        } else {
            self.hang_up(ch, HangUp::asterisk(16));
        }
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

    /// `Dial(PJSIP/1001&PJSIP/1002@trunk-b, seconds)`.
    fn dial(&mut self, ch: Ch, call_string: &str, seconds: u64) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        channel.dial = Some(DialOp {
            last_cause: 20,
            ..DialOp::default()
        });
        channel.app_name = "Dial".to_owned();
        channel.app_data = format!("{call_string},{seconds}");
        let caller = channel.caller.clone();
        let mut legs = Vec::new();
        for endpoint in call_string.split('&').take(DIAL_MAX) {
            let Some((far, tech_name)) = self.resolve(endpoint) else {
                continue;
            };
            let leg = self.new_leg(None, far, &tech_name);
            if let Some(channel) = self.channels.get_mut(&leg) {
                channel.place = Place::DialLeg { parent: ch };
                channel.connected = Party::new(&caller.name, &caller.number);
            }
            legs.push(leg);
        }
        if let Some(dial) = self
            .channels
            .get_mut(&ch)
            .and_then(|channel| channel.dial.as_mut())
        {
            dial.legs = legs.clone();
        }
        if legs.is_empty() {
            self.dial_over(ch, "CHANUNAVAIL");
            return;
        }
        for leg in legs {
            self.start_leg(leg);
        }
        self.after(seconds.saturating_mul(1000), Timer::DialTimeout(ch));
    }

    pub(crate) fn dial_leg_rings(&mut self, parent: Ch) {
        let Some(channel) = self.channels.get_mut(&parent) else {
            return;
        };
        if let Some(dial) = &mut channel.dial {
            dial.rings = true;
        }
        if matches!(channel.far, Far::TrunkIn { .. }) {
            self.trunk_send(parent, Said::Ringing);
        }
        self.hearing_changed(parent);
    }

    pub(crate) fn dial_answered(&mut self, parent: Ch, leg: Ch) {
        let Some(dial) = self.channels.get_mut(&parent).and_then(|c| c.dial.as_mut()) else {
            return;
        };
        if dial.answered.is_some() {
            self.hang_up(leg, HangUp::asterisk(26));
            return;
        }
        dial.answered = Some(leg);
        let losers: Vec<Ch> = dial
            .legs
            .iter()
            .copied()
            .filter(|other| *other != leg)
            .collect();
        for loser in losers {
            self.hang_up(loser, HangUp::asterisk(26));
        }
        if matches!(
            self.channels.get(&parent).map(|c| &c.far),
            Some(Far::TrunkIn { .. })
        ) {
            self.trunk_send(parent, Said::Answer);
        }
        self.set_state(parent, State::Up);
        let id = self.uuid();
        let br = self.new_bridge(id, String::new(), "mixing".to_owned());
        if let Some(bridge) = self.bridges.get_mut(&br) {
            bridge.dialplan = true;
        }
        if let Some(dial) = self.channels.get_mut(&parent).and_then(|c| c.dial.as_mut()) {
            dial.bridge = Some(br);
        }
        self.join_bridge(parent, br);
        self.join_bridge(leg, br);
    }

    pub(crate) fn dial_leg_gone(&mut self, parent: Ch, leg: Ch, cause: u16, was_up: bool) {
        let Some(dial) = self.channels.get_mut(&parent).and_then(|c| c.dial.as_mut()) else {
            return;
        };
        dial.legs.retain(|other| *other != leg);
        if dial.answered == Some(leg) && was_up {
            self.dial_over(parent, "ANSWER");
            return;
        }
        if dial.answered.is_none() {
            // Busy weighs more than anything said before or after it.
            if dial.last_cause != 17 {
                dial.last_cause = cause;
            }
            if dial.legs.is_empty() {
                let status = match dial.last_cause {
                    17 => "BUSY",
                    34 | 38 | 42 => "CONGESTION",
                    1 | 20 => "CHANUNAVAIL",
                    _ => "NOANSWER",
                };
                self.dial_over(parent, status);
            }
        }
    }

    pub(crate) fn dial_timeout(&mut self, ch: Ch) {
        let Some(dial) = self
            .channels
            .get(&ch)
            .and_then(|channel| channel.dial.as_ref())
        else {
            return;
        };
        if dial.answered.is_some() {
            return;
        }
        for leg in dial.legs.clone() {
            // The last of them ends the Dial, with NOANSWER.
            self.hang_up(leg, HangUp::asterisk(19));
        }
    }

    /// The channel that dials ends: so do the legs.
    pub(crate) fn stop_dialling(&mut self, ch: Ch) {
        let Some(dial) = self
            .channels
            .get_mut(&ch)
            .and_then(|channel| channel.dial.take())
        else {
            return;
        };
        for leg in dial.legs {
            self.hang_up(leg, HangUp::asterisk(16));
        }
        if let Some(br) = dial.bridge {
            self.destroy_bridge(br);
        }
    }

    fn dial_over(&mut self, ch: Ch, status: &str) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        let dial = channel.dial.take();
        channel.app_name.clear();
        channel.app_data.clear();
        let plan = channel.plan.clone();
        let goes_on = channel
            .vars
            .get("DIAL_OPTIONS")
            .is_some_and(|text| text.contains('g'));
        if let Some(br) = dial.and_then(|dial| dial.bridge) {
            self.destroy_bridge(br);
        }
        self.set_variable(ch, "DIALSTATUS", status, false);
        self.hearing_changed(ch);
        if plan.then == Then::DialString && status != "ANSWER" {
            let mut args = plan.args;
            args.extend(["again".to_owned(), status.to_owned()]);
            self.run_stasis(ch, &args);
            return;
        }
        if plan.then == Then::DialString && goes_on {
            self.record(ch);
        }
        let cause = match status {
            "BUSY" => 17,
            "CONGESTION" => 34,
            "CHANUNAVAIL" => 20,
            "NOANSWER" => 19,
            _ => 16,
        };
        self.hang_up(ch, HangUp::asterisk(cause));
    }
}
