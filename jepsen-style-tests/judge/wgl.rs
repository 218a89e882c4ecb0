//! The search of Wing, Gong and Lowe: do operations that overlap in time fit one order, in which each
//! takes effect between its question and its answer?
//!
//! The search walks along the calls and returns in the order of time and tries what is open, with a
//! memo of (done so far, state). What is done so far enters the memo as a 128-bit sum of random
//! numbers, one an operation. An operation of unknown outcome has no return: it may be taken at any
//! later time, or never. The search is exponential in how many run at once, so keep to eight a key;
//! a budget of steps bounds it, and what it did not decide is undecided, never right.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// What the operations are of.
pub trait Model {
    type State: Clone + Default + Eq + Hash;
    type Op: Clone + Debug;
    /// The state after `op` with its answer; `None` if it cannot give that answer in this state.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// An operation, from its question until its answer; `until` is `None` if its outcome is unknown.
#[derive(Clone, Debug)]
pub struct Timed<O> {
    pub from: u64,
    pub until: Option<u64>,
    pub op: O,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Searched {
    Fits,
    /// `stuck`: the operation whose answer no order ever reached beyond.
    Not {
        stuck: String,
    },
    Undecided {
        steps: u64,
    },
}

/// Searches an order; `budget` bounds the steps.
pub fn search<M: Model>(model: &M, ops: &[Timed<M::Op>], budget: u64) -> Searched {
    let mut line = Line::of(ops);
    let mut open = ops.iter().filter(|timed| timed.until.is_some()).count();
    let mut state = M::State::default();
    let mut done = 0_u128;
    let mut tried: Vec<(usize, M::State)> = Vec::new();
    let mut memo: HashSet<(u128, M::State)> = HashSet::new();
    let (mut furthest, mut stuck) = (0, None);
    let mut steps = 0;
    let mut at = line.first();
    while open > 0 {
        steps += 1;
        if steps > budget {
            return Searched::Undecided { steps };
        }
        let event = line.event(at);
        if event.is_call {
            let next = model.step(&state, &ops[event.op].op);
            let then = done ^ mark(event.op);
            if let Some(next) = next
                && memo.insert((then, next.clone()))
            {
                tried.push((at, std::mem::replace(&mut state, next)));
                done = then;
                open -= usize::from(ops[event.op].until.is_some());
                line.lift(at);
                at = line.first();
            } else {
                at = line.next(at);
            }
            continue;
        }
        // An answer is due of an operation that could not be taken before: go back.
        if tried.len() >= furthest {
            (furthest, stuck) = (tried.len(), Some(event.op));
        }
        let Some((back, before)) = tried.pop() else {
            let stuck = stuck.map_or(String::new(), |op| format!("{:?}", ops[op]));
            return Searched::Not { stuck };
        };
        let op = line.event(back).op;
        state = before;
        done ^= mark(op);
        open += usize::from(ops[op].until.is_some());
        line.unlift(back);
        at = line.next(back);
    }
    Searched::Fits
}

/// A random number an operation, the same in every run (SplitMix64).
fn mark(op: usize) -> u128 {
    let mix = |seed: u64| {
        let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let seed = op as u64 * 2 + 1;
    u128::from(mix(seed)) << 64 | u128::from(mix(seed + 1))
}

#[derive(Clone, Copy)]
struct Event {
    op: usize,
    is_call: bool,
    /// Where the return of this call stands, if it has one.
    answer: Option<usize>,
}

/// Calls and returns in the order of time, as a list from which operations can be lifted and put
/// back in the reverse order. The last place is its head.
struct Line {
    events: Vec<Event>,
    next: Vec<usize>,
    before: Vec<usize>,
}

impl Line {
    fn of<O>(ops: &[Timed<O>]) -> Line {
        // Of one moment calls come first: then they overlap.
        let mut order: Vec<(u64, bool, usize)> = Vec::new();
        for (op, timed) in ops.iter().enumerate() {
            order.push((timed.from, false, op));
            order.extend(timed.until.map(|until| (until.max(timed.from), true, op)));
        }
        order.sort_unstable();
        let mut answers = vec![None; ops.len()];
        for (place, (_, is_return, op)) in order.iter().enumerate() {
            if *is_return {
                answers[*op] = Some(place);
            }
        }
        let event = |(_, is_return, op): &(u64, bool, usize)| Event {
            op: *op,
            is_call: !is_return,
            answer: answers[*op].filter(|_| !is_return),
        };
        let head = order.len();
        Line {
            events: order.iter().map(event).collect(),
            next: (0..=head)
                .map(|at| if at == head { 0 } else { at + 1 })
                .collect(),
            before: (0..=head)
                .map(|at| if at == 0 { head } else { at - 1 })
                .collect(),
        }
    }

    fn first(&self) -> usize {
        self.next[self.events.len()]
    }

    fn next(&self, at: usize) -> usize {
        self.next[at]
    }

    /// While an operation with an answer is open, its return stands in the list, so that a walk from
    /// the front meets a return before it meets the head.
    fn event(&self, at: usize) -> Event {
        self.events[at]
    }

    fn lift(&mut self, call: usize) {
        for at in [Some(call), self.events[call].answer].into_iter().flatten() {
            let (before, next) = (self.before[at], self.next[at]);
            self.next[before] = next;
            self.before[next] = before;
        }
    }

    fn unlift(&mut self, call: usize) {
        for at in [self.events[call].answer, Some(call)].into_iter().flatten() {
            let (before, next) = (self.before[at], self.next[at]);
            self.next[before] = at;
            self.before[next] = at;
        }
    }
}

/// One configuration value; unset at first.
pub struct Register;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterOp {
    Write(Option<String>),
    Read(Option<String>),
    /// Done: it was `expect`.
    Cas {
        expect: String,
        value: String,
    },
}

impl Register {
    /// Leaves out writes of unknown outcome whose value nobody ever saw: whatever order fits with
    /// them fits without. Each that stays open makes the search dearer until the end.
    pub fn without_unobserved(ops: Vec<Timed<RegisterOp>>) -> Vec<Timed<RegisterOp>> {
        let seen = |timed: &Timed<RegisterOp>| match &timed.op {
            RegisterOp::Read(value) => value.clone(),
            RegisterOp::Cas { expect, .. } => Some(expect.clone()),
            RegisterOp::Write(_) => None,
        };
        let seen: HashSet<String> = ops.iter().filter_map(seen).collect();
        let observed = |timed: &Timed<RegisterOp>| match &timed.op {
            RegisterOp::Write(Some(value)) | RegisterOp::Cas { value, .. } => seen.contains(value),
            RegisterOp::Write(None) | RegisterOp::Read(_) => true,
        };
        let kept = |timed: &Timed<RegisterOp>| timed.until.is_some() || observed(timed);
        ops.into_iter().filter(kept).collect()
    }
}

impl Model for Register {
    type State = Option<String>;
    type Op = RegisterOp;

    fn step(&self, state: &Self::State, op: &RegisterOp) -> Option<Self::State> {
        match op {
            RegisterOp::Write(value) => Some(value.clone()),
            RegisterOp::Read(value) => (value == state).then(|| state.clone()),
            RegisterOp::Cas { expect, value } => {
                (state.as_deref() == Some(expect)).then(|| Some(value.clone()))
            }
        }
    }
}

/// One agent: whose offer he has in hand, and why he is paused.
pub struct Agent;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AgentState {
    hand: Option<(u64, u32)>,
    pause: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentOp {
    /// For this call and attempt.
    Reserve(u64, u32),
    Release(u64, u32),
    /// With a reason. An offer in hand is withdrawn.
    Pause(String),
    Unpause,
    /// `CALL-ATTEMPT`
    ReadHand(Option<String>),
    ReadPause(Option<String>),
}

impl Model for Agent {
    type State = AgentState;
    type Op = AgentOp;

    fn step(&self, state: &AgentState, op: &AgentOp) -> Option<AgentState> {
        let mut next = state.clone();
        match op {
            AgentOp::Reserve(call, attempt) => {
                let new = Some((*call, *attempt));
                if state.pause.is_some() || state.hand.is_some() && state.hand != new {
                    return None;
                }
                next.hand = new;
            }
            AgentOp::Release(call, attempt) => {
                next.hand = next.hand.filter(|hand| *hand != (*call, *attempt));
            }
            AgentOp::Pause(reason) => {
                next.hand = None;
                next.pause = Some(reason.clone());
            }
            AgentOp::Unpause => next.pause = None,
            AgentOp::ReadHand(value) => {
                let hand = state
                    .hand
                    .map(|(call, attempt)| format!("{call}-{attempt}"));
                return (hand == *value).then_some(next);
            }
            AgentOp::ReadPause(value) => return (state.pause == *value).then_some(next),
        }
        Some(next)
    }
}

#[cfg(test)]
#[path = "wgl_tests.rs"]
mod tests;
