//! What became of every caller, as he himself and the bridges saw it.

use super::history::End;
use super::story::{Caller, Story};
use std::collections::BTreeMap;
use std::fmt;

/// The one end of a caller, or none yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Answered,
    Abandoned,
    Timeout,
    Key,
    Empty,
    Withdrawn,
    NoQuorum,
    /// Not taken into the line, with that `QUEUESTATUS`.
    Refused(String),
    Lost(String),
    /// No node listened at his Asterisk when he came (back) to it: the dialplan's own fallback has
    /// him.
    NoNode,
    Open,
}

impl Fate {
    /// Of a caller who entered. By the first end, if there are several.
    pub fn of(caller: &Caller) -> Fate {
        let Some((_, end)) = caller.ends.first() else {
            return Fate::Open;
        };
        if !caller.talks.is_empty() {
            return Fate::Answered;
        }
        match end {
            End::HungUp => Fate::Abandoned,
            End::Dropped => Fate::Lost("hung up on".into()),
            End::Gone => Fate::Lost("gone with the Asterisk".into()),
            End::Dialplan { status } => match status.as_str() {
                // Only who was answered is let go with it; how he talked may not have been seen.
                "CONTINUE" => Fate::Answered,
                "FAILED" => Fate::NoNode,
                "TIMEOUT" => Fate::Timeout,
                "KEY" => Fate::Key,
                "LEAVEEMPTY" => Fate::Empty,
                "WITHDRAW" => Fate::Withdrawn,
                "NOQUORUM" => Fate::NoQuorum,
                "FULL" | "JOINEMPTY" | "CLOSED" | "UNKNOWN" => Fate::Refused(status.clone()),
                other => Fate::Lost(format!("in the dialplan with status {other:?}")),
            },
        }
    }

    pub fn word(&self) -> &'static str {
        match self {
            Fate::Answered => "answered",
            Fate::Abandoned => "abandoned",
            Fate::Timeout => "timeout",
            Fate::Key => "key",
            Fate::Empty => "empty",
            Fate::Withdrawn => "withdrawn",
            Fate::NoQuorum => "noquorum",
            Fate::Refused(_) => "refused",
            Fate::Lost(_) => "lost",
            Fate::NoNode => "nonode",
            Fate::Open => "open",
        }
    }
}

/// How many of those who entered ended how. The sum of the fates is `entered`, by construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub entered: u64,
    pub fates: BTreeMap<&'static str, u64>,
}

impl Ledger {
    pub fn of(story: &Story) -> Ledger {
        let mut ledger = Ledger::default();
        for caller in story.callers.values().filter(|it| it.entered.is_some()) {
            ledger.entered += 1;
            *ledger.fates.entry(Fate::of(caller).word()).or_default() += 1;
        }
        ledger
    }

    pub fn count(&self, word: &str) -> u64 {
        self.fates.get(word).copied().unwrap_or(0)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entered {}", self.entered)?;
        for (word, count) in &self.fates {
            let permille = count * 1000 / self.entered.max(1);
            write!(
                f,
                ", {word} {count} ({}.{} %)",
                permille / 10,
                permille % 10
            )?;
        }
        Ok(())
    }
}
