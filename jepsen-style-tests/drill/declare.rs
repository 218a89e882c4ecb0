//! The queues and agents of every drill.

use std::fmt::Write;

use super::agents::AGENTS;

/// Two queues that want the same agents.
pub const NAMES: [&str; 2] = ["support", "sales"];

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
            "[queue.{name}]\nstrategy = \"{strategy}\"\nring_time = \"4s\"\nwrap_up = \"300ms\"\n\
             members = [{members}]\nannounce = {{ position = false }}\n\
             retry = {{ no_answer = \"300ms\", busy = \"300ms\", rejected = \"300ms\", \
             unreachable = \"300ms\" }}\n"
        )
        .expect("a text takes any length");
    }
    for (agent, home) in AGENTS {
        writeln!(
            text,
            "[agent.{agent}]\nname = \"Agent {agent}\"\nhome = [\"{home}\"]"
        )
        .expect("a text takes any length");
    }
    text
}
