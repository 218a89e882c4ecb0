//! Forming the cluster: fresh nodes that find each other make one, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::net::wire::{Adopt, Introduction, Kind};
use crate::node::{Node, lock};
use crate::{Config, Machine, Member, StartError};

/// Time for an answer to a hello.
pub const HELLO: Duration = Duration::from_millis(1000);
/// Time for the first look at the peers, before `start` returns.
const FIRST_HELLO: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(200);

/// Refuses a node whose peers belong to another cluster.
pub async fn check_cluster<M: Machine>(node: &Node<M>) -> Result<(), StartError> {
    let Some(own) = node.links.cluster() else {
        return Ok(());
    };
    for (addr, peer) in hello_all(node, FIRST_HELLO).await {
        let Some(theirs) = peer.cluster.filter(|c| *c != own && peer.has_data) else {
            continue;
        };
        let peer_name = format!("{} at {addr}", peer.name);
        if peer.before.contains(&own) {
            let peer = peer_name;
            return Err(StartError::LeftBehind { own, peer, theirs });
        }
        if node.identity.before().contains(&theirs) {
            // It stops as soon as it hears of this node: see `left_behind`.
            tracing::warn!(
                peer = peer_name,
                "still runs with data from before the recovery"
            );
            continue;
        }
        let peer = peer_name;
        return Err(StartError::OtherCluster { own, peer, theirs });
    }
    Ok(())
}

/// Whether a member that does not answer as one belongs to a cluster that was recovered from this
/// node's, without this node: then this one must not go on, whoever else it can reach.
pub async fn left_behind<M: Machine>(node: &Node<M>, member: &Member) -> Option<StartError> {
    let own = node.links.cluster()?;
    let to = (0, member.name.as_str(), member.addr.as_str());
    let peer: Introduction = node.links.call(Kind::Hello, to, &(), HELLO).await.ok()?;
    let theirs = peer.cluster?;
    let peer_name = format!("{} at {}", peer.name, member.addr);
    peer.before
        .contains(&own)
        .then_some(StartError::LeftBehind {
            own,
            peer: peer_name,
            theirs,
        })
}

/// Until the node belongs to a cluster: forms one with the other fresh nodes, or waits to be added
/// to the one that is there.
pub async fn run<M: Machine>(node: Arc<Node<M>>) {
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
        tokio::time::sleep(TICK).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(name: &str, expect: usize) -> Introduction {
        let id = name.bytes().fold(7, |h, b| h * 31 + u64::from(b));
        let (name, members) = (name.to_string(), Vec::new());
        Introduction {
            name,
            id,
            cluster: None,
            has_data: false,
            expect,
            members,
            before: Vec::new(),
        }
    }

    fn planned(me: &Introduction, peers: &[Introduction]) -> Plan {
        let config = Config {
            bootstrap_expect: me.expect,
            ..Config::default()
        };
        let addrs = peers
            .iter()
            .enumerate()
            .map(|(i, p)| (format!("h:{i}"), p.clone()));
        plan(&config, me, &addrs.collect(), "me:1")
    }

    fn why(plan: Plan) -> String {
        match plan {
            Plan::Wait(why) => why,
            Plan::Form => panic!("it forms a cluster"),
        }
    }

    #[test]
    fn only_the_first_of_all_expected_names_forms_the_cluster() {
        let [a, b, c] = ["a", "b", "c"].map(|n| fresh(n, 3));
        assert_eq!(planned(&a, &[b.clone(), c.clone()]), Plan::Form);
        assert!(why(planned(&b, &[a.clone(), c.clone()])).contains("waiting for a to form"));
        assert!(why(planned(&a, std::slice::from_ref(&b))).contains("2 so far: a, b"));
        assert!(why(planned(&a, &[b.clone(), fresh("c", 2)])).contains("make them equal"));
        assert!(why(planned(&a, &[b.clone(), fresh("a", 3)])).contains("two nodes are named a"));
        assert_eq!(planned(&fresh("a", 1), &[]), Plan::Form);
        assert!(why(planned(&fresh("a", 0), &[])).contains("waiting to be added"));
    }

    #[test]
    fn a_fresh_node_never_forms_a_second_cluster() {
        let me = fresh("a", 3);
        let member = |name: &str, id| {
            let mut peer = fresh("b", 3);
            (peer.has_data, peer.cluster) = (true, Some(5));
            peer.members = vec![(name.to_string(), id)];
            peer
        };
        let told = why(planned(&me, &[member("b", 9), fresh("c", 3)]));
        assert!(told.ends_with("holdfast cluster add a me:1"), "{told}");
        let told = why(planned(&me, &[member("a", me.id + 1)]));
        assert!(
            told.ends_with("holdfast cluster add a me:1 --replace"),
            "{told}"
        );
        assert!(why(planned(&fresh("a", 1), &[member("b", 9)])).contains("cluster add"));
    }
}
