//! A cluster of nodes in this process, each beside a simulated Asterisk, and waits on conditions.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod door;

use holdfast_acd::command::AdminOp;
use holdfast_acd::settings::{AgentSettings, MemberSettings, QueueSettings};
use holdfast_acd::{AgentId, PbxId, QueueName, State};
use holdfast_node::config::{AsteriskSection, NodeConfig, Secret, Span, TakeoverSection};
use holdfast_node::{Handle, Node, NodeMetrics};
use holdfast_raft::Faults;
use holdfast_sim::{Caller, Habit, SimAsterisk, SimConfig};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;
use tempfile::TempDir;

/// Everything is awaited by condition; this only bounds a failure.
pub const LONG: Duration = Duration::from_secs(60);
/// For an admin write.
const WRITE: Duration = Duration::from_secs(30);

pub struct TestNode {
    pub name: String,
    pub sim: SimAsterisk,
    pub config: NodeConfig,
    pub faults: Faults,
    node: Option<Node>,
}

impl TestNode {
    pub fn handle(&self) -> Handle {
        self.node.as_ref().expect("the node runs").handle()
    }

    pub fn runs(&self) -> bool {
        self.node.is_some()
    }

    pub async fn start(&mut self) {
        self.faults = Faults::default();
        let node = Node::start_with_faults(self.config.clone(), self.faults.clone()).await;
        self.node = Some(node.unwrap_or_else(|error| panic!("{}: {error}", self.name)));
    }

    pub async fn stop(&mut self) {
        if let Some(node) = self.node.take() {
            node.handle().shutdown().await;
        }
    }

    /// As if its process were killed: it says no word more, and its sockets close.
    pub async fn kill(&mut self) {
        self.faults.isolate(true);
        self.stop().await;
    }

    pub async fn connected(&self) {
        let mut ari = self.handle().ari_watch();
        let connected = tokio::time::timeout(LONG, ari.wait_for(|status| status.connected)).await;
        if connected.is_err() {
            panic!(
                "{} did not connect: {:?}",
                self.name,
                self.handle().ari_status()
            );
        }
    }

    /// Waits until this node's replica fulfils the condition.
    pub async fn until(&self, what: &str, condition: impl Fn(&State) -> bool) {
        let handle = self.handle();
        let mut applied = handle.raft().applied();
        let wait = async {
            loop {
                applied.borrow_and_update();
                if handle.read(&condition) {
                    return;
                }
                applied.changed().await.expect("the store lives");
            }
        };
        if tokio::time::timeout(LONG, wait).await.is_err() {
            let calls: Vec<_> = handle.read(|state| state.calls().cloned().collect());
            let ari = handle.ari_status();
            panic!(
                "{what}: not seen by {}; calls {calls:#?} {ari:?}",
                self.name
            );
        }
    }

