//! Whom the cluster may give up though he lives, and what follows for his talk: the log frees the
//! agent, who talks on until one of the two hangs up. It judges nothing itself.

use crate::judge::story::{Fault, Leg, Story, Talk};
use crate::judge::verdict::Limits;
use holdfast_acd::Event;
use std::collections::BTreeMap;

/// Whether the calls of this Asterisk may have been given up between these moments: it died, or no
/// node reached it, or the others did not hear of its node for long enough.
pub fn may_be(story: &Story, limits: &Limits, pbx: &str, from_ms: u64, to_ms: u64) -> bool {
    let of = |pbxes: &[String]| pbxes.iter().any(|it| it == pbx);
    let mut faults = story.faults.iter();
    let cut = faults.any(|fault| of(&fault.cut) && fault.meets(from_ms, to_ms));
    let apart = |fault: &Fault| fault.no_quorum && of(&fault.targets);
    let since = from_ms.saturating_sub(limits.node_lost_ms);
    let apart = story.fault_ms(since, to_ms, apart) >= limits.node_lost_ms;
    let died_by = to_ms.saturating_add(limits.clean_ms);
    cut || apart || story.died(pbx, from_ms, died_by)
}

/// Since when the agents of such talks are free by the log, while they may talk on.
pub struct FreedInTalk<'a> {
    /// By the agent: since when he talks, and since when he is free.
    by_agent: BTreeMap<&'a str, Vec<(u64, u64)>>,
}

impl<'a> FreedInTalk<'a> {
    pub fn of(story: &'a Story, limits: &Limits) -> FreedInTalk<'a> {
        let left = story
            .log
            .events
            .iter()
            .filter_map(|told| match &told.event {
                Event::CallLeft { call, .. } => Some((call.0, told.when.early())),
                _ => None,
            });
        let left: BTreeMap<u64, u64> = left.collect();
        let mut by_agent: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (id, caller) in &story.callers {
            for talk in &caller.talks {
                let freed = talk.offer.and_then(|offer| left.get(&offer.call).copied());
                let from = talk.from.early();
                let until = story.until_ms(talk.to);
                if let Some(freed) = freed.filter(|freed| *freed < until)
                    && may_be(story, limits, &id.pbx, from, freed)
                {
                    let of: &mut Vec<_> = by_agent.entry(talk.agent.as_str()).or_default();
                    of.push((from, freed));
                }
            }
        }
        FreedInTalk { by_agent }
    }

    /// Until when this talk is in the agent's hands, as far as the log knows.
    pub fn talk(&self, story: &Story, talk: &Talk) -> u64 {
        let until = story.until_ms(talk.to);
        self.since(&talk.agent, talk.from.early(), until)
    }

    /// The same of a leg: the one that is bridged, or the phone's own channel behind a trunk.
    pub fn leg(&self, leg: &Leg, until: u64) -> u64 {
        match leg.answered {
            Some(_) => self.since(&leg.agent, leg.called.early(), until),
            None => until,
        }
    }

    fn since(&self, agent: &str, from: u64, until: u64) -> u64 {
        let freed = self.by_agent.get(agent).into_iter().flatten();
        let within = freed.filter(|(began, freed)| *began >= from && *freed < until);
        within.map(|(_, freed)| *freed).min().unwrap_or(until)
    }
}
