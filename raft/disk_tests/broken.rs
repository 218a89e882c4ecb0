//! Broken disks: errors at every operation, a disk that fills, bits that flip on their way to the
//! disk or at rest. The store stops at the first error and confirms nothing any more; it comes back
//! with everything confirmed, or refuses to start and names the file.

use std::path::Path;

use super::{Script, Wrong, broken_at, comes_back, judge, open, whole};
use crate::StartError;
use crate::sim::{Fault, Keep, OpKind, SimDisk};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Runs the script with an error at every operation. What the next start comes back with must be
/// there after a power loss too: it may have been promised by then.
async fn errors(fault: fn(u64) -> Fault) {
    let operations = whole().await;
    for at in 0..operations.len() as u64 {
        let (script, disk) = broken_at(at, fault(at), |_| {}).await;
        let what = &operations[at as usize];
        assert!(
            script.stopped,
            "it went on after an error at {at}, {what:?}"
        );
        disk.kill();
        let mut store = open(&disk).unwrap_or_else(|e| panic!("error at {at}, {what:?}: {e}"));
        let seen = judge(&script, &mut store).await;
        let seen = seen.unwrap_or_else(|e| panic!("error at {at}, {what:?}: {e}"));
        disk.power_loss(Keep::Nothing);
        let back = comes_back(&script, &disk).await;
        let back = back.unwrap_or_else(|e| panic!("error at {at}, {what:?}, then power: {e}"));
        assert_eq!(back, seen, "error at {at}, {what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_input_output_error_at_any_operation_stops_the_store_and_loses_nothing() {
    errors(|_| Fault::Error(EIO)).await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_at_any_operation_stops_the_store_and_loses_nothing() {
    errors(|at| match at % 2 {
        0 => Fault::Error(ENOSPC),
        _ => Fault::Short,
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_of_any_size_fills_without_a_loss_and_works_again_with_room() {
    let mut sizes = 0;
    for size in (0..40_000).step_by(700) {
        let disk = SimDisk::new(1);
        disk.limit(Some(size));
        let mut script = Script::default();
        if script.run(&disk).await.is_ok() {
            break;
        }
        sizes += 1;
        disk.kill();
        // While it is still full it may refuse, but it must not come back with less.
        if let Ok(mut store) = open(&disk) {
            let judged = judge(&script, &mut store).await;
            judged.unwrap_or_else(|e| panic!("full at {size}: {e}"));
        }
        disk.limit(None);
        let back = comes_back(&script, &disk).await;
        back.unwrap_or_else(|e| panic!("full at {size}, room again: {e}"));
    }
    assert!(sizes > 10, "{sizes} sizes are too few");
}

/// Whether this is the refusal to start with something damaged, which names the file.
fn names_the_damage(refused: &StartError) -> bool {
    match refused {
        StartError::Damaged { file, .. } | StartError::Newer { file, .. } => {
            refused.to_string().contains(&file.display().to_string())
        }
        StartError::OtherNode { .. } => true,
        _ => false,
    }
}

/// Counts what becomes of a damage; wrong data is the one thing that must not.
#[derive(Debug, Default)]
struct Fates {
    harmless: u32,
    refused: u32,
}

impl Fates {
    fn note(&mut self, back: Result<super::Kept, Wrong>, what: &dyn Fn() -> String) {
        match back {
            Ok(_) => self.harmless += 1,
            Err(Wrong::Refused(e)) if names_the_damage(&e) => self.refused += 1,
            Err(wrong) => panic!("{}: {wrong}", what()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bit_that_flips_on_its_way_to_the_disk_is_found_or_does_no_harm() {
    let operations = whole().await;
    let mut fates = Fates::default();
    let writes = operations.iter().zip(0..);
    for (_, at) in writes.filter(|((kind, _), _)| *kind == OpKind::Write) {
        for bit in (0..10).map(|n| 3 + n * 1013) {
            let (script, disk) = broken_at(at, Fault::Flip(bit), |_| {}).await;
            let what = || format!("bit {bit} at operation {at}, {:?}", operations[at as usize]);
            disk.kill();
            fates.note(comes_back(&script, &disk).await, &what);
        }
    }
    println!("{fates:?}");
    assert!(fates.refused > 50, "{fates:?}");
}

#[tokio::test(start_paused = true)]
async fn a_bit_that_flips_at_rest_in_any_file_is_found_or_does_no_harm() {
    let origin = SimDisk::new(1);
    let mut script = Script::default();
    script.run(&origin).await.expect("a good disk does it all");
    script.confirm();
    let me = open(&origin).expect("a good disk opens").identity;
    let me = (me.id(), me.cluster());
    origin.kill();
    for (path, len) in origin.files() {
        let mut fates = Fates::default();
        // Every byte of the small files; of segments each 11th, for every bit of small ones is
        // flipped by the tests of the log.
        let step = if len > 1000 { 11 } else { 1 };
        for at in (0..len).step_by(step) {
            let disk = origin.copy();
            disk.flip(&path, at, (at % 8) as u8);
            let what = || format!("byte {at} of {}", path.display());
            let back = match open(&disk) {
                Ok(store) if (store.identity.id(), store.identity.cluster()) != me => {
                    Err(Wrong::Lost("it is somebody else".into()))
                }
                Ok(mut store) => judge(&script, &mut store).await.map_err(Wrong::Lost),
                Err(e) => Err(Wrong::Refused(e)),
            };
            fates.note(back, &what);
        }
        println!("{} of {len} bytes: {fates:?}", path.display());
    }
    let is_there = |name: &str| {
        origin
            .files()
            .iter()
            .any(|(p, _)| p.ends_with(Path::new(name)))
    };
    assert!(
        is_there("node.json") && is_there("log/vote"),
        "files are missing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_file_is_told_from_a_fresh_node() {
    let origin = SimDisk::new(1);
    let mut script = Script::default();
    script.run(&origin).await.expect("a good disk does it all");
    script.confirm();
    origin.kill();
    for (path, _) in origin.files() {
        let disk = origin.copy();
        let removed = disk.boot().remove(&path);
        removed.expect("it is there");
        let back = match open(&disk) {
            Ok(mut store) => judge(&script, &mut store).await.map_err(Wrong::Lost),
            Err(e) => Err(Wrong::Refused(e)),
        };
        let name = path.display().to_string();
        match back {
            Err(Wrong::Refused(StartError::Damaged { .. })) => {}
            // The older snapshot is a spare.
            Ok(_) if name.ends_with("-50.snap") => {}
            other => panic!("without {name}: {other:?}"),
        }
    }
}
