//! An acknowledged admin write is never lost: the operations on each key fit one order in which each
//! took effect between question and answer. An unknown one may have taken effect later, or never.
//!
//! Configuration keys are registers with unique values; an agent is reserved, released, paused and
//! read. Reads that asked for what the node knows are outside that order; they must not be invented.

use super::{Findings, Violation};
use crate::judge::history::{Answer, Op};
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
        let (searched, count) = if key.starts_with("agent ") {
            let ops = timed(&ops, agent_op);
            (wgl::search(&Agent, &ops, limits.search_steps), ops.len())
        } else {
            let ops = Register::without_unobserved(timed(&ops, register_op));
            (wgl::search(&Register, &ops, limits.search_steps), ops.len())
        };
        let when = ops.last().map_or(
            When {
                at_ms: 0,
                within_ms: 0,
            },
            |last| last.invoked,
        );
        let violation = match searched {
            Searched::Fits => continue,
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
        found.broken(when, violation, &[]);
    }
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
