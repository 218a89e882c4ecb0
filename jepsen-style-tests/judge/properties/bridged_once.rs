//! A caller is never bridged twice, nor with an agent whose offer was withdrawn, nor after his end.
//!
//! With the log: a bridge needs the grant of exactly that call, attempt and agent, and no withdrawal
//! after it. Without: no leg of an earlier attempt is bridged once a later one rings.

use super::{Findings, Violation};
use crate::judge::history::Channel;
use crate::judge::story::{Story, Talk, When};
use crate::judge::verdict::Limits;
use holdfast_acd::Event;
use std::collections::BTreeMap;

/// When an agent was granted a call's attempt, and when that was undone.
#[derive(Default)]
struct Grant {
    granted: Option<When>,
    undone: Option<When>,
}

type Grants = BTreeMap<(u64, u32, String), Grant>;

pub fn check(story: &Story, _limits: &Limits, found: &mut Findings) {
    let grants = grants(story);
    for (id, caller) in &story.callers {
        for (place, talk) in caller.talks.iter().enumerate() {
            found.judged(1);
            if place > 0 {
                let agents = [caller.talks[0].agent.clone(), talk.agent.clone()];
                let caller = id.clone();
                let violation = Violation::BridgedTwice { caller, agents };
                found.broken(talk.from, violation, &[&id.channel]);
            }
            let ended = caller.ends.first().map(|(when, _)| *when);
            if ended.is_some_and(|ended| ended.surely_before(talk.from)) {
                let violation = Violation::BridgedAfterEnd {
                    caller: id.clone(),
                    agent: talk.agent.clone(),
                };
                found.broken(talk.from, violation, &[&id.channel]);
            }
            offer(story, &grants, id, talk, found);
        }
    }
}

fn grants(story: &Story) -> Grants {
    let mut grants = Grants::new();
    for told in &story.log.events {
        match &told.event {
            Event::CallConnected {
                call,
                attempt,
                agent,
                ..
            } => {
                let grant = grants.entry((call.0, attempt.0, agent.to_string()));
                grant.or_default().granted = Some(told.when);
            }
            Event::OfferFailed {
                call,
                attempt,
                agent,
                ..
            } => {
                let grant = grants.entry((call.0, attempt.0, agent.to_string()));
                grant.or_default().undone = Some(told.when);
            }
            _ => {}
        }
    }
    grants
}

fn offer(story: &Story, grants: &Grants, id: &Channel, talk: &Talk, found: &mut Findings) {
    let Some(offer) = talk.offer else { return };
    let named = (offer.call, offer.attempt);
    let withdrawn = if story.log.events.is_empty() {
        let later = story.legs.values().filter(|leg| {
            let of = leg.offer;
            of.is_some_and(|of| of.call == offer.call && of.attempt > offer.attempt)
        });
        later
            .map(|leg| leg.called)
            .any(|called| called.surely_before(talk.from))
    } else {
        let grant = grants.get(&(offer.call, offer.attempt, talk.agent.clone()));
        let granted = grant.and_then(|grant| grant.granted);
        if granted.is_none_or(|granted| talk.from.surely_before(granted)) {
            let violation = match grant.and_then(|grant| grant.undone) {
                Some(_) => Violation::BridgedToWithdrawn {
                    caller: id.clone(),
                    agent: talk.agent.clone(),
                    offer: named,
                },
                None => Violation::BridgedUngranted {
                    caller: id.clone(),
                    agent: talk.agent.clone(),
                    offer: named,
                },
            };
            return found.broken(talk.from, violation, &[&id.channel]);
        }
        let undone = grant.and_then(|grant| grant.undone);
        undone.is_some_and(|undone| undone.surely_before(talk.from))
    };
    if withdrawn {
        let violation = Violation::BridgedToWithdrawn {
            caller: id.clone(),
            agent: talk.agent.clone(),
            offer: named,
        };
        found.broken(talk.from, violation, &[&id.channel]);
    }
}
