//! The queue does what app_queue does. Each test names the option of queues.conf it reproduces.

mod common;

use common::*;
use holdfast_acd::agent::Availability;
use holdfast_acd::call::Phase;
use holdfast_acd::command::{DeviceState, EndedBy, FailCause, JoinOptions, LeaveReason};
use holdfast_acd::event::PassOver;
use holdfast_acd::reply::{Done, Reject};
use holdfast_acd::settings::*;
use holdfast_acd::*;

fn settings(change: impl FnOnce(&mut QueueSettings)) -> QueueSettings {
    let mut settings = linear();
    change(&mut settings);
    settings
}

fn names(served: &[(CallId, Vec<String>)]) -> Vec<Vec<&str>> {
    served
        .iter()
        .map(|(_, agents)| agents.iter().map(String::as_str).collect())
        .collect()
}

/// Takes one call after the other and answers who was rung first each time.
fn rung(world: &mut World, calls: usize, talk_ms: u64) -> Vec<String> {
    let mut rung = Vec::new();
    for number in 0..calls {
        let call = world.join("q", &format!("r{number}-{}", world.index));
        let served = world.serve();
        let first = served[0].1[0].clone();
        world.answer(call, &first).unwrap();
        world.pass(talk_ms);
        world.end(call, EndedBy::Caller).unwrap();
        rung.push(first);
    }
    rung
}

/// `strategy = ringall`
#[test]
fn ringall_rings_everyone_of_the_lowest_penalty_that_has_somebody() {
    let mut world = World::new(QueueSettings::default(), 2);
    world.add_agent("q", "b1", 5);
    let call = world.join("q", "c1");
    assert_eq!(names(&world.serve()), [["a1", "a2"]]);
    world.fail(call, "a1", FailCause::Busy).unwrap();
    assert!(world.serve().is_empty(), "a2 still rings");
    world.fail(call, "a2", FailCause::Busy).unwrap();
    assert_eq!(names(&world.serve()), [["b1"]]);
}

/// `strategy = ringall`: one answer wins, the others stop ringing.
#[test]
fn the_first_answer_is_granted_and_the_others_are_cancelled() {
    let mut world = World::new(QueueSettings::default(), 3);
    let call = world.join("q", "c1");
    world.serve();
    assert_eq!(world.answer(call, "a2"), Ok(Done::Granted));
    let cancelled = world.last.iter().filter(|event| {
        matches!(
            event,
            Event::OfferFailed {
                cause: FailCause::Cancelled,
                ..
            }
        )
    });
    assert_eq!(cancelled.count(), 2);
    assert_eq!(world.answer(call, "a2"), Ok(Done::Granted), "sent again");
    let attempt = Attempt(1);
    assert_eq!(
        world.answer(call, "a1"),
        Err(Reject::StaleAttempt { call, attempt })
    );
    let free = world.state.agent(&agent("a1")).unwrap();
    assert_eq!(
        world.state.availability(free, world.at, false),
        Availability::Available
    );
}

/// `strategy = rrmemory`
#[test]
fn rrmemory_goes_on_behind_who_was_rung_last() {
    let mut world = World::new(settings(|it| it.strategy = Strategy::RrMemory), 3);
    assert_eq!(rung(&mut world, 4, 10), ["a1", "a2", "a3", "a1"]);
    world.pause("a2");
    assert_eq!(rung(&mut world, 2, 10), ["a3", "a1"]);
}

/// `strategy = rrmemory`, several free agents in one pass
#[test]
fn rrmemory_turns_within_one_pass_too() {
    let mut world = World::new(settings(|it| it.strategy = Strategy::RrMemory), 3);
    rung(&mut world, 1, 10);
    for number in 0..3 {
        world.join("q", &format!("c{number}"));
    }
    assert_eq!(names(&world.serve()), [["a2"], ["a3"], ["a1"]]);
}

/// `strategy = linear`
#[test]
fn linear_begins_at_the_front_each_time() {
    let mut world = World::new(linear(), 3);
    assert_eq!(rung(&mut world, 3, 10), ["a1", "a1", "a1"]);
}

/// `strategy = leastrecent`, over all queues (`shared_lastcall`)
#[test]
fn leastrecent_rings_who_ended_a_call_the_longest_time_ago() {
    let mut world = World::new(settings(|it| it.strategy = Strategy::LeastRecent), 3);
    assert_eq!(rung(&mut world, 5, 10), ["a1", "a2", "a3", "a1", "a2"]);
}

