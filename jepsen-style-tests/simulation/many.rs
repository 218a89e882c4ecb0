//! Many seeds, each in a process of its own, so that counters of one run cannot reach the next.

use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

#[derive(Default)]
struct Sum {
    virtual_ms: u64,
    entered: u64,
    talked: u64,
    faults: u64,
    done: u64,
    failed: Vec<(u64, i32, String)>,
}

/// Runs `count` seeds from `first` on and says which failed.
pub fn run(first: u64, count: u64, jobs: Option<usize>) -> ExitCode {
    let Ok(own) = std::env::current_exe() else {
        eprintln!("the path of this program cannot be found");
        return ExitCode::FAILURE;
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs.unwrap_or(cores).max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let seed = first + at;
                    let child = Command::new(&own)
                        .args(["--seed", &seed.to_string()])
                        .stdin(Stdio::null())
                        .stderr(Stdio::null())
                        .output();
                    note(seed, child, &sum);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(|e| e.into_inner());
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{count} seeds from {first} on in {seconds:.0} s, {:.1} virtual hours, {} failed; \
         a seed: {:.1} callers, {:.1} conversations, {:.1} faults",
        sum.virtual_ms as f64 / 3_600_000.0,
        sum.failed.len(),
        sum.entered as f64 / count as f64,
        sum.talked as f64 / count as f64,
        sum.faults as f64 / count as f64,
    );
    for (seed, code, what) in &sum.failed {
        println!("seed {seed}: exit {code}: {what}");
    }
    match sum.failed.first() {
        None => ExitCode::SUCCESS,
        Some((_, code, _)) => ExitCode::from(u8::try_from(*code).unwrap_or(1)),
    }
}

fn note(seed: u64, child: std::io::Result<std::process::Output>, sum: &Mutex<Sum>) {
    let mut sum = sum.lock().unwrap_or_else(|e| e.into_inner());
    let output = match child {
        Ok(output) => output,
        Err(error) => {
            let what = format!("could not be started: {error}");
            return sum.failed.push((seed, 1, what));
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |name: &str| {
        let mut words = text.split_whitespace().skip_while(|word| *word != name);
        words.nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    sum.virtual_ms += number("virtual_ms");
    sum.entered += number("entered");
    sum.talked += number("talked");
    sum.faults += number("faults");
    sum.done += 1;
    if sum.done.is_multiple_of(1_000) {
        println!("{} seeds, {} failed", sum.done, sum.failed.len());
    }
    if !output.status.success() {
        // Killed by a signal: as a crash.
        let code = output.status.code().unwrap_or(127);
        let what = text.lines().find(|line| line.starts_with("VIOLATION"));
        let what: String = what.unwrap_or("no word of why").chars().take(300).collect();
        println!("seed {seed} failed: {what}");
        sum.failed.push((seed, code, what));
    }
}
