//! Facts on their way into the log: a bound on how many wait, and patience.
//!
//! A lost answer is unknown, never failed; facts are safe to send twice, so the same one is sent
//! until its answer is known or the deadline has passed. Order within a call is its actor's work.

use crate::machine::AcdMachine;
use crate::status::Metrics;
use holdfast_acd::{Command, Reply};
use holdfast_raft::{Applied, ProposeError, Raft};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// For one attempt; a leader that is slower than this is asked again.
const ATTEMPT: Duration = Duration::from_secs(5);
/// First and longest pause between attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

#[derive(Clone)]
pub(crate) struct Proposer {
    raft: Raft<AcdMachine>,
    permits: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    deadline: Duration,
}

impl Proposer {
    /// At most `max` facts wait at the same time; each for `deadline` at most.
    pub fn new(
        raft: Raft<AcdMachine>,
        metrics: Arc<Metrics>,
        max: usize,
        deadline: Duration,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(max));
        Self {
            raft,
            permits,
            metrics,
            deadline,
        }
    }

    /// Has a fact written; tries until the answer is known or the deadline has passed.
    pub async fn propose(&self, command: Command) -> Result<Applied<Reply>, ProposeError> {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            self.count("overloaded");
            return Err(ProposeError::Overloaded);
        };
        self.metrics
            .proposals_waiting
            .fetch_add(1, Ordering::Relaxed);
        let result = self.until_known(command).await;
        self.metrics
            .proposals_waiting
            .fetch_sub(1, Ordering::Relaxed);
        drop(permit);
        self.count(match &result {
            Ok(applied) if applied.reply.is_ok() => "ok",
            Ok(_) => "rejected",
            Err(_) => "gave_up",
        });
        result
    }

    async fn until_known(&self, command: Command) -> Result<Applied<Reply>, ProposeError> {
        let end = Instant::now() + self.deadline;
        let mut pause = PAUSE.0;
        let mut doubt = false;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let error = match self.raft.propose(command.clone(), left.min(ATTEMPT)).await {
                Ok(applied) => return Ok(applied),
                Err(error) => error,
            };
            match error {
                ProposeError::Unknown => {
                    doubt = true;
                    self.count("unknown");
                }
                ProposeError::NoLeader => self.count("no_leader"),
                ProposeError::Overloaded => self.count("overloaded"),
                // An earlier attempt may still have been applied.
                _ if doubt => return Err(ProposeError::Unknown),
                other => return Err(other),
            }
            if Instant::now() + pause >= end {
                return Err(if doubt { ProposeError::Unknown } else { error });
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn count(&self, result: &'static str) {
        self.metrics
            .update(|metrics| *metrics.proposals.entry(result).or_default() += 1);
    }
}
