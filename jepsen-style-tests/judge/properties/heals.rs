//! After the faults distribution resumes within a bound, and nothing is left over at the end: nobody
//! reserved for a caller who has gone, no ghost in the line, no leg that rings for nobody.

use super::{Findings, Violation};
use crate::judge::history::{Channel, Op};
use crate::judge::log::{Fold, LogEvent};
use crate::judge::story::{Done, Leg, Story, When};
use crate::judge::verdict::Limits;
use holdfast_acd::command::DeviceState;
use std::collections::{BTreeMap, BTreeSet};

pub fn check(story: &Story, limits: &Limits, found: &mut Findings) {
    let (Some(quiet), Some(closed)) = (story.quiet, story.closed) else {
        return found
            .not_judged("the history does not say when the faults were over and it was closed");
    };
    found.judged(1);
    resumes(story, limits, quiet, closed, found);
    reserved(story, limits, closed, found);
    standing(story, limits, quiet, found);
    legs(story, limits, closed, found);
}

/// Somebody waited and somebody was free for all of the time: then a phone was called in it.
fn resumes(story: &Story, limits: &Limits, quiet: When, closed: When, found: &mut Findings) {
    let wrap_up = story
        .rules
        .values()
        .flatten()
        .map(|(_, rules)| rules.wrap_up_ms);
    let within_ms = limits.resume_ms.saturating_add(wrap_up.max().unwrap_or(0));
    let (from, to) = (quiet.late(), quiet.late().saturating_add(within_ms));
    if to > closed.early() {
        return;
    }
    let called = |leg: &Leg| leg.called.late() >= from && leg.called.early() <= to;
    if story.legs.values().any(called) {
        return;
    }
    let waits = story.callers.iter().find_map(|(id, caller)| {
        let entered = caller.entered.as_ref()?;
        let talked = caller.talks.first().map(|talk| talk.from.early());
        let ended = caller.ends.first().map(|(when, _)| when.early());
        let until = talked.into_iter().chain(ended).min().unwrap_or(u64::MAX);
        (entered.when.late() <= from && until > to).then_some((id, entered))
    });
    let Some((waiting, entered)) = waits else {
        return;
    };
    if let Some(free) = free(story, &entered.queue, from, to) {
        let violation = Violation::NotResumed {
            waiting: waiting.clone(),
            free: free.to_owned(),
            within_ms,
        };
        found.broken(quiet, violation, &[&waiting.channel, &free]);
    }
}

/// An agent of the queue who had no leg in all that time, nor any reason not to.
fn free<'a>(story: &'a Story, queue: &str, from: u64, to: u64) -> Option<&'a str> {
    let mut fold = Fold::of(story);
    let before = |told: &&LogEvent| told.when.at_ms <= to;
    let events = story.log.events.iter().filter(before);
    events.for_each(|told| fold.apply(told, 0));
    let mut busy: BTreeMap<&str, bool> = BTreeMap::new();
    for leg in story.legs.values() {
        let ended = leg.ended.map_or(u64::MAX, When::late);
        *busy.entry(&leg.agent).or_default() |= leg.called.early() <= to && ended >= from;
    }
    let gone =
        |state: &DeviceState| matches!(state, DeviceState::Unavailable | DeviceState::Invalid);
    let can = |agent: &&str| {
        let paused = fold.pauses.iter().any(|(of, _)| of == agent);
        let said = fold.devices.get(*agent);
        let reachable = said.is_none_or(|said| said.is_empty() || !said.values().all(gone));
        let member = (queue.to_owned(), (*agent).to_owned());
        let known = story.log.events.is_empty() || fold.members.contains(&member);
        known && reachable && !paused && !fold.out.contains(*agent) && here(story, agent, to)
    };
    let free = busy.into_iter().filter(|(_, busy)| !busy);
    free.map(|(agent, _)| agent).find(can)
}

