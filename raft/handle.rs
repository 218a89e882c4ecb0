//! The handle to a running node of the store.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use tokio::sync::{broadcast, watch};

use crate::net::wire::Admin;
use crate::node::{Node, lock};
use crate::{
    Applied, ClusterError, Config, EventBatch, Health, Journal, Lead, Leadership, Machine, Member,
    PeerStatus, ProposeError, Role, StartError, Status,
};
use crate::{fence, members};

/// A running node of the store. Clones are cheap and stand for the same node.
pub struct Raft<M: Machine> {
    node: Arc<Node<M>>,
}

impl<M: Machine> Clone for Raft<M> {
    fn clone(&self) -> Self {
        Raft {
            node: self.node.clone(),
        }
    }
}

impl<M: Machine> Raft<M> {
    /// Opens the data folder, starts to listen, and returns; whether there is a leader yet is in
    /// [`Raft::leader`] and [`Raft::status`].
    pub async fn start(config: Config) -> Result<Raft<M>, StartError> {
        Ok(Raft {
            node: Node::start(config).await?,
        })
    }

    /// What the listener for other nodes counts.
    pub fn port(&self) -> Arc<holdfast_ports::Stats> {
        self.node.port.clone()
    }

    /// Has a command applied: here if this node leads, else by the leader, tried again over leader
    /// changes until the deadline (so it may be applied twice; the machine must not mind).
    pub async fn propose(
        &self,
        command: M::Command,
        deadline: Duration,
    ) -> Result<Applied<M::Reply>, ProposeError> {
        self.node.propose(&command, deadline).await
    }

    /// Has decisions applied in one entry, tried once. Refused with [`ProposeError::NoLeader`]
    /// unless this node still leads in `term` and a quorum acknowledged within the lease.
    pub async fn propose_as_leader(
        &self,
        term: u64,
        commands: Vec<M::Command>,
        deadline: Duration,
    ) -> Result<Vec<Applied<M::Reply>>, ProposeError> {
        self.node.propose_as_leader(term, &commands, deadline).await
    }

    /// Looks at the applied state of this node. Apply waits meanwhile: keep it short.
    pub fn read<R>(&self, f: impl FnOnce(&M) -> R) -> R {
        self.node.state.read(f)
    }

