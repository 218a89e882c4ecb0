//! A toy machine and a cluster of it on loopback, for the tests of the whole store.
#![allow(dead_code)]

pub mod virtual_cluster;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holdfast_raft::{Config, Faults, Machine, Raft, Secret, Stamp, StartError, codec};
use serde::{Deserialize, Serialize};

pub const LONG: Duration = Duration::from_secs(60);
pub const SECRET: &str = "a secret of the tests";

/// Counts how often each number was added, so that loss and doubling both show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub seen: BTreeMap<u64, u32>,
    pub stamps: Vec<u64>,
    pub filler: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Add {
    Number(u64),
    Filler(#[serde(with = "serde_bytes")] Vec<u8>),
}

impl Machine for Tally {
    type Command = Add;
    type Reply = u32;
    type Event = u64;
    const SCHEMA: u16 = 1;

    fn apply(&mut self, stamp: Stamp, command: &Add, events: &mut Vec<u64>) -> u32 {
        self.stamps.push(stamp.at_ms);
        match command {
            Add::Number(number) => {
                let times = self.seen.entry(*number).or_default();
                *times += 1;
                events.push(*number);
                *times
            }
            Add::Filler(bytes) => {
                self.filler = bytes.clone();
                0
            }
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, String> {
        codec::encode(self).map_err(|e| e.to_string())
    }

    fn restore(_schema: u16, bytes: &[u8]) -> Result<Self, String> {
        codec::decode(bytes, usize::MAX).map_err(|e| e.to_string())
    }

    fn digest(&self) -> u64 {
        self.seen.iter().fold(self.seen.len() as u64, |h, (n, t)| {
            h.wrapping_mul(31)
                .wrapping_add(n.wrapping_mul(7) ^ u64::from(*t))
        })
    }

    fn subject(event: &u64) -> Option<u64> {
        event.is_multiple_of(2).then_some(*event)
    }
}

pub type Node = Raft<Tally>;

/// Where and how the nodes of one test run. Addresses stay the same over restarts.
pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub names: Vec<String>,
    pub addrs: Vec<SocketAddr>,
    pub nodes: Vec<Option<Node>>,
    pub faults: Vec<Faults>,
    pub change: fn(&mut Config),
}

impl Cluster {
    /// Settings only; nothing is started.
    pub fn plan(size: usize, change: fn(&mut Config)) -> Self {
        let holders: Vec<TcpListener> = (0..size)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        Cluster {
            dir: tempfile::tempdir().unwrap(),
            names: (0..size).map(|i| format!("n{}", i + 1)).collect(),
            addrs: holders.iter().map(|l| l.local_addr().unwrap()).collect(),
            nodes: (0..size).map(|_| None).collect(),
            faults: (0..size).map(|_| Faults::default()).collect(),
            change,
        }
    }

    /// A running cluster with an acting leader.
    pub async fn start(size: usize, change: fn(&mut Config)) -> Self {
        let mut cluster = Cluster::plan(size, change);
        for i in 0..size {
            cluster.up(i).await;
        }
        cluster.acting().await;
        cluster
    }

    pub fn config(&self, i: usize) -> Config {
        let mut config = Config {
            name: self.names[i].clone(),
            data_dir: self.data_dir(i),
            listen: self.addrs[i],
            join: self.addrs.iter().map(|a| a.to_string()).collect(),
            bootstrap_expect: self.names.len(),
            secret: Secret::new(SECRET.replace(' ', "-")),
            faults: self.faults[i].clone(),
            ..Config::default()
        };
        (self.change)(&mut config);
        config
    }

    pub fn data_dir(&self, i: usize) -> PathBuf {
        self.dir.path().join(&self.names[i])
    }

    /// Starts a node; its old self may still be letting go of the folder.
    pub async fn up(&mut self, i: usize) {
        let until = Instant::now() + LONG;
        loop {
            match Node::start(self.config(i)).await {
                Ok(node) => {
                    self.nodes[i] = Some(node);
                    return;
                }
                Err(StartError::Locked(_) | StartError::Listen { .. })
                    if Instant::now() < until =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(e) => panic!("{} does not start: {e}", self.names[i]),
            }
        }
    }

    pub fn node(&self, i: usize) -> &Node {
        self.nodes[i].as_ref().expect("the node is up")
    }

    pub fn alive(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(i, n)| Some((i, n.as_ref()?)))
    }

    /// Kills a node.
    pub async fn crash(&mut self, i: usize) {
        let node = self.nodes[i].take().expect("the node is up");
        node.crash().await;
    }

    /// Kills a node and its disk.
    pub async fn wipe(&mut self, i: usize) {
        if self.nodes[i].is_some() {
            self.crash(i).await;
        }
        // sled may still be letting go.
        let until = Instant::now() + LONG;
        while self.data_dir(i).exists() && Instant::now() < until {
            let _ = std::fs::remove_dir_all(self.data_dir(i));
        }
    }

    /// The node that may act as leader, as soon as there is one.
    pub async fn acting(&self) -> usize {
        self.acting_but(usize::MAX).await
    }

    /// As `acting`, but another one than `not`.
    pub async fn acting_but(&self, not: usize) -> usize {
        let find = || {
            self.alive()
                .find(|(i, n)| *i != not && n.leadership().borrow().is_some())
                .map(|f| f.0)
        };
        until("there is an acting leader", || find().is_some()).await;
        find().unwrap_or(not)
    }

    pub async fn add(&self, i: usize, number: u64) {
        let added = self.node(i).propose(Add::Number(number), LONG).await;
        added.unwrap_or_else(|e| panic!("{number} is not added: {e}"));
    }

    /// Waits until all living nodes have the same state with all these numbers.
    pub async fn agree_on(&self, numbers: std::ops::Range<u64>) {
        let all = |n: &Node| n.read(|m| numbers.clone().all(|x| m.seen.contains_key(&x)));
        until("all nodes have all numbers", || {
            self.alive().all(|(_, n)| all(n))
        })
        .await;
        let same = || {
            let mut digests = self.alive().map(|(_, n)| n.digest());
            let first = digests.next();
            digests.all(|d| Some(d) == first)
        };
        until("all nodes have the same digest", same).await;
    }
}

/// Waits for a condition, patiently: the machine may be slow.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let give_up = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < give_up, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Patient timings for a machine that is busy with other tests.
pub fn slow(config: &mut Config) {
    config.heartbeat_ms = 150;
    config.election_min_ms = 600;
    config.election_max_ms = 1200;
}
