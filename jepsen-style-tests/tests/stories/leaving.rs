//! Stories 4 and 5: callers who leave, by themselves or because the queue lets them go.

use std::time::Duration;

use holdfast_drills::lab::cluster::Cluster;
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::{CallSpec, Habit, Kind};

use crate::scene::{LONG_TALK, people, queue, support};

/// A caller hangs up while waiting, while a phone rings, during a prompt, and in the call.
pub async fn hang_up_at_every_stage(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let agents = [("1001", "b")];
    let mut declared = support(
        "ring_time = \"40s\"\nannounce = { position = false }",
        &agents,
    );
    // A prompt of half a minute, so that it certainly still plays.
    declared += &queue(
        "prompt",
        "announce = { position = false, periodic = [\"demo-congrats\"], \
         periodic_frequency = \"1s\" }",
        &[],
    );
    cluster.apply(&declared).await;

    let caller = cluster.join("a", "support", "5501").await;
    caller.hang_up().await.expect("a caller can hang up");
    cluster.quiet("support", &[]).await;

    let caller = cluster.call("a", "prompt", "5502").await;
    heard(&cluster, "5502", "sound:demo-congrats").await;
    caller.hang_up().await.expect("a caller can hang up");
    cluster.quiet("prompt", &[]).await;

    let mut phone = cluster.agent("1001", "b", Habit::NoAnswer).await;
    let caller = cluster.call("a", "support", "5503").await;
    cluster.oracle.rung("1001").await;
    caller.hang_up().await.expect("a caller can hang up");
    cluster.quiet("support", &["1001"]).await;
    assert_eq!(phone.answered_calls(), 0);

    phone.set_habit(LONG_TALK).await.expect("a habit");
    let caller = cluster.call("a", "support", "5504").await;
    cluster.oracle.connected("5504").await;
    caller.hang_up().await.expect("a caller can hang up");
    cluster.quiet("support", &["1001"]).await;

    // And the other way round: the agent hangs up.
    let caller = cluster.call("c", "support", "5505").await;
    cluster.oracle.connected("5505").await;
    phone.hang_up().await.expect("an agent can hang up");
    caller.wait_ended().await.expect("the caller's call ends");
    cluster.quiet("support", &["1001"]).await;
    assert_eq!(cluster.oracle.order(), ["5504", "5505"]);
    cluster.assert_clean();
}

/// Each way out of a queue tells the dialplan its QUEUESTATUS.
pub async fn queue_status(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let agents = [("1001", "a"), ("1002", "c")];
    let quiet = "announce = { position = false }\n";
    let queues = [
        ("timed", "max_wait = \"2s\""),
        ("patient", ""),
        ("keyed", "exit_context = \"lab-after\"\nexit_keys = [\"1\"]"),
        ("full", "maxlen = 1"),
        ("nobody", "join_empty = \"strict\""),
        ("leaves", "leave_when_empty = \"strict\""),
        ("closed", "open = false"),
    ];
    let mut declared: String = queues
        .iter()
        .map(|(name, settings)| {
            let members = if *name == "leaves" {
                &agents[1..]
            } else {
                &agents[..1]
            };
            queue(name, &format!("{quiet}{settings}"), members)
        })
        .collect();
    declared += &people(&agents);
    cluster.apply(&declared).await;

    // These wait for their time to come while the others go on.
    let _timed = cluster.join("a", "timed", "5501").await;
    let by_argument = CallSpec::new("qt-patient-2", "5502");
    let _patient = cluster.dial("b", by_argument).await;

    let keyed = cluster.join("b", "keyed", "5503").await;
    keyed.press('1').await.expect("a caller can press a key");
    cluster.came_back("b", "5503", "KEY").await;

    let first = cluster.join("a", "full", "5504").await;
    let _second = cluster.call("c", "full", "5505").await;
    cluster.came_back("c", "5505", "FULL").await;
    cluster.line_is("full", &["5504"]).await;
    first.hang_up().await.expect("a caller can hang up");

    let _nobody = cluster.call("c", "nobody", "5506").await;
    cluster.came_back("c", "5506", "JOINEMPTY").await;
    let _closed = cluster.call("a", "closed", "5507").await;
    cluster.came_back("a", "5507", "CLOSED").await;
    let _unknown = cluster.call("a", "no-such-queue", "5508").await;
    cluster.came_back("a", "5508", "UNKNOWN").await;

    // The last agent leaves, and so do the callers who waited for him.
    let _phone = cluster.agent("1002", "c", Habit::NoAnswer).await;
    let _leaver = cluster.join("b", "leaves", "5509").await;
    cluster.oracle.rung("1002").await;
    cluster
        .api()
        .logout("1002")
        .await
        .expect("an agent can log out");
    cluster.came_back("b", "5509", "LEAVEEMPTY").await;

    let withdrawn = cluster.join("c", "patient", "5510").await;
    let line = cluster.line("patient").await.expect("the line can be read");
    let call = line
        .iter()
        .find(|waiting| waiting.number == "5510")
        .expect("he is in line");
    let body = serde_json::json!({ "info": "by story" });
    let path = format!("/v1/calls/{}/withdraw", call.id);
    cluster
        .api()
        .write("POST", &path, body)
        .await
        .expect("a call can be withdrawn");
    cluster.came_back("c", "5510", "WITHDRAW").await;
    drop(withdrawn);

    cluster.came_back("a", "5501", "TIMEOUT").await;
    cluster.came_back("b", "5502", "TIMEOUT").await;
    for prompt in [
        "sound:sorry",
        "sound:tt-allbusy_short",
        "sound:pls-try-call-later",
    ] {
        heard(&cluster, "5501", prompt).await;
    }
    cluster.oracle.all_released().await;
    for (name, _) in queues {
        cluster.line_is(name, &[]).await;
    }
    cluster.assert_clean();
}

/// Waits until this sound was begun to be played to the caller.
async fn heard(cluster: &Cluster, caller: &str, media: &str) {
    let within = SOON.max(Duration::from_secs(30));
    eventually(
        within,
        &format!("caller {caller} hears {media}"),
        async || {
            let played = cluster.oracle.played_to(caller);
            check(played.iter().any(|played| played.media == media), || {
                format!("{played:?}")
            })
        },
    )
    .await;
}
