//! The demo's nodes: real processes of this same binary, so that one can really be killed.

use crate::client::{Client, Target};
use crate::failure::{FAILED, Failure};
use holdfast_sim::SimAsterisk;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// For all nodes to be ready; generous, because machines are slow at times.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// One node as a process of its own.
pub struct DemoNode {
    pub name: String,
    pub client: Client,
    pub http: SocketAddr,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

/// Writes a configuration for one node beside each Asterisk and starts them.
pub async fn start(dir: &Path, asterisks: &[SimAsterisk]) -> Result<Vec<DemoNode>, Failure> {
    let ports = free_ports(2 * asterisks.len())?;
    let (cluster, http) = ports.split_at(asterisks.len());
    let secret = format!("{:032x}", rand::random::<u128>());
    let join: Vec<String> = cluster.iter().map(|addr| format!("\"{addr}\"")).collect();
    let join = join.join(", ");
    let mut nodes = Vec::new();
    for (n, asterisk) in asterisks.iter().enumerate() {
        let name = asterisk.name();
        let (data, socket) = (dir.join(&name), dir.join(format!("{name}.sock")));
        let (listen, web, url) = (cluster[n], http[n], asterisk.ari_url());
        let (data, shown) = (data.display(), socket.display());
        let text = format!(
            "[node]\nname = \"{name}\"\ndata_dir = \"{data}\"\n\n\
             [cluster]\nlisten = \"{listen}\"\njoin = [{join}]\nbootstrap_expect = {}\n\
             secret = \"{secret}\"\n\n\
             [http]\nlisten = \"{web}\"\nadmin_socket = \"{shown}\"\n\n\
             [asterisk]\nurl = \"{url}\"\nusername = \"holdfast\"\npassword = \"secret\"\n\
             app = \"QueueARI\"\nsystemname = \"{name}\"\n\n\
             [log]\nlevel = \"info\"\nformat = \"json\"\n",
            asterisks.len()
        );
        let config = dir.join(format!("{name}.toml"));
        std::fs::write(&config, text)?;
        let client = Client::new(&Target {
            server: Some(format!("unix:{}", socket.display())),
            token: None,
            timeout: Duration::from_secs(3),
            config: config.clone(),
        })?;
        let log = dir.join(format!("{name}.log"));
        let mut node = DemoNode {
            name,
            client,
            http: web,
            config,
            log,
            child: None,
        };
        node.start()?;
        nodes.push(node);
    }
    Ok(nodes)
}

impl DemoNode {
    /// Starts the process (again).
    pub fn start(&mut self) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg("-c")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the demo, which then ends its nodes itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    pub fn lives(&self) -> bool {
        self.child.is_some()
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Ready, or an error with the end of its log if it ended or takes too long.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            if let Ok((200, _)) = self.client.get_text("/readyz", "text/plain").await {
                return Ok(());
            }
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?,
                None => None,
            };
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(5).collect();
                let end: Vec<&str> = lines.into_iter().rev().collect();
                let what = format!("node {} did not become ready", self.name);
                return Err(Failure::new(FAILED, what).why(end.join("\n  ")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Held all at once, so that no two are the same; another process may still be quicker.
fn free_ports(count: usize) -> Result<Vec<SocketAddr>, Failure> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    Ok(held
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()?)
}
