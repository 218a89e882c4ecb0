//! Whether this process was stopped for so long that another node may have taken its Asterisk over.
//!
//! A process that is paused and goes on does not know it: its sockets look open, its replica looks
//! fresh. So before each request an actor looks at when the process was last seen to run, and after a
//! long gap it does nothing until the driver has asked the cluster whose the Asterisk is. Between
//! that look and the request there is no await; what a stop exactly there lets through is one request
//! of each actor, and the new driver hangs up what it finds of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub(crate) struct Awake {
    start: Instant,
    /// Milliseconds after `start` at which it was last seen to run.
    beat_ms: AtomicU64,
    /// A gap was seen, and nobody has asked the cluster since.
    slept: AtomicBool,
    limit: Duration,
}

impl Awake {
    /// A gap longer than `limit` counts.
    pub fn new(limit: Duration) -> Awake {
        Awake {
            start: Instant::now(),
            beat_ms: AtomicU64::new(0),
            slept: AtomicBool::new(false),
            limit,
        }
    }

    /// No gap, as far as this can be known now.
    pub fn is(&self) -> bool {
        self.gap() <= self.limit && !self.slept.load(Ordering::Acquire)
    }

    /// The cluster was asked.
    pub fn asked(&self) {
        self.slept.store(false, Ordering::Release);
    }

    /// Beats until there is a gap, and answers then how long it was.
    pub async fn until_slept(&self) -> Duration {
        loop {
            sleep(self.limit / 8).await;
            let gap = self.gap();
            if gap > self.limit {
                // In this order, so that `is` never says yes in between.
                self.slept.store(true, Ordering::Release);
                self.beat();
                return gap;
            }
            self.beat();
        }
    }

    fn gap(&self) -> Duration {
        let beat = Duration::from_millis(self.beat_ms.load(Ordering::Acquire));
        self.start.elapsed().saturating_sub(beat)
    }

    fn beat(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(now, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gap_is_seen_at_once_and_remembered_until_the_cluster_was_asked() {
        let mut awake = Awake::new(Duration::from_secs(20));
        assert!(awake.is());
        // The last beat was long ago.
        awake.start = Instant::now() - Duration::from_secs(21);
        assert!(!awake.is(), "also before anybody has noticed");
        awake.limit = Duration::from_secs(2);
        let gap = awake.until_slept().await;
        assert!(gap >= Duration::from_secs(21), "{gap:?}");
        awake.limit = Duration::from_secs(20);
        assert!(!awake.is(), "it beats again, and nobody has asked");
        awake.asked();
        assert!(awake.is());
    }
}
