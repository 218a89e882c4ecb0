//! Bugs that show at callers, phones and bridges.

use super::bugs::{Scene, ends, leg_ends, record};
use super::world::leg;
use crate::judge::history::{
    BridgeSaw, CallerSaw, Channel, End, History, InsideSaw, LegSaw, Op, Party, Record, Seen,
};
use crate::judge::log::Fold;
use crate::judge::story::{Caller, Done, Story};
use holdfast_acd::Event;

pub(super) fn abandoned(scene: &Scene) -> Option<(&Channel, &Caller)> {
    scene
        .entered()
        .find(|(_, caller)| caller.ends[0].1 == End::HungUp && caller.talks.is_empty())
}

pub(super) fn ended_twice(scene: &Scene) -> Option<Vec<Record>> {
    let (id, caller) = abandoned(scene)?;
    let mut records = scene.records();
    let (id, saw) = (id.clone(), CallerSaw::Ended { end: End::HungUp });
    records.push(record(
        caller.ends[0].0.at_ms + 700,
        Seen::Caller { id, saw },
    ));
    Some(records)
}

pub(super) fn never_ended(scene: &Scene) -> Option<Vec<Record>> {
    let (of, _) = abandoned(scene)?;
    Some(scene.changed(|record| (!ends(record, of)).then(|| record.clone())))
}

pub(super) fn lost(scene: &Scene) -> Option<Vec<Record>> {
    let deaths = &scene.story.died;
    let (of, _) = scene.entered().find(|(id, caller)| {
        let alone = caller.ends[0].1 == End::HungUp && caller.talks.is_empty();
        alone && !deaths.contains_key(&id.pbx)
    })?;
    Some(scene.changed(|record| {
        let mut record = record.clone();
        if ends(&record, of)
            && let Seen::Caller { saw, .. } = &mut record.seen
        {
            *saw = CallerSaw::Ended { end: End::Dropped };
        }
        Some(record)
    }))
}

/// A leg whose offer failed, and the next one at the same phone, soon after.
pub(super) fn leg_goes_on(scene: &Scene) -> Option<Vec<Record>> {
    for agent in ["1001", "1002", "1003", "1004", "1005"] {
        for pair in scene.legs_of(agent).windows(2) {
            let [(of, first), (_, second)] = pair else {
                continue;
            };
            let ended = first.ended?.at_ms;
            let long = second.ended?.at_ms > second.called.at_ms + 2_600;
            if first.answered.is_none() && long && second.called.at_ms < ended + 4_000 {
                let until = second.called.at_ms + 2_500;
                return Some(scene.changed(|record| {
                    let mut record = record.clone();
                    if leg_ends(&record, of) {
                        record.at_ms = until;
                    }
                    Some(record)
                }));
            }
        }
    }
    None
}

pub(super) fn two_talks(scene: &Scene) -> Option<Vec<Record>> {
    let talks = scene
        .entered()
        .flat_map(|(id, it)| it.talks.iter().map(move |talk| (id, talk)));
    let mut talks: Vec<_> = talks.collect();
    talks.sort_by_key(|(_, talk)| (talk.agent.clone(), talk.from.at_ms));
    let pair = talks.windows(2).find(|pair| {
        pair[0].1.agent == pair[1].1.agent && !scene.story.died.contains_key(&pair[0].0.pbx)
    })?;
    let ((caller, first), (_, second)) = (pair[0], pair[1]);
    let until = second.from.at_ms + 1_000;
    Some(scene.changed(|record| {
        let mut record = record.clone();
        let left = matches!(
            &record.seen,
            Seen::Bridge { pbx, party: Party::Caller { channel } | Party::Agent { channel, .. }, saw: BridgeSaw::Left, .. }
                if *pbx == caller.pbx && (*channel == caller.channel || *channel == first.leg.channel)
        );
        if left || leg_ends(&record, &first.leg) || ends(&record, caller) {
            record.at_ms = until;
        }
        Some(record)
    }))
}

