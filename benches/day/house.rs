//! The installation: three node processes, and the outside world as a fourth; asked and told as an
//! operator does, looked at by way of /proc.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use holdfast_drills::lab::api::Api;
use holdfast_drills::lab::cluster::{NAMES, TOKEN};
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::node_conf::{HTTP, RAFT, node_config};
use holdfast_drills::lab::place::Place;
use holdfast_drills::lab::proc;
use holdfast_drills::lab::process::NodeProcess;

use crate::orders::{Answer, Order};

/// Word by which this program is started as the outside world.
pub const OUTSIDE: &str = "outside";
/// The longest that an order takes, a load with its draining included.
const ORDER_MAX: Duration = Duration::from_secs(120);
/// Requests to a node that are on their way at a time.
const TOGETHER: usize = 32;

pub struct House {
    // Dropped in this order: the nodes before the Asterisks.
    nodes: Vec<NodeProcess>,
    apis: Vec<Api>,
    outside: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    folder: TempDir,
}

/// What the processes have used so far.
#[derive(Clone, Debug)]
pub struct Used {
    pub nodes: Vec<Duration>,
    pub outside: Duration,
}

impl House {
    /// Starts everything; the nodes are ready when it returns.
    pub async fn open(snapshot_every: u64) -> Result<House, String> {
        let folder = TempDir::with_prefix("holdfast-day-").map_err(|e| e.to_string())?;
        let (mut outside, orders, mut answers) = outside()?;
        let urls = match read(&mut outside, &mut answers).await? {
            Answer::Ready(urls) => urls,
            other => return Err(format!("the Asterisks said {other:?}")),
        };
        let place = Place::new();
        let (mut nodes, mut apis) = (Vec::new(), Vec::new());
        for (index, (name, url)) in NAMES.into_iter().zip(&urls).enumerate() {
            let config = config(&place, folder.path(), index, url, snapshot_every);
            let node = NodeProcess::new(name, folder.path(), &config);
            nodes.push(node.map_err(|e| e.to_string())?);
            apis.push(Api::new(
                &format!("http://{}", place.addr(index, HTTP)),
                TOKEN,
            ));
        }
        let mut house = House {
            nodes,
            apis,
            outside,
            orders,
            answers,
            folder,
        };
        for node in &mut house.nodes {
            node.start().map_err(|e| e.to_string())?;
        }
        for (api, name) in house.apis.iter().zip(NAMES) {
            eventually(SOON, &format!("node {name} is ready"), async || {
                let answer = api.send("GET", "/readyz?verbose", None).await?;
                check(answer.status == 200, || answer.text.clone())
            })
            .await;
        }
        Ok(house)
    }

    /// Gives an order and waits for its answer.
    pub async fn order(&mut self, order: &Order) -> Result<Answer, String> {
        self.send(order).await?;
        self.answer().await
    }

    pub async fn send(&mut self, order: &Order) -> Result<(), String> {
        let line = serde_json::to_string(order).map_err(|e| e.to_string())? + "\n";
        let sent = self.orders.write_all(line.as_bytes()).await;
        sent.map_err(|e| format!("the Asterisks take no orders: {e}"))
    }

    pub async fn answer(&mut self) -> Result<Answer, String> {
        let answer = read(&mut self.outside, &mut self.answers);
        let answer = tokio::time::timeout(ORDER_MAX, answer).await;
        answer.map_err(|_| format!("the Asterisks did not answer in {} s", ORDER_MAX.as_secs()))?
    }

    pub fn used(&self) -> Used {
        Used {
            nodes: self.pids().map(proc::cpu).collect(),
            outside: self.outside.id().map_or(Duration::ZERO, proc::cpu),
        }
    }

    /// Resident memory of each node in bytes.
    pub fn memory(&self) -> Vec<u64> {
        self.pids().map(proc::rss).collect()
    }

    fn pids(&self) -> impl Iterator<Item = u32> {
        let pid = |node: &NodeProcess| {
            node.pid()
                .expect("a node is started once and killed at the end")
        };
        self.nodes.iter().map(pid)
    }

