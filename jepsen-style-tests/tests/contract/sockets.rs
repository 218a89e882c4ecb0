//! Contracts of the event socket: loss, stall, replacement.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_ari::{DownReason, Event, EventSource, HangupReason, StreamItem, USED_EVENTS, events};
use holdfast_drills::lab::{CallSpec, Heard, Kind, Lab};

use super::bench::{Bench, Watch, endpoint, id, media};

fn down(item: &StreamItem) -> Option<DownReason> {
    match item {
        StreamItem::Down { reason } => Some(reason.clone()),
        _ => None,
    }
}

pub async fn trap_13_a_stalled_socket_is_noticed(kind: Kind) {
    let bench = Bench::start(kind).await;
    let mut config = bench.pbx.ari();
    config.app = holdfast_ari::AppName::new("StallTest").unwrap();
    config.ping_interval = Duration::from_millis(200);
    config.stall_timeout = Duration::from_secs(2);
    let watch = Watch::open(&config);
    watch.up(1).await;
    bench.pbx.pause().unwrap();
    let reason = watch.item("a stall", down).await;
    bench.pbx.resume().unwrap();
    assert_eq!(reason, DownReason::Stalled);
    watch.up(2).await;
}

pub async fn trap_13_a_consumer_that_does_not_drain_loses_the_socket(kind: Kind) {
    let bench = Bench::start(kind).await;
    let mut config = bench.pbx.ari();
    config.app = holdfast_ari::AppName::new("SlowTest").unwrap();
    config.events_max = 2;
    let mut stream = events(&config);
    let all = [EventSource::AllChannels];
    assert!(matches!(stream.next().await, Some(StreamItem::Up { .. })));
    bench.client.subscribe(&config.app, &all).await.unwrap();
    let (caller, channel) = bench.caller("5551001").await;
    caller.wait_answered().await.unwrap();
    caller.hang_up().await.unwrap();
    bench.watch.told("StasisEnd", &channel).await;
    let mut told = Vec::new();
    loop {
        match stream.next().await.unwrap() {
            StreamItem::Down { reason } => {
                assert_eq!(reason, DownReason::Overrun);
                break;
            }
            item => told.push(item),
        }
    }
    assert!(
        told.len() <= 4,
        "no more was kept than the bound: {}",
        told.len()
    );
    assert!(
        matches!(stream.next().await, Some(StreamItem::Up { .. })),
        "and it starts over"
    );
}

pub async fn contract_14_callers_outlive_the_event_socket(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (caller, channel) = bench.caller("5551001").await;
    caller.wait_answered().await.unwrap();
    let app = bench.client.app().clone();
    let device = endpoint("1001");
    let source = EventSource::Device(device.clone());
    bench.client.subscribe(&app, &[source]).await.unwrap();

    bench.watch.control().cut();
    bench.watch.item("a cut", down).await;
    assert_eq!(caller.hears().await, Heard::Music, "music goes on");
    bench.watch.up(2).await;

    let inside = bench
        .client
        .application(&app)
        .await
        .unwrap()
        .expect("the application is kept");
    assert_eq!(inside.channel_ids, [channel.as_str()]);
    assert_eq!(
        inside.device_names,
        [device.as_str()],
        "explicit subscriptions are kept"
    );
    caller.hang_up().await.unwrap();
    bench.watch.told("StasisEnd", &channel).await;
    let starts = bench.watch.types_of(&channel);
    let starts = starts.iter().filter(|name| **name == "StasisStart").count();
    assert_eq!(starts, 1, "no second StasisStart for who was inside");
}

pub async fn contract_15_nothing_is_replayed(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (stays, stays_id) = bench.caller("5551001").await;
    let (leaves, leaves_id) = bench.caller("5551002").await;
    stays.wait_answered().await.unwrap();
    leaves.wait_answered().await.unwrap();

    bench.pbx.cut_websocket(Duration::from_secs(3));
    bench.watch.item("a cut", down).await;
    leaves.hang_up().await.unwrap();
    leaves.wait_ended().await.unwrap();
    bench.watch.up(2).await;
    let app = bench.client.app();
    let inside = bench.client.application(app).await.unwrap().unwrap();
    assert_eq!(inside.channel_ids, [stays_id.as_str()], "the list is right");
    stays.hang_up().await.unwrap();
    bench.watch.told("StasisEnd", &stays_id).await;
    assert!(
        !bench.watch.types_of(&leaves_id).contains(&"StasisEnd"),
        "an end that was missed is never told"
    );
}

pub async fn contract_16_without_a_listener_stasis_fails(kind: Kind) {
    let lab = Lab::new(kind).unwrap();
    let pbx = lab.start("a").await.unwrap();
    let caller = pbx
        .call(CallSpec::new("q-support", "5551001"))
        .await
        .unwrap();
    caller.wait_ended().await.unwrap();
    assert_eq!(
        pbx.dialplan_result("5551001").await.unwrap().as_deref(),
        Some("FAILED")
    );
}

