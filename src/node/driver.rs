//! The one task that drives an Asterisk: it receives its events, keeps an actor for each caller and
//! hands each event to the actor that it is for.
//!
//! It makes no decisions about calls and waits for nothing but a comparison (`reconcile.rs`), after
//! which the actors may act. While the event socket is closed, or another client has taken the
//! application over, nobody acts.

use crate::caller::{CallerRef, Mail};
use crate::config::AsteriskSection;
use crate::ctx::{Ctx, Sight, Vars};
use crate::devices::{Devices, Outbox};
use crate::features;
use crate::handle::Shared;
use crate::ingest::{Route, route};
use crate::probe::probe;
use crate::proposer::Proposer;
use crate::reconcile::CompareError;
use crate::status::AriStatus;
use crate::turns::Turns;
use crate::want::Local;
use holdfast_acd::{CallId, Command, Event as AcdEvent, PbxId};
use holdfast_ari::{
    AriClient, AriConfig, AriError, DownReason, Event, EventStream, HangupReason, StreamItem,
    events,
};
use holdfast_raft::EventBatch;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// First and longest pause before the application is taken back from whoever took it.
const TAKE_BACK: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// First and longest pause before a comparison is tried again.
const COMPARE_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

pub(crate) struct Driver {
    pub(crate) ctx: Arc<Ctx>,
    /// Closed while the Asterisk there is another one, so that its callers fail over in its dialplan.
    stream: Option<EventStream>,
    config: AriConfig,
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
    devices_changed: bool,
    pub(crate) startup_time: Option<String>,
    /// The socket is open.
    up: bool,
    /// When a comparison is due.
    pub(crate) compare_at: Option<Instant>,
    compare_pause: Duration,
    take_back_at: Option<Instant>,
    take_back_pause: Duration,
    lost: (mpsc::Sender<()>, mpsc::Receiver<()>),
    probe: Option<tokio::task::AbortHandle>,
}

impl Driver {
    /// Connects. `validate` has accepted the settings, so an error is one of the HTTP client.
    pub fn new(
        shared: Arc<Shared>,
        pbx: PbxId,
        asterisk: AsteriskSection,
    ) -> Result<Driver, holdfast_ari::ConfigError> {
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
        let proposer = Proposer::new(
            shared.raft.clone(),
            shared.metrics.clone(),
            shared.config.limits.proposals_max,
            shared.config.timing.propose_deadline.duration(),
        );
        let applied = shared.raft.events();
        let ctx = Arc::new(Ctx {
            local: Local::new(pbx.clone(), &asterisk),
            vars: Vars::new(&asterisk),
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
            stream: Some(events(&config)),
            config,
            applied,
            actors: HashMap::new(),
            calls: HashMap::new(),
            tasks: JoinSet::new(),
            errands,
            spawned: 0,
            turns,
            devices: Devices::default(),
            devices_changed: false,
            startup_time: None,
            up: false,
            compare_at: None,
            compare_pause: COMPARE_AGAIN.0,
            take_back_at: None,
            take_back_pause: TAKE_BACK.0,
            lost: mpsc::channel(1),
            probe: None,
        })
    }

