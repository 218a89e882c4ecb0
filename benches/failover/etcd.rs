//! Three members of etcd, killed the same way: started with the same election settings, written to through
//! its JSON gateway, which needs no client of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_drills::lab::figures::load;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::figures::Kill;
use crate::settings::Settings;
use crate::writers::Writers;

const MEMBERS: usize = 3;
const UP: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(20);
/// For one question.
const ANSWER: Duration = Duration::from_secs(5);
/// `bench` in base64, as the gateway wants keys.
const KEY: &str = "YmVuY2g=";

pub struct Etcd {
    program: PathBuf,
    settings: Settings,
    folder: TempDir,
    /// Where clients and where members connect, by member.
    doors: Vec<SocketAddr>,
    peers: Vec<SocketAddr>,
    children: Vec<Option<Child>>,
    http: reqwest::Client,
}

impl Etcd {
    /// Starts three members and waits until they have a leader.
    pub async fn start(program: &Path, settings: &Settings) -> Result<Etcd, String> {
        let folder = TempDir::with_prefix("holdfast-etcd-");
        let (doors, peers) = ports()?;
        let mut etcd = Etcd {
            program: program.to_path_buf(),
            settings: *settings,
            folder: folder.map_err(|error| format!("a folder for etcd: {error}"))?,
            doors,
            peers,
            children: (0..MEMBERS).map(|_| None).collect(),
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(ANSWER)
                .build()
                .map_err(|error| error.to_string())?,
        };
        for member in 0..MEMBERS {
            etcd.spawn(member)?;
        }
        for member in 0..MEMBERS {
            etcd.healthy(member).await?;
        }
        Ok(etcd)
    }

    /// Kills the leader under load, waits until somebody else is acknowledged, and starts it again.
    pub async fn kill(&mut self) -> Result<Kill, String> {
        let load_before = load();
        let leader = self.leader().await?;
        let survivors = (0..MEMBERS).filter(|member| *member != leader);
        let writes = survivors.map(|member| {
            let url = format!("http://{}/v3/kv/put", self.doors[member]);
            let http = self.http.clone();
            move |_| put(http.clone(), url.clone())
        });
        let mut writers = Writers::begin(writes.collect());
        // Until they are at work; a put that is acknowledged proves it.
        let begun = Instant::now();
        while !put(
            self.http.clone(),
            format!("http://{}/v3/kv/put", self.doors[leader]),
        )
        .await
        {
            late(begun, "etcd acknowledges a write")?;
        }
        let killed = Instant::now();
        if let Some(mut child) = self.children[leader].take() {
            let ended = child.kill().and_then(|()| child.wait());
            ended.map_err(|error| format!("killing a member of etcd: {error}"))?;
        }
        let acknowledged = writers.first_after(killed).await?;
        drop(writers);
        self.spawn(leader)?;
        self.healthy(leader).await?;
        Ok(Kill {
            acknowledged_ms: acknowledged.as_millis() as i64,
            load_before,
            ..Kill::default()
        })
    }

    /// What this program is.
    pub fn version(program: &Path) -> String {
        let output = Command::new(program).arg("--version").output();
        let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
        let text = text.unwrap_or_default();
        let first = text.lines().next().unwrap_or("etcd");
        first.replace(" Version:", "")
    }

    fn spawn(&mut self, member: usize) -> Result<(), String> {
        let (door, peer) = (self.doors[member], self.peers[member]);
        let all = self.peers.iter().enumerate();
        let all: Vec<String> = all.map(|(i, at)| format!("n{i}=http://{at}")).collect();
        let data = self.folder.path().join(format!("n{member}"));
        let out = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(data.with_extension("out"))
            .map_err(|error| format!("the log of a member of etcd: {error}"))?;
        let child = Command::new(&self.program)
            .arg(format!("--name=n{member}"))
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--listen-client-urls=http://{door}"))
            .arg(format!("--advertise-client-urls=http://{door}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
            .arg(format!("--initial-cluster={}", all.join(",")))
            .args(self.settings.for_etcd())
            .args(["--logger=zap", "--log-level=error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn();
        let program = self.program.display();
        let child = child.map_err(|error| format!("starting {program}: {error}"))?;
        self.children[member] = Some(child);
        Ok(())
    }

    /// Which member leads.
    async fn leader(&self) -> Result<usize, String> {
        let begun = Instant::now();
        loop {
            for member in 0..MEMBERS {
                let url = format!("http://{}/v3/maintenance/status", self.doors[member]);
                let Ok(status) = self.ask(&url).await else {
                    continue;
                };
                let own = &status["header"]["member_id"];
                if own.is_string() && *own == status["leader"] {
                    return Ok(member);
                }
            }
            late(begun, "a member of etcd leads")?;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Waits until a member answers a read that asks the quorum: then it is up, and has caught up.
    async fn healthy(&mut self, member: usize) -> Result<(), String> {
        let begun = Instant::now();
        let url = format!("http://{}/v3/kv/range", self.doors[member]);
        loop {
            let read = self
                .http
                .post(&url)
                .json(&json!({ "key": KEY }))
                .send()
                .await;
            if read.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            let child = self.children[member].as_mut();
            if let Some(Ok(Some(status))) = child.map(Child::try_wait) {
                let log = self.folder.path().join(format!("n{member}.out"));
                let log = std::fs::read_to_string(log).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                return Err(format!("a member of etcd ended with {status}: {last}"));
            }
            late(begun, "a member of etcd answers")?;
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn ask(&self, url: &str) -> Result<Value, String> {
        let answer = self.http.post(url).json(&json!({})).send().await;
        let text = answer.map_err(|error| error.to_string())?.text().await;
        let text = text.map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn put(http: reqwest::Client, url: String) -> bool {
    let body = json!({ "key": KEY, "value": KEY });
    let answer = http.post(url).json(&body).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

fn late(begun: Instant, what: &str) -> Result<(), String> {
    match begun.elapsed() < UP {
        true => Ok(()),
        false => Err(format!("not within {} s: {what}", UP.as_secs())),
    }
}

fn ports() -> Result<(Vec<SocketAddr>, Vec<SocketAddr>), String> {
    let bound = (0..2 * MEMBERS).map(|_| TcpListener::bind("127.0.0.1:0"));
    // Held until all are known, so that none is given twice.
    let bound: std::io::Result<Vec<TcpListener>> = bound.collect();
    let bound = bound.map_err(|error| format!("looking for free ports: {error}"))?;
    let all: std::io::Result<Vec<SocketAddr>> = bound.iter().map(TcpListener::local_addr).collect();
    let mut doors = all.map_err(|error| format!("looking for free ports: {error}"))?;
    let peers = doors.split_off(MEMBERS);
    Ok((doors, peers))
}
