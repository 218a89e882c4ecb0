//! No deadline fires early and none twice; late at most a little, or by the failover with a fault.
//!
//! Measured by the cluster clock, from what the events tell: ring time, the queue's timeout, wrap-up;
//! announcements in [`told`]. A caller whose Asterisk is out of sight can be told nothing, so
//! his deadlines wait for it. Queues by way of the dialplan have times of Asterisk's own.

#[cfg(test)]
#[path = "deadlines_sight_tests.rs"]
mod sight_tests;
#[path = "deadlines_told.rs"]
mod told;

use super::{Findings, Violation};
use crate::judge::history::Op;
use crate::judge::log::{Fold, LogEvent};
use crate::judge::story::{Story, When};
use crate::judge::verdict::Limits;
use holdfast_acd::Event;
use holdfast_acd::call::Outcome;
use holdfast_acd::command::FailCause;
use std::collections::{BTreeMap, BTreeSet};

pub fn check(story: &Story, limits: &Limits, found: &mut Findings) {
    let judge = Judge { story, limits };
    judge.inside(found);
    let mut fold = Fold::of(story);
    let mut timeouts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut rings: BTreeMap<u64, u64> = BTreeMap::new();
    let mut wrap_ups: BTreeMap<String, (u64, When)> = BTreeMap::new();
    let mut announced = told::Announced::default();
    for told in &story.log.events {
        let now = told.cluster_ms;
        announced.before(&judge, &fold, told, found);
        match &told.event {
            Event::CallJoined { call, queue, .. } => {
                let rules = story.rules(queue.as_str(), told.when.at_ms);
                let own = story.entered(told).and_then(|entered| entered.timeout_ms);
                if let Some(rules) = rules.filter(|rules| !rules.dialplan)
                    && let Some(ms) = own.or(rules.timeout_ms)
                {
                    timeouts.insert(call.0, now.saturating_add(ms));
                }
            }
            Event::CallLeft { call, outcome, .. } => {
                if let Some(due) = timeouts.remove(&call.0) {
                    if *outcome == Outcome::Timeout {
                        not_early("queue timeout", call, due, now, told.when, found);
                    }
                    // Late by how long he could be told of it: his Asterisk may have been out of sight.
                    judge.waited(&fold, call.0, due, told, found);
                }
            }
            Event::CallConnected { call, .. } => {
                // If the grant comes to nothing, the deadline goes on.
                if let Some(due) = timeouts.get(&call.0) {
                    judge.waited(&fold, call.0, *due, told, found);
                }
            }
            Event::OfferMade {
                call,
                queue,
                ring_until,
                ..
            } => {
                let rules = story.rules(queue.as_str(), told.when.at_ms);
                if rules.is_none_or(|rules| !rules.dialplan) {
                    rings.insert(call.0, *ring_until);
                }
            }
            Event::OfferFailed {
                call,
                attempt,
                agent,
                cause: FailCause::NoAnswer,
                ..
            } => {
                let early = rings.get(&call.0).filter(|until| now < **until);
                if let Some(until) = early
                    && judge.still_rang((call.0, attempt.0), agent.as_str(), told.when)
                {
                    let by_ms = until - now;
                    let subject = format!("call {call}");
                    let deadline = "ring time";
                    let violation = Violation::Early {
                        deadline,
                        subject,
                        by_ms,
                    };
                    found.broken(told.when, violation, &[agent]);
                }
            }
            Event::AgentWrapUp { agent, until } => {
                wrap_ups.insert(agent.to_string(), (*until, told.when));
            }
            Event::AgentReady { agent } => match wrap_ups.remove(agent.as_str()) {
                None => {
                    let subject = format!("agent {agent}");
                    let deadline = "wrap-up";
                    let violation = Violation::FiredTwice { deadline, subject };
                    found.broken(told.when, violation, &[agent]);
                }
                Some((until, since)) => {
                    if now >= until || !judge.asked_ready(agent.as_str(), since, told.when) {
                        judge.on_time("wrap-up", agent, until, now, told.when, found);
                    }
                }
            },
            Event::AgentLogout { agent } | Event::AgentDeleted { agent } => {
                wrap_ups.remove(agent.as_str());
            }
            _ => {}
        }
        fold.apply(told, story.priority(told));
        announced.after(&judge, &fold, told);
        if let Some(call) = told.event.call()
            && let Some(until) = rings.get(&call.0).copied()
            && fold.calls.get(&call.0).is_none_or(|it| it.offer.is_none())
        {
            rings.remove(&call.0);
            judge.not_late("ring time", &call, until, now, told.when, found);
        }
    }
    let Some(last) = story.log.events.last() else {
        return;
    };
    let (now, when) = (last.cluster_ms, last.when);
    for (call, until) in &rings {
        judge.not_late("ring time", call, *until, now, when, found);
    }
    for (agent, (until, _)) in &wrap_ups {
        judge.not_late("wrap-up", agent, *until, now, when, found);
    }
    for (call, due) in &timeouts {
        if fold.position(*call).is_some() {
            judge.waited(&fold, *call, *due, last, found);
        }
    }
    announced.end(&judge, &fold, last, found);
}

