//! What the demo shows: a table that is redrawn on a terminal, lines elsewhere; and the report.

use super::crowd::Tally;
use crate::output::table;
use crate::people::agent_table;
use crate::queues::queue_table;
use holdfast_admin::api::{AgentView, ClusterView, QueueView};
use serde::Serialize;
use std::collections::BTreeMap;

/// One look at everything.
#[derive(Default)]
pub struct Look {
    pub seconds: u64,
    /// Node, and what it says; `None` if it is dead or silent.
    pub nodes: Vec<(String, Option<ClusterView>)>,
    pub queues: Vec<QueueView>,
    pub agents: Vec<AgentView>,
    pub tally: Tally,
    /// What was done to the nodes, last first.
    pub news: Vec<String>,
    pub violations: usize,
}

impl Look {
    /// Who leads, by the word of the node of the highest term.
    pub fn leader(&self) -> Option<&str> {
        let known = self.nodes.iter().filter_map(|(_, view)| view.as_ref());
        known
            .max_by_key(|view| view.term)
            .and_then(|view| view.leader.as_deref())
    }

    pub fn frame(&self) -> String {
        let nodes = self.nodes.iter().map(|(name, view)| match view {
            None => vec![
                name.clone(),
                "DEAD".into(),
                "-".into(),
                "-".into(),
                "-".into(),
            ],
            Some(view) => vec![
                name.clone(),
                if view.role == "leader" {
                    "LEADER".into()
                } else {
                    view.role.clone()
                },
                view.term.to_string(),
                view.applied.to_string(),
                if view.ari.connected {
                    "connected"
                } else {
                    "not connected"
                }
                .into(),
            ],
        });
        let nodes = table(&["node", "role", "term", "applied", "asterisk"], nodes);
        format!(
            "holdfast demo, {} s\n\n{nodes}\n{}\n{}\n{}\n{}",
            self.seconds,
            queue_table(&self.queues),
            agent_table(&self.agents),
            self.counts(),
            self.news.join("\n")
        )
    }

    fn counts(&self) -> String {
        let tally = &self.tally;
        let returned: u64 = tally.returned.values().sum();
        format!(
            "callers {}, answered {}, gave up {}, sent back {returned}, violations {}\n",
            tally.placed, tally.answered, tally.gave_up, self.violations
        )
    }

    pub fn line(&self) -> String {
        let waiting: usize = self.queues.iter().map(|queue| queue.waiting).sum();
        let leader = self.leader().unwrap_or("NONE");
        format!(
            "{:>4} s  leader {leader}  waiting {waiting}  {}",
            self.seconds,
            self.counts()
        )
    }
}

/// One killing of a leader.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kill {
    pub node: String,
    /// Callers in line at that moment.
    pub waiting: usize,
    /// From the kill to another node leading, as a living node says.
    pub leader_after_ms: Option<u64>,
    /// From the kill to the next phone that rang by the new leader's decision.
    pub ring_after_ms: Option<u64>,
    pub restarted: bool,
}

/// The end.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub seed: u64,
    pub seconds: u64,
    pub callers: u64,
    pub answered: u64,
    pub gave_up: u64,
    pub sent_back: BTreeMap<String, u64>,
    pub wait_median_ms: u64,
    pub wait_p95_ms: u64,
    pub wait_longest_ms: u64,
    pub kills: Vec<Kill>,
    pub lines_compared: u64,
    pub places_compared: u64,
    pub violations: Vec<String>,
}

impl Report {
    pub fn text(&self) -> String {
        let mut text = format!(
            "seed {}, {} s: {} callers, {} answered, {} gave up, sent back {:?}\n\
             waiting: median {} ms, p95 {} ms, longest {} ms\n\
             places compared: {} in {} lines\n",
            self.seed,
            self.seconds,
            self.callers,
            self.answered,
            self.gave_up,
            self.sent_back,
            self.wait_median_ms,
            self.wait_p95_ms,
            self.wait_longest_ms,
            self.places_compared,
            self.lines_compared,
        );
        for kill in &self.kills {
            let ms = |ms: Option<u64>| ms.map_or_else(|| "never".into(), |ms| format!("{ms} ms"));
            text.push_str(&format!(
                "leader {} killed with {} in line: new leader after {}, next ring after {}\n",
                kill.node,
                kill.waiting,
                ms(kill.leader_after_ms),
                ms(kill.ring_after_ms),
            ));
        }
        match self.violations.len() {
            0 => text
                .push_str("violations: none. Nobody lost the place, no agent was taken twice.\n"),
            count => {
                text.push_str(&format!("VIOLATIONS: {count}\n"));
                self.violations
                    .iter()
                    .for_each(|what| text.push_str(&format!("  {what}\n")));
            }
        }
        text
    }
}

/// Of sorted values; 0 of none.
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last * percent / 100)
        .copied()
        .unwrap_or_default()
}
