//! Why a caller of Holdfast was called later than somebody who came after him: by the order in which its log
//! has the two.
//!
//! That it happened is seen from outside (`figures.rs`). The reason is the log's own word, so it is asked
//! for the callers concerned alone, and only of Holdfast: the others have no log to ask.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_drills::lab::cluster::Cluster;
use serde_json::Value;

use crate::figures::{Passed, Person};

/// Why somebody was overtaken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// They joined the other way round. Both reached `Stasis()` before, and the Asterisk stamps that in
    /// the caller's own thread: by the log, who is said to be later was earlier.
    Joined,
    /// His turn came first, and that agent did not answer, or hung up before the two were connected. He keeps
    /// his place, but those behind him are not kept waiting meanwhile.
    NotTaken,
    /// He was offered first, and the two legs were created the other way round.
    LegsCrossed,
    /// None of these: the line was not kept.
    Unknown,
}

impl Reason {
    pub fn words(self) -> &'static str {
        match self {
            Reason::Joined => "joined the other way round",
            Reason::NotTaken => "was offered first, and that agent hung up or did not answer",
            Reason::LegsCrossed => {
                "was offered first, and the legs were created the other way round"
            }
            Reason::Unknown => "without a reason",
        }
    }
}

/// What the log has of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Logged {
    joined: Option<Place>,
    offers: BTreeSet<Place>,
}

/// A place in the log: entry, and event in it.
type Place = (u64, u64);

/// The reason for each who was overtaken, in the same order: the worst of those that there are.
pub async fn reasons(cluster: &Cluster, passed: &[Passed]) -> Vec<Reason> {
    let mut known = BTreeMap::new();
    let mut reasons = Vec::new();
    for one in passed {
        let mut worst = Reason::Joined;
        for by in &one.by {
            for person in [&one.caller, by] {
                if let Some(call) = call_of(person)
                    && !known.contains_key(call)
                {
                    known.insert(call.to_owned(), logged(cluster, call).await);
                }
            }
            let of = |person| known.get(call_of(person)?);
            let (his, other) = (of(&one.caller), of(by));
            let reason = his.zip(other).map(|(his, other)| reason(his, other));
            let reason = reason.unwrap_or(Reason::Unknown);
            if reason == Reason::Unknown {
                eprintln!("{:?} {his:?} was overtaken by {by:?} {other:?}", one.caller);
            }
            worst = worst.max(reason);
        }
        reasons.push(worst);
    }
    reasons
}

fn reason(his: &Logged, other: &Logged) -> Reason {
    let first = |call: &Logged| call.offers.first().copied();
    match (his.joined, other.joined, first(his), first(other)) {
        (Some(his), Some(other), _, _) if his > other => Reason::Joined,
        (_, _, Some(offered), Some(other)) if offered < other => match his.offers.len() {
            1 => Reason::LegsCrossed,
            _ => Reason::NotTaken,
        },
        _ => Reason::Unknown,
    }
}

/// The call that a leg of Holdfast is for: `hf-PBX-EPOCH-CALL-ATTEMPT-AGENT`, of this bench's names.
fn call_of(person: &Person) -> Option<&str> {
    let rest = person.leg.as_deref()?.strip_prefix("hf-")?;
    rest.split('-').nth(2)
}

/// By the journals of all nodes: one that was behind for long has begun anew from a snapshot, and lacks what
/// was before.
async fn logged(cluster: &Cluster, call: &str) -> Logged {
    let mut logged = Logged::default();
    for site in &cluster.sites {
        // One whose journal has nothing of a call that is over says that there is none.
        if let Ok(timeline) = site.api.timeline(call).await {
            read(&timeline, &mut logged);
        }
    }
    logged
}

fn read(timeline: &[Value], logged: &mut Logged) {
    for event in timeline {
        let place = event["id"].as_str().and_then(|id| {
            let (entry, within) = id.split_once('-')?;
            Some((entry.parse().ok()?, within.parse().ok()?))
        });
        match (event["type"].as_str(), place) {
            (Some("call_joined"), Some(place)) => logged.joined = Some(place),
            (Some("offer_made"), Some(place)) => {
                logged.offers.insert(place);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(joined: u64, offers: &[u64]) -> Logged {
        let mut events = vec![json!({"id": format!("{joined}-0"), "type": "call_joined"})];
        let offers = offers.iter();
        events.extend(offers.map(|at| json!({"id": format!("{at}-0"), "type": "offer_made"})));
        let mut logged = Logged::default();
        read(&events, &mut logged);
        logged
    }

    #[test]
    fn the_log_says_why_and_a_line_that_was_not_kept_has_no_reason() {
        assert_eq!(reason(&call(5, &[20]), &call(4, &[19])), Reason::Joined);
        let later = call(6, &[21]);
        assert_eq!(reason(&call(5, &[20]), &later), Reason::LegsCrossed);
        assert_eq!(reason(&call(5, &[20, 30]), &later), Reason::NotTaken);
        assert_eq!(reason(&call(5, &[22]), &later), Reason::Unknown);
        assert_eq!(reason(&call(5, &[]), &later), Reason::Unknown);
    }

    #[test]
    fn a_leg_names_its_call() {
        let person = |leg: &str| Person {
            joined: 0,
            offered: 0,
            leg: Some(leg.to_owned()),
        };
        assert_eq!(call_of(&person("hf-a-1-61-1-1005")), Some("61"));
        assert_eq!(call_of(&person("1795680429.7")), None);
    }
}
