//! The batcher: everything that reaches the leader while one entry is being written travels in the
//! next. openraft 0.9 makes an entry of each command, and each costs two messages to every follower and a
//! turn of the loop that also sends heartbeats.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::ServerState;
use openraft::error::ClientWriteError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::node::Node;
use crate::types::{BATCH_BYTES, Batch, Blob, Item};
use crate::{Machine, codec, fence};

/// Groups in one entry.
const GROUPS: usize = 256;
/// Entries in flight. openraft sends a follower one message at a time, so a second entry would only wait for
/// the first, and hold fewer commands than if it had waited here.
const IN_FLIGHT: usize = 1;
/// What an item costs beside its command, at most.
const ITEM_OVERHEAD: usize = 20;

/// Commands that go into one entry, together.
pub struct Group {
    pub items: Vec<Item>,
    /// Not proposed any more after this.
    pub until: Instant,
    pub reply: oneshot::Sender<Result<Written, Fate>>,
}

/// A group that was applied.
#[derive(Debug)]
pub struct Written {
    pub index: u64,
    pub at_ms: u64,
    pub replies: Vec<Option<Blob>>,
}

/// What became of a group that has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never reached the log.
    NotAppended,
    /// It may be applied, or be so later.
    Unknown,
}

/// Encoded length of commands, as an entry counts it.
pub fn size(items: &[Item]) -> usize {
    items
        .iter()
        .map(|i| i.command.0.len() + ITEM_OVERHEAD)
        .sum()
}

/// A stamped batch.
pub fn batch<M: Machine>(
    node: &Node<M>,
    seq: u64,
    items: &[&Item],
) -> Result<Batch, codec::CodecError> {
    Ok(Batch {
        schema: M::SCHEMA,
        origin: node.state.origin,
        seq,
        at_ms: node.state.clock.now_ms(),
        wall_ms: node.config.world.wall_ms(),
        items: codec::encode(&items)?.into(),
    })
}

pub async fn run<M: Machine>(node: Arc<Node<M>>, mut inbox: mpsc::Receiver<Group>) {
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut waiting: VecDeque<Group> = VecDeque::new();
    let mut seq = 0;
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let single = node.config.faults.batcher_is_off();
        let take = if single { 1 } else { GROUPS };
        if waiting.is_empty() {
            let mut came = Vec::new();
            if inbox.recv_many(&mut came, take).await == 0 {
                return;
            }
            waiting.extend(came);
        }
        // Before it is asked whether this node may act, so that a hand-over sees this batch, or this
        // batch the hand-over.
        let flight = Flight::begin(&node);
        let acting = fence::acting(&node);
        let groups = pick(&mut waiting, acting, take);
        if groups.is_empty() {
            continue;
        }
        seq += 1;
        let place = (!single).then_some(place);
        submit(&node, seq, groups, (flight, place)).await;
    }
}

/// A batch that may be on its way into the log.
struct Flight<M: Machine>(Arc<Node<M>>);

impl<M: Machine> Flight<M> {
    fn begin(node: &Arc<Node<M>>) -> Self {
        node.in_flight.fetch_add(1, Ordering::SeqCst);
        Flight(node.clone())
    }
}

impl<M: Machine> Drop for Flight<M> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Takes what fits into one entry; refuses what is late or may not be proposed.
fn pick(waiting: &mut VecDeque<Group>, acting: Option<u64>, take: usize) -> Vec<Group> {
    let now = Instant::now();
    let mut groups = Vec::new();
    let mut bytes = 0;
    while groups.len() < take
        && let Some(group) = waiting.pop_front()
    {
        let in_term = |item: &Item| item.term == 0 || Some(item.term) == acting;
        if group.until <= now || acting.is_none() || !group.items.iter().all(in_term) {
            // A proposer that has gone away needs no answer.
            let _ = group.reply.send(Err(Fate::NotAppended));
            continue;
        }
        bytes += size(&group.items);
        if bytes > BATCH_BYTES && !groups.is_empty() {
            waiting.push_front(group);
            break;
        }
        groups.push(group);
    }
    groups
}

async fn submit<M: Machine>(
    node: &Arc<Node<M>>,
    seq: u64,
    groups: Vec<Group>,
    held: (Flight<M>, Option<OwnedSemaphorePermit>),
) {
    let items: Vec<&Item> = groups.iter().flat_map(|g| &g.items).collect();
    let answer = match batch(node, seq, &items) {
        Ok(batch) => node.core.client_write_ff(batch).await,
        Err(e) => {
            tracing::error!("cannot encode a batch: {e}");
            return refuse(groups, Fate::NotAppended);
        }
    };
    let Ok(answer) = answer else {
        return refuse(groups, Fate::NotAppended);
    };
    let node = node.clone();
    tokio::spawn(async move {
        let _held = held;
        let until = groups
            .iter()
            .map(|g| g.until)
            .max()
            .unwrap_or_else(Instant::now);
        let result = tokio::select! {
            answer = answer => answer.ok(),
            _ = tokio::time::sleep_until(until) => None,
            _ = lost_office(&node) => None,
        };
        match result {
            Some(Ok(written)) => {
                let (index, outcome) = (written.log_id.index, written.data);
                distribute(groups, index, outcome.at_ms, outcome.replies);
            }
            // Refused at once, or cut off the log again after it was appended, when another leader
            // may still have it.
            Some(Err(ClientWriteError::ForwardToLeader(_))) if node.log.own_batches() < seq => {
                refuse(groups, Fate::NotAppended);
            }
            _ => refuse(groups, Fate::Unknown),
        }
    });
}

/// Returns some time after this node stopped being leader: openraft 0.9 never answers for an entry
/// that a snapshot replaced.
async fn lost_office<M: Machine>(node: &Node<M>) {
    let mut changes = node.core.metrics();
    let term = changes.borrow().current_term;
    // An error means that the core is gone.
    let _ = changes
        .wait_for(|m| m.current_term != term || m.state != ServerState::Leader)
        .await;
    tokio::time::sleep(node.lease().max(Duration::from_millis(100))).await;
}

fn distribute(groups: Vec<Group>, index: u64, at_ms: u64, mut replies: Vec<Option<Blob>>) {
    if replies.len() != groups.iter().map(|g| g.items.len()).sum::<usize>() {
        return refuse(groups, Fate::Unknown);
    }
    for group in groups {
        let rest = replies.split_off(group.items.len());
        let written = Written {
            index,
            at_ms,
            replies: std::mem::replace(&mut replies, rest),
        };
        let _ = group.reply.send(Ok(written));
    }
}

fn refuse(groups: Vec<Group>, fate: Fate) {
    for group in groups {
        let _ = group.reply.send(Err(fate));
    }
}
