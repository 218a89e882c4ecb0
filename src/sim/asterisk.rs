//! The handle of one simulated Asterisk: start it, call in, register phones, hurt it, look inside.
//!
//! Everything here is for the driver of a test or demo; the system under test sees only the ARI
//! server. A handle is cheap to clone; the Asterisk lives until [`SimAsterisk::kill`] or until the
//! runtime ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::caller::CallSpec;
use crate::channel::Channel;
use crate::handles::{Caller, Phone};
use crate::moments::Moment;
use crate::pbx::{Pbx, PbxConfig};
use crate::phone::Habit;
use crate::server::{Shared, TRUNK_MAX, run_listener, run_timers, run_trunks};

const CONTEXTS: [&str; 6] = [
    "inbound",
    "default",
    "fallback",
    "holdfast-in",
    "holdfast-hold",
    "holdfast-after",
];

/// How one simulated Asterisk is set up. Its Debug form shows no password.
#[derive(Clone)]
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
    /// Numbers of phones that are configured, registered or not: their device state is UNAVAILABLE
    /// until they register, that of any other number INVALID.
    pub endpoints: Vec<String>,
    /// How often, in percent, an endpoint that cannot be reached gives 500 in place of 409 when the
    /// client chose the channel id. Both were seen on Asterisk 22.10.1.
    pub unreachable_500_percent: u8,
    /// A second user, who may only read: name and password.
    pub read_only: Option<(String, String)>,
    /// How long an idle keep-alive connection is kept (Asterisk: 15 s).
    pub keep_alive: Duration,
    /// How many connections are accepted at a time (Asterisk: 100).
    pub session_limit: usize,
}

impl std::fmt::Debug for SimConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimConfig")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
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
            contexts: CONTEXTS.map(str::to_owned).to_vec(),
            endpoints: (1001..=1010).map(|number| number.to_string()).collect(),
            unreachable_500_percent: 0,
            read_only: None,
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

impl std::fmt::Debug for SimAsterisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SimAsterisk")
            .field(&self.shared.config.name)
            .finish()
    }
}

impl SimAsterisk {
    /// Starts it: listens, and answers ARI from now on.
    pub async fn start(config: SimConfig) -> Result<SimAsterisk, SimError> {
        let listener = listen(config.listen).await?;
        let addr = listener.local_addr();
        let addr = addr.map_err(|source| SimError::Listen {
            addr: config.listen,
            source,
        })?;
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let pbx = Pbx::new(PbxConfig {
            name: config.name.clone(),
            app: config.app.clone(),
            seed: config.seed,
            sound_percent: config.sound_percent,
            contexts: config.contexts.clone(),
            endpoints: config.endpoints.clone(),
            unreachable_500_percent: config.unreachable_500_percent,
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or_default(),
        });
        let (trunk_in, trunk_messages) = mpsc::channel(TRUNK_MAX);
        let shared = Arc::new(Shared::new(config, addr, pbx, trunk_in));
        tokio::spawn(run_timers(Arc::downgrade(&shared)));
        tokio::spawn(run_trunks(Arc::downgrade(&shared), trunk_messages));
        let task = tokio::spawn(run_listener(shared.clone(), listener));
        *shared.listener.lock().await = Some(task);
        Ok(SimAsterisk { shared })
    }

    /// Base address of ARI, such as `http://127.0.0.1:8088/ari`.
    pub fn ari_url(&self) -> String {
        format!("http://{}/ari", self.shared.addr)
    }

    /// Address it listens on; the same over restarts.
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// Its system name.
    pub fn name(&self) -> String {
        self.shared.config.name.clone()
    }

    /// Joins the two by a trunk in both directions: `PJSIP/1001@trunk-NAME` on one reaches phone
    /// 1001 registered at the other.
    pub fn join_trunk(&self, other: &SimAsterisk) {
        for (from, to) in [(self, other), (other, self)] {
            let peer = to.name();
            from.shared
                .lock()
                .links
                .insert(peer.clone(), to.shared.trunk_in.clone());
            from.shared.act(move |pbx| pbx.trunk_add(&peer));
        }
    }

    /// A caller calls in.
    pub fn place_call(&self, spec: CallSpec) -> Caller {
        let serial = self.shared.serials.fetch_add(1, Ordering::Relaxed);
        self.shared.act(move |pbx| pbx.place_call(serial, spec));
        Caller {
            asterisk: self.clone(),
            serial,
        }
    }

    /// A phone registers here (again), with a person of the given habit beside it.
    pub fn phone(&self, number: &str, habit: Habit) -> Phone {
        let own = number.to_owned();
        self.shared.act(move |pbx| pbx.phone_add(&own, habit));
        Phone {
            asterisk: self.clone(),
            number: number.to_owned(),
        }
    }

    /// Asterisk dies as by SIGKILL: connections end, the port is closed, channels and bridges are
    /// gone. Phones get no goodbye; contacts survive.
    pub async fn kill(&self) {
        self.shared.crash();
        // Waiting for the task means that the port is closed when this returns.
        if let Some(task) = self.shared.listener.lock().await.take()
            && let Err(problem) = task.await
        {
            tracing::warn!(%problem, "listener of a killed asterisk ended badly");
        }
    }

