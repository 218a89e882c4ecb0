//! Stories 11 to 13: the power of a whole site goes, and everything comes back in some order.
//!
//! All nodes are killed at the same moment, with callers who wait, who are being rung for and who
//! talk; with them no Asterisk, one, or all. What must hold then: the cluster forms again by itself,
//! who still has a channel has the old place, everybody else has ended, and no agent is held back by
//! a call that is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_drills::lab::cluster::{Cluster, NAMES, Waiting};
use holdfast_drills::lab::eventually::{SOON, check, eventually, throughout};
use holdfast_drills::lab::{Habit, Heard, Kind, Phone};
use serde_json::json;

use crate::scene::{LONG_TALK, hang_up_all, places, serve, support};

const SETTINGS: &str =
    "strategy = \"linear\"\nannounce = { position = false }\nring_time = \"120s\"";

/// A cluster whose nodes are patient without a quorum, since here they are started one by one.
async fn patient(kind: Kind, timing: &str) -> Cluster {
    Cluster::start_changed(kind, |config| {
        format!("{config}\n[timing]\nno_quorum_after = \"120s\"\n{timing}\n")
    })
    .await
}

/// Waits until an event of this call's timeline says that it ended so.
async fn ended_as(cluster: &Cluster, call: &str, outcome: &str) {
    eventually(
        SOON,
        &format!("call {call} has ended as {outcome}"),
        async || {
            let timeline = cluster.api().timeline(call).await?;
            let outcomes: Vec<_> = timeline
                .iter()
                .filter(|event| event["type"] == "call_left")
                .map(|event| event["outcome"].clone())
                .collect();
            check(outcomes == [json!(outcome)], || format!("{timeline:?}"))
        },
    )
    .await;
}

/// Waits until all running nodes have the same state.
async fn agree(cluster: &Cluster) {
    eventually(SOON, "all running nodes have the same state", async || {
        let mut states = BTreeSet::new();
        for site in cluster.running() {
            let body = site.api.get("/v1/cluster").await?;
            states.insert((body["applied"].to_string(), body["digest"].to_string()));
        }
        check(states.len() == 1, || format!("{states:?}"))
    })
    .await;
}

/// The nodes die and the Asterisks live on. They come back in another order than they were started
/// in, one by one, the last much later.
pub async fn the_nodes(kind: Kind) {
    let mut cluster = patient(kind, "").await;
    let agents = [("1001", "a"), ("1002", "b"), ("1003", "c")];
    cluster.apply(&support(SETTINGS, &agents)).await;
    let first = cluster.agent("1001", "a", LONG_TALK).await;
    let _stays = cluster.call("b", "support", "5501").await;
    assert_eq!(cluster.oracle.connected("5501").await, "1001");
    let second = cluster.agent("1002", "b", LONG_TALK).await;
    let _goes = cluster.call("c", "support", "5502").await;
    assert_eq!(cluster.oracle.connected("5502").await, "1002");
    let mut third = cluster.agent("1003", "c", Habit::NoAnswer).await;
    let _rung_for = cluster.join("a", "support", "5503").await;
    cluster.oracle.rung("1003").await;
    let mut callers = Vec::new();
    for n in 0..9 {
        let number = (5_601 + n).to_string();
        callers.push(cluster.join(NAMES[n % 3], "support", &number).await);
    }
    let before = cluster.line("support").await.expect("the line can be read");
    assert_eq!(before.len(), 10);
    let talking = cluster.oracle.talking();

    cluster.kill_all();

    // Meanwhile life goes on at the Asterisks.
    callers[3].hang_up().await.expect("a caller can hang up");
    second.hang_up().await.expect("an agent can hang up");
    let _turned_away = cluster.call("b", "support", "5700").await;
    cluster.came_back("b", "5700", "FAILED").await;
    third
        .set_habit(LONG_TALK)
        .await
        .expect("a phone can change");

    // One node alone decides nothing, and takes nothing from its callers.
    start(&mut cluster, "c");
    let alone = cluster.site("c").api.clone();
    eventually(SOON, "c runs without a leader", async || {
        let body = alone.get("/v1/cluster").await?;
        check(body["leader"].is_null(), || body["leader"].to_string())
    })
    .await;
    throughout(
        Duration::from_secs(2),
        "callers of c hear music",
        async || {
            let heard = callers[2].hears().await;
            check(heard == Heard::Music, || format!("{heard:?}"))
        },
    )
    .await;

    // With the second there is a leader, and all callers who live are at their places.
    cluster.restart("a").await;
    cluster.site("c").ready().await;
    let gone = callers[3].number().to_owned();
    let expected: Vec<_> = places(&before)
        .into_iter()
        .filter(|(_, number)| *number != gone)
        .collect();
    eventually(SOON, "the line is as it was", async || {
        let line = places(&cluster.line("support").await?);
        check(line.is_empty() || expected.ends_with(&line), || {
            format!("{line:?} instead of an end of {expected:?}")
        })
    })
    .await;
    ended_as(&cluster, &id_of(&before, &gone), "Abandoned").await;

    // The third comes much later; who waits there waited all the time.
    cluster.restart("b").await;
    eventually(
        SOON,
        "1002, whose call ended meanwhile, is at work",
        async || {
            let state = cluster.agent_state("1002").await?;
            check(
                ["available", "offered", "in_call"].contains(&&*state),
                || state,
            )
        },
    )
    .await;
    let mut still = talking;
    still.retain(|(_, agent)| agent != "1002");
    throughout(
        Duration::from_secs(1),
        "who talks goes on talking",
        async || {
            let now = cluster.oracle.talking();
            check(still.is_subset(&now), || format!("{now:?}"))
        },
    )
    .await;
    // 1003 has taken the head of the line by now; all others are for 1002, one after the other.
    serve(&cluster, &[&second], 2 + expected.len(), 2 * SOON).await;
    let order = cluster.oracle.order();
    let numbers: Vec<&String> = expected.iter().map(|(_, number)| number).collect();
    assert_eq!(
        order[2..].iter().collect::<Vec<_>>(),
        numbers,
        "each was connected once, in the order of the line"
    );
    end(&cluster, &[&first, &second, &third]).await;
}

