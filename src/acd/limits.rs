//! Every bound of the replicated state, in one place, with the relations between them checked at
//! compile time. Who meets a bound gets a `Reject` that names it; nothing grows without one.

/// Queues in the cluster, those made from a template included.
pub const QUEUES_MAX: usize = 10_000;
/// Agents in the cluster.
pub const AGENTS_MAX: usize = 20_000;
/// Members of one queue.
pub const MEMBERS_MAX: usize = 10_000;
/// Queues one agent may be a member of.
pub const QUEUES_PER_AGENT_MAX: usize = 500;
/// Calls in the cluster, whatever their phase.
pub const CALLS_MAX: usize = 200_000;
/// Asterisks in the cluster.
pub const PBXES_MAX: usize = 64;
/// Agents rung at once for one call (ringall).
pub const OFFER_AGENTS_MAX: usize = 64;
/// Steps of a queue's plan.
pub const STEPS_MAX: usize = 32;
/// Agents that one step names.
pub const STEP_AGENTS_MAX: usize = 1_000;
/// Exit keys of a queue.
pub const EXIT_KEYS_MAX: usize = 16;
/// Skills of an agent.
pub const SKILLS_MAX: usize = 100;
/// Earlier callers whose being passed over one offer reports, the nearest first.
pub const PASSED_OVER_MAX: usize = 64;
/// Templates of queues that may be created by a call.
pub const TEMPLATES_MAX: usize = 100;
/// Answers kept for admin writes that are sent twice.
pub const REQUESTS_MAX: usize = 10_000;
/// How long such an answer is kept.
pub const REQUEST_AGE_MS_MAX: u64 = 24 * 3600 * 1000;
/// Callers of a lost Asterisk whose place is kept for their return.
pub const RESUMES_MAX: usize = 10_000;
/// Deadlines that one `Tick` fires; the rest fires with the next one.
pub const DEADLINES_PER_TICK_MAX: usize = 1_000;
/// Bytes of a caller's number, of a caller's name, of a reason or an information text.
pub const TEXT_BYTES_MAX: usize = 80;
/// Sounds of one announcement or prompt list.
pub const PROMPTS_MAX: usize = 10;
/// The longest duration that any setting may have.
pub const DURATION_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// The least gap between two looks at whether a caller's position has changed.
pub const ANNOUNCE_CHECK_MS_MIN: u64 = 1_000;
/// How long a call that is leaving is kept when its owner never says that the channel has gone.
pub const LEAVING_MS_MAX: u64 = 120_000;
/// How much longer than the ring time an offer by way of the dialplan may take to come back.
pub const DIALPLAN_GRACE_MS: u64 = 10_000;

const _: () = assert!(OFFER_AGENTS_MAX <= MEMBERS_MAX);
const _: () = assert!(MEMBERS_MAX <= AGENTS_MAX);
const _: () = assert!(LEAVING_MS_MAX < DURATION_MS_MAX);
