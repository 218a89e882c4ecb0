//! The thread that owns all writes of the log: append, vote, truncate and purge, in the order in
//! which they were asked for. Appends that wait together go down in one block with one fdatasync.
//! Behind what is written a segment has room of zeros, so that most syncs find the file as long as it
//! was: the system need not write about the file then, only the bytes, in half the time.
//! The first error of the disk poisons the store: what the system has or has not kept after a
//! failed fsync is unknown, so nothing is written or confirmed any more.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::storage::LogFlushed;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::durable::Durable;
use super::index::Index;
use super::segment::{self, HEADER_LEN};
use super::vote::{self, Hard};
use crate::disk::DiskFile;
use crate::error::note_fatal;
use crate::node::lock;
use crate::types::{LogId, Types, Vote};
use crate::{Faults, World};

/// A block holds at most this many entries,
const BLOCK_ENTRIES: usize = 4096;
/// and stops taking more at this many bytes.
const BLOCK_BYTES: usize = 16 * 1024 * 1024;
/// A page of the system's memory.
const PAGE: usize = 4096;
/// Room is made for this part of a segment at a time.
const ROOM_PART: u64 = 16;
/// This many fsyncs are kept for the percentiles.
const SAMPLES: usize = 1024;

pub enum Op {
    Append {
        first: u64,
        entries: Vec<Vec<u8>>,
        /// Told when they are on the disk; `None` where nobody waits for that here.
        done: Option<LogFlushed<Types>>,
    },
    Vote {
        vote: Vote,
        done: oneshot::Sender<io::Result<()>>,
    },
    Truncate {
        since: u64,
        done: oneshot::Sender<io::Result<()>>,
    },
    Purge {
        upto: LogId,
    },
    Stop {
        done: oneshot::Sender<()>,
    },
}

/// What the thread shares with the rest.
#[derive(Default)]
pub struct Gauges {
    pub log_bytes: AtomicU64,
    fsyncs: Mutex<VecDeque<u32>>,
    /// Committed log id to go down with the next block.
    pub committed: Mutex<Option<LogId>>,
    /// Last committed log id that the core told.
    pub known_committed: Mutex<Option<LogId>>,
}

impl Gauges {
    /// Median and 99th percentile of the last fsyncs, in microseconds.
    pub fn fsync_percentiles(&self) -> (u64, u64) {
        let mut all: Vec<u32> = lock(&self.fsyncs).iter().copied().collect();
        if all.is_empty() {
            return (0, 0);
        }
        all.sort_unstable();
        let at = |per_cent: usize| u64::from(all[(all.len() - 1) * per_cent / 100]);
        (at(50), at(99))
    }

    fn note(&self, took: Duration) {
        let mut all = lock(&self.fsyncs);
        if all.len() == SAMPLES {
            all.pop_front();
        }
        all.push_back(took.as_micros().min(u128::from(u32::MAX)) as u32);
    }
}

pub struct Writer {
    pub world: World,
    pub dir: PathBuf,
    pub hard: Hard,
    pub active: Option<Active>,
    pub next_number: u64,
    pub index: Arc<Mutex<Index>>,
    pub durable: Durable,
    pub gauges: Arc<Gauges>,
    pub segment_bytes: u64,
    pub faults: Faults,
    pub fatal: watch::Sender<Option<String>>,
    pub poisoned: bool,
}

/// The segment that is written to.
pub struct Active {
    pub file: Box<dyn DiskFile>,
    pub number: u64,
    /// Where the next block goes.
    pub len: u64,
    /// Length of the file; behind `len` it is zeros.
    pub room: u64,
}

/// A change that the disk keeps or refuses.
enum Work<'a> {
    /// Entries from this index on. Without any only the committed index goes down.
    Put(u64, &'a [Vec<u8>]),
    Save(Hard),
    Truncate(u64),
    Purge(LogId),
}

