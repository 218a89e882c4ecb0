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

/// Three nodes whose disks take no time, so that what counts is the way: a leader that has settled down.
async fn three_with_swift_disks() -> (Virtual, usize) {
    let mut cluster = Virtual::plan(3, |_| {});
    for disk in &cluster.disks {
        disk.sync_takes(Duration::ZERO, Duration::ZERO);
    }
    for i in 0..3 {
        cluster.up(i).await;
    }
    let leader = cluster.acting().await;
    cluster.add(leader, 0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    (cluster, leader)
}

#[tokio::test(start_paused = true)]
async fn a_command_does_not_wait_until_the_commit_of_the_one_before_is_told() {
    let (cluster, leader) = three_with_swift_disks().await;
    let mut took = Vec::new();
    for number in 1..=40 {
        let begun = tokio::time::Instant::now();
        cluster.add(leader, number).await;
        took.push(begun.elapsed());
    }
    took.sort();
    // There and back are a millisecond each on this clock. With two more, it waited for another message.
    assert!(took[20] < Duration::from_millis(4), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn while_commands_wait_an_entry_costs_each_follower_one_message() {
    let (cluster, leader) = three_with_swift_disks().await;
    let node = cluster.node(leader);
    let (appends, entries) = (cluster.board.appends(), *node.applied().borrow());
    let writers = (0..32u64).map(|writer| {
        let cluster = &cluster;
        async move {
            // Some come while the entry of the others is on its way.
            tokio::time::sleep(Duration::from_millis(writer % 2)).await;
            for number in 0..50 {
                cluster.add(leader, 1 + writer * 50 + number).await;
            }
        }
    });
    futures_util::future::join_all(writers).await;
    let (appends, entries) = (
        cluster.board.appends() - appends,
        (*node.applied().borrow() - entries) as usize,
    );
    assert!(
        appends < 3 * entries,
        "{appends} messages for {entries} entries"
    );
    let has_all = |n: &Node| n.read(|m| (1..=1600).all(|x| m.seen.contains_key(&x)));
    eventually("all have all", || cluster.alive().all(|(_, n)| has_all(n))).await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_missed_a_commit_is_told_by_the_next_heartbeat() {
    let (cluster, leader) = three_with_swift_disks().await;
    let follower = (leader + 1) % 3;
    let has = |number| {
        cluster
            .node(follower)
            .read(|m| m.seen.contains_key(&number))
    };
    for number in 1..=20 {
        cluster.add(leader, number).await;
        assert!(
            !has(number),
            "it is told when the command is answered, not before"
        );
        // What is on its way is lost.
        cluster.board.cut(&cluster.addr(follower));
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(!has(number));
        cluster.board.heal(&cluster.addr(follower));
        eventually("it is told", || has(number)).await;
    }
}
