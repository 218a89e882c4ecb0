//! Writes down what the log tells of itself: the events of every entry, as each node applies them.
//!
//! A node that was down may apply entries before anybody can listen to it; what nobody has told yet
//! is then read from its journal.

use holdfast_drills::judge::Source;
use holdfast_drills::judge::history::{InsideSaw, Seen};
use holdfast_node::Handle;
use holdfast_raft::EventBatch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::broadcast::error::RecvError;

/// Clones write for the same node.
#[derive(Clone)]
pub struct LogReader {
    node: String,
    source: Source,
    /// The last entry of which this node told.
    told: Arc<AtomicU64>,
}

impl LogReader {
    pub fn new(node: &str, source: Source) -> LogReader {
        LogReader {
            node: node.to_string(),
            source,
            told: Arc::default(),
        }
    }

    /// Follows a node that has just started, in its runtime, until it ends.
    pub fn follow(&self, node: &Handle) {
        let mut batches = node.raft().events();
        let (this, node) = (self.clone(), node.clone());
        tokio::spawn(async move {
            this.catch_up(&node);
            loop {
                match batches.recv().await {
                    Ok(batch) if batch.reset => this.catch_up(&node),
                    Ok(batch) => this.tell(&batch),
                    Err(RecvError::Lagged(_)) => this.catch_up(&node),
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    fn tell(&self, batch: &EventBatch<holdfast_acd::Event>) {
        self.told.fetch_max(batch.index, Ordering::Relaxed);
        for (seq, event) in (0..).zip(&batch.events) {
            self.saw(batch.index, seq, batch.at_ms, event.clone());
        }
    }

    /// What the journal knows and this node has not told. One that was refilled may have gaps; the
    /// other nodes tell the same.
    fn catch_up(&self, node: &Handle) {
        let told = self.told.load(Ordering::Relaxed);
        for record in node
            .raft()
            .journal()
            .since(told, usize::MAX)
            .unwrap_or_default()
        {
            self.told.fetch_max(record.index, Ordering::Relaxed);
            self.saw(record.index, record.seq, record.at_ms, record.event);
        }
    }

    fn saw(&self, index: u64, seq: u32, cluster_ms: u64, event: holdfast_acd::Event) {
        let (node, saw) = (
            self.node.clone(),
            InsideSaw::Event {
                index,
                seq,
                cluster_ms,
                event,
            },
        );
        self.source.saw(Seen::Inside { node, saw });
    }
}
