//! One `holdfast serve` as a process of its own: started, killed, frozen, and its log kept.
//!
//! It is a real process with real signals, because that is what an operator has. What the node
//! serves, and whether that is right, is not known here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::eventually::{SOON, check, eventually};

/// How many lines of a log are shown when a test fails.
const LINES_SHOWN: usize = 100;

/// Names another program than the one built beside this test.
const BINARY_VARIABLE: &str = "HOLDFAST_BIN";

/// The program: what `HOLDFAST_BIN` names, else the one built beside this test.
///
/// # Panics
/// When it is not there, with what to do.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os(BINARY_VARIABLE) {
        let named = PathBuf::from(named);
        assert!(
            named.is_file(),
            "{BINARY_VARIABLE} names {}, which is no file; correct or unset it",
            named.display()
        );
        return named;
    }
    let test = std::env::current_exe().expect("a test knows its own program");
    // A test stands in target/PROFILE/deps, the drill in target/PROFILE.
    let beside = test.parent().expect("a program stands in a folder");
    let folder = match beside.file_name() {
        Some(name) if name == "deps" || name == "examples" => {
            beside.parent().expect("deps stands in target/PROFILE")
        }
        _ => beside,
    };
    let binary = folder.join("holdfast");
    assert!(
        binary.is_file(),
        "{} is missing; build it first: cargo build{}",
        binary.display(),
        if folder.ends_with("release") {
            " --release"
        } else {
            ""
        }
    );
    binary
}

/// How a command of the program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Longest run of one command.
const COMMAND_DEADLINE: Duration = Duration::from_secs(120);

/// Runs one command of the program to its end, with the operator's token.
pub async fn holdfast(words: &[&str]) -> Ran {
    let command = tokio::process::Command::new(binary())
        .args(words)
        .env("HOLDFAST_TOKEN", super::cluster::TOKEN)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(COMMAND_DEADLINE, command).await;
    let output = ended
        .unwrap_or_else(|_| panic!("{words:?} does not end"))
        .expect("the program can be run");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into(),
        stderr: String::from_utf8_lossy(&output.stderr).into(),
    }
}

/// A node's process, running or not. Dropping it kills it.
pub struct NodeProcess {
    name: String,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// How it is started.
    pub launch: Launch,
}

/// What stands around the command of a start.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// Words before the command, such as `nsenter --net=HOST`. The process that they start must
    /// become the node by `exec`, so that signals reach it.
    pub prefix: Vec<String>,
    /// Further variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Another program than [`binary`].
    pub program: Option<PathBuf>,
}

impl Launch {
    fn command(&self) -> Command {
        let program = self.program.clone().unwrap_or_else(binary);
        let mut command = match self.prefix.split_first() {
            None => Command::new(program),
            Some((first, others)) => {
                let mut command = Command::new(first);
                command.args(others).arg(program);
                command
            }
        };
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }
}

impl NodeProcess {
    /// Writes the configuration, readable by the owner alone, and starts nothing.
    pub fn new(name: &str, folder: &Path, config: &str) -> io::Result<NodeProcess> {
        let process = NodeProcess {
            name: name.to_owned(),
            config: folder.join(format!("{name}.toml")),
            log: folder.join(format!("{name}.log")),
            child: None,
            launch: Launch::default(),
        };
        process.write_config(config)?;
        Ok(process)
    }

    /// Replaces the configuration; counts from the next start.
    pub fn write_config(&self, text: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o600);
        options.open(&self.config)?.write_all(text.as_bytes())
    }

    /// Starts it. Its output is added to its log.
    pub fn start(&mut self) -> io::Result<()> {
        assert!(self.child.is_none(), "node {} runs already", self.name);
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        writeln!(log, "--- lab: start of {}", self.name)?;
        let child = self
            .launch
            .command()
            .arg("serve")
            .arg("-c")
            .arg(&self.config)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Notices that it has ended by itself, so that it can be started again.
    pub fn forget_if_ended(&mut self) {
        let ended = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_some());
        if self.child.as_mut().is_some_and(ended) {
            self.child = None;
            self.note("it ended by itself");
        }
    }

    /// SIGKILL: no goodbye of any kind.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            self.note("SIGKILL");
        }
    }

    /// SIGSTOP: it stands still with all its sockets open.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// SIGTERM, and waits until the process is gone.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended(SOON).await
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let name = self.name.clone();
        let child = self
            .child
            .as_mut()
            .expect("a process that is waited for was started");
        let what = format!("node {name} ends");
        let status = eventually(within, &what, async || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await;
        self.child = None;
        status
    }

    /// Everything it has written so far, over all its starts.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into())
            .unwrap_or_default()
    }

    /// Waits until its log holds `text`.
    pub async fn logged(&self, text: &str) {
        let what = format!("the log of node {} tells {text:?}", self.name);
        eventually(SOON, &what, async || {
            check(self.log().contains(text), || "it does not".to_owned())
        })
        .await;
    }

    /// The end of its log, for the report of a failed test.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LINES_SHOWN);
        format!(
            "=== last lines of node {}\n{}\n",
            self.name,
            lines[from..].join("\n")
        )
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid().expect("only a running process gets a signal");
        self.note(signal);
        let sent = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(pid.to_string())
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "cannot send {signal} to {}",
            self.name
        );
    }

    fn note(&self, what: &str) {
        if let Ok(mut log) = File::options().append(true).open(&self.log) {
            let _ = writeln!(log, "--- lab: {what}");
        }
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
