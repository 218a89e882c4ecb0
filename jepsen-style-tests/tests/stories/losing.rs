//! Stories 8 to 10 and 19: the leader, an Asterisk, an event socket, and a node for too long are lost while
//! callers wait and talk.

use std::time::Duration;

use holdfast_drills::lab::cluster::{Cluster, NAMES};
use holdfast_drills::lab::eventually::{SOON, check, eventually, throughout};
use holdfast_drills::lab::{Habit, Heard, Kind, Phone};

use crate::scene::{LONG_TALK, people, queue, rest, serve, support};

/// Five talk, thirty wait, the leader is killed; later its process comes back.
pub async fn the_leader(kind: Kind) {
    let mut cluster = Cluster::start(kind).await;
    let agents = [
        ("1001", "a"),
        ("1002", "b"),
        ("1003", "c"),
        ("1004", "a"),
        ("1005", "b"),
    ];
    let settings = "strategy = \"linear\"\nannounce = { position = false }";
    cluster.apply(&support(settings, &agents)).await;

    // Each caller talks to an agent at another Asterisk.
    let mut phones = Vec::new();
    let mut talkers = Vec::new();
    for (index, (agent, home)) in agents.into_iter().enumerate() {
        phones.push(cluster.agent(agent, home, LONG_TALK).await);
        let number = format!("550{}", index + 1);
        talkers.push(
            cluster
                .call(NAMES[(index + 1) % 3], "support", &number)
                .await,
        );
        assert_eq!(cluster.oracle.connected(&number).await, agent);
    }
    let mut waiting = Vec::new();
    for n in 0..30 {
        let number = (5_601 + n).to_string();
        waiting.push(cluster.join(NAMES[n % 3], "support", &number).await);
    }
    let before = cluster.line("support").await.expect("the line can be read");
    assert_eq!(before.len(), 30);
    let talking = cluster.oracle.talking();

    let dead = cluster.leader().await;
    cluster.kill(dead);
    let leader = cluster.leader().await;
    assert_ne!(leader, dead);
    let line = cluster.line("support").await.expect("the line can be read");
    assert_eq!(line.len(), 30, "nobody lost a place");
    for (was, is) in before.iter().zip(&line) {
        assert_eq!((&was.id, &was.number), (&is.id, &is.number));
    }

    // Distribution goes on: an agent who lives elsewhere, with a caller who does, serves the callers
    // of the living nodes in their order.
    let index = agents
        .iter()
        .enumerate()
        .position(|(index, (_, home))| *home != dead && NAMES[(index + 1) % 3] != dead);
    let index = index.expect("of three pairs one touches no dead node");
    let worker = agents[index].0;
    let served_before = cluster.oracle.order().len();
    let phone = &phones[index];
    serve(&cluster, &[phone], served_before + 4, 2 * SOON).await;
    rest(&cluster, phone).await;
    let served = cluster.oracle.order()[served_before..].to_vec();
    let alive: Vec<&str> = before
        .iter()
        .filter(|waiting| waiting.pbx != dead)
        .map(|waiting| waiting.number.as_str())
        .collect();
    assert_eq!(
        served,
        alive[..served.len()],
        "callers of living nodes, in their order"
    );
    let mut still = talking.clone();
    still.retain(|(_, agent)| agent != worker);
    throughout(
        Duration::from_secs(1),
        "no talking call drops",
        async || {
            let now = cluster.oracle.talking();
            check(still.is_subset(&now), || {
                format!("talking are {now:?}, were {still:?}")
            })
        },
    )
    .await;
    let ended: Vec<_> = cluster
        .oracle
        .talks()
        .into_iter()
        .take(5)
        .filter(|t| t.ended.is_some())
        .collect();
    assert_eq!(
        ended.len(),
        1,
        "only the worker's own call has ended: {ended:?}"
    );

    // The process comes back: its callers are where they were, and never heard silence.
    cluster.restart(dead).await;
    let expected: Vec<(&str, &str)> = before
        .iter()
        .filter(|waiting| !served.contains(&waiting.number))
        .map(|waiting| (waiting.id.as_str(), waiting.number.as_str()))
        .collect();
    let now = cluster.line("support").await.expect("the line can be read");
    let now: Vec<(&str, &str)> = now
        .iter()
        .map(|w| (w.id.as_str(), w.number.as_str()))
        .collect();
    assert_eq!(now, expected, "old places, same calls");
    for (n, caller) in waiting
        .iter()
        .enumerate()
        .filter(|(n, _)| NAMES[n % 3] == dead)
    {
        assert!(
            !caller.has_ended(),
            "caller {n} of the node that was killed is still there"
        );
    }
    let first = waiting
        .iter()
        .enumerate()
        .find(|(n, _)| NAMES[n % 3] == dead);
    assert!(
        first.expect("ten of them").1.hears().await == Heard::Music,
        "still on music"
    );

    // One agent takes the head of the line, then all take the rest.
    cluster
        .api()
        .unpause(worker)
        .await
        .expect("an agent can come back");
    let total = served_before + served.len() + 3;
    serve(&cluster, &[&phones[index]], total, SOON).await;
    let next = cluster.oracle.order()[served_before + served.len()..][..3].to_vec();
    let heads: Vec<&str> = expected.iter().take(3).map(|(_, number)| *number).collect();
    assert_eq!(next, heads);
    let all: Vec<&Phone> = phones.iter().collect();
    serve(&cluster, &all, 5 + 30, 3 * SOON).await;
    let everyone: Vec<&str> = agents.iter().map(|(agent, _)| *agent).collect();
    cluster.quiet("support", &everyone).await;
    let mut order = cluster.oracle.order();
    assert_eq!(order.len(), 35);
    order.sort();
    order.dedup();
    assert_eq!(order.len(), 35, "each was connected once");
    cluster.assert_clean();
}

