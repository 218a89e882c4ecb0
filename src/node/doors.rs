//! A way in for the fuzz targets and the bad-input catalogue of `jepsen-style-tests/hostile`: what a
//! node makes of an event, of a caller's arguments and of names, without a node. No product code
//! uses it.

use crate::config::{AsteriskSection, TokenEntry};
use crate::ingest::{Route, route};
use crate::{ConfigError, config_load, features, join, legs};
use holdfast_acd::command::CallerJoin;
use holdfast_acd::{AdminOp, Attempt, CallId, PbxId};
use holdfast_ari::{Channel, Event};

/// Whom an event is for, by the feature codes of the defaults. The words are for comparison alone.
pub fn route_of(pbx: &PbxId, event: &Event, known: bool) -> String {
    let codes = AsteriskSection::default().feature_codes;
    match route(pbx, &codes, event, |_| known) {
        Route::NewCaller => "new caller".into(),
        Route::Feature(code) => format!("feature {code:?}"),
        Route::Caller(id) => format!("caller {id}"),
        Route::Leg(call) => format!("leg of {call}"),
        Route::ForeignLeg => "foreign leg".into(),
        Route::Replaces(call, _) => format!("replaces a leg of {call}"),
        Route::Device => "device".into(),
        Route::Nobody => "nobody".into(),
    }
}

/// The command that a caller's channel, arguments and variables become; the error is for the log.
pub fn caller(
    pbx: &PbxId,
    channel: &Channel,
    args: &[String],
    variable: Option<&str>,
    exten: Option<&str>,
    priority: Option<&str>,
) -> Result<CallerJoin, String> {
    join::compose(pbx, channel, args, variable, exten, priority).map_err(|error| error.to_string())
}

/// The write that a feature code becomes; `None` if it is none, or of no agent.
pub fn feature(channel: &Channel, args: &[String]) -> Option<AdminOp> {
    let code = *AsteriskSection::default()
        .feature_codes
        .get(args.first()?)?;
    let agent = features::agent_of(channel, args).ok()?;
    Some(features::operation(agent, code, args.get(2)).1)
}

/// A caller's free text as it is kept.
pub fn clean(text: &str) -> String {
    join::clean(text)
}

/// Call and attempt in a channel's id, if it is the id of a leg of ours.
pub fn leg(pbx: &PbxId, id: &str) -> Option<(CallId, Attempt)> {
    let key = legs::parse_leg(pbx, id)?;
    let again = legs::leg_channel(pbx, &key);
    // What is read must be what would be written, or two ids would mean one leg.
    let same = again.is_none_or(|again| again.as_str() == id);
    same.then_some((key.call, key.attempt))
}

/// Call and attempt in a bridge's id, if it is ours.
pub fn bridge(pbx: &PbxId, id: &str) -> Option<(CallId, Attempt)> {
    legs::parse_bridge(pbx, id)
}

/// The text of a tokens file.
pub fn tokens(text: &str) -> Result<Vec<TokenEntry>, ConfigError> {
    config_load::read_tokens(text)
}
