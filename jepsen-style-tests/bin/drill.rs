//! `make drill`: one drill by hand; without names it lists what there is. `make soak`: a long one, with
//! a fault every minute, in which memory, open files and disk must stay as they are.

use std::process::ExitCode;
use std::time::Duration;

use holdfast_drills::drill::nemesis::{ALL, named};
use holdfast_drills::drill::workload::Workload;
use holdfast_drills::drill::{Plan, perform};
use holdfast_drills::lab::Kind;

const HOUR: Duration = Duration::from_secs(3600);
/// What a soak strikes with if nothing else is named: mostly what leaves the processes alive, so that
/// they grow old.
const SOAKED: [&str; 16] = [
    "cut-one-way",
    "bridge-partition",
    "isolate-leader",
    "isolate-follower",
    "loss",
    "reset",
    "pause-short",
    "pause-leader",
    "pause-host",
    "fsync-slow",
    "asterisk-kill",
    "asterisk-pause",
    "ari-reset",
    "ari-events-cut",
    "ari-answers-lost",
    "kill-leader",
];

/// Variables of the environment, as make passes them on; empty is the same as not there.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn main() -> ExitCode {
    match plan() {
        Ok(Some(plan)) => {
            let report = perform(&plan);
            println!("{}", report.text());
            ExitCode::from(u8::from(!report.is_clean()))
        }
        Ok(None) => {
            list();
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn list() {
    println!("make drill NEMESIS=kill-leader,clock-jump FOR=5m REAL=1 SEED=7 PAIRS=1\n");
    for nemesis in ALL {
        println!(
            "{:<4} {:<22} {}",
            nemesis.number, nemesis.name, nemesis.does
        );
    }
    println!("\nNEMESIS=all: all of them");
    println!("WORKLOAD=ten-queues: ten queues whose agents overlap, in place of two");
    println!("WORKLOAD=flood: with each strike 1,000 callers at once; flood:300 is so many");
}

/// The plan that the environment describes; `None` if it names no nemesis.
fn plan() -> Result<Option<Plan>, String> {
    let soak = variable("SOAK").is_some();
    let names = match variable("NEMESIS") {
        Some(names) => names,
        None if soak => SOAKED.join(","),
        None => return Ok(None),
    };
    let mut nemeses = Vec::new();
    for name in names.split(',').map(str::trim) {
        match (name, named(name)) {
            ("all", _) => nemeses.extend(ALL),
            (_, Some(nemesis)) => nemeses.push(nemesis),
            (_, None) => {
                return Err(format!(
                    "NEMESIS: there is no {name:?}; `make drill` alone lists them"
                ));
            }
        }
    }
    let kind = match variable("REAL").as_deref() {
        None | Some("0") => Kind::Sim,
        Some("1") => Kind::Real,
        Some(other) => return Err(format!("REAL: {other:?} is neither 1 nor 0")),
    };
    let seed = match variable("SEED") {
        Some(text) => text
            .parse()
            .map_err(|_| format!("SEED: {text:?} is no whole number"))?,
        None => rand::random_range(1..1_000_000),
    };
    let length = variable("FOR").map(|text| length(&text)).transpose()?;
    if soak {
        return Ok(Some(Plan::soak(seed, length.unwrap_or(HOUR), nemeses)));
    }
    let mut plan = Plan::once(kind, seed, nemeses);
    if length.is_some() {
        plan = plan.with_patience();
        plan.hold = (Duration::from_secs(5), Duration::from_secs(20));
        plan.rest = Duration::from_secs(8);
    }
    plan.length = length;
    if let Some(text) = variable("WORKLOAD") {
        plan.workload = Workload::named(&text).ok_or_else(|| {
            format!("WORKLOAD: there is no {text:?}; write usual, ten-queues, flood or flood:300")
        })?;
    }
    plan.pairs = variable("PAIRS").is_some_and(|value| value != "0");
    Ok(Some(plan))
}

/// `90s`, `5m`, `1h`.
fn length(text: &str) -> Result<Duration, String> {
    let wrong = || format!("FOR: {text:?} is no length; write 90s, 5m or 1h");
    let (digits, unit) = text.split_at_checked(text.len() - 1).ok_or_else(wrong)?;
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => count,
        "m" => count * 60,
        "h" => count * 3600,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_secs(seconds))
}
