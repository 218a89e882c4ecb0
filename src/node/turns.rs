//! Whose turn it is to ask to join: callers of one Asterisk join in the order in which they came.
//!
//! Each caller's actor reads its channel on its own, so in a burst a later one may be ready first.
//! It then waits until those before it have their answer, however long the cluster takes to give it:
//! else those who ask again after an outage would be written in any order. It is an order of courtesy
//! and never a lock: who does not ask in time, or is refused, is passed over, and joins whenever it can.

use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// For a caller whose turn it is to ask; then it is the next one's, whatever holds the first up.
const EACH: Duration = Duration::from_secs(1);
/// For a caller who is ready while nobody asks and whose turn does not come: it asks out of turn.
const PATIENCE: Duration = Duration::from_secs(4);
/// Callers in line for their turn. Who comes beyond asks at once.
const WAITING_MAX: usize = 1024;

/// Where turns are handed out, in the order in which they will come.
#[derive(Debug)]
pub(crate) struct Turns {
    line: mpsc::Sender<Place>,
    asked: watch::Receiver<bool>,
}

/// One caller's turn, yet to come. Dropping it lets the next one have its turn.
#[derive(Debug)]
pub(crate) struct Turn {
    comes: oneshot::Receiver<oneshot::Sender<()>>,
    /// Whoever has the turn has asked, and waits for the answer.
    asked: watch::Receiver<bool>,
    /// Its drop tells that the turn is over.
    _over: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Place {
    come: oneshot::Sender<oneshot::Sender<()>>,
    over: oneshot::Receiver<()>,
}

impl Turns {
    /// The place where turns are taken, and the task that gives them; it ends with the former.
    pub fn new() -> (Turns, impl Future<Output = ()> + Send + 'static) {
        let (line, places) = mpsc::channel(WAITING_MAX);
        let (asks, asked) = watch::channel(false);
        (Turns { line, asked }, give(places, asks))
    }

    /// The turn after all that were handed out before. `None` when too many wait.
    pub fn take(&self) -> Option<Turn> {
        let (come, comes) = oneshot::channel();
        let (_over, over) = oneshot::channel();
        self.line.try_send(Place { come, over }).ok()?;
        Some(Turn {
            comes,
            asked: self.asked.clone(),
            _over,
        })
    }
}

impl Turn {
    /// Until it is this caller's turn, or it has waited long enough. Then it asks, and keeps the turn
    /// until it has the answer.
    pub async fn comes(&mut self) {
        loop {
            match timeout(PATIENCE, &mut self.comes).await {
                Ok(Ok(asks)) => {
                    // Also when that was too late: then it asks out of turn.
                    let _ = asks.send(());
                    return;
                }
                // Nobody gives turns any more: then there is no order to keep.
                Ok(Err(_)) => return,
                Err(_) if *self.asked.borrow() => {}
                Err(_) => return,
            }
        }
    }
}

async fn give(mut line: mpsc::Receiver<Place>, asked: watch::Sender<bool>) {
    while let Some(Place { come, over }) = line.recv().await {
        let (asks, asking) = oneshot::channel();
        // Who is gone meanwhile asks nothing, and the next one has its turn.
        if come.send(asks).is_ok() && matches!(timeout(EACH, asking).await, Ok(Ok(()))) {
            asked.send_replace(true);
            // Over by its drop: at the latest when its proposal is given up.
            let _ = over.await;
            asked.send_replace(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test]
    async fn a_turn_comes_when_the_one_before_is_over_and_not_sooner() {
        let (turns, giving) = Turns::new();
        let giving = tokio::spawn(giving);
        let (mut first, mut second) = (turns.take().unwrap(), turns.take().unwrap());
        first.comes().await;
        assert!(second.comes.try_recv().is_err());
        drop(first);
        second.comes().await;
        drop((turns, second));
        giving.await.unwrap();
    }

    #[tokio::test]
    async fn who_asked_is_waited_for_as_long_as_the_cluster_is_silent() {
        let (turns, giving) = Turns::new();
        let giving = tokio::spawn(giving);
        let (mut first, mut second) = (turns.take().unwrap(), turns.take().unwrap());
        first.comes().await;
        let early = timeout(2 * PATIENCE, second.comes()).await;
        assert!(early.is_err(), "its patience counts while nobody asks");
        drop(first);
        second.comes().await;
        giving.abort();
    }

    #[tokio::test]
    async fn who_never_asks_is_passed_over_and_who_is_gone_costs_nothing() {
        let (turns, giving) = Turns::new();
        let giving = tokio::spawn(giving);
        let start = Instant::now();
        let _stuck = turns.take().unwrap();
        for _ in 0..1000 {
            drop(turns.take().unwrap());
        }
        turns.take().unwrap().comes().await;
        assert!(start.elapsed() >= EACH);
        // A thousand turns that were waited for would last minutes.
        assert!(start.elapsed() < 100 * EACH);
        giving.abort();
    }

    #[tokio::test]
    async fn behind_many_who_never_ask_patience_ends_and_the_line_has_a_bound() {
        let (turns, giving) = Turns::new();
        let giving = tokio::spawn(giving);
        let mut stuck: Vec<Turn> = (0..WAITING_MAX).map(|_| turns.take().unwrap()).collect();
        assert!(turns.take().is_none());
        let start = Instant::now();
        stuck.last_mut().unwrap().comes().await;
        assert!(start.elapsed() >= PATIENCE && start.elapsed() < 100 * PATIENCE);
        giving.abort();
    }
}
