//! Announcements while callers wait for one node beside one Asterisk: heard once, and in nobody's way.

mod support;

use holdfast_acd::settings::{Announce, QueueSettings};
use holdfast_sim::{CallSpec, CallerState, Hearing};
use support::*;

/// One announcement soon, and the next a minute later.
fn told_soon() -> QueueSettings {
    let announce = Announce {
        frequency_ms: 60_000,
        first_after_ms: 100,
        ..Announce::default()
    };
    QueueSettings {
        announce,
        ..plain()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_does_not_delay_the_offer_and_stops_at_the_grant() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let phone = node.sim.phone("1001", answer(10, None));
    cluster.queue("support", told_soon()).await;
    let caller = node.sim.place_call(CallSpec::new("q-support", "1"));
    let prompt = Hearing::Sound("sound:queue-youarenext".into());
    until(&node.sim, "the prompt plays", |_| {
        heard(&caller).last() == Some(&prompt)
    })
    .await;
    cluster.agent("1001", "a", &["support"]).await;
    until(&node.sim, "they talk", |_| {
        caller.state() == CallerState::Talking
    })
    .await;
    let heard = heard(&caller);
    let at = heard.iter().position(|h| *h == prompt).unwrap();
    let rest = &heard[at + 1..];
    assert!(
        !rest.iter().any(|h| matches!(h, Hearing::Sound(_))),
        "{heard:?}"
    );
    assert!(
        matches!(
            rest.last(),
            Some(Hearing::Bridged {
                over_music: false,
                ..
            })
        ),
        "{heard:?}"
    );
    assert_eq!(phone.answered(), 1);
    caller.hang_up();
    released(node).await;
    empty(&node.sim).await;
    cluster.stop().await;
}

/// Asterisk stops no number that it speaks, and would say all the rest while the two wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_is_told_when_the_agent_answers_is_the_last_that_is_said() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    // In the middle of the number, which comes after 2.3 s and takes 0.4 s.
    let phone = node.sim.phone("1001", answer(2_300, None));
    cluster.queue("support", told_soon()).await;
    let first = node.sim.place_call(CallSpec::new("q-support", "1"));
    let second = node.sim.place_call(CallSpec::new("q-support", "2"));
    until(&node.sim, "the position is told", |_| {
        let told = Hearing::Sound("sound:queue-thereare".into());
        heard(&second).last() == Some(&told)
    })
    .await;
    first.hang_up();
    cluster.agent("1001", "a", &["support"]).await;
    until(&node.sim, "they talk", |_| {
        second.state() == CallerState::Talking
    })
    .await;
    let heard = heard(&second);
    let number = Hearing::Sound("number:2".into());
    assert!(heard.contains(&number), "{heard:?}");
    let rest = Hearing::Sound("sound:queue-thankyou".into());
    assert!(!heard.contains(&rest), "{heard:?}");
    assert_eq!(phone.answered(), 1);
    second.hang_up();
    released(node).await;
    empty(&node.sim).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcements_are_heard_once_each_with_music_in_between() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let announce = Announce {
        frequency_ms: 2_500,
        min_frequency_ms: 0,
        first_after_ms: 100,
        ..Announce::default()
    };
    cluster
        .queue(
            "support",
            QueueSettings {
                announce,
                ..plain()
            },
        )
        .await;
    let caller = node.sim.place_call(CallSpec::new("q-support", "1"));
    let prompt = Hearing::Sound("sound:queue-youarenext".into());
    until(&node.sim, "two announcements, then music", |_| {
        let heard = heard(&caller);
        heard.iter().filter(|h| **h == prompt).count() >= 2
            && matches!(heard.last(), Some(Hearing::Music { .. }))
    })
    .await;
    let heard = heard(&caller);
    let first = heard.iter().position(|h| *h == prompt).unwrap();
    // Between a prompt and the music that is queued behind it there is one moment at most.
    let stretches = caller.heard();
    let silent = stretches[first..]
        .windows(2)
        .filter(|two| two[0].what == Hearing::Silence);
    let silent: Vec<u64> = silent.map(|two| two[1].at_ms - two[0].at_ms).collect();
    assert!(silent.iter().all(|ms| *ms <= 20), "{stretches:?}");
    caller.hang_up();
    released(node).await;
    cluster.stop().await;
}
