//! One node beside an Asterisk that misbehaves: answers lost, requests refused, stopped and late,
//! the application taken over, hostile calls, a load of callers.

mod support;

use holdfast_acd::command::{AdminOp, DeviceState};
use holdfast_acd::settings::{QueueSettings, Strategy};
use holdfast_sim::{CallSpec, CallerState, Hearing};
use support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_and_refusals_cost_time_and_never_a_second_ring() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let phone = node.sim.phone("1001", answer(50, None));
    cluster.queue("support", plain()).await;
    cluster.agent("1001", "a", &["support"]).await;
    for round in 1..=6_u32 {
        // Each round loses a few more answers of the requests that the call needs.
        node.sim.lose_next_answers(round);
        let caller = node.sim.place_call(CallSpec::new("q-support", "5551234"));
        until(&node.sim, "they talk", |_| {
            caller.state() == CallerState::Talking
        })
        .await;
        caller.hang_up();
        released(node).await;
        empty(&node.sim).await;
        node.sim.fail_next_requests(round);
        let caller = node.sim.place_call(CallSpec::new("q-support", "5551234"));
        until(&node.sim, "they talk", |_| {
            caller.state() == CallerState::Talking
        })
        .await;
        phone.hang_up();
        released(node).await;
        empty(&node.sim).await;
    }
    assert_eq!(phone.max_concurrent(), 1);
    cluster.stop().await;
}

