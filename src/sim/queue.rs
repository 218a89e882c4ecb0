//! A channel's command queue. Commands run in order, and none runs while a sound plays (trap 2): so
//! the answers to `variable` and `addChannel` wait, and `continue` answers at once but runs late.

use std::collections::VecDeque;

use serde_json::json;

use crate::bridge::Br;
use crate::channel::{Ch, Place, State};
use crate::dialplan::Destination;
use crate::pbx::{HangUp, Pbx, Timer};
use crate::rest::{error, no_content};

/// The most commands that may wait on one channel.
const COMMANDS_MAX: usize = 200;

/// One thing for the channel's own thread to do. Those with a token answer only when done.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Play(u64),
    MohStart(String),
    MohStop,
    RingStart,
    RingStop,
    Answer {
        token: u64,
    },
    Variables {
        token: u64,
        set: Vec<(String, String, bool)>,
    },
    Bridge {
        op: u64,
    },
    Continue(Option<Destination>),
    Move {
        app: String,
        args: Vec<String>,
    },
    Dial {
        timeout_ms: Option<u64>,
    },
}

/// An `addChannel` or `removeChannel` under way: one channel after the other.
#[derive(Debug, Clone)]
pub(crate) struct BridgeOp {
    pub token: u64,
    pub bridge: Br,
    pub add: bool,
    pub rest: VecDeque<Ch>,
}

impl Pbx {
    /// Queues a command on a channel and runs what can run.
    pub(crate) fn command(&mut self, ch: Ch, command: Command) {
        match self.channels.get_mut(&ch) {
            Some(channel) if channel.commands.len() < COMMANDS_MAX => {
                channel.commands.push_back(command);
                self.run_queue(ch);
            }
            _ => self.command_failed(command),
        }
    }

    pub(crate) fn run_queue(&mut self, ch: Ch) {
        while let Some(channel) = self.channels.get_mut(&ch) {
            if channel.playing.is_some() || channel.ending {
                return;
            }
            let Some(command) = channel.commands.pop_front() else {
                return;
            };
            if channel.app().is_none() {
                self.command_failed(command);
                continue;
            }
            self.execute(ch, command);
        }
    }

    fn execute(&mut self, ch: Ch, command: Command) {
        match command {
            Command::Play(serial) => self.start_playback(serial),
            Command::MohStart(class) => self.with(ch, |channel| channel.moh = Some(class)),
            Command::MohStop => self.with(ch, |channel| channel.moh = None),
            Command::RingStart => self.with(ch, |channel| {
                channel.ring_tone = true;
                channel.moh = None;
            }),
            Command::RingStop => self.with(ch, |channel| channel.ring_tone = false),
            Command::Answer { token } => {
                self.set_state(ch, State::Up);
                self.hearing_changed(ch);
                self.answer(token, no_content());
            }
            Command::Variables { token, set } => {
                for (name, value, report) in set {
                    self.set_variable(ch, &name, &value, report);
                }
                self.answer(token, no_content());
            }
            Command::Bridge { op } => self.bridge_op_step(ch, op),
            Command::Continue(to) => self.continue_in_dialplan(ch, to),
            Command::Move { app, args } => self.move_to_app(ch, &app, args),
            Command::Dial { timeout_ms } => self.dial_created(ch, timeout_ms),
        }
    }

    /// The channel has gone before the command's turn came.
    pub(crate) fn command_failed(&mut self, command: Command) {
        match command {
            Command::Answer { token } | Command::Variables { token, .. } => {
                self.answer(token, error(500, "Internal Server Error"));
            }
            Command::Bridge { op } => {
                if let Some(op) = self.bridge_ops.remove(&op) {
                    self.answer(op.token, error(500, "Internal Server Error"));
                }
            }
            Command::Play(serial) => self.finish_playback(serial, "failed"),
            Command::MohStart(_)
            | Command::MohStop
            | Command::RingStart
            | Command::RingStop
            | Command::Continue(_)
            | Command::Move { .. }
            | Command::Dial { .. } => {}
        }
    }

    fn with(&mut self, ch: Ch, change: impl FnOnce(&mut crate::channel::Channel)) {
        if let Some(channel) = self.channels.get_mut(&ch) {
            change(channel);
            self.hearing_changed(ch);
        }
    }

    /// Starts an `addChannel` or `removeChannel` whose channels were all found.
    pub(crate) fn start_bridge_op(&mut self, token: u64, bridge: Br, add: bool, channels: Vec<Ch>) {
        let mut rest: VecDeque<Ch> = channels.into();
        let Some(first) = rest.pop_front() else {
            self.answer(token, no_content());
            return;
        };
        let op = self.next_serial();
        self.bridge_ops.insert(
            op,
            BridgeOp {
                token,
                bridge,
                add,
                rest,
            },
        );
        self.command(first, Command::Bridge { op });
    }

