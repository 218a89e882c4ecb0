//! Links between hosts that lose, reset or crawl.

use super::cut::filter;
use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::lab::LabError;

/// A host loses a part of all packets that come to it over the switch.
pub fn loss(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let host = arena.anyone();
        arena.aim(&[host]);
        arena.note(format!("{host} loses 20 % of what comes over the switch"));
        let rule = "iifname eth0 numgen random mod 100 < 20 counter drop";
        filter(arena, host, "input", rule)
    })
}

/// Every connection between this host and the others is reset, and so is every new one.
pub fn reset(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let host = arena.anyone();
        arena.aim(&[host]);
        arena.note(format!(
            "{host} resets what it sends over the switch by TCP"
        ));
        let rule = "oifname eth0 meta l4proto tcp counter reject with tcp reset";
        filter(arena, host, "output", rule)
    })
}

/// A host sends no faster than an old modem.
pub fn slow(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        crate::lab::hosts::require("tc", "iproute2")?;
        let host = arena.anyone();
        arena.aim(&[host]);
        arena.note(format!("{host} sends 32 kbit/s over the switch"));
        let bucket = [
            "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "32kbit", "burst", "3200",
            "latency", "2s",
        ];
        arena.hosts.on(host, "tc", &bucket)?;
        Ok(Healing::by(move |arena| {
            Box::pin(async move {
                arena.note(format!("{host} sends fast again"));
                let show = ["-s", "qdisc", "show", "dev", "eth0"];
                let bucket = arena.hosts.on(host, "tc", &show)?;
                let delete = ["qdisc", "del", "dev", "eth0", "root"];
                arena.hosts.on(host, "tc", &delete)?;
                waited(&bucket)
            })
        }))
    })
}

/// Demands that a packet had to wait in the bucket, by what `tc -s` tells of it.
fn waited(bucket: &str) -> Result<(), LabError> {
    let count = bucket.split_once("overlimits ").map(|(_, rest)| rest);
    let count = count.and_then(|rest| rest.split_whitespace().next());
    match count.and_then(|count| count.parse::<u64>().ok()) {
        Some(1..) => Ok(()),
        _ => Err(LabError::NoEffect(format!(
            "no packet had to wait for the slow link: {bucket}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::waited;

    #[test]
    fn a_slow_link_for_which_nothing_waited_is_told() {
        let bucket =
            |waited| format!("Sent 80 bytes 1 pkt (dropped 0, overlimits {waited} requeues 0)");
        assert!(waited(&bucket(0)).is_err());
        assert!(waited("qdisc noqueue 0: root refcnt 2").is_err());
        assert!(waited(&bucket(12)).is_ok());
    }
}
