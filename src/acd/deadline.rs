//! Every timer of the queue on one screen, and when each is due.
//!
//! A deadline is derived from the facts and never a fact itself: `of_call`, `of_agent` and so on say
//! which ones a thing has now, and the index keeps them in order. So a deadline cannot be forgotten
//! by a snapshot, and one whose reason is gone does not fire. They fire in `Tick` alone, by the
//! stamp of the log; firing changes the facts such that the deadline is gone or later.

use crate::call::{Call, Phase};
use crate::id::{AgentId, CallId, Millis, PbxId, QueueName};
use crate::limits::{DIALPLAN_GRACE_MS, LEAVING_MS_MAX};
use crate::pbx::Sight;
use crate::settings::Connect;
use crate::state::State;
use crate::wait::ResumeKey;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// `leavewhenempty`: nobody is there; the next waiting caller leaves. Always due at once.
    LeaveEmpty(QueueName),
    /// The caller has waited enough.
    Timeout(CallId),
    /// The agents were rung long enough.
    Ring(CallId),
    /// The next step of the plan is reached.
    Step(CallId),
    /// Position, hold time or a periodic announcement.
    Announce(CallId),
    /// The owner of a leaving call never let go.
    Leaving(CallId),
    WrapUp(AgentId),
    /// The delay after a failed offer ends.
    Retry(AgentId),
    /// A node was away too long: its Asterisk is given up.
    NodeLost(PbxId),
    /// A kept place is given up.
    Resume(ResumeKey),
}

pub(crate) type Due = (Millis, Deadline);

/// What a call waits for. A caller whose channel is out of reach (in the dialplan, or its owner out
/// of sight) can be told nothing: timeout and announcements wait until it is back.
pub(crate) fn of_call(state: &State, call: &Call) -> Vec<Due> {
    let mut due = Vec::new();
    let reachable = state.in_sight(&call.pbx);
    match &call.phase {
        Phase::Waiting { away } => {
            if reachable && !away {
                due.extend(call.timeout_at.map(|at| (at, Deadline::Timeout(call.id))));
                due.extend(announce_at(state, call).map(|at| (at, Deadline::Announce(call.id))));
            }
            due.extend(step_at(state, call).map(|at| (at, Deadline::Step(call.id))));
        }
        Phase::Offered(offer) => {
            let dialplan = offer.connect == Connect::Dialplan;
            let grace = if dialplan { DIALPLAN_GRACE_MS } else { 0 };
            due.push((
                offer.ring_until.saturating_add(grace),
                Deadline::Ring(call.id),
            ));
            if reachable && !dialplan {
                due.extend(call.timeout_at.map(|at| (at, Deadline::Timeout(call.id))));
            }
            due.extend(step_at(state, call).map(|at| (at, Deadline::Step(call.id))));
        }
        Phase::Connected { .. } => {}
        Phase::Leaving { at, .. } => {
            // While the owner is out of sight it cannot let go; its return or its loss ends the call.
            if reachable || state.pbx(&call.pbx).is_none() {
                due.push((
                    at.saturating_add(LEAVING_MS_MAX),
                    Deadline::Leaving(call.id),
                ));
            }
        }
    }
    due
}

fn announce_at(state: &State, call: &Call) -> Option<Millis> {
    let wait = state.waits.get(&call.id)?;
    [wait.position_at, wait.periodic_at]
        .into_iter()
        .flatten()
        .min()
}

fn step_at(state: &State, call: &Call) -> Option<Millis> {
    let wait = state.waits.get(&call.id)?;
    let next = state
        .queue(&call.queue)?
        .settings
        .plan()
        .get(wait.step as usize)?;
    Some(call.joined_at.saturating_add(next.after_ms))
}

pub(crate) fn of_agent(state: &State, id: &AgentId) -> Vec<Due> {
    let Some(agent) = state.agent(id) else {
        return Vec::new();
    };
    let wrap_up = agent
        .wrap_up_until
        .map(|at| (at, Deadline::WrapUp(id.clone())));
    let retry = agent.retry_at.map(|at| (at, Deadline::Retry(id.clone())));
    wrap_up.into_iter().chain(retry).collect()
}

pub(crate) fn of_pbx(state: &State, id: &PbxId) -> Vec<Due> {
    let lost_at = state.pbx(id).and_then(|pbx| pbx.lost_at);
    lost_at
        .map(|at| (at, Deadline::NodeLost(id.clone())))
        .into_iter()
        .collect()
}

pub(crate) fn of_resume(state: &State, key: &ResumeKey) -> Vec<Due> {
    let kept = state.resumes.get(key);
    kept.map(|kept| (kept.until, Deadline::Resume(key.clone())))
        .into_iter()
        .collect()
}

impl State {
    /// Whether the owner of this Asterisk's callers can act on them now.
    pub(crate) fn in_sight(&self, pbx: &PbxId) -> bool {
        self.pbx(pbx).is_some_and(|pbx| pbx.sight == Sight::Up)
    }
}
