//! Queues, agents, members and templates are set and deleted.
//!
//! Writing what is there already changes nothing and keeps its revision.

use super::Apply;
use crate::agent::{Agent, Hand, Member};
use crate::announce;
use crate::event::Event;
use crate::id::{AgentId, QueueName};
use crate::limits::{AGENTS_MAX, MEMBERS_MAX, QUEUES_MAX, QUEUES_PER_AGENT_MAX, TEMPLATES_MAX};
use crate::queue::{Counters, Queue};
use crate::reply::{Done, Reject, Reply};
use crate::settings::{AgentSettings, MemberSettings, QueueSettings, Template};
use crate::state::StoredTemplate;
use crate::template;
use crate::validate::Validate;
use std::collections::{BTreeMap, BTreeSet};

impl Apply<'_> {
    pub(super) fn queue_put(&mut self, name: &QueueName, settings: &QueueSettings) -> Reply {
        settings.validate(name.as_str())?;
        self.check_room("queues", self.state.queues.len(), QUEUES_MAX, || {
            self.state.queues.contains_key(name)
        })?;
        Ok(self.put_queue(name, settings, None))
    }

    /// `settings` were checked. A queue that is written by an operator belongs to no template.
    pub(super) fn put_queue(
        &mut self,
        name: &QueueName,
        settings: &QueueSettings,
        template: Option<String>,
    ) -> Done {
        let revision = self.stamp.index;
        if let Some(queue) = self.state.queues.get_mut(name) {
            let declared = queue.template.take().is_some();
            if queue.settings == *settings && !declared {
                return Done::Written {
                    revision: queue.revision,
                };
            }
            queue.settings = settings.clone();
            queue.revision = revision;
            self.replan(name);
        } else {
            let queue = Queue {
                name: name.clone(),
                settings: settings.clone(),
                revision,
                template,
                members: BTreeMap::new(),
                line: BTreeSet::new(),
                last_rung: None,
                counters: Counters::default(),
            };
            self.state.queues.insert(name.clone(), queue);
        }
        self.written();
        self.touch_queue(name);
        self.emit(Event::QueueChanged {
            queue: name.clone(),
        });
        Done::Written { revision }
    }

    /// New settings hold for those who wait already: their steps and periodic announcements.
    fn replan(&mut self, name: &QueueName) {
        let Some(queue) = self.state.queues.get(name) else {
            return;
        };
        for place in &queue.line {
            let Some(call) = self.state.calls.get(&place.call) else {
                continue;
            };
            let Some(wait) = self.state.waits.get_mut(&place.call) else {
                continue;
            };
            let waited_ms = self.now.saturating_sub(call.joined_at);
            wait.step = queue.settings.steps_reached(waited_ms);
            announce::reschedule(wait, &queue.settings.announce, self.now);
        }
    }

    pub(super) fn queue_delete(&mut self, name: &QueueName) -> Reply {
        if !self.state.queues.contains_key(name) {
            return Err(Reject::UnknownQueue(name.clone()));
        }
        self.check_unused(name)?;
        self.delete_queue(name);
        Ok(Done::Written {
            revision: self.stamp.index,
        })
    }

    /// No call is in it, not even one that is connected or leaving: its owner still needs the settings.
    pub(super) fn check_unused(&self, name: &QueueName) -> Result<(), Reject> {
        let used = self.state.index.users.contains_key(name);
        if used {
            Err(Reject::QueueNotEmpty(name.clone()))
        } else {
            Ok(())
        }
    }

    pub(super) fn delete_queue(&mut self, name: &QueueName) {
        let Some(queue) = self.state.queues.remove(name) else {
            return;
        };
        for id in queue.members.keys() {
            if let Some(agent) = self.state.agents.get_mut(id) {
                agent.queues.remove(name);
            }
        }
        self.written();
        self.touch_queue(name);
        self.emit(Event::QueueDeleted {
            queue: name.clone(),
        });
    }

    /// Brings an unknown queue into being if a template fits its name.
    pub(super) fn queue_from_template(&mut self, name: &QueueName) -> Result<(), Reject> {
        let mut templates = self.state.templates.iter();
        let fits = templates.find(|(_, it)| template::fits(&it.template.pattern, name.as_str()));
        let Some((key, stored)) = fits else {
            return Err(Reject::UnknownQueue(name.clone()));
        };
        let (
            key,
            Template {
                settings, members, ..
            },
        ) = (key.clone(), stored.template.clone());
        self.check_room("queues", self.state.queues.len(), QUEUES_MAX, || false)?;
        self.put_queue(name, &settings, Some(key));
        for (agent, settings) in members {
            // An agent who does not exist, or is in too many queues, must not keep the caller out.
            let _ = self.member_put(name, &agent, &settings);
        }
        // The rules at the door ask the index who is there.
        self.settle();
        Ok(())
    }

    pub(super) fn agent_put(&mut self, id: &AgentId, settings: &AgentSettings) -> Reply {
        settings.validate(id.as_str())?;
        self.check_room("agents", self.state.agents.len(), AGENTS_MAX, || {
            self.state.agents.contains_key(id)
        })?;
        Ok(self.put_agent(id, settings))
    }

    pub(super) fn put_agent(&mut self, id: &AgentId, settings: &AgentSettings) -> Done {
        let revision = self.stamp.index;
        if let Some(agent) = self.state.agents.get_mut(id) {
            if agent.settings == *settings {
                return Done::Written {
                    revision: agent.revision,
                };
            }
            agent.settings = settings.clone();
            agent.revision = revision;
        } else {
            let agent = Agent {
                id: id.clone(),
                settings: settings.clone(),
                revision,
                queues: BTreeSet::new(),
                login_at: None,
                pause: None,
                hand: Hand::Free,
                wrap_up_until: None,
                retry_at: None,
                last_call_at: None,
                calls_taken: 0,
                devices: BTreeMap::new(),
            };
            self.state.agents.insert(id.clone(), agent);
        }
        self.written();
        self.touch_agent(id);
        self.emit(Event::AgentChanged { agent: id.clone() });
        Done::Written { revision }
    }

    pub(super) fn agent_delete(&mut self, id: &AgentId) -> Reply {
        self.check_idle(id)?;
        self.delete_agent(id);
        Ok(Done::Written {
            revision: self.stamp.index,
        })
    }

    pub(super) fn check_idle(&self, id: &AgentId) -> Result<(), Reject> {
        let agent = self.state.agents.get(id);
        let agent = agent.ok_or_else(|| Reject::UnknownAgent(id.clone()))?;
        if agent.hand == Hand::Free {
            Ok(())
        } else {
            Err(Reject::AgentBusy(id.clone()))
        }
    }

    pub(super) fn delete_agent(&mut self, id: &AgentId) {
        let Some(agent) = self.state.agents.get(id) else {
            return;
        };
        for queue in agent.queues.clone() {
            self.delete_member(&queue, id);
        }
        self.state.agents.remove(id);
        self.written();
        self.touch_agent(id);
        self.emit(Event::AgentDeleted { agent: id.clone() });
    }

    pub(super) fn member_put(
        &mut self,
        queue: &QueueName,
        agent: &AgentId,
        settings: &MemberSettings,
    ) -> Reply {
        settings.validate(agent.as_str())?;
        let of = self.state.queues.get(queue);
        let of = of.ok_or_else(|| Reject::UnknownQueue(queue.clone()))?;
        let who = self.state.agents.get(agent);
        let who = who.ok_or_else(|| Reject::UnknownAgent(agent.clone()))?;
        let known = || of.members.contains_key(agent);
        self.check_room("members of a queue", of.members.len(), MEMBERS_MAX, known)?;
        self.check_room(
            "queues of an agent",
            who.queues.len(),
            QUEUES_PER_AGENT_MAX,
            known,
        )?;
        Ok(self.put_member(queue, agent, settings))
    }

    pub(super) fn put_member(
        &mut self,
        name: &QueueName,
        id: &AgentId,
        settings: &MemberSettings,
    ) -> Done {
        let revision = self.stamp.index;
        let queue = self.state.queues.get_mut(name);
        let Some((queue, agent)) = queue.zip(self.state.agents.get_mut(id)) else {
            return Done::Ok;
        };
        let new = Member {
            settings: settings.clone(),
            revision,
            pause: None,
            calls_taken: 0,
            last_call_at: None,
        };
        agent.queues.insert(name.clone());
        match queue.members.get_mut(id) {
            Some(member) if member.settings == *settings => {
                return Done::Written {
                    revision: member.revision,
                };
            }
            Some(member) => {
                member.settings = new.settings;
                member.revision = revision;
            }
            None => {
                queue.members.insert(id.clone(), new);
            }
        }
        self.written();
        self.touch_member(name, id);
        self.emit(Event::MemberChanged {
            queue: name.clone(),
            agent: id.clone(),
        });
        Done::Written { revision }
    }

    pub(super) fn member_delete(&mut self, queue: &QueueName, agent: &AgentId) -> Reply {
        let of = self.state.queues.get(queue);
        let of = of.ok_or_else(|| Reject::UnknownQueue(queue.clone()))?;
        if !of.members.contains_key(agent) {
            return Err(Reject::UnknownMember(queue.clone(), agent.clone()));
        }
        self.delete_member(queue, agent);
        Ok(Done::Written {
            revision: self.stamp.index,
        })
    }

    /// An offer of this queue is withdrawn; a call goes on.
    pub(super) fn delete_member(&mut self, queue: &QueueName, id: &AgentId) {
        self.withdraw_offer(id, Some(queue));
        if let Some(queue) = self.state.queues.get_mut(queue) {
            queue.members.remove(id);
        }
        if let Some(agent) = self.state.agents.get_mut(id) {
            agent.queues.remove(queue);
        }
        self.written();
        self.touch_member(queue, id);
        self.emit(Event::MemberDeleted {
            queue: queue.clone(),
            agent: id.clone(),
        });
    }

    pub(super) fn template_put(&mut self, name: &str, template: &Template) -> Reply {
        template::check_name(name)?;
        template.validate(name)?;
        self.check_room(
            "templates",
            self.state.templates.len(),
            TEMPLATES_MAX,
            || self.state.templates.contains_key(name),
        )?;
        Ok(self.put_template(name, template))
    }

    pub(super) fn put_template(&mut self, name: &str, template: &Template) -> Done {
        if let Some(stored) = self.state.templates.get(name)
            && stored.template == *template
        {
            return Done::Written {
                revision: stored.revision,
            };
        }
        let revision = self.stamp.index;
        let stored = StoredTemplate {
            revision,
            template: template.clone(),
        };
        self.state.templates.insert(name.into(), stored);
        self.written();
        self.emit(Event::TemplateChanged { name: name.into() });
        Done::Written { revision }
    }

    pub(super) fn template_delete(&mut self, name: &str) -> Reply {
        if !self.state.templates.contains_key(name) {
            return Err(Reject::UnknownName(crate::text::clean(name)));
        }
        self.delete_template(name);
        Ok(Done::Written {
            revision: self.stamp.index,
        })
    }

    /// Queues it brought into being stay.
    pub(super) fn delete_template(&mut self, name: &str) {
        if self.state.templates.remove(name).is_some() {
            self.written();
            self.emit(Event::TemplateDeleted { name: name.into() });
        }
    }

    fn written(&mut self) {
        self.state.config_revision = self.stamp.index;
    }

    /// Room for one more, unless it is there already.
    fn check_room(
        &self,
        what: &str,
        len: usize,
        max: usize,
        known: impl Fn() -> bool,
    ) -> Result<(), Reject> {
        if len < max || known() {
            return Ok(());
        }
        Err(Reject::LimitReached {
            what: what.into(),
            max: max as u64,
        })
    }
}
