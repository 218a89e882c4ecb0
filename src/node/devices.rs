//! What this Asterisk says of the agents' devices, kept in step with who is an agent here.

use crate::ctx::Ctx;
use crate::want::device;
use futures_util::{StreamExt, stream};
use holdfast_acd::command::DeviceState;
use holdfast_acd::{AgentId, Command};
use holdfast_ari::{AriError, Endpoint, EventSource};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Questions for device states at the same time.
const PARALLEL: usize = 8;
/// Until a state is said again that could not be written.
const AGAIN: Duration = Duration::from_secs(1);

/// Which devices are watched, and whose they are.
#[derive(Default)]
pub(crate) struct Devices {
    watched: BTreeMap<String, BTreeSet<AgentId>>,
    /// Those of them that could not be asked for.
    unread: BTreeSet<String>,
}

impl Devices {
    /// Everything anew, after the event socket was opened: subscribes to all and asks for all. Like
    /// `extend`, answers whether all could be read.
    pub async fn renew(&mut self, ctx: &Arc<Ctx>) -> Result<bool, AriError> {
        self.watched.clear();
        ctx.devices.lock().told.clear();
        self.extend(ctx).await
    }

    /// Watches the devices of agents that are new or have changed, and of those that could not be
    /// read. Answers whether all could now: a phone of which nothing is known may not be rung, and
    /// nothing else would ask for it.
    pub async fn extend(&mut self, ctx: &Arc<Ctx>) -> Result<bool, AriError> {
        let wanted: Vec<(Endpoint, AgentId)> = ctx.shared.raft.read(|machine| {
            let agents = machine.0.agents();
            agents
                .filter_map(|agent| Some((device(&ctx.local, agent)?, agent.id.clone())))
                .collect()
        });
        let mut now: BTreeMap<String, BTreeSet<AgentId>> = BTreeMap::new();
        let mut fresh = Vec::new();
        for (endpoint, agent) in wanted {
            let known = self.watched.get(endpoint.as_str());
            let unread = self.unread.contains(endpoint.as_str());
            if unread || known.is_none_or(|agents| !agents.contains(&agent)) {
                fresh.push(endpoint.clone());
                // May be another agent of the same name, of whom the replica knows nothing.
                ctx.devices.lock().told.remove(&agent);
            }
            now.entry(endpoint.as_str().into())
                .or_default()
                .insert(agent);
        }
        fresh.dedup();
        let sources: Vec<EventSource> = fresh.iter().cloned().map(EventSource::Device).collect();
        ctx.ari.subscribe(ctx.ari.app(), &sources).await?;
        self.watched = now;
        self.unread.clear();
        let mut answers = stream::iter(fresh)
            .map(|device| async move {
                let state = ctx.ari.device_state(&device).await;
                (device, state)
            })
            .buffer_unordered(PARALLEL);
        while let Some((device, state)) = answers.next().await {
            match state {
                Ok(state) => self.report(ctx, device.as_str(), state),
                Err(error) => {
                    tracing::warn!(device = device.as_str(), %error, "the state of a device could not be read yet");
                    self.unread.insert(device.as_str().into());
                }
            }
        }
        Ok(self.unread.is_empty())
    }

    /// Proposes a device's state for its agents, where another was told.
    pub fn report(&self, ctx: &Arc<Ctx>, device: &str, state: holdfast_ari::DeviceState) {
        let Some(agents) = self.watched.get(device) else {
            return;
        };
        let state = translate(state);
        for agent in agents {
            let known = ctx.shared.raft.read(|machine| {
                machine
                    .0
                    .agent(agent)
                    .and_then(|agent| agent.devices.get(&ctx.pbx).copied())
            });
            ctx.devices.send(agent, state, known);
        }
    }
}

fn translate(state: holdfast_ari::DeviceState) -> DeviceState {
    use holdfast_ari::DeviceState as Ari;
    match state {
        Ari::NotInUse => DeviceState::NotInUse,
        Ari::InUse => DeviceState::InUse,
        Ari::Busy => DeviceState::Busy,
        Ari::Invalid => DeviceState::Invalid,
        Ari::Unavailable => DeviceState::Unavailable,
        Ari::Ringing => DeviceState::Ringing,
        Ari::RingInUse => DeviceState::RingInUse,
        Ari::OnHold => DeviceState::OnHold,
        _ => DeviceState::Unknown,
    }
}

/// Device states on their way into the log: for each agent the latest alone, so that the table is
/// bounded by the agents, and in order for each agent.
pub(crate) struct Outbox {
    facts: std::sync::Mutex<Facts>,
    wake: tokio::sync::Notify,
}

#[derive(Default)]
struct Facts {
    waiting: BTreeMap<AgentId, DeviceState>,
    /// Taken out of `waiting`, without an answer yet.
    on_their_way: BTreeSet<AgentId>,
    /// What this node said last. The own replica is no witness for it: it may be behind what the
    /// leader has acknowledged, and would make a phone that rang for a moment ring for ever.
    told: BTreeMap<AgentId, DeviceState>,
}

impl Facts {
    fn take(&mut self) -> BTreeMap<AgentId, DeviceState> {
        let taken = std::mem::take(&mut self.waiting);
        self.on_their_way = taken.keys().cloned().collect();
        taken
    }

