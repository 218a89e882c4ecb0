//! An Asterisk out of this node's sight: what the cluster is told of it, and whether it has died.
//!
//! A port that refuses connections for long enough means that the process is gone, and its channels
//! with it. Anything else (no answer, a slow network) leaves its calls their places.

use crate::caller::{CallerRef, Mail};
use crate::ctx::{Ctx, Sight};
use crate::driver::Driver;
use holdfast_acd::Command;
use holdfast_acd::pbx::Sight as Seen;
use holdfast_ari::{AriError, DownReason};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// Between two looks.
const PROBE: Duration = Duration::from_millis(250);
/// Until the loss of sight is said again that could not be written.
const AGAIN: Duration = Duration::from_secs(1);

impl Driver {
    pub(crate) fn down(&mut self, reason: &DownReason) {
        tracing::warn!(node = self.node(), pbx = %self.ctx.pbx, %reason, "event socket of asterisk is closed");
        self.out_of_sight(&reason.to_string());
        // Opened again when the log still says that this node drives the Asterisk.
        self.stream = None;
        self.compare_at = Some(Instant::now() + self.next_pause());
        self.look_whether_it_died();
    }

    fn look_whether_it_died(&mut self) {
        if self.probe.is_none() {
            let probe = probe(self.ctx.clone(), self.lost.0.clone());
            self.probe = Some(self.errands.spawn(probe));
        }
    }

    /// The log says that this node sees its Asterisk, and it does not: a process before this one did,
    /// or the leader took this node for lost for a while. Nobody else would say so.
    pub(crate) fn unseen(&mut self) {
        let Some(known) = self.known().filter(|known| known.node == self.ctx.me) else {
            return;
        };
        let said = self.down.as_ref().is_some_and(|it| !it.is_finished());
        // The one of the process before this one.
        self.ctx.epoch.fetch_max(known.epoch, Ordering::AcqRel);
        if known.sight == Seen::Up && !said {
            self.propose_down(false, Vec::new());
        }
        self.look_whether_it_died();
    }

    /// Nobody acts until the next comparison, and the callers are not offered.
    pub(crate) fn out_of_sight(&mut self, why: &str) {
        self.up = false;
        self.compare_at = None;
        let was = self.ctx.sight.send_replace(Sight::Down);
        if was == Sight::Clear {
            self.propose_down(false, Vec::new());
        }
        let (why, wall_ms) = (why.to_string(), self.ctx.shared.world.wall_ms());
        self.status(|status| {
            if status.connected {
                status.since_wall_ms = wall_ms;
            }
            status.connected = false;
            status.last_error = Some(why);
        });
    }

    pub(crate) fn asterisk_lost(&mut self) {
        if self.up {
            return;
        }
        tracing::error!(
            node = self.node(),
            callers = self.actors.len(),
            "asterisk is gone, and its calls with it"
        );
        let callers = self.actors.values().map(|(_, actor)| actor.clone());
        self.propose_down(true, callers.collect());
    }

    /// `gone`: who is told when it is written, and not before: else callers' own facts would come
    /// first and tell of hang-ups, and nobody would have the place back.
    fn propose_down(&mut self, lost: bool, gone: Vec<CallerRef>) {
        let (ctx, epoch) = (self.ctx.clone(), self.ctx.epoch.load(Ordering::Acquire));
        if epoch == 0 {
            return;
        }
        let say = async move {
            let down = Command::PbxDown {
                pbx: ctx.pbx.clone(),
                epoch,
                lost,
            };
            // For as long as it takes: nothing else would tell the others not to offer the callers of
            // an Asterisk that stays away.
            loop {
                match ctx.proposer.propose(down.clone()).await {
                    Ok(applied) if applied.reply.is_ok() => break,
                    // The next comparison, here or by the next driver, tells what there is.
                    Ok(applied) => {
                        return tracing::info!(reply = ?applied.reply, "the loss of sight came too late");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the loss of sight could not be written yet")
                    }
                }
                sleep(AGAIN).await;
            }
            for caller in gone {
                caller.send(Mail::AsteriskGone);
            }
        };
        self.stop_saying_down();
        self.down = Some(self.errands.spawn(say));
    }

    /// It is in sight again, and a comparison says what there is; or it is another node's.
    pub(crate) fn stop_looking(&mut self) {
        self.stop_saying_down();
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
    }

    fn stop_saying_down(&mut self) {
        if let Some(down) = self.down.take() {
            down.abort();
        }
    }
}

/// Says once when Asterisk's port has been closed for too long.
async fn probe(ctx: Arc<Ctx>, lost: mpsc::Sender<()>) {
    let loopback = url::Url::parse(&ctx.asterisk.url)
        .ok()
        .is_some_and(|url| match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        });
    let usual = Duration::from_secs(if loopback { 2 } else { 10 });
    let after = ctx
        .shared
        .config
        .timing
        .asterisk_lost_after
        .map_or(usual, |span| span.duration());
    let mut refused_since: Option<Instant> = None;
    loop {
        match ctx.ari.ping().await {
            Err(AriError::Unreachable { refused: true, .. }) => {
                let since = *refused_since.get_or_insert(Instant::now());
                if since.elapsed() >= after {
                    let _ = lost.send(()).await;
                    return;
                }
            }
            _ => refused_since = None,
        }
        sleep(PROBE).await;
    }
}
