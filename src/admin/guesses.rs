//! Wrong tokens by the address they come from: a burst is forgiven, then only so many a second are
//! looked at, so that a short token of somebody's own making cannot be found by trying.
//!
//! Requests without a token are not counted, they guess nothing. While an address is over its limit
//! its right tokens are refused too: else trying would go on as before. The unix socket has no
//! address and is never limited, so whoever is on the machine can always work.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Wrong tokens that are forgiven.
const BURST: u32 = 100;
/// For one to be forgotten.
const FORGET: Duration = Duration::from_millis(100);
/// Addresses that are remembered; when there are more, the one that will be forgotten first goes.
const ADDRESSES_MAX: usize = 4096;

/// Who has sent wrong tokens lately.
#[derive(Debug, Default)]
pub struct Guesses {
    /// When all wrong tokens of an address are forgotten.
    until: Mutex<BTreeMap<Group, Instant>>,
    wrong: AtomicU64,
}

/// An address; of IPv6 the network, because a host may have all of it.
type Group = [u8; 8];

fn group(from: IpAddr) -> Group {
    let v6 = match from {
        IpAddr::V4(v4) => {
            let mut group = [0xff; 8];
            group[4..].copy_from_slice(&v4.octets());
            return group;
        }
        IpAddr::V6(v6) => v6,
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return group(v4.into());
    }
    let mut group = [0; 8];
    group.copy_from_slice(&v6.octets()[..8]);
    group
}

impl Guesses {
    fn until(&self) -> MutexGuard<'_, BTreeMap<Group, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no token from this address is looked at now.
    pub fn are_too_many(&self, from: IpAddr) -> bool {
        let until = self.until().get(&group(from)).copied();
        until.is_some_and(|until| until > Instant::now() + FORGET * BURST)
    }

    pub fn note_wrong(&self, from: IpAddr) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut all = self.until();
        let key = group(from);
        if all.len() >= ADDRESSES_MAX && !all.contains_key(&key) {
            all.retain(|_, until| *until > now);
            let first = all.iter().min_by_key(|(_, until)| **until);
            if let Some(first) = first.map(|(key, _)| *key)
                && all.len() >= ADDRESSES_MAX
            {
                all.remove(&first);
            }
        }
        let until = all.entry(key).or_insert(now);
        *until = (*until).max(now) + FORGET;
    }

    /// Wrong tokens since the start.
    pub fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_forgiven_then_only_so_many_a_second_are_looked_at() {
        let guesses = Guesses::default();
        let (bad, good) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut seen = 0;
        for _ in 0..1000 {
            if !guesses.are_too_many(bad) {
                guesses.note_wrong(bad);
                seen += 1;
            }
        }
        assert_eq!(seen, BURST + 1);
        assert!(!guesses.are_too_many(good), "others are not touched");
        tokio::time::sleep(Duration::from_secs(1)).await;
        while !guesses.are_too_many(bad) {
            guesses.note_wrong(bad);
            seen += 1;
        }
        assert!((BURST + 10..=BURST + 12).contains(&seen), "{seen}");
        tokio::time::sleep(FORGET * (BURST + 2)).await;
        assert!(!guesses.are_too_many(bad));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_a_network_is_one_guesser() {
        let guesses = Guesses::default();
        for n in 0..(ADDRESSES_MAX as u32 + 500) {
            guesses.note_wrong(IpAddr::from(n.to_be_bytes()));
        }
        assert_eq!(guesses.until().len(), ADDRESSES_MAX);
        for host in 0..=(BURST as u16) {
            guesses.note_wrong(IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, host]));
        }
        assert!(guesses.are_too_many("2001:db8:0:7::ffff".parse().unwrap()));
        assert!(!guesses.are_too_many("2001:db8:0:8::1".parse().unwrap()));
    }
}
