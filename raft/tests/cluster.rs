//! Three nodes on loopback: nothing acknowledged is lost, and each node can go and come back.

mod common;

use std::time::Duration;

use common::{Add, Cluster, LONG, Node, slow, until};
use holdfast_raft::{Config, ProposeError, Role, Secret, StartError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_given_to_any_node_is_applied_on_all() {
    let cluster = Cluster::start(3, slow).await;
    let mut events = cluster.node(2).events();
    for (i, number) in [0, 1, 2, 0, 1, 2].into_iter().zip(0..) {
        cluster.add(i, number).await;
    }
    cluster.agree_on(0..6).await;
    let mut got = Vec::new();
    while got.len() < 6 {
        got.extend(events.recv().await.unwrap().events.clone());
    }
    assert_eq!(got, (0..6).collect::<Vec<_>>());
    for (_, node) in cluster.alive() {
        let status = node.status();
        assert!(status.health.healthy, "{status:?}");
        assert_eq!(status.members.len(), 3);
        assert_eq!(node.peers().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_behind_a_barrier_sees_what_was_acknowledged_before() {
    let cluster = Cluster::start(3, slow).await;
    for number in 0..20u64 {
        let (writer, reader) = (number as usize % 3, (number as usize + 1) % 3);
        cluster.add(writer, number).await;
        cluster.node(reader).barrier(LONG).await.unwrap();
        assert!(
            cluster.node(reader).read(|m| m.seen.contains_key(&number)),
            "{number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_leader_dies_and_comes_back() {
    let mut cluster = Cluster::start(3, slow).await;
    let mut next = 0;
    for _ in 0..3 {
        let leader = cluster.acting().await;
        let other = (leader + 1) % 3;
        for _ in 0..10 {
            cluster.add(other, next).await;
            next += 1;
        }
        cluster.crash(leader).await;
        // Tried again over the change of leader, without the caller's help.
        cluster.add(other, next).await;
        next += 1;
        cluster.up(leader).await;
        cluster.agree_on(0..next).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_there_after_all_nodes_died_and_time_goes_on() {
    let mut cluster = Cluster::start(3, slow).await;
    for number in 0..10 {
        cluster.add(0, number).await;
    }
    cluster.agree_on(0..10).await;
    let terms: Vec<u64> = cluster.alive().map(|(_, n)| n.status().term).collect();
    let ids: Vec<u64> = cluster.alive().map(|(_, n)| n.status().id).collect();
    let logs: Vec<u64> = cluster.alive().map(|(_, n)| n.status().last_log).collect();
    for i in 0..3 {
        cluster.crash(i).await;
    }
    for i in 0..3 {
        cluster.up(i).await;
        let status = cluster.node(i).status();
        assert!(status.term >= terms[i], "the vote went backwards");
        assert!(status.last_log >= logs[i], "the log went backwards");
        assert_eq!(status.id, ids[i]);
    }
    cluster.acting().await;
    cluster.add(1, 10).await;
    cluster.agree_on(0..11).await;
    let stamps = cluster.node(0).read(|m| m.stamps.clone());
    assert!(stamps.is_sorted(), "{stamps:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stamps_never_run_backwards_over_changes_of_leader() {
    let cluster = Cluster::start(3, slow).await;
    let mut next = 0;
    for _ in 0..4 {
        let leader = cluster.acting().await;
        for _ in 0..5 {
            cluster.add(next as usize % 3, next).await;
            next += 1;
        }
        cluster.node(leader).step_down(None).await.unwrap();
    }
    cluster.agree_on(0..next).await;
    for (_, node) in cluster.alive() {
        let stamps = node.read(|m| m.stamps.clone());
        assert!(stamps.is_sorted(), "{stamps:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_to_the_chosen_node_and_quickly() {
    let cluster = Cluster::start(3, slow).await;
    cluster.agree_on(0..0).await;
    let from = cluster.acting().await;
    let to = (from + 1) % 3;
    // The lease of the new leader's voters counts from its election.
    cluster.add(to, 0).await;
    let begun = std::time::Instant::now();
    let asked = cluster.node((from + 2) % 3);
    asked
        .step_down(Some(cluster.names[to].clone()))
        .await
        .unwrap();
    cluster.acting_but(from).await;
    println!("hand-over took {:?}", begun.elapsed());
    assert!(cluster.node(to).leadership().borrow().is_some());
    cluster.add(from, 1).await;
    let refused = cluster
        .node(from)
        .step_down(Some("nobody".into()))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("nobody"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_shutdown_of_the_leader_leaves_a_leader_behind() {
    let mut cluster = Cluster::start(3, slow).await;
    cluster.add(0, 0).await;
    let leader = cluster.acting().await;
    let node = cluster.nodes[leader].take().unwrap();
    let begun = std::time::Instant::now();
    node.shutdown().await;
    drop(node);
    cluster.acting().await;
    println!("shutdown and take-over took {:?}", begun.elapsed());
    cluster.add((leader + 1) % 3, 1).await;
    cluster.up(leader).await;
    cluster.agree_on(0..2).await;
}

fn small_log(config: &mut Config) {
    slow(config);
    config.snapshot_every = 20;
    config.log_keep = 5;
    config.segment_bytes = 4096;
    config.snapshot_chunk_bytes = 1024;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_far_behind_is_brought_back_by_a_snapshot_and_its_journal_is_refilled() {
    let mut cluster = Cluster::start(3, small_log).await;
    let leader = cluster.acting().await;
    let away = (leader + 1) % 3;
    cluster.add(leader, 0).await;
    cluster.agree_on(0..1).await;
    cluster.crash(away).await;
    for number in 1..120 {
        cluster.add(leader, number).await;
    }
    // Several chunks.
    cluster
        .node(leader)
        .propose(Add::Filler(vec![7; 10_000]), LONG)
        .await
        .unwrap();
    until("the leader purged its log", || {
        cluster.node(leader).status().purged > 60
    })
    .await;
    cluster.up(away).await;
    cluster.agree_on(0..120).await;
    assert_eq!(cluster.node(away).read(|m| m.filler.len()), 10_000);
    let have = |node: &Node| {
        let records = node.journal().since(0, 1000).unwrap();
        records.iter().map(|r| r.event).collect::<Vec<u64>>() == (0..120).collect::<Vec<_>>()
    };
    until("the journal has every event", || have(cluster.node(away))).await;
    until("snapshots are kept", || {
        cluster.node(away).status().snapshot > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_purge_the_log_and_a_restart_begins_from_them() {
    let mut cluster = Cluster::start(1, small_log).await;
    for number in 0..150 {
        cluster.add(0, number).await;
    }
    until("the log is purged", || {
        cluster.node(0).status().purged > 100
    })
    .await;
    // The journal is written behind apply.
    let kept = || cluster.node(0).journal().since(0, 1000).unwrap().len();
    until("the journal has all", || kept() == 150).await;
    cluster.crash(0).await;
    cluster.up(0).await;
    cluster.acting().await;
    cluster.add(0, 150).await;
    cluster.agree_on(0..151).await;
    let seen = cluster
        .node(0)
        .read(|m| m.seen.values().all(|times| *times == 1));
    assert!(seen, "nothing is applied twice");
    until("the journal went on", || {
        cluster.node(0).journal().since(0, 1000).unwrap().len() == 151
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_is_replaced_under_its_name_with_a_new_id() {
    let mut cluster = Cluster::start(3, small_log).await;
    for number in 0..60 {
        cluster.add(0, number).await;
    }
    let leader = cluster.acting().await;
    let lost = (leader + 1) % 3;
    let old = cluster.node(lost).status().id;
    cluster.wipe(lost).await;
    cluster.up(lost).await;
    let name = cluster.names[lost].clone();
    let addr = cluster.addrs[lost].to_string();
    let command = format!("holdfast cluster add {name} {addr} --replace");
    until("it says what to do", || {
        cluster.node(lost).status().health.reason.contains(&command)
    })
    .await;
    let other = cluster.node((leader + 2) % 3);
    let refused = other.add_node(&name, &addr, false).await.unwrap_err();
    assert!(refused.to_string().contains("--replace"), "{refused}");
    other.add_node(&name, &addr, true).await.unwrap();
    cluster.add(lost, 60).await;
    cluster.agree_on(0..61).await;
    let status = cluster.node(leader).status();
    assert_eq!(status.members.len(), 3, "{status:?}");
    assert!(
        status
            .members
            .iter()
            .all(|(id, _, voter)| *id != old && *voter),
        "{status:?}"
    );
    // It counts: without the third node the other two go on.
    cluster.crash((leader + 2) % 3).await;
    cluster.add(lost, 61).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_added_to_a_single_one_and_removed_again() {
    fn wait_to_be_added(config: &mut Config) {
        slow(config);
        config.bootstrap_expect = if config.name == "n1" { 1 } else { 0 };
        if config.name == "n1" {
            config.join.clear();
        }
    }
    let mut cluster = Cluster::plan(3, wait_to_be_added);
    cluster.up(0).await;
    cluster.acting().await;
    cluster.add(0, 0).await;
    for i in [1, 2] {
        cluster.up(i).await;
        assert_eq!(cluster.node(i).status().role, Role::Outsider);
        let (name, addr) = (cluster.names[i].clone(), cluster.addrs[i].to_string());
        cluster.node(0).add_node(&name, &addr, false).await.unwrap();
        // Adding what is there already is no error.
        cluster.node(0).add_node(&name, &addr, false).await.unwrap();
    }
    cluster.add(2, 1).await;
    cluster.agree_on(0..2).await;
    let leader = cluster.acting().await;
    let gone = (leader + 1) % 3;
    let stays = (leader + 2) % 3;
    let name = cluster.names[gone].clone();
    cluster.node(stays).remove_node(&name).await.unwrap();
    until("it is gone", || {
        cluster.node(leader).status().members.len() == 2
    })
    .await;
    assert!(cluster.node(stays).remove_node(&name).await.is_err());
    cluster.crash(gone).await;
    cluster.add(stays, 2).await;
    // The leader itself can be removed.
    let name = cluster.names[leader].clone();
    cluster.node(stays).remove_node(&name).await.unwrap();
    cluster.acting_but(leader).await;
    cluster.add(stays, 3).await;
    assert!(
        cluster
            .node(stays)
            .remove_node(&cluster.names[stays])
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_acknowledged() {
    let mut cluster = Cluster::start(3, slow).await;
    cluster.add(0, 0).await;
    let leader = cluster.acting().await;
    for i in (0..3).filter(|i| *i != leader) {
        cluster.crash(i).await;
    }
    let node = cluster.node(leader).clone();
    let refused = node
        .propose(Add::Number(1), Duration::from_secs(3))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ProposeError::Unknown | ProposeError::NoLeader),
        "{refused}"
    );
    let mut leadership = node.leadership();
    tokio::time::timeout(LONG, leadership.wait_for(Option::is_none))
        .await
        .unwrap()
        .unwrap();
    let refused = node
        .propose(Add::Number(2), Duration::from_secs(1))
        .await
        .unwrap_err();
    assert_eq!(refused, ProposeError::NoLeader);
    assert!(node.barrier(Duration::from_millis(300)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_another_node_or_in_use_and_a_taken_port_are_refused() {
    let mut cluster = Cluster::start(1, slow).await;
    let mut config = cluster.config(0);
    config.listen = "127.0.0.1:0".parse().unwrap();
    let refused = Node::start(config.clone()).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, StartError::Locked(_)), "{refused}");
    config.listen = cluster.addrs[0];
    config.data_dir = cluster.dir.path().join("elsewhere");
    let refused = Node::start(config).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, StartError::Listen { .. }), "{refused}");
    cluster.crash(0).await;
    let mut config = cluster.config(0);
    config.name = "other".into();
    let refused = Node::start(config).await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("\"n1\""), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_peers_are_of_another_cluster_is_refused() {
    let one = Cluster::start(1, slow).await;
    let mut two = Cluster::start(1, slow).await;
    two.crash(0).await;
    let mut config = two.config(0);
    config.join.push(one.addrs[0].to_string());
    let refused = loop {
        match Node::start(config.clone()).await.map(|_| ()) {
            Err(StartError::Locked(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            other => break other.unwrap_err(),
        }
    };
    assert!(
        matches!(refused, StartError::OtherCluster { .. }),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_journal_is_put_aside_and_filled_again_from_a_peer() {
    let mut cluster = Cluster::start(3, small_log).await;
    for number in 0..60 {
        cluster.add(0, number).await;
    }
    cluster.agree_on(0..60).await;
    let victim = (cluster.acting().await + 1) % 3;
    until("a snapshot is there", || {
        cluster.node(victim).status().snapshot > 20
    })
    .await;
    cluster.crash(victim).await;
    let db = cluster.data_dir(victim).join("journal").join("conf");
    std::fs::write(db, b"nonsense").unwrap();
    cluster.up(victim).await;
    let records = || {
        cluster
            .node(victim)
            .journal()
            .since(0, 1000)
            .unwrap_or_default()
    };
    until("every event is back", || {
        records().iter().map(|r| r.event).collect::<Vec<u64>>() == (0..60).collect::<Vec<_>>()
    })
    .await;
    assert_eq!(
        cluster.node(victim).journal().subject(4, 10).unwrap().len(),
        1
    );
    assert_eq!(
        cluster.node(victim).journal().subject(5, 10).unwrap().len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_error_is_fatal_to_the_node_and_only_to_it() {
    let cluster = Cluster::start(3, slow).await;
    cluster.add(0, 0).await;
    let leader = cluster.acting().await;
    let mut fatal = cluster.node(leader).fatal();
    cluster.faults[leader].fail_fsync();
    let other = (leader + 1) % 3;
    cluster.add(other, 1).await;
    let why = tokio::time::timeout(LONG, fatal.wait_for(Option::is_some))
        .await
        .unwrap();
    assert!(why.unwrap().as_ref().unwrap().contains("injected"));
    assert!(!cluster.node(leader).status().health.healthy);
    assert!(cluster.node(leader).leadership().borrow().is_none());
    // It does not ask its own core again and again, without a pause, until a deadline is over.
    let broken = cluster.node(leader);
    let refused = async {
        (
            broken.barrier(LONG).await,
            broken.propose(Add::Number(1), LONG).await,
        )
    };
    let refused = tokio::time::timeout(LONG / 2, refused).await;
    let (read, written) = refused.expect("refused long before the deadline");
    assert!(matches!(read, Err(ProposeError::ShuttingDown)), "{read:?}");
    assert!(
        matches!(written, Err(ProposeError::ShuttingDown)),
        "{written:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_secret_stays_outside() {
    fn odd(config: &mut Config) {
        slow(config);
        if config.name == "n3" {
            config.secret = Secret::new("another-secret-of-16");
        }
    }
    let mut cluster = Cluster::plan(3, odd);
    for i in 0..3 {
        cluster.up(i).await;
    }
    let waits = |i: usize| {
        cluster
            .node(i)
            .status()
            .health
            .reason
            .contains("waiting for 3 nodes")
    };
    until("all wait", || (0..3).all(waits)).await;
    assert!(cluster.node(0).leader().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_who_is_gone_is_not_named_any_more() {
    let mut cluster = Cluster::start(3, slow).await;
    let leader = cluster.acting().await;
    let others: Vec<usize> = (0..3).filter(|i| *i != leader).collect();
    // Without the other two: it goes on in office by the library's book, and nobody follows it.
    cluster.crash(others[0]).await;
    cluster.crash(others[1]).await;
    let is_alone = |i: usize| {
        let status = cluster.node(i).status();
        status.leader.is_none() && !status.health.healthy
    };
    until("a leader without followers is none", || is_alone(leader)).await;
    // A follower that is started alone still has the old leader's vote on disk.
    cluster.crash(leader).await;
    cluster.up(others[0]).await;
    let status = cluster.node(others[0]).status();
    assert_eq!(status.leader, None);
    assert!(status.health.reason.contains("no leader"), "{status:?}");
    cluster.up(leader).await;
    until("together they have a leader", || {
        cluster.node(others[0]).leader().is_some()
    })
    .await;
}
