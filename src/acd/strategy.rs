//! In which order a queue's members are rung: `strategy` and `penalty` of queues.conf.
//!
//! A rank is a sort key. The members who can be rung now are kept in rank order by the index, so the
//! next one is found without looking at the others. Ring-all and random choose among all of the
//! lowest penalty; round robin starts behind the one rung last. Here is no state.

use crate::agent::{Agent, Member};
use crate::id::AgentId;
use crate::settings::Strategy;

/// Place of a member among those of one step. Lower is rung earlier; a lower penalty always first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub penalty: u32,
    /// What the strategy compares: moment of the last call, number of calls, or 0.
    pub key: u64,
    pub order: u32,
    pub agent: AgentId,
}

impl Rank {
    pub fn of(strategy: Strategy, agent: &Agent, member: &Member) -> Rank {
        let key = match strategy {
            // Never called ranks before the longest ago.
            Strategy::LeastRecent => agent.last_call_at.map_or(0, |at| at.saturating_add(1)),
            Strategy::FewestCalls => member.calls_taken,
            Strategy::RingAll | Strategy::RrMemory | Strategy::Linear | Strategy::Random => 0,
        };
        let (penalty, order) = (member.settings.penalty, member.settings.order);
        Rank {
            penalty,
            key,
            order,
            agent: agent.id.clone(),
        }
    }
}
