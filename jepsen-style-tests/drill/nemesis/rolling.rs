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

/// How long a node may take to be ready again.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The same when another fault may leave no majority: then the next one has its turn.
const BESIDE: Duration = Duration::from_secs(10);

/// Each node in turn gets SIGTERM and is started again when it has ended.
pub fn restart(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let turn = free(arena);
        for &name in &turn {
            arena.note(format!("{name} is restarted"));
            again(arena, name, turn.len()).await?;
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
        let turn = free(arena);
        let which = match previous()? {
            Some(path) => path.display().to_string(),
            None => format!("this same build ({PREVIOUS} is not set)"),
        };
        arena.note(format!("the previous binary is {which}"));
        for &name in &turn {
            arena.hold().await;
            arena.note(format!("{name} gets the new binary"));
            let mut cluster = arena.cluster.write().await;
            cluster.site_mut(name).process.launch.program = None;
            drop(cluster);
            again(arena, name, turn.len()).await?;
        }
        // Whom another fault has hold of starts with it when that is over.
        let mut cluster = arena.cluster.write().await;
        for name in NAMES {
            cluster.site_mut(name).process.launch.program = None;
        }
        Ok(Healing::none())
    })
}

/// The nodes whose turn it is: all but those that another fault has hold of, which may be dead, or
/// stand still and take no signal.
fn free(arena: &mut Arena) -> Vec<&'static str> {
    let held = |name: &&str| arena.targets.contains(*name);
    let free = NAMES.into_iter().filter(|name| !held(name)).collect();
    arena.aim(&NAMES);
    free
}

async fn again(arena: &Arena, name: &'static str, of: usize) -> Result<(), LabError> {
    arena.terminate(name).await?;
    arena.start(name).await?;
    if of == NAMES.len() {
        ready(arena, name, READY_WITHIN).await;
    } else if tokio::time::timeout(BESIDE, ready(arena, name, READY_WITHIN))
        .await
        .is_err()
    {
        arena.note(format!("{name} cannot be ready beside the other fault"));
    }
    Ok(())
}
