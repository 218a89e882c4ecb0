//! Figures of one turn, from what the Asterisk's events told: pure, no clock, nothing asked.
//!
//! Times are milliseconds since the Unix epoch by the Asterisk's own stamps.

use std::collections::BTreeMap;

use holdfast_drills::lab::moments::{self, Leg, Moment, What};
use holdfast_drills::lab::oracle::Talk;

/// What came of one turn, or of all turns of a system in a case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    pub callers: usize,
    /// Who talked to an agent.
    pub served: usize,
    /// Who did not, because the agent who had answered hung up before the two were connected.
    pub cut_short: usize,
    /// Agent's leg destroyed, more callers in line than other agents free, to his next leg created.
    pub free_to_leg: Vec<i64>,
    /// The same where no leg had come when the turn was ended: so long at least.
    pub still_free: Vec<i64>,
    /// Caller reached the queue, an agent was free and nobody before him, to the agent's leg created.
    pub arrival_to_leg: Vec<i64>,
    /// Callers for whom a later one's agent was called sooner, and the most who did so to one caller.
    pub overtaken_by_offer: usize,
    pub worst_by_offer: usize,
    /// For each of these callers, how much sooner the first of those was called: a few milliseconds
    /// are two agents called at once.
    pub lead: Vec<i64>,
    /// Each of these callers, and who passed him.
    pub passed: Vec<Passed>,
    /// The same by who talked first, which the phones have a part in.
    pub overtaken_by_answer: usize,
    pub worst_by_answer: usize,
}

/// A caller, and all for whom an agent was called sooner although they came later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    pub caller: Person,
    pub by: Vec<Person>,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub joined: i64,
    pub offered: i64,
    /// The channel of that leg.
    pub leg: Option<String>,
}

/// One caller.
#[derive(Debug, Clone)]
struct Call {
    joined: i64,
    /// When the leg was created that he talked to, or was to; `i64::MAX` for none.
    offered: i64,
    answered: i64,
    leg: Option<String>,
}

impl Call {
    fn person(&self) -> Person {
        let (joined, offered, leg) = (self.joined, self.offered, self.leg.clone());
        Person {
            joined,
            offered,
            leg,
        }
    }
}

impl Figures {
    /// From the moments and talks of one turn that ended at `end` with `callers` placed, for agents
    /// at these phones. An agent whose phone has not been called yet is free.
    pub fn of(
        moments: &[Moment],
        talks: &[Talk],
        phones: &[&str],
        callers: usize,
        end: i64,
    ) -> Figures {
        let legs = legs(moments, phones);
        let calls = calls(moments, talks, &legs);
        let (overtaken_by_offer, worst_by_offer) = overtaken(&calls, |call| call.offered);
        let (overtaken_by_answer, worst_by_answer) = overtaken(&calls, |call| call.answered);
        let passed = calls.iter().map(|call| {
            let by = calls.iter().filter(|other| other.joined > call.joined);
            let by = by.filter(|other| other.offered < call.offered);
            let (caller, by) = (call.person(), by.map(Call::person).collect());
            Passed { caller, by }
        });
        let passed: Vec<Passed> = passed.filter(|one| !one.by.is_empty()).collect();
        let lead = passed.iter().map(|one| {
            let first = one.by.iter().map(|other| other.offered).min();
            // Who was not called at all waited until the end.
            one.caller.offered.min(end) - first.unwrap_or(end)
        });
        let lead: Vec<i64> = lead.collect();
        let mut figures = Figures {
            callers,
            served: calls.iter().filter(|call| call.answered < i64::MAX).count(),
            cut_short: calls
                .iter()
                .filter(|call| call.answered == i64::MAX && call.leg.is_some())
                .count(),
            overtaken_by_offer,
            worst_by_offer,
            lead,
            passed,
            overtaken_by_answer,
            worst_by_answer,
            ..Figures::default()
        };
        let free_at = |legs: &Vec<Leg>, at: i64| {
            !legs.iter().any(|leg| {
                leg.created <= at && leg.destroyed.is_none_or(|destroyed| destroyed > at)
            })
        };
        let waiting = |at: i64| {
            let there = calls.iter().filter(|call| call.joined <= at);
            there.filter(|call| call.offered > at).count()
        };
        for (phone, own) in &legs {
            let others = |at| {
                let others = legs.iter().filter(|(other, _)| other != &phone);
                others.filter(|(_, legs)| free_at(legs, at)).count()
            };
            for (index, leg) in own.iter().enumerate() {
                let Some(free) = leg.destroyed.filter(|free| waiting(*free) > others(*free)) else {
                    continue;
                };
                match own.get(index + 1) {
                    Some(next) => figures.free_to_leg.push(next.created - free),
                    None => figures.still_free.push(end - free),
                }
            }
        }
        for call in calls.iter().filter(|call| call.offered < i64::MAX) {
            let before = calls.iter().filter(|other| other.joined < call.joined);
            let nobody = before.clone().all(|other| other.offered < call.joined);
            if nobody && legs.values().any(|legs| free_at(legs, call.joined)) {
                figures.arrival_to_leg.push(call.offered - call.joined);
            }
        }
        figures
    }

