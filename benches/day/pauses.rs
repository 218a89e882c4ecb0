//! Whether commands wait while snapshots are built and the log is purged: three nodes of the real store
//! with the queue's state in this process, a steady flow of callers who come and go, and the longest time
//! between two commands acknowledged, and between two entries applied at a node.
//!
//! Nodes share one process, one disk and the machine's cores here; a pause that the machine makes is in the
//! figures too. The same flow without snapshots tells how much that is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_acd::{Command, Done};
use holdfast_drills::lab::place::Place;
use holdfast_node::AcdMachine;
use holdfast_raft::{Config, Raft, Secret};
use serde::Serialize;
use tempfile::TempDir;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::large::{Size, founding, join, leave};

/// For one command.
const DEADLINE: Duration = Duration::from_secs(20);
/// For a leader.
const ELECTION: Duration = Duration::from_secs(20);
/// Commands on their way while the state is filled.
const FILLERS: usize = 256;
/// Writers of the steady flow, and between two callers of each.
const WRITERS: usize = 8;
const EVERY: Duration = Duration::from_millis(16);
/// A flow with snapshots goes on until it has seen one, but not longer.
const SNAPSHOT_MAX: Duration = Duration::from_secs(30);
/// Between two looks at how far the snapshots are.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So that no snapshot is made.
const NEVER: u64 = 1 << 40;

type Node = Raft<AcdMachine>;

/// One flow: with how large a state, and how often a snapshot is made (never if `None`).
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub size: Size,
    pub snapshot_every: Option<u64>,
    pub seconds: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pauses {
    pub callers: usize,
    pub agents: usize,
    pub snapshot_every: Option<u64>,
    pub commands: usize,
    /// Of all nodes together, within the flow.
    pub snapshots: usize,
    pub purges: usize,
    /// Between two acknowledged commands.
    pub between_acks_ms: f64,
    /// Between two entries applied, at the node where it was longest.
    pub between_applies_ms: f64,
    /// From a command to its acknowledgement.
    pub ack_p50_ms: f64,
    pub ack_p99_ms: f64,
    pub ack_most_ms: f64,
    /// Gaps of more than 50 ms between two acknowledged commands.
    pub long: usize,
}

/// A pause that is told of.
pub const LONG_MS: f64 = 50.0;

pub async fn run(flow: Flow) -> Result<Pauses, String> {
    let folder = TempDir::with_prefix("holdfast-pauses-").map_err(|e| e.to_string())?;
    let nodes = start(&folder, flow).await?;
    let leader = leader(&nodes).await?;
    for command in founding(flow.size.agents) {
        propose(&nodes[leader], command).await?;
    }
    fill(&nodes[leader], flow.size.callers).await?;
    let found = measure(&nodes, leader, flow).await;
    for node in &nodes {
        node.shutdown().await;
    }
    found
}

async fn start(folder: &TempDir, flow: Flow) -> Result<Vec<Node>, String> {
    let place = Place::new();
    let join: Vec<String> = (0..3).map(|n| place.addr(n, 0).to_string()).collect();
    let mut nodes = Vec::new();
    for index in 0..3 {
        let config = Config {
            name: format!("n{index}"),
            data_dir: folder.path().join(format!("n{index}")),
            listen: place.addr(index, 0),
            join: join.clone(),
            bootstrap_expect: 3,
            secret: Secret::new("only-for-measuring"),
            snapshot_every: flow.snapshot_every.unwrap_or(NEVER),
            ..Config::default()
        };
        nodes.push(Node::start(config).await.map_err(|e| e.to_string())?);
    }
    Ok(nodes)
}

async fn leader(nodes: &[Node]) -> Result<usize, String> {
    let waits = nodes.iter().enumerate().map(|(index, node)| {
        let mut leadership = node.leadership();
        Box::pin(async move {
            // An error cannot be: the node lives.
            let _ = leadership.wait_for(Option::is_some).await;
            index
        })
    });
    let first = tokio::time::timeout(ELECTION, futures_util::future::select_all(waits)).await;
    let late = |_| format!("the store has no leader within {} s", ELECTION.as_secs());
    first.map(|(index, ..)| index).map_err(late)
}

async fn propose(node: &Node, command: Command) -> Result<Done, String> {
    let applied = node.propose(command, DEADLINE).await;
    let applied = applied.map_err(|e| format!("a command was not acknowledged: {e}"))?;
    let refused = |why| format!("a command was refused: {why:?}");
    applied.reply.map_err(refused)
}

async fn fill(node: &Node, callers: usize) -> Result<(), String> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut filling = JoinSet::new();
    for _ in 0..FILLERS {
        let (node, next) = (node.clone(), next.clone());
        filling.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= callers {
                    return Ok::<(), String>(());
                }
                propose(&node, join(number)).await?;
            }
        });
    }
    while let Some(done) = filling.join_next().await {
        done.map_err(|e| e.to_string())??;
    }
    Ok(())
}

