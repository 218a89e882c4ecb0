//! Making state and Asterisk agree after a gap: what Asterisk has is read anew, nothing is assumed.
//!
//! By `GET /applications/{app}` and one GET per channel, because one hostile INVITE can blind the
//! list of all channels. A channel that Asterisk cannot describe goes back to the dialplan. Only
//! when the state knows which callers live (`PbxUp`) may the actors act again.

use crate::caller::Mail;
use crate::ctx::Sight;
use crate::driver::Driver;
use crate::features;
use crate::have::{Found, Have, LegState, Place, Playback, PlaybackOf};
use crate::kept::in_talk;
use crate::legs::{LegKey, looks_like_leg, parse_bridge, parse_leg, playback_id};
use futures_util::{StreamExt, stream};
use holdfast_acd::call::{Call, Phase};
use holdfast_acd::settings::Connect;
use holdfast_acd::{Attempt, CallId, ChannelId, Command, Reject};
use holdfast_ari::{
    AriError, Channel, ChannelLookup, ChannelState, Continue, EventSource, HangupReason,
    USED_EVENTS, Var,
};
use holdfast_raft::ProposeError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Questions to Asterisk at the same time.
const PARALLEL: usize = 16;
/// For the cluster to answer; the comparison is tried again later.
pub(crate) const CLUSTER: Duration = Duration::from_secs(3);

