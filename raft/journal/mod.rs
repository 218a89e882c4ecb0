//! The journal: events by log index and by subject, and named cursors, in sled.
//!
//! It is never the only copy of something acknowledged: sled's `flush` does not survive a power
//! cut, and sled hides a flipped bit. So it is written behind apply, in order; it is made durable
//! (`flush`, then `fdatasync` of its file) before a snapshot makes replay skip its events; and when
//! it is lost or broken it is put aside, and refilled from the log and from a peer.
//!
//! What is newest is in memory (`tail`) until there is enough of it for a write (`writer`); whoever
//! reads gets both. One tree, so that one batch is atomic; its keys and pages are in `keys`.

mod keys;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::tree::Tree;
use crate::types::Blob;
use crate::{EventBatch, StartError, World};
pub(crate) use keys::record;
use keys::{At, PAGES, cursor_key, number};
use tail::Tail;
use writer::{Job, Writer};

/// Requests that wait for the writing thread.
const JOBS: usize = 64;
/// Records sent to a peer at once, in bytes.
const RAW_BYTES: usize = 4 * 1024 * 1024;
/// Format of the tree: 1 had an event per key.
const FORMAT: u64 = 2;
const KEY_FORMAT: &[u8] = b"mformat";
const KEY_COUNT: &[u8] = b"mcount";
const KEY_LAST: &[u8] = b"mlast";
const KEY_GAP: &[u8] = b"mgap";

/// One event as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<E> {
    /// Log index of the entry that made it.
    pub index: u64,
    /// Position among the events of that entry, from 0.
    pub seq: u32,
    /// Cluster clock, in milliseconds.
    pub at_ms: u64,
    /// The leader's wall clock, in milliseconds since 1970; for display only.
    pub wall_ms: u64,
    /// The event.
    pub event: E,
}

/// The journal could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal: {0}")]
pub struct JournalError(pub String);

/// A record as it travels to a node that lost it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(crate) struct Raw {
    pub index: u64,
    pub seq: u32,
    pub value: Blob,
}

/// Bounds of the journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub max_events: u64,
    pub max_age_ms: u64,
}

/// Events of the past on this node's disk. Clones are handles to the same journal.
pub struct Journal<E> {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    subject: fn(&E) -> Option<u64>,
}

impl<E> Clone for Journal<E> {
    fn clone(&self) -> Self {
        Journal {
            shared: self.shared.clone(),
            jobs: self.jobs.clone(),
            subject: self.subject,
        }
    }
}

/// What readers and the writing thread have in common.
struct Shared {
    tree: Arc<dyn Tree>,
    tail: Tail,
    last: AtomicU64,
    broken: AtomicBool,
    gap: Notify,
    /// The tail has been written.
    room: Notify,
}

impl Shared {
    /// Shows the pages of the tree from the one on that holds a place, until `visit` says no.
    fn pages(
        &self,
        from: At,
        mut visit: impl FnMut(Vec<Raw>) -> Result<bool, JournalError>,
    ) -> Result<(), JournalError> {
        let key = keys::page_key(from);
        let first = self.tree.at_or_before(&key)?;
        let first = first.filter(|(key, _)| key.as_slice() >= PAGES.0);
        let from = first.map_or(key, |(key, _)| key);
        self.tree.scan(&from, PAGES.1, &mut |_, value| {
            visit(keys::page_raws(value)?)
        })
    }

    /// Events behind a place, oldest first: up to `limit`, and not many more than `bytes`.
    fn after(&self, place: At, limit: usize, bytes: usize) -> Result<Vec<Raw>, JournalError> {
        // The tail first: what goes over into the tree meanwhile is then seen twice and not missed.
        let (newest, all) = self.tail.after(place, limit);
        if all {
            return Ok(newest);
        }
        let mut raws: Vec<Raw> = Vec::new();
        let mut sum = 0;
        self.pages(place, |page| {
            let behind = page.into_iter().filter(|raw| (raw.index, raw.seq) > place);
            for raw in behind {
                sum += raw.value.0.len();
                raws.push(raw);
            }
            Ok(raws.len() < limit && sum <= bytes)
        })?;
        Ok(in_order(raws, newest, limit))
    }

