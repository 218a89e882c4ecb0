//! Whether this node may drive an Asterisk: by the word of the log, before the event socket is opened.
//!
//! Opening the socket silences whoever had it before, so nobody opens one on its own authority. A
//! node asks for its own Asterisk whenever another has it; for that of another node when its driver
//! has been away for `takeover_after` and its ARI answers here. One exception: without a quorum, and
//! so with nobody who could have taken it over, a node serves its own callers blindly.

use crate::driver::Driver;
use crate::reconcile::{CLUSTER, CompareError};
use holdfast_acd::Command;
use holdfast_acd::command::Claim;
use holdfast_acd::pbx::{Pbx, Sight as Seen};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// For the actors to end what they are about to do.
const LET_GO: Duration = Duration::from_secs(5);
/// How long the socket stays open for the next driver to take it, so that new callers find one.
const LINGER: Duration = Duration::from_secs(5);
/// For the requests that the driver before had on the way when it learnt that it is over.
const HAND_OVER: Duration = Duration::from_millis(200);
/// Longest pause before a node asks for its own Asterisk again.
const BACK_MAX: Duration = Duration::from_secs(60);

/// Why a node drives an Asterisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is the one beside it.
    Home,
    /// While its own node is away.
    Substitute,
}

/// When a node asks for its own Asterisk: not before it has been well for a while, and each time
/// that it was lost again soon, later. So a node that comes and goes does not drag its callers along.
#[derive(Debug)]
pub(crate) struct Patience {
    first: Duration,
    pause: Duration,
    /// Since when another has it.
    since: Option<Instant>,
    /// Since when this node has it.
    held: Option<Instant>,
}

impl Patience {
    pub fn new(first: Duration) -> Patience {
        Patience {
            first,
            pause: first,
            since: None,
            held: None,
        }
    }

    /// When to ask, as seen now, while another has it.
    pub fn due(&mut self, now: Instant) -> Instant {
        if self.held.take().is_some_and(|held| now - held > BACK_MAX) {
            self.pause = self.first;
        }
        *self.since.get_or_insert(now) + self.pause
    }

    /// This node has it again.
    pub fn granted(&mut self, now: Instant) {
        if self.since.take().is_some() {
            self.pause = (self.pause * 2).min(BACK_MAX.max(self.first));
        }
        self.held.get_or_insert(now);
    }
}

impl Driver {
    /// What the log says of this Asterisk.
    pub(crate) fn known(&self) -> Option<Pbx> {
        let raft = &self.ctx.shared.raft;
        raft.read(|machine| machine.0.pbx(&self.ctx.pbx).cloned())
    }

    /// After each word on it: notices when it is over, or plans when to look next.
    pub(crate) fn consider(&mut self) {
        let now = Instant::now();
        let known = self.known();
        let ours = known.as_ref().is_some_and(|pbx| pbx.node == self.ctx.me);
        if self.leaving.is_some() && ours {
            self.close();
        }
        if known.is_some() && !ours && self.has_hands_on() {
            self.over = true;
            return;
        }
        if self.stream.is_some() {
            // The state gave its callers up, or lost sight of them, and this node did not: say so.
            let agree = known.is_some_and(|pbx| pbx.sight != Seen::Down);
            if self.sees() && !agree {
                self.compare_at.get_or_insert(now);
            }
            return;
        }
        self.compare_at = match (self.role, known) {
            (Role::Home, Some(_)) if !ours => Some(self.patience.due(now)),
            (Role::Home, _) => Some(now),
            (Role::Substitute, Some(_)) if ours => Some(now),
            (Role::Substitute, Some(pbx)) => {
                let from = pbx.takeover_from(&self.ctx.me, self.takeover_after_ms());
                let clock = self.ctx.shared.raft.now_ms();
                from.filter(|_| pbx.home != self.ctx.me)
                    .map(|from| now + Duration::from_millis(from.saturating_sub(clock)))
            }
            (Role::Substitute, None) => None,
        };
        self.compare_at = self
            .compare_at
            .max(self.not_before.filter(|_| self.compare_at.is_some()));
    }

    fn has_hands_on(&self) -> bool {
        let open = self.stream.is_some() && self.leaving.is_none();
        open || !self.actors.is_empty()
    }

    fn takeover_after_ms(&self) -> u64 {
        self.ctx.shared.config.timing.takeover_after.as_ms()
    }

