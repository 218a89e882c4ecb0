//! What callers hear of ours while they wait: prompts and music as ARI's media, and how a prompt is
//! begun and stopped. When is for `plan.rs` to say.

use crate::caller::{Caller, PLAYBACK_MAX};
use crate::ctx::{Ctx, Sight};
use crate::have::{Playback, PlaybackOf};
use crate::legs::playback_id;
use crate::steps::skip_gone;
use holdfast_acd::CallId;
use holdfast_acd::call::Prompt;
use holdfast_ari::{AriError, MediaUri, MusicClass};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two requests to stop a playback, and how many: longer than a number is spoken.
const STOP_EVERY: Duration = Duration::from_millis(50);
const STOPS_MAX: u32 = 100;

impl Caller {
    pub(crate) async fn play(
        &mut self,
        what: String,
        media: &[MediaUri],
        of: PlaybackOf,
    ) -> Result<(), AriError> {
        let id = playback_id(self.call.unwrap_or(CallId(0)), &what);
        self.have.playback = Some(Playback {
            id: id.as_str().into(),
            of,
        });
        self.playback_until = Some(Instant::now() + PLAYBACK_MAX);
        let played = self.ctx.ari.play(&self.channel.id, &id, media).await;
        if played.as_ref().is_err_and(|error| !error.maybe_done()) {
            self.have.playback = None;
        }
        match played {
            // It plays, or will: its end is reported, or it is stopped in time.
            Err(error) if error.maybe_done() => Ok(()),
            other => other,
        }
    }

    pub(crate) async fn stop_playback(&self, id: &str) -> Result<(), AriError> {
        let sight = *self.ctx.sight.borrow();
        let stopped = self.ctx.ari.stop_playback(id).await;
        if stopped.is_ok() {
            tokio::spawn(stop_until_gone(self.ctx.clone(), sight, id.into()));
        }
        skip_gone(&stopped)
    }
}

/// While a number is spoken Asterisk answers that the playback was stopped, and says all the rest, for
/// which a bridge would have to wait. Asked again and again, it stops behind the number.
async fn stop_until_gone(ctx: Arc<Ctx>, sight: Sight, playback: String) {
    for _ in 0..STOPS_MAX {
        tokio::time::sleep(STOP_EVERY).await;
        if !ctx.may_act(sight) {
            return;
        }
        let stopped = ctx.ari.stop_playback(&playback).await;
        if stopped.is_err_and(|error| error.is_gone()) {
            return;
        }
    }
}

pub(crate) fn music(class: &str) -> MusicClass {
    MusicClass::new(class)
        .unwrap_or_else(|_| MusicClass::new("default").expect("a constant name fits the grammar"))
}

pub(crate) fn media(prompt: &Prompt) -> Option<MediaUri> {
    match prompt {
        Prompt::Sound(name) if name.is_empty() => None,
        Prompt::Sound(name) => MediaUri::new(&format!("sound:{name}"))
            .inspect_err(|error| tracing::warn!(%error, "a prompt of a queue cannot be played"))
            .ok(),
        Prompt::Number(number) => MediaUri::new(&format!("number:{number}")).ok(),
    }
}
