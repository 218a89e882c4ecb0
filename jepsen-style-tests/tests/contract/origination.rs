//! Contracts of calls that we make.

use holdfast_ari::{ChannelLookup, Event, HangupReason, Originated};
use holdfast_drills::lab::{Habit, Kind};

use super::bench::{Bench, eventually, leg_to};

pub async fn trap_03_a_409_on_originate_is_told_apart(kind: Kind) {
    let bench = Bench::start(kind).await;
    let phone = bench.pbx.phone("1001", Habit::NoAnswer).await.unwrap();

    let call = |leg, number| {
        let (client, call) = (bench.client.clone(), leg_to(leg, number));
        async move { client.originate(&call).await.unwrap() }
    };
    assert_eq!(
        call("leg-9", "1009").await,
        Originated::Unreachable,
        "not registered"
    );
    assert_eq!(
        call("leg-n", "nobody").await,
        Originated::Unreachable,
        "no such endpoint"
    );
    assert_eq!(call("leg-1", "1001").await, Originated::Created);
    assert_eq!(
        call("leg-1", "1001").await,
        Originated::AlreadyThere,
        "the same again"
    );
    bench.watch.told("ChannelStateChange", "leg-1").await;
    assert_eq!(phone.times_rung(), 1);
}

pub async fn trap_04_an_id_is_free_again_when_its_channel_has_ended(kind: Kind) {
    let bench = Bench::start(kind).await;
    let phone = bench.pbx.phone("1001", Habit::NoAnswer).await.unwrap();
    let call = leg_to("leg-1", "1001");

    assert_eq!(
        bench.client.originate(&call).await.unwrap(),
        Originated::Created
    );
    eventually("a first ring", || async { phone.times_rung() == 1 }).await;
    bench
        .client
        .hangup("leg-1", HangupReason::Normal)
        .await
        .unwrap();
    bench.watch.destroyed("leg-1").await;
    assert_eq!(
        bench.client.channel("leg-1").await.unwrap(),
        ChannelLookup::Gone
    );

    assert_eq!(
        bench.client.originate(&call).await.unwrap(),
        Originated::Created
    );
    eventually(
        "a second ring by a repetition that came too late",
        || async { phone.times_rung() == 2 },
    )
    .await;
}

pub async fn contract_18_causes_tell_busy_reject_and_no_answer_apart(kind: Kind) {
    let bench = Bench::start(kind).await;
    let _phones = [
        bench.pbx.phone("1001", Habit::Busy).await.unwrap(),
        bench.pbx.phone("1002", Habit::Reject).await.unwrap(),
        bench.pbx.phone("1003", Habit::NoAnswer).await.unwrap(),
        bench.pbx.phone("1004", Habit::Silent).await.unwrap(),
        bench
            .pbx
            .phone("1005", Habit::Fail { sip: 503 })
            .await
            .unwrap(),
        bench
            .pbx
            .phone("1006", Habit::Fail { sip: 404 })
            .await
            .unwrap(),
    ];
    for number in ["1001", "1002", "1003", "1004", "1005", "1006"] {
        let mut call = leg_to(&format!("leg-{number}"), number);
        call.timeout_s = 1;
        assert_eq!(
            bench.client.originate(&call).await.unwrap(),
            Originated::Created
        );
    }
    assert_eq!(
        bench.watch.destroyed("leg-1001").await,
        (Some(17), Some(486)),
        "busy"
    );
    assert_eq!(
        bench.watch.destroyed("leg-1002").await,
        (Some(21), Some(603)),
        "rejected"
    );
    assert_eq!(
        bench.watch.destroyed("leg-1003").await.0,
        Some(19),
        "no answer"
    );
    assert_eq!(
        bench.watch.destroyed("leg-1004").await.0,
        Some(19),
        "silent"
    );
    assert_eq!(
        bench.watch.destroyed("leg-1005").await,
        (Some(34), Some(503)),
        "congestion"
    );
    assert_eq!(
        bench.watch.destroyed("leg-1006").await,
        (Some(1), Some(404)),
        "unallocated"
    );

    // A phone that rang and one that is dead end alike; only the ringing tells them apart.
    assert!(
        bench
            .watch
            .types_of("leg-1003")
            .contains(&"ChannelStateChange")
    );
    assert!(
        !bench
            .watch
            .types_of("leg-1004")
            .contains(&"ChannelStateChange")
    );
    let dials: Vec<String> = bench
        .watch
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Dial {
                peer, dialstatus, ..
            } if peer.id == "leg-1001" => Some(dialstatus.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(dials, ["", "BUSY"]);
}

pub async fn contract_19_losers_see_answered_elsewhere(kind: Kind) {
    let bench = Bench::start(kind).await;
    let winner = bench.willing_phone("1001").await;
    let ringing = bench.pbx.phone("1002", Habit::NoAnswer).await.unwrap();
    let late = bench.willing_phone("1003").await;
    for number in ["1001", "1002", "1003"] {
        bench
            .client
            .originate(&leg_to(&format!("leg-{number}"), number))
            .await
            .unwrap();
    }
    // Two answer: both are told, and to choose is left to us.
    bench.watch.start_of_id("leg-1001").await;
    bench.watch.start_of_id("leg-1003").await;
    eventually("the third one rings", || async {
        ringing.times_rung() == 1
    })
    .await;
    for loser in ["leg-1002", "leg-1003"] {
        bench
            .client
            .hangup(loser, HangupReason::AnsweredElsewhere)
            .await
            .unwrap();
    }
    eventually("cause 26 at the ringing phone", || async {
        ringing.causes() == [26]
    })
    .await;
    eventually("cause 26 at the phone that answered", || async {
        late.causes() == [26]
    })
    .await;
    assert_eq!(bench.watch.destroyed("leg-1002").await.0, Some(26));
    assert_eq!(bench.watch.destroyed("leg-1003").await.0, Some(26));
    assert!(winner.causes().is_empty());
}

pub async fn contract_24_an_originator_does_not_tie_lives_together(kind: Kind) {
    let bench = Bench::start(kind).await;
    let phone = bench.pbx.phone("1001", Habit::NoAnswer).await.unwrap();
    let (caller, channel) = bench.caller("5551001").await;
    caller.wait_answered().await.unwrap();
    let mut call = leg_to("leg-1", "1001");
    call.originator = Some(channel.clone());
    bench.client.originate(&call).await.unwrap();
    eventually("a ring", || async { phone.times_rung() == 1 }).await;

    caller.hang_up().await.unwrap();
    bench.watch.told("StasisEnd", &channel).await;
    assert!(
        matches!(
            bench.client.channel("leg-1").await.unwrap(),
            ChannelLookup::Found(_)
        ),
        "the agent's phone rings on until we hang up"
    );
    bench
        .client
        .hangup("leg-1", HangupReason::Normal)
        .await
        .unwrap();
    bench.watch.destroyed("leg-1").await;
}
