//! The seams hold: the same code elects, commits, loses power and recovers in one thread, in virtual
//! time, on disks in memory.

mod common;

use std::time::Duration;

use common::Node;
use common::virtual_cluster::{Virtual, eventually};
use holdfast_raft::sim::Keep;

#[tokio::test(start_paused = true)]
async fn three_simulated_nodes_elect_commit_lose_power_and_recover() {
    let begun = std::time::Instant::now();
    let virtual_begun = tokio::time::Instant::now();
    let mut cluster = Virtual::plan(3, |_| {});
    for i in 0..3 {
        cluster.up(i).await;
    }
    let leader = cluster.acting().await;
    for number in 0..50 {
        cluster.add(number as usize % 3, number).await;
    }
    cluster.power_loss(leader, Keep::Nothing).await;
    let other = (leader + 1) % 3;
    for number in 50..100 {
        cluster.add(other, number).await;
    }
    cluster.up(leader).await;
    let complete = |n: &Node| n.read(|m| (0..100).all(|x| m.seen.contains_key(&x)));
    eventually("all have all", || cluster.alive().all(|(_, n)| complete(n))).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(cluster.alive().all(|(_, n)| n.status().health.healthy));
    println!("{:?} took {:?}", virtual_begun.elapsed(), begun.elapsed());
}
