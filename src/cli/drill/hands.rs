//! Follows through the events who has whom in hand: which agents are rung for or talk in which call.
//!
//! The events are those of the log, so this is the cluster's own word; what phones really did is for
//! an oracle beside the Asterisks.

use super::report::{Told, number, who, word};
use super::seen::Seen;
use holdfast_admin::api::EventView;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What came out.
#[derive(Debug, Default)]
pub struct Hands {
    /// Offers made before and after the leader was taken away.
    pub before: usize,
    pub after: usize,
    pub repeated: usize,
    pub doubled: Vec<String>,
}

#[derive(Debug, Default)]
struct Book {
    /// Agent -> the call in hand.
    hands: BTreeMap<String, u64>,
    /// Calls that talk, and by which attempt.
    connected: BTreeMap<u64, u64>,
    /// Calls whose offer was open when the leader went, and was not decided since.
    torn: BTreeSet<u64>,
    attempts: BTreeSet<(u64, u64)>,
}

/// Goes through the events in the order of the log.
pub fn follow(seen: &Seen, events: &[Told<'_>]) -> Hands {
    let mut book = Book::default();
    let mut found = Hands::default();
    for call in &seen.before {
        for agent in &call.agents {
            book.hands.insert(agent.clone(), call.id);
        }
        if call.phase == "connected" {
            book.connected.insert(call.id, call.attempts.into());
        }
    }
    let is_offer = |(at, event): &&Told<'_>| *at <= seen.at_ms && event.kind == "offer_made";
    found.before = events.iter().filter(is_offer).count();
    // What is older than the picture of before is in it.
    let mut is_after = false;
    for (at, event) in events.iter().filter(|(_, event)| index(event) > seen.index) {
        if *at > seen.at_ms && !is_after {
            is_after = true;
            let open = book.hands.values().copied();
            book.torn = open
                .filter(|call| !book.connected.contains_key(call))
                .collect();
        }
        take(seen, event, is_after, &mut book, &mut found);
    }
    found
}

fn index(event: &EventView) -> u64 {
    let (index, _) = event.id.split_once('-').unwrap_or((&event.id, ""));
    index.parse().unwrap_or(0)
}

fn take(seen: &Seen, event: &EventView, is_after: bool, book: &mut Book, found: &mut Hands) {
    let Some(call) = number(event, "call") else {
        return;
    };
    match event.kind.as_str() {
        "offer_made" => {
            found.after += usize::from(is_after);
            if is_after && book.torn.remove(&call) {
                found.repeated += 1;
            }
            let attempt = number(event, "attempt").unwrap_or(0);
            if !book.attempts.insert((call, attempt)) {
                let who = who(seen, call);
                found
                    .doubled
                    .push(format!("offer {attempt} of {who} was made twice"));
            }
            let agents = event.fields.get("agents").and_then(Value::as_array);
            for agent in agents.into_iter().flatten().filter_map(Value::as_str) {
                let other = book.hands.insert(agent.to_owned(), call);
                // The picture of before may hold this very offer already.
                if let Some(other) = other.filter(|other| *other != call) {
                    let (who, other) = (who(seen, call), who_short(other));
                    let text = format!("agent {agent} was offered {who} while in {other}");
                    found.doubled.push(text);
                }
            }
        }
        "offer_failed" => {
            if word(event, "cause") != "Cancelled" {
                book.torn.remove(&call);
            }
            book.free(word(event, "agent"), call);
        }
        "call_connected" => {
            book.torn.remove(&call);
            let attempt = number(event, "attempt").unwrap_or(0);
            let known = book.connected.insert(call, attempt);
            if known.is_some_and(|known| known != attempt) {
                let who = who(seen, call);
                found.doubled.push(format!("{who} was connected twice"));
            }
            // The others of the offer are let go; who talks is in hand.
            book.hands.retain(|_, other| *other != call);
            let agent = word(event, "agent").to_owned();
            if let Some(other) = book.hands.insert(agent.clone(), call) {
                let (who, other) = (who(seen, call), who_short(other));
                let text = format!("agent {agent} was connected to {who} while in {other}");
                found.doubled.push(text);
            }
        }
        "call_returned" | "call_completed" | "call_left" | "call_released" => {
            book.connected.remove(&call);
            book.torn.remove(&call);
            book.hands.retain(|_, other| *other != call);
        }
        _ => {}
    }
}

fn who_short(call: u64) -> String {
    format!("call {call}")
}

impl Book {
    fn free(&mut self, agent: &str, call: u64) {
        if self.hands.get(agent) == Some(&call) {
            self.hands.remove(agent);
        }
    }
}
