//! Who gets whom: the decisions that can be made now. Runs on the leader alone and only reads.
//!
//! The index already knows the queues in which something can be decided, and in each the first
//! caller and the agents in rank order. One pass walks along them and remembers what it has given
//! away. Since that only ever grows, every cursor moves forward alone: a decision costs O(log n) in
//! callers and agents, and nothing that grows with them is taken from the heap. Whether a decision
//! still holds when it is applied is judged there, not here.

use crate::command::Command;
use crate::digest::{Fnv, digest};
use crate::id::{AgentId, Attempt, QueueName};
use crate::index::{QueueIndex, Ready, StepIndex};
use crate::limits::OFFER_AGENTS_MAX;
use crate::queue::{Place, Queue};
use crate::settings::Strategy;
use crate::state::State;
use crate::strategy::Rank;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasherDefault;
use std::ops::Bound::{Excluded, Included, Unbounded};

/// Strategy random looks through so many, or else draws one of all,
const FEW: usize = 64;
/// so often, until he is one who was not given away in this pass.
const DRAWS: usize = 8;

/// The decisions that can be made now: an `OfferMake` for each call that can be offered to free
/// agents, in the order in which they should be written. Pure; `random(n)` gives a number below `n`
/// for strategy `random`, so the choice is the leader's and is written in the decision.
/// At most `max` decisions, so that one pass is bounded.
pub fn distribute(state: &State, max: usize, random: &mut dyn FnMut(u64) -> u64) -> Vec<Command> {
    let mut pass = Pass::new(state);
    let mut decisions = Vec::new();
    while decisions.len() < max
        && let Some((queue, step, place)) = pass.next()
    {
        decisions.extend(pass.decide(queue, step, place, random));
    }
    decisions
}

/// Who was given away, by the digests of their ids. A set of the ids reads each id again from memory whenever
/// it grows or compares, and a pass that rings all at once spent most of its time so. Of two agents of one
/// digest the second waits for the next pass.
#[derive(Default)]
struct Taken(HashSet<u64, BuildHasherDefault<Fnv>>);

impl Taken {
    fn has(&self, agent: &AgentId) -> bool {
        self.0.contains(&digest(agent))
    }

    /// False if he was given away before.
    fn put(&mut self, agent: &AgentId) -> bool {
        self.0.insert(digest(agent))
    }
}

/// One walk over the ready queues, with what was given away so far.
struct Pass<'a> {
    state: &'a State,
    fresh: std::iter::Peekable<std::collections::btree_set::Iter<'a, Ready>>,
    /// Queues looked at before, under the key they have now.
    again: BTreeSet<Ready>,
    taken: Taken,
    cursors: BTreeMap<(&'a QueueName, usize), Cursor<'a>>,
    last_rung: BTreeMap<&'a QueueName, &'a AgentId>,
}

/// Below these places everything of a step was given away in this pass.
#[derive(Clone, Copy, Default)]
struct Cursor<'a> {
    call: Option<Place>,
    rank: Option<&'a Rank>,
}

impl<'a> Pass<'a> {
    fn new(state: &'a State) -> Self {
        Pass {
            state,
            fresh: state.index.ready.iter().peekable(),
            again: BTreeSet::new(),
            taken: Taken::default(),
            cursors: BTreeMap::new(),
            last_rung: BTreeMap::new(),
        }
    }

    /// The most urgent queue that still has a caller and an agent for him.
    fn next(&mut self) -> Option<(&'a Queue, usize, Place)> {
        loop {
            let key = match (self.fresh.peek(), self.again.first()) {
                (Some(fresh), Some(again)) if again < *fresh => self.again.pop_first()?,
                (Some(_), _) => self.fresh.next()?.clone(),
                (None, _) => self.again.pop_first()?,
            };
            let Some(queue) = self.state.queues.get(&key.queue) else {
                continue;
            };
            let Some((place, step)) = self.head(queue) else {
                continue;
            };
            let now = Ready::of(self.state, queue, place)?;
            if now <= key {
                return Some((queue, step, place));
            }
            // Its first caller was given away meanwhile: another queue may be more urgent now.
            self.again.insert(now);
        }
    }

    fn head(&mut self, queue: &'a Queue) -> Option<(Place, usize)> {
        let index = self.state.index.queues.get(&queue.name)?;
        let steps = 0..index.steps.len();
        steps
            .filter_map(|step| Some((self.first(queue, index, step)?, step)))
            .min()
    }

    /// The first caller of a step, if anybody of the step is left.
    fn first(&mut self, queue: &'a Queue, index: &'a QueueIndex, step: usize) -> Option<Place> {
        let entry = &index.steps[step];
        let cursor = self.cursors.entry((&queue.name, step)).or_default();
        let from = cursor.call.map_or(Unbounded, Excluded);
        let place = *entry.offerable.range((from, Unbounded)).next()?;
        let from = cursor.rank.map_or(Unbounded, Included);
        let mut left = entry.available.range::<Rank, _>((from, Unbounded));
        cursor.rank = Some(left.find(|rank| !self.taken.has(&rank.agent))?);
        Some(place)
    }

