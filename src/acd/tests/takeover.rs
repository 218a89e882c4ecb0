//! An Asterisk whose node is away is taken over by another, and given back.

mod common;

use common::*;
use holdfast_acd::agent::{Availability, Hand};
use holdfast_acd::call::Phase;
use holdfast_acd::command::{Claim, DeviceState, EndedBy};
use holdfast_acd::pbx::{Pbx, Sight};
use holdfast_acd::reply::Reject;
use holdfast_acd::*;

const AFTER: u64 = 3_000;

/// As `World::new`, with `p1` claimed by its own node `node-p1`, which lets others take it over.
fn world(agents: usize) -> World {
    let mut world = World::empty();
    world.own("p1", 1, true);
    world.up("p1", 2, false, &[]);
    world.put_queue("q", linear());
    for number in 1..=agents {
        world.add_agent("q", &format!("a{number}"), 0);
    }
    world
}

fn p1(world: &World) -> &Pbx {
    world.state.pbx(&pbx("p1")).unwrap()
}

/// A node says that it has compared.
fn compared(world: &mut World, by: &str, epoch: u64, channels: &[&str]) -> Reply {
    world.apply(Command::PbxUp {
        pbx: pbx("p1"),
        node: node(by),
        epoch,
        restarted: false,
        channels: channels.iter().map(|it| channel(it)).collect(),
    })
}

fn seen(world: &mut World, epoch: u64, state: DeviceState) -> Reply {
    world.apply(Command::DeviceSeen {
        pbx: pbx("p1"),
        epoch,
        agent: agent("a1"),
        state,
    })
}

fn availability(world: &World) -> Availability {
    let agent = world.state.agent(&agent("a1")).unwrap();
    world.state.availability(agent, world.at, false)
}

#[test]
fn nobody_takes_an_asterisk_over_before_its_node_is_away_for_long_enough() {
    let mut world = world(0);
    let refused = Err(Reject::NoTakeover(pbx("p1")));
    assert_eq!(world.take("p1", "node-p2", 3, 0), refused, "it is driven");
    world.away("p1", 60_000);
    world.pass(AFTER - 1);
    assert_eq!(world.take("p1", "node-p2", 3, AFTER), refused, "too early");
    world.pass(1);
    assert_eq!(
        world.take("p2", "node-p3", 1, 0),
        Err(Reject::NoTakeover(pbx("p2"))),
        "unknown"
    );
    assert!(world.take("p1", "node-p2", 3, AFTER).is_ok());
    assert_eq!((p1(&world).sight, p1(&world).epoch), (Sight::Taken, 3));
    assert_eq!(p1(&world).node, node("node-p2"));
    assert_eq!(p1(&world).home, node("node-p1"));
}

#[test]
fn a_word_from_its_node_ends_the_time_that_counts() {
    let mut world = world(0);
    world.away("p1", 60_000);
    world.pass(AFTER);
    let back = Command::NodeBack {
        node: node("node-p1"),
    };
    world.apply(back).unwrap();
    let refused = Err(Reject::NoTakeover(pbx("p1")));
    assert_eq!(world.take("p1", "node-p2", 3, AFTER), refused);
    world.away("p1", 60_000);
    assert_eq!(
        world.take("p1", "node-p2", 3, AFTER),
        refused,
        "it counts from the second time"
    );
}

#[test]
fn an_asterisk_that_is_not_to_be_taken_over_is_not() {
    let mut world = world(0);
    world.own("p1", 3, false);
    world.up("p1", 4, false, &[]);
    world.away("p1", 60_000);
    world.pass(AFTER);
    let refused = Err(Reject::NoTakeover(pbx("p1")));
    assert_eq!(world.take("p1", "node-p2", 5, AFTER), refused);
}

#[test]
fn of_two_who_ask_one_is_granted_and_asking_again_changes_nothing() {
    let mut world = world(0);
    world.away("p1", 60_000);
    world.pass(AFTER);
    world.take("p1", "node-p2", 3, AFTER).unwrap();
    assert_eq!(
        world.take("p1", "node-p3", 3, AFTER),
        Err(Reject::StaleEpoch { epoch: 3 })
    );
    assert_eq!(
        world.take("p1", "node-p3", 4, AFTER),
        Err(Reject::NoTakeover(pbx("p1"))),
        "the clock of the next takeover has begun anew"
    );
    let before = world.state.clone();
    world.take("p1", "node-p2", 3, AFTER).unwrap();
    assert_eq!(world.state, before);
    assert!(world.last.is_empty());
}

