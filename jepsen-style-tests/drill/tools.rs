//! Programs that a fault lasts as long as: started for it, ended with it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::LabError;
use crate::lab::wait::until_true;

/// A program at work beside a node. Dropping it ends it.
#[derive(Debug)]
pub struct Helper {
    what: String,
    child: Child,
}

impl Helper {
    /// Starts it.
    pub fn start(program: &str, arguments: &[String]) -> Result<Helper, LabError> {
        let what = format!("{program} {}", arguments.join(" "));
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| LabError::Io {
                what: what.clone(),
                source,
            })?;
        Ok(Helper { what, child })
    }

    /// Asks it to end, as strace wants it to let go of its process, and waits until it has.
    pub async fn end(mut self) -> Result<(), LabError> {
        signal(self.child.id(), Signal::SIGTERM)?;
        let ended = || matches!(self.child.try_wait(), Ok(Some(_)));
        until_true(&format!("end of {}", self.what), ended).await
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// strace at work on a process that runs, with these rules of what it does to its system calls.
/// Returns when it has taken hold.
pub async fn strace(pid: u32, calls: &str, rules: &[String]) -> Result<Helper, LabError> {
    crate::lab::hosts::require("strace", "strace")?;
    let mut arguments = vec![
        "-f".to_owned(),
        "-q".into(),
        "-o".into(),
        "/dev/null".into(),
    ];
    arguments.extend(["-e".to_owned(), format!("trace={calls}")]);
    for rule in rules {
        arguments.extend(["-e".to_owned(), format!("inject={rule}")]);
    }
    arguments.extend(["-p".to_owned(), pid.to_string()]);
    let mut helper = Helper::start("strace", &arguments)?;
    until_true("strace takes hold", || traced(pid) || helper.has_ended()).await?;
    // It holds the first thread; the others follow within a moment.
    tokio::time::sleep(Duration::from_millis(50)).await;
    if helper.has_ended() {
        return Err(LabError::Refused(format!(
            "strace cannot hold process {pid}; it needs root and ptrace"
        )));
    }
    Ok(helper)
}

fn traced(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: Signal) -> Result<(), LabError> {
    kill(Pid::from_raw(pid as i32), signal)
        .map_err(|error| LabError::Refused(format!("{signal} to process {pid}: {error}")))
}
