//! Forming the cluster, and changing who belongs to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use openraft::{ChangeMembers, ServerState};

use crate::journal::Raw;
use crate::net::wire::{
    Admin, AdminReply, Adopt, Elect, Introduction, JournalPart, JournalSince, Kind,
};
use crate::node::{Node, lock};
use crate::types::NodeId;
use crate::{ClusterError, Config, Machine, Member, StartError};

const HELLO: Duration = Duration::from_millis(1000);
/// Time for the first look at the peers, before `start` returns.
const FIRST_HELLO: Duration = Duration::from_millis(300);
const BOOTSTRAP_TICK: Duration = Duration::from_millis(200);
/// A change of members may take this long; a learner must catch up within it.
const CHANGE: Duration = Duration::from_secs(60);
const ADMIN: Duration = Duration::from_secs(70);
/// The chosen follower must have the whole log within this.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Journal records fetched at once.
const REFILL: usize = 500;

// ---- forming

/// Refuses a node whose peers belong to another cluster.
pub async fn check_cluster<M: Machine>(node: &Node<M>) -> Result<(), StartError> {
    let Some(own) = node.links.cluster() else {
        return Ok(());
    };
    for (addr, peer) in hello_all(node, FIRST_HELLO).await {
        if let Some(theirs) = peer.cluster
            && theirs != own
            && peer.has_data
        {
            let peer = format!("{} at {addr}", peer.name);
            return Err(StartError::OtherCluster { own, peer, theirs });
        }
    }
    Ok(())
}

