//! The sending side: calls to other nodes, what they tell about who is alive, and openraft's
//! network on top.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::notices::{Notices, Queue};
use super::transport::{Call, CallError, Wire};
use super::wire::{self, Chunk, Head, Kind};
use crate::log::durable::DurableView;
use crate::types::{NodeId, Types};
use crate::{Faults, Member, Secret};

/// Pause before an unreachable node is tried again.
const BACKOFF: Duration = Duration::from_millis(100);

/// What is known of a peer from its messages.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    any: Option<Instant>,
    /// Term and sending time of the last append that it accepted.
    acked: Option<(u64, Instant)>,
}

/// All calls to other nodes go through here.
pub struct Links {
    id: NodeId,
    name: String,
    cluster: AtomicU64,
    secret: Secret,
    wire: Arc<dyn Wire>,
    faults: Faults,
    heard: Mutex<BTreeMap<NodeId, Heard>>,
}

impl Links {
    pub fn new(
        id: NodeId,
        name: &str,
        cluster: Option<u64>,
        secret: Secret,
        wire: Arc<dyn Wire>,
        faults: Faults,
    ) -> Self {
        Links {
            id,
            name: name.to_string(),
            cluster: AtomicU64::new(cluster.unwrap_or(0)),
            secret,
            wire,
            faults,
            heard: Mutex::default(),
        }
    }

    /// The cluster this node belongs to; `None` before it does.
    pub fn cluster(&self) -> Option<u64> {
        match self.cluster.load(Ordering::Acquire) {
            0 => None,
            id => Some(id),
        }
    }

    pub fn set_cluster(&self, id: u64) {
        self.cluster.store(id, Ordering::Release);
    }

    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    pub fn is_cut(&self, peer: &str) -> bool {
        self.faults.is_cut(peer)
    }

