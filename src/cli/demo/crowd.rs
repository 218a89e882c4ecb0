//! The demo's people: seeded callers, and what became of each, told by the simulated Asterisks.

use holdfast_sim::{CallSpec, Caller, CallerEnd, CallerState, EndedBy, SimAsterisk};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Waiting times that are kept for the report.
const WAITS_MAX: usize = 100_000;

/// How callers arrive and behave. Ranges are (least, most) in milliseconds.
#[derive(Clone, Debug)]
pub struct Habits {
    pub seed: u64,
    pub queues: Vec<String>,
    pub calls_per_minute: u32,
    pub patience_ms: (u64, u64),
    pub talk_ms: (u64, u64),
}

/// One caller whose call is under way.
#[derive(Clone)]
pub struct Placed {
    pub caller: Caller,
    pub asterisk: usize,
    pub at: Instant,
}

/// What became of the callers.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub placed: u64,
    pub answered: u64,
    pub gave_up: u64,
    /// Back in the dialplan, by QUEUESTATUS.
    pub returned: BTreeMap<String, u64>,
    /// Waiting times of those who were answered.
    pub waits_ms: Vec<u64>,
    pub violations: Vec<String>,
}

/// The callers.
#[derive(Clone)]
pub struct Crowd {
    shared: Arc<Mutex<Shared>>,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Shared {
    under_way: BTreeMap<u64, Placed>,
    tally: Tally,
}

impl Crowd {
    pub fn start(asterisks: Vec<SimAsterisk>, habits: Habits) -> Self {
        let crowd = Self {
            shared: Arc::default(),
            stop: watch::Sender::new(false),
        };
        tokio::spawn(
            crowd
                .clone()
                .arrive(asterisks, habits, crowd.stop.subscribe()),
        );
        crowd
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    pub fn under_way(&self) -> Vec<Placed> {
        self.lock().under_way.values().cloned().collect()
    }

    /// Nobody arrives any more.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Until nobody is left; false if `within` passed first.
    pub async fn all_gone(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while !self.lock().under_way.is_empty() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    async fn arrive(
        self,
        asterisks: Vec<SimAsterisk>,
        habits: Habits,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut rng = StdRng::seed_from_u64(habits.seed);
        let mut at = Instant::now();
        for number in 1.. {
            // Everything is drawn before waiting, so that the dice fall the same whatever happens.
            let chance: f64 = rng.random_range(f64::EPSILON..1.0);
            let mean_s = 60.0 / f64::from(habits.calls_per_minute);
            let n = rng.random_range(0..asterisks.len());
            let queue = &habits.queues[rng.random_range(0..habits.queues.len())];
            let patience = rng.random_range(habits.patience_ms.0..=habits.patience_ms.1);
            let talk = rng.random_range(habits.talk_ms.0..=habits.talk_ms.1);
            at += Duration::from_secs_f64(-chance.ln() * mean_s);
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let spec = CallSpec {
                name: format!("Caller {number}"),
                patience_ms: Some(patience),
                talk_ms: Some(talk),
                ..CallSpec::new(&format!("q-{queue}"), &format!("5550{number:06}"))
            };
            let caller = asterisks[n].place_call(spec);
            let placed = Placed {
                caller: caller.clone(),
                asterisk: n,
                at: Instant::now(),
            };
            let mut shared = self.lock();
            shared.tally.placed += 1;
            shared.under_way.insert(number, placed);
            drop(shared);
            let crowd = self.clone();
            tokio::spawn(async move {
                let end = caller.ended().await;
                crowd.ended(number, &end);
            });
        }
    }

    fn ended(&self, number: u64, end: &CallerEnd) {
        let mut shared = self.lock();
        shared.under_way.remove(&number);
        shared.tally.count(number, end);
    }
}

impl Tally {
    fn count(&mut self, number: u64, end: &CallerEnd) {
        if end.talked_to.len() > 1 {
            let agents = end.talked_to.join(" and ");
            self.violations
                .push(format!("caller {number} was bridged twice: {agents}"));
        }
        if !end.talked_to.is_empty() {
            self.answered += 1;
            if self.waits_ms.len() < WAITS_MAX {
                self.waits_ms
                    .push(end.after_ms.saturating_sub(end.talked_ms));
            }
            return;
        }
        match (end.by, end.dialplan.get("QUEUESTATUS")) {
            (EndedBy::Caller, _) => self.gave_up += 1,
            (EndedBy::Dialplan, Some(status)) => {
                *self.returned.entry(status.clone()).or_default() += 1;
            }
            (by, _) => {
                let what = format!(
                    "caller {number} was lost: ended by {by:?}, cause {}",
                    end.cause
                );
                self.violations.push(what);
            }
        }
    }
}

impl Placed {
    pub fn waits(&self) -> bool {
        self.caller.state() == CallerState::Waiting
    }
}
