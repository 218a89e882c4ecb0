//! What can be done to a simulated Asterisk from outside of ARI. Only the switches; `server.rs` and
//! `asterisk.rs` act on them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Faults {
    paused: watch::Sender<bool>,
    slow_ms: AtomicU64,
    lose: AtomicU32,
    fail: AtomicU32,
    fail_of: Mutex<(String, u32)>,
    refuse_ws_until: Mutex<Option<Instant>>,
}

impl Faults {
    pub(crate) fn new() -> Faults {
        Faults {
            paused: watch::Sender::new(false),
            slow_ms: AtomicU64::new(0),
            lose: AtomicU32::new(0),
            fail: AtomicU32::new(0),
            fail_of: Mutex::default(),
            refuse_ws_until: Mutex::new(None),
        }
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    pub(crate) fn paused(&self) -> bool {
        *self.paused.borrow()
    }

    pub(crate) fn watch_pause(&self) -> watch::Receiver<bool> {
        self.paused.subscribe()
    }

    /// Returns once it is not paused.
    pub(crate) async fn running(&self) {
        let mut paused = self.paused.subscribe();
        // The sender lives as long as `self`, so this only ends when it runs.
        let _ = paused.wait_for(|paused| !paused).await;
    }

    pub(crate) fn set_slow(&self, ms: u64) {
        self.slow_ms.store(ms, Ordering::Relaxed);
    }

    pub(crate) fn slow(&self) -> Duration {
        Duration::from_millis(self.slow_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn lose_next(&self, n: u32) {
        self.lose.store(n, Ordering::Relaxed);
    }

    pub(crate) fn fail_next(&self, n: u32) {
        self.fail.store(n, Ordering::Relaxed);
    }

    pub(crate) fn loses_this(&self) -> bool {
        take_one(&self.lose)
    }

    pub(crate) fn fail_next_of(&self, resource: &str, n: u32) {
        *self
            .fail_of
            .lock()
            .expect("no holder of this lock can panic") = (resource.to_owned(), n);
    }

    /// `path`: of the request, from its resource on.
    pub(crate) fn fails_this(&self, path: &[String]) -> bool {
        let mut fail_of = self
            .fail_of
            .lock()
            .expect("no holder of this lock can panic");
        if fail_of.1 > 0 && path.first() == Some(&fail_of.0) {
            fail_of.1 -= 1;
            return true;
        }
        take_one(&self.fail)
    }

    pub(crate) fn refuse_ws(&self, how_long: Duration) {
        let mut until = self
            .refuse_ws_until
            .lock()
            .expect("no holder of this lock can panic");
        *until = Some(Instant::now() + how_long);
    }

    pub(crate) fn refuses_ws(&self) -> bool {
        let until = self
            .refuse_ws_until
            .lock()
            .expect("no holder of this lock can panic");
        until.is_some_and(|until| Instant::now() < until)
    }
}

fn take_one(counter: &AtomicU32) -> bool {
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
        .is_ok()
}
