//! Stories 1 to 3: who is offered which call, and what becomes of an offer.

use holdfast_drills::lab::cluster::{Cluster, NAMES};
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::{Habit, Kind};

use crate::scene::{LONG_TALK, serve, support};

/// Callers at all three Asterisks, in a known order; one agent, registered at one of them.
pub async fn one_line_over_three_asterisks(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    cluster
        .apply(&support(
            "announce = { position = false }",
            &[("1001", "b")],
        ))
        .await;
    let numbers: Vec<String> = (1..=9).map(|n| format!("550{n}")).collect();
    let mut callers = Vec::new();
    for (number, at) in numbers.iter().zip(NAMES.iter().cycle()) {
        callers.push(cluster.join(at, "support", number).await);
    }
    let line: Vec<&str> = numbers.iter().map(String::as_str).collect();
    cluster.line_is("support", &line).await;

    let phone = cluster.agent("1001", "b", LONG_TALK).await;
    serve(&cluster, &[&phone], numbers.len(), 2 * SOON).await;
    cluster.quiet("support", &["1001"]).await;
    assert_eq!(cluster.oracle.order(), numbers);
    assert!(
        cluster
            .oracle
            .talks()
            .iter()
            .all(|talk| talk.agent == "1001")
    );
    assert_eq!((phone.answered_calls(), phone.max_concurrent()), (9, 1));
    cluster.assert_clean();
}

/// Three phones ring for one caller.
pub async fn ringall(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let agents = [("1001", "a"), ("1002", "b"), ("1003", "c")];
    cluster
        .apply(&support(
            "strategy = \"ringall\"\nring_time = \"40s\"",
            &agents,
        ))
        .await;
    let mut phones = Vec::new();
    for (agent, home) in agents {
        phones.push(cluster.agent(agent, home, Habit::NoAnswer).await);
    }

    // One answers, after all three were heard ringing.
    let caller = cluster.call("a", "support", "5501").await;
    for (agent, _) in agents {
        cluster.oracle.rung(agent).await;
    }
    for agent in ["1001", "1003"] {
        cluster
            .api()
            .pause(agent, "out")
            .await
            .expect("an agent who rings can pause");
    }
    eventually(SOON, "only 1002 rings", async || {
        let ringing = cluster.oracle.ringing();
        check(ringing.len() == 1 && ringing.contains("1002"), || {
            format!("{ringing:?}")
        })
    })
    .await;
    caller.hang_up().await.expect("a caller can hang up");
    for agent in ["1001", "1003"] {
        cluster
            .api()
            .unpause(agent)
            .await
            .expect("an agent can come back");
    }
    cluster.quiet("support", &["1001", "1002", "1003"]).await;

    phones[1]
        .set_habit(Habit::Answer {
            after_ms: 1_500,
            talk_ms: None,
        })
        .await
        .expect("a habit");
    let caller = cluster.call("a", "support", "5502").await;
    for agent in ["1001", "1003"] {
        cluster.oracle.rung(agent).await;
    }
    assert_eq!(cluster.oracle.connected("5502").await, "1002");
    eventually(SOON, "the other phones stop ringing", async || {
        let ringing = cluster.oracle.ringing();
        check(ringing.is_empty(), || format!("{ringing:?}"))
    })
    .await;
    assert_eq!(
        (phones[0].answered_calls(), phones[2].answered_calls()),
        (0, 0)
    );
    caller.hang_up().await.expect("a caller can hang up");
    cluster.quiet("support", &["1001", "1002", "1003"]).await;
    assert!(
        phones[0].causes().contains(&26),
        "1001 learns that another took the call"
    );

    // All three answer at the same time, again and again.
    for phone in &mut phones {
        let together = Habit::Answer {
            after_ms: 300,
            talk_ms: None,
        };
        phone.set_habit(together).await.expect("a habit");
    }
    for (number, at) in [("5511", "a"), ("5512", "b"), ("5513", "c"), ("5514", "a")] {
        for (agent, _) in agents {
            cluster.available(agent).await;
        }
        let caller = cluster.call(at, "support", number).await;
        cluster.oracle.connected(number).await;
        eventually(SOON, "the phones that were too late are free", async || {
            let talking = cluster.oracle.talking();
            let mut busy = 0;
            for (agent, _) in agents {
                busy += usize::from(cluster.agent_state(agent).await? != "available");
            }
            check(talking.len() == 1 && busy == 1, || {
                format!("{busy} busy, {talking:?}")
            })
        })
        .await;
        caller.hang_up().await.expect("a caller can hang up");
        cluster.quiet("support", &["1001", "1002", "1003"]).await;
    }
    let order = cluster.oracle.order();
    assert_eq!(
        order,
        ["5502", "5511", "5512", "5513", "5514"],
        "each was connected once"
    );
    cluster.assert_clean();
}

/// No answer, busy, rejected: the caller stays first, and the next agent rings.
pub async fn failed_offers(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let agents = [("1001", "a"), ("1002", "b"), ("1003", "c"), ("1004", "a")];
    let settings = "strategy = \"linear\"\nring_time = \"2s\"\nannounce = { position = false }";
    cluster.apply(&support(settings, &agents)).await;
    let habits = [Habit::NoAnswer, Habit::Busy, Habit::Reject];
    let mut phones = Vec::new();
    for ((agent, home), habit) in agents.into_iter().zip(habits) {
        phones.push(cluster.phone(agent, home, habit).await);
    }

    // One agent after the other tries and fails, and the line stays as it is.
    let first = cluster.join("a", "support", "5501").await;
    let second = cluster.join("b", "support", "5502").await;
    let line = cluster.line("support").await.expect("the line can be read");
    for (agent, _) in &agents[..3] {
        let before = cluster.oracle.rings(agent);
        cluster.login(agent).await;
        eventually(
            SOON,
            &format!("phone {agent} was tried twice"),
            async || {
                let rings = cluster.oracle.rings(agent);
                check(rings >= before + 2, || format!("{rings} times"))
            },
        )
        .await;
        let logged_out = cluster.api().logout(agent).await;
        logged_out.expect("an agent can log out");
        cluster.line_is("support", &["5501", "5502"]).await;
    }
    let now = cluster.line("support").await.expect("the line can be read");
    let ids = |line: &[holdfast_drills::lab::cluster::Waiting]| {
        line.iter()
            .map(|waiting| waiting.id.clone())
            .collect::<Vec<String>>()
    };
    assert_eq!(ids(&line), ids(&now), "they are the same calls");

    // All four, and only the last of them answers: the first caller gets through first, though.
    second.hang_up().await.expect("a caller can hang up");
    cluster.line_is("support", &["5501"]).await;
    phones.push(cluster.phone("1004", "a", LONG_TALK).await);
    let tried = |agent: &str| cluster.oracle.rings(agent);
    let before: Vec<usize> = agents.iter().map(|(agent, _)| tried(agent)).collect();
    first.hang_up().await.expect("a caller can hang up");
    cluster.oracle.all_released().await;
    for (agent, _) in agents {
        cluster.login(agent).await;
        cluster.available(agent).await;
    }
    let caller = cluster.call("b", "support", "5503").await;
    assert_eq!(cluster.oracle.connected("5503").await, "1004");
    for ((agent, _), before) in agents.iter().zip(before) {
        assert!(tried(agent) > before, "{agent} was tried, too");
    }
    caller.hang_up().await.expect("a caller can hang up");
    cluster
        .quiet("support", &["1001", "1002", "1003", "1004"])
        .await;
    assert_eq!(cluster.oracle.order(), ["5503"]);
    cluster.assert_clean();
}
