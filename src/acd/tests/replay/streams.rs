//! Random streams of what may happen, weighted such that calls get far.

use crate::common::*;
use holdfast_acd::call::Phase;
use holdfast_acd::command::*;
use holdfast_acd::settings::{
    AgentSettings, Announce, Connect, Empty, EmptyRule, MemberSettings, QueueSettings, Template,
};
use holdfast_acd::*;
use proptest::prelude::*;

/// What may happen. `Serve` stands for what the leader would decide at that moment.
#[derive(Clone, Debug)]
pub enum Step {
    Command(Command),
    Serve,
    /// An answer, failure or end that fits the current attempt of a call, so that calls get far.
    Ring(u64, u8),
    Answer(u64, u8),
    Fail(u64, u8, FailCause),
    End(u64, EndedBy),
    Return(u64),
    Pass(u64),
}

fn queues() -> impl Strategy<Value = QueueName> {
    (0..3u8).prop_map(|n| queue(&format!("q{n}")))
}

fn agents() -> impl Strategy<Value = AgentId> {
    (0..5u8).prop_map(|n| agent(&format!("a{n}")))
}

fn pbxes() -> impl Strategy<Value = PbxId> {
    (0..2u8).prop_map(|n| pbx(&format!("p{n}")))
}

fn nodes() -> impl Strategy<Value = NodeName> {
    (0..2u8).prop_map(|n| node(&format!("n{n}")))
}

fn claims() -> impl Strategy<Value = Claim> {
    prop_oneof![
        any::<bool>().prop_map(|takeover| Claim::Home { takeover }),
        (0..2_000u64).prop_map(|after_ms| Claim::Takeover { after_ms }),
    ]
}

fn channels() -> impl Strategy<Value = ChannelId> {
    (0..12u8).prop_map(|n| channel(&format!("c{n}")))
}

fn calls() -> impl Strategy<Value = CallId> {
    (1..20u64).prop_map(CallId)
}

fn strategies() -> impl Strategy<Value = settings::Strategy> {
    use settings::Strategy::*;
    prop::sample::select(vec![
        RingAll,
        RrMemory,
        Linear,
        LeastRecent,
        FewestCalls,
        Random,
    ])
}

fn causes() -> impl Strategy<Value = FailCause> {
    use FailCause::*;
    prop::sample::select(vec![NoAnswer, Busy, Rejected, Unreachable, Cancelled])
}

fn ends() -> impl Strategy<Value = EndedBy> {
    prop::sample::select(vec![EndedBy::Caller, EndedBy::Agent, EndedBy::Failure])
}

fn devices() -> impl Strategy<Value = DeviceState> {
    use DeviceState::*;
    prop::sample::select(vec![
        Unknown,
        NotInUse,
        InUse,
        Busy,
        Ringing,
        OnHold,
        Unavailable,
    ])
}

fn steps() -> impl Strategy<Value = Vec<settings::Step>> {
    let step = (
        prop::collection::vec(agents(), 0..3),
        prop::option::of(0..3u32),
    );
    prop::collection::vec(step, 0..3).prop_map(|steps| {
        let steps = steps.into_iter().enumerate();
        let step = |(n, (agents, max_penalty)): (usize, _)| settings::Step {
            after_ms: n as u64 * 8_000,
            agents,
            max_penalty,
            ..settings::Step::default()
        };
        steps.map(step).collect()
    })
}

fn queue_settings() -> impl Strategy<Value = QueueSettings> {
    let rule = prop::collection::vec(
        prop::sample::select(vec![Empty::Paused, Empty::InUse]),
        0..2,
    );
    let some = (strategies(), steps(), 0..3u32, 0..5u32, any::<bool>());
    let more = (
        rule,
        prop::option::of(5_000..60_000u64),
        0..2_000u64,
        any::<bool>(),
    );
    (some, more).prop_map(|((strategy, steps, weight, maxlen, dialplan), more)| {
        let (rule, timeout_ms, wrap_up_ms, open) = more;
        let announce = Announce {
            frequency_ms: 10_000,
            periodic: vec!["ad".into()],
            periodic_frequency_ms: 7_000,
            ..Announce::default()
        };
        QueueSettings {
            strategy,
            steps,
            weight,
            maxlen,
            connect: if dialplan {
                Connect::Dialplan
            } else {
                Connect::Ari
            },
            leave_when_empty: EmptyRule(rule),
            timeout_ms,
            wrap_up_ms,
            announce,
            exit_keys: vec!["1".into()],
            open: open || maxlen > 1,
            ..QueueSettings::default()
        }
    })
}

