//! After the faults: everything must come back by itself, and nothing may be left.
//!
//! Only processes that are dead are started, as a service manager does; the rest is demanded.

use std::time::Duration;

use super::agents::AGENTS;
use super::arena::Arena;
use super::callers::Callers;
use super::run::next_leg;
use super::workload::Workload;
use crate::lab::cluster::{Cluster, NAMES, SECRET, TOKEN};
use crate::lab::eventually::{check, eventually};
use crate::lab::{ARI_PASSWORD, LabError};

/// Within so long after a fault all nodes are ready and phones are called again. A working
/// installation needs about two seconds; the machine may be slow and busy.
const HEALS_WITHIN: Duration = Duration::from_secs(60);
/// How long the load goes on when the faults are over.
const WORKS_FOR: Duration = Duration::from_secs(3);
/// Within so long the last caller is gone: the longest patience and talk, and then some.
const EMPTY_WITHIN: Duration = Duration::from_secs(90);

/// Starts what is dead of these and waits until each is ready. A node that ends by itself meanwhile,
/// because its disk failed it, is started again, as its service manager does.
pub async fn mend(arena: &Arena, names: &[&'static str]) -> Result<(), LabError> {
    // All of them first: none is ready without a majority.
    for name in names {
        arena.start(name).await?;
    }
    for name in names {
        ready(arena, name, HEALS_WITHIN).await;
    }
    Ok(())
}

/// Waits until a node is ready, and starts it when it does not run.
pub async fn ready(arena: &Arena, name: &str, within: Duration) {
    let what = format!("node {name} is ready after the fault");
    let api = arena.api(name).await;
    eventually(within, &what, async || {
        let started = arena.start(name).await;
        started.map_err(|error| error.to_string())?;
        let answer = api.send("GET", "/readyz?verbose", None).await?;
        check(answer.status == 200, || answer.text.clone())
    })
    .await;
}

/// Waits until a phone is called after this moment of the wall clock; how long that took, in
/// milliseconds. The load goes on, so somebody always waits.
pub async fn resumed(arena: &Arena, since_ms: i64) -> u64 {
    let at = eventually(HEALS_WITHIN, "distribution goes on", async || {
        let leg = next_leg(arena, since_ms).await;
        leg.ok_or_else(|| "no phone was called".to_owned())
    })
    .await;
    (at - since_ms).max(0) as u64
}

/// The load goes on for so long after the last fault, undisturbed.
pub async fn works(arena: &Arena) {
    arena.note("no more faults");
    tokio::time::sleep(WORKS_FOR).await;
}

/// Nobody calls any more: waits until all callers are gone, nothing is left at the Asterisks and in
/// the queues, every agent may be rung, and all replicas are the same.
pub async fn settle(arena: &Arena, callers: &Callers, workload: Workload) {
    arena.note("the load has ended");
    eventually(EMPTY_WITHIN, "every caller's call ends", async || {
        let open = callers.open();
        check(open.is_empty(), || format!("open are {open:?}"))
    })
    .await;
    let cluster = arena.cluster.read().await;
    let agents: Vec<&str> = AGENTS.iter().map(|(agent, _)| *agent).collect();
    for line in workload.lines() {
        cluster.quiet(&line.name, &agents).await;
    }
    same_everywhere(&cluster).await;
    arena.note("nobody is left, every agent is available, all replicas are the same");
}

/// Waits until all nodes have applied the same and hold the same.
async fn same_everywhere(cluster: &Cluster) {
    eventually(HEALS_WITHIN, "all replicas are the same", async || {
        let mut seen = Vec::new();
        for site in cluster.running() {
            let view = site.api.get("/v1/cluster").await?;
            seen.push((view["applied"].clone(), view["digest"].clone()));
        }
        let same = seen.len() == NAMES.len() && seen.windows(2).all(|pair| pair[0] == pair[1]);
        check(same, || format!("applied and digest: {seen:?}"))
    })
    .await;
}

/// What no log may hold.
pub fn logs(cluster: &Cluster) -> Vec<String> {
    let mut wrong = Vec::new();
    for site in &cluster.sites {
        let log = site.process.log();
        if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
            wrong.push(format!("node {} panicked: {line}", site.name));
        }
        if [TOKEN, SECRET, ARI_PASSWORD]
            .iter()
            .any(|secret| log.contains(secret))
        {
            wrong.push(format!("the log of node {} holds a secret", site.name));
        }
    }
    wrong
}
