//! Talks that the state does not know: what is done for them, and what is written of them.
//!
//! A call ends in the log when nobody saw its Asterisk for too long; the two people in it do not. So
//! whoever is found in a bridge of ours with a living leg of ours is left alone, whatever the state
//! says of the call: known no longer, or not to be asked without a quorum. The agent is held in the log
//! meanwhile, and when one of the two hangs up the other is let go as after any talk.

use crate::caller::Caller;
use crate::have::{Found, Have, Place};
use crate::join;
use crate::legs::parse_leg;
use crate::plan::{Step, drop_bridge, let_go};
use crate::reconcile::Seen;
use crate::want::{Leave, Want, leave_after_talk};
use holdfast_acd::agent::Hand;
use holdfast_acd::{AgentId, Attempt, CallId, ChannelId, Command, Reject, Reply};
use holdfast_ari::{AriError, HangupReason};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// The next steps; empty while they talk and the agent is held.
pub(crate) fn talk_on(leave: &Leave, hold: bool, have: &Have) -> Vec<Step> {
    let mut steps = Vec::new();
    let talking = have.talking().map(|leg| leg.channel.as_str());
    for leg in have.legs.iter().filter(|leg| leg.lives() && !leg.hung_up) {
        if talking != Some(&leg.channel) {
            let (channel, reason) = (leg.channel.clone(), HangupReason::Normal);
            steps.push(Step::HangUpLeg { channel, reason });
        }
    }
    if let Some(leg) = have.talking() {
        if hold {
            steps.push(Step::KeepTalk(leg.agent.clone()));
        }
        return steps;
    }
    steps.push(Step::TalkOver);
    // The bridge goes last: as long as the caller is here it alone tells a process that has just
    // begun that he has talked.
    let_go(leave, have, &mut steps);
    drop_bridge(have, &mut steps);
    steps
}

/// Of those who sit in a bridge with their agent, or have: what there is of their call, by the
/// caller's channel. It is taken out of `seen`. Calls that are `known` are looked at by other means.
pub(crate) fn in_talk(seen: &mut Seen, known: impl Fn(CallId) -> bool) -> BTreeMap<String, Found> {
    let caller_of = |bridges: &[(Attempt, Vec<String>)]| {
        let mut members = bridges.iter().flat_map(|(_, members)| members);
        members.find(|it| seen.callers.contains_key(*it)).cloned()
    };
    let unknown = seen.bridges.iter().filter(|(call, _)| !known(**call));
    let callers: Vec<(CallId, String)> = unknown
        .filter_map(|(call, bridges)| Some((*call, caller_of(bridges)?)))
        .collect();
    let found = |(call, caller): (CallId, String)| {
        let found = Found {
            place: Place::Stasis,
            legs: seen.legs.remove(&call).unwrap_or_default(),
            bridges: seen.bridges.remove(&call).unwrap_or_default(),
            kept: Some(call),
            ..Found::default()
        };
        (caller, found)
    };
    callers.into_iter().map(found).collect()
}

impl Caller {
    /// What is wanted of a caller of whose call the state knows nothing, or who must not be told by
    /// an old replica (`asked` is false): to talk on, or to be let go after it, if he was found
    /// talking.
    pub(crate) fn talk_on(&mut self, asked: bool) -> Want {
        let leg = self.have.talking();
        let key = leg.and_then(|leg| parse_leg(&self.ctx.pbx, &leg.channel));
        // Also whose talk ended before the call was given up, and who was not let go in time.
        let talked = self.call.filter(|_| self.have.has_talked());
        let found = key.as_ref().map(|key| key.call).or(self.have.kept);
        let Some(call) = found.or(talked) else {
            return Want::Nothing;
        };
        self.have.kept = Some(call);
        let Some(channel) = self.channel_id().filter(|_| asked) else {
            let (leave, hold) = (leave_after_talk(None), false);
            return Want::TalkOn { leave, hold };
        };
        let queue = self.met_by.as_ref().and_then(Option::as_ref);
        let applied = *self.ctx.shared.raft.applied().borrow();
        self.ctx.shared.raft.read(|machine| {
            let state = &machine.0;
            let agent = key.and_then(|key| state.agent(&key.agent));
            let (hold, elsewhere) = match agent.map(|agent| &agent.hand) {
                Some(Hand::Free | Hand::Offered { .. }) => (true, false),
                Some(Hand::Talking { channel: it, .. }) => (false, *it != channel),
                Some(Hand::InCall { .. }) => (false, true),
                None => (false, false),
            };
            // As soon as the agent has ended that other call he is held for this one.
            self.looks_after = elsewhere.then_some(applied);
            let leave = leave_after_talk(queue.and_then(|queue| state.queue(queue)));
            Want::TalkOn { leave, hold }
        })
    }

    /// Asks that the agent is held.
    pub(crate) fn keep_talk(&mut self, agent: AgentId) {
        if let Some(channel) = self.channel_id() {
            self.note(Command::TalkKept {
                pbx: self.ctx.pbx.clone(),
                epoch: self.ctx.epoch.load(Ordering::Acquire),
                channel,
                agent,
                queue: self.met_by.clone().flatten(),
            });
        }
    }

    /// The same, once it was read which queue the two met by.
    pub(crate) async fn learn_queue_and_keep(&mut self, agent: AgentId) -> Result<(), AriError> {
        let ctx = &self.ctx;
        let read = join::read(&ctx.ari, &ctx.pbx, &self.channel, &self.args).await?;
        self.met_by = Some(read.ok().map(|join| join.queue));
        self.keep_talk(agent);
        Ok(())
    }

    pub(crate) fn note_end_of_talk(&mut self) {
        let over = self.end_of_talk();
        over.into_iter().for_each(|over| self.note(over));
    }