    fn decide(
        &mut self,
        queue: &'a Queue,
        step: usize,
        place: Place,
        random: &mut dyn FnMut(u64) -> u64,
    ) -> Option<Command> {
        let call = self.state.calls.get(&place.call)?;
        let entry = &self.state.index.queues.get(&queue.name)?.steps[step];
        let key = (&queue.name, step);
        let mut cursor = self.cursors.get(&key).copied().unwrap_or_default();
        let first = cursor.rank?;
        let plan = queue.settings.plan().get(step);
        let strategy = plan.and_then(|step| step.strategy);
        let agents = match strategy.unwrap_or(queue.settings.strategy) {
            Strategy::RingAll => self.ring_all(entry, first, &mut cursor),
            strategy => {
                let agent = self.ring_one(queue, strategy, entry, first, random)?;
                self.taken.put(agent);
                vec![agent]
            }
        };
        if let [agent] = agents.as_slice() {
            self.last_rung.insert(&queue.name, agent);
        }
        cursor.call = Some(place);
        self.cursors.insert(key, cursor);
        if let Some((place, _)) = self.head(queue) {
            self.again.extend(Ready::of(self.state, queue, place));
        }
        let attempt = Attempt(call.attempts.0.checked_add(1)?);
        (!agents.is_empty()).then_some(Command::OfferMake {
            call: call.id,
            attempt,
            agents: agents.into_iter().cloned().collect(),
        })
    }

    /// Gives away all who are left of the lowest penalty, as many as may be rung at once.
    fn ring_all(
        &mut self,
        entry: &'a StepIndex,
        first: &'a Rank,
        cursor: &mut Cursor<'a>,
    ) -> Vec<&'a AgentId> {
        // Growing one by one it would be built anew again and again.
        let most = OFFER_AGENTS_MAX.min(entry.available.len());
        self.taken.0.reserve(most);
        let mut agents = Vec::with_capacity(most);
        let equals = entry.available.range(first..);
        let equals = equals.take_while(|rank| rank.penalty == first.penalty);
        for rank in equals.filter(|rank| self.taken.put(&rank.agent)).take(most) {
            agents.push(&rank.agent);
            // All before him are given away, so nobody need look at them again.
            cursor.rank = Some(rank);
        }
        agents
    }

    /// Whom to ring alone, of those of the lowest penalty who are left.
    fn ring_one(
        &self,
        queue: &Queue,
        strategy: Strategy,
        entry: &'a StepIndex,
        first: &'a Rank,
        random: &mut dyn FnMut(u64) -> u64,
    ) -> Option<&'a AgentId> {
        let left = |rank: &&Rank| !self.taken.has(&rank.agent);
        let equals = entry.available.range(first..);
        let mut equals = equals
            .take_while(|rank| rank.penalty == first.penalty)
            .filter(left);
        match strategy {
            Strategy::Random => {
                if let Some(agent) = self.draw(entry, first.penalty, random) {
                    return Some(agent);
                }
                let all: Vec<&Rank> = equals.collect();
                let chosen = all.get(random(all.len() as u64) as usize).or(all.first());
                chosen.map(|rank| &rank.agent)
            }
            Strategy::RrMemory => {
                let behind = self.behind_last(queue, first);
                let ranks = entry.available.range((behind, Unbounded));
                let mut ranks = ranks
                    .take_while(|rank| rank.penalty == first.penalty)
                    .filter(left);
                let chosen = ranks.next().or_else(|| equals.next());
                chosen.map(|rank| &rank.agent)
            }
            Strategy::RingAll
            | Strategy::Linear
            | Strategy::LeastRecent
            | Strategy::FewestCalls => Some(&first.agent),
        }
    }

    /// One of many of this penalty; nobody if they are few, or most of them were given away.
    fn draw(
        &self,
        entry: &'a StepIndex,
        penalty: u32,
        random: &mut dyn FnMut(u64) -> u64,
    ) -> Option<&'a AgentId> {
        let shelves = entry.shelves.as_ref()?;
        let count = shelves.count(penalty);
        let mut draws = 0..if count > FEW { DRAWS } else { 0 };
        draws.find_map(|_| {
            let agent = shelves.nth(penalty, random(count as u64) as usize)?;
            (!self.taken.has(agent)).then_some(agent)
        })
    }

    /// Round robin goes on behind who was rung last, in this pass or before it.
    fn behind_last(&self, queue: &Queue, first: &Rank) -> std::ops::Bound<Rank> {
        let last = self.last_rung.get(&queue.name).copied();
        let last = last.or(queue.last_rung.as_ref());
        let place = last.and_then(|agent| Some((agent, queue.members.get(agent)?)));
        place.map_or(Included(first.clone()), |(agent, member)| {
            let (penalty, order) = (first.penalty, member.settings.order);
            Excluded(Rank {
                penalty,
                key: 0,
                order,
                agent: agent.clone(),
            })
        })
    }
}