fn joins() -> impl Strategy<Value = Command> {
    (pbxes(), channels(), queues(), 0..4u8, -1..2i32).prop_map(
        |(pbx, channel, queue, number, priority)| {
            let (name, options) = ("X\u{7}".repeat(100), JoinOptions::default());
            let number = format!("100{number}");
            Command::CallerJoin(CallerJoin {
                pbx,
                channel,
                queue,
                number,
                name,
                priority,
                options,
            })
        },
    )
}

fn facts() -> impl Strategy<Value = Command> {
    let attempt = || (1..4u32).prop_map(Attempt);
    let reason = prop_oneof![
        4 => Just(LeaveReason::HungUp),
        1 => Just(LeaveReason::NoQuorum),
        1 => prop::sample::select(vec!["1", "9"]).prop_map(|key| LeaveReason::Key(key.into())),
    ];
    let alive = prop::collection::vec(channels(), 0..12);
    prop_oneof![
        14 => joins(),
        3 => (calls(), reason).prop_map(|(call, reason)| Command::CallerLeave { call, reason }),
        1 => (calls(), attempt(), agents())
            .prop_map(|(call, attempt, agent)| Command::OfferRinging { call, attempt, agent }),
        1 => (calls(), attempt(), agents())
            .prop_map(|(call, attempt, agent)| Command::OfferAnswer { call, attempt, agent }),
        1 => (calls(), attempt(), agents(), causes()).prop_map(
            |(call, attempt, agent, cause)| Command::OfferFail { call, attempt, agent, cause }
        ),
        1 => (calls(), attempt(), ends())
            .prop_map(|(call, attempt, by)| Command::CallEnd { call, attempt, by }),
        3 => calls().prop_map(|call| Command::CallReleased { call }),
        3 => (pbxes(), agents(), devices())
            .prop_map(|(pbx, agent, state)| Command::AgentDevice { pbx, agent, state }),
        1 => (pbxes(), nodes(), 1..9u64, any::<bool>(), alive).prop_map(
            |(pbx, node, epoch, restarted, channels)| Command::PbxUp {
                pbx, node, epoch, restarted, channels
            }
        ),
        2 => (pbxes(), nodes(), 1..9u64, claims()).prop_map(
            |(pbx, node, epoch, claim)| Command::PbxClaim { pbx, node, epoch, claim }
        ),
        1 => (pbxes(), 1..9u64, agents(), devices()).prop_map(
            |(pbx, epoch, agent, state)| Command::DeviceSeen { pbx, epoch, agent, state }
        ),
        1 => (pbxes(), 1..9u64, any::<bool>())
            .prop_map(|(pbx, epoch, lost)| Command::PbxDown { pbx, epoch, lost }),
        1 => talks(),
        1 => nodes()
            .prop_map(|node| Command::NodeAway { node, node_lost_after_ms: 20_000 }),
        3 => nodes().prop_map(|node| Command::NodeBack { node }),
        2 => (calls(), attempt(), prop::collection::vec(agents(), 0..4))
            .prop_map(|(call, attempt, agents)| Command::OfferMake { call, attempt, agents }),
    ]
}

fn talks() -> impl Strategy<Value = Command> {
    let kept = (
        pbxes(),
        4..12u64,
        channels(),
        agents(),
        prop::option::of(queues()),
    )
        .prop_map(|(pbx, epoch, channel, agent, queue)| Command::TalkKept {
            pbx,
            epoch,
            channel,
            agent,
            queue,
        });
    let over = (pbxes(), channels()).prop_map(|(pbx, channel)| Command::TalkOver { pbx, channel });
    prop_oneof![2 => kept, 1 => over]
}

