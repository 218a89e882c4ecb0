//! Hosts that do not reach each other: one way, both ways, or all but one.
//!
//! Media and the observer are not touched: the cuts are at the switch, or name the other host.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Healing, Strike};
use crate::drill::arena::Arena;
use crate::lab::LabError;

/// `to` drops what `from` sends, in its own packet filter.
pub fn one_way(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let (from, to) = arena.two();
        let address = arena.hosts.address(from);
        arena.note(format!("{to} drops what {from} sends"));
        arena.aim(&[from, to]);
        let rule = format!("ip saddr {address} counter drop");
        filter(arena, to, "input", &rule)
    })
}

/// The switch does not pass on from one host to another; neither can see why.
pub fn at_switch(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let (from, to) = arena.two();
        arena.note(format!("the switch loses what goes from {from} to {to}"));
        arena.aim(&[from, to]);
        switch_drops(arena, &[(from, to)])
    })
}

/// Of three hosts one sees both others, which do not see each other.
pub fn bridge(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let (one, other) = arena.two();
        arena.note(format!("{one} and {other} do not reach each other"));
        arena.aim(&[one, other]);
        switch_drops(arena, &[(one, other), (other, one)])
    })
}

/// The leader is alone.
pub fn isolate_leader(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let leader = arena.leader().await;
        isolate(arena, leader)
    })
}

/// A follower is alone.
pub fn isolate_follower(arena: &mut Arena) -> Strike<'_> {
    Box::pin(async move {
        let follower = arena.follower().await;
        isolate(arena, follower)
    })
}

fn isolate(arena: &mut Arena, name: &'static str) -> Result<Healing, LabError> {
    arena.note(format!("{name} is alone: its port at the switch is down"));
    arena.aim(&[name]);
    port(arena, name, "down")?;
    Ok(Healing::by(move |arena| {
        Box::pin(async move {
            arena.note(format!("the port of {name} is up"));
            port(arena, name, "up")
        })
    }))
}

fn port(arena: &Arena, name: &str, state: &str) -> Result<(), LabError> {
    let port = format!("p-{name}");
    arena
        .hosts
        .on_switch("ip", &["link", "set", &port, state])
        .map(drop)
}

/// One more rule in the packet filter of a host; healed by taking it out again.
pub(super) fn filter(
    arena: &Arena,
    host: &'static str,
    hook: &str,
    rule: &str,
) -> Result<Healing, LabError> {
    let table = table("inet");
    let rules = format!(
        "table {table} {{\n chain {hook} {{\n  type filter hook {hook} priority -10; policy accept;\n  \
         {rule}\n }}\n}}"
    );
    arena.hosts.on(host, "nft", &[&rules])?;
    Ok(Healing::by(move |arena| {
        Box::pin(async move {
            arena.note(format!("the packet filter of {host} is open"));
            let (list, delete) = (
                format!("list table {table}"),
                format!("delete table {table}"),
            );
            let rules = arena.hosts.on(host, "nft", &[&list])?;
            arena.hosts.on(host, "nft", &[&delete])?;
            met(&rules)
        })
    }))
}

fn switch_drops(arena: &Arena, ways: &[(&str, &str)]) -> Result<Healing, LabError> {
    let drops: Vec<String> = ways
        .iter()
        .map(|(from, to)| format!("iifname p-{from} oifname p-{to} counter drop"))
        .collect();
    let table = table("bridge");
    let rules = format!(
        "table {table} {{\n chain forward {{\n  type filter hook forward priority 0; policy accept;\n  \
         {}\n }}\n}}",
        drops.join("\n  ")
    );
    arena.hosts.on_switch("nft", &[&rules])?;
    Ok(Healing::by(move |arena| {
        Box::pin(async move {
            arena.note("the switch passes on again what it lost");
            let (list, delete) = (
                format!("list table {table}"),
                format!("delete table {table}"),
            );
            let rules = arena.hosts.on_switch("nft", &[&list])?;
            arena.hosts.on_switch("nft", &[&delete])?;
            met(&rules)
        })
    }))
}

/// A table that no other strike has: two may be at one place.
fn table(family: &str) -> String {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    format!("{family} nemesis{}", SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// Demands that a rule met at least one packet, by its counter.
fn met(rules: &str) -> Result<(), LabError> {
    let mut counts = rules.split("packets ").skip(1);
    if counts.any(|rest| !rest.starts_with("0 ")) {
        return Ok(());
    }
    Err(LabError::NoEffect(format!(
        "a rule of the packet filter met nothing: {rules}"
    )))
}

#[cfg(test)]
mod tests {
    use super::met;

    #[test]
    fn a_rule_that_met_no_packet_is_told() {
        let rules = |packets| format!("tcp counter packets {packets} bytes 0 drop");
        assert!(met(&rules(0)).is_err());
        assert!(met("").is_err(), "nothing was listed");
        assert!(met(&[rules(0), rules(10)].join("\n")).is_ok());
    }
}
