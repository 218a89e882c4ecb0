//! An acknowledged admin write is never lost: the operations on each key fit one order in which each
//! took effect between question and answer. An unknown one may have taken effect later, or never.
//!
//! Configuration keys are registers with unique values; an agent is reserved, released, paused and
//! read. Reads that asked for what the node knows are outside that order; they must not be invented.

use super::{Findings, Violation};
use crate::judge::history::{Answer, Op};
use crate::judge::log::Fold;
use crate::judge::story::{Done, Operation, Story, When};
use crate::judge::verdict::Limits;
use crate::judge::wgl::{self, Agent, AgentOp, Register, RegisterOp, Searched, Timed};
use std::collections::BTreeMap;

pub fn check(story: &Story, limits: &Limits, found: &mut Findings) {
    let mut keys: BTreeMap<String, Vec<&Operation>> = BTreeMap::new();
    for operation in story.ops.values() {
        if let Some(key) = operation.op.key() {
            keys.entry(key).or_default().push(operation);
        }
    }
    for (key, ops) in keys {
        found.judged(ops.len() as u64);
        old(&key, &ops, found);
        let mut judge = |searched, count, what: &str| {
            let key = match what {
                "" => key.clone(),
                what => format!("{key}, {what}"),
            };
            let violation = match searched {
                Searched::Fits => return,
                Searched::Not { stuck } => Violation::NotLinearizable {
                    key,
                    ops: count,
                    stuck,
                },
                Searched::Undecided { steps } => Violation::Undecided {
                    key,
                    ops: count,
                    steps,
                },
            };
            let when = ops.iter().map(|operation| operation.invoked);
            let when = when.max_by_key(|when| when.at_ms);
            found.broken(when.unwrap_or(NEVER), violation, &[]);
        };
        let Some(agent) = key.strip_prefix("agent ") else {
            let ops = Register::without_unobserved(timed(&ops, register_op));
            judge(
                wgl::search(&Register, &ops, limits.search_steps),
                ops.len(),
                "",
            );
            continue;
        };
        // Who saw decisions proposed recorded them all. Otherwise the log tells them, and pauses,
        // which may also come by a phone's feature code, are an order of their own.
        if ops.iter().any(|it| matches!(it.op, Op::Reserve { .. })) {
            let ops = timed(&ops, agent_op);
            judge(
                wgl::search(&Agent, &ops, limits.search_steps),
                ops.len(),
                "",
            );
            continue;
        }
        let mut pauses = timed(&ops, register_op);
        pauses.extend(cleared(story, limits, (agent, None), &ops));
        let pauses = Register::without_unobserved(pauses);
        let searched = wgl::search(&Register, &pauses, limits.search_steps);
        judge(searched, pauses.len(), "his pauses");
        let mut hands = timed(&ops, hand_op);
        if !hands.is_empty()
            && !story.log.events.is_empty()
            && let Some(told) = told(story, limits, agent)
        {
            hands.extend(told);
            let searched = wgl::search(&Agent, &hands, limits.search_steps);
            judge(searched, hands.len(), "his offers");
        }
    }
}

const NEVER: When = When {
    at_ms: 0,
    within_ms: 0,
};

/// Who has an agent in hand, as the log tells: each took effect before the first node was heard to
/// tell of it, and not long before. `None` if he was taken twice: that is promise 2's to say.
fn told(story: &Story, limits: &Limits, agent: &str) -> Option<Vec<Timed<AgentOp>>> {
    let mut fold = Fold::of(story);
    let mut ops = Vec::new();
    for told in &story.log.events {
        let before = fold.hands.get(agent).map(|hand| hand.0);
        fold.apply(told, 0);
        let after = fold.hands.get(agent).map(|hand| hand.0);
        let attempt = |call| story.log.attempt_of(call, told.at);
        let op = match (before, after) {
            (None, Some(call)) => AgentOp::Reserve(call, attempt(call)),
            (Some(call), None) => AgentOp::Release(call, attempt(call)),
            (Some(before), Some(after)) if before != after => return None,
            _ => continue,
        };
        let from = told.when.early().saturating_sub(limits.failover_ms);
        let until = Some(told.when.late());
        ops.push(Timed { from, until, op });
    }
    Some(ops)
}

