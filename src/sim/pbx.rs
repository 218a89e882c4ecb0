//! The pure core of the simulated Asterisk: everything it knows, its time and its timers.
//!
//! Inputs are ARI requests, WebSocket openings and closings, acts of callers and phones, messages
//! from trunks, and time. Outputs are collected in order and taken with [`Pbx::take_outputs`].
//! The same inputs at the same times give the same outputs: there is no clock, no hash order, and
//! no randomness but that of the seeded generator. It opens no sockets; see `server.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::apps::App;
use crate::bridge::{Br, Bridge};
use crate::caller::{CallerRecord, EndedBy};
use crate::channel::{Ch, Channel, Far, Place, State};
use crate::moments::Moment;
use crate::phone::{Habit, PhoneState};
use crate::playback::Playback;
use crate::queue::BridgeOp;
use crate::stamp::stamp;
use crate::trunk::TrunkMessage;

/// The most channels that may live at a time; beyond, allocation fails.
pub(crate) const CHANNELS_MAX: usize = 20_000;
/// The most bridges that may exist at a time.
pub(crate) const BRIDGES_MAX: usize = 20_000;
/// How many callers are remembered; the oldest ended ones are forgotten first.
const CALLERS_MAX: usize = 200_000;

/// What the core needs to know at start.
#[derive(Debug, Clone)]
pub struct PbxConfig {
    /// System name, the prefix of channel ids.
    pub name: String,
    /// The Stasis application of the dialplan.
    pub app: String,
    /// Seed of the generator.
    pub seed: u64,
    /// Length of sounds in percent.
    pub sound_percent: u32,
    /// Dialplan contexts that exist.
    pub contexts: Vec<String>,
    /// How often, in percent, an endpoint that cannot be reached gives 500 in place of 409 when the
    /// client chose the channel id. Both were seen on Asterisk 22.10.1.
    pub unreachable_500_percent: u8,
    /// Numbers of phones that are configured, registered or not.
    pub endpoints: Vec<String>,
    /// Milliseconds since the Unix epoch at time 0; only for time stamps.
    pub wall_ms: u64,
}

/// One ARI request, already decoded.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// HTTP verb in capitals.
    pub method: String,
    /// Decoded path segments after `/ari`.
    pub path: Vec<String>,
    /// Decoded query parameters, in order.
    pub query: Vec<(String, String)>,
    /// Parsed JSON body; `Err` if there was one that is not JSON.
    pub body: Option<Result<Value, ()>>,
}

/// The answer to a request. An empty body is really empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// JSON text, or nothing.
    pub body: String,
}

