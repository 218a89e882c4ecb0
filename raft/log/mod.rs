//! The log and the vote on disk, as openraft wants them: [`LogStore`].
//!
//! Appends return once the entries are in memory. A follower's are confirmed once they are durable, a
//! leader's at once, and then it is their commit that waits for the disk (`durable`). Reads of the newest
//! entries never touch the disk. What lies there at the start is read by `load`. One thread owns all writes
//! (`io`), the format and its damages are in `segment`, what is in memory in `index`, how entries are read
//! back in `stretch`, the vote in `vote`.

pub(crate) mod durable;
mod index;
mod io;
mod load;
pub(crate) mod segment;
mod stretch;
pub(crate) mod vote;

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, EntryPayload, OptionalSend, RaftLogReader, StorageIOError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::disk::{Disk, create_dir, io_at};
use crate::error::REPLACE_ME;
use crate::node::lock;
use crate::types::{Entry, LogId, NodeId, StorageError, Types, Vote};
use crate::{Faults, StartError, World, codec};
use durable::{Durable, DurableView};
use index::{Found, Index};
use io::{Gauges, Op, Writer};
use load::{list, load};
use stretch::Stretch;
use vote::Hard;

/// Requests that wait for the writing thread; the core waits when there are more.
const OPS: usize = 1024;
/// At most this many bytes of entries go into one append message, but always one entry.
const READ_BYTES: usize = 1024 * 1024;

/// The log of one node. Clones are handles to the same log.
#[derive(Clone)]
pub struct LogStore {
    world: World,
    index: Arc<Mutex<Index>>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    ops: mpsc::Sender<Op>,
    durable: DurableView,
    gauges: Arc<Gauges>,
    id: NodeId,
    origin: u64,
    own_batches: Arc<AtomicU64>,
}

/// What the log tells about itself.
#[derive(Clone)]
pub struct LogView {
    gauges: Arc<Gauges>,
    ops: mpsc::Sender<Op>,
    durable: DurableView,
    own_batches: Arc<AtomicU64>,
}

impl LogView {
    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.gauges.log_bytes.load(Ordering::Relaxed)
    }

    /// Median and 99th percentile of the last fsyncs, in microseconds.
    pub fn fsync_percentiles(&self) -> (u64, u64) {
        self.gauges.fsync_percentiles()
    }

    /// Last committed log id that the core told.
    pub fn committed(&self) -> Option<LogId> {
        *lock(&self.gauges.known_committed)
    }

    /// How far the log is on the disk.
    pub fn durable(&self) -> DurableView {
        self.durable.clone()
    }

    /// Highest `seq` among this process's batches that ever reached the log.
    pub fn own_batches(&self) -> u64 {
        self.own_batches.load(Ordering::Acquire)
    }

    /// Writes what is left and ends the writing thread.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.ops.send(Op::Stop { done }).await.is_ok() {
            // The thread drops the sender only when it ends, which is as good.
            let _ = stopped.await;
        }
    }
}

/// Settings of the log.
pub struct Options {
    pub world: World,
    pub dir: PathBuf,
    pub segment_bytes: u64,
    pub faults: Faults,
    /// This node.
    pub id: NodeId,
    /// Random number of this process, see [`crate::types::Batch::origin`].
    pub origin: u64,
    /// Where the first error of the disk is told.
    pub fatal: watch::Sender<Option<String>>,
}

