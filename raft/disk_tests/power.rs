//! Power losses and kills at every operation; and the proof that these tests can fail: the same
//! sweep over a store that leaves out one sync must find what that loses.

use std::path::Path;

use super::{Script, Wrong, broken_at, comes_back, judge, open, whole};
use crate::sim::{Fault, Honesty, Keep, OpKind, SimDisk};

fn honest(_: &SimDisk) {}

/// Loses power at every operation, and keeps of what was not synced what `keeps` says.
async fn sweep(keeps: fn(u64) -> Vec<Keep>) {
    let operations = whole().await;
    assert!(operations.len() > 60, "the script does too little");
    let mut runs = 0;
    for at in 0..operations.len() as u64 {
        for keep in keeps(at) {
            let (script, disk) = broken_at(at, Fault::PowerLoss(keep), honest).await;
            let back = comes_back(&script, &disk).await;
            let (what, step) = (&operations[at as usize], script.steps);
            if let Err(wrong) = back {
                panic!("{keep:?} at operation {at}, {what:?}, step {step}: {wrong}");
            }
            runs += 1;
        }
    }
    println!("{} operations, {runs} power losses", operations.len());
}

#[tokio::test(start_paused = true)]
async fn a_power_loss_at_any_operation_loses_nothing_confirmed() {
    sweep(|_| vec![Keep::Nothing, Keep::All]).await;
}

#[tokio::test(start_paused = true)]
async fn a_power_loss_that_tears_what_was_being_written_loses_nothing_confirmed() {
    sweep(|at| (0..4).map(|s| Keep::Torn(at * 100 + s)).collect()).await;
}

#[tokio::test(start_paused = true)]
async fn a_power_loss_that_keeps_any_of_the_sectors_loses_nothing_confirmed() {
    sweep(|at| (0..4).map(|s| Keep::Reordered(at * 100 + s)).collect()).await;
}

/// Starting is writing too: a torn tail is cut, what is purged is removed.
#[tokio::test(start_paused = true)]
async fn a_second_power_loss_while_it_recovers_from_the_first_changes_nothing() {
    let operations = whole().await.len() as u64;
    let mut runs = 0;
    for at in (0..operations).step_by(3) {
        let keep = Keep::Torn(at);
        let (script, first) = broken_at(at, Fault::PowerLoss(keep), honest).await;
        for nth in 0.. {
            let disk = first.copy();
            disk.fail_at(nth, Fault::PowerLoss(Keep::Reordered(at + nth)));
            let recovered = open(&disk).is_ok() && !disk.is_off();
            if recovered {
                break;
            }
            runs += 1;
            if let Err(wrong) = comes_back(&script, &disk).await {
                panic!("{keep:?} at {at}, again at {nth}: {wrong}");
            }
        }
    }
    assert!(
        runs > 100,
        "{runs} power losses during recovery are too few"
    );
}

/// A process that dies leaves unsynced bytes in the system's memory. The next one sees them, and
/// may promise them: so it must make them durable first.
#[tokio::test(start_paused = true)]
async fn what_a_killed_node_comes_back_with_is_still_there_after_a_power_loss() {
    for at in 0..whole().await.len() as u64 {
        let (script, disk) = broken_at(at, Fault::Kill, honest).await;
        let mut store = open(&disk).unwrap_or_else(|e| panic!("killed at {at}: {e}"));
        let seen = judge(&script, &mut store).await;
        let seen = (
            seen.unwrap_or_else(|e| panic!("killed at {at}: {e}")),
            store.state.last(),
        );
        disk.power_loss(Keep::Nothing);
        let mut store = open(&disk).unwrap_or_else(|e| panic!("killed at {at}, then power: {e}"));
        assert_eq!(
            (store.kept().await, store.state.last()),
            seen,
            "killed at {at}"
        );
    }
}

/// A sync that a careless store leaves out: where.
type Careless = (&'static str, Honesty, fn(OpKind, &Path) -> bool);

fn is(kind: OpKind, path: &Path, wanted: OpKind, end: &str) -> bool {
    kind == wanted && path.to_string_lossy().ends_with(end)
}

const CARELESS: [Careless; 8] = [
    (
        "confirms appends before they are synced",
        Honesty::Late,
        |k, p| is(k, p, OpKind::Sync, ".log"),
    ),
    ("never syncs the log", Honesty::Never, |k, p| {
        is(k, p, OpKind::Sync, ".log")
    }),
    ("never syncs the log's folder", Honesty::Never, |k, p| {
        is(k, p, OpKind::SyncDir, "/log")
    }),
    ("never syncs the vote", Honesty::Never, |k, p| {
        is(k, p, OpKind::Sync, "vote.tmp")
    }),
    ("never syncs snapshots", Honesty::Never, |k, p| {
        k == OpKind::Sync && p.starts_with("/var/data/snap")
    }),
    (
        "never syncs the snapshots' folder",
        Honesty::Never,
        |k, p| is(k, p, OpKind::SyncDir, "/snap"),
    ),
    ("never syncs node.json", Honesty::Never, |k, p| {
        is(k, p, OpKind::Sync, "node.tmp")
    }),
    (
        "never syncs the folder of the data folder",
        Honesty::Never,
        |k, p| is(k, p, OpKind::SyncDir, "/var"),
    ),
];

/// Each careless store, which is the same as a disk that lies about that one sync, is found out by
/// the sweep. It also shows what a lying disk costs: that is outside of what the store promises,
/// and it tells part of the cases itself by refusing to start.
#[tokio::test(start_paused = true)]
async fn a_store_that_leaves_out_one_sync_is_found_out() {
    let operations = whole().await.len() as u64;
    for (what, honesty, which) in CARELESS {
        let (mut lost, mut refused) = (0, 0);
        for at in 0..operations {
            let lie = move |disk: &SimDisk| {
                disk.swear(move |kind, path| match which(kind, path) {
                    true => honesty,
                    false => Honesty::Honest,
                });
            };
            let (script, disk) = broken_at(at, Fault::PowerLoss(Keep::Nothing), lie).await;
            match comes_back(&script, &disk.copy()).await {
                Ok(_) => {}
                Err(Wrong::Lost(_)) => lost += 1,
                Err(Wrong::Refused(_)) => refused += 1,
            }
        }
        println!("{what}: lost in {lost}, refused to start in {refused} of {operations}");
        assert!(lost + refused > 0, "nobody notices a store that {what}");
    }
}

/// The script itself, for the length of the sweeps above.
#[tokio::test(start_paused = true)]
async fn the_script_meets_every_kind_of_operation() {
    let operations = whole().await;
    for kind in [
        OpKind::MakeDir,
        OpKind::Create,
        OpKind::Write,
        OpKind::Sync,
        OpKind::SyncDir,
        OpKind::Rename,
        OpKind::Remove,
    ] {
        assert!(
            operations.iter().any(|(k, _)| *k == kind),
            "{kind:?} is not met"
        );
    }
    let script = Script::default();
    assert_eq!(script.steps, 0);
}