    /// What the cluster will have of the device once all that was said has arrived, as far as that
    /// is known. The replica knows nothing of what is still to be written.
    fn said(&self, agent: &AgentId, replica: Option<DeviceState>) -> Option<DeviceState> {
        let under_way = self.waiting.contains_key(agent) || self.on_their_way.contains(agent);
        let told = self.told.get(agent).copied();
        told.or(replica.filter(|_| !under_way))
    }

    /// Nobody knows whether it is written: it is said again, unless there is something newer.
    fn put_back(&mut self, agent: AgentId, state: DeviceState) {
        if self.on_their_way.remove(&agent) {
            self.waiting.entry(agent).or_insert(state);
        }
    }

    /// It is of no use to say that again, but another state may be.
    fn refused(&mut self, agent: &AgentId) {
        self.on_their_way.remove(agent);
        self.told.remove(agent);
    }
}

impl Outbox {
    pub fn new() -> Outbox {
        Outbox {
            facts: Default::default(),
            wake: tokio::sync::Notify::new(),
        }
    }

    /// `known` is what the replica has, which counts only while nothing was told.
    fn send(&self, agent: &AgentId, state: DeviceState, known: Option<DeviceState>) {
        let mut facts = self.lock();
        if facts.said(agent, known) == Some(state) {
            return;
        }
        facts.told.insert(agent.clone(), state);
        facts.waiting.insert(agent.clone(), state);
        self.wake.notify_one();
    }

    /// This node has nothing to say any more.
    pub fn clear(&self) {
        *self.lock() = Facts::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Proposes what waits, for as long as the node runs.
    pub async fn run(ctx: Arc<Ctx>) {
        loop {
            ctx.devices.wake.notified().await;
            let waiting = ctx.devices.lock().take();
            stream::iter(waiting)
                .for_each_concurrent(64, |(agent, state)| {
                    let ctx = &ctx;
                    async move {
                        let fact = Command::DeviceSeen {
                            pbx: ctx.pbx.clone(),
                            epoch: ctx.epoch.load(Ordering::Acquire),
                            agent: agent.clone(),
                            state,
                        };
                        match ctx.proposer.propose(fact).await {
                            Ok(applied) if applied.reply.is_ok() => {
                                ctx.devices.lock().on_their_way.remove(&agent);
                            }
                            // Of an agent that is gone, or from a driver that is over.
                            Ok(applied) => {
                                tracing::debug!(reply = ?applied.reply, "a device state was refused");
                                ctx.devices.lock().refused(&agent);
                            }
                            Err(error) => {
                                tracing::warn!(%error, "a device state could not be written yet");
                                tokio::time::sleep(AGAIN).await;
                                ctx.devices.lock().put_back(agent, state);
                                ctx.devices.wake.notify_one();
                            }
                        }
                    }
                })
                .await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Option<DeviceState> = Some(DeviceState::NotInUse);

    fn agent() -> AgentId {
        AgentId::new("1001").expect("it fits the grammar")
    }

    fn waiting(outbox: &Outbox) -> Option<DeviceState> {
        outbox.lock().waiting.get(&agent()).copied()
    }

    #[test]
    fn a_state_that_the_replica_still_has_follows_another_that_was_told() {
        let outbox = Outbox::new();
        outbox.send(&agent(), DeviceState::NotInUse, IDLE);
        assert_eq!(waiting(&outbox), None, "the replica knows");
        outbox.send(&agent(), DeviceState::Ringing, IDLE);
        // It is written, but the own replica has not applied it yet.
        outbox.lock().take();
        outbox.lock().on_their_way.clear();
        outbox.send(&agent(), DeviceState::NotInUse, IDLE);
        assert_eq!(waiting(&outbox), Some(DeviceState::NotInUse));
    }

    /// Seed 11047 of the simulation: the agent was in use for ever.
    #[test]
    fn what_waits_since_before_a_gap_is_overtaken_by_what_is_read_after_it() {
        let outbox = Outbox::new();
        outbox.send(&agent(), DeviceState::InUse, IDLE);
        outbox.lock().told.clear();
        outbox.send(&agent(), DeviceState::NotInUse, IDLE);
        assert_eq!(waiting(&outbox), Some(DeviceState::NotInUse));

        outbox.lock().take();
        outbox.lock().told.clear();
        let ringing = Some(DeviceState::Ringing);
        outbox.send(&agent(), DeviceState::Ringing, ringing);
        assert_eq!(waiting(&outbox), ringing, "another is on its way");
    }

    #[test]
    fn what_could_not_be_written_is_said_again_unless_there_is_something_newer() {
        let outbox = Outbox::new();
        outbox.send(&agent(), DeviceState::InUse, IDLE);
        outbox.lock().take();
        outbox.lock().put_back(agent(), DeviceState::InUse);
        assert_eq!(waiting(&outbox), Some(DeviceState::InUse));

        outbox.lock().take();
        outbox.send(&agent(), DeviceState::OnHold, IDLE);
        outbox.lock().put_back(agent(), DeviceState::InUse);
        assert_eq!(waiting(&outbox), Some(DeviceState::OnHold));

        outbox.lock().take();
        outbox.clear();
        outbox.lock().put_back(agent(), DeviceState::OnHold);
        assert_eq!(waiting(&outbox), None, "it has nothing to say any more");
    }
}
