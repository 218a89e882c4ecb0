//! The election gate: openraft 0.9 has no pre-vote, so a follower that was cut off comes back with
//! a higher term and deposes a healthy leader. Here a node may stand for election only while it can
//! reach a quorum, and neither it nor any voter it reaches has a leader.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::ServerState;
use tokio::time::Instant;

use crate::death::Watch;
use crate::net::wire::{Kind, Pong};
use crate::node::Node;
use crate::types::NodeId;
use crate::{Machine, Member, bootstrap};

const TICK: Duration = Duration::from_millis(20);
/// The same for a while after a leader may have died.
const URGENT: Duration = Duration::from_millis(5);
/// Silent peers are asked this often whether they are there.
const ROLL_CALL: Duration = Duration::from_secs(1);

pub async fn run<M: Machine>(node: Arc<Node<M>>) {
    let mut watch = Watch::default();
    let mut called = Instant::now();
    loop {
        let pause = if watch.is_urgent() { URGENT } else { TICK };
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            () = node.death.suspected() => watch.suspect(&node),
        }
        watch.look(&node).await;
        let reached = reached_without_leader(&node).await;
        let open = node.config.faults.gate_is_off() || reached.is_some();
        node.core.runtime_config().elect(open);
        if let Some(reached) = reached {
            watch.stand(&node, &reached).await;
        }
        if called.elapsed() >= ROLL_CALL {
            called = Instant::now();
            let node = node.clone();
            // Bounded by the deadline of a ping, which is shorter than the interval.
            tokio::spawn(async move { roll_call(&node).await });
        }
    }
}

/// The voters that were reached, this node among them: a quorum, and nobody in it has a leader.
async fn reached_without_leader<M: Machine>(node: &Node<M>) -> Option<Vec<NodeId>> {
    let metrics = node.metrics();
    let membership = metrics.membership_config.membership();
    let voters: Vec<NodeId> = membership.voter_ids().collect();
    if !voters.contains(&node.id) || metrics.state == ServerState::Leader {
        return None;
    }
    if node
        .living_leader_silence()
        .is_some_and(|s| s < node.lease())
    {
        return None;
    }
    let others = voters.iter().filter(|id| **id != node.id);
    let others = others.filter_map(|id| Some((*id, membership.get_node(id)?)));
    let asked = others.map(|(id, member)| async move { Some((id, ping(node, id, member).await?)) });
    let pongs = join_all(asked).await;
    let mut reached: Vec<NodeId> = vec![node.id];
    for (id, pong) in pongs.into_iter().flatten() {
        let hears = pong
            .heard_ms
            .is_some_and(|ms| u128::from(ms) < node.lease().as_millis());
        if pong.leads || hears {
            return None;
        }
        reached.push(id);
    }
    let halves = membership.get_joint_config();
    let quorum = halves
        .iter()
        .all(|h| reached.iter().filter(|id| h.contains(id)).count() * 2 > h.len());
    quorum.then_some(reached)
}

async fn ping<M: Machine>(node: &Node<M>, id: NodeId, member: &Member) -> Option<Pong> {
    let to = (id, member.name.as_str(), member.addr.as_str());
    let deadline = Duration::from_millis(node.config.election_min_ms);
    node.links.call(Kind::Ping, to, &(), deadline).await.ok()
}

/// Pings the members that were not heard of late, so that everyone knows who is there.
async fn roll_call<M: Machine>(node: &Node<M>) {
    let members = node.members();
    let silent = members.iter().filter(|(id, _)| {
        **id != node.id && node.links.silence(**id).is_none_or(|s| s >= ROLL_CALL / 2)
    });
    let asked = silent.map(|(id, member)| async move {
        match ping(node, *id, member).await {
            Some(_) => None,
            None => bootstrap::left_behind(node, member).await,
        }
    });
    if let Some(why) = join_all(asked).await.into_iter().flatten().next() {
        node.fail(why.to_string());
    }
    node.links.keep(&|id| members.contains_key(&id));
}
