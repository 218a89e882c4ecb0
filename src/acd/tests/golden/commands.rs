//! A sample of each command, and of each admin operation.

use crate::common::*;
use holdfast_acd::command::*;
use holdfast_acd::settings::*;
use holdfast_acd::*;

pub fn call() -> CallId {
    CallId(300)
}

fn settings() -> QueueSettings {
    QueueSettings {
        strategy: Strategy::Random,
        steps: vec![Step {
            after_ms: 5,
            agents: vec![agent("a1")],
            max_penalty: Some(3),
            ring_time_ms: Some(9),
            strategy: Some(Strategy::FewestCalls),
        }],
        timeout_ms: Some(70_000),
        join_empty: EmptyRule(vec![Empty::Paused, Empty::WrapUp]),
        exit_keys: vec!["#".into()],
        exit_context: Some("out".into()),
        connect: Connect::Dialplan,
        fallback: Exit {
            context: Some("x".into()),
            exten: None,
            priority: Some(2),
        },
        ..QueueSettings::default()
    }
}

pub fn admin_ops() -> Vec<AdminOp> {
    let (q, a) = (|| queue("q"), || agent("a1"));
    let member = MemberSettings {
        penalty: 3,
        order: 4,
        wrap_up_ms: Some(5),
    };
    let who = AgentSettings {
        name: "Ada".into(),
        home: vec![pbx("p1")],
        skills: vec!["english".into()],
        endpoint: Some("PJSIP/{agent}".into()),
    };
    let template = Template {
        pattern: "*@x".into(),
        settings: settings(),
        members: vec![(a(), member.clone())],
    };
    let config = Config {
        queues: vec![(q(), settings())],
        agents: vec![(a(), who.clone())],
        members: vec![(q(), a(), member.clone())],
        templates: vec![("t".into(), template.clone())],
    };
    vec![
        AdminOp::QueuePut {
            queue: q(),
            settings: Box::new(settings()),
        },
        AdminOp::QueueDelete { queue: q() },
        AdminOp::AgentPut {
            agent: a(),
            settings: who,
        },
        AdminOp::AgentDelete { agent: a() },
        AdminOp::MemberPut {
            queue: q(),
            agent: a(),
            settings: member,
        },
        AdminOp::MemberDelete {
            queue: q(),
            agent: a(),
        },
        AdminOp::TemplatePut {
            name: "t".into(),
            template: Box::new(template),
        },
        AdminOp::TemplateDelete { name: "t".into() },
        AdminOp::AgentLogin { agent: a() },
        AdminOp::AgentLogout { agent: a() },
        AdminOp::AgentPause {
            agent: a(),
            queue: Some(q()),
            reason: "tea".into(),
        },
        AdminOp::AgentUnpause {
            agent: a(),
            queue: None,
        },
        AdminOp::AgentReady { agent: a() },
        AdminOp::CallWithdraw {
            call: call(),
            info: "i".into(),
        },
        AdminOp::CallMove {
            call: call(),
            queue: q(),
        },
        AdminOp::CallPriority {
            call: call(),
            priority: -3,
        },
        AdminOp::ConfigPut {
            config: Box::new(config),
            prune: true,
        },
    ]
}

pub fn commands() -> Vec<Command> {
    let (attempt, agent, pbx, node) = (Attempt(2), agent("a1"), pbx("p1"), node("n1"));
    let options = JoinOptions {
        timeout_ms: Some(1),
        announce_ms: Some(2),
        music_class: Some("jazz".into()),
    };
    let mut commands = vec![
        Command::CallerJoin(CallerJoin {
            pbx: pbx.clone(),
            channel: channel("1700000000.1"),
            queue: queue("q"),
            number: "4930".into(),
            name: "Anna".into(),
            priority: -1,
            options,
        }),
        Command::CallerLeave {
            call: call(),
            reason: LeaveReason::HungUp,
        },
        Command::CallerLeave {
            call: call(),
            reason: LeaveReason::Key("1".into()),
        },
        Command::CallerLeave {
            call: call(),
            reason: LeaveReason::NoQuorum,
        },
        Command::OfferRinging {
            call: call(),
            attempt,
            agent: agent.clone(),
        },
        Command::OfferAnswer {
            call: call(),
            attempt,
            agent: agent.clone(),
        },
    ];
    for cause in [
        FailCause::NoAnswer,
        FailCause::Busy,
        FailCause::Rejected,
        FailCause::Unreachable,
        FailCause::Cancelled,
    ] {
        commands.push(Command::OfferFail {
            call: call(),
            attempt,
            agent: agent.clone(),
            cause,
        });
    }
    for by in [EndedBy::Caller, EndedBy::Agent, EndedBy::Failure] {
        commands.push(Command::CallEnd {
            call: call(),
            attempt,
            by,
        });
    }
    commands.push(Command::CallReleased { call: call() });
    use DeviceState::*;
    for state in [
        Unknown,
        NotInUse,
        InUse,
        Busy,
        Ringing,
        RingInUse,
        OnHold,
        Unavailable,
        Invalid,
    ] {
        let (pbx, agent) = (pbx.clone(), agent.clone());
        commands.push(Command::AgentDevice { pbx, agent, state });
    }
    commands.extend([
        Command::PbxUp {
            pbx: pbx.clone(),
            node: node.clone(),
            epoch: 4,
            restarted: true,
            channels: vec![channel("c1")],
        },
        Command::PbxDown {
            pbx,
            epoch: 4,
            lost: true,
        },
        Command::OfferMake {
            call: call(),
            attempt,
            agents: vec![agent],
        },
        Command::Tick,
        Command::NodeAway {
            node: node.clone(),
            node_lost_after_ms: 60_000,
        },
        Command::NodeBack { node },
    ]);
    let admins = admin_ops().into_iter().enumerate().map(|(number, op)| {
        let request = RequestId(u128::MAX - number as u128);
        Command::Admin(Admin {
            request,
            actor: "ops".into(),
            if_revision: Some(7),
            op,
        })
    });
    commands.extend(admins);
    commands.extend(claims());
    commands.push(Command::AdminAsked {
        asked: 1 << 40,
        admin: Admin {
            request: RequestId(5),
            actor: "ops".into(),
            if_revision: Some(7),
            op: AdminOp::QueueDelete { queue: queue("q") },
        },
    });
    commands.extend(talks());
    commands
}

fn claims() -> Vec<Command> {
    let claim = |claim| Command::PbxClaim {
        pbx: pbx("p1"),
        node: node("n1"),
        epoch: 5,
        claim,
    };
    vec![
        claim(Claim::Home { takeover: true }),
        claim(Claim::Takeover { after_ms: 3_000 }),
        Command::DeviceSeen {
            pbx: pbx("p1"),
            epoch: 5,
            agent: agent("a1"),
            state: DeviceState::Ringing,
        },
    ]
}

fn talks() -> [Command; 2] {
    let (pbx, channel) = (pbx("p1"), channel("1700000000.1"));
    [
        Command::TalkKept {
            pbx: pbx.clone(),
            epoch: 5,
            channel: channel.clone(),
            agent: agent("a1"),
            queue: Some(queue("q")),
        },
        Command::TalkOver { pbx, channel },
    ]
}
