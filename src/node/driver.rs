//! The one task that drives an Asterisk: it receives its events, keeps an actor for each caller and
//! hands each event to the actor that it is for.
//!
//! It makes no decisions about calls and waits for nothing but a comparison (`reconcile.rs`), after
//! which the actors may act. The event socket is opened when the log says that this node drives the
//! Asterisk (`claim.rs`). While it is closed, or another client has taken the application over,
//! nobody acts.

use crate::awake::Awake;
use crate::caller::{CallerRef, Mail};
use crate::claim::{Patience, Role};
use crate::config::AsteriskSection;
use crate::ctx::{Ctx, Sight, Vars};
use crate::devices::{Devices, Outbox};
use crate::handle::Shared;
use crate::have::Have;
use crate::proposer::Proposer;
use crate::reconcile::{CLUSTER, CompareError};
use crate::status::AriStatus;
use crate::turns::Turns;
use crate::want::Local;
use holdfast_acd::{CallId, Command, Event as AcdEvent, NodeName, PbxId};
use holdfast_ari::{AriClient, AriConfig, AriError, Channel, EventStream, StreamItem, events};
use holdfast_raft::EventBatch;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// First and longest pause before the application is taken back from a client that is no node: by
/// the node at home, and by one that has taken the Asterisk over.
const TAKE_BACK: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
const TAKE_BACK_TAKEN: Duration = Duration::from_secs(2);
/// First and longest pause before a comparison is tried again.
pub(crate) const COMPARE_AGAIN: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(3));

/// Until the devices of agents are asked for again that could not be read.
const DEVICES_AGAIN: Duration = Duration::from_secs(3);

/// One Asterisk to drive, and by what right.
pub(crate) struct Seat {
    pub pbx: PbxId,
    pub asterisk: AsteriskSection,
    pub role: Role,
    pub status: Arc<watch::Sender<AriStatus>>,
}

pub(crate) struct Driver {
    pub(crate) ctx: Arc<Ctx>,
    pub(crate) role: Role,
    /// Closed while this node does not drive the Asterisk or sees another one there, so that new
    /// callers find the other driver, or fail over in the dialplan.
    pub(crate) stream: Option<EventStream>,
    config: AriConfig,
    /// When it may ask for its own Asterisk again.
    pub(crate) patience: Patience,
    /// Another node drives it now.
    pub(crate) over: bool,
    /// The socket is kept open for the next driver until then; nothing is done with what comes.
    pub(crate) leaving: Option<Instant>,
    /// The socket is not opened sooner: another client had taken the application over.
    pub(crate) not_before: Option<Instant>,
    /// Times that the socket was opened.
    opened: u64,
    applied: broadcast::Receiver<Arc<EventBatch<AcdEvent>>>,
    pub(crate) actors: HashMap<String, (u64, CallerRef)>,
    /// Channels of calls, to find the actor of a leg.
    pub(crate) calls: HashMap<CallId, String>,
    pub(crate) tasks: JoinSet<(String, u64)>,
    /// Short work beside the actors; each has a deadline of its own.
    pub(crate) errands: JoinSet<()>,
    pub(crate) spawned: u64,
    /// The order in which callers ask to join.
    pub(crate) turns: Turns,
    pub(crate) devices: Devices,
    /// When agents' devices are to be looked at: there are others, or some could not be read.
    pub(crate) devices_at: Option<Instant>,
    /// The socket is open.
    pub(crate) up: bool,
    /// When a comparison is due.
    pub(crate) compare_at: Option<Instant>,
    compare_pause: Duration,
    take_back_pause: Duration,
    pub(crate) lost: (mpsc::Sender<()>, mpsc::Receiver<()>),
    /// The process stood still for so long.
    slept: (mpsc::Sender<Duration>, mpsc::Receiver<Duration>),
    pub(crate) probe: Option<AbortHandle>,
    /// Says to the cluster that the Asterisk is out of sight.
    pub(crate) down: Option<AbortHandle>,
    /// Actors counted in the metrics.
    pub(crate) counted: u64,
}