fn admin_ops() -> impl Strategy<Value = AdminOp> {
    let template = queue_settings().prop_map(|settings| AdminOp::TemplatePut {
        name: "t".into(),
        template: Box::new(Template {
            pattern: "q*".into(),
            settings,
            members: vec![],
        }),
    });
    let members = || {
        (0..3u32).prop_map(|penalty| MemberSettings {
            penalty,
            ..Default::default()
        })
    };
    let config = (queues(), queue_settings(), agents(), any::<bool>()).prop_map(
        |(queue, settings, agent, prune)| {
            let members = vec![(queue.clone(), agent.clone(), MemberSettings::default())];
            let queues = vec![(queue, settings)];
            let agents = vec![(agent, AgentSettings::default())];
            let config = Box::new(Config {
                queues,
                agents,
                members,
                templates: vec![],
            });
            AdminOp::ConfigPut { config, prune }
        },
    );
    let reason = || Just("tea".to_string());
    prop_oneof![
        4 => (queues(), queue_settings()).prop_map(|(queue, settings)| AdminOp::QueuePut {
            queue, settings: Box::new(settings)
        }),
        1 => queues().prop_map(|queue| AdminOp::QueueDelete { queue }),
        4 => agents()
            .prop_map(|agent| AdminOp::AgentPut { agent, settings: AgentSettings::default() }),
        1 => agents().prop_map(|agent| AdminOp::AgentDelete { agent }),
        6 => (queues(), agents(), members())
            .prop_map(|(queue, agent, settings)| AdminOp::MemberPut { queue, agent, settings }),
        1 => (queues(), agents())
            .prop_map(|(queue, agent)| AdminOp::MemberDelete { queue, agent }),
        1 => template,
        1 => Just(AdminOp::TemplateDelete { name: "t".into() }),
        8 => agents().prop_map(|agent| AdminOp::AgentLogin { agent }),
        1 => agents().prop_map(|agent| AdminOp::AgentLogout { agent }),
        2 => (agents(), prop::option::of(queues()), reason())
            .prop_map(|(agent, queue, reason)| AdminOp::AgentPause { agent, queue, reason }),
        3 => (agents(), prop::option::of(queues()))
            .prop_map(|(agent, queue)| AdminOp::AgentUnpause { agent, queue }),
        1 => agents().prop_map(|agent| AdminOp::AgentReady { agent }),
        1 => calls().prop_map(|call| AdminOp::CallWithdraw { call, info: "x".into() }),
        2 => (calls(), queues()).prop_map(|(call, queue)| AdminOp::CallMove { call, queue }),
        2 => (calls(), -1..3i32)
            .prop_map(|(call, priority)| AdminOp::CallPriority { call, priority }),
        1 => config,
    ]
}

fn admins() -> impl Strategy<Value = Command> {
    // Few request ids, so that some are used twice; few revisions, so that some fit.
    let if_revision = prop_oneof![9 => Just(None), 1 => (0..3u64).prop_map(Some)];
    (0..400u128, if_revision, admin_ops()).prop_map(|(request, if_revision, op)| {
        let (request, actor) = (RequestId(request), "test".to_string());
        Command::Admin(Admin {
            request,
            actor,
            if_revision,
            op,
        })
    })
}

pub fn stream() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => facts().prop_map(Step::Command),
        8 => admins().prop_map(Step::Command),
        6 => Just(Step::Serve),
        2 => (1..20u64, any::<u8>()).prop_map(|(call, agent)| Step::Ring(call, agent)),
        4 => (1..20u64, any::<u8>()).prop_map(|(call, agent)| Step::Answer(call, agent)),
        2 => (1..20u64, any::<u8>(), causes()).prop_map(|(c, a, cause)| Step::Fail(c, a, cause)),
        3 => (1..20u64, ends()).prop_map(|(call, by)| Step::End(call, by)),
        2 => (1..20u64).prop_map(Step::Return),
        6 => (0..12_000u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..200).prop_map(|steps| {
        let mut all = opening();
        all.extend(steps);
        all
    })
}

/// First agent `a0` alone, after five seconds everyone.
fn widening() -> Vec<settings::Step> {
    let first = settings::Step {
        agents: vec![agent("a0")],
        ..settings::Step::default()
    };
    let second = settings::Step {
        after_ms: 5_000,
        ..settings::Step::default()
    };
    vec![first, second]
}

