//! A leader whose process dies is replaced before its silence tells: in virtual time, so that what it
//! takes is the same on every machine.

mod common;

use std::time::Duration;

use common::virtual_cluster::{Virtual, eventually};
use holdfast_raft::Config;
use holdfast_raft::sim::Keep;
use tokio::time::Instant;

/// The lease of the default settings.
const LEASE: Duration = Duration::from_millis(600);

async fn three(change: fn(&mut Config)) -> (Virtual, usize) {
    let mut cluster = Virtual::plan(3, change);
    for i in 0..3 {
        cluster.up(i).await;
    }
    let leader = cluster.acting().await;
    for number in 0..6 {
        cluster.add(number as usize % 3, number).await;
    }
    (cluster, leader)
}

fn terms(cluster: &Virtual) -> Vec<u64> {
    cluster.alive().map(|(_, n)| n.status().term).collect()
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_process_dies_is_replaced_within_its_lease_time_after_time() {
    let (mut cluster, mut leader) = three(|_| {}).await;
    for round in 0..20u64 {
        let term = cluster.node(leader).status().term;
        let begun = Instant::now();
        cluster.kill(leader).await;
        let next = cluster.acting().await;
        assert!(
            begun.elapsed() < LEASE,
            "round {round}: {:?}",
            begun.elapsed()
        );
        assert!(cluster.node(next).status().term > term);
        cluster.add(next, 6 + round).await;
        cluster.up(leader).await;
        let all = 0..=6 + round;
        eventually("all have all", || {
            let has = |n: &common::Node| n.read(|m| all.clone().all(|x| m.seen.contains_key(&x)));
            cluster.alive().all(|(_, n)| has(n))
        })
        .await;
        leader = cluster.acting().await;
    }
}

/// Who stands first cannot win, and must leave it to the other.
#[tokio::test(start_paused = true)]
async fn whose_log_is_shorter_keeps_nobody_from_being_elected() {
    for _ in 0..5 {
        let (mut cluster, leader) = three(|_| {}).await;
        let id = |i: usize| cluster.node(i).status().id;
        let followers = (0..3).filter(|i| *i != leader);
        let first = followers.max_by_key(|i| id(*i)).unwrap();
        cluster.board.cut(&cluster.addr(first));
        cluster.add(leader, 100).await;
        let begun = Instant::now();
        cluster.kill(leader).await;
        cluster.board.heal(&cluster.addr(first));
        let next = cluster.acting().await;
        assert!(begun.elapsed() < LEASE, "{:?}", begun.elapsed());
        assert_ne!(next, first);
        assert!(cluster.node(next).read(|m| m.seen.contains_key(&100)));
    }
}

#[tokio::test(start_paused = true)]
async fn of_five_nodes_the_others_agree_as_soon() {
    let mut cluster = Virtual::plan(5, |_| {});
    for i in 0..5 {
        cluster.up(i).await;
    }
    for number in 0..2 {
        let leader = cluster.acting().await;
        cluster.add(leader, number).await;
        let begun = Instant::now();
        cluster.kill(leader).await;
        let next = cluster.acting().await;
        assert!(begun.elapsed() < LEASE, "{:?}", begun.elapsed());
        cluster.add(next, 10 + number).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_power_hangs_up_on_nobody_and_is_missed_after_the_lease() {
    let (mut cluster, leader) = three(|_| {}).await;
    let begun = Instant::now();
    cluster.power_loss(leader, Keep::Nothing).await;
    cluster.acting().await;
    assert!(begun.elapsed() > LEASE / 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn connections_that_end_say_nothing_while_the_leader_answers() {
    let (cluster, leader) = three(|_| {}).await;
    let before = terms(&cluster);
    for _ in 0..200 {
        cluster.board.hang_up();
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    assert_eq!(cluster.acting().await, leader);
    assert_eq!(terms(&cluster), before);
}

/// As by a rule of a packet filter that rejects, on one way alone.
#[tokio::test(start_paused = true)]
async fn a_follower_that_is_refused_deposes_no_leader_whom_the_other_follower_hears() {
    let (cluster, leader) = three(|_| {}).await;
    let before = terms(&cluster);
    let follower = (leader + 1) % 3;
    cluster
        .board
        .refuse(&cluster.addr(follower), &cluster.addr(leader));
    for _ in 0..200 {
        cluster.board.hang_up();
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    assert_eq!(cluster.acting().await, leader);
    assert_eq!(terms(&cluster), before);
}