pub(super) fn bridged_withdrawn(scene: &Scene) -> Option<Vec<Record>> {
    let mut events = scene.story.log.events.iter();
    let (told, call, attempt, agent) = events.find_map(|told| match &told.event {
        Event::OfferFailed {
            call,
            attempt,
            agent,
            ..
        } => {
            let it = scene
                .entered()
                .find(|(id, _)| scene.story.log.calls_of(id) == [call.0])?;
            let later = it.1.talks.first()?.from.at_ms > told.when.at_ms + 300;
            later.then_some((told, it.0, attempt, agent))
        }
        _ => None,
    })?;
    let number = scene.story.log.calls_of(call)[0];
    let (channel, _) = leg(&call.pbx, number, attempt.0, agent.as_str());
    let mut records = scene.records();
    let caller = Party::Caller {
        channel: call.channel.clone(),
    };
    let agent = Party::Agent {
        agent: agent.to_string(),
        channel: channel.channel,
    };
    for (after, saw) in [(50, BridgeSaw::Joined), (150, BridgeSaw::Left)] {
        for party in [&caller, &agent] {
            let seen = Seen::Bridge {
                pbx: call.pbx.clone(),
                bridge: format!("hfb-{}-{number}-{}", call.pbx, attempt.0),
                party: party.clone(),
                saw,
            };
            records.push(record(told.when.at_ms + after, seen));
        }
    }
    Some(records)
}

pub(super) fn bridged_after_end(scene: &Scene) -> Option<Vec<Record>> {
    let (of, talk) = scene
        .entered()
        .find_map(|(id, it)| Some((id, it.talks.first()?)))?;
    Some(scene.changed(|record| {
        let mut record = record.clone();
        if ends(&record, of) {
            record.at_ms = talk.from.at_ms - 100;
        }
        Some(record)
    }))
}

/// An acknowledged pause that nobody asked to end for a while: who, and from when on.
pub(super) fn pause(scene: &Scene) -> Option<(&str, u64)> {
    scene.story.ops.values().find_map(|it| {
        let (Op::Pause { agent, .. }, Some((when, Done::Ok(_)))) = (&it.op, &it.done) else {
            return None;
        };
        let again = scene.story.ops.values().any(|other| {
            let of = matches!(&other.op, Op::Unpause { agent: it, .. } if it == agent);
            let answered = other.done.as_ref().map(|(_, done)| done);
            let unknown = matches!(answered, Some(Done::Unknown) | None);
            let near = other.invoked.at_ms + 40 > it.invoked.at_ms
                && other.invoked.at_ms < when.at_ms + 6_000;
            of && (near || unknown && other.invoked.at_ms < when.at_ms)
        });
        (!again).then_some((agent.as_str(), when.at_ms))
    })
}

pub(super) fn rung_paused(scene: &Scene) -> Option<Vec<Record>> {
    let (agent, since) = pause(scene)?;
    let at_ms = since + 4_000;
    let (id, offer) = leg("a", 9_999, 1, agent);
    let mut records = scene.records();
    for (after, saw) in [(0, LegSaw::Called), (300, LegSaw::Ended { cause: 16 })] {
        let (id, agent, offer) = (id.clone(), agent.to_owned(), Some(offer));
        let at_phone = true;
        let seen = Seen::Leg {
            id,
            agent,
            offer,
            at_phone,
            saw,
        };
        records.push(record(at_ms + after, seen));
    }
    Some(records)
}

