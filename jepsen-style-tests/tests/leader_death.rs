//! How three processes notice that the leader's is gone: by its sockets when it is killed, by its silence
//! when it stands still. What is demanded is in their logs and in who leads; how long it took is not
//! judged, the machine may be busy.

use holdfast_drills::lab::Kind;
use holdfast_drills::lab::cluster::{Cluster, NAMES};
use holdfast_drills::lab::eventually::{SOON, check, eventually};

const GONE: &str = "its process is gone";
const STANDS: &str = "standing for election at once";

/// Long time-outs, so that the sockets tell first on a busy machine too.
fn patient(config: String) -> String {
    let mut config: toml::Table = config.parse().expect("the lab writes TOML");
    let cluster = config["cluster"].as_table_mut();
    let cluster = cluster.expect("the lab's nodes are in a cluster");
    for (key, time) in [
        ("heartbeat", "300ms"),
        ("election_min", "4s"),
        ("election_max", "6s"),
    ] {
        cluster.insert(key.to_owned(), time.into());
    }
    let timing = config.entry("timing").or_insert(toml::Table::new().into());
    let timing = timing.as_table_mut().expect("timing is a table");
    timing.insert("node_away_after".to_owned(), "7s".into());
    timing.insert("no_quorum_after".to_owned(), "15s".into());
    toml::to_string(&config).expect("what was read can be written")
}

fn others(leader: &str) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| *name != leader).collect()
}

fn told(cluster: &Cluster, name: &str, text: &str) -> usize {
    cluster.site(name).process.log().matches(text).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_node_that_leads_and_is_killed_is_missed_by_its_sockets() {
    let mut cluster = Cluster::start_changed(Kind::Sim, patient).await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    for name in others(leader) {
        let site = cluster.site(name);
        site.process.logged(GONE).await;
    }
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    let stood: usize = others(leader)
        .iter()
        .map(|name| told(&cluster, name, STANDS))
        .sum();
    assert!(
        stood > 0,
        "the new leader was elected without standing at once"
    );
    cluster.restart(leader).await;
    assert_eq!(cluster.leader().await, next, "who comes back follows");
    cluster.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_node_that_leads_and_stands_still_is_missed_by_its_silence() {
    let cluster = Cluster::start(Kind::Sim).await;
    let leader = cluster.leader().await;
    cluster.site(leader).process.freeze();
    let others = others(leader);
    eventually(SOON, "the others name one of them", async || {
        let mut named = Vec::new();
        for name in &others {
            let answer = cluster.site(name).api.get("/v1/cluster").await?;
            named.push(answer["leader"].as_str().unwrap_or_default().to_owned());
        }
        let agreed = named[0] == named[1] && others.contains(&named[0].as_str());
        check(agreed, || format!("they name {named:?}"))
    })
    .await;
    for name in &others {
        assert_eq!(told(&cluster, name, GONE), 0, "{name} took it for dead");
    }
    cluster.site(leader).process.thaw();
    cluster.all_ready().await;
    cluster.assert_clean();
}
