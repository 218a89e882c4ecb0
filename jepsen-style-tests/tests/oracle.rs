//! The judge of the stories, judged: it sees what happens at Asterisks without any node.

use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::oracle::{AriDoor, Oracle};
use holdfast_drills::lab::{ARI_PASSWORD, ARI_USER, Habit, Kind, Lab, Pbx};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_oracle_sees_callers_rings_and_the_end() {
    sees(Kind::Real).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_oracle_sees_callers_rings_and_the_end() {
    sees(Kind::Sim).await;
}

async fn sees(kind: Kind) {
    let lab = Lab::new(kind).expect("a place");
    let a = lab.start("a").await.expect("an asterisk");
    let b = lab.start("b").await.expect("an asterisk");
    let door = |pbx: &Pbx| AriDoor {
        pbx: pbx.name().to_owned(),
        url: pbx.ari().url.as_str().trim_end_matches('/').to_owned(),
        username: ARI_USER.to_owned(),
        password: ARI_PASSWORD.to_owned(),
    };
    let oracle = Oracle::watch(vec![door(&a), door(&b)], &["1001", "1002"]).await;
    let answers = Habit::Answer {
        after_ms: 50,
        talk_ms: None,
    };
    let agent = b.phone("1001", answers).await.expect("a phone");
    // A phone that is no agent's stands for the caller; it is bridged with the agent by hand.
    let caller = a.phone("1002", answers).await.expect("a phone");
    let leg = |endpoint: &str, id: &str| {
        format!("/channels?endpoint={endpoint}&app=oracle&callerId=5501&channelId={id}")
    };
    for path in [leg("PJSIP/1002", "one"), leg("PJSIP/1001@trunk-b", "two")] {
        let (status, text) = a.raw("POST", &path).await.expect("asterisk answers");
        assert_eq!(status, 200, "{text}");
    }
    eventually(SOON, "both phones answered", async || {
        let answered = (agent.answered_calls(), caller.answered_calls());
        check(answered == (1, 1), || format!("{answered:?}"))
    })
    .await;
    assert_eq!((oracle.rings("1001"), oracle.rings("1002")), (1, 1));
    assert!(oracle.talks().is_empty(), "nobody is bridged at a");
    let (status, text) = a
        .raw("POST", "/bridges?bridgeId=x")
        .await
        .expect("asterisk answers");
    assert_eq!(status, 200, "{text}");
    for id in ["one", "two"] {
        let path = format!("/bridges/x/addChannel?channel={id}");
        eventually(SOON, "the leg is in the application", async || {
            let (status, text) = a
                .raw("POST", &path)
                .await
                .map_err(|error| error.to_string())?;
            check(status == 204, || text)
        })
        .await;
    }
    let (status, _) = a
        .raw("DELETE", "/bridges/x")
        .await
        .expect("asterisk answers");
    assert_eq!(status, 204);
    caller.hang_up().await.expect("a phone can hang up");
    agent.hang_up().await.expect("a phone can hang up");
    oracle.all_released().await;
    oracle.assert_no_faults();
}