fn not_early(
    deadline: &'static str,
    subject: &dyn std::fmt::Display,
    due: u64,
    now: u64,
    when: When,
    found: &mut Findings,
) {
    if now < due {
        let violation = Violation::Early {
            deadline,
            subject: subject.to_string(),
            by_ms: due - now,
        };
        found.broken(when, violation, &[subject]);
    }
}

/// What is asked of every deadline.
struct Judge<'a> {
    story: &'a Story,
    limits: &'a Limits,
}

impl Judge<'_> {
    fn on_time(
        &self,
        deadline: &'static str,
        subject: &dyn std::fmt::Display,
        due: u64,
        now: u64,
        when: When,
        found: &mut Findings,
    ) {
        not_early(deadline, subject, due, now, when, found);
        self.not_late(deadline, subject, due, now, when, found);
    }

    fn not_late(
        &self,
        deadline: &'static str,
        subject: &dyn std::fmt::Display,
        due: u64,
        now: u64,
        when: When,
        found: &mut Findings,
    ) {
        found.judged(1);
        let by_ms = now.saturating_sub(due);
        let allowed_ms = self.allowed(by_ms, when);
        if by_ms > allowed_ms {
            let violation = Violation::Late {
                deadline,
                subject: subject.to_string(),
                by_ms,
                allowed_ms,
            };
            found.broken(when, violation, &[subject]);
        }
    }

    /// How late something may be that was observed at `when`, and was `by_ms` late then.
    fn allowed(&self, by_ms: u64, when: When) -> u64 {
        let (story, limits) = (self.story, self.limits);
        let quiet = limits.deadline_ms.saturating_add(2 * when.within_ms);
        let (due, now) = (when.early().saturating_sub(by_ms), when.late());
        // A failover that began just before the deadline is part of it.
        if !story.faulty(due.saturating_sub(limits.failover_ms), now) {
            return quiet;
        }
        let stopped = story.fault_ms(due, now, |fault| fault.no_quorum);
        quiet
            .saturating_add(limits.failover_ms)
            .saturating_add(stopped)
    }

    /// A caller's queue timeout must not have passed long ago while he could be told of it.
    fn waited(&self, fold: &Fold, call: u64, due: u64, told: &LogEvent, found: &mut Findings) {
        let Some(it) = fold.calls.get(&call) else {
            return;
        };
        if fold.position(call).is_some() && fold.in_sight(&it.pbx) {
            let due = due.max(it.in_sight_ms);
            let now = told.cluster_ms;
            self.not_late("queue timeout", &call, due, now, told.when, found);
        }
    }

    /// Whether a leg of the offer was seen that ended only after `when`: its phone did not say no.
    fn still_rang(&self, (call, attempt): (u64, u32), agent: &str, when: When) -> bool {
        let mut legs = self.story.legs.values().filter(|leg| {
            let of = leg
                .offer
                .is_some_and(|of| (of.call, of.attempt) == (call, attempt));
            of && leg.agent == agent
        });
        legs.any(|leg| leg.ended.is_none_or(|ended| when.surely_before(ended)))
    }

    fn asked_ready(&self, agent: &str, since: When, now: When) -> bool {
        self.story.ops.values().any(|operation| {
            let ready = matches!(&operation.op, Op::Ready { agent: it } if it == agent);
            let done = operation
                .done
                .as_ref()
                .map_or(u64::MAX, |(when, _)| when.late());
            ready && operation.invoked.early() <= now.late() && done >= since.early()
        })
    }

    /// Deadlines that a source saw fire. Those that wait for an Asterisk to be in sight are judged
    /// by the events alone as to being late.
    fn inside(&self, found: &mut Findings) {
        let mut fired = BTreeSet::new();
        for (when, it) in &self.story.deadlines {
            let deadline = "a deadline seen inside";
            let subject = format!("{} {}", it.kind, it.subject);
            if !fired.insert((&it.kind, &it.subject, it.due_ms)) {
                let violation = Violation::FiredTwice { deadline, subject };
                found.broken(*when, violation, &[&it.subject]);
            } else if matches!(it.kind.as_str(), "timeout" | "announce" | "leaving") {
                let fired = it.fired_ms.min(it.due_ms);
                self.on_time(deadline, &subject, it.due_ms, fired, *when, found);
            } else {
                self.on_time(deadline, &subject, it.due_ms, it.fired_ms, *when, found);
            }
        }
    }
}