pub async fn contract_17_a_second_client_replaces_the_first(kind: Kind) {
    let bench = Bench::start(kind).await;
    let second = Watch::open(&bench.pbx.ari());
    second.up(1).await;
    let replaced = |item: &StreamItem| matches!(item, StreamItem::Replaced).then_some(());
    bench.watch.item("word of the replacement", replaced).await;

    let _caller_1 = bench
        .pbx
        .call(CallSpec::new("q-support", "5551001"))
        .await
        .unwrap();
    second.start_of("5551001").await;
    let last = bench.watch.items().pop();
    assert_eq!(
        last,
        Some(StreamItem::Replaced),
        "the first is silent and stays away"
    );

    bench.watch.control().resume();
    bench.watch.up(2).await;
    second
        .item("the second is replaced in turn", replaced)
        .await;
    let _caller_2 = bench
        .pbx
        .call(CallSpec::new("q-support", "5551002"))
        .await
        .unwrap();
    bench.watch.start_of("5551002").await;
    let told = |event: &Event| {
        event
            .channel()
            .is_some_and(|c| c.caller.number == "5551002")
    };
    assert!(!second.events().iter().any(told), "the second is silent");
}

pub async fn contract_28_only_events_that_are_allowed_are_told(kind: Kind) {
    let bench = Bench::start(kind).await;
    let app = bench.client.app();
    let _phone = bench.willing_phone("1001").await;
    let device = EventSource::Device(endpoint("1001"));
    bench.client.subscribe(app, &[device]).await.unwrap();
    // A list that only forbids, as it was set once, must not stay.
    let forbidden = ["StasisEnd", "ChannelVarset"].map(|name| serde_json::json!({"type": name}));
    let forbids = serde_json::json!({ "disallowed": forbidden });
    put_filter(&bench, &forbids).await;
    bench.client.set_event_filter(app, &[]).await.unwrap();
    let all = types_of_a_call(&bench, "1").await;
    for name in ["ChannelLeftBridge", "ChannelVarset", "PlaybackStarted"] {
        assert!(
            all.contains(name),
            "{name} is told without a filter: {all:?}"
        );
    }

    let used: BTreeSet<String> = USED_EVENTS.map(String::from).into();
    put_filter(&bench, &forbids).await;
    bench
        .client
        .set_event_filter(app, &USED_EVENTS)
        .await
        .unwrap();
    let told = types_of_a_call(&bench, "2").await;
    let wanted: BTreeSet<String> = all.intersection(&used).cloned().collect();
    assert_eq!(told, wanted, "what is allowed is told, and nothing else");
    let never = used.difference(&told).collect::<Vec<_>>();
    assert_eq!(never, ["ApplicationReplaced"], "a call has all the others");

    // The filter lasts as the application does, beyond the socket: here somebody is in it.
    let (_stays, _) = bench.caller("5551009").await;
    bench.watch.control().cut();
    bench.watch.item("a cut", down).await;
    bench.watch.up(2).await;
    assert_eq!(types_of_a_call(&bench, "3").await, wanted);
}

pub async fn contract_28_a_replaced_client_is_told_whatever_is_allowed(kind: Kind) {
    let bench = Bench::start(kind).await;
    let app = bench.client.app();
    bench
        .client
        .set_event_filter(app, &USED_EVENTS)
        .await
        .unwrap();
    let second = Watch::open(&bench.pbx.ari());
    second.up(1).await;
    let replaced = |item: &StreamItem| matches!(item, StreamItem::Replaced).then_some(());
    bench.watch.item("word of the replacement", replaced).await;
}

/// The filter past our client, which sets no list of what is forbidden.
async fn put_filter(bench: &Bench, filter: &serde_json::Value) {
    let path = format!("/applications/{}/eventFilter", bench.client.app().as_str());
    let answer = bench.pbx.raw_with("PUT", &path, Some(filter)).await;
    let (status, text) = answer.unwrap();
    assert!((200..300).contains(&status), "{status} {text}");
}

/// Types of the events of a call that has everything in it: a key, a prompt, a bridge and its end.
async fn types_of_a_call(bench: &Bench, round: &str) -> BTreeSet<String> {
    let (leg, bridge, play) = (
        format!("leg-{round}"),
        format!("bridge-{round}"),
        format!("play-{round}"),
    );
    let before = bench.watch.events().len();
    let (caller, channel) = bench.caller(&format!("555100{round}")).await;
    caller.wait_answered().await.unwrap();
    caller.press('5').await.unwrap();
    bench.watch.told("ChannelDtmfReceived", &channel).await;
    let ari = &bench.client;
    let sound = media(&["sound:queue-thankyou"]);
    ari.play(&channel, &id(&play), &sound).await.unwrap();
    ari.stop_playback(&play).await.unwrap();
    let finished = |event: &Event| matches!(event, Event::PlaybackFinished { playback, .. } if *playback == play);
    bench
        .watch
        .event("the end of a prompt", |event| finished(event).then_some(()))
        .await;
    bench.talk_to(&leg, "1001").await;
    ari.stop_moh(&channel).await.unwrap();
    ari.create_bridge(&id(&bridge)).await.unwrap();
    ari.add_channels(&bridge, &[&channel, &leg]).await.unwrap();
    ari.hangup(&leg, HangupReason::Normal).await.unwrap();
    bench.watch.told("ChannelDestroyed", &leg).await;
    ari.destroy_bridge(&bridge).await.unwrap();
    caller.hang_up().await.unwrap();
    bench.watch.told("StasisEnd", &channel).await;
    let name = |event: &Event| match event {
        Event::Unknown { type_name, .. } => type_name.clone(),
        event => event.type_name().to_owned(),
    };
    bench.watch.events()[before..].iter().map(name).collect()
}
