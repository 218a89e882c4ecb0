//! Measures a whole installation over a day's work in short: how many calls per second it dispatches in time,
//! what nodes use for that, what waiting callers and agents cost in memory, and whether anything waits while
//! snapshots are built. See `benches/README.md`.
//!
//! Figures are printed and not judged; what must never happen makes the program fail.

mod house;
mod ladder;
mod large;
mod latency;
mod memory;
mod orders;
mod outside;
mod pauses;
mod section;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use holdfast_drills::lab::part::{Raw, WHOLE_MAX, ended, within};
use serde::Serialize;
use serde_json::json;

use house::House;
use large::Size;
use pauses::Flow;
use section::Day;

const HELP: &str = "\
A day's work of a whole installation: prints a section of the page in markdown.

usage: bench-day [--raw FILE] [--quick] [--only calls,memory,pauses]

  --raw FILE   write the raw figures there, one JSON object a line
  --quick      a few calls, callers and commands: under half a minute
  --only LIST  these of its three parts alone

HOLDFAST_BIN names the program that the nodes run, else it is the one of this program's own profile.
The store of the last part is built into this program: build it for release to measure.
TMPDIR names the folder on the disk to measure on.";

/// Log entries between two snapshots: often enough that some fall into each step.
const SNAPSHOT_EVERY: u64 = 2_000;

/// Parts that can be asked for.
const PARTS: [&str; 3] = ["calls", "memory", "pauses"];

/// How much is done.
struct Plan {
    quick: bool,
    only: Vec<String>,
    ladder: ladder::Plan,
    memory: memory::Plan,
    large: Size,
    flows: Vec<Flow>,
}

impl Plan {
    fn whole() -> Plan {
        let large = Size {
            callers: 100_000,
            agents: 10_000,
        };
        let small = Size {
            callers: 1_000,
            agents: 100,
        };
        let flow = |size, snapshot_every| Flow {
            size,
            snapshot_every,
            seconds: 15,
        };
        Plan {
            quick: false,
            only: Vec::new(),
            ladder: ladder::Plan {
                first: 20.0,
                factor: 1.5,
                steps: 9,
                around: Duration::from_secs(2),
                measured: Duration::from_secs(10),
            },
            memory: memory::Plan {
                agents: 10_000,
                few: 1_000,
                many: 10_000,
                rest: Duration::from_secs(5),
            },
            large,
            flows: vec![
                flow(small, Some(500)),
                flow(large, None),
                flow(large, Some(500)),
            ],
        }
    }

    fn quick() -> Plan {
        let size = Size {
            callers: 300,
            agents: 30,
        };
        let flow = |snapshot_every| Flow {
            size,
            snapshot_every,
            seconds: 1,
        };
        Plan {
            quick: true,
            only: Vec::new(),
            ladder: ladder::Plan {
                first: 5.0,
                factor: 1.5,
                steps: 2,
                around: Duration::from_millis(1_500),
                measured: Duration::from_secs(2),
            },
            memory: memory::Plan {
                agents: 50,
                few: 10,
                many: 60,
                rest: Duration::from_millis(200),
            },
            large: size,
            flows: vec![flow(None), flow(Some(50))],
        }
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (mut raw, mut quick, mut outside) = (None, false, false);
    let mut only: Vec<String> = PARTS.map(str::to_owned).to_vec();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            "--quick" => quick = true,
            "--raw" => match words.next() {
                Some(file) => raw = Some(PathBuf::from(file)),
                None => return misused("--raw needs a value"),
            },
            "--only" => {
                let list = words.next().unwrap_or_default();
                only = list.split(',').map(str::to_owned).collect();
                if let Some(part) = only.iter().find(|part| !PARTS.contains(&part.as_str())) {
                    return misused(&format!("there is no part {part:?}, see --help"));
                }
            }
            house::OUTSIDE => outside = true,
            _ => return misused(&format!("{word} is not understood, see --help")),
        }
    }
    let done = if outside {
        // It ends with its orders; who gives them waits no longer than this.
        within(WHOLE_MAX, "free the machine", outside::run())
    } else {
        let mut plan = if quick { Plan::quick() } else { Plan::whole() };
        plan.only = only;
        within(WHOLE_MAX, "free the machine", run(plan, raw))
    };
    ended("bench-day", done.map(|()| true))
}

fn misused(why: &str) -> ExitCode {
    eprintln!("bench-day: {why}");
    ExitCode::from(2)
}

async fn run(plan: Plan, raw: Option<PathBuf>) -> Result<(), String> {
    let mut raw = Raw::create(raw.as_deref())?;
    let wants = |part: &str| plan.only.iter().any(|only| only == part);
    let (mut steps, mut memory) = (Vec::new(), None);
    if wants("calls") || wants("memory") {
        let mut house = House::open(SNAPSHOT_EVERY).await?;
        if wants("calls") {
            let each = |step: &_| tell(&mut raw, "step", step);
            steps = ladder::climb(&mut house, plan.ladder, each).await?;
        }
        if wants("memory") {
            let found = memory::measure(&mut house, plan.memory).await?;
            tell(&mut raw, "memory", &found)?;
            memory = Some(found);
        }
    }
    let (mut large, mut pauses) = (None, Vec::new());
    if wants("pauses") {
        // Blocking, and nothing else is to run beside it.
        let costs = large::costs(plan.large);
        tell(
            &mut raw,
            "copy",
            &json!({ "size": plan.large, "costs": costs }),
        )?;
        large = Some((plan.large, costs));
        for flow in &plan.flows {
            let found = pauses::run(*flow).await?;
            tell(&mut raw, "pauses", &found)?;
            pauses.push(found);
        }
    }
    let faults: Vec<String> = steps.iter().flat_map(|step| step.faults.clone()).collect();
    let day = Day {
        quick: plan.quick,
        plan: plan.ladder,
        steps,
        memory,
        large,
        pauses,
    };
    print!("{}", section::markdown(&day));
    match faults.first() {
        None => Ok(()),
        Some(first) => Err(format!(
            "{} times happened what must never happen, first: {first}; the raw figures have all",
            faults.len()
        )),
    }
}

/// One figure of a kind.
fn tell(raw: &mut Raw, kind: &str, figure: &impl Serialize) -> Result<(), String> {
    raw.write(&json!({ "part": "day", "kind": kind, "figures": figure }))
}
