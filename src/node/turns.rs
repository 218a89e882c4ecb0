//! Whose turn it is to ask to join: callers of one Asterisk join in the order in which they came.
//!
//! Each caller's actor reads its channel on its own, so in a burst a later one may be ready first.
//! It then waits until those before it have their answer. It is an order of courtesy and never a
//! lock: who does not ask in time, or is refused, is passed over, and joins whenever it can.

use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// For a caller whose turn it is; then it is the next one's, whatever holds the first up.
const EACH: Duration = Duration::from_millis(250);
/// For a caller who is ready and whose turn does not come: it asks out of turn.
const PATIENCE: Duration = Duration::from_secs(1);
/// Callers in line for their turn. Who comes beyond asks at once.
const WAITING_MAX: usize = 1024;

/// Where turns are handed out, in the order in which they will come.
#[derive(Debug)]
pub(crate) struct Turns(mpsc::Sender<Place>);

/// One caller's turn, yet to come. Dropping it lets the next one have its turn.
#[derive(Debug)]
pub(crate) struct Turn {
    comes: oneshot::Receiver<()>,
    /// Its drop tells that the turn is over.
    _over: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Place {
    come: oneshot::Sender<()>,
    over: oneshot::Receiver<()>,
}

impl Turns {
    /// The place where turns are taken, and the task that gives them; it ends with the former.
    pub fn new() -> (Turns, impl Future<Output = ()> + Send + 'static) {
        let (places, line) = mpsc::channel(WAITING_MAX);
        (Turns(places), give(line))
    }

    /// The turn after all that were handed out before. `None` when too many wait.
    pub fn take(&self) -> Option<Turn> {
        let (come, comes) = oneshot::channel();
        let (_over, over) = oneshot::channel();
        self.0.try_send(Place { come, over }).ok()?;
        Some(Turn { comes, _over })
    }
}

impl Turn {
    /// Until it is this caller's turn, or it has waited long enough.
    pub async fn comes(&mut self) {
        // An error means that nobody gives turns any more: then there is no order to keep.
        let _ = timeout(PATIENCE, &mut self.comes).await;
    }
}

async fn give(mut line: mpsc::Receiver<Place>) {
    while let Some(Place { come, over }) = line.recv().await {
        if come.send(()).is_ok() {
            // Over by its drop, or late.
            let _ = timeout(EACH, over).await;
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
        (&mut first.comes).await.unwrap();
        assert!(second.comes.try_recv().is_err());
        drop(first);
        (&mut second.comes).await.unwrap();
        drop((turns, second));
        giving.await.unwrap();
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
        (&mut turns.take().unwrap().comes).await.unwrap();
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