impl LogStore {
    /// Opens or (if `fresh`) creates the log.
    pub fn open(options: Options, fresh: bool) -> Result<(Self, LogView), StartError> {
        let (world, dir) = (options.world, options.dir);
        let disk = &*world.disk;
        create_dir(disk, &dir).map_err(io_at("cannot create", &dir))?;
        let segments = list(disk, &dir)?;
        let hard = match vote::read(disk, &dir)? {
            Some(hard) => hard,
            None if fresh && segments.is_empty() => {
                let hard = Hard::default();
                vote::write(disk, &dir, &hard).map_err(io_at("cannot write", &vote::path(&dir)))?;
                hard
            }
            None => {
                return Err(StartError::Damaged {
                    file: vote::path(&dir),
                    offset: 0,
                    what: "the file is missing".into(),
                    todo: REPLACE_ME,
                });
            }
        };
        let loaded = load(disk, &dir, &segments, hard)?;
        let gauges = Arc::new(Gauges::default());
        gauges.log_bytes.store(loaded.bytes, Ordering::Relaxed);
        *lock(&gauges.known_committed) = loaded.committed;
        let index = Arc::new(Mutex::new(loaded.index));
        let (ops, inbox) = mpsc::channel(OPS);
        let last = lock(&index).last.or(loaded.hard.purged);
        let durable = Durable::new(last.map_or(0, |l| l.index));
        let watch = durable.watch();
        let writer = Writer {
            world: world.clone(),
            dir: dir.clone(),
            hard: loaded.hard,
            active: loaded.active,
            next_number: loaded.next_number,
            index: index.clone(),
            durable,
            gauges: gauges.clone(),
            segment_bytes: options.segment_bytes,
            faults: options.faults,
            fatal: options.fatal,
            poisoned: false,
        };
        world.run("holdfast-log", writer.run(inbox))?;
        let own_batches = Arc::new(AtomicU64::new(0));
        let view = LogView {
            gauges: gauges.clone(),
            ops: ops.clone(),
            durable: watch.clone(),
            own_batches: own_batches.clone(),
        };
        let store = LogStore {
            world,
            index,
            vote: hard.vote.map(|vote| out_of_office(vote, options.id)),
            committed: loaded.committed,
            ops,
            durable: watch,
            gauges,
            id: options.id,
            origin: options.origin,
            own_batches,
        };
        Ok((store, view))
    }

    /// Whether nothing was ever voted for or written.
    pub fn is_pristine(&self) -> bool {
        self.vote.is_none() && lock(&self.index).last.is_none()
    }

    /// Everything up to here is gone from the log.
    pub fn purged(&self) -> Option<LogId> {
        lock(&self.index).purged
    }

