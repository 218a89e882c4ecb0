//! Talks whose call was given up while nobody saw their Asterisk, and that were found going on.
//!
//! The call itself has ended, once, as lost sight of, and is not made again: it is counted, and who
//! read of its end read the truth. What is left to look after is the agent, who must not be rung
//! while he talks. So the talk is kept in the agent's hand and nowhere else, until it ends, or its
//! caller is not there at a comparison, or its Asterisk is given up again.

use super::Apply;
use crate::agent::Hand;
use crate::event::Event;
use crate::id::{AgentId, ChannelId, PbxId, QueueName};
use crate::pbx::Sight;
use crate::reply::{Done, Reject, Reply};

impl Apply<'_> {
    pub(super) fn talk_kept(
        &mut self,
        pbx: &PbxId,
        epoch: u64,
        channel: &ChannelId,
        agent: &AgentId,
        queue: Option<&QueueName>,
    ) -> Reply {
        // Who is given up, or has not compared, will compare and say it again: nobody must be held
        // by a word that came too late.
        let heard = self.state.pbxes.get(pbx).is_some_and(|pbx| {
            epoch >= pbx.epoch && matches!(pbx.sight, Sight::Up | Sight::NodeAway)
        });
        if !heard {
            return Err(Reject::StaleEpoch { epoch });
        }
        if let Some(call) = self.state.call_of(pbx, channel) {
            return Err(Reject::WrongPhase(call.id));
        }
        let known = self.state.agents.get(agent).map(|agent| &agent.hand);
        match known.ok_or_else(|| Reject::UnknownAgent(agent.clone()))? {
            Hand::Talking { channel: it, .. } if it == channel => return Ok(Done::Ok),
            Hand::InCall { .. } | Hand::Talking { .. } => {
                return Err(Reject::AgentBusy(agent.clone()));
            }
            // The phone rings beside a talk, for nobody looked: not any longer.
            Hand::Offered { .. } => self.withdraw_offer(agent, None),
            Hand::Free => {}
        }
        if let Some(agent) = self.state.agents.get_mut(agent) {
            agent.hand = Hand::Talking {
                pbx: pbx.clone(),
                channel: channel.clone(),
                queue: queue.cloned(),
                since: self.now,
            };
            // It was begun when the call was given up, and begins anew after the talk.
            agent.wrap_up_until = None;
        }
        self.touch_agent(agent);
        self.emit(Event::TalkKept {
            agent: agent.clone(),
            pbx: pbx.clone(),
            channel: channel.clone(),
        });
        Ok(Done::Ok)
    }

    pub(super) fn talk_over(&mut self, pbx: &PbxId, channel: &ChannelId) -> Reply {
        self.end_talks(pbx, |it| it == channel);
        Ok(Done::Ok)
    }

    /// Those on this Asterisk whose caller's channel is one of `over`. Answers whether there were any.
    pub(super) fn end_talks(&mut self, pbx: &PbxId, over: impl Fn(&ChannelId) -> bool) -> bool {
        let ended = |hand: &Hand| match hand {
            Hand::Talking {
                pbx: at,
                channel,
                queue,
                since,
            } if at == pbx && over(channel) => Some((channel.clone(), queue.clone(), *since)),
            _ => None,
        };
        let agents = self.state.agents.values();
        let ended: Vec<_> = agents
            .filter_map(|agent| Some((agent.id.clone(), ended(&agent.hand)?)))
            .collect();
        let any = !ended.is_empty();
        for (agent, (channel, queue, since)) in ended {
            let wrap_up_ms = queue.map_or(0, |queue| self.wrap_up_of(&queue, &agent));
            self.emit(Event::TalkOver {
                agent: agent.clone(),
                pbx: pbx.clone(),
                channel,
                talked_ms: self.now.saturating_sub(since),
            });
            self.let_agent_rest(&agent, wrap_up_ms);
        }
        any
    }

    fn wrap_up_of(&self, queue: &QueueName, agent: &AgentId) -> u64 {
        let Some(queue) = self.state.queues.get(queue) else {
            return 0;
        };
        let member = queue.members.get(agent);
        let own = member.and_then(|member| member.settings.wrap_up_ms);
        own.unwrap_or(queue.settings.wrap_up_ms)
    }
}
