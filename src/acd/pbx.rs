//! One Asterisk, the node that drives it, and under which epoch.
//!
//! It is a thing of its own and not the node, so that another node may take over the ARI of an
//! Asterisk whose node died. An epoch begins with each `PbxUp`; legs of an older one are hung up.

use crate::id::{Millis, NodeName, PbxId};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pbx {
    pub id: PbxId,
    pub node: NodeName,
    pub epoch: u64,
    pub sight: Sight,
    /// When it is given up: set while its node is away.
    pub lost_at: Option<Millis>,
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
}
