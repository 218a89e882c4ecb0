//! What a waiting caller is told, and when: `say_position` and `say_periodic_announcement` of
//! app_queue, as pure functions.
//!
//! Nothing here plays anything and nothing here delays an offer. When the position may have changed
//! is looked at every `min-announce-frequency`, not with every move of the line.

use crate::call::{Announcement, Call, Prompt};
use crate::id::{CallId, Millis};
use crate::limits::ANNOUNCE_CHECK_MS_MIN;
use crate::queue::Queue;
use crate::settings::{Announce, AnnounceHoldTime, AnnouncePosition, QueueSettings};
use crate::state::State;
use crate::wait::Wait;

/// What is kept about a caller who enters a line now: the step that the waiting so far has reached,
/// and when there is something to tell.
pub(crate) fn begin(call: &Call, settings: &QueueSettings, now: Millis) -> Wait {
    let announce = &settings.announce;
    let told = call.announce_frequency_ms > 0;
    Wait {
        step: settings.steps_reached(now.saturating_sub(call.joined_at)),
        position_at: told.then(|| now.saturating_add(announce.first_after_ms)),
        periodic_at: next_periodic(announce, now),
        ..Wait::default()
    }
}

/// Settings have changed under a waiting caller: begins or ends periodic announcements.
pub(crate) fn reschedule(wait: &mut Wait, announce: &Announce, now: Millis) {
    let next = next_periodic(announce, now);
    wait.periodic_at = wait.periodic_at.and(next).or(next);
}

/// What is to be told now; empty if nothing. `position` is the caller's, from 1.
/// Moves the times in `wait` on in any case. Returns whether the position is among the prompts.
pub(crate) fn due(
    wait: &mut Wait,
    call: &Call,
    queue: &Queue,
    position: u32,
    now: Millis,
) -> (Vec<Prompt>, bool) {
    let announce = &queue.settings.announce;
    let mut prompts = Vec::new();
    let mut told = false;
    if wait.position_at.is_some_and(|at| at <= now) {
        if is_wanted(wait, call, announce, position, now) {
            let waited_ms = now.saturating_sub(call.joined_at);
            told = compose(
                &mut prompts,
                wait,
                announce,
                position,
                &Hold::new(queue, waited_ms),
            );
            wait.told_at = Some(now);
            wait.told_position = position;
        }
        wait.position_at = Some(next_position(wait, call, announce, now));
    }
    if wait.periodic_at.is_some_and(|at| at <= now) {
        let sounds = &announce.periodic;
        let turn = wait.periodic_next as usize % sounds.len().max(1);
        prompts.extend(sounds.get(turn).and_then(|name| sound(name)));
        wait.periodic_next = (turn as u32 + 1) % (sounds.len().max(1) as u32);
        wait.periodic_at = next_periodic(announce, now);
    }
    (prompts, told)
}

impl State {
    /// The last announcement of a waiting call, as it is to be told now: it may have waited for another
    /// prompt to end, or for an outage, and then the position is told that is right now. `None` if there
    /// is none, or if the position of now is none that would be told.
    pub fn announcement_now(&self, id: CallId) -> Option<Announcement> {
        let call = self.call(id)?;
        let due = call.announcement.as_ref()?;
        let position = self.position(id)?;
        if due.position == 0 || due.position == position {
            return Some(due.clone());
        }
        let announce = &self.queue(&call.queue)?.settings.announce;
        let unwanted = position == 1 && !announce.to_first_user;
        if unwanted || announce.only_up && position > due.position {
            return None;
        }
        let (mut was, mut is) = (Vec::new(), Vec::new());
        // With other settings since, it is left to the next one.
        let known = tell_position(&mut was, announce, due.position);
        let rest = due.prompts.strip_prefix(was.as_slice())?;
        if !known || !tell_position(&mut is, announce, position) {
            return None;
        }
        is.extend_from_slice(rest);
        Some(Announcement {
            prompts: is,
            position,
            ..due.clone()
        })
    }
}