/// Whether no client may have paused the agent or logged him out without taking it back.
fn here(story: &Story, agent: &str, to: u64) -> bool {
    let mut ops: Vec<_> = story.ops.values().collect();
    ops.sort_by_key(|operation| operation.invoked.at_ms);
    let mut here = true;
    for operation in ops.iter().filter(|it| it.invoked.early() <= to) {
        let done = operation.done.as_ref().map(|(_, done)| done);
        match &operation.op {
            Op::Pause { agent: it, .. } | Op::Logout { agent: it } if it == agent => here = false,
            Op::Unpause {
                agent: it,
                queue: None,
            }
            | Op::Login { agent: it }
                if it == agent =>
            {
                here |= matches!(done, Some(Done::Ok(_)));
            }
            _ => {}
        }
    }
    here
}

/// By the log's end nobody has a caller in hand who went long ago.
fn reserved(story: &Story, limits: &Limits, closed: When, found: &mut Findings) {
    let mut fold = Fold::of(story);
    for told in &story.log.events {
        fold.apply(told, 0);
    }
    for (agent, (call, attempt)) in &fold.hands {
        found.judged(1);
        let id = fold.calls.get(call).map(|call| &call.id);
        let ended = id
            .and_then(|id| story.callers.get(id))
            .and_then(|caller| caller.ends.first())
            .map(|(when, _)| when.late());
        if ended.is_some_and(|ended| ended.saturating_add(limits.clean_ms) < closed.early()) {
            let why = format!("in hand of call {call} attempt {attempt}, whose caller has gone");
            let agent = agent.clone();
            let about = agent.clone();
            let violation = Violation::ReservedForNothing { agent, why };
            found.broken(closed, violation, &[&about]);
        }
    }
}

/// The last look at the state fits what is seen of callers and phones.
fn standing(story: &Story, limits: &Limits, quiet: When, found: &mut Findings) {
    let Some((when, standing)) = story.standing.as_ref() else {
        return;
    };
    if when.early() < quiet.late().saturating_add(limits.clean_ms) {
        return;
    }
    for id in &standing.waiting {
        found.judged(1);
        let ended = story.callers.get(id).and_then(|caller| caller.ends.first());
        let long_ago =
            ended.is_some_and(|(ended, _)| ended.late() + limits.clean_ms < when.early());
        if long_ago {
            let caller = id.clone();
            found.broken(*when, Violation::GhostInLine { caller }, &[&id.channel]);
        }
    }
    let from = when.early().saturating_sub(limits.clean_ms);
    let to = when.late().saturating_add(limits.clean_ms);
    let has_leg = |agent: &str| {
        story.legs.values().any(|leg| {
            let ended = leg.ended.map_or(u64::MAX, When::late);
            leg.agent == agent && leg.called.early() <= to && ended >= from
        })
    };
    for agent in standing.offered.union(&standing.in_call) {
        found.judged(1);
        if !has_leg(agent) {
            let why = "no leg of his lives at the last look".to_owned();
            let violation = Violation::ReservedForNothing {
                agent: agent.clone(),
                why,
            };
            found.broken(*when, violation, &[agent]);
        }
    }
}

/// A leg that lives at the end is in a talk, or rings for somebody who waits.
fn legs(story: &Story, limits: &Limits, closed: When, found: &mut Findings) {
    let callers = story.callers.values();
    let waits = callers
        .clone()
        .any(|caller| caller.ends.is_empty() && caller.talks.is_empty());
    let talks: BTreeSet<&Channel> = callers
        .flat_map(|caller| &caller.talks)
        .filter(|talk| talk.to.is_none())
        .map(|talk| &talk.leg)
        .collect();
    let agents: BTreeSet<&str> = talks
        .iter()
        .filter_map(|leg| Some(story.legs.get(*leg)?.agent.as_str()))
        .collect();
    for (id, leg) in story.legs.iter().filter(|(_, leg)| leg.ended.is_none()) {
        let old = leg.called.late().saturating_add(limits.clean_ms) < closed.early();
        // The phone's own channel behind a trunk is in no bridge with the caller.
        let talks = talks.contains(id) || leg.offer.is_none() && agents.contains(&*leg.agent);
        let rings = leg.answered.is_none() && waits;
        if old && !talks && !rings && story.orphaned(id, leg).is_none() {
            let violation = Violation::LegLeft {
                agent: leg.agent.clone(),
                leg: id.clone(),
            };
            found.broken(closed, violation, &[&leg.agent]);
        }
    }
}