impl Writer {
    pub async fn run(mut self, mut ops: mpsc::Receiver<Op>) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match ops.recv().await {
                    Some(op) => waiting.push_back(op),
                    None => return,
                }
            }
            while waiting.len() < BLOCK_ENTRIES
                && let Ok(op) = ops.try_recv()
            {
                waiting.push_back(op);
            }
            match waiting.pop_front() {
                Some(Op::Append {
                    first,
                    entries,
                    done,
                }) => {
                    self.append(first, entries, done, &mut waiting).await;
                }
                Some(Op::Vote { vote, done }) => {
                    let hard = Hard {
                        vote: Some(vote),
                        ..self.hard
                    };
                    let _ = done.send(self.guard(Work::Save(hard)).await);
                }
                Some(Op::Truncate { since, done }) => {
                    let _ = done.send(self.guard(Work::Truncate(since)).await);
                }
                Some(Op::Purge { upto }) => {
                    // An error has poisoned the store, which is how the core hears of it.
                    let _ = self.guard(Work::Purge(upto)).await;
                }
                Some(Op::Stop { done }) => {
                    let _ = self.guard(Work::Put(0, &[])).await;
                    let _ = done.send(());
                    return;
                }
                None => {}
            }
        }
    }

    /// Writes these entries and those of the appends that wait directly behind.
    async fn append(
        &mut self,
        first: u64,
        mut entries: Vec<Vec<u8>>,
        done: Option<LogFlushed<Types>>,
        waiting: &mut VecDeque<Op>,
    ) {
        let mut bytes: usize = entries.iter().map(Vec::len).sum();
        let mut dones = vec![done];
        while bytes < BLOCK_BYTES
            && entries.len() < BLOCK_ENTRIES
            && matches!(waiting.front(), Some(Op::Append { .. }))
        {
            let Some(Op::Append {
                entries: more,
                done,
                ..
            }) = waiting.pop_front()
            else {
                break;
            };
            bytes += more.iter().map(Vec::len).sum::<usize>();
            entries.extend(more);
            dones.push(done);
        }
        let result = self.guard(Work::Put(first, &entries)).await;
        for done in dones.into_iter().flatten() {
            let copy = match &result {
                Ok(()) => Ok(()),
                Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
            };
            done.log_io_completed(copy);
        }
    }

    /// Does it, unless the disk broke before; remembers if it breaks now.
    async fn guard(&mut self, work: Work<'_>) -> io::Result<()> {
        if self.poisoned {
            return Err(io::Error::other(
                "the store is poisoned by an earlier error of the disk",
            ));
        }
        let (what, result) = match work {
            Work::Put(first, entries) => ("append to the log", self.put(first, entries).await),
            Work::Save(hard) => ("write the vote", self.save(hard).await),
            Work::Truncate(since) => ("truncate the log", self.truncate(since).await),
            Work::Purge(upto) => ("purge the log", self.purge(upto).await),
        };
        if let Err(e) = &result {
            self.poisoned = true;
            let why = format!("cannot {what} in {}: {e}", self.dir.display());
            tracing::error!("{why}");
            note_fatal(&self.fatal, why.clone());
            self.durable.broke(why);
        }
        result
    }

    /// Writes the entries; without any only the committed index, if there is a place for it.
    async fn put(&mut self, first: u64, entries: &[Vec<u8>]) -> io::Result<()> {
        if entries.is_empty() && (self.active.is_none() || lock(&self.gauges.committed).is_none()) {
            return Ok(());
        }
        if self
            .active
            .as_ref()
            .is_none_or(|a| a.len >= self.segment_bytes)
        {
            self.open_segment().await?;
        }
        self.write_block(None, first, entries).await?;
        if let Some(more) = (entries.len() as u64).checked_sub(1) {
            self.durable.reached_at_least(first + more);
        }
        Ok(())
    }

    /// Writes one block and makes it durable.
    async fn write_block(
        &mut self,
        void_since: Option<u64>,
        first: u64,
        entries: &[Vec<u8>],
    ) -> io::Result<()> {
        let sync_time = self.sync_time();
        let Some(active) = &mut self.active else {
            return Err(io::Error::other("there is no open segment"));
        };
        let committed = lock(&self.gauges.committed).take();
        let (number, at) = (active.number, active.len);
        let (block, places) = segment::block(number, at, committed, void_since, entries);
        let end = at + block.len() as u64;
        active.file.write_at(&block, at)?;
        if end > active.room {
            let room = end + self.segment_bytes / ROOM_PART;
            write_zeros(&*active.file, end, room)?;
            let grown = room - active.room;
            self.gauges.log_bytes.fetch_add(grown, Ordering::Relaxed);
            active.room = room;
        }
        let begun = Instant::now();
        self.world.pause(sync_time).await;
        check(&self.faults)?;
        active.file.sync()?;
        self.gauges.note(begun.elapsed());
        active.len = end;
        lock(&self.index).written(number, first, &places);
        Ok(())
    }

    /// Begins a new segment. The one before ends where its last block does from now on: only the newest
    /// may have anything behind it.
    async fn open_segment(&mut self) -> io::Result<()> {
        if let Some(full) = self.active.take()
            && full.room > full.len
        {
            full.file.set_len(full.len)?;
            full.file.sync()?;
            let cut = full.room - full.len;
            self.gauges.log_bytes.fetch_sub(cut, Ordering::Relaxed);
        }
        let number = self.next_number;
        let path = self.dir.join(segment::file_name(number));
        let file = self.world.disk.create(&path, false)?;
        file.write_at(&segment::header(number), 0)?;
        file.sync()?;
        self.world.disk.sync_dir(&self.dir)?;
        self.next_number += 1;
        self.gauges
            .log_bytes
            .fetch_add(HEADER_LEN as u64, Ordering::Relaxed);
        lock(&self.index).opened(number, path);
        self.save(Hard {
            newest: Some(number),
            ..self.hard
        })
        .await?;
        self.active = Some(Active {
            file,
            number,
            len: HEADER_LEN as u64,
            room: HEADER_LEN as u64,
        });
        Ok(())
    }

    async fn save(&mut self, hard: Hard) -> io::Result<()> {
        if hard.vote < self.hard.vote || hard.purged < self.hard.purged {
            let (old, new) = (self.hard, hard);
            return Err(io::Error::other(format!("{new:?} would go behind {old:?}")));
        }
        if hard == self.hard {
            return Ok(());
        }
        let begun = Instant::now();
        self.world.pause(self.sync_time()).await;
        check(&self.faults)?;
        vote::write(&*self.world.disk, &self.dir, &hard)?;
        self.gauges.note(begun.elapsed());
        self.hard = hard;
        Ok(())
    }

    /// Notes that everything from `since` on is void. One block, so a crash leaves all or nothing
    /// of it; what it voids stays in the file until the segment is purged.
    async fn truncate(&mut self, since: u64) -> io::Result<()> {
        lock(&self.index).truncate_places(since);
        self.durable.reached(since.saturating_sub(1));
        if self.active.is_none() {
            self.open_segment().await?;
        }
        self.write_block(Some(since), since, &[]).await
    }

    /// Notes how far the log is gone, then removes the segments that are gone as a whole.
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        if self.hard.purged >= Some(upto) {
            return Ok(());
        }
        let (removed, empty) = lock(&self.index).purge_places(upto.index);
        self.save(Hard {
            purged: Some(upto),
            newest: self.hard.newest.filter(|_| !empty),
            ..self.hard
        })
        .await?;
        self.durable.reached_at_least(upto.index);
        if empty {
            // What is appended next need not follow on what the open segment holds.
            self.active = None;
        }
        super::remove_all(&*self.world.disk, &self.dir, &removed)?;
        self.recount()
    }

    /// What a sync takes beside the call itself: nothing, but in tests.
    fn sync_time(&self) -> Duration {
        self.faults.fsync_delay() + self.world.disk.sync_time()
    }

    fn recount(&mut self) -> io::Result<()> {
        let mut sum = 0;
        for path in lock(&self.index).paths() {
            sum += self.world.disk.len(path)?;
        }
        self.gauges.log_bytes.store(sum, Ordering::Relaxed);
        Ok(())
    }
}

/// Page by page: Linux keeps together in memory what is written at once, and would look through all of
/// a large piece at each sync.
fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let end = (at - at % PAGE as u64 + PAGE as u64).min(to);
        file.write_at(&[0; PAGE][..(end - at) as usize], at)?;
        at = end;
    }
    Ok(())
}

fn check(faults: &Faults) -> io::Result<()> {
    match faults.fsync_fails() {
        true => Err(io::Error::other("injected failure of fsync")),
        false => Ok(()),
    }
}
