//! The ids that we give to channels, bridges and playbacks in Asterisk.
//!
//! They are derived from call, attempt and epoch, so that after any gap what is found in Asterisk
//! says by itself what it is for, and a second request for the same thing is recognised. ARI alone
//! does not make them idempotent: the id of a leg that has ended may be used again.

use holdfast_acd::{AgentId, Attempt, CallId, PbxId};
use holdfast_ari::ChannelId;

/// Characters of the Asterisk's name that go into an id, so that ids stay within ARI's 128.
const PBX_CHARS_MAX: usize = 24;

/// What a leg of ours is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LegKey {
    pub epoch: u64,
    pub call: CallId,
    pub attempt: Attempt,
    pub agent: AgentId,
}

fn short(pbx: &PbxId) -> &str {
    &pbx.as_str()[..pbx.as_str().len().min(PBX_CHARS_MAX)]
}

/// `hf-PBX-EPOCH-CALL-ATTEMPT-AGENT`. `None` when the names are too long for ARI together.
pub(crate) fn leg_channel(pbx: &PbxId, key: &LegKey) -> Option<ChannelId> {
    let LegKey {
        epoch,
        call,
        attempt,
        agent,
    } = key;
    ChannelId::new(&format!(
        "hf-{}-{epoch}-{call}-{attempt}-{agent}",
        short(pbx)
    ))
    .ok()
}

/// Reads an id that `leg_channel` made for this Asterisk.
pub(crate) fn parse_leg(pbx: &PbxId, id: &str) -> Option<LegKey> {
    let rest = id
        .strip_prefix("hf-")?
        .strip_prefix(short(pbx))?
        .strip_prefix('-')?;
    let mut parts = rest.splitn(4, '-');
    Some(LegKey {
        epoch: parts.next()?.parse().ok()?,
        call: CallId(parts.next()?.parse().ok()?),
        attempt: Attempt(parts.next()?.parse().ok()?),
        agent: AgentId::new(parts.next()?).ok()?,
    })
}

/// Whether a channel's id looks like a leg of ours, of whatever epoch or format.
pub(crate) fn looks_like_leg(id: &str) -> bool {
    id.starts_with("hf-")
}

/// `hfb-PBX-CALL-ATTEMPT`, the bridge of one offer.
pub(crate) fn bridge_id(pbx: &PbxId, call: CallId, attempt: Attempt) -> ChannelId {
    ChannelId::new(&format!("hfb-{}-{call}-{attempt}", short(pbx)))
        .expect("a checked name cut to 24 and two numbers fit the grammar of ids")
}

/// Reads an id that `bridge_id` made for this Asterisk.
pub(crate) fn parse_bridge(pbx: &PbxId, id: &str) -> Option<(CallId, Attempt)> {
    let rest = id
        .strip_prefix("hfb-")?
        .strip_prefix(short(pbx))?
        .strip_prefix('-')?;
    let (call, attempt) = rest.split_once('-')?;
    Some((CallId(call.parse().ok()?), Attempt(attempt.parse().ok()?)))
}

/// `hfp-CALL-WHAT`, one playback to a caller.
pub(crate) fn playback_id(call: CallId, what: &str) -> ChannelId {
    ChannelId::new(&format!("hfp-{call}-{what}"))
        .expect("a number and a word of ours fit the grammar of ids")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(agent: &str) -> LegKey {
        LegKey {
            epoch: 3,
            call: CallId(71),
            attempt: Attempt(2),
            agent: AgentId::new(agent).unwrap(),
        }
    }

    #[test]
    fn a_leg_is_known_again_by_its_id_whatever_the_names() {
        for pbx in ["a", "pbx-a-1-2", &"x".repeat(64)] {
            let pbx = PbxId::new(pbx).unwrap();
            for agent in ["1001", "a-b-3", &"y".repeat(64)] {
                let id = leg_channel(&pbx, &key(agent)).unwrap();
                assert_eq!(parse_leg(&pbx, id.as_str()), Some(key(agent)), "{id}");
            }
        }
    }

    #[test]
    fn foreign_ids_are_no_legs_of_ours() {
        let pbx = PbxId::new("a").unwrap();
        for id in [
            "1795432327.6",
            "hf-b-3-71-2-1001",
            "hf-a-3-71-2-",
            "hf-a-x-71-2-1001",
            "hf-a-",
        ] {
            assert_eq!(parse_leg(&pbx, id), None, "{id}");
        }
    }

    #[test]
    fn a_bridge_is_known_again_by_its_id() {
        let pbx = PbxId::new("pbx-a").unwrap();
        let id = bridge_id(&pbx, CallId(7), Attempt(2));
        assert_eq!(
            parse_bridge(&pbx, id.as_str()),
            Some((CallId(7), Attempt(2)))
        );
    }
}
