//! Holdfast's store beside etcd and Redis, in turn and under the same load: prints a section of the page
//! of figures, and writes each raw figure as a line of JSON.
//!
//! It says nothing about the queue: `section.rs` tells what is compared with what. It fails when a store
//! does not start, ends, or acknowledges nothing; no figure makes it fail.

mod clients;
mod figures;
mod measure;
mod node;
mod proc;
mod recovery;
#[path = "../resp.rs"]
mod resp;
mod section;
mod servers;
mod shared;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde::Serialize;

use measure::Plan;
use section::Run;
use servers::{Servers, System};

/// As in the binary `holdfast`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of a value.
const VALUE: usize = 300;
/// All values together are the state of which Holdfast makes snapshots.
const KEYS: usize = 1_000;
const WRITERS: [usize; 4] = [1, 16, 64, 256];
const GROWTH_WRITERS: usize = 256;

/// What was attempted and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    what: String,
    why: String,
}

impl Error {
    pub fn new(what: impl Into<String>, why: impl ToString) -> Error {
        let (what, why) = (what.into(), why.to_string());
        Error { what, why }
    }
}

/// Holdfast's store beside etcd and Redis, in turn; prints markdown.
#[derive(Parser, Debug)]
#[command(name = "store", args_conflicts_with_subcommands = true)]
struct Args {
    /// Where each figure goes as a line of JSON.
    #[arg(long, value_name = "FILE")]
    raw: Option<PathBuf>,
    /// Folder with bin/etcd and bin/redis-server; by default where benches/get-peers.sh puts it.
    #[arg(long, value_name = "DIR", default_value_os_t = peers())]
    peers: PathBuf,
    /// Folder on the disk to measure on; a folder of this run's own is made in it and removed.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// How often each takes its turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// Length of a turn, behind a warm-up of a fifth of it.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Afterwards, this many commands to each store, for the disk use: a million takes three minutes or so.
    #[arg(long, value_name = "COMMANDS", default_value_t = 0)]
    growth: u32,
    /// One round of short turns, to see that everything works: its figures are worth nothing.
    #[arg(long)]
    quick: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand, Debug)]
