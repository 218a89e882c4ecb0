//! How lately this node heard of a working leader: without one, phones of its callers stop ringing,
//! and later the callers go to their fallback.
//!
//! The clock of the cluster stands still without a quorum, so these are the timeouts that each node
//! decides by its own monotonic clock.

use crate::config::NodeConfig;
use crate::handle::Shared;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// In the order in which it gets worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quorum {
    /// Of a leader, lately.
    Heard,
    /// Of none, for longer than an election takes and than it takes the others to count this node as
    /// away: they give its agents to their own callers.
    Silent,
    /// Of none for `timing.no_quorum_after`.
    Missing,
}

impl Quorum {
    pub fn is_missing(self) -> bool {
        self == Quorum::Missing
    }

    fn after(silence: Duration, config: &NodeConfig) -> Quorum {
        if silence >= config.timing.no_quorum_after.duration() {
            Quorum::Missing
        } else if silence >= silent_after(config) {
            Quorum::Silent
        } else {
            Quorum::Heard
        }
    }
}

/// A leader that died is followed by another within two elections, and then phones go on ringing.
fn silent_after(config: &NodeConfig) -> Duration {
    config.timing.node_away_after.duration() + 2 * config.cluster.election_max.duration()
}

/// Looks at the store's view of the leader and keeps `Shared::quorum`.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let config = &shared.config;
    let patience = silent_after(config).min(config.timing.no_quorum_after.duration());
    let mut ticks =
        interval((patience / 8).clamp(Duration::from_millis(20), Duration::from_secs(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let leadership = shared.raft.leadership();
    let (mut last, mut ticked) = (Instant::now(), Instant::now());
    loop {
        ticks.tick().await;
        let gap = std::mem::replace(&mut ticked, Instant::now()).elapsed();
        if gap > patience / 2 {
            // This process stood still, and could hear nobody: that says nothing of the others.
            last += gap;
        }
        let silence = match leadership.borrow().is_some() {
            true => Some(Duration::ZERO),
            false => silence(&shared),
        };
        if let Some(heard) = silence.and_then(|silence| Instant::now().checked_sub(silence)) {
            last = last.max(heard);
        }
        let quorum = Quorum::after(last.elapsed(), config);
        let was = *shared.quorum.borrow();
        if was == quorum {
            continue;
        }
        shared.quorum.send_replace(quorum);
        let node = &config.node.name;
        match (was, quorum) {
            (Quorum::Missing, Quorum::Heard | Quorum::Silent) => {
                tracing::info!(node, "a leader is heard of again");
            }
            (Quorum::Heard, Quorum::Silent) => tracing::warn!(
                node,
                "no leader is heard of, phones of waiting callers stop ringing"
            ),
            (Quorum::Heard | Quorum::Silent, Quorum::Missing) => tracing::error!(
                node,
                after_ms = config.timing.no_quorum_after.as_ms(),
                "no leader is heard of, waiting callers go to their fallback"
            ),
            _ => {}
        }
    }
}

/// How long nothing was heard of the leader; `None` without one.
fn silence(shared: &Shared) -> Option<Duration> {
    let (leader, _) = shared.raft.leader()?;
    let mut peers = shared.raft.peers().into_iter();
    let heard = peers.find(|peer| peer.name == leader)?.last_heard_ms?;
    Some(Duration::from_millis(heard))
}
