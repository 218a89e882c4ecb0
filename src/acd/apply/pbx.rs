//! Asterisks and nodes come, go out of sight, are lost.

use super::Apply;
use crate::agent::Agent;
use crate::call::{Outcome, Phase};
use crate::command::{DeviceState, EndedBy, FailCause};
use crate::event::Event;
use crate::id::{AgentId, CallId, ChannelId, NodeName, PbxId};
use crate::index::Subject;
use crate::limits::{DURATION_MS_MAX, PBXES_MAX};
use crate::pbx::{Pbx, Sight};
use crate::reply::{Done, Reject, Reply};
use crate::settings::Connect;
use std::collections::BTreeSet;

impl Apply<'_> {
    pub(super) fn pbx_up(
        &mut self,
        id: &PbxId,
        node: &NodeName,
        epoch: u64,
        restarted: bool,
        channels: &[ChannelId],
    ) -> Reply {
        let mut home = node.clone();
        let (mut takeover, mut since_wall_ms) = (false, self.stamp.wall_ms);
        match self.state.pbxes.get(id) {
            Some(known)
                if epoch == known.epoch && known.node == *node && known.sight == Sight::Up =>
            {
                // Sent again.
                return Ok(Done::Ok);
            }
            Some(known) if epoch <= known.epoch => return Err(Reject::StaleEpoch { epoch }),
            Some(known) if known.node != *node => {
                let node = known.node.clone();
                return Err(Reject::DrivenByOther { node });
            }
            Some(known) => {
                home = known.home.clone();
                (takeover, since_wall_ms) = (known.takeover, known.since_wall_ms);
            }
            None if self.state.pbxes.len() >= PBXES_MAX => {
                let max = PBXES_MAX as u64;
                return Err(Reject::LimitReached {
                    what: "Asterisks".into(),
                    max,
                });
            }
            None => {}
        }
        self.compare(id, restarted, channels);
        let (sight, node) = (Sight::Up, node.clone());
        self.emit(Event::PbxUp {
            pbx: id.clone(),
            node: node.clone(),
            epoch,
        });
        let pbx = Pbx {
            id: id.clone(),
            node,
            epoch,
            sight,
            lost_at: None,
            home,
            takeover,
            away_at: None,
            since_wall_ms,
        };
        self.state.pbxes.insert(id.clone(), pbx);
        self.touch_pbx(id);
        self.touch_phones(id);
        Ok(Done::Ok)
    }

    /// Ends the calls whose channels are gone. Of those that live, legs rung under the old epoch are
    /// stale; what the dialplan is dialling is not ours to judge.
    fn compare(&mut self, pbx: &PbxId, restarted: bool, channels: &[ChannelId]) {
        let alive: BTreeSet<&ChannelId> = channels.iter().collect();
        let outcome = if restarted {
            Outcome::Lost
        } else {
            Outcome::Abandoned
        };
        let by = if restarted {
            EndedBy::Failure
        } else {
            EndedBy::Caller
        };
        for id in self.calls_on(pbx) {
            let Some(call) = self.state.calls.get(&id) else {
                continue;
            };
            if !alive.contains(&call.channel) {
                self.call_gone(id, outcome.clone(), by);
            } else if let Phase::Offered(offer) = &call.phase
                && offer.connect == Connect::Ari
            {
                self.end_offer(id, FailCause::Cancelled);
            }
        }
        self.end_talks(pbx, |channel| !alive.contains(channel));
    }

    pub(super) fn pbx_down(&mut self, id: &PbxId, epoch: u64, lost: bool) -> Reply {
        let Some(pbx) = self.state.pbxes.get_mut(id) else {
            return Ok(Done::Ok);
        };
        if epoch < pbx.epoch {
            return Err(Reject::StaleEpoch { epoch });
        }
        let seen = pbx.sight != Sight::Down;
        pbx.sight = Sight::Down;
        // Said once: a second report of the same loss finds nothing left to give up.
        let gave_up = lost && self.give_up(id);
        if seen || gave_up {
            self.emit(Event::PbxDown {
                pbx: id.clone(),
                lost,
            });
        }
        self.touch_pbx(id);
        Ok(Done::Ok)
    }

    /// The Asterisk is gone, its channels with it. Phones that were registered there are not
    /// reachable there; what other Asterisks say of them still counts. Answers whether there was
    /// anything to give up.
    fn give_up(&mut self, pbx: &PbxId) -> bool {
        let calls = self.calls_on(pbx);
        let had_calls = !calls.is_empty();
        for call in calls {
            self.call_gone(call, Outcome::Lost, EndedBy::Failure);
        }
        let had_talks = self.end_talks(pbx, |_| true);
        let seen = |agent: &&Agent| {
            let device = agent.devices.get(pbx);
            device.is_some_and(|device| *device != DeviceState::Unavailable)
        };
        let touched = self.state.agents.values().filter(seen);
        let touched: Vec<AgentId> = touched.map(|agent| agent.id.clone()).collect();
        for id in &touched {
            if let Some(agent) = self.state.agents.get_mut(id) {
                agent.devices.insert(pbx.clone(), DeviceState::Unavailable);
            }
            self.touch_agent(id);
        }
        if let Some(pbx) = self.state.pbxes.get_mut(pbx) {
            pbx.sight = Sight::Down;
            pbx.lost_at = None;
        }
        had_calls || had_talks || !touched.is_empty()
    }

    pub(super) fn node_away(&mut self, node: &NodeName, node_lost_after_ms: u64) -> Reply {
        let lost_at = self
            .now
            .saturating_add(node_lost_after_ms.min(DURATION_MS_MAX));
        let (now, mut touched) = (self.now, Vec::new());
        for pbx in self.state.pbxes.values_mut() {
            if pbx.node == *node && pbx.lost_at.is_none() {
                // One that was down already stays so when the node comes back.
                if pbx.sight == Sight::Up {
                    pbx.sight = Sight::NodeAway;
                }
                pbx.lost_at = Some(lost_at);
                pbx.away_at.get_or_insert(now);
                touched.push(pbx.id.clone());
            }
        }
        touched.iter().for_each(|pbx| {
            self.touch_pbx(pbx);
            self.touch_phones(pbx);
        });
        if !touched.is_empty() {
            self.emit(Event::NodeAway { node: node.clone() });
        }
        for pbx in touched {
            for call in self.calls_on(&pbx) {
                self.free_who_does_not_ring(call);
            }
        }
        Ok(Done::Ok)
    }

    /// An offer that its owner has not begun would hold the agents for the whole ring time. Whose
    /// phone is known to ring stays reserved: it may go on ringing, and must not ring twice.
    fn free_who_does_not_ring(&mut self, id: CallId) {
        let offer = self.state.calls.get(&id).and_then(|call| call.offer());
        let Some(offer) = offer.filter(|offer| offer.connect == Connect::Ari) else {
            return;
        };
        let silent = offer.agents.iter().filter(|it| it.ringing_since.is_none());
        let silent: Vec<AgentId> = silent.map(|it| it.agent.clone()).collect();
        for agent in silent {
            self.release_agent(id, &agent, FailCause::Cancelled);
        }
    }

    pub(super) fn node_back(&mut self, node: &NodeName) -> Reply {
        let mut touched = Vec::new();
        for pbx in self.state.pbxes.values_mut() {
            // Who has taken one over must compare, and in time: that it answers is not enough.
            let taken = pbx.sight == Sight::Taken;
            if pbx.node == *node && !taken && pbx.lost_at.take().is_some() {
                if pbx.sight == Sight::NodeAway {
                    pbx.sight = Sight::Up;
                }
                pbx.away_at = None;
                touched.push(pbx.id.clone());
            }
        }
        touched.iter().for_each(|pbx| {
            self.touch_pbx(pbx);
            self.touch_phones(pbx);
        });
        if !touched.is_empty() {
            self.emit(Event::NodeBack { node: node.clone() });
        }
        Ok(Done::Ok)
    }

    /// The node was away too long.
    pub(super) fn node_lost(&mut self, id: &PbxId) {
        let Some(pbx) = self.state.pbxes.get(id) else {
            return;
        };
        let node = pbx.node.clone();
        self.emit(Event::NodeLost {
            node,
            pbx: id.clone(),
        });
        self.give_up(id);
        self.touch_pbx(id);
    }

    fn calls_on(&self, pbx: &PbxId) -> BTreeSet<CallId> {
        let calls = self.state.index.on_pbx.get(pbx);
        calls.cloned().unwrap_or_default()
    }

    /// Whose word on them counts has changed.
    pub(super) fn touch_phones(&mut self, pbx: &PbxId) {
        let agents = self.state.agents.values();
        let known = agents.filter(|agent| agent.devices.contains_key(pbx));
        let known: Vec<AgentId> = known.map(|agent| agent.id.clone()).collect();
        known.iter().for_each(|agent| self.touch_agent(agent));
    }

    pub(super) fn touch_pbx(&mut self, pbx: &PbxId) {
        self.state.index.touch(Subject::Pbx(pbx.clone()));
    }
}
