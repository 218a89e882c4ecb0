//! The cluster clock: milliseconds that only the log moves. Between entries each node counts on
//! from the last applied stamp with its own monotonic clock; the leader does so from the stamp it
//! had when it took office, so no wall clock ever matters.

use std::sync::Mutex;

use tokio::time::Instant;

#[derive(Debug)]
pub struct Clock {
    base: Mutex<(u64, Instant)>,
}

impl Clock {
    pub fn new() -> Self {
        Clock {
            base: Mutex::new((0, Instant::now())),
        }
    }

    /// Counts on from `at_ms`, as stamped by another node (or by this one before a restart). The
    /// stamps of this process come from this clock and must not set it back by their travel time.
    pub fn rebase(&self, at_ms: u64) {
        *self.lock() = (at_ms, Instant::now());
    }

    /// Counts on from `at_ms`, a stamp of this process, unless it is past that already.
    pub fn advance(&self, at_ms: u64) {
        if self.now_ms() < at_ms {
            self.rebase(at_ms);
        }
    }

    /// The estimate. Between entries of a distant leader it may step back by the difference of
    /// their travel times.
    pub fn now_ms(&self) -> u64 {
        let (base, at) = *self.lock();
        base.saturating_add(at.elapsed().as_millis() as u64)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, Instant)> {
        self.base.lock().unwrap_or_else(|e| e.into_inner())
    }
}
