//! `State::apply`: the only thing that changes the state. One file for each family of commands.
//!
//! Called on every node in the order of the log. Whatever comes is answered, never a panic. Each
//! family changes facts and touches what it changed; the index is settled once per command, and once
//! per deadline within a `Tick`.

mod admin;
mod agent;
mod caller;
mod claim;
mod config;
mod ending;
mod offer;
mod pbx;
mod settings;
mod talk;
mod tick;

use crate::command::{Command, Stamp};
use crate::digest;
use crate::event::Event;
use crate::id::{AgentId, CallId, Millis, QueueName};
use crate::index::Subject;
use crate::reply::Reply;
use crate::state::State;

impl State {
    /// Applies one command. Pure: no clock, no randomness, no IO. Never panics, whatever comes.
    /// What happened is appended to `events`. A stamp older than the last one counts as the last one.
    pub fn apply(&mut self, stamp: Stamp, command: &Command, events: &mut Vec<Event>) -> Reply {
        self.now = self.now.max(stamp.at);
        let now = self.now;
        let mut apply = Apply {
            state: self,
            stamp,
            now,
            events,
        };
        let reply = apply.command(command);
        apply.settle();
        reply
    }
}

/// One command on its way through the state.
struct Apply<'a> {
    state: &'a mut State,
    stamp: Stamp,
    now: Millis,
    events: &'a mut Vec<Event>,
}

impl Apply<'_> {
    fn command(&mut self, command: &Command) -> Reply {
        match command {
            Command::CallerJoin(join) => self.caller_join(join),
            Command::CallerLeave { call, reason } => self.caller_leave(*call, reason),
            Command::OfferMake {
                call,
                attempt,
                agents,
            } => self.offer_make(*call, *attempt, agents),
            Command::OfferRinging {
                call,
                attempt,
                agent,
            } => self.offer_ringing(*call, *attempt, agent),
            Command::OfferAnswer {
                call,
                attempt,
                agent,
            } => self.offer_answer(*call, *attempt, agent),
            Command::OfferFail {
                call,
                attempt,
                agent,
                cause,
            } => self.offer_fail(*call, *attempt, agent, *cause),
            Command::CallEnd { call, attempt, by } => self.call_end(*call, *attempt, *by),
            Command::CallReleased { call } => self.call_released(*call),
            Command::AgentDevice { pbx, agent, state } => self.agent_device(pbx, agent, *state),
            Command::PbxUp {
                pbx,
                node,
                epoch,
                restarted,
                channels,
            } => self.pbx_up(pbx, node, *epoch, *restarted, channels),
            Command::PbxDown { pbx, epoch, lost } => self.pbx_down(pbx, *epoch, *lost),
            Command::Tick => self.tick(),
            Command::NodeAway {
                node,
                node_lost_after_ms,
            } => self.node_away(node, *node_lost_after_ms),
            Command::NodeBack { node } => self.node_back(node),
            Command::PbxClaim {
                pbx,
                node,
                epoch,
                claim,
            } => self.pbx_claim(pbx, node, *epoch, *claim),
            Command::DeviceSeen {
                pbx,
                epoch,
                agent,
                state,
            } => self.device_seen(pbx, *epoch, agent, *state),
            Command::Admin(admin) => {
                self.admin(admin, digest::digest(&(admin.if_revision, &admin.op)))
            }
            Command::AdminAsked { asked, admin } => self.admin(admin, *asked),
            Command::TalkKept {
                pbx,
                epoch,
                channel,
                agent,
                queue,
            } => self.talk_kept(pbx, *epoch, channel, agent, queue.as_ref()),
            Command::TalkOver { pbx, channel } => self.talk_over(pbx, channel),
        }
    }

    /// Brings the index up to date with the facts.
    fn settle(&mut self) {
        let mut index = std::mem::take(&mut self.state.index);
        index.settle(self.state);
        self.state.index = index;
    }

    fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    fn touch_call(&mut self, call: CallId) {
        self.state.index.touch(Subject::Call(call));
    }

    fn touch_agent(&mut self, agent: &AgentId) {
        self.state.index.touch(Subject::Agent(agent.clone()));
    }

    fn touch_queue(&mut self, queue: &QueueName) {
        self.state.index.touch(Subject::Queue(queue.clone()));
    }

    fn touch_member(&mut self, queue: &QueueName, agent: &AgentId) {
        self.state
            .index
            .touch(Subject::Member(queue.clone(), agent.clone()));
    }
}