#[test]
fn callers_are_served_when_the_new_driver_has_compared_and_not_before() {
    let mut world = world(2);
    let calls: Vec<_> = (1..=4).map(|n| world.join("q", &format!("c{n}"))).collect();
    world.serve();
    world.answer(calls[0], "a1").unwrap();
    world
        .apply(Command::OfferRinging {
            call: calls[1],
            attempt: Attempt(1),
            agent: agent("a2"),
        })
        .unwrap();
    world.away("p1", 60_000);
    world.pass(AFTER);
    world.take("p1", "node-p2", 3, AFTER).unwrap();
    assert!(world.serve().is_empty(), "it was not compared yet");
    let refused = compared(&mut world, "node-p1", 4, &[]);
    let node = node("node-p2");
    assert_eq!(
        refused,
        Err(Reject::DrivenByOther { node }),
        "the old driver has nothing to say"
    );
    // The talk goes on, one has hung up, one leg rang for nobody.
    compared(&mut world, "node-p2", 4, &["c1", "c2", "c4"]).unwrap();
    assert_eq!(world.outcomes(), [(calls[2], "abandoned")]);
    let connected = &world.state.call(calls[0]).unwrap().phase;
    assert!(matches!(connected, Phase::Connected { .. }));
    assert_eq!(world.state.position(calls[1]), Some(1));
    assert_eq!(world.state.position(calls[3]), Some(2));
    assert_eq!(world.serve(), [(calls[1], vec!["a2".to_string()])]);
    world.end(calls[0], EndedBy::Agent).unwrap();
    let hand = &world.state.agent(&agent("a1")).unwrap().hand;
    assert_eq!(*hand, Hand::Free, "its hang-up is seen again");
}

#[test]
fn what_a_deposed_driver_says_of_the_asterisk_is_refused() {
    let mut world = world(1);
    world.join("q", "c1");
    world.away("p1", 60_000);
    world.pass(AFTER);
    world.take("p1", "node-p2", 3, AFTER).unwrap();
    compared(&mut world, "node-p2", 4, &["c1"]).unwrap();
    let lost = Command::PbxDown {
        pbx: pbx("p1"),
        epoch: 2,
        lost: true,
    };
    assert_eq!(world.apply(lost), Err(Reject::StaleEpoch { epoch: 2 }));
    let busy = seen(&mut world, 2, DeviceState::InUse);
    assert_eq!(busy, Err(Reject::StaleEpoch { epoch: 2 }));
    assert_eq!(world.serve().len(), 1);
}

#[test]
fn its_own_node_gets_it_back_at_any_time_and_callers_keep_their_places() {
    let mut world = world(0);
    let calls = ["c1", "c2"].map(|name| world.join("q", name));
    world.away("p1", 60_000);
    world.pass(AFTER);
    world.take("p1", "node-p2", 3, AFTER).unwrap();
    compared(&mut world, "node-p2", 4, &["c1", "c2"]).unwrap();
    world.own("p1", 5, true);
    let claimed = Event::PbxClaimed {
        pbx: pbx("p1"),
        node: node("node-p1"),
        from: Some(node("node-p2")),
        epoch: 5,
        takeover: false,
    };
    assert_eq!(world.last, [claimed]);
    assert_eq!(p1(&world).sight, Sight::Down);
    let node = node("node-p1");
    let late = compared(&mut world, "node-p2", 6, &[]);
    assert_eq!(late, Err(Reject::DrivenByOther { node }));
    world.up("p1", 6, false, &["c1", "c2"]);
    assert_eq!(
        calls.map(|call| world.state.position(call)),
        [Some(1), Some(2)]
    );
    assert!(world.outcomes().is_empty());
}

