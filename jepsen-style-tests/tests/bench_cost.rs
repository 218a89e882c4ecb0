//! The comparison of costs runs: both systems serve the callers on a real Asterisk, the event filter is
//! obeyed, requests go both ways, and each figure reaches the raw figures and the section. How much
//! anything cost is not judged here.

use std::process::Command;

use serde_json::Value;

#[test]
fn both_systems_serve_and_what_it_cost_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let raw = folder.path().join("raw.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_bench-cost"))
        .arg("--quick")
        .arg("--raw")
        .arg(&raw)
        .output()
        .expect("the program can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    let section = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{section}{errors}");
    let text = std::fs::read_to_string(&raw).expect("the raw figures are written");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let of = |kind: &str| -> Vec<&Value> { lines.iter().filter(|l| l["of"] == kind).collect() };

    let turns = of("calls");
    let words = |key: &str| -> Vec<&str> { turns.iter().filter_map(|t| t[key].as_str()).collect() };
    let systems = ["app_queue", "Holdfast", "Holdfast", "Holdfast", "Holdfast"];
    assert_eq!(words("system"), systems, "{text}");
    let used = "those that are used";
    let told = [used, used, "all events", "all but five types", used];
    assert_eq!(words("events"), told, "{text}");
    for turn in &turns {
        assert_eq!(turn["served"], turn["callers"], "{text}");
        for process in ["asterisk", "driver", "leader", "follower"] {
            assert!(turn["cpu_s"][process].as_f64().is_some(), "{text}");
            assert!(
                turn["cpu_ms_per_call"][process].as_f64().is_some(),
                "{text}"
            );
        }
    }
    let events: Vec<u64> = turns
        .iter()
        .filter_map(|t| t["events_told"].as_u64())
        .collect();
    assert_eq!(events[0], 0, "nothing of app_queue's calls: {text}");
    assert!(events[2] > events[3] && events[3] > events[4], "{text}");
    // A call without an announcement: the caller comes, is bridged and ends; the leg rings, is answered,
    // bridged and ends; the phone's device changes with it.
    assert!(events[4] >= 6 * 10, "{text}");

    // Read and set, one and several at once, both ways.
    assert_eq!(of("requests").len(), 8, "{text}");
    for run in of("requests") {
        assert_eq!(run["requests"], 50, "{text}");
        assert!(run["p50_us"].as_i64().is_some_and(|us| us > 0), "{text}");
    }
    let blocked = of("blocked");
    assert_eq!(blocked.len(), 1, "{text}");
    let held = blocked[0]["socket_ms"].as_f64();
    assert!(
        held.is_some_and(|ms| ms >= 500.0),
        "one waits for the other: {text}"
    );

    for part in [
        "## The cost on Asterisk, against app_queue on the same one\n",
        "### Milliseconds of processor time for each call\n",
        "| 5 | app_queue | 1 | 5 of 5 |",
        "| 5 | Holdfast | 1 | 5 of 5 |",
        "### Events, filtered to those that are used\n",
        "the node is told the events that it uses and no others: met",
        "### Requests by HTTP and on the event socket\n",
    ] {
        assert!(section.contains(part), "{part:?} is missing: {section}");
    }
}

#[test]
fn a_number_of_rounds_that_would_not_end_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-cost"))
        .args(["--rounds", "5"])
        .output()
        .expect("the program can be run");
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--rounds 5 is not 1 to 4"), "{errors}");
}
