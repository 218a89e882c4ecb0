//! How the leader is taken away: asked to step down, or killed by the operator's own means.
//!
//! The drill has no right of its own to any process but by `--kill-pid`, and there it looks first
//! whether that is a node at all.

use super::seen::{How, Note, What};
use super::watch::{Door, Watch};
use crate::args::DrillArgs;
use crate::failure::{CONFLICT, FAILED, Failure, USAGE};
use crate::output::Out;
use holdfast_admin::api::ClusterView;
use reqwest::Method;
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;

/// For the operator's command to end.
const COMMAND: Duration = Duration::from_secs(60);
/// For the operator to do it by hand.
const BY_HAND: Duration = Duration::from_secs(300);
/// Looks for what happens meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// What the arguments ask for.
pub fn how(args: &DrillArgs) -> How {
    match (&args.kill_command, args.kill_pid) {
        _ if args.step_down => How::StepDown,
        (Some(_), _) => How::KillCommand,
        (_, Some(_)) => How::KillPid,
        _ if args.by_hand => How::ByHand,
        _ => How::Watched,
    }
}

/// Refuses a process that is no node, before anything is done.
pub fn check(args: &DrillArgs) -> Result<(), Failure> {
    let Some(pid) = args.kill_pid else {
        return Ok(());
    };
    let words = std::fs::read(format!("/proc/{pid}/cmdline"))
        .map_err(|error| Failure::new(USAGE, format!("there is no process {pid} here: {error}")))?;
    let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
    let program = words
        .first()
        .and_then(|word| word.rsplit(|b| *b == b'/').next());
    if program == Some(b"holdfast") && words.contains(&b"serve".as_slice()) {
        return Ok(());
    }
    Err(
        Failure::new(USAGE, format!("process {pid} is no `holdfast serve`"))
            .fix("pidof holdfast, on the leader's machine"),
    )
}

/// Takes the leader away. Answers when that was, on the watch's clock.
pub async fn strike(
    out: Out,
    args: &DrillArgs,
    watch: &Watch,
    doors: &[Door],
    leader: &str,
    term: u64,
) -> Result<f64, Failure> {
    let begun = watch.now_ms();
    let is_cut = |note: &Note| note.node == leader && note.what == What::Cut;
    // A machine without power closes no socket: then its absence shows in what the others say.
    let is_missed = |note: &Note| {
        note.node != leader
            && matches!(&note.what, What::Led { leader, term: now } if leader.is_none() || *now > term)
    };
    let is_gone = |note: &Note| is_cut(note) || is_missed(note);
    let gone = || watch.has(begun, is_gone);
    match how(args) {
        How::Watched => {}
        How::StepDown => {
            // Asked of a node that goes on, so that the answer does not hang on the leader.
            let door = doors.iter().find(|door| door.node != leader);
            let door = door.ok_or_else(|| Failure::new(CONFLICT, "there is no other node"))?;
            let body = json!({ "to": args.to });
            let none: &[(&'static str, String)] = &[];
            let path = "/v1/cluster/leader";
            let _: ClusterView = door
                .client
                .write(Method::PUT, path, Some(&body), none)
                .await?;
        }
        How::KillPid => {
            let pid = args.kill_pid.unwrap_or(0).to_string();
            run("kill", &["-KILL", &pid], leader, gone).await?;
        }
        How::KillCommand => {
            let command = args.kill_command.as_deref().unwrap_or_default();
            run("sh", &["-c", command], leader, gone).await?;
        }
        How::ByHand => {
            out.say(&format!(
                "kill the leader, node {leader}, now; for instance, on its machine:\n    \
                 systemctl kill -s SIGKILL holdfast"
            ));
            let waited = tokio::time::timeout(BY_HAND, until(gone)).await;
            waited.map_err(|_| {
                let text = format!("node {leader} still lives after {} s", BY_HAND.as_secs());
                Failure::new(FAILED, text)
            })?;
        }
    }
    // Whoever dies closes his sockets: nearer to the truth than the command's own time.
    let cut = watch.first(begun, is_cut);
    Ok(match (how(args), cut) {
        (How::StepDown | How::Watched, _) => begun,
        (_, Some(cut)) => cut.at_ms,
        (How::ByHand, None) => watch.first(begun, is_gone).map_or(begun, |note| note.at_ms),
        (_, None) => begun,
    })
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Runs the operator's command to its end, or until the leader is gone: a command by ssh may hang
/// when its machine dies.
async fn run(
    program: &str,
    words: &[&str],
    leader: &str,
    gone: impl Fn() -> bool,
) -> Result<(), Failure> {
    let mut child = tokio::process::Command::new(program)
        .args(words)
        .env("LEADER", leader)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::new(FAILED, format!("cannot run {program}: {error}")))?;
    let ended = tokio::select! {
        ended = child.wait() => ended?,
        () = until(&gone) => match tokio::time::timeout(Duration::from_secs(5), child.wait()).await {
            Ok(ended) => ended?,
            Err(_) => return Ok(()),
        },
        () = tokio::time::sleep(COMMAND) => {
            let text = format!("the command did not end within {} s", COMMAND.as_secs());
            return Err(Failure::new(FAILED, text));
        }
    };
    // Its sockets may close a moment after the command has ended.
    let _ = tokio::time::timeout(Duration::from_secs(1), until(&gone)).await;
    if !ended.success() && !gone() {
        let text = format!("the command failed: {ended}; node {leader} lives");
        return Err(Failure::new(FAILED, text));
    }
    Ok(())
}
