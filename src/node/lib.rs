//! One node at work: it joins the replicated queue (`acd`, in the store `raft`) to one Asterisk (`ari`).
//!
//! - Facts go in: `ingest` reads ARI events, an actor per caller (`caller`) proposes what was seen.
//! - Decisions go in from the leader alone: `distributor`.
//! - Effects come out: the actor compares what the replica wants with what Asterisk has (`plan`)
//!   and makes the requests. Events only wake it; a missed one costs nothing.
//! - `reconcile` makes both agree again after every gap in the event socket.
//!
//! What is not here: what a queue does (acd), how the log works (raft), HTTP (admin).

pub mod config;
mod config_check;
mod config_load;
mod handle;
mod machine;
mod status;

pub use config::NodeConfig;
pub use config_load::{ConfigError, ENV_PREFIX};
pub use handle::Handle;
pub use holdfast_acd as acd;
pub use holdfast_raft as raft;
pub use machine::AcdMachine;
pub use status::{AriStatus, BUCKETS_MS, Check, Histogram, NodeMetrics};

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
}

impl Node {
    /// Checks the settings, opens the data folder, listens for the other nodes and connects to
    /// Asterisk. Returns when the store listens; whether there is a leader and an Asterisk is in
    /// `Handle::readiness`.
    pub async fn start(config: NodeConfig) -> Result<Node, StartError> {
        let problems = config.validate();
        if !problems.is_empty() {
            return Err(StartError::Config(problems));
        }
        unimplemented!()
    }

    /// For everyone who needs to see or steer it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}
