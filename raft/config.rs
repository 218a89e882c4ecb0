//! Settings of one node of the store, checked before anything is opened.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use subtle::ConstantTimeEq;

use crate::{Faults, World};

/// Longest name of a node, in bytes.
const NAME_MAX: usize = 64;
/// Shortest cluster secret, in bytes.
const SECRET_MIN: usize = 16;

/// Settings of one node. `bootstrap_expect` and `join` are the same on every node and are read only
/// while the data folder is empty.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this node, unique in the cluster: `[A-Za-z0-9_.-]{1,64}`.
    pub name: String,
    /// Folder for everything this node keeps. Created if missing; locked while in use.
    pub data_dir: PathBuf,
    /// Where this node listens for the others. Port 0 picks a free one (for a single node).
    pub listen: SocketAddr,
    /// `host:port` under which the others reach this node. Empty: the bound address.
    pub advertise: String,
    /// `host:port` of the other nodes (the own address may be among them).
    pub join: Vec<String>,
    /// How many nodes form the cluster the first time. 1: a single node, at once. 0: never form
    /// one, wait to be added.
    pub bootstrap_expect: usize,
    /// Shared by all nodes of the cluster; at least 16 bytes.
    pub secret: Secret,
    /// Heartbeat of the leader, in milliseconds.
    pub heartbeat_ms: u64,
    /// Shortest wait for an election, in milliseconds.
    pub election_min_ms: u64,
    /// Longest wait for an election, and the length of the leader's lease, in milliseconds.
    pub election_max_ms: u64,
    /// A snapshot is made after this many log entries.
    pub snapshot_every: u64,
    /// This many entries behind the snapshot are kept for followers that are a little behind.
    pub log_keep: u64,
    /// A log segment file is closed when it grew to this many bytes.
    pub segment_bytes: u64,
    /// Snapshots travel in chunks of this many bytes.
    pub snapshot_chunk_bytes: u64,
    /// The journal keeps at most this many events.
    pub journal_max_events: u64,
    /// The journal drops events older than this on the cluster clock, in milliseconds.
    pub journal_max_age_ms: u64,
    /// Faults that tests inject. Without effect unless a test sets one.
    pub faults: Faults,
    /// The machine to run on: the real one, unless a simulation gives another.
    pub world: World,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            name: String::new(),
            data_dir: PathBuf::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: String::new(),
            join: Vec::new(),
            bootstrap_expect: 1,
            secret: Secret::new(""),
            heartbeat_ms: 100,
            election_min_ms: 300,
            election_max_ms: 600,
            snapshot_every: 5_000,
            log_keep: 1_000,
            segment_bytes: 16 * 1024 * 1024,
            snapshot_chunk_bytes: 1024 * 1024,
            journal_max_events: 2_000_000,
            journal_max_age_ms: 90 * 24 * 3_600_000,
            faults: Faults::default(),
            world: World::default(),
        }
    }
}

/// A setting that cannot be used: which, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct ConfigError {
    /// Name of the setting.
    pub key: &'static str,
    /// What is wrong with the value and what would be right.
    pub why: String,
}

