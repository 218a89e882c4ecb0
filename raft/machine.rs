//! The applied state as openraft drives it: apply, snapshot, restore.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageIOError};
use tokio::sync::{broadcast, watch};

use crate::clock::Clock;
use crate::disk::{create_dir, io_at};
use crate::error::{REPLACE_ME, note_fatal};
use crate::journal::Journal;
use crate::snapshot::{self, Head};
use crate::types::{
    BATCH_BYTES, Batch, Entry, ItemInPlace, LogId, Outcome, SnapshotMeta, StorageError,
    StoredMembership, Types,
};
use crate::{EventBatch, Machine, Stamp, StartError, World, codec};

/// Events that a slow reader may fall behind, in entries.
const EVENTS: usize = 4096;

/// The applied state of one node, shared by everything that reads it.
pub struct State<M: Machine> {
    inner: RwLock<Inner<M>>,
    applied: watch::Sender<u64>,
    events: broadcast::Sender<Arc<EventBatch<M::Event>>>,
    pub clock: Clock,
    pub journal: Journal<M::Event>,
    world: World,
    dir: PathBuf,
    /// Random number of this process, see [`Batch::origin`].
    pub origin: u64,
    fatal: watch::Sender<Option<String>>,
}

/// What one entry gave; events if it was a batch.
type Done<E> = (Outcome, Option<EventBatch<E>>);

#[derive(Default)]
struct Inner<M> {
    machine: M,
    last: Option<LogId>,
    membership: StoredMembership,
    at_ms: u64,
    wall_ms: u64,
}

impl<M: Machine> Inner<M> {
    /// A copy of what goes into a snapshot. Apply waits while it is made.
    fn facts(&self) -> Inner<M> {
        Inner {
            machine: self.machine.facts(),
            last: self.last,
            membership: self.membership.clone(),
            at_ms: self.at_ms,
            wall_ms: self.wall_ms,
        }
    }
}

impl<M: Machine> State<M> {
    /// Restores the newest good snapshot in `dir`, or begins empty.
    pub fn open(
        world: World,
        dir: PathBuf,
        journal: Journal<M::Event>,
        origin: u64,
        fatal: watch::Sender<Option<String>>,
    ) -> Result<Self, StartError> {
        create_dir(&*world.disk, &dir).map_err(io_at("cannot create", &dir))?;
        let mut inner = Inner::default();
        if let Some((path, bytes)) = snapshot::newest(&*world.disk, &dir)? {
            inner = restore(&bytes).map_err(|what| StartError::Damaged {
                file: path,
                offset: 0,
                what,
                todo: REPLACE_ME,
            })?;
        }
        let clock = Clock::new();
        clock.rebase(inner.at_ms);
        let applied = watch::Sender::new(inner.last.map_or(0, |l| l.index));
        let events = broadcast::Sender::new(EVENTS);
        let inner = RwLock::new(inner);
        Ok(State {
            inner,
            applied,
            events,
            clock,
            journal,
            world,
            dir,
            origin,
            fatal,
        })
    }

    pub fn read<R>(&self, f: impl FnOnce(&M) -> R) -> R {
        f(&self.inner().machine)
    }

    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    pub fn events(&self) -> broadcast::Receiver<Arc<EventBatch<M::Event>>> {
        self.events.subscribe()
    }

    /// Last applied log id.
    pub fn last(&self) -> Option<LogId> {
        self.inner().last
    }

    /// Hash of the state and the index it stands for.
    pub fn digest(&self) -> (u64, u64) {
        let (last, facts) = {
            let inner = self.inner();
            (inner.last, inner.machine.facts())
        };
        (last.map_or(0, |l| l.index), facts.digest())
    }

