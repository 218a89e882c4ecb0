//! `joinempty` and `leavewhenempty`: their words and the shorthands of queues.conf.
//!
//! A word names a condition in which a member does not count as being there. The shorthands stand
//! for lists of them, and `yes` and `no` mean the opposite in the two options, as in app_queue.

use crate::words::{unknown_word, words};
use holdfast_acd::settings::{Empty, EmptyRule};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A rule as a list of words.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct EmptyDoc(Vec<Empty>);

impl EmptyDoc {
    pub fn rule(&self) -> EmptyRule {
        EmptyRule(self.0.clone())
    }

    pub fn of(rule: &EmptyRule) -> Self {
        Self(rule.0.clone())
    }
}

const WORDS: [(&str, Empty); 8] = [
    ("paused", Empty::Paused),
    ("penalty", Empty::Penalty),
    ("inuse", Empty::InUse),
    ("ringing", Empty::Ringing),
    ("unavailable", Empty::Unavailable),
    ("invalid", Empty::Invalid),
    ("unknown", Empty::Unknown),
    ("wrapup", Empty::WrapUp),
];

const NO: &[Empty] = &[Empty::Penalty, Empty::Paused, Empty::Invalid];
const STRICT: &[Empty] = &[
    Empty::Penalty,
    Empty::Paused,
    Empty::Invalid,
    Empty::Unavailable,
];
const LOOSE: &[Empty] = &[Empty::Penalty, Empty::Invalid];

/// Reads `joinempty`: `yes` takes callers whoever is there.
pub fn join<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EmptyDoc, D::Error> {
    read(deserializer, true)
}

/// Reads `leavewhenempty`: `yes` lets callers go when nobody is there.
pub fn leave<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EmptyDoc, D::Error> {
    read(deserializer, false)
}

fn read<'de, D: Deserializer<'de>>(deserializer: D, joining: bool) -> Result<EmptyDoc, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "a list of words, a text of words with commas, or yes or no"
    )]
    enum Input {
        Flag(bool),
        Words(#[serde(deserialize_with = "words")] Vec<String>),
    }
    let words = match Input::deserialize(deserializer)? {
        Input::Flag(flag) => vec![if flag { "yes" } else { "no" }.to_owned()],
        Input::Words(words) => words,
    };
    let mut rule: Vec<Empty> = Vec::new();
    for word in &words {
        let word = word.to_ascii_lowercase();
        let shorthand = match word.as_str() {
            "yes" if joining => Some(&[][..]),
            "no" if !joining => Some(&[][..]),
            "yes" | "no" => Some(NO),
            "strict" => Some(STRICT),
            "loose" => Some(LOOSE),
            _ => None,
        };
        match (shorthand, WORDS.iter().find(|(name, _)| *name == word)) {
            (Some(list), _) if words.len() == 1 => rule.extend(list),
            (Some(_), _) => {
                let text = format!("{word:?} stands for a whole list and must stand alone");
                return Err(D::Error::custom(text));
            }
            (None, Some((_, condition))) => rule.push(*condition),
            (None, None) => {
                let known = "paused, penalty, inuse, ringing, unavailable, invalid, unknown, \
                             wrapup, or alone yes, no, strict, loose";
                return Err(unknown_word(&word, known));
            }
        }
    }
    rule.sort_unstable();
    rule.dedup();
    Ok(EmptyDoc(rule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::QueueDoc;

    fn queue(toml: &str) -> Result<QueueDoc, toml::de::Error> {
        toml::from_str(toml)
    }

    #[test]
    fn yes_and_no_mean_the_opposite_in_joining_and_leaving() {
        let doc = queue("joinempty = 'yes'\nleavewhenempty = 'no'").unwrap();
        assert_eq!(
            (doc.join_empty.0.len(), doc.leave_when_empty.0.len()),
            (0, 0)
        );
        let doc = queue("join_empty = false\nleave_when_empty = true").unwrap();
        let expected = vec![Empty::Paused, Empty::Penalty, Empty::Invalid];
        assert_eq!(
            (&doc.join_empty.0, &doc.leave_when_empty.0),
            (&expected, &expected)
        );
    }

    #[test]
    fn words_may_be_a_list_or_a_text() {
        let text = queue("join_empty = 'paused, unavailable'").unwrap();
        let list = queue("join_empty = ['unavailable', 'paused', 'paused']").unwrap();
        assert_eq!(text.join_empty, list.join_empty);
        let strict = queue("join_empty = 'strict'").unwrap();
        assert_eq!(strict.join_empty.0.len(), 4);
    }

    #[test]
    fn an_unknown_word_or_a_mixed_shorthand_is_refused() {
        let error = queue("join_empty = 'pausd'").unwrap_err().to_string();
        assert!(
            error.contains("\"pausd\"") && error.contains("wrapup"),
            "{error}"
        );
        let error = queue("join_empty = 'strict,paused'")
            .unwrap_err()
            .to_string();
        assert!(error.contains("must stand alone"), "{error}");
    }
}