    /// Events about a subject, oldest first, up to `limit`.
    fn about(&self, subject: u64, limit: usize) -> Result<Vec<Raw>, JournalError> {
        let about = |raw: &Raw| keys::subject_of(raw) == Some(subject);
        let newest = self.tail.filter(about);
        let from = keys::subject_key(subject, (0, 0));
        let to = keys::subject_key(subject, (u64::MAX, u32::MAX));
        let mut raws: Vec<Raw> = Vec::new();
        self.tree.scan(&from, &to, &mut |key, _| {
            let page = keys::page_of(key).map(|key| self.tree.get(&key));
            // A page may be removed while this is looking.
            if let Some(page) = page.transpose()?.flatten() {
                raws.extend(keys::page_raws(&page)?.into_iter().filter(about));
            }
            Ok(raws.len() < limit)
        })?;
        Ok(in_order(raws, newest, limit))
    }
}

/// Those of the tree and of the tail together, oldest first, each once.
fn in_order(mut raws: Vec<Raw>, newest: Vec<Raw>, limit: usize) -> Vec<Raw> {
    raws.extend(newest);
    raws.sort_by_key(|raw| (raw.index, raw.seq));
    raws.dedup_by_key(|raw| (raw.index, raw.seq));
    raws.truncate(limit);
    raws
}

impl<E: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Journal<E> {
    /// Up to `limit` events with a log index above `index`, oldest first.
    pub fn since(&self, index: u64, limit: usize) -> Result<Vec<Record<E>>, JournalError> {
        let raws = self.shared.after((index, u32::MAX), limit, usize::MAX)?;
        raws.iter().map(record).collect()
    }

    /// Up to `limit` events about `subject`, oldest first.
    pub fn subject(&self, subject: u64, limit: usize) -> Result<Vec<Record<E>>, JournalError> {
        let raws = self.shared.about(subject, limit)?;
        raws.iter().map(record).collect()
    }

    /// Log index of the oldest event kept.
    pub fn oldest(&self) -> Option<u64> {
        let in_tail = self.shared.tail.first();
        let mut oldest = None;
        let read = self.shared.tree.scan(PAGES.0, PAGES.1, &mut |key, _| {
            oldest = keys::at_of(key).map(|(index, _)| index);
            Ok(false)
        });
        read.ok().and(oldest).or(in_tail)
    }

    /// Last log index that had events.
    pub fn last(&self) -> u64 {
        self.shared.last.load(Ordering::Acquire)
    }

    /// Where a named reader stands; `None` if it never said.
    pub fn cursor(&self, name: &str) -> Result<Option<u64>, JournalError> {
        let value = self.shared.tree.get(&cursor_key(name)?)?;
        Ok(value.as_deref().map(number))
    }

    /// Notes where a named reader stands. May step back after a power cut: a reader must bear to
    /// see events twice.
    pub fn set_cursor(&self, name: &str, index: u64) -> Result<(), JournalError> {
        let value = index.to_be_bytes().to_vec();
        self.shared
            .tree
            .apply(vec![(cursor_key(name)?, Some(value))])
    }

    /// Opens the journal in `dir`; one that cannot be opened is put aside. The second value says
    /// whether it begins empty.
    pub(crate) fn open(
        world: &World,
        dir: &Path,
        bounds: Bounds,
        subject: fn(&E) -> Option<u64>,
    ) -> Result<(Self, bool), StartError> {
        let (tree, mut empty) = world.disk.tree(dir)?;
        let cannot = |e: JournalError| StartError::Io {
            what: format!("cannot use the journal {}", dir.display()),
            source: std::io::Error::other(e),
        };
        let format = tree.get(KEY_FORMAT).map_err(cannot)?;
        if format.is_none_or(|v| number(&v) != FORMAT) {
            // That of an earlier version: it is filled again like one that was lost.
            tree.clear().map_err(cannot)?;
            let value = FORMAT.to_be_bytes().to_vec();
            let mark = vec![(KEY_FORMAT.to_vec(), Some(value))];
            tree.apply(mark).map_err(cannot)?;
            empty = true;
        }
        let last = tree.get(KEY_LAST).ok().flatten().map_or(0, |v| number(&v));
        let shared = Arc::new(Shared {
            tree,
            tail: Tail::default(),
            last: AtomicU64::new(last),
            broken: AtomicBool::new(false),
            gap: Notify::new(),
            room: Notify::new(),
        });
        let (jobs, inbox) = mpsc::channel(JOBS);
        let writer = Writer {
            shared: shared.clone(),
            bounds,
        };
        world.run("holdfast-journal", writer.run(inbox))?;
        let journal = Journal {
            shared,
            jobs,
            subject,
        };
        Ok((journal, empty))
    }