/// Why state and Asterisk could not be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    #[error(
        "this asterisk calls itself {found:?}, but asterisk.systemname is {wanted:?}; correct one of them"
    )]
    OtherAsterisk { found: String, wanted: String },
    #[error(transparent)]
    Ari(#[from] AriError),
    #[error("the cluster does not answer: {0}")]
    Cluster(#[from] ProposeError),
    #[error("another node drives the asterisk now")]
    NotOurs,
    #[error("the cluster refused to let this node drive the asterisk: {0}")]
    Refused(Reject),
}

/// What Asterisk has of ours.
#[derive(Default)]
pub(crate) struct Seen {
    pub callers: BTreeMap<String, Channel>,
    pub legs: BTreeMap<CallId, Vec<(String, LegKey, LegState)>>,
    pub bridges: BTreeMap<CallId, Vec<(Attempt, Vec<String>)>>,
}

impl Driver {
    /// Whether the Asterisk there is the one that this node is to drive.
    pub(crate) async fn is_ours(&mut self) -> Result<(), CompareError> {
        self.identify().await
    }

    async fn identify(&mut self) -> Result<(), CompareError> {
        let info = self.ctx.ari.info().await?;
        self.status(|status| {
            status.systemname.clone_from(&info.systemname);
            status.version.clone_from(&info.version);
        });
        let wanted = &self.ctx.asterisk.systemname;
        if !wanted.is_empty() && info.systemname != *wanted {
            let (found, wanted) = (info.systemname, wanted.clone());
            return Err(CompareError::OtherAsterisk { found, wanted });
        }
        Ok(())
    }

    /// Subscribes, compares, tells the cluster, and lets the actors act.
    pub(crate) async fn reconcile(&mut self) -> Result<(), CompareError> {
        let ctx = self.ctx.clone();
        self.identify().await?;
        ctx.ari
            .set_event_filter(ctx.ari.app(), &USED_EVENTS)
            .await?;
        if let Err(error) = ctx.shared.raft.barrier(CLUSTER).await {
            self.serve_blind().await?;
            return Err(error.into());
        }
        if !ctx.is_mine() {
            // Nothing there is this node's to touch; `consider` lets go.
            return Err(CompareError::NotOurs);
        }
        let seen = self.look().await?;
        let away = self.look_in_dialplan(&seen).await?;
        // A mark in the Asterisk itself: it tells a restart also to a node that was down meanwhile.
        let mark = Var::HOLDFAST_DRIVEN;
        let restarted = ctx.ari.global(&mark).await?.is_none();
        self.take_up(&seen, &away, restarted).await?;
        // Before the sight is clear: that wakes the actors, and nothing else would.
        ctx.awake.asked();
        ctx.ari.set_global(&mark, "1").await?;
        self.know_calls();
        self.rewire(seen, &away).await;
        ctx.sight.send_replace(Sight::Clear);
        let all_read = self.devices.renew(&ctx).await?;
        self.read_devices_again(all_read);
        ctx.shared
            .metrics
            .update(|metrics| metrics.reconciliations += 1);
        Ok(())
    }

    /// Without a quorum there is music at least, and the fallback when it lasts.
    async fn serve_blind(&mut self) -> Result<(), AriError> {
        // The socket has just been opened: what the process slept through is past.
        self.ctx.awake.asked();
        let mut seen = self.look().await?;
        // The replica may be old: who talks is seen in Asterisk alone.
        let mut talks = in_talk(&mut seen, |_| false);
        for (id, channel) in seen.callers {
            if self.actors.contains_key(&id) {
                continue;
            }
            let mut have = Have {
                channel: id.clone(),
                ..Have::default()
            };
            if let Some(found) = talks.remove(&id) {
                self.learn_talk(&id, &found);
                have.compared(found);
            }
            self.greet(channel, have);
        }
        self.ctx.sight.send_if_modified(|sight| {
            let changed = *sight == Sight::Down;
            *sight = Sight::Blind;
            changed
        });
        Ok(())
    }

    /// Reads everything in the application.
    async fn look(&mut self) -> Result<Seen, AriError> {
        let ctx = self.ctx.clone();
        let app = ctx
            .ari
            .application(ctx.ari.app())
            .await?
            .unwrap_or_default();
        let mut ids: BTreeSet<String> = app.channel_ids.into_iter().collect();
        // Legs that ring may not be in the application yet. This list can be blinded: it only adds.
        if let Ok(all) = ctx.ari.channels().await {
            ids.extend(
                all.into_iter()
                    .map(|channel| channel.id)
                    .filter(|id| looks_like_leg(id)),
            );
        }
        let mut answers = stream::iter(ids)
            .map(|id| {
                let ari = &ctx.ari;
                async move {
                    let found = ari.channel(&id).await;
                    (id, found)
                }
            })
            .buffer_unordered(PARALLEL);
        let mut seen = Seen::default();
        while let Some((id, found)) = answers.next().await {
            match found? {
                ChannelLookup::Gone => {}
                ChannelLookup::Unreadable => self.unreadable(id),
                ChannelLookup::Found(channel) => match parse_leg(&ctx.pbx, &id) {
                    Some(key) => {
                        let state = match channel.state {
                            ChannelState::Up => LegState::Up,
                            ChannelState::Ringing => LegState::Ringing,
                            _ => LegState::Made,
                        };
                        seen.legs
                            .entry(key.call)
                            .or_default()
                            .push((id, key, state));
                    }
                    None if looks_like_leg(&id) => self.hang_up(id),
                    // Subscribed to, but in the dialplan at present.
                    None if channel.dialplan.app_name != "Stasis" => {}
                    None => {
                        seen.callers.insert(id, *channel);
                    }
                },
            }
        }
        for bridge in ctx.ari.bridges().await? {
            if let Some((call, attempt)) = parse_bridge(&ctx.pbx, &bridge.id) {
                seen.bridges
                    .entry(call)
                    .or_default()
                    .push((attempt, bridge.channels));
            }
        }
        Ok(seen)
    }

    /// The calls of this Asterisk whose channels live outside of the application, for offers by way
    /// of the dialplan.
    async fn look_in_dialplan(&self, seen: &Seen) -> Result<BTreeSet<String>, AriError> {
        let by_dialplan = |call: &Call| match &call.phase {
            Phase::Waiting { away } => *away,
            Phase::Offered(offer) => offer.connect == Connect::Dialplan,
            Phase::Connected { connect, .. } => *connect == Connect::Dialplan,
            Phase::Leaving { .. } => false,
        };
        let ids: Vec<String> = self.ctx.shared.raft.read(|machine| {
            let calls = machine
                .0
                .calls_on(&self.ctx.pbx)
                .filter(|call| by_dialplan(call));
            let ids = calls.map(|call| call.channel.to_string());
            ids.filter(|id| !seen.callers.contains_key(id)).collect()
        });
        let mut away = BTreeSet::new();
        for id in ids {
            if self.ctx.ari.channel(&id).await? != ChannelLookup::Gone {
                let source = [EventSource::Channel(id.clone())];
                self.ctx.ari.subscribe(self.ctx.ari.app(), &source).await?;
                away.insert(id);
            }
        }
        Ok(away)
    }

    /// Says to the cluster that this node drives the Asterisk, and which callers live.
    async fn take_up(
        &mut self,
        seen: &Seen,
        away: &BTreeSet<String>,
        restarted: bool,
    ) -> Result<(), CompareError> {
        let raft = &self.ctx.shared.raft;
        let node = self.ctx.me.clone();
        let ids = seen.callers.keys().chain(away);
        let channels: Vec<ChannelId> = ids
            .filter_map(|id| ChannelId::new(id.as_str()).ok())
            .collect();
        let known = raft.read(|machine| machine.0.pbx(&self.ctx.pbx).map_or(0, |pbx| pbx.epoch));
        // Also above what was asked for in vain: that may still be applied.
        let epoch = known.max(self.ctx.epoch.load(Ordering::Acquire)) + 1;
        self.ctx.epoch.store(epoch, Ordering::Release);
        let up = Command::PbxUp {
            pbx: self.ctx.pbx.clone(),
            node,
            epoch,
            restarted,
            channels,
        };
        let applied = raft.propose(up, CLUSTER).await?;
        applied.reply.map_err(CompareError::Refused)?;
        self.catch_up(applied.index).await?;
        self.status(|status| status.epoch = epoch);
        let (callers, away) = (seen.callers.len(), away.len());
        tracing::info!(node = self.node(), pbx = %self.ctx.pbx, epoch, restarted, callers, away, "asterisk compared");
        Ok(())
    }

    /// Until this node's replica has applied the entry.
    pub(crate) async fn catch_up(&self, index: u64) -> Result<(), CompareError> {
        let mut here = self.ctx.shared.raft.applied();
        let local = tokio::time::timeout(CLUSTER, here.wait_for(|applied| *applied >= index));
        match local.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ProposeError::NoLeader.into()),
        }
    }

    /// Tells every actor what was found, and starts one for each caller that has none.
    async fn rewire(&mut self, mut seen: Seen, away: &BTreeSet<String>) {
        let known: Vec<(String, CallId, Attempt, u32)> = self.ctx.shared.raft.read(|machine| {
            let calls = machine.0.calls_on(&self.ctx.pbx);
            calls
                .map(|call| {
                    let announced = call.announcement.as_ref().map_or(0, |a| a.number);
                    (call.channel.to_string(), call.id, call.attempts, announced)
                })
                .collect()
        });
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        let mut ours: BTreeMap<String, (CallId, Attempt, u32)> = BTreeMap::new();
        for (channel, call, attempt, announced) in known {
            let found = found.entry(channel.clone()).or_default();
            found.legs = seen.legs.remove(&call).unwrap_or_default();
            found.bridges = seen.bridges.remove(&call).unwrap_or_default();
            found.announced = announced;
            ours.insert(channel, (call, attempt, announced));
        }
        let calls: BTreeSet<CallId> = ours.values().map(|(call, ..)| *call).collect();
        for (channel, talk) in in_talk(&mut seen, |call| calls.contains(&call)) {
            if !ours.contains_key(&channel) {
                self.learn_talk(&channel, &talk);
                found.insert(channel, talk);
            }
        }
        for id in seen.callers.keys().chain(self.actors.keys()) {
            found.entry(id.clone()).or_default();
        }
        for (id, mut found) in self.as_they_came(found, &seen) {
            found.place = match (seen.callers.contains_key(&id), away.contains(&id)) {
                (true, _) => Place::Stasis,
                (false, true) => Place::Dialplan,
                (false, false) => Place::Gone,
            };
            if let Some((_, actor)) = self.actors.get(&id) {
                if !ours.contains_key(&id)
                    && let Some(turn) = self.turns.take()
                {
                    actor.send(Mail::Turn(Box::new(turn)));
                }
                actor.send(Mail::Compared(Box::new(found)));
                continue;
            }
            let mut have = Have {
                channel: id.clone(),
                ..Have::default()
            };
            if let Some((call, attempt, announced)) = ours.get(&id) {
                if found.place == Place::Dialplan {
                    have.dialled = Some(*attempt);
                }
                if *announced > 0 {
                    // It may run: it is stopped before anything that it would block.
                    let of = PlaybackOf::Announcement;
                    let id = playback_id(*call, &format!("a{announced}")).as_str().into();
                    have.playback = Some(Playback { id, of });
                }
            }
            have.compared(found);
            let channel = seen.callers.remove(&id).unwrap_or_else(|| Channel {
                id: id.clone(),
                ..Channel::default()
            });
            self.greet(channel, have);
        }
        // What is left belongs to no call.
        for (leg, ..) in seen.legs.into_values().flatten() {
            self.hang_up(leg);
        }
        for (call, bridges) in seen.bridges {
            for (attempt, _) in bridges {
                let id = crate::legs::bridge_id(&self.ctx.pbx, call, attempt);
                if let Err(error) = self.ctx.ari.destroy_bridge(id.as_str()).await {
                    tracing::debug!(bridge = id.as_str(), %error, "stale bridge not destroyed");
                }
            }
        }
    }

    /// Events of its leg are for the actor of this channel, though the state does not say so.
    fn learn_talk(&mut self, channel: &str, talk: &Found) {
        if let Some(call) = talk.kept {
            self.calls.insert(call, channel.into());
        }
    }

    /// In the order in which they are to join: those that were seen entering, then by age.
    fn as_they_came(&self, found: BTreeMap<String, Found>, seen: &Seen) -> Vec<(String, Found)> {
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_cached_key(|(id, _)| {
            let entered = self.actors.get(id).map_or(u64::MAX, |(nth, _)| *nth);
            let made = seen.callers.get(id).map(|channel| &channel.creationtime);
            // `pbx-1700000000.42`: the number that Asterisk counts its channels by.
            let nth = id.rsplit_once('.').and_then(|(_, nth)| nth.parse().ok());
            (entered, made.cloned(), nth.unwrap_or(u64::MAX))
        });
        found
    }

    /// Starts what a channel is for that was found and not seen entering.
    fn greet(&mut self, channel: Channel, have: Have) {
        // `QueueARI,support,timeout=60`
        let mut words = channel.dialplan.app_data.split(',').map(str::to_string);
        words.next();
        let args: Vec<String> = words.collect();
        let code = args
            .first()
            .and_then(|word| self.ctx.asterisk.feature_codes.get(word))
            .copied();
        match code {
            Some(code) if have.place == Place::Stasis => {
                self.errands
                    .spawn(features::serve(self.ctx.clone(), channel, args, code));
            }
            _ => self.spawn(channel, args, have),
        }
    }

    /// A channel that Asterisk cannot describe: nothing can be known of it, so it goes back.
    fn unreadable(&mut self, id: String) {
        tracing::error!(
            node = self.node(),
            channel = ?id,
            "asterisk cannot describe a channel, it goes back to the dialplan; guard the dialplan against call-ids that are no utf-8"
        );
        self.ctx
            .shared
            .metrics
            .update(|metrics| metrics.channels_unreadable += 1);
        let ari = self.ctx.ari.clone();
        self.errands.spawn(async move {
            if ari
                .continue_in_dialplan(&id, &Continue::default())
                .await
                .is_err()
            {
                let _ = ari.hangup(&id, HangupReason::Normal).await;
            }
        });
    }
}
