//! The catalogue of bad input: each entry is one input at one door, with the answer it must get.
//!
//! Doors that can be tried without a running node are here; what is wrong at the ports of a running
//! one is in `jepsen-style-tests/tests/ports.rs`, and what callers and operators do wrong to a whole
//! node in `tests/stories/bad_input.rs`.

mod asterisk;
mod bodies;
mod callers;
mod configuration;
mod disk;
mod frames;
mod names;

use std::collections::BTreeSet;

/// What the catalogue must at least hold.
const ENTRIES_MIN: usize = 250;

/// What an entry's input got, against what it must get; `Err` says how they differ.
pub type Outcome = Result<(), String>;

/// One entry: what is wrong with the input, and what became of it.
pub struct Entry {
    pub what: String,
    pub outcome: Outcome,
}

/// An entry whose answer is a text that must hold all of these words.
pub fn told(what: &str, answer: &str, words: &[&str]) -> Entry {
    let missing = words.iter().find(|word| !answer.contains(**word));
    let outcome = match missing {
        None => Ok(()),
        Some(word) => Err(format!("{word:?} is not in {answer:?}")),
    };
    Entry {
        what: what.to_owned(),
        outcome,
    }
}

/// An entry whose answer is a value.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Entry {
    let outcome = match got == wanted {
        true => Ok(()),
        false => Err(format!("{got:?} instead of {wanted:?}")),
    };
    Entry {
        what: what.to_owned(),
        outcome,
    }
}

/// A value as an entry names it.
pub fn shown(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    format!("{short:?} of {} bytes", text.len())
}

type Door = (&'static str, fn() -> Vec<Entry>);

const DOORS: [Door; 9] = [
    ("names", names::entries),
    ("events of Asterisk", asterisk::events),
    ("answers of Asterisk", asterisk::answers),
    ("callers", callers::entries),
    ("bodies", bodies::entries),
    ("declared sets", bodies::declared),
    ("configuration", configuration::entries),
    ("frames", frames::entries),
    ("files", disk::entries),
];

#[test]
fn every_entry_gets_its_answer_and_there_are_enough_of_them() {
    let mut wrong = Vec::new();
    let mut all = 0;
    for (door, entries) in DOORS {
        let entries = entries();
        let distinct: BTreeSet<&str> = entries.iter().map(|entry| entry.what.as_str()).collect();
        assert_eq!(
            distinct.len(),
            entries.len(),
            "{door}: an entry stands there twice"
        );
        println!("{door}: {} entries", entries.len());
        all += entries.len();
        for entry in entries {
            if let Err(why) = entry.outcome {
                wrong.push(format!("{door}: {}: {why}", entry.what));
            }
        }
    }
    println!("{all} entries");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        all >= ENTRIES_MIN,
        "{all} entries, at least {ENTRIES_MIN} are promised"
    );
}
