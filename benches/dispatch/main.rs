//! Measures how soon agents and callers meet: Holdfast and others in turn, on one real Asterisk,
//! with the same callers and agents and the same listener. See `benches/README.md`.
//!
//! Figures are printed and not judged; what must never happen makes the program fail if Holdfast or
//! the original did it.

mod cases;
mod costs;
mod figures;
mod order;
mod original;
#[path = "../resp.rs"]
mod resp;
mod section;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use holdfast_drills::lab::figures::programs;
use holdfast_drills::lab::part::{Raw, WHOLE_MAX, ended, within};

use cases::{CASES, Case, QUICK, System};
use stage::{Stage, Turn};

const HELP: &str = "\
Dispatch of Holdfast against app_queue, or against the design it began from: prints a section of the page
in markdown.

usage: bench-dispatch [--raw FILE] [--quick] [--cases one,four,announced,extreme,arrival] [--rounds N]
                      [--systems app_queue,original,holdfast]

  --raw FILE     write the raw figures there, one JSON object a line
  --quick        one case with four callers, one round: under a minute
  --cases LIST   these cases alone
  --systems LIST who takes turns, in this order (app_queue,holdfast)
  --rounds N     turns of each system in each case, 1 to 5 (2: A B A B, within ten minutes)

HOLDFAST_BIN names the program that the nodes run, else it is the one of this program's own profile.
It needs the testbed (make asterisk).";

struct Asked {
    raw: Option<PathBuf>,
    cases: Vec<&'static Case>,
    systems: Vec<System>,
    rounds: usize,
}

impl Asked {
    /// `None` when help is asked for.
    fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Asked>, String> {
        let mut asked = Asked {
            raw: None,
            cases: CASES.iter().collect(),
            systems: System::USUAL.to_vec(),
            rounds: 2,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => {
                    asked.cases = vec![&QUICK];
                    asked.rounds = 1;
                }
                "--raw" => asked.raw = Some(value()?.into()),
                "--cases" => {
                    let find = |name: &str| {
                        let found = CASES.iter().find(|case| case.name == name);
                        found.ok_or(format!("there is no case {name:?}, see --help"))
                    };
                    asked.cases = value()?.split(',').map(find).collect::<Result<_, _>>()?;
                }
                "--systems" => {
                    let find = |word: &str| {
                        let found = System::ALL.into_iter().find(|it| it.word() == word);
                        found.ok_or(format!("there is no system {word:?}, see --help"))
                    };
                    asked.systems = value()?.split(',').map(find).collect::<Result<_, _>>()?;
                }
                "--rounds" => {
                    let text = value()?;
                    let number = text.parse().ok().filter(|it| (1..=5).contains(it));
                    asked.rounds = number.ok_or(format!("--rounds {text} is not 1 to 5"))?;
                }
                _ => return Err(format!("{word} is not understood, see --help")),
            }
        }
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
            eprintln!("bench-dispatch: {why}");
            return ExitCode::from(2);
        }
    };
    let done = within(WHOLE_MAX, "ask for fewer rounds", run(&asked));
    ended("bench-dispatch", done)
}

/// Whether nothing happened that must never happen.
async fn run(asked: &Asked) -> Result<bool, String> {
    let mut raw = Raw::create(asked.raw.as_deref())?;
    let mut stage = Stage::open(&asked.systems, &asked.cases).await?;
    let mut turns = Vec::new();
    for case in &asked.cases {
        for round in 1..=asked.rounds {
            for system in &asked.systems {
                let turn = stage.turn(*system, case, round).await?;
                let line = section::raw(&turn);
                eprintln!("{line}");
                raw.write(&line)?;
                turns.push(turn);
            }
        }
    }
    let redis = stage.redis().map(|version| format!("; Redis {version}"));
    let about = programs(&redis.unwrap_or_default()).await;
    drop(stage);
    println!(
        "{}",
        section::markdown(&asked.systems, &asked.cases, &turns, &about)
    );
    Ok(!told(&turns))
}

/// Tells what must never happen; whether Holdfast or the original did any of it.
fn told(turns: &[Turn]) -> bool {
    let mut ours = false;
    for turn in turns.iter().filter(|turn| !turn.faults.is_empty()) {
        let (name, case) = (turn.system.name(), turn.case);
        println!("FAULT of {name} in {case}: {}", turn.faults.join("; "));
        ours |= turn.system != System::AppQueue;
    }
    ours
}
