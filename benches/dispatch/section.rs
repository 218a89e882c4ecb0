//! What the turns came to: a section of the page in markdown, and the raw figures as JSON lines.

use std::fmt::Write;

use holdfast_drills::lab::figures::rank;
use serde_json::{Value, json};

use crate::cases::{Case, System, TALK_MS};
use crate::figures::Figures;
use crate::stage::Turn;

/// One line for each turn, every value in it.
pub fn raw(turn: &Turn) -> Value {
    let figures = &turn.figures;
    json!({
        "part": "dispatch", "case": turn.case, "system": turn.system.name(), "round": turn.round,
        "callers": figures.callers, "served": figures.served,
        "free_to_leg_ms": figures.free_to_leg, "still_free_ms": figures.still_free,
        "arrival_to_leg_ms": figures.arrival_to_leg,
        "overtaken_by_offer": figures.overtaken_by_offer, "worst_by_offer": figures.worst_by_offer, "lead_ms": figures.lead,
        "overtaken_by_answer": figures.overtaken_by_answer, "worst_by_answer": figures.worst_by_answer,
        "load_before": turn.load_before, "load_after": turn.load_after, "faults": turn.faults,
    })
}

/// The section. `about` says what was compared.
pub fn markdown(cases: &[&'static Case], turns: &[Turn], about: &str) -> String {
    let mut text = format!(
        "## Dispatch, against app_queue on the same Asterisk\n\n{about}\n\n\
         Callers and agents of both are at one Asterisk, the turns in turn (A B A B). Each system has \
         phones of its own with the same habit: they answer at once and hang up after {} to {} ms. \
         Holdfast runs as three nodes beside three real Asterisks, each decision on the disks of most \
         nodes; in app_queue's turns its nodes are idle. Times are the Asterisk's own stamps of channel \
         events, as an ARI application gets them that only listens, in milliseconds: from an agent's leg \
         destroyed, while more callers waited than other agents were free, to his next leg created; in \
         `arrival` from the caller's `Queue()` or `Stasis()` to the leg created.\n\n",
        TALK_MS.0, TALK_MS.1
    );
    text += "| case | system | round | served | n | median | p90 | p99 | max | still free at the end | overtaken by call (worst) | called how much too late, at most | by answer (worst) | load before, after |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    let mut verdicts = String::new();
    for case in cases {
        let mut medians = Vec::new();
        for system in System::ALL {
            let mut all = Figures::default();
            let own = |turn: &&Turn| turn.case == case.name && turn.system == system;
            for turn in turns.iter().filter(own) {
                all.add(&turn.figures);
                let load = format!("{}, {}", first(&turn.load_before), first(&turn.load_after));
                row(
                    &mut text,
                    case,
                    system,
                    &turn.round.to_string(),
                    &turn.figures,
                    &load,
                );
            }
            row(&mut text, case, system, "all", &all, "");
            medians.push(rank(times(case, &all), 50));
        }
        let verdict = match medians[..] {
            [Some(theirs), Some(ours)] => format!(
                "{theirs} ms with app_queue and {ours} ms with Holdfast, {}",
                ratio(theirs, ours)
            ),
            [None, Some(ours)] => format!(
                "{ours} ms with Holdfast; app_queue called no free agent again within {} s",
                case.limit_s
            ),
            _ => "nothing to compare: too few calls".to_owned(),
        };
        // Writing to a text does not fail.
        let _ = writeln!(
            verdicts,
            "- `{}`, {}: {verdict} (medians).",
            case.name, case.title
        );
    }
    text + "\n" + &verdicts
}

fn times<'a>(case: &Case, figures: &'a Figures) -> &'a [i64] {
    if case.arrival {
        &figures.arrival_to_leg
    } else {
        &figures.free_to_leg
    }
}

fn row(text: &mut String, case: &Case, system: System, round: &str, it: &Figures, load: &str) {
    let values = times(case, it);
    let at = |percent| rank(values, percent).map_or("-".to_owned(), |value| value.to_string());
    let still = match it.still_free.iter().max() {
        Some(longest) => format!("{}, for {longest} at most", it.still_free.len()),
        None => "-".to_owned(),
    };
    let _ = writeln!(
        text,
        "| {} | {} | {round} | {} of {} | {} | {} | {} | {} | {} | {still} | {} ({}) | {} | {} ({}) | {load} |",
        case.name,
        system.name(),
        it.served,
        it.callers,
        values.len(),
        at(50),
        at(90),
        at(99),
        at(100),
        it.overtaken_by_offer,
        it.worst_by_offer,
        it.lead.iter().max().map_or("-".to_owned(), i64::to_string),
        it.overtaken_by_answer,
        it.worst_by_answer,
    );
}

/// Who is slower, and how much; a time below the clock's step counts as one.
fn ratio(theirs: i64, ours: i64) -> String {
    let (theirs, ours) = (theirs.max(1) as f64, ours.max(1) as f64);
    if theirs >= ours {
        format!("so app_queue takes {:.1} times as long", theirs / ours)
    } else {
        format!("so Holdfast takes {:.1} times as long", ours / theirs)
    }
}

fn first(load: &str) -> &str {
    load.split(' ').next().unwrap_or_default()
}
