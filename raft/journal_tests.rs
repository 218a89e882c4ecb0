//! The journal: both indexes, bounds, restarts and what a crash may leave.

use std::fs;

use super::*;
use crate::tree::sled_tree::marker;

fn batch(index: u64, events: &[u64]) -> Arc<EventBatch<u64>> {
    let (at_ms, wall_ms, events) = (index * 10, 1, events.to_vec());
    Arc::new(EventBatch {
        index,
        at_ms,
        wall_ms,
        events,
        reset: false,
    })
}

fn open(dir: &Path, max_events: u64, max_age_ms: u64) -> (Journal<u64>, bool) {
    Journal::open(
        &World::default(),
        dir,
        Bounds {
            max_events,
            max_age_ms,
        },
        |e| Some(*e % 3),
    )
    .unwrap()
}

fn events(records: &[Record<u64>]) -> Vec<u64> {
    records.iter().map(|r| r.event).collect()
}

#[tokio::test]
async fn events_are_found_by_index_and_by_subject_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (journal, empty) = open(&path, 100, u64::MAX);
    assert!(empty);
    journal.write(batch(5, &[1, 2, 3])).await;
    journal.write(batch(7, &[4])).await;
    journal.set_cursor("outlet", 5).unwrap();
    assert!(journal.set_cursor("", 5).is_err());
    journal.stop().await;
    drop(journal);
    let (journal, empty) = open(&path, 100, u64::MAX);
    assert!(!empty);
    // Replay writes again what is there.
    journal.write(batch(5, &[1, 2, 3])).await;
    journal.checkpoint().await;
    assert_eq!(events(&journal.since(0, 10).unwrap()), vec![1, 2, 3, 4]);
    assert_eq!(events(&journal.since(5, 10).unwrap()), vec![4]);
    assert_eq!(events(&journal.subject(1, 10).unwrap()), vec![1, 4]);
    assert_eq!(events(&journal.subject(9, 10).unwrap()), Vec::<u64>::new());
    assert_eq!((journal.oldest(), journal.last()), (Some(5), 7));
    assert_eq!(journal.cursor("outlet").unwrap(), Some(5));
    assert_eq!(journal.cursor("other").unwrap(), None);
}

#[tokio::test]
async fn the_journal_is_bounded_by_count_and_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(&dir.path().join("count"), 50, u64::MAX);
    for index in 1..=500 {
        journal.write(batch(index, &[index])).await;
    }
    journal.checkpoint().await;
    assert_eq!(journal.since(0, 1000).unwrap().len(), 50);
    assert_eq!(journal.oldest(), Some(451));
    let left: usize = (0..3)
        .map(|s| journal.subject(s, 1000).unwrap().len())
        .sum();
    assert_eq!(left, 50, "the second index is trimmed with the first");
    let (journal, _) = open(&dir.path().join("age"), 10_000, 1000);
    for index in 1..=640 {
        journal.write(batch(index, &[index])).await;
    }
    journal.checkpoint().await;
    // Stamps are ten times the index: 5400 is a second before 6400.
    assert_eq!(journal.oldest(), Some(540));
}

#[tokio::test]
async fn a_leftover_of_a_crash_while_opening_does_not_break_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (journal, _) = open(&path, 100, u64::MAX);
    journal.write(batch(5, &[1])).await;
    journal.stop().await;
    drop(journal);
    fs::write(path.join("snap.FFFFFFFFFFFFFFFF.generating"), b"abc").unwrap();
    let (journal, empty) = open(&path, 100, u64::MAX);
    assert!(!empty);
    assert_eq!(events(&journal.since(0, 10).unwrap()), vec![1]);
}

#[tokio::test]
async fn a_journal_that_broke_while_running_is_put_aside_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (journal, _) = open(&path, 100, u64::MAX);
    journal.write(batch(5, &[1])).await;
    journal.stop().await;
    drop(journal);
    fs::write(marker(&path), b"").unwrap();
    let (journal, empty) = open(&path, 100, u64::MAX);
    assert!(empty && journal.oldest().is_none());
    assert!(!marker(&path).exists());
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "the old one is kept for a look"
    );
}
