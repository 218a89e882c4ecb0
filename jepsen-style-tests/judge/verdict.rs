//! The judgement of one history: what was entered and how it ended, what was judged, what is broken.

use super::history::History;
use super::ledger::Ledger;
use super::properties::{Broken, Findings, Property, Violation};
use super::story::{Story, When};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Violations that a report tells in full.
const TOLD_MAX: usize = 20;
/// Records around a violation that are shown, and how far around.
const AROUND_MAX: usize = 24;
const AROUND_MS: u64 = 3_000;

/// The figures of the promises. They bound what a working system under the stated faults needs.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Properties that must have been judged.
    pub demands: BTreeSet<Property>,
    /// How late a deadline may be without a fault.
    pub deadline_ms: u64,
    /// How much later with one: until another node leads and acts.
    pub failover_ms: u64,
    /// How long the hanging up of a leg may overlap with the next offer's.
    pub leg_overlap_ms: u64,
    /// The same for a leg of an epoch that is over, or under a fault.
    pub stale_leg_ms: u64,
    /// After an acknowledged pause, how long a leg that was on its way may still come.
    pub pause_ms: u64,
    /// How long before an announcement a position may have been right.
    pub position_ms: u64,
    /// Callers of one Asterisk who came further apart join in that order.
    pub join_ms: u64,
    /// Nodes out of the others' reach for so long are given up (`timing.node_lost_after`).
    pub node_lost_ms: u64,
    /// After the faults, until somebody is rung again; retry delays are part of it.
    pub resume_ms: u64,
    /// After an end, until nothing of it is left.
    pub clean_ms: u64,
    /// Steps of the search of one key's operations.
    pub search_steps: u64,
}

impl Limits {
    /// For virtual time: exact clocks, no loaded machine.
    pub fn simulation() -> Limits {
        Limits {
            demands: BTreeSet::from([Property::EndsOnce, Property::OneHand, Property::BridgedOnce]),
            deadline_ms: 250,
            failover_ms: 2_500,
            leg_overlap_ms: 750,
            stale_leg_ms: 2_000,
            pause_ms: 250,
            position_ms: 2_000,
            join_ms: 2_000,
            node_lost_ms: 60_000,
            resume_ms: 15_000,
            clean_ms: 10_000,
            search_steps: 4_000_000,
        }
    }

    /// For real processes on a machine that also does other things.
    pub fn drill() -> Limits {
        Limits {
            deadline_ms: 1_000,
            failover_ms: 5_000,
            leg_overlap_ms: 1_500,
            pause_ms: 750,
            resume_ms: 20_000,
            clean_ms: 15_000,
            ..Limits::simulation()
        }
    }

    /// All of these must have been judged, too.
    pub fn demanding(mut self, properties: &[Property]) -> Limits {
        self.demands.extend(properties);
        self
    }
}

/// What the judge says.
#[derive(Debug)]
pub struct Verdict {
    pub ledger: Ledger,
    pub broken: Vec<Broken>,
    /// How many things of each property were judged.
    pub judged: BTreeMap<Property, u64>,
    pub not_judged: BTreeMap<Property, String>,
    /// Faults that were on.
    pub faults: usize,
    /// For each of the first violations, what was seen around it.
    around: Vec<Vec<String>>,
}

/// Judges a history. It never fails: a history that is no good is a broken one.
pub fn judge(history: &History, limits: &Limits) -> Verdict {
    let story = Story::of(history);
    let mut found = Findings::all(&story, limits);
    let end = When {
        at_ms: history.records().last().map_or(0, |record| record.at_ms),
        within_ms: 0,
    };
    let mut wrong = |violation| {
        found.broken.push(Broken {
            violation,
            when: end,
            about: Vec::new(),
        });
    };
    for what in &story.defects {
        wrong(Violation::Defect { what: what.clone() });
    }
    if history.dropped > 0 {
        let dropped = history.dropped;
        wrong(Violation::NotWhole { dropped });
    }
    for (property, why) in &found.not_judged {
        if limits.demands.contains(property) {
            let (property, why) = (*property, why.clone());
            found.broken.push(Broken {
                violation: Violation::NotJudged { property, why },
                when: end,
                about: Vec::new(),
            });
        }
    }
    let told = found.broken.iter().take(TOLD_MAX);
    Verdict {
        ledger: Ledger::of(&story),
        around: told.map(|broken| around(history, broken)).collect(),
        broken: found.broken,
        judged: found.judged,
        not_judged: found.not_judged,
        faults: story.faults.len(),
    }
}

/// The records near a violation that name one whom it is about, or that tell of a fault.
fn around(history: &History, broken: &Broken) -> Vec<String> {
    let from = broken.when.early().saturating_sub(AROUND_MS);
    let to = broken.when.late().saturating_add(AROUND_MS);
    let records = history.records();
    let first = records.partition_point(|record| record.at_ms < from);
    let near = records[first..].iter().take_while(|r| r.at_ms <= to);
    let told = near.filter_map(|record| {
        let text = serde_json::to_string(record).ok()?;
        let about = |name: &String| {
            text.contains(&format!("\"{name}\"")) || text.contains(&format!("\"call\":{name},"))
        };
        (text.contains("\"fault\"") || broken.about.iter().any(about)).then_some(text)
    });
    let mut told: Vec<String> = told.collect();
    if told.len() > AROUND_MAX {
        let left_out = told.len() - AROUND_MAX;
        told.drain(AROUND_MAX / 2..AROUND_MAX / 2 + left_out);
        let gap = format!("... {left_out} more ...");
        told.insert(AROUND_MAX / 2, gap);
    }
    told
}

impl Verdict {
    /// Whether every promise that was judged was kept, and all that had to be were judged.
    pub fn kept(&self) -> bool {
        self.broken.is_empty()
    }

    /// The properties that are broken.
    pub fn broken_properties(&self) -> BTreeSet<Property> {
        let of = self.broken.iter();
        of.filter_map(|broken| broken.violation.property())
            .collect()
    }

    /// For people: the ledger, what was judged, and each violation with the events around it.
    pub fn report(&self) -> String {
        let mut text = format!("callers: {}\nfaults: {}\n", self.ledger, self.faults);
        for (property, count) in &self.judged {
            let broken = self
                .broken
                .iter()
                .filter(|it| it.violation.property() == Some(*property));
            let broken = broken.count();
            line(
                &mut text,
                format!("promise {property}: judged {count}, broken {broken}"),
            );
        }
        for (property, why) in &self.not_judged {
            line(&mut text, format!("promise {property}: NOT JUDGED, {why}"));
        }
        for (broken, around) in self.broken.iter().zip(&self.around) {
            let at = broken.when.at_ms;
            line(&mut text, format!("\nat {at} ms: {}", broken.violation));
            for record in around {
                line(&mut text, format!("    {record}"));
            }
        }
        if self.broken.len() > TOLD_MAX {
            let more = self.broken.len() - TOLD_MAX;
            line(&mut text, format!("\nand {more} violations more"));
        }
        let verdict = if self.kept() { "KEPT" } else { "BROKEN" };
        line(&mut text, format!("verdict: {verdict}"));
        text
    }

    /// # Panics
    /// With the report, unless everything was kept.
    pub fn assert_kept(&self) {
        assert!(self.kept(), "{}", self.report());
    }
}

fn line(text: &mut String, line: String) {
    writeln!(text, "{line}").expect("a text takes any length");
}