/// The nodes die and one Asterisk with them, and the disk of one node is empty afterwards.
pub async fn a_disk_and_an_asterisk(kind: Kind) {
    let mut cluster = patient(kind, "").await;
    let agents = [("1001", "a"), ("1002", "b"), ("1003", "c")];
    cluster.apply(&support(SETTINGS, &agents)).await;
    let second = cluster.agent("1002", "b", LONG_TALK).await;
    let _talks_at_a = cluster.call("a", "support", "5501").await;
    assert_eq!(cluster.oracle.connected("5501").await, "1002");
    let third = cluster.agent("1003", "c", LONG_TALK).await;
    let _talks_at_b = cluster.call("b", "support", "5502").await;
    assert_eq!(cluster.oracle.connected("5502").await, "1003");
    let mut first = cluster.agent("1001", "a", Habit::NoAnswer).await;
    let mut callers = Vec::new();
    let joins = [("5601", "b"), ("5602", "a"), ("5603", "b"), ("5604", "c")];
    for (number, at) in joins {
        callers.push(cluster.join(at, "support", number).await);
    }
    cluster.oracle.rung("1001").await;
    let before = cluster.line("support").await.expect("the line can be read");
    let kept = cluster.site("a").pbx.contact_kept("1001").await;
    kept.expect("a phone registers");

    cluster.kill_all();
    let asterisk = &mut cluster.site_mut("a").pbx;
    asterisk.kill().await.expect("an asterisk can be killed");
    cluster.wipe("b");
    let changed = first.set_habit(LONG_TALK).await;
    changed.expect("a phone can change");
    let asterisk = &mut cluster.site_mut("a").pbx;
    asterisk.restart().await.expect("an asterisk can start");
    cluster.oracle.hears_all().await;

    // The empty node comes first and forms nothing; the two others are the cluster. Who was at the
    // Asterisk that died is lost, everybody else has the old place.
    start(&mut cluster, "b");
    start(&mut cluster, "c");
    cluster.restart("a").await;
    cluster.site("c").ready().await;
    ended_as(&cluster, &id_of(&before, "5602"), "Lost").await;
    let b = cluster.site("b").api.clone();
    let addr = cluster.raft_addr("b").to_string();
    let told = format!("holdfast cluster add b {addr} --replace");
    eventually(SOON, "b tells what to do", async || {
        let answer = b.send("GET", "/readyz?verbose", None).await?;
        check(answer.text.contains(&told), || answer.text.clone())
    })
    .await;
    let path = "/v1/cluster/members/b";
    let body = json!({ "addr": addr, "replace": true });
    let added = cluster.site("a").api.write("PUT", path, body).await;
    added.expect("a node with an empty disk can take its old place");
    cluster.site("b").ready().await;

    // The agent whose caller is gone hears nothing more, hangs up, and is free.
    let hung_up = second.hang_up().await;
    hung_up.expect("an agent can hang up");
    // The caller who is lost rings again, elsewhere, and has the old place. By then 1001, whose phone
    // had rung for the head of the line, may talk to him, and 1002 to the next.
    let _again = cluster.call("c", "support", "5602").await;
    serve(&cluster, &[&first, &second], 2 + before.len(), 2 * SOON).await;
    let mut served = cluster.oracle.order()[2..].to_vec();
    served.sort();
    assert_eq!(served, ["5601", "5602", "5603", "5604"], "each once");
    assert_eq!(cluster.oracle.agent_of("5502").as_deref(), Some("1003"));
    end(&cluster, &[&first, &second, &third]).await;
}

