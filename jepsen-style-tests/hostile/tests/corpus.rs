//! The kept corpus of every fuzz target, replayed without a fuzzer: what was once found to be worth
//! keeping stays good. `make fuzz` finds more.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_hostile::TARGETS;

/// Fewer than this is a corpus that got lost.
const SAMPLES_MIN: usize = 4;
/// All of it together.
const BYTES_MAX: u64 = 1024 * 1024;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn samples(target: &str) -> Vec<PathBuf> {
    let folder = corpus().join(target);
    let list = fs::read_dir(&folder);
    let list = list.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = list.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_kept_sample_of_every_target_is_still_good() {
    for (name, target) in TARGETS {
        let files = samples(name);
        assert!(files.len() >= SAMPLES_MIN, "{name}: only {}", files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            // A finding is a panic; it should name its sample.
            let run = std::panic::catch_unwind(|| target(&bytes));
            assert!(run.is_ok(), "{name}: {}", file.display());
        }
    }
}

#[test]
fn the_corpus_has_a_folder_for_each_target_and_is_small() {
    let mut known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    known.sort_unstable();
    let mut kept: Vec<String> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    kept.sort();
    assert_eq!(kept, known);
    let files = known.iter().flat_map(|name| samples(name));
    let bytes: u64 = files.map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(bytes < BYTES_MAX, "{bytes} bytes: minimise it");
}

/// Every target survives what no corpus has: nothing, and simple patterns of every short length.
#[test]
fn every_target_takes_short_and_regular_bytes() {
    for (name, target) in TARGETS {
        for len in 0..70 {
            for byte in [0, 1, 0x41, 0x7f, 0x80, 0xfd, 0xff] {
                let bytes = vec![byte; len];
                let run = std::panic::catch_unwind(|| target(&bytes));
                assert!(run.is_ok(), "{name}: {len} times {byte:#x}");
            }
        }
    }
}