/// From the end of the faults on nothing is decided any more; whoever waits hangs up at the end.
pub(super) fn never_resumes(scene: &Scene) -> Option<Vec<Record>> {
    let (quiet, closed) = (scene.story.quiet?.at_ms, scene.story.closed?.at_ms);
    let mut records = scene.changed(|record| {
        let decided = matches!(
            record.seen,
            Seen::Leg { .. }
                | Seen::Client { .. }
                | Seen::Bridge { .. }
                | Seen::Caller { .. }
                | Seen::Inside {
                    saw: InsideSaw::Event { .. },
                    ..
                }
        );
        (record.at_ms < quiet || !decided).then(|| record.clone())
    });
    let before = Story::of(&History::new(records.clone()));
    let waits = before
        .callers
        .values()
        .any(|it| it.ends.is_empty() && it.talks.is_empty());
    let mut fold = Fold::of(&before);
    before
        .log
        .events
        .iter()
        .for_each(|told| fold.apply(told, before.priority(told)));
    if !waits || !fold.pauses.is_empty() && fold.pauses.len() > 1 {
        return None;
    }
    for (id, it) in before.legs.iter().filter(|(_, leg)| leg.ended.is_none()) {
        let (id, agent, offer, at_phone) = (id.clone(), it.agent.clone(), it.offer, it.at_phone);
        let saw = LegSaw::Ended { cause: 16 };
        records.push(record(
            quiet - 50,
            Seen::Leg {
                id,
                agent,
                offer,
                at_phone,
                saw,
            },
        ));
    }
    for (id, it) in before.callers.iter().filter(|(_, it)| it.ends.is_empty()) {
        for talk in it.talks.iter().filter(|talk| talk.to.is_none()) {
            let channel = id.channel.clone();
            let offer = talk.offer?;
            let seen = Seen::Bridge {
                pbx: id.pbx.clone(),
                bridge: format!("hfb-{}-{}-{}", id.pbx, offer.call, offer.attempt),
                party: Party::Caller { channel },
                saw: BridgeSaw::Left,
            };
            records.push(record(quiet - 50, seen));
        }
        let saw = CallerSaw::Ended { end: End::HungUp };
        records.push(record(
            closed - 500,
            Seen::Caller {
                id: id.clone(),
                saw,
            },
        ));
    }
    Some(records)
}

pub(super) fn ghost(scene: &Scene) -> Option<Vec<Record>> {
    let (ghost, _) = abandoned(scene)?;
    Some(scene.changed(|record| {
        let mut record = record.clone();
        if let Seen::Inside {
            saw: InsideSaw::Standing { waiting, .. },
            ..
        } = &mut record.seen
        {
            waiting.push(ghost.clone());
        }
        Some(record)
    }))
}

pub(super) fn leg_left(scene: &Scene) -> Option<Vec<Record>> {
    let legs = scene.legs_of("1004");
    let (of, _) = legs.last().filter(|(_, leg)| leg.ended.is_some())?;
    if scene.story.died.contains_key(&of.pbx) {
        return None;
    }
    Some(scene.changed(|record| (!leg_ends(record, of)).then(|| record.clone())))
}

pub(super) fn off_by_one(scene: &Scene) -> Option<Vec<Record>> {
    let calm =
        |at_ms: u64| {
            let near =
                scene.story.log.events.iter().filter(|told| {
                    told.when.at_ms + 2_100 > at_ms && told.when.at_ms < at_ms + 100
                });
            let mut near = near.map(|told| &told.event);
            !near.any(|event| {
                use Event::*;
                matches!(
                    event,
                    CallJoined { .. } | CallConnected { .. } | CallLeft { .. }
                )
            })
        };
    let mut heard = scene.history.records().iter().filter(|record| {
        matches!(
            record.seen,
            Seen::Caller {
                saw: CallerSaw::Heard { .. },
                ..
            }
        )
    });
    let wrong = heard.find(|record| calm(record.at_ms))?;
    Some(scene.changed(|record| {
        let mut changed = record.clone();
        if record == wrong
            && let Seen::Caller {
                saw: CallerSaw::Heard { position },
                ..
            } = &mut changed.seen
        {
            *position += 1;
        }
        Some(changed)
    }))
}

/// As of a driver who does not know that he is over.
pub(super) fn stale_epoch(scene: &Scene) -> Option<Vec<Record>> {
    let mut legs = scene.story.legs.iter();
    let (of, _) = legs.find(|(_, leg)| leg.offer.is_some_and(|offer| offer.epoch > 1))?;
    Some(scene.changed(|record| {
        let mut record = record.clone();
        if let Seen::Leg {
            id,
            offer: Some(offer),
            ..
        } = &mut record.seen
            && id == of
        {
            offer.epoch -= 1;
        }
        Some(record)
    }))
}
