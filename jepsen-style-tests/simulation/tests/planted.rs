//! The simulation proves itself: each deliberate bug is found within a bounded number of seeds, by a
//! property that is there for it. A harness that finds nothing would pass every other test.
//!
//! Built with the feature `planted` only: `make test` runs it in a second step.

use std::process::Command;

/// Runs seeds until one of these properties is found broken.
fn found(bug: &str, by: &[&str], within: u64) {
    let mut others = Vec::new();
    for seed in 1..=within {
        let output = Command::new(env!("CARGO_BIN_EXE_simulate"))
            .args(["--seed", &seed.to_string(), "--bug", bug])
            .output()
            .expect("the program was built with this test");
        if output.status.success() {
            continue;
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let first = text.lines().rfind(|line| line.starts_with("VIOLATION of "));
        let first = first.unwrap_or_else(|| panic!("{bug}, seed {seed}: no verdict: {text}"));
        let first = first.trim_start_matches("VIOLATION of ").split(": ").next();
        let all = text
            .lines()
            .rfind(|line| line.starts_with("broken properties: "));
        let all = all.unwrap_or_default().split(' ');
        if first.into_iter().chain(all).any(|it| by.contains(&it)) {
            return;
        }
        others.push(first.unwrap_or_default().to_string());
    }
    panic!("{bug} was not found in {within} seeds by {by:?}, only by {others:?}");
}

macro_rules! bugs {
    ($($name:ident $bug:literal within $within:literal by $by:expr;)*) => {
        $(#[test] fn $name() { found($bug, &$by, $within); })*
    };
}

bugs! {
    an_agent_rung_for_two_calls "double-reserve" within 40 by ["OneHand"];
    an_agent_never_let_go "forgotten-release" within 10 by ["no agent stays reserved", "every caller ends", "Heals"];
    a_bridge_without_a_grant "bridge-before-grant" within 20 by ["BridgedOnce"];
    a_deadline_too_soon "deadline-early" within 20 by ["Deadlines", "invariants"];
    a_write_that_is_lost "lost-write" within 20 by ["Writes"];
    a_pause_that_does_not_hold "stale-pause" within 20 by ["Writes", "Pauses"];
    a_line_out_of_order "order-broken" within 20 by ["Order", "Positions"];
    a_caller_who_is_forgotten "caller-forgotten" within 20 by ["EndsOnce", "resumes"];
    a_caller_who_never_leaves "ghost-in-line" within 10 by ["no agent stays reserved", "Heals", "EndsOnce"];
    replicas_that_read_a_clock "clock-in-apply" within 10 by ["replicas agree", "Replicas"];
    a_leader_who_does_nothing "leader-sleeps" within 20 by ["resumes", "Deadlines"];
    an_epoch_that_is_over_and_counts "no-epoch-fence" within 40 by ["OneDriver"];
    a_deadline_twice "deadline-twice" within 10 by ["Deadlines"];
    a_sync_that_is_a_lie "ack-before-sync" within 40 by ["a node stays up", "Writes", "replicas agree", "Replicas", "resumes"];
}
