//! Bugs that show in the log, in digests, and in what clients are answered.

use super::bugs::Scene;
use super::world::{ANNOUNCE_MS, QUEUES, RING_MS};
use crate::judge::history::{Answer, CallerSaw, ClientSaw, InsideSaw, Op, Record, Seen};
use crate::judge::log::{Fold, LogEvent};
use crate::judge::story::Done;
use holdfast_acd::call::Outcome;
use holdfast_acd::command::FailCause;
use holdfast_acd::{AgentId, Attempt, CallId, Event, QueueName};

/// The first of a line who could be offered now.
pub(super) fn first_waiting(fold: &Fold, queue: &str) -> Option<u64> {
    let mut line = fold.lines.get(queue)?.iter();
    let waits = |call: &&u64| {
        let it = &fold.calls[*call];
        it.offer.is_none() && fold.in_sight(&it.pbx)
    };
    line.find(waits).copied()
}

pub(super) fn offer(call: u64, queue: &str, agent: &str, told: &LogEvent) -> Vec<Event> {
    let (call, attempt) = (CallId(call), Attempt(50));
    let agent = AgentId::new(agent).unwrap();
    vec![
        Event::OfferMade {
            call,
            queue: QueueName::new(queue).unwrap(),
            attempt,
            agents: vec![agent.clone()],
            ring_until: told.cluster_ms + RING_MS,
        },
        Event::OfferFailed {
            call,
            attempt,
            agent,
            cause: FailCause::Cancelled,
            rang_ms: 0,
        },
    ]
}

pub(super) fn other_outcome(scene: &Scene) -> Option<Vec<Record>> {
    let mut events = scene.story.log.events.iter();
    let told = events.find(|told| {
        matches!(
            &told.event,
            Event::CallLeft {
                outcome: Outcome::Timeout,
                ..
            }
        )
    })?;
    Some(scene.with_event(told.at, |event| {
        if let Event::CallLeft { outcome, .. } = event {
            *outcome = Outcome::Empty;
        }
        true
    }))
}

pub(super) fn reserved_twice(scene: &Scene) -> Option<Vec<Record>> {
    scene.fold(|fold, _, told| {
        // At an event that leaves hands and lines alone, an agent in hand is reserved again.
        let Event::AnnounceDue { .. } = told.event else {
            return None;
        };
        let agent = fold.hands.keys().next()?;
        let found = QUEUES
            .iter()
            .find_map(|queue| Some((queue, first_waiting(fold, queue)?)));
        let (queue, call) = found?;
        let paused = fold.pauses.iter().any(|(paused, _)| paused == agent);
        (!paused).then(|| scene.with_more(told, offer(call, queue, agent, told)))
    })
}

pub(super) fn ungranted(scene: &Scene) -> Option<Vec<Record>> {
    let mut events = scene.story.log.events.iter();
    let told = events.find(|told| matches!(told.event, Event::CallConnected { .. }))?;
    Some(scene.with_event(told.at, |event| {
        if let Event::CallConnected { attempt, .. } = event {
            attempt.0 += 7;
        }
        true
    }))
}

pub(super) fn overtaken(scene: &Scene) -> Option<Vec<Record>> {
    scene.fold(|fold, place, told| {
        let Event::OfferMade {
            call,
            queue,
            agents,
            ..
        } = &told.event
        else {
            return None;
        };
        let line = &fold.lines[queue.as_str()];
        let own = line.iter().position(|it| it == &call.0)?;
        let behind = *line[own + 1..]
            .iter()
            .find(|it| fold.calls[it].offer.is_none())?;
        // Before this offer, to one who stands behind.
        let before = &scene.story.log.events[place.checked_sub(1)?];
        let quiet = matches!(
            before.event,
            Event::AnnounceDue { .. } | Event::AgentReady { .. }
        );
        let more = || offer(behind, queue.as_str(), agents[0].as_str(), before);
        quiet.then(|| scene.with_more(before, more()))
    })
}

pub(super) fn ready(scene: &Scene) -> Option<&LogEvent> {
    let mut events = scene.story.log.events.iter();
    events.find(|told| matches!(told.event, Event::AgentReady { .. }))
}

pub(super) fn fired_twice(scene: &Scene) -> Option<Vec<Record>> {
    let told = ready(scene)?;
    Some(scene.with_more(told, vec![told.event.clone()]))
}

pub(super) fn wrap_up_until(scene: &Scene, change: impl Fn(u64) -> u64) -> Option<Vec<Record>> {
    let mut events = scene.story.log.events.iter();
    let told = events.find(|told| matches!(told.event, Event::AgentWrapUp { .. }))?;
    Some(scene.with_event(told.at, |event| {
        if let Event::AgentWrapUp { until, .. } = event {
            *until = change(*until);
        }
        true
    }))
}

pub(super) fn fired_early(scene: &Scene) -> Option<Vec<Record>> {
    wrap_up_until(scene, |until| until + 60)
}

