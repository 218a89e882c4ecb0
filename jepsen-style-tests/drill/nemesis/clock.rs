//! Clocks that are wrong: the wall clock jumps, and a host that has been up for long.
//!
//! Only the wall clock is faked. The monotonic clock is what a node counts with, and the library that
//! fakes it was seen to hang timers.

use std::path::{Path, PathBuf};

use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::lab::figures::wall_ms;
use crate::lab::wait::until;
use crate::lab::{LabError, moments};

const HOUR_MS: i64 = 3_600_000;
/// A stamp is that of a clock if it is no further from it.
const CLOSE_MS: i64 = 120_000;

/// Where Debian's package faketime puts its library.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// The environment of a process whose wall clock is set by this file.
pub fn environment(file: &Path) -> Result<Vec<(String, String)>, LabError> {
    let library = LIBRARIES
        .iter()
        .find(|library| Path::new(library).is_file());
    let library = library.ok_or_else(|| {
        LabError::Refused(
            "libfaketimeMT.so.1 is missing; install the Debian package faketime \
             (apt-get install faketime)"
                .into(),
        )
    })?;
    Ok(vec![
        ("LD_PRELOAD".into(), (*library).into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
        ("FAKETIME_NO_CACHE".into(), "1".into()),
        ("FAKETIME_TIMESTAMP_FILE".into(), file.display().to_string()),
    ])
}

/// The wall clock of the leader jumps an hour ahead, then an hour back behind the truth, then is right.
pub fn jump(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.leader().await;
        arena.aim(&[name]);
        set(arena, name, "+3600").await?;
        arena.note(format!("the wall clock of {name} is an hour ahead"));
        arena.hold().await;
        shows(arena, name, HOUR_MS).await?;
        set(arena, name, "-3600").await?;
        arena.note(format!("the wall clock of {name} is an hour behind"));
        Ok(Healing::by(move |arena| {
            Box::pin(async move {
                let seen = shows(arena, name, -HOUR_MS).await;
                arena.note(format!("the wall clock of {name} is right"));
                set(arena, name, "+0").await?;
                seen
            })
        }))
    })
}

/// Waits until a node's own log is stamped by a wall clock that is wrong by so much. Each caller that
/// comes makes it write a line.
async fn shows(arena: &Arena, name: &str, wrong_ms: i64) -> Result<(), LabError> {
    let shown = until("the log is stamped by the new clock", async || {
        let log = arena.cluster.read().await.site(name).process.log();
        let stamped = log.lines().rev().find_map(moments::of_log_line);
        let off_ms = stamped? - wall_ms() - wrong_ms;
        (off_ms.abs() < CLOSE_MS).then_some(())
    });
    shown.await.map_err(|_| {
        LabError::NoEffect(format!(
            "the log of {name} is not stamped by the clock that was set"
        ))
    })
}

/// Where a node's clock is set.
pub fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.clock"))
}

async fn set(arena: &Arena, name: &str, offset: &str) -> Result<(), LabError> {
    let cluster = arena.cluster.read().await;
    let file = file(cluster.folder(), name);
    std::fs::write(&file, offset).map_err(|source| LabError::Io {
        what: file.display().to_string(),
        source,
    })
}

/// A node is started again as if its machine had been up for a day more than the others.
pub fn boot(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        crate::lab::hosts::require("unshare", "util-linux")?;
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!(
            "{name} is killed and starts on a machine that has been up for a day longer"
        ));
        arena.kill(name).await;
        let usual = {
            let mut cluster = arena.cluster.write().await;
            let launch = &mut cluster.site_mut(name).process.launch;
            let usual = launch.prefix.clone();
            // Only a child lives in the new time; it ends with the process that we know.
            let words = [
                "unshare",
                "-T",
                "--monotonic",
                "86400",
                "--boottime",
                "86400",
                "--fork",
                "--kill-child=KILL",
            ];
            launch.prefix.extend(words.map(str::to_owned));
            usual
        };
        arena.start(name).await?;
        until("the node runs in a time of its own", async || {
            let pid = arena.pid(name).await.ok()?;
            let times = std::fs::read_to_string(format!("/proc/{pid}/timens_offsets"));
            let longer = times.ok()?.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some("monotonic") && words.next() == Some("86400")
            });
            longer.then_some(())
        })
        .await?;
        Ok(Healing::by(move |arena| {
            Box::pin(async move {
                arena.kill(name).await;
                let mut cluster = arena.cluster.write().await;
                cluster.site_mut(name).process.launch.prefix = usual;
                drop(cluster);
                arena.note(format!("{name} starts as usual"));
                arena.start(name).await
            })
        }))
    })
}