/// What ended a pause without being an operation on it: a logout, the end of all pauses, a phone's
/// feature code. The log tells when.
fn cleared(
    story: &Story,
    limits: &Limits,
    (agent, queue): (&str, Option<&str>),
    ops: &[&Operation],
) -> Vec<Timed<RegisterOp>> {
    let of = (agent.to_owned(), queue.map(str::to_owned));
    let mut fold = Fold::of(story);
    let mut cleared = Vec::new();
    for told in &story.log.events {
        let before = fold.pauses.contains(&of);
        fold.apply(told, 0);
        if !before || fold.pauses.contains(&of) {
            continue;
        }
        let from = told.when.early().saturating_sub(limits.failover_ms);
        let asked = ops.iter().any(|it| {
            let done = it
                .done
                .as_ref()
                .map_or(u64::MAX, |(when, done)| match done {
                    Done::Unknown => u64::MAX,
                    _ => when.late(),
                });
            let unpause = matches!(it.op, Op::Unpause { .. });
            unpause && it.invoked.early() <= told.when.late() && done >= from
        });
        if !asked {
            let until = Some(told.when.late());
            let op = RegisterOp::Write(None);
            cleared.push(Timed { from, until, op });
        }
    }
    cleared
}

/// Operations with their answers, as widely in time as their sources allow. What surely was not done
/// is left out, and so are unanswered reads.
fn timed<O>(ops: &[&Operation], of: impl Fn(&Op, Option<&Answer>) -> Option<O>) -> Vec<Timed<O>> {
    let timed = ops.iter().filter_map(|operation| {
        let (until, answer) = match &operation.done {
            Some((when, Done::Ok(answer))) => (Some(when.late()), Some(answer)),
            Some((_, Done::Fail)) => return None,
            Some((_, Done::Unknown)) | None => (None, None),
        };
        Some(Timed {
            from: operation.invoked.early(),
            until,
            op: of(&operation.op, answer)?,
        })
    });
    timed.collect()
}

fn register_op(op: &Op, answer: Option<&Answer>) -> Option<RegisterOp> {
    Some(match op {
        Op::Write { value, .. } | Op::Pause { reason: value, .. } => {
            RegisterOp::Write(Some(value.clone()))
        }
        Op::Unpause { .. } => RegisterOp::Write(None),
        // One that met another value changed nothing, and tells little.
        Op::Cas { .. } if answer == Some(&Answer::Mismatch) => return None,
        Op::Cas { expect, value, .. } => RegisterOp::Cas {
            expect: expect.clone(),
            value: value.clone(),
        },
        Op::Read { stale: false, .. } | Op::ReadPause { stale: false, .. } => match answer? {
            Answer::Value(value) => RegisterOp::Read(value.clone()),
            _ => return None,
        },
        _ => return None,
    })
}

fn hand_op(op: &Op, answer: Option<&Answer>) -> Option<AgentOp> {
    agent_op(op, answer).filter(|op| matches!(op, AgentOp::ReadHand(_)))
}

fn agent_op(op: &Op, answer: Option<&Answer>) -> Option<AgentOp> {
    let read = || match answer {
        Some(Answer::Value(value)) => Some(value.clone()),
        _ => None,
    };
    Some(match op {
        Op::Pause { reason, .. } => AgentOp::Pause(reason.clone()),
        Op::Unpause { .. } => AgentOp::Unpause,
        Op::ReadPause { stale: false, .. } => AgentOp::ReadPause(read()?),
        Op::Reserve { offer, .. } => AgentOp::Reserve(offer.call, offer.attempt),
        Op::Release { offer, .. } => AgentOp::Release(offer.call, offer.attempt),
        Op::ReadHand { stale: false, .. } => AgentOp::ReadHand(read()?),
        _ => return None,
    })
}

/// What an old read gave was written by somebody who had asked before the answer came.
fn old(key: &str, ops: &[&Operation], found: &mut Findings) {
    for operation in ops {
        let (Op::Read { stale: true, .. } | Op::ReadPause { stale: true, .. }, Some((when, done))) =
            (&operation.op, &operation.done)
        else {
            continue;
        };
        let Done::Ok(Answer::Value(Some(value))) = done else {
            continue;
        };
        let written = ops.iter().any(|other| {
            let wrote = match &other.op {
                Op::Write { value, .. } | Op::Cas { value, .. } => value,
                Op::Pause { reason, .. } => reason,
                _ => return false,
            };
            wrote == value && other.invoked.early() <= when.late()
        });
        if !written {
            let violation = Violation::ReadOfNothing {
                key: key.to_owned(),
                value: value.clone(),
            };
            found.broken(*when, violation, &[]);
        }
    }
}
