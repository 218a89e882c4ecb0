//! A follower that was away: two of three nodes go on without it for so many entries, then it is started
//! again, and what it missed is still in their logs, or only in a snapshot. Meanwhile one writer writes at
//! the leader, one command after the other: what he feels of it is what the cluster's callers would.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Plan;
use super::cold::NEVER;
use super::node::Paced;
use super::process::Node;
use crate::servers::free_ports;
use crate::{Error, proc};

/// As the product has it.
const SNAPSHOT_EVERY: u64 = 5_000;
const LOG_KEEP: u64 = 1_000;
const LEADER_MAX: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(20);

/// One return.
#[derive(Clone, Debug, Serialize)]
pub struct Return {
    pub kind: &'static str,
    /// What it missed was still in the log.
    pub from_log: bool,
    pub missed: u64,
    /// From its start until it had applied all that the leader had then, and knew that it is current.
    pub caught_up_s: f64,
    /// The writer at the leader, before and meanwhile.
    pub before: Paced,
    pub meanwhile: Paced,
    pub same_leader: bool,
    pub peak_bytes: u64,
    pub leader_peak_bytes: u64,
    pub load: f64,
}

struct Cluster {
    dir: PathBuf,
    addrs: Vec<SocketAddr>,
}

impl Cluster {
    fn folder(&self, member: usize) -> PathBuf {
        self.dir.join(format!("member-{member}"))
    }

    async fn start(&self, member: usize, more: &[String]) -> Result<Node, Error> {
        let (folder, addr) = (self.folder(member), self.addrs[member]);
        let all: Vec<String> = self.addrs.iter().map(SocketAddr::to_string).collect();
        let mut words = vec![
            format!("--name=n{member}"),
            format!("--dir={}", folder.display()),
            format!("--listen={addr}"),
            format!("--join={}", all.join(",")),
        ];
        words.extend_from_slice(more);
        Node::start(
            &format!("node {member}"),
            &words,
            &folder.with_extension("out"),
        )
        .await
    }

    /// Starts these at the same time.
    async fn start_two(
        &self,
        (one, other): (usize, usize),
        more: &[String],
    ) -> Result<[Node; 2], Error> {
        let started = tokio::join!(self.start(one, more), self.start(other, more));
        Ok([started.0?, started.1?])
    }
}

fn bounds(snapshot_every: u64, log_keep: u64) -> Vec<String> {
    vec![
        format!("--snapshot-every={snapshot_every}"),
        format!("--log-keep={log_keep}"),
    ]
}

/// Which of these leads.
async fn leader(nodes: &mut [Node]) -> Result<usize, Error> {
    let begun = Instant::now();
    while begun.elapsed() < LEADER_MAX {
        for (place, node) in nodes.iter_mut().enumerate() {
            if node.stand().await?.leads {
                return Ok(place);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
    Err(Error::new(
        "a cluster",
        format!("no leader within {LEADER_MAX:?}"),
    ))
}

/// Both returns.
pub async fn returns(plan: &Plan, dir: &Path) -> Result<Vec<Return>, Error> {
    let cluster = Cluster {
        dir: dir.into(),
        addrs: free_ports(3)?,
    };
    let away = 2;
    let kept = dir.join("kept");
    fill(plan, &cluster, away, &kept).await?;
    proc::settle(dir)?;
    let mut all = Vec::new();
    for from_log in [true, false] {
        let words = match from_log {
            true => bounds(NEVER, NEVER),
            false => bounds(
                SNAPSHOT_EVERY.min(plan.entries / 4),
                LOG_KEEP.min(plan.entries / 8),
            ),
        };
        copy(&kept, &cluster.folder(away))?;
        all.push(one(plan, &cluster, away, from_log, &words).await?);
        super::remove(&cluster.folder(away))?;
    }
    for folder in [cluster.folder(0), cluster.folder(1), kept] {
        super::remove(&folder)?;
    }
    Ok(all)
}

/// Forms the cluster, keeps a copy of what the one who goes away has, and writes without him.
async fn fill(plan: &Plan, cluster: &Cluster, away: usize, kept: &Path) -> Result<(), Error> {
    let mut words = bounds(NEVER, NEVER);
    words.push("--no-sync".into());
    let (stay, gone) = tokio::join!(
        cluster.start_two((0, 1), &words),
        cluster.start(away, &words)
    );
    let (mut stay, mut gone) = (stay?, gone?);
    // Whoever of the three leads: a write is forwarded.
    stay[0].done("write").await?;
    let written = stay[0].stand().await?.applied;
    gone.until("with the first write", |it| it.applied >= written)
        .await?;
    gone.process.kill().await?;
    std::fs::rename(cluster.folder(away), kept).map_err(|e| Error::new("keeping a folder", e))?;

    stay[0].done("write").await?;
    let leads = leader(&mut stay).await?;
    stay[leads].done(&format!("fill {}", plan.entries)).await?;
    let filled = stay[leads].stand().await?.applied;
    stay[1 - leads]
        .until("with all entries", |it| it.applied >= filled)
        .await?;
    for node in stay {
        node.process.kill().await?;
    }
    Ok(())
}

async fn one(
    plan: &Plan,
    cluster: &Cluster,
    away: usize,
    from_log: bool,
    words: &[String],
) -> Result<Return, Error> {
    let mut stay = cluster.start_two((0, 1), words).await?;
    stay[0].done("write").await?;
    let leads = leader(&mut stay).await?;
    if !from_log {
        let purged = |it: &super::node::Stand| it.purged + 2 * LOG_KEEP > plan.entries;
        stay[leads].until("without most of its log", purged).await?;
    }
    let leader = &mut stay[leads];
    leader.done("pace").await?;
    tokio::time::sleep(plan.paced).await;
    let before = leader.paced().await?;
    if before.writes == 0 {
        return Err(Error::new(
            "a writer",
            "nothing was acknowledged without the follower",
        ));
    }

    let load = proc::load();
    leader.done("pace").await?;
    let there = leader.stand().await?;
    let mut back = cluster.start(away, words).await?;
    let missed = there.applied - back.applied;
    let caught_up = |it: &super::node::Stand| it.applied >= there.applied && it.current;
    back.until("with all that it missed", caught_up).await?;
    let caught_up_s = back.process.begun.elapsed().as_secs_f64();
    let meanwhile = leader.paced().await?;
    let now = leader.stand().await?;
    let returned = Return {
        kind: "return",
        from_log,
        missed,
        caught_up_s,
        before,
        meanwhile,
        same_leader: now.leads && now.term == there.term,
        peak_bytes: back.process.peak()?,
        leader_peak_bytes: leader.process.peak()?,
        load,
    };
    back.process.kill().await?;
    for node in stay {
        node.process.kill().await?;
    }
    Ok(returned)
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([from, to])
        .status();
    match copied {
        Ok(status) if status.success() => Ok(()),
        other => Err(Error::new(
            format!("copying {}", from.display()),
            format!("{other:?}"),
        )),
    }
}