pub(super) fn fired_late(scene: &Scene) -> Option<Vec<Record>> {
    wrap_up_until(scene, |until| until - 2_900)
}

/// The offer fails for want of an answer while the phone still rings.
pub(super) fn ring_cut(scene: &Scene) -> Option<Vec<Record>> {
    let events = &scene.story.log.events;
    let failed = events.iter().find_map(|told| match &told.event {
        Event::OfferFailed {
            call,
            attempt,
            cause: FailCause::NoAnswer,
            ..
        } => {
            // Nearer than the sources are exact, nobody could tell.
            let mut legs = scene.story.legs.values();
            let after = legs.any(|leg| {
                let of = leg
                    .offer
                    .is_some_and(|of| (of.call, of.attempt) == (call.0, attempt.0));
                of && leg
                    .ended
                    .is_some_and(|ended| told.when.surely_before(ended))
            });
            after.then_some((told, *call))
        }
        _ => None,
    });
    let (failed, call) = failed?;
    let before = events.iter().rev().find(|told| {
        let made = matches!(&told.event, Event::OfferMade { call: it, .. } if *it == call);
        made && told.at < failed.at
    })?;
    Some(scene.with_event(before.at, |event| {
        if let Event::OfferMade { ring_until, .. } = event {
            *ring_until += 2_000;
        }
        true
    }))
}

pub(super) fn announcement_left_out(scene: &Scene) -> Option<Vec<Record>> {
    let events = &scene.story.log.events;
    // Of two announcements without an offer in between, the second.
    let told = events.iter().enumerate().find_map(|(place, told)| {
        let Event::AnnounceDue { call, .. } = told.event else {
            return None;
        };
        let mut later = events[place + 1..].iter();
        let next = later.find(|next| next.event.call() == Some(call))?;
        let waits = next.cluster_ms < told.cluster_ms + ANNOUNCE_MS + 200;
        let next_due = matches!(next.event, Event::AnnounceDue { .. });
        let mut after = later.filter(|next| next.event.call() == Some(call));
        let late = after.next()?.cluster_ms > next.cluster_ms + 3_500;
        (next_due && waits && late).then_some((next, call))
    });
    let (told, call) = told?;
    let of = &scene
        .entered()
        .find(|(id, _)| scene.story.log.calls_of(id) == [call.0])?
        .0;
    let records = scene.with_event(told.at, |_| false);
    let heard = |record: &Record| {
        let when = record.at_ms == told.when.at_ms;
        when && matches!(&record.seen, Seen::Caller { id, saw: CallerSaw::Heard { .. } } if id == *of)
    };
    Some(
        records
            .into_iter()
            .filter(|record| !heard(record))
            .collect(),
    )
}

/// Changes the answer of one read.
pub(super) fn with_answer(scene: &Scene, op: u64, answer: Option<String>) -> Vec<Record> {
    scene.changed(|record| {
        let mut record = record.clone();
        if let Seen::Client { op: it, saw } = &mut record.seen
            && *it == op
            && let ClientSaw::Ok { answer: old } = saw
        {
            *old = Answer::Value(answer.clone());
        }
        Some(record)
    })
}

/// A read, and what was read of the same key well before it and was overwritten since.
pub(super) fn stale_read(scene: &Scene) -> Option<Vec<Record>> {
    let reads = scene
        .story
        .ops
        .iter()
        .filter_map(|(op, it)| match (&it.op, &it.done) {
            (Op::Read { key, stale: false }, Some((_, Done::Ok(Answer::Value(Some(value)))))) => {
                Some((*op, key, value))
            }
            _ => None,
        });
    let reads: Vec<_> = reads.collect();
    let (op, key, _) = reads.last()?;
    let (.., old) = reads.iter().find(|(_, of, old)| {
        let again = reads.iter().any(|(later, of, value)| {
            let overwritten = of == key && value != old;
            overwritten && scene.story.ops[later].invoked.at_ms < 60_000
        });
        of == key && again
    })?;
    Some(with_answer(scene, *op, Some((*old).clone())))
}

pub(super) fn lost_write(scene: &Scene) -> Option<Vec<Record>> {
    let written = scene.story.ops.values().any(|it| {
        let acked = matches!(it.done, Some((when, Done::Ok(_))) if when.at_ms < 60_000);
        acked && matches!(&it.op, Op::Write { key, .. } if key == "key0")
    });
    let mut reads = scene.story.ops.iter().rev();
    let read = reads.find(|(_, it)| {
        let answered = matches!(it.done, Some((_, Done::Ok(_))));
        let of = matches!(&it.op, Op::Read { key, stale: false } if key == "key0");
        of && answered && it.invoked.at_ms > 60_000
    });
    read.filter(|_| written)
        .map(|(op, _)| with_answer(scene, *op, None))
}

