//! Contracts of callers, and of the state of agents' phones.

use std::time::{Duration, Instant};

use holdfast_ari::{ChannelState, DeviceState, Event, EventSource, Var};
use holdfast_drills::lab::{CallSpec, Habit, Kind};

use super::bench::{Bench, endpoint, eventually, leg_to};

pub async fn trap_06_the_end_of_a_caller_is_stasis_end(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (first, first_id) = bench.caller("5551001").await;
    let (second, second_id) = bench.caller("5551002").await;
    first.wait_answered().await.unwrap();
    second.wait_answered().await.unwrap();
    let source = EventSource::Channel(second_id.clone());
    bench
        .client
        .subscribe(bench.client.app(), &[source])
        .await
        .unwrap();

    first.hang_up().await.unwrap();
    bench.watch.told("StasisEnd", &first_id).await;
    second.hang_up().await.unwrap();
    bench.watch.told("ChannelDestroyed", &second_id).await;
    assert!(
        !bench
            .watch
            .types_of(&first_id)
            .contains(&"ChannelDestroyed"),
        "only who was subscribed to is told as destroyed"
    );
}

pub async fn trap_07_stasis_start_is_not_always_a_new_caller(kind: Kind) {
    let bench = Bench::start(kind).await;
    let _phone = bench.willing_phone("1001").await;
    bench.talk_to("leg-1", "1001").await;
    assert_eq!(
        bench.watch.start_of_id("leg-1").await,
        ["leg", "1001"],
        "our own mark"
    );

    // A caller whose call string reached nobody comes back under the same id.
    let (_caller, channel) = bench.caller("5551001").await;
    let values = [(Var::CALL_STRING, "PJSIP/1009"), (Var::RINGTIME, "5")];
    bench.client.set_variables(&channel, &values).await.unwrap();
    bench
        .client
        .continue_in_dialplan(&channel, &Default::default())
        .await
        .unwrap();
    let args = bench
        .watch
        .event("the second StasisStart of a caller", |event| match event {
            Event::StasisStart {
                channel: c, args, ..
            } if c.id == channel && args.len() == 2 && args[1].starts_with("again=") => {
                Some(args.clone())
            }
            _ => None,
        })
        .await;
    assert_eq!(args[0], "support");
    let starts = bench.watch.types_of(&channel);
    assert_eq!(
        starts.iter().filter(|name| **name == "StasisStart").count(),
        2
    );
}

pub async fn trap_08_a_call_waits_for_no_resolver(kind: Kind) {
    let bench = Bench::start(kind).await;
    let start = Instant::now();
    let (_caller, channel) = bench.caller("5551001").await;
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(4),
        "{channel} took {took:?}, a resolver's time-out is 5 s"
    );
}

pub async fn trap_09_answer_waits_for_sound_unless_told_not_to(kind: Kind) {
    let bench = Bench::start(kind).await;
    let mut gaps = Vec::new();
    for (exten, number) in [("fast", "5551001"), ("quiet", "5551002")] {
        let caller = bench.pbx.call(CallSpec::new(exten, number)).await.unwrap();
        caller.wait_answered().await.unwrap();
        let answered = Instant::now();
        bench.watch.start_of(number).await;
        gaps.push(answered.elapsed());
    }
    assert!(
        gaps[1] > Duration::from_millis(300),
        "Answer() waits for a silent caller: {gaps:?}"
    );
    assert!(gaps[0] < gaps[1], "Answer(,i) does not: {gaps:?}");
}

pub async fn contract_22_device_states_follow_the_phone(kind: Kind) {
    let bench = Bench::start(kind).await;
    let device = endpoint("1001");
    let state = || async { bench.client.device_state(&device).await.unwrap() };
    assert_eq!(state().await, DeviceState::Unavailable, "not registered");
    let source = EventSource::Device(device.clone());
    bench
        .client
        .subscribe(bench.client.app(), &[source])
        .await
        .unwrap();

    let phone = bench.pbx.phone("1001", Habit::NoAnswer).await.unwrap();
    changed(&bench, DeviceState::NotInUse).await;
    bench
        .client
        .originate(&leg_to("leg-1", "1001"))
        .await
        .unwrap();
    changed(&bench, DeviceState::Ringing).await;
    assert_eq!(state().await, DeviceState::Ringing);
    // It is no lock: a second call to the same phone is accepted.
    bench
        .client
        .originate(&leg_to("leg-2", "1001"))
        .await
        .unwrap();
    eventually("a second ring", || async { phone.times_rung() == 2 }).await;
    for leg in ["leg-1", "leg-2"] {
        bench
            .client
            .hangup(leg, holdfast_ari::HangupReason::Normal)
            .await
            .unwrap();
    }
    phone.unregister().await.unwrap();
    changed(&bench, DeviceState::Unavailable).await;
}

async fn changed(bench: &Bench, to: DeviceState) {
    bench
        .watch
        .event(&format!("device state {to:?}"), |event| match event {
            Event::DeviceStateChanged { device, state } => {
                (device == "PJSIP/1001" && *state == to).then_some(())
            }
            _ => None,
        })
        .await;
}

pub async fn contract_26_keys_are_heard_during_music(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (caller, channel) = bench.caller("5551001").await;
    caller.wait_answered().await.unwrap();
    caller.press('5').await.unwrap();
    let digit = bench
        .watch
        .event("a key", |event| match event {
            Event::ChannelDtmfReceived {
                channel: c, digit, ..
            } if c.id == channel => Some(*digit),
            _ => None,
        })
        .await;
    assert_eq!(digit, '5');
    match bench.client.channel(&channel).await.unwrap() {
        holdfast_ari::ChannelLookup::Found(found) => {
            assert_eq!(found.state, ChannelState::Up);
            assert_eq!(found.caller.number, "5551001");
        }
        other => panic!("{other:?}"),
    }
}
