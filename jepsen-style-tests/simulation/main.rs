//! `simulate`: the deterministic simulation of a whole installation.
//!
//! The real core, distributor, drivers, actors, proposers and the real openraft run on a seeded
//! world: virtual time, an in-process network, disks that lose what was not synced, simulated
//! Asterisks that lose events and answers and die, seeded callers, agents, admin clients and faults.
//! One process runs one seed on one thread; the same seed gives the same run, bit for bit.
//!
//! Exit codes: 0 all promises kept; 127 a panic; 128 something that had to happen did not; 129 a
//! promise was broken.

mod asterisk;
mod book;
mod checks;
mod clients;
mod entropy;
mod host;
mod log_reader;
mod many;
mod nemesis;
mod options;
mod people;
mod run;
mod switchboard;
mod watch;
mod world;

use book::Clock;
use clap::Parser;
use options::Options;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Runs a seed, or many.
#[derive(Debug, Parser)]
struct Args {
    /// The seed to run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run so many seeds instead, from `--seed` on, each in a process of its own.
    #[arg(long)]
    seeds: Option<u64>,
    /// Processes at the same time.
    #[arg(long)]
    jobs: Option<usize>,
    /// Print the options of the run, and what the nodes log.
    #[arg(long)]
    verbose: bool,
    /// Bring one of the deliberate bugs to life (`list`: names them). Needs the feature `planted`;
    /// `ack-before-sync` needs none.
    #[arg(long)]
    bug: Option<String>,
    /// Write every line of the trace to this file.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Write what was seen, as the judge reads it, to this file.
    #[arg(long)]
    history: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(bug) = &args.bug
        && let Err(what) = plant(bug)
    {
        eprintln!("{what}");
        return ExitCode::FAILURE;
    }
    match args.seeds {
        Some(count) => many::run(args.seed, count, args.jobs),
        None => apart(args),
    }
}

/// Runs one seed in a thread of its own: the keys of a thread's hash maps depend on how many it has
/// made, and the log's may not count.
fn apart(args: Args) -> ExitCode {
    if args.verbose {
        tracing_subscriber::fmt()
            .with_env_filter(
                std::env::var("SIMULATE_LOG").unwrap_or_else(|_| "info,openraft=warn".into()),
            )
            .without_time()
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();
    }
    let run = move || {
        entropy::seed(args.seed);
        one(&args)
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(run);
    match thread.map(|thread| thread.join()) {
        Ok(Ok(code)) => code,
        Ok(Err(_)) => ExitCode::from(127),
        Err(error) => {
            eprintln!("no thread for the run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Of the thread of a run, in bytes: as much as a main thread usually has.
const STACK: usize = 8 << 20;

/// Brings a deliberate bug to life; the disks' own is for the world to make.
fn plant(bug: &str) -> Result<(), String> {
    if bug == LYING_DISK {
        return Ok(());
    }
    #[cfg(feature = "planted")]
    {
        use holdfast_node::planted::{BUGS, plant};
        if BUGS.contains(&bug) {
            plant(bug);
            return Ok(());
        }
        Err(format!(
            "there is no bug {bug}; one of: {LYING_DISK} {}",
            BUGS.join(" ")
        ))
    }
    #[cfg(not(feature = "planted"))]
    Err(format!(
        "{bug}: build with --features planted; without, only {LYING_DISK}"
    ))
}

/// The bug that needs no change of the nodes: disks that acknowledge a sync and do nothing.
const LYING_DISK: &str = "ack-before-sync";

/// A task that never waits stops virtual time, and with it every check of the run itself. This
/// thread sees it from outside; it takes part in nothing.
fn watch_progress(seed: u64, clock: Clock) {
    const STUCK: Duration = Duration::from_secs(20);
    std::thread::spawn(move || {
        loop {
            let before = clock.now();
            std::thread::sleep(STUCK);
            if clock.now() == before {
                println!("VIOLATION of no busy loop: time stands still at {before} ms");
                println!("reproduce: make simulate SEED={seed}");
                std::process::exit(128);
            }
        }
    });
}

fn one(args: &Args) -> ExitCode {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        world::PANICKED.store(true, Ordering::Relaxed);
        usual(info);
    }));
    let clock = Clock::default();
    watch_progress(args.seed, clock.clone());
    let mut options = Options::of(args.seed);
    options.lying_disks = args.bug.as_deref() == Some(LYING_DISK);
    if args.verbose {
        println!("{options:#?}");
    }
    let trace = match args.trace.as_ref().map(File::create).transpose() {
        Ok(trace) => trace,
        Err(error) => {
            eprintln!("the trace cannot be written: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = run::run(options, clock, trace);
    if let Some(path) = &args.history
        && let Err(error) = outcome.history.write(path)
    {
        eprintln!("the history cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    let (hash, lines) = outcome.trace;
    let (entered, talked, ended) = outcome.callers;
    println!(
        "seed {} trace {hash:016x} lines {lines} virtual_ms {} entered {entered} talked {talked} ended {ended} faults {}",
        args.seed, outcome.virtual_ms, outcome.faults
    );
    let Some(violation) = outcome.violation else {
        return ExitCode::SUCCESS;
    };
    for line in &outcome.last {
        println!("  {line}");
    }
    if !outcome.report.is_empty() {
        println!("{}", outcome.report);
    }
    println!("VIOLATION of {violation}");
    println!("reproduce: make simulate SEED={}", args.seed);
    ExitCode::from(match violation.property.as_str() {
        "no panic" => 127,
        _ if violation.liveness => 128,
        _ => 129,
    })
}