    /// Adds another turn of the same.
    pub fn add(&mut self, other: &Figures) {
        self.callers += other.callers;
        self.served += other.served;
        self.cut_short += other.cut_short;
        self.free_to_leg.extend(&other.free_to_leg);
        self.still_free.extend(&other.still_free);
        self.arrival_to_leg.extend(&other.arrival_to_leg);
        self.overtaken_by_offer += other.overtaken_by_offer;
        self.worst_by_offer = self.worst_by_offer.max(other.worst_by_offer);
        self.lead.extend(&other.lead);
        self.passed.extend(other.passed.iter().cloned());
        self.overtaken_by_answer += other.overtaken_by_answer;
        self.worst_by_answer = self.worst_by_answer.max(other.worst_by_answer);
    }
}

/// The legs to these phones; one that was not called has none.
fn legs(moments: &[Moment], phones: &[&str]) -> BTreeMap<String, Vec<Leg>> {
    let mut all = moments::legs(moments);
    let own = |phone: &&str| ((*phone).to_owned(), all.remove(*phone).unwrap_or_default());
    phones.iter().map(own).collect()
}

/// Everybody who reached the queue, in that order.
fn calls(moments: &[Moment], talks: &[Talk], legs: &BTreeMap<String, Vec<Leg>>) -> Vec<Call> {
    let mut joined: BTreeMap<&str, i64> = BTreeMap::new();
    for moment in moments.iter().filter(|m| m.phone.is_none()) {
        if matches!(moment.what, What::Queue | What::Stasis) {
            joined.entry(&moment.number).or_insert(moment.at_ms);
        }
    }
    let mut calls: Vec<Call> = joined
        .into_iter()
        .map(|(number, joined)| {
            let talk = talks.iter().find(|talk| talk.caller == number);
            let agent = match talk {
                Some(talk) => Some((talk.agent.as_str(), talk.begun_ms)),
                None => last_answer(moments, number),
            };
            let leg = agent.and_then(|(agent, by)| {
                let own = legs.get(agent)?.iter();
                let mut answered = own.filter(|leg| leg.up.is_some_and(|up| up <= by));
                answered.next_back().map(|leg| (agent, leg))
            });
            Call {
                joined,
                offered: leg.map_or(i64::MAX, |(_, leg)| leg.created),
                leg: leg.and_then(|(agent, leg)| channel(moments, leg, agent)),
                answered: talk.map_or(i64::MAX, |talk| talk.begun_ms),
            }
        })
        .collect();
    calls.sort_by_key(|call| call.joined);
    calls
}

/// Whose phone was the last to be answered for this caller, and when: legs have his number.
fn last_answer<'a>(moments: &'a [Moment], number: &str) -> Option<(&'a str, i64)> {
    let mut up = moments
        .iter()
        .filter(|it| it.what == What::Up && it.number == number);
    up.rfind(|it| it.phone.is_some())
        .and_then(|it| Some((it.phone.as_deref()?, it.at_ms)))
}

/// The channel of a leg to this phone.
fn channel(moments: &[Moment], leg: &Leg, phone: &str) -> Option<String> {
    let created = |it: &&Moment| it.what == What::Created && it.at_ms == leg.created;
    let mut created = moments.iter().filter(created);
    let own = created.find(|it| it.phone.as_deref() == Some(phone));
    own.map(|it| it.channel.clone())
}