    fn inner(&self) -> RwLockReadGuard<'_, Inner<M>> {
        self.inner.read().unwrap_or_else(|e| e.into_inner())
    }

    fn inner_mut(&self) -> RwLockWriteGuard<'_, Inner<M>> {
        self.inner.write().unwrap_or_else(|e| e.into_inner())
    }

    fn fail(&self, why: String) -> StorageError {
        tracing::error!("{why}");
        note_fatal(&self.fatal, why.clone());
        StorageIOError::write_state_machine(AnyError::error(why)).into()
    }

    /// Applies one entry.
    fn apply_one(&self, entry: Entry) -> Result<Done<M::Event>, String> {
        let log_id = entry.log_id;
        let batch = match entry.payload {
            EntryPayload::Normal(batch) => batch,
            EntryPayload::Blank => {
                self.inner_mut().last = Some(log_id);
                return Ok((Outcome::default(), None));
            }
            EntryPayload::Membership(membership) => {
                let mut inner = self.inner_mut();
                inner.last = Some(log_id);
                inner.membership = StoredMembership::new(Some(log_id), membership);
                return Ok((Outcome::default(), None));
            }
        };
        let items = self.decode(&batch, log_id)?;
        let own = batch.origin == self.origin;
        let mut inner = self.inner_mut();
        let at_ms = batch.at_ms.max(inner.at_ms);
        let wall_ms = batch.wall_ms;
        let stamp = Stamp {
            index: log_id.index,
            at_ms,
            wall_ms,
        };
        let mut events = Vec::new();
        let mut replies = Vec::with_capacity(if own { items.len() } else { 0 });
        for (term, command) in &items {
            let void = *term != 0 && *term != log_id.leader_id.term;
            let reply = (!void).then(|| inner.machine.apply(stamp, command, &mut events));
            if own {
                let reply = reply.map(|r| codec::encode(&r)).transpose();
                replies.push(reply.map_err(|e| e.to_string())?.map(Into::into));
            }
        }
        inner.last = Some(log_id);
        inner.at_ms = at_ms;
        inner.wall_ms = wall_ms;
        drop(inner);
        match own {
            // A new leader stamps its first entry before it applies the last ones of the old leader,
            // which set its clock back to when those were written.
            true => self.clock.advance(at_ms),
            false => self.clock.rebase(at_ms),
        }
        let events = EventBatch {
            index: log_id.index,
            at_ms,
            wall_ms,
            events,
            reset: false,
        };
        Ok((Outcome { at_ms, replies }, Some(events)))
    }

    fn decode(&self, batch: &Batch, at: LogId) -> Result<Vec<(u64, M::Command)>, String> {
        if batch.schema > M::SCHEMA {
            let (found, known) = (batch.schema, M::SCHEMA);
            return Err(format!(
                "log entry {at} has schema {found}, this version reads up to {known}; \
                 install a newer version"
            ));
        }
        let wrong = |e: codec::CodecError| format!("log entry {at} cannot be read: {e}");
        let items: Vec<ItemInPlace> =
            codec::decode(&batch.items.0, 2 * BATCH_BYTES).map_err(wrong)?;
        let command = |item: ItemInPlace| {
            codec::decode(item.command, BATCH_BYTES)
                .map(|c| (item.term, c))
                .map_err(wrong)
        };
        items.into_iter().map(command).collect()
    }
}

fn restore<M: Machine>(packed: &[u8]) -> Result<Inner<M>, String> {
    let (schema, head, state) = snapshot::unpack(packed)?;
    if schema > M::SCHEMA {
        let known = M::SCHEMA;
        return Err(format!(
            "schema {schema} is newer than {known}; install a newer version"
        ));
    }
    Ok(Inner {
        machine: M::restore(schema, state)?,
        last: head.meta.last_log_id,
        membership: head.meta.last_membership,
        at_ms: head.at_ms,
        wall_ms: head.wall_ms,
    })
}

/// openraft's handle to the state.
pub struct Applier<M: Machine> {
    state: Arc<State<M>>,
}

impl<M: Machine> Applier<M> {
    pub fn new(state: Arc<State<M>>) -> Self {
        Applier { state }
    }
}

