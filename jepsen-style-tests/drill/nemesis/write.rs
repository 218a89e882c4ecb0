//! One write to the log that goes wrong, by a library that is loaded before the program.
//!
//! What a node must make of it is the product's promise: a torn tail is cut, damage is never served.
//! A node that refuses its own log afterwards is replaced, as its message says.

use std::time::Duration;

use super::rejoin::replace;
use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::lab::LabError;
use crate::lab::cluster::Cluster;
use crate::lab::wait::until_true;

/// Half a write, then the process is gone.
pub fn torn(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!("the next write of {name} to its log is torn"));
        spoil(arena, name, "torn").await
    })
}

/// A write that is told as done has one wrong bit. The node does not know; it must find out when it
/// reads that again, at the latest at its next start.
pub fn flip(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!(
            "the next write of {name} to its log has a wrong bit"
        ));
        let met = order(arena, name, "flip").await;
        Ok(Healing::by(move |arena| {
            Box::pin(async move {
                met?;
                // It may have stopped by itself when it read that entry.
                arena.note(format!("SIGKILL to {name}, which must find the damage"));
                arena.kill(name).await;
                refuses_and_is_replaced(arena, name).await
            })
        }))
    })
}

/// One write finds no room.
pub fn no_room(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!("the next write of {name} to its log finds no room"));
        spoil(arena, name, "enospc").await
    })
}

/// Gives the order and waits until the node has stopped because of it.
async fn spoil(arena: &Arena, name: &str, how: &str) -> Result<Healing, LabError> {
    let effect = match order(arena, name, how).await {
        Ok(()) => arena.stops(name).await,
        missed => missed,
    };
    Ok(Healing::none().and_tell(effect))
}

/// Gives the order and waits until a write has met it; one that nothing met is taken back.
async fn order(arena: &Arena, name: &str, how: &str) -> Result<(), LabError> {
    let control = {
        let cluster = arena.cluster.read().await;
        control(&cluster, name)
    };
    // Written beside it and renamed, so that nobody reads half an order.
    let beside = control.with_extension("new");
    std::fs::write(&beside, how)
        .and_then(|()| std::fs::rename(&beside, &control))
        .map_err(|source| LabError::Io {
            what: control.display().to_string(),
            source,
        })?;
    let met = until_true("a write that is spoilt", || !control.exists()).await;
    match (met, std::fs::remove_file(&control)) {
        (Err(why), Ok(())) => Err(LabError::NoEffect(why.to_string())),
        // Met, perhaps just now.
        _ => Ok(()),
    }
}

/// Where a node's library looks for orders.
pub fn control(cluster: &Cluster, name: &str) -> std::path::PathBuf {
    cluster.folder().join(format!("{name}.shim"))
}

/// Starts a node whose log is damaged, demands that it refuses, and replaces it.
pub(super) async fn refuses_and_is_replaced(
    arena: &mut Arena,
    name: &'static str,
) -> Result<(), LabError> {
    arena.start(name).await?;
    let status = {
        let mut cluster = arena.cluster.write().await;
        let process = &mut cluster.site_mut(name).process;
        let waited = tokio::time::timeout(
            Duration::from_secs(15),
            process.ended(Duration::from_secs(20)),
        );
        waited.await.ok()
    };
    let Some(status) = status else {
        return Err(LabError::Refused(format!(
            "node {name} started with a damaged log and goes on as if nothing were"
        )));
    };
    let cluster = arena.cluster.read().await;
    let said = cluster.site(name).process.log();
    drop(cluster);
    if status.success() || !said.contains("--replace") {
        return Err(LabError::Refused(format!(
            "node {name} ended with {status} and did not say what to do about its damaged log"
        )));
    }
    arena.note(format!(
        "{name} refuses its damaged log and says what to do"
    ));
    replace(arena, name).await
}
