//! `joinempty` and `leavewhenempty`: which members count as being there.
//!
//! As `get_member_status` of app_queue: a queue is empty when every member is in one of the listed
//! conditions. Somebody who is logged out is never there. `penalty` means: above the penalty limit of
//! the plan's first step for a caller who wants in, of its last step for one who already waits.

use crate::agent::{Agent, Hand, Member};
use crate::command::DeviceState;
use crate::settings::{Empty, EmptyRule, Step};

/// Whether this member, whose device is in this state, counts as being there under `rule`, judged at
/// `step` of the plan.
pub(crate) fn is_there(
    rule: &EmptyRule,
    step: Option<&Step>,
    agent: &Agent,
    member: &Member,
    device: DeviceState,
) -> bool {
    agent.login_at.is_some()
        && !rule
            .0
            .iter()
            .any(|empty| is_in(*empty, step, agent, member, device))
}

fn is_in(
    condition: Empty,
    step: Option<&Step>,
    agent: &Agent,
    member: &Member,
    device: DeviceState,
) -> bool {
    let free = agent.hand == Hand::Free;
    match condition {
        Empty::Paused => agent.pause.is_some() || member.pause.is_some(),
        Empty::Penalty => step
            .and_then(|step| step.max_penalty)
            .is_some_and(|max| member.settings.penalty > max),
        Empty::InUse => {
            matches!(agent.hand, Hand::InCall { .. } | Hand::Talking { .. })
                || (free && device == DeviceState::InUse)
        }
        Empty::Ringing => {
            matches!(agent.hand, Hand::Offered { .. }) || (free && device == DeviceState::Ringing)
        }
        Empty::Unavailable => device == DeviceState::Unavailable,
        Empty::Invalid => device == DeviceState::Invalid,
        Empty::Unknown => device == DeviceState::Unknown,
        Empty::WrapUp => agent.wrap_up_until.is_some(),
    }
}
