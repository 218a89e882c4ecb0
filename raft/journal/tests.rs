//! The journal: both indexes, bounds, restarts and what a crash may leave.

use std::fs;

use super::*;
use crate::tree::sled_tree::marker;

fn batch(index: u64, events: &[u64]) -> EventBatch<u64> {
    let (at_ms, wall_ms, events) = (index * 10, 1, events.to_vec());
    EventBatch {
        index,
        at_ms,
        wall_ms,
        events,
        reset: false,
    }
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
    journal.write(&batch(5, &[1, 2, 3])).await;
    journal.write(&batch(7, &[4])).await;
    journal.set_cursor("outlet", 5).unwrap();
    assert!(journal.set_cursor("", 5).is_err());
    journal.stop().await;
    drop(journal);
    let (journal, empty) = open(&path, 100, u64::MAX);
    assert!(!empty);
    // Replay writes again what is there.
    journal.write(&batch(5, &[1, 2, 3])).await;
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
        journal.write(&batch(index, &[index])).await;
    }
    journal.checkpoint().await;
    // Whole pages go: with a bound of 50 they hold six events.
    let kept = journal.since(0, 1000).unwrap().len();
    assert!((45..=50).contains(&kept), "{kept}");
    assert_eq!(journal.oldest(), Some(501 - kept as u64));
    let left: usize = (0..3)
        .map(|s| journal.subject(s, 1000).unwrap().len())
        .sum();
    assert_eq!(left, kept, "the second index is trimmed with the first");
    let (journal, _) = open(&dir.path().join("age"), 80, 1000);
    for index in 1..=70 {
        journal.write(&batch(index, &[index])).await;
    }
    // Stamps are ten times the index: pages of ten, and all but the last are older than a second.
    journal.write(&batch(165, &[165])).await;
    journal.checkpoint().await;
    assert_eq!(journal.oldest(), Some(61));
}

#[tokio::test]
async fn what_is_read_is_the_same_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (journal, _) = open(&path, 1_000_000, u64::MAX);
    // So many that the thread writes on its own, and some are left in memory.
    let all: Vec<u64> = (1..=5_000).collect();
    for index in &all {
        journal.write(&batch(*index, &[*index, *index + 1])).await;
    }
    let both = |index: &u64| [*index, *index + 1];
    let expected: Vec<u64> = all.iter().flat_map(both).collect();
    let about_two: Vec<u64> = expected.iter().copied().filter(|e| e % 3 == 2).collect();
    for _ in 0..2 {
        assert_eq!(events(&journal.since(0, usize::MAX).unwrap()), expected);
        for from in [1, 777, 2_500, 4_990, 4_999] {
            let some = events(&journal.since(from, 30).unwrap());
            let begin = 2 * from as usize;
            let end = expected.len().min(begin + 30);
            assert_eq!(some, expected[begin..end], "behind {from}");
        }
        assert_eq!(
            events(&journal.since(5_000, 30).unwrap()),
            Vec::<u64>::new()
        );
        assert_eq!(events(&journal.subject(2, usize::MAX).unwrap()), about_two);
        assert_eq!(events(&journal.subject(2, 7).unwrap()), about_two[..7]);
        assert_eq!((journal.oldest(), journal.last()), (Some(1), 5_000));
        // The second time nothing is in memory.
        journal.checkpoint().await;
        assert_eq!(journal.shared.tail.first(), None);
    }
}

#[tokio::test]
async fn a_crash_loses_nothing_but_what_the_log_makes_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (journal, _) = open(&path, 100, u64::MAX);
    journal.write(&batch(5, &[1, 2])).await;
    journal.checkpoint().await;
    journal.write(&batch(6, &[3])).await;
    assert_eq!(events(&journal.since(0, 10).unwrap()), vec![1, 2, 3]);
    // Dropped and not stopped: what is in memory is gone.
    drop(journal);
    let (journal, empty) = open(&path, 100, u64::MAX);
    assert!(!empty);
    assert_eq!(journal.last(), 5);
    for again in [batch(5, &[1, 2]), batch(6, &[3])] {
        journal.write(&again).await;
    }
    assert_eq!(events(&journal.since(0, 10).unwrap()), vec![1, 2, 3]);
}

#[tokio::test]
async fn a_peers_events_go_around_those_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let (peer, _) = open(&dir.path().join("peer"), 10_000, u64::MAX);
    let (journal, _) = open(&dir.path().join("journal"), 10_000, u64::MAX);
    for index in 1..=300 {
        let batch = batch(index, &[index]);
        peer.write(&batch).await;
        // Some from an earlier filling that was cut off, some of its own.
        if (100..=120).contains(&index) || index > 250 {
            journal.write(&batch).await;
        }
        if index == 120 {
            journal.checkpoint().await;
        }
    }
    journal.checkpoint().await;
    let lost = peer.raw_after((0, u32::MAX), 250).unwrap();
    for _ in 0..2 {
        journal.fill(lost.clone()).await;
        let all: Vec<u64> = (1..=300).collect();
        assert_eq!(events(&journal.since(0, 1000).unwrap()), all);
        assert_eq!(events(&journal.since(99, 3).unwrap()), vec![100, 101, 102]);
        assert_eq!(events(&journal.since(119, 3).unwrap()), vec![120, 121, 122]);
        assert_eq!(
            journal
                .shared
                .tree
                .get(KEY_COUNT)
                .unwrap()
                .as_deref()
                .map(number),
            Some(300)
        );
    }
    assert_eq!(journal.last(), 300);
}

#[tokio::test]
async fn a_peers_record_that_cannot_be_read_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(&dir.path().join("journal"), 100, u64::MAX);
    let mut raws = keys::raws(&batch(3, &[1, 2]), |_| None).unwrap();
    raws[0].value = Blob::from(vec![9; 40]);
    journal.fill(raws).await;
    assert_eq!(events(&journal.since(0, 10).unwrap()), vec![2]);
    assert!(!journal.shared.broken.load(Ordering::Acquire));
}

#[tokio::test]
async fn a_journal_of_an_earlier_format_is_filled_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (tree, _) = World::default().disk.tree(&path).unwrap();
    let old = vec![
        ([b"e".as_slice(), &[0; 12]].concat(), Some(vec![1; 40])),
        (KEY_LAST.to_vec(), Some(7u64.to_be_bytes().to_vec())),
    ];
    tree.apply(old).unwrap();
    tree.checkpoint().unwrap();
    drop(tree);
    let (journal, empty) = open(&path, 100, u64::MAX);
    assert!(empty, "so it is refilled from a peer");
    assert_eq!((journal.oldest(), journal.last()), (None, 0));
    journal.stop().await;
    drop(journal);
    assert!(!open(&path, 100, u64::MAX).1);
}

#[tokio::test]
async fn a_leftover_of_a_crash_while_opening_does_not_break_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (journal, _) = open(&path, 100, u64::MAX);
    journal.write(&batch(5, &[1])).await;
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
    journal.write(&batch(5, &[1])).await;
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
