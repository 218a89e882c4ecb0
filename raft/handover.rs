//! Handing leadership over.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::ServerState;
use tokio::time::Instant;

use crate::net::wire::{Elect, Kind};
use crate::node::Node;
use crate::types::NodeId;
use crate::{ClusterError, Machine, Member};

/// The chosen follower must have the whole log within this.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Moves leadership away. openraft 0.9 has no transfer, but a leader itself grants a vote, so with
/// its help the chosen follower is elected at once in a cluster of three; in larger ones it is
/// elected when the lease of the others ran out, for which the heartbeats stop.
pub async fn step_down<M: Machine>(node: &Node<M>, to: Option<&str>) -> Result<(), ClusterError> {
    let (target, member) = successor(node, to)?;
    node.handover.store(true, Ordering::SeqCst);
    let moved = hand_over(node, target, &member).await;
    node.core.runtime_config().heartbeat(true);
    node.handover.store(false, Ordering::SeqCst);
    moved
}

fn successor<M: Machine>(
    node: &Node<M>,
    to: Option<&str>,
) -> Result<(NodeId, Member), ClusterError> {
    let metrics = node.metrics();
    let membership = metrics.membership_config.membership();
    let matched = metrics.replication.clone().unwrap_or_default();
    let voters = membership.voter_ids().filter(|id| *id != node.id);
    let voters = voters.filter_map(|id| Some((id, membership.get_node(&id)?.clone())));
    let refused = |why: String| Err(ClusterError::Refused(why));
    let alive = |id: &NodeId| {
        node.links
            .silence(*id)
            .is_some_and(|s| s < 2 * node.lease())
    };
    if let Some(name) = to {
        if name == node.config.name {
            return refused(format!("{name} leads already"));
        }
        return match voters.into_iter().find(|(_, m)| m.name == name) {
            Some((id, _)) if !alive(&id) => refused(format!("{name} does not answer")),
            Some(found) => Ok(found),
            None => refused(format!("there is no voter named {name:?}")),
        };
    }
    let best = voters
        .filter(|(id, _)| alive(id))
        .max_by_key(|(id, _)| matched.get(id).copied().flatten().map(|l| l.index));
    best.map_or_else(|| refused("no other voter answers".into()), Ok)
}

async fn hand_over<M: Machine>(
    node: &Node<M>,
    target: NodeId,
    member: &Member,
) -> Result<(), ClusterError> {
    let until = Instant::now() + CATCH_UP;
    let last = loop {
        // Looked at first: an entry that is written later would make this log longer than that of the
        // one it shall vote for.
        let done = node.in_flight.load(Ordering::SeqCst) == 0;
        let metrics = node.metrics();
        if metrics.state != ServerState::Leader {
            return Ok(());
        }
        let matched = metrics
            .replication
            .as_ref()
            .and_then(|r| r.get(&target).copied().flatten());
        if done && matched.map(|l| l.index) >= metrics.last_log_index {
            break matched;
        }
        if Instant::now() >= until {
            let name = &member.name;
            return Err(ClusterError::Refused(format!(
                "{name} does not catch up with the log"
            )));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    node.core.runtime_config().heartbeat(false);
    let to = (target, member.name.as_str(), member.addr.as_str());
    let patience = 3 * node.lease() + Duration::from_millis(500);
    let elected: Result<Result<(), String>, _> = node
        .links
        .call(Kind::Elect, to, &Elect { last }, patience)
        .await;
    let elected = elected.map_err(|e| ClusterError::Unknown(e.to_string()))?;
    elected.map_err(ClusterError::Unknown)?;
    let mut changes = node.core.server_metrics();
    let follows = changes.wait_for(|m| m.current_leader.is_some_and(|l| l != node.id));
    match tokio::time::timeout(patience, follows).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(ClusterError::Unknown("the new leader was not heard".into())),
    }
}

/// The other half of a hand-over: tries at once, and again when the others' lease has run out.
pub async fn stand_for_election<M: Machine>(node: &Node<M>, request: Elect) -> Result<(), String> {
    let mut changes = node.core.metrics();
    if changes.borrow().last_log_index < request.last.map(|l| l.index) {
        return Err("the log is not complete".into());
    }
    let lease = node.lease();
    for wait in [
        Duration::from_millis(node.config.heartbeat_ms),
        lease,
        lease,
    ] {
        node.core
            .trigger()
            .elect()
            .await
            .map_err(|e| e.to_string())?;
        let won = changes.wait_for(|m| m.state == ServerState::Leader);
        if let Ok(won) = tokio::time::timeout(wait, won).await {
            return won.map(|_| ()).map_err(|e| e.to_string());
        }
        let silence = node.leader_silence().unwrap_or(lease);
        let rest = (lease + Duration::from_millis(20)).saturating_sub(silence);
        tokio::time::sleep(rest).await;
    }
    Err("not elected".into())
}