/// Everything dies, twice: nodes and Asterisks. The nodes come back each time in another order, and
/// the first time one of them much later than its callers are waited for.
pub async fn the_site(kind: Kind) {
    let mut cluster = patient(kind, "node_lost_after = \"4s\"").await;
    let agents = [("1001", "a"), ("1002", "b"), ("1003", "c")];
    cluster.apply(&support(SETTINGS, &agents)).await;
    let mut phones = Vec::new();
    for (agent, home) in agents {
        phones.push(cluster.agent(agent, home, LONG_TALK).await);
        let kept = cluster.site(home).pbx.contact_kept(agent).await;
        kept.expect("a phone registers");
    }
    let mut talks = 0;
    for (round, order) in [["c", "b", "a"], ["a", "c", "b"]].into_iter().enumerate() {
        // One talks, one is rung for, and each Asterisk has somebody who waits.
        let number = |n: usize| (5_001 + 100 * round + n).to_string();
        let _talker = cluster.call("b", "support", &number(0)).await;
        assert_eq!(cluster.oracle.connected(&number(0)).await, "1001");
        let quiet = phones[1].set_habit(Habit::NoAnswer).await;
        quiet.expect("a phone can change");
        let _rung_for = cluster.join("a", "support", &number(1)).await;
        cluster.oracle.rung("1002").await;
        let paused = cluster.api().pause("1003", "lunch").await;
        paused.expect("an agent can pause");
        let mut callers = Vec::new();
        for (n, name) in NAMES.into_iter().enumerate() {
            callers.push(cluster.join(name, "support", &number(2 + n)).await);
        }
        let before = cluster.line("support").await.expect("the line can be read");
        assert_eq!(before.len(), 4);

        cluster.kill_all();
        for name in NAMES {
            let killed = cluster.site_mut(name).pbx.kill().await;
            killed.expect("an asterisk can be killed");
        }
        for name in NAMES {
            let restarted = cluster.site_mut(name).pbx.restart().await;
            restarted.expect("an asterisk can start");
        }
        // Whose call is gone hears nothing more and hangs up.
        for phone in &mut phones {
            let changed = phone.set_habit(LONG_TALK).await;
            changed.expect("a phone can change");
        }
        cluster.oracle.hears_all().await;

        start(&mut cluster, order[0]);
        cluster.restart(order[1]).await;
        cluster.site(order[0]).ready().await;
        // Those of the node that is missing are lost too when it stays away.
        for waiting in &before {
            ended_as(&cluster, &waiting.id, "Lost").await;
        }
        cluster.line_is("support", &[]).await;
        for (agent, _) in agents {
            eventually(SOON, "no call holds an agent back", async || {
                let state = cluster.agent_state(agent).await?;
                check(!["offered", "in_call"].contains(&&*state), || state)
            })
            .await;
        }
        // Two nodes are enough to work: a caller at one, an agent at the other.
        let unpaused = cluster.api().unpause("1003").await;
        unpaused.expect("an agent can come back");
        let new = cluster.call(order[1], "support", &number(9)).await;
        let agent = cluster.oracle.connected(&number(9)).await;
        new.hang_up().await.expect("a caller can hang up");
        talks += 2;
        assert_eq!(cluster.oracle.order().len(), talks);

        cluster.restart(order[2]).await;
        cluster.available(&agent).await;
        for (agent, _) in agents {
            cluster.available(agent).await;
        }
    }
    let phones: Vec<&Phone> = phones.iter().collect();
    end(&cluster, &phones).await;
}

/// Starts a node's process and waits for nothing.
fn start(cluster: &mut Cluster, name: &str) {
    let started = cluster.site_mut(name).process.start();
    started.expect("a node can be started again");
}

fn id_of(line: &[Waiting], number: &str) -> String {
    let waiting = line.iter().find(|waiting| waiting.number == number);
    waiting.expect("the caller was in line").id.clone()
}

/// All who still talk hang up; nothing of any call is left, and the nodes agree.
async fn end(cluster: &Cluster, phones: &[&Phone]) {
    hang_up_all(cluster, phones).await;
    let agents: Vec<&str> = phones.iter().map(|phone| phone.number()).collect();
    cluster.quiet("support", &agents).await;
    for phone in phones {
        assert!(phone.max_concurrent() <= 1, "phone {}", phone.number());
    }
    agree(cluster).await;
    cluster.assert_clean();
}
