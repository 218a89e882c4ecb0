//! The measurement of recovery works: a quick run against real etcd and real Redis ends, prints a whole
//! section, and leaves a line for each start and each return. What the figures are does not matter here.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn a_quick_run_has_each_start_and_each_return() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("get-peers.sh");
    let said = Command::new(script)
        .output()
        .expect("the script can be run");
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "get-peers.sh: {why}");
    let peers = String::from_utf8(said.stdout).expect("a path that can be read");

    let dir = tempfile::tempdir().expect("a folder");
    let raw = dir.path().join("raw");
    let said = Command::new(env!("CARGO_BIN_EXE_store"))
        .args(["recovery", "--quick", "--peers", peers.trim(), "--raw"])
        .arg(&raw)
        .output()
        .expect("the program can be run");
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{why}");

    let lines = std::fs::read_to_string(raw).expect("raw figures");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let of = |kind: &str| {
        let mine = lines.iter().filter(|line| line["kind"] == kind);
        mine.collect::<Vec<_>>()
    };
    let systems: Vec<_> = of("start").iter().map(|it| it["system"].clone()).collect();
    assert_eq!(systems, ["holdfast", "etcd", "redis"]);
    for start in of("start") {
        assert!(start["entries"].as_u64() >= Some(4_000), "{start}");
        assert!(start["peak_bytes"].as_u64() > Some(1 << 20), "{start}");
    }
    let snapshots = of("snapshot");
    // A call takes more than its number.
    assert!(
        snapshots[0]["bytes"].as_u64() > Some(520 * 20),
        "{}",
        snapshots[0]
    );
    let returns = of("return");
    let from_log: Vec<_> = returns.iter().map(|it| it["from_log"].clone()).collect();
    assert_eq!(from_log, [true, false]);
    for returned in returns {
        assert!(returned["missed"].as_u64() >= Some(4_000), "{returned}");
        assert!(
            returned["before"]["writes"].as_u64() > Some(0),
            "{returned}"
        );
        assert!(
            returned["meanwhile"]["writes"].as_u64() > Some(0),
            "{returned}"
        );
    }

    let page = String::from_utf8(said.stdout).expect("markdown");
    assert!(page.starts_with("## Recovery"), "{page}");
    for row in [
        "| holdfast |",
        "| etcd |",
        "| redis |",
        "| is in the log |",
        "| is in a snapshot |",
    ] {
        assert!(page.contains(row), "{row} is missing in {page}");
    }
}