    /// Whether the event socket may be opened now. Asks for the Asterisk where that is due.
    pub(crate) async fn may_open(&mut self) -> Result<bool, CompareError> {
        // What cannot be reached from here is not asked for.
        self.is_ours().await?;
        let raft = self.ctx.shared.raft.clone();
        if let Err(error) = raft.barrier(CLUSTER).await {
            return if self.may_serve_blind() {
                Ok(true)
            } else {
                Err(error.into())
            };
        }
        let (me, known) = (&self.ctx.me, self.known());
        let takeover = self.ctx.asterisk.takeover;
        let ours = known.as_ref().filter(|pbx| pbx.node == *me);
        let claim = match (self.role, ours) {
            (Role::Substitute, Some(_)) => None,
            (Role::Home, Some(pbx)) if pbx.home == *me && pbx.takeover == takeover => None,
            (Role::Home, _) => Some(Claim::Home { takeover }),
            (Role::Substitute, None) => Some(Claim::Takeover {
                after_ms: self.takeover_after_ms(),
            }),
        };
        let Some(claim) = claim else {
            self.granted();
            return Ok(true);
        };
        // It may have changed while Asterisk was asked: then it is not due any more.
        if ours.is_none() && known.is_some() {
            self.consider();
            if self
                .compare_at
                .take_if(|at| *at <= Instant::now())
                .is_none()
            {
                return Ok(false);
            }
        }
        self.claim(claim, known).await
    }

    async fn claim(&mut self, claim: Claim, known: Option<Pbx>) -> Result<bool, CompareError> {
        let raft = self.ctx.shared.raft.clone();
        let (pbx, node) = (self.ctx.pbx.clone(), self.ctx.me.clone());
        let epoch = known.as_ref().map_or(0, |known| known.epoch) + 1;
        let ask = Command::PbxClaim {
            pbx: pbx.clone(),
            node,
            epoch,
            claim,
        };
        let applied = raft.propose(ask, CLUSTER).await?;
        self.catch_up(applied.index).await?;
        if let Err(reject) = applied.reply {
            tracing::info!(node = self.node(), %pbx, ?claim, %reject, "the asterisk was not given to this node");
            self.consider();
            self.compare_at = self
                .compare_at
                .max(Some(Instant::now() + self.next_pause()));
            return Ok(false);
        }
        let before = known.filter(|known| known.node != self.ctx.me);
        if let Some(before) = &before {
            tracing::warn!(node = self.node(), %pbx, ?claim, epoch, from = %before.node, "the asterisk was given to this node");
            self.ctx.shared.metrics.update(|metrics| match claim {
                Claim::Home { .. } => metrics.asterisks_taken_back += 1,
                Claim::Takeover { .. } => metrics.asterisks_taken_over += 1,
            });
        }
        if before.is_some_and(|before| before.away_at.is_none()) {
            sleep(HAND_OVER).await;
        }
        self.ctx.epoch.store(epoch, Ordering::Release);
        self.granted();
        Ok(self.ctx.is_mine())
    }

    fn granted(&mut self) {
        self.patience.granted(Instant::now());
    }

    /// Nobody can have taken it over, or there was no quorum for so long that callers are owed their
    /// fallback. Not when somebody has shown that he drives it.
    fn may_serve_blind(&self) -> bool {
        let missing = self.ctx.shared.quorum.borrow().is_missing();
        let deposed = self.ctx.status.borrow().deposed;
        self.role == Role::Home && !deposed && (!self.ctx.asterisk.takeover || missing)
    }

    /// Another node drives it now: ends all work in order, and leaves the channels as they are.
    pub(crate) async fn let_go(&mut self) {
        self.over = false;
        let known = self.known();
        let (by, epoch) =
            known.map_or_else(Default::default, |pbx| (pbx.node.to_string(), pbx.epoch));
        let callers = self.actors.len();
        tracing::warn!(node = self.node(), pbx = %self.ctx.pbx, by, epoch, callers, "another node drives the asterisk, letting go");
        self.end_actors().await;
        let stream = self.stream.is_some();
        self.leaving = stream.then(|| Instant::now() + LINGER);
        self.forget();
        let wall_ms = self.ctx.shared.world.wall_ms();
        self.status(|status| {
            status.connected = false;
            status.deposed = false;
            status.since_wall_ms = wall_ms;
            status.last_error = Some(format!("node {by} drives it now"));
        });
        self.consider();
    }

    async fn end_actors(&mut self) {
        self.ctx.sight.send_replace(crate::ctx::Sight::Over);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(LET_GO, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
        self.ctx.sight.send_replace(crate::ctx::Sight::Down);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_loses_it_again_soon_waits_longer_and_who_held_it_long_does_not() {
        let (first, start) = (Duration::from_secs(3), Instant::now());
        let mut patience = Patience::new(first);
        assert_eq!(patience.due(start), start + first);
        let later = start + Duration::from_secs(2);
        assert_eq!(patience.due(later), start + first, "counted from the loss");
        let mut now = start;
        for expected in [6, 12, 24, 48, 60, 60] {
            patience.granted(now);
            now += Duration::from_secs(10);
            assert_eq!(patience.due(now) - now, Duration::from_secs(expected));
        }
        patience.granted(now);
        now += BACK_MAX + Duration::from_secs(1);
        assert_eq!(patience.due(now) - now, first);
    }
}
