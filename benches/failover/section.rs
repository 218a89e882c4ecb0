//! What it came to: a section of the page in markdown with each goal beside its figure, and the raw
//! figures as JSON lines.

use std::fmt::Write;

use holdfast_drills::lab::figures::rank;
use serde_json::{Value, json};

use crate::figures::{Kill, StepDown, Turn};
use crate::settings::Settings;

/// Both systems with one setting.
pub struct Compared {
    pub settings: Settings,
    pub ours: Turn,
    pub etcd: Vec<Kill>,
}

/// A percentile that is to be below a bound.
type Goal = (usize, i64);

pub fn raw_kill(system: &str, settings: &Settings, round: usize, kill: &Kill) -> Value {
    json!({
        "part": "failover", "kind": "kill", "system": system, "settings": settings.name,
        "round": round, "noticed_ms": kill.noticed_ms, "office_ms": kill.office_ms,
        "acknowledged_ms": kill.acknowledged_ms, "offer_ms": kill.offer_ms,
        "load_before": kill.load_before,
    })
}

pub fn raw_step_down(settings: &Settings, round: usize, step: &StepDown) -> Value {
    json!({
        "part": "failover", "kind": "step_down", "system": "Holdfast", "settings": settings.name,
        "round": round, "office_ms": step.office_ms, "acknowledged_ms": step.acknowledged_ms,
        "refused": step.refused, "load_before": step.load_before,
    })
}

pub fn raw_callers(settings: &Settings, turn: &Turn) -> Value {
    let callers = &turn.callers;
    json!({
        "part": "failover", "kind": "callers", "system": "Holdfast", "settings": settings.name,
        "called": callers.called, "answered": callers.answered, "lost": callers.lost,
        "doubled": callers.doubled, "offers": callers.offers, "repeated": callers.repeated,
    })
}

/// The section. `about` says what was compared.
pub fn markdown(all: &[Compared], about: &str) -> String {
    let mut text = format!(
        "## Failover, with etcd beside it\n\n{about}\n\n\
         SIGKILL of the leader's process while a line of callers is served by eight agents and writes are \
         begun every 10 ms through each survivor; etcd is killed and written to the same way. Times are \
         in milliseconds from the kill, or from the request to step down: until the first write that \
         was begun after it is acknowledged, until the new leader has a phone called (the Asterisks' stamps), \
         until it takes office (its log). etcd draws its time-out between one and two times a single \
         value, which is the least of ours, with the longest heartbeat that it takes: a fifth of that.\n\n\
         | settings | what | system | n | median | p99 | max | goal | |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for it in all {
        let lan = it.settings.name == "LAN";
        let goals: &[Goal] = if lan {
            &[(50, 600), (99, 1_000)]
        } else {
            &[(99, 1_500)]
        };
        let kills = &it.ours.kills;
        let of = |figure: fn(&Kill) -> Option<i64>| kills.iter().filter_map(figure).collect();
        let name = it.settings.name;
        let offers: Vec<i64> = of(|kill| kill.offer_ms);
        row(
            &mut text,
            name,
            "kill to next offer",
            "Holdfast",
            &offers,
            goals,
        );
        let offices: Vec<i64> = of(|kill| kill.office_ms);
        row(
            &mut text,
            name,
            "kill to new leader in office",
            "Holdfast",
            &offices,
            &[],
        );
        let ours: Vec<i64> = of(|kill| Some(kill.acknowledged_ms));
        row(
            &mut text,
            name,
            "kill to next acknowledged write",
            "Holdfast",
            &ours,
            &[],
        );
        let theirs: Vec<i64> = it.etcd.iter().map(|kill| kill.acknowledged_ms).collect();
        row(
            &mut text,
            name,
            "kill to next acknowledged write",
            "etcd",
            &theirs,
            &[],
        );
        let steps = &it.ours.step_downs;
        let done = || steps.iter().filter(|step| step.refused.is_none());
        let of = |figure: fn(&StepDown) -> i64| done().map(figure).collect::<Vec<i64>>();
        let offices = of(|step| step.office_ms);
        row(
            &mut text,
            name,
            "step-down to new leader in office",
            "Holdfast",
            &offices,
            &[(50, 50)],
        );
        let writes = of(|step| step.acknowledged_ms);
        row(
            &mut text,
            name,
            "step-down to next acknowledged write",
            "Holdfast",
            &writes,
            &[],
        );
    }
    text += "\n";
    for it in all {
        sentences(&mut text, it);
    }
    text
}

