//! Each event of an Asterisk on its way to the actor, or to nobody: then a leg is hung up on sight.

use crate::caller::Mail;
use crate::driver::{COMPARE_AGAIN, Driver};
use crate::features;
use crate::ingest::{Route, route};
use holdfast_acd::CallId;
use holdfast_ari::{Event, HangupReason};
use tokio::time::Instant;

impl Driver {
    pub(crate) fn event(&mut self, event: Event) {
        let kind = event.type_name();
        self.ctx
            .shared
            .metrics
            .update(|m| *m.ari_events.entry(kind).or_default() += 1);
        if let Event::Malformed { why, .. } = &event {
            tracing::warn!(
                node = self.node(),
                why,
                "an event cannot be read, comparing"
            );
            self.compare_at
                .get_or_insert(Instant::now() + COMPARE_AGAIN.1);
            return;
        }
        let codes = &self.ctx.asterisk.feature_codes;
        let route = route(&self.ctx.pbx, codes, &event, |id| {
            self.actors.contains_key(id)
        });
        match (route, event) {
            (Route::Device, Event::DeviceStateChanged { device, state }) => {
                self.devices.report(&self.ctx, &device, state);
            }
            (Route::NewCaller, Event::StasisStart { channel, args, .. }) => {
                self.enter(*channel, args);
            }
            (Route::Feature(code), Event::StasisStart { channel, args, .. }) => {
                self.errands
                    .spawn(features::serve(self.ctx.clone(), *channel, args, code));
            }
            (Route::Caller(id), event) => {
                if let Some((_, actor)) = self.actors.get(&id) {
                    actor.send(Mail::Event(Box::new(event)));
                }
            }
            (Route::Leg(call), event) => self.leg_event(call, event),
            (Route::Replaces(call, channel), event) => {
                if let Some(caller) = self.calls.get(&call).cloned()
                    && let Some((generation, actor)) = self.actors.get(&caller).cloned()
                {
                    actor.send(Mail::Event(Box::new(event)));
                    // Its later events find the same actor.
                    self.actors.insert(channel, (generation, actor));
                }
            }
            (Route::ForeignLeg, event) => self.hang_up_stale(&event),
            _ => {}
        }
    }

    fn leg_event(&mut self, call: CallId, event: Event) {
        if !self.calls.contains_key(&call) {
            let channel = self.ctx.shared.raft.read(|machine| {
                machine
                    .0
                    .call(call)
                    .filter(|c| c.pbx == self.ctx.pbx)
                    .map(|c| c.channel.to_string())
            });
            if let Some(channel) = channel {
                self.calls.insert(call, channel);
            }
        }
        let actor = self
            .calls
            .get(&call)
            .and_then(|channel| self.actors.get(channel));
        match actor {
            Some((_, actor)) => actor.send(Mail::Event(Box::new(event))),
            None => self.hang_up_stale(&event),
        }
    }

    /// A leg that no call of ours wants.
    fn hang_up_stale(&mut self, event: &Event) {
        let ended = matches!(
            event,
            Event::ChannelDestroyed { .. } | Event::StasisEnd { .. }
        );
        if let Some(channel) = event.channel().filter(|_| !ended) {
            self.hang_up(channel.id.clone());
        }
    }

    pub(crate) fn hang_up(&mut self, channel: String) {
        tracing::info!(node = self.node(), channel, "stale leg hung up");
        self.ctx
            .shared
            .metrics
            .update(|metrics| metrics.legs_stale += 1);
        let ari = self.ctx.ari.clone();
        self.errands.spawn(async move {
            if let Err(error) = ari.hangup(&channel, HangupReason::Normal).await
                && !error.is_gone()
            {
                tracing::warn!(channel, %error, "a stale leg could not be hung up");
            }
        });
    }
}
