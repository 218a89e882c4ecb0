//! The simulation as `make test` runs it: the same seed twice gives the same run, new seeds keep
//! all promises, and so do the seeds that once found something.

use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of every test run. `make simulate SEEDS=10000` runs more.
const SEEDS: u64 = 300;
const PIECES: u64 = 3;
/// Seeds that are run twice.
const TWICE: u64 = 20;

fn simulate(seed: u64) -> Output {
    program(seed).output().expect(BUILT)
}

/// As `make simulate SEED=` does.
fn simulate_aloud(seed: u64) -> Output {
    program(seed).arg("--verbose").output().expect(BUILT)
}

const BUILT: &str = "the program was built with this test";

fn program(seed: u64) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_simulate"));
    program.args(["--seed", &seed.to_string()]);
    program
}

/// The line that tells the hash of the trace.
fn result(output: &Output) -> String {
    let text = text(output);
    let line = text.lines().find(|line| line.starts_with("seed "));
    line.unwrap_or_else(|| panic!("no result: {text}"))
        .to_string()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

/// Runs seeds on all cores; gives what `look` makes of them, in no order.
fn each<T: Send>(seeds: &[u64], look: impl Fn(u64) -> Option<T> + Sync) -> Vec<T> {
    let (next, found) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(seed) = seeds.get(at) else { return };
                    if let Some(it) = look(*seed) {
                        found.lock().unwrap().push(it);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

fn failures(seeds: &[u64]) -> Vec<String> {
    each(seeds, |seed| {
        let output = simulate(seed);
        (!output.status.success()).then(|| text(&output))
    })
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    let seeds: Vec<u64> = (1..=TWICE).collect();
    let differ = each(&seeds, |seed| {
        // At the same time as others, so that the machine's load differs between the two; and what is
        // logged changes nothing.
        let (one, two) = (result(&simulate(seed)), result(&simulate_aloud(seed)));
        (one != two).then(|| format!("{one}\n{two}"))
    });
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn seeds_differ_from_each_other() {
    let trace = |seed| {
        let text = text(&simulate(seed));
        let mut words = text.split_whitespace().skip_while(|word| *word != "trace");
        words.nth(1).expect("a run tells its trace").to_string()
    };
    assert_ne!(trace(1), trace(2));
}

/// In pieces, each with the time that a test has on a busy machine.
fn all_promises_are_kept(piece: u64) {
    let first = piece * SEEDS / PIECES + 1;
    let seeds: Vec<u64> = (first..first + SEEDS / PIECES).collect();
    let failures = failures(&seeds);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn all_promises_are_kept_by_the_first_seeds() {
    all_promises_are_kept(0);
}

#[test]
fn all_promises_are_kept_by_the_next_seeds() {
    all_promises_are_kept(1);
}

#[test]
fn all_promises_are_kept_by_the_last_seeds() {
    all_promises_are_kept(2);
}

#[test]
fn seeds_that_found_something_find_nothing_any_more() {
    let kept = include_str!("../regressions.txt");
    let lines = kept.lines().filter(|line| !line.starts_with('#'));
    let seeds: Vec<u64> = lines
        .map(|line| {
            let number = line.split_whitespace().next().unwrap_or_default();
            let seed = number.parse();
            seed.unwrap_or_else(|_| panic!("regressions.txt: no seed in {line:?}"))
        })
        .collect();
    assert!(!seeds.is_empty());
    let failures = failures(&seeds);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
