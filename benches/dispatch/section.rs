//! What the turns came to: a section of the page in markdown, and the raw figures as JSON lines.

use std::collections::BTreeMap;
use std::fmt::Write;

use holdfast_drills::lab::figures::rank;
use serde_json::{Value, json};

use crate::cases::{Case, System, TALK_MS};
use crate::costs::Costs;
use crate::figures::Figures;
use crate::order::Reason;
use crate::stage::Turn;

/// Goals, from an agent free to his next leg: the median and p99 of Holdfast,
const MEDIAN_MS: i64 = 20;
const P99_MS: i64 = 50;
/// and how many times as long app_queue takes, at least.
const TIMES: i64 = 30;

/// One line for each turn, every value in it.
pub fn raw(turn: &Turn) -> Value {
    let figures = &turn.figures;
    json!({
        "part": "dispatch", "case": turn.case, "system": turn.system.name(), "round": turn.round,
        "callers": figures.callers, "served": figures.served, "cut_short": figures.cut_short,
        "free_to_leg_ms": figures.free_to_leg, "still_free_ms": figures.still_free,
        "arrival_to_leg_ms": figures.arrival_to_leg,
        "overtaken_by_offer": figures.overtaken_by_offer, "worst_by_offer": figures.worst_by_offer, "lead_ms": figures.lead,
        "reasons": turn.reasons.iter().map(|it| it.words()).collect::<Vec<_>>(),
        "overtaken_by_answer": figures.overtaken_by_answer, "worst_by_answer": figures.worst_by_answer,
        "commands": turn.costs.as_ref().map(|it| &it.commands),
        "log_entries": turn.costs.as_ref().and_then(|it| it.entries),
        "load_before": turn.load_before, "load_after": turn.load_after, "faults": turn.faults,
    })
}

