//! The bugs: each changes a right history in one place, as the bug would have shown from outside.
//!
//! A bug that finds no place for itself in a history answers `None`. The changes keep everything else
//! as right as it was, so that the judge can be asked to name one property and no other.

use super::bugs_seen::*;
use super::bugs_told::*;
use crate::judge::Property;
use crate::judge::history::{CallerSaw, Channel, History, InsideSaw, LegSaw, Record, Seen};
use crate::judge::log::{Fold, LogEvent};
use crate::judge::story::{Caller, Leg, Story};
use holdfast_acd::Event;

type Plant = fn(&Scene) -> Option<Vec<Record>>;

/// Name, the property that must find it, and how it is planted.
pub const BUGS: &[(&str, Property, Plant)] = &[
    ("a caller with two ends", Property::EndsOnce, ended_twice),
    ("a caller with no end", Property::EndsOnce, never_ended),
    ("lost while his Asterisk lived", Property::EndsOnce, lost),
    (
        "the log says another end",
        Property::EndsOnce,
        other_outcome,
    ),
    ("an agent reserved twice", Property::OneHand, reserved_twice),
    ("a leg that is not hung up", Property::OneHand, leg_goes_on),
    ("two talks at once", Property::OneHand, two_talks),
    (
        "bridged with a withdrawn offer",
        Property::BridgedOnce,
        bridged_withdrawn,
    ),
    ("bridged without a grant", Property::BridgedOnce, ungranted),
    (
        "bridged after the end",
        Property::BridgedOnce,
        bridged_after_end,
    ),
    ("overtaken without a reason", Property::Order, overtaken),
    ("a deadline twice", Property::Deadlines, fired_twice),
    ("a deadline early", Property::Deadlines, fired_early),
    ("a deadline late", Property::Deadlines, fired_late),
    ("a ring time cut short", Property::Deadlines, ring_cut),
    (
        "an announcement left out",
        Property::Deadlines,
        announcement_left_out,
    ),
    ("a stale read", Property::Writes, stale_read),
    ("a lost write", Property::Writes, lost_write),
    ("a read of a hand of long ago", Property::Writes, stale_hand),
    ("a read of what nobody wrote", Property::Writes, invented),
    ("rung while paused", Property::Pauses, rung_paused),
    ("reserved while paused", Property::Pauses, reserved_paused),
    ("a digest differs", Property::Replicas, digest_differs),
    ("the logs differ", Property::Replicas, logs_differ),
    ("a forgotten release", Property::Heals, forgotten_release),
    ("distribution never resumes", Property::Heals, never_resumes),
    ("a ghost in the line", Property::Heals, ghost),
    ("a leg left over", Property::Heals, leg_left),
    ("a position off by one", Property::Positions, off_by_one),
    (
        "a wrong position in the log",
        Property::Positions,
        wrong_in_log,
    ),
    ("an epoch that is over", Property::OneDriver, stale_epoch),
    ("an epoch granted again", Property::OneDriver, epoch_again),
];

/// A right history, put together.
pub struct Scene {
    pub history: History,
    pub story: Story,
}

impl Scene {
    pub(super) fn records(&self) -> Vec<Record> {
        self.history.records().to_vec()
    }

    /// All records, those for which `change` answers `None` left out.
    pub(super) fn changed(&self, mut change: impl FnMut(&Record) -> Option<Record>) -> Vec<Record> {
        self.history
            .records()
            .iter()
            .filter_map(&mut change)
            .collect()
    }

    /// The same with one event of the log changed or left out, at all nodes.
    pub(super) fn with_event(
        &self,
        at: (u64, u32),
        change: impl Fn(&mut Event) -> bool,
    ) -> Vec<Record> {
        self.changed(|record| {
            let mut record = record.clone();
            if let Seen::Inside {
                saw: InsideSaw::Event {
                    index, seq, event, ..
                },
                ..
            } = &mut record.seen
                && (*index, *seq) == at
                && !change(event)
            {
                return None;
            }
            Some(record)
        })
    }

    /// The same with more events behind one of the log, in the same entry.
    pub(super) fn with_more(&self, told: &LogEvent, events: Vec<Event>) -> Vec<Record> {
        let mut records = self.records();
        for (seq, event) in (1..).zip(events) {
            let saw = InsideSaw::Event {
                index: told.at.0,
                seq,
                cluster_ms: told.cluster_ms,
                event,
            };
            let node = "a".to_owned();
            records.push(record(told.when.at_ms, Seen::Inside { node, saw }));
        }
        records
    }

    pub(super) fn entered(&self) -> impl Iterator<Item = (&Channel, &Caller)> {
        let callers = self.story.callers.iter();
        callers.filter(|(_, caller)| caller.entered.is_some() && !caller.ends.is_empty())
    }

    /// Folds the log up to each event, and asks of each.
    pub(super) fn fold<T>(
        &self,
        mut ask: impl FnMut(&Fold, usize, &LogEvent) -> Option<T>,
    ) -> Option<T> {
        let mut fold = Fold::of(&self.story);
        for (place, told) in self.story.log.events.iter().enumerate() {
            if let Some(found) = ask(&fold, place, told) {
                return Some(found);
            }
            fold.apply(told, self.story.priority(told));
        }
        None
    }

    pub(super) fn legs_of(&self, agent: &str) -> Vec<(&Channel, &Leg)> {
        let legs = self.story.legs.iter();
        let mut legs: Vec<_> = legs.filter(|(_, leg)| leg.agent == agent).collect();
        legs.sort_by_key(|(_, leg)| leg.called.at_ms);
        legs
    }
}

pub(super) fn record(at_ms: u64, seen: Seen) -> Record {
    let within_ms = 2;
    Record {
        at_ms,
        within_ms,
        seen,
    }
}

pub(super) fn ends(record: &Record, of: &Channel) -> bool {
    matches!(&record.seen, Seen::Caller { id, saw: CallerSaw::Ended { .. } } if id == of)
}

pub(super) fn leg_ends(record: &Record, of: &Channel) -> bool {
    matches!(&record.seen, Seen::Leg { id, saw: LegSaw::Ended { .. }, .. } if id == of)
}