/// Seed 301 of the simulation: each lost answer had all variables set anew, and after four the caller
/// was let go without any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dialplan_is_told_why_a_caller_left_through_lost_answers_and_refusals() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    cluster.queue("support", plain()).await;
    for refused in [false, true] {
        let caller = node.sim.place_call(CallSpec::new("q-support", "5551234"));
        node.until("waits", |state| state.calls().count() == 1)
            .await;
        until(&node.sim, "hears music", |_| {
            matches!(heard(&caller).last(), Some(Hearing::Music { .. }))
        })
        .await;
        // Of the first two variables nothing works.
        match refused {
            false => node.sim.lose_next_answers(8),
            true => node.sim.fail_next_requests(8),
        }
        let call = node
            .handle()
            .read(|state| state.calls().next().map(|it| it.id));
        let call = call.expect("it waits");
        let info = "closing time".to_string();
        node.admin(AdminOp::CallWithdraw { call, info }).await;
        let end = tokio::time::timeout(LONG, caller.ended())
            .await
            .expect("is let go");
        let told = |name: &str| end.dialplan.get(name).map(String::as_str);
        assert_eq!(told("QUEUESTATUS"), Some("WITHDRAW"), "{end:?}");
        released(node).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_asterisk_that_goes_on_late_leaves_no_stray_leg() {
    log();
    let cluster = Cluster::start_with(&["a"], |config| {
        let asterisk = config.asterisk.as_mut().expect("set by the cluster");
        asterisk.request_timeout = holdfast_node::config::Span::ms(500);
    })
    .await;
    let node = cluster.first();
    let phone = node.sim.phone("1001", answer(50, None));
    cluster.queue("support", plain()).await;
    let caller = node.sim.place_call(CallSpec::new("q-support", "5551234"));
    node.until("waits", |state| state.calls().count() == 1)
        .await;
    node.sim.pause();
    cluster.agent("1001", "a", &["support"]).await;
    node.until("an offer is made", |state| {
        state.calls().any(|call| call.attempts.0 >= 1)
    })
    .await;
    // The request for the leg is given up, and so is the question whether the leg is there.
    node.until_counted("a leg is asked for in vain", |metrics| {
        metrics.ari_failures.contains_key("look_at_leg")
    })
    .await;
    assert_eq!(node.handle().metrics().legs_requested, 1);
    node.sim.resume();
    until(&node.sim, "they talk", |_| {
        caller.state() == CallerState::Talking
    })
    .await;
    caller.hang_up();
    released(node).await;
    empty(&node.sim).await;
    assert_eq!((phone.max_concurrent(), phone.answered()), (1, 1));
    cluster.stop().await;
}

/// Nothing else would tell: a phone that is not rung does not change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_whose_state_could_not_be_read_is_asked_for_again() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    cluster.queue("support", plain()).await;
    let _phone = node.sim.phone("1001", answer(50, None));
    node.sim.fail_next_requests_of("deviceStates", 1);
    cluster.agent("1001", "a", &["support"]).await;
    node.until("the phone is known to be idle", |state| {
        let devices = &state.agent(&agent("1001")).unwrap().devices;
        devices.values().eq([&DeviceState::NotInUse])
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_replaced_stops_acting_and_says_so() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    cluster.queue("support", plain()).await;
    let other = {
        let config = holdfast_ari::AriConfig::new(
            &node.sim.ari_url(),
            "holdfast",
            holdfast_ari::Secret::new("secret"),
            "QueueARI",
        );
        holdfast_ari::events(&config.expect("good settings"))
    };
    let mut ari = node.handle().ari_watch();
    tokio::time::timeout(LONG, ari.wait_for(|status| status.deposed))
        .await
        .unwrap()
        .unwrap();
    assert!(!node.handle().ari_status().connected);
    let requests = node.sim.requests();
    let caller = node.sim.place_call(CallSpec::new("q-support", "1"));
    until(&node.sim, "the other one has the caller", |_| {
        caller.state() == CallerState::Waiting
    })
    .await;
    assert_eq!(node.sim.requests(), requests);
    assert_eq!(node.handle().read(|state| state.calls().count()), 0);
    drop(other);
    // It takes the application back after a pause, and the caller with it.
    node.connected().await;
    node.until("the caller joins", |state| state.calls().count() == 1)
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_call_blinds_nobody_and_goes_back_to_the_dialplan() {
    log();
    let mut cluster = Cluster::start(&["a"]).await;
    cluster.queue("support", plain()).await;
    // A dialplan without the guard.
    let hostile = CallSpec {
        hostile: true,
        stasis_args: Some(vec!["support".into()]),
        ..CallSpec::new("700", "666")
    };
    let hostile = cluster.first().sim.place_call(hostile);
    let caller = cluster
        .first()
        .sim
        .place_call(CallSpec::new("q-support", "1"));
    cluster
        .first()
        .until("waits", |state| state.calls().count() == 1)
        .await;
    // No event tells of it: the next comparison finds it.
    cluster.nodes[0].stop().await;
    cluster.nodes[0].start().await;
    cluster.first().connected().await;
    tokio::time::timeout(LONG, hostile.ended())
        .await
        .expect("it goes");
    assert_eq!(cluster.first().handle().metrics().channels_unreadable, 1);
    assert_eq!(
        cluster.first().handle().read(|state| state.calls().count()),
        1
    );
    assert!(matches!(heard(&caller).last(), Some(Hearing::Music { .. })));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_callers_are_all_served_once_by_ten_agents() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let settings = QueueSettings {
        strategy: Strategy::LeastRecent,
        ..plain()
    };
    cluster.queue("support", settings).await;
    let phones: Vec<_> = (1001..=1010)
        .map(|number| node.sim.phone(&number.to_string(), answer(20, Some(400))))
        .collect();
    for number in 1001..=1010 {
        cluster.agent(&number.to_string(), "a", &["support"]).await;
    }
    let callers: Vec<_> = (0..100)
        .map(|n| {
            node.sim
                .place_call(CallSpec::new("q-support", &format!("555{n:04}")))
        })
        .collect();
    for caller in &callers {
        let end = tokio::time::timeout(LONG, caller.ended())
            .await
            .expect("served in time");
        assert_eq!(end.talked_to.len(), 1, "{end:?} {:?}", heard(caller));
    }
    // On a busy machine an agent may hang up before the two are bridged, and answers once more then.
    let answered = phones.iter().map(|phone| phone.answered()).sum::<u64>();
    assert!(answered >= 100, "{answered}");
    assert!(phones.iter().all(|phone| phone.max_concurrent() == 1));
    released(node).await;
    empty(&node.sim).await;
    let metrics = node.handle().metrics();
    eprintln!(
        "offer to leg {:?}\nanswer to bridge {:?}",
        metrics.offer_to_leg, metrics.answer_to_bridge
    );
    assert_eq!(metrics.legs_requested, answered, "nobody rings in vain");
    cluster.stop().await;
}
