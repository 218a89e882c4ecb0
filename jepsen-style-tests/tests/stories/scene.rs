//! What the stories have in common: how queues are declared, and usual people.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use holdfast_drills::lab::cluster::{Cluster, Waiting};
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::{Habit, Phone};

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

/// Lets these agents end each of their calls as soon as the oracle has seen it begin, until so many
/// conversations have begun in all. So a call is short, but never too short to be a call.
pub async fn serve(cluster: &Cluster, phones: &[&Phone], total: usize, within: Duration) {
    let mut ended: BTreeSet<String> = BTreeSet::new();
    eventually(
        within,
        &format!("{total} conversations have begun"),
        async || {
            let talks = cluster.oracle.talks();
            for talk in talks.iter().filter(|talk| talk.ended.is_none()) {
                let phone = phones.iter().find(|phone| phone.number() == talk.agent);
                if let Some(phone) = phone
                    && ended.insert(talk.caller.clone())
                {
                    let hung_up = phone.hang_up().await;
                    hung_up.map_err(|error| error.to_string())?;
                }
            }
            check(talks.len() >= total, || {
                format!("{} have: {talks:?}", talks.len())
            })
        },
    )
    .await;
}

/// Agents who still talk hang up, each once: a second hang-up in the middle of the first leaves a real
/// phone stuck. So those whom `serve` has just ended are given the time to be over.
pub async fn hang_up_all(cluster: &Cluster, phones: &[&Phone]) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let begun = Instant::now();
    let mut ended: BTreeSet<String> = BTreeSet::new();
    eventually(SOON, "nobody talks", async || {
        let talking = cluster.oracle.talking();
        for (caller, agent) in &talking {
            let phone = phones.iter().find(|phone| phone.number() == agent);
            if let Some(phone) = phone
                && begun.elapsed() > PATIENCE
                && ended.insert(caller.clone())
            {
                let hung_up = phone.hang_up().await;
                hung_up.map_err(|error| error.to_string())?;
            }
        }
        check(talking.is_empty(), || format!("talking are {talking:?}"))
    })
    .await;
}

/// Calls and numbers of a line, in order.
pub fn places(line: &[Waiting]) -> Vec<(String, String)> {
    line.iter()
        .map(|waiting| (waiting.id.clone(), waiting.number.clone()))
        .collect()
}

/// Pauses the agent of this phone and lets him end what he still gets, until he rests.
pub async fn rest(cluster: &Cluster, phone: &Phone) {
    let agent = phone.number();
    let paused = cluster.api().pause(agent, "drill").await;
    paused.expect("an agent can pause");
    let mut ended: BTreeSet<String> = BTreeSet::new();
    eventually(SOON, &format!("agent {agent} rests"), async || {
        let talking = cluster.oracle.talking();
        for (caller, _) in talking.into_iter().filter(|(_, other)| other == agent) {
            if ended.insert(caller) {
                let hung_up = phone.hang_up().await;
                hung_up.map_err(|error| error.to_string())?;
            }
        }
        let state = cluster.agent_state(agent).await?;
        check(state == "paused", || format!("he is {state}"))
    })
    .await;
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