async fn measure(nodes: &[Node], leader: usize, flow: Flow) -> Result<Pauses, String> {
    let over = watch::Sender::new(false);
    let acks = Arc::new(Mutex::new(Vec::new()));
    let mut writing = JoinSet::new();
    for writer in 0..WRITERS {
        let (node, over, acks) = (nodes[leader].clone(), over.subscribe(), acks.clone());
        // Behind all who are in line already.
        let first = flow.size.callers + writer * 10_000_000;
        writing.spawn(write(node, first, over, acks));
    }
    let mut listening = JoinSet::new();
    for node in nodes {
        listening.spawn(listen(node.events(), over.subscribe()));
    }
    let (snapshots, purges) = count(nodes, flow).await;
    over.send_replace(true);
    while let Some(done) = writing.join_next().await {
        done.map_err(|e| e.to_string())??;
    }
    let between_applies = listening.join_all().await.into_iter().max();
    let mut acks = std::mem::take(&mut *acks.lock().map_err(|e| e.to_string())?);
    acks.sort_by_key(|(at, _): &(Instant, Duration)| *at);
    let gaps = acks.windows(2).map(|two| two[1].0 - two[0].0);
    let gaps: Vec<f64> = gaps.map(crate::large::ms).collect();
    let mut took: Vec<Duration> = acks.iter().map(|(_, took)| *took).collect();
    took.sort_unstable();
    let rank = |percent: usize| {
        let rank = (took.len() * percent).div_ceil(100).max(1);
        took.get(rank - 1).copied().map_or(0.0, crate::large::ms)
    };
    Ok(Pauses {
        callers: flow.size.callers,
        agents: flow.size.agents,
        snapshot_every: flow.snapshot_every,
        commands: acks.len(),
        snapshots,
        purges,
        between_acks_ms: gaps.iter().copied().fold(0.0, f64::max),
        between_applies_ms: between_applies.map_or(0.0, crate::large::ms),
        ack_p50_ms: rank(50),
        ack_p99_ms: rank(99),
        ack_most_ms: rank(100),
        long: gaps.iter().filter(|gap| **gap > LONG_MS).count(),
    })
}

/// The longest time between two entries that a node applied.
async fn listen<E: Clone>(
    mut events: broadcast::Receiver<E>,
    mut over: watch::Receiver<bool>,
) -> Duration {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    loop {
        tokio::select! {
            // An error can only be that the sender is gone, which is as good.
            _ = over.wait_for(|over| *over) => return longest,
            event = events.recv() => match event {
                Err(broadcast::error::RecvError::Closed) => return longest,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
            },
        }
    }
}

type Acks = Arc<Mutex<Vec<(Instant, Duration)>>>;

/// A caller comes and goes, again and again, at a steady pace.
async fn write(
    node: Node,
    first: usize,
    over: watch::Receiver<bool>,
    acks: Acks,
) -> Result<(), String> {
    let mut pace = tokio::time::interval(EVERY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in first.. {
        pace.tick().await;
        if *over.borrow() {
            break;
        }
        let mut call = None;
        for step in 0..2 {
            let command = match (step, call) {
                (0, _) => join(number),
                (_, Some(call)) => leave(call),
                (_, None) => return Err("a caller who joined has no call".into()),
            };
            let begun = Instant::now();
            if let Done::Joined { call: joined, .. } = propose(&node, command).await? {
                call = Some(joined);
            }
            let seen = (Instant::now(), begun.elapsed());
            acks.lock().map_err(|e| e.to_string())?.push(seen);
        }
    }
    Ok(())
}

/// Counts snapshots and purges of all nodes for as long as the flow lasts.
async fn count(nodes: &[Node], flow: Flow) -> (usize, usize) {
    let look = || {
        let status = nodes.iter().map(Node::status);
        status.map(|status| (status.snapshot, status.purged))
    };
    let mut known: Vec<(u64, u64)> = look().collect();
    let (mut snapshots, mut purges) = (0, 0);
    let (begun, during) = (Instant::now(), Duration::from_secs(flow.seconds));
    let lacks = |snapshots| flow.snapshot_every.is_some() && snapshots == 0;
    while begun.elapsed() < during || lacks(snapshots) && begun.elapsed() < SNAPSHOT_MAX {
        tokio::time::sleep(LOOK_EVERY).await;
        for (old, new) in known.iter_mut().zip(look()) {
            snapshots += usize::from(new.0 > old.0);
            purges += usize::from(new.1 > old.1);
            *old = new;
        }
    }
    (snapshots, purges)
}
