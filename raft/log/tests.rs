//! The log against openraft's own suite, and against every way a crash or a bad bit can damage it.

use std::fs;
use std::path::{Path, PathBuf};

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader};
use tempfile::TempDir;

use super::*;
use crate::disk::Files;
use crate::journal::{Bounds, Journal};
use crate::machine::{Applier, State};
use crate::test_machine::Counter;
use crate::types::Batch;

fn options(dir: &Path, segment_bytes: u64) -> Options {
    Options {
        world: World::default(),
        dir: dir.into(),
        segment_bytes,
        faults: Faults::default(),
        id: 1,
        origin: 7,
        fatal: watch::Sender::new(None),
    }
}

fn open(dir: &Path) -> Result<(LogStore, LogView), StartError> {
    LogStore::open(options(dir, 1 << 20), !vote::path(dir).exists())
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let batch = Batch {
        seq: index,
        items: vec![index as u8 | 1; bytes].into(),
        ..Batch::default()
    };
    Entry {
        log_id: id(term, index),
        payload: EntryPayload::Normal(batch),
    }
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

async fn all(log: &mut LogStore) -> Vec<LogId> {
    log.try_get_log_entries(..)
        .await
        .unwrap()
        .iter()
        .map(|e| e.log_id)
        .collect()
}

/// A log with these entries, each in a block of its own, closed again.
async fn written(dir: &Path, indexes: std::ops::Range<u64>) {
    let (mut log, view) = open(dir).unwrap();
    for index in indexes {
        log.blocking_append([entry(1, index, 40)]).await.unwrap();
    }
    view.stop().await;
}

fn newest(dir: &Path) -> PathBuf {
    list(&Files, dir)
        .unwrap()
        .into_values()
        .next_back()
        .unwrap()
}

struct Builder;

impl StoreBuilder<Types, LogStore, Applier<Counter>, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Applier<Counter>), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = LogStore::open(options(&dir.path().join("log"), 4096), true).unwrap();
        let bounds = Bounds {
            max_events: 100,
            max_age_ms: 1000,
        };
        let (journal, _) = Journal::open(
            &World::default(),
            &dir.path().join("journal"),
            bounds,
            |_| None,
        )
        .unwrap();
        let fatal = watch::Sender::new(None);
        let state =
            State::open(World::default(), dir.path().join("snap"), journal, 7, fatal).unwrap();
        Ok((dir, log, Applier::new(Arc::new(state))))
    }
}

#[test]
fn openrafts_own_storage_suite_passes_on_disk() {
    // The suite makes its own runtime per case.
    Suite::test_all(Builder).unwrap();
}

/// One thread and virtual time, so that it is certain what comes first.
fn slow(dir: &Path) -> (LogStore, LogView) {
    let world = World {
        threads: false,
        ..World::default()
    };
    let options = Options {
        world,
        ..options(dir, 1 << 20)
    };
    let faults = options.faults.clone();
    let opened = LogStore::open(options, true).unwrap();
    faults.slow_fsync(std::time::Duration::from_secs(1));
    opened
}

#[tokio::test(start_paused = true)]
async fn what_a_leader_appends_is_confirmed_at_once_and_committed_when_it_is_on_its_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, view) = slow(dir.path());
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    log.blocking_append([entry(3, 0, 40), entry(3, 1, 40)])
        .await
        .unwrap();
    assert_eq!(view.durable().now(), 0, "the others may have it");
    log.save_committed(Some(id(3, 1))).await.unwrap();
    assert_eq!(view.durable().now(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_another_leader_sends_is_confirmed_when_it_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, view) = slow(dir.path());
    log.save_vote(&Vote::new_committed(4, 2)).await.unwrap();
    // Of a term in which this node led: it comes back from the one who leads now.
    log.blocking_append([entry(3, 0, 40), entry(3, 1, 40)])
        .await
        .unwrap();
    assert_eq!(view.durable().now(), 1);
    log.truncate(id(3, 1)).await.unwrap();
    assert_eq!(view.durable().now(), 0);
}

#[tokio::test]
async fn what_a_leader_cannot_write_is_never_committed() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), 1 << 20);
    let (faults, fatal) = (options.faults.clone(), options.fatal.subscribe());
    let (mut log, _view) = LogStore::open(options, true).unwrap();
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    log.blocking_append([entry(3, 0, 40)]).await.unwrap();
    log.save_committed(Some(id(3, 0))).await.unwrap();
    faults.fail_fsync();
    log.blocking_append([entry(3, 1, 40)]).await.unwrap();
    let refused = log.save_committed(Some(id(3, 1))).await.unwrap_err();
    // Openraft stops with this error, and its stop may be told before the log's own complaint.
    assert!(
        refused.to_string().contains("injected failure"),
        "{refused}"
    );
    assert!(fatal.borrow().is_some(), "it is set before anyone hears");
}

/// In its old term it could make another entry of the same index, beside one that it sent and lost.
#[tokio::test]
async fn a_leader_that_restarts_is_out_of_office_until_it_is_elected_in_a_new_term() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, view) = open(dir.path()).unwrap();
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    view.stop().await;
    let (mut log, _view) = open(dir.path()).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, 1)));
    log.save_vote(&Vote::new(4, 1)).await.unwrap();
}

