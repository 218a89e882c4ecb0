//! The measurement of the core in time works: a quick run prints a whole section and leaves a line for
//! each figure. What the figures are does not matter here.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_quick_run_has_every_figure() {
    let dir = tempfile::tempdir().expect("a folder");
    let raw = dir.path().join("raw");
    let said = Command::new(env!("CARGO_BIN_EXE_core-alone"))
        .args(["--quick", "--raw"])
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
    for kind in ["decide", "apply", "quiet", "burst"] {
        for strategy in [
            "ringall",
            "rrmemory",
            "linear",
            "leastrecent",
            "fewestcalls",
            "random",
        ] {
            let mut mine = lines
                .iter()
                .filter(|line| line["kind"] == kind && line["strategy"] == strategy)
                .peekable();
            assert!(mine.peek().is_some(), "no {kind} of {strategy}");
            assert!(mine.all(|line| line["median_us"].as_f64() > Some(0.0)));
        }
    }

    let page = String::from_utf8(said.stdout).expect("markdown");
    assert!(page.starts_with("## The core alone"), "{page}");
    assert_eq!(page.matches("| a decision").count(), 6, "{page}");
    assert!(!page.contains("not measured"), "{page}");
    assert!(!page.contains("| - |"), "{page}");
}
