//! What a nemesis works on: the hosts, the cluster on them, dice, and the chronicle of what was done.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::sync::RwLock;

use crate::judge::Source;
use crate::judge::history::{NodeSaw, Seen};
use crate::lab::LabError;
use crate::lab::api::Api;
use crate::lab::cluster::{Cluster, NAMES};
use crate::lab::hosts::Hosts;
use crate::lab::wait::until;

use super::disk::Disks;
use super::tools::signal;
use super::witness::Witness;

/// The cluster, shared by the nemesis and those who call and work meanwhile. Nobody holds it over a
/// wait that a fault can make long.
pub type SharedCluster = Arc<RwLock<Cluster>>;

/// How long a leader is looked for.
const LEADER_WITHIN: Duration = Duration::from_secs(10);
/// How long one node may take to say who leads.
const ASK_WITHIN: Duration = Duration::from_secs(1);

/// Everything that can be hurt.
pub struct Arena {
    pub hosts: Arc<Hosts>,
    pub cluster: SharedCluster,
    pub rng: StdRng,
    pub chronicle: Chronicle,
    /// Writes down faults, and what becomes of processes.
    pub seen: Source,
    pub witness: Witness,
    /// Nodes that the fault now on is aimed at.
    pub targets: BTreeSet<&'static str>,
    /// All that were aimed at so far.
    pub struck: BTreeSet<&'static str>,
    pub disks: Disks,
    /// How long a fault lasts, least and most.
    pub hold: (Duration, Duration),
}

impl Arena {
    /// The node that leads now, by what most nodes say. Another node if another fault is aimed at that
    /// one already, or if they name none for long.
    pub async fn leader(&mut self) -> &'static str {
        let begun = Instant::now();
        while begun.elapsed() < LEADER_WITHIN {
            if let Some(leader) = self.named_leader().await {
                if self.targets.contains(leader) {
                    break;
                }
                return leader;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.anyone()
    }

    /// The leader of the highest term that a node names, if that leader runs.
    async fn named_leader(&self) -> Option<&'static str> {
        let sites: Vec<(&'static str, Api)> = {
            let cluster = self.cluster.read().await;
            let sites = cluster.running();
            sites.map(|site| (site.name, site.api.clone())).collect()
        };
        let mut best: Option<(u64, String)> = None;
        for (_, api) in &sites {
            let asked = tokio::time::timeout(ASK_WITHIN, api.get("/v1/cluster"));
            let Ok(Ok(view)) = asked.await else { continue };
            if let (Some(term), Some(leader)) = (view["term"].as_u64(), view["leader"].as_str())
                && best.as_ref().is_none_or(|(highest, _)| term > *highest)
            {
                best = Some((term, leader.to_owned()));
            }
        }
        let (_, leader) = best?;
        sites
            .iter()
            .find(|(name, _)| *name == leader)
            .map(|(name, _)| *name)
    }

