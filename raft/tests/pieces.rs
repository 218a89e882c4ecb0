//! The four pieces that openraft 0.9 leaves to its user, each with a test that fails without it.

mod common;

use std::time::{Duration, Instant};

use common::{Add, Cluster, LONG, slow, until};
use holdfast_raft::ProposeError;

/// Cuts one follower off for some elections, heals it, and says whether the leader kept its term.
async fn isolate_a_follower(gate: bool) -> bool {
    let cluster = Cluster::start(3, slow).await;
    cluster.add(0, 0).await;
    let leader = cluster.acting().await;
    let away = (leader + 1) % 3;
    if !gate {
        cluster.faults[away].without_gate();
    }
    let term = cluster.node(leader).status().term;
    cluster.faults[away].isolate(true);
    let begun = Instant::now();
    let mut number = 1;
    while begun.elapsed() < Duration::from_secs(6) {
        cluster.add(leader, number).await;
        number += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.faults[away].heal();
    for _ in 0..20 {
        cluster.add(leader, number).await;
        number += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.agree_on(0..number).await;
    cluster.node(leader).status().term == term
}

/// Without the gate the follower raises its term while it is cut off, and the leader must follow
/// that when it comes back: see the next test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gate_a_healed_follower_does_not_depose_the_leader() {
    assert!(isolate_a_follower(true).await);
}

/// Shows that the test above can fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gate_without_it_a_healed_follower_deposes_the_leader() {
    assert!(!isolate_a_follower(false).await);
}

/// Many writers on a slow disk: how many commands were acknowledged in some seconds, how many entries of
/// the log they took, and whether the leader stayed.
async fn storm(batcher: bool) -> (usize, usize, bool) {
    let cluster = Cluster::start(3, slow).await;
    cluster.add(0, 0).await;
    let leader = cluster.acting().await;
    let term = cluster.node(leader).status().term;
    for faults in &cluster.faults {
        faults.slow_fsync(Duration::from_millis(20));
    }
    if !batcher {
        cluster.faults[leader].without_batcher();
    }
    let first = *cluster.node(leader).applied().borrow();
    let until = Instant::now() + Duration::from_secs(6);
    let writers = (0..200u64).map(|writer| {
        let node = cluster.node(leader).clone();
        tokio::spawn(async move {
            let mut acknowledged = 0;
            while Instant::now() < until {
                let number = 1 + writer * 1_000_000 + acknowledged as u64;
                let command = Add::Number(number);
                if node.propose(command, Duration::from_secs(10)).await.is_ok() {
                    acknowledged += 1;
                }
            }
            acknowledged
        })
    });
    let mut sum = 0;
    for writer in writers.collect::<Vec<_>>() {
        sum += writer.await.unwrap();
    }
    let entries = *cluster.node(leader).applied().borrow() - first;
    let stayed = cluster.node(leader).status().term == term;
    (sum, entries as usize, stayed)
}

/// What comes together travels together: an entry costs two messages to each follower, and room in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batcher_many_writers_on_a_slow_disk_share_entries_and_keep_their_leader() {
    let (acknowledged, entries, stayed) = storm(true).await;
    println!("with the batcher: {acknowledged} in {entries} entries, leader stayed: {stayed}");
    assert!(stayed && acknowledged > 2_000, "{acknowledged} {stayed}");
    assert!(entries * 10 < acknowledged, "{acknowledged} in {entries}");
}

/// Shows that the test above can fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batcher_without_it_each_command_is_an_entry() {
    let (acknowledged, entries, stayed) = storm(false).await;
    println!("without the batcher: {acknowledged} in {entries} entries, leader stayed: {stayed}");
    assert!(entries >= acknowledged, "{acknowledged} in {entries}");
}

