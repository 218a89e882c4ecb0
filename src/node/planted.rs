//! Deliberate bugs, so that the simulation can show that it would find them. Only with the feature
//! `planted`, which no build of the `holdfast` binary has; at most one is alive in a process.
//!
//! Where a bug is not a change of a command on its way into `apply`, its place in the code asks
//! [`is`] by name.

use holdfast_acd::{AdminOp, Command, Done, Event, PbxId, Reply, Stamp, State};
use std::sync::OnceLock;

/// All of them.
pub const BUGS: [&str; 13] = [
    "double-reserve",
    "forgotten-release",
    "bridge-before-grant",
    "deadline-early",
    "lost-write",
    "stale-pause",
    "order-broken",
    "caller-forgotten",
    "ghost-in-line",
    "clock-in-apply",
    "leader-sleeps",
    "no-epoch-fence",
    "deadline-twice",
];

static ALIVE: OnceLock<String> = OnceLock::new();

/// Brings one to life, for as long as the process runs.
pub fn plant(bug: &str) {
    ALIVE.get_or_init(|| bug.to_string());
}

/// Whether this one is alive.
pub(crate) fn is(bug: &str) -> bool {
    ALIVE.get().is_some_and(|alive| alive == bug)
}

/// Changes a command or its stamp on the way into `apply`, or answers in its place.
pub(crate) fn spoil(state: &State, stamp: &mut Stamp, command: &mut Command) -> Option<Reply> {
    let written = || {
        Some(Ok(Done::Written {
            revision: stamp.index,
        }))
    };
    match command {
        Command::CallEnd { .. } if is("forgotten-release") => return Some(Ok(Done::Ok)),
        Command::CallerLeave { .. } if is("ghost-in-line") => return Some(Ok(Done::Ok)),
        Command::Tick if is("deadline-early") => stamp.at += EARLY_MS,
        Command::CallerJoin(join) if is("order-broken") => {
            join.priority += i32::try_from(stamp.index % 3).unwrap_or(0);
        }
        Command::CallerJoin(_) if is("clock-in-apply") => stamp.at += rand::random_range(0..3),
        Command::Admin(admin) => match &admin.op {
            AdminOp::AgentPut { settings, .. } if is("lost-write") && !settings.name.is_empty() => {
                return written();
            }
            AdminOp::AgentPause { .. } if is("stale-pause") => return written(),
            _ => {}
        },
        _ if is("no-epoch-fence") => defence(state, command),
        _ => {}
    }
    None
}

/// What a driver says whose epoch is over counts as if it were not.
fn defence(state: &State, command: &mut Command) {
    let known = |pbx: &PbxId| state.pbx(pbx).map_or(0, |pbx| pbx.epoch);
    match command {
        Command::PbxUp { pbx, epoch, .. } => *epoch = (*epoch).max(known(pbx) + 1),
        Command::PbxDown { pbx, epoch, .. } | Command::DeviceSeen { pbx, epoch, .. } => {
            *epoch = (*epoch).max(known(pbx));
        }
        _ => {}
    }
}

/// What a `Tick` fires is told, and forgotten: it fires again.
pub(crate) fn fire_twice(state: &State, stamp: Stamp, command: &Command, events: &mut Vec<Event>) {
    if matches!(command, Command::Tick) && is("deadline-twice") {
        // What it answers is answered again.
        let _ = state.clone().apply(stamp, command, events);
    }
}

/// How much too soon `deadline-early` is.
pub(crate) const EARLY_MS: u64 = 2_000;