/// `strategy = fewestcalls`
#[test]
fn fewestcalls_rings_who_took_the_fewest_of_this_queue() {
    let mut world = World::new(settings(|it| it.strategy = Strategy::FewestCalls), 2);
    assert_eq!(rung(&mut world, 2, 10), ["a1", "a2"]);
    world.pause("a2");
    assert_eq!(rung(&mut world, 2, 10), ["a1", "a1"]);
    let op = AdminOp::AgentUnpause {
        agent: agent("a2"),
        queue: None,
    };
    world.admin(op).unwrap();
    assert_eq!(rung(&mut world, 2, 10), ["a2", "a2"]);
}

/// `strategy = random`: the leader's number decides, and only among the lowest penalty.
#[test]
fn random_is_chosen_by_the_leaders_number() {
    let mut world = World::new(settings(|it| it.strategy = Strategy::Random), 3);
    world.add_agent("q", "b1", 1);
    world.join("q", "c1");
    for (number, expected) in ["a1", "a2", "a3"].iter().enumerate() {
        let decisions = distribute(&world.state, 10, &mut |below| {
            assert_eq!(below, 3);
            number as u64
        });
        let Command::OfferMake { agents, .. } = &decisions[0] else {
            panic!()
        };
        assert_eq!(agents[0].as_str(), *expected);
    }
}

/// `penalty`
#[test]
fn a_lower_penalty_is_rung_first_whatever_the_strategy() {
    for strategy in [
        Strategy::RingAll,
        Strategy::RrMemory,
        Strategy::Linear,
        Strategy::LeastRecent,
        Strategy::FewestCalls,
        Strategy::Random,
    ] {
        let mut world = World::new(settings(|it| it.strategy = strategy), 0);
        world.add_agent("q", "a1", 2);
        world.add_agent("q", "z1", 1);
        world.join("q", "c1");
        assert_eq!(names(&world.serve()), [["z1"]], "{strategy:?}");
    }
}

/// `ringinuse = no`
#[test]
fn who_is_busy_elsewhere_is_not_rung_unless_ringinuse() {
    let mut world = World::new(linear(), 1);
    world.device("a1", DeviceState::InUse);
    world.join("q", "c1");
    assert!(world.serve().is_empty());
    world.put_queue("q", settings(|it| it.ring_in_use = true));
    assert_eq!(names(&world.serve()), [["a1"]]);
}

/// `timeout`
#[test]
fn an_agent_is_rung_for_the_ring_time_and_not_shorter() {
    let mut world = World::new(settings(|it| it.ring_time_ms = 7_000), 2);
    let call = world.join("q", "c1");
    world.serve();
    assert!(world.pass(6_999).is_empty());
    let failed = world.pass(1).to_vec();
    assert!(matches!(
        failed[..],
        [Event::OfferFailed {
            cause: FailCause::NoAnswer,
            ..
        }]
    ));
    assert_eq!(world.state.position(call), Some(1));
    assert_eq!(
        names(&world.serve()),
        [["a2"]],
        "the next one rings at once"
    );
}

/// `retry`: not the caller waits, the agent who failed is left alone for a while, by cause.
#[test]
fn an_agent_who_failed_is_left_alone_by_cause() {
    for (cause, ms) in [
        (FailCause::NoAnswer, 2_000),
        (FailCause::Busy, 5_000),
        (FailCause::Rejected, 10_000),
        (FailCause::Unreachable, 5_000),
        (FailCause::Cancelled, 0),
    ] {
        let mut world = World::new(linear(), 1);
        let call = world.join("q", "c1");
        world.serve();
        world.fail(call, "a1", cause).unwrap();
        if ms > 0 {
            world.pass(ms - 1);
            assert!(world.serve().is_empty(), "{cause:?} too early");
            world.pass(1);
        }
        assert_eq!(names(&world.serve()), [["a1"]], "{cause:?}");
    }
}