    /// Comes back after [`SimAsterisk::kill`] on the same port with a new start-up time.
    pub async fn restart(&self) -> Result<(), SimError> {
        let mut running = self.shared.listener.lock().await;
        if running.is_some() {
            return Ok(());
        }
        let listener = listen(self.shared.addr).await?;
        self.shared.faults.set_paused(false);
        self.shared.catch_up();
        self.shared.act(Pbx::boot);
        *running = Some(tokio::spawn(run_listener(self.shared.clone(), listener)));
        Ok(())
    }

    /// Stops executing as by SIGSTOP: connections are accepted, nothing is answered, nothing
    /// happens.
    pub fn pause(&self) {
        self.shared.faults.set_paused(true);
    }

    /// Goes on after [`SimAsterisk::pause`]: what was asked meanwhile is now done, late.
    pub fn resume(&self) {
        self.shared.faults.set_paused(false);
        self.shared.catch_up();
    }

    /// From now on each REST answer comes this much later (0 ends it). The request itself is done
    /// at once.
    pub fn slow(&self, ms: u64) {
        self.shared.faults.set_slow(ms);
    }

    /// Cuts every open event WebSocket.
    pub fn cut_websockets(&self) {
        self.shared.cut_websockets();
    }

    /// Cuts the event WebSockets and refuses new ones for this long.
    pub fn refuse_websockets(&self, how_long: Duration) {
        self.shared.faults.refuse_ws(how_long);
        self.shared.cut_websockets();
    }

    /// The next `n` REST requests are done, but their connection is closed instead of being
    /// answered.
    pub fn lose_next_answers(&self, n: u32) {
        self.shared.faults.lose_next(n);
    }

    /// The next `n` REST requests are answered 500 without being done.
    pub fn fail_next_requests(&self, n: u32) {
        self.shared.faults.fail_next(n);
    }

    /// The same for the next `n` of one resource, as in `deviceStates`, alone.
    pub fn fail_next_requests_of(&self, resource: &str, n: u32) {
        self.shared.faults.fail_next_of(resource, n);
    }

    /// All living channels, oldest first.
    pub fn channels(&self) -> Vec<ChannelView> {
        let state = self.shared.lock();
        let pbx = &state.pbx;
        let view = |channel: &Channel| ChannelView {
            id: channel.id.clone(),
            name: channel.name.clone(),
            state: channel.state.as_str().to_owned(),
            app: channel.app().map(str::to_owned),
            bridge: channel
                .bridge
                .and_then(|br| Some(pbx.bridges.get(&br)?.id.clone())),
            moh: channel.moh.clone(),
            phone: channel.agent_number().map(str::to_owned),
        };
        pbx.channels.values().map(view).collect()
    }

    /// All bridges with their members, oldest first.
    pub fn bridges(&self) -> Vec<BridgeView> {
        let state = self.shared.lock();
        let pbx = &state.pbx;
        let id = |ch: &u64| Some(pbx.channels.get(ch)?.id.clone());
        let view = |bridge: &crate::bridge::Bridge| BridgeView {
            id: bridge.id.clone(),
            channels: bridge.members.iter().filter_map(id).collect(),
        };
        pbx.bridges.values().map(view).collect()
    }

    /// Ids of the living channels of this Asterisk that lead to the agent's phone, be it registered
    /// here or behind a trunk.
    pub fn live_legs_of(&self, agent: &str) -> Vec<String> {
        let legs = self.channels().into_iter();
        legs.filter(|leg| leg.phone.as_deref() == Some(agent))
            .map(|leg| leg.id)
            .collect()
    }

    /// True while an event WebSocket serves this application.
    pub fn app_connected(&self, app: &str) -> bool {
        self.shared.lock().pbx.app_active(app)
    }

    /// From now on moments are kept for [`SimAsterisk::take_moments`].
    pub fn keep_moments(&self) {
        self.shared.lock().pbx.moments.get_or_insert_default();
    }

    /// The moments since the last time, oldest first, each with when it was done.
    pub fn take_moments(&self) -> Vec<(std::time::Instant, Moment)> {
        std::mem::take(&mut self.shared.lock().moments)
    }

    /// How many REST requests were executed since the start.
    pub fn requests(&self) -> u64 {
        self.shared.lock().pbx.requests
    }

    /// Waits until the condition holds, checked after every change inside; false when `within`
    /// passed first.
    pub async fn until(
        &self,
        within: Duration,
        mut condition: impl FnMut(&SimAsterisk) -> bool,
    ) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            while !condition(self) {
                if changed.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(within, wait).await.unwrap_or(false)
    }
}

async fn listen(addr: SocketAddr) -> Result<TcpListener, SimError> {
    TcpListener::bind(addr)
        .await
        .map_err(|source| SimError::Listen { addr, source })
}
