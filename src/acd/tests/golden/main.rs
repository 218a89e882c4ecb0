//! What 0.1.0 wrote is read by every later version: commands, replies, events and a whole state.
//!
//! bincode writes the position of a variant and no names, so a moved variant or a new field would be
//! read as something else. The samples are append-only too: what is in a file must be the beginning
//! of what they are today. `REWRITE=1 cargo test --test golden` writes the files; that is right only
//! for a version that was not released yet.

mod commands;
#[path = "../common/mod.rs"]
mod common;

use commands::{admin_ops, call, commands};
use common::*;
use holdfast_acd::call::Outcome;
use holdfast_acd::command::*;
use holdfast_acd::event::PassOver;
use holdfast_acd::reply::{Done, Reject, Reply};
use holdfast_acd::settings::*;
use holdfast_acd::*;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use std::path::PathBuf;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// Each sample is written by itself, so that samples may be appended.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, samples: &[T]) {
    let config = bincode::config::standard();
    let encode = |sample: &T| bincode::serde::encode_to_vec(sample, config).unwrap();
    let parts: Vec<Vec<u8>> = samples.iter().map(encode).collect();
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(file(name), bincode::encode_to_vec(&parts, config).unwrap()).unwrap();
    }
    let bytes = std::fs::read(file(name)).unwrap();
    let (written, _): (Vec<Vec<u8>>, _) = bincode::decode_from_slice(&bytes, config).unwrap();
    assert!(
        !written.is_empty() && written.len() <= samples.len(),
        "samples are append-only"
    );
    for (number, (written, sample)) in written.iter().zip(samples).enumerate() {
        let (read, used): (T, _) = bincode::serde::decode_from_slice(written, config).unwrap();
        assert_eq!(read, *sample, "{name}, sample {number}");
        assert_eq!(
            used,
            written.len(),
            "{name}, sample {number} has more than was read"
        );
    }
}

fn replies() -> Vec<Reply> {
    let (q, a) = (|| queue("q"), || agent("a1"));
    vec![
        Ok(Done::Ok),
        Ok(Done::Joined {
            call: call(),
            position: 3,
        }),
        Ok(Done::Offered {
            attempt: Attempt(2),
        }),
        Ok(Done::Granted),
        Ok(Done::Written { revision: 9 }),
        Err(Reject::UnknownQueue(q())),
        Err(Reject::QueueClosed(q())),
        Err(Reject::QueueFull(q())),
        Err(Reject::JoinEmpty(q())),
        Err(Reject::UnknownCall(call())),
        Err(Reject::UnknownAgent(a())),
        Err(Reject::UnknownMember(q(), a())),
        Err(Reject::UnknownName("t".into())),
        Err(Reject::StaleAttempt {
            call: call(),
            attempt: Attempt(1),
        }),
        Err(Reject::NotOfferable(call())),
        Err(Reject::WrongPhase(call())),
        Err(Reject::AgentBusy(a())),
        Err(Reject::QueueNotEmpty(q())),
        Err(Reject::RevisionMismatch { revision: 2 }),
        Err(Reject::LimitReached {
            what: "calls".into(),
            max: 1,
        }),
        Err(Reject::Invalid {
            what: "w".into(),
            problem: "p".into(),
        }),
        Err(Reject::RequestReused),
        Err(Reject::StaleEpoch { epoch: 3 }),
        Err(Reject::DrivenByOther { node: node("n1") }),
        Err(Reject::NoTakeover(pbx("p1"))),
    ]
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Answered {
            agent: agent("a1"),
            by: EndedBy::Agent,
            talked_ms: 5,
        },
        Outcome::Abandoned,
        Outcome::Timeout,
        Outcome::Key("1".into()),
        Outcome::Empty,
        Outcome::Withdrawn { info: "i".into() },
        Outcome::Lost,
        Outcome::NoQuorum,
    ]
}

