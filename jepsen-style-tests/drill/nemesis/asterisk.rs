//! Asterisks that die, stand still, or are hard to talk to over ARI.

use std::time::Duration;

use super::cut::filter;
use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::judge::history::AsteriskSaw;
use crate::lab::{Fault, LabError};

/// An Asterisk that does not answer for so long stands still.
const STANDS_FOR: Duration = Duration::from_millis(500);
/// How long connections to ARI are reset.
const RESETS_FOR: Duration = Duration::from_secs(5);

/// An Asterisk dies with all its calls, and starts again.
pub fn kill(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!("SIGKILL to Asterisk {name}"));
        arena.chronicle.asterisk_dies(name);
        let mut cluster = arena.cluster.write().await;
        cluster.site_mut(name).pbx.kill().await?;
        drop(cluster);
        arena.witness.asterisk(name, AsteriskSaw::Died);
        Ok(Healing::by(move |arena| {
            Box::pin(async move {
                let mut cluster = arena.cluster.write().await;
                cluster.site_mut(name).pbx.restart().await?;
                cluster.oracle.hears_all().await;
                drop(cluster);
                arena.chronicle.asterisk_lives(name);
                arena.witness.asterisk(name, AsteriskSaw::Started);
                arena.note(format!("Asterisk {name} is back"));
                Ok(())
            })
        }))
    })
}

/// An Asterisk stands still, and then does late what it was asked.
pub fn pause(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!("Asterisk {name} stands still"));
        arena.witness.asterisk(name, AsteriskSaw::StandsStill);
        let cluster = arena.cluster.read().await;
        let pbx = &cluster.site(name).pbx;
        pbx.pause()?;
        let stands = !pbx.answers(STANDS_FOR).await;
        let effect = met(stands, || format!("Asterisk {name} goes on answering"));
        let healing = Healing::by(move |arena| {
            Box::pin(async move {
                arena.note(format!("Asterisk {name} goes on"));
                arena.cluster.read().await.site(name).pbx.resume()?;
                arena.witness.asterisk(name, AsteriskSaw::GoesOn);
                Ok(())
            })
        });
        Ok(healing.and_tell(effect))
    })
}

/// Every connection to the ARI of an Asterisk is reset, for less than what a node takes for the death
/// of its Asterisk (`asterisk_lost_after`, 10 s where ARI is not on loopback): one that refuses for
/// longer is given up with its calls, and when it comes back alive they begin anew.
pub fn reset(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!("every connection to the ARI of {name} is reset"));
        let rule = format!(
            "tcp dport {} counter reject with tcp reset",
            crate::lab::PROXY_PORT
        );
        let healing = filter(arena, name, "input", &rule)?;
        tokio::time::sleep(RESETS_FOR).await;
        healing.heal(arena).await?;
        Ok(Healing::none())
    })
}

/// The event socket is dropped and cannot be opened for a while.
pub fn events_cut(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        let length = arena.hold.1;
        arena.note(format!(
            "the event socket of Asterisk {name} is cut for {} s",
            length.as_secs()
        ));
        let cluster = arena.cluster.read().await;
        let before = cluster.site(name).pbx.proxy().cut();
        cluster.site(name).pbx.cut_websocket(length);
        Ok(Healing::by(move |arena| {
            Box::pin(async move {
                let cluster = arena.cluster.read().await;
                let pbx = &cluster.site(name).pbx;
                let after = pbx.proxy().cut();
                // It ends by itself; this is for the next one to be told from this one.
                pbx.cut_websocket(Duration::ZERO);
                met(after > before, || {
                    format!("there was no event socket of Asterisk {name} to cut")
                })
            })
        }))
    })
}

/// Answers of ARI come seconds late.
pub fn slow(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!("the ARI of {name} answers two seconds late"));
        fault(arena, name, Fault::Slow(Duration::from_secs(2))).await
    })
}

/// What ARI is asked is done, and the answer is lost.
pub fn answers_lost(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let name = arena.anyone();
        arena.aim(&[name]);
        arena.note(format!(
            "the ARI of {name} does what it is asked and no answer arrives"
        ));
        fault(arena, name, Fault::LoseAnswers).await
    })
}

async fn fault(arena: &Arena, name: &'static str, fault: Fault) -> Result<Healing, LabError> {
    let cluster = arena.cluster.read().await;
    let before = cluster.site(name).pbx.proxy().hurt();
    cluster.site(name).pbx.fault(fault);
    Ok(Healing::by(move |arena| {
        Box::pin(async move {
            arena.note(format!("the ARI of {name} is well again"));
            let cluster = arena.cluster.read().await;
            let pbx = &cluster.site(name).pbx;
            pbx.fault(Fault::None);
            met(pbx.proxy().hurt() > before, || {
                format!("the ARI of {name} was asked nothing")
            })
        })
    }))
}

fn met(met: bool, otherwise: impl FnOnce() -> String) -> Result<(), LabError> {
    match met {
        true => Ok(()),
        false => Err(LabError::NoEffect(otherwise())),
    }
}
