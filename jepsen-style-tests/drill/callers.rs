//! Callers who arrive by chance while things break, and what their telephones saw.
//!
//! Each has a number that nobody else ever has. A caller's call is over when his telephone was told
//! so, or when his Asterisk died: then nobody tells him anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::lab::cluster::NAMES;
use crate::lab::{CallEnd, CallSpec, Caller};

use super::arena::{Chronicle, SharedCluster};

/// Between two looks at a telephone.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Callers at a time; further ones find no line.
const AT_A_TIME_MAX: usize = 200;

/// One caller of so many is urgent, with this priority.
const URGENT_OF: u32 = 8;
const PRIORITY: i32 = 5;

/// How callers behave.
#[derive(Debug, Clone)]
pub struct Habits {
    pub seed: u64,
    pub per_minute: u32,
    /// So many come at once in the beginning, so that there is a line from then on.
    pub first: u64,
    /// Queues called, with equal chance.
    pub queues: Vec<String>,
    /// Milliseconds, least and most.
    pub patience_ms: (u64, u64),
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As the telephone was told.
    Told(CallEnd),
    /// The Asterisk died, his own or that of the agent to whom he was just being put through.
    Lost,
}

/// One call as its telephone saw it. Times are milliseconds since the drill began.
#[derive(Debug, Clone)]
pub struct Call {
    pub number: String,
    pub pbx: String,
    pub queue: String,
    pub placed_ms: u64,
    pub ended: Option<(u64, End)>,
    /// `QUEUESTATUS`, when the dialplan had the call back.
    pub status: Option<String>,
}

/// The callers at work.
pub struct Callers {
    cluster: SharedCluster,
    chronicle: Chronicle,
    calls: Arc<Mutex<BTreeMap<String, Call>>>,
    stop: watch::Sender<bool>,
    arrivals: Option<JoinHandle<()>>,
    habits: Habits,
    /// Callers of floods so far.
    flooded: u32,
}

impl Callers {
    /// They begin to arrive.
    pub fn begin(cluster: SharedCluster, chronicle: Chronicle, habits: Habits) -> Callers {
        let mut callers = Callers {
            cluster,
            chronicle,
            calls: Arc::default(),
            stop: watch::Sender::new(false),
            arrivals: None,
            habits: habits.clone(),
            flooded: 0,
        };
        callers.arrivals = Some(tokio::spawn(arrive(callers.door(), habits)));
        callers
    }

    fn door(&self) -> Door {
        Door {
            cluster: self.cluster.clone(),
            chronicle: self.chronicle.clone(),
            calls: self.calls.clone(),
            stop: self.stop.subscribe(),
        }
    }

    /// One caller of endless patience more, beside those who arrive by chance.
    pub async fn one_more(&self, pbx: &'static str, queue: &str, number: &str) {
        let spec = CallSpec::new(&format!("q-{queue}"), number);
        self.door().place(pbx, queue, spec).await;
    }

    /// So many callers at once, beside those who arrive by chance; returns when all have dialled.
    pub async fn flood(&mut self, count: u32) {
        let habits = self.habits.clone();
        let door = self.door();
        for _ in 0..count {
            self.flooded += 1;
            let serial = self.flooded;
            let mut rng = StdRng::seed_from_u64(habits.seed ^ (u64::from(serial) << 32));
            let pbx = NAMES[rng.random_range(0..NAMES.len())];
            let queue = &habits.queues[rng.random_range(0..habits.queues.len())];
            let patience = rng.random_range(habits.patience_ms.0..=habits.patience_ms.1);
            if self.chronicle.is_down(pbx) {
                continue;
            }
            let spec = CallSpec {
                hang_up_after_ms: Some(patience),
                ..CallSpec::new(&format!("q-{queue}"), &format!("66{serial:06}"))
            };
            door.place(pbx, queue, spec).await;
        }
    }

    /// Nobody arrives any more.
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(arrivals) = self.arrivals.take() {
            // It panics only if a test's own code does, and then the rest of it says so.
            let _ = arrivals.await;
        }
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).values().cloned().collect()
    }

    /// Those who are still on the line.
    pub fn open(&self) -> Vec<String> {
        let calls = lock(&self.calls);
        let open = calls.values().filter(|call| call.ended.is_none());
        open.map(|call| call.number.clone()).collect()
    }
}

