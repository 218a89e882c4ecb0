//! An agent's session: login, pause, ready, device state.
//!
//! Nothing here ends a call in hand. An offer is withdrawn, without a delay for the agent.

use super::Apply;
use crate::agent::{Agent, Hand, Pause};
use crate::command::{DeviceState, FailCause};
use crate::event::Event;
use crate::id::{AgentId, PbxId, QueueName};
use crate::limits::PBXES_MAX;
use crate::reply::{Done, Reject, Reply};
use crate::text;

impl Apply<'_> {
    pub(super) fn agent_login(&mut self, id: &AgentId) -> Reply {
        let now = self.now;
        let agent = self.agent_mut(id)?;
        let revision = agent.revision;
        if agent.login_at.is_none() {
            agent.login_at = Some(now);
            self.touch_agent(id);
            self.emit(Event::AgentLogin { agent: id.clone() });
        }
        Ok(Done::Written { revision })
    }

    /// The session ends: pauses, wrap-up and delays with it.
    pub(super) fn agent_logout(&mut self, id: &AgentId) -> Reply {
        let revision = self.agent_mut(id)?.revision;
        self.withdraw_offer(id, None);
        let agent = self.agent_mut(id)?;
        if agent.login_at.take().is_some() {
            agent.pause = None;
            agent.wrap_up_until = None;
            agent.retry_at = None;
            for queue in agent.queues.clone() {
                self.set_member_pause(&queue, id, None);
            }
            self.touch_agent(id);
            self.emit(Event::AgentLogout { agent: id.clone() });
        }
        Ok(Done::Written { revision })
    }

    pub(super) fn agent_pause(
        &mut self,
        id: &AgentId,
        queue: Option<&QueueName>,
        reason: &str,
    ) -> Reply {
        let revision = self.agent_mut(id)?.revision;
        let known = self.pause_of(id, queue)?;
        let reason = text::clean(reason);
        self.withdraw_offer(id, queue);
        if known.is_some_and(|pause| pause.reason == reason) {
            return Ok(Done::Written { revision });
        }
        let pause = Pause {
            reason: reason.clone(),
            at: self.now,
            wall_ms: self.stamp.wall_ms,
        };
        match queue {
            Some(queue) => self.set_member_pause(queue, id, Some(pause)),
            None => self.agent_mut(id)?.pause = Some(pause),
        }
        self.touch_agent(id);
        self.emit(Event::AgentPaused {
            agent: id.clone(),
            queue: queue.cloned(),
            reason,
        });
        Ok(Done::Written { revision })
    }

    /// In one queue, or everywhere: then also the pauses of single queues end.
    pub(super) fn agent_unpause(&mut self, id: &AgentId, queue: Option<&QueueName>) -> Reply {
        let revision = self.agent_mut(id)?.revision;
        let mut was_paused = self.pause_of(id, queue)?.is_some();
        match queue {
            Some(queue) => self.set_member_pause(queue, id, None),
            None => {
                self.agent_mut(id)?.pause = None;
                for queue in self.agent_mut(id)?.queues.clone() {
                    was_paused |= self.pause_of(id, Some(&queue))?.is_some();
                    self.set_member_pause(&queue, id, None);
                }
            }
        }
        if was_paused {
            self.touch_agent(id);
            self.emit(Event::AgentUnpaused {
                agent: id.clone(),
                queue: queue.cloned(),
            });
        }
        Ok(Done::Written { revision })
    }

    pub(super) fn agent_ready(&mut self, id: &AgentId) -> Reply {
        let agent = self.agent_mut(id)?;
        let revision = agent.revision;
        agent.retry_at = None;
        let wrapped_up = agent.wrap_up_until.take().is_some();
        self.touch_agent(id);
        if wrapped_up {
            self.emit(Event::AgentReady { agent: id.clone() });
        }
        Ok(Done::Written { revision })
    }

    pub(super) fn agent_device(&mut self, pbx: &PbxId, id: &AgentId, device: DeviceState) -> Reply {
        let agent = self.agent_mut(id)?;
        if agent.devices.get(pbx) == Some(&device) {
            return Ok(Done::Ok);
        }
        if agent.devices.len() >= PBXES_MAX && !agent.devices.contains_key(pbx) {
            let max = PBXES_MAX as u64;
            return Err(Reject::LimitReached {
                what: "Asterisks of an agent".into(),
                max,
            });
        }
        agent.devices.insert(pbx.clone(), device);
        self.touch_agent(id);
        let (agent, pbx) = (id.clone(), pbx.clone());
        self.emit(Event::AgentDevice {
            agent,
            pbx,
            state: device,
        });
        Ok(Done::Ok)
    }

    /// A driver that was deposed may still say what it saw before: its successor knows better.
    pub(super) fn device_seen(
        &mut self,
        pbx: &PbxId,
        epoch: u64,
        id: &AgentId,
        device: DeviceState,
    ) -> Reply {
        match self.state.pbxes.get(pbx) {
            Some(known) if epoch < known.epoch => Err(Reject::StaleEpoch { epoch }),
            _ => self.agent_device(pbx, id, device),
        }
    }

    /// Takes back an offer in flight, of one queue or of any.
    pub(super) fn withdraw_offer(&mut self, id: &AgentId, queue: Option<&QueueName>) {
        let Some(Hand::Offered { call, .. }) = self.state.agents.get(id).map(|it| it.hand.clone())
        else {
            return;
        };
        let of = self.state.calls.get(&call).map(|call| &call.queue);
        if queue.is_none() || of == queue {
            self.release_agent(call, id, FailCause::Cancelled);
        }
    }

    fn pause_of(&self, id: &AgentId, queue: Option<&QueueName>) -> Result<Option<Pause>, Reject> {
        let Some(name) = queue else {
            return Ok(self
                .state
                .agents
                .get(id)
                .and_then(|agent| agent.pause.clone()));
        };
        let queue = self.state.queues.get(name);
        let queue = queue.ok_or_else(|| Reject::UnknownQueue(name.clone()))?;
        let member = queue.members.get(id);
        let member = member.ok_or_else(|| Reject::UnknownMember(name.clone(), id.clone()))?;
        Ok(member.pause.clone())
    }

    fn set_member_pause(&mut self, queue: &QueueName, agent: &AgentId, pause: Option<Pause>) {
        let queue = self.state.queues.get_mut(queue);
        if let Some(member) = queue.and_then(|queue| queue.members.get_mut(agent)) {
            member.pause = pause;
        }
    }

    fn agent_mut(&mut self, id: &AgentId) -> Result<&mut Agent, Reject> {
        self.state
            .agents
            .get_mut(id)
            .ok_or_else(|| Reject::UnknownAgent(id.clone()))
    }
}
