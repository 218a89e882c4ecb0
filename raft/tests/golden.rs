//! A data folder that 0.1.0 wrote is opened by every later version: identity, vote, log, snapshot.
//!
//! `REWRITE=1 cargo nextest run -p holdfast-raft --test golden` writes it anew; that is right only
//! for a version that was not released yet. The journal is not in it, because it can be rebuilt.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Cluster, until};
use holdfast_raft::Config;

const NUMBERS: std::ops::Range<u64> = 0..25;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data-0.1.0")
}

/// A snapshot, and entries behind it.
fn small(config: &mut Config) {
    config.snapshot_every = 10;
    config.log_keep = 5;
    config.segment_bytes = 4096;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match path.is_dir() {
            true if name == "journal" => {}
            true => copy(&path, &to.join(name)),
            false if name == "LOCK" => {}
            false => drop(fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

async fn write() {
    let mut cluster = Cluster::start(1, small).await;
    for number in NUMBERS {
        cluster.add(0, number).await;
    }
    let snapshot = || cluster.node(0).status().snapshot > 0;
    until("there is a snapshot", snapshot).await;
    cluster.crash(0).await;
    let _ = fs::remove_dir_all(golden());
    copy(&cluster.data_dir(0), &golden());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_of_0_1_0_is_opened_and_written_on() {
    if std::env::var_os("REWRITE").is_some() {
        write().await;
    }
    let mut cluster = Cluster::plan(1, small);
    copy(&golden(), &cluster.data_dir(0));
    cluster.up(0).await;
    cluster.acting().await;
    cluster.agree_on(NUMBERS).await;
    let once = cluster.node(0).read(|m| m.seen.values().all(|t| *t == 1));
    assert!(once, "a command was applied twice");
    cluster.add(0, NUMBERS.end).await;
    cluster.crash(0).await;
    cluster.up(0).await;
    cluster.agree_on(0..NUMBERS.end + 1).await;
}