fn lock(
    calls: &Mutex<BTreeMap<String, Call>>,
) -> std::sync::MutexGuard<'_, BTreeMap<String, Call>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Door {
    cluster: SharedCluster,
    chronicle: Chronicle,
    calls: Arc<Mutex<BTreeMap<String, Call>>>,
    stop: watch::Receiver<bool>,
}

async fn arrive(mut door: Door, habits: Habits) {
    let mut rng = StdRng::seed_from_u64(habits.seed);
    let mut at = tokio::time::Instant::now();
    for serial in 1_u64.. {
        // Everything is drawn before waiting, so that the dice fall the same whatever happens.
        let mean_s = 60.0 / f64::from(habits.per_minute.max(1));
        let chance: f64 = rng.random_range(f64::EPSILON..1.0);
        if serial > habits.first {
            at += Duration::from_secs_f64(-chance.ln() * mean_s);
        }
        let pbx = NAMES[rng.random_range(0..NAMES.len())];
        let drawn = rng.random_range(0..habits.queues.len());
        let turn = (serial as usize - 1) % habits.queues.len();
        let queue = &habits.queues[if serial > habits.first { drawn } else { turn }];
        let patience = rng.random_range(habits.patience_ms.0..=habits.patience_ms.1);
        let exten = match rng.random_range(0..URGENT_OF) {
            0 => format!("qp-{queue}-{PRIORITY}"),
            _ => format!("q-{queue}"),
        };
        tokio::select! {
            () = tokio::time::sleep_until(at) => {}
            _ = door.stop.wait_for(|stop| *stop) => return,
        }
        let open = lock(&door.calls)
            .values()
            .filter(|c| c.ended.is_none())
            .count();
        if door.chronicle.is_down(pbx) || open >= AT_A_TIME_MAX {
            continue;
        }
        let spec = CallSpec {
            hang_up_after_ms: Some(patience),
            ..CallSpec::new(&exten, &format!("55{serial:06}"))
        };
        door.place(pbx, queue, spec).await;
    }
}

impl Door {
    async fn place(&self, pbx: &'static str, queue: &str, spec: CallSpec) {
        let number = spec.number.clone();
        let call = Call {
            number: number.clone(),
            pbx: pbx.into(),
            queue: queue.into(),
            placed_ms: self.chronicle.now_ms(),
            ended: None,
            status: None,
        };
        lock(&self.calls).insert(number.clone(), call);
        let placed = self.cluster.read().await.site(pbx).pbx.call(spec).await;
        match placed {
            Ok(caller) => {
                let cluster = self.cluster.clone();
                let (chronicle, calls) = (self.chronicle.clone(), self.calls.clone());
                tokio::spawn(follow(cluster, chronicle, calls, caller));
            }
            Err(error) => {
                self.chronicle
                    .note(format!("no call could be placed: {error}"));
                lock(&self.calls).remove(&number);
            }
        }
    }
}

/// Watches one telephone until its call is over.
async fn follow(
    cluster: SharedCluster,
    chronicle: Chronicle,
    calls: Arc<Mutex<BTreeMap<String, Call>>>,
    caller: Caller,
) {
    let number = caller.number().to_owned();
    let (pbx, placed_ms) = {
        let calls = lock(&calls);
        let Some(call) = calls.get(&number) else {
            return;
        };
        (call.pbx.clone(), call.placed_ms)
    };
    let end = loop {
        if caller.has_ended() {
            break caller.wait_ended().await.ok().map(End::Told);
        }
        if chronicle.died_since(&pbx, placed_ms) {
            break Some(End::Lost);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let status = match end {
        Some(End::Told(CallEnd::ByPbx)) => {
            let cluster = cluster.read().await;
            cluster.site(&pbx).pbx.dialplan_result(&number).await.ok()
        }
        _ => None,
    };
    let status = status.flatten();
    let dropped = end == Some(End::Told(CallEnd::ByPbx)) && status.is_none();
    let end = match dropped && chronicle.any_died_since(placed_ms) {
        true => Some(End::Lost),
        false => end,
    };
    if let Some(call) = lock(&calls).get_mut(&number) {
        call.status = status;
        call.ended = end.map(|end| (chronicle.now_ms(), end));
    }
}
