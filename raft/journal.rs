//! The journal: events by log index and by subject, and named cursors, in sled.
//!
//! It is never the only copy of something acknowledged: sled's `flush` does not survive a power
//! cut, and sled hides a flipped bit. So it is written behind apply, in order; it is made durable
//! (`flush`, then `fdatasync` of its file) before a snapshot makes replay skip its events; and when
//! it is lost or broken it is put aside, and refilled from the log and from a peer.
//!
//! One tree, so that one batch is atomic: `e` index seq -> event, `s` subject index seq -> nothing,
//! `c` name -> cursor, `m` name -> number.

use std::fs::{self, File};
use std::marker::PhantomData;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::disk::{create_dir, io_at, sync_dir};
use crate::journal_keys::{
    at_ms_of, cursor_key, event_key, index_of, number, record, subject_key, subject_of,
};
use crate::types::Blob;
use crate::{EventBatch, StartError, codec};

/// Entries that wait to be written. Apply waits when there are more.
const QUEUE: usize = 8192;
/// Old events are removed at most this many at a time.
const TRIM: usize = 256;
/// How often, in written entries, age is looked at.
const TRIM_EVERY: u64 = 64;
/// sled's cache; its default is a gigabyte.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Longest name of a cursor, in bytes.
pub(crate) const CURSOR_NAME_MAX: usize = 128;
/// Records sent to a peer at once, in bytes.
const RAW_BYTES: usize = 4 * 1024 * 1024;
/// How often a lock that is still held is tried again.
const LOCK_TRIES: u32 = 100;
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

impl From<sled::Error> for JournalError {
    fn from(e: sled::Error) -> Self {
        JournalError(e.to_string())
    }
}

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
    db: sled::Db,
    file: File,
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
        let range = self
            .shared
            .db
            .range(event_key(from, 0)..event_key(u64::MAX, u32::MAX));
        let mut records = Vec::new();
        for item in range.take(limit) {
            let (key, value) = item?;
            records.push(record(&key, &value)?);
        }
        Ok(records)
    }

    /// Up to `limit` events about `subject`, oldest first.
    pub fn subject(&self, subject: u64, limit: usize) -> Result<Vec<Record<E>>, JournalError> {
        let from = subject_key(subject, 0, 0);
        let mut records = Vec::new();
        for item in self
            .shared
            .db
            .range(from..subject_key(subject, u64::MAX, u32::MAX))
            .take(limit)
        {
            let (key, _) = item?;
            let mut event = vec![b'e'];
            event.extend(&key[9..]);
            if let Some(value) = self.shared.db.get(&event)? {
                records.push(record(&event, &value)?);
            }
        }
        Ok(records)
    }

    /// Log index of the oldest event kept.
    pub fn oldest(&self) -> Option<u64> {
        let range = event_key(0, 0)..event_key(u64::MAX, u32::MAX);
        let (key, _) = self.shared.db.range(range).next()?.ok()?;
        index_of(&key).map(|(index, _)| index)
    }

    /// Last log index that had events and is written.
    pub fn last(&self) -> u64 {
        self.shared.last.load(Ordering::Acquire)
    }

    /// Where a named reader stands; `None` if it never said.
    pub fn cursor(&self, name: &str) -> Result<Option<u64>, JournalError> {
        Ok(self
            .shared
            .db
            .get(cursor_key(name)?)?
            .as_deref()
            .map(number))
    }

    /// Notes where a named reader stands. May step back after a power cut: a reader must bear to
    /// see events twice.
    pub fn set_cursor(&self, name: &str, index: u64) -> Result<(), JournalError> {
        self.shared
            .db
            .insert(cursor_key(name)?, &index.to_be_bytes())?;
        Ok(())
    }

    /// Opens the journal in `dir`; one that cannot be opened is put aside. The second value says
    /// whether it begins empty.
    pub(crate) fn open(
        dir: &Path,
        bounds: Bounds,
        subject: fn(&E) -> Option<u64>,
    ) -> Result<(Self, bool), StartError> {
        let fresh = !dir.exists();
        let (db, lost) = match open_unless_marked(dir) {
            Ok(db) => (db, false),
            Err(why) => {
                let aside = dir.with_extension(format!("broken-{}", crate::clock::wall_ms()));
                tracing::error!(aside = %aside.display(), why, "the journal is broken; put aside");
                fs::rename(dir, &aside).map_err(io_at("cannot put aside", dir))?;
                let marker = marker(dir);
                if marker.exists() {
                    fs::remove_file(&marker).map_err(io_at("cannot remove", &marker))?;
                }
                let db = open_db(dir).map_err(|why| StartError::Io {
                    what: format!("cannot create the journal {}", dir.display()),
                    source: std::io::Error::other(why),
                })?;
                (db, true)
            }
        };
        let path = dir.join("db");
        let file = File::open(&path).map_err(io_at("cannot open", &path))?;
        for path in [&dir.join("conf"), &path] {
            if path.exists() {
                let synced = File::open(path).and_then(|f| f.sync_all());
                synced.map_err(io_at("cannot sync", path))?;
            }
        }
        create_dir(dir).map_err(io_at("cannot sync", dir))?;
        let last = db.get(KEY_LAST).ok().flatten().map_or(0, |v| number(&v));
        let shared = Arc::new(Shared {
            db,
            file,
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
            marker: marker(dir),
        };
        std::thread::Builder::new()
            .name("holdfast-journal".into())
            .spawn(move || writer.run(inbox))
            .map_err(|source| StartError::Io {
                what: "cannot start a thread".into(),
                source,
            })?;
        Ok((
            Journal {
                shared,
                jobs,
                _events: PhantomData,
            },
            fresh || lost,
        ))
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
        if from < to && self.shared.db.insert(KEY_GAP, value).is_ok() {
            self.shared.gap.notify_one();
        }
    }

    /// Events that passed this node by: after the first index, up to the second.
    pub(crate) fn gap(&self) -> Option<(u64, u64)> {
        let value = self.shared.db.get(KEY_GAP).ok()??;
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
        let from = Bound::Excluded(event_key(index, seq));
        let to = Bound::Included(event_key(u64::MAX, u32::MAX));
        let mut raws = Vec::new();
        let mut bytes = 0;
        for item in self.shared.db.range((from, to)).take(limit) {
            let (key, value) = item?;
            let (index, seq) = index_of(&key).ok_or_else(|| JournalError("bad key".into()))?;
            bytes += value.len();
            raws.push(Raw {
                index,
                seq,
                value: Blob::from(value.to_vec()),
            });
            if bytes > RAW_BYTES {
                break;
            }
        }
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
            self.shared.db.remove(KEY_GAP)?;
        }
        Ok(())
    }
}