/// How many were passed by somebody who came later, and by how many at most. What fell into one
/// millisecond has no order.
fn overtaken(calls: &[Call], served: impl Fn(&Call) -> i64) -> (usize, usize) {
    let passed = calls.iter().map(|call| {
        let later = calls.iter().filter(|other| other.joined > call.joined);
        later.filter(|other| served(other) < served(call)).count()
    });
    let passed: Vec<usize> = passed.filter(|by| *by > 0).collect();
    (passed.len(), passed.into_iter().max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn moment(at_ms: i64, what: What, channel: &str, phone: Option<&str>) -> Moment {
        Moment {
            at_ms,
            pbx: "a".into(),
            what,
            channel: channel.into(),
            phone: phone.map(str::to_owned),
            number: channel.into(),
        }
    }

    fn leg(channel: &str, created: i64, destroyed: Option<i64>) -> Vec<Moment> {
        let at = |at, what| moment(at, what, channel, Some("1001"));
        let mut seen = vec![at(created, What::Created), at(created + 5, What::Up)];
        seen.extend(destroyed.map(|gone| at(gone, What::Destroyed)));
        seen
    }

    fn talk(caller: &str, begun_ms: i64) -> Talk {
        Talk {
            caller: caller.into(),
            agent: "1001".into(),
            begun: Instant::now(),
            begun_ms,
            ended: None,
        }
    }

    fn joins(number: &str, at: i64) -> Moment {
        moment(at, What::Queue, number, None)
    }

    #[test]
    fn a_line_of_three_where_the_second_is_passed() {
        let mut seen = vec![joins("1", 100), joins("2", 200), joins("3", 300)];
        seen.extend(leg("x", 103, Some(1_000)));
        seen.extend(leg("y", 1_700, Some(2_000)));
        seen.extend(leg("z", 2_040, Some(3_000)));
        let talks = [talk("1", 110), talk("3", 1_710), talk("2", 2_050)];
        let figures = Figures::of(&seen, &talks, &["1001"], 3, 4_000);
        assert_eq!(figures.served, 3);
        assert_eq!(figures.free_to_leg, [700, 40]);
        assert_eq!(figures.arrival_to_leg, [3]);
        assert!(figures.still_free.is_empty(), "nobody is left in line");
        let passed = (figures.overtaken_by_offer, figures.worst_by_offer);
        assert_eq!(passed, (1, 1));
        assert_eq!(figures.lead, [340]);
        let legs: Vec<_> = figures
            .passed
            .iter()
            .map(|it| it.by[0].leg.clone())
            .collect();
        assert_eq!(legs, [Some("y".to_owned())]);
        assert_eq!(figures.overtaken_by_answer, 1);
    }

    #[test]
    fn an_agent_left_free_beside_a_line_is_told_of() {
        let mut seen = vec![joins("1", 100), joins("2", 200)];
        seen.extend(leg("x", 103, Some(1_000)));
        let figures = Figures::of(&seen, &[talk("1", 110)], &["1001"], 2, 9_000);
        assert_eq!(figures.served, 1);
        assert!(figures.free_to_leg.is_empty());
        assert_eq!(figures.still_free, [8_000]);
    }

    #[test]
    fn whose_agent_hung_up_too_soon_was_called_in_his_turn() {
        let mut seen = vec![joins("1", 100), joins("2", 200)];
        for (channel, created) in [("x", 103), ("y", 1_700)] {
            let mut leg = leg(channel, created, Some(created + 1_000));
            let number = if channel == "x" { "1" } else { "2" };
            leg.iter_mut()
                .for_each(|moment| moment.number = number.into());
            seen.extend(leg);
        }
        let figures = Figures::of(&seen, &[talk("2", 1_710)], &["1001"], 2, 9_000);
        assert_eq!((figures.served, figures.cut_short), (1, 1));
        assert!(figures.passed.is_empty(), "{:?}", figures.passed);
    }

    #[test]
    fn an_agent_is_not_blamed_for_a_line_that_other_free_agents_serve() {
        let mut seen = vec![joins("1", 100), joins("2", 200)];
        seen.extend(leg("x", 103, Some(1_000)));
        let figures = Figures::of(&seen, &[talk("1", 110)], &["1001", "1002"], 2, 9_000);
        assert!(figures.still_free.is_empty(), "1002 is free too");
    }
}