#[tokio::test]
async fn what_was_confirmed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, view) = LogStore::open(options(dir.path(), 4096), true).unwrap();
    let vote = Vote::new_committed(3, 9);
    log.save_vote(&vote).await.unwrap();
    for index in 0..200 {
        log.blocking_append([entry(1, index, 100)]).await.unwrap();
    }
    log.save_committed(Some(id(1, 150))).await.unwrap();
    view.stop().await;
    assert!(
        list(&Files, dir.path()).unwrap().len() > 3,
        "several segments"
    );
    let (mut log, view) = LogStore::open(options(dir.path(), 4096), false).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(1, 150)));
    assert_eq!(
        all(&mut log).await,
        (0..200).map(|i| id(1, i)).collect::<Vec<_>>()
    );
    assert_eq!(
        log.get_log_state().await.unwrap().last_log_id,
        Some(id(1, 199))
    );
    assert!(view.bytes() > 0 && !log.is_pristine());
}

#[tokio::test]
async fn truncated_and_purged_entries_do_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, view) = LogStore::open(options(dir.path(), 4096), true).unwrap();
    log.blocking_append((0..100).map(|i| entry(1, i, 100)))
        .await
        .unwrap();
    log.blocking_append((100..110).map(|i| entry(1, i, 100)))
        .await
        .unwrap();
    log.truncate(id(1, 55)).await.unwrap();
    log.blocking_append((55..60).map(|i| entry(2, i, 100)))
        .await
        .unwrap();
    log.truncate(id(2, 58)).await.unwrap();
    log.purge(id(1, 20)).await.unwrap();
    let expected: Vec<LogId> = (21..55)
        .map(|i| id(1, i))
        .chain((55..58).map(|i| id(2, i)))
        .collect();
    assert_eq!(all(&mut log).await, expected);
    view.stop().await;
    let (mut log, view) = LogStore::open(options(dir.path(), 4096), false).unwrap();
    assert_eq!(all(&mut log).await, expected);
    // A snapshot from the leader purges beyond the end.
    log.purge(id(3, 500)).await.unwrap();
    assert_eq!(all(&mut log).await, vec![]);
    log.blocking_append([entry(3, 501, 10)]).await.unwrap();
    view.stop().await;
    assert_eq!(
        list(&Files, dir.path()).unwrap().len(),
        1,
        "whole segments are gone"
    );
    let (mut log, _) = LogStore::open(options(dir.path(), 4096), false).unwrap();
    assert_eq!(all(&mut log).await, vec![id(3, 501)]);
    assert_eq!(
        log.get_log_state().await.unwrap().last_purged_log_id,
        Some(id(3, 500))
    );
}

#[tokio::test]
async fn entries_beyond_the_memory_cache_are_read_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    for chunk in 0..50u64 {
        let entries = (chunk * 1000..(chunk + 1) * 1000).map(|i| entry(1, i, 30));
        log.blocking_append(entries).await.unwrap();
    }
    let ids = |entries: Vec<Entry>| entries.iter().map(|e| e.log_id.index).collect::<Vec<_>>();
    assert_eq!(
        ids(log.try_get_log_entries(5..8).await.unwrap()),
        vec![5, 6, 7]
    );
    assert!(matches!(lock(&log.index).find(5), Found::OnDisk(..)));
    let across = log.try_get_log_entries(30_000..40_000).await.unwrap();
    assert_eq!(ids(across), (30_000..40_000).collect::<Vec<_>>());
    let limited = log.limited_get_log_entries(0, 50_000).await.unwrap();
    assert!(!limited.is_empty() && limited.len() < 50_000);
}

/// A segment without the room behind its last block.
fn without_room(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|b| *b != 0);
    &bytes[..last.map_or(0, |at| at + 1)]
}

#[tokio::test]
async fn only_the_newest_segment_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, view) = LogStore::open(options(dir.path(), 4096), true).unwrap();
    let mut with_room = 0;
    for index in 0..100 {
        log.blocking_append([entry(1, index, 100)]).await.unwrap();
        let segments = list(&Files, dir.path()).unwrap();
        let bytes: Vec<Vec<u8>> = segments.values().map(|p| fs::read(p).unwrap()).collect();
        let (newest, older) = bytes.split_last().unwrap();
        assert!(older.iter().all(|bytes| without_room(bytes) == bytes));
        with_room += usize::from(without_room(newest) != newest);
        let all: usize = bytes.iter().map(Vec::len).sum();
        assert_eq!(view.bytes(), all as u64, "what is told is what is there");
    }
    assert!(with_room > 60, "{with_room} of 100 found room for the next");
}

