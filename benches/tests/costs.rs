//! What the core costs in instructions, which does not depend on the machine's speed: no thing may cost
//! a tenth more than `costs.txt` says, nor grow with the line faster than its logarithm.
//!
//! `COSTS=write make test-costs` takes what was counted into the file; then the change of the file is
//! looked at like any other.

use holdfast_benches::{Deed, STRATEGIES};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Percent above the committed figure that are no rise.
const RISE: u64 = 10;
/// A line a hundred times as long has a logarithm 1.7 times as big.
const GROWTH: f64 = 1.7;
const TIMES: u64 = 200;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("costs.txt")
}

/// Instructions of one time, the building of the house left out. They are the same in every run.
fn count(deed: Deed, strategy: &str, numbers: [u64; 3]) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.args(["--collect-atstart=no", "--toggle-collect=*carry_out*"]);
    command.arg(env!("CARGO_BIN_EXE_repeat"));
    command.args([deed.name(), strategy]);
    command.args(numbers.map(|number| number.to_string()));
    command.arg(TIMES.to_string());
    let done = command
        .output()
        .unwrap_or_else(|why| panic!("valgrind: {why}; run `apt-get install valgrind`"));
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected :"));
    let count = collected.and_then(|(_, number)| number.trim().parse::<u64>().ok());
    match count {
        Some(count) if count > 0 => count / TIMES,
        _ => panic!("valgrind counted nothing: {told}"),
    }
}

fn counted() -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    let mut add = |deed: Deed, strategy: &str| {
        let callers = if deed == Deed::Arrival { 0 } else { 2_000 };
        let cost = count(deed, strategy, [callers, 200, 10]);
        counted.insert(format!("{} {strategy}", deed.name()), cost);
    };
    Deed::ALL.into_iter().for_each(|deed| add(deed, "rrmemory"));
    for (strategy, _) in STRATEGIES.iter().filter(|(name, _)| *name != "rrmemory") {
        add(Deed::Arrival, strategy);
        add(Deed::Decide, strategy);
        add(Deed::Pass, strategy);
    }
    counted
}

#[test]
fn nothing_costs_a_tenth_more_than_it_did() {
    let counted = counted();
    if std::env::var("COSTS").is_ok_and(|word| word == "write") {
        let lines = counted
            .iter()
            .map(|(name, cost)| format!("{name} {cost}\n"));
        std::fs::write(file(), lines.collect::<String>()).expect("the file can be written");
        return;
    }
    let text = std::fs::read_to_string(file()).expect("costs.txt is committed");
    let known: BTreeMap<&str, u64> = text
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, cost)| (name, cost.parse().expect("a cost is a number")))
        .collect();
    let names: Vec<&str> = counted.keys().map(String::as_str).collect();
    assert_eq!(known.keys().copied().collect::<Vec<_>>(), names);
    let mut risen = Vec::new();
    for (name, cost) in &counted {
        let before = known[name.as_str()];
        println!("{name}: {cost} instructions, {before} before");
        if *cost > before + before * RISE / 100 {
            risen.push(format!("{name}: {cost} instructions, {before} before"));
        }
    }
    assert!(
        risen.is_empty(),
        "risen by more than {RISE} %; if it is worth it, COSTS=write: {risen:#?}"
    );
}

#[test]
fn a_call_costs_no_more_than_the_logarithm_of_the_line() {
    grows(Deed::Call, "rrmemory", [[200, 20, 1], [20_000, 20, 1]]);
}

/// The line is the same for all strategies; whom to ring is not.
#[test]
fn a_decision_costs_no_more_than_the_logarithm_of_callers_and_of_agents() {
    grows(Deed::Decide, "rrmemory", [[200, 200, 1], [20_000, 200, 1]]);
    // Names many, goes on behind the last, takes the first in order, draws: the others do one of these.
    for strategy in ["ringall", "rrmemory", "leastrecent", "random"] {
        // Half of the agents are free, all in one queue.
        grows(Deed::Decide, strategy, [[200, 200, 1], [200, 2_000, 1]]);
    }
}

fn grows(deed: Deed, strategy: &str, [small, big]: [[u64; 3]; 2]) {
    let [less, more] = [small, big].map(|numbers| count(deed, strategy, numbers));
    let told = format!(
        "{} {strategy}: {less} instructions with {small:?} callers, agents and queues, {more} with {big:?}",
        deed.name()
    );
    println!("{told}");
    assert!((more as f64) < less as f64 * GROWTH, "{told}");
}
