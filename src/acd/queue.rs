//! A queue: its settings, its members, its line of waiting callers and its counters.
//!
//! The line is ordered by (priority descending, order ascending) and holds who waits or is offered.

use crate::agent::Member;
use crate::call::{Call, Outcome};
use crate::id::{AgentId, CallId, QueueName};
use crate::settings::QueueSettings;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A place in the line. Compares as the line is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub priority: Reverse<i32>,
    pub order: u64,
    pub call: CallId,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Queue {
    pub name: QueueName,
    pub settings: QueueSettings,
    /// Log index of the last write of the settings.
    pub revision: u64,
    /// Made by a template of this name, by a call.
    pub template: Option<String>,
    pub members: BTreeMap<AgentId, Member>,
    /// Callers waiting or offered.
    pub line: BTreeSet<Place>,
    /// For `rrmemory`: who was rung last.
    pub last_rung: Option<AgentId>,
    pub counters: Counters,
}

/// Since the queue was made. Replicated, so a failover resets nothing and all nodes agree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counters {
    pub entered: u64,
    pub refused: u64,
    pub answered: u64,
    pub answered_in_service_level: u64,
    pub abandoned: u64,
    pub abandoned_in_service_level: u64,
    pub timeout: u64,
    pub key: u64,
    pub empty: u64,
    pub withdrawn: u64,
    pub lost: u64,
    pub no_quorum: u64,
    pub moved_out: u64,
    pub offers: u64,
    pub offers_failed: u64,
    /// Moving averages as app_queue keeps them (3/4 old, 1/4 new), milliseconds.
    pub hold_time_ms: u64,
    pub talk_time_ms: u64,
}

impl Place {
    /// Where a call stands, or would stand, in a line.
    pub fn of(call: &Call) -> Place {
        Place {
            priority: Reverse(call.priority),
            order: call.order,
            call: call.id,
        }
    }
}

impl Queue {
    /// How many stand before a place in the line, plus one. Walks from both ends at once, so it costs
    /// O(callers ahead) or O(callers behind), whichever are fewer: joining and being next are cheap.
    pub fn position(&self, place: &Place) -> usize {
        let mut ahead = self.line.range(..place);
        let mut behind = self.line.range(place..);
        let mut walked = 0;
        loop {
            if ahead.next().is_none() {
                return walked + 1;
            }
            if behind.next().is_none() {
                return self.line.len() - walked + 1;
            }
            walked += 1;
        }
    }
}

impl Counters {
    /// Counts the end of one caller's waiting (not of a granted one: that was counted at the grant).
    pub(crate) fn count(&mut self, outcome: &Outcome, in_service_level: bool) {
        let counter = match outcome {
            Outcome::Answered { .. } => return,
            Outcome::Abandoned => {
                self.abandoned_in_service_level += u64::from(in_service_level);
                &mut self.abandoned
            }
            Outcome::Timeout => &mut self.timeout,
            Outcome::Key(_) => &mut self.key,
            Outcome::Empty => &mut self.empty,
            Outcome::Withdrawn { .. } => &mut self.withdrawn,
            Outcome::Lost => &mut self.lost,
            Outcome::NoQuorum => &mut self.no_quorum,
        };
        *counter += 1;
    }

    /// `servicelevelperf` of app_queue: answered in time of all answered, in percent.
    pub fn service_level_percent(&self) -> u64 {
        percent(self.answered_in_service_level, self.answered)
    }

    /// `servicelevelperf2`: answered or abandoned in time, of all answered or abandoned, in percent.
    pub fn service_level2_percent(&self) -> u64 {
        let in_time = self.answered_in_service_level + self.abandoned_in_service_level;
        percent(in_time, self.answered + self.abandoned)
    }
}

fn percent(part: u64, all: u64) -> u64 {
    part.saturating_mul(100).checked_div(all).unwrap_or(0)
}

/// The moving average of app_queue: three quarters old, one quarter new.
pub(crate) fn average(old_ms: u64, new_ms: u64) -> u64 {
    old_ms.saturating_mul(3).saturating_add(new_ms) / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::QueueSettings;

    #[test]
    fn a_position_is_one_more_than_who_stands_before_from_either_end() {
        let place = |order| Place {
            priority: Reverse(0),
            order,
            call: CallId(order),
        };
        for len in 0..8 {
            let queue = Queue {
                name: QueueName::new("q").unwrap(),
                settings: QueueSettings::default(),
                revision: 0,
                template: None,
                members: BTreeMap::new(),
                line: (0..len).map(|n| place(n * 2)).collect(),
                last_rung: None,
                counters: Counters::default(),
            };
            for order in 0..len * 2 + 1 {
                let before = queue.line.range(..place(order)).count();
                assert_eq!(
                    queue.position(&place(order)),
                    before + 1,
                    "{order} of {len}"
                );
            }
        }
    }
}
