//! An Asterisk that has died and stays dead, while its node, or the majority, was away too: nobody
//! else can tell the cluster, and nobody must ring for its callers.

mod support;

use holdfast_acd::agent::Hand;
use holdfast_acd::pbx::Sight;
use holdfast_acd::{PbxId, State};
use holdfast_node::config::Span;
use holdfast_sim::CallSpec;
use support::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// One caller of `a` waits; the phone of the only agent, at `b`, is for him alone.
async fn one_waits(cluster: &Cluster) {
    cluster.queue("support", plain()).await;
    let spec = CallSpec::new("q-support", "5550000");
    cluster.nodes[0].sim.place_call(spec);
    for node in &cluster.nodes {
        node.until("one waits", |state| line(state) == ["5550000"])
            .await;
    }
}

fn is_given_up(state: &State) -> bool {
    let pbx = state.pbx(&PbxId::new("a").unwrap());
    state.calls().next().is_none() && pbx.is_some_and(|pbx| pbx.sight == Sight::Down)
}

/// It is rung for nobody, and the caller of another Asterisk is served at once.
async fn nobody_rings_in_vain(cluster: &Cluster) {
    let phone = cluster.nodes[1].sim.phone("1001", answer(10, None));
    cluster.agent("1001", "b", &["support"]).await;
    let spec = CallSpec::new("q-support", "5550001");
    let caller = cluster.nodes[1].sim.place_call(spec);
    talks(cluster, 1, &caller, "1001").await;
    assert_eq!(phone.times_rung(), 1);
    caller.hang_up();
    released(&cluster.nodes[1]).await;
    cluster.nodes[1]
        .until("the agent is free", |state| {
            state.agent(&agent("1001")).unwrap().hand == Hand::Free
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_without_its_asterisk_gives_its_callers_up() {
    log();
    let mut cluster = Cluster::start(&NAMES).await;
    one_waits(&cluster).await;
    cluster.nodes[0].sim.kill().await;
    cluster.nodes[0].kill().await;
    cluster.nodes[0].start().await;
    cluster.nodes[1].until("a is given up", is_given_up).await;
    nobody_rings_in_vain(&cluster).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asterisk_that_died_while_there_was_no_majority_is_given_up_when_there_is_one() {
    log();
    let mut cluster = Cluster::start_with(&NAMES, |config| {
        config.timing.propose_deadline = Span::ms(1_000);
    })
    .await;
    one_waits(&cluster).await;
    for other in [1, 2] {
        cluster.nodes[other].kill().await;
    }
    cluster.nodes[0].sim.kill().await;
    // That it is out of sight, or that it has died, could not be written in time.
    cluster.nodes[0]
        .until_counted("a fact that could not be written", |metrics| {
            metrics.proposals.contains_key("gave_up")
        })
        .await;
    for other in [1, 2] {
        cluster.nodes[other].start().await;
    }
    cluster.nodes[1].until("a is given up", is_given_up).await;
    nobody_rings_in_vain(&cluster).await;
    cluster.stop().await;
}