#[test]
fn a_node_that_takes_over_and_never_compares_is_taken_over_in_turn_and_in_the_end_calls_are_lost() {
    let mut world = world(0);
    let call = world.join("q", "c1");
    world.away("p1", 60_000);
    world.pass(AFTER);
    world.take("p1", "node-p2", 3, AFTER).unwrap();
    // That the node answers does not mean that it has the Asterisk in hand.
    world
        .apply(Command::NodeBack {
            node: node("node-p2"),
        })
        .unwrap();
    assert_eq!(p1(&world).sight, Sight::Taken);
    world.pass(AFTER);
    world.take("p1", "node-p3", 4, AFTER).unwrap();
    world.pass(60_000 - 2 * AFTER - 1);
    assert!(world.outcomes().is_empty());
    world.pass(1);
    assert_eq!(world.outcomes(), [(call, "lost")]);
    // Also later it may be taken over: callers who are still on music there join anew.
    world.take("p1", "node-p2", 5, AFTER).unwrap();
    compared(&mut world, "node-p2", 6, &["c1"]).unwrap();
    world.join("q", "c1");
    assert_eq!(world.outcomes().len(), 1);
}

#[test]
fn the_node_that_took_over_dies_too_and_a_third_takes_it() {
    let mut world = world(1);
    let call = world.join("q", "c1");
    world.away("p1", 60_000);
    world.pass(AFTER);
    world.take("p1", "node-p2", 3, AFTER).unwrap();
    compared(&mut world, "node-p2", 4, &["c1"]).unwrap();
    world.away("p2", 60_000);
    assert_eq!(p1(&world).sight, Sight::NodeAway);
    assert!(world.serve().is_empty());
    world.pass(AFTER);
    world.take("p1", "node-p3", 5, AFTER).unwrap();
    compared(&mut world, "node-p3", 6, &["c1"]).unwrap();
    assert_eq!(world.serve()[0].0, call);
}

/// `ringinuse = no` needs a word that still counts: an Asterisk that nobody hears has none.
#[test]
fn busy_last_said_by_an_asterisk_that_nobody_hears_holds_no_agent() {
    let mut world = world(1);
    world.up("p2", 1, false, &[]);
    let other = |join: &mut command::CallerJoin| join.pbx = pbx("p2");
    let call = world.join_with("q", "d1", other).unwrap();
    for state in [
        DeviceState::InUse,
        DeviceState::Busy,
        DeviceState::Ringing,
        DeviceState::RingInUse,
        DeviceState::OnHold,
    ] {
        seen(&mut world, 2, state).unwrap();
        assert!(world.serve().is_empty(), "{state:?}");
    }
    world.away("p1", 60_000);
    assert_eq!(availability(&world), Availability::Available);
    // Only unheard and not dead: then the word counts again.
    let back = Command::NodeBack {
        node: node("node-p1"),
    };
    world.apply(back).unwrap();
    assert_eq!(availability(&world), Availability::BusyElsewhere);
    assert!(world.serve().is_empty());
    world.away("p1", 60_000);
    assert_eq!(world.serve()[0].0, call);
}

#[test]
fn a_phone_that_was_not_registered_stays_so_while_its_asterisk_is_not_heard() {
    let mut world = world(1);
    seen(&mut world, 2, DeviceState::Unavailable).unwrap();
    world.away("p1", 60_000);
    assert_eq!(availability(&world), Availability::Unreachable);
}

#[test]
fn after_a_takeover_the_fresh_words_count() {
    let mut world = world(1);
    seen(&mut world, 2, DeviceState::InUse).unwrap();
    world.away("p1", 60_000);
    world.pass(AFTER);
    world.take("p1", "node-p2", 3, AFTER).unwrap();
    assert_eq!(
        availability(&world),
        Availability::Available,
        "not compared yet"
    );
    compared(&mut world, "node-p2", 4, &[]).unwrap();
    assert_eq!(
        availability(&world),
        Availability::BusyElsewhere,
        "until told otherwise"
    );
    seen(&mut world, 4, DeviceState::NotInUse).unwrap();
    assert_eq!(availability(&world), Availability::Available);
}

/// Two nodes that believe to be at home do not both drive.
#[test]
fn who_claims_it_as_its_own_last_has_it() {
    let mut world = world(0);
    let (pbx, other) = (pbx("p1"), node("renamed"));
    let claim = Claim::Home { takeover: true };
    let renamed = Command::PbxClaim {
        pbx,
        node: other.clone(),
        epoch: 3,
        claim,
    };
    world.apply(renamed).unwrap();
    assert_eq!((&p1(&world).home, &p1(&world).node), (&other, &other));
    let refused = compared(&mut world, "node-p1", 4, &[]);
    assert_eq!(refused, Err(Reject::DrivenByOther { node: other }));
}
