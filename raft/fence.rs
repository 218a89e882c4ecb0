//! The leader fence: when this node may act as leader.
//!
//! openraft 0.9 leaves a leader in office for ever when it is cut off. So a leader counts as acting only
//! after an entry of its own, of this term and this process, was applied, and while a quorum accepted
//! appends that were sent within the lease. The age of an acknowledgement is counted from the sending here,
//! not from openraft's metrics, which stand still when the core waits for a disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::ServerState;

use crate::batcher;
use crate::node::{Metrics, Node, is_set, note_core_failure};
use crate::{Lead, Leadership, Machine, Member};

const TICK: Duration = Duration::from_millis(20);

/// The term in which this node may act, if it may.
pub fn acting<M: Machine>(node: &Node<M>) -> Option<u64> {
    let metrics = node.core.metrics();
    let metrics = metrics.borrow();
    let term = metrics.current_term;
    let may = leads(&metrics)
        && node.opened.load(Ordering::Acquire) == term
        && !is_set(&node.handover)
        && !node.is_closing()
        && node.fatal.borrow().is_none()
        && quorum_acked(node, &metrics);
    may.then_some(term)
}

/// Keeps [`Node::leadership`] and [`Node::led_by`] true and opens each term of office.
pub async fn run<M: Machine>(node: Arc<Node<M>>) {
    let mut changes = node.core.metrics();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let metrics = changes.borrow_and_update().clone();
        note_core_failure(&node, &metrics);
        let unopened = node.opened.load(Ordering::Acquire) != metrics.current_term;
        if leads(&metrics) && unopened && !is_set(&node.handover) {
            open_term(&node, metrics.current_term).await;
        }
        let now = acting(&node).map(|term| Leadership { term });
        node.leadership
            .send_if_modified(|old| std::mem::replace(old, now) != now);
        let term = metrics.current_term;
        let lead = working_leader(&node).map(|Member { name, .. }| Lead { name, term });
        node.led_by.send_if_modified(|old| {
            let changed = *old != lead;
            *old = lead;
            changed
        });
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                // The core is gone, perhaps without a last word.
                node.leadership.send_replace(None);
                return;
            },
            _ = tick.tick() => {}
        }
    }
}

/// Has an empty batch of this process applied: then everything acknowledged in earlier terms is
/// applied here too, and the clock goes on from its last stamp.
async fn open_term<M: Machine>(node: &Node<M>, term: u64) {
    let batch = batcher::batch(node, 0, &[]);
    let Ok(batch) = batch else { return };
    let Ok(answer) = node.core.client_write_ff(batch).await else {
        return;
    };
    let lost = async {
        let mut changes = node.core.metrics();
        let gone = |m: &Metrics| !leads(m) || m.current_term != term;
        // An error means that the core is gone, which is loss enough.
        let _ = changes.wait_for(gone).await;
    };
    tokio::select! {
        answer = answer => {
            if let Ok(Ok(written)) = answer
                && written.log_id.leader_id.term == term
            {
                node.opened.store(term, Ordering::Release);
                tracing::info!(term, index = written.log_id.index, "took office as leader");
            }
        }
        _ = lost => {}
    }
}

fn leads(metrics: &Metrics) -> bool {
    metrics.state == ServerState::Leader && metrics.running_state.is_ok()
}

/// The leader, if it was heard within twice the lease, or is this node and a quorum follows it (it
/// need not have taken office yet).
pub fn working_leader<M: Machine>(node: &Node<M>) -> Option<Member> {
    let (id, member) = node.leader()?;
    let works = if id == node.id {
        let metrics = node.core.metrics();
        let metrics = metrics.borrow();
        leads(&metrics) && quorum_acked(node, &metrics)
    } else {
        node.leader_silence().is_some_and(|s| s < 2 * node.lease())
    };
    works.then_some(member)
}

/// Whether what is applied here is of now: see [`crate::Raft::is_current`].
pub fn is_current<M: Machine>(node: &Node<M>) -> bool {
    if acting(node).is_some() {
        return true;
    }
    let heard = node.leader_silence().is_some_and(|s| s < 2 * node.lease());
    let committed = node.told_committed.load(Ordering::Acquire);
    heard && !node.leads() && *node.state.applied().borrow() >= committed
}

/// Whether a majority (of each half of a change of members) acknowledged within the lease.
fn quorum_acked<M: Machine>(node: &Node<M>, metrics: &Metrics) -> bool {
    let lease = node.lease();
    let halves = metrics.membership_config.membership().get_joint_config();
    !halves.is_empty()
        && halves.iter().all(|voters| {
            let acked = voters.iter().filter(|&&id| {
                id == node.id || node.links.acked_within(id, metrics.current_term, lease)
            });
            acked.count() * 2 > voters.len()
        })
}
