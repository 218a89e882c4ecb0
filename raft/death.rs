//! The death of a leader, noticed sooner than by its silence.
//!
//! When a process dies, the kernel closes its sockets: the leader's connections end at its followers,
//! and whoever connects to it is refused. A follower that sees both counts its leader as dead, and says
//! to those who ask that it hears none. The gate's rule stays as it is: nobody stands for election
//! before a quorum is reached in which nobody has a living leader, so each must have found it out itself.
//! Then the voter with the highest id stands at once, the next one a heartbeat later, and so on, each
//! once: whose log is shorter than another's cannot win and must not keep the other from it. If nobody
//! has won then, all is as after a silence.
//!
//! openraft 0.9 refuses a vote until the lease of the leader it followed last is over, and nothing ends
//! a lease but an election of one's own. So a voter that is asked, and has found that leader dead, stands
//! first and then answers ([`make_way`]): votes of one term are ordered by id, so one of the two has both.
//! Safety does not rest on leases. Any node may stand at any time; a lease only keeps those quiet who do not
//! know better.
//!
//! It deliberately notices nothing else. A cut network, a process that stands still and a machine without
//! power close no sockets and refuse nobody: those are noticed by silence, as before. One connection that
//! ends, of a pool or of anybody else, costs one ping.

use std::sync::Mutex;
use std::time::Duration;

use openraft::ServerState;
use openraft::raft::VoteRequest;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::Machine;
use crate::net::transport::CallError;
use crate::net::wire::{Kind, Pong};
use crate::node::{Node, lock};
use crate::types::{NodeId, Vote};

/// What a node knows of the death of its leader.
#[derive(Debug, Default)]
pub struct Death {
    hung_up: Notify,
    /// The vote of the leader that was found dead, until another one is heard.
    of: Mutex<Option<Vote>>,
}

impl Death {
    /// A connection of some node has ended.
    pub fn suspect(&self) {
        self.hung_up.notify_one();
    }

    /// Waits until that happens; at once if it happened since the last time.
    pub async fn suspected(&self) {
        self.hung_up.notified().await;
    }

    /// The leader that is dead.
    pub fn of(&self) -> Option<Vote> {
        *lock(&self.of)
    }

    /// A leader was heard.
    pub fn forget(&self) {
        *lock(&self.of) = None;
    }
}

/// What the gate keeps from one look to the next.
#[derive(Default)]
pub struct Watch {
    /// The leader that may be dead, and since when it is looked at.
    suspect: Option<(Vote, Instant)>,
    turn: Option<Turn>,
}

/// When this node stands for election after a death.
struct Turn {
    dead: Vote,
    /// The vote of this node at the last look.
    seen: Vote,
    /// `None` when it has stood.
    at: Option<Instant>,
}

impl Watch {
    /// A connection has ended: the leader that is followed is looked at, until it answers.
    pub fn suspect<M: Machine>(&mut self, node: &Node<M>) {
        self.suspect = Some((vote_of(node), Instant::now()));
    }

    /// Whether every millisecond counts. It ends after a lease, whatever comes.
    pub fn is_urgent(&self) -> bool {
        self.suspect.is_some()
    }

    /// Asks the suspect, and notes its death if nobody listens there.
    pub async fn look<M: Machine>(&mut self, node: &Node<M>) {
        if node.leads() {
            node.death.forget();
        }
        let Some((vote, since)) = self.suspect else {
            return;
        };
        let id = vote.leader_id.node_id;
        let follows = vote.committed && id != node.id && vote == vote_of(node);
        if !follows || since.elapsed() > node.lease() {
            self.suspect = None;
        } else if node.death.of() != Some(vote)
            && let Some(member) = node.members().get(&id)
        {
            let to = (id, member.name.as_str(), member.addr.as_str());
            let answer: Result<Pong, _> =
                node.links.call(Kind::Ping, to, &(), heartbeat(node)).await;
            match answer {
                Ok(_) => self.suspect = None,
                Err(CallError::NobodyListens(_)) => {
                    *lock(&node.death.of) = Some(vote);
                    let term = vote.leader_id.term;
                    tracing::info!(
                        leader = member.name,
                        term,
                        "the leader's connections ended and nobody listens there: its process is gone"
                    );
                }
                // Asked again at the next look; if it stays silent, that is noticed as always.
                Err(_) => {}
            }
        }
    }

    /// Stands for election when it is this node's turn among the voters that were reached.
    pub async fn stand<M: Machine>(&mut self, node: &Node<M>, reached: &[NodeId]) {
        let Some(dead) = node.death.of() else {
            self.turn = None;
            return;
        };
        let (now, vote, heartbeat) = (Instant::now(), vote_of(node), heartbeat(node));
        if self.turn.as_ref().is_none_or(|turn| turn.dead != dead) {
            let before = reached.iter().filter(|id| **id > node.id).count() as u32;
            self.turn = Some(Turn {
                dead,
                seen: vote,
                at: Some(now + heartbeat * before),
            });
        }
        let Some(turn) = &mut self.turn else { return };
        if turn.seen != vote && vote.leader_id.node_id != node.id {
            // Somebody else stands: what comes of that is waited for.
            turn.at = turn.at.map(|at| at.max(now + heartbeat));
        }
        turn.seen = vote;
        if turn.at.is_none_or(|at| now < at) {
            return;
        }
        turn.at = None;
        let term = vote.leader_id.term + 1;
        tracing::info!(term, "standing for election at once");
        // An error means that the core is gone, which others notice and tell.
        let _ = node.core.trigger().elect().await;
    }
}

/// Lets go of the lease of a dead leader, before a vote is answered.
pub async fn make_way<M: Machine>(node: &Node<M>, request: &VoteRequest<NodeId>) {
    let Some(dead) = node.death.of() else { return };
    let newer = request.vote.leader_id > dead.leader_id;
    let mut changes = node.core.metrics();
    let holds = {
        let metrics = changes.borrow();
        metrics.vote == dead && metrics.state != ServerState::Leader
    };
    if newer && holds && node.core.trigger().elect().await.is_ok() {
        // If it takes longer, this vote is refused and the next one is not.
        let _ = timeout(heartbeat(node), changes.wait_for(|m| m.vote != dead)).await;
    }
}

/// In which a message and a sync of the disk should be done: the step in which voters take turns.
fn heartbeat<M: Machine>(node: &Node<M>) -> Duration {
    Duration::from_millis(node.config.heartbeat_ms)
}

fn vote_of<M: Machine>(node: &Node<M>) -> Vote {
    node.core.metrics().borrow().vote
}
