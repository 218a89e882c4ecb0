//! Those who write while a leader dies. Through each survivor a write is begun every few milliseconds,
//! whatever became of those before, so that none that was lost with the leader holds up the next. The
//! figure is the first that was begun after the kill and acknowledged.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Between two writes through one survivor.
const EVERY: Duration = Duration::from_millis(10);
/// Open at a time through one survivor; more are not begun.
const OPEN_MAX: usize = 100;
/// After this a write is given up.
const ANSWER: Duration = Duration::from_secs(5);
/// In which somebody must be answered.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writers at work; they end when this is dropped.
pub struct Writers {
    killed: watch::Sender<Option<Instant>>,
    acknowledged: mpsc::Receiver<Instant>,
    _tasks: JoinSet<()>,
}

impl Writers {
    /// Begins to write: `write` sends one write to its survivor and tells whether it was acknowledged.
    pub fn begin<W, F>(survivors: Vec<W>) -> Writers
    where
        W: Fn(u64) -> F + Send + 'static,
        F: Future<Output = bool> + Send + 'static,
    {
        let killed = watch::Sender::new(None);
        let (tell, acknowledged) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        for write in survivors {
            tasks.spawn(go_on(write, killed.subscribe(), tell.clone()));
        }
        Writers {
            killed,
            acknowledged,
            _tasks: tasks,
        }
    }

    /// The leader was killed at this moment: how long it takes until a write is acknowledged.
    pub async fn first_after(&mut self, killed: Instant) -> Result<Duration, String> {
        self.killed.send_replace(Some(killed));
        let first = tokio::time::timeout(PATIENCE, self.acknowledged.recv()).await;
        match first {
            Ok(Some(at)) => Ok(at - killed),
            _ => Err(format!(
                "no write was acknowledged within {} s after the leader was killed",
                PATIENCE.as_secs()
            )),
        }
    }
}

async fn go_on<W, F>(
    write: W,
    killed: watch::Receiver<Option<Instant>>,
    tell: mpsc::Sender<Instant>,
) where
    W: Fn(u64) -> F + Send + 'static,
    F: Future<Output = bool> + Send + 'static,
{
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut open = JoinSet::new();
    for number in 0.. {
        tick.tick().await;
        while open.try_join_next().is_some() {}
        if open.len() >= OPEN_MAX {
            continue;
        }
        let (begun, killed, tell) = (Instant::now(), killed.clone(), tell.clone());
        let sent = tokio::time::timeout(ANSWER, write(number));
        open.spawn(async move {
            let acknowledged = sent.await.unwrap_or(false);
            if acknowledged && killed.borrow().is_some_and(|killed| begun > killed) {
                // Only the first is waited for.
                let _ = tell.try_send(Instant::now());
            }
        });
    }
}
