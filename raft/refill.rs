//! Filling the journal's gaps from the other nodes.

use std::sync::Arc;
use std::time::Duration;

use crate::Machine;
use crate::journal::Raw;
use crate::net::wire::{JournalPart, JournalSince, Kind};
use crate::node::Node;

/// Records fetched at once.
const REFILL: usize = 500;
/// Pause when nobody answers.
const PAUSE: Duration = Duration::from_secs(1);
/// Time for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Fetches from the other nodes the events that a snapshot or a lost journal made this node miss.
pub async fn run<M: Machine>(node: Arc<Node<M>>) {
    let journal = &node.state.journal;
    loop {
        let Some(gap) = journal.gap() else {
            journal.gap_noted().await;
            continue;
        };
        let (from, to) = gap;
        let mut after = (from, u32::MAX);
        loop {
            let Some(mut records) = fetch(&node, after).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            records.retain(|r| r.index <= to);
            let Some(last) = records.last() else { break };
            after = (last.index, last.seq);
            journal.fill(records).await;
        }
        if let Err(e) = journal.close_gap(gap) {
            tracing::warn!("cannot refill the journal: {e}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Records behind `after` of the first member that answers, the leader first; `None` if none does.
async fn fetch<M: Machine>(node: &Node<M>, after: (u64, u32)) -> Option<Vec<Raw>> {
    let members = node.members();
    let leader = node.leader().map(|(id, _)| id);
    let mut others: Vec<_> = members.iter().filter(|(id, _)| **id != node.id).collect();
    others.sort_by_key(|(id, _)| Some(**id) != leader);
    if others.is_empty() && !members.is_empty() {
        // A single node has nobody to ask.
        return Some(Vec::new());
    }
    for (id, member) in others {
        let to = (*id, member.name.as_str(), member.addr.as_str());
        let request = JournalSince {
            after,
            limit: REFILL,
        };
        let part: Result<JournalPart, _> =
            node.links.call(Kind::Journal, to, &request, ANSWER).await;
        if let Ok(part) = part {
            return Some(part.records);
        }
    }
    None
}
