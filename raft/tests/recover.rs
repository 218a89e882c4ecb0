//! The quorum is lost for good, and one survivor goes on alone: what it has is there, the old ones
//! are fenced, and a crash at any moment leaves the old membership or the new.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::virtual_cluster::{Virtual, eventually};
use common::{Cluster, Node, slow};
use holdfast_raft::sim::{Fault, Keep, SimDisk};
use holdfast_raft::{Config, RecoverError, Role, StartError, Survivor, World};

/// A snapshot, segments and entries behind it.
fn small(config: &mut Config) {
    config.snapshot_every = 20;
    config.log_keep = 5;
    config.segment_bytes = 4096;
}

fn world(disk: &SimDisk) -> World {
    World {
        disk: disk.boot(),
        wire: None,
        wall_ms: Arc::new(|| 0),
        threads: false,
    }
}

async fn open(disk: &SimDisk) -> Result<(World, Survivor), RecoverError> {
    let world = world(disk);
    let survivor = Survivor::open(&world, Path::new("/data"), Some("n3")).await?;
    Ok((world, survivor))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Three nodes that have all numbers; then the power goes everywhere.
async fn after_the_loss() -> Virtual {
    let mut cluster = Virtual::plan(3, small);
    for i in 0..3 {
        cluster.up(i).await;
    }
    cluster.acting().await;
    for number in 0..50 {
        cluster.add(number as usize % 3, number).await;
    }
    eventually("all have all", || cluster.alive().all(|(_, n)| has(n, 50))).await;
    for i in 0..3 {
        cluster.power_loss(i, Keep::Nothing).await;
    }
    cluster
}

fn has(node: &Node, numbers: u64) -> bool {
    node.read(|m| (0..numbers).all(|x| m.seen.get(&x) == Some(&1)))
}

/// The node leads by itself and has everything.
async fn goes_on_alone(cluster: &mut Virtual) {
    cluster.up(2).await;
    let node = cluster.node(2);
    eventually("n3 leads alone", || {
        let status = node.status();
        status.role == Role::Leader && status.members.len() == 1 && status.health.healthy
    })
    .await;
    assert!(has(node, 50), "everything that was acknowledged is there");
}

#[tokio::test(start_paused = true)]
async fn the_survivor_goes_on_alone_and_the_others_come_back_only_as_new_nodes() {
    let mut cluster = after_the_loss().await;
    let before = cluster.disks[2].files();
    let (world, survivor) = open(&cluster.disks[2]).await.unwrap();
    let found = survivor.found().clone();
    assert_eq!(
        (found.name.as_str(), found.others()),
        ("n3", names(&["n1", "n2"]))
    );
    assert_eq!(found.members.len(), 3);
    assert!(found.members.iter().all(|(.., voter)| *voter));
    assert!(
        found.last.1 >= 50 && found.committed <= found.last.1,
        "{found:?}"
    );
    assert!(found.snapshot >= 20 && found.log_bytes > 0, "{found:?}");
    assert_eq!(cluster.disks[2].files(), before, "looking changes nothing");

    let wrong = survivor
        .carry_out(&world, &names(&["n1"]))
        .await
        .unwrap_err();
    assert!(
        wrong.to_string().contains("are n1,n2, and not n1"),
        "{wrong}"
    );
    assert_eq!(cluster.disks[2].files(), before);
    drop(world);

    let (world, survivor) = open(&cluster.disks[2]).await.unwrap();
    let done = survivor
        .carry_out(&world, &names(&["n2", "n1"]))
        .await
        .unwrap();
    assert_ne!(done.cluster, found.cluster);
    let lengths =
        |at: Vec<(PathBuf, u64)>| at.into_iter().filter(|(p, _)| !p.ends_with("node.json"));
    let after = cluster.disks[2].files();
    let kept = lengths(before).all(|file| after.contains(&file));
    assert!(kept, "what was there before stays");
    // Power goes once more; the recovery is durable.
    cluster.disks[2].power_loss(Keep::Nothing);
    let again = open(&cluster.disks[2]).await.err().expect("it is done");
    assert!(
        matches!(again, RecoverError::Alone { cluster, .. } if cluster == done.cluster),
        "{again}"
    );

    goes_on_alone(&mut cluster).await;
    let refused = cluster.try_up(0).await.unwrap_err();
    assert!(
        matches!(refused, StartError::LeftBehind { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("recovered"), "{refused}");

    // With an empty disk it is a new node, and welcome.
    cluster.disks[0] = SimDisk::new(7);
    cluster.up(0).await;
    let addr = cluster.addr(0);
    let added = cluster.node(2).add_node("n1", &addr, false).await;
    added.expect("a new node can be added");
    eventually("the new node has all", || has(cluster.node(0), 50)).await;
    cluster.add(0, 50).await;
    assert!(has(cluster.node(2), 51));
}

#[tokio::test(start_paused = true)]
async fn a_majority_that_comes_back_from_the_dead_stops_when_it_hears_of_the_recovery() {
    let mut cluster = after_the_loss().await;
    let (world, survivor) = open(&cluster.disks[2]).await.unwrap();
    survivor
        .carry_out(&world, &names(&["n1", "n2"]))
        .await
        .unwrap();
    // The two that were given up are alive after all, and have a quorum of what was.
    cluster.up(0).await;
    cluster.up(1).await;
    cluster.acting().await;
    goes_on_alone(&mut cluster).await;
    for i in [0, 1] {
        let node = cluster.node(i);
        let mut fatal = node.fatal();
        let why = fatal
            .wait_for(Option::is_some)
            .await
            .unwrap()
            .clone()
            .unwrap();
        assert!(why.contains("was recovered as"), "{why}");
        let idle = || node.leadership().borrow().is_none();
        eventually("nobody leads the old cluster", idle).await;
    }
    cluster.add(2, 50).await;
    assert!(has(cluster.node(2), 51));
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_moment_of_a_recovery_leaves_the_old_membership_or_the_new() {
    let cluster = after_the_loss().await;
    let untouched = cluster.disks[2].copy();
    let whole = untouched.copy();
    let first = whole.operations();
    let (world, survivor) = open(&whole).await.unwrap();
    survivor
        .carry_out(&world, &names(&["n1", "n2"]))
        .await
        .unwrap();
    let last = whole.operations();
    assert!(last > first + 10, "{first} to {last}");
    let mut ways = [0, 0];
    for at in first..last {
        for keep in [
            Keep::Nothing,
            Keep::All,
            Keep::Torn(at),
            Keep::Reordered(at),
        ] {
            let disk = untouched.copy();
            disk.fail_at(at, Fault::PowerLoss(keep));
            if let Ok((world, survivor)) = open(&disk).await {
                let done = survivor.carry_out(&world, &names(&["n1", "n2"])).await;
                assert!(done.is_err() || at + 1 == last, "power went at {at}");
            }
            match open(&disk).await {
                Ok((world, survivor)) => {
                    ways[0] += 1;
                    assert_eq!(survivor.found().last.1, survivor.found().last.1.max(50));
                    let done = survivor.carry_out(&world, &names(&["n1", "n2"])).await;
                    done.unwrap_or_else(|e| panic!("not after a crash at {at} ({keep:?}): {e}"));
                }
                Err(RecoverError::Alone { .. }) => ways[1] += 1,
                Err(other) => panic!("after a crash at {at} ({keep:?}): {other}"),
            }
            let mut alone = Virtual::plan(3, small);
            alone.disks[2] = disk;
            goes_on_alone(&mut alone).await;
            alone.gone(2).await;
        }
    }
    assert!(ways.iter().all(|count| *count > 0), "{ways:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_in_use_a_wrong_folder_and_a_damaged_log_are_refused_with_what_to_do() {
    let mut cluster = Cluster::start(3, slow).await;
    let world = World::default();
    let dir = cluster.data_dir(2);
    cluster.add(0, 1).await;
    let refused = async |dir: &Path, name: Option<&str>| {
        let survivor = Survivor::open(&world, dir, name).await;
        survivor.err().expect("it is refused").to_string()
    };
    assert!(
        refused(&dir, None)
            .await
            .contains("in use by another process")
    );
    for i in 0..3 {
        cluster.crash(i).await;
    }
    let empty = refused(cluster.dir.path(), None).await;
    assert!(empty.contains("no node's data folder"), "{empty}");
    let other = refused(&dir, Some("n9")).await;
    assert!(other.contains("belongs to node \"n3\""), "{other}");

    cluster.up(0).await;
    let survivor = Survivor::open(&world, &dir, None).await.unwrap();
    let alive = survivor.others_are_silent().await.unwrap_err().to_string();
    assert!(
        alive.contains("(node n1)") && !alive.contains("n2"),
        "{alive}"
    );
    drop(survivor);
    cluster.crash(0).await;

    let log = dir.join("log");
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&log)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();
    let damaged = refused(&dir, None).await;
    assert!(damaged.contains("is damaged at byte"), "{damaged}");
    assert!(damaged.contains("another survivor"), "{damaged}");
}