/// Until the node belongs to a cluster: forms one with the other fresh nodes, or waits to be added
/// to the one that is there.
pub async fn bootstrap<M: Machine>(node: Arc<Node<M>>) {
    loop {
        if node.introduction().has_data {
            lock(&node.waiting_for).clear();
            return;
        }
        let peers = hello_all(&node, HELLO).await;
        let next = plan(&node.config, &node.introduction(), &peers, &node.addr);
        match next {
            Plan::Wait(why) => *lock(&node.waiting_for) = why,
            Plan::Form => form(&node, &peers).await,
        }
        tokio::time::sleep(BOOTSTRAP_TICK).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Nothing to do yet, and why.
    Wait(String),
    /// This node initialises the cluster with the peers it heard.
    Form,
}

/// What a fresh node does next.
fn plan(
    config: &Config,
    me: &Introduction,
    peers: &BTreeMap<String, Introduction>,
    addr: &str,
) -> Plan {
    if let Some(peer) = peers.values().find(|p| p.has_data) {
        let named = peer.members.iter().find(|(name, _)| *name == me.name);
        let replace = match named {
            Some((_, id)) if *id != me.id => " --replace",
            _ => "",
        };
        let name = &me.name;
        return Plan::Wait(format!(
            "not a member of the cluster that is there; \
             on one of its nodes run: holdfast cluster add {name} {addr}{replace}"
        ));
    }
    let expect = config.bootstrap_expect;
    if expect == 0 {
        return Plan::Wait("bootstrap_expect is 0: waiting to be added to a cluster".into());
    }
    if let Some(peer) = peers.values().find(|p| p.name == me.name) {
        let name = &peer.name;
        return Plan::Wait(format!(
            "two nodes are named {name}; give each its own name"
        ));
    }
    if let Some(peer) = peers.values().find(|p| p.expect != expect) {
        let (name, theirs) = (&peer.name, peer.expect);
        return Plan::Wait(format!(
            "bootstrap_expect is {expect} here and {theirs} on {name}; make them equal"
        ));
    }
    let names: BTreeSet<&str> = peers
        .values()
        .map(|p| p.name.as_str())
        .chain([me.name.as_str()])
        .collect();
    if names.len() != expect {
        let have = names.len();
        let names = Vec::from_iter(names).join(", ");
        return Plan::Wait(format!(
            "waiting for {expect} nodes; {have} so far: {names}"
        ));
    }
    match names.first() {
        Some(first) if *first == me.name => Plan::Form,
        first => Plan::Wait(format!(
            "waiting for {} to form the cluster",
            first.unwrap_or(&"")
        )),
    }
}

/// Initialises the cluster. Safe to try again: it keeps its cluster id, and openraft initialises
/// only once.
async fn form<M: Machine>(node: &Node<M>, peers: &BTreeMap<String, Introduction>) {
    let cluster = node
        .links
        .cluster()
        .unwrap_or_else(|| rand::random::<u64>() | 1);
    if let Err(e) = be_adopted(node, cluster) {
        *lock(&node.waiting_for) = e;
        return;
    }
    let mut members = BTreeMap::new();
    let me = Member {
        name: node.config.name.clone(),
        addr: node.addr.clone(),
    };
    members.insert(node.id, me);
    for (addr, peer) in peers {
        let to = (peer.id, peer.name.as_str(), addr.as_str());
        let adopted: Result<Result<(), String>, _> = node
            .links
            .call(Kind::Adopt, to, &Adopt { cluster }, HELLO)
            .await;
        if !matches!(adopted, Ok(Ok(()))) {
            *lock(&node.waiting_for) = format!("{} does not join: {adopted:?}", peer.name);
            return;
        }
        members.insert(
            peer.id,
            Member {
                name: peer.name.clone(),
                addr: addr.clone(),
            },
        );
    }
    match node.core.initialize(members).await {
        Ok(()) => tracing::info!(cluster = format!("{cluster:016x}"), "formed the cluster"),
        Err(e) => *lock(&node.waiting_for) = format!("cannot form the cluster: {e}"),
    }
}

/// Makes this node belong to a cluster; only a fresh one may change.
pub fn be_adopted<M: Machine>(node: &Node<M>, cluster: u64) -> Result<(), String> {
    let own = node.links.cluster();
    if own == Some(cluster) {
        return Ok(());
    }
    if node.introduction().has_data {
        let own = own.unwrap_or(0);
        return Err(format!(
            "this node has data of cluster {own:016x}; empty its data folder"
        ));
    }
    node.identity
        .join(cluster)
        .map_err(|e| format!("cannot write node.json: {e}"))?;
    node.links.set_cluster(cluster);
    Ok(())
}

/// Introductions of all `join` addresses that answer, by address, without this node itself.
async fn hello_all<M: Machine>(
    node: &Node<M>,
    deadline: Duration,
) -> BTreeMap<String, Introduction> {
    let others = node.config.join.iter().filter(|addr| **addr != node.addr);
    let asked = others.map(|addr| async move {
        let peer: Result<Introduction, _> = node
            .links
            .call(Kind::Hello, (0, "", addr), &(), deadline)
            .await;
        peer.ok()
            .filter(|p| p.id != node.id && !node.links.is_cut(&p.name))
            .map(|p| (addr.clone(), p))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

// ---- changing

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
                Err(
                    e
                    @ (crate::net::links::CallError::Lost(_) | crate::net::links::CallError::Late),
                ) => {
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

// ---- handing over

/// Moves leadership away. openraft 0.9 has no transfer, but a leader itself grants a vote, so with
/// its help the chosen follower is elected at once in a cluster of three; in larger ones it is
/// elected when the lease of the others ran out, for which the heartbeats stop.
pub async fn step_down<M: Machine>(node: &Node<M>, to: Option<&str>) -> Result<(), ClusterError> {
    let (target, member) = successor(node, to)?;
    node.handover.store(true, Ordering::Release);
    let moved = hand_over(node, target, &member).await;
    node.core.runtime_config().heartbeat(true);
    node.handover.store(false, Ordering::Release);
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
        let metrics = node.metrics();
        if metrics.state != ServerState::Leader {
            return Ok(());
        }
        let matched = metrics
            .replication
            .as_ref()
            .and_then(|r| r.get(&target).copied().flatten());
        if matched.map(|l| l.index) >= metrics.last_log_index {
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

// ---- the journal's gaps

/// Fetches from the other nodes the events that a snapshot or a lost journal made this node miss.
pub async fn refill_journal<M: Machine>(node: Arc<Node<M>>) {
    let journal = &node.state.journal;
    loop {
        let Some((from, to)) = journal.gap() else {
            journal.gap_noted().await;
            continue;
        };
        let Some(records) = fetch(&node, from).await else {
            tokio::time::sleep(HELLO).await;
            continue;
        };
        let mut wanted: Vec<Raw> = records.iter().filter(|r| r.index <= to).cloned().collect();
        let last = wanted.last().map(|r| r.index);
        let left = match last {
            // The last entry may have come in part; it is fetched again.
            Some(last) if records.len() == REFILL && wanted.len() == REFILL => (last > from + 1)
                .then_some((last - 1, to))
                .or(Some((last, to))),
            _ => None,
        };
        wanted.dedup_by_key(|r| (r.index, r.seq));
        if let Err(e) = journal.fill(wanted, left).await {
            tracing::warn!("cannot refill the journal: {e}");
            tokio::time::sleep(HELLO).await;
        }
    }
}

/// Records after `from` of the first member that answers; `None` if none does.
async fn fetch<M: Machine>(node: &Node<M>, from: u64) -> Option<Vec<Raw>> {
    let members = node.members();
    let leader = node.leader().map(|(id, _)| id);
    let others = members.iter().filter(|(id, _)| **id != node.id);
    let mut others: Vec<_> = others.collect();
    others.sort_by_key(|(id, _)| Some(**id) != leader);
    if others.is_empty() && !members.is_empty() {
        // A single node has nobody to ask.
        return Some(Vec::new());
    }
    for (id, member) in others {
        let to = (*id, member.name.as_str(), member.addr.as_str());
        let request = JournalSince {
            index: from,
            limit: REFILL,
        };
        let part: Result<JournalPart, _> = node
            .links
            .call(Kind::Journal, to, &request, 5 * HELLO)
            .await;
        if let Ok(part) = part {
            return Some(part.records);
        }
    }
    None
}