fn sentences(text: &mut String, it: &Compared) {
    let (name, callers) = (it.settings.name, &it.ours.callers);
    let ours: Vec<i64> = it
        .ours
        .kills
        .iter()
        .map(|kill| kill.acknowledged_ms)
        .collect();
    let theirs: Vec<i64> = it.etcd.iter().map(|kill| kill.acknowledged_ms).collect();
    // Writing to a text does not fail.
    if let (Some(ours), Some(theirs)) = (rank(&ours, 50), rank(&theirs, 50)) {
        let _ = writeln!(text, "- {name}: {}.", ratio(ours, theirs));
    }
    let kills = it.ours.kills.len();
    let noticed: Vec<i64> = it
        .ours
        .kills
        .iter()
        .filter_map(|kill| kill.noticed_ms)
        .collect();
    let _ = writeln!(
        text,
        "- {name}: a leader that dies with its sockets closing is noticed sooner than by time-out: \
         {} of {kills} times, after {} ms (median) and {} ms (at most); a time-out takes {} ms at least. {}",
        noticed.len(),
        shown(rank(&noticed, 50)),
        shown(rank(&noticed, 100)),
        it.settings.election_ms.1,
        met(noticed.len() == kills)
    );
    let _ = writeln!(
        text,
        "- {name}: {} callers, {} answered, {} lost, {} doubled (goal: 0 and 0). {}",
        callers.called,
        callers.answered,
        callers.lost,
        callers.doubled.len(),
        met(callers.lost == 0 && callers.doubled.is_empty())
    );
    let refused = it
        .ours
        .step_downs
        .iter()
        .filter(|step| step.refused.is_some())
        .count();
    if refused > 0 {
        let of = it.ours.step_downs.len();
        let _ = writeln!(
            text,
            "- {name}: {refused} of {of} requests to step down were not carried out; why stands in the raw figures."
        );
    }
    let _ = writeln!(
        text,
        "- {name}: of {} phones that were called within a second before a kill, {} were called in vain \
         and again.",
        callers.offers, callers.repeated
    );
}

fn row(
    text: &mut String,
    settings: &str,
    what: &str,
    system: &str,
    values: &[i64],
    goals: &[Goal],
) {
    let at = |percent| shown(rank(values, percent));
    let word = |(percent, below): &Goal| match percent {
        50 => format!("median under {below}"),
        _ => format!("p{percent} under {below}"),
    };
    let words: Vec<String> = goals.iter().map(word).collect();
    let holds = |(percent, below): &Goal| rank(values, *percent).is_some_and(|ms| ms < *below);
    let verdict = match goals {
        [] => "",
        _ => met(goals.iter().all(holds)),
    };
    let _ = writeln!(
        text,
        "| {settings} | {what} | {system} | {} | {} | {} | {} | {} | {verdict} |",
        values.len(),
        at(50),
        at(99),
        at(100),
        words.join(", ")
    );
}

fn met(it: bool) -> &'static str {
    if it { "Met." } else { "**Missed.**" }
}

fn shown(value: Option<i64>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

/// Who is slower, and how much; a time below the clock's step counts as one.
fn ratio(ours: i64, theirs: i64) -> String {
    let figures = format!(
        "the next write is acknowledged after {ours} ms by Holdfast and {theirs} ms by etcd"
    );
    let (ours, theirs) = (ours.max(1) as f64, theirs.max(1) as f64);
    match theirs >= ours {
        true => format!(
            "{figures}, so etcd takes {:.1} times as long (medians)",
            theirs / ours
        ),
        false => format!(
            "{figures}, so Holdfast takes {:.1} times as long (medians)",
            ours / theirs
        ),
    }
}
