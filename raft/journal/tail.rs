//! The newest events, which are not in the tree yet.
//!
//! A tree takes about as long for one event as for a page of them, and writing each alone cost half of
//! all processor time of the store. So events gather here until they are worth a write. A crash loses them,
//! and the log, which is replayed from the last snapshot on, makes them again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use super::Raw;
use super::keys::At;

/// So many bytes are written together.
const GATHER_BYTES: usize = 64 * 1024;
/// Apply waits when there are more bytes.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a record costs beside its value.
const OVERHEAD: usize = 16;

#[derive(Default)]
pub struct Tail(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    raws: VecDeque<Raw>,
    bytes: usize,
    /// The writing thread has been told that there is enough.
    told: bool,
}

pub fn size(raw: &Raw) -> usize {
    raw.value.0.len() + OVERHEAD
}

impl Tail {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes the events of an entry. Says whether the writing thread must be told that there is enough.
    pub fn push(&self, raws: Vec<Raw>) -> bool {
        let mut inner = self.inner();
        inner.bytes += raws.iter().map(size).sum::<usize>();
        inner.raws.extend(raws);
        inner.bytes >= GATHER_BYTES && !std::mem::replace(&mut inner.told, true)
    }

    /// Whether there is more than memory should hold.
    pub fn is_over_full(&self) -> bool {
        self.inner().bytes > BYTES_MAX
    }

    /// All there is, for the writing thread.
    pub fn all(&self) -> Vec<Raw> {
        let mut inner = self.inner();
        inner.told = false;
        inner.raws.iter().cloned().collect()
    }

    /// The first `count` are in the tree now.
    pub fn written(&self, count: usize) {
        let mut inner = self.inner();
        let gone: usize = inner.raws.drain(..count).map(|raw| size(&raw)).sum();
        inner.bytes -= gone;
    }

    /// Forgets everything: nothing can be kept any more.
    pub fn clear(&self) {
        *self.inner() = Inner::default();
    }

    /// Up to `limit` events behind a place, oldest first; and whether the tree has none of those that
    /// are between the place and them.
    pub fn after(&self, place: At, limit: usize) -> (Vec<Raw>, bool) {
        let inner = self.inner();
        let at = |raw: &Raw| (raw.index, raw.seq);
        let begin = inner.raws.partition_point(|raw| at(raw) <= place);
        let behind = inner.raws.range(begin..).take(limit).cloned().collect();
        (behind, begin > 0)
    }

    /// All events that this holds for.
    pub fn filter(&self, wanted: impl Fn(&Raw) -> bool) -> Vec<Raw> {
        let inner = self.inner();
        inner
            .raws
            .iter()
            .filter(|raw| wanted(raw))
            .cloned()
            .collect()
    }

    pub fn first(&self) -> Option<u64> {
        self.inner().raws.front().map(|raw| raw.index)
    }
}
