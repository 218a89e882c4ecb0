//! What a node hears from the others by way of a proxy: late, never, or done and not answered.
//!
//! What stands below TCP (order and doubling of packets) is not reproduced, and TCP hides it.

use std::time::Duration;

use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::lab::{Fault, LabError};

/// Answers of a node to the others come late.
pub fn delay(arena: &mut Arena) -> Strike<'_> {
    strike(arena, "answers the others 150 ms late", |_| {
        Fault::Slow(Duration::from_millis(150))
    })
}

/// Answers of a node to the others come late, and never equally so.
pub fn jitter(arena: &mut Arena) -> Strike<'_> {
    strike(arena, "answers the others 0 to 400 ms late", |arena| {
        Fault::Jitter {
            most: Duration::from_millis(400),
            seed: arena.between(1, 1 << 30).as_millis() as u64,
        }
    })
}

/// What is sent to a node arrives nowhere, and connections stay open.
pub fn hole(arena: &mut Arena) -> Strike<'_> {
    strike(arena, "is a black hole for the others", |_| Fault::Hole)
}

/// What a node is asked is done, and the answer is lost.
pub fn answers_lost(arena: &mut Arena) -> Strike<'_> {
    strike(
        arena,
        "does what the others ask, and no answer arrives",
        |_| Fault::LoseAnswers,
    )
}

fn strike<'a>(
    arena: &'a mut Arena,
    what: &'static str,
    fault: fn(&mut Arena) -> Fault,
) -> Strike<'a> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        let fault = fault(arena);
        arena.note(format!("{name} {what}"));
        let before = set(arena, name, fault).await?;
        Ok(Healing::by(move |arena| {
            Box::pin(async move {
                arena.note(format!("the wire of {name} is whole again"));
                let after = set(arena, name, Fault::None).await?;
                if after == before {
                    return Err(LabError::NoEffect(format!(
                        "nothing passed the wire of {name}"
                    )));
                }
                Ok(())
            })
        }))
    })
}

/// Sets the fault; how many pieces were hurt so far.
async fn set(arena: &Arena, name: &str, fault: Fault) -> Result<u64, LabError> {
    let cluster = arena.cluster.read().await;
    let wire = cluster.site(name).wire.as_ref();
    let wire =
        wire.ok_or_else(|| LabError::Refused(format!("the others reach node {name} by no proxy")))?;
    wire.fault(fault);
    Ok(wire.hurt())
}