    /// Sends a message and waits for the answer. `name` is who is expected at `addr` ("" if not
    /// known), `to` its id (0 if not known).
    pub async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: Kind,
        (to, name, addr): (NodeId, &str, &str),
        message: &Q,
        deadline: Duration,
    ) -> Result<A, CallError> {
        let cut = || CallError::NotReached("the link is cut by a test".into());
        if self.is_cut(name) {
            return Err(cut());
        }
        let cluster = self.cluster.load(Ordering::Acquire);
        let head = Head {
            cluster,
            from: self.id,
            name: self.name.clone(),
            to,
        };
        let body = wire::pack(&head, message).map_err(|e| CallError::Refused(e.to_string()))?;
        let limit = kind.limit();
        if body.len() > limit {
            let len = body.len();
            return Err(CallError::Refused(format!(
                "{len} bytes are more than {limit}"
            )));
        }
        let call = Call {
            from: self.name.clone(),
            addr: addr.to_string(),
            kind: kind.name(),
            bulk: matches!(kind, Kind::Snapshot | Kind::Journal),
            secret: self.secret.clone(),
            body,
            deadline,
        };
        let answer = self.wire.call(call).await;
        if self.is_cut(name) && !matches!(answer, Err(CallError::NotReached(_))) {
            return Err(CallError::Late);
        }
        let bytes = answer?;
        if to != 0 {
            self.heard_from(to);
        }
        wire::unpack_reply(&bytes).map_err(CallError::Lost)
    }

    /// Notes that a peer is alive.
    pub fn heard_from(&self, peer: NodeId) {
        self.heard().entry(peer).or_default().any = Some(Instant::now());
    }

    /// How long ago a peer was last heard.
    pub fn silence(&self, peer: NodeId) -> Option<Duration> {
        self.heard().get(&peer)?.any.map(|at| at.elapsed())
    }

    /// Whether a peer accepted an append of this term that was sent within `lease`.
    pub fn acked_within(&self, peer: NodeId, term: u64, lease: Duration) -> bool {
        let acked = self.heard().get(&peer).and_then(|h| h.acked);
        acked.is_some_and(|(t, at)| t == term && at.elapsed() < lease)
    }

    /// Forgets all but these peers.
    pub fn keep(&self, members: &dyn Fn(NodeId) -> bool) {
        self.heard().retain(|id, _| members(*id));
    }

    fn acked(&self, peer: NodeId, term: u64, sent: Instant) {
        self.heard().entry(peer).or_default().acked = Some((term, sent));
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Heard>> {
        self.heard.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Makes openraft's clients.
#[derive(Clone)]
pub struct Network {
    pub links: Arc<Links>,
    /// How far this node's own log is on the disk.
    pub durable: DurableView,
    /// The commands that wait here for an entry.
    pub queue: Queue,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Link {
        let peer = Peer {
            links: self.links.clone(),
            durable: self.durable.clone(),
            target,
            member: node.clone(),
        };
        Link {
            peer: Arc::new(peer),
            notices: Notices::new(self.queue.clone()),
        }
    }
}

/// openraft's client for one peer. It holds no connection of its own: openraft makes one for each
/// vote and each read, so the connections are pooled below.
pub struct Link {
    peer: Arc<Peer>,
    notices: Notices,
}

/// The node at the other end, for those who send to it.
struct Peer {
    links: Arc<Links>,
    durable: DurableView,
    target: NodeId,
    member: Member,
}

type RpcError<E = openraft::error::Infallible> = RPCError<NodeId, Member, RaftError<NodeId, E>>;

impl Peer {
    async fn call<Q: Serialize, A: DeserializeOwned, E>(
        &self,
        kind: Kind,
        action: RPCTypes,
        message: &Q,
        deadline: Duration,
    ) -> Result<A, RpcError<E>>
    where
        E: std::error::Error + DeserializeOwned,
    {
        let to = (
            self.target,
            self.member.name.as_str(),
            self.member.addr.as_str(),
        );
        let answer: Result<Result<A, RaftError<NodeId, E>>, CallError> =
            self.links.call(kind, to, message, deadline).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) => Err(RPCError::RemoteError(RemoteError::new(self.target, e))),
            Err(CallError::Late) => Err(RPCError::Timeout(self.late(action, deadline))),
            Err(e @ CallError::Lost(_)) if kind == Kind::Snapshot => {
                Err(RPCError::Network(NetworkError::new(&e)))
            }
            // With any other error openraft would try again at once, without end.
            Err(e) => Err(RPCError::Unreachable(Unreachable::new(&e))),
        }
    }

    /// Sends an append when all that it calls committed is on this node's disk: the others apply it at once.
    async fn append(
        &self,
        rpc: &AppendEntriesRequest<Types>,
        deadline: Duration,
    ) -> Result<AppendEntriesResponse<NodeId>, RpcError> {
        let sent = Instant::now();
        let committed = rpc.leader_commit.map_or(0, |l| l.index);
        let durable = tokio::time::timeout(deadline, self.durable.upto(committed)).await;
        let durable =
            durable.map_err(|_| RPCError::Timeout(self.late(RPCTypes::AppendEntries, deadline)))?;
        durable.map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))?;
        let deadline = deadline.saturating_sub(sent.elapsed());
        let answer = self
            .call(Kind::Append, RPCTypes::AppendEntries, rpc, deadline)
            .await?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            let term = rpc.vote.leader_id.term;
            self.links.acked(self.target, term, sent);
        }
        Ok(answer)
    }

    fn late(&self, action: RPCTypes, timeout: Duration) -> Timeout<NodeId> {
        Timeout {
            action,
            id: self.links.id,
            target: self.target,
            timeout,
        }
    }
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, RpcError> {
        let deadline = option.hard_ttl();
        let send = || {
            let (peer, notice) = (self.peer.clone(), rpc.clone());
            async move {
                // Whoever missed it, or knows a newer leader, says so to the next append.
                let _ = peer.append(&notice, deadline).await;
            }
        };
        if self.notices.takes(&rpc, send) {
            return Ok(AppendEntriesResponse::Success);
        }
        let answer = self.peer.append(&rpc, deadline).await;
        self.notices.note(&rpc, answer.as_ref().ok());
        answer
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, RpcError<InstallSnapshotError>> {
        let InstallSnapshotRequest {
            vote,
            meta,
            offset,
            data,
            done,
        } = rpc;
        let chunk = Chunk {
            vote,
            meta,
            offset,
            data: data.into(),
            done,
        };
        let deadline = option.hard_ttl();
        self.peer
            .call(Kind::Snapshot, RPCTypes::InstallSnapshot, &chunk, deadline)
            .await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RpcError> {
        self.peer
            .call(Kind::Vote, RPCTypes::Vote, &rpc, option.hard_ttl())
            .await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}
