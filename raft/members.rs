//! Changing who belongs to the cluster. Any node takes the request, the leader carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use tokio::time::Instant;

use crate::bootstrap::HELLO;
use crate::handover::step_down;
use crate::net::transport::CallError;
use crate::net::wire::{Admin, AdminReply, Adopt, Introduction, Kind};
use crate::node::Node;
use crate::types::NodeId;
use crate::{ClusterError, Machine, Member};

/// A change may take this long; a learner must catch up within it.
const CHANGE: Duration = Duration::from_secs(60);
/// Time for an answer of the leader.
const ADMIN: Duration = Duration::from_secs(70);

/// Has the leader make a change, from any node.
pub async fn ask<M: Machine>(node: &Node<M>, request: Admin) -> Result<(), ClusterError> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        if node.leads() {
            if let Ok(done) = administer(node, request.clone()).await {
                return done;
            }
        } else if let Some((id, member)) = node.leader() {
            let to = (id, member.name.as_str(), member.addr.as_str());
            let answer: Result<AdminReply, _> =
                node.links.call(Kind::Admin, to, &request, ADMIN).await;
            match answer {
                Ok(Ok(done)) => return done,
                Err(e @ (CallError::Lost(_) | CallError::Late)) => {
                    return Err(ClusterError::Unknown(e.to_string()));
                }
                Ok(Err(())) | Err(_) => {}
            }
        }
        if Instant::now() >= until {
            return Err(ClusterError::NoLeader);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Makes a change as leader; the outer error: does not lead.
pub async fn administer<M: Machine>(node: &Node<M>, request: Admin) -> AdminReply {
    if !node.leads() {
        return Err(());
    }
    let _one = node.changes.lock().await;
    let work = async {
        match request {
            Admin::Add {
                name,
                addr,
                replace,
            } => add(node, &name, &addr, replace).await,
            Admin::Remove { name } => remove(node, &name).await,
            Admin::StepDown { to } => step_down(node, to.as_deref()).await,
        }
    };
    let late = |_| Err(ClusterError::Unknown("it takes too long".into()));
    Ok(tokio::time::timeout(CHANGE, work)
        .await
        .unwrap_or_else(late))
}

async fn add<M: Machine>(
    node: &Node<M>,
    name: &str,
    addr: &str,
    replace: bool,
) -> Result<(), ClusterError> {
    if !crate::config::valid_name(name) || !crate::config::valid_addr(addr) {
        let why = format!("{name:?} at {addr:?} is not a node's name and host:port");
        return Err(ClusterError::Refused(why));
    }
    let members = node.members();
    let same: Vec<NodeId> = ids_of(&members, name);
    let unreachable = |why: String| ClusterError::Unreachable {
        name: name.to_string(),
        addr: addr.to_string(),
        why,
    };
    let peer: Introduction = node
        .links
        .call(Kind::Hello, (0, name, addr), &(), HELLO)
        .await
        .map_err(|e| unreachable(e.to_string()))?;
    if peer.name != name {
        let found = peer.name;
        return Err(ClusterError::Refused(format!(
            "the node at {addr} is named {found:?}"
        )));
    }
    let is_voter = node
        .metrics()
        .membership_config
        .membership()
        .voter_ids()
        .any(|v| v == peer.id);
    if is_voter {
        return Ok(());
    }
    let is_member = members.contains_key(&peer.id);
    if peer.has_data && !is_member {
        return Err(ClusterError::Refused(format!(
            "{name} holds data of an earlier membership; stop it, empty its data folder, start it"
        )));
    }
    let dead: BTreeSet<NodeId> = same.into_iter().filter(|id| *id != peer.id).collect();
    if !dead.is_empty() && !replace {
        return Err(ClusterError::Refused(format!(
            "a member named {name} exists; if its disk is lost, add it with --replace"
        )));
    }
    if dead.contains(&node.id) {
        return Err(ClusterError::Refused(format!(
            "{name} is the leader, and alive"
        )));
    }
    let cluster = node.links.cluster().unwrap_or(0);
    let to = (peer.id, name, addr);
    let adopted: Result<(), String> = node
        .links
        .call(Kind::Adopt, to, &Adopt { cluster }, HELLO)
        .await
        .map_err(|e| unreachable(e.to_string()))?;
    adopted.map_err(ClusterError::Refused)?;
    let member = Member {
        name: name.into(),
        addr: addr.into(),
    };
    let unknown = |e: String| ClusterError::Unknown(e);
    // Learner first: it gets a vote only when it has the log.
    let learner = node.core.add_learner(peer.id, member, true).await;
    learner.map_err(|e| unknown(e.to_string()))?;
    let mut voters: BTreeSet<NodeId> = node
        .metrics()
        .membership_config
        .membership()
        .voter_ids()
        .collect();
    voters.retain(|id| !dead.contains(id));
    voters.insert(peer.id);
    change_voters(node, voters).await?;
    drop_learners(node, &dead).await
}

async fn remove<M: Machine>(node: &Node<M>, name: &str) -> Result<(), ClusterError> {
    let gone: BTreeSet<NodeId> = ids_of(&node.members(), name).into_iter().collect();
    if gone.is_empty() {
        return Err(ClusterError::Refused(format!(
            "there is no member named {name:?}"
        )));
    }
    let mut voters: BTreeSet<NodeId> = node
        .metrics()
        .membership_config
        .membership()
        .voter_ids()
        .collect();
    voters.retain(|id| !gone.contains(id));
    if voters.is_empty() {
        let why = format!("{name} is the last node; a cluster cannot be empty");
        return Err(ClusterError::Refused(why));
    }
    change_voters(node, voters).await?;
    drop_learners(node, &gone).await
}

async fn change_voters<M: Machine>(
    node: &Node<M>,
    voters: BTreeSet<NodeId>,
) -> Result<(), ClusterError> {
    let changed = node.core.change_membership(voters, false).await;
    changed
        .map(|_| ())
        .map_err(|e| ClusterError::Unknown(e.to_string()))
}

/// Removes nodes that are still there as learners.
async fn drop_learners<M: Machine>(
    node: &Node<M>,
    gone: &BTreeSet<NodeId>,
) -> Result<(), ClusterError> {
    let members = node.members();
    let left: BTreeSet<NodeId> = gone
        .iter()
        .copied()
        .filter(|id| members.contains_key(id))
        .collect();
    if left.is_empty() || left.contains(&node.id) {
        return Ok(());
    }
    let changed = node
        .core
        .change_membership(ChangeMembers::RemoveNodes(left), false)
        .await;
    changed
        .map(|_| ())
        .map_err(|e| ClusterError::Unknown(e.to_string()))
}

fn ids_of(members: &BTreeMap<NodeId, Member>, name: &str) -> Vec<NodeId> {
    members
        .iter()
        .filter(|(_, m)| m.name == name)
        .map(|(id, _)| *id)
        .collect()
}
