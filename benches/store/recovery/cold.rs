//! Cold starts: a process was killed and is started again on what lies on its disk, until it has
//! acknowledged a write. What is on the disk is in the system's cache, for all stores alike.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::Plan;
use super::process::{Node, Process};
use crate::clients::Writer;
use crate::servers::{System, free_ports};
use crate::{Error, KEYS, VALUE, proc};

/// Writers while a log of a peer is filled.
const FILLERS: usize = 256;
/// A peer's log is not filled for longer; then it has fewer entries, and the section says how many.
const FILL_MAX: Duration = Duration::from_secs(110);
const START_MAX: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(5);
/// No snapshot is ever made.
pub const NEVER: u64 = 1 << 40;

/// One start.
#[derive(Clone, Debug, Serialize)]
pub struct Start {
    pub kind: &'static str,
    pub system: &'static str,
    pub entries: u64,
    /// Until it had read what it has, as far as it tells.
    pub read_s: Option<f64>,
    /// Until the first write was acknowledged.
    pub written_s: f64,
    pub peak_bytes: u64,
    pub disk_bytes: u64,
    pub load: f64,
}

/// What a snapshot of the queue's state takes.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    pub kind: &'static str,
    pub calls: usize,
    pub agents: usize,
    pub bytes: u64,
    pub made_s: f64,
    pub read_s: f64,
    pub written_s: f64,
    pub peak_bytes: u64,
    pub load: f64,
}

/// The words that start a lone node on that folder.
fn lone(folder: &Path, addr: SocketAddr, more: &[String]) -> Vec<String> {
    let mut words = vec![
        "--name=n0".into(),
        format!("--dir={}", folder.display()),
        format!("--listen={addr}"),
        format!("--join={addr}"),
        format!("--log-keep={NEVER}"),
    ];
    words.extend_from_slice(more);
    words
}

/// Holdfast alone with a log of so many entries and no snapshot.
pub async fn holdfast(plan: &Plan, dir: &Path) -> Result<Start, Error> {
    let folder = dir.join("cold-holdfast");
    let log = folder.with_extension("out");
    let addr = free_ports(1)?[0];
    let never = format!("--snapshot-every={NEVER}");
    let filling = lone(&folder, addr, &[never.clone(), "--no-sync".into()]);
    let mut node = Node::start("a node", &filling, &log).await?;
    node.done("write").await?;
    node.done(&format!("fill {}", plan.entries)).await?;
    node.process.kill().await?;
    proc::settle(dir)?;

    let disk_bytes = proc::disk_use(&folder);
    let load = proc::load();
    let mut node = Node::start("a node", &lone(&folder, addr, &[never]), &log).await?;
    node.done("write").await?;
    let written_s = node.process.begun.elapsed().as_secs_f64();
    let entries = node.stand().await?.applied;
    if entries < plan.entries {
        let why = format!("{entries} of {} entries are there", plan.entries);
        return Err(Error::new("a node that was started again", why));
    }
    let start = Start {
        kind: "start",
        system: System::Holdfast.name(),
        entries,
        read_s: Some(node.up.as_secs_f64()),
        written_s,
        peak_bytes: node.process.peak()?,
        disk_bytes,
        load,
    };
    node.process.kill().await?;
    super::remove(&folder)?;
    Ok(start)
}

/// One member of etcd, or Redis, with a log of as many commands.
pub async fn peer(
    plan: &Plan,
    system: System,
    programs: &Path,
    dir: &Path,
) -> Result<Start, Error> {
    let folder = dir.join(format!("cold-{}", system.name()));
    std::fs::create_dir_all(&folder).map_err(|e| Error::new("a folder of a peer", e))?;
    let log = folder.with_extension("out");
    let ports = free_ports(2)?;
    let start = |filling: bool| {
        let mut command = match system {
            System::Redis => redis(programs, &folder, ports[0], filling),
            System::Etcd | System::Holdfast => etcd(programs, &folder, &ports, filling),
        };
        // Nobody would read it.
        command.stdout(Stdio::null());
        Process::start(system.name(), &mut command, &log)
    };
    let mut process = start(true)?;
    serving(&mut process, system, ports[0]).await?;
    let entries = fill(system, ports[0], plan.entries).await?;
    process.kill().await?;
    proc::settle(dir)?;

    let disk_bytes = proc::disk_use(&folder);
    let load = proc::load();
    let mut process = start(false)?;
    let written_s = serving(&mut process, system, ports[0]).await?.as_secs_f64();
    let start = Start {
        kind: "start",
        system: system.name(),
        entries,
        read_s: None,
        written_s,
        peak_bytes: process.peak()?,
        disk_bytes,
        load,
    };
    process.kill().await?;
    super::remove(&folder)?;
    Ok(start)
}

