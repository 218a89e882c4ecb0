//! The comparison with the design that Holdfast began from runs: Redis, the manager and the Stasis application
//! serve the callers on a real Asterisk, and each figure and count is there. How long anything took is not
//! judged here.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_original_and_holdfast_serve_and_are_measured() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let raw = folder.path().join("raw.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_bench-dispatch"))
        .args(["--systems", "original,holdfast", "--quick", "--raw"])
        .arg(&raw)
        .output()
        .expect("the program can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let section = String::from_utf8_lossy(&output.stdout);
    let text = std::fs::read_to_string(&raw).expect("the raw figures are written");
    let turns: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let systems = turns.iter().filter_map(|turn| turn["system"].as_str());
    assert_eq!(
        systems.collect::<Vec<_>>(),
        ["the original", "Holdfast"],
        "{text}"
    );
    for turn in &turns {
        assert_eq!(turn["served"], 4, "{text}");
        for (figure, count) in [("free_to_leg_ms", 3), ("arrival_to_leg_ms", 1)] {
            let figures = turn[figure].as_array().expect("the times are a list");
            // More where an agent hung up before he was connected, on a machine that stood still.
            assert!(figures.len() >= count, "{figure}: {text}");
            let sane = |ms: &Value| ms.as_i64().is_some_and(|ms| (0..30_000).contains(&ms));
            assert!(figures.iter().all(sane), "{figure}: {text}");
        }
        assert_eq!(turn["overtaken_by_offer"], 0, "{text}");
        assert_eq!(turn["faults"], Value::Array(Vec::new()), "{text}");
        let name = turn["system"].as_str().unwrap_or_default();
        for row in [
            format!("| quick | {name} | 1 | 4 of 4 | "),
            format!("| quick | {name} | 4 | "),
        ] {
            assert!(section.contains(&row), "{section}");
        }
    }
    // Each caller was put into the list and taken out of it, and the manager looked.
    let redis = &turns[0]["commands"];
    assert_eq!(redis["LPUSH"], 4, "{text}");
    assert!(redis["LREM"].as_u64() >= Some(4), "{text}");
    assert!(redis["KEYS"].as_u64() > Some(0), "{text}");
    let offers = turns[1]["commands"]["offers"].as_u64();
    assert!(offers >= Some(4), "{text}");
    let entries = turns[1]["log_entries"].as_u64();
    assert!(entries.is_some_and(|it| it > 4), "{text}");
    assert!(
        section.contains("goal: none without a reason: met"),
        "{section}"
    );
}
