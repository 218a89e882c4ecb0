//! Fires the deadlines that are due by the stamp of the log, in order, each once.

use super::Apply;
use crate::announce;
use crate::call::{Announcement, Outcome};
use crate::command::FailCause;
use crate::deadline::Deadline;
use crate::event::Event;
use crate::id::{AgentId, CallId, QueueName};
use crate::limits::DEADLINES_PER_TICK_MAX;
use crate::reply::{Done, Reply};

impl Apply<'_> {
    pub(super) fn tick(&mut self) -> Reply {
        for _ in 0..DEADLINES_PER_TICK_MAX {
            let due = self
                .state
                .index
                .deadlines
                .first()
                .filter(|(at, _)| *at <= self.now);
            let Some((_, deadline)) = due.cloned() else {
                break;
            };
            self.fire(&deadline);
            // The next one must see what this one changed.
            self.settle();
        }
        Ok(Done::Ok)
    }

    fn fire(&mut self, deadline: &Deadline) {
        match deadline {
            Deadline::LeaveEmpty(queue) => self.leave_empty(queue),
            Deadline::Timeout(call) => self.end_waiting(*call, Outcome::Timeout),
            Deadline::Ring(call) => self.end_offer(*call, FailCause::NoAnswer),
            Deadline::Step(call) => self.reach_step(*call),
            Deadline::Announce(call) => self.announce(*call),
            Deadline::Leaving(call) => self.remove_call(*call),
            Deadline::WrapUp(agent) => self.wrap_up_ends(agent),
            Deadline::Retry(agent) => {
                if let Some(agent) = self.state.agents.get_mut(agent) {
                    agent.retry_at = None;
                }
                self.touch_agent(agent);
            }
            Deadline::NodeLost(pbx) => self.node_lost(pbx),
            Deadline::Resume(key) => {
                self.forget_resume(key);
            }
        }
    }

    /// One caller at a time, so that a long line leaves in bounded pieces.
    fn leave_empty(&mut self, queue: &QueueName) {
        let index = self.state.index.queues.get(queue);
        if let Some(first) = index.and_then(|index| index.waiting.first().copied()) {
            self.end_waiting(first.call, Outcome::Empty);
        }
    }

    fn reach_step(&mut self, id: CallId) {
        let Some(call) = self.state.calls.get(&id) else {
            return;
        };
        let Some(queue) = self.state.queues.get(&call.queue) else {
            return;
        };
        let waited_ms = self.now.saturating_sub(call.joined_at);
        if let Some(wait) = self.state.waits.get_mut(&id) {
            wait.step = queue.settings.steps_reached(waited_ms);
        }
        self.touch_call(id);
    }

    fn announce(&mut self, id: CallId) {
        let now = self.now;
        self.touch_call(id);
        let Some(position) = self.state.position(id) else {
            return;
        };
        let Some(call) = self.state.calls.get_mut(&id) else {
            return;
        };
        let Some(queue) = self.state.queues.get(&call.queue) else {
            return;
        };
        let Some(wait) = self.state.waits.get_mut(&id) else {
            return;
        };
        let (prompts, told) = announce::due(wait, call, queue, position, now);
        if prompts.is_empty() {
            return;
        }
        let number = call
            .announcement
            .as_ref()
            .map_or(0, |last| last.number)
            .saturating_add(1);
        let position = if told { position } else { 0 };
        call.announcement = Some(Announcement {
            number,
            at: now,
            prompts,
            position,
        });
        self.emit(Event::AnnounceDue {
            call: id,
            number,
            position,
        });
    }

    fn wrap_up_ends(&mut self, id: &AgentId) {
        if let Some(agent) = self.state.agents.get_mut(id) {
            agent.wrap_up_until = None;
        }
        self.touch_agent(id);
        self.emit(Event::AgentReady { agent: id.clone() });
    }
}
