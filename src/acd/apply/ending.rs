//! How waiting, offers and calls end: the steps that several commands share.
//!
//! Every call leaves by `end_waiting` or `end_connected`, so `CallLeft` is said exactly once, and by
//! `remove_call`, so `CallReleased` is. Every agent is let go by `release_agent` or `end_connected`.

use super::Apply;
use crate::agent::Hand;
use crate::call::{Outcome, Phase};
use crate::command::{EndedBy, FailCause};
use crate::event::Event;
use crate::id::{AgentId, CallId};
use crate::index::Subject;
use crate::limits::RESUMES_MAX;
use crate::queue::{Place, average};
use crate::settings::{Connect, RetryDelays};
use crate::wait::{Resume, ResumeKey};

impl Apply<'_> {
    /// A caller in a line leaves it, with an offer in flight cancelled. The owner still has the channel.
    pub(super) fn end_waiting(&mut self, id: CallId, outcome: Outcome) {
        self.end_offer(id, FailCause::Cancelled);
        let position = self.state.position(id).unwrap_or(0);
        let Some(call) = self.state.calls.get_mut(&id).filter(|call| call.in_line()) else {
            return;
        };
        let waited_ms = self.now.saturating_sub(call.joined_at);
        call.phase = Phase::Leaving {
            outcome: outcome.clone(),
            at: self.now,
        };
        self.state.waits.remove(&id);
        let queue = call.queue.clone();
        if let Some(queue) = self.state.queues.get_mut(&queue) {
            queue.line.remove(&Place::of(call));
            queue
                .counters
                .count(&outcome, waited_ms <= queue.settings.service_level_ms);
        }
        self.touch_call(id);
        self.emit(Event::CallLeft {
            call: id,
            queue,
            outcome,
            position,
            waited_ms,
        });
    }

    /// A connected call is over. The owner may still have the caller's channel.
    pub(super) fn end_connected(&mut self, id: CallId, by: EndedBy) {
        let Some(call) = self.state.calls.get_mut(&id) else {
            return;
        };
        let Phase::Connected { agent, at, .. } = &call.phase else {
            return;
        };
        let (agent, talked_ms) = (agent.clone(), self.now.saturating_sub(*at));
        let waited_ms = at.saturating_sub(call.joined_at);
        let queue = call.queue.clone();
        let outcome = Outcome::Answered {
            agent: agent.clone(),
            by,
            talked_ms,
        };
        call.phase = Phase::Leaving {
            outcome: outcome.clone(),
            at: self.now,
        };
        self.touch_call(id);
        self.emit(Event::CallCompleted {
            call: id,
            agent: agent.clone(),
            by,
            talked_ms,
        });
        self.emit(Event::CallLeft {
            call: id,
            queue: queue.clone(),
            outcome,
            position: 0,
            waited_ms,
        });
        let mut wrap_up_ms = 0;
        if let Some(queue) = self.state.queues.get_mut(&queue) {
            wrap_up_ms = queue.settings.wrap_up_ms;
            queue.counters.talk_time_ms = average(queue.counters.talk_time_ms, talked_ms);
            if let Some(member) = queue.members.get_mut(&agent) {
                member.calls_taken += 1;
                member.last_call_at = Some(self.now);
                wrap_up_ms = member.settings.wrap_up_ms.unwrap_or(wrap_up_ms);
            }
        }
        self.agent_done(&agent, wrap_up_ms);
    }

    fn agent_done(&mut self, id: &AgentId, wrap_up_ms: u64) {
        if let Some(agent) = self.state.agents.get_mut(id) {
            agent.calls_taken += 1;
        }
        self.let_agent_rest(id, wrap_up_ms);
    }

    /// The agent has hung up.
    pub(super) fn let_agent_rest(&mut self, id: &AgentId, wrap_up_ms: u64) {
        let Some(agent) = self.state.agents.get_mut(id) else {
            return;
        };
        agent.hand = Hand::Free;
        agent.last_call_at = Some(self.now);
        if wrap_up_ms > 0 && agent.login_at.is_some() {
            let until = self.now.saturating_add(wrap_up_ms);
            agent.wrap_up_until = Some(until);
            self.emit(Event::AgentWrapUp {
                agent: id.clone(),
                until,
            });
        }
        self.touch_agent(id);
    }

    /// The caller's channel is gone: whatever the call was doing is over, and so is its record.
    /// `waiting` is the outcome of a caller in the line, `by` of one who was connected.
    pub(super) fn call_gone(&mut self, id: CallId, waiting: Outcome, by: EndedBy) {
        let Some(call) = self.state.calls.get(&id) else {
            return;
        };
        match call.phase {
            Phase::Waiting { .. } | Phase::Offered(_) => {
                if waiting == Outcome::Lost {
                    self.keep_place(id);
                }
                self.end_waiting(id, waiting);
            }
            Phase::Connected { .. } => self.end_connected(id, by),
            Phase::Leaving { .. } => {}
        }
        self.remove_call(id);
    }

    pub(super) fn remove_call(&mut self, id: CallId) {
        if self.state.calls.remove(&id) {
            self.touch_call(id);
            self.emit(Event::CallReleased { call: id });
        }
    }

    /// Ends an offer for all who were still rung. The caller is in the line again, at the old place.
    pub(super) fn end_offer(&mut self, id: CallId, cause: FailCause) {
        let offer = self.state.calls.get(&id).and_then(|call| call.offer());
        let agents = offer.map(|offer| offer.agents.clone()).unwrap_or_default();
        for offered in agents {
            self.release_agent(id, &offered.agent, cause);
        }
    }

    /// One agent's part of an offer ends. When it was the last, the caller waits again; by way of the
    /// dialplan he is still there and has to come back first.
    pub(super) fn release_agent(&mut self, id: CallId, agent: &AgentId, cause: FailCause) {
        let Some(call) = self.state.calls.get_mut(&id) else {
            return;
        };
        let Phase::Offered(offer) = &mut call.phase else {
            return;
        };
        let Some(place) = offer.agents.iter().position(|it| it.agent == *agent) else {
            return;
        };
        let offered = offer.agents.remove(place);
        let attempt = offer.attempt;
        let since = offered.ringing_since.unwrap_or(self.now);
        if offer.agents.is_empty() {
            call.phase = Phase::Waiting {
                away: offer.connect == Connect::Dialplan,
            };
            self.state.index.touch(Subject::Call(id));
        }
        let queue = call.queue.clone();
        self.free_agent(agent, &queue, cause);
        let rang_ms = self.now.saturating_sub(since);
        self.emit(Event::OfferFailed {
            call: id,
            attempt,
            agent: agent.clone(),
            cause,
            rang_ms,
        });
    }

    pub(super) fn free_agent(
        &mut self,
        id: &AgentId,
        queue: &crate::id::QueueName,
        cause: FailCause,
    ) {
        let queue = self.state.queues.get_mut(queue);
        let delay_ms = queue.map_or(0, |queue| {
            queue.counters.offers_failed += u64::from(cause != FailCause::Cancelled);
            delay_ms(&queue.settings.retry, cause)
        });
        if let Some(agent) = self.state.agents.get_mut(id) {
            agent.hand = Hand::Free;
            if delay_ms > 0 {
                agent.retry_at = Some(self.now.saturating_add(delay_ms));
            }
        }
        self.touch_agent(id);
    }

    /// Notes the place of a caller whose Asterisk died. Callers without a telling number (withheld,
    /// `anonymous`) would take each other's places, so theirs are not kept.
    fn keep_place(&mut self, id: CallId) {
        let Some(call) = self.state.calls.get(&id) else {
            return;
        };
        let queue = self.state.queues.get(&call.queue);
        let window_ms = queue.map_or(0, |queue| queue.settings.resume_window_ms);
        let digits = call.number.chars().filter(char::is_ascii_digit).count();
        let key = ResumeKey {
            queue: call.queue.clone(),
            number: call.number.clone(),
        };
        let full = self.state.resumes.len() >= RESUMES_MAX;
        if window_ms == 0 || digits < 3 || full || self.state.resumes.contains_key(&key) {
            return;
        }
        let until = self.now.saturating_add(window_ms);
        let kept = Resume {
            order: call.order,
            joined_at: call.joined_at,
            until,
        };
        self.state.index.touch(Subject::Resume(key.clone()));
        self.state.resumes.insert(key, kept);
    }

    pub(super) fn forget_resume(&mut self, key: &ResumeKey) -> Option<Resume> {
        self.state.index.touch(Subject::Resume(key.clone()));
        self.state.resumes.remove(key)
    }
}

fn delay_ms(retry: &RetryDelays, cause: FailCause) -> u64 {
    match cause {
        FailCause::NoAnswer => retry.no_answer_ms,
        FailCause::Busy => retry.busy_ms,
        FailCause::Rejected => retry.rejected_ms,
        FailCause::Unreachable => retry.unreachable_ms,
        FailCause::Cancelled => 0,
    }
}
