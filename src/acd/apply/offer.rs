//! Offers: made by the leader, rung, granted or failed; and the end of a connected call.
//!
//! A decision was made on an older state than the one it meets here, so everything is judged again:
//! agents who are not free any more are dropped, and a decision that would overtake a caller whom the
//! same agents could serve is refused. That makes the order of the line a property of the log.

use super::Apply;
use crate::agent::Hand;
use crate::announce;
use crate::call::{Offer, OfferedAgent, Outcome, Phase};
use crate::command::{EndedBy, FailCause};
use crate::event::{Event, PassOver};
use crate::id::{AgentId, Attempt, CallId, QueueName};
use crate::limits::{OFFER_AGENTS_MAX, PASSED_OVER_MAX};
use crate::queue::{Place, average};
use crate::reply::{Done, Reject, Reply};
use crate::settings::Connect;

impl Apply<'_> {
    pub(super) fn offer_make(&mut self, id: CallId, attempt: Attempt, agents: &[AgentId]) -> Reply {
        let call = self.state.calls.get(&id).ok_or(Reject::UnknownCall(id))?;
        if call.offer().is_some_and(|offer| offer.attempt == attempt) {
            return Ok(Done::Offered { attempt });
        }
        if call.attempts.0.checked_add(1) != Some(attempt.0) {
            return Err(Reject::StaleAttempt { call: id, attempt });
        }
        let queue = call.queue.clone();
        let (step, place) = self
            .state
            .index
            .offerable(id)
            .ok_or(Reject::NotOfferable(id))?;
        let agents = self.still_free(&queue, step, agents);
        if agents.is_empty() || self.overtakes(&queue, place, &agents) {
            return Err(Reject::NotOfferable(id));
        }
        self.report_passed_over(&queue, place);
        self.reserve(id, attempt, &queue, step, agents)
    }

    /// Those of the decision who can still be rung for a caller at this step, each once.
    fn still_free(&self, queue: &QueueName, step: usize, agents: &[AgentId]) -> Vec<AgentId> {
        let Some(index) = self.state.index.queues.get(queue) else {
            return Vec::new();
        };
        let mut free: Vec<AgentId> = Vec::new();
        for agent in agents.iter().take(OFFER_AGENTS_MAX) {
            let rank = index
                .members
                .get(agent)
                .and_then(|member| member.ranks.get(step));
            if rank.is_some_and(Option::is_some) && !free.contains(agent) {
                free.push(agent.clone());
            }
        }
        free
    }

    /// Whether somebody earlier in the line can be offered to one of these agents as well.
    fn overtakes(&self, queue: &QueueName, place: Place, agents: &[AgentId]) -> bool {
        let Some(index) = self.state.index.queues.get(queue) else {
            return false;
        };
        index.steps.iter().enumerate().any(|(number, step)| {
            let earlier = step.offerable.first().is_some_and(|first| *first < place);
            earlier
                && agents.iter().any(|agent| {
                    let rank = index.members.get(agent).and_then(|it| it.ranks.get(number));
                    rank.is_some_and(Option::is_some)
                })
        })
    }

    /// Says of the nearest earlier callers why they were passed over, once for each reason and attempt.
    fn report_passed_over(&mut self, queue: &QueueName, place: Place) {
        let Some(queue) = self.state.queues.get(queue) else {
            return;
        };
        let earlier = queue.line.range(..place).rev().take(PASSED_OVER_MAX);
        for call in earlier.filter_map(|earlier| self.state.calls.get(&earlier.call)) {
            let reason = match call.phase {
                Phase::Offered(_) => PassOver::BeingOffered,
                Phase::Waiting { away: true } => PassOver::InDialplan,
                _ if !self.state.in_sight(&call.pbx) => PassOver::OwnerAway,
                _ => PassOver::StepNotReached,
            };
            let passed = Some((call.attempts, reason));
            if let Some(wait) = self.state.waits.get_mut(&call.id)
                && wait.passed != passed
            {
                wait.passed = passed;
                self.events.push(Event::CallPassedOver {
                    call: call.id,
                    by: place.call,
                    reason,
                });
            }
        }
    }

    fn reserve(
        &mut self,
        id: CallId,
        attempt: Attempt,
        name: &QueueName,
        step: usize,
        agents: Vec<AgentId>,
    ) -> Reply {
        let queue = self
            .state
            .queues
            .get_mut(name)
            .ok_or(Reject::NotOfferable(id))?;
        let call = self
            .state
            .calls
            .get_mut(&id)
            .ok_or(Reject::UnknownCall(id))?;
        let step = queue.settings.plan().get(step);
        let own = step.and_then(|step| step.ring_time_ms);
        let ring_time_ms = own.unwrap_or(queue.settings.ring_time_ms);
        let ring_until = self.now.saturating_add(ring_time_ms);
        let offered = |agent: &AgentId| OfferedAgent {
            agent: agent.clone(),
            ringing_since: None,
        };
        call.attempts = attempt;
        call.phase = Phase::Offered(Offer {
            attempt,
            connect: queue.settings.connect,
            made_at: self.now,
            ring_time_ms,
            ring_until,
            agents: agents.iter().map(offered).collect(),
        });
        queue.counters.offers += 1;
        if let [agent] = agents.as_slice() {
            queue.last_rung = Some(agent.clone());
        }
        for id_of_agent in &agents {
            if let Some(agent) = self.state.agents.get_mut(id_of_agent) {
                agent.hand = Hand::Offered { call: id, attempt };
            }
            self.touch_agent(id_of_agent);
        }
        self.touch_call(id);
        self.emit(Event::OfferMade {
            call: id,
            queue: name.clone(),
            attempt,
            agents,
            ring_until,
        });
        Ok(Done::Offered { attempt })
    }

    pub(super) fn offer_ringing(&mut self, id: CallId, attempt: Attempt, agent: &AgentId) -> Reply {
        self.check_offered(id, attempt, agent)?;
        let now = self.now;
        let call = self.state.calls.get_mut(&id);
        if let Some(Phase::Offered(offer)) = call.map(|call| &mut call.phase)
            && let Some(offered) = offer.agents.iter_mut().find(|it| it.agent == *agent)
            && offered.ringing_since.is_none()
        {
            offered.ringing_since = Some(now);
            self.emit(Event::OfferRinging {
                call: id,
                attempt,
                agent: agent.clone(),
            });
        }
        Ok(Done::Ok)
    }

    pub(super) fn offer_answer(&mut self, id: CallId, attempt: Attempt, agent: &AgentId) -> Reply {
        if self.is_granted(id, attempt, agent) {
            return Ok(Done::Granted);
        }
        self.check_offered(id, attempt, agent)?;
        self.release_losers(id, agent);
        self.grant(id, agent);
        Ok(Done::Granted)
    }

    fn is_granted(&self, id: CallId, attempt: Attempt, agent: &AgentId) -> bool {
        self.state
            .calls
            .get(&id)
            .is_some_and(|call| match &call.phase {
                Phase::Connected {
                    attempt: granted,
                    agent: winner,
                    ..
                } => *granted == attempt && winner == agent,
                _ => false,
            })
    }

    fn release_losers(&mut self, id: CallId, winner: &AgentId) {
        let offer = self.state.calls.get(&id).and_then(|call| call.offer());
        let offered = offer.map(|offer| offer.agents.clone()).unwrap_or_default();
        for loser in offered.iter().filter(|it| it.agent != *winner) {
            self.release_agent(id, &loser.agent, FailCause::Cancelled);
        }
    }

    fn grant(&mut self, id: CallId, winner: &AgentId) {
        let now = self.now;
        let Some(call) = self.state.calls.get_mut(&id) else {
            return;
        };
        let Phase::Offered(offer) = &call.phase else {
            return;
        };
        let (attempt, connect) = (offer.attempt, offer.connect);
        let since = offer
            .agents
            .iter()
            .find_map(|it| it.ringing_since)
            .unwrap_or(offer.made_at);
        let waited_ms = now.saturating_sub(call.joined_at);
        call.phase = Phase::Connected {
            attempt,
            agent: winner.clone(),
            connect,
            at: now,
        };
        let name = call.queue.clone();
        self.state.waits.remove(&id);
        if let Some(queue) = self.state.queues.get_mut(&name) {
            queue.line.remove(&Place::of(call));
            let in_time = waited_ms <= queue.settings.service_level_ms;
            let counters = &mut queue.counters;
            counters.answered += 1;
            counters.answered_in_service_level += u64::from(in_time);
            counters.hold_time_ms = average(counters.hold_time_ms, waited_ms);
        }
        if let Some(agent) = self.state.agents.get_mut(winner) {
            agent.hand = Hand::InCall {
                call: id,
                since: now,
            };
        }
        self.touch_agent(winner);
        self.touch_call(id);
        self.emit(Event::CallConnected {
            call: id,
            queue: name,
            attempt,
            agent: winner.clone(),
            waited_ms,
            rang_ms: now.saturating_sub(since),
        });
    }

    pub(super) fn offer_fail(
        &mut self,
        id: CallId,
        attempt: Attempt,
        agent: &AgentId,
        cause: FailCause,
    ) -> Reply {
        if self.is_granted(id, attempt, agent) {
            return self.grant_failed(id, attempt, agent, cause);
        }
        self.check_offered(id, attempt, agent)?;
        self.release_agent(id, agent, cause);
        Ok(Done::Ok)
    }

    /// The agent was gone before the bridge was made: what the grant did is undone, but for the
    /// moving average, which one answer more does not falsify.
    fn grant_failed(
        &mut self,
        id: CallId,
        attempt: Attempt,
        agent: &AgentId,
        cause: FailCause,
    ) -> Reply {
        let stale = Reject::StaleAttempt { call: id, attempt };
        let Some(call) = self.state.calls.get_mut(&id) else {
            return Err(stale);
        };
        let Phase::Connected {
            connect: Connect::Ari,
            at,
            ..
        } = call.phase
        else {
            return Err(stale);
        };
        let name = call.queue.clone();
        let Some(queue) = self.state.queues.get_mut(&name) else {
            return Err(stale);
        };
        call.phase = Phase::Waiting { away: false };
        let waited_ms = at.saturating_sub(call.joined_at);
        let in_time = waited_ms <= queue.settings.service_level_ms;
        let counters = &mut queue.counters;
        counters.answered = counters.answered.saturating_sub(1);
        counters.answered_in_service_level = counters
            .answered_in_service_level
            .saturating_sub(u64::from(in_time));
        queue.line.insert(Place::of(call));
        let wait = announce::begin(call, &queue.settings, self.now);
        self.state.waits.insert(id, wait);
        self.free_agent(agent, &name, cause);
        self.touch_call(id);
        self.emit(Event::OfferFailed {
            call: id,
            attempt,
            agent: agent.clone(),
            cause,
            rang_ms: 0,
        });
        self.emit(Event::CallReturned { call: id });
        Ok(Done::Ok)
    }

    /// Whether this agent is part of the call's current offer, and it is this one.
    fn check_offered(&self, id: CallId, attempt: Attempt, agent: &AgentId) -> Result<(), Reject> {
        let offer = self.state.calls.get(&id).and_then(|call| call.offer());
        let current = offer.is_some_and(|offer| {
            offer.attempt == attempt && offer.agents.iter().any(|it| it.agent == *agent)
        });
        if current {
            Ok(())
        } else {
            Err(Reject::StaleAttempt { call: id, attempt })
        }
    }

    pub(super) fn call_end(&mut self, id: CallId, attempt: Attempt, by: EndedBy) -> Reply {
        let call = self.state.calls.get(&id).ok_or(Reject::UnknownCall(id))?;
        match &call.phase {
            Phase::Connected {
                attempt: granted, ..
            } if *granted == attempt => {
                self.end_connected(id, by);
                if by == EndedBy::Caller {
                    self.remove_call(id);
                }
                Ok(Done::Ok)
            }
            Phase::Leaving {
                outcome: Outcome::Answered { .. },
                ..
            } if call.attempts == attempt => Ok(Done::Ok),
            _ => Err(Reject::StaleAttempt { call: id, attempt }),
        }
    }
}
