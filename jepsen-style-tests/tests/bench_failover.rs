//! The measurement of failovers runs: both systems lose their leaders and go on, and what is measured
//! reaches the raw figures and the section. How long anything took is not judged here.

use std::process::Command;

use serde_json::Value;

/// etcd, as the script fetches it; once for all runs.
fn peers() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/get-peers.sh");
    let output = Command::new(script)
        .output()
        .expect("the script can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn both_systems_lose_their_leader_and_are_measured() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let raw = folder.path().join("raw.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_bench-failover"))
        .args(["--quick", "--peers", &peers(), "--raw"])
        .arg(&raw)
        .output()
        .expect("the program can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let section = String::from_utf8_lossy(&output.stdout);
    let text = std::fs::read_to_string(&raw).expect("the raw figures are written");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let of = |kind: &str, system: &str| -> Vec<&Value> {
        let wanted = |line: &&Value| line["kind"] == kind && line["system"] == system;
        lines.iter().filter(wanted).collect()
    };
    let (ours, theirs) = (of("kill", "Holdfast"), of("kill", "etcd"));
    assert_eq!((ours.len(), theirs.len()), (2, 2), "{text}");
    let sane = |line: &Value, key: &str| {
        let ms = line[key].as_i64();
        assert!(
            ms.is_some_and(|ms| (0..60_000).contains(&ms)),
            "{key}: {line}"
        );
    };
    for kill in &ours {
        sane(kill, "office_ms");
        sane(kill, "offer_ms");
        sane(kill, "acknowledged_ms");
    }
    theirs.iter().for_each(|kill| sane(kill, "acknowledged_ms"));
    let steps = of("step_down", "Holdfast");
    assert_eq!(steps.len(), 1, "{text}");
    assert!(steps[0]["refused"].is_null(), "{text}");
    sane(steps[0], "office_ms");
    sane(steps[0], "acknowledged_ms");
    let callers = of("callers", "Holdfast");
    assert_eq!(callers.len(), 1, "{text}");
    assert_eq!(
        (&callers[0]["lost"], &callers[0]["answered"]),
        (&0.into(), &callers[0]["called"])
    );
    assert!(callers[0]["called"].as_u64() >= Some(48), "{text}");
    for row in [
        "| default | kill to next offer | Holdfast | 2 |",
        "| default | kill to new leader in office | Holdfast | 2 |",
        "| default | kill to next acknowledged write | Holdfast | 2 |",
        "| default | kill to next acknowledged write | etcd | 2 |",
        "| default | step-down to new leader in office | Holdfast | 1 |",
        "0 lost, 0 doubled",
    ] {
        assert!(section.contains(row), "{row}: {section}");
    }
}

#[test]
fn a_missing_etcd_is_told_with_what_to_do() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-failover"))
        .args(["--quick", "--peers", "/nowhere"])
        .output()
        .expect("the program can be run");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("benches/get-peers.sh"), "{errors}");
}