/// `wrapuptime`
#[test]
fn wrap_up_holds_the_agent_and_ready_ends_it() {
    let mut world = World::new(settings(|it| it.wrap_up_ms = 30_000), 1);
    let first = world.join("q", "c1");
    world.serve();
    world.answer(first, "a1").unwrap();
    world.end(first, EndedBy::Caller).unwrap();
    world.join("q", "c2");
    world.pass(29_999);
    assert!(world.serve().is_empty());
    let events = world.pass(1).to_vec();
    assert_eq!(events, [Event::AgentReady { agent: agent("a1") }]);
    let second = world.serve()[0].0;
    world.answer(second, "a1").unwrap();
    world.end(second, EndedBy::Agent).unwrap();
    world.join("q", "c3");
    assert!(world.serve().is_empty());
    world
        .admin(AdminOp::AgentReady { agent: agent("a1") })
        .unwrap();
    assert_eq!(names(&world.serve()), [["a1"]]);
}

/// `member => ...,wrapuptime`
#[test]
fn a_members_own_wrap_up_overrides_the_queues() {
    let mut world = World::new(settings(|it| it.wrap_up_ms = 30_000), 1);
    let settings = MemberSettings {
        wrap_up_ms: Some(1_000),
        ..MemberSettings::default()
    };
    let op = AdminOp::MemberPut {
        queue: queue("q"),
        agent: agent("a1"),
        settings,
    };
    world.admin(op).unwrap();
    let call = world.join("q", "c1");
    world.serve();
    world.answer(call, "a1").unwrap();
    world.end(call, EndedBy::Caller).unwrap();
    world.join("q", "c2");
    world.pass(1_000);
    assert_eq!(names(&world.serve()), [["a1"]]);
}

/// `weight`
#[test]
fn the_heavier_queue_gets_the_agent() {
    let mut world = World::new(linear(), 1);
    world.put_queue("vip", settings(|it| it.weight = 5));
    world.add_member("vip", "a1", 0);
    world.join("q", "c1");
    let vip = world.join("vip", "c2");
    assert_eq!(world.serve()[0].0, vip);
}

/// `force_longest_waiting_caller`: always, among queues of one weight.
#[test]
fn of_equal_queues_the_longest_waiting_caller_is_first() {
    let mut world = World::new(linear(), 1);
    world.put_queue("a-queue", linear());
    world.add_member("a-queue", "a1", 0);
    let older = world.join("q", "c1");
    world.pass(10);
    world.join("a-queue", "c2");
    assert_eq!(world.serve()[0].0, older);
}

/// `autofill = yes`
#[test]
fn free_agents_serve_callers_side_by_side() {
    let mut world = World::new(linear(), 2);
    let calls = [
        world.join("q", "c1"),
        world.join("q", "c2"),
        world.join("q", "c3"),
    ];
    let served = world.serve();
    assert_eq!(served.iter().map(|it| it.0).collect::<Vec<_>>(), calls[..2]);
    assert_eq!(names(&served), [["a1"], ["a2"]]);
}

/// `QUEUE_PRIO`
#[test]
fn priority_goes_before_arrival() {
    let mut world = World::new(linear(), 1);
    let early = world.join("q", "c1");
    let urgent = world
        .join_with("q", "c2", |join| join.priority = 5)
        .unwrap();
    assert_eq!(world.state.position(urgent), Some(1));
    assert_eq!(world.state.position(early), Some(2));
    assert_eq!(world.serve()[0].0, urgent);
}

/// `maxlen`
#[test]
fn maxlen_is_exact_and_answers_full() {
    let mut world = World::new(settings(|it| it.maxlen = 2), 0);
    world.join("q", "c1");
    world.join("q", "c2");
    let refused = world.join_with("q", "c3", |_| {}).unwrap_err();
    assert_eq!(refused, Reject::QueueFull(queue("q")));
    assert_eq!(refused.queue_status(), "FULL");
    assert_eq!(world.state.queue(&queue("q")).unwrap().counters.refused, 1);
}