fn events() -> Vec<Event> {
    let (q, a, p, n) = (|| queue("q"), || agent("a1"), || pbx("p1"), || node("n1"));
    let (id, attempt) = (call(), Attempt(2));
    let mut events = vec![
        Event::CallJoined {
            call: id,
            queue: q(),
            pbx: p(),
            channel: channel("c1"),
            number: "4930".into(),
            position: 1,
            resumed: true,
        },
        Event::CallRefused {
            queue: q(),
            pbx: p(),
            channel: channel("c1"),
            status: "FULL".into(),
        },
        Event::CallReturned { call: id },
        Event::AnnounceDue {
            call: id,
            number: 1,
            position: 2,
        },
        Event::OfferMade {
            call: id,
            queue: q(),
            attempt,
            agents: vec![a()],
            ring_until: 5,
        },
        Event::OfferRinging {
            call: id,
            attempt,
            agent: a(),
        },
        Event::OfferFailed {
            call: id,
            attempt,
            agent: a(),
            cause: FailCause::Busy,
            rang_ms: 1,
        },
        Event::CallConnected {
            call: id,
            queue: q(),
            attempt,
            agent: a(),
            waited_ms: 1,
            rang_ms: 2,
        },
        Event::CallReleased { call: id },
        Event::CallMoved {
            call: id,
            from: q(),
            to: queue("r"),
        },
        Event::CallPriority {
            call: id,
            priority: -1,
        },
        Event::AgentLogin { agent: a() },
        Event::AgentLogout { agent: a() },
        Event::AgentPaused {
            agent: a(),
            queue: Some(q()),
            reason: "tea".into(),
        },
        Event::AgentUnpaused {
            agent: a(),
            queue: None,
        },
        Event::AgentWrapUp {
            agent: a(),
            until: 9,
        },
        Event::AgentReady { agent: a() },
        Event::AgentDevice {
            agent: a(),
            pbx: p(),
            state: DeviceState::OnHold,
        },
        Event::QueueChanged { queue: q() },
        Event::QueueDeleted { queue: q() },
        Event::AgentChanged { agent: a() },
        Event::AgentDeleted { agent: a() },
        Event::MemberChanged {
            queue: q(),
            agent: a(),
        },
        Event::MemberDeleted {
            queue: q(),
            agent: a(),
        },
        Event::TemplateChanged { name: "t".into() },
        Event::TemplateDeleted { name: "t".into() },
        Event::PbxUp {
            pbx: p(),
            node: n(),
            epoch: 3,
        },
        Event::PbxDown {
            pbx: p(),
            lost: false,
        },
        Event::NodeAway { node: n() },
        Event::NodeBack { node: n() },
        Event::NodeLost {
            node: n(),
            pbx: p(),
        },
        Event::CallCompleted {
            call: id,
            agent: a(),
            by: EndedBy::Caller,
            talked_ms: 4,
        },
    ];
    for reason in [
        PassOver::BeingOffered,
        PassOver::OwnerAway,
        PassOver::InDialplan,
        PassOver::StepNotReached,
    ] {
        events.push(Event::CallPassedOver {
            call: id,
            by: CallId(301),
            reason,
        });
    }
    for outcome in outcomes() {
        let (queue, position, waited_ms) = (q(), 1, 2);
        events.push(Event::CallLeft {
            call: id,
            queue,
            outcome,
            position,
            waited_ms,
        });
    }
    for from in [None, Some(n())] {
        events.push(Event::PbxClaimed {
            pbx: p(),
            node: node("n2"),
            takeover: from.is_some(),
            from,
            epoch: 4,
        });
    }
    let (agent, channel) = (a(), channel("1.1"));
    events.push(Event::TalkKept {
        agent: agent.clone(),
        pbx: p(),
        channel: channel.clone(),
    });
    events.push(Event::TalkOver {
        agent,
        pbx: p(),
        channel,
        talked_ms: 300,
    });
    events
}

/// A state with something in every table.
fn state() -> State {
    let settings = QueueSettings {
        timeout_ms: Some(60_000),
        wrap_up_ms: 5_000,
        ..linear()
    };
    let mut world = World::new(settings, 3);
    let template = admin_ops()
        .into_iter()
        .find(|op| matches!(op, AdminOp::TemplatePut { .. }));
    world.admin(template.unwrap()).unwrap();
    world.device("a3", DeviceState::NotInUse);
    world.up("p2", 1, false, &[]);
    let calls: Vec<_> = (1..=6)
        .map(|number| world.join("q", &format!("c{number}")))
        .collect();
    world
        .join_with("q", "d1", |join| join.pbx = pbx("p2"))
        .unwrap();
    world.serve();
    world.answer(calls[0], "a1").unwrap();
    world.pass(3_000);
    world.fail(calls[1], "a2", FailCause::Busy).unwrap();
    world.end(calls[0], EndedBy::Agent).unwrap();
    world
        .apply(Command::PbxDown {
            pbx: pbx("p2"),
            epoch: 1,
            lost: true,
        })
        .unwrap();
    let command = Command::NodeAway {
        node: node("node-p1"),
        node_lost_after_ms: 60_000,
    };
    world.apply(command).unwrap();
    world.own("p3", 1, true);
    world.away("p3", 60_000);
    world.pass(3_000);
    world.take("p3", "node-p2", 2, 3_000).unwrap();
    world.state
}

#[test]
fn commands_of_0_1_0_are_read() {
    check("commands-0.1.0.bin", &commands());
}

#[test]
fn replies_of_0_1_0_are_read() {
    check("replies-0.1.0.bin", &replies());
}

#[test]
fn events_of_0_1_0_are_read() {
    check("events-0.1.0.bin", &events());
}

#[test]
fn a_state_of_0_1_0_is_read_and_sound() {
    let config = bincode::config::standard();
    let name = file("state-0.1.0.bin");
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(
            &name,
            bincode::serde::encode_to_vec(state(), config).unwrap(),
        )
        .unwrap();
    }
    let bytes = std::fs::read(&name).unwrap();
    let (read, used): (State, _) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
    assert_eq!(used, bytes.len());
    assert!(invariants::check(&read).is_empty());
    assert_eq!((read.queues().count(), read.calls().count()), (1, 6));
    assert_eq!(
        read,
        state(),
        "the same commands give the same state as in 0.1.0"
    );
}
