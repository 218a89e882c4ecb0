//! Within a queue and priority callers are offered in the order of the line; who is passed over has a
//! named reason: being offered himself, his owner out of sight, in the dialplan, his step not reached.
//! And callers of one Asterisk who came well apart join in the order in which they came.

use super::{Findings, Violation};
use crate::judge::history::Channel;
use crate::judge::log::{Fold, LogEvent};
use crate::judge::story::{Entered, Story};
use crate::judge::verdict::Limits;
use holdfast_acd::Event;
use holdfast_acd::event::PassOver;
use holdfast_acd::limits::PASSED_OVER_MAX;
use std::collections::BTreeMap;

/// A caller, how he entered, and his call in the log.
type Joined<'a> = (&'a Channel, &'a Entered, u64);

pub fn check(story: &Story, limits: &Limits, found: &mut Findings) {
    let mut fold = Fold::of(story);
    for told in &story.log.events {
        if let Event::OfferMade { call, .. } = &told.event {
            found.judged(1);
            offered(story, &fold, told, call.0, found);
        }
        fold.apply(told, story.priority(told));
    }
    joined(story, limits, found);
}

fn offered(story: &Story, fold: &Fold, told: &LogEvent, by: u64, found: &mut Findings) {
    let Some(call) = fold.calls.get(&by) else {
        return;
    };
    let line = fold.lines.get(&call.queue).map_or(&[][..], Vec::as_slice);
    let place = line.iter().position(|it| *it == by).unwrap_or(0);
    let rules = story.rules(&call.queue, told.when.at_ms);
    let one_step = rules.is_some_and(|rules| rules.one_step);
    // The core names reasons for the nearest alone.
    for id in line[..place].iter().rev().take(PASSED_OVER_MAX) {
        let Some(earlier) = fold.calls.get(id) else {
            continue;
        };
        let named = match earlier.passed {
            Some(PassOver::StepNotReached) => !one_step,
            Some(PassOver::InDialplan) => rules.is_none_or(|rules| rules.dialplan),
            _ => false,
        };
        if earlier.offer.is_none() && fold.in_sight(&earlier.pbx) && !named {
            let violation = Violation::Overtaken {
                queue: call.queue.clone(),
                call: *id,
                by,
            };
            let about: [&dyn std::fmt::Display; 2] = [&earlier.id.channel, &call.id.channel];
            found.broken(told.when, violation, &about);
        }
    }
}

fn joined(story: &Story, limits: &Limits, found: &mut Findings) {
    let mut doors: BTreeMap<(&str, &str), Vec<Joined>> = BTreeMap::new();
    for (id, caller) in &story.callers {
        if let (Some(entered), Some(call)) = (&caller.entered, story.log.calls_of(id).first()) {
            let door = doors.entry((&entered.queue, &id.pbx)).or_default();
            door.push((id, entered, *call));
        }
    }
    for ((queue, _), mut callers) in doors {
        callers.sort_by_key(|(_, entered, _)| entered.when.at_ms);
        let (mut behind, mut latest) = (0, None::<usize>);
        for (id, entered, call) in &callers {
            let came = |at: usize| callers[at].1.when.late().saturating_add(limits.join_ms);
            while behind < callers.len() && came(behind) < entered.when.early() {
                latest = latest
                    .filter(|last| callers[*last].2 > callers[behind].2)
                    .or(Some(behind));
                behind += 1;
            }
            let Some((first, came, joined)) = latest.map(|last| &callers[last]) else {
                continue;
            };
            let settled = entered.when.late().saturating_add(limits.join_ms);
            if joined > call && !story.faulty(came.when.early(), settled) {
                let violation = Violation::JoinedOutOfOrder {
                    queue: queue.to_owned(),
                    first: (*first).clone(),
                    second: (*id).clone(),
                };
                let about: [&dyn std::fmt::Display; 2] = [&first.channel, &id.channel];
                found.broken(entered.when, violation, &about);
            }
        }
    }
}
