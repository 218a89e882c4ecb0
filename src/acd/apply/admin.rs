//! Admin writes: the table of answers, revisions, and what may be done to a single call.

use super::Apply;
use crate::call::{Outcome, Phase};
use crate::command::{Admin, AdminOp, FailCause};
use crate::event::Event;
use crate::id::{CallId, QueueName};
use crate::limits::{REQUEST_AGE_MS_MAX, REQUESTS_MAX};
use crate::queue::Place;
use crate::reply::{Done, Reject, Reply};
use crate::settings::Connect;
use crate::state::Answer;
use crate::text;

impl Apply<'_> {
    /// The same request asked twice gets the same answer, and is done once. `asked` is a digest of
    /// what was asked: another one under the same id is refused.
    pub(super) fn admin(&mut self, admin: &Admin, asked: u64) -> Reply {
        self.forget_old_answers();
        if let Some(answer) = self.state.requests.get(&admin.request) {
            let same = answer.asked == asked;
            return if same {
                answer.reply.clone()
            } else {
                Err(Reject::RequestReused)
            };
        }
        let reply = self
            .check_revision(admin)
            .and_then(|()| self.admin_op(&admin.op));
        let answer = Answer {
            at: self.now,
            asked,
            reply: reply.clone(),
        };
        self.state.requests.insert(admin.request, answer);
        self.state.index.requests.insert((self.now, admin.request));
        reply
    }

    fn forget_old_answers(&mut self) {
        let limit = self.now.saturating_sub(REQUEST_AGE_MS_MAX);
        while let Some((at, request)) = self.state.index.requests.first().copied() {
            if at >= limit && self.state.requests.len() < REQUESTS_MAX {
                break;
            }
            self.state.index.requests.pop_first();
            self.state.requests.remove(&request);
        }
    }

    fn check_revision(&self, admin: &Admin) -> Result<(), Reject> {
        let Some(wanted) = admin.if_revision else {
            return Ok(());
        };
        let revision = self.revision(&admin.op)?;
        if revision == wanted {
            Ok(())
        } else {
            Err(Reject::RevisionMismatch { revision })
        }
    }

    /// The revision of what a write touches; 0 if there is no such thing.
    fn revision(&self, op: &AdminOp) -> Result<u64, Reject> {
        let state = &self.state;
        let found = match op {
            AdminOp::QueuePut { queue, .. } | AdminOp::QueueDelete { queue } => {
                state.queues.get(queue).map(|queue| queue.revision)
            }
            AdminOp::AgentPut { agent, .. }
            | AdminOp::AgentDelete { agent }
            | AdminOp::AgentLogin { agent }
            | AdminOp::AgentLogout { agent }
            | AdminOp::AgentPause { agent, .. }
            | AdminOp::AgentUnpause { agent, .. }
            | AdminOp::AgentReady { agent } => state.agents.get(agent).map(|agent| agent.revision),
            AdminOp::MemberPut { queue, agent, .. } | AdminOp::MemberDelete { queue, agent } => {
                let queue = state.queues.get(queue);
                queue
                    .and_then(|queue| queue.members.get(agent))
                    .map(|member| member.revision)
            }
            AdminOp::TemplatePut { name, .. } | AdminOp::TemplateDelete { name } => {
                state.templates.get(name).map(|template| template.revision)
            }
            AdminOp::ConfigPut { .. } => Some(state.config_revision),
            AdminOp::CallWithdraw { .. }
            | AdminOp::CallMove { .. }
            | AdminOp::CallPriority { .. } => {
                let problem = "a call has no revision; leave it out".into();
                return Err(Reject::Invalid {
                    what: "if_revision".into(),
                    problem,
                });
            }
        };
        Ok(found.unwrap_or(0))
    }

    fn admin_op(&mut self, op: &AdminOp) -> Reply {
        match op {
            AdminOp::QueuePut { queue, settings } => self.queue_put(queue, settings),
            AdminOp::QueueDelete { queue } => self.queue_delete(queue),
            AdminOp::AgentPut { agent, settings } => self.agent_put(agent, settings),
            AdminOp::AgentDelete { agent } => self.agent_delete(agent),
            AdminOp::MemberPut {
                queue,
                agent,
                settings,
            } => self.member_put(queue, agent, settings),
            AdminOp::MemberDelete { queue, agent } => self.member_delete(queue, agent),
            AdminOp::TemplatePut { name, template } => self.template_put(name, template),
            AdminOp::TemplateDelete { name } => self.template_delete(name),
            AdminOp::AgentLogin { agent } => self.agent_login(agent),
            AdminOp::AgentLogout { agent } => self.agent_logout(agent),
            AdminOp::AgentPause {
                agent,
                queue,
                reason,
            } => self.agent_pause(agent, queue.as_ref(), reason),
            AdminOp::AgentUnpause { agent, queue } => self.agent_unpause(agent, queue.as_ref()),
            AdminOp::AgentReady { agent } => self.agent_ready(agent),
            AdminOp::CallWithdraw { call, info } => self.call_withdraw(*call, info),
            AdminOp::CallMove { call, queue } => self.call_move(*call, queue),
            AdminOp::CallPriority { call, priority } => self.call_priority(*call, *priority),
            AdminOp::ConfigPut { config, prune } => self.config_put(config, *prune),
        }
    }

    fn call_withdraw(&mut self, id: CallId, info: &str) -> Reply {
        self.check_at_hand(id)?;
        self.end_waiting(
            id,
            Outcome::Withdrawn {
                info: text::clean(info),
            },
        );
        Ok(Done::Ok)
    }

    /// In a line, and not in the dialplan, where nobody could act on the caller.
    fn check_at_hand(&self, id: CallId) -> Result<(), Reject> {
        let call = self.state.calls.get(&id).ok_or(Reject::UnknownCall(id))?;
        match &call.phase {
            Phase::Waiting { away: false } => Ok(()),
            Phase::Offered(offer) if offer.connect == Connect::Ari => Ok(()),
            _ => Err(Reject::WrongPhase(id)),
        }
    }

    fn call_move(&mut self, id: CallId, to: &QueueName) -> Reply {
        self.check_at_hand(id)?;
        let target = self.state.queues.get(to);
        let plan = target
            .ok_or_else(|| Reject::UnknownQueue(to.clone()))?
            .settings
            .clone();
        let from = self.state.calls.get(&id).map(|call| call.queue.clone());
        let Some(from) = from.filter(|from| from != to) else {
            return Ok(Done::Ok);
        };
        self.end_offer(id, FailCause::Cancelled);
        let Some(call) = self.state.calls.get_mut(&id) else {
            return Ok(Done::Ok);
        };
        let place = Place::of(call);
        call.queue = to.clone();
        if let Some(wait) = self.state.waits.get_mut(&id) {
            wait.step = plan.steps_reached(self.now.saturating_sub(call.joined_at));
            crate::announce::reschedule(wait, &plan.announce, self.now);
        }
        if let Some(queue) = self.state.queues.get_mut(&from) {
            queue.line.remove(&place);
            queue.counters.moved_out += 1;
        }
        if let Some(queue) = self.state.queues.get_mut(to) {
            queue.line.insert(place);
            queue.counters.entered += 1;
        }
        self.touch_call(id);
        self.emit(Event::CallMoved {
            call: id,
            from,
            to: to.clone(),
        });
        Ok(Done::Ok)
    }

    fn call_priority(&mut self, id: CallId, priority: i32) -> Reply {
        let call = self
            .state
            .calls
            .get_mut(&id)
            .ok_or(Reject::UnknownCall(id))?;
        if !call.in_line() {
            return Err(Reject::WrongPhase(id));
        }
        if call.priority == priority {
            return Ok(Done::Ok);
        }
        let before = Place::of(call);
        call.priority = priority;
        if let Some(queue) = self.state.queues.get_mut(&call.queue) {
            queue.line.remove(&before);
            queue.line.insert(Place::of(call));
        }
        self.touch_call(id);
        self.emit(Event::CallPriority { call: id, priority });
        Ok(Done::Ok)
    }
}
