//! Calls to fsync that kill, fail or crawl, by strace on the running process.

use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::drill::tools::strace;
use std::time::Duration;

const SYNCS: &str = "fdatasync,fsync";

/// The process dies in the n-th fsync from now: written, not acknowledged.
pub fn kill(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        let nth = arena.between(1, 20).as_millis();
        arena.note(format!("{name} will die in its {nth}. fdatasync from now"));
        let rule = format!("fdatasync:signal=SIGKILL:when={nth}");
        let healing = inject(arena, name, rule).await?;
        Ok(healing.and_tell(arena.stops(name).await))
    })
}

/// The n-th fsync from now, and all after it, fail.
pub fn fail(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        let nth = arena.between(1, 20).as_millis();
        arena.note(format!(
            "{name} gets EIO for its {nth}. fdatasync from now, and for all after it"
        ));
        let rule = format!("fdatasync:error=EIO:when={nth}+");
        let healing = inject(arena, name, rule).await?;
        Ok(healing.and_tell(arena.stops(name).await))
    })
}

/// Each fsync takes long.
pub fn slow(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!(
            "each fdatasync and fsync of {name} takes 200 ms more"
        ));
        let healing = inject(arena, name, format!("{SYNCS}:delay_enter=200000")).await?;
        let effect = arena.syncs_slowly(name, Duration::from_millis(200)).await;
        Ok(healing.and_tell(effect))
    })
}

async fn inject(
    arena: &Arena,
    name: &'static str,
    rule: String,
) -> Result<Healing, crate::lab::LabError> {
    let pid = arena.pid(name).await?;
    let strace = strace(pid, SYNCS, &[rule]).await?;
    Ok(Healing::by(move |arena| {
        Box::pin(async move {
            arena.note(format!("strace lets go of {name}"));
            let mut strace = strace;
            if strace.has_ended() {
                return Ok(());
            }
            strace.end().await
        })
    }))
}