impl Driver {
    /// Sends nothing yet. `validate` has accepted the settings, so an error is one of the HTTP client.
    pub fn new(
        shared: Arc<Shared>,
        seat: Seat,
        proposer: Proposer,
    ) -> Result<Driver, holdfast_ari::ConfigError> {
        let Seat {
            pbx,
            asterisk,
            role,
            status,
        } = seat;
        let password = asterisk
            .password
            .as_ref()
            .map_or("", |secret| secret.expose());
        let mut config = AriConfig::new(
            &asterisk.url,
            &asterisk.username,
            holdfast_ari::Secret::new(password),
            &asterisk.app,
        )?;
        config.connect_timeout = asterisk.connect_timeout.duration();
        config.request_timeout = asterisk.request_timeout.duration();
        config.transport = shared.world.reach(&config.url);
        let ari = AriClient::new(&config)?;
        let applied = shared.raft.events();
        let takeover_after = shared.config.timing.takeover_after.duration();
        let me = NodeName::new(shared.config.node.name.as_str());
        let ctx = Arc::new(Ctx {
            local: Local::new(pbx.clone(), &asterisk),
            vars: Vars::new(&asterisk),
            me: me.expect("validate has checked the node's name"),
            status,
            awake: Awake::new(takeover_after),
            shared,
            ari,
            pbx,
            asterisk,
            proposer,
            epoch: AtomicU64::new(0),
            sight: watch::Sender::new(Sight::Down),
            devices: Outbox::new(),
        });
        let (turns, giving) = Turns::new();
        let mut errands = JoinSet::new();
        errands.spawn(giving);
        Ok(Driver {
            ctx,
            role,
            stream: None,
            config,
            patience: Patience::new(takeover_after),
            over: false,
            leaving: None,
            not_before: None,
            opened: 0,
            applied,
            actors: HashMap::new(),
            calls: HashMap::new(),
            tasks: JoinSet::new(),
            errands,
            spawned: 0,
            turns,
            devices: Devices::default(),
            devices_at: None,
            up: false,
            compare_at: None,
            compare_pause: COMPARE_AGAIN.0,
            take_back_pause: first_take_back(role),
            lost: mpsc::channel(1),
            slept: mpsc::channel(1),
            probe: None,
            down: None,
            counted: 0,
        })
    }

    /// Until the node stops. Then the socket is closed, so that new callers fail over in the
    /// dialplan; channels stay as they are.
    pub async fn run(mut self) {
        let mut stopping = self.ctx.shared.stopping.subscribe();
        let outbox = tokio::spawn(Outbox::run(self.ctx.clone()));
        let (ctx, slept) = (self.ctx.clone(), self.slept.0.clone());
        self.errands.spawn(async move {
            // Ends with the driver, whose end of the channel is gone then.
            while slept.send(ctx.awake.until_slept().await).await.is_ok() {}
        });
        self.consider();
        loop {
            let (compare_at, leaving) = (self.compare_at, self.leaving);
            let devices_at = self.devices_at.filter(|_| self.sees());
            tokio::select! {
                biased;
                () = stop(&mut stopping) => break,
                Some(ended) = self.tasks.join_next() => self.actor_ended(ended),
                Some(_) = self.errands.join_next() => {}
                batch = self.applied.recv() => self.wake(batch),
                Some(()) = self.lost.1.recv() => self.asterisk_lost(),
                Some(gap) = self.slept.1.recv() => self.woke(gap),
                () = at(compare_at) => self.compare().await,
                () = at(leaving) => self.close(),
                () = at(devices_at) => self.watch_devices().await,
                item = next(&mut self.stream) => match item {
                    Some(item) => self.item(item),
                    None => break,
                },
            }
            if self.over {
                self.let_go().await;
            }
        }
        self.stop(outbox).await;
    }

    async fn watch_devices(&mut self) {
        let all_read = match self.devices.extend(&self.ctx).await {
            Ok(all_read) => all_read,
            Err(error) => {
                tracing::warn!(node = self.node(), %error, "devices of agents could not be watched");
                matches!(error, AriError::Invalid(_))
            }
        };
        self.read_devices_again(all_read);
    }

    pub(crate) fn read_devices_again(&mut self, all_read: bool) {
        self.devices_at = (!all_read).then(|| Instant::now() + DEVICES_AGAIN);
    }

    async fn stop(mut self, outbox: tokio::task::JoinHandle<()>) {
        let compared = *self.ctx.sight.borrow() == Sight::Clear;
        self.ctx.sight.send_replace(Sight::Down);
        outbox.abort();
        // Its end is awaited, so that nothing holds the store when this returns.
        let _ = outbox.await;
        self.tasks.shutdown().await;
        self.errands.shutdown().await;
        drop(self.stream);
        if compared {
            let epoch = self.ctx.epoch.load(Ordering::Acquire);
            let down = Command::PbxDown {
                pbx: self.ctx.pbx.clone(),
                epoch,
                lost: false,
            };
            // Only so that nobody is offered meanwhile: the others find out by themselves.
            let _ = self
                .ctx
                .shared
                .raft
                .propose(down, Duration::from_secs(1))
                .await;
        }
        let callers = self.actors.len();
        let node = &self.ctx.shared.config.node.name;
        tracing::info!(node, callers, "asterisk let go, callers keep hearing music");
    }

