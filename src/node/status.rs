//! What a node tells about its own work: the sight of its Asterisk, readiness, counters.
//!
//! Counters of queues are not here: they are replicated state and equal on all nodes.

use crate::caller::CallerRef;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// This node's sight of an Asterisk: its own, or one that it may take over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AriStatus {
    /// Whether an Asterisk is configured at all.
    pub configured: bool,
    /// Its name in the cluster.
    pub pbx: String,
    /// The event socket is open and state and Asterisk were compared: callers are served.
    pub connected: bool,
    /// `systemname` of the Asterisk, as it says itself.
    pub systemname: String,
    pub version: String,
    /// Milliseconds since 1970 of the last change of `connected`.
    pub since_wall_ms: u64,
    /// The epoch under which this node drives its Asterisk; 0 before the first.
    pub epoch: u64,
    /// Times that the event socket was opened again.
    pub reconnects: u64,
    /// Another client took the application over: this node does not act.
    pub deposed: bool,
    /// Why it is not connected, and what to do; also the last reason, once it is connected again.
    pub last_error: Option<String>,
}

/// One line of `/readyz?verbose`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    /// What is seen; if not ok, what to do.
    pub detail: String,
}

/// Counters and gauges of this node at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NodeMetrics {
    /// Callers whose channels this node handles.
    pub callers: u64,
    /// Agents' legs asked for.
    pub legs_requested: u64,
    /// Callers who were refused, continued without joining, or fell back.
    pub callers_refused: u64,
    pub callers_no_quorum: u64,
    /// Channels that Asterisk could not describe (hostile INVITEs); alarm when it grows.
    pub channels_unreadable: u64,
    /// Legs of no current offer that were hung up.
    pub legs_stale: u64,
    pub reconciliations: u64,
    /// Times that this node was given the Asterisk of another, and its own again.
    pub asterisks_taken_over: u64,
    pub asterisks_taken_back: u64,
    /// Talks that went on although their call had been given up, and whose agent was held.
    pub talks_kept: u64,
    /// ARI events by type (`Unknown` and `Malformed` included; the set is bounded).
    pub ari_events: BTreeMap<&'static str, u64>,
    /// ARI requests of callers' actors that failed, by step.
    pub ari_failures: BTreeMap<&'static str, u64>,
    /// Facts proposed, by result: `ok`, `rejected`, `unknown`, `no_leader`, `overloaded`, `gave_up`.
    pub proposals: BTreeMap<&'static str, u64>,
    /// Decisions written while this node led.
    pub offers_made: u64,
    pub ticks: u64,
    /// How late the last due deadline was, in milliseconds.
    pub deadline_lateness_ms: u64,
    /// Every bounded queue: name -> (length, bound). Of the mailboxes it is the fullest.
    pub queues: BTreeMap<&'static str, (u64, u64)>,
    /// From "agent free and caller waiting" to the request for the agent's leg, first offers only.
    pub dispatch_delay: Histogram,
    /// From the offer's stamp to the request for the agent's leg.
    pub offer_to_leg: Histogram,
    /// From a leg's answer to both in the bridge.
    pub answer_to_bridge: Histogram,
}

/// Upper bounds of the buckets in milliseconds; one more bucket counts what is above.
pub const BUCKETS_MS: [u64; 14] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000,
];

/// Durations counted in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Histogram {
    /// Not cumulative: how many fell into each bucket, the last one is above all bounds.
    pub buckets: [u64; BUCKETS_MS.len() + 1],
    pub count: u64,
    pub sum_ms: u64,
}

impl Histogram {
    pub(crate) fn record(&mut self, ms: u64) {
        let bucket = BUCKETS_MS
            .iter()
            .position(|bound| ms <= *bound)
            .unwrap_or(BUCKETS_MS.len());
        self.buckets[bucket] += 1;
        self.count += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }
}

/// The live counters behind `NodeMetrics`.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub callers: AtomicU64,
    pub proposals_waiting: AtomicU64,
    mailboxes: Mutex<Vec<CallerRef>>,
    inner: Mutex<NodeMetrics>,
}

impl Metrics {
    pub fn update(&self, change: impl FnOnce(&mut NodeMetrics)) {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts a new actor's mailbox, and forgets those whose actors have ended.
    pub fn watch_mailbox(&self, new: CallerRef) {
        let mut mailboxes = self
            .mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        mailboxes.retain(|mailbox| !mailbox.is_dead());
        mailboxes.push(new);
    }

    /// Length of the fullest mailbox.
    pub fn fullest_mailbox(&self) -> u64 {
        let mailboxes = self
            .mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lengths = mailboxes.iter().map(CallerRef::waiting);
        lengths.max().unwrap_or(0) as u64
    }

    pub fn snapshot(&self) -> NodeMetrics {
        let mut metrics = self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        metrics.callers = self.callers.load(Ordering::Relaxed);
        metrics
    }
}

/// A caller's number as logs show it: its last two digits.
pub(crate) fn masked(number: &str) -> String {
    let digits: Vec<char> = number.chars().filter(char::is_ascii_digit).collect();
    match digits.len() {
        0 => String::new(),
        len => format!(
            "..{}",
            digits[len.saturating_sub(2)..].iter().collect::<String>()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_masked_to_their_last_two_digits() {
        assert_eq!(masked("+49 30 1234567"), "..67");
        assert_eq!(masked("7"), "..7");
        assert_eq!(masked("anonymous\r\n"), "");
    }

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        for ms in [0, 1, 2, 60_000] {
            histogram.record(ms);
        }
        assert_eq!((histogram.buckets[0], histogram.buckets[1]), (2, 1));
        assert_eq!(
            (histogram.buckets[14], histogram.count, histogram.sum_ms),
            (1, 4, 60_003)
        );
    }
}
