//! Choices as commands: a small world of queues, agents, Asterisks and callers, in which steps that
//! fit what is going on are as likely as those that do not, so that calls get far.

use arbitrary::{Result, Unstructured};
use holdfast_acd::call::Call;
use holdfast_acd::command::*;
use holdfast_acd::settings::*;
use holdfast_acd::*;

/// What one choice leads to.
pub struct Step {
    pub pause_ms: u64,
    pub commands: Vec<Command>,
}

type Choices<'a, 'b> = &'a mut Unstructured<'b>;

fn name<T: TryFrom<String>>(choices: Choices, letter: char, below: u8) -> Result<T> {
    let text = format!("{letter}{}", choices.int_in_range(0..=below - 1)?);
    T::try_from(text).map_err(|_| arbitrary::Error::IncorrectFormat)
}

fn fixed<T: TryFrom<String>>(letter: char, number: u32) -> T {
    let text = format!("{letter}{number}");
    let made = T::try_from(text).ok();
    made.expect("a letter and a number are a name of every kind")
}

fn queue(choices: Choices) -> Result<QueueName> {
    name(choices, 'q', 3)
}

fn agent(choices: Choices) -> Result<AgentId> {
    name(choices, 'a', 5)
}

fn some<T>(choices: Choices, item: fn(Choices) -> Result<T>, most: u8) -> Result<Vec<T>> {
    let count = choices.int_in_range(0..=most)?;
    (0..count).map(|_| item(choices)).collect()
}

/// A call that lives, if any; now and then a number that may be none.
fn call(choices: Choices, state: &State) -> Result<CallId> {
    let living: Vec<CallId> = state.calls().map(|call| call.id).collect();
    if living.is_empty() || choices.ratio(1, 8)? {
        return Ok(CallId(choices.int_in_range(0..=300)?));
    }
    Ok(*choices.choose(&living)?)
}

fn strategy(choices: Choices) -> Result<Strategy> {
    use Strategy::*;
    let all = [RingAll, RrMemory, Linear, LeastRecent, FewestCalls, Random];
    Ok(*choices.choose(&all)?)
}

fn settings(choices: Choices) -> Result<QueueSettings> {
    let steps = choices.int_in_range(0..=2u64)?;
    let steps = (0..steps).map(|n| {
        Ok(settings::Step {
            after_ms: n * choices.int_in_range(0..=9_000)?,
            agents: some(choices, agent, 2)?,
            max_penalty: choices.arbitrary()?,
            ring_time_ms: choices.arbitrary::<Option<u16>>()?.map(u64::from),
            strategy: None,
        })
    });
    let steps = steps.collect::<Result<_>>()?;
    let empty = [Empty::Paused, Empty::InUse, Empty::Unavailable];
    Ok(QueueSettings {
        strategy: strategy(choices)?,
        steps,
        weight: choices.int_in_range(0..=3)?,
        maxlen: choices.int_in_range(0..=4)?,
        connect: *choices.choose(&[Connect::Ari, Connect::Ari, Connect::Dialplan])?,
        timeout_ms: choices.arbitrary::<Option<u16>>()?.map(u64::from),
        wrap_up_ms: choices.arbitrary::<u8>()?.into(),
        ring_time_ms: choices.arbitrary::<u16>()?.into(),
        ring_in_use: choices.arbitrary()?,
        join_empty: EmptyRule(empty[..choices.int_in_range(0..=1)?].to_vec()),
        leave_when_empty: EmptyRule(empty[..choices.int_in_range(0..=3)?].to_vec()),
        announce: Announce {
            frequency_ms: choices.arbitrary::<u16>()?.into(),
            periodic: vec!["ad".into()],
            periodic_frequency_ms: choices.arbitrary::<u16>()?.into(),
            ..Announce::default()
        },
        exit_keys: vec!["1".into()],
        open: choices.ratio(7, 8)?,
        resume_window_ms: choices.arbitrary::<u16>()?.into(),
        ..QueueSettings::default()
    })
}

fn member(choices: Choices) -> Result<MemberSettings> {
    Ok(MemberSettings {
        penalty: choices.int_in_range(0..=3)?,
        order: choices.arbitrary()?,
        wrap_up_ms: choices.arbitrary::<Option<u16>>()?.map(u64::from),
    })
}