/// What comes out of the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// An event for an open WebSocket.
    Event {
        /// The WebSocket.
        conn: u64,
        /// JSON text.
        text: String,
    },
    /// The answer to the request of that token.
    Answer {
        /// Token given with the request.
        token: u64,
        /// The answer.
        response: Response,
    },
    /// A caller's call is over.
    CallerEnded {
        /// The caller.
        caller: u64,
    },
    /// A message for another Asterisk.
    Trunk {
        /// Name of the other Asterisk.
        to: String,
        /// The message.
        message: TrunkMessage,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Timer {
    LegInvited(Ch),
    LegRings(Ch),
    LegAnswers(Ch),
    LegFails(Ch, u16),
    LegTimeout(Ch),
    /// The person at the phone, or the far end of a trunk, hangs up.
    FarHangsUp(Ch),
    AbsoluteTimeout(Ch),
    StasisLater(Ch, Vec<String>),
    DialplanEnds(Ch),
    DialTimeout(Ch),
    PlaybackDone(u64),
    CallerPatience(u64),
    CallerTalked(u64),
    CallerDigit(u64, char),
}

/// The core. See the module's description.
pub struct Pbx {
    pub(crate) config: PbxConfig,
    pub(crate) now: u64,
    pub(crate) channels: BTreeMap<Ch, Channel>,
    pub(crate) ids: BTreeMap<String, Ch>,
    pub(crate) bridges: BTreeMap<Br, Bridge>,
    pub(crate) bridge_ids: BTreeMap<String, Br>,
    pub(crate) bridge_ops: BTreeMap<u64, BridgeOp>,
    pub(crate) playbacks: BTreeMap<u64, Playback>,
    pub(crate) apps: BTreeMap<String, App>,
    pub(crate) phones: BTreeMap<String, PhoneState>,
    pub(crate) stasis_devices: BTreeMap<String, String>,
    pub(crate) globals: BTreeMap<String, String>,
    pub(crate) callers: BTreeMap<u64, CallerRecord>,
    pub(crate) trunks: BTreeSet<String>,
    pub(crate) trunk_in: BTreeMap<(String, u64), Ch>,
    pub(crate) contexts: BTreeSet<String>,
    pub(crate) rng: StdRng,
    pub(crate) requests: u64,
    pub(crate) alive: bool,
    started_at: u64,
    timers: BTreeMap<(u64, u64), Timer>,
    outbox: Vec<Output>,
    /// What was not stamped yet; `None` while nobody wants them.
    pub(crate) moments: Option<Vec<Moment>>,
    serial: u64,
    channel_seq: u64,
}

impl Pbx {
    /// A fresh Asterisk at time 0.
    pub fn new(config: PbxConfig) -> Pbx {
        let contexts = config.contexts.iter().cloned().collect();
        let rng = StdRng::seed_from_u64(config.seed);
        let mut pbx = Pbx {
            config,
            now: 0,
            channels: BTreeMap::new(),
            ids: BTreeMap::new(),
            bridges: BTreeMap::new(),
            bridge_ids: BTreeMap::new(),
            bridge_ops: BTreeMap::new(),
            playbacks: BTreeMap::new(),
            apps: BTreeMap::new(),
            phones: BTreeMap::new(),
            stasis_devices: BTreeMap::new(),
            globals: BTreeMap::new(),
            callers: BTreeMap::new(),
            trunks: BTreeSet::new(),
            trunk_in: BTreeMap::new(),
            contexts,
            rng,
            requests: 0,
            alive: true,
            started_at: 0,
            timers: BTreeMap::new(),
            outbox: Vec::new(),
            moments: None,
            serial: 0,
            channel_seq: 0,
        };
        for number in pbx.config.endpoints.clone() {
            pbx.phones.insert(number, PhoneState::new(Habit::NoAnswer));
        }
        pbx
    }

    /// Lets time pass: fires every timer that is due, each at its own time, in order.
    pub fn advance(&mut self, now: u64) {
        while let Some(entry) = self.timers.first_entry() {
            let at = entry.key().0;
            if at > now {
                break;
            }
            let timer = entry.remove();
            self.now = self.now.max(at);
            self.fire(timer);
        }
        self.now = self.now.max(now);
    }

    /// When the next timer is due.
    pub fn next_deadline(&self) -> Option<u64> {
        self.timers.first_key_value().map(|(key, _)| key.0)
    }

    /// Takes what came out since the last time.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outbox)
    }

    /// Everything is gone as after a SIGKILL; only contacts survive. Callers end as crashed.
    /// Event sockets of before must not be used any more.
    pub fn crash(&mut self) {
        self.alive = false;
        let callers: Vec<u64> = self
            .channels
            .values()
            .filter_map(Channel::caller_serial)
            .collect();
        for caller in callers {
            self.caller_gone(caller, EndedBy::Crash, 0, true);
        }
        for channel in self.channels.values() {
            let message = match &channel.far {
                Far::TrunkOut { peer, call, .. } => TrunkMessage::lost(peer, *call, true),
                Far::TrunkIn { peer, call } => TrunkMessage::lost(peer, *call, false),
                Far::Caller(_) | Far::Phone(_) => continue,
            };
            self.outbox.push(Output::Trunk {
                to: message.0,
                message: message.1,
            });
        }
        self.channels.clear();
        self.ids.clear();
        self.bridges.clear();
        self.bridge_ids.clear();
        self.bridge_ops.clear();
        self.playbacks.clear();
        self.apps.clear();
        self.stasis_devices.clear();
        self.trunk_in.clear();
        self.timers.clear();
        for phone in self.phones.values_mut() {
            phone.forget_calls();
        }
    }

    /// The start after a crash: a new start-up time, no global variables, and channel numbers from 0.
    pub fn boot(&mut self) {
        self.alive = true;
        self.globals.clear();
        self.started_at = self.now;
        self.channel_seq = 0;
    }

    pub(crate) fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::LegInvited(ch) => self.leg_invited(ch),
            Timer::LegRings(ch) => self.leg_rings(ch),
            Timer::LegAnswers(ch) => self.leg_answers(ch),
            Timer::LegFails(ch, sip) => self.leg_fails(ch, sip),
            Timer::LegTimeout(ch) => self.leg_timeout(ch),
            Timer::FarHangsUp(ch) => self.far_hangs_up(ch, 16),
            Timer::AbsoluteTimeout(ch) => self.absolute_timeout(ch),
            Timer::StasisLater(ch, args) => self.run_stasis(ch, &args),
            Timer::DialplanEnds(ch) => self.hang_up(ch, HangUp::asterisk(16)),
            Timer::DialTimeout(ch) => self.dial_timeout(ch),
            Timer::PlaybackDone(serial) => self.playback_step(serial),
            Timer::CallerPatience(caller) => self.caller_patience_ends(caller),
            Timer::CallerTalked(caller) => self.caller_talked_enough(caller),
            Timer::CallerDigit(caller, digit) => self.caller_presses(caller, digit),
        }
    }

    pub(crate) fn after(&mut self, ms: u64, timer: Timer) {
        let serial = self.next_serial();
        self.timers
            .insert((self.now.saturating_add(ms), serial), timer);
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outbox.push(output);
    }

    pub(crate) fn answer(&mut self, token: u64, response: Response) {
        self.outbox.push(Output::Answer { token, response });
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// An id as Asterisk makes them up for bridges and playbacks.
    pub(crate) fn uuid(&mut self) -> String {
        let (a, b): (u64, u64) = (self.rng.random(), self.rng.random());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }

    /// The next channel id and the number for its name.
    pub(crate) fn channel_id(&mut self) -> (String, u64) {
        let number = self.channel_seq;
        self.channel_seq += 1;
        let second = (self.config.wall_ms + self.started_at) / 1000;
        (format!("{}-{second}.{number}", self.config.name), number)
    }

    pub(crate) fn stamp_now(&self) -> String {
        self.stamp_at(self.now)
    }

    pub(crate) fn stamp_at(&self, at: u64) -> String {
        stamp(self.config.wall_ms + at)
    }

    pub(crate) fn startup_stamp(&self) -> String {
        self.stamp_at(self.started_at)
    }

    /// ARI's `asterisk_id`: derived from a MAC address, so the same for all (trap 10); the
    /// configured entity id keeps them apart here as it should in an installation.
    pub(crate) fn asterisk_id(&self) -> String {
        format!("holdfast-sim-{}", self.config.name)
    }

    pub(crate) fn remember_caller(&mut self, serial: u64, record: CallerRecord) {
        if self.callers.len() >= CALLERS_MAX {
            let oldest = self.callers.iter().find(|(_, caller)| caller.end.is_some());
            if let Some((&serial, _)) = oldest {
                self.callers.remove(&serial);
            }
        }
        self.callers.insert(serial, record);
    }

    /// Creates a channel in state Down (or Ring, for calls that come in) and announces it to those
    /// who watch all channels.
    pub(crate) fn new_channel(&mut self, id: Option<String>, tech_name: &str, far: Far) -> Ch {
        let (made_up, number) = self.channel_id();
        let id = id.unwrap_or(made_up);
        let ch = self.next_serial();
        let incoming = matches!(far, Far::Caller(_) | Far::TrunkIn { .. });
        let channel = Channel {
            name: format!("{tech_name}-{number:08x}"),
            state: if incoming { State::Ring } else { State::Down },
            protocol_id: format!("{id}@sim"),
            created_at: self.now,
            context: "default".to_owned(),
            ..Channel::new(id.clone(), far)
        };
        self.ids.insert(id, ch);
        self.channels.insert(ch, channel);
        self.channel_event(ch, "ChannelCreated", serde_json::json!({}));
        ch
    }

    pub(crate) fn set_state(&mut self, ch: Ch, state: State) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        if channel.state == state {
            return;
        }
        channel.state = state;
        self.channel_event(ch, "ChannelStateChange", serde_json::json!({}));
    }

    /// Ends a channel, with all the events in the order in which Asterisk sends them.
    pub(crate) fn hang_up(&mut self, ch: Ch, how: HangUp) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        if std::mem::replace(&mut channel.ending, true) {
            return;
        }
        channel.cause = how.cause;
        let was_up = channel.state == State::Up;
        if let Some(request) = how.request_fields() {
            self.channel_event(ch, "ChannelHangupRequest", request);
        }
        let given_up = how.by == By::Ari
            && self
                .channels
                .get(&ch)
                .is_some_and(|c| matches!(c.place, Place::Leg) && c.leg.invited);
        let given_up = given_up.then_some("NOANSWER");
        if let Some(status) = how.dial_status.or(given_up) {
            self.dial_event(ch, status);
        }
        self.tell_far_end(ch, &how);
        self.stop_playbacks(ch);
        self.fail_commands(ch);
        self.leave_bridge(ch);
        if was_up {
            self.quality_events(ch);
        }
        self.end_stasis(ch);
        self.stop_dialling(ch);
        let mut fields = serde_json::json!({
            "cause": how.cause, "cause_txt": cause_text(how.cause),
        });
        if let Some(tech) = how.tech_cause {
            fields["tech_cause"] = tech.into();
        }
        self.channel_event(ch, "ChannelDestroyed", fields);
        let Some(channel) = self.channels.remove(&ch) else {
            return;
        };
        self.leg_over(&channel);
        if self.ids.get(&channel.id) == Some(&ch) {
            self.ids.remove(&channel.id);
        }
        if let Far::TrunkIn { peer, call } = &channel.far {
            self.trunk_in.remove(&(peer.clone(), *call));
        }
        for app in channel.interest.keys() {
            self.drop_app_if_finished(app);
        }
        if let Some(caller) = channel.caller_serial() {
            self.caller_gone(caller, how.by.ended_by(), how.cause, was_up);
        }
        if let Place::DialLeg { parent } = channel.place {
            self.dial_leg_gone(parent, ch, how.cause, was_up);
        }
        if let Some(number) = channel.phone_number() {
            let number = number.to_owned();
            self.device_may_have_changed(&number);
        }
    }

    /// The five RTP quality variables that Asterisk sets at each hang-up.
    fn quality_events(&mut self, ch: Ch) {
        for name in ["", "JITTER", "LOSS", "RTT", "MES"] {
            let variable = format!("RTPAUDIOQOS{name}");
            let value = "ssrc=1;themssrc=2;lp=0;rxjitter=0.000000;rxcount=0;txjitter=0.000000";
            self.channel_event(
                ch,
                "ChannelVarset",
                serde_json::json!({ "variable": variable, "value": value }),
            );
        }
    }

    /// Commands that wait behind a playback fail with the channel.
    fn fail_commands(&mut self, ch: Ch) {
        let Some(channel) = self.channels.get_mut(&ch) else {
            return;
        };
        let commands: VecDeque<_> = std::mem::take(&mut channel.commands);
        for command in commands {
            self.command_failed(command);
        }
    }
}