    /// A node that does not lead now, by the dice.
    pub async fn follower(&mut self) -> &'static str {
        let leader = self.leader().await;
        self.other_than(leader)
    }

    /// Any node, by the dice.
    pub fn anyone(&mut self) -> &'static str {
        self.other_than("")
    }

    /// Two different nodes, by the dice.
    pub fn two(&mut self) -> (&'static str, &'static str) {
        let first = self.anyone();
        (first, self.other_than(first))
    }

    /// A node that is not this one, at which no other fault is aimed if there is such a one.
    fn other_than(&mut self, not: &str) -> &'static str {
        let others: Vec<&'static str> = NAMES.into_iter().filter(|name| *name != not).collect();
        let free: Vec<&'static str> = others
            .iter()
            .copied()
            .filter(|name| !self.targets.contains(name))
            .collect();
        let among = if free.is_empty() { &others } else { &free };
        among.choose(&mut self.rng).expect("two are left at least")
    }

    /// A length within these bounds, by the dice.
    pub fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(least..=most))
    }

    /// Lets the fault last.
    pub async fn hold(&mut self) {
        let (least, most) = self.hold;
        let length = self.between(least.as_millis() as u64, most.as_millis() as u64);
        tokio::time::sleep(length).await;
    }

    /// The fault now on is aimed at these nodes: they, and so their Asterisks, may be out of reach.
    pub fn aim(&mut self, names: &[&'static str]) {
        self.targets.extend(names);
        self.struck.extend(names);
    }

    /// SIGKILL to a node's process.
    pub async fn kill(&self, name: &str) {
        self.cluster.write().await.kill(name);
        self.saw_node(name, NodeSaw::Killed);
    }

    /// Writes down what became of a node's process.
    pub fn saw_node(&self, name: &str, saw: NodeSaw) {
        let node = name.to_owned();
        self.seen.saw(Seen::Node { node, saw });
    }

    /// Starts a node's process if it does not run.
    pub async fn start(&self, name: &str) -> Result<(), LabError> {
        let mut cluster = self.cluster.write().await;
        let process = &mut cluster.site_mut(name).process;
        process.forget_if_ended();
        if process.pid().is_some() {
            return Ok(());
        }
        process.start().map_err(|source| LabError::Io {
            what: format!("start of node {name}"),
            source,
        })?;
        let drives = name.to_owned();
        self.saw_node(name, NodeSaw::Started { drives });
        Ok(())
    }

    /// Waits until a node has stopped working because of what was done to it: its process has ended,
    /// or it says that it cannot go on. A fault that has no effect shows nothing.
    pub async fn stops(&self, name: &str) -> Result<(), LabError> {
        let api = self.api(name).await;
        let what = format!("node {name} stops");
        let stops = until(&what, async || {
            let mut cluster = self.cluster.write().await;
            let process = &mut cluster.site_mut(name).process;
            process.forget_if_ended();
            let ended = process.pid().is_none();
            drop(cluster);
            let asked = tokio::time::timeout(ASK_WITHIN, api.send("GET", "/livez", None)).await;
            let broken = asked.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status != 200));
            (ended || broken).then_some(())
        });
        stops
            .await
            .map_err(|why| LabError::NoEffect(why.to_string()))?;
        self.note(format!("{name} has stopped working"));
        Ok(())
    }

    /// Waits until the slowest of a node's last fsyncs took so long, by its own figures.
    pub async fn syncs_slowly(&self, name: &str, at_least: Duration) -> Result<(), LabError> {
        let api = self.api(name).await;
        let what = format!("slow fsyncs of {name}");
        let slow = until(&what, async || {
            let asked = tokio::time::timeout(ASK_WITHIN, api.get("/v1/cluster")).await;
            let slowest = asked.ok()?.ok()?["fsync_p99_us"].as_u64()?;
            (Duration::from_micros(slowest) >= at_least).then_some(())
        });
        slow.await
            .map_err(|why| LabError::NoEffect(why.to_string()))
    }

    /// SIGTERM to a node's process; returns when it has ended.
    pub async fn terminate(&self, name: &str) -> Result<(), LabError> {
        signal(self.pid(name).await?, Signal::SIGTERM)?;
        until(&format!("end of node {name}"), async || {
            let mut cluster = self.cluster.write().await;
            let process = &mut cluster.site_mut(name).process;
            process.forget_if_ended();
            process.pid().is_none().then_some(())
        })
        .await
    }

    /// Process id of a node that runs.
    pub async fn pid(&self, name: &str) -> Result<u32, LabError> {
        let cluster = self.cluster.read().await;
        let pid = cluster.site(name).process.pid();
        let pid = pid.ok_or_else(|| LabError::Refused(format!("node {name} does not run")))?;
        Ok(behind_unshare(pid).unwrap_or(pid))
    }

    /// The endpoints of a node.
    pub async fn api(&self, name: &str) -> Api {
        self.cluster.read().await.site(name).api.clone()
    }

    /// Writes down what is done.
    pub fn note(&self, what: impl Into<String>) {
        self.chronicle.note(what);
    }
}

/// The node itself, where the process that was started is the one that made a time of its own for it.
fn behind_unshare(pid: u32) -> Option<u32> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let first = children.split_whitespace().next()?;
    (name.trim() == "unshare").then(|| first.parse().ok())?
}

/// What was done and when, in the order in which it was. Clones write into the same one.
#[derive(Debug, Clone)]
pub struct Chronicle {
    begun: Instant,
    inner: Arc<Mutex<Pages>>,
}

#[derive(Debug, Default)]
struct Pages {
    lines: Vec<(u64, String)>,
    /// Asterisks that died: name, and when.
    dead: Vec<(String, u64)>,
    down: BTreeSet<String>,
}

impl Default for Chronicle {
    fn default() -> Chronicle {
        Chronicle {
            begun: Instant::now(),
            inner: Arc::default(),
        }
    }
}

impl Chronicle {
    /// Milliseconds since the drill began.
    pub fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Writes down what is done, and shows it.
    pub fn note(&self, what: impl Into<String>) {
        let (at, what) = (self.now_ms(), what.into());
        eprintln!("{:>8.3} s  {what}", at as f64 / 1000.0);
        self.lock().lines.push((at, what));
    }

    /// An Asterisk is about to be killed.
    pub fn asterisk_dies(&self, name: &str) {
        let at = self.now_ms();
        let mut pages = self.lock();
        pages.dead.push((name.to_owned(), at));
        pages.down.insert(name.to_owned());
    }

    /// An Asterisk is back.
    pub fn asterisk_lives(&self, name: &str) {
        self.lock().down.remove(name);
    }

    /// Whether an Asterisk is down.
    pub fn is_down(&self, name: &str) -> bool {
        self.lock().down.contains(name)
    }

    /// Whether any Asterisk died since.
    pub fn any_died_since(&self, since_ms: u64) -> bool {
        self.lock().dead.iter().any(|(_, at)| *at >= since_ms)
    }

    /// Whether an Asterisk died since.
    pub fn died_since(&self, name: &str, since_ms: u64) -> bool {
        let pages = self.lock();
        let mut deaths = pages.dead.iter();
        deaths.any(|(dead, at)| dead == name && *at >= since_ms)
    }

    /// All lines: milliseconds since the beginning, and what was done.
    pub fn lines(&self) -> Vec<(u64, String)> {
        self.lock().lines.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
