//! The thread that writes the journal's pages into the tree, and removes the oldest.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};

use super::keys::{self, At, PAGES, number};
use super::tail;
use super::{Bounds, JournalError, KEY_COUNT, KEY_LAST, Raw, Shared};
use crate::tree::Change;

/// A page holds this many bytes, but always one event. sled writes values of more than 128 KiB into files
/// of their own and writes up to 17 values as one, so this must be far below an eighth of that.
const PAGE_BYTES: usize = 4 * 1024;
/// The bound on events must hold at least so many pages, for they are removed as a whole.
const PAGES_MIN: u64 = 8;
/// Old pages are removed at most this many at a time.
const TRIM: usize = 64;

pub enum Job {
    /// Enough has gathered.
    Write,
    /// These are a peer's.
    Fill(Vec<Raw>, oneshot::Sender<()>),
    Checkpoint(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

pub struct Writer {
    pub shared: Arc<Shared>,
    pub bounds: Bounds,
}

impl Writer {
    pub async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.recv().await {
            let (result, done, is_last) = match job {
                Job::Write => (self.write(), None, false),
                Job::Fill(raws, done) => (self.fill(raws), Some(done), false),
                Job::Checkpoint(done) => (self.checkpoint(), Some(done), false),
                Job::Stop(done) => (self.checkpoint(), Some(done), true),
            };
            self.note(result);
            if let Some(done) = done {
                let _ = done.send(());
            }
            if is_last {
                return;
            }
        }
    }

    /// The first error is told; later ones are its echo. The node goes on without a journal, which
    /// the next start puts aside and refills.
    fn note(&self, result: Result<(), JournalError>) {
        if let Err(e) = result {
            if !self.shared.broken.swap(true, Ordering::AcqRel) {
                tracing::error!("{e}; events are not kept until the next start");
                if let Err(e) = self.shared.tree.mark_broken() {
                    tracing::error!("cannot note that the journal is broken: {e}");
                }
            }
            self.shared.tail.clear();
        }
        self.shared.room.notify_waiters();
    }

    /// Writes what has gathered.
    fn write(&self) -> Result<(), JournalError> {
        let raws = self.shared.tail.all();
        let Some(last) = raws.last().map(|raw| raw.index) else {
            return Ok(());
        };
        self.put(&[&raws], Some(last))?;
        self.shared.tail.written(raws.len());
        let now_ms = keys::at_ms(&raws[raws.len() - 1]);
        while self.trim(now_ms)? {}
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), JournalError> {
        self.write()?;
        self.shared.tree.checkpoint()
    }

    /// Writes those of a peer's events that are missing here.
    fn fill(&self, raws: Vec<Raw>) -> Result<(), JournalError> {
        let (Some(first), Some(last)) = (raws.first(), raws.last()) else {
            return Ok(());
        };
        let (from, to) = ((first.index, first.seq), (last.index, last.seq));
        let mut there: BTreeSet<At> = BTreeSet::new();
        self.shared.pages(from, |raws| {
            there.extend(raws.iter().map(|raw| (raw.index, raw.seq)));
            Ok(there.last().is_none_or(|last| *last < to))
        })?;
        // A page must not reach over events that are there, or it would hide them.
        let mut runs: Vec<Vec<Raw>> = vec![Vec::new()];
        for raw in raws {
            match there.contains(&(raw.index, raw.seq)) {
                true => runs.push(Vec::new()),
                false => runs.last_mut().expect("it begins with one").push(raw),
            }
        }
        let runs: Vec<&[Raw]> = runs.iter().map(Vec::as_slice).collect();
        self.put(&runs, None)
    }

    /// Writes runs of events, each as one or more pages, all in one batch.
    fn put(&self, runs: &[&[Raw]], last: Option<u64>) -> Result<(), JournalError> {
        let mut changes: Vec<Change> = Vec::new();
        let mut count = self.count()?;
        for page in runs.iter().flat_map(|run| self.pages_of(run)) {
            let at = (page[0].index, page[0].seq);
            changes.push((keys::page_key(at), Some(keys::page(page)?)));
            for subject in subjects(page) {
                changes.push((keys::subject_key(subject, at), Some(Vec::new())));
            }
            count += page.len() as u64;
        }
        if changes.is_empty() {
            return Ok(());
        }
        changes.push((KEY_COUNT.to_vec(), Some(count.to_be_bytes().to_vec())));
        if let Some(last) = last {
            changes.push((KEY_LAST.to_vec(), Some(last.to_be_bytes().to_vec())));
        }
        self.shared.tree.apply(changes)
    }

    /// Cuts a run into pages.
    fn pages_of<'a>(&self, mut run: &'a [Raw]) -> Vec<&'a [Raw]> {
        let most = (self.bounds.max_events / PAGES_MIN).clamp(1, PAGE_BYTES as u64) as usize;
        let mut pages = Vec::new();
        while !run.is_empty() {
            let mut bytes = 0;
            let fits = |raw: &&Raw| {
                bytes += tail::size(raw);
                bytes <= PAGE_BYTES
            };
            let fitting = run.iter().take(most).take_while(fits).count();
            let (page, rest) = run.split_at(fitting.max(1));
            pages.push(page);
            run = rest;
        }
        pages
    }

    fn count(&self) -> Result<u64, JournalError> {
        Ok(self.shared.tree.get(KEY_COUNT)?.map_or(0, |v| number(&v)))
    }

    /// Removes the oldest pages while there are too many events, or all of a page are too old.
    /// Says whether there may be more.
    fn trim(&self, now_ms: u64) -> Result<bool, JournalError> {
        let mut left = self.count()?;
        let mut changes: Vec<Change> = Vec::new();
        let mut gone = 0;
        self.shared.tree.scan(PAGES.0, PAGES.1, &mut |key, value| {
            let (newest, count) = keys::page_head(value)?;
            let too_old = newest.saturating_add(self.bounds.max_age_ms) < now_ms;
            let too_many = left > self.bounds.max_events;
            if gone >= TRIM || !(too_many || too_old) {
                return Ok(false);
            }
            if let Some(at) = keys::at_of(key) {
                let subjects = subjects(&keys::page_raws(value)?);
                changes.extend(
                    subjects
                        .into_iter()
                        .map(|s| (keys::subject_key(s, at), None)),
                );
            }
            changes.push((key.to_vec(), None));
            left = left.saturating_sub(count);
            gone += 1;
            Ok(true)
        })?;
        if gone > 0 {
            changes.push((KEY_COUNT.to_vec(), Some(left.to_be_bytes().to_vec())));
            self.shared.tree.apply(changes)?;
        }
        Ok(gone == TRIM)
    }
}

fn subjects(page: &[Raw]) -> BTreeSet<u64> {
    page.iter().filter_map(keys::subject_of).collect()
}