    /// That a talk is over, who was kept in it has to say before the actor may end.
    pub(crate) fn owes_end_of_talk(&self) -> bool {
        let over = self.end_of_talk().filter(|_| self.have.kept.is_some());
        over.is_some_and(|over| !self.settled.contains(&over))
    }

    /// The agent had another call just then: this is asked again when that is over.
    pub(crate) fn is_to_ask_again(&self, fact: &Command, reply: &Reply) -> bool {
        let busy = matches!(reply, Err(Reject::AgentBusy(_)));
        busy && matches!(fact, Command::TalkKept { .. })
    }

    fn end_of_talk(&self) -> Option<Command> {
        let (pbx, channel) = (self.ctx.pbx.clone(), self.channel_id()?);
        Some(Command::TalkOver { pbx, channel })
    }

    fn channel_id(&self) -> Option<ChannelId> {
        ChannelId::new(self.channel.id.as_str()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::have::{Leg, LegState};
    use crate::legs::LegKey;
    use crate::plan::plan;

    const CALLER: &str = "a-1.1";
    const CALL: CallId = CallId(7);

    fn leg(attempt: u32) -> (String, LegKey, LegState) {
        let agent = AgentId::new("1001").unwrap();
        let attempt = Attempt(attempt);
        let key = LegKey {
            epoch: 1,
            call: CALL,
            attempt,
            agent,
        };
        (format!("hf-a-1-7-{attempt}-1001"), key, LegState::Up)
    }

    /// A caller found in the bridge of attempt 1, with these legs in Asterisk and the first of them
    /// in the bridge.
    fn found(legs: Vec<(String, LegKey, LegState)>) -> Have {
        let first = legs.iter().map(|(channel, ..)| channel.clone());
        let members = first.take(1).chain([CALLER.into()]).collect();
        let mut have = Have {
            channel: CALLER.into(),
            ..Have::default()
        };
        have.compared(Found {
            legs,
            bridges: vec![(Attempt(1), members)],
            kept: Some(CALL),
            ..Found::default()
        });
        have
    }

    fn steps(have: &Have, hold: bool) -> Vec<Step> {
        let leave = leave_after_talk(None);
        plan(None, &Want::TalkOn { leave, hold }, have)
    }

    #[test]
    fn who_talks_is_left_alone_and_only_the_agent_is_held() {
        let have = found(vec![leg(1)]);
        let agent = AgentId::new("1001").unwrap();
        assert_eq!(steps(&have, true), [Step::KeepTalk(agent)]);
        assert_eq!(steps(&have, false), []);
        let stray = steps(&found(vec![leg(1), leg(2)]), false);
        let (channel, reason) = (leg(2).0, HangupReason::Normal);
        assert_eq!(stray, [Step::HangUpLeg { channel, reason }]);
    }

    #[test]
    fn when_the_agent_is_gone_the_caller_is_let_go_and_never_joins() {
        let over = [Step::TalkOver, Step::HangUpCaller, Step::DropBridge];
        assert_eq!(steps(&found(Vec::new()), false), over);
        let mut have = found(vec![leg(1)]);
        have.legs[0].state = LegState::Ended(holdfast_acd::command::FailCause::Rejected);
        assert_eq!(steps(&have, false), over);
        have.let_go = true;
        have.bridge = None;
        assert_eq!(steps(&have, false), [Step::TalkOver], "and once");
    }

    #[test]
    fn when_the_caller_is_gone_the_agents_leg_is_hung_up() {
        let mut have = found(vec![leg(1)]);
        have.place = Place::Gone;
        let (channel, reason) = (leg(1).0, HangupReason::Normal);
        let hang_up = Step::HangUpLeg { channel, reason };
        let over = [hang_up, Step::TalkOver, Step::DropBridge];
        assert_eq!(steps(&have, false), over);
    }

    #[test]
    fn only_a_caller_in_a_bridge_of_ours_is_in_a_talk_and_known_calls_are_left_to_others() {
        let seen = || {
            let bridge = |members: &[&str]| {
                let members = members.iter().map(ToString::to_string).collect();
                vec![(Attempt(1), members)]
            };
            let mut seen = Seen::default();
            for caller in [CALLER, "a-1.2", "a-1.3"] {
                seen.callers.insert(caller.into(), Default::default());
            }
            seen.legs.insert(CALL, vec![leg(1)]);
            let leg = leg(1).0;
            seen.bridges.insert(CALL, bridge(&[&leg, CALLER]));
            seen.bridges.insert(CallId(8), bridge(&["a-1.2"]));
            seen.bridges.insert(CallId(9), bridge(&[]));
            seen
        };
        let mut rest = seen();
        let talks = in_talk(&mut rest, |call| call == CallId(8));
        assert_eq!(talks.keys().collect::<Vec<_>>(), [CALLER]);
        assert_eq!(talks[CALLER].kept, Some(CALL));
        assert_eq!(talks[CALLER].legs.len(), 1);
        assert!(rest.legs.is_empty());
        assert_eq!(rest.bridges.len(), 2, "what is left is for others to judge");
        let alone = in_talk(&mut seen(), |_| false);
        assert_eq!(alone["a-1.2"].kept, Some(CallId(8)), "who has talked");
    }

    #[test]
    fn back_from_the_dialplan_it_is_another_call() {
        let mut have = found(vec![leg(1)]);
        have.place = Place::Dialplan;
        have.legs = Vec::<Leg>::new();
        let found = Found {
            place: Place::Stasis,
            ..Found::default()
        };
        have.compared(found);
        assert_eq!((have.kept, have.was_bridged), (None, None));
    }
}