/// Nothing is made durable while its log is filled, and no snapshot is made ever.
fn etcd(programs: &Path, folder: &Path, ports: &[SocketAddr], filling: bool) -> Command {
    let mut command = Command::new(programs.join("etcd"));
    let (door, peer) = (ports[0], ports[1]);
    command
        .arg(format!("--data-dir={}", folder.display()))
        .arg("--name=n0")
        .arg(format!("--listen-client-urls=http://{door}"))
        .arg(format!("--advertise-client-urls=http://{door}"))
        .arg(format!("--listen-peer-urls=http://{peer}"))
        .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
        .arg(format!("--initial-cluster=n0=http://{peer}"))
        .arg(format!("--quota-backend-bytes={}", 8_u64 << 30))
        .arg("--snapshot-count=100000000")
        .args(["--logger=zap", "--log-level=error"]);
    if filling {
        command.arg("--unsafe-no-fsync");
    }
    command
}

fn redis(programs: &Path, folder: &Path, door: SocketAddr, filling: bool) -> Command {
    let mut command = Command::new(programs.join("redis-server"));
    command
        .args(["--port", &door.port().to_string()])
        .args(["--bind", &door.ip().to_string()])
        .arg("--dir")
        .arg(folder)
        .args(["--appendonly", "yes", "--save", ""])
        .args(["--appendfsync", if filling { "no" } else { "always" }])
        // Else it would write its log anew, and shorter.
        .args(["--auto-aof-rewrite-percentage", "0"]);
    command
}

/// Writes until it is acknowledged, and tells how long after the start that was.
async fn serving(
    process: &mut Process,
    system: System,
    door: SocketAddr,
) -> Result<Duration, Error> {
    while process.begun.elapsed() < START_MAX {
        process.runs()?;
        if let Ok(mut writers) = Writer::connect(system, door, 1).await
            && let Some(writer) = writers.first_mut()
            && matches!(writer.put(b"key-000000", &[b'v'; VALUE]).await, Ok(true))
        {
            return Ok(process.begun.elapsed());
        }
        tokio::time::sleep(AGAIN).await;
    }
    let why = format!("no write was acknowledged within {START_MAX:?}");
    Err(Error::new(format!("starting {}", system.name()), why))
}

/// So many writes, or as many as are done in time; tells how many.
async fn fill(system: System, door: SocketAddr, entries: u64) -> Result<u64, Error> {
    let begun = Instant::now();
    let mut filling = JoinSet::new();
    let writers = Writer::connect(system, door, FILLERS).await?;
    for (first, mut writer) in writers.into_iter().enumerate() {
        filling.spawn(async move {
            let mut written = 0;
            for number in (first as u64..entries).step_by(FILLERS) {
                if begun.elapsed() > FILL_MAX {
                    break;
                }
                let key = format!("key-{:06}", number % KEYS as u64);
                match writer.put(key.as_bytes(), &[b'v'; VALUE]).await? {
                    true => written += 1,
                    false => return Err(Error::new(system.name(), "refused a write")),
                }
            }
            Ok(written)
        });
    }
    let mut written = 0;
    while let Some(done) = filling.join_next().await {
        written += done.map_err(|e| Error::new("filling", e))??;
    }
    Ok(written)
}

/// A node that has all its state in a snapshot: the queue's, with so many calls.
pub async fn snapshot(plan: &Plan, dir: &Path) -> Result<Snapshot, Error> {
    let folder = dir.join("cold-queue");
    let log = folder.with_extension("out");
    let addr = free_ports(1)?[0];
    let every = |entries: u64| format!("--snapshot-every={entries}");
    let queue = || "--queue".to_string();
    let building = [every(NEVER), queue(), "--no-sync".into()];
    let mut node = Node::start("a node", &lone(&folder, addr, &building), &log).await?;
    let (calls, agents) = (plan.calls, plan.agents);
    node.done(&format!("house {calls} {agents}")).await?;
    node.process.kill().await?;
    proc::settle(dir)?;

    // One more write, and a snapshot is due.
    let making = lone(&folder, addr, &[every(10), queue()]);
    let mut node = Node::start("a node", &making, &log).await?;
    let before = node.applied;
    let begun = Instant::now();
    node.done("write").await?;
    node.until("with a snapshot", |it| it.snapshot >= before)
        .await?;
    let made_s = begun.elapsed().as_secs_f64();
    node.process.kill().await?;
    let bytes = largest(&folder.join("snap"));

    let load = proc::load();
    let plain = lone(&folder, addr, &[every(NEVER), queue()]);
    let mut node = Node::start("a node", &plain, &log).await?;
    node.done("write").await?;
    let written_s = node.process.begun.elapsed().as_secs_f64();
    let snapshot = Snapshot {
        kind: "snapshot",
        calls: calls + agents,
        agents,
        bytes,
        made_s,
        read_s: node.up.as_secs_f64(),
        written_s,
        peak_bytes: node.process.peak()?,
        load,
    };
    node.process.kill().await?;
    super::remove(&folder)?;
    Ok(snapshot)
}

/// Bytes of the largest file in a folder.
fn largest(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    bytes.max().unwrap_or(0)
}
