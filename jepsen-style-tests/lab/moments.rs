//! When things happened at the Asterisks, by their own clocks: what figures are taken from.
//!
//! The [`Book`](super::oracle_book) writes them down as it hears of them. Nothing is judged here, and
//! no clock is read: the Asterisks of a lab share the machine's.

use serde_json::Value;
use std::collections::BTreeMap;

/// Kept in all; later moments are not written down.
pub(super) const MOMENTS_MAX: usize = 200_000;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The channel was created.
    Created,
    /// It was answered.
    Up,
    /// The dialplan reached `Stasis()`.
    Stasis,
    /// The dialplan reached `Queue()`, which is Asterisk's own queue.
    Queue,
    /// It is gone.
    Destroyed,
}

/// One moment in the life of a caller's or a phone's channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since the Unix epoch, by the Asterisk's timestamp.
    pub at_ms: i64,
    pub pbx: String,
    pub what: What,
    pub channel: String,
    /// The number of the phone, if it is a phone's channel.
    pub phone: Option<String>,
    /// The caller's number, as the channel has it.
    pub number: String,
}

/// One leg to a phone; times in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub struct Leg {
    pub created: i64,
    pub up: Option<i64>,
    pub destroyed: Option<i64>,
}

/// All legs by phone, in order of creation.
pub fn legs(moments: &[Moment]) -> BTreeMap<String, Vec<Leg>> {
    let mut legs: BTreeMap<String, Vec<Leg>> = BTreeMap::new();
    for first in moments.iter().filter(|m| m.what == What::Created) {
        let Some(phone) = &first.phone else { continue };
        let at = |what: What| {
            let same =
                |m: &&Moment| m.what == what && m.channel == first.channel && m.pbx == first.pbx;
            moments.iter().find(same).map(|m| m.at_ms)
        };
        legs.entry(phone.clone()).or_default().push(Leg {
            created: first.at_ms,
            up: at(What::Up),
            destroyed: at(What::Destroyed),
        });
    }
    for legs in legs.values_mut() {
        legs.sort_by_key(|leg| leg.created);
    }
    legs
}

/// What an event tells of its channel, if anything that is kept.
pub(super) fn what(event: &Value) -> Option<What> {
    let channel = &event["channel"];
    match event["type"].as_str()? {
        "ChannelCreated" => Some(What::Created),
        "ChannelDestroyed" => Some(What::Destroyed),
        "ChannelStateChange" if channel["state"] == "Up" => Some(What::Up),
        "ChannelDialplan" => match channel["dialplan"]["app_name"].as_str()? {
            "Stasis" => Some(What::Stasis),
            "Queue" => Some(What::Queue),
            _ => None,
        },
        _ => None,
    }
}

/// The timestamp of an event in milliseconds since the Unix epoch; 0 for none.
pub fn stamp(event: &Value) -> i64 {
    event["timestamp"].as_str().and_then(parse).unwrap_or(0)
}

/// The moment that a line of a node's log begins with, in milliseconds since the Unix epoch, by that
/// node's wall clock.
pub fn of_log_line(line: &str) -> Option<i64> {
    let digits = line.get(..23)?;
    let utc = line.get(23..).is_some_and(|rest| {
        let zone = rest.trim_start_matches(|it: char| it.is_ascii_digit());
        zone.starts_with('Z')
    });
    utc.then(|| parse(&format!("{digits}+0000")))?
}

/// `2026-11-23T11:12:07.193+0000`
fn parse(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Civil date to days, after Howard Hinnant; a year begins in March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let minutes = number(11, 13)? * 60 + number(14, 16)?;
    let millis = number(17, 19)? * 1000 + number(20, 23)?;
    let east = number(24, 26)? * 60 + number(26, 28)?;
    let east = match text.get(23..24)? {
        "+" => east,
        "-" => -east,
        _ => return None,
    };
    Some((days * 1440 + minutes - east) * 60_000 + millis)
}

#[cfg(test)]
mod tests {
    use super::{of_log_line, parse};

    #[test]
    fn a_line_of_a_log_tells_its_moment() {
        let line = "2026-11-23T11:12:07.193405Z  INFO holdfast starts";
        assert_eq!(of_log_line(line), Some(1_795_432_327_193));
        assert_eq!(of_log_line("--- lab: start of a node, at some time"), None);
    }

    #[test]
    fn stamps_are_read_with_their_offset() {
        let ms = 1_795_432_327_193;
        assert_eq!(parse("2026-11-23T11:12:07.193+0000"), Some(ms));
        assert_eq!(parse("2026-11-23T12:42:07.193+0130"), Some(ms));
        assert_eq!(parse("2026-11-23T08:12:07.193-0300"), Some(ms));
        assert_eq!(parse("2000-02-29T12:34:56.789+0000"), Some(951_827_696_789));
        assert_eq!(parse("yesterday"), None);
    }
}
