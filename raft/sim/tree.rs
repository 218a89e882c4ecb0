//! The journal's tree on a simulated disk: a map in memory, and the copy that the last checkpoint
//! made durable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::state::State;
use crate::JournalError;
use crate::tree::{Change, Pair, Tree, Visit};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// One tree on the disk.
#[derive(Clone, Default)]
pub struct Shelf {
    live: Option<Map>,
    durable: Option<Map>,
    broken: bool,
}

impl Shelf {
    /// Makes it ready for use; says whether it begins empty.
    pub fn open(&mut self) -> bool {
        let broken = std::mem::take(&mut self.broken);
        if broken {
            self.live = None;
        }
        let empty = self.live.is_none();
        self.live.get_or_insert_default();
        empty
    }

    pub fn cut_power(&mut self, keep_all: bool, is_there: bool) {
        if keep_all {
            self.durable = self.live.take();
        }
        if !is_there {
            self.durable = None;
        }
        self.live = self.durable.clone();
    }
}

pub struct SimTree {
    state: Arc<Mutex<State>>,
    run: u64,
    dir: PathBuf,
}

impl SimTree {
    pub fn new(state: Arc<Mutex<State>>, run: u64, dir: &Path) -> Self {
        let dir = dir.into();
        SimTree { state, run, dir }
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, JournalError> {
        let state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let checked = state.check(self.run);
        checked.map_err(|e| JournalError(e.to_string()))?;
        Ok(state)
    }
}

impl Tree for SimTree {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        let state = self.state()?;
        let live = state.trees.get(&self.dir).and_then(|s| s.live.as_ref());
        Ok(live.and_then(|map| map.get(key)).cloned())
    }

    fn at_or_before(&self, key: &[u8]) -> Result<Option<Pair>, JournalError> {
        let state = self.state()?;
        let live = state.trees.get(&self.dir).and_then(|s| s.live.as_ref());
        let found = live.and_then(|map| map.range(..=key.to_vec()).next_back());
        Ok(found.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), JournalError> {
        let mut at = from.to_vec();
        // The lock is not held while the visitor looks, for it may look into the tree itself.
        while at.as_slice() < to {
            let next = {
                let state = self.state()?;
                let live = state.trees.get(&self.dir).and_then(|s| s.live.as_ref());
                let mut range = live
                    .into_iter()
                    .flat_map(|m| m.range(at.clone()..to.to_vec()));
                range.next().map(|(k, v)| (k.clone(), v.clone()))
            };
            let Some((key, value)) = next else { break };
            if !visit(&key, &value)? {
                break;
            }
            at = key;
            at.push(0);
        }
        Ok(())
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), JournalError> {
        let mut state = self.state()?;
        let shelf = state.trees.entry(self.dir.clone()).or_default();
        let live = shelf.live.get_or_insert_default();
        for (key, value) in changes {
            match value {
                Some(value) => live.insert(key, value),
                None => live.remove(&key),
            };
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), JournalError> {
        let mut state = self.state()?;
        let shelf = state.trees.entry(self.dir.clone()).or_default();
        shelf.live = Some(Map::new());
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), JournalError> {
        let mut state = self.state()?;
        let shelf = state.trees.entry(self.dir.clone()).or_default();
        shelf.durable = shelf.live.clone();
        Ok(())
    }

    fn mark_broken(&self) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        state.check(self.run)?;
        state.trees.entry(self.dir.clone()).or_default().broken = true;
        Ok(())
    }
}
