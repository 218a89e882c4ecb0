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

#[tokio::test(start_paused = true)]
async fn the_disks_of_leader_and_follower_write_at_the_same_time_and_nobody_applies_before() {
    let mut cluster = Virtual::plan(3, |_| {});
    for i in 0..3 {
        cluster.up(i).await;
    }
    let leader = cluster.acting().await;
    cluster.add(leader, 0).await;
    let has = |node: &Node, number| node.read(|m| m.seen.contains_key(&number));
    eventually("all are even", || cluster.alive().all(|(_, n)| has(n, 0))).await;
    let (slow, slower) = (Duration::from_millis(100), Duration::from_millis(150));
    for (i, disk) in cluster.disks.iter().enumerate() {
        let takes = if i == leader { slower } else { slow };
        disk.sync_takes(takes, takes);
    }
    let begun = tokio::time::Instant::now();
    let applied = cluster.alive().map(|(_, node)| async move {
        while !has(node, 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        begun.elapsed()
    });
    let applied = futures_util::future::join_all(applied);
    let ((), applied) = tokio::join!(cluster.add(leader, 1), applied);
    for took in applied {
        assert!(
            took >= slower,
            "applied after {took:?}, the leader's disk writes {slower:?}"
        );
        assert!(took < slow + slower, "{took:?}: one behind the other");
    }
}
