//! Nodes that are stopped and started one after the other, as for an upgrade.

use std::path::PathBuf;
use std::time::Duration;

use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::drill::settle::ready;
use crate::lab::LabError;
use crate::lab::cluster::NAMES;

/// Names the binary of the release before this one.
pub const PREVIOUS: &str = "HOLDFAST_PREVIOUS_BINARY";

/// Each node in turn gets SIGTERM and is started again when it has ended.
pub fn restart(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        arena.aim(&NAMES);
        for name in NAMES {
            arena.note(format!("{name} is restarted"));
            again(arena, name).await?;
        }
        Ok(Healing::none())
    })
}

/// The binary of the release before this one, which [`PREVIOUS`] names; `None` if it names none.
pub fn previous() -> Result<Option<PathBuf>, LabError> {
    match std::env::var_os(PREVIOUS).map(PathBuf::from) {
        Some(path) if !path.is_file() => Err(LabError::Refused(format!(
            "{PREVIOUS} names {}, which is no file",
            path.display()
        ))),
        named => Ok(named),
    }
}

/// The cluster was founded with the previous release's binary; each node in turn gets the new one, so
/// that both versions work together meanwhile.
///
/// There is no released binary yet. Where [`PREVIOUS`] names none, the program of this build takes
/// its place: the procedure is drilled, the mixture of versions is not.
pub fn upgrade(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        arena.aim(&NAMES);
        let which = match previous()? {
            Some(path) => path.display().to_string(),
            None => format!("this same build ({PREVIOUS} is not set)"),
        };
        arena.note(format!("the previous binary is {which}"));
        for name in NAMES {
            arena.hold().await;
            arena.note(format!("{name} gets the new binary"));
            let mut cluster = arena.cluster.write().await;
            cluster.site_mut(name).process.launch.program = None;
            drop(cluster);
            again(arena, name).await?;
        }
        Ok(Healing::none())
    })
}

async fn again(arena: &Arena, name: &'static str) -> Result<(), LabError> {
    arena.terminate(name).await?;
    arena.start(name).await?;
    ready(arena, name, Duration::from_secs(60)).await;
    Ok(())
}
