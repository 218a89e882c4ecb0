//! What a node stands on: disk, network, wall clock, the way to its Asterisk.
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
    /// How Asterisks are reached. `None`: over TCP.
    pub reach: Option<Reach>,
    /// Milliseconds since 1970. `None`: the machine's clock.
    pub wall: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let real = self.reach.is_none() && self.wall.is_none();
        f.debug_struct("World")
            .field("real", &real)
            .finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn reach(&self, url: &Url) -> Option<Arc<dyn Transport>> {
        self.reach.as_ref().map(|reach| reach(url))
    }

    /// Milliseconds since 1970, for display only.
    pub(crate) fn wall_ms(&self) -> u64 {
        if let Some(wall) = &self.wall {
            return wall();
        }
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }
}
