//! The journal: events by log index and by subject, and named cursors, in sled.
//!
//! It is never the only copy of something acknowledged: sled's `flush` does not survive a power
//! cut, and sled hides a flipped bit. So it is written behind apply, in order; it is made durable
//! (`flush`, then `fdatasync` of its file) before a snapshot makes replay skip its events; and when
//! it is lost or broken it is put aside, and refilled from the log and from a peer.
//!
//! One tree, so that one batch is atomic: `e` index seq -> event, `s` subject index seq -> nothing,
//! `c` name -> cursor, `m` name -> number.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::journal_keys::{
    at_ms_of, cursor_key, event_key, index_of, number, record, subject_key, subject_of,
};
use crate::tree::{Change, Tree};
use crate::types::Blob;
use crate::{EventBatch, StartError, World, codec};

/// Entries that wait to be written. Apply waits when there are more.
const QUEUE: usize = 8192;
/// Old events are removed at most this many at a time.
const TRIM: usize = 256;
/// How often, in written entries, age is looked at.
const TRIM_EVERY: u64 = 64;
/// Longest name of a cursor, in bytes.
pub(crate) const CURSOR_NAME_MAX: usize = 128;
/// Records sent to a peer at once, in bytes.
const RAW_BYTES: usize = 4 * 1024 * 1024;
pub(crate) const VERSION: u8 = 1;
pub(crate) const VALUE_HEAD: usize = 26;
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
    jobs: mpsc::Sender<Job<E>>,
    _events: PhantomData<fn() -> E>,
}

impl<E> Clone for Journal<E> {
    fn clone(&self) -> Self {
        Journal {
            shared: self.shared.clone(),
            jobs: self.jobs.clone(),
            _events: PhantomData,
        }
    }
}

struct Shared {
    tree: Arc<dyn Tree>,
    last: AtomicU64,
    broken: AtomicBool,
    gap: Notify,
}

