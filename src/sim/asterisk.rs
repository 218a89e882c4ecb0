//! The handle of one simulated Asterisk: start it, call in, register phones, hurt it, look inside.
//!
//! Everything here is for the driver of a test or demo; the system under test sees only the ARI
//! server. A handle is cheap to clone; the Asterisk lives until [`SimAsterisk::kill`] or until the
//! runtime ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::caller::CallSpec;
use crate::handles::{Caller, Phone};
use crate::phone::Habit;
use crate::server::Shared;

/// How one simulated Asterisk is set up.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Its system name: the prefix of its channel ids, and what other Asterisks call their trunk to
    /// it (`trunk-` and this name).
    pub name: String,
    /// Where ARI listens; port 0 takes a free one, which then stays the same over restarts.
    pub listen: SocketAddr,
    /// The ARI user.
    pub username: String,
    /// The ARI user's password.
    pub password: String,
    /// The Stasis application that the dialplan sends calls to.
    pub app: String,
    /// Seed of everything that is random in this Asterisk (ids it has to invent).
    pub seed: u64,
    /// Length of sounds in percent of their usual length (1.5 s for a sound, 0.4 s for a number);
    /// 100 is real, 0 makes every sound end at once.
    pub sound_percent: u32,
    /// Contexts that exist in the dialplan, beside the context of each call that was placed;
    /// `continue` into any other drops the call.
    pub contexts: Vec<String>,
    /// How long an idle keep-alive connection is kept (Asterisk: 15 s).
    pub keep_alive: Duration,
    /// How many connections are accepted at a time (Asterisk: 100).
    pub session_limit: usize,
}

impl SimConfig {
    /// A configuration with the values a test wants: loopback, a free port, user `holdfast` with
    /// password `secret`, application `QueueARI`.
    pub fn new(name: &str) -> SimConfig {
        SimConfig {
            name: name.to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            username: "holdfast".to_owned(),
            password: "secret".to_owned(),
            app: "QueueARI".to_owned(),
            seed: 1,
            sound_percent: 100,
            contexts: ["inbound", "default", "fallback", "queues"].map(str::to_owned).to_vec(),
            keep_alive: Duration::from_secs(15),
            session_limit: 100,
        }
    }
}

/// Why a simulated Asterisk could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The listening address is taken or not ours.
    #[error("cannot listen on {addr}: {source}; choose another address or port 0")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// One channel as it is inside the simulator, for a test's own checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelView {
    /// Channel id.
    pub id: String,
    /// Channel name, such as `PJSIP/1001-00000003`.
    pub name: String,
    /// ARI's word for its state (`Down`, `Ring`, `Ringing`, `Up`).
    pub state: String,
    /// The Stasis application it is in.
    pub app: Option<String>,
    /// The bridge it is in.
    pub bridge: Option<String>,
    /// Class of the music it is being played, if any.
    pub moh: Option<String>,
    /// Number of the phone at its far end, when it is a leg to a phone.
    pub phone: Option<String>,
}

/// One bridge with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeView {
    /// Bridge id.
    pub id: String,
    /// Ids of the channels in it, oldest first.
    pub channels: Vec<String>,
}

/// A running (or killed) simulated Asterisk.
#[derive(Clone)]
pub struct SimAsterisk {
    pub(crate) shared: Arc<Shared>,
}

impl SimAsterisk {
    /// Starts it: listens, and answers ARI from now on.
    pub async fn start(config: SimConfig) -> Result<SimAsterisk, SimError> {
        todo!()
    }
    /// Base address of ARI, such as `http://127.0.0.1:8088/ari`.
    pub fn ari_url(&self) -> String {
        todo!()
    }
    /// Address it listens on; the same over restarts.
    pub fn addr(&self) -> SocketAddr {
        todo!()
    }
    /// Its system name.
    pub fn name(&self) -> String {
        todo!()
    }
    /// Joins the two by a trunk in both directions: `PJSIP/1001@trunk-NAME` on one reaches phone
    /// 1001 registered at the other.
    pub fn join_trunk(&self, other: &SimAsterisk) {
        todo!()
    }
    /// A caller calls in.
    pub fn place_call(&self, spec: CallSpec) -> Caller {
        todo!()
    }
    /// A phone registers here (again), with a person of the given habit beside it.
    pub fn phone(&self, number: &str, habit: Habit) -> Phone {
        todo!()
    }
    /// Asterisk dies as by SIGKILL: sockets reset, port closed, channels and bridges gone.
    /// Phones get no goodbye; contacts survive.
    pub async fn kill(&self) {
        todo!()
    }
    /// Comes back after [`SimAsterisk::kill`] on the same port with a new start-up time.
    pub async fn restart(&self) -> Result<(), SimError> {
        todo!()
    }
    /// Stops executing as by SIGSTOP: connections are accepted, nothing is answered, nothing happens.
    pub fn pause(&self) {
        todo!()
    }
    /// Goes on after [`SimAsterisk::pause`]: what was asked meanwhile is now done, late.
    pub fn resume(&self) {
        todo!()
    }
    /// From now on each REST answer comes this much later (0 ends it). The request itself is done at
    /// once.
    pub fn slow(&self, ms: u64) {
        todo!()
    }
    /// Resets every open event WebSocket.
    pub fn cut_websockets(&self) {
        todo!()
    }
    /// Cuts the event WebSockets and refuses new ones for this long.
    pub fn refuse_websockets(&self, how_long: Duration) {
        todo!()
    }
    /// The next `n` REST requests are done, but their connection is reset instead of being answered.
    pub fn lose_next_answers(&self, n: u32) {
        todo!()
    }
    /// The next `n` REST requests are answered 500 without being done.
    pub fn fail_next_requests(&self, n: u32) {
        todo!()
    }
    /// All living channels, by id.
    pub fn channels(&self) -> Vec<ChannelView> {
        todo!()
    }
    /// All bridges with their members, by id.
    pub fn bridges(&self) -> Vec<BridgeView> {
        todo!()
    }
    /// Ids of the living channels of this Asterisk that lead to the agent's phone, be it registered
    /// here or behind a trunk.
    pub fn live_legs_of(&self, agent: &str) -> Vec<String> {
        todo!()
    }
    /// True while an event WebSocket serves this application.
    pub fn app_connected(&self, app: &str) -> bool {
        todo!()
    }
    /// How many REST requests were executed since the start.
    pub fn requests(&self) -> u64 {
        todo!()
    }
    /// Waits until the condition holds, checked after every change inside; false when `within`
    /// passed first.
    pub async fn until(
        &self,
        within: Duration,
        condition: impl FnMut(&SimAsterisk) -> bool,
    ) -> bool {
        todo!()
    }
}