/// Two queues, three agents who are logged in, two Asterisks: so that there is somebody to serve.
pub fn opening() -> Vec<Command> {
    let mut ops = Vec::new();
    for n in 0..2 {
        let settings = Box::new(QueueSettings::default());
        let queue = fixed('q', n);
        ops.push(AdminOp::QueuePut { queue, settings });
    }
    for n in 0..3 {
        let agent: AgentId = fixed('a', n);
        let settings = AgentSettings::default();
        ops.push(AdminOp::AgentPut {
            agent: agent.clone(),
            settings,
        });
        for queue in [fixed('q', 0), fixed('q', 1)] {
            ops.push(AdminOp::MemberPut {
                queue,
                agent: agent.clone(),
                settings: MemberSettings::default(),
            });
        }
        ops.push(AdminOp::AgentLogin { agent });
    }
    let up = |n: u32| Command::PbxUp {
        pbx: fixed('p', n),
        node: fixed('n', n),
        epoch: 1,
        restarted: false,
        channels: Vec::new(),
    };
    let admin = |(n, op)| admin(1_000 + n as u128, None, op);
    let admins = ops.into_iter().enumerate().map(admin);
    [up(0), up(1)].into_iter().chain(admins).collect()
}

fn admin(request: u128, if_revision: Option<u64>, op: AdminOp) -> Command {
    Command::Admin(Admin {
        request: RequestId(request),
        actor: "fuzz".into(),
        if_revision,
        op,
    })
}

/// The next step.
pub fn next(state: &State, choices: Choices) -> Result<Step> {
    let pause_ms = match choices.int_in_range(0..=5u8)? {
        0 => choices.int_in_range(0..=70_000)?,
        1 => choices.int_in_range(0..=1_000)?,
        _ => 0,
    };
    let commands = match choices.int_in_range(0..=9u8)? {
        0 | 1 => vec![join(choices)?],
        2 | 3 => distribute(state, 20, &mut |below| 7 % below),
        4 | 5 => fitting(state, choices)?.into_iter().collect(),
        6 | 7 => vec![fact(state, choices)?],
        _ => {
            let if_revision = match choices.ratio(1, 8)? {
                true => Some(choices.int_in_range(0..=60)?),
                false => None,
            };
            // Few ids, so that some are used twice.
            let request = choices.int_in_range(0..=400u32)?.into();
            vec![admin(request, if_revision, operation(state, choices)?)]
        }
    };
    Ok(Step { pause_ms, commands })
}

fn join(choices: Choices) -> Result<Command> {
    Ok(Command::CallerJoin(CallerJoin {
        pbx: name(choices, 'p', 2)?,
        channel: name(choices, 'c', 12)?,
        queue: queue(choices)?,
        number: format!("100{}", choices.int_in_range(0..=3)?),
        name: "X\u{7}".repeat(choices.int_in_range(0..=100)?),
        priority: choices.int_in_range(-1..=1)?,
        options: JoinOptions {
            timeout_ms: choices.arbitrary()?,
            announce_ms: choices.arbitrary()?,
            music_class: None,
        },
    }))
}

fn cause(choices: Choices) -> Result<FailCause> {
    use FailCause::*;
    let all = [NoAnswer, Busy, Rejected, Unreachable, Cancelled];
    Ok(*choices.choose(&all)?)
}

fn end(choices: Choices) -> Result<EndedBy> {
    Ok(*choices.choose(&[EndedBy::Caller, EndedBy::Agent, EndedBy::Failure])?)
}

/// What fits the present of some call.
fn fitting(state: &State, choices: Choices) -> Result<Option<Command>> {
    let of =
        |fits: fn(&Call) -> bool| -> Vec<&Call> { state.calls().filter(|c| fits(c)).collect() };
    let offered = of(|call| call.offer().is_some());
    let connected = of(|call| matches!(call.phase, call::Phase::Connected { .. }));
    if choices.ratio(1, 4)? || offered.is_empty() {
        if connected.is_empty() {
            return Ok(None);
        }
        let found = choices.choose(&connected)?;
        return Ok(Some(Command::CallEnd {
            call: found.id,
            attempt: found.attempts,
            by: end(choices)?,
        }));
    }
    let found = *choices.choose(&offered)?;
    let Some(offer) = found.offer() else {
        return Ok(None);
    };
    let (call, attempt) = (found.id, offer.attempt);
    let agent = choices.choose(&offer.agents)?.agent.clone();
    Ok(Some(match choices.int_in_range(0..=3u8)? {
        0 => Command::OfferRinging {
            call,
            attempt,
            agent,
        },
        1 => Command::OfferFail {
            call,
            attempt,
            agent,
            cause: cause(choices)?,
        },
        _ => Command::OfferAnswer {
            call,
            attempt,
            agent,
        },
    }))
}