    /// Until the node stops. Then the socket is closed, so that new callers fail over in the
    /// dialplan; channels stay as they are.
    pub async fn run(mut self) {
        let mut stopping = self.ctx.shared.stopping.subscribe();
        let outbox = tokio::spawn(Outbox::run(self.ctx.clone()));
        loop {
            let compare_at = self.compare_at;
            let take_back_at = self.take_back_at;
            tokio::select! {
                biased;
                () = stop(&mut stopping) => break,
                Some(ended) = self.tasks.join_next() => self.actor_ended(ended),
                Some(_) = self.errands.join_next() => {}
                batch = self.applied.recv() => self.wake(batch),
                Some(()) = self.lost.1.recv() => self.asterisk_lost(),
                () = at(compare_at) => self.compare().await,
                () = at(take_back_at) => self.take_back(),
                item = next(&mut self.stream) => match item {
                    Some(item) => self.item(item),
                    None => break,
                },
            }
            if self.devices_changed && *self.ctx.sight.borrow() == Sight::Clear {
                self.devices_changed = false;
                if let Err(error) = self.devices.extend(&self.ctx).await {
                    tracing::warn!(node = self.node(), %error, "devices of agents could not be watched");
                    self.devices_changed = !matches!(error, AriError::Invalid(_));
                }
            }
        }
        self.stop(outbox).await;
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
        match item {
            StreamItem::Up { connection } => {
                tracing::info!(
                    node = self.node(),
                    connection,
                    "event socket of asterisk is open"
                );
                self.up = true;
                self.take_back_at = None;
                if let Some(probe) = self.probe.take() {
                    probe.abort();
                }
                self.compare_at = Some(Instant::now());
                self.compare_pause = COMPARE_AGAIN.0;
                self.status(|status| {
                    status.reconnects = connection.saturating_sub(1);
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
                self.take_back_at = Some(Instant::now() + self.take_back_pause);
                self.take_back_pause = (self.take_back_pause * 2).min(TAKE_BACK.1);
            }
            StreamItem::Event(event) => self.event(event),
        }
    }

    fn down(&mut self, reason: &DownReason) {
        tracing::warn!(node = self.node(), %reason, "event socket of asterisk is closed");
        self.out_of_sight(&reason.to_string());
        if self.probe.is_none() {
            let probe = probe(self.ctx.clone(), self.lost.0.clone());
            self.probe = Some(self.errands.spawn(probe));
        }
    }

    /// Nobody acts until the next comparison, and the callers are not offered.
    fn out_of_sight(&mut self, why: &str) {
        self.up = false;
        self.compare_at = None;
        let was = self.ctx.sight.send_replace(Sight::Down);
        if was == Sight::Clear {
            self.propose_down(false, Vec::new());
        }
        let (why, wall_ms) = (why.to_string(), self.ctx.shared.world.wall_ms());
        self.status(|status| {
            if status.connected {
                status.since_wall_ms = wall_ms;
            }
            status.connected = false;
            status.last_error = Some(why);
        });
    }

    fn asterisk_lost(&mut self) {
        if self.up {
            return;
        }
        tracing::error!(
            node = self.node(),
            callers = self.actors.len(),
            "asterisk is gone, and its calls with it"
        );
        let callers = self.actors.values().map(|(_, actor)| actor.clone());
        self.propose_down(true, callers.collect());
    }

    /// `gone`: who is told when it is written, and not before: else callers' own facts would come
    /// first and tell of hang-ups, and nobody would have the place back.
    fn propose_down(&mut self, lost: bool, gone: Vec<CallerRef>) {
        let (ctx, epoch) = (self.ctx.clone(), self.ctx.epoch.load(Ordering::Acquire));
        if epoch == 0 {
            return;
        }
        self.errands.spawn(async move {
            let down = Command::PbxDown {
                pbx: ctx.pbx.clone(),
                epoch,
                lost,
            };
            if let Err(error) = ctx.proposer.propose(down).await {
                // The next comparison tells them what there is.
                tracing::warn!(%error, "the loss of sight could not be written");
                return;
            }
            for caller in gone {
                caller.send(Mail::AsteriskGone);
            }
        });
    }

    fn take_back(&mut self) {
        self.take_back_at = None;
        tracing::warn!(node = self.node(), "taking the application back");
        if let Some(stream) = &self.stream {
            stream.control().resume();
        }
    }

    async fn compare(&mut self) {
        self.compare_at = None;
        let compared = match self.stream {
            Some(_) => self.reconcile().await.map(|()| true),
            None => self.is_ours().await.map(|()| false),
        };
        match compared {
            Ok(false) => self.stream = Some(events(&self.config)),
            Ok(true) => {
                self.take_back_pause = TAKE_BACK.0;
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
                let error = error.to_string();
                let known = self.ctx.shared.ari.borrow().last_error.as_deref() == Some(&error);
                if !known {
                    tracing::warn!(
                        node = self.node(),
                        error,
                        "state and asterisk could not be compared yet"
                    );
                }
                self.status(|status| status.last_error = Some(error));
                if self.up || self.stream.is_none() {
                    self.compare_at = Some(Instant::now() + self.compare_pause);
                    self.compare_pause = (self.compare_pause * 2).min(COMPARE_AGAIN.1);
                }
            }
        }
    }

    fn event(&mut self, event: Event) {
        let kind = event.type_name();
        self.ctx
            .shared
            .metrics
            .update(|m| *m.ari_events.entry(kind).or_default() += 1);
        if let Event::Malformed { why, .. } = &event {
            tracing::warn!(
                node = self.node(),
                why,
                "an event cannot be read, comparing"
            );
            self.compare_at
                .get_or_insert(Instant::now() + COMPARE_AGAIN.1);
            return;
        }
        let codes = &self.ctx.asterisk.feature_codes;
        let route = route(&self.ctx.pbx, codes, &event, |id| {
            self.actors.contains_key(id)
        });
        match (route, event) {
            (Route::Device, Event::DeviceStateChanged { device, state }) => {
                self.devices.report(&self.ctx, &device, state);
            }
            (Route::NewCaller, Event::StasisStart { channel, args, .. }) => {
                self.enter(*channel, args);
            }
            (Route::Feature(code), Event::StasisStart { channel, args, .. }) => {
                self.errands
                    .spawn(features::serve(self.ctx.clone(), *channel, args, code));
            }
            (Route::Caller(id), event) => {
                if let Some((_, actor)) = self.actors.get(&id) {
                    actor.send(Mail::Event(Box::new(event)));
                }
            }
            (Route::Leg(call), event) => self.leg_event(call, event),
            (Route::Replaces(call, channel), event) => {
                if let Some(caller) = self.calls.get(&call).cloned()
                    && let Some((generation, actor)) = self.actors.get(&caller).cloned()
                {
                    actor.send(Mail::Event(Box::new(event)));
                    // Its later events find the same actor.
                    self.actors.insert(channel, (generation, actor));
                }
            }
            (Route::ForeignLeg, event) => self.hang_up_stale(&event),
            _ => {}
        }
    }

    fn leg_event(&mut self, call: CallId, event: Event) {
        if !self.calls.contains_key(&call) {
            let channel = self.ctx.shared.raft.read(|machine| {
                machine
                    .0
                    .call(call)
                    .filter(|c| c.pbx == self.ctx.pbx)
                    .map(|c| c.channel.to_string())
            });
            if let Some(channel) = channel {
                self.calls.insert(call, channel);
            }
        }
        let actor = self
            .calls
            .get(&call)
            .and_then(|channel| self.actors.get(channel));
        match actor {
            Some((_, actor)) => actor.send(Mail::Event(Box::new(event))),
            None => self.hang_up_stale(&event),
        }
    }

    /// A leg that no call of ours wants.
    fn hang_up_stale(&mut self, event: &Event) {
        let ended = matches!(
            event,
            Event::ChannelDestroyed { .. } | Event::StasisEnd { .. }
        );
        if let Some(channel) = event.channel().filter(|_| !ended) {
            self.hang_up(channel.id.clone());
        }
    }

    pub(crate) fn hang_up(&mut self, channel: String) {
        tracing::info!(node = self.node(), channel, "stale leg hung up");
        self.ctx
            .shared
            .metrics
            .update(|metrics| metrics.legs_stale += 1);
        let ari = self.ctx.ari.clone();
        self.errands.spawn(async move {
            if let Err(error) = ari.hangup(&channel, HangupReason::Normal).await
                && !error.is_gone()
            {
                tracing::warn!(channel, %error, "a stale leg could not be hung up");
            }
        });
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
                }
                AcdEvent::CallLeft { call, position, .. } => {
                    if let Some(actor) = self.actor_of(*call).filter(|_| *position > 0) {
                        actor.send(Mail::Position(*position));
                    }
                }
                AcdEvent::AgentChanged { .. } | AcdEvent::AgentDeleted { .. } => {
                    self.devices_changed = true;
                }
                _ => {}
            }
            if let Some(actor) = event.call().and_then(|call| self.actor_of(call)) {
                actor.wake();
            }
            if let AcdEvent::CallReleased { call } = event {
                self.calls.remove(call);
            }
        }
    }

    fn wake_all(&mut self) {
        self.know_calls();
        self.devices_changed = true;
        for (_, actor) in self.actors.values() {
            actor.wake();
        }
    }

    /// Learns anew which channel is which call's.
    pub(crate) fn know_calls(&mut self) {
        let pbx = &self.ctx.pbx;
        self.calls = self.ctx.shared.raft.read(|machine| {
            machine
                .0
                .calls_on(pbx)
                .map(|call| (call.id, call.channel.to_string()))
                .collect()
        });
    }

    fn actor_of(&self, call: CallId) -> Option<&CallerRef> {
        self.actors
            .get(self.calls.get(&call)?)
            .map(|(_, actor)| actor)
    }

    pub(crate) fn status(&self, change: impl FnOnce(&mut AriStatus)) {
        self.ctx.shared.ari.send_modify(change);
    }

    pub(crate) fn node(&self) -> &str {
        &self.ctx.shared.config.node.name
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