/// `joinempty`, each condition
#[test]
fn joinempty_refuses_when_all_members_are_in_a_listed_condition() {
    use Empty::*;
    type Case = (Empty, fn(&mut World));
    let cases: [Case; 6] = [
        (Paused, |world| world.pause("a1")),
        (InUse, |world| world.device("a1", DeviceState::InUse)),
        (Ringing, |world| world.device("a1", DeviceState::Ringing)),
        (Unavailable, |world| {
            world.device("a1", DeviceState::Unavailable)
        }),
        (Invalid, |world| world.device("a1", DeviceState::Invalid)),
        (Unknown, |world| world.device("a1", DeviceState::Unknown)),
    ];
    for (condition, bring_about) in cases {
        let mut world = World::new(settings(|it| it.join_empty = EmptyRule(vec![condition])), 1);
        world.device("a1", DeviceState::NotInUse);
        world.join("q", "c1");
        bring_about(&mut world);
        let refused = world.join_with("q", "c2", |_| {}).unwrap_err();
        assert_eq!(refused, Reject::JoinEmpty(queue("q")), "{condition:?}");
        world.add_agent("q", "a2", 0);
        world.device("a2", DeviceState::NotInUse);
        world.join("q", "c3");
    }
}

/// `joinempty = wrapup` and `joinempty = penalty`
#[test]
fn joinempty_knows_wrap_up_and_penalty() {
    let rule = EmptyRule(vec![Empty::WrapUp, Empty::Penalty]);
    let step = Step {
        max_penalty: Some(3),
        ..Step::default()
    };
    let mut world = World::new(
        settings(|it| {
            it.join_empty = rule;
            it.wrap_up_ms = 1_000;
            it.steps = vec![step];
        }),
        1,
    );
    world.add_agent("q", "b1", 9);
    let call = world.join("q", "c1");
    world.serve();
    world.answer(call, "a1").unwrap();
    world.end(call, EndedBy::Caller).unwrap();
    assert!(world.join_with("q", "c2", |_| {}).is_err());
    world.pass(1_000);
    world.join("q", "c3");
}

/// `joinempty`: without the rule an empty queue takes callers.
#[test]
fn without_joinempty_everyone_may_wait() {
    let mut world = World::new(linear(), 0);
    world.join("q", "c1");
}

/// `leavewhenempty`
#[test]
fn callers_leave_when_the_last_member_has_gone() {
    let rule = EmptyRule(vec![Empty::Paused]);
    let mut world = World::new(settings(|it| it.leave_when_empty = rule), 2);
    world.device("a1", DeviceState::InUse);
    world.device("a2", DeviceState::InUse);
    let calls = [world.join("q", "c1"), world.join("q", "c2")];
    world.pause("a1");
    world.pass(1_000);
    assert!(world.outcomes().is_empty());
    let op = AdminOp::AgentLogout { agent: agent("a2") };
    world.admin(op).unwrap();
    assert_eq!(
        world.state.next_deadline(),
        Some(0),
        "a tick is wanted at once"
    );
    world.pass(0);
    assert_eq!(world.outcomes(), calls.map(|call| (call, "empty")));
}

/// Fifth argument of `Queue()`, `timeout`
#[test]
fn a_caller_times_out_at_his_time_and_once() {
    let mut world = World::new(settings(|it| it.timeout_ms = Some(60_000)), 0);
    let call = world.join("q", "c1");
    let own = JoinOptions {
        timeout_ms: Some(5_000),
        ..JoinOptions::default()
    };
    let quick = world
        .join_with("q", "c2", |join| join.options = own)
        .unwrap();
    world.pass(4_999);
    assert!(world.outcomes().is_empty());
    world.pass(1);
    assert_eq!(world.outcomes(), [(quick, "timeout")]);
    world.pass(55_000);
    assert_eq!(world.outcomes(), [(quick, "timeout"), (call, "timeout")]);
    let status = match &world.state.call(call).unwrap().phase {
        Phase::Leaving { outcome, .. } => outcome.queue_status(),
        other => panic!("{other:?}"),
    };
    assert_eq!(status, Some("TIMEOUT"));
}

/// `timeoutpriority = app`: the caller's timeout cuts the ringing short, at no cost for the agent.
#[test]
fn a_timeout_cuts_the_ringing() {
    let mut world = World::new(settings(|it| it.timeout_ms = Some(5_000)), 1);
    let call = world.join("q", "c1");
    world.serve();
    world.pass(5_000);
    assert_eq!(world.outcomes(), [(call, "timeout")]);
    world.join("q", "c2");
    assert_eq!(names(&world.serve()), [["a1"]]);
}

