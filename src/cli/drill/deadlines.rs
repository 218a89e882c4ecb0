//! How late deadlines fired, on the cluster clock: ring times, rests after a call, and the waiting
//! time of callers who were in line before.
//!
//! Only what the events tell is judged. A ring time of an offer by way of the dialplan ends by the
//! dialplan's clock, and a caller of the node that is away is not sent away before it is back, so
//! those are left out.

use super::report::{Deadlines, Told, number, who, word};
use super::seen::Seen;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Below this a deadline counts as early: what rounding may do.
const EARLY_MS: u64 = 50;

/// Goes through the events in the order of the log.
pub fn judge(seen: &Seen, events: &[Told<'_>]) -> Deadlines {
    let mut found = Deadlines::default();
    // Of an offer: until when, and by way of what.
    let mut rings: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut rests: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen_once: BTreeSet<(u64, u64)> = BTreeSet::new();
    let waits: BTreeMap<u64, u64> = seen
        .before
        .iter()
        .filter(|call| !seen.its_pbxes.contains(&call.pbx))
        .filter_map(|call| Some((call.id, seen.clock_ms + call.timeout_in_ms?)))
        .collect();
    for (_, event) in events {
        let call = number(event, "call").unwrap_or(0);
        let attempt = number(event, "attempt").unwrap_or(0);
        let agent = word(event, "agent");
        match event.kind.as_str() {
            "offer_made" => {
                let by_dialplan = seen
                    .dialplan_queues
                    .iter()
                    .any(|q| *q == word(event, "queue"));
                if let Some(until) = number(event, "ring_until").filter(|_| !by_dialplan) {
                    rings.insert((call, attempt), until);
                }
            }
            // A phone may say so by itself before the time is over, so that this is never early.
            "offer_failed" if word(event, "cause") == "NoAnswer" => {
                if let Some(until) = rings.get(&(call, attempt))
                    && seen_once.insert((call, attempt))
                {
                    let what = || format!("the ring time of {}", who(seen, call));
                    found.late_by(seen, event.cluster_ms.saturating_sub(*until), what);
                }
            }
            "agent_wrap_up" => {
                if let Some(until) = number(event, "until") {
                    rests.insert(agent, until);
                }
            }
            "agent_ready" => {
                // A rest may be ended before its time by hand.
                if let Some(until) = rests.remove(agent) {
                    let what = || format!("the rest of agent {agent}");
                    found.late_by(seen, event.cluster_ms.saturating_sub(until), what);
                }
            }
            "call_left" if event.fields.get("outcome") == Some(&timeout()) => {
                if let Some(until) = waits.get(&call) {
                    let what = || format!("the waiting time of {}", who(seen, call));
                    found.early_by(until.saturating_sub(event.cluster_ms), what);
                    found.late_by(seen, event.cluster_ms.saturating_sub(*until), what);
                }
            }
            _ => {}
        }
    }
    found
}

fn timeout() -> Value {
    Value::from("Timeout")
}

impl Deadlines {
    fn late_by(&mut self, seen: &Seen, late_ms: u64, what: impl Fn() -> String) {
        self.judged += 1;
        self.latest_ms = self.latest_ms.max(late_ms);
        let limit = seen.limits.late_ms;
        if late_ms > limit {
            let what = what();
            let text = format!("{what} ended {late_ms} ms late, more than {limit} ms");
            self.late.push(text);
        }
    }

    fn early_by(&mut self, early_ms: u64, what: impl Fn() -> String) {
        if early_ms > EARLY_MS {
            self.early
                .push(format!("{} ended {early_ms} ms early", what()));
        }
    }
}
