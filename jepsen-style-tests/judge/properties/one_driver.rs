//! An Asterisk has one driver at a time: each begins under a new epoch, and no leg is called under one
//! that was over when the leg's offer was made.
//!
//! A driver acts on offers that it has applied, so it has applied its own end before any offer behind
//! it. An offer from before that end may still be rung by the one who is deposed; the next driver
//! hangs such a leg up.

use super::{Findings, Violation};
use crate::judge::story::Story;
use crate::judge::verdict::Limits;
use holdfast_acd::Event;
use std::collections::BTreeMap;

pub fn check(story: &Story, _limits: &Limits, found: &mut Findings) {
    let mut epochs: BTreeMap<&str, u64> = BTreeMap::new();
    let mut homes: BTreeMap<u64, &str> = BTreeMap::new();
    let mut offered: BTreeMap<(u64, u32), u64> = BTreeMap::new();
    for told in &story.log.events {
        match &told.event {
            Event::PbxUp { pbx, epoch, .. } | Event::PbxClaimed { pbx, epoch, .. } => {
                found.judged(1);
                let known = epochs.insert(pbx.as_str(), *epoch);
                if let Some(known) = known.filter(|known| known >= epoch) {
                    let (pbx, epoch) = (pbx.to_string(), *epoch);
                    let about = pbx.clone();
                    let violation = Violation::EpochNotNew { pbx, epoch, known };
                    found.broken(told.when, violation, &[&about]);
                }
            }
            Event::CallJoined { call, pbx, .. } => {
                homes.insert(call.0, pbx.as_str());
            }
            Event::OfferMade { call, attempt, .. } => {
                let epoch = homes.get(&call.0).and_then(|pbx| epochs.get(pbx));
                offered.extend(epoch.map(|epoch| ((call.0, attempt.0), *epoch)));
            }
            _ => {}
        }
    }
    for (id, leg) in &story.legs {
        let Some(offer) = leg.offer else { continue };
        let Some(known) = offered.get(&(offer.call, offer.attempt)) else {
            continue;
        };
        found.judged(1);
        if offer.epoch < *known {
            let violation = Violation::EpochOver {
                leg: id.clone(),
                epoch: offer.epoch,
                known: *known,
            };
            found.broken(leg.called, violation, &[&id.channel]);
        }
    }
}
