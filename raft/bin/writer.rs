//! One node that writes as fast as it can, for the tests that break real disks under it.
//!
//! `store-writer DIR` tells each acknowledged number on a line of its own, until its disk breaks or it is
//! killed. `store-writer DIR check` tells every number that is there, and `complete` at the end.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use holdfast_raft::{Config, Machine, Raft, Secret, Stamp, codec};

const WRITERS: u64 = 8;
const PAUSE: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(20);

/// Remembers numbers.
#[derive(Clone, Default)]
struct Numbers(BTreeSet<u64>);

impl Machine for Numbers {
    type Command = u64;
    type Reply = ();
    type Event = u64;
    const SCHEMA: u16 = 1;

    fn apply(&mut self, _: Stamp, number: &u64, events: &mut Vec<u64>) {
        self.0.insert(*number);
        events.push(*number);
    }

    fn snapshot(&self) -> Result<Vec<u8>, String> {
        codec::encode(&self.0).map_err(|e| e.to_string())
    }

    fn restore(_: u16, bytes: &[u8]) -> Result<Self, String> {
        let numbers = codec::decode(bytes, usize::MAX).map_err(|e| e.to_string())?;
        Ok(Numbers(numbers))
    }

    fn digest(&self) -> u64 {
        self.0.len() as u64
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), mode) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: store-writer DIR [check]");
        return ExitCode::from(2);
    };
    let config = Config {
        name: "writer".into(),
        data_dir: dir.into(),
        secret: Secret::new("only-for-breaking-disks"),
        // All that a store does to its disk happens often.
        snapshot_every: 200,
        log_keep: 50,
        segment_bytes: 64 * 1024,
        ..Config::default()
    };
    let raft = match Raft::<Numbers>::start(config).await {
        Ok(raft) => raft,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(3);
        }
    };
    match mode.as_deref() {
        None => write(raft).await,
        Some("check") => check(raft).await,
        Some(other) => {
            eprintln!("{other:?} is not check");
            ExitCode::from(2)
        }
    }
}

async fn write(raft: Raft<Numbers>) -> ExitCode {
    // Above all numbers of an earlier run.
    if let Err(e) = raft.barrier(DEADLINE).await {
        let why = raft.fatal().borrow().clone();
        eprintln!("no barrier: {e}; {}", why.unwrap_or_default());
        return ExitCode::from(4);
    }
    let first = raft.read(|m| m.0.last().map_or(0, |n| n + 1));
    for writer in 0..WRITERS {
        let raft = raft.clone();
        tokio::spawn(async move {
            for number in (0..).map(|n| first + n * WRITERS + writer) {
                // Of a number without an answer nothing is known; with a broken disk none has one.
                if raft.propose(number, DEADLINE).await.is_err() {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                // One write, so that lines are never mixed; without a reader there is no use.
                let line = format!("{number}\n");
                if std::io::stdout().write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
    let mut fatal = raft.fatal();
    // The sender lives as long as the node.
    let _ = fatal.wait_for(Option::is_some).await;
    eprintln!("stopped: {}", fatal.borrow().clone().unwrap_or_default());
    ExitCode::from(5)
}

async fn check(raft: Raft<Numbers>) -> ExitCode {
    if let Err(e) = raft.barrier(DEADLINE).await {
        eprintln!("no barrier: {e}");
        return ExitCode::from(4);
    }
    let numbers = raft.read(|m| m.0.clone());
    let mut out = String::new();
    for number in numbers {
        out.push_str(&format!("{number}\n"));
    }
    println!("{out}complete");
    raft.shutdown().await;
    ExitCode::SUCCESS
}
