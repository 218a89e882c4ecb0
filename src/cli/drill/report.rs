//! From what a drill has seen to its report. Pure: the same notes give the same report.
//!
//! The report counts and compares; what must never be is an anomaly, in words, and makes the verdict.
//! Callers stand in it as call and the last two digits of their number.

use super::hands::{self, Hands};
use super::seen::{How, Note, Seen, What};
use holdfast_admin::api::{CallView, EventView};
use holdfast_admin::masked;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A report, for people by `text` and for programs as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// No anomaly.
    pub good: bool,
    pub how: How,
    pub leader_before: String,
    pub term_before: u64,
    pub leader_after: Option<String>,
    pub term_after: Option<u64>,
    pub gap: Gap,
    pub callers: Callers,
    pub offers: Offers,
    pub deadlines: Deadlines,
    pub places: Places,
    /// All nodes at the highest applied index have the same state; `None` if there was only one.
    pub replicas_agree: Option<bool>,
    /// What must not be, in words.
    pub anomalies: Vec<String>,
}

/// Milliseconds from the moment at which the leader was taken away, unless said.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Gap {
    /// Until its event stream broke, or another leader was named: how long the taking away itself took.
    pub gone_ms: Option<u64>,
    /// Until a node named the new leader.
    pub named_ms: Option<u64>,
    /// Until the first event that was written by it.
    pub commit_ms: Option<u64>,
    /// Until the first answer that a quorum confirmed.
    pub confirmed_ms: Option<u64>,
    /// Until the first offer by it.
    pub offer_ms: Option<u64>,
    /// How long before that moment the last event and the last offer were.
    pub last_commit_before_ms: Option<u64>,
    pub last_offer_before_ms: Option<u64>,
    /// The longest time without a confirmed answer at the best of the nodes that lived on.
    pub without_quorum_ms: Option<u64>,
    /// When the old leader's node answered again.
    pub back_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Callers {
    pub before: usize,
    /// Still there at the end.
    pub kept: usize,
    pub joined_meanwhile: usize,
    /// Those who ended, by outcome.
    pub ended: BTreeMap<String, usize>,
    /// Those who ended as lost, or are gone without an end.
    pub lost: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Offers {
    pub before: usize,
    pub after: usize,
    /// Made again because the leader went away while the phone was to ring.
    pub repeated: usize,
    /// An agent in two hands, a call connected twice.
    pub doubled: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Deadlines {
    /// Deadlines that fired and whose time was known.
    pub judged: usize,
    pub latest_ms: u64,
    /// Those above the limit.
    pub late: Vec<String>,
    pub early: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Places {
    /// Callers in line before and after.
    pub compared: usize,
    /// Those who stand before somebody who was before them.
    pub moved: Vec<String>,
}

/// Makes the report.
pub fn report(seen: &Seen) -> Report {
    let events = events_once(&seen.notes);
    let new = new_leader(seen);
    let hands = hands::follow(seen, &events);
    let mut report = Report {
        good: false,
        how: seen.how,
        leader_before: seen.leader.clone(),
        term_before: seen.term,
        leader_after: new.as_ref().map(|new| new.leader.clone()),
        term_after: new.as_ref().map(|new| new.term),
        gap: gap(seen, &events, new.as_ref()),
        callers: callers(seen, &events),
        offers: offers(&hands),
        deadlines: super::deadlines::judge(seen, &events),
        places: places(seen, &events),
        replicas_agree: agree(seen),
        anomalies: Vec::new(),
    };
    report.anomalies = anomalies(seen, &events, &report);
    report.good = report.anomalies.is_empty();
    report
}

/// An event when it first came, from whichever node.
pub type Told<'a> = (f64, &'a EventView);

/// Each event once, in the order of the log.
fn events_once(notes: &[Note]) -> Vec<Told<'_>> {
    let mut first: BTreeMap<(u64, u64), Told<'_>> = BTreeMap::new();
    for note in notes {
        if let What::Event(event) = &note.what {
            first
                .entry(cursor(&event.id))
                .or_insert((note.at_ms, event));
        }
    }
    first.into_values().collect()
}

fn cursor(id: &str) -> (u64, u64) {
    let (index, seq) = id.split_once('-').unwrap_or((id, "0"));
    (index.parse().unwrap_or(0), seq.parse().unwrap_or(0))
}

struct NewLeader {
    leader: String,
    term: u64,
    at_ms: f64,
}

/// The last leader of a later term that a node named, and when the first did.
fn new_leader(seen: &Seen) -> Option<NewLeader> {
    let mut named: BTreeMap<u64, (String, f64)> = BTreeMap::new();
    for note in &seen.notes {
        if let What::Led {
            leader: Some(leader),
            term,
        } = &note.what
            && *term > seen.term
        {
            named.entry(*term).or_insert((leader.clone(), note.at_ms));
        }
    }
    let (term, (leader, _)) = named.last_key_value()?;
    let first = named.values().map(|(_, at)| *at).fold(f64::MAX, f64::min);
    Some(NewLeader {
        leader: leader.clone(),
        term: *term,
        at_ms: first,
    })
}

fn gap(seen: &Seen, events: &[Told<'_>], new: Option<&NewLeader>) -> Gap {
    let since = |at: f64| ms(at - seen.at_ms);
    let is_offer = |event: &EventView| event.kind == "offer_made";
    let last_before = |wanted: &dyn Fn(&EventView) -> bool| {
        let before = events.iter().filter(|(at, _)| *at <= seen.at_ms);
        let at = before.filter(|(_, e)| wanted(e)).map(|(at, _)| *at);
        at.reduce(f64::max).map(|at| ms(seen.at_ms - at))
    };
    let cut = seen
        .notes
        .iter()
        .find(|note| note.at_ms >= seen.at_ms && is_of(note, &seen.leader, &What::Cut));
    let back = cut.and_then(|cut| {
        seen.notes
            .iter()
            .find(|note| note.at_ms > cut.at_ms && is_of(note, &seen.leader, &What::Open))
    });
    let mut gap = Gap {
        gone_ms: cut.map(|note| since(note.at_ms)),
        last_commit_before_ms: last_before(&|_| true),
        last_offer_before_ms: last_before(&is_offer),
        without_quorum_ms: without_quorum(seen),
        back_ms: back.map(|note| since(note.at_ms)),
        ..Gap::default()
    };
    let Some(new) = new else {
        return gap;
    };
    let after = |wanted: &dyn Fn(&EventView) -> bool| {
        let after = events.iter().filter(|(at, _)| *at >= new.at_ms);
        let at = after.filter(|(_, e)| wanted(e)).map(|(at, _)| *at);
        at.reduce(f64::min).map(since)
    };
    let confirmed = |note: &&Note| note.at_ms >= new.at_ms && note.what == What::Confirmed;
    gap.named_ms = Some(since(new.at_ms));
    gap.gone_ms = gap.gone_ms.or(gap.named_ms);
    gap.commit_ms = after(&|_| true);
    gap.offer_ms = after(&is_offer);
    gap.confirmed_ms = seen.notes.iter().find(confirmed).map(|n| since(n.at_ms));
    gap
}

fn is_of(note: &Note, node: &str, what: &What) -> bool {
    note.node == node && note.what == *what
}

/// The longest pause between two confirmed answers around the failover, at the node where it was
/// shortest: what a caller of that node may have met.
fn without_quorum(seen: &Seen) -> Option<u64> {
    let mut answers: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for note in seen.notes.iter().filter(|n| n.what == What::Confirmed) {
        answers.entry(&note.node).or_default().push(note.at_ms);
    }
    let end = seen.notes.last().map_or(seen.at_ms, |note| note.at_ms);
    let longest = |times: &Vec<f64>| {
        let from = times.iter().rposition(|at| *at <= seen.at_ms);
        let later = times[from.unwrap_or(0)..].iter().copied().chain([end]);
        let later: Vec<f64> = later.collect();
        later
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .fold(0.0, f64::max)
    };
    let lived = answers.iter().filter(|(node, _)| **node != seen.leader);
    lived
        .map(|(_, times)| longest(times))
        .reduce(f64::min)
        .map(ms)
}

fn ms(time: f64) -> u64 {
    // Below zero only by a rounding.
    time.max(0.0).round() as u64
}

fn callers(seen: &Seen, events: &[Told<'_>]) -> Callers {
    let before: BTreeSet<u64> = seen.before.iter().map(|call| call.id).collect();
    let mut found = Callers {
        before: before.len(),
        ..Callers::default()
    };
    let mut ended = BTreeSet::new();
    let newer = |told: &&Told<'_>| cursor(&told.1.id).0 > seen.index;
    for (_, event) in events.iter().filter(newer) {
        let Some(call) = number(event, "call") else {
            continue;
        };
        match event.kind.as_str() {
            "call_joined" if !before.contains(&call) => found.joined_meanwhile += 1,
            "call_left" => {
                let word = outcome(event);
                ended.insert(call);
                if word == "lost" {
                    found.lost.push(format!("{} was lost", who(seen, call)));
                }
                *found.ended.entry(word).or_default() += 1;
            }
            // A call that had left before the drill is let go by its node.
            "call_released" => drop(ended.insert(call)),
            _ => {}
        }
    }
    if let Some(after) = &seen.after {
        let after: BTreeSet<u64> = after.iter().map(|call| call.id).collect();
        found.kept = before.intersection(&after).count();
        for call in before.difference(&after).filter(|id| !ended.contains(*id)) {
            let who = who(seen, *call);
            found.lost.push(format!("{who} is gone without an end"));
        }
    }
    found
}

/// `Lost` or `{"Answered": {...}}`, as the log has it.
fn outcome(event: &EventView) -> String {
    let word = match event.fields.get("outcome") {
        Some(Value::String(word)) => word.clone(),
        Some(Value::Object(map)) => map.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    word.to_lowercase()
}

pub fn number(event: &EventView, key: &str) -> Option<u64> {
    event.fields.get(key).and_then(Value::as_u64)
}

pub fn word<'a>(event: &'a EventView, key: &str) -> &'a str {
    let text = event.fields.get(key).and_then(Value::as_str);
    text.unwrap_or_default()
}

/// A call as the report names it.
pub fn who(seen: &Seen, call: u64) -> String {
    let all = seen.before.iter().chain(seen.after.iter().flatten());
    match all.into_iter().find(|known| known.id == call) {
        Some(known) => named(known),
        None => format!("call {call}"),
    }
}

fn named(call: &CallView) -> String {
    let (id, queue) = (call.id, &call.queue);
    format!("call {id} ({}) in {queue}", masked(&call.number))
}

fn offers(hands: &Hands) -> Offers {
    Offers {
        before: hands.before,
        after: hands.after,
        repeated: hands.repeated,
        doubled: hands.doubled.clone(),
    }
}

/// Who was before whom must still be; but for those whom somebody has moved.
fn places(seen: &Seen, events: &[Told<'_>]) -> Places {
    let mut found = Places::default();
    let Some(after) = &seen.after else {
        return found;
    };
    let moved: BTreeSet<u64> = events
        .iter()
        .filter(|(_, e)| matches!(e.kind.as_str(), "call_moved" | "call_priority"))
        .filter_map(|(_, event)| number(event, "call"))
        .collect();
    let line = |calls: &[CallView]| {
        let mut lines: BTreeMap<String, Vec<(u32, u64)>> = BTreeMap::new();
        for call in calls.iter().filter(|call| !moved.contains(&call.id)) {
            if let Some(position) = call.position {
                let line = lines.entry(call.queue.clone()).or_default();
                line.push((position, call.id));
            }
        }
        lines.values_mut().for_each(|line| line.sort_unstable());
        lines
    };
    let before = line(&seen.before);
    for (queue, line) in line(after) {
        let old = before.get(&queue).cloned().unwrap_or_default();
        let rank: BTreeMap<u64, usize> = old
            .iter()
            .enumerate()
            .map(|(rank, (_, id))| (*id, rank))
            .collect();
        let mut highest = 0;
        for (_, id) in &line {
            let Some(rank) = rank.get(id) else { continue };
            found.compared += 1;
            if *rank < highest {
                let who = who(seen, *id);
                found.moved.push(format!("{who} was overtaken in the line"));
            }
            highest = highest.max(*rank);
        }
    }
    found
}

fn agree(seen: &Seen) -> Option<bool> {
    let newest = seen.digests.iter().map(|(_, applied, _)| *applied).max()?;
    let at: Vec<&String> = seen
        .digests
        .iter()
        .filter(|(_, applied, _)| *applied == newest)
        .map(|(.., digest)| digest)
        .collect();
    (at.len() > 1).then(|| at.windows(2).all(|pair| pair[0] == pair[1]))
}

fn anomalies(seen: &Seen, events: &[Told<'_>], report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    let limit = seen.limits.gap_ms;
    if seen.how != How::Watched {
        match (&report.leader_after, report.gap.confirmed_ms) {
            (None, _) => found.push("no new leader was named".to_owned()),
            (Some(leader), None) => {
                found.push(format!("{leader} leads, and no quorum confirms it"))
            }
            _ => {}
        }
        if seen.how != How::StepDown && lives_on(seen) {
            let leader = &seen.leader;
            found.push(format!(
                "the event stream of {leader} did not break: did it die at all?"
            ));
        }
    }
    if let Some(gap) = report.gap.without_quorum_ms
        && gap as f64 > limit
    {
        found.push(format!(
            "{gap} ms without a quorum are more than {limit} ms"
        ));
    }
    if seen.after.is_none() {
        found.push("the calls could not be read at the end".to_owned());
    }
    // A killed node takes no Asterisk with it: nobody may be lost by this drill.
    found.extend(report.callers.lost.iter().cloned());
    found.extend(ended_twice(seen, events));
    found.extend(report.offers.doubled.iter().cloned());
    found.extend(report.deadlines.late.iter().cloned());
    found.extend(report.deadlines.early.iter().cloned());
    found.extend(report.places.moved.iter().cloned());
    if report.replicas_agree == Some(false) {
        found.push("nodes at the same log index have different states".to_owned());
    }
    let leaders = two_leaders(seen);
    found.extend(leaders);
    found
}

/// The old leader's stream did not break, and its node still tells things when another leads. (A
/// machine without power breaks no stream either, but tells nothing more.)
fn lives_on(seen: &Seen) -> bool {
    let mut later = seen.notes.iter().filter(|note| note.at_ms >= seen.at_ms);
    if later.any(|note| is_of(note, &seen.leader, &What::Cut)) {
        return false;
    }
    let Some(new) = new_leader(seen) else {
        return false;
    };
    let mut told = seen.notes.iter().filter(|note| note.at_ms > new.at_ms);
    told.any(|note| note.node == seen.leader)
}

fn ended_twice(seen: &Seen, events: &[Told<'_>]) -> Vec<String> {
    let mut ended = BTreeSet::new();
    let left = events.iter().filter(|(_, event)| event.kind == "call_left");
    left.filter_map(|(_, event)| number(event, "call"))
        .filter(|call| !ended.insert(*call))
        .map(|call| format!("{} has ended twice", who(seen, call)))
        .collect()
}

/// Two names for the leader of one term.
fn two_leaders(seen: &Seen) -> Vec<String> {
    let mut named: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for note in &seen.notes {
        if let What::Led {
            leader: Some(leader),
            term,
        } = &note.what
        {
            named.entry(*term).or_default().insert(leader);
        }
    }
    let many = named.into_iter().filter(|(_, names)| names.len() > 1);
    many.map(|(term, names)| {
        let names: Vec<&str> = names.into_iter().collect();
        format!("term {term} has two leaders: {}", names.join(" and "))
    })
    .collect()
}