/// An Asterisk is killed with a caller who waits and one who talks, and comes back.
pub async fn an_asterisk(kind: Kind) {
    let mut cluster = Cluster::start(kind).await;
    let agents = [("1001", "b"), ("1002", "a")];
    let settings = "strategy = \"linear\"\nannounce = { position = false }";
    cluster.apply(&support(settings, &agents)).await;
    let phone = cluster.agent("1001", "b", LONG_TALK).await;
    let _talker = cluster.call("a", "support", "5501").await;
    assert_eq!(cluster.oracle.connected("5501").await, "1001");
    let _lost = cluster.join("a", "support", "5502").await;
    let _other = cluster.join("b", "support", "5503").await;
    let _last = cluster.join("c", "support", "5504").await;
    let lost_call = cluster.line("support").await.expect("the line can be read")[0]
        .id
        .clone();

    cluster
        .site_mut("a")
        .pbx
        .kill()
        .await
        .expect("an asterisk can be killed");
    cluster.line_is("support", &["5503", "5504"]).await;
    eventually(SOON, "the call is told as lost", async || {
        let timeline = cluster.api().timeline(&lost_call).await?;
        let lost = timeline.iter().any(|event| event["outcome"] == "Lost");
        check(lost, || format!("{timeline:?}"))
    })
    .await;

    // The agent hears nothing more and hangs up; he is free at once, and the others go on. The
    // caller who rings again, elsewhere, has the old place back.
    let _again = cluster.join("c", "support", "5502").await;
    cluster.line_is("support", &["5502", "5503", "5504"]).await;
    phone.hang_up().await.expect("an agent can hang up");
    assert_eq!(cluster.oracle.connected("5502").await, "1001");
    phone.hang_up().await.expect("an agent can hang up");
    assert_eq!(cluster.oracle.connected("5503").await, "1001");
    cluster.line_is("support", &["5504"]).await;

    // It comes back and is used again, for a caller and for an agent's phone.
    cluster
        .site_mut("a")
        .pbx
        .restart()
        .await
        .expect("an asterisk can be started again");
    cluster.oracle.hears_all().await;
    cluster.site("a").ready().await;
    let _new = cluster.join("a", "support", "5505").await;
    cluster.line_is("support", &["5504", "5505"]).await;
    let second = cluster.agent("1002", "a", LONG_TALK).await;
    serve(&cluster, &[&second], 5, SOON).await;
    phone.hang_up().await.expect("an agent can hang up");
    cluster.line_is("support", &[]).await;
    assert_eq!(
        cluster.oracle.order(),
        ["5501", "5502", "5503", "5504", "5505"]
    );
    cluster.available("1001").await;
    cluster.available("1002").await;
    cluster.assert_clean();
}