/// So that most streams have somebody to serve: two queues, three agents, both Asterisks.
fn opening() -> Vec<Step> {
    let mut world = World::empty();
    let mut commands = Vec::new();
    for n in 0..2u128 {
        let settings = Box::new(QueueSettings {
            wrap_up_ms: 500,
            connect: if n == 1 {
                Connect::Dialplan
            } else {
                Connect::Ari
            },
            steps: if n == 0 { widening() } else { vec![] },
            ..QueueSettings::default()
        });
        commands.push(AdminOp::QueuePut {
            queue: queue(&format!("q{n}")),
            settings,
        });
    }
    for n in 0..3u32 {
        let agent = agent(&format!("a{n}"));
        let settings = AgentSettings::default();
        commands.push(AdminOp::AgentPut {
            agent: agent.clone(),
            settings,
        });
        for name in ["q0", "q1"] {
            let settings = MemberSettings {
                penalty: n / 2,
                ..Default::default()
            };
            let (queue, agent) = (queue(name), agent.clone());
            commands.push(AdminOp::MemberPut {
                queue,
                agent,
                settings,
            });
        }
        commands.push(AdminOp::AgentLogin { agent });
    }
    let ups = ["0", "1"].map(|n| Command::PbxUp {
        pbx: pbx(&format!("p{n}")),
        node: node(&format!("n{n}")),
        epoch: 1,
        restarted: false,
        channels: vec![],
    });
    world.index = 0;
    let admin = |(n, op): (usize, AdminOp)| {
        let request = RequestId(1_000 + n as u128);
        Command::Admin(Admin {
            request,
            actor: "test".into(),
            if_revision: None,
            op,
        })
    };
    let admins = commands.into_iter().enumerate().map(admin);
    ups.into_iter().chain(admins).map(Step::Command).collect()
}

pub fn commands_of(state: &State, step: &Step, at: &mut u64) -> Vec<Command> {
    let nth = |number: u64, fits: fn(&call::Call) -> bool| {
        let calls: Vec<_> = state.calls().filter(|call| fits(call)).collect();
        calls.get(number as usize % calls.len().max(1)).copied()
    };
    let offered = |number: u64, which: u8| {
        let call = nth(number, |call| call.offer().is_some())?;
        let offer = call.offer()?;
        let agent = offer.agents[which as usize % offer.agents.len()]
            .agent
            .clone();
        Some((call.id, offer.attempt, agent))
    };
    match step {
        Step::Command(command) => vec![aim(state, command.clone())],
        Step::Serve => distribute(state, 50, &mut |below| 7 % below),
        Step::Ring(number, which) => {
            let command = |(call, attempt, agent)| Command::OfferRinging {
                call,
                attempt,
                agent,
            };
            offered(*number, *which).map(command).into_iter().collect()
        }
        Step::Answer(number, which) => {
            let command = |(call, attempt, agent)| Command::OfferAnswer {
                call,
                attempt,
                agent,
            };
            offered(*number, *which).map(command).into_iter().collect()
        }
        Step::Fail(number, which, cause) => {
            let cause = *cause;
            let command = |(call, attempt, agent)| Command::OfferFail {
                call,
                attempt,
                agent,
                cause,
            };
            offered(*number, *which).map(command).into_iter().collect()
        }
        Step::End(number, by) => {
            let by = *by;
            let call = nth(*number, |call| {
                matches!(call.phase, Phase::Connected { .. })
            });
            let command = |call: &call::Call| Command::CallEnd {
                call: call.id,
                attempt: call.attempts,
                by,
            };
            call.map(command).into_iter().collect()
        }
        Step::Return(call) => {
            let command = |call: &call::Call| {
                Command::CallerJoin(CallerJoin {
                    pbx: call.pbx.clone(),
                    channel: call.channel.clone(),
                    queue: call.queue.clone(),
                    number: call.number.clone(),
                    name: call.name.clone(),
                    priority: call.priority,
                    options: JoinOptions::default(),
                })
            };
            nth(*call, |_| true).map(command).into_iter().collect()
        }
        Step::Pass(ms) => {
            *at += ms;
            Vec::new()
        }
    }
}

/// Half of the commands that name a call are pointed at one that lives, so that streams get far.
fn aim(state: &State, mut command: Command) -> Command {
    let live: Vec<CallId> = state.calls().map(|call| call.id).collect();
    let named = match &mut command {
        Command::CallerLeave { call, .. }
        | Command::OfferMake { call, .. }
        | Command::CallReleased { call } => Some(call),
        Command::Admin(admin) => match &mut admin.op {
            AdminOp::CallWithdraw { call, .. }
            | AdminOp::CallMove { call, .. }
            | AdminOp::CallPriority { call, .. } => Some(call),
            _ => None,
        },
        _ => None,
    };
    if let Some(call) = named
        && call.0 >= 10
        && !live.is_empty()
    {
        *call = live[call.0 as usize % live.len()];
    }
    command
}
