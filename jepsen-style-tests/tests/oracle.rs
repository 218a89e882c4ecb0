//! The judge of the stories, judged: it sees what happens at real Asterisks without any node.

use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::oracle::{AriDoor, Oracle};
use holdfast_drills::lab::{ARI_PASSWORD, ARI_USER, CallSpec, Habit, Kind, Lab, Pbx};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_oracle_sees_callers_rings_and_the_end() {
    let lab = Lab::new(Kind::Real).expect("a place");
    let a = lab.start("a").await.expect("an asterisk");
    let b = lab.start("b").await.expect("an asterisk");
    let door = |pbx: &Pbx| AriDoor {
        pbx: pbx.name().to_owned(),
        url: pbx.ari().url.as_str().trim_end_matches('/').to_owned(),
        username: ARI_USER.to_owned(),
        password: ARI_PASSWORD.to_owned(),
    };
    let oracle = Oracle::watch(vec![door(&a), door(&b)], &["1001"]).await;
    let phone = b
        .phone(
            "1001",
            Habit::Answer {
                after_ms: 50,
                talk_ms: None,
            },
        )
        .await
        .expect("a phone");
    let caller = a.call(CallSpec::new("held", "5501")).await.expect("a call");
    eventually(SOON, "the caller is seen", async || {
        let callers = oracle.callers_at("a");
        check(callers.contains_key("5501"), || format!("{callers:?}"))
    })
    .await;

    let leg = "/channels?endpoint=PJSIP/1001@trunk-b&context=lab-in&extension=held&callerId=5501";
    let (status, text) = a.raw("POST", leg).await.expect("asterisk answers");
    assert_eq!(status, 200, "{text}");
    eventually(SOON, "the phone answered", async || {
        check(phone.answered_calls() == 1, || "it did not".to_owned())
    })
    .await;
    assert_eq!(oracle.rings("1001"), 1);
    assert!(
        oracle.talks().is_empty(),
        "the caller himself is in no bridge"
    );
    caller.hang_up().await.expect("a caller can hang up");
    phone.hang_up().await.expect("a phone can hang up");
    oracle.all_released().await;
    oracle.assert_no_faults();
}