/// Two reads of one agent's hand well apart: the later gives what the earlier gave.
pub(super) fn stale_hand(scene: &Scene) -> Option<Vec<Record>> {
    let reads = scene.story.ops.iter().filter_map(|(op, it)| {
        let (Op::ReadHand { agent, .. }, Some((_, Done::Ok(Answer::Value(value))))) =
            (&it.op, &it.done)
        else {
            return None;
        };
        Some((*op, agent, value, it.invoked.at_ms))
    });
    let reads: Vec<_> = reads.collect();
    let (op, agent, _, at) = reads.last()?;
    let (_, _, old, _) = reads
        .iter()
        .find(|(_, of, value, before)| of == agent && value.is_some() && before + 20_000 < *at)?;
    Some(with_answer(scene, *op, (*old).clone()))
}

pub(super) fn invented(scene: &Scene) -> Option<Vec<Record>> {
    let mut reads = scene.story.ops.iter();
    let read = reads.find(|(_, it)| {
        let answered = matches!(it.done, Some((_, Done::Ok(_))));
        answered && matches!(&it.op, Op::Read { stale: true, .. })
    });
    read.map(|(op, _)| with_answer(scene, *op, Some("nobody's".to_owned())))
}

pub(super) fn reserved_paused(scene: &Scene) -> Option<Vec<Record>> {
    scene.fold(|fold, _, told| {
        let Event::AnnounceDue { .. } = told.event else {
            return None;
        };
        let mut paused = fold.pauses.iter().map(|(agent, _)| agent);
        let agent = paused.find(|agent| !fold.hands.contains_key(*agent))?;
        let found = QUEUES
            .iter()
            .find_map(|queue| Some((queue, first_waiting(fold, queue)?)));
        let (queue, call) = found?;
        Some(scene.with_more(told, offer(call, queue, agent, told)))
    })
}

pub(super) fn digest_differs(scene: &Scene) -> Option<Vec<Record>> {
    let mut once = true;
    Some(scene.changed(|record| {
        let mut record = record.clone();
        if let Seen::Inside {
            saw: InsideSaw::Digest { digest, .. },
            ..
        } = &mut record.seen
            && std::mem::take(&mut once)
        {
            *digest ^= 1;
        }
        Some(record)
    }))
}

/// What the later of two nodes tells of one announcement.
pub(super) fn logs_differ(scene: &Scene) -> Option<Vec<Record>> {
    let mut told = 0;
    Some(scene.changed(|record| {
        let mut record = record.clone();
        if let Seen::Inside {
            saw: InsideSaw::Event { event, .. },
            ..
        } = &mut record.seen
            && let Event::AnnounceDue { position, .. } = event
        {
            told += 1;
            *position += u32::from(told == 2);
        }
        Some(record)
    }))
}

pub(super) fn forgotten_release(scene: &Scene) -> Option<Vec<Record>> {
    let events = &scene.story.log.events;
    let at = |of: &dyn Fn(&Event) -> bool| events.iter().rposition(|told| of(&told.event));
    let left = at(&|event| {
        matches!(
            event,
            Event::CallLeft {
                outcome: Outcome::Answered { .. },
                ..
            }
        )
    })?;
    let Event::CallLeft {
        outcome: Outcome::Answered { agent, .. },
        ..
    } = &events[left].event
    else {
        return None;
    };
    let again = |told: &LogEvent| matches!(&told.event, Event::OfferMade { agents, .. } if agents.contains(agent));
    // Clients have gone home by then: nobody reads the agent's hand any more.
    if events[left..].iter().any(again) || events[left].when.at_ms < 91_000 {
        return None;
    }
    let gone: Vec<_> = events[left..]
        .iter()
        .enumerate()
        .filter(|(place, told)| {
            let wraps = matches!(&told.event, Event::AgentWrapUp { agent: it, .. } | Event::AgentReady { agent: it } if it == agent);
            *place == 0 || wraps
        })
        .map(|(_, told)| told.at)
        .collect();
    Some(scene.changed(|record| match &record.seen {
        Seen::Inside {
            saw: InsideSaw::Event { index, seq, .. },
            ..
        } if gone.contains(&(*index, *seq)) => None,
        _ => Some(record.clone()),
    }))
}

pub(super) fn wrong_in_log(scene: &Scene) -> Option<Vec<Record>> {
    let mut events = scene.story.log.events.iter();
    let told = events.find(|told| matches!(told.event, Event::AnnounceDue { .. }))?;
    Some(scene.with_event(told.at, |event| {
        if let Event::AnnounceDue { position, .. } = event {
            *position += 1;
        }
        true
    }))
}

/// What was granted to a driver long ago is granted once more.
pub(super) fn epoch_again(scene: &Scene) -> Option<Vec<Record>> {
    let events = &scene.story.log.events;
    let up = |told: &&LogEvent| matches!(told.event, Event::PbxUp { .. });
    let (first, last) = (events.iter().find(up)?, events.iter().rfind(up)?);
    (first.at != last.at).then(|| scene.with_more(last, vec![first.event.clone()]))
}
