//! The queues and agents of every drill.

use std::fmt::Write;

use super::agents::AGENTS;
use crate::judge::Source;
use crate::judge::history::{Rules, Seen};

/// Two queues that want the same agents.
pub const NAMES: [&str; 2] = ["support", "sales"];

/// How long a caller waits at most.
const MAX_WAIT_MS: u64 = 11_000;
/// Announcements of the position: the first, and between two.
const ANNOUNCE_MS: u64 = 3_000;
const WRAP_UP_MS: u64 = 300;

/// The name that an agent is declared with.
pub fn name_of(agent: &str) -> String {
    format!("Agent {agent}")
}

/// Tells the judge what was declared.
pub fn rules(source: &Source) {
    for queue in NAMES {
        let rules = Rules {
            timeout_ms: Some(MAX_WAIT_MS),
            wrap_up_ms: WRAP_UP_MS,
            announce_ms: ANNOUNCE_MS,
            announce_first_ms: ANNOUNCE_MS,
            announce_min_ms: ANNOUNCE_MS,
            ..Rules::default()
        };
        let queue = queue.to_owned();
        source.saw(Seen::Rules { queue, rules });
    }
}

/// The declared set, in TOML. Failed offers cost an agent a moment only, so that much happens.
pub fn queues() -> String {
    let agents: Vec<String> = AGENTS
        .iter()
        .map(|(agent, _)| format!("{agent:?}"))
        .collect();
    let members = agents.join(", ");
    let mut text = String::new();
    for (name, strategy) in NAMES.into_iter().zip(["rrmemory", "leastrecent"]) {
        write!(
            text,
            "[queue.{name}]\nstrategy = \"{strategy}\"\nring_time = \"4s\"\nwrap_up = \"{WRAP_UP_MS}ms\"\n\
             members = [{members}]\nmax_wait = \"{}ms\"\n\
             announce = {{ frequency = \"{}ms\", first_after = \"{}ms\", min_frequency = \"{}ms\" }}\n\
             retry = {{ no_answer = \"300ms\", busy = \"300ms\", rejected = \"300ms\", \
             unreachable = \"300ms\" }}\n",
            MAX_WAIT_MS,
            ANNOUNCE_MS,
            ANNOUNCE_MS,
            ANNOUNCE_MS,
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
