//! Announcements among the deadlines: numbered without a gap, not too soon after one another, and,
//! where every position is told whenever it is due, not too late.

use super::{Findings, Judge, Violation, not_early};
use crate::judge::history::Rules;
use crate::judge::log::{Call, Fold, LogEvent};
use crate::judge::story::When;
use holdfast_acd::Event;
use holdfast_acd::limits::ANNOUNCE_CHECK_MS_MIN;
use std::collections::BTreeMap;

const ANNOUNCEMENT: &str = "announcement";

/// What each waiting caller was told last.
#[derive(Default)]
pub struct Announced {
    calls: BTreeMap<u64, Told>,
}

#[derive(Default)]
struct Told {
    number: u32,
    at_ms: Option<u64>,
    /// In another queue since: its rules do not fit any more.
    moved: bool,
}

impl Announced {
    /// Looks at an event before it changes anything.
    pub fn before(&mut self, judge: &Judge, fold: &Fold, told: &LogEvent, found: &mut Findings) {
        let now = told.cluster_ms;
        match &told.event {
            Event::AnnounceDue { call, number, .. } => {
                let known = self.calls.entry(call.0).or_default();
                if *number <= known.number {
                    let violation = Violation::FiredTwice {
                        deadline: ANNOUNCEMENT,
                        subject: format!("call {call} number {number}"),
                    };
                    return found.broken(told.when, violation, &[call]);
                }
                self.check_soon(judge, fold, (call.0, now, told.when), found);
                self.check_late(judge, fold, (call.0, now, told.when), found);
                let known = self.calls.entry(call.0).or_default();
                known.number = *number;
                known.at_ms = Some(now);
            }
            Event::OfferMade { call, .. } => {
                self.check_late(judge, fold, (call.0, now, told.when), found);
            }
            Event::CallLeft { call, .. } => {
                self.check_late(judge, fold, (call.0, now, told.when), found);
                self.calls.remove(&call.0);
            }
            Event::CallMoved { call, .. } => self.calls.entry(call.0).or_default().moved = true,
            _ => {}
        }
    }

    /// A caller who was put into the line anew is told as one who has just joined.
    pub fn after(&mut self, _judge: &Judge, fold: &Fold, told: &LogEvent) {
        if let Event::CallReturned { call } = &told.event {
            let anew = fold.calls.get(&call.0);
            if anew.is_some_and(|it| it.lined_up_ms == told.cluster_ms) {
                self.calls.entry(call.0).or_default().at_ms = None;
            }
        }
    }

    /// Nobody waits in vain when the log ends.
    pub fn end(&self, judge: &Judge, fold: &Fold, last: &LogEvent, found: &mut Findings) {
        for call in fold.lines.values().flatten() {
            self.check_late(judge, fold, (*call, last.cluster_ms, last.when), found);
        }
    }

    /// A call whose announcements follow the rules of the queue it joined, with what it was told last.
    fn told<'a>(
        &'a self,
        judge: &'a Judge,
        fold: &'a Fold,
        call: u64,
        when: When,
    ) -> Option<(&'a Call, &'a Rules, Option<&'a Told>)> {
        let it = fold.calls.get(&call)?;
        let rules = judge.story.rules(&it.queue, when.at_ms)?;
        let known = self.calls.get(&call);
        let fits = !rules.dialplan && known.is_none_or(|known| !known.moved);
        fits.then_some((it, rules, known))
    }

    fn check_soon(
        &self,
        judge: &Judge,
        fold: &Fold,
        (call, now, when): (u64, u64, When),
        found: &mut Findings,
    ) {
        let Some((it, rules, known)) = self.told(judge, fold, call, when) else {
            return;
        };
        let due = match known.and_then(|known| known.at_ms) {
            // Position and periodic sounds have a clock each, so only one of them alone has a gap.
            Some(_) if rules.periodic_ms > 0 && rules.announce_ms > 0 => return,
            Some(at) if rules.periodic_ms > 0 => at.saturating_add(rules.periodic_ms),
            Some(at) => {
                let look = rules.announce_min_ms.max(ANNOUNCE_CHECK_MS_MIN);
                at.saturating_add(look.min(rules.announce_ms))
            }
            None => {
                let first = (rules.announce_ms > 0).then_some(rules.announce_first_ms);
                let periodic = (rules.periodic_ms > 0).then_some(rules.periodic_ms);
                let first = [first, periodic].into_iter().flatten().min().unwrap_or(0);
                it.lined_up_ms.saturating_add(first)
            }
        };
        found.judged(1);
        not_early(ANNOUNCEMENT, &call, due, now, when, found);
    }

    fn check_late(
        &self,
        judge: &Judge,
        fold: &Fold,
        (call, now, when): (u64, u64, When),
        found: &mut Findings,
    ) {
        let Some((it, rules, known)) = self.told(judge, fold, call, when) else {
            return;
        };
        let regular = rules.announce_always && rules.announce_ms > 0 && rules.periodic_ms == 0;
        let waits = fold.position(call).is_some() && it.offer.is_none() && fold.in_sight(&it.pbx);
        if !regular || !waits {
            return;
        }
        let due = match known.and_then(|known| known.at_ms) {
            Some(at) => at.saturating_add(rules.announce_ms),
            None => it.lined_up_ms.saturating_add(rules.announce_first_ms),
        };
        let due = due.max(it.waiting_ms).max(it.in_sight_ms);
        judge.not_late(ANNOUNCEMENT, &call, due, now, when, found);
    }
}
