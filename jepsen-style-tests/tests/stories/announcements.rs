//! Story 6: what is played to who waits, and that it never stands in the way of an offer.

use std::time::Duration;

use holdfast_drills::lab::Kind;
use holdfast_drills::lab::cluster::Cluster;
use holdfast_drills::lab::eventually::{SOON, eventually};

use crate::scene::{LONG_TALK, people, queue};

/// Length of `demo-congrats`.
const LONG_PROMPT: Duration = Duration::from_secs(30);

/// Positions are told in the right words and order; an agent who becomes free during a prompt gets
/// the call before the prompt is over.
pub async fn in_order_and_without_delay(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let agents = [("1001", "b")];
    let mut declared = queue(
        "positions",
        "announce = { position = true, first_after = \"1s\", frequency = \"4s\", \
         min_frequency = \"1s\" }",
        &[],
    );
    declared += &queue(
        "prompt",
        "announce = { position = false, periodic = [\"demo-congrats\"], \
         periodic_frequency = \"1s\" }",
        &agents,
    );
    declared += &people(&agents);
    cluster.apply(&declared).await;

    let _first = cluster.join("a", "positions", "5501").await;
    let second = cluster.join("b", "positions", "5502").await;
    let _third = cluster.join("c", "positions", "5503").await;
    plays(&cluster, "5501", &["sound:queue-youarenext"]).await;
    let at_two = [
        "sound:queue-thereare",
        "number:2",
        "sound:queue-callswaiting",
    ];
    plays(&cluster, "5502", &at_two).await;
    let at_three = [
        "sound:queue-thereare",
        "number:3",
        "sound:queue-callswaiting",
    ];
    plays(&cluster, "5503", &at_three).await;
    second.hang_up().await.expect("a caller can hang up");
    plays(&cluster, "5503", &at_two).await;
    let first = media(&cluster, "5501");
    assert!(
        !first.iter().any(|media| media.starts_with("number:")),
        "{first:?}"
    );

    let caller = cluster.call("a", "prompt", "5511").await;
    plays(&cluster, "5511", &["sound:demo-congrats"]).await;
    let begun = cluster
        .oracle
        .played_to("5511")
        .last()
        .expect("it was just played")
        .at;
    let _phone = cluster.agent("1001", "b", LONG_TALK).await;
    assert_eq!(cluster.oracle.connected("5511").await, "1001");
    let passed = begun.elapsed();
    assert!(
        passed < LONG_PROMPT,
        "the call waited {passed:?}, as long as the prompt"
    );
    caller.hang_up().await.expect("a caller can hang up");
    cluster.available("1001").await;
    cluster.assert_clean();
}

/// What was played to the caller, the same sound told twice in a row once.
fn media(cluster: &Cluster, caller: &str) -> Vec<String> {
    let played = cluster.oracle.played_to(caller);
    let mut media: Vec<String> = played.into_iter().map(|played| played.media).collect();
    media.dedup();
    media
}

/// Waits until these were played to the caller one after the other.
async fn plays(cluster: &Cluster, caller: &str, expected: &[&str]) {
    eventually(
        SOON,
        &format!("caller {caller} hears {expected:?}"),
        async || {
            let media = media(cluster, caller);
            let found = media
                .windows(expected.len())
                .any(|window| window == expected);
            if found {
                Ok(())
            } else {
                Err(format!("played was {media:?}"))
            }
        },
    )
    .await;
}
