//! The report for people. Figures first, the verdict last.

use super::report::{Gap, Report};
use super::seen::How;
use std::fmt::Write;

/// The whole report.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // A text takes any length.
        let _ = writeln!(text, "{name:<12}{value}");
    };
    let how = match report.how {
        How::Watched => "nothing was done; this is what was watched",
        How::StepDown => "the leader was asked to step down",
        How::KillCommand => "the leader was killed by your command",
        How::KillPid => "the leader was killed",
        How::ByHand => "the leader was killed by hand",
    };
    line("drill", how.to_owned());
    let after = match (&report.leader_after, report.term_after) {
        (Some(leader), Some(term)) => format!(", then {leader} in term {term}"),
        _ if report.how == How::Watched => String::new(),
        _ => ", then NOBODY".to_owned(),
    };
    let (leader, term) = (&report.leader_before, report.term_before);
    line("leader", format!("{leader} in term {term}{after}"));
    for (name, value) in gap(&report.gap) {
        line(name, value);
    }
    let callers = &report.callers;
    let ended: Vec<String> = callers
        .ended
        .iter()
        .map(|(outcome, count)| format!("{count} {outcome}"))
        .collect();
    let ended = match ended.is_empty() {
        true => "none ended".to_owned(),
        false => format!("ended: {}", ended.join(", ")),
    };
    line(
        "callers",
        format!(
            "{} before, {} of them still there, {} joined, {ended}, {} lost",
            callers.before,
            callers.kept,
            callers.joined_meanwhile,
            callers.lost.len()
        ),
    );
    let places = &report.places;
    line(
        "places",
        format!(
            "{} compared, {} overtaken",
            places.compared,
            places.moved.len()
        ),
    );
    let offers = &report.offers;
    line(
        "offers",
        format!(
            "{} before, {} after, {} repeated, {} doubled",
            offers.before,
            offers.after,
            offers.repeated,
            offers.doubled.len()
        ),
    );
    let deadlines = &report.deadlines;
    line(
        "deadlines",
        format!(
            "{} judged, the latest {} ms late, {} too late, {} early",
            deadlines.judged,
            deadlines.latest_ms,
            deadlines.late.len(),
            deadlines.early.len()
        ),
    );
    let agree = match report.replicas_agree {
        Some(true) => "agree",
        Some(false) => "DIFFER",
        None => "not compared: no two nodes were at the same log index",
    };
    line("replicas", agree.to_owned());
    for anomaly in &report.anomalies {
        line("ANOMALY", crate::output::plain(anomaly));
    }
    let verdict = match (report.good, report.anomalies.len()) {
        (true, _) => "good".to_owned(),
        (false, 1) => "BAD: 1 anomaly; docs/failover-drill.md says what each means".to_owned(),
        (false, n) => format!("BAD: {n} anomalies; docs/failover-drill.md says what each means"),
    };
    line("verdict", verdict);
    text
}

fn gap(gap: &Gap) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let mut steps = Vec::new();
    let mut step = |name: &str, ms: Option<u64>| {
        if let Some(ms) = ms {
            steps.push(format!("{name} {ms}"));
        }
    };
    step("gone", gap.gone_ms);
    step("new leader named", gap.named_ms);
    step("first confirmed answer", gap.confirmed_ms);
    step("first event", gap.commit_ms);
    step("first offer", gap.offer_ms);
    step("the node is back", gap.back_ms);
    if !steps.is_empty() {
        lines.push(("gap in ms", steps.join(", ")));
    }
    let mut before = Vec::new();
    if let Some(ms) = gap.last_commit_before_ms {
        before.push(format!("last event {ms}"));
    }
    if let Some(ms) = gap.last_offer_before_ms {
        before.push(format!("last offer {ms}"));
    }
    if !before.is_empty() {
        lines.push(("ms before", before.join(", ")));
    }
    if let Some(ms) = gap.without_quorum_ms {
        lines.push((
            "quorum",
            format!("{ms} ms the longest time without a confirmed answer"),
        ));
    }
    lines
}