/// `context`
#[test]
fn only_an_exit_key_of_the_queue_leads_out() {
    let mut world = World::new(
        settings(|it| it.exit_keys = vec!["1".into(), "#".into()]),
        0,
    );
    let call = world.join("q", "c1");
    let refused = world.leave(call, LeaveReason::Key("2".into()));
    assert!(matches!(refused, Err(Reject::Invalid { .. })));
    world.leave(call, LeaveReason::Key("#".into())).unwrap();
    world.leave(call, LeaveReason::Key("#".into())).unwrap();
    assert_eq!(world.outcomes(), [(call, "key")]);
    world.apply(Command::CallReleased { call }).unwrap();
    assert!(world.state.call(call).is_none());
}

/// queuerules.conf: who may be rung widens with the waiting time (`name@1`, `name@2`)
#[test]
fn steps_widen_with_the_waiting_time() {
    let first = Step {
        agents: vec![agent("a1")],
        ring_time_ms: Some(3_000),
        ..Step::default()
    };
    let second = Step {
        after_ms: 10_000,
        ring_time_ms: Some(9_000),
        ..Step::default()
    };
    let mut world = World::new(settings(|it| it.steps = vec![first, second]), 2);
    world.device("a1", DeviceState::InUse);
    let early = world.join("q", "c1");
    assert!(world.serve().is_empty(), "only a1 is in the first step");
    world.pass(9_999);
    assert!(world.serve().is_empty());
    world.pass(1);
    assert_eq!(world.serve(), [(early, vec!["a2".to_string()])]);
    assert_eq!(
        world
            .state
            .call(early)
            .unwrap()
            .offer()
            .unwrap()
            .ring_time_ms,
        9_000
    );
}

/// A caller is passed over only for a reason that is named.
#[test]
fn who_is_passed_over_for_a_step_is_named() {
    let first = Step {
        agents: vec![agent("a1")],
        ..Step::default()
    };
    let second = Step {
        after_ms: 10_000,
        ..Step::default()
    };
    let mut world = World::new(settings(|it| it.steps = vec![first, second]), 2);
    world.device("a1", DeviceState::InUse);
    let early = world.join("q", "c1");
    world.pass(10_000);
    let urgent = world
        .join_with("q", "c2", |join| join.priority = 1)
        .unwrap();
    assert_eq!(world.serve(), [(early, vec!["a2".to_string()])]);
    let reason = PassOver::StepNotReached;
    let passed = Event::CallPassedOver {
        call: urgent,
        by: early,
        reason,
    };
    assert!(world.events.contains(&passed));
}

/// A decision that would overtake is refused, however it came about.
#[test]
fn a_decision_that_overtakes_is_refused() {
    let mut world = World::new(linear(), 1);
    world.join("q", "c1");
    let later = world.join("q", "c2");
    let (attempt, agents) = (Attempt(1), vec![agent("a1")]);
    let refused = world.apply(Command::OfferMake {
        call: later,
        attempt,
        agents,
    });
    assert_eq!(refused, Err(Reject::NotOfferable(later)));
}

/// `servicelevel`, and the moving averages
#[test]
fn service_level_and_averages_are_counted() {
    let mut world = World::new(settings(|it| it.service_level_ms = 10_000), 1);
    for wait_ms in [10_000, 10_001] {
        let call = world.join("q", &format!("c{wait_ms}"));
        world.pass(wait_ms);
        world.serve();
        world.answer(call, "a1").unwrap();
        world.pass(8_000);
        world.end(call, EndedBy::Caller).unwrap();
    }
    let counters = world.state.queue(&queue("q")).unwrap().counters.clone();
    assert_eq!(
        (counters.answered, counters.answered_in_service_level),
        (2, 1)
    );
    assert_eq!(counters.service_level_percent(), 50);
    assert_eq!(counters.hold_time_ms, (2_500 * 3 + 10_001) / 4);
    assert_eq!(counters.talk_time_ms, (2_000 * 3 + 8_000) / 4);
}

/// `ABANDON`
#[test]
fn a_caller_who_hangs_up_while_an_agent_rings_frees_the_agent_at_once() {
    let mut world = World::new(linear(), 1);
    let call = world.join("q", "c1");
    world.serve();
    world.leave(call, LeaveReason::HungUp).unwrap();
    assert_eq!(world.outcomes(), [(call, "abandoned")]);
    world.join("q", "c2");
    assert_eq!(names(&world.serve()), [["a1"]]);
}
