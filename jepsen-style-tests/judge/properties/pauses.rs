//! A pause, once acknowledged, holds on every node: no phone of that agent begins to ring for us
//! before somebody asks to end the pause.
//!
//! A leg that was on its way at that moment may still come. An Asterisk that was stopped or cut off
//! may carry out an old order late; such a leg must be hung up on sight. In the log nothing is on its
//! way: there no offer names an agent who is paused.

use super::{Findings, Violation};
use crate::judge::history::Op;
use crate::judge::log::Fold;
use crate::judge::story::{Done, Operation, Story};
use crate::judge::verdict::Limits;
use holdfast_acd::Event;
use std::collections::BTreeMap;

pub fn check(story: &Story, limits: &Limits, found: &mut Findings) {
    let mut agents: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in story.ops.values() {
        if let Some(agent) = agent(&operation.op) {
            agents.entry(agent).or_default().push(operation);
        }
    }
    for (agent, ops) in agents {
        for pause in &ops {
            let whole = matches!(&pause.op, Op::Pause { queue: None, .. });
            if let (true, Some((acked, Done::Ok(_)))) = (whole, &pause.done) {
                let over = over_ms(pause, &ops).min(unpaused_ms(story, agent, pause));
                found.judged(1);
                rung(story, limits, agent, (acked.late(), over), found);
            }
        }
    }
    logged(story, found);
}

fn agent(op: &Op) -> Option<&str> {
    match op {
        Op::Pause { agent, .. }
        | Op::Unpause { agent, .. }
        | Op::Login { agent }
        | Op::Logout { agent } => Some(agent),
        _ => None,
    }
}

/// The earliest time at which something that was asked may have ended this pause.
fn over_ms(pause: &Operation, ops: &[&Operation]) -> u64 {
    let ends = ops.iter().filter(|other| {
        let done = other.done.as_ref();
        let before = done.is_some_and(|(when, done)| {
            *done == Done::Fail || *done != Done::Unknown && when.surely_before(pause.invoked)
        });
        !matches!(other.op, Op::Pause { .. }) && !before
    });
    ends.map(|other| other.invoked.early())
        .min()
        .unwrap_or(u64::MAX)
}

/// When the log first says that the pause is over: a phone's feature code is no client's operation.
fn unpaused_ms(story: &Story, agent: &str, pause: &Operation) -> u64 {
    let over = |event: &Event| match event {
        Event::AgentUnpaused { agent: it, .. }
        | Event::AgentLogin { agent: it }
        | Event::AgentLogout { agent: it } => it.as_str() == agent,
        _ => false,
    };
    let mut events = story.log.events.iter();
    let first = events.find(|told| over(&told.event) && !told.when.surely_before(pause.invoked));
    first.map_or(u64::MAX, |told| told.when.early())
}

fn rung(story: &Story, limits: &Limits, agent: &str, (from, to): (u64, u64), found: &mut Findings) {
    for (id, leg) in story.legs.iter().filter(|(_, leg)| leg.agent == agent) {
        let called = leg.called;
        if called.early() <= from || called.late() >= to {
            continue;
        }
        let after_ms = called.early() - from;
        let faulty = story.faulty(from.saturating_sub(limits.failover_ms), called.late());
        let allowed_ms = if faulty {
            limits.pause_ms.max(limits.stale_leg_ms)
        } else {
            limits.pause_ms
        };
        let pbx = leg.offer.map(|_| id.pbx.as_str());
        let cut = story.cut_ms(pbx, from, called.late()) > 0;
        let soon_over = leg
            .ended
            .is_some_and(|ended| ended.early() <= called.late() + limits.stale_leg_ms);
        if after_ms > allowed_ms && !(cut && soon_over) {
            let violation = Violation::RungWhilePaused {
                agent: agent.to_owned(),
                leg: id.clone(),
                after_ms,
            };
            found.broken(called, violation, &[&agent]);
        }
    }
}

fn logged(story: &Story, found: &mut Findings) {
    let mut fold = Fold::of(story);
    for told in &story.log.events {
        match &told.event {
            Event::AgentPaused { .. } => found.judged(1),
            Event::OfferMade {
                call,
                queue,
                agents,
                ..
            } => {
                for agent in agents {
                    let paused = |queue| fold.pauses.contains(&(agent.to_string(), queue));
                    if paused(None) || paused(Some(queue.to_string())) {
                        let violation = Violation::OfferedWhilePaused {
                            agent: agent.to_string(),
                            call: call.0,
                        };
                        found.broken(told.when, violation, &[agent]);
                    }
                }
            }
            _ => {}
        }
        fold.apply(told, 0);
    }
}
