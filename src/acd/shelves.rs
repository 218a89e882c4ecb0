//! Who can be rung where the strategy is random: so kept that the n-th is found without passing all who
//! come before him.
//!
//! Each agent of a penalty lies on one of a few shelves, which his id says. The n-th is found by counting
//! shelves, then on one. It is derived like all of the index; which number is taken is the leader's choice.

use crate::digest::digest;
use crate::id::AgentId;
use std::collections::{BTreeMap, BTreeSet};

/// About the root of the most members that a queue may have.
const SHELVES: u64 = 128;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shelves(BTreeMap<(u32, u64), BTreeSet<AgentId>>);

impl Shelves {
    pub fn put(&mut self, penalty: u32, agent: &AgentId) {
        let shelf = self.0.entry((penalty, shelf_of(agent))).or_default();
        shelf.insert(agent.clone());
    }

    pub fn take(&mut self, penalty: u32, agent: &AgentId) {
        let key = (penalty, shelf_of(agent));
        if let Some(shelf) = self.0.get_mut(&key) {
            shelf.remove(agent);
            if shelf.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    pub fn count(&self, penalty: u32) -> usize {
        self.of(penalty).map(BTreeSet::len).sum()
    }

    /// One of those of this penalty, a different one for each number below their count.
    pub fn nth(&self, penalty: u32, mut number: usize) -> Option<&AgentId> {
        for shelf in self.of(penalty) {
            match number.checked_sub(shelf.len()) {
                Some(left) => number = left,
                None => return shelf.iter().nth(number),
            }
        }
        None
    }

    fn of(&self, penalty: u32) -> impl Iterator<Item = &BTreeSet<AgentId>> {
        self.0
            .range((penalty, 0)..=(penalty, u64::MAX))
            .map(|(_, shelf)| shelf)
    }
}

fn shelf_of(agent: &AgentId) -> u64 {
    digest(agent) % SHELVES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_another_agent_of_that_penalty() {
        let agents: Vec<AgentId> = (0..1_000)
            .map(|number| AgentId::new(format!("{number}")).unwrap())
            .collect();
        let mut shelves = Shelves::default();
        for (number, agent) in agents.iter().enumerate() {
            shelves.put(number as u32 % 2, agent);
        }
        let of = |shelves: &Shelves, penalty| {
            let numbers = 0..shelves.count(penalty);
            let found = numbers.map(|number| shelves.nth(penalty, number).unwrap().clone());
            found.collect::<BTreeSet<AgentId>>()
        };
        for penalty in [0, 1] {
            assert_eq!(shelves.count(penalty), 500);
            assert_eq!(of(&shelves, penalty).len(), 500);
            assert_eq!(shelves.nth(penalty, 500), None);
        }
        agents
            .iter()
            .step_by(2)
            .for_each(|agent| shelves.take(0, agent));
        assert_eq!((shelves.count(0), shelves.nth(0, 0)), (0, None));
        assert_eq!(of(&shelves, 1).len(), 500);
        agents.iter().for_each(|agent| shelves.take(1, agent));
        assert_eq!(shelves, Shelves::default());
    }
}