enum Role {
    /// One node of Holdfast's store; this program starts three of them itself.
    #[command(hide = true)]
    Node(node::NodeArgs),
    /// How soon stores serve again after a crash, and a follower after it was away; prints markdown.
    Recovery(recovery::Args),
    /// One node that is killed and started again.
    #[command(hide = true)]
    RecoveryNode(recovery::NodeArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let measuring: Pin<Box<dyn Future<Output = Result<(), Error>>>> = match args.role {
        Some(Role::Node(node)) => {
            small_pages();
            return ended(node::run(node).await);
        }
        Some(Role::RecoveryNode(node)) => {
            small_pages();
            return ended(recovery::node(node).await);
        }
        Some(Role::Recovery(args)) => Box::pin(recovery::run(args)),
        None => Box::pin(compare(args)),
    };
    // Dropping the run ends its processes.
    ended(tokio::select! {
        done = measuring => done,
        why = stopped() => Err(why),
    })
}

/// As in the binary `holdfast`. The peers, which are processes below this one, keep what they would have.
fn small_pages() {
    let _ = nix::sys::prctl::set_thp_disable(true);
}

fn ended(done: Result<(), Error>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("store: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn stopped() -> Error {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return Error::new("listening for SIGTERM", "not possible");
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Error::new("measuring", "stopped by a signal")
}

async fn compare(args: Args) -> Result<(), Error> {
    let mut raw = Raw::create(args.raw.as_deref())?;
    let programs = args.peers.join("bin");
    let etcd = version(&programs.join("etcd"), "etcd Version: ")?;
    let redis = version(&programs.join("redis-server"), "v=")?;
    proc::must_be_a_disk(&args.dir)?;
    let dir = tempfile::tempdir_in(&args.dir);
    let dir = dir.map_err(|e| Error::new(format!("a folder in {}", args.dir.display()), e))?;
    let (kernel, cores) = proc::machine();
    let before = proc::fsync_us(dir.path())?;

    let mut all = Vec::new();
    for system in System::ALL {
        all.push(Servers::start(system, &programs, dir.path()).await?);
    }
    let rounds = if args.quick {
        1
    } else {
        usize::from(args.rounds)
    };
    let measured = match args.quick {
        true => Duration::from_millis(500),
        false => Duration::from_secs(args.seconds),
    };
    let mut turns = Vec::new();
    for round in 1..=rounds {
        for writers in WRITERS {
            for servers in &mut all {
                eprintln!(
                    "round {round} of {rounds}: {}, {writers} writers",
                    servers.system.name()
                );
                let plan = Plan {
                    round,
                    writers,
                    warm_up: measured / 5,
                    measured,
                };
                let turn = measure::turn(servers, plan, dir.path()).await?;
                raw.write(&turn)?;
                turns.push(turn);
            }
        }
    }
    let after = proc::fsync_us(dir.path())?;
    let mut growth = Vec::new();
    if args.growth > 0 {
        let commands = if args.quick { 1_000 } else { args.growth };
        let commands = usize::try_from(commands).unwrap_or(usize::MAX);
        for servers in &mut all {
            eprintln!("{commands} commands to {}", servers.system.name());
            let tell = |step| {
                raw.write(&step)?;
                growth.push(step);
                Ok(())
            };
            measure::growth(servers, commands, tell).await?;
        }
    }
    let run = Run {
        quick: args.quick,
        turns,
        growth,
        rounds,
        seconds: measured.as_secs_f64(),
        etcd,
        redis,
        kernel,
        cores,
        fsync: [before, after],
    };
    raw.write(&serde_json::json!({
        "kind": "machine", "kernel": run.kernel, "cores": run.cores, "etcd": run.etcd, "redis": run.redis,
        "fsync_before_us": before, "fsync_after_us": after,
    }))?;
    print!("{}", section::markdown(&run));
    Ok(())
}

/// The folder of get-peers.sh, in the cache that is named or used by default.
fn peers() -> PathBuf {
    let named = |key| std::env::var_os(key).map(PathBuf::from);
    let home = || named("HOME").map(|home| home.join(".cache"));
    let cache = named("XDG_CACHE_HOME").or_else(home).unwrap_or_default();
    let cache = named("HOLDFAST_CACHE").unwrap_or(cache.join("holdfast"));
    cache.join("peers")
}

/// The word behind a mark in what a program says of itself.
fn version(program: &Path, mark: &str) -> Result<String, Error> {
    let what = format!("asking {} for its version", program.display());
    let said = std::process::Command::new(program)
        .arg("--version")
        .output();
    let said = said.map_err(|e| Error::new(format!("{what} (see benches/get-peers.sh)"), e))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let behind = said.split_once(mark).map(|(_, behind)| behind);
    let word = behind.and_then(|b| b.split_ascii_whitespace().next());
    word.map(str::to_string)
        .ok_or_else(|| Error::new(what, format!("it said {said:?}")))
}

/// The file of raw figures, if one is wanted.
struct Raw(Option<File>);

impl Raw {
    fn create(path: Option<&Path>) -> Result<Raw, Error> {
        let file = path.map(File::create).transpose();
        let what = || format!("creating {}", path.unwrap_or(Path::new("")).display());
        file.map(Raw).map_err(|e| Error::new(what(), e))
    }

    /// At once, so that nothing is lost when a later turn fails.
    fn write(&mut self, figure: &impl Serialize) -> Result<(), Error> {
        let Some(file) = &mut self.0 else {
            return Ok(());
        };
        let line = serde_json::to_string(figure).map_err(|e| Error::new("a raw figure", e))?;
        writeln!(file, "{line}").map_err(|e| Error::new("writing a raw figure", e))
    }
}
