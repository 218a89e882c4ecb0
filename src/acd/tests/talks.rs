//! Talks that outlive the record of their call: given up while nobody saw their Asterisk, and found
//! going on when its node was back.

mod common;

use common::*;
use holdfast_acd::agent::{Availability, Hand};
use holdfast_acd::command::DeviceState;
use holdfast_acd::reply::{Done, Reject};
use holdfast_acd::settings::QueueSettings;
use holdfast_acd::*;

const WRAP_UP: u64 = 5_000;

/// `a1` talks with the caller `c1` of `p1`; `c2` waits there, `c9` at `p2`. The node of `p1` is away
/// until it is given up, and phones are rung whatever is said of them: nothing but the log protects
/// an agent.
fn given_up() -> (World, CallId) {
    let settings = QueueSettings {
        wrap_up_ms: WRAP_UP,
        ring_in_use: true,
        ..linear()
    };
    let mut world = World::new(settings, 1);
    world.up("p2", 1, false, &[]);
    let call = world.join("q", "c1");
    world.join("q", "c2");
    world
        .join_with("q", "c9", |join| join.pbx = pbx("p2"))
        .unwrap();
    assert_eq!(world.serve().len(), 1);
    world.answer(call, "a1").unwrap();
    // The phone is registered at the other Asterisk.
    let state = DeviceState::InUse;
    let (at, who) = (pbx("p2"), agent("a1"));
    world
        .apply(Command::AgentDevice {
            pbx: at,
            agent: who,
            state,
        })
        .unwrap();
    world.away("p1", 60_000);
    world.pass(60_000);
    assert_eq!(world.outcomes().len(), 2, "both callers of p1 are given up");
    (world, call)
}

fn kept(world: &mut World, epoch: u64) -> Reply {
    world.apply(Command::TalkKept {
        pbx: pbx("p1"),
        epoch,
        channel: channel("c1"),
        agent: agent("a1"),
        queue: Some(queue("q")),
    })
}

fn over(world: &mut World) {
    let (pbx, channel) = (pbx("p1"), channel("c1"));
    let reply = world.apply(Command::TalkOver { pbx, channel });
    assert_eq!(reply, Ok(Done::Ok));
}

fn availability(world: &World) -> Availability {
    let agent = world.state.agent(&agent("a1")).unwrap();
    world.state.availability(agent, world.at, true)
}

#[test]
fn an_agent_who_still_talks_is_offered_nothing_until_that_talk_ends() {
    let (mut world, call) = given_up();
    world.up("p1", 2, false, &["c1", "c2"]);
    assert_eq!(kept(&mut world, 2), Ok(Done::Ok));
    assert_eq!(availability(&world), Availability::InCall);
    world.pass(600_000);
    assert!(
        world.serve().is_empty(),
        "also after the wrap-up of the lost call"
    );
    assert_eq!(kept(&mut world, 2), Ok(Done::Ok), "said again");
    over(&mut world);
    assert_eq!(availability(&world), Availability::WrapUp);
    world.pass(WRAP_UP);
    assert_eq!(world.serve().len(), 1);
    over(&mut world);
    let offered = Hand::Offered {
        call: CallId(3),
        attempt: Attempt(1),
    };
    let a1 = world.state.agent(&agent("a1")).unwrap();
    assert_eq!(a1.hand, offered, "said again, it ends nothing else");
    assert_eq!(a1.calls_taken, 1, "the talk was one call");
    let ends = world.outcomes().into_iter().filter(|(it, _)| *it == call);
    assert_eq!(ends.count(), 1);
}

#[test]
fn an_offer_that_was_made_meanwhile_is_withdrawn_without_a_delay() {
    let (mut world, _) = given_up();
    world.pass(WRAP_UP);
    let offered = world.serve();
    assert_eq!(offered.len(), 1, "nobody knows that the agent talks");
    world.up("p1", 2, false, &["c1", "c2"]);
    assert_eq!(kept(&mut world, 2), Ok(Done::Ok));
    let withdrawn = world.last.iter().any(|event| {
        matches!(
            event,
            Event::OfferFailed {
                cause: command::FailCause::Cancelled,
                ..
            }
        )
    });
    assert!(withdrawn, "{:?}", world.last);
    assert_eq!(
        world.state.position(offered[0].0),
        Some(1),
        "the caller keeps the place"
    );
    assert_eq!(
        world.answer(offered[0].0, "a1").unwrap_err().code(),
        "HF-Q09"
    );
}

#[test]
fn an_agent_in_another_call_keeps_it_and_the_talk_is_told_again_after_it() {
    let (mut world, _) = given_up();
    world.pass(WRAP_UP);
    let other = world.serve()[0].0;
    world.answer(other, "a1").unwrap();
    world.up("p1", 2, false, &["c1", "c2"]);
    let busy = Err(Reject::AgentBusy(agent("a1")));
    assert_eq!(kept(&mut world, 2), busy);
    assert_eq!(world.state.call(other).unwrap().offer(), None);
    world.end(other, command::EndedBy::Caller).unwrap();
    assert_eq!(kept(&mut world, 2), Ok(Done::Ok));
    assert_eq!(
        availability(&world),
        Availability::InCall,
        "and not in wrap-up"
    );
}

#[test]
fn a_talk_ends_with_its_caller_and_with_its_asterisk() {
    let (mut world, _) = given_up();
    world.up("p1", 2, false, &["c1", "c2"]);
    kept(&mut world, 2).unwrap();
    world.up("p1", 3, false, &["c1"]);
    assert_eq!(
        availability(&world),
        Availability::InCall,
        "the caller lives"
    );
    world.up("p1", 4, false, &["c2"]);
    assert_eq!(availability(&world), Availability::WrapUp);

    kept(&mut world, 4).unwrap();
    world.away("p1", 60_000);
    world.pass(59_999);
    assert_eq!(availability(&world), Availability::InCall);
    world.pass(1);
    assert_eq!(availability(&world), Availability::WrapUp, "given up again");
}

#[test]
fn a_word_that_comes_too_late_holds_nobody() {
    let (mut world, _) = given_up();
    let stale = |epoch| Err(Reject::StaleEpoch { epoch });
    assert_eq!(kept(&mut world, 1), stale(1), "it was given up since");
    world.up("p1", 2, false, &["c1", "c2"]);
    assert_eq!(kept(&mut world, 1), stale(1), "another has compared since");
    let join = world.join("q", "c1");
    assert_eq!(
        kept(&mut world, 2),
        Err(Reject::WrongPhase(join)),
        "the caller is in the line"
    );
    let nobody = Command::TalkKept {
        pbx: pbx("p1"),
        epoch: 2,
        channel: channel("c7"),
        agent: agent("a7"),
        queue: None,
    };
    let unknown = Err(Reject::UnknownAgent(agent("a7")));
    assert_eq!(world.apply(nobody), unknown);
    assert!(world.state.agents().all(|agent| agent.hand == Hand::Free));
}

#[test]
fn who_logs_out_while_talking_has_no_wrap_up_and_cannot_be_deleted_before_the_end() {
    let (mut world, _) = given_up();
    world.up("p1", 2, false, &["c1", "c2"]);
    kept(&mut world, 2).unwrap();
    let delete = || AdminOp::AgentDelete { agent: agent("a1") };
    assert_eq!(world.admin(delete()), Err(Reject::AgentBusy(agent("a1"))));
    world
        .admin(AdminOp::AgentLogout { agent: agent("a1") })
        .unwrap();
    over(&mut world);
    assert_eq!(availability(&world), Availability::LoggedOut);
    world.admin(delete()).unwrap();
}
