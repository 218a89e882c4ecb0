//! Contracts of faults and hostile calls.

use std::time::Duration;

use holdfast_ari::{AriClient, AriError, ChannelLookup, HangupReason, Originated, StreamItem, Var};
use holdfast_drills::lab::{CallSpec, Fault, Habit, Kind};

use super::bench::{Bench, eventually, leg_to};

pub async fn contract_23_a_killed_asterisk_forgets_calls_and_keeps_contacts(kind: Kind) {
    let mut bench = Bench::start(kind).await;
    let phone = bench.pbx.phone("1001", Habit::NoAnswer).await.unwrap();
    let (caller, _) = bench.caller("5551001").await;
    caller.wait_answered().await.unwrap();
    let before = bench.client.info().await.unwrap();
    bench.pbx.contact_kept("1001").await.unwrap();
    let mark = Var::HOLDFAST_DRIVEN;
    assert_eq!(bench.client.global(&mark).await.unwrap(), None);
    bench.client.set_global(&mark, "1").await.unwrap();
    let kept = bench.client.global(&mark).await.unwrap();
    assert_eq!(kept.as_deref(), Some("1"));

    bench.pbx.kill().await.unwrap();
    let closed = |item: &StreamItem| matches!(item, StreamItem::Down { .. }).then_some(());
    bench.watch.item("the loss of asterisk", closed).await;
    let error = bench.client.ping().await.unwrap_err();
    assert!(!matches!(error, AriError::Server { .. }), "{error}");

    bench.pbx.restart().await.unwrap();
    bench.watch.up(2).await;
    let after = bench.client.info().await.unwrap();
    assert_ne!(
        before.startup_time, after.startup_time,
        "a restart can be told"
    );
    assert_eq!(
        bench.client.global(&mark).await.unwrap(),
        None,
        "a global variable lives as long as its Asterisk"
    );
    let app = bench
        .client
        .application(bench.client.app())
        .await
        .unwrap()
        .unwrap();
    assert!(app.channel_ids.is_empty(), "{app:?}");
    assert!(!caller.has_ended(), "the caller's phone was told nothing");
    eventually("a call to a contact that outlived the restart", || async {
        let made = bench
            .client
            .originate(&leg_to("leg-1", "1001"))
            .await
            .unwrap();
        made != Originated::Unreachable && phone.times_rung() > 0
    })
    .await;
}

pub async fn finding_03_a_hostile_call_blinds_the_channel_list_and_not_the_application(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (_caller, good) = bench.caller("5551001").await;
    let mut spec = CallSpec::new("raw", "5551666");
    spec.hostile = true;
    let hostile = bench.pbx.call(spec).await.unwrap();

    let app = bench.client.app().clone();
    eventually("a second channel in the application", || async {
        bench
            .client
            .application(&app)
            .await
            .unwrap()
            .unwrap()
            .channel_ids
            .len()
            == 2
    })
    .await;
    let ids = bench
        .client
        .application(&app)
        .await
        .unwrap()
        .unwrap()
        .channel_ids;
    let blind = ids.iter().find(|id| **id != good).unwrap();
    let error = bench.client.channels().await.unwrap_err();
    assert!(
        matches!(error, AriError::Server { status: 500, .. }),
        "{error}"
    );
    assert_eq!(
        bench.client.channel(blind).await.unwrap(),
        ChannelLookup::Unreadable
    );
    assert!(matches!(
        bench.client.channel(&good).await.unwrap(),
        ChannelLookup::Found(_)
    ));
    assert!(
        !bench.watch.types_of(blind).contains(&"StasisStart"),
        "it is never told"
    );

    bench
        .client
        .hangup(blind, HangupReason::Normal)
        .await
        .unwrap();
    hostile.wait_ended().await.unwrap();
    eventually("a channel list that can be read again", || async {
        bench
            .client
            .channels()
            .await
            .is_ok_and(|list| list.len() == 1)
    })
    .await;
}

pub async fn finding_04_a_stopped_asterisk_executes_late(kind: Kind) {
    let bench = Bench::start(kind).await;
    let phone = bench.pbx.phone("1001", Habit::NoAnswer).await.unwrap();
    let mut config = bench.pbx.ari();
    config.request_timeout = Duration::from_millis(800);
    let client = AriClient::new(&config).unwrap();
    client.ping().await.unwrap();

    bench.pbx.pause().unwrap();
    let error = client
        .originate(&leg_to("leg-1", "1001"))
        .await
        .unwrap_err();
    bench.pbx.resume().unwrap();
    assert_eq!(
        error,
        AriError::OutcomeUnknown {
            request: "originate"
        }
    );
    eventually("the call that timed out is made", || async {
        phone.times_rung() == 1
    })
    .await;
    let again = bench
        .client
        .originate(&leg_to("leg-1", "1001"))
        .await
        .unwrap();
    assert_eq!(
        again,
        Originated::AlreadyThere,
        "so its repetition finds it"
    );
}

pub async fn finding_04_a_lost_answer_is_unknown_and_its_repetition_is_safe(kind: Kind) {
    let bench = Bench::start(kind).await;
    let phone = bench.pbx.phone("1001", Habit::NoAnswer).await.unwrap();

    bench.pbx.fault(Fault::LoseAnswers);
    let error = bench
        .client
        .originate(&leg_to("leg-1", "1001"))
        .await
        .unwrap_err();
    bench.pbx.fault(Fault::None);
    assert!(error.maybe_done() && !error.not_sent(), "{error}");
    let again = bench
        .client
        .originate(&leg_to("leg-1", "1001"))
        .await
        .unwrap();
    assert_eq!(again, Originated::AlreadyThere);
    eventually("one ring", || async { phone.times_rung() == 1 }).await;

    let hasty = AriClient::new(&bench.pbx.ari()).unwrap();
    bench.pbx.fault(Fault::Slow(Duration::from_secs(4)));
    let error = hasty.info().await.unwrap_err();
    bench.pbx.fault(Fault::None);
    assert!(matches!(error, AriError::OutcomeUnknown { .. }), "{error}");
    assert_eq!(phone.times_rung(), 1);
}
