//! What the stories have in common: how queues are declared, and usual people.

use std::fmt::Write;

use holdfast_drills::lab::Habit;

/// Answers soon and talks for a moment.
pub const SHORT_TALK: Habit = Habit::Answer {
    after_ms: 50,
    talk_ms: Some(400),
};
/// Answers soon and talks until somebody hangs up.
pub const LONG_TALK: Habit = Habit::Answer {
    after_ms: 50,
    talk_ms: None,
};

/// A declared set: one queue `support` with further settings, and its agents with the Asterisk where
/// each registers, in the order of ringing.
pub fn support(settings: &str, agents: &[(&str, &str)]) -> String {
    let mut text = queue("support", settings, agents);
    text.push_str(&people(agents));
    text
}

/// One queue. Failed offers cost an agent a moment only, so that stories are short.
pub fn queue(name: &str, settings: &str, agents: &[(&str, &str)]) -> String {
    let members: Vec<String> = agents
        .iter()
        .map(|(agent, _)| format!("{agent:?}"))
        .collect();
    format!(
        "[queue.{name}]\nmembers = [{}]\n\
         retry = {{ no_answer = \"300ms\", busy = \"300ms\", rejected = \"300ms\", \
         unreachable = \"300ms\" }}\n{settings}\n",
        members.join(", ")
    )
}

/// The agents themselves.
pub fn people(agents: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (agent, home) in agents {
        writeln!(
            text,
            "[agent.{agent}]\nname = \"Agent {agent}\"\nhome = [\"{home}\"]"
        )
        .expect("a text takes any length");
    }
    text
}
