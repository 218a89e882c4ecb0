//! Members that leave and come back under load, and a node that lost its disk.

use std::time::Duration;

use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::lab::LabError;
use crate::lab::cluster::NAMES;
use crate::lab::eventually::{check, eventually};

/// A change of members may take so long under load.
const CHANGES_WITHIN: Duration = Duration::from_secs(60);

/// A follower is removed from the cluster, and added again as a new one.
pub fn remove_and_add(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let follower = arena.follower().await;
        remove(arena, follower).await
    })
}

/// The leader is removed from the cluster, and added again as a new node.
pub fn remove_leader(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let leader = arena.leader().await;
        remove(arena, leader).await
    })
}

async fn remove(arena: &mut Arena, name: &'static str) -> Result<Healing, LabError> {
    arena.aim(&[name]);
    arena.note(format!("{name} is removed from the cluster"));
    let path = format!("/v1/cluster/members/{name}");
    by_another(arena, name, "DELETE", &path, None).await?;
    arena.kill(name).await;
    Ok(Healing::by(move |arena| {
        Box::pin(async move {
            wipe(arena, name).await?;
            join(arena, name, false).await
        })
    }))
}

/// A follower loses its disk and takes its old place as a new node.
pub fn wiped(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.follower().await;
        arena.aim(&[name]);
        arena.note(format!("SIGKILL to {name}"));
        arena.kill(name).await;
        Ok(Healing::by(move |arena| Box::pin(replace(arena, name))))
    })
}

/// A node whose data cannot be used any more: with an empty folder it takes its old place.
pub(super) async fn replace(arena: &mut Arena, name: &'static str) -> Result<(), LabError> {
    wipe(arena, name).await?;
    join(arena, name, true).await
}

async fn wipe(arena: &Arena, name: &str) -> Result<(), LabError> {
    arena.kill(name).await;
    let cluster = arena.cluster.read().await;
    let folder = cluster.folder().join(name);
    let failed = |source| LabError::Io {
        what: folder.display().to_string(),
        source,
    };
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let removed = match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        removed.map_err(failed)?;
    }
    Ok(())
}

/// Starts an empty node and takes it into the cluster.
async fn join(arena: &Arena, name: &'static str, replace: bool) -> Result<(), LabError> {
    arena.start(name).await?;
    let how = if replace {
        "takes its old place"
    } else {
        "is added"
    };
    arena.note(format!("{name} has an empty disk and {how}"));
    let addr = arena.cluster.read().await.raft_addr(name).to_string();
    let path = format!("/v1/cluster/members/{name}");
    let body = serde_json::json!({ "addr": addr, "replace": replace }).to_string();
    by_another(arena, name, "PUT", &path, Some(body)).await
}

/// Has another node change the members, until the change is seen to hold.
async fn by_another(
    arena: &Arena,
    name: &'static str,
    method: &str,
    path: &str,
    body: Option<String>,
) -> Result<(), LabError> {
    let others = NAMES.into_iter().filter(|other| *other != name);
    let what = format!("{method} {path}");
    let mut apis = Vec::new();
    for other in others {
        apis.push(arena.api(other).await);
    }
    let mut turn = 0;
    eventually(CHANGES_WITHIN, &what, async || {
        turn += 1;
        let api = &apis[turn % apis.len()];
        let body = body.clone().map(|text| ("application/json", text));
        let answer = api.send(method, path, body).await?;
        // A change that was done and not answered is found done when it is asked for again.
        let gone = method == "DELETE" && answer.status == 404;
        let done = (200..300).contains(&answer.status) || gone;
        check(done, || format!("{}: {}", answer.status, answer.text))
    })
    .await;
    Ok(())
}
