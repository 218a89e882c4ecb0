//! The comparison of the stores works: a quick run against real etcd and real Redis ends, prints a whole
//! section, and leaves a line of figures for each turn. What the figures are does not matter here.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn peers() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("get-peers.sh");
    let said = Command::new(script)
        .output()
        .expect("the script can be run");
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "get-peers.sh: {why}");
    let folder = String::from_utf8(said.stdout).expect("a path that can be read");
    folder.trim().to_string()
}

fn store(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_store");
    let said = Command::new(program).args(args).output();
    said.expect("the program can be run")
}

#[test]
fn a_quick_run_measures_each_store_with_each_number_of_writers() {
    let dir = tempfile::tempdir().expect("a folder");
    let (raw, peers) = (dir.path().join("raw"), peers());
    let raw_name = raw.to_str().expect("a path that can be read");
    let said = store(&[
        "--quick",
        "--growth=2000",
        "--peers",
        &peers,
        "--raw",
        raw_name,
    ]);
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{why}");

    let lines = std::fs::read_to_string(raw).expect("raw figures");
    let lines: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let of = |kind: &str, system: &str| {
        let fits = |l: &&Value| l["kind"] == kind && l["system"] == system;
        lines.iter().filter(fits).collect::<Vec<_>>()
    };
    for system in ["holdfast", "etcd", "redis"] {
        let turns = of("turn", system);
        let writers: Vec<_> = turns
            .iter()
            .map(|t| t["writers"].as_u64().unwrap())
            .collect();
        assert_eq!(writers, [1, 16, 64, 256], "{system}");
        for turn in turns {
            assert!(turn["commands"].as_u64() > Some(0), "{turn}");
            assert!(
                turn["written"].as_f64() > Some(0.0),
                "nothing reached the disk: {turn}"
            );
            assert_eq!(turn["lag_p50_us"].is_i64(), system == "holdfast", "{turn}");
        }
        let growth = of("growth", system);
        assert_eq!(growth.len(), 11, "{system}");
        // 300 bytes each at least, for nothing is forgotten so soon.
        let least = 2_000 * 300;
        assert!(growth[10]["bytes"].as_u64() > Some(least), "{}", growth[10]);
    }

    let page = String::from_utf8(said.stdout).expect("markdown");
    assert!(page.starts_with("## The store"), "{page}");
    for row in ["| 256 | p99, ms |", "| 64 writers: at least 5", "| 2000 |"] {
        assert!(page.contains(row), "{row} is missing in {page}");
    }
    assert!(!page.contains("not measured"), "{page}");
}

#[test]
fn what_cannot_be_measured_is_told() {
    let nothing = tempfile::tempdir().expect("a folder");
    let nothing = nothing.path().to_str().expect("a path that can be read");
    let said = store(&["--quick", "--peers", nothing]);
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success());
    assert!(
        why.contains("bin/etcd") && why.contains("get-peers.sh"),
        "{why}"
    );

    // In memory, an fsync costs nothing.
    let said = store(&["--quick", "--peers", &peers(), "--dir", "/dev/shm"]);
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success());
    assert!(why.contains("/dev/shm") && why.contains("--dir"), "{why}");
}
