//! The queues and agents of every drill.

use std::fmt::Write;

use super::agents::AGENTS;
use super::workload::{Line, Workload};
use crate::judge::Source;
use crate::judge::history::{Rules, Seen};

/// Announcements of the position: the first, and between two.
const ANNOUNCE_MS: u64 = 3_000;
const WRAP_UP_MS: u64 = 300;

/// The name that an agent is declared with.
pub fn name_of(agent: &str) -> String {
    format!("Agent {agent}")
}

/// Tells the judge what was declared.
pub fn rules(source: &Source, workload: Workload, max_wait_ms: u64) {
    for Line { name: queue, .. } in workload.lines() {
        let rules = Rules {
            timeout_ms: Some(max_wait_ms),
            wrap_up_ms: WRAP_UP_MS,
            announce_ms: ANNOUNCE_MS,
            announce_first_ms: ANNOUNCE_MS,
            announce_min_ms: ANNOUNCE_MS,
            ..Rules::default()
        };
        source.saw(Seen::Rules { queue, rules });
    }
}

/// The declared set, in TOML. Failed offers cost an agent a moment only, so that much happens.
pub fn queues(workload: Workload, max_wait_ms: u64) -> String {
    let mut text = String::new();
    for line in workload.lines() {
        let (name, strategy) = (line.name, line.strategy);
        let members: Vec<String> = line.members.iter().map(|m| format!("{m:?}")).collect();
        let members = members.join(", ");
        write!(
            text,
            "[queue.{name}]\nstrategy = \"{strategy}\"\nring_time = \"4s\"\nwrap_up = \"{WRAP_UP_MS}ms\"\n\
             members = [{members}]\nmax_wait = \"{}ms\"\n\
             announce = {{ frequency = \"{}ms\", first_after = \"{}ms\", min_frequency = \"{}ms\" }}\n\
             retry = {{ no_answer = \"300ms\", busy = \"300ms\", rejected = \"300ms\", \
             unreachable = \"300ms\" }}\n",
            max_wait_ms, ANNOUNCE_MS, ANNOUNCE_MS, ANNOUNCE_MS,
        )
        .expect("a text takes any length");
    }
    for (agent, home) in AGENTS {
        writeln!(
            text,
            "[agent.{agent}]\nname = {:?}\nhome = [\"{home}\"]",
            name_of(agent)
        )
        .expect("a text takes any length");
    }
    text
}
