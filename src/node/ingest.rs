//! Whom an ARI event is for. Pure.
//!
//! StasisStart is not always a new caller: it is also our own legs when they answer, callers who
//! come back from the dialplan, agents who dial a feature code, and the channel that a transfer put
//! in the place of an agent's leg. What an event means for its call is in `have.rs`.

use crate::config::FeatureCode;
use crate::legs::{looks_like_leg, parse_leg};
use holdfast_acd::{CallId, PbxId};
use holdfast_ari::Event;
use std::collections::BTreeMap;

/// Where an event goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// A channel that is nobody's yet entered the application.
    NewCaller,
    /// An agent dialled a feature code.
    Feature(FeatureCode),
    /// About a caller's channel with this id, if there is an actor for it.
    Caller(String),
    /// About an agent's leg of this call.
    Leg(CallId),
    /// A leg of ours that cannot be understood: hang it up.
    ForeignLeg,
    /// About a channel that took the place of the leg with this id.
    Replaces(CallId, String),
    Device,
    /// Nothing for us.
    Nobody,
}

/// `known` says whether a channel id has an actor.
pub(crate) fn route(
    pbx: &PbxId,
    codes: &BTreeMap<String, FeatureCode>,
    event: &Event,
    known: impl Fn(&str) -> bool,
) -> Route {
    match event {
        Event::DeviceStateChanged { .. } => Route::Device,
        Event::PlaybackFinished { target_uri, .. } | Event::PlaybackStarted { target_uri, .. } => {
            match target_uri.strip_prefix("channel:") {
                Some(channel) => Route::Caller(channel.into()),
                None => Route::Nobody,
            }
        }
        Event::Dial { caller, peer, .. } => match parse_leg(pbx, &peer.id) {
            Some(leg) => Route::Leg(leg.call),
            None => caller
                .as_ref()
                .map_or(Route::Nobody, |c| Route::Caller(c.id.clone())),
        },
        Event::StasisStart {
            channel,
            args,
            replace_channel,
        } => {
            if let Some(old) = replace_channel
                && let Some(leg) = parse_leg(pbx, &old.id)
            {
                return Route::Replaces(leg.call, channel.id.clone());
            }
            if let Some(leg) = parse_leg(pbx, &channel.id) {
                return Route::Leg(leg.call);
            }
            if looks_like_leg(&channel.id) {
                return Route::ForeignLeg;
            }
            if known(&channel.id) {
                return Route::Caller(channel.id.clone());
            }
            match args.first().and_then(|word| codes.get(word)) {
                Some(code) => Route::Feature(*code),
                None => Route::NewCaller,
            }
        }
        other => match other.channel() {
            None => Route::Nobody,
            Some(channel) => match parse_leg(pbx, &channel.id) {
                Some(leg) => Route::Leg(leg.call),
                None => Route::Caller(channel.id.clone()),
            },
        },
    }
}
