//! What came of a drill: what became of each caller, what must not be and was, and figures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use super::callers::{Call, End};
use crate::judge::{History, Limits, Property, judge};
use crate::lab::CallEnd;
use crate::lab::oracle::Talk;

/// What must have been judged in every drill.
const DEMANDED: [Property; 8] = [
    Property::EndsOnce,
    Property::OneHand,
    Property::BridgedOnce,
    Property::Order,
    Property::Deadlines,
    Property::Writes,
    Property::Replicas,
    Property::Heals,
];

/// The end of a drill.
#[derive(Debug, Default)]
pub struct Report {
    pub seed: u64,
    /// The command that does the same again.
    pub again: String,
    /// What was done: milliseconds since the beginning, and what.
    pub done: Vec<(u64, String)>,
    pub ledger: Ledger,
    pub violations: Vec<String>,
    pub figures: Figures,
    /// What was measured of the nodes over time, if it was.
    pub measured: String,
    /// What the judge says of the history.
    pub verdict: String,
    /// Logs and data folders, kept when something was wrong.
    pub folder: Option<PathBuf>,
}

/// Callers by outcome.
#[derive(Debug, Default)]
pub struct Ledger {
    pub called: u64,
    pub by_outcome: BTreeMap<String, u64>,
}

/// What was measured. Milliseconds.
#[derive(Debug, Default)]
pub struct Figures {
    /// From each strike to the next phone that was called: the nemesis, and how long.
    pub gaps: Vec<(String, Option<u64>)>,
    /// From each healing to the next phone that was called.
    pub recoveries: Vec<u64>,
    /// Phones called, conversations, and phones called in vain.
    pub legs: u64,
    pub talks: u64,
}

impl Ledger {
    /// Enters what telephones and Asterisks saw of each call; what must not be is told.
    pub fn enter(calls: &[Call], talks: &[Talk]) -> (Ledger, Vec<String>) {
        let mut agents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for talk in talks {
            agents.entry(&talk.caller).or_default().push(&talk.agent);
        }
        let mut ledger = Ledger::default();
        let mut violations = Vec::new();
        for call in calls {
            ledger.called += 1;
            let with = agents.get(call.number.as_str()).map_or(&[][..], |all| all);
            if with.len() > 1 {
                violations.push(format!(
                    "caller {} was connected {} times, with {with:?}",
                    call.number,
                    with.len()
                ));
            }
            let outcome = match (with.is_empty(), &call.ended, &call.status) {
                (_, None, _) => Err("has not ended".to_owned()),
                (false, Some((_, End::Lost)), _) => Ok("talked, lost with the Asterisk".to_owned()),
                (false, ..) => Ok("talked".to_owned()),
                (true, Some((_, End::Lost)), _) => Ok("lost with the Asterisk".to_owned()),
                (true, Some((_, End::Told(CallEnd::ByCaller))), _) => Ok("gave up".to_owned()),
                (true, Some(_), Some(status)) => Ok(format!("back in the dialplan, {status}")),
                (true, Some((_, End::Told(end))), None) => Err(format!("was lost: {end:?}")),
            };
            match outcome {
                Ok(outcome) => *ledger.by_outcome.entry(outcome).or_default() += 1,
                Err(why) => violations.push(format!(
                    "caller {} at {} in {}, who called at {} ms, {why}",
                    call.number, call.pbx, call.queue, call.placed_ms
                )),
            }
        }
        (ledger, violations)
    }
}

impl Report {
    /// Has the history judged, and keeps it beside the logs.
    pub fn judge(&mut self, history: &History) {
        if let Some(folder) = &self.folder
            && let Err(error) = history.write(&folder.join("history.jsonl"))
        {
            self.violations
                .push(format!("the history is not kept: {error}"));
        }
        // What broke off has no end to be judged; what was broken before that still tells.
        let limits = match self.is_clean() {
            true => Limits::drill().demanding(&DEMANDED),
            false => Limits {
                demands: BTreeSet::new(),
                ..Limits::drill()
            },
        };
        let verdict = judge(history, &limits);
        if !verdict.kept() {
            self.violations
                .push("a promise is broken, see the verdict".into());
        }
        self.verdict = verdict.report();
    }

    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |words: String| {
            writeln!(text, "{words}").expect("a text takes any length");
        };
        line(format!("seed {}", self.seed));
        line("what was done:".into());
        for (at, what) in &self.done {
            line(format!("  {:>8.3} s  {what}", *at as f64 / 1000.0));
        }
        line(format!("callers: {}", self.ledger.called));
        for (outcome, count) in &self.ledger.by_outcome {
            line(format!("  {count:>6}  {outcome}"));
        }
        let figures = &self.figures;
        line("from a strike to the next phone that was called:".into());
        for (name, gap) in &figures.gaps {
            let gap = gap.map_or("not before it was healed".to_owned(), |ms| {
                format!("{ms} ms")
            });
            line(format!("  {name}: {gap}"));
        }
        if let (Some(least), Some(most)) = (
            figures.recoveries.iter().min(),
            figures.recoveries.iter().max(),
        ) {
            line(format!(
                "from a healing to the next phone that was called: {least} to {most} ms"
            ));
        }
        line(format!(
            "phones called {}, conversations {}, called in vain {}",
            figures.legs,
            figures.talks,
            figures.legs.saturating_sub(figures.talks)
        ));
        if !self.measured.is_empty() {
            line(self.measured.clone());
        }
        line(self.verdict.clone());
        if self.is_clean() {
            line("nothing happened that must not happen".into());
        } else {
            line(format!("VIOLATIONS: {}", self.violations.len()));
            for violation in &self.violations {
                line(format!("  {violation}"));
            }
            line(format!("again: {}", self.again));
            if let Some(folder) = &self.folder {
                line(format!("logs and data: {}", folder.display()));
            }
        }
        text
    }
}