    async fn ask(
        &self,
        op: impl FnOnce(oneshot::Sender<std::io::Result<()>>) -> Op,
    ) -> std::io::Result<()> {
        let (done, answer) = oneshot::channel();
        let gone = || std::io::Error::other("the log is closed");
        self.ops.send(op(done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Entries from `start` to before `end` that are there, up to `limit` bytes but at least one.
    async fn read(&self, start: u64, end: u64, limit: usize) -> Result<Vec<Entry>, StorageError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut on_disk: Vec<Stretch> = Vec::new();
        let mut bytes = 0;
        {
            let index = lock(&self.index);
            let first = index.first().unwrap_or(u64::MAX);
            for at in start.max(first)..end.min(index.last.map_or(0, |l| l.index + 1)) {
                match index.find(at) {
                    Found::Cached(entry) => {
                        if let EntryPayload::Normal(batch) = &entry.payload {
                            bytes += batch.items.0.len();
                        }
                        entries.push(entry.clone());
                    }
                    Found::OnDisk(path, place) => {
                        bytes += place.len as usize;
                        match on_disk.last_mut().filter(|it| it.goes_on(path, place)) {
                            Some(stretch) => stretch.push(at, place),
                            None => on_disk.push(Stretch::new(path, at, place)),
                        }
                    }
                    Found::Nothing => {}
                }
                if bytes >= limit {
                    break;
                }
            }
        }
        if on_disk.is_empty() {
            return Ok(entries);
        }
        let disk = self.world.disk.clone();
        let read = self.world.block(move || {
            let read = on_disk.iter().flat_map(|it| it.read(&*disk));
            read.collect::<Vec<_>>()
        });
        let read = read
            .await
            .map_err(|e| StorageIOError::read_logs(AnyError::new(&e)))?;
        let mut all = Vec::with_capacity(read.len() + entries.len());
        for (at, entry) in read {
            match entry {
                Ok(entry) => all.push(entry),
                // A purge may have taken the file from under us; then the entry is simply gone.
                Err(_) if matches!(lock(&self.index).find(at), Found::Nothing) => {}
                Err(e) => {
                    tracing::error!("cannot read entry {at} of the log: {e}");
                    return Err(StorageIOError::read_log_at_index(at, AnyError::error(e)).into());
                }
            }
        }
        all.extend(entries);
        Ok(all)
    }
}

/// A leader that was restarted has to be elected anew. openraft would put it back into its old term, and
/// there it could give the index of an entry that it had sent, and lost before it was on its disk, to
/// another one: two entries of one term and one index, which no node could tell apart.
fn out_of_office(vote: Vote, id: NodeId) -> Vote {
    match vote.leader_id.node_id == id {
        true => Vote::new(vote.leader_id.term, id),
        false => vote,
    }
}

/// Removes segments, oldest first, each durably before the next: what is left after a crash must
/// have no gap.
fn remove_all(disk: &dyn Disk, dir: &Path, oldest_first: &[PathBuf]) -> std::io::Result<()> {
    for path in oldest_first {
        disk.remove(path)?;
        disk.sync_dir(dir)?;
    }
    Ok(())
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(at) => at + 1,
            Bound::Excluded(at) => *at,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        self.read(start, end, READ_BYTES).await
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let index = lock(&self.index);
        Ok(LogState {
            last_purged_log_id: index.purged,
            last_log_id: index.last,
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.ask(|done| Op::Vote { vote, done })
            .await
            .map_err(|e| StorageIOError::write_vote(AnyError::new(&e)))?;
        self.vote = Some(vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        if let Some(committed) = committed {
            let durable = self.durable.upto(committed.index).await;
            durable.map_err(|e| StorageIOError::<NodeId>::write_logs(AnyError::new(&e)))?;
        }
        // Travels with the next block: it is a hint for a faster start, not a promise.
        self.committed = committed;
        *lock(&self.gauges.committed) = committed;
        *lock(&self.gauges.known_committed) = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        let mut first = None;
        let mut leads = false;
        {
            let mut index = lock(&self.index);
            for entry in entries {
                leads = self.leads(&entry.log_id);
                let bytes = codec::encode(&entry)
                    .map_err(|e| StorageIOError::<NodeId>::write_logs(AnyError::new(&e)))?;
                if let EntryPayload::Normal(batch) = &entry.payload
                    && batch.origin == self.origin
                {
                    self.own_batches.fetch_max(batch.seq, Ordering::AcqRel);
                }
                first.get_or_insert(entry.log_id.index);
                index.push(entry, bytes.len());
                encoded.push(bytes);
            }
        }
        let (now, later) = match leads {
            true => (Some(callback), None),
            false => (None, Some(callback)),
        };
        let op = Op::Append {
            first: first.unwrap_or(0),
            entries: encoded,
            done: later,
        };
        self.ops
            .send(op)
            .await
            .map_err(|_| StorageIOError::write_logs(AnyError::error("the log is closed")))?;
        if let Some(now) = now {
            now.log_io_completed(Ok(()));
        }
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let since = log_id.index;
        let unknown = lock(&self.index).truncate(since);
        if let Some(before) = unknown {
            let entries = self.read_before(before).await?;
            lock(&self.index).last = entries;
        }
        self.ask(|done| Op::Truncate { since, done })
            .await
            .map_err(|e| StorageIOError::write_logs(AnyError::new(&e)))?;
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        lock(&self.index).purge(log_id);
        self.ops
            .send(Op::Purge { upto: log_id })
            .await
            .map_err(|_| StorageIOError::write_logs(AnyError::error("the log is closed")))?;
        Ok(())
    }
}

impl LogStore {
    /// Whether it is this node that leads in the term of this entry, and so the one who made it. An entry
    /// of its own that comes back from another leader is appended under that one's vote.
    fn leads(&self, entry: &LogId) -> bool {
        self.vote.is_some_and(|vote| {
            vote.committed
                && vote.leader_id.node_id == self.id
                && entry.leader_id.node_id == self.id
                && entry.leader_id.term == vote.leader_id.term
        })
    }

    /// Log id of the entry at `at`, which is on disk, or the purged one.
    async fn read_before(&self, at: u64) -> Result<Option<LogId>, StorageError> {
        let entries = self.read(at, at + 1, usize::MAX).await?;
        Ok(entries
            .first()
            .map(|e| e.log_id)
            .or(lock(&self.index).purged))
    }
}

#[cfg(test)]
mod tests;