/// openraft's own metrics say `Leader` for ever on a leader that is cut off; the test shows that
/// too. Without the fence `leadership` would say the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fence_a_leader_that_is_cut_off_stops_acting_within_the_lease() {
    let cluster = Cluster::start(3, slow).await;
    cluster.add(0, 0).await;
    let old = cluster.acting().await;
    let node = cluster.node(old).clone();
    let term = node.leadership().borrow().unwrap().term;
    let decided = node
        .propose_as_leader(term, vec![Add::Number(1)], LONG)
        .await
        .unwrap();
    assert_eq!(decided[0].reply, 1);
    let lease = Duration::from_millis(cluster.config(old).election_max_ms);
    cluster.faults[old].isolate(true);
    let begun = Instant::now();
    let mut leadership = node.leadership();
    tokio::time::timeout(LONG, leadership.wait_for(Option::is_none))
        .await
        .unwrap()
        .unwrap();
    let took = begun.elapsed();
    // The margin is for a machine that is busy with other tests.
    assert!(took < lease + Duration::from_millis(1500), "{took:?}");
    assert_eq!(
        node.status().role,
        holdfast_raft::Role::Leader,
        "openraft lets it stay"
    );
    let refused = node
        .propose_as_leader(term, vec![Add::Number(2)], LONG)
        .await;
    assert_eq!(refused, Err(ProposeError::NoLeader));
    let new = cluster.acting_but(old).await;
    cluster.faults[old].heal();
    cluster.add(new, 3).await;
    let follows = || node.status().role == holdfast_raft::Role::Follower;
    until("the old leader follows", follows).await;
    // A decision of the old term is void even if it reaches the log in the new one.
    let refused = node
        .propose_as_leader(term, vec![Add::Number(2)], LONG)
        .await;
    assert_eq!(refused, Err(ProposeError::NoLeader));
    assert!(!cluster.node(new).read(|m| m.seen.contains_key(&2)));
}

/// Who tells others what the state is must know whether it is old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fence_a_node_that_is_cut_off_or_behind_knows_that_it_is_not_current() {
    let mut cluster = Cluster::start(3, slow).await;
    cluster.add(0, 0).await;
    let leader = cluster.acting().await;
    let away = (leader + 1) % 3;
    for (_, node) in cluster.alive() {
        until("a node in touch is current", || node.is_current()).await;
    }
    let node = cluster.node(away).clone();
    cluster.faults[away].isolate(true);
    until("the one cut off is not", || !node.is_current()).await;
    for number in 1..50 {
        cluster.add(leader, number).await;
    }
    assert!(!node.is_current() && cluster.node(leader).is_current());
    // Never before it has what was written meanwhile.
    cluster.faults[away].heal();
    let current_with_all = |node: &common::Node| {
        let current = node.is_current();
        assert!(!current || node.read(|m| m.seen.contains_key(&49)));
        current
    };
    until("it is current again", || current_with_all(&node)).await;
    drop(node);
    // Nor is one that has just started.
    cluster.crash(away).await;
    cluster.up(away).await;
    let node = cluster.node(away);
    until("it is current after a restart", || current_with_all(node)).await;
}

/// openraft by itself would put a leader that restarts back into office. It must not act, nor lead by its
/// own account, before a quorum elected it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fence_a_restarted_leader_without_a_quorum_does_not_act() {
    let mut cluster = Cluster::start(3, slow).await;
    cluster.add(0, 0).await;
    let leader = cluster.acting().await;
    for i in 0..3 {
        cluster.crash(i).await;
    }
    cluster.up(leader).await;
    let node = cluster.node(leader);
    assert_ne!(node.status().role, holdfast_raft::Role::Leader);
    let mut leadership = node.leadership();
    let acted = leadership.wait_for(Option::is_some);
    assert!(
        tokio::time::timeout(Duration::from_secs(3), acted)
            .await
            .is_err()
    );
    assert_ne!(node.status().role, holdfast_raft::Role::Leader);
}

/// With its old id the wiped node would vote again, though its old disk may have voted for another,
/// and be counted as holding a log it has lost: here two nodes, one of them wiped, would elect a
/// leader. With a new id it is no voter, so there is none until it is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identity_a_wiped_node_does_not_vote_under_its_old_id() {
    let mut cluster = Cluster::start(3, slow).await;
    cluster.add(0, 0).await;
    cluster.agree_on(0..1).await;
    let leader = cluster.acting().await;
    let (wiped, stays) = ((leader + 1) % 3, (leader + 2) % 3);
    let old = cluster.node(wiped).status().id;
    cluster.wipe(wiped).await;
    cluster.crash(leader).await;
    cluster.up(wiped).await;
    let reason = || cluster.node(wiped).status().health.reason;
    until("it knows that it is outside", || {
        reason().contains("--replace")
    })
    .await;
    assert_ne!(cluster.node(wiped).status().id, old);
    let mut leadership = cluster.node(stays).leadership();
    let elected = leadership.wait_for(Option::is_some);
    assert!(
        tokio::time::timeout(Duration::from_secs(5), elected)
            .await
            .is_err()
    );
    assert_eq!(cluster.node(wiped).status().term, 0, "it never voted");
    cluster.up(leader).await;
    cluster.acting().await;
    cluster.add(stays, 1).await;
}
