//! The comparison with app_queue runs: both systems serve the callers on a real Asterisk, and what is
//! measured reaches the raw figures and the section. How long anything took is not judged here.

use std::process::Command;

use serde_json::Value;

#[test]
fn both_systems_serve_and_are_measured() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let raw = folder.path().join("raw.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_bench-dispatch"))
        .arg("--quick")
        .arg("--raw")
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
    let systems: Vec<&str> = turns
        .iter()
        .filter_map(|turn| turn["system"].as_str())
        .collect();
    assert_eq!(systems, ["app_queue", "Holdfast"], "{text}");
    for turn in &turns {
        assert_eq!(turn["served"], 4, "{text}");
        // Four callers and one agent: he gets free three times with somebody in line.
        let figures = turn["free_to_leg_ms"].as_array();
        let figures = figures.expect("the times are a list");
        // Once more where he hung up before he was connected, on a machine that stood still.
        assert!(figures.len() >= 3, "{text}");
        let sane = |ms: &Value| ms.as_i64().is_some_and(|ms| (0..30_000).contains(&ms));
        assert!(figures.iter().all(sane), "{text}");
        let row = format!(
            "| quick | {} | 1 | 4 of 4 | ",
            turn["system"].as_str().unwrap_or_default()
        );
        assert!(section.contains(&row), "{section}");
    }
    assert_eq!(turns[1]["overtaken_by_offer"], 0, "{text}");
}

#[test]
fn a_case_that_is_not_there_is_refused_with_its_name() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-dispatch"))
        .args(["--cases", "four,five"])
        .output()
        .expect("the program can be run");
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("\"five\""), "{errors}");
}
