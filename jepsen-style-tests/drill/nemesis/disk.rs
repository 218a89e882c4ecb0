//! Disks that are full, read-only, slow, or lose power.

use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::drill::cgroup::Group;
use crate::lab::LabError;
use std::time::Duration;

/// The disk of a node is full.
pub fn full(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!("the disk of {name} is full"));
        arena.disks.fill(name)?;
        let effect = arena.stops(name).await;
        let healing = Healing::by(move |arena| {
            Box::pin(async move {
                arena.note(format!("the disk of {name} has room again"));
                arena.disks.empty(name)
            })
        });
        Ok(healing.and_tell(effect))
    })
}

/// The disk of a node cannot be written.
pub fn read_only(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!("the disk of {name} is read-only"));
        arena.disks.read_only(name, true)?;
        let effect = arena.stops(name).await;
        let healing = Healing::by(move |arena| {
            Box::pin(async move {
                // A disk can be mounted anew only when nobody uses it.
                arena.kill(name).await;
                arena.note(format!("the disk of {name} can be written again"));
                arena.disks.read_only(name, false)
            })
        });
        Ok(healing.and_tell(effect))
    })
}

/// Power of one host fails.
pub fn power_of_one(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        power(arena, vec![name]).await
    })
}

/// Power of all hosts fails in one moment. Their Asterisks have a supply of their own here, so that
/// callers can be compared before and after.
pub fn power_of_all(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move { power(arena, crate::lab::cluster::NAMES.to_vec()).await })
}

async fn power(arena: &mut Arena, names: Vec<&'static str>) -> Result<Healing, LabError> {
    arena.aim(&names);
    arena.note(format!(
        "power fails at {}: what was not synced is lost",
        names.join(", ")
    ));
    for name in &names {
        arena.disks.power_fails(name)?;
    }
    for name in &names {
        arena.kill(name).await;
    }
    Ok(Healing::by(move |arena| {
        Box::pin(async move {
            for name in names {
                arena.disks.power_returns(name)?;
                arena.note(format!("power is back at {name}"));
                arena.start(name).await?;
            }
            Ok(())
        })
    }))
}

/// The disk of a node does 20 writes a second.
pub fn slow(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        let device = arena.disks.device(name)?;
        let pid = arena.pid(name).await?;
        let group = Group::slow_disk(pid, &device, 20)?;
        arena.note(format!("the disk of {name} does 20 writes a second"));
        let effect = arena.syncs_slowly(name, Duration::from_millis(50)).await;
        let healing = Healing::by(move |arena| {
            Box::pin(async move {
                arena.note(format!("the disk of {name} is fast again"));
                group.end()
            })
        });
        Ok(healing.and_tell(effect))
    })
}