    /// Waits until this node has counted so.
    pub async fn until_counted(&self, what: &str, condition: impl Fn(&NodeMetrics) -> bool) {
        let wait = async {
            while !condition(&self.handle().metrics()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let counted = tokio::time::timeout(LONG, wait).await;
        counted.unwrap_or_else(|_| panic!("{what}: not counted by {}", self.name));
    }

    pub async fn admin(&self, op: AdminOp) {
        let shown = format!("{op:?}");
        let done = self.handle().admin(op, "test", None, None, WRITE).await;
        let reply = done
            .unwrap_or_else(|error| panic!("{shown}: {error}"))
            .reply;
        reply.unwrap_or_else(|reject| panic!("{shown}: {reject}"));
    }
}

pub struct Cluster {
    pub nodes: Vec<TestNode>,
    _dir: TempDir,
}

impl Cluster {
    /// One node per name, each beside an Asterisk of the same name, trunks between all of them.
    pub async fn start(names: &[&str]) -> Cluster {
        Self::start_with(names, |_| {}).await
    }

    pub async fn start_with(names: &[&str], change: impl Fn(&mut NodeConfig)) -> Cluster {
        Self::start_beside(names, |config, _| change(config)).await
    }

    /// The same, where each node may take over the Asterisks of all others, soon.
    pub async fn start_taking(names: &[&str], change: impl Fn(&mut NodeConfig)) -> Cluster {
        Self::start_beside(names, |config, sims| {
            config.timing.takeover_after = Span::ms(700);
            for (name, sim) in names.iter().zip(sims) {
                if config.node.name != *name {
                    config.takeover.push(TakeoverSection {
                        systemname: name.to_string(),
                        url: sim.ari_url(),
                        password: Some(Secret::new("secret")),
                        ..TakeoverSection::default()
                    });
                }
            }
            change(config);
        })
        .await
    }

    async fn start_beside(
        names: &[&str],
        change: impl Fn(&mut NodeConfig, &[SimAsterisk]),
    ) -> Cluster {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let ports: Vec<SocketAddr> = {
            let held: Vec<TcpListener> = names
                .iter()
                .map(|_| TcpListener::bind((own_address(), 0)).expect("a free port"))
                .collect();
            held.iter()
                .map(|port| port.local_addr().expect("bound"))
                .collect()
        };
        let mut sims: Vec<SimAsterisk> = Vec::new();
        for name in names {
            let sim = SimAsterisk::start(SimConfig::new(name))
                .await
                .expect("a simulated asterisk");
            for other in &sims {
                sim.join_trunk(other);
            }
            sims.push(sim);
        }
        let mut nodes: Vec<TestNode> = Vec::new();
        for ((name, port), sim) in names.iter().zip(&ports).zip(sims.clone()) {
            let mut config = NodeConfig::default();
            config.node.name = name.to_string();
            config.node.data_dir = dir.path().join(name);
            config.cluster.listen = *port;
            config.cluster.join = ports.iter().map(SocketAddr::to_string).collect();
            config.cluster.bootstrap_expect = names.len();
            config.cluster.secret = Some(Secret::new("a-secret-for-the-tests-only"));
            config.timing.asterisk_lost_after = Some(Span::ms(500));
            config.asterisk = Some(AsteriskSection {
                url: sim.ari_url(),
                password: Some(Secret::new("secret")),
                systemname: name.to_string(),
                ..AsteriskSection::default()
            });
            change(&mut config, &sims);
            let faults = Faults::default();
            nodes.push(TestNode {
                name: name.to_string(),
                sim,
                config,
                faults,
                node: None,
            });
        }
        let starts = nodes.iter_mut().map(TestNode::start);
        futures_util::future::join_all(starts).await;
        for node in &nodes {
            node.connected().await;
        }
        Cluster { nodes, _dir: dir }
    }

    pub fn first(&self) -> &TestNode {
        &self.nodes[0]
    }

    pub async fn queue(&self, name: &str, settings: QueueSettings) {
        let (queue, settings) = (queue(name), Box::new(settings));
        self.up().admin(AdminOp::QueuePut { queue, settings }).await;
    }

    /// Makes an agent with a home, a member of the queues, and logs in.
    pub async fn agent(&self, id: &str, home: &str, queues: &[&str]) {
        self.agent_by(self.up(), id, home, queues).await;
    }

    /// The same, by way of a given node.
    pub async fn agent_by(&self, node: &TestNode, id: &str, home: &str, queues: &[&str]) {
        let (agent, home) = (agent(id), vec![PbxId::new(home).expect("a name")]);
        let settings = AgentSettings {
            home,
            ..AgentSettings::default()
        };
        node.admin(AdminOp::AgentPut {
            agent: agent.clone(),
            settings,
        })
        .await;
        for name in queues {
            let (queue, settings) = (queue(name), MemberSettings::default());
            node.admin(AdminOp::MemberPut {
                queue,
                agent: agent.clone(),
                settings,
            })
            .await;
        }
        node.admin(AdminOp::AgentLogin { agent }).await;
    }

    /// Any node that runs.
    pub fn up(&self) -> &TestNode {
        self.nodes
            .iter()
            .find(|node| node.runs())
            .expect("one node runs")
    }

    /// Index of the node that leads, once there is one.
    pub async fn leader(&self) -> usize {
        let wait = async {
            loop {
                let found = self.nodes.iter().position(|node| {
                    node.runs() && node.handle().raft().leadership().borrow().is_some()
                });
                if let Some(found) = found {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, wait)
            .await
            .expect("a leader in time")
    }

    pub async fn stop(mut self) {
        for node in &mut self.nodes {
            node.stop().await;
        }
    }
}

/// Everything as it is without settings, but a long ring.
pub fn plain() -> QueueSettings {
    QueueSettings {
        ring_time_ms: 30_000,
        ..QueueSettings::default()
    }
}

pub fn answer(after_ms: u64, talk_ms: Option<u64>) -> Habit {
    Habit::Answer { after_ms, talk_ms }
}

/// An address of this process alone: a port of 127.0.0.1 that was free a moment ago may have been
/// given to a connection of another test.
fn own_address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 63), middle, low)
}

pub fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a name")
}

pub fn agent(id: &str) -> AgentId {
    AgentId::new(id).expect("a name")
}

/// Numbers of those in line for `support`, from the head.
pub fn line(state: &State) -> Vec<String> {
    let line = state.queue(&queue("support")).map(|q| q.line.iter());
    let calls = line.into_iter().flatten().map(|place| place.call);
    calls
        .map(|call| state.call(call).unwrap().number.clone())
        .collect()
}

/// Waits until a caller at this node talks to this agent.
pub async fn talks(cluster: &Cluster, at: usize, caller: &Caller, agent: &str) {
    until(&cluster.nodes[at].sim, "they talk", |_| {
        caller.talking_to().as_deref() == Some(agent)
    })
    .await;
}

/// Waits until something in this Asterisk holds.
pub async fn until(sim: &SimAsterisk, what: &str, condition: impl FnMut(&SimAsterisk) -> bool) {
    if !sim.until(LONG, condition).await {
        panic!(
            "{what}: not seen; channels {:#?} bridges {:#?}",
            sim.channels(),
            sim.bridges()
        );
    }
}

/// No channel and no bridge is left.
pub async fn empty(sim: &SimAsterisk) {
    until(sim, "all channels and bridges are gone", |sim| {
        sim.channels().is_empty() && sim.bridges().is_empty()
    })
    .await;
}

/// The call is over and the state has let go of it.
pub async fn released(node: &TestNode) {
    node.until("no call is left", |state| state.calls().next().is_none())
        .await;
}

/// Numbers of all channels that are not callers' own.
pub fn legs(sim: &SimAsterisk) -> BTreeSet<String> {
    sim.channels()
        .into_iter()
        .map(|c| c.id)
        .filter(|id| id.starts_with("hf-"))
        .collect()
}

pub fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("holdfast_node=debug,warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer()
        .try_init();
}

pub fn heard(caller: &Caller) -> Vec<holdfast_sim::Hearing> {
    caller.heard().into_iter().map(|heard| heard.what).collect()
}
