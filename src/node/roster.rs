//! The actors of one Asterisk's callers: who gets one, and what happens when it ends.

use crate::caller::Caller;
use crate::driver::Driver;
use crate::have::Have;
use holdfast_ari::{Channel, Continue, Var};
use std::sync::atomic::Ordering;
use tokio::time::Instant;

impl Driver {
    /// A caller came.
    pub(crate) fn enter(&mut self, channel: Channel, args: Vec<String>) {
        if self.actors.len() >= self.ctx.shared.config.limits.callers_max {
            tracing::warn!(
                node = self.node(),
                channel = channel.id,
                "too many callers, one is sent away"
            );
            let (ctx, id) = (self.ctx.clone(), channel.id);
            ctx.shared
                .metrics
                .update(|metrics| metrics.callers_refused += 1);
            self.errands.spawn(async move {
                let full = [(Var::QUEUESTATUS, "FULL")];
                if ctx.ari.set_variables(&id, &full).await.is_ok() {
                    let _ = ctx
                        .ari
                        .continue_in_dialplan(&id, &Continue::default())
                        .await;
                }
            });
            return;
        }
        tracing::info!(node = self.node(), channel = channel.id, "caller entered");
        let have = Have {
            channel: channel.id.clone(),
            ..Have::default()
        };
        self.spawn(channel, args, have);
    }

    pub(crate) fn spawn(&mut self, channel: Channel, args: Vec<String>, have: Have) {
        #[cfg(feature = "planted")]
        if crate::planted::is("caller-forgotten") && channel.id.ends_with(['3', '7']) {
            return;
        }
        self.spawned += 1;
        let (generation, id) = (self.spawned, channel.id.clone());
        let (caller, address) =
            Caller::new(self.ctx.clone(), channel, args, have, self.turns.take());
        self.tasks
            .spawn(async move { (caller.run().await, generation) });
        self.ctx.shared.metrics.watch_mailbox(address.clone());
        self.actors.insert(id, (generation, address));
        self.count();
    }

    pub(crate) fn actor_ended(&mut self, ended: Result<(String, u64), tokio::task::JoinError>) {
        match ended {
            Ok((_, generation)) => {
                let mut missed = false;
                self.actors.retain(|_, (known, actor)| {
                    missed |= *known == generation && actor.missed();
                    *known != generation
                });
                if missed {
                    self.compare_at.get_or_insert(Instant::now());
                }
                let actors = &self.actors;
                self.calls.retain(|_, channel| actors.contains_key(channel));
            }
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                // Its channel is found again by a comparison.
                tracing::error!(node = self.node(), %error, "an actor has failed, comparing");
                let ended: Vec<String> = self
                    .actors
                    .iter()
                    .filter(|(_, (_, actor))| actor.is_dead())
                    .map(|(id, _)| id.clone())
                    .collect();
                for id in ended {
                    self.actors.remove(&id);
                }
                self.compare_at.get_or_insert(Instant::now());
            }
        }
        self.count();
    }

    /// Of several drivers each counts its own.
    pub(crate) fn count(&mut self) {
        let callers = &self.ctx.shared.metrics.callers;
        let actors = self.actors.len() as u64;
        callers.fetch_add(actors, Ordering::Relaxed);
        callers.fetch_sub(
            std::mem::replace(&mut self.counted, actors),
            Ordering::Relaxed,
        );
    }
}
