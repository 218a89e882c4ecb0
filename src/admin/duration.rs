//! Durations as people write them: `"15s"`, `"500ms"`, `"1m30s"`, `"2h"`, `"1d"`, or a bare number of
//! seconds as queues.conf has it.
//!
//! Inside Holdfast a duration is milliseconds in a `u64`; this is the one place where words become
//! numbers and back. It does not judge whether a duration makes sense: the queue does.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Milliseconds. Reads integer seconds or a text with units; shows the shortest text with units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dur(pub u64);

/// A text is not a duration. `Display` shows the text (shortened) and the forms that are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write \"15s\", \"500ms\", \"1m30s\", \"2h\" or whole seconds")]
pub struct BadDuration(String);

const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl FromStr for Dur {
    type Err = BadDuration;

    fn from_str(text: &str) -> Result<Self, BadDuration> {
        parse(text.trim())
            .map(Dur)
            .ok_or_else(|| BadDuration(text.chars().take(40).collect()))
    }
}

fn parse(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<u64>().ok()?.checked_mul(1_000);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..letters])?;
        if *unit >= last_unit {
            return None;
        }
        last_unit = *unit;
        rest = &rest[letters..];
        total = total.checked_add(number.checked_mul(*unit)?)?;
    }
    (last_unit != u64::MAX).then_some(total)
}

impl fmt::Display for Dur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, unit) in UNITS {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl Serialize for Dur {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Dur {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurVisitor)
    }
}

struct DurVisitor;

impl Visitor<'_> for DurVisitor {
    type Value = Dur;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"15s\", or whole seconds")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Dur, E> {
        seconds
            .checked_mul(1_000)
            .map(Dur)
            .ok_or_else(|| E::custom("the duration is too long"))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Dur, E> {
        let seconds =
            u64::try_from(seconds).map_err(|_| E::custom("a duration cannot be negative"))?;
        self.visit_u64(seconds)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Dur, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_milliseconds_and_back() {
        let cases = [
            ("15s", 15_000, "15s"),
            ("500ms", 500, "500ms"),
            ("1m30s", 90_000, "1m30s"),
            ("90s", 90_000, "1m30s"),
            ("2h", 7_200_000, "2h"),
            ("1d", 86_400_000, "1d"),
            ("20", 20_000, "20s"),
            ("0", 0, "0s"),
            ("1s500ms", 1_500, "1s500ms"),
        ];
        for (text, ms, shown) in cases {
            let dur: Dur = text.parse().expect(text);
            assert_eq!((dur.0, dur.to_string().as_str()), (ms, shown), "{text}");
            assert_eq!(dur.to_string().parse(), Ok(dur));
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_forms_that_are() {
        let long = "9".repeat(50);
        for text in [
            "", "s", "15x", "15 s", "-1s", "1.5s", "30s1m", "1s1s", "1m5", "é", &long,
        ] {
            let error = text.parse::<Dur>().expect_err(text);
            assert!(error.to_string().contains("\"15s\""), "{error}");
        }
    }
}