    /// Takes the events of an entry; those of one that it has already are passed over.
    pub(crate) async fn write(&self, batch: &EventBatch<E>) {
        let shared = &self.shared;
        if batch.index <= self.last() || shared.broken.load(Ordering::Acquire) {
            return;
        }
        let raws = match keys::raws(batch, self.subject) {
            Ok(raws) => raws,
            Err(e) => return tracing::error!(index = batch.index, "{e}; its events are not kept"),
        };
        let enough = shared.tail.push(raws);
        shared.last.store(batch.index, Ordering::Release);
        if enough {
            // The thread ends only with the node.
            let _ = self.jobs.send(Job::Write).await;
        }
        loop {
            let room = shared.room.notified();
            if !shared.tail.is_over_full() {
                break;
            }
            room.await;
        }
    }

    /// Waits until everything handed over so far is durable.
    pub(crate) async fn checkpoint(&self) {
        let (done, answer) = oneshot::channel();
        if self.jobs.send(Job::Checkpoint(done)).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Makes everything durable and ends the writing thread.
    pub(crate) async fn stop(&self) {
        let (done, answer) = oneshot::channel();
        if self.jobs.send(Job::Stop(done)).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Notes that the events after `from` up to `to` passed this node by. A checkpoint must follow
    /// before anything behind them is written: no page may reach over a gap.
    pub(crate) fn note_gap(&self, from: u64, to: u64) {
        let from = self.gap().map_or(from, |(old, _)| old.min(from));
        let mut value = from.to_be_bytes().to_vec();
        value.extend(to.to_be_bytes());
        let change = vec![(KEY_GAP.to_vec(), Some(value))];
        if from < to && self.shared.tree.apply(change).is_ok() {
            self.shared.gap.notify_one();
        }
    }

    /// Events that passed this node by: after the first index, up to the second.
    pub(crate) fn gap(&self) -> Option<(u64, u64)> {
        let value = self.shared.tree.get(KEY_GAP).ok()??;
        (value.len() == 16).then(|| (number(&value[..8]), number(&value[8..])))
    }

    /// Waits until a gap is noted.
    pub(crate) async fn gap_noted(&self) {
        self.shared.gap.notified().await;
    }

    /// Raw records behind (index, seq), for a node that lost them.
    pub(crate) fn raw_after(&self, place: At, limit: usize) -> Result<Vec<Raw>, JournalError> {
        self.shared.after(place, limit, RAW_BYTES)
    }

    /// Writes records of a peer; those that cannot be read are passed over.
    pub(crate) async fn fill(&self, mut raws: Vec<Raw>) {
        let came = raws.len();
        raws.retain(|raw| record::<E>(raw).is_ok());
        if raws.len() < came {
            let unreadable = came - raws.len();
            tracing::warn!(
                unreadable,
                "a peer's journal has records that cannot be read"
            );
        }
        let (done, answer) = oneshot::channel();
        if self.jobs.send(Job::Fill(raws, done)).await.is_ok() {
            // The thread ends only with the node.
            let _ = answer.await;
        }
    }

    /// Forgets the gap, unless another one was noted meanwhile.
    pub(crate) fn close_gap(&self, gap: (u64, u64)) -> Result<(), JournalError> {
        if self.gap() == Some(gap) {
            self.shared.tree.apply(vec![(KEY_GAP.to_vec(), None)])?;
        }
        Ok(())
    }
}