/// A start holds no more of a long log in memory than its running did, and follows a truncation that
/// reaches behind that.
#[tokio::test]
async fn a_long_log_is_not_held_in_memory_by_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, view) = open(dir.path()).unwrap();
    for chunk in 0..40u64 {
        let entries = (chunk * 1000..(chunk + 1) * 1000).map(|i| entry(1, i, 30));
        log.blocking_append(entries).await.unwrap();
    }
    view.stop().await;
    let (mut log, view) = open(dir.path()).unwrap();
    assert!(matches!(lock(&log.index).find(20_000), Found::OnDisk(..)));
    assert!(matches!(lock(&log.index).find(39_000), Found::Cached(..)));
    assert_eq!(all(&mut log).await.len(), 40_000);
    log.truncate(id(1, 100)).await.unwrap();
    log.blocking_append([entry(2, 100, 30)]).await.unwrap();
    view.stop().await;
    let (mut log, _) = open(dir.path()).unwrap();
    let expected: Vec<LogId> = (0..100).map(|i| id(1, i)).chain([id(2, 100)]).collect();
    assert_eq!(all(&mut log).await, expected);
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_and_nothing_before_it() {
    let origin = tempfile::tempdir().unwrap();
    written(origin.path(), 0..2).await;
    let before = without_room(&fs::read(newest(origin.path())).unwrap()).len();
    written(origin.path(), 2..3).await;
    let whole = fs::read(newest(origin.path())).unwrap();
    let whole = without_room(&whole);
    for len in before..whole.len() {
        // Short, or as long as it should be but with zeros where nothing was written.
        for padded in [len, whole.len() + 512] {
            let dir = tempfile::tempdir().unwrap();
            fs::copy(vote::path(origin.path()), vote::path(dir.path())).unwrap();
            let mut bytes = whole[..len].to_vec();
            bytes.resize(padded.max(len), 0);
            let path = dir.path().join(newest(origin.path()).file_name().unwrap());
            fs::write(&path, &bytes).unwrap();
            let opened = open(dir.path());
            let (mut log, view) = opened.unwrap_or_else(|e| panic!("cut at {len}: {e}"));
            assert_eq!(
                all(&mut log).await,
                vec![id(1, 0), id(1, 1)],
                "cut at {len}"
            );
            log.blocking_append([entry(2, 2, 5)]).await.unwrap();
            view.stop().await;
            let (mut log, _) = open(dir.path()).unwrap();
            assert_eq!(all(&mut log).await.len(), 3, "cut at {len}");
        }
    }
}

#[tokio::test]
async fn any_flipped_bit_refuses_to_start_and_names_the_file() {
    let origin = tempfile::tempdir().unwrap();
    written(origin.path(), 0..3).await;
    let path = newest(origin.path());
    let good = fs::read(&path).unwrap();
    let data = without_room(&good).len();
    assert!(data < good.len(), "there is room");
    for at in 0..data {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        match open(origin.path()).map(|_| ()) {
            Err(e @ StartError::Damaged { .. }) => {
                let text = e.to_string();
                assert!(text.contains(".log is damaged at byte"), "{text}");
                assert!(text.contains("--replace"), "{text}");
            }
            Err(StartError::Newer { .. }) => assert!(at < 20),
            other => panic!("byte {at}: {other:?}"),
        }
    }
    // In the room there is nothing to lose.
    let mut bad = good.clone();
    bad[data + 7] ^= 1;
    fs::write(&path, &bad).unwrap();
    assert_eq!(all(&mut open(origin.path()).unwrap().0).await.len(), 3);
    let vote = vote::path(origin.path());
    fs::write(&path, &good).unwrap();
    let good = fs::read(&vote).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&vote, &bad).unwrap();
        assert!(open(origin.path()).is_err(), "byte {at} of the vote");
    }
    fs::remove_file(&vote).unwrap();
    let missing = LogStore::open(options(origin.path(), 4096), false).map(|_| ());
    assert!(
        matches!(missing, Err(StartError::Damaged { .. })),
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_missing_segment_in_the_middle_refuses_to_start() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, view) = LogStore::open(options(dir.path(), 4096), true).unwrap();
    for index in 0..200 {
        log.blocking_append([entry(1, index, 100)]).await.unwrap();
    }
    view.stop().await;
    fs::remove_file(dir.path().join(segment::file_name(1))).unwrap();
    let opened = LogStore::open(options(dir.path(), 4096), false).map(|_| ());
    assert!(
        matches!(opened, Err(StartError::Damaged { .. })),
        "{opened:?}"
    );
}

#[tokio::test]
async fn the_vote_never_goes_backwards() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, view) = open(dir.path()).unwrap();
    log.save_vote(&Vote::new(5, 1)).await.unwrap();
    assert!(log.save_vote(&Vote::new(4, 1)).await.is_err());
    view.stop().await;
    let (mut log, _) = open(dir.path()).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(5, 1)));
}

#[tokio::test]
async fn a_failed_fsync_poisons_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), 4096);
    let (faults, fatal) = (options.faults.clone(), options.fatal.subscribe());
    let (mut log, _) = LogStore::open(options, true).unwrap();
    log.blocking_append([entry(1, 0, 10)]).await.unwrap();
    faults.fail_fsync();
    assert!(log.blocking_append([entry(1, 1, 10)]).await.is_err());
    assert!(fatal.borrow().is_some());
    assert!(
        log.save_vote(&Vote::new(5, 1)).await.is_err(),
        "nothing is promised any more"
    );
}