impl<M: Machine> RaftStateMachine<Types> for Applier<M> {
    type SnapshotBuilder = Builder<M>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let inner = self.state.inner();
        Ok((inner.last, inner.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            let log_id = entry.log_id;
            let applied = catch_unwind(AssertUnwindSafe(|| self.state.apply_one(entry)))
                .unwrap_or_else(|_| Err(format!("applying log entry {log_id} panicked")));
            let (outcome, events) = applied.map_err(|why| self.state.fail(why))?;
            outcomes.push(outcome);
            if let Some(batch) = events.filter(|b| !b.events.is_empty()) {
                let batch = Arc::new(batch);
                self.state.journal.write(&batch).await;
                // Nobody listening is fine.
                let _ = self.state.events.send(batch);
            }
            self.state.applied.send_replace(log_id.index);
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder<M> {
        Builder {
            inner: Some(self.state.inner().facts()),
            state: self.state.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let (state, meta) = (self.state.clone(), meta.clone());
        // Noted durably before the snapshot is, or a power cut could leave the gap unknown.
        let before = state.last().map_or(0, |l| l.index);
        let upto = meta.last_log_id.map_or(0, |l| l.index);
        state.journal.note_gap(before, upto);
        state.journal.checkpoint().await;
        let world = state.world.clone();
        let installed = world.block(move || {
            let packed = snapshot.into_inner();
            let mut inner: Inner<M> =
                restore(&packed).map_err(|e| format!("cannot install a snapshot: {e}"))?;
            inner.last = meta.last_log_id;
            inner.membership = meta.last_membership.clone();
            let saved = snapshot::save(&*state.world.disk, &state.dir, &meta, &packed);
            saved.map_err(|e| format!("cannot save a snapshot in {}: {e}", state.dir.display()))?;
            let (index, at_ms, wall_ms) = (
                inner.last.map_or(0, |l| l.index),
                inner.at_ms,
                inner.wall_ms,
            );
            *state.inner_mut() = inner;
            state.clock.rebase(at_ms);
            Ok((index, at_ms, wall_ms))
        });
        let installed = installed.await.unwrap_or_else(|e| Err(e.to_string()));
        let (index, at_ms, wall_ms) = installed.map_err(|why: String| self.state.fail(why))?;
        let batch = EventBatch {
            index,
            at_ms,
            wall_ms,
            events: Vec::new(),
            reset: true,
        };
        let _ = self.state.events.send(Arc::new(batch));
        self.state.applied.send_replace(index);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let (disk, dir) = (self.state.world.disk.clone(), self.state.dir.clone());
        let read = self.state.world.block(move || {
            let newest = snapshot::newest(&*disk, &dir).map_err(|e| e.to_string())?;
            let Some((_, packed)) = newest else {
                return Ok(None);
            };
            let meta = snapshot::unpack(&packed)?.1.meta;
            Ok(Some(Snapshot {
                meta,
                snapshot: Box::new(Cursor::new(packed)),
            }))
        });
        let read = read.await.unwrap_or_else(|e| Err(e.to_string()));
        read.map_err(|why: String| self.state.fail(why))
    }
}

/// Builds one snapshot from a copy, while applying goes on.
pub struct Builder<M: Machine> {
    /// Until it is built.
    inner: Option<Inner<M>>,
    state: Arc<State<M>>,
}

impl<M: Machine> RaftSnapshotBuilder<Types> for Builder<M> {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        // openraft builds once with each builder; if it did so again, it would get what is newer.
        let inner = self.inner.take();
        let inner = inner.unwrap_or_else(|| self.state.inner().facts());
        // What is in a snapshot is not replayed, so its events must be durable in the journal.
        self.state.journal.checkpoint().await;
        let state = self.state.clone();
        let world = state.world.clone();
        let built = world.block(move || {
            let (term, index) = inner.last.map_or((0, 0), |l| (l.leader_id.term, l.index));
            let meta = SnapshotMeta {
                last_log_id: inner.last,
                last_membership: inner.membership.clone(),
                snapshot_id: format!("{term}-{index}-{:08x}", rand::random::<u32>()),
            };
            let (at_ms, wall_ms) = (inner.at_ms, inner.wall_ms);
            let head = Head {
                meta: meta.clone(),
                at_ms,
                wall_ms,
            };
            let machine = inner.machine.snapshot();
            let machine = machine.map_err(|e| format!("the machine gave no snapshot: {e}"))?;
            let packed = snapshot::pack(M::SCHEMA, &head, &machine)?;
            let saved = snapshot::save(&*state.world.disk, &state.dir, &meta, &packed);
            saved.map_err(|e| format!("cannot save a snapshot in {}: {e}", state.dir.display()))?;
            Ok(Snapshot {
                meta,
                snapshot: Box::new(Cursor::new(packed)),
            })
        });
        let built = built.await.unwrap_or_else(|e| Err(e.to_string()));
        built.map_err(|why: String| self.state.fail(why))
    }
}

#[cfg(test)]
mod tests {
    use openraft::CommittedLeaderId;

    use super::*;
    use crate::journal::Bounds;
    use crate::test_machine::Counter;
    use crate::types::Item;

    fn open(dir: &std::path::Path) -> (Arc<State<Counter>>, Applier<Counter>) {
        let bounds = Bounds {
            max_events: 100,
            max_age_ms: 1000,
        };
        let (journal, _) =
            Journal::open(&World::default(), &dir.join("journal"), bounds, |_| None).unwrap();
        let fatal = watch::Sender::new(None);
        let state =
            Arc::new(State::open(World::default(), dir.join("snap"), journal, 7, fatal).unwrap());
        (state.clone(), Applier::new(state))
    }

    fn entry(term: u64, index: u64, at_ms: u64, schema: u16, items: &[(u64, u64)]) -> Entry {
        let item = |(term, command): &(u64, u64)| Item {
            term: *term,
            command: codec::encode(command).unwrap().into(),
        };
        let items: Vec<Item> = items.iter().map(item).collect();
        let items = codec::encode(&items).unwrap().into();
        let batch = Batch {
            schema,
            origin: 7,
            seq: 1,
            at_ms,
            wall_ms: 0,
            items,
        };
        let log_id = LogId::new(CommittedLeaderId::new(term, 1), index);
        Entry {
            log_id,
            payload: EntryPayload::Normal(batch),
        }
    }

    #[tokio::test]
    async fn a_decision_of_an_older_term_than_its_entry_is_void() {
        let dir = tempfile::tempdir().unwrap();
        let (state, mut applier) = open(dir.path());
        let outcomes = applier
            .apply([entry(3, 1, 10, 1, &[(3, 1), (2, 10), (0, 100)])])
            .await
            .unwrap();
        let replies: Vec<bool> = outcomes[0].replies.iter().map(Option::is_some).collect();
        assert_eq!(replies, vec![true, false, true]);
        assert_eq!(state.read(|m| m.sum), 101);
    }

    /// The old leader wrote its last entry seconds before the new one took office and applies it.
    #[tokio::test]
    async fn the_clock_of_a_new_leader_goes_on_from_the_stamp_of_its_first_entry() {
        let dir = tempfile::tempdir().unwrap();
        let (state, mut applier) = open(dir.path());
        let mut last_of_old = entry(1, 1, 20_000, 1, &[(0, 1)]);
        if let EntryPayload::Normal(batch) = &mut last_of_old.payload {
            batch.origin += 1;
        }
        let first_of_new = entry(2, 2, 26_000, 1, &[]);
        applier.apply([last_of_old, first_of_new]).await.unwrap();
        assert!(state.clock.now_ms() >= 26_000, "{}", state.clock.now_ms());
        // Its own stamps set it back no more than before.
        let own = entry(2, 3, 21_000, 1, &[]);
        applier.apply([own]).await.unwrap();
        assert!(state.clock.now_ms() >= 26_000);
    }

    #[tokio::test]
    async fn a_stamp_that_lies_behind_is_lifted() {
        let dir = tempfile::tempdir().unwrap();
        let (state, mut applier) = open(dir.path());
        applier
            .apply([entry(1, 1, 50, 1, &[(0, 1)])])
            .await
            .unwrap();
        let outcomes = applier
            .apply([entry(2, 2, 20, 1, &[(0, 1)])])
            .await
            .unwrap();
        assert_eq!(outcomes[0].at_ms, 50);
        assert_eq!(state.read(|m| m.last_ms), 50);
    }

    #[tokio::test]
    async fn a_newer_schema_or_an_unreadable_command_is_fatal_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (state, mut applier) = open(dir.path());
        assert!(applier.apply([entry(1, 1, 1, 2, &[(0, 1)])]).await.is_err());
        let why = state.fatal.borrow().clone().unwrap();
        assert!(
            why.contains("schema 2") && why.contains("newer version"),
            "{why}"
        );
        let mut bad = entry(1, 1, 1, 1, &[]);
        if let EntryPayload::Normal(batch) = &mut bad.payload {
            batch.items = vec![0xff; 20].into();
        }
        assert!(applier.apply([bad]).await.is_err());
        assert_eq!((state.read(|m| m.sum), state.last()), (0, None));
    }

    #[tokio::test]
    async fn a_snapshot_and_the_tail_give_the_same_as_the_whole_log() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (one, mut whole) = open(dirs[0].path());
        let (two, mut part) = open(dirs[1].path());
        let log: Vec<Entry> = (1..50).map(|i| entry(1, i, i * 3, 1, &[(0, i)])).collect();
        whole.apply(log[..30].to_vec()).await.unwrap();
        let snapshot = whole
            .get_snapshot_builder()
            .await
            .build_snapshot()
            .await
            .unwrap();
        whole.apply(log[30..].to_vec()).await.unwrap();
        let mut events = two.events();
        part.install_snapshot(&snapshot.meta, snapshot.snapshot)
            .await
            .unwrap();
        let told = events.recv().await.unwrap();
        assert!(told.reset && told.index == 30 && told.events.is_empty());
        part.apply(log[30..].to_vec()).await.unwrap();
        assert_eq!(one.read(Clone::clone), two.read(Clone::clone));
        assert_eq!(two.journal.gap(), Some((0, 30)));
    }
}
