//! The original's agent plan, `callManager(taskID, extens, ringStrategy, ringTime)`, as queues.
//!
//! A task `Name@domain` becomes a queue of that name. Stages `Name@domain@1`, `Name@domain@2` become
//! one queue whose steps widen with the waiting time: a stage begins when the ring times of the
//! stages before it have passed.

use crate::declared::Problem;
use crate::duration::Dur;
use crate::words::unknown_word;
use holdfast_acd::settings::{QueueSettings, Step, Strategy};
use holdfast_acd::{AgentId, QueueName};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// One row of the original's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskDoc {
    /// Who is rung: a list, or one text with commas.
    #[serde(deserialize_with = "extens")]
    pub extens: Vec<AgentId>,
    /// `ringStrategy`; the original knew `ringall` alone.
    #[serde(default, alias = "ringStrategy", deserialize_with = "ring_strategy")]
    pub ring_strategy: Strategy,
    /// `ringTime`, seconds: how long this stage rings.
    #[serde(alias = "ringTime")]
    pub ring_time: Dur,
}

/// A queue made of one task or of all stages of one.
pub struct Plan {
    /// The key of the (first) task, for errors.
    pub task: String,
    pub queue: QueueName,
    pub settings: QueueSettings,
    /// Everybody of all stages, in the order of their first naming.
    pub agents: Vec<AgentId>,
}

/// The queues that the tasks stand for, and what is wrong with the tasks.
pub fn plans(tasks: &BTreeMap<String, TaskDoc>) -> (Vec<Plan>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut groups: BTreeMap<&str, BTreeMap<u32, (&str, &TaskDoc)>> = BTreeMap::new();
    for (key, doc) in tasks {
        let (name, stage) = split_stage(key);
        if doc.extens.is_empty() {
            problems.push(Problem::new(
                &["task", key, "extens"],
                "extens names nobody",
            ));
        }
        if doc.ring_time.0 == 0 {
            problems.push(Problem::new(
                &["task", key, "ring_time"],
                "the ring time is 0",
            ));
        }
        if let Some((other, _)) = groups.entry(name).or_default().insert(stage, (key, doc)) {
            let what = format!("task {other:?} is the same stage of the same queue");
            problems.push(Problem::new(&["task", key], what));
        }
    }
    let mut plans = Vec::new();
    for (name, stages) in groups {
        let keys: Vec<u32> = stages.keys().copied().collect();
        let first = stages.values().next().map_or(name, |(key, _)| key);
        let staged = keys != [0];
        let gapless = keys.iter().copied().eq(1..=keys.len() as u32);
        if staged && !gapless {
            let what = format!(
                "the stages of {name} are {keys:?}; number them from 1 without a gap, \
                 and leave out the one without a number"
            );
            problems.push(Problem::new(&["task", first], what));
            continue;
        }
        match QueueName::new(name) {
            Ok(queue) => plans.push(plan(first, queue, stages.values().map(|(_, doc)| *doc))),
            Err(error) => problems.push(Problem::new(&["task", first], error.to_string())),
        }
    }
    (plans, problems)
}

fn plan<'a>(task: &str, queue: QueueName, stages: impl Iterator<Item = &'a TaskDoc>) -> Plan {
    let stages: Vec<&TaskDoc> = stages.collect();
    let mut agents: Vec<AgentId> = Vec::new();
    for agent in stages.iter().flat_map(|stage| &stage.extens) {
        if !agents.contains(agent) {
            agents.push(agent.clone());
        }
    }
    let mut settings = QueueSettings::default();
    if let Some(first) = stages.first() {
        settings.strategy = first.ring_strategy;
        settings.ring_time_ms = first.ring_time.0;
    }
    if stages.len() > 1 {
        let mut after_ms: u64 = 0;
        for stage in stages {
            settings.steps.push(Step {
                after_ms,
                agents: stage.extens.clone(),
                max_penalty: None,
                ring_time_ms: Some(stage.ring_time.0),
                strategy: Some(stage.ring_strategy),
            });
            after_ms = after_ms.saturating_add(stage.ring_time.0);
        }
    }
    Plan {
        task: task.to_owned(),
        queue,
        settings,
        agents,
    }
}

/// `name@2` is stage 2 of `name`; a key without a number behind its last `@` is stage 0.
fn split_stage(key: &str) -> (&str, u32) {
    match key
        .rsplit_once('@')
        .map(|(name, stage)| (name, stage.parse::<u32>()))
    {
        Some((name, Ok(stage))) if stage > 0 => (name, stage),
        _ => (key, 0),
    }
}

fn extens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AgentId>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Exten {
        Number(u64),
        Text(String),
    }
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "a list of extensions, or one text with commas between them"
    )]
    enum ListOrOne {
        List(Vec<Exten>),
        One(Exten),
    }
    let list = match ListOrOne::deserialize(deserializer)? {
        ListOrOne::List(list) => list,
        ListOrOne::One(one) => vec![one],
    };
    let mut agents = Vec::new();
    for exten in list {
        let text = match exten {
            Exten::Number(number) => number.to_string(),
            Exten::Text(text) => text,
        };
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            agents.push(AgentId::new(word).map_err(serde::de::Error::custom)?);
        }
    }
    Ok(agents)
}

fn ring_strategy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Strategy, D::Error> {
    let word = String::deserialize(deserializer)?.to_ascii_lowercase();
    crate::words::strategy_of(&word).ok_or_else(|| unknown_word(&word, crate::words::STRATEGIES))
}
