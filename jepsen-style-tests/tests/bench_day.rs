//! A day's work in short runs: calls are dispatched, callers and agents are counted in memory, snapshots are
//! made beside a flow of commands, and each figure reaches the raw file and the section. How long anything
//! took is not judged here.

use std::process::Command;

use serde_json::Value;

#[test]
fn sim_a_day_in_short_has_each_figure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let raw = folder.path().join("raw.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_bench-day"))
        .arg("--quick")
        .arg("--raw")
        .arg(&raw)
        .output()
        .expect("the program can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let section = String::from_utf8_lossy(&output.stdout);
    assert!(section.starts_with("## A day's work\n"), "{section}");
    let text = std::fs::read_to_string(&raw).expect("the raw figures are written");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let of = |kind: &str| -> Vec<&Value> {
        let own = lines.iter().filter(|line| line["kind"] == kind);
        own.map(|line| &line["figures"]).collect()
    };
    let count = |value: &Value| value.as_u64().unwrap_or(0);

    let steps = of("step");
    assert!(!steps.is_empty(), "{text}");
    for step in steps {
        assert!(
            step["done"].as_f64().is_some_and(|done| done > 0.0),
            "{step}"
        );
        for kind in ["free", "arrival"] {
            assert!(count(&step[kind]["count"]) > 0, "{kind}: {step}");
            assert!(
                step[kind]["p99_ms"].as_f64().is_some_and(|ms| ms > 0.0),
                "{step}"
            );
        }
        assert_eq!(step["faults"].as_array().map(Vec::len), Some(0), "{step}");
        let memory = step["memory"].as_array().expect("one figure a node");
        assert!(
            memory.len() == 3 && memory.iter().all(|it| count(it) > 0),
            "{step}"
        );
    }

    let [memory] = of("memory")[..] else {
        panic!("memory is told once: {text}");
    };
    assert!(count(&memory["few"]) > 0 && count(&memory["many"]) > count(&memory["few"]));
    for figure in ["idle", "with_agents", "with_few", "with_many", "cpu"] {
        assert_eq!(memory[figure].as_array().map(Vec::len), Some(3), "{memory}");
    }

    let [copy] = of("copy")[..] else {
        panic!("the copy is told once: {text}");
    };
    assert!(count(&copy["costs"]["bytes"]) > 0, "{copy}");
    assert!(
        copy["costs"]["copy_ms"].as_f64().is_some_and(|ms| ms > 0.0),
        "{copy}"
    );

    let pauses = of("pauses");
    assert_eq!(pauses.len(), 2, "{text}");
    for flow in pauses {
        assert!(count(&flow["commands"]) > 0, "{flow}");
        let snapshots = count(&flow["snapshots"]);
        assert_eq!(snapshots > 0, flow["snapshot_every"].is_u64(), "{flow}");
        for gap in ["between_acks_ms", "between_applies_ms", "ack_p99_ms"] {
            assert!(flow[gap].as_f64().is_some_and(|ms| ms > 0.0), "{flow}");
        }
    }
    for goal in [
        "bytes per waiting caller",
        "no pause over 50 ms",
        "copy of the large state",
    ] {
        assert!(section.contains(goal), "{section}");
    }
}

#[test]
fn a_word_that_is_not_understood_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-day"))
        .arg("--quik")
        .output()
        .expect("the program can be run");
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--quik"), "{errors}");
}