struct Writer<E> {
    shared: Arc<Shared>,
    bounds: Bounds,
    subject: fn(&E) -> Option<u64>,
    written: u64,
    /// Tells the next start that events are missing.
    marker: PathBuf,
}

impl<E: Serialize + DeserializeOwned> Writer<E> {
    fn run(mut self, mut jobs: mpsc::Receiver<Job<E>>) {
        while let Some(job) = jobs.blocking_recv() {
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
            if let Err(e) = fs::write(&self.marker, b"") {
                tracing::error!("cannot write {}: {e}", self.marker.display());
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
            if self.shared.db.get(event_key(raw.index, raw.seq))?.is_none() {
                fresh.push(raw.clone());
            }
        }
        self.put(&fresh, None)
    }

    fn put(&self, raws: &[Raw], last: Option<u64>) -> Result<(), JournalError> {
        let mut changes = sled::Batch::default();
        for raw in raws {
            let value: &[u8] = &raw.value.0;
            changes.insert(event_key(raw.index, raw.seq), value);
            if let Some(subject) = subject_of(value) {
                changes.insert(subject_key(subject, raw.index, raw.seq), &[]);
            }
        }
        let count = self.count()? + raws.len() as u64;
        changes.insert(KEY_COUNT, &count.to_be_bytes());
        if let Some(last) = last {
            changes.insert(KEY_LAST, &last.to_be_bytes());
        }
        Ok(self.shared.db.apply_batch(changes)?)
    }

    fn count(&self) -> Result<u64, JournalError> {
        Ok(self.shared.db.get(KEY_COUNT)?.map_or(0, |v| number(&v)))
    }

    /// Removes the oldest events when there are too many or they are too old.
    fn trim(&self, now_ms: u64) -> Result<(), JournalError> {
        let count = self.count()?;
        let over = count.saturating_sub(self.bounds.max_events);
        let by_age = self.written.is_multiple_of(TRIM_EVERY);
        if over == 0 && !by_age {
            return Ok(());
        }
        let mut changes = sled::Batch::default();
        let mut gone = 0;
        let range = event_key(0, 0)..event_key(u64::MAX, u32::MAX);
        for item in self.shared.db.range(range).take(TRIM) {
            let (key, value) = item?;
            let too_old = at_ms_of(&value).saturating_add(self.bounds.max_age_ms) < now_ms;
            if gone >= over && !(by_age && too_old) {
                break;
            }
            if let (Some(subject), Some((index, seq))) = (subject_of(&value), index_of(&key)) {
                changes.remove(subject_key(subject, index, seq));
            }
            changes.remove(key);
            gone += 1;
        }
        changes.insert(KEY_COUNT, &(count - gone.min(count)).to_be_bytes());
        Ok(self.shared.db.apply_batch(changes)?)
    }

    fn checkpoint(&self) -> Result<(), JournalError> {
        self.shared.db.flush()?;
        self.shared
            .file
            .sync_data()
            .map_err(|e| JournalError(e.to_string()))
    }
}

fn marker(dir: &Path) -> PathBuf {
    dir.with_extension("broken")
}

fn open_unless_marked(dir: &Path) -> Result<sled::Db, String> {
    if marker(dir).exists() {
        return Err("it broke during the last run".into());
    }
    open_db(dir)
}

/// Opens the database after removing what a crash during an earlier opening may have left: sled
/// would take such a file for its newest snapshot and refuse to open for ever.
fn open_db(dir: &Path) -> Result<sled::Db, String> {
    if let Ok(files) = fs::read_dir(dir) {
        for path in files.flatten().map(|f| f.path()) {
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            if name.starts_with("snap.") && name.ends_with(".generating") {
                fs::remove_file(&path).map_err(|e| e.to_string())?;
            }
        }
        sync_dir(dir).map_err(|e| e.to_string())?;
    }
    let config = sled::Config::new()
        .path(PathBuf::from(dir))
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    let mut tries = 0;
    let db = loop {
        match config.open() {
            Ok(db) => break db,
            // Held by an earlier node of this process that is still being dropped: not broken.
            Err(e) if e.to_string().contains("lock") && tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(e) => return Err(e.to_string()),
        }
    };
    // Touching both ends finds most damages now and not in the middle of the work.
    for end in [db.first(), db.last()] {
        end.map_err(|e| e.to_string())?;
    }
    Ok(db)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