/// The section. `about` says what was compared.
pub fn markdown(
    systems: &[System],
    cases: &[&'static Case],
    turns: &[Turn],
    about: &str,
) -> String {
    let peers = systems.iter().filter(|it| **it != System::Holdfast);
    let peers: Vec<&str> = peers.map(|it| it.name()).collect();
    let against = match peers.is_empty() {
        true => String::new(),
        false => format!(", against {}", peers.join(" and ")),
    };
    let mut text = format!(
        "## Dispatch{} on the same Asterisk\n\n{about}\n\n\
         Callers and agents of all are at one Asterisk, the turns in turn (A B A B). Each system has \
         phones of its own with the same habit: they answer at once and hang up after {} to {} ms. \
         Holdfast runs as three nodes beside three real Asterisks, each decision on the disks of most \
         nodes; in the turns of others its nodes are idle. Times are the Asterisk's own stamps of channel \
         events, as an ARI application gets them that only listens, in milliseconds: from an agent's leg \
         destroyed, while more callers waited than other agents were free, to his next leg created; in \
         `arrival` from the caller's `Queue()` or `Stasis()` to the leg created.\n\n",
        against, TALK_MS.0, TALK_MS.1
    );
    if systems.contains(&System::Original) {
        text += "The original is a reproduction of the design that Holdfast began from: callers held in a \
                 Stasis application, Redis lists, keys with a time to live, and one manager that looks \
                 every 3 s. It works as quickly as that allows: its Redis writes nothing to disk, and in \
                 one look it serves as many callers as agents are free.\n\n";
    }
    text += "| case | system | round | served | n | median | p90 | p99 | max | still free at the end | overtaken by call (worst) | called how much too late, at most | by answer (worst) | load before, after |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    let mut verdicts = String::new();
    for case in cases {
        let mut medians = Vec::new();
        for &system in systems {
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
            if system == System::Holdfast {
                verdicts += &own_goals(case, &all);
            }
            medians.push((system, rank(times(case, &all), 50)));
        }
        let own = medians.iter().find(|(it, _)| *it == System::Holdfast);
        let own = own.and_then(|(_, median)| *median);
        for (system, theirs) in medians.iter().filter(|(it, _)| *it != System::Holdfast) {
            let verdict = match (theirs, own) {
                (Some(theirs), Some(ours)) => format!(
                    "{theirs} ms with {} and {ours} ms with Holdfast, {} (medians{})",
                    system.name(),
                    ratio(*theirs, ours, *system),
                    goal(case, *system, *theirs, ours)
                ),
                (None, Some(ours)) => format!(
                    "{ours} ms with Holdfast (median); {} called no free agent again within {} s",
                    system.name(),
                    case.limit_s
                ),
                _ => "nothing to compare: too few calls".to_owned(),
            };
            // Writing to a text does not fail.
            let _ = writeln!(verdicts, "- `{}`, {}: {verdict}.", case.name, case.title);
        }
    }
    text + "\n" + &verdicts + &order(turns) + &costs(systems, cases, turns)
}

/// What is asked of Holdfast by itself, where there is a line.
fn own_goals(case: &Case, all: &Figures) -> String {
    let values = times(case, all);
    match (rank(values, 50), rank(values, 99)) {
        (Some(median), Some(p99)) if !case.arrival => format!(
            "- `{}`: Holdfast {median} ms in the median (goal: under {MEDIAN_MS}: {}) and {p99} ms at p99 \
             (goal: under {P99_MS}: {}).\n",
            case.name,
            met(median < MEDIAN_MS),
            met(p99 < P99_MS),
        ),
        _ => String::new(),
    }
}

/// What is asked of the comparison. Without a line there is nothing that a poll would hold up: a caller who
/// finds a free agent waits for Holdfast's disks, and app_queue has none.
fn goal(case: &Case, system: System, theirs: i64, ours: i64) -> String {
    match system {
        System::AppQueue if case.arrival => "; no goal".into(),
        System::AppQueue => format!(
            "; goal: at least {TIMES} times: {}",
            met(theirs >= TIMES * ours.max(1))
        ),
        _ => format!("; goal: Holdfast sooner: {}", met(ours < theirs)),
    }
}

/// Why callers of Holdfast were overtaken, by its log.
fn order(turns: &[Turn]) -> String {
    let own = turns.iter().filter(|turn| turn.system == System::Holdfast);
    let mut counts: BTreeMap<Reason, (usize, i64)> = BTreeMap::new();
    let mut all = 0;
    for turn in own {
        for (reason, lead) in turn.reasons.iter().zip(&turn.figures.lead) {
            let (count, worst) = counts.entry(*reason).or_default();
            (*count, *worst) = (*count + 1, (*worst).max(*lead));
            all += 1;
        }
    }
    let met = met(!counts.contains_key(&Reason::Unknown));
    let mut text = format!("\nCallers of Holdfast who were overtaken by call: {all}");
    for (reason, (count, worst)) in counts {
        let _ = write!(text, "; {count} {}, at most {worst} ms", reason.words());
    }
    text + &format!(" (goal: none without a reason: {met}).\n")
}

/// What a call cost in commands, in the systems that have any.
fn costs(systems: &[System], cases: &[&'static Case], turns: &[Turn]) -> String {
    let (mut rows, mut verdicts) = (String::new(), String::new());
    for case in cases {
        let mut totals = BTreeMap::new();
        for &system in systems {
            let own = |turn: &&Turn| turn.case == case.name && turn.system == system;
            let (mut all, mut callers) = (Costs::default(), 0);
            for turn in turns.iter().filter(own) {
                if let Some(costs) = &turn.costs {
                    all.add(costs);
                    callers += turn.figures.callers;
                }
            }
            if callers == 0 {
                continue;
            }
            let per = |count: u64| format!("{:.1}", count as f64 / callers as f64);
            totals.insert(system, all.total() as f64 / callers as f64);
            let mut kinds: Vec<(&String, &u64)> = all.commands.iter().collect();
            kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let kinds = kinds
                .iter()
                .map(|(kind, count)| format!("{kind} {}", per(**count)));
            let kinds: Vec<String> = kinds.collect();
            let _ = writeln!(
                rows,
                "| {} | {} | {callers} | {} | {} | {} |",
                case.name,
                system.name(),
                per(all.total()),
                all.entries.map_or("-".to_owned(), per),
                kinds.join(", "),
            );
        }
        if let (Some(theirs), Some(ours)) =
            (totals.get(&System::Original), totals.get(&System::Holdfast))
        {
            let _ = writeln!(
                verdicts,
                "- `{}`: {theirs:.1} commands per call with the original and {ours:.1} with Holdfast (goal: \
                 Holdfast fewer: {}).",
                case.name,
                met(ours < theirs)
            );
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "\nCommands of a whole turn, for each of its callers: what Redis served (INFO commandstats), and \
         what Holdfast's nodes wrote into their log.\n\n\
         | case | system | callers | commands per call | log entries per call | by kind |\n\
         | --- | --- | --- | --- | --- | --- |\n{rows}\n{verdicts}"
    )
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
    let mut served = format!("{} of {}", it.served, it.callers);
    if it.cut_short > 0 {
        let _ = write!(served, ", {} cut short", it.cut_short);
    }
    let _ = writeln!(
        text,
        "| {} | {} | {round} | {served} | {} | {} | {} | {} | {} | {still} | {} ({}) | {} | {} ({}) | {load} |",
        case.name,
        system.name(),
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
fn ratio(theirs: i64, ours: i64, system: System) -> String {
    let (theirs, ours) = (theirs.max(1) as f64, ours.max(1) as f64);
    if theirs >= ours {
        format!(
            "so {} takes {:.1} times as long",
            system.name(),
            theirs / ours
        )
    } else {
        format!("so Holdfast takes {:.1} times as long", ours / theirs)
    }
}

fn met(goal: bool) -> &'static str {
    if goal { "met" } else { "missed" }
}

fn first(load: &str) -> &str {
    load.split(' ').next().unwrap_or_default()
}
