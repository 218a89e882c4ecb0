//! What a node tells about itself and its peers.

use serde::{Deserialize, Serialize};

/// One node of the cluster as the log knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Name, unique in the cluster.
    pub name: String,
    /// `host:port` for the other nodes.
    pub addr: String,
}

/// A command that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied<R> {
    /// Log index of its entry.
    pub index: u64,
    /// Cluster clock of its entry, in milliseconds.
    pub at_ms: u64,
    /// What the machine answered.
    pub reply: R,
}

/// All events of one log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBatch<E> {
    /// Log index of the entry.
    pub index: u64,
    /// Cluster clock, in milliseconds.
    pub at_ms: u64,
    /// The leader's wall clock, in milliseconds since 1970; for display only.
    pub wall_ms: u64,
    /// The events in order. Empty when `reset`.
    pub events: Vec<E>,
    /// The state was replaced by a snapshot: events were skipped, look at the whole state anew.
    pub reset: bool,
}

/// This node leads and may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The term, for [`crate::Raft::propose_as_leader`] and for fencing effects.
    pub term: u64,
}

/// Who leads, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Name of the leader.
    pub name: String,
    /// Its term.
    pub term: u64,
}

/// What a node is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Leads, though perhaps without a quorum: see [`crate::Raft::leadership`].
    Leader,
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Receives the log without a vote.
    Learner,
    /// Is not part of a cluster yet, or no longer.
    Outsider,
    /// Stopped.
    Stopped,
}

/// Another node, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Name.
    pub name: String,
    /// `host:port`.
    pub addr: String,
    /// Id, never reused.
    pub id: u64,
    /// Has a vote (else it is a learner).
    pub voter: bool,
    /// How long ago it last answered or sent anything, in milliseconds; `None`: not since start.
    pub last_heard_ms: Option<u64>,
    /// Heard within twice the lease.
    pub reachable: bool,
    /// Last log index known to be on it; known to the leader only.
    pub matched: Option<u64>,
}

/// Whether the node can do its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// True when it is a member and knows a leader.
    pub healthy: bool,
    /// Why not, and what to do; empty when healthy.
    pub reason: String,
}

/// Everything `holdfast status` shows of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of this node.
    pub name: String,
    /// Id of this node.
    pub id: u64,
    /// Address for the others.
    pub addr: String,
    /// Id of the cluster; `None` before it is formed.
    pub cluster_id: Option<u64>,
    /// What this node is.
    pub role: Role,
    /// Current term.
    pub term: u64,
    /// Name of the leader, if known.
    pub leader: Option<String>,
    /// Last applied log index.
    pub applied: u64,
    /// Last index known to be committed (as applied locally or told by the leader).
    pub committed: u64,
    /// Last log index on disk.
    pub last_log: u64,
    /// Log index of the last snapshot.
    pub snapshot: u64,
    /// Log entries up to this index are gone.
    pub purged: u64,
    /// Cluster clock as estimated here, in milliseconds.
    pub now_ms: u64,
    /// All members, this node included: (id, member, has a vote).
    pub members: Vec<(u64, Member, bool)>,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Median of the last fsyncs, in microseconds.
    pub fsync_p50_us: u64,
    /// 99th percentile of the last fsyncs, in microseconds.
    pub fsync_p99_us: u64,
    /// Commands waiting for an entry.
    pub queued: usize,
    /// Whether it can work, and why not.
    pub health: Health,
}
