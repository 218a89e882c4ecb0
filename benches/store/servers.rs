//! The three stores as processes: three nodes of Holdfast's, three members of etcd, one Redis, each with
//! its data in a folder of its own on the same disk, each told to be durable before it answers.
//!
//! Settings are those a careful operator begins with, and no more: what is set beside ports and folders
//! stands in `arguments`.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::Error;
use crate::clients;

const UP: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    Holdfast,
    Etcd,
    Redis,
}

impl System {
    /// In the order in which they take turns.
    pub const ALL: [System; 3] = [System::Holdfast, System::Etcd, System::Redis];

    pub fn name(self) -> &'static str {
        match self {
            System::Holdfast => "holdfast",
            System::Etcd => "etcd",
            System::Redis => "redis",
        }
    }

    fn members(self) -> usize {
        match self {
            System::Holdfast | System::Etcd => 3,
            System::Redis => 1,
        }
    }
}

/// One store that runs. Its processes end when this is dropped.
pub struct Servers {
    pub system: System,
    /// Where writers connect, by member.
    pub doors: Vec<SocketAddr>,
    /// Folder of each member.
    pub folders: Vec<PathBuf>,
    pub pids: Vec<u32>,
    children: Vec<Child>,
}

impl Servers {
    /// Starts a store with its data below the folder, and waits until it can be written to.
    pub async fn start(system: System, programs: &Path, dir: &Path) -> Result<Servers, Error> {
        let count = system.members();
        let mut doors = free_ports(2 * count)?;
        let peers = doors.split_off(count);
        let mut servers = Servers {
            system,
            doors,
            folders: Vec::new(),
            pids: Vec::new(),
            children: Vec::new(),
        };
        for member in 0..count {
            let folder = dir.join(format!("{}-{member}", system.name()));
            let made = std::fs::create_dir_all(&folder);
            made.map_err(|e| Error::new(format!("creating {}", folder.display()), e))?;
            servers.spawn(member, &peers, programs, &folder)?;
            servers.folders.push(folder);
        }
        let begun = Instant::now();
        while servers.leader().await.is_none() {
            servers.all_run()?;
            if begun.elapsed() > UP {
                let what = format!("starting {}", system.name());
                return Err(Error::new(what, format!("no leader within {UP:?}")));
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(servers)
    }

    /// Which member leads at the moment.
    pub async fn leader(&self) -> Option<usize> {
        clients::leader(self.system, &self.doors).await
    }

    /// Fails when one has ended.
    pub fn all_run(&mut self) -> Result<(), Error> {
        for child in &mut self.children {
            let ended = child.try_wait();
            if let Some(status) = ended.map_err(|e| Error::new("waiting for a server", e))? {
                let what = format!("a server of {}", self.system.name());
                return Err(Error::new(what, format!("ended: {status}")));
            }
        }
        Ok(())
    }

    fn spawn(
        &mut self,
        member: usize,
        peers: &[SocketAddr],
        programs: &Path,
        folder: &Path,
    ) -> Result<(), Error> {
        let program = match self.system {
            System::Holdfast => {
                std::env::current_exe().map_err(|e| Error::new("finding this program", e))?
            }
            System::Etcd => programs.join("etcd"),
            System::Redis => programs.join("redis-server"),
        };
        let log = folder.with_extension("out");
        let out = std::fs::File::create(&log);
        let out = out.map_err(|e| Error::new(format!("creating {}", log.display()), e))?;
        let child = Command::new(&program)
            .args(arguments(self.system, member, &self.doors, peers, folder))
            // Holdfast's node ends with this pipe.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Error::new(format!("starting {}", program.display()), e))?;
        self.pids.extend(child.id());
        self.children.push(child);
        Ok(())
    }
}

fn arguments(
    system: System,
    member: usize,
    doors: &[SocketAddr],
    peers: &[SocketAddr],
    folder: &Path,
) -> Vec<String> {
    let folder = folder.display().to_string();
    let door = doors[member];
    let list = |one: &dyn Fn(usize, &SocketAddr) -> String| {
        let all: Vec<String> = peers.iter().enumerate().map(|(i, p)| one(i, p)).collect();
        all.join(",")
    };
    match system {
        System::Holdfast => vec![
            "node".into(),
            format!("--name=n{member}"),
            format!("--dir={folder}"),
            format!("--listen={}", peers[member]),
            format!("--join={}", list(&|_, peer| peer.to_string())),
            format!("--door={door}"),
        ],
        System::Etcd => vec![
            format!("--name=n{member}"),
            format!("--data-dir={folder}"),
            format!("--listen-client-urls=http://{door}"),
            format!("--advertise-client-urls=http://{door}"),
            format!("--listen-peer-urls=http://{}", peers[member]),
            format!("--initial-advertise-peer-urls=http://{}", peers[member]),
            format!(
                "--initial-cluster={}",
                list(&|i, peer| format!("n{i}=http://{peer}"))
            ),
            // By default it refuses writes above 2 GiB.
            format!("--quota-backend-bytes={}", 8_u64 << 30),
            "--logger=zap".into(),
            "--log-level=error".into(),
        ],
        System::Redis => [
            ("--port", door.port().to_string()),
            ("--bind", door.ip().to_string()),
            ("--dir", folder),
            ("--appendonly", "yes".into()),
            ("--appendfsync", "always".into()),
            // Its snapshots beside the log would only slow it down.
            ("--save", String::new()),
        ]
        .into_iter()
        .flat_map(|(key, value)| [key.to_string(), value])
        .collect(),
    }
}

/// So many ports that nobody has at the moment, each another one.
pub fn free_ports(count: usize) -> Result<Vec<SocketAddr>, Error> {
    // Held until all are known, so that none is told twice.
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0"));
    let held: std::io::Result<Vec<TcpListener>> = held.collect();
    let ports = held.and_then(|all| all.iter().map(TcpListener::local_addr).collect());
    ports.map_err(|e| Error::new("looking for free ports", e))
}