    fn item(&mut self, item: StreamItem) {
        if self.leaving.is_some() {
            // Its next driver looks at everything itself.
            if matches!(item, StreamItem::Replaced | StreamItem::Down { .. }) {
                self.close();
            }
            return;
        }
        match item {
            StreamItem::Up { .. } => {
                self.opened += 1;
                let (pbx, opened) = (&self.ctx.pbx, self.opened);
                tracing::info!(node = self.node(), %pbx, opened, "event socket of asterisk is open");
                self.up = true;
                self.stop_looking();
                self.compare_at = Some(Instant::now());
                self.compare_pause = COMPARE_AGAIN.0;
                self.status(|status| {
                    status.reconnects = opened.saturating_sub(1);
                    status.deposed = false;
                });
            }
            StreamItem::Down { reason } => self.down(&reason),
            StreamItem::Replaced => {
                tracing::error!(
                    node = self.node(),
                    again_ms = self.take_back_pause.as_millis() as u64,
                    "another client took the application over, this node does not act"
                );
                self.out_of_sight(
                    "another client took the application over; give each its own app",
                );
                self.status(|status| status.deposed = true);
                self.not_before = Some(Instant::now() + self.take_back_pause);
                self.take_back_pause = (self.take_back_pause * 2).min(TAKE_BACK.1);
                self.close();
            }
            StreamItem::Event(event) => self.event(event),
        }
    }

    /// Drops the socket, and looks when to open it again.
    pub(crate) fn close(&mut self) {
        self.stream = None;
        self.leaving = None;
        self.up = false;
        self.consider();
    }

    /// The process stood still: only the cluster knows whether the Asterisk is still this node's.
    fn woke(&mut self, gap: Duration) {
        let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(node = self.node(), pbx = %self.ctx.pbx, gap_ms, "this process stood still, asking the cluster before acting");
        self.compare_at = Some(Instant::now());
        self.compare_pause = COMPARE_AGAIN.0;
    }

    /// After a gap in which nothing was asked for: the word of the log, and all go on as they were.
    async fn ask_whose(&mut self) -> Result<(), CompareError> {
        if let Err(error) = self.ctx.shared.raft.barrier(CLUSTER).await {
            if self.ctx.shared.quorum.borrow().is_missing() {
                // Nobody to ask, and nobody took the socket: callers are owed their fallback.
                self.ctx.awake.asked();
            }
            return Err(error.into());
        }
        self.ctx.awake.asked();
        self.consider();
        self.wake_all();
        Ok(())
    }

    /// Nothing of what this node knew of the Asterisk holds any more.
    pub(crate) fn forget(&mut self) {
        self.up = false;
        self.compare_at = None;
        self.not_before = None;
        self.actors.clear();
        self.calls.clear();
        self.devices = Devices::default();
        self.ctx.devices.clear();
        self.stop_looking();
        self.count();
    }

    pub(crate) fn sees(&self) -> bool {
        *self.ctx.sight.borrow() == Sight::Clear
    }

