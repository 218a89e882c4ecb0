//! One node at work: it joins the replicated queue (`acd`, in the store `raft`) to one Asterisk (`ari`).
//!
//! - Facts go in: `ingest` reads ARI events, an actor per caller (`caller`) proposes what was seen.
//! - Decisions go in from the leader alone: `distributor`.
//! - Effects come out: the actor compares what the replica wants with what Asterisk has (`plan`)
//!   and makes the requests. Events only wake it; a missed one costs nothing.
//! - `reconcile` makes both agree again after every gap in the event socket.
//!
//! What is not here: what a queue does (acd), how the log works (raft), HTTP (admin).

mod awake;
mod caller;
mod claim;
pub mod config;
mod config_check;
mod config_load;
mod ctx;
mod devices;
mod dispatch;
mod distributor;
#[doc(hidden)]
pub mod doors;
mod driver;
mod facts;
mod features;
mod handle;
mod have;
mod ingest;
mod join;
mod kept;
mod legs;
mod loss;
mod machine;
mod plan;
#[cfg(test)]
mod plan_bridge_tests;
#[cfg(test)]
mod plan_late_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(feature = "planted")]
pub mod planted;
mod proposer;
mod quorum;
mod reconcile;
mod results;
mod roster;
mod sounds;
mod status;
mod steps;
mod turns;
mod want;
mod world;

pub use config::NodeConfig;
pub use config_load::{ConfigError, ENV_PREFIX};
pub use handle::Handle;
pub use holdfast_acd as acd;
pub use holdfast_raft as raft;
pub use machine::AcdMachine;
pub use status::{AriStatus, BUCKETS_MS, Check, Histogram, NodeMetrics};
pub use world::{Reach, World};

use crate::claim::Role;
use crate::driver::{Driver, Seat};
use crate::handle::Shared;
use crate::proposer::Proposer;
use crate::quorum::Quorum;
use crate::status::Metrics;
use holdfast_acd::PbxId;
use holdfast_raft::Raft;
use std::sync::Arc;
use tokio::sync::watch;

