//! Contracts of bridges, music and prompts.

use holdfast_ari::{AriError, Continue, Event, HangupReason, MusicClass};
use holdfast_drills::lab::{CallEnd, Heard, Kind};

use super::bench::{Bench, eventually, id, media};

pub async fn trap_01_music_is_not_stopped_by_bridging(kind: Kind) {
    let bench = Bench::start(kind).await;
    let _phone = bench.willing_phone("1001").await;
    let (caller, channel) = bench.caller("5551001").await;
    caller.wait_answered().await.unwrap();
    assert_eq!(
        caller.hears().await,
        Heard::Music,
        "music starts before Stasis"
    );
    bench.talk_to("leg-1", "1001").await;
    bench.client.create_bridge(&id("bridge-1")).await.unwrap();

    bench
        .client
        .add_channels("bridge-1", &[&channel, "leg-1"])
        .await
        .unwrap();
    let heard = caller.hears().await;
    assert!(
        matches!(heard, Heard::Both | Heard::Music),
        "forgotten music goes on: {heard:?}"
    );

    bench.client.stop_moh(&channel).await.unwrap();
    eventually("only the agent is heard", || async {
        caller.hears().await == Heard::Person
    })
    .await;
}

pub async fn contract_20_a_bridge_takes_all_channels_or_none(kind: Kind) {
    let bench = Bench::start(kind).await;
    let _phone = bench.willing_phone("1001").await;
    let (caller, channel) = bench.caller("5551001").await;
    caller.wait_answered().await.unwrap();
    bench.talk_to("leg-1", "1001").await;
    bench.client.create_bridge(&id("bridge-1")).await.unwrap();
    let again = bench
        .client
        .create_bridge(&id("bridge-1"))
        .await
        .unwrap_err();
    assert!(matches!(again, AriError::Conflict(_)), "{again}");

    let error = bench
        .client
        .add_channels("bridge-1", &[&channel, "gone"])
        .await
        .unwrap_err();
    assert!(matches!(error, AriError::Invalid(_)), "{error}");
    let members = || async {
        let bridges = bench.client.bridges().await.unwrap();
        bridges
            .into_iter()
            .find(|bridge| bridge.id == "bridge-1")
            .map(|bridge| bridge.channels)
    };
    assert_eq!(
        members().await,
        Some(vec![]),
        "the one that lives was not added either"
    );

    bench.client.stop_moh(&channel).await.unwrap();
    bench
        .client
        .add_channels("bridge-1", &[&channel, "leg-1"])
        .await
        .unwrap();
    let both = members().await.unwrap();
    assert!(
        both.contains(&channel) && both.contains(&"leg-1".to_string()),
        "{both:?}"
    );

    bench
        .client
        .hangup("leg-1", HangupReason::Normal)
        .await
        .unwrap();
    bench.watch.destroyed("leg-1").await;
    assert_eq!(
        members().await,
        Some(vec![channel.clone()]),
        "the caller stays, alone"
    );
    eventually("silence for the one who is left", || async {
        caller.hears().await == Heard::Silence
    })
    .await;
    caller.hang_up().await.unwrap();
    bench.watch.told("StasisEnd", &channel).await;
    assert_eq!(members().await, Some(vec![]), "an empty bridge stays");
    bench.client.destroy_bridge("bridge-1").await.unwrap();
    // A bridge that is just going away may still be found, and is refused with 409 then.
    eventually("the bridge is gone", || async {
        let again = bench.client.destroy_bridge("bridge-1").await;
        again.is_err_and(|error| error.is_gone())
    })
    .await;
}

pub async fn contract_21_prompts_come_in_order_and_music_does_not_resume(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (caller, channel) = bench.caller("5551001").await;
    caller.wait_answered().await.unwrap();
    let class = MusicClass::new("default").unwrap();

    let list = media(&[
        "sound:queue-thereare",
        "number:3",
        "sound:queue-callswaiting",
    ]);
    bench
        .client
        .play(&channel, &id("prompt-1"), &list)
        .await
        .unwrap();
    let state = finished(&bench, "prompt-1").await;
    assert_eq!(state, "done");
    eventually("silence after the prompt", || async {
        caller.hears().await == Heard::Silence
    })
    .await;

    // Two prompts and music, all sent at once, are heard one after the other.
    bench
        .client
        .play(&channel, &id("prompt-2"), &media(&["number:1"]))
        .await
        .unwrap();
    bench
        .client
        .play(&channel, &id("prompt-3"), &media(&["number:2"]))
        .await
        .unwrap();
    bench.client.start_moh(&channel, &class).await.unwrap();
    finished(&bench, "prompt-3").await;
    let mut order: Vec<(String, bool)> = bench
        .watch
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::PlaybackStarted { playback, .. } => Some((playback.clone(), true)),
            Event::PlaybackFinished { playback, .. } => Some((playback.clone(), false)),
            _ => None,
        })
        .collect();
    // Asterisk tells the start of each sound of a list, and the end of the list once.
    order.dedup();
    let expected = [
        ("prompt-1", true),
        ("prompt-1", false),
        ("prompt-2", true),
        ("prompt-2", false),
        ("prompt-3", true),
        ("prompt-3", false),
    ];
    assert_eq!(
        order,
        expected.map(|(name, start)| (name.to_string(), start))
    );
    eventually("music again", || async {
        caller.hears().await == Heard::Music
    })
    .await;

    // A sound that does not exist fails at once, and says so only in its event.
    bench
        .client
        .play(&channel, &id("prompt-4"), &media(&["sound:no-such-sound"]))
        .await
        .unwrap();
    assert_eq!(finished(&bench, "prompt-4").await, "failed");
}

async fn finished(bench: &Bench, name: &str) -> String {
    bench
        .watch
        .event(&format!("end of {name}"), |event| match event {
            Event::PlaybackFinished {
                playback, state, ..
            } if playback == name => Some(state.clone()),
            _ => None,
        })
        .await
}

pub async fn contract_25_continue_leaves_the_peer_in_the_bridge(kind: Kind) {
    let bench = Bench::start(kind).await;
    let _phone = bench.willing_phone("1001").await;
    let (caller, channel) = bench.caller("5551001").await;
    bench.talk_to("leg-1", "1001").await;
    bench.client.create_bridge(&id("bridge-1")).await.unwrap();
    bench.client.stop_moh(&channel).await.unwrap();
    bench
        .client
        .add_channels("bridge-1", &[&channel, "leg-1"])
        .await
        .unwrap();

    let nowhere = Continue {
        label: Some(holdfast_ari::Label::new("no-such-label").unwrap()),
        ..Continue::default()
    };
    let error = bench
        .client
        .continue_in_dialplan(&channel, &nowhere)
        .await
        .unwrap_err();
    assert!(
        error.is_gone(),
        "a label that does not exist is refused: {error}"
    );

    let dropped = Continue {
        context: Some(holdfast_ari::Context::new("no-such-context").unwrap()),
        exten: Some(holdfast_ari::Exten::new("s").unwrap()),
        priority: Some(1),
        label: None,
    };
    bench
        .client
        .continue_in_dialplan(&channel, &dropped)
        .await
        .unwrap();
    assert_eq!(
        caller.wait_ended().await.unwrap(),
        CallEnd::ByPbx,
        "a bad context drops the call"
    );
    bench.watch.told("ChannelLeftBridge", &channel).await;
    let bridges = bench.client.bridges().await.unwrap();
    let left = bridges
        .iter()
        .find(|bridge| bridge.id == "bridge-1")
        .unwrap();
    assert_eq!(left.channels, ["leg-1"]);
}
