//! A large state, made of commands as callers and operators would have it: so many callers in one line,
//! so many agents; and what it costs to copy it for a snapshot, to write it and to read it.

use std::time::{Duration, Instant};

use holdfast_acd::command::{CallerJoin, JoinOptions, LeaveReason};
use holdfast_acd::settings::{AgentSettings, MemberSettings, QueueSettings};
use holdfast_acd::{
    Admin, AdminOp, AgentId, CallId, ChannelId, Command, Config, NodeName, PbxId, QueueName,
    RequestId,
};
use holdfast_node::AcdMachine;
use holdfast_raft::{Machine, Stamp};
use serde::Serialize;

/// Agents in one declared set: a command has a bound.
const AGENTS_TOGETHER: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Size {
    pub callers: usize,
    pub agents: usize,
}

/// What one state costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Costs {
    /// Of the copy, during which nothing is applied: the median and the longest of some.
    pub copy_ms: f64,
    pub copy_most_ms: f64,
    /// Of the bytes of a snapshot, beside apply.
    pub encode_ms: f64,
    pub bytes: usize,
}

const COPIES: usize = 15;

pub fn costs(size: Size) -> Costs {
    let machine = filled(size);
    let mut copies: Vec<f64> = Vec::new();
    for _ in 0..COPIES {
        let begun = Instant::now();
        let copy = machine.facts();
        copies.push(ms(begun.elapsed()));
        drop(copy);
    }
    copies.sort_by(f64::total_cmp);
    let begun = Instant::now();
    let bytes = machine.snapshot().expect("a state of this size is written");
    let encode_ms = ms(begun.elapsed());
    Costs {
        copy_ms: copies[COPIES / 2],
        copy_most_ms: copies[COPIES - 1],
        encode_ms,
        bytes: bytes.len(),
    }
}

fn filled(size: Size) -> AcdMachine {
    let mut machine = AcdMachine::default();
    let mut index = 0;
    let mut events = Vec::new();
    let mut apply = |command: &Command| {
        index += 1;
        events.clear();
        let stamp = Stamp {
            index,
            at_ms: index,
            wall_ms: 0,
        };
        let reply = machine.apply(stamp, command, &mut events);
        assert!(reply.is_ok(), "{command:?} was refused: {reply:?}");
    };
    founding(size.agents).iter().for_each(&mut apply);
    (0..size.callers)
        .map(join)
        .for_each(|command| apply(&command));
    machine
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What comes before callers: Asterisks, the queue, agents.
pub fn founding(agents: usize) -> Vec<Command> {
    let mut commands: Vec<Command> = (0..3)
        .map(|number| Command::PbxUp {
            pbx: pbx(number),
            node: NodeName::new(format!("n{number}")).expect("fits"),
            epoch: 1,
            restarted: false,
            channels: Vec::new(),
        })
        .collect();
    let queues = vec![(queue(), QueueSettings::default())];
    commands.push(declare(
        0,
        Config {
            queues,
            ..Config::default()
        },
    ));
    let all: Vec<usize> = (0..agents).collect();
    for (request, some) in all.chunks(AGENTS_TOGETHER).enumerate() {
        let agent = |number: &usize| AgentId::new(format!("{:05}", 10_000 + number)).expect("fits");
        let settings = |number: &usize| AgentSettings {
            name: format!("Agent {number}"),
            ..AgentSettings::default()
        };
        let member = |number: &usize| (queue(), agent(number), MemberSettings::default());
        let config = Config {
            agents: some.iter().map(|it| (agent(it), settings(it))).collect(),
            members: some.iter().map(member).collect(),
            ..Config::default()
        };
        commands.push(declare(request + 1, config));
    }
    commands
}

fn declare(request: usize, config: Config) -> Command {
    let config = Box::new(config);
    Command::Admin(Admin {
        request: RequestId(request as u128),
        actor: "day".into(),
        if_revision: None,
        op: AdminOp::ConfigPut {
            config,
            prune: false,
        },
    })
}

/// The `number`th caller joins.
pub fn join(number: usize) -> Command {
    let channel = format!("pbx-{}-1795641963.{number}", number % 3);
    Command::CallerJoin(CallerJoin {
        pbx: pbx(number % 3),
        channel: ChannelId::new(channel).expect("fits"),
        queue: queue(),
        number: format!("4930{number:07}"),
        name: format!("Caller {number}"),
        priority: 0,
        options: JoinOptions::default(),
    })
}

pub fn leave(call: CallId) -> Command {
    let reason = LeaveReason::HungUp;
    Command::CallerLeave { call, reason }
}

fn pbx(number: usize) -> PbxId {
    PbxId::new(format!("pbx-{number}")).expect("fits")
}

fn queue() -> QueueName {
    QueueName::new("support").expect("fits")
}
