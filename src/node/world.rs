//! What a node stands on: the machine of its store, and the way to its Asterisk.
//!
//! The default is the operating system's. The deterministic simulation puts its own in place, and
//! runs everything above for real. Time is tokio's in both; there is no seam for it here.

use holdfast_ari::transport::Transport;
use std::fmt;
use std::sync::Arc;
use url::Url;

/// Gives the way to the Asterisk at an address.
pub type Reach = Arc<dyn Fn(&Url) -> Arc<dyn Transport> + Send + Sync>;

/// The surroundings of one node.
#[derive(Clone, Default)]
pub struct World {
    /// Faults of the store's links and disk.
    pub faults: holdfast_raft::Faults,
    /// Disk, wire and wall clock.
    pub store: holdfast_raft::World,
    /// How Asterisks are reached. `None`: over TCP.
    pub reach: Option<Reach>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn reach(&self, url: &Url) -> Option<Arc<dyn Transport>> {
        self.reach.as_ref().map(|reach| reach(url))
    }

    /// Milliseconds since 1970, for display only.
    pub(crate) fn wall_ms(&self) -> u64 {
        (self.store.wall_ms)()
    }
}