    /// How long to wait now; longer each time, until something has worked.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.compare_pause;
        self.compare_pause = (pause * 2).min(COMPARE_AGAIN.1);
        pause
    }

    async fn compare(&mut self) {
        self.compare_at = None;
        let compared = match (&self.stream, self.ctx.awake.is()) {
            // Only after a comparison that went to its end: one that failed on the way is due anew.
            (Some(_), false) if self.sees() && self.ctx.status.borrow().connected => {
                self.ask_whose().await.map(|()| false)
            }
            (Some(_), _) => self.reconcile().await.map(|()| true),
            (None, _) => self.may_open().await.map(|may| {
                if may && !self.over {
                    self.stream = Some(events(&self.config));
                }
                false
            }),
        };
        match compared {
            Ok(false) => {}
            Ok(true) => {
                self.take_back_pause = first_take_back(self.role);
                let wall_ms = self.ctx.shared.world.wall_ms();
                self.status(|status| {
                    status.connected = true;
                    status.since_wall_ms = wall_ms;
                });
            }
            Err(error) => {
                if matches!(error, CompareError::OtherAsterisk { .. }) {
                    self.stream = None;
                    self.up = false;
                }
                if self.stream.is_none() && !matches!(error, CompareError::Cluster(_)) {
                    self.unseen();
                }
                let error = error.to_string();
                let known = self.ctx.status.borrow().last_error.as_deref() == Some(&error);
                if !known {
                    tracing::warn!(
                        node = self.node(),
                        error,
                        "state and asterisk could not be compared yet"
                    );
                }
                self.status(|status| status.last_error = Some(error));
                if self.up || self.stream.is_none() {
                    self.compare_at = Some(Instant::now() + self.next_pause());
                }
            }
        }
    }

    /// Wakes the actors of the calls that the replica has changed.
    fn wake(&mut self, batch: Result<Arc<EventBatch<AcdEvent>>, broadcast::error::RecvError>) {
        let batch = match batch {
            Ok(batch) if !batch.reset => batch,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return self.wake_all(),
            Err(broadcast::error::RecvError::Closed) => return,
        };
        for event in &batch.events {
            match event {
                AcdEvent::CallJoined {
                    call, pbx, channel, ..
                } if *pbx == self.ctx.pbx => {
                    self.calls.insert(*call, channel.to_string());
                    self.meet(channel.to_string());
                }
                AcdEvent::PbxClaimed { pbx, .. }
                | AcdEvent::PbxUp { pbx, .. }
                | AcdEvent::PbxDown { pbx, .. }
                | AcdEvent::NodeLost { pbx, .. }
                    if *pbx == self.ctx.pbx =>
                {
                    self.consider();
                }
                AcdEvent::NodeAway { .. } | AcdEvent::NodeBack { .. } => self.consider(),
                AcdEvent::CallLeft { call, position, .. } => {
                    if let Some(actor) = self.actor_of(*call).filter(|_| *position > 0) {
                        actor.send(Mail::Position(*position));
                    }
                }
                AcdEvent::AgentChanged { .. } | AcdEvent::AgentDeleted { .. } => {
                    self.devices_at = Some(Instant::now());
                }
                _ => {}
            }
            if let Some(actor) = event.call().and_then(|call| self.actor_of(call)) {
                actor.wake();
            }
            // While the caller is here, so may be the leg of a call that was given up.
            if let AcdEvent::CallReleased { call } = event
                && self.actor_of(*call).is_none()
            {
                self.calls.remove(call);
            }
        }
    }

    /// A caller joined whom this node did not see entering: a driver before it has asked for him.
    fn meet(&mut self, id: String) {
        if self.sees() && !self.actors.contains_key(&id) {
            let have = Have {
                channel: id.clone(),
                ..Have::default()
            };
            let channel = Channel {
                id,
                ..Channel::default()
            };
            self.spawn(channel, Vec::new(), have);
        }
    }

    fn wake_all(&mut self) {
        self.consider();
        self.know_calls();
        self.devices_at = Some(Instant::now());
        for (_, actor) in self.actors.values() {
            actor.wake();
        }
    }

    /// Learns anew which channel is which call's, and forgets only those of whom nobody is here.
    pub(crate) fn know_calls(&mut self) {
        let (pbx, actors) = (&self.ctx.pbx, &self.actors);
        self.calls.retain(|_, channel| actors.contains_key(channel));
        let known: Vec<(CallId, String)> = self.ctx.shared.raft.read(|machine| {
            let calls = machine.0.calls_on(pbx);
            calls
                .map(|call| (call.id, call.channel.to_string()))
                .collect()
        });
        self.calls.extend(known);
    }

    fn actor_of(&self, call: CallId) -> Option<&CallerRef> {
        self.actors
            .get(self.calls.get(&call)?)
            .map(|(_, actor)| actor)
    }

    pub(crate) fn status(&self, change: impl FnOnce(&mut AriStatus)) {
        self.ctx.status.send_modify(change);
    }

    pub(crate) fn node(&self) -> &str {
        &self.ctx.shared.config.node.name
    }
}

fn first_take_back(role: Role) -> Duration {
    match role {
        Role::Home => TAKE_BACK.0,
        Role::Substitute => TAKE_BACK_TAKEN,
    }
}

async fn next(stream: &mut Option<EventStream>) -> Option<StreamItem> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

async fn stop(stopping: &mut watch::Receiver<bool>) {
    // An error cannot be: the sender lives as long as the node.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
