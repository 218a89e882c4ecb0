//! One real Asterisk 22 as a process of ours: fetched, configured, started, hurt and ended.
//!
//! It is ended by its process id and no other way. Its folder, logs included, is kept when a test
//! fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use holdfast_ari::{AriClient, AriConfig, Secret};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use super::asterisk_conf::{HTTP_PORT, Place, SIP_PORT, write};
use super::block::Block;
use super::proxy::Proxy;
use super::wait::until_true;
use super::{APP, ARI_PASSWORD, ARI_USER, LabError};

/// How long Asterisk may take to start on a slow machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A running (or killed) Asterisk.
#[derive(Debug)]
pub struct RealAsterisk {
    name: String,
    ip: Ipv4Addr,
    block: Block,
    folder: PathBuf,
    proxy: Proxy,
    child: Option<Child>,
    started_in: Duration,
}

/// Where the testbed is: the folder that `get-asterisk.sh` prints. Fetched once in a process.
pub async fn testbed() -> Result<PathBuf, LabError> {
    static FOLDER: OnceCell<PathBuf> = OnceCell::const_new();
    FOLDER.get_or_try_init(fetch).await.cloned()
}

async fn fetch() -> Result<PathBuf, LabError> {
    let script = repository().join("deploy/testbed/get-asterisk.sh");
    let output = Command::new(&script)
        .output()
        .await
        .map_err(|source| LabError::Io {
            what: script.display().to_string(),
            source,
        })?;
    if !output.status.success() {
        return Err(LabError::Fetch(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    Ok(PathBuf::from(
        String::from_utf8_lossy(&output.stdout).trim(),
    ))
}

fn repository() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_path_buf()
}

impl RealAsterisk {
    /// Writes its folder, starts it and waits until ARI answers. With the text of a queues.conf it
    /// has app_queue too.
    pub async fn start(
        block: Block,
        name: &str,
        folder: PathBuf,
        app_queue: Option<&str>,
    ) -> Result<RealAsterisk, LabError> {
        let testbed = testbed().await?;
        let ip = block.pbx(name);
        let others: Vec<(String, Ipv4Addr)> = ["a", "b", "c"]
            .iter()
            .filter(|other| **other != name)
            .map(|other| (other.to_string(), block.pbx(other)))
            .collect();
        let root = testbed.join("root");
        let repository = repository();
        write(&Place {
            name,
            ip,
            others: &others,
            folder: &folder,
            root: &root,
            repository: &repository,
            app_queue,
        })?;
        let proxy = Proxy::before(&block, name, SocketAddr::from((ip, HTTP_PORT))).await?;
        let mut pbx = RealAsterisk {
            name: name.into(),
            ip,
            block,
            folder,
            proxy,
            child: None,
            started_in: Duration::ZERO,
        };
        pbx.restart().await?;
        Ok(pbx)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where SIP listens.
    pub fn sip(&self) -> SocketAddr {
        SocketAddr::from((self.ip, SIP_PORT))
    }

    /// Its piece of the network.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The proxy before its ARI.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// From the start of the process to the first answer of ARI.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// ARI by way of the proxy.
    pub fn ari(&self) -> AriConfig {
        self.config(self.proxy.address())
    }

    /// ARI without the proxy.
    pub fn ari_direct(&self) -> AriConfig {
        self.config(SocketAddr::from((self.ip, HTTP_PORT)))
    }

    fn config(&self, at: SocketAddr) -> AriConfig {
        let url = format!("http://{at}/ari");
        AriConfig::new(&url, ARI_USER, Secret::new(ARI_PASSWORD), APP)
            .expect("the lab's own address and user fit the grammar")
    }

    /// Starts the process, if it does not run, and waits until ARI answers.
    pub async fn restart(&mut self) -> Result<(), LabError> {
        self.kill().await?;
        let program = testbed().await?.join("bin/asterisk");
        let output = std::fs::File::create(self.folder.join("log/console")).map_err(|source| {
            LabError::Io {
                what: "asterisk's console log".into(),
                source,
            }
        })?;
        let errors = output.try_clone().map_err(|source| LabError::Io {
            what: "asterisk's console log".into(),
            source,
        })?;
        let start = Instant::now();
        let mut command = Command::new(&program);
        if let Some(hosts) = self.block.hosts() {
            let prefix = hosts.prefix(&self.name);
            command = Command::new(&prefix[0]);
            command.args(&prefix[1..]).arg(&program);
        }
        let child = command
            .arg("-C")
            .arg(self.folder.join("etc/asterisk.conf"))
            .args(["-f", "-n"])
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| LabError::Io {
                what: program.display().to_string(),
                source,
            })?;
        self.child = Some(child);
        self.wait_ready(start).await?;
        self.started_in = start.elapsed();
        tracing::info!(asterisk = self.name, took = ?self.started_in, "asterisk is ready");
        Ok(())
    }

    async fn wait_ready(&mut self, start: Instant) -> Result<(), LabError> {
        let client = AriClient::new(&self.ari_direct())
            .map_err(|error| LabError::Refused(error.to_string()))?;
        let log = self.folder.join("log/full");
        loop {
            let booted = std::fs::read_to_string(&log).is_ok_and(|text| {
                // The log is kept over restarts, so only what follows the last start counts.
                text.rfind("Asterisk Ready")
                    .is_some_and(|at| text.rfind("built by").is_none_or(|built| built < at))
            });
            let ours = client
                .info()
                .await
                .is_ok_and(|info| info.systemname == self.name);
            if ours && booted {
                return Ok(());
            }
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                let more = format!("asterisk {} ended with {status}", self.name);
                return Err(LabError::Refused(format!("{more}, see {}", log.display())));
            }
            if start.elapsed() > START_MAX {
                return Err(LabError::Late {
                    what: format!("start of asterisk {}", self.name),
                    seconds: START_MAX.as_secs(),
                    more: format!(", see {}", log.display()),
                });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGKILL.
    pub async fn kill(&mut self) -> Result<(), LabError> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.map_err(|source| LabError::Io {
                what: format!("kill of asterisk {}", self.name),
                source,
            })?;
        }
        Ok(())
    }

    /// Sends its process a signal: `STOP`, `CONT`.
    pub fn signal(&self, signal: &str) -> Result<(), LabError> {
        let pid = self.child.as_ref().and_then(Child::id);
        let pid = pid.ok_or_else(|| LabError::Refused("asterisk does not run".into()))?;
        let status = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &pid.to_string()])
            .status()
            .map_err(|source| LabError::Io {
                what: "kill".into(),
                source,
            })?;
        if status.success() {
            Ok(())
        } else {
            Err(LabError::Refused(format!(
                "signal {signal} to {pid} failed"
            )))
        }
    }

    /// Waits until the database on disk has this phone's contact for good: what the file holds is
    /// rolled back after a kill as long as the journal of its transaction lies beside it.
    pub async fn contact_kept(&self, number: &str) -> Result<(), LabError> {
        let file = self.folder.join("db/astdb.sqlite3");
        let journal = self.folder.join("db/astdb.sqlite3-journal");
        let key = format!("registrar/contact/{number};");
        until_true("a contact on disk", || {
            let bytes = std::fs::read(&file).unwrap_or_default();
            let written = bytes.windows(key.len()).any(|part| part == key.as_bytes());
            written && !journal.exists()
        })
        .await
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// A global variable of the dialplan, `None` when it is not set.
    pub async fn global(&self, name: &str) -> Result<Option<String>, LabError> {
        let path = format!("/asterisk/variable?variable={name}");
        let (status, body) = super::raw(&self.ari_direct(), "GET", &path, None).await?;
        let value: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let text = value["value"].as_str().unwrap_or_default();
        Ok((status == 200 && !text.is_empty()).then(|| text.to_string()))
    }
}

impl Drop for RealAsterisk {
    fn drop(&mut self) {
        // A stopped process is ended by SIGKILL too; kill_on_drop sends it.
        drop(self.child.take());
    }
}
