//! Faults that tests inject into a running node: cut links and slow or failing disks.
//!
//! Part of the product's types so that tests outside this crate can use it; it costs one relaxed
//! load per message and does nothing unless a test sets it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A handle to the faults of one node; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    isolated: AtomicBool,
    cut: Mutex<BTreeSet<String>>,
    fsync_delay_us: AtomicU64,
    fsync_fails: AtomicBool,
    no_gate: AtomicBool,
    no_batches: AtomicBool,
}

impl Faults {
    /// Cuts (or heals) this node from all others, in both directions.
    pub fn isolate(&self, on: bool) {
        self.inner.isolated.store(on, Ordering::Relaxed);
    }

    /// Cuts the link to one peer, by name, in both directions as seen from here.
    pub fn cut(&self, peer: &str) {
        self.names().insert(peer.to_string());
    }

    /// Heals all links.
    pub fn heal(&self) {
        self.isolate(false);
        self.names().clear();
    }

    /// Makes each fsync take this much longer.
    pub fn slow_fsync(&self, by: Duration) {
        self.inner
            .fsync_delay_us
            .store(by.as_micros() as u64, Ordering::Relaxed);
    }

    /// Makes each fsync fail from now on.
    pub fn fail_fsync(&self) {
        self.inner.fsync_fails.store(true, Ordering::Relaxed);
    }

    /// Opens the election gate for good, to show what it prevents.
    pub fn without_gate(&self) {
        self.inner.no_gate.store(true, Ordering::Relaxed);
    }

    /// Writes one entry per command, without a bound on those in flight, to show what the batcher
    /// prevents.
    pub fn without_batcher(&self) {
        self.inner.no_batches.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cut(&self, peer: &str) -> bool {
        self.inner.isolated.load(Ordering::Relaxed) || self.names().contains(peer)
    }

    pub(crate) fn fsync_delay(&self) -> Duration {
        Duration::from_micros(self.inner.fsync_delay_us.load(Ordering::Relaxed))
    }

    pub(crate) fn fsync_fails(&self) -> bool {
        self.inner.fsync_fails.load(Ordering::Relaxed)
    }

    pub(crate) fn gate_is_off(&self) -> bool {
        self.inner.no_gate.load(Ordering::Relaxed)
    }

    pub(crate) fn batcher_is_off(&self) -> bool {
        self.inner.no_batches.load(Ordering::Relaxed)
    }

    fn names(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.inner.cut.lock().unwrap_or_else(|e| e.into_inner())
    }
}