impl Config {
    /// Checks every setting; the first bad one is named.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let bad = |key, why: String| Err(ConfigError { key, why });
        if !valid_name(&self.name) {
            let shown: String = self.name.chars().take(NAME_MAX).collect();
            return bad(
                "name",
                format!("{shown:?} must match [A-Za-z0-9_.-]{{1,{NAME_MAX}}}"),
            );
        }
        if self.data_dir.as_os_str().is_empty() {
            return bad("data_dir", "is empty; name a folder".into());
        }
        if self.secret.0.len() < SECRET_MIN {
            return bad("secret", format!("needs at least {SECRET_MIN} bytes"));
        }
        if !self.secret.0.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return bad(
                "secret",
                "may hold printable ASCII without spaces only".into(),
            );
        }
        if self.heartbeat_ms < 10 || self.heartbeat_ms > 60_000 {
            let v = self.heartbeat_ms;
            return bad("heartbeat_ms", format!("{v} is not within 10..=60000"));
        }
        if self.election_min_ms < 2 * self.heartbeat_ms {
            let (v, h) = (self.election_min_ms, self.heartbeat_ms);
            return bad(
                "election_min_ms",
                format!("{v} must be at least twice heartbeat_ms ({h})"),
            );
        }
        if self.election_max_ms <= self.election_min_ms || self.election_max_ms > 600_000 {
            let (v, m) = (self.election_max_ms, self.election_min_ms);
            return bad(
                "election_max_ms",
                format!("{v} must be above election_min_ms ({m}) and at most 600000"),
            );
        }
        if self.bootstrap_expect > 1 && self.join.len() + 1 < self.bootstrap_expect {
            let (e, j) = (self.bootstrap_expect, self.join.len());
            return bad(
                "join",
                format!("{j} addresses are too few for bootstrap_expect = {e}; list every node"),
            );
        }
        if self.bootstrap_expect > 15 {
            let e = self.bootstrap_expect;
            return bad("bootstrap_expect", format!("{e} is more than 15 nodes"));
        }
        for (key, addr) in self
            .join
            .iter()
            .map(|a| ("join", a))
            .chain([("advertise", &self.advertise)])
        {
            let may_be_empty = key == "advertise";
            if !(may_be_empty && addr.is_empty() || valid_addr(addr)) {
                return bad(key, format!("{addr:?} is not host:port"));
            }
        }
        if self.advertise.is_empty() && self.listen.ip().is_unspecified() {
            let l = self.listen;
            return bad(
                "advertise",
                format!("is needed when listen is {l}: host:port for the others"),
            );
        }
        if self.snapshot_every == 0 {
            return bad("snapshot_every", "must be at least 1".into());
        }
        if !(4096..=1 << 30).contains(&self.segment_bytes) {
            let v = self.segment_bytes;
            return bad(
                "segment_bytes",
                format!("{v} is not within 4096..=1073741824"),
            );
        }
        if !(1024..=4 << 20).contains(&self.snapshot_chunk_bytes) {
            let v = self.snapshot_chunk_bytes;
            return bad(
                "snapshot_chunk_bytes",
                format!("{v} is not within 1024..=4194304"),
            );
        }
        if self.journal_max_events == 0 {
            return bad("journal_max_events", "must be at least 1".into());
        }
        Ok(())
    }
}

/// Whether `name` can be a node's name.
pub(crate) fn valid_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Whether `addr` looks like `host:port` and is fit to stand in a URL.
pub(crate) fn valid_addr(addr: &str) -> bool {
    let Some((host, port)) = addr.rsplit_once(':') else {
        return false;
    };
    let host_ok = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b));
    addr.len() <= 260 && !host.is_empty() && host_ok && port.parse::<u16>().is_ok_and(|p| p > 0)
}

/// The cluster secret. Never shown by `Debug`; compared in constant time.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret as read from a file or the environment (trim it first).
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// Whether `other` is the same secret; takes the same time for any of equal length.
    pub(crate) fn matches(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }

    /// For the `Authorization` header alone.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Config {
        Config {
            name: "a".into(),
            data_dir: "/tmp/x".into(),
            secret: Secret::new("0123456789abcdef"),
            ..Config::default()
        }
    }

    #[test]
    fn each_bad_setting_is_named() {
        assert_eq!(good().validate(), Ok(()));
        type Change = fn(&mut Config);
        let cases: [(&str, Change); 12] = [
            ("name", |c| c.name = "a/b".into()),
            ("name", |c| c.name = String::new()),
            ("data_dir", |c| c.data_dir = PathBuf::new()),
            ("secret", |c| c.secret = Secret::new("short")),
            ("secret", |c| c.secret = Secret::new("0123456789abcdef\n")),
            ("heartbeat_ms", |c| c.heartbeat_ms = 1),
            ("election_min_ms", |c| c.election_min_ms = 150),
            ("election_max_ms", |c| c.election_max_ms = 300),
            ("join", |c| c.bootstrap_expect = 3),
            ("join", |c| c.join = vec!["http://x".into()]),
            ("advertise", |c| c.listen = "0.0.0.0:1".parse().unwrap()),
            ("segment_bytes", |c| c.segment_bytes = 1),
        ];
        for (key, change) in cases {
            let mut config = good();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().key, key);
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let shown = format!("{:?}", good());
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
        assert!(good().secret.matches(b"0123456789abcdef"));
        assert!(!good().secret.matches(b"0123456789abcdeX"));
        assert!(!good().secret.matches(b""));
    }
}