/// A node that runs until `Handle::shutdown`.
pub struct Node {
    handle: Handle,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// All that is wrong with the settings.
    #[error("the configuration is wrong:\n{}", .0.join("\n"))]
    Config(Vec<String>),
    /// The store did not start.
    #[error(transparent)]
    Store(#[from] holdfast_raft::StartError),
    /// The client of Asterisk could not be made.
    #[error("asterisk: {0}")]
    Asterisk(#[from] holdfast_ari::ConfigError),
}

impl Node {
    /// Checks the settings, opens the data folder, listens for the other nodes and connects to
    /// Asterisk. Returns when the store listens; whether there is a leader and an Asterisk is in
    /// `Handle::readiness`.
    pub async fn start(config: NodeConfig) -> Result<Node, StartError> {
        Self::start_with_faults(config, holdfast_raft::Faults::default()).await
    }

    /// As `start`, with a handle by which a test cuts links and slows disks.
    pub async fn start_with_faults(
        config: NodeConfig,
        faults: holdfast_raft::Faults,
    ) -> Result<Node, StartError> {
        let world = World {
            faults,
            ..World::default()
        };
        Self::start_in(config, world).await
    }

    /// As `start`, in another world than that of the operating system: see [`World`].
    pub async fn start_in(config: NodeConfig, world: World) -> Result<Node, StartError> {
        let problems = config.validate();
        if !problems.is_empty() {
            return Err(StartError::Config(problems));
        }
        let raft = Raft::start(store_config(&config, &world)).await?;
        let seats = seats(&config, world.wall_ms());
        let own = seats.iter().find(|seat| seat.role == Role::Home);
        let others = seats.iter().filter(|seat| seat.role == Role::Substitute);
        let shared = Arc::new(Shared {
            raft,
            metrics: Arc::new(Metrics::default()),
            ari: own.map_or_else(Default::default, |own| own.status.clone()),
            others: others.map(|seat| seat.status.clone()).collect(),
            quorum: watch::Sender::new(Quorum::Heard),
            stopping: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
            config,
            world,
        });
        let proposer = Proposer::new(
            shared.raft.clone(),
            shared.metrics.clone(),
            shared.config.limits.proposals_max,
            shared.config.timing.propose_deadline.duration(),
        );
        let driver = |seat| Driver::new(shared.clone(), seat, proposer.clone());
        let drivers = seats.into_iter().map(driver).collect::<Result<_, _>>()?;
        tokio::spawn(supervise(shared.clone(), drivers));
        Ok(Node {
            handle: Handle { shared },
        })
    }

    /// For everyone who needs to see or steer it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// The Asterisks that this node drives, or may have to drive. Of settings that `validate` accepted.
fn seats(config: &NodeConfig, wall_ms: u64) -> Vec<Seat> {
    let own = config.asterisk.as_ref();
    let seat = |name: &str, asterisk, role| Seat {
        pbx: PbxId::new(name).expect("validate has checked the names"),
        asterisk,
        role,
        status: Arc::new(watch::Sender::new(AriStatus {
            configured: true,
            pbx: name.into(),
            since_wall_ms: wall_ms,
            ..AriStatus::default()
        })),
    };
    let home = own.map(|own| {
        let name = match own.systemname.as_str() {
            "" => &config.node.name,
            name => name,
        };
        seat(name, own.clone(), Role::Home)
    });
    let others = config.takeover.iter();
    let others = others.map(|it| seat(&it.systemname, it.section(own), Role::Substitute));
    home.into_iter().chain(others).collect()
}

/// Runs the parts until the node is told to stop, and stops them in order: first the sight of
/// Asterisk, so that new callers fail over, then the duties, then the store.
async fn supervise(shared: Arc<Shared>, drivers: Vec<Driver>) {
    let distributor = tokio::spawn(distributor::run(shared.clone()));
    let quorum = tokio::spawn(quorum::watch(shared.clone()));
    let drivers = drivers.into_iter();
    let drivers: Vec<_> = drivers.map(|driver| tokio::spawn(driver.run())).collect();
    let mut stopping = shared.stopping.subscribe();
    // An error cannot be: the sender is in `shared`.
    let _ = stopping.wait_for(|stopping| *stopping).await;
    for driver in drivers {
        if let Err(error) = driver.await {
            tracing::error!(%error, "the driver of an asterisk had failed");
        }
    }
    for task in [distributor, quorum] {
        task.abort();
        // Its end is awaited, so that nothing of ours holds the store any more.
        let _ = task.await;
    }
    shared.raft.shutdown().await;
    tracing::info!(node = shared.config.node.name, "node stopped");
    let stopped = shared.stopped.clone();
    drop((shared, stopping));
    stopped.send_replace(true);
}

fn store_config(config: &NodeConfig, world: &World) -> holdfast_raft::Config {
    let cluster = &config.cluster;
    let secret = cluster.secret.as_ref().map_or("", |secret| secret.expose());
    holdfast_raft::Config {
        name: config.node.name.clone(),
        data_dir: config.node.data_dir.clone(),
        listen: cluster.listen,
        advertise: cluster.advertise.clone(),
        join: cluster.join.clone(),
        bootstrap_expect: cluster.bootstrap_expect,
        secret: holdfast_raft::Secret::new(secret),
        heartbeat_ms: cluster.heartbeat.as_ms(),
        election_min_ms: cluster.election_min.as_ms(),
        election_max_ms: cluster.election_max.as_ms(),
        snapshot_every: cluster.snapshot_every,
        journal_max_events: cluster.journal_max_events,
        journal_max_age_ms: cluster.journal_max_age.as_ms(),
        faults: world.faults.clone(),
        world: world.store.clone(),
        ..holdfast_raft::Config::default()
    }
}
