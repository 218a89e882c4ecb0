//! What the log knows in memory: the newest entries themselves, and for all others the place in
//! their file.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use super::segment::Place;
use crate::types::{Entry, LogId};

/// The newest entries that are kept in memory: this many,
const CACHE_ENTRIES: usize = 16_384;
/// and this many bytes of them.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Where an entry can be had.
pub enum Found<'a> {
    Cached(&'a Entry),
    OnDisk(&'a Path, Place),
    Nothing,
}

#[derive(Default)]
pub struct Index {
    /// Everything up to here is gone.
    pub purged: Option<LogId>,
    /// Last entry, or `purged` if there is none.
    pub last: Option<LogId>,
    /// The newest entries with their sizes, without holes, up to `last`.
    cache: VecDeque<(Entry, usize)>,
    cache_bytes: usize,
    /// Segment number and place of the durable entries, from `places_first` on without holes.
    places: VecDeque<(u64, Place)>,
    places_first: u64,
    /// Files by segment number.
    files: BTreeMap<u64, PathBuf>,
}

impl Index {
    pub fn purged_to(purged: Option<LogId>) -> Self {
        Index {
            purged,
            last: purged,
            ..Index::default()
        }
    }

    /// Takes a new last entry. `size` is its encoded length.
    pub fn push(&mut self, entry: Entry, size: usize) {
        self.last = Some(entry.log_id);
        self.cache_bytes += size;
        self.cache.push_back((entry, size));
        self.evict();
    }

    /// Drops everything from `since` on out of sight; `last` becomes unknown if that empties the
    /// cache, then the caller must find it.
    pub fn truncate(&mut self, since: u64) -> Option<u64> {
        while self
            .cache
            .back()
            .is_some_and(|(e, _)| e.log_id.index >= since)
        {
            self.drop_cached(false);
        }
        if let Some((entry, _)) = self.cache.back() {
            self.last = Some(entry.log_id);
            return None;
        }
        let before = since.checked_sub(1);
        if before.is_none() || before == self.purged.map(|p| p.index) {
            self.last = self.purged;
            return None;
        }
        before
    }

    /// Puts everything up to `upto` out of sight.
    pub fn purge(&mut self, upto: LogId) {
        while self
            .cache
            .front()
            .is_some_and(|(e, _)| e.log_id.index <= upto.index)
        {
            self.drop_cached(true);
        }
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(self.purged);
    }

    pub fn find(&self, index: u64) -> Found<'_> {
        if self.purged.is_some_and(|p| index <= p.index)
            || self.last.is_none_or(|l| index > l.index)
        {
            return Found::Nothing;
        }
        if let Some((first, _)) = self.cache.front()
            && let Some(at) = index.checked_sub(first.log_id.index)
            && let Some((entry, _)) = self.cache.get(at as usize)
        {
            return Found::Cached(entry);
        }
        let at = index.checked_sub(self.places_first).map(|at| at as usize);
        match at.and_then(|at| self.places.get(at)) {
            Some((number, place)) => match self.files.get(number) {
                Some(path) => Found::OnDisk(path, *place),
                None => Found::Nothing,
            },
            None => Found::Nothing,
        }
    }

    /// First index there is.
    pub fn first(&self) -> Option<u64> {
        match (self.places.front(), self.cache.front()) {
            (Some(_), _) => Some(
                self.places_first
                    .max(self.purged.map_or(0, |p| p.index + 1)),
            ),
            (None, Some((entry, _))) => Some(entry.log_id.index),
            (None, None) => None,
        }
    }

    // What follows is for the writing thread.

    pub fn opened(&mut self, number: u64, path: PathBuf) {
        self.files.insert(number, path);
    }

    /// The entries from `first` on are durable at these places.
    pub fn written(&mut self, number: u64, first: u64, places: &[Place]) {
        if self.places.is_empty() || first != self.places_first + self.places.len() as u64 {
            self.places.clear();
            self.places_first = first;
        }
        self.places.extend(places.iter().map(|p| (number, *p)));
        self.evict();
    }

    /// The places from `since` on are void.
    pub fn truncate_places(&mut self, since: u64) {
        let keep = since.saturating_sub(self.places_first) as usize;
        self.places.truncate(keep);
    }

    /// Forgets the places up to `upto`. Gives the files that hold nothing any more, oldest first,
    /// and whether no entry is left at all.
    pub fn purge_places(&mut self, upto: u64) -> (Vec<PathBuf>, bool) {
        while self.places_first <= upto && self.places.pop_front().is_some() {
            self.places_first += 1;
        }
        let keep = self.places.front().map(|(number, _)| *number);
        let gone: Vec<u64> = self
            .files
            .keys()
            .copied()
            .take_while(|n| keep.is_none_or(|k| *n < k))
            .collect();
        let paths = gone.iter().filter_map(|n| self.files.remove(n)).collect();
        (paths, keep.is_none())
    }

    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.values()
    }

    /// Keeps the cache within its bounds; what is not durable yet stays.
    fn evict(&mut self) {
        let durable = self.places_first + self.places.len() as u64;
        while (self.cache.len() > CACHE_ENTRIES || self.cache_bytes > CACHE_BYTES)
            && self.cache.len() > 1
            && self
                .cache
                .front()
                .is_some_and(|(e, _)| e.log_id.index < durable)
        {
            self.drop_cached(true);
        }
    }

    fn drop_cached(&mut self, front: bool) {
        let gone = if front {
            self.cache.pop_front()
        } else {
            self.cache.pop_back()
        };
        self.cache_bytes -= gone.map_or(0, |(_, size)| size);
    }
}
