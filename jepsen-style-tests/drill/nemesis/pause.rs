//! Processes that stand still, and one that gets almost nothing of the processor.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::drill::cgroup::Group;
use crate::drill::tools::signal;
use crate::judge::history::{AsteriskSaw, NodeSaw};
use crate::lab::LabError;

/// The leader stands still for less than the election time, again and again.
pub fn short(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let leader = arena.leader().await;
        arena.aim(&[leader]);
        let pid = arena.pid(leader).await?;
        arena.note(format!("{leader} stands still ten times for 200 ms"));
        for _ in 0..10 {
            signal(pid, Signal::SIGSTOP)?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            signal(pid, Signal::SIGCONT)?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(Healing::none())
    })
}

/// The leader stands still for as long as the fault lasts: it must find itself deposed before it
/// acts.
pub fn leader(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let leader = arena.leader().await;
        arena.aim(&[leader]);
        stop(arena, leader).await
    })
}

/// A follower does.
pub fn follower(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let follower = arena.follower().await;
        arena.aim(&[follower]);
        stop(arena, follower).await
    })
}

/// A whole host does, its Asterisk too.
pub fn host(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.leader().await;
        arena.aim(&[name]);
        let pid = arena.pid(name).await?;
        arena.note(format!("host {name} stands still, node and Asterisk"));
        signal(pid, Signal::SIGSTOP)?;
        arena.witness.asterisk(name, AsteriskSaw::StandsStill);
        arena.cluster.read().await.site(name).pbx.pause()?;
        Ok(Healing::by(move |arena| {
            Box::pin(async move {
                arena.cluster.read().await.site(name).pbx.resume()?;
                arena.witness.asterisk(name, AsteriskSaw::GoesOn);
                arena.note(format!("host {name} goes on"));
                signal(pid, Signal::SIGCONT)
            })
        }))
    })
}

async fn stop(arena: &Arena, name: &'static str) -> Result<Healing, LabError> {
    let pid = arena.pid(name).await?;
    arena.note(format!("{name} stands still"));
    signal(pid, Signal::SIGSTOP)?;
    arena.saw_node(name, NodeSaw::Stopped);
    Ok(Healing::by(move |arena| {
        Box::pin(async move {
            arena.note(format!("{name} goes on"));
            arena.saw_node(name, NodeSaw::Resumed);
            signal(pid, Signal::SIGCONT)
        })
    }))
}

/// The leader gets a twentieth of one processor.
pub fn starve(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let leader = arena.leader().await;
        arena.aim(&[leader]);
        let group = Group::starved(arena.pid(leader).await?, 5)?;
        arena.note(format!("{leader} gets 5 % of a processor"));
        Ok(Healing::by(move |arena| {
            Box::pin(async move {
                arena.note(format!("{leader} gets all it wants again"));
                let throttled = group.throttled();
                group.end()?;
                match throttled {
                    0 => Err(LabError::NoEffect(format!(
                        "{leader} never wanted more of the processor than it got"
                    ))),
                    _ => Ok(()),
                }
            })
        }))
    })
}
