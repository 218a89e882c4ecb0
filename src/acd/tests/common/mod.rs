//! A small world for the tests: one state, a clock, and the invariants checked after every command.

#![allow(dead_code, reason = "each test binary uses its own part")]

use holdfast_acd::command::{
    CallerJoin, Claim, DeviceState, EndedBy, FailCause, JoinOptions, LeaveReason,
};
use holdfast_acd::reply::{Done, Reject, Reply};
use holdfast_acd::settings::{AgentSettings, MemberSettings, QueueSettings, Strategy};
use holdfast_acd::*;

pub struct World {
    pub state: State,
    pub at: Millis,
    pub index: u64,
    /// Events of the last command.
    pub last: Vec<Event>,
    /// Events of all commands.
    pub events: Vec<Event>,
    requests: u128,
}

pub fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

pub fn pbx(name: &str) -> PbxId {
    PbxId::new(name).unwrap()
}

pub fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub fn channel(name: &str) -> ChannelId {
    ChannelId::new(name).unwrap()
}

pub fn linear() -> QueueSettings {
    QueueSettings {
        strategy: Strategy::Linear,
        ..QueueSettings::default()
    }
}

impl World {
    /// One Asterisk `p1`, queue `q` with these settings, and agents `a1` to `aN` logged in, members.
    pub fn new(settings: QueueSettings, agents: usize) -> World {
        let mut world = World::empty();
        world.up("p1", 1, false, &[]);
        world.put_queue("q", settings);
        for number in 1..=agents {
            world.add_agent("q", &format!("a{number}"), 0);
        }
        world
    }

    pub fn empty() -> World {
        let (state, last, events) = (State::default(), Vec::new(), Vec::new());
        World {
            state,
            at: 1_000,
            index: 0,
            last,
            events,
            requests: 0,
        }
    }

    pub fn stamp(&mut self) -> Stamp {
        self.index += 1;
        Stamp {
            index: self.index,
            at: self.at,
            wall_ms: 1_700_000_000_000 + self.at,
        }
    }

    pub fn apply(&mut self, command: Command) -> Reply {
        let stamp = self.stamp();
        self.last.clear();
        let reply = self.state.apply(stamp, &command, &mut self.last);
        self.events.extend(self.last.iter().cloned());
        let violations = invariants::check(&self.state);
        assert!(violations.is_empty(), "{violations:?} after {command:?}");
        reply
    }

    pub fn admin(&mut self, op: AdminOp) -> Reply {
        self.requests += 1;
        let request = RequestId(self.requests);
        let admin = Admin {
            request,
            actor: "test".into(),
            if_revision: None,
            op,
        };
        self.apply(Command::Admin(admin))
    }

    pub fn put_queue(&mut self, name: &str, settings: QueueSettings) {
        let settings = Box::new(settings);
        self.admin(AdminOp::QueuePut {
            queue: queue(name),
            settings,
        })
        .unwrap();
    }

    pub fn add_agent(&mut self, to: &str, name: &str, penalty: u32) {
        let settings = AgentSettings::default();
        self.admin(AdminOp::AgentPut {
            agent: agent(name),
            settings,
        })
        .unwrap();
        self.add_member(to, name, penalty);
        self.admin(AdminOp::AgentLogin { agent: agent(name) })
            .unwrap();
    }

    pub fn add_member(&mut self, to: &str, name: &str, penalty: u32) {
        let settings = MemberSettings {
            penalty,
            ..MemberSettings::default()
        };
        let op = AdminOp::MemberPut {
            queue: queue(to),
            agent: agent(name),
            settings,
        };
        self.admin(op).unwrap();
    }

    pub fn up(&mut self, name: &str, epoch: u64, restarted: bool, channels: &[&str]) {
        let channels = channels.iter().map(|name| channel(name)).collect();
        let (pbx, node) = (pbx(name), node(&format!("node-{name}")));
        self.apply(Command::PbxUp {
            pbx,
            node,
            epoch,
            restarted,
            channels,
        })
        .unwrap();
    }

