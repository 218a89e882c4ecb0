//! The whole declared set at once: checked as a whole, then written; or refused, and nothing changed.

use super::Apply;
use crate::command::Config;
use crate::id::{AgentId, QueueName};
use crate::limits::{AGENTS_MAX, MEMBERS_MAX, QUEUES_MAX, QUEUES_PER_AGENT_MAX, TEMPLATES_MAX};
use crate::reply::{Done, Reject, Reply};
use crate::template;
use crate::validate::Validate;
use std::collections::{BTreeMap, BTreeSet};

/// What will not be there any more.
struct Pruned {
    queues: BTreeSet<QueueName>,
    agents: BTreeSet<AgentId>,
    members: BTreeSet<(QueueName, AgentId)>,
    templates: BTreeSet<String>,
}

impl Apply<'_> {
    pub(super) fn config_put(&mut self, config: &Config, prune: bool) -> Reply {
        check_values(config)?;
        let pruned = self.pruned(config, prune);
        self.check_pruned(&pruned)?;
        self.check_whole(config, &pruned)?;
        for (queue, agent) in &pruned.members {
            self.delete_member(queue, agent);
        }
        pruned
            .queues
            .iter()
            .for_each(|queue| self.delete_queue(queue));
        pruned
            .agents
            .iter()
            .for_each(|agent| self.delete_agent(agent));
        pruned
            .templates
            .iter()
            .for_each(|name| self.delete_template(name));
        for (name, settings) in &config.queues {
            self.put_queue(name, settings, None);
        }
        for (id, settings) in &config.agents {
            self.put_agent(id, settings);
        }
        for (queue, agent, settings) in &config.members {
            self.put_member(queue, agent, settings);
        }
        for (name, template) in &config.templates {
            self.put_template(name, template);
        }
        Ok(Done::Written {
            revision: self.state.config_revision,
        })
    }

    /// Queues that a template brought into being, and their members, are not part of the declared set.
    fn pruned(&self, config: &Config, prune: bool) -> Pruned {
        let state = &self.state;
        let queues: BTreeSet<_> = config.queues.iter().map(|(name, _)| name).collect();
        let agents: BTreeSet<_> = config.agents.iter().map(|(id, _)| id).collect();
        let members: BTreeSet<_> = config.members.iter().map(|(q, a, _)| (q, a)).collect();
        let templates: BTreeSet<_> = config.templates.iter().map(|(name, _)| name).collect();
        let declared = || {
            state
                .queues
                .values()
                .filter(|queue| prune && queue.template.is_none())
        };
        let declared_members = declared().flat_map(|queue| {
            queue
                .members
                .keys()
                .map(|agent| (queue.name.clone(), agent.clone()))
        });
        let old_queues = declared().map(|queue| queue.name.clone());
        let old_agents = state.agents.keys().filter(|_| prune);
        let old_templates = state.templates.keys().filter(|_| prune);
        Pruned {
            queues: old_queues.filter(|name| !queues.contains(name)).collect(),
            agents: old_agents
                .filter(|id| !agents.contains(id))
                .cloned()
                .collect(),
            members: declared_members
                .filter(|(q, a)| !members.contains(&(q, a)))
                .collect(),
            templates: old_templates
                .filter(|name| !templates.contains(name))
                .cloned()
                .collect(),
        }
    }

    fn check_pruned(&self, pruned: &Pruned) -> Result<(), Reject> {
        pruned
            .queues
            .iter()
            .try_for_each(|queue| self.check_unused(queue))?;
        pruned
            .agents
            .iter()
            .try_for_each(|agent| self.check_idle(agent))
    }

    /// References and bounds, of what there will be afterwards.
    fn check_whole(&self, config: &Config, pruned: &Pruned) -> Result<(), Reject> {
        let state = &self.state;
        let mut queues: BTreeSet<_> = state.queues.keys().collect();
        queues.retain(|name| !pruned.queues.contains(*name));
        queues.extend(config.queues.iter().map(|(name, _)| name));
        let mut agents: BTreeSet<_> = state.agents.keys().collect();
        agents.retain(|id| !pruned.agents.contains(*id));
        agents.extend(config.agents.iter().map(|(id, _)| id));
        let mut templates: BTreeSet<_> = state.templates.keys().collect();
        templates.retain(|name| !pruned.templates.contains(*name));
        templates.extend(config.templates.iter().map(|(name, _)| name));
        check_max("queues", queues.len(), QUEUES_MAX)?;
        check_max("agents", agents.len(), AGENTS_MAX)?;
        check_max("templates", templates.len(), TEMPLATES_MAX)?;
        let mut members: BTreeSet<(&QueueName, &AgentId)> = BTreeSet::new();
        for queue in state.queues.values() {
            members.extend(queue.members.keys().map(|agent| (&queue.name, agent)));
        }
        members.retain(|(q, a)| {
            let gone = pruned.queues.contains(*q) || pruned.agents.contains(*a);
            !gone && !pruned.members.contains(&((*q).clone(), (*a).clone()))
        });
        for (queue, agent, _) in &config.members {
            if !queues.contains(queue) {
                return Err(Reject::UnknownQueue(queue.clone()));
            }
            if !agents.contains(agent) {
                return Err(Reject::UnknownAgent(agent.clone()));
            }
            members.insert((queue, agent));
        }
        let (mut of_queue, mut of_agent) = (BTreeMap::new(), BTreeMap::new());
        for (queue, agent) in members {
            *of_queue.entry(queue).or_insert(0) += 1;
            *of_agent.entry(agent).or_insert(0) += 1;
        }
        let most = |counts: Option<usize>| counts.unwrap_or(0);
        check_max(
            "members of a queue",
            most(of_queue.into_values().max()),
            MEMBERS_MAX,
        )?;
        check_max(
            "queues of an agent",
            most(of_agent.into_values().max()),
            QUEUES_PER_AGENT_MAX,
        )
    }
}

/// Each value by itself, and that nothing is declared twice.
fn check_values(config: &Config) -> Result<(), Reject> {
    let mut seen = BTreeSet::new();
    let mut once = |kind: &str, name: String| {
        let what = format!("{kind} {name}");
        let problem = "is declared twice".to_string();
        let new = seen.insert(what.clone());
        if new {
            Ok(())
        } else {
            Err(Reject::Invalid { what, problem })
        }
    };
    for (name, settings) in &config.queues {
        once("queue", name.to_string())?;
        settings.validate(name.as_str())?;
    }
    for (id, settings) in &config.agents {
        once("agent", id.to_string())?;
        settings.validate(id.as_str())?;
    }
    for (queue, agent, settings) in &config.members {
        once("member", format!("{queue}/{agent}"))?;
        settings.validate(agent.as_str())?;
    }
    for (name, template) in &config.templates {
        template::check_name(name)?;
        once("template", name.clone())?;
        template.validate(name)?;
    }
    Ok(())
}

fn check_max(what: &str, len: usize, max: usize) -> Result<(), Reject> {
    if len <= max {
        return Ok(());
    }
    Err(Reject::LimitReached {
        what: what.into(),
        max: max as u64,
    })
}
