//! Words of Asterisk's configuration files as values: truth values, strategies, lists with commas.

use crate::settings::{HoldTimeDoc, PositionDoc, Sounds};
use holdfast_acd::settings::{AnnounceHoldTime, AnnouncePosition, Strategy};
use serde::{Deserialize, Deserializer};

/// `true`, `false`, or the words of Asterisk's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YesNo(pub(crate) bool);

/// A truth value or a word, as Asterisk's files have them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "true, false, or a word such as \"yes\"")]
enum BoolOrWord {
    Bool(bool),
    Word(String),
}

impl BoolOrWord {
    fn word(self) -> String {
        match self {
            BoolOrWord::Bool(true) => "yes".into(),
            BoolOrWord::Bool(false) => "no".into(),
            BoolOrWord::Word(word) => word.to_ascii_lowercase(),
        }
    }
}

impl<'de> Deserialize<'de> for YesNo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match BoolOrWord::deserialize(deserializer)?.word().as_str() {
            "yes" | "true" | "on" | "1" => Ok(YesNo(true)),
            "no" | "false" | "off" | "0" => Ok(YesNo(false)),
            other => Err(unknown_word(other, "yes, no")),
        }
    }
}

pub(crate) fn yes_no<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    YesNo::deserialize(deserializer).map(|word| word.0)
}

pub(crate) const STRATEGIES: &str = "ringall, rrmemory, linear, leastrecent, fewestcalls, random";

/// By its name in queues.conf, in lower case.
pub(crate) fn strategy_of(word: &str) -> Option<Strategy> {
    Some(match word {
        "ringall" => Strategy::RingAll,
        "rrmemory" | "roundrobin" => Strategy::RrMemory,
        "linear" => Strategy::Linear,
        "leastrecent" => Strategy::LeastRecent,
        "fewestcalls" => Strategy::FewestCalls,
        "random" => Strategy::Random,
        _ => return None,
    })
}

pub(crate) fn strategy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Strategy, D::Error> {
    let word = String::deserialize(deserializer)?.to_ascii_lowercase();
    strategy_of(&word).ok_or_else(|| unknown_word(&word, STRATEGIES))
}

pub(crate) fn some_strategy<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Strategy>, D::Error> {
    #[derive(Deserialize)]
    struct Inner(#[serde(deserialize_with = "strategy")] Strategy);
    Ok(Option::<Inner>::deserialize(d)?.map(|inner| inner.0))
}

impl<'de> Deserialize<'de> for PositionDoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(
            match BoolOrWord::deserialize(deserializer)?.word().as_str() {
                "yes" => AnnouncePosition::Yes,
                "no" => AnnouncePosition::No,
                "limit" => AnnouncePosition::Limit,
                "more" => AnnouncePosition::More,
                other => return Err(unknown_word(other, "yes, no, limit, more")),
            },
        ))
    }
}

impl<'de> Deserialize<'de> for HoldTimeDoc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(
            match BoolOrWord::deserialize(deserializer)?.word().as_str() {
                "yes" => AnnounceHoldTime::Yes,
                "no" => AnnounceHoldTime::No,
                "once" => AnnounceHoldTime::Once,
                other => return Err(unknown_word(other, "yes, no, once")),
            },
        ))
    }
}

impl<'de> Deserialize<'de> for Sounds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        words(deserializer).map(Sounds)
    }
}

/// A list of words, or one text with commas between them.
pub(crate) fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "a list of words, or one text with commas between them"
    )]
    enum ListOrText {
        List(Vec<String>),
        Text(String),
    }
    Ok(match ListOrText::deserialize(deserializer)? {
        ListOrText::List(list) => list,
        ListOrText::Text(text) => {
            let words = text
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        }
    })
}

pub(crate) fn unknown_word<E: serde::de::Error>(word: &str, known: &str) -> E {
    let shown: String = word.chars().take(40).collect();
    E::custom(format!("unknown word {shown:?}, expected one of {known}"))
}
