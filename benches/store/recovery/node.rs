//! A node of Holdfast's store that is started, killed and started again: told what to do by lines on
//! standard input, it answers each with a line of JSON on standard output, and ends with the input.
//!
//! It proposes from inside the process, as the product does. Its state is a table of values or the state
//! of the queue. With `--no-sync` nothing is made durable, for filling a log in a minute: then a kill of
//! the process loses nothing, only a power cut would. Nothing is measured that way.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfast_acd::{Command, State};
use holdfast_benches::{House, Size};
use holdfast_raft::{Config, Faults, Machine, Raft, Secret, World, codec};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::{JoinHandle, JoinSet};

use super::no_sync::NoSync;
use crate::figures::percentile;
use crate::node::{Put, Table};
use crate::{Error, KEYS, VALUE};

const DEADLINE: Duration = Duration::from_secs(10);
/// A write that a start waits for.
const SERVING: Duration = Duration::from_secs(300);
/// Commands on their way while a log is filled.
const FILLERS: u64 = 1_024;
/// Commands of the queue in one entry while its state is built.
const GROUP: usize = 200;

/// How such a node is started.
#[derive(clap::Args, Clone, Debug)]
pub struct NodeArgs {
    #[arg(long)]
    pub name: String,
    #[arg(long)]
    pub dir: PathBuf,
    #[arg(long)]
    pub listen: std::net::SocketAddr,
    #[arg(long, value_delimiter = ',')]
    pub join: Vec<String>,
    /// The state is that of the queue.
    #[arg(long)]
    pub queue: bool,
    #[arg(long)]
    pub snapshot_every: u64,
    #[arg(long)]
    pub log_keep: u64,
    #[arg(long)]
    pub no_sync: bool,
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// It has read all it had and listens.
    Up {
        applied: u64,
    },
    /// What was asked for is done.
    Done,
    Stands(Stand),
    Paced(Paced),
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stand {
    pub applied: u64,
    pub snapshot: u64,
    pub purged: u64,
    pub term: u64,
    pub leads: bool,
    pub current: bool,
}

/// What one writer saw who writes one command after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Paced {
    pub writes: u64,
    pub failed: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    /// From one acknowledgement to the next.
    pub longest_us: u64,
}

/// A state that can be written to without end.
pub trait Written: Machine {
    fn command(number: u64) -> Self::Command;
    /// What builds a house, if this is a state of the queue.
    fn house(size: Size) -> Vec<Self::Command>;
}

impl Written for Table {
    fn command(number: u64) -> Put {
        let key = format!("key-{:06}", number % KEYS as u64);
        Put::new(key.as_bytes(), &[b'v'; VALUE])
    }

    fn house(_: Size) -> Vec<Put> {
        Vec::new()
    }
}

/// The state of the queue, as the product's own `AcdMachine` wraps it.
#[derive(Clone, Default)]
struct Queue(State);

impl Machine for Queue {
    type Command = Command;
    type Reply = holdfast_acd::Reply;
    type Event = holdfast_acd::Event;
    const SCHEMA: u16 = 1;

    fn apply(
        &mut self,
        stamp: holdfast_raft::Stamp,
        command: &Command,
        events: &mut Vec<holdfast_acd::Event>,
    ) -> Self::Reply {
        let stamp = holdfast_acd::Stamp {
            index: stamp.index,
            at: stamp.at_ms,
            wall_ms: stamp.wall_ms,
        };
        self.0.apply(stamp, command, events)
    }

    fn snapshot(&self) -> Result<Vec<u8>, String> {
        codec::encode_long(&self.0).map_err(|e| e.to_string())
    }

    fn restore(_: u16, bytes: &[u8]) -> Result<Self, String> {
        let state = codec::decode(bytes, 1 << 30);
        state.map(Queue).map_err(|e| e.to_string())
    }

    fn digest(&self) -> u64 {
        self.0.digest()
    }

    fn subject(event: &holdfast_acd::Event) -> Option<u64> {
        event.call().map(|call| call.0)
    }
}

impl Written for Queue {
    fn command(_: u64) -> Command {
        Command::Tick
    }

    fn house(size: Size) -> Vec<Command> {
        House::commands(size)
    }
}

pub async fn run(args: NodeArgs) -> Result<(), Error> {
    match args.queue {
        true => serve::<Queue>(args).await,
        false => serve::<Table>(args).await,
    }
}

async fn serve<M: Written>(args: NodeArgs) -> Result<(), Error> {
    let faults = Faults::default();
    let world = match args.no_sync {
        true => World {
            disk: Arc::new(NoSync::default()),
            ..World::default()
        },
        false => World::default(),
    };
    let config = Config {
        name: args.name,
        data_dir: args.dir,
        listen: args.listen,
        bootstrap_expect: args.join.len(),
        join: args.join,
        secret: Secret::new("only-for-measuring"),
        snapshot_every: args.snapshot_every,
        log_keep: args.log_keep,
        faults: faults.clone(),
        world,
        ..Config::default()
    };
    let raft = Raft::<M>::start(config).await;
    let raft = raft.map_err(|e| Error::new("starting a node", e))?;
    let applied = *raft.applied().borrow();
    say(Answer::Up { applied }).await?;
    let mut fatal = raft.fatal();
    tokio::select! {
        done = obey(raft, faults) => done,
        why = fatal.wait_for(Option::is_some) => {
            let why = why.ok().and_then(|why| why.clone());
            Err(Error::new("the store", why.unwrap_or_default()))
        }
    }
}

