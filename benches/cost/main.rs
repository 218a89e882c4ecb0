//! Measures what calls cost: processor time of Asterisk and of the nodes against app_queue's on the same
//! Asterisk, with and without the event filter, and requests by HTTP against requests on the event
//! socket. See `benches/README.md`.
//!
//! Figures are printed and not judged; a caller who was lost, or served twice, by Holdfast makes the
//! program fail.

mod plan;
mod rest;
mod section;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use holdfast_drills::lab::figures::programs;
use holdfast_drills::lab::part::{Raw, WHOLE_MAX, ended, within};

use plan::{Plan, System, Told};
use stage::{Spent, Stage, Turn};

const HELP: &str = "\
What calls cost on a real Asterisk: prints a section of the page in markdown.

usage: bench-cost [--raw FILE] [--quick] [--rounds N]

  --raw FILE     write the raw figures there, one JSON object a line
  --quick        a few calls and requests, one round: under half a minute
  --rounds N     turns of each system at each pace, 1 to 4 (2: A B A B, about five minutes)

HOLDFAST_BIN names the program that the nodes run, else it is the one of this program's own profile.
It needs the testbed (make asterisk).";

struct Asked {
    raw: Option<PathBuf>,
    plan: Plan,
}

impl Asked {
    /// `None` when help is asked for.
    fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Asked>, String> {
        let mut asked = Asked {
            raw: None,
            plan: Plan::whole(),
        };
        let mut rounds = None;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => asked.plan = Plan::quick(),
                "--raw" => asked.raw = Some(value()?.into()),
                "--rounds" => {
                    let text = value()?;
                    let number = text.parse().ok().filter(|it| (1..=4).contains(it));
                    rounds = Some(number.ok_or(format!("--rounds {text} is not 1 to 4"))?);
                }
                _ => return Err(format!("{word} is not understood, see --help")),
            }
        }
        asked.plan.rounds = rounds.unwrap_or(asked.plan.rounds);
        Ok(Some(asked))
    }
}

fn main() -> ExitCode {
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(Some(asked)) => asked,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("bench-cost: {why}");
            return ExitCode::from(2);
        }
    };
    let done = within(WHOLE_MAX, "ask for fewer rounds", run(&asked));
    ended("bench-cost", done)
}

/// Whether nothing happened that must never happen.
async fn run(asked: &Asked) -> Result<bool, String> {
    let mut raw = Raw::create(asked.raw.as_deref())?;
    let plan = &asked.plan;
    let mut stage = Stage::open().await;
    let before = stage.idle(plan.idle_s).await;
    let mut turns: Vec<Turn> = Vec::new();
    for pace in &plan.paces {
        for round in 1..=plan.rounds {
            for system in System::ALL {
                turns.push(stage.turn(system, Told::Used, *pace, round).await);
                eprintln!("{}", section::raw_turn(&turns[turns.len() - 1], before));
            }
        }
    }
    for round in 1..=plan.rounds {
        for told in Told::ALL {
            turns.push(
                stage
                    .turn(System::Holdfast, told, plan.filters, round)
                    .await,
            );
            eprintln!("{}", section::raw_turn(&turns[turns.len() - 1], before));
        }
    }
    let after = stage.idle(plan.idle_s).await;
    let idle: Spent = before.with(after, |before, after| (before + after) / 2.0);
    for turn in &turns {
        raw.write(&section::raw_turn(turn, idle))?;
    }
    let rest = rest::measure(stage.asterisk(), plan.requests, plan.rounds).await?;
    for run in &rest.runs {
        raw.write(&section::raw_run(run))?;
    }
    raw.write(&section::raw_blocked(&rest))?;
    stage.quiet().await;
    drop(stage);
    let about = programs(" with its own app_queue").await;
    println!("{}", section::markdown(plan, &turns, idle, &rest, &about));
    Ok(!told(&turns))
}

/// Tells what must never happen; whether Holdfast did any of it.
fn told(turns: &[Turn]) -> bool {
    let mut ours = false;
    for turn in turns.iter().filter(|turn| !turn.faults.is_empty()) {
        let (name, pace) = (turn.system.name(), turn.pace.per_second);
        println!(
            "FAULT of {name} at {pace} calls/s: {}",
            turn.faults.join("; ")
        );
        ours |= turn.system == System::Holdfast;
    }
    ours
}
