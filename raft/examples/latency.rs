//! Measures three nodes on loopback in this process: commit latency with one and with many writers,
//! the time of a hand-over, and the time without a leader after one died.
//!
//! `cargo run --release -p holdfast-raft --example latency`

use std::net::TcpListener;
use std::time::{Duration, Instant};

use holdfast_raft::{Config, Machine, Raft, Secret, Stamp};

const PAYLOAD: usize = 300;
const RUN: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(10);

/// Counts commands and forgets them.
#[derive(Clone, Default)]
struct Count(u64);

impl Machine for Count {
    type Command = Vec<u8>;
    type Reply = u64;
    type Event = u64;
    const SCHEMA: u16 = 1;

    fn apply(&mut self, _: Stamp, _: &Vec<u8>, events: &mut Vec<u64>) -> u64 {
        self.0 += 1;
        events.push(self.0);
        self.0
    }

    fn snapshot(&self) -> Result<Vec<u8>, String> {
        Ok(self.0.to_le_bytes().to_vec())
    }

    fn restore(_: u16, bytes: &[u8]) -> Result<Self, String> {
        bytes
            .try_into()
            .map(|b| Count(u64::from_le_bytes(b)))
            .map_err(|_| "bad length".into())
    }

    fn digest(&self) -> u64 {
        self.0
    }
}

#[tokio::main]
async fn main() {
    let holders: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback has free ports"))
        .collect();
    let addrs: Vec<_> = holders
        .iter()
        .map(|l| l.local_addr().expect("it is bound"))
        .collect();
    drop(holders);
    let dir = std::env::temp_dir().join(format!("holdfast-latency-{}", std::process::id()));
    let mut nodes = Vec::new();
    for (i, addr) in addrs.iter().enumerate() {
        let config = Config {
            name: format!("n{i}"),
            data_dir: dir.join(format!("n{i}")),
            listen: *addr,
            join: addrs.iter().map(|a| a.to_string()).collect(),
            bootstrap_expect: 3,
            secret: Secret::new("only-for-measuring"),
            ..Config::default()
        };
        nodes.push(Raft::<Count>::start(config).await.expect("a node starts"));
    }
    for writers in [1, 16, 64, 256] {
        let leader = acting(&nodes).await;
        report(
            &format!("{writers} writers at the leader"),
            run(&nodes[leader], writers).await,
        );
    }
    for writers in [1, 64] {
        let follower = (acting(&nodes).await + 1) % 3;
        report(
            &format!("{writers} writers at a follower"),
            run(&nodes[follower], writers).await,
        );
    }
    let status = nodes[acting(&nodes).await].status();
    println!(
        "fsync: median {} us, p99 {} us",
        status.fsync_p50_us, status.fsync_p99_us
    );
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let old = acting(&nodes).await;
        let begun = Instant::now();
        nodes[old]
            .step_down(None)
            .await
            .expect("a successor is there");
        acting(&nodes).await;
        println!("hand-over: {:?}", begun.elapsed());
    }
    let old = acting(&nodes).await;
    let dead = nodes.remove(old);
    let begun = Instant::now();
    dead.crash().await;
    nodes[0]
        .propose(vec![1], DEADLINE)
        .await
        .expect("the others go on");
    println!(
        "leader died, next acknowledged command after {:?}",
        begun.elapsed()
    );
    for node in &nodes {
        node.shutdown().await;
    }
    // Only measurements were in it.
    let _ = std::fs::remove_dir_all(dir);
}

async fn acting(nodes: &[Raft<Count>]) -> usize {
    loop {
        if let Some(i) = nodes.iter().position(|n| n.leadership().borrow().is_some()) {
            return i;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn run(node: &Raft<Count>, writers: usize) -> Vec<Duration> {
    let until = Instant::now() + RUN;
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < until {
                    let begun = Instant::now();
                    if node.propose(vec![7; PAYLOAD], DEADLINE).await.is_ok() {
                        times.push(begun.elapsed());
                    }
                }
                times
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("a writer does not panic"));
    }
    all
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    if times.is_empty() {
        return println!("{what}: nothing was acknowledged");
    }
    let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
    let rate = times.len() as f64 / RUN.as_secs_f64();
    println!(
        "{what}: median {:?}, p99 {:?}, {rate:.0}/s",
        at(500),
        at(990)
    );
}
