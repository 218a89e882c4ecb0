//! One Asterisk, the node that drives it, and under which epoch.
//!
//! It is a thing of its own and not the node, so that another node may take over the ARI of an
//! Asterisk whose node died. Whoever drives has an epoch, and a new one begins with each `PbxClaim`
//! and each `PbxUp`; what an older one says of the Asterisk is refused, its legs are hung up.

use crate::id::{Millis, NodeName, PbxId};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pbx {
    pub id: PbxId,
    /// Drives it, or is about to: nobody else may.
    pub node: NodeName,
    pub epoch: u64,
    pub sight: Sight,
    /// When it is given up: set while its node is away.
    pub lost_at: Option<Millis>,
    /// The node beside it, which gets it back.
    pub home: NodeName,
    /// Whether another node may take it over.
    pub takeover: bool,
    /// Since when nobody who drives it is heard: a takeover counts from here.
    pub away_at: Option<Millis>,
    /// Since when `node` has it, by the leader's wall clock. For display.
    pub since_wall_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// Its node drives it and has compared: its callers can be offered.
    Up,
    /// Its node does not see it; callers keep their places and are not offered.
    Down,
    /// Its node does not answer the leader; the same for its callers.
    NodeAway,
    /// Another node has taken it over and has not compared yet; the same for its callers.
    Taken,
}

impl Pbx {
    /// From when on `node` may take it over that asks for it `after_ms` after its driver fell
    /// silent; `None` while there is nothing to take over.
    pub fn takeover_from(&self, node: &NodeName, after_ms: u64) -> Option<Millis> {
        let away_at = self.away_at?;
        (self.takeover && self.node != *node).then(|| away_at.saturating_add(after_ms))
    }
}
