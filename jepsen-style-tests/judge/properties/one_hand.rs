//! An agent is never in two offers or in two calls.
//!
//! In the log this holds to the letter. At the phones the hanging up of one leg may overlap with the
//! ringing of the next for a moment, longer for a leg of an epoch that is over; and nobody can hang
//! up the leg of an Asterisk that no node reaches, nor a phone that an Asterisk was ringing which died.
//! Two talks at once are allowed to an agent alone who was given up while he talked on.

use super::given_up::FreedInTalk;
use super::{Findings, Violation};
use crate::judge::history::Channel;
use crate::judge::log::Fold;
use crate::judge::story::{Leg, Story, Talk};
use crate::judge::verdict::Limits;
use holdfast_acd::Event;
use std::collections::BTreeMap;

pub fn check(story: &Story, limits: &Limits, found: &mut Findings) {
    let freed = FreedInTalk::of(story, limits);
    legs(story, limits, &freed, found);
    talks(story, &freed, found);
    hands(story, found);
}

/// By agent, and by whether it is the phone's own channel: one offer has one of either.
fn legs(story: &Story, limits: &Limits, freed: &FreedInTalk, found: &mut Findings) {
    let mut by_agent: BTreeMap<(&str, bool), Vec<(&Channel, &Leg)>> = BTreeMap::new();
    // One that calls a dead Asterisk through a trunk rings nobody.
    let ringing = |(_, leg): &(&Channel, &Leg)| leg.at_phone || leg.rang;
    for (id, leg) in story.legs.iter().filter(ringing) {
        let of = (leg.agent.as_str(), leg.at_phone);
        by_agent.entry(of).or_default().push((id, leg));
    }
    for ((agent, _), mut legs) in by_agent {
        found.judged(legs.len() as u64);
        legs.sort_by_key(|(_, leg)| leg.called.at_ms);
        for (place, (id, leg)) in legs.iter().enumerate() {
            let until = ends(story, freed, id, leg);
            let later = legs[place + 1..].iter();
            for (other_id, other) in later.take_while(|(_, other)| other.called.late() < until) {
                let from = other.called.late().max(leg.called.late());
                let to = until.min(ends(story, freed, other_id, other));
                let pbx = |id: &Channel, leg: &Leg| leg.offer.map(|_| id.pbx.clone());
                let cut = [pbx(id, leg), pbx(other_id, other)]
                    .iter()
                    .map(|pbx| story.cut_ms(pbx.as_deref(), from, to))
                    .max();
                let for_ms = to.saturating_sub(from).saturating_sub(cut.unwrap_or(0));
                let allowed_ms = allowed(story, limits, (id, leg), (other_id, other), (from, to));
                if for_ms > allowed_ms {
                    let violation = Violation::TwoLegs {
                        agent: agent.to_owned(),
                        legs: [(*id).clone(), (*other_id).clone()],
                        for_ms,
                        allowed_ms,
                    };
                    let about: [&dyn std::fmt::Display; 2] = [&id.channel, &other_id.channel];
                    found.broken(other.called, violation, &about);
                }
            }
        }
    }
}

/// Until when it is in anybody's hands.
fn ends(story: &Story, freed: &FreedInTalk, id: &Channel, leg: &Leg) -> u64 {
    let ended = story.until_ms(leg.ended);
    let ended = story.orphaned(id, leg).map_or(ended, |at| at.min(ended));
    freed.leg(leg, ended)
}

fn allowed(
    story: &Story,
    limits: &Limits,
    (id, leg): (&Channel, &Leg),
    (other_id, other): (&Channel, &Leg),
    (from, to): (u64, u64),
) -> u64 {
    let stale = match (leg.offer, other.offer) {
        (Some(one), Some(two)) => id.pbx == other_id.pbx && one.epoch != two.epoch,
        _ => false,
    };
    if stale || story.faulty(from.saturating_sub(limits.failover_ms), to) {
        limits.stale_leg_ms.max(limits.leg_overlap_ms)
    } else {
        limits.leg_overlap_ms
    }
}

fn talks(story: &Story, freed: &FreedInTalk, found: &mut Findings) {
    let mut by_agent: BTreeMap<&str, Vec<(&Channel, &Talk)>> = BTreeMap::new();
    for (id, caller) in &story.callers {
        for talk in &caller.talks {
            by_agent.entry(&talk.agent).or_default().push((id, talk));
        }
    }
    for (agent, mut talks) in by_agent {
        found.judged(talks.len() as u64);
        talks.sort_by_key(|(_, talk)| talk.from.at_ms);
        for (place, (id, talk)) in talks.iter().enumerate() {
            let until = freed.talk(story, talk);
            for (other_id, other) in &talks[place + 1..] {
                if id != other_id && other.from.late() < until {
                    let violation = Violation::TwoTalks {
                        agent: agent.to_owned(),
                        callers: [(*id).clone(), (*other_id).clone()],
                    };
                    let about: [&dyn std::fmt::Display; 3] =
                        [&agent, &id.channel, &other_id.channel];
                    found.broken(other.from, violation, &about);
                }
            }
        }
    }
}

fn hands(story: &Story, found: &mut Findings) {
    let mut fold = Fold::of(story);
    for told in &story.log.events {
        if let Event::OfferMade {
            call,
            attempt,
            agents,
            ..
        } = &told.event
        {
            found.judged(agents.len() as u64);
            let new = (call.0, attempt.0);
            for agent in agents {
                let held = fold.hands.get(agent.as_str()).copied();
                if let Some(held) = held.filter(|held| *held != new) {
                    let agent = agent.to_string();
                    let about = agent.clone();
                    let violation = Violation::TwoOffers { agent, held, new };
                    found.broken(told.when, violation, &[&about]);
                }
            }
        }
        fold.apply(told, 0);
    }
}