fn fact(state: &State, choices: Choices) -> Result<Command> {
    let call = call(choices, state)?;
    let attempt = Attempt(choices.int_in_range(0..=4)?);
    Ok(match choices.int_in_range(0..=13u8)? {
        0 => Command::CallerLeave {
            call,
            reason: match choices.int_in_range(0..=3u8)? {
                0 => LeaveReason::NoQuorum,
                1 => LeaveReason::Key("1".into()),
                _ => LeaveReason::HungUp,
            },
        },
        1 => Command::OfferAnswer {
            call,
            attempt,
            agent: agent(choices)?,
        },
        2 => Command::OfferFail {
            call,
            attempt,
            agent: agent(choices)?,
            cause: cause(choices)?,
        },
        3 => Command::CallEnd {
            call,
            attempt,
            by: end(choices)?,
        },
        4 | 5 => Command::CallReleased { call },
        6 => {
            use DeviceState::*;
            let all = [Unknown, NotInUse, InUse, Busy, Ringing, OnHold, Unavailable];
            Command::AgentDevice {
                pbx: name(choices, 'p', 2)?,
                agent: agent(choices)?,
                state: *choices.choose(&all)?,
            }
        }
        7 => Command::PbxUp {
            pbx: name(choices, 'p', 3)?,
            node: name(choices, 'n', 2)?,
            epoch: choices.int_in_range(0..=9)?,
            restarted: choices.arbitrary()?,
            channels: some(choices, |choices| name(choices, 'c', 12), 12)?,
        },
        8 => Command::PbxDown {
            pbx: name(choices, 'p', 2)?,
            epoch: choices.int_in_range(0..=9)?,
            lost: choices.arbitrary()?,
        },
        9 => Command::NodeAway {
            node: name(choices, 'n', 2)?,
            node_lost_after_ms: choices.arbitrary()?,
        },
        10 => Command::NodeBack {
            node: name(choices, 'n', 2)?,
        },
        11 => Command::PbxClaim {
            pbx: name(choices, 'p', 3)?,
            node: name(choices, 'n', 2)?,
            epoch: choices.int_in_range(0..=9)?,
            claim: match choices.arbitrary()? {
                true => Claim::Home {
                    takeover: choices.arbitrary()?,
                },
                false => Claim::Takeover {
                    after_ms: choices.arbitrary::<u16>()?.into(),
                },
            },
        },
        12 => Command::DeviceSeen {
            pbx: name(choices, 'p', 2)?,
            epoch: choices.int_in_range(0..=9)?,
            agent: agent(choices)?,
            state: *choices.choose(&[DeviceState::NotInUse, DeviceState::Busy])?,
        },
        _ => Command::OfferMake {
            call,
            attempt,
            agents: some(choices, agent, 4)?,
        },
    })
}

fn operation(state: &State, choices: Choices) -> Result<AdminOp> {
    let (queue, agent_id) = (queue(choices)?, agent(choices)?);
    Ok(match choices.int_in_range(0..=16u8)? {
        0 | 1 => AdminOp::QueuePut {
            queue,
            settings: Box::new(settings(choices)?),
        },
        2 => AdminOp::QueueDelete { queue },
        3 => AdminOp::AgentPut {
            agent: agent_id,
            settings: AgentSettings::default(),
        },
        4 => AdminOp::AgentDelete { agent: agent_id },
        5 => AdminOp::MemberPut {
            queue,
            agent: agent_id,
            settings: member(choices)?,
        },
        6 => AdminOp::MemberDelete {
            queue,
            agent: agent_id,
        },
        7 => AdminOp::TemplatePut {
            name: "t".into(),
            template: Box::new(Template {
                pattern: "q*".into(),
                settings: settings(choices)?,
                members: vec![(agent_id, member(choices)?)],
            }),
        },
        8 => AdminOp::TemplateDelete { name: "t".into() },
        9 => AdminOp::AgentLogin { agent: agent_id },
        10 => AdminOp::AgentLogout { agent: agent_id },
        11 => AdminOp::AgentPause {
            agent: agent_id,
            queue: choices.arbitrary::<bool>()?.then_some(queue),
            reason: "tea".into(),
        },
        12 => AdminOp::AgentUnpause {
            agent: agent_id,
            queue: choices.arbitrary::<bool>()?.then_some(queue),
        },
        13 => AdminOp::AgentReady { agent: agent_id },
        14 => AdminOp::CallWithdraw {
            call: call(choices, state)?,
            info: "x".into(),
        },
        15 => match choices.arbitrary()? {
            true => AdminOp::CallMove {
                call: call(choices, state)?,
                queue,
            },
            false => AdminOp::CallPriority {
                call: call(choices, state)?,
                priority: choices.arbitrary()?,
            },
        },
        _ => AdminOp::ConfigPut {
            config: Box::new(Config {
                queues: vec![(queue.clone(), settings(choices)?)],
                agents: vec![(agent_id.clone(), AgentSettings::default())],
                members: vec![(queue, agent_id, member(choices)?)],
                templates: Vec::new(),
            }),
            prune: choices.arbitrary()?,
        },
    })
}
