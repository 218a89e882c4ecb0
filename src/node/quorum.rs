//! Whether this node heard of a working leader lately: without one, callers go to their fallback.
//!
//! The clock of the cluster stands still without a quorum, so this is the one timeout that each
//! node decides by its own monotonic clock.

use crate::handle::Shared;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Looks at the store's view of the leader and keeps `Shared::quorum`.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let patience = shared.config.timing.no_quorum_after.duration();
    let mut ticks =
        interval((patience / 8).clamp(Duration::from_millis(20), Duration::from_secs(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let leadership = shared.raft.leadership();
    let fresh = shared.config.cluster.election_max.as_ms() * 2;
    let (mut last, mut ticked) = (Instant::now(), Instant::now());
    loop {
        ticks.tick().await;
        let gap = std::mem::replace(&mut ticked, Instant::now()).elapsed();
        if gap > patience / 2 {
            // This process stood still, and could hear nobody: that says nothing of the others.
            last += gap;
        }
        if leadership.borrow().is_some() || follows(&shared, fresh) {
            last = Instant::now();
        }
        let quorum = last.elapsed() < patience;
        let changed = shared.quorum.send_if_modified(|known| {
            let changed = *known != quorum;
            *known = quorum;
            changed
        });
        let node = &shared.config.node.name;
        match (changed, quorum) {
            (true, true) => tracing::info!(node, "a leader is heard of again"),
            (true, false) => tracing::error!(
                node,
                after_ms = patience.as_millis() as u64,
                "no leader is heard of, waiting callers go to their fallback"
            ),
            _ => {}
        }
    }
}

/// A leader is known and was heard of within `fresh_ms`.
fn follows(shared: &Shared, fresh_ms: u64) -> bool {
    let Some((leader, _)) = shared.raft.leader() else {
        return false;
    };
    let mut peers = shared.raft.peers().into_iter();
    let heard = peers
        .find(|peer| peer.name == leader)
        .and_then(|peer| peer.last_heard_ms);
    heard.is_some_and(|ms| ms <= fresh_ms)
}
