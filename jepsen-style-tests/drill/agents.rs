//! Agents at their phones, and those who send them to lunch and back through any node.
//!
//! Every such write is written down with when it was sent and when and how it was answered: an
//! answer that did not come is unknown, never a failure.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::lab::cluster::{Cluster, NAMES};
use crate::lab::{Habit, LabError, Pbx, Phone, SimPhone};

use super::arena::{Chronicle, SharedCluster};

/// Who works: number, and the Asterisk where the phone registers.
pub const AGENTS: [(&str, &str); 6] = [
    ("1001", "a"),
    ("1002", "b"),
    ("1003", "c"),
    ("1004", "a"),
    ("1005", "b"),
    ("1006", "c"),
];

/// How a write ended. Milliseconds since the drill began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It holds.
    Ok(u64),
    /// It was refused.
    Failed(u64),
    /// No answer came: it may hold, now or later.
    Unknown(u64),
}

/// One pause or its end.
#[derive(Debug, Clone)]
pub struct PauseWrite {
    pub agent: &'static str,
    pub pause: bool,
    pub node: &'static str,
    pub sent_ms: u64,
    pub answered: Answered,
}

/// Registers the phones. Simulated people answer by chance; those at sipp's phones always do.
pub async fn phones(cluster: &Cluster, rng: &mut StdRng) -> Result<Vec<Phone>, LabError> {
    let mut phones = Vec::new();
    for (number, home) in AGENTS {
        let phone = match &cluster.site(home).pbx {
            Pbx::Sim(pbx) => {
                let person = holdfast_sim::Person {
                    answer_ms: (100, 800),
                    talk_ms: (1_500, 5_000),
                    no_answer_percent: 3,
                    busy_percent: 3,
                    reject_percent: 3,
                };
                Phone::Sim(SimPhone::with_person(pbx, number, person))
            }
            pbx @ Pbx::Real(_) => {
                let habit = Habit::Answer {
                    after_ms: rng.random_range(100..800),
                    talk_ms: Some(rng.random_range(1_000..3_000)),
                };
                pbx.phone(number, habit).await?
            }
        };
        phones.push(phone);
    }
    Ok(phones)
}

/// Pauses and their ends, at random.
pub struct Shifts {
    writes: Arc<Mutex<Vec<PauseWrite>>>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Shifts {
    /// Begins. Two agents are never paused, so that somebody always works.
    pub fn begin(cluster: SharedCluster, chronicle: Chronicle, seed: u64) -> Shifts {
        let writes = Arc::default();
        let stop = watch::Sender::new(false);
        let work = shift(
            cluster,
            chronicle,
            Arc::clone(&writes),
            stop.subscribe(),
            seed,
        );
        Shifts {
            writes,
            stop,
            task: Some(tokio::spawn(work)),
        }
    }

    /// Ends, with nobody known to be paused by an open write.
    pub async fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // It panics only if a test's own code does, and then the rest of it says so.
            let _ = task.await;
        }
    }

    /// All writes so far, in the order of being sent.
    pub fn writes(&self) -> Vec<PauseWrite> {
        let writes = self.writes.lock();
        writes.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn shift(
    cluster: SharedCluster,
    chronicle: Chronicle,
    writes: Arc<Mutex<Vec<PauseWrite>>>,
    mut stop: watch::Receiver<bool>,
    seed: u64,
) {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        let pause_ms = rng.random_range(500..2_000);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let (agent, _) = AGENTS[rng.random_range(2..AGENTS.len())];
        let pause = rng.random_bool(0.5);
        write(&cluster, &chronicle, &writes, agent, pause, &mut rng).await;
    }
}

async fn write(
    cluster: &SharedCluster,
    chronicle: &Chronicle,
    writes: &Mutex<Vec<PauseWrite>>,
    agent: &'static str,
    pause: bool,
    rng: &mut StdRng,
) {
    let node = NAMES.choose(rng).expect("there are three of them");
    let api = cluster.read().await.site(node).api.clone();
    let sent_ms = chronicle.now_ms();
    let path = format!("/v1/agents/{agent}/pause");
    let sent = if pause {
        let body = ("application/json", r#"{"reason":"drill"}"#.to_owned());
        api.send("PUT", &path, Some(body)).await
    } else {
        api.send("DELETE", &path, None).await
    };
    let now = chronicle.now_ms();
    let answered = match sent {
        Ok(answer) if (200..300).contains(&answer.status) => Answered::Ok(now),
        // 4xx is a refusal before anything was done; any other answer leaves it open.
        Ok(answer) if (400..500).contains(&answer.status) && answer.status != 408 => {
            Answered::Failed(now)
        }
        _ => Answered::Unknown(now),
    };
    let mut writes = writes.lock().unwrap_or_else(PoisonError::into_inner);
    writes.push(PauseWrite {
        agent,
        pause,
        node,
        sent_ms,
        answered,
    });
}