async fn say(answer: Answer) -> Result<(), Error> {
    let failed = |e: String| Error::new("answering", e);
    let mut line = serde_json::to_string(&answer).map_err(|e| failed(e.to_string()))?;
    line.push('\n');
    let mut out = tokio::io::stdout();
    let said = async {
        out.write_all(line.as_bytes()).await?;
        out.flush().await
    };
    said.await.map_err(|e| failed(e.to_string()))
}

async fn obey<M: Written>(raft: Raft<M>, faults: Faults) -> Result<(), Error> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut pacing: Option<(Arc<AtomicBool>, JoinHandle<Paced>)> = None;
    while let Ok(Some(line)) = lines.next_line().await {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let answer = match (words[0], number(1)) {
            ("write", _) => {
                write(&raft, 0, SERVING).await?;
                Answer::Done
            }
            ("fill", Some(entries)) => {
                faults.without_batcher();
                fill(&raft, entries).await?;
                Answer::Done
            }
            ("house", Some(callers)) => {
                let agents = number(2).unwrap_or(1);
                build(&raft, callers as usize, agents as usize).await?;
                Answer::Done
            }
            ("stand", _) => Answer::Stands(stand(&raft)),
            ("pace", _) => {
                let on = Arc::new(AtomicBool::new(true));
                pacing = Some((on.clone(), tokio::spawn(pace(raft.clone(), on))));
                Answer::Done
            }
            ("stop", _) => {
                let Some((on, task)) = pacing.take() else {
                    return Err(Error::new("stop", "there is no writer"));
                };
                on.store(false, Ordering::Relaxed);
                Answer::Paced(task.await.map_err(|e| Error::new("the writer", e))?)
            }
            _ => return Err(Error::new(line, "is not understood")),
        };
        say(answer).await?;
    }
    Ok(())
}

async fn write<M: Written>(raft: &Raft<M>, number: u64, within: Duration) -> Result<(), Error> {
    let done = raft.propose(M::command(number), within).await;
    done.map(drop).map_err(|e| Error::new("a write", e))
}

/// So many entries of one command each.
async fn fill<M: Written>(raft: &Raft<M>, entries: u64) -> Result<(), Error> {
    let mut filling = JoinSet::new();
    for first in 0..FILLERS {
        let raft = raft.clone();
        filling.spawn(async move {
            for number in (first..entries).step_by(FILLERS as usize) {
                write(&raft, number, SERVING).await?;
            }
            Ok(())
        });
    }
    while let Some(done) = filling.join_next().await {
        done.map_err(|e| Error::new("filling", e))??;
    }
    Ok(())
}

/// A line so long, and so many agents who all talk.
async fn build<M: Written>(raft: &Raft<M>, callers: usize, agents: usize) -> Result<(), Error> {
    let commands = M::house(Size {
        strategy: holdfast_acd::settings::Strategy::RrMemory,
        callers,
        agents,
        queues: 10,
    });
    let failed = |e: holdfast_raft::ProposeError| Error::new("building a house", e);
    write(raft, 0, SERVING).await?;
    for group in commands.chunks(GROUP) {
        let leads = raft.leadership().borrow().as_ref().map_or(0, |it| it.term);
        let done = raft.propose_as_leader(leads, group.to_vec(), DEADLINE);
        done.await.map_err(failed)?;
    }
    Ok(())
}

fn stand<M: Written>(raft: &Raft<M>) -> Stand {
    let status = raft.status();
    Stand {
        applied: status.applied,
        snapshot: status.snapshot,
        purged: status.purged,
        term: status.term,
        leads: raft.leadership().borrow().is_some(),
        current: raft.is_current(),
    }
}

/// One command after the other, until it is told to stop.
async fn pace<M: Written>(raft: Raft<M>, on: Arc<AtomicBool>) -> Paced {
    let (mut times, mut failed, mut longest) = (Vec::new(), 0, Duration::ZERO);
    let mut acknowledged = Instant::now();
    let mut number = 0;
    while on.load(Ordering::Relaxed) {
        let begun = Instant::now();
        number += 1;
        match write(&raft, number, DEADLINE).await {
            Ok(()) => {
                times.push(begun.elapsed().as_micros() as u64);
                longest = longest.max(acknowledged.elapsed());
                acknowledged = Instant::now();
            }
            Err(_) => failed += 1,
        }
    }
    longest = longest.max(acknowledged.elapsed());
    times.sort_unstable();
    Paced {
        writes: times.len() as u64,
        failed,
        p50_us: percentile(&times, 50),
        p99_us: percentile(&times, 99),
        longest_us: longest.as_micros() as u64,
    }
}