    fn bridge_op_step(&mut self, ch: Ch, op_key: u64) {
        let Some(op) = self.bridge_ops.get_mut(&op_key) else {
            return;
        };
        let (bridge, add, next) = (op.bridge, op.add, op.rest.pop_front());
        if add {
            self.join_bridge(ch, bridge);
        } else {
            self.leave_bridge(ch);
        }
        match next {
            Some(next) => self.command(next, Command::Bridge { op: op_key }),
            None => {
                if let Some(op) = self.bridge_ops.remove(&op_key) {
                    self.answer(op.token, no_content());
                }
            }
        }
    }

    pub(crate) fn set_variable(&mut self, ch: Ch, name: &str, value: &str, report: bool) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        channel.vars.insert(name.to_owned(), value.to_owned());
        if report {
            channel.reported.insert(name.to_owned());
        }
        let fields = json!({ "variable": name, "value": value });
        self.channel_event(ch, "ChannelVarset", fields);
        if name == "TIMEOUT(absolute)" {
            let ms = value
                .parse::<u64>()
                .unwrap_or_default()
                .saturating_mul(1000);
            let now = self.now;
            if let Some(channel) = self.channels.get_mut(&ch) {
                channel.absolute_deadline = (ms > 0).then_some(now.saturating_add(ms));
            }
            if ms > 0 {
                self.after(ms, Timer::AbsoluteTimeout(ch));
            }
        }
    }

    /// Enters a Stasis application; false when no WebSocket serves it.
    pub(crate) fn enter_stasis(&mut self, ch: Ch, app: &str, args: &[String]) -> bool {
        if !self.app_active(app) {
            return false;
        }
        self.set_variable(ch, "STASISSTATUS", "", false);
        let Some(channel) = self.channels.get_mut(&ch) else {
            return false;
        };
        let by_dialplan = matches!(channel.place, Place::Dialplan);
        channel.place = Place::Stasis {
            app: app.to_owned(),
        };
        channel.app_name = "Stasis".to_owned();
        channel.app_data = std::iter::once(app)
            .chain(args.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(",");
        // As Asterisk tells of every application of the dialplan. Ours is not interested yet.
        let entered = json!({ "dialplan_app": "Stasis", "dialplan_app_data": channel.app_data });
        if by_dialplan {
            self.channel_event(ch, "ChannelDialplan", entered);
        }
        self.add_interest(ch, app);
        self.stasis_event(ch, app, "StasisStart", json!({ "args": args }));
        self.hearing_changed(ch);
        self.caller_arrived(ch);
        true
    }

    /// Leaves the application, if in one. Music ends with it.
    pub(crate) fn end_stasis(&mut self, ch: Ch) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        let Some(app) = channel.app().map(str::to_owned) else {
            return;
        };
        self.stasis_event(ch, &app, "StasisEnd", json!({}));
        if let Some(channel) = self.channels.get_mut(&ch) {
            channel.place = Place::Dialplan;
            channel.app_name.clear();
            channel.app_data.clear();
            channel.moh = None;
            channel.ring_tone = false;
        }
        self.drop_interest(ch, &app);
        self.set_variable(ch, "STASISSTATUS", "SUCCESS", false);
        self.hearing_changed(ch);
    }

    /// StasisStart and StasisEnd go straight to the application, whatever it is subscribed to.
    fn stasis_event(&mut self, ch: Ch, app: &str, kind: &str, mut fields: serde_json::Value) {
        let Some(channel) = self.channels.get(&ch) else {
            return;
        };
        if !channel.hostile {
            fields["channel"] = self.channel_json(channel);
            self.deliver(app, kind, fields);
        }
    }

    fn move_to_app(&mut self, ch: Ch, app: &str, args: Vec<String>) {
        let Some(old) = self
            .channels
            .get(&ch)
            .and_then(|c| c.app())
            .map(str::to_owned)
        else {
            return;
        };
        if !self.app_active(app) {
            let fields = json!({ "destination": app, "args": args });
            self.stasis_event(ch, &old, "ApplicationMoveFailed", fields);
            return;
        }
        self.enter_stasis(ch, app, &args);
        self.stasis_event(ch, &old, "StasisEnd", json!({}));
        self.drop_interest(ch, &old);
    }

    fn continue_in_dialplan(&mut self, ch: Ch, to: Option<Destination>) {
        self.leave_bridge(ch);
        self.end_stasis(ch);
        self.returned_from_stasis(ch, to);
    }

    /// `dial` for a channel made by `create`: a second one kills the leg (trap 5).
    fn dial_created(&mut self, ch: Ch, timeout_ms: Option<u64>) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        if channel.leg.dialled {
            self.hang_up(ch, HangUp::asterisk(16));
            return;
        }
        channel.leg.dialled = true;
        channel.leg.timeout_ms = timeout_ms;
        self.start_leg(ch);
    }
}
