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

/// Questions for device states at the same time.
const PARALLEL: usize = 8;

/// Which devices are watched, and whose they are.
#[derive(Default)]
pub(crate) struct Devices {
    watched: BTreeMap<String, BTreeSet<AgentId>>,
}

impl Devices {
    /// Everything anew, after the event socket was opened: subscribes to all and asks for all.
    pub async fn renew(&mut self, ctx: &Arc<Ctx>) -> Result<(), AriError> {
        self.watched.clear();
        ctx.devices.lock().told.clear();
        self.extend(ctx).await
    }

    /// Watches the devices of agents that are new or have changed.
    pub async fn extend(&mut self, ctx: &Arc<Ctx>) -> Result<(), AriError> {
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
            if known.is_none_or(|agents| !agents.contains(&agent)) {
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
        let mut answers = stream::iter(fresh)
            .map(|device| async move {
                let state = ctx.ari.device_state(&device).await;
                (device, state)
            })
            .buffer_unordered(PARALLEL);
        while let Some((device, state)) = answers.next().await {
            match state {
                Ok(state) => self.report(ctx, device.as_str(), state),
                Err(error) => tracing::debug!(device = device.as_str(), %error, "no device state"),
            }
        }
        Ok(())
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
    /// What this node said last. The own replica is no witness for it: it may be behind what the
    /// leader has acknowledged, and would make a phone that rang for a moment ring for ever.
    told: BTreeMap<AgentId, DeviceState>,
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
        if facts.told.get(agent).copied().or(known) == Some(state) {
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
            let waiting = std::mem::take(&mut ctx.devices.lock().waiting);
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
                            Ok(applied) if applied.reply.is_ok() => return,
                            // Of an agent that is gone, or from a driver that is over.
                            Ok(applied) => tracing::debug!(reply = ?applied.reply, "a device state was refused"),
                            Err(error) => tracing::warn!(%error, "a device state could not be written"),
                        }
                        ctx.devices.lock().told.remove(&agent);
                    }
                })
                .await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_the_replica_still_has_follows_another_that_was_told() {
        let agent = AgentId::new("1001").expect("it fits the grammar");
        let outbox = Outbox::new();
        let idle = Some(DeviceState::NotInUse);
        outbox.send(&agent, DeviceState::NotInUse, idle);
        assert!(outbox.lock().waiting.is_empty(), "the replica knows");
        outbox.send(&agent, DeviceState::Ringing, idle);
        // It is written, but the own replica has not applied it yet.
        outbox.lock().waiting.clear();
        outbox.send(&agent, DeviceState::NotInUse, idle);
        assert_eq!(
            outbox.lock().waiting.get(&agent),
            Some(&DeviceState::NotInUse)
        );
    }
}