    /// Which of the nodes leads.
    pub async fn leader(&self) -> usize {
        eventually(SOON, "the first node names a leader", async || {
            let cluster = self.apis[0].get("/v1/cluster").await?;
            let leader = cluster["leader"].as_str().unwrap_or_default();
            let index = NAMES.iter().position(|name| *name == leader);
            index.ok_or_else(|| format!("it names {leader:?}"))
        })
        .await
    }

    /// Log index of the newest snapshot of each node, as its file's name says.
    pub fn snapshots(&self) -> Vec<u64> {
        let newest = |name: &str| {
            let folder = self.folder.path().join(name).join("snap");
            let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let index = files.filter_map(|file| {
                let name = file.file_name().to_string_lossy().into_owned();
                let (_, index) = name.strip_suffix(".snap")?.split_once('-')?;
                index.parse::<u64>().ok()
            });
            index.max().unwrap_or(0)
        };
        NAMES.into_iter().map(newest).collect()
    }

    /// Declares queues and agents, beside those that there are.
    pub async fn apply(&self, toml: &str) {
        // Declaring the same twice changes nothing, so it may be tried again over a change of leader.
        eventually(SOON, "queues and agents are declared", async || {
            let done = self.apis[0].apply(toml).await;
            // Behind the first line stands all that was sent.
            done.map_err(|why| why.lines().next().unwrap_or_default().to_owned())
        })
        .await;
    }

    /// Logs agents in and waits until they may be rung.
    pub async fn log_in(&self, agents: impl Iterator<Item = usize>) -> Result<(), String> {
        let agents: Vec<String> = agents.map(|agent| agent.to_string()).collect();
        for some in agents.chunks(TOGETHER) {
            let logins = some.iter().map(|agent| self.apis[0].login(agent));
            futures_util::future::try_join_all(logins).await?;
        }
        for agent in &agents {
            eventually(SOON, &format!("agent {agent} may be rung"), async || {
                let body = self.apis[0].get(&format!("/v1/agents/{agent}")).await?;
                check(body["state"] == "available", || body.to_string())
            })
            .await;
        }
        Ok(())
    }

    /// Waits until so many are in line.
    pub async fn in_line(&self, queue: &str, count: usize, within: Duration) {
        let what = format!("{count} callers are in line");
        eventually(within, &what, async || {
            let queue = self.apis[0].get(&format!("/v1/queues/{queue}")).await?;
            check(queue["waiting"] == count, || queue["waiting"].to_string())
        })
        .await;
    }
}

fn outside() -> Result<(Child, ChildStdin, Lines<BufReader<ChildStdout>>), String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let child = tokio::process::Command::new(program)
        .arg(OUTSIDE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|e| format!("the Asterisks cannot be started: {e}"))?;
    let (orders, answers) = (child.stdin.take(), child.stdout.take());
    let orders = orders.ok_or("the Asterisks have no standard input")?;
    let answers = answers.ok_or("the Asterisks have no standard output")?;
    Ok((child, orders, BufReader::new(answers).lines()))
}

async fn read(
    outside: &mut Child,
    answers: &mut Lines<BufReader<ChildStdout>>,
) -> Result<Answer, String> {
    match answers.next_line().await.map_err(|e| e.to_string())? {
        Some(line) => serde_json::from_str(&line).map_err(|e| format!("{line}: {e}")),
        None => {
            let status = outside.wait().await.map_err(|e| e.to_string())?;
            Err(format!(
                "the process with the Asterisks has ended: {status}"
            ))
        }
    }
}

/// As an operator has it: the log at its usual level, and snapshots more often, so that some fall into
/// each load.
fn config(place: &Place, folder: &Path, index: usize, ari: &str, snapshot_every: u64) -> String {
    let text = node_config(place, folder, index, NAMES.len(), ari, RAFT);
    let text = text.replace(",holdfast_node=debug", "");
    let every = format!("[cluster]\nsnapshot_every = {snapshot_every}\n");
    text.replace("[cluster]\n", &every)
}