/// The event socket is cut for 5 s while callers come and go.
pub async fn the_event_socket(kind: Kind) {
    let cluster = Cluster::start_on_wires(kind).await;
    let agents = [("1001", "a"), ("1002", "b")];
    let settings = "strategy = \"linear\"\nannounce = { position = false }";
    let mut declared = queue("support", settings, &agents);
    declared += &people(&agents);
    cluster.apply(&declared).await;
    let phone = cluster.agent("1001", "a", LONG_TALK).await;
    let talker = cluster.call("a", "support", "5501").await;
    assert_eq!(cluster.oracle.connected("5501").await, "1001");
    let _second = cluster
        .agent(
            "1002",
            "b",
            Habit::Answer {
                after_ms: 50,
                talk_ms: None,
            },
        )
        .await;
    let stays = cluster.call("a", "support", "5502").await;
    assert_eq!(cluster.oracle.connected("5502").await, "1002");
    let goes = cluster.join("a", "support", "5503").await;
    let _waits = cluster.join("a", "support", "5504").await;

    cluster.site("a").pbx.cut_websocket(Duration::from_secs(5));
    eventually(SOON, "node a notices", async || {
        let answer = cluster
            .site("a")
            .api
            .send("GET", "/readyz?verbose", None)
            .await?;
        check(answer.status != 200, || answer.text.clone())
    })
    .await;
    goes.hang_up().await.expect("a caller can hang up");
    talker.hang_up().await.expect("a caller can hang up");
    let _missed = cluster.call("a", "support", "5505").await;
    cluster.came_back("a", "5505", "FAILED").await;
    let _elsewhere = cluster.join("b", "support", "5506").await;
    assert!(!stays.has_ended(), "who talked goes on talking");

    cluster.site("a").ready().await;
    // 1001's call is found to be over, and he takes who waits at the head.
    assert_eq!(cluster.oracle.connected("5504").await, "1001");
    cluster.line_is("support", &["5506"]).await;
    let known = cluster
        .site("a")
        .pbx
        .raw("GET", "/applications/QueueARI")
        .await;
    let (_, text) = known.expect("asterisk answers");
    let application: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let inside = application["channel_ids"]
        .as_array()
        .expect("a list of channels");
    // 5502 with the leg to 1002, 5504 with the leg to 1001.
    assert_eq!(inside.len(), 4, "{application}");

    phone.hang_up().await.expect("an agent can hang up");
    assert_eq!(cluster.oracle.connected("5506").await, "1001");
    assert_eq!(cluster.oracle.agent_of("5502").as_deref(), Some("1002"));
    stays.hang_up().await.expect("a caller can hang up");
    phone.hang_up().await.expect("an agent can hang up");
    cluster.quiet("support", &["1001", "1002"]).await;
    assert_eq!(phone.max_concurrent(), 1);
    cluster.assert_clean();
}

/// The node is given up while its Asterisk lives. When it is back it leaves the two who talk alone and
/// holds their agent; who waited is in the line again.
pub async fn a_node_for_too_long(kind: Kind) {
    let mut cluster = Cluster::start_changed(kind, |config| {
        format!("{config}\n[timing]\nnode_lost_after = \"2s\"\n")
    })
    .await;
    let settings = "strategy = \"linear\"\nannounce = { position = false }";
    cluster.apply(&support(settings, &[("1001", "a")])).await;
    let phone = cluster.agent("1001", "a", LONG_TALK).await;
    let talker = cluster.call("b", "support", "5501").await;
    assert_eq!(cluster.oracle.connected("5501").await, "1001");
    let waits = cluster.join("b", "support", "5502").await;

    cluster.kill("b");
    cluster.line_is("support", &[]).await;
    cluster.restart("b").await;
    cluster.line_is("support", &["5502"]).await;
    cluster.agent_becomes("1001", "in_call").await;
    let talk = ("5501".to_owned(), "1001".to_owned());
    throughout(Duration::from_secs(1), "they talk on", async || {
        let now = cluster.oracle.talking();
        let alone = now.contains(&talk) && now.len() == 1 && !talker.has_ended();
        check(alone, || format!("talking are {now:?}"))
    })
    .await;
    assert!(waits.hears().await == Heard::Music);

    phone.hang_up().await.expect("an agent can hang up");
    assert_eq!(cluster.oracle.connected("5502").await, "1001");
    phone.hang_up().await.expect("an agent can hang up");
    cluster.quiet("support", &["1001"]).await;
    assert_eq!(cluster.oracle.order(), ["5501", "5502"]);
    assert_eq!(phone.max_concurrent(), 1);
    cluster.assert_clean();
}
