//! Processes that die by SIGKILL and come back.

use rand::seq::SliceRandom;

use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::lab::LabError;
use crate::lab::cluster::NAMES;

/// The leader.
pub fn leader(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let leader = arena.leader().await;
        kill(arena, vec![leader]).await
    })
}

/// A follower.
pub fn follower(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let follower = arena.follower().await;
        kill(arena, vec![follower]).await
    })
}

/// A majority, the leader among them.
pub fn two(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let both = vec![arena.leader().await, arena.follower().await];
        kill(arena, both).await
    })
}

/// Everybody.
pub fn all(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move { kill(arena, NAMES.to_vec()).await })
}

async fn kill(arena: &mut Arena, mut names: Vec<&'static str>) -> Result<Healing, LabError> {
    arena.note(format!("SIGKILL to {}", names.join(", ")));
    arena.aim(&names);
    for name in &names {
        arena.kill(name).await;
    }
    names.shuffle(&mut arena.rng);
    Ok(Healing::by(move |arena| {
        Box::pin(async move {
            for name in names {
                arena.start(name).await?;
                arena.note(format!("node {name} is started again"));
            }
            Ok(())
        })
    }))
}