    /// The applied log index.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.node.state.applied()
    }

    /// The events of each entry from now on. A reader that is too slow gets `Lagged` and must look
    /// at the whole state anew, as after a batch with `reset`. Entries without events send nothing.
    pub fn events(&self) -> broadcast::Receiver<Arc<EventBatch<M::Event>>> {
        self.node.state.events()
    }

    /// `Some` while this node may act as leader: an entry of its own, of this term, was applied,
    /// and a quorum acknowledged within the lease.
    pub fn leadership(&self) -> watch::Receiver<Option<Leadership>> {
        self.node.leadership.subscribe()
    }

    /// Name and address of the leader, if one was heard within twice the lease (or is this node,
    /// and a quorum follows it). It may have died a moment ago. What openraft knows is not enough: it
    /// keeps the last leader for ever, over a restart too, until another is elected.
    pub fn leader(&self) -> Option<(String, String)> {
        fence::working_leader(&self.node).map(|member| (member.name, member.addr))
    }

    /// Whether the local state is of now, to within twice the lease: this node may act as leader, or
    /// heard a working one by then and has applied all that it said was committed. A node that is cut
    /// off, was stopped or is catching up is not current; what it knows may be long over.
    pub fn is_current(&self) -> bool {
        fence::is_current(&self.node)
    }

    /// Who leads, as [`Raft::leader`] has it, for those who wait for it to change.
    pub fn led_by(&self) -> watch::Receiver<Option<Lead>> {
        self.node.led_by.subscribe()
    }

    /// This node's estimate of the cluster clock, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.node.state.clock.now_ms()
    }

    /// Returns when local state is at least as new as everything acknowledged before the call,
    /// with the applied index.
    pub async fn barrier(&self, deadline: Duration) -> Result<u64, ProposeError> {
        self.node.barrier(deadline).await
    }

    /// The other members.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let metrics = self.node.metrics();
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let matched = metrics.replication.unwrap_or_default();
        let peers = self
            .node
            .members()
            .into_iter()
            .filter(|(id, _)| *id != self.node.id);
        peers
            .map(|(id, Member { name, addr })| {
                let silence = self.node.links.silence(id);
                PeerStatus {
                    name,
                    addr,
                    id,
                    voter: voters.contains(&id),
                    last_heard_ms: silence.map(|s| s.as_millis() as u64),
                    reachable: silence.is_some_and(|s| s < 2 * self.node.lease().max(ROLL_CALL)),
                    matched: matched.get(&id).copied().flatten().map(|l| l.index),
                }
            })
            .collect()
    }

    /// Hash of the applied state, and the log index it stands for. It costs a walk over the whole
    /// state, for which apply does not wait.
    pub fn digest(&self) -> (u64, u64) {
        self.node.state.digest()
    }

    /// Everything about this node but the state itself: cheap, however large that is.
    pub fn status(&self) -> Status {
        let node = &self.node;
        let metrics = node.metrics();
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let members = node.members();
        let index = |id: Option<crate::types::LogId>| id.map_or(0, |l| l.index);
        let applied = index(node.state.last());
        let (fsync_p50_us, fsync_p99_us) = node.log.fsync_percentiles();
        let is_member = members.contains_key(&node.id);
        let role = match metrics.state {
            ServerState::Shutdown => Role::Stopped,
            _ if !is_member => Role::Outsider,
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner => Role::Learner,
        };
        Status {
            name: node.config.name.clone(),
            id: node.id,
            addr: node.addr.clone(),
            cluster_id: node.links.cluster(),
            role,
            term: metrics.current_term,
            leader: self.leader().map(|(name, _)| name),
            applied,
            committed: applied.max(index(node.log.committed())),
            last_log: metrics.last_log_index.unwrap_or(0),
            snapshot: index(metrics.snapshot),
            purged: index(metrics.purged),
            now_ms: self.now_ms(),
            health: self.health(role),
            members: members
                .into_iter()
                .map(|(id, member)| (id, member, voters.contains(&id)))
                .collect(),
            log_bytes: node.log.bytes(),
            fsync_p50_us,
            fsync_p99_us,
            queued: node.groups.max_capacity() - node.groups.capacity(),
        }
    }

    fn health(&self, role: Role) -> Health {
        let node = &self.node;
        let reason = if let Some(why) = node.fatal.borrow().clone() {
            why
        } else if role == Role::Stopped {
            "stopped".into()
        } else if role == Role::Outsider {
            match lock(&node.waiting_for).clone() {
                why if !why.is_empty() => why,
                _ => format!(
                    "not a member of the cluster any more, or not yet; to come back, empty the \
                     data folder and on another node run: holdfast cluster add {} {}",
                    node.config.name, node.addr
                ),
            }
        } else if self.leader().is_none() {
            "there is no leader; a majority of the nodes must run and reach each other".into()
        } else {
            String::new()
        };
        Health {
            healthy: reason.is_empty(),
            reason,
        }
    }

    /// Adds a fresh, running node: as learner first, then with a vote. `replace` takes the place of
    /// a dead member of the same name.
    pub async fn add_node(
        &self,
        name: &str,
        addr: &str,
        replace: bool,
    ) -> Result<(), ClusterError> {
        let (name, addr) = (name.to_string(), addr.to_string());
        members::ask(
            &self.node,
            Admin::Add {
                name,
                addr,
                replace,
            },
        )
        .await
    }

    /// Removes a node from the cluster. Its id is never used again.
    pub async fn remove_node(&self, name: &str) -> Result<(), ClusterError> {
        members::ask(
            &self.node,
            Admin::Remove {
                name: name.to_string(),
            },
        )
        .await
    }

    /// Moves leadership to `to`, or to whichever follower has the most of the log.
    pub async fn step_down(&self, to: Option<String>) -> Result<(), ClusterError> {
        members::ask(&self.node, Admin::StepDown { to }).await
    }

    /// The journal of events on this node.
    pub fn journal(&self) -> &Journal<M::Event> {
        &self.node.state.journal
    }

    /// Stops: leadership moves away first, everything is flushed. The data folder is free again
    /// when all clones of this handle are dropped.
    pub async fn shutdown(&self) {
        if self.node.leads() && !self.node.is_closing() {
            let request = Admin::StepDown { to: None };
            // Alone, or nobody to take over: then the others find out by themselves.
            let moved = members::administer(&self.node, request);
            let _ = tokio::time::timeout(HAND_OVER, moved).await;
        }
        self.node.stop().await;
    }

    /// Stops like a process that was killed: without a word to the others. For tests.
    #[doc(hidden)]
    pub async fn crash(&self) {
        self.node.stop().await;
    }

    /// `Some(why)` once storage broke: the process must exit and be started again.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.node.fatal.subscribe()
    }
}

/// Longest wait for a successor at shutdown.
const HAND_OVER: Duration = Duration::from_secs(3);
/// Silent peers are called this often, so silence up to here says nothing.
const ROLL_CALL: Duration = Duration::from_secs(1);