/// On whose wish a channel ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// BYE, CANCEL or a final answer from the far end.
    Far,
    /// DELETE by ARI.
    Ari,
    /// The dialplan, or Asterisk by itself.
    Asterisk,
}

impl By {
    fn ended_by(self) -> EndedBy {
        match self {
            By::Far => EndedBy::Caller,
            By::Ari => EndedBy::Ari,
            By::Asterisk => EndedBy::Dialplan,
        }
    }
}

/// How a channel ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HangUp {
    pub by: By,
    pub cause: u16,
    pub tech_cause: Option<u16>,
    /// Sent as a Dial event for the leg, before it is destroyed.
    pub dial_status: Option<&'static str>,
}

impl HangUp {
    pub(crate) fn asterisk(cause: u16) -> HangUp {
        HangUp {
            by: By::Asterisk,
            cause,
            tech_cause: None,
            dial_status: None,
        }
    }

    pub(crate) fn ari(cause: u16) -> HangUp {
        HangUp {
            by: By::Ari,
            ..HangUp::asterisk(cause)
        }
    }

    pub(crate) fn far(cause: u16) -> HangUp {
        HangUp {
            by: By::Far,
            ..HangUp::asterisk(cause)
        }
    }

    fn request_fields(&self) -> Option<Value> {
        match self.by {
            By::Ari => Some(serde_json::json!({ "cause": 32, "soft": true })),
            By::Far if self.cause == 16 => Some(serde_json::json!({})),
            By::Far => {
                let mut fields = serde_json::json!({ "cause": self.cause });
                if let Some(tech) = self.tech_cause {
                    fields["tech_cause"] = tech.into();
                }
                Some(fields)
            }
            By::Asterisk => None,
        }
    }
}

/// Asterisk's words for a Q.850 cause.
pub(crate) fn cause_text(cause: u16) -> &'static str {
    match cause {
        0 => "Unknown",
        1 => "Unallocated (unassigned) number",
        16 => "Normal Clearing",
        17 => "User busy",
        18 => "No user responding",
        19 => "User alerting, no answer",
        20 => "Subscriber absent",
        21 => "Call Rejected",
        22 => "Number changed",
        26 => "Answered elsewhere",
        27 => "Destination out of order",
        28 => "Invalid number format",
        31 => "Normal, unspecified",
        34 => "Circuit/channel congestion",
        38 => "Network out of order",
        42 => "Switching equipment congestion",
        58 => "Bearer capability not available",
        127 => "Interworking, unspecified",
        _ => "Unknown",
    }
}
