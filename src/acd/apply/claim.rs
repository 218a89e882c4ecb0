//! Who may drive an Asterisk: granted here, by the order of the log, before anybody touches it.
//!
//! A claim only gives the right and the epoch. What happens to the callers is decided when the new
//! driver has compared (`PbxUp`); until then they keep their places and are not offered.

use super::Apply;
use crate::command::Claim;
use crate::event::Event;
use crate::id::{NodeName, PbxId};
use crate::limits::PBXES_MAX;
use crate::pbx::{Pbx, Sight};
use crate::reply::{Done, Reject, Reply};

impl Apply<'_> {
    pub(super) fn pbx_claim(
        &mut self,
        id: &PbxId,
        node: &NodeName,
        epoch: u64,
        claim: Claim,
    ) -> Reply {
        let known = self.state.pbxes.get(id);
        if let Some(known) = known {
            if known.epoch == epoch && known.node == *node {
                // Sent again.
                return Ok(Done::Ok);
            }
            if known.epoch.checked_add(1) != Some(epoch) {
                return Err(Reject::StaleEpoch { epoch });
            }
        }
        let mut pbx = match claim {
            Claim::Home { takeover } => self.claim_own(id, node, takeover)?,
            Claim::Takeover { after_ms } => self.claim_foreign(id, node, after_ms)?,
        };
        let known = self.state.pbxes.get(id).map(|known| known.node.clone());
        let from = known.filter(|before| before != node);
        if from.is_some() {
            pbx.since_wall_ms = self.stamp.wall_ms;
        }
        pbx.node = node.clone();
        pbx.epoch = epoch;
        self.state.pbxes.insert(id.clone(), pbx);
        self.touch_pbx(id);
        self.touch_phones(id);
        self.emit(Event::PbxClaimed {
            pbx: id.clone(),
            node: node.clone(),
            from,
            epoch,
            takeover: matches!(claim, Claim::Takeover { .. }),
        });
        Ok(Done::Ok)
    }

    fn claim_own(&self, id: &PbxId, node: &NodeName, takeover: bool) -> Result<Pbx, Reject> {
        let known = self.state.pbxes.get(id);
        if known.is_none() && self.state.pbxes.len() >= PBXES_MAX {
            let (what, max) = ("Asterisks".into(), PBXES_MAX as u64);
            return Err(Reject::LimitReached { what, max });
        }
        Ok(Pbx {
            id: id.clone(),
            node: node.clone(),
            epoch: 0,
            sight: Sight::Down,
            lost_at: None,
            home: node.clone(),
            takeover,
            away_at: None,
            since_wall_ms: known.map_or(self.stamp.wall_ms, |known| known.since_wall_ms),
        })
    }

    /// The time at which it is given up stays: who has taken it over and does not compare in time
    /// is no better than who was away. And the clock of a takeover begins anew, so that such a one
    /// is taken over in turn.
    fn claim_foreign(&self, id: &PbxId, node: &NodeName, after_ms: u64) -> Result<Pbx, Reject> {
        let known = self.state.pbxes.get(id);
        let known = known.filter(|known| {
            let from = known.takeover_from(node, after_ms);
            known.home != *node && from.is_some_and(|from| from <= self.now)
        });
        let known = known.ok_or_else(|| Reject::NoTakeover(id.clone()))?;
        Ok(Pbx {
            sight: Sight::Taken,
            away_at: Some(self.now),
            ..known.clone()
        })
    }
}