enum Job<E> {
    Write(Arc<EventBatch<E>>),
    Fill(Vec<Raw>, oneshot::Sender<()>),
    Checkpoint(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

impl<E: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Journal<E> {
    /// Up to `limit` events with a log index above `index`, oldest first.
    pub fn since(&self, index: u64, limit: usize) -> Result<Vec<Record<E>>, JournalError> {
        let Some(from) = index.checked_add(1) else {
            return Ok(Vec::new());
        };
        let mut records = Vec::new();
        self.scan_events((from, 0), |key, value| {
            if records.len() < limit {
                records.push(record(key, value)?);
            }
            Ok(records.len() < limit)
        })?;
        Ok(records)
    }

    /// Up to `limit` events about `subject`, oldest first.
    pub fn subject(&self, subject: u64, limit: usize) -> Result<Vec<Record<E>>, JournalError> {
        let (from, to) = (
            subject_key(subject, 0, 0),
            subject_key(subject, u64::MAX, u32::MAX),
        );
        let mut keys = Vec::new();
        self.shared.tree.scan(&from, &to, &mut |key, _| {
            if keys.len() < limit {
                keys.push([b"e", &key[9..]].concat());
            }
            Ok(keys.len() < limit)
        })?;
        let mut records = Vec::new();
        for key in keys {
            if let Some(value) = self.shared.tree.get(&key)? {
                records.push(record(&key, &value)?);
            }
        }
        Ok(records)
    }

    /// Shows the events from this place on, in order, until `visit` says no.
    fn scan_events(
        &self,
        (index, seq): (u64, u32),
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, JournalError>,
    ) -> Result<(), JournalError> {
        let (from, to) = (event_key(index, seq), event_key(u64::MAX, u32::MAX));
        self.shared.tree.scan(&from, &to, &mut visit)
    }

    /// Log index of the oldest event kept.
    pub fn oldest(&self) -> Option<u64> {
        let mut oldest = None;
        let read = self.scan_events((0, 0), |key, _| {
            oldest = index_of(key).map(|(index, _)| index);
            Ok(false)
        });
        read.ok().and(oldest)
    }

    /// Last log index that had events and is written.
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
        let (tree, empty) = world.disk.tree(dir)?;
        let last = tree.get(KEY_LAST).ok().flatten().map_or(0, |v| number(&v));
        let shared = Arc::new(Shared {
            tree,
            last: AtomicU64::new(last),
            broken: AtomicBool::new(false),
            gap: Notify::new(),
        });
        let (jobs, inbox) = mpsc::channel(QUEUE);
        let writer = Writer {
            shared: shared.clone(),
            bounds,
            subject,
            written: 0,
        };
        world.run("holdfast-journal", writer.run(inbox))?;
        let journal = Journal {
            shared,
            jobs,
            _events: PhantomData,
        };
        Ok((journal, empty))
    }

    /// Hands a batch to the writing thread.
    pub(crate) async fn write(&self, batch: Arc<EventBatch<E>>) {
        if batch.index > self.last() {
            // The thread ends only with the node.
            let _ = self.jobs.send(Job::Write(batch)).await;
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

    /// Notes that the events after `from` up to `to` passed this node by.
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
    pub(crate) fn raw_after(
        &self,
        (index, seq): (u64, u32),
        limit: usize,
    ) -> Result<Vec<Raw>, JournalError> {
        let mut raws = Vec::new();
        let mut bytes = 0;
        self.scan_events((index, seq), |key, value| {
            let at = index_of(key).ok_or_else(|| JournalError("bad key".into()))?;
            if at > (index, seq) && raws.len() < limit {
                bytes += value.len();
                raws.push(Raw {
                    index: at.0,
                    seq: at.1,
                    value: Blob::from(value.to_vec()),
                });
            }
            Ok(raws.len() < limit && bytes <= RAW_BYTES)
        })?;
        Ok(raws)
    }

    /// Writes records of a peer.
    pub(crate) async fn fill(&self, raws: Vec<Raw>) {
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

struct Writer<E> {
    shared: Arc<Shared>,
    bounds: Bounds,
    subject: fn(&E) -> Option<u64>,
    written: u64,
}

impl<E: Serialize + DeserializeOwned> Writer<E> {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job<E>>) {
        while let Some(job) = jobs.recv().await {
            let done = match job {
                Job::Write(batch) => {
                    let result = self.write(&batch);
                    self.note(result);
                    continue;
                }
                Job::Fill(raws, done) => {
                    let result = self.fill(&raws);
                    self.note(result);
                    done
                }
                Job::Checkpoint(done) => {
                    let result = self.checkpoint();
                    self.note(result);
                    done
                }
                Job::Stop(done) => {
                    let result = self.checkpoint();
                    self.note(result);
                    let _ = done.send(());
                    return;
                }
            };
            let _ = done.send(());
        }
    }

    /// The first error is told; later ones are its echo. The node goes on without a journal, which
    /// the next start puts aside and refills.
    fn note(&self, result: Result<(), JournalError>) {
        if let Err(e) = result
            && !self.shared.broken.swap(true, Ordering::AcqRel)
        {
            tracing::error!("{e}; events are not kept until the next start");
            if let Err(e) = self.shared.tree.mark_broken() {
                tracing::error!("cannot note that the journal is broken: {e}");
            }
        }
    }

    fn write(&mut self, batch: &EventBatch<E>) -> Result<(), JournalError> {
        if batch.index <= self.shared.last.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut raws = Vec::with_capacity(batch.events.len());
        for (seq, event) in batch.events.iter().enumerate() {
            let mut value = vec![VERSION];
            value.extend(batch.at_ms.to_be_bytes());
            value.extend(batch.wall_ms.to_be_bytes());
            let subject = (self.subject)(event);
            value.push(subject.is_some() as u8);
            value.extend(subject.unwrap_or(0).to_be_bytes());
            value.extend(codec::encode(event).map_err(|e| JournalError(e.to_string()))?);
            raws.push(Raw {
                index: batch.index,
                seq: seq as u32,
                value: Blob::from(value),
            });
        }
        self.put(&raws, Some(batch.index))?;
        self.shared.last.store(batch.index, Ordering::Release);
        self.written += 1;
        self.trim(batch.at_ms)
    }

    fn fill(&mut self, raws: &[Raw]) -> Result<(), JournalError> {
        let mut fresh = Vec::new();
        for raw in raws {
            record::<E>(&event_key(raw.index, raw.seq), &raw.value.0)?;
            if self
                .shared
                .tree
                .get(&event_key(raw.index, raw.seq))?
                .is_none()
            {
                fresh.push(raw.clone());
            }
        }
        self.put(&fresh, None)
    }

    fn put(&self, raws: &[Raw], last: Option<u64>) -> Result<(), JournalError> {
        let mut changes: Vec<Change> = Vec::new();
        for raw in raws {
            let value: &[u8] = &raw.value.0;
            changes.push((event_key(raw.index, raw.seq), Some(value.to_vec())));
            if let Some(subject) = subject_of(value) {
                changes.push((subject_key(subject, raw.index, raw.seq), Some(Vec::new())));
            }
        }
        let count = self.count()? + raws.len() as u64;
        changes.push((KEY_COUNT.to_vec(), Some(count.to_be_bytes().to_vec())));
        if let Some(last) = last {
            changes.push((KEY_LAST.to_vec(), Some(last.to_be_bytes().to_vec())));
        }
        self.shared.tree.apply(changes)
    }

    fn count(&self) -> Result<u64, JournalError> {
        Ok(self.shared.tree.get(KEY_COUNT)?.map_or(0, |v| number(&v)))
    }

    /// Removes the oldest events when there are too many or they are too old.
    fn trim(&self, now_ms: u64) -> Result<(), JournalError> {
        let count = self.count()?;
        let over = count.saturating_sub(self.bounds.max_events);
        let by_age = self.written.is_multiple_of(TRIM_EVERY);
        if over == 0 && !by_age {
            return Ok(());
        }
        let mut changes: Vec<Change> = Vec::new();
        let mut gone = 0;
        let (from, to) = (event_key(0, 0), event_key(u64::MAX, u32::MAX));
        self.shared.tree.scan(&from, &to, &mut |key, value| {
            let too_old = at_ms_of(value).saturating_add(self.bounds.max_age_ms) < now_ms;
            if gone as usize >= TRIM || gone >= over && !(by_age && too_old) {
                return Ok(false);
            }
            if let (Some(subject), Some((index, seq))) = (subject_of(value), index_of(key)) {
                changes.push((subject_key(subject, index, seq), None));
            }
            changes.push((key.to_vec(), None));
            gone += 1;
            Ok(true)
        })?;
        let left = count - gone.min(count);
        changes.push((KEY_COUNT.to_vec(), Some(left.to_be_bytes().to_vec())));
        self.shared.tree.apply(changes)
    }

    fn checkpoint(&self) -> Result<(), JournalError> {
        self.shared.tree.checkpoint()
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