fn next_periodic(announce: &Announce, now: Millis) -> Option<Millis> {
    let on = announce.periodic_frequency_ms > 0 && !announce.periodic.is_empty();
    on.then(|| now.saturating_add(announce.periodic_frequency_ms))
}

fn is_wanted(wait: &Wait, call: &Call, announce: &Announce, position: u32, now: Millis) -> bool {
    if position == 1 && !announce.to_first_user {
        return false;
    }
    let Some(told_at) = wait.told_at else {
        return true;
    };
    if announce.only_up && position >= wait.told_position {
        return false;
    }
    let gap = now.saturating_sub(told_at);
    let changed = position != wait.told_position && gap >= announce.min_frequency_ms;
    changed || gap >= call.announce_frequency_ms
}

/// The next look: when a changed position might be told, at the latest when it is due anyhow.
fn next_position(wait: &Wait, call: &Call, announce: &Announce, now: Millis) -> Millis {
    let look = now.saturating_add(announce.min_frequency_ms.max(ANNOUNCE_CHECK_MS_MIN));
    let due = wait
        .told_at
        .unwrap_or(now)
        .saturating_add(call.announce_frequency_ms);
    if due > now { look.min(due) } else { look }
}

/// The hold time still to be expected, rounded as `say_position` does.
struct Hold {
    minutes: u32,
    seconds: u32,
}

impl Hold {
    fn new(queue: &Queue, waited_ms: u64) -> Hold {
        let expected = queue.counters.hold_time_ms / 1000 + 30;
        let left = expected.abs_diff(waited_ms / 1000);
        let round = u64::from(queue.settings.announce.round_seconds);
        let rounded = (left % 60).checked_div(round).unwrap_or(0) * round;
        let minutes = u32::try_from(left / 60).unwrap_or(u32::MAX);
        Hold {
            minutes,
            seconds: rounded as u32,
        }
    }
}

fn compose(
    prompts: &mut Vec<Prompt>,
    wait: &mut Wait,
    announce: &Announce,
    position: u32,
    hold: &Hold,
) -> bool {
    let told = tell_position(prompts, announce, position);
    // Who is next is not told a hold time.
    if !(told && position == 1) {
        tell_hold_time(prompts, wait, announce, hold);
    }
    if !prompts.is_empty() {
        prompts.extend(sound(&announce.prompts.thank_you));
    }
    told
}

fn tell_position(prompts: &mut Vec<Prompt>, announce: &Announce, position: u32) -> bool {
    let names = &announce.prompts;
    let beyond = position > announce.position_limit;
    let (before, number, behind) = match announce.position {
        AnnouncePosition::No => return false,
        AnnouncePosition::Limit if beyond => return false,
        _ if position == 1 => {
            prompts.extend(sound(&names.you_are_next));
            return true;
        }
        AnnouncePosition::More if beyond => {
            (&names.quantity1, announce.position_limit, &names.quantity2)
        }
        _ => (&names.there_are, position, &names.calls_waiting),
    };
    prompts.extend(sound(before));
    prompts.push(Prompt::Number(number));
    prompts.extend(sound(behind));
    true
}

fn tell_hold_time(prompts: &mut Vec<Prompt>, wait: &mut Wait, announce: &Announce, hold: &Hold) {
    let wanted = match announce.hold_time {
        AnnounceHoldTime::No => false,
        AnnounceHoldTime::Yes => true,
        AnnounceHoldTime::Once => !wait.hold_time_told,
    };
    if !wanted || (hold.minutes == 0 && hold.seconds == 0) {
        return;
    }
    wait.hold_time_told = true;
    let names = &announce.prompts;
    prompts.extend(sound(&names.hold_time));
    if hold.minutes > 0 {
        prompts.push(Prompt::Number(hold.minutes));
        prompts.extend(sound(if hold.minutes == 1 {
            &names.minute
        } else {
            &names.minutes
        }));
    }
    if hold.seconds > 0 {
        prompts.push(Prompt::Number(hold.seconds));
        prompts.extend(sound(&names.seconds));
    }
}

fn sound(name: &str) -> Option<Prompt> {
    (!name.is_empty()).then(|| Prompt::Sound(name.into()))
}