    /// Its own node asks for it, which is always granted.
    pub fn own(&mut self, name: &str, epoch: u64, takeover: bool) {
        let (pbx, node) = (pbx(name), node(&format!("node-{name}")));
        let claim = Claim::Home { takeover };
        self.apply(Command::PbxClaim {
            pbx,
            node,
            epoch,
            claim,
        })
        .unwrap();
    }

    /// Another node asks for it.
    pub fn take(&mut self, name: &str, by: &str, epoch: u64, after_ms: u64) -> Reply {
        let (pbx, node) = (pbx(name), node(by));
        let claim = Claim::Takeover { after_ms };
        self.apply(Command::PbxClaim {
            pbx,
            node,
            epoch,
            claim,
        })
    }

    /// The leader says that the node beside it does not answer.
    pub fn away(&mut self, name: &str, node_lost_after_ms: u64) {
        let node = node(&format!("node-{name}"));
        self.apply(Command::NodeAway {
            node,
            node_lost_after_ms,
        })
        .unwrap();
    }

    pub fn join_with(
        &mut self,
        to: &str,
        name: &str,
        change: impl FnOnce(&mut CallerJoin),
    ) -> Result<CallId, Reject> {
        let mut join = CallerJoin {
            pbx: pbx("p1"),
            channel: channel(name),
            queue: queue(to),
            number: format!("4930{name}"),
            name: String::new(),
            priority: 0,
            options: JoinOptions::default(),
        };
        change(&mut join);
        match self.apply(Command::CallerJoin(join))? {
            Done::Joined { call, .. } => Ok(call),
            other => panic!("{other:?}"),
        }
    }

    pub fn join(&mut self, to: &str, name: &str) -> CallId {
        self.join_with(to, name, |_| {}).unwrap()
    }

    /// Lets the time pass and the deadlines fire.
    pub fn pass(&mut self, ms: u64) -> &[Event] {
        self.at += ms;
        self.apply(Command::Tick).unwrap();
        &self.last
    }

    /// What the leader does: decides and writes. Answers the calls and agents in this order.
    pub fn serve(&mut self) -> Vec<(CallId, Vec<String>)> {
        let mut served = Vec::new();
        for command in distribute(&self.state, 1_000, &mut |_| 0) {
            let Command::OfferMake { call, agents, .. } = command.clone() else {
                panic!()
            };
            self.apply(command).unwrap();
            served.push((call, agents.iter().map(|it| it.to_string()).collect()));
        }
        served
    }

    pub fn attempt(&self, call: CallId) -> Attempt {
        self.state.call(call).unwrap().attempts
    }

    pub fn answer(&mut self, call: CallId, by: &str) -> Reply {
        let attempt = self.attempt(call);
        self.apply(Command::OfferAnswer {
            call,
            attempt,
            agent: agent(by),
        })
    }

    pub fn fail(&mut self, call: CallId, by: &str, cause: FailCause) -> Reply {
        let attempt = self.attempt(call);
        self.apply(Command::OfferFail {
            call,
            attempt,
            agent: agent(by),
            cause,
        })
    }

    pub fn end(&mut self, call: CallId, by: EndedBy) -> Reply {
        let attempt = self.attempt(call);
        self.apply(Command::CallEnd { call, attempt, by })
    }

    pub fn leave(&mut self, call: CallId, reason: LeaveReason) -> Reply {
        self.apply(Command::CallerLeave { call, reason })
    }

    pub fn device(&mut self, name: &str, state: DeviceState) {
        let (pbx, agent) = (pbx("p1"), agent(name));
        self.apply(Command::AgentDevice { pbx, agent, state })
            .unwrap();
    }

    pub fn pause(&mut self, name: &str) {
        let agent = agent(name);
        self.admin(AdminOp::AgentPause {
            agent,
            queue: None,
            reason: "lunch".into(),
        })
        .unwrap();
    }

    /// Outcomes of the calls that ended so far, as words.
    pub fn outcomes(&self) -> Vec<(CallId, &'static str)> {
        let ends = self.events.iter().filter_map(|event| match event {
            Event::CallLeft { call, outcome, .. } => Some((*call, outcome.word())),
            _ => None,
        });
        ends.collect()
    }
}
