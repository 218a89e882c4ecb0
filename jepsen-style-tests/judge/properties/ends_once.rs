//! Every caller who entered ends exactly once, and as lost only if his own Asterisk died or was out
//! of reach of every node that could drive it.

use super::{Findings, Violation, given_up};
use crate::judge::history::{Channel, End};
use crate::judge::ledger::Fate;
use crate::judge::story::{Caller, Entered, Story, When};
use crate::judge::verdict::Limits;
use holdfast_acd::Event;
use holdfast_acd::call::Outcome;
use std::collections::BTreeMap;

pub fn check(story: &Story, limits: &Limits, found: &mut Findings) {
    let Some(closed) = story.closed else {
        return found.not_judged("the history was not closed, so an end may be missing from it");
    };
    let logged = logged(story, found);
    for (id, caller) in &story.callers {
        let Some(entered) = &caller.entered else {
            continue;
        };
        found.judged(1);
        if let [first, second, ..] = caller.ends.as_slice() {
            let ends = [first, second].map(|(_, end)| format!("{end:?}"));
            let violation = Violation::EndedTwice {
                caller: id.clone(),
                ends: ends.to_vec(),
            };
            found.broken(second.0, violation, &[&id.channel]);
        }
        if caller.ends.is_empty() && !goes_on(story, id, caller) {
            let caller = id.clone();
            found.broken(closed, Violation::NeverEnded { caller }, &[&id.channel]);
        }
        // Who was given up and lives joins anew: then more than one call is his.
        let calls = story.log.calls_of(id).iter();
        let left: Vec<_> = calls.map(|call| logged.get(call)).collect();
        for (when, how) in losses(story, limits, caller, &left) {
            lost(story, limits, (id, entered), (when, how), found);
        }
        let logged = left.last().copied().flatten();
        if let (Some((when, end)), Some((_, outcome))) = (caller.ends.first(), logged) {
            // By way of the dialplan an agent may answer whose offer was withdrawn meanwhile, or whom
            // no node saw: then the log knows of no talk.
            // Whoever was given up and lives asks to join anew, and may be refused: that is his end,
            // also if another was decided that his node did not hear of.
            let entered = entered.when.early();
            let anew = refused(story, id)
                && given_up::may_be(story, limits, &id.pbx, entered, when.late());
            if !anew && (caller.dialled.is_none() || **outcome != Outcome::Abandoned) {
                differ(id, caller, (*when, end), outcome, found);
            }
        }
    }
}

/// Whether the log says that this caller was not taken.
fn refused(story: &Story, id: &Channel) -> bool {
    story.log.events.iter().any(|told| match &told.event {
        Event::CallRefused { pbx, channel, .. } => {
            pbx.as_str() == id.pbx && channel.as_str() == id.channel
        }
        _ => false,
    })
}

/// How each call left in the log.
fn logged<'a>(story: &'a Story, found: &mut Findings) -> BTreeMap<u64, (When, &'a Outcome)> {
    let mut left = BTreeMap::new();
    for told in &story.log.events {
        if let Event::CallLeft { call, outcome, .. } = &told.event
            && left.insert(call.0, (told.when, outcome)).is_some()
        {
            found.broken(told.when, Violation::LeftTwiceInLog { call: call.0 }, &[]);
        }
    }
    left
}

/// A caller without an end is right where he talks, or is known to wait, at the last look.
fn goes_on(story: &Story, id: &Channel, caller: &Caller) -> bool {
    let talks = caller.talks.iter().any(|talk| talk.to.is_none());
    let standing = story.standing.as_ref();
    talks || standing.is_some_and(|(_, standing)| standing.waiting.contains(id))
}

/// When and how this caller was lost, by what was seen of him and by each of his calls in the log.
fn losses(
    story: &Story,
    limits: &Limits,
    caller: &Caller,
    left: &[Option<&(When, &Outcome)>],
) -> Vec<(When, String)> {
    let seen = caller.ends.first().and_then(|(when, _)| {
        let since = when.early().saturating_sub(limits.failover_ms);
        match Fate::of(caller) {
            Fate::Lost(how) => Some((*when, how)),
            Fate::NoNode if !story.faulty(since, when.late()) => {
                Some((*when, "no node listened".to_owned()))
            }
            _ => None,
        }
    });
    let logged = left.iter().flatten();
    let logged = logged.filter(|(_, outcome)| **outcome == Outcome::Lost);
    let logged = logged.map(|(when, _)| (*when, "lost in the log".to_owned()));
    seen.into_iter().chain(logged).collect()
}

/// Breaks the promise unless there was a cause.
fn lost(
    story: &Story,
    limits: &Limits,
    (id, entered): (&Channel, &Entered),
    (when, how): (When, String),
    found: &mut Findings,
) {
    let from = entered.when.early();
    if !given_up::may_be(story, limits, &id.pbx, from, when.late()) {
        let caller = id.clone();
        found.broken(
            when,
            Violation::LostWithoutCause { caller, how },
            &[&id.channel],
        );
    }
}

/// What the dialplan or the bridges saw must be what the log says. A caller who hung up may have
/// crossed any other end, and one sent away for want of a quorum any decision.
fn differ(
    id: &Channel,
    caller: &Caller,
    (when, end): (When, &End),
    outcome: &Outcome,
    found: &mut Findings,
) {
    let fits = match (Fate::of(caller), end) {
        (Fate::Answered, _) => matches!(outcome, Outcome::Answered { .. }),
        (Fate::NoQuorum | Fate::NoNode, _) => true,
        (_, End::Dialplan { status }) => {
            outcome.queue_status().is_some_and(|known| known == status)
        }
        _ => true,
    };
    if !fits {
        let violation = Violation::OutcomesDiffer {
            caller: id.clone(),
            seen: Fate::of(caller).word().to_owned(),
            logged: outcome.word().to_owned(),
        };
        found.broken(when, violation, &[&id.channel]);
    }
}
