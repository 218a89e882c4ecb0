//! Stories 14 to 16: what an operator does with the command line when things are at their worst, and
//! on the quiet evening before.

use std::time::Duration;

use holdfast_drills::lab::cluster::{Cluster, NAMES};
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::process::holdfast;
use holdfast_drills::lab::{Caller, Habit, Heard, Kind, Phone};
use serde_json::{Value, json};

use crate::scene::{LONG_TALK, hang_up_all, places, serve, support};

const SETTINGS: &str = "strategy = \"linear\"\nannounce = { position = false }";

async fn with_timing(kind: Kind, timing: &str) -> Cluster {
    Cluster::start_changed(kind, |config| format!("{config}\n[timing]\n{timing}\n")).await
}

/// Two of three nodes are gone with their disks. The third goes on alone, and the others come back as
/// new nodes; with its old data none does.
pub async fn one_survivor_goes_on_alone(kind: Kind) {
    let timing = "no_quorum_after = \"120s\"\nnode_lost_after = \"3s\"";
    let mut cluster = with_timing(kind, timing).await;
    let agents = [("1001", "b"), ("1003", "c")];
    cluster.apply(&support(SETTINGS, &agents)).await;
    let third = cluster.agent("1003", "c", LONG_TALK).await;
    let _talker = cluster.call("c", "support", "5501").await;
    assert_eq!(cluster.oracle.connected("5501").await, "1003");
    let mut callers = Vec::new();
    for n in 0..6 {
        let number = (5_601 + n).to_string();
        callers.push(cluster.join(NAMES[n % 3], "support", &number).await);
    }
    let before = cluster.line("support").await.expect("the line can be read");
    assert_eq!(before.len(), 6);

    for name in ["a", "b"] {
        cluster.kill(name);
    }
    let put_aside = cluster.data_dir("b").with_extension("old");
    std::fs::rename(cluster.data_dir("b"), &put_aside).expect("the lab owns its folder");
    cluster.wipe("a");
    let dir = cluster.data_dir("c").display().to_string();
    let server = cluster.http_url("c");
    eventually(
        SOON,
        "the survivor says that there is no quorum",
        async || {
            let ran = holdfast(&["status", "--server", &server]).await;
            check(ran.code == Some(6), || format!("{ran:?}"))
        },
    )
    .await;

    // Refused: a node that runs, a folder that is none, half a yes.
    let recover = async |more: &[&str]| {
        let words = [&["cluster", "recover", "--data-dir", &dir], more].concat();
        holdfast(&words).await
    };
    let ran = recover(&[]).await;
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("in use by another process"), "{ran:?}");
    cluster.kill("c");
    let nowhere = holdfast(&["cluster", "recover", "--data-dir", "/nonexistent"]).await;
    assert_eq!(nowhere.code, Some(3), "{nowhere:?}");
    let ran = recover(&[]).await;
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stdout.contains("What may be lost"), "{ran:?}");
    assert!(ran.stderr.contains("--give-up a,b"), "{ran:?}");
    let ran = recover(&["--give-up", "a"]).await;
    assert_eq!(ran.code, Some(4), "{ran:?}");

    let ran = recover(&["--give-up", "a,b", "-o", "json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let told: Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    assert_ne!(told["recovered"]["cluster_id"], told["found"]["cluster_id"]);
    let ran = recover(&["--give-up", "a,b"]).await;
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("alone already"), "{ran:?}");

    // It leads by itself; its own callers have their places, and the talk goes on.
    cluster.restart("c").await;
    let own: Vec<(String, String)> = places(&before)
        .into_iter()
        .filter(|(_, number)| ["5603", "5606"].contains(&number.as_str()))
        .collect();
    eventually(
        SOON,
        "only callers who can be reached are in line",
        async || {
            let line = places(&cluster.line_at(&cluster.site("c").api, "support").await?);
            check(line == own, || format!("{line:?} instead of {own:?}"))
        },
    )
    .await;
    assert_eq!(cluster.oracle.agent_of("5501").as_deref(), Some("1003"));
    assert_eq!(callers[2].hears().await, Heard::Music);

    // Who comes back with what he had is refused for good, and says why.
    std::fs::rename(&put_aside, cluster.data_dir("b")).expect("the lab owns its folder");
    let old = cluster.site_mut("b");
    old.process.start().expect("a node can be started");
    let status = old.process.ended(SOON).await;
    assert_eq!(status.code(), Some(78), "{}", old.process.log_tail());
    let log = old.process.log();
    assert!(
        log.contains("was recovered as"),
        "{}",
        old.process.log_tail()
    );

    // With empty disks they are new nodes. The callers at their Asterisks, who heard music all the
    // time, have their old places again.
    cluster.wipe("b");
    for name in ["a", "b"] {
        let started = cluster.site_mut(name).process.start();
        started.expect("a node can be started");
        let addr = cluster.raft_addr(name).to_string();
        let told = format!("holdfast cluster add {name} {addr}");
        let api = cluster.site(name).api.clone();
        eventually(SOON, "the new node tells what to do", async || {
            let answer = api.send("GET", "/readyz?verbose", None).await?;
            check(answer.text.contains(&told), || answer.text.clone())
        })
        .await;
        let ran = holdfast(&["cluster", "add", name, &addr, "--server", &server]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        cluster.site(name).ready().await;
    }
    let all: Vec<&str> = before
        .iter()
        .map(|waiting| waiting.number.as_str())
        .collect();
    cluster.line_is("support", &all).await;
    let first = cluster.agent("1001", "b", LONG_TALK).await;
    serve(&cluster, &[&first], 1 + before.len(), 2 * SOON).await;
    assert_eq!(cluster.oracle.order()[1..], all, "each once, in order");
    hang_up_all(&cluster, &[&first, &third]).await;
    for phone in [&first, &third] {
        assert!(phone.max_concurrent() <= 1, "phone {}", phone.number());
    }
    cluster.quiet("support", &["1001", "1003"]).await;
    cluster.assert_clean();
}

/// Agents who take short calls at all three Asterisks, and a line for them.
async fn a_busy_evening(cluster: &Cluster, callers: usize) -> (Vec<Phone>, Vec<Caller>) {
    let agents = [("1001", "a"), ("1002", "b"), ("1003", "c")];
    let settings = "strategy = \"rrmemory\"\nannounce = { position = false }";
    cluster.apply(&support(settings, &agents)).await;
    let mut waiting = Vec::new();
    for n in 0..callers {
        let number = (6_001 + n).to_string();
        waiting.push(cluster.join(NAMES[n % 3], "support", &number).await);
    }
    let habit = Habit::Answer {
        after_ms: 50,
        talk_ms: Some(500),
    };
    let mut phones = Vec::new();
    for (agent, home) in agents {
        phones.push(cluster.agent(agent, home, habit).await);
    }
    (phones, waiting)
}

/// A drill with a real SIGKILL, and its report as JSON.
async fn drill(cluster: &Cluster, dead: &str, length: &str) -> (Option<i32>, Value, String) {
    let pid = cluster.site(dead).process.pid().expect("the leader runs");
    let nodes: Vec<String> = NAMES.iter().map(|name| cluster.http_url(name)).collect();
    let (nodes, pid) = (nodes.join(","), pid.to_string());
    let words = [
        "drill",
        "--nodes",
        &nodes,
        "--kill-pid",
        &pid,
        "--yes",
        "--for",
        length,
        "-o",
        "json",
    ];
    let ran = holdfast(&words).await;
    let report = serde_json::from_str(&ran.stdout);
    let report = report.unwrap_or_else(|error| panic!("no report ({error}): {ran:?}"));
    (ran.code, report, ran.stderr)
}

/// The leader is killed by a drill while callers are served. What the report says is what the
/// Asterisks saw.
pub async fn a_drill_kills_the_leader(kind: Kind) {
    const CALLERS: usize = 36;
    let mut cluster = Cluster::start(kind).await;
    let leader = cluster.leader().await;
    let (phones, _callers) = a_busy_evening(&cluster, CALLERS).await;
    let (code, report, said) = drill(&cluster, leader, "8s").await;
    assert_eq!(code, Some(0), "{report:#}\n{said}");
    assert_eq!(report["good"], true, "{report:#}");
    assert_eq!(report["leader_before"], leader);
    // Reaps the process.
    cluster.kill(leader);
    assert_eq!(report["leader_after"], cluster.leader().await);
    assert_eq!(report["callers"]["lost"], json!([]));
    assert_eq!(report["offers"]["doubled"], json!([]));
    assert!(report["offers"]["after"].as_u64() > Some(0), "{report:#}");
    assert!(
        report["places"]["compared"].as_u64() > Some(0),
        "{report:#}"
    );

    // Nobody can begin to talk while nobody leads: the oracle saw a pause at least as long, but for
    // who had been granted already.
    let ms = |key: &str| {
        report["gap"][key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {report:#}"))
    };
    let talks = cluster.oracle.talks();
    let begun: Vec<i64> = talks.iter().map(|talk| talk.begun_ms).collect();
    let pause = begun
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(0);
    let named = i64::try_from(ms("named_ms")).expect("it is no age of the world");
    assert!(
        pause + 1_000 >= named,
        "the oracle saw a pause of {pause} ms: {report:#}"
    );
    assert!(ms("named_ms") <= ms("confirmed_ms"), "{report:#}");
    // All but those of the dead node are there or were served, and each only once.
    cluster.restart(leader).await;
    let numbers: Vec<String> = talks.iter().map(|talk| talk.caller.clone()).collect();
    cluster.oracle.talked(CALLERS, 3 * SOON).await;
    let mut order = cluster.oracle.order();
    assert!(order.starts_with(&numbers));
    order.sort();
    order.dedup();
    assert_eq!(order.len(), CALLERS, "each was connected once");
    for phone in &phones {
        assert_eq!(phone.max_concurrent(), 1, "phone {}", phone.number());
    }
    cluster.quiet("support", &["1001", "1002", "1003"]).await;
    cluster.assert_clean();
}

/// The leader's node stays away longer than its callers are waited for: they are lost, and the report
/// says so and is bad.
pub async fn a_drill_goes_wrong(kind: Kind) {
    let cluster = with_timing(kind, "node_lost_after = \"2s\"").await;
    let leader = cluster.leader().await;
    let agents = [("1001", "a")];
    cluster.apply(&support(SETTINGS, &agents)).await;
    let mut callers = Vec::new();
    for n in 0..6 {
        let number = (5_601 + n).to_string();
        callers.push(cluster.join(NAMES[n % 3], "support", &number).await);
    }
    let (code, report, _) = drill(&cluster, leader, "10s").await;
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(report["good"], false);
    let lost = report["callers"]["lost"].as_array().expect("a list");
    let still_there = cluster.oracle.callers_at(leader);
    assert_eq!(lost.len(), still_there.len(), "{report:#}");
    assert_eq!(
        report["anomalies"].as_array().map(Vec::len),
        Some(2),
        "{report:#}"
    );
    for number in still_there.keys() {
        assert!(
            !report.to_string().contains(number.as_str()),
            "names are masked"
        );
    }
    assert_eq!(report["callers"]["kept"], 4);
    let heard = Duration::from_secs(1);
    for caller in &callers {
        let music = tokio::time::timeout(heard, caller.hears()).await;
        assert_eq!(music, Ok(Heard::Music), "caller {}", caller.number());
    }
    cluster.assert_clean();
}
