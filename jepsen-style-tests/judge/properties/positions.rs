//! A position that is told was right at some instant shortly before, and rises for nobody without a
//! reason: somebody was put into the line ahead of him, or he was moved himself.
//!
//! In the log an announcement is exact: what it tells is what the events before it add up to.

use super::{Findings, Violation};
use crate::judge::history::{Channel, Op};
use crate::judge::log::{Fold, LogEvent};
use crate::judge::story::{Caller, Entered, Story, When};
use crate::judge::verdict::Limits;
use holdfast_acd::Event;
use std::collections::BTreeMap;

/// Where a caller stood, from when on; `None`: in no line.
type Stands = BTreeMap<Channel, Vec<(When, Option<u32>)>>;

/// By queue: when somebody came into a line ahead of others.
type Inserts = BTreeMap<String, Vec<When>>;

pub fn check(story: &Story, limits: &Limits, found: &mut Findings) {
    let (stands, inserts) = follow(story, found);
    for (id, caller) in &story.callers {
        let Some(entered) = &caller.entered else {
            continue;
        };
        if !story.log.events.is_empty() {
            for (when, told) in &caller.heard {
                found.judged(1);
                right(story, limits, (id, entered), (*when, *told), &stands, found);
            }
        }
        rising(story, limits, (id, caller, entered), &inserts, found);
    }
}

fn follow(story: &Story, found: &mut Findings) -> (Stands, Inserts) {
    let mut fold = Fold::of(story);
    let mut stands = Stands::new();
    let mut inserts = Inserts::new();
    for told in &story.log.events {
        if let Event::AnnounceDue { call, position, .. } = &told.event
            && *position > 0
        {
            found.judged(1);
            let is = fold.position(call.0);
            if is != Some(*position) {
                let (call, told_position) = (call.0, *position);
                let violation = Violation::WrongInLog {
                    call,
                    told: told_position,
                    is,
                };
                found.broken(told.when, violation, &[&call]);
            }
        }
        let from = told.event.call().and_then(|call| fold.calls.get(&call.0));
        let from = from.map(|call| call.queue.clone());
        fold.apply(told, story.priority(told));
        let to = told.event.call().and_then(|call| fold.calls.get(&call.0));
        let to = to.map(|call| call.queue.clone());
        if let Some(queue) = to.as_ref().filter(|_| comes_ahead(&fold, told)) {
            inserts.entry(queue.clone()).or_default().push(told.when);
        }
        if moves(&told.event) {
            let queues = [from.filter(|from| to.as_ref() != Some(from)), to];
            for queue in queues.into_iter().flatten() {
                note(story, &fold, &queue, told, &mut stands);
            }
        }
    }
    (stands, inserts)
}

/// Whether an event changes a line.
fn moves(event: &Event) -> bool {
    matches!(
        event,
        Event::CallJoined { .. }
            | Event::CallConnected { .. }
            | Event::CallReturned { .. }
            | Event::CallLeft { .. }
            | Event::CallMoved { .. }
            | Event::CallPriority { .. }
    )
}

fn comes_ahead(fold: &Fold, told: &LogEvent) -> bool {
    let Some(call) = told.event.call().filter(|_| moves(&told.event)) else {
        return false;
    };
    let moved = matches!(
        told.event,
        Event::CallMoved { .. } | Event::CallPriority { .. }
    );
    let len = fold
        .calls
        .get(&call.0)
        .and_then(|it| fold.lines.get(&it.queue));
    let len = len.map_or(0, Vec::len) as u32;
    moved || fold.position(call.0).is_some_and(|position| position < len)
}

/// Writes down where those stand who were told a position at any time.
fn note(story: &Story, fold: &Fold, queue: &str, told: &LogEvent, stands: &mut Stands) {
    let line = fold.lines.get(queue).map_or(&[][..], Vec::as_slice);
    let places = line
        .iter()
        .zip(1..)
        .map(|(call, place)| (*call, Some(place)));
    let left = told
        .event
        .call()
        .map(|call| (call.0, fold.position(call.0)));
    for (call, place) in places.chain(left) {
        let Some(it) = fold.calls.get(&call) else {
            continue;
        };
        let hears = story.callers.get(&it.id);
        if hears.is_none_or(|caller| caller.heard.is_empty()) {
            continue;
        }
        let known = stands.entry(it.id.clone()).or_default();
        if known.last().is_none_or(|(_, last)| *last != place) {
            known.push((told.when, place));
        }
    }
}

fn right(
    story: &Story,
    limits: &Limits,
    (id, entered): (&Channel, &Entered),
    (when, told): (When, u32),
    stands: &Stands,
    found: &mut Findings,
) {
    let (mut from, to) = (when.early().saturating_sub(limits.position_ms), when.late());
    let before = from.saturating_sub(limits.failover_ms);
    if story.faulty(before, to) {
        from = before;
    }
    // What it was asked to play when it stopped it plays when it goes on.
    if let Some(since) = story.stood_since(&id.pbx, from, to) {
        from = from.min(since.saturating_sub(limits.position_ms));
    }
    let known = stands.get(id).map_or(&[][..], Vec::as_slice);
    let mut were = Vec::new();
    for (place, (since, position)) in known.iter().enumerate() {
        let until = known
            .get(place + 1)
            .map_or(u64::MAX, |(when, _)| when.late());
        if since.early() <= to && until >= from {
            were.extend(*position);
        }
    }
    let rules = story.rules(&entered.queue, when.at_ms);
    let limit = rules.map_or(0, |rules| rules.announce_limit);
    let fits = |position: &u32| *position == told || told == limit && *position > limit;
    if !were.iter().any(fits) {
        let caller = id.clone();
        let violation = Violation::WrongPosition { caller, told, were };
        found.broken(when, violation, &[&id.channel]);
    }
}

fn rising(
    story: &Story,
    limits: &Limits,
    (id, caller, entered): (&Channel, &Caller, &Entered),
    inserts: &Inserts,
    found: &mut Findings,
) {
    for pair in caller.heard.windows(2) {
        let [(before, from), (when, to)] = [pair[0], pair[1]];
        found.judged(1);
        if to <= from {
            continue;
        }
        let since = before.early().saturating_sub(limits.position_ms);
        let between = |when: &When| when.late() >= since && when.early() <= pair[1].0.late();
        let logged = inserts.values().flatten().any(between);
        let urgent = story
            .callers
            .values()
            .filter_map(|other| other.entered.as_ref());
        let mut urgent = urgent
            .filter(|other| other.queue == entered.queue && other.priority > entered.priority);
        let asked = story.ops.values().any(|operation| {
            let moves = matches!(operation.op, Op::Move { .. } | Op::Priority { .. });
            moves && between(&operation.invoked)
        });
        let died = story
            .died
            .values()
            .flatten()
            .any(|when| when.early() <= pair[1].0.late());
        // With the log only its own reasons count; without, whatever may have been one.
        let reason = if story.log.events.is_empty() {
            asked || died || urgent.any(|other| between(&other.when))
        } else {
            logged
        };
        if !reason {
            let violation = Violation::PositionRose {
                caller: id.clone(),
                from,
                to,
            };
            found.broken(when, violation, &[&id.channel]);
        }
    }
}
