//! Recovery: how soon a store serves again after a crash with a million log entries, Holdfast beside etcd
//! and Redis; with a snapshot of a hundred thousand calls; and how soon a follower that was away for a
//! million entries has caught up, and what the leader's callers feel of it.
//!
//! No figure makes it fail. An acknowledged entry that is missing does, and a store that does not start.

mod cold;
mod follower;
mod no_sync;
mod node;
mod process;
mod section;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use node::{NodeArgs, run as node};

use crate::servers::System;
use crate::{Error, Raw, peers, proc, version};

/// How soon stores serve again after a crash, and a follower after it was away; prints markdown.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where each figure goes as a line of JSON.
    #[arg(long, value_name = "FILE")]
    raw: Option<PathBuf>,
    /// Folder with bin/etcd and bin/redis-server; by default where benches/get-peers.sh puts it.
    #[arg(long, value_name = "DIR", default_value_os_t = peers())]
    peers: PathBuf,
    /// Folder on the disk to measure on; a folder of this run's own is made in it and removed.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Entries of the log, of one command each.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    entries: u64,
    /// Callers in line in the snapshot.
    #[arg(long, default_value_t = 99_000, value_parser = clap::value_parser!(u32).range(100..=190_000))]
    callers: u32,
    /// A few thousand entries, to see that everything works: its figures are worth nothing.
    #[arg(long)]
    quick: bool,
}

/// What is done.
struct Plan {
    quick: bool,
    entries: u64,
    calls: usize,
    /// Each talks with a caller of his own.
    agents: usize,
    /// How long the writer writes before the follower comes back.
    paced: Duration,
}

/// All figures of a run.
struct Run {
    plan: Plan,
    starts: Vec<cold::Start>,
    snapshot: cold::Snapshot,
    returns: Vec<follower::Return>,
    etcd: String,
    redis: String,
}

pub async fn run(args: Args) -> Result<(), Error> {
    let mut raw = Raw::create(args.raw.as_deref())?;
    let programs = args.peers.join("bin");
    let etcd = version(&programs.join("etcd"), "etcd Version: ")?;
    let redis = version(&programs.join("redis-server"), "v=")?;
    proc::must_be_a_disk(&args.dir)?;
    let dir = tempfile::tempdir_in(&args.dir);
    let dir = dir.map_err(|e| Error::new(format!("a folder in {}", args.dir.display()), e))?;
    let dir = dir.path();
    let plan = match args.quick {
        true => Plan {
            quick: true,
            entries: 4_000,
            calls: 500,
            agents: 20,
            paced: Duration::from_millis(300),
        },
        false => Plan {
            quick: false,
            entries: args.entries,
            calls: args.callers as usize,
            agents: 1_000,
            paced: Duration::from_secs(5),
        },
    };

    eprintln!("a start with a snapshot of the queue");
    let snapshot = cold::snapshot(&plan, dir).await?;
    raw.write(&snapshot)?;
    let mut starts = Vec::new();
    eprintln!("a start with {} entries: holdfast", plan.entries);
    starts.push(cold::holdfast(&plan, dir).await?);
    raw.write(&starts[0])?;
    for system in [System::Etcd, System::Redis] {
        eprintln!("a start with {} entries: {}", plan.entries, system.name());
        let start = cold::peer(&plan, system, &programs, dir).await?;
        raw.write(&start)?;
        starts.push(start);
    }
    eprintln!("a follower that was away for {} entries", plan.entries);
    let returns = follower::returns(&plan, dir).await?;
    for returned in &returns {
        raw.write(returned)?;
    }
    let run = Run {
        plan,
        starts,
        snapshot,
        returns,
        etcd,
        redis,
    };
    print!("{}", section::markdown(&run));
    Ok(())
}

fn remove(folder: &Path) -> Result<(), Error> {
    let removed = std::fs::remove_dir_all(folder);
    removed.map_err(|e| Error::new(format!("removing {}", folder.display()), e))
}
