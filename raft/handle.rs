//! The handle to a running node of the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::{
    Applied, ClusterError, Config, EventBatch, Journal, Leadership, Machine, PeerStatus,
    ProposeError, StartError, Status,
};

/// A running node of the store. Clones are cheap and stand for the same node.
pub struct Raft<M: Machine> {
    node: Arc<Node<M>>,
}

struct Node<M> {
    state: M,
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
    pub async fn start(_config: Config) -> Result<Raft<M>, StartError> {
        unimplemented!()
    }

    /// Has a command applied: here if this node leads, else by the leader, tried again over leader
    /// changes until the deadline (so it may be applied twice; the machine must not mind).
    pub async fn propose(
        &self,
        _command: M::Command,
        _deadline: Duration,
    ) -> Result<Applied<M::Reply>, ProposeError> {
        unimplemented!()
    }

    /// Has decisions applied in one entry, tried once. Refused with [`ProposeError::NoLeader`]
    /// unless this node still leads in `term` and a quorum acknowledged within the lease.
    pub async fn propose_as_leader(
        &self,
        _term: u64,
        _commands: Vec<M::Command>,
        _deadline: Duration,
    ) -> Result<Vec<Applied<M::Reply>>, ProposeError> {
        unimplemented!()
    }

    /// Looks at the applied state of this node. Apply waits meanwhile: keep it short.
    pub fn read<R>(&self, f: impl FnOnce(&M) -> R) -> R {
        f(&self.node.state)
    }

    /// The applied log index.
    pub fn applied(&self) -> watch::Receiver<u64> {
        unimplemented!()
    }

    /// The events of each entry from now on. A reader that is too slow gets `Lagged` and must look
    /// at the whole state anew, as after a batch with `reset`.
    pub fn events(&self) -> broadcast::Receiver<Arc<EventBatch<M::Event>>> {
        unimplemented!()
    }

    /// `Some` while this node may act as leader.
    pub fn leadership(&self) -> watch::Receiver<Option<Leadership>> {
        unimplemented!()
    }

    /// Name and address of the leader, if one is known.
    pub fn leader(&self) -> Option<(String, String)> {
        unimplemented!()
    }

    /// This node's estimate of the cluster clock, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        unimplemented!()
    }

    /// Returns when local state is at least as new as everything acknowledged before the call.
    pub async fn barrier(&self, _deadline: Duration) -> Result<u64, ProposeError> {
        unimplemented!()
    }

    /// The other members.
    pub fn peers(&self) -> Vec<PeerStatus> {
        unimplemented!()
    }

    /// Everything about this node.
    pub fn status(&self) -> Status {
        unimplemented!()
    }

    /// Adds a fresh, running node: as learner first, then with a vote. `replace` takes the place of
    /// a dead member of the same name.
    pub async fn add_node(
        &self,
        _name: &str,
        _addr: &str,
        _replace: bool,
    ) -> Result<(), ClusterError> {
        unimplemented!()
    }

    /// Removes a node from the cluster. Its id is never used again.
    pub async fn remove_node(&self, _name: &str) -> Result<(), ClusterError> {
        unimplemented!()
    }

    /// Moves leadership to `to`, or to whichever follower has the most of the log.
    pub async fn step_down(&self, _to: Option<String>) -> Result<(), ClusterError> {
        unimplemented!()
    }

    /// The journal of events on this node.
    pub fn journal(&self) -> &Journal<M::Event> {
        unimplemented!()
    }

    /// Stops: leadership moves away first, everything is flushed.
    pub async fn shutdown(&self) {
        unimplemented!()
    }

    /// `Some(why)` once storage broke: the process must exit and be started again.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        unimplemented!()
    }
}
