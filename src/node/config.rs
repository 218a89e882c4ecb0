//! The settings of one node, as its TOML file has them: which keys there are and what they mean.
//!
//! Queues and agents are not here, on purpose: they are replicated state, never a local file.
//! Reading the file, the environment and secret files is in `config_load.rs`, the relations between
//! keys are in `config_check.rs`.

use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything a node is told by its operator.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    pub node: NodeSection,
    pub cluster: ClusterSection,
    pub http: HttpSection,
    /// Absent: this node votes and answers the API, but drives no Asterisk.
    pub asterisk: Option<AsteriskSection>,
    /// The Asterisks of other nodes that this one drives while their nodes are away.
    pub takeover: Vec<TakeoverSection>,
    pub limits: LimitsSection,
    pub timing: TimingSection,
    pub log: LogSection,
}

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSection {
    /// Unique in the cluster: 1 to 64 of `A-Z a-z 0-9 _ . -`.
    pub name: String,
    /// Folder for the log, the state and the journal. Belongs to this node alone.
    pub data_dir: PathBuf,
}

/// The other nodes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSection {
    /// Where this node listens for the others.
    pub listen: SocketAddr,
    /// `host:port` under which the others reach it; empty: as `listen`.
    pub advertise: String,
    /// `host:port` of all nodes, the same list on each. Read only while the data folder is empty.
    pub join: Vec<String>,
    /// How many nodes found the cluster. 1: a single node. 0: wait to be added.
    pub bootstrap_expect: usize,
    /// Shared by all nodes, at least 16 characters.
    pub secret: Option<Secret>,
    /// File that holds it; not readable by everybody.
    pub secret_file: Option<PathBuf>,
    pub heartbeat: Span,
    pub election_min: Span,
    pub election_max: Span,
    /// Log entries between two snapshots.
    pub snapshot_every: u64,
    /// The journal forgets events older than this.
    pub journal_max_age: Span,
    /// The journal keeps at most so many events.
    pub journal_max_events: u64,
}

/// The admin endpoints; used by the admin crate.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSection {
    pub listen: SocketAddr,
    /// Unix socket for the local command line; access is by file permission.
    pub admin_socket: Option<PathBuf>,
    /// File with one `name:token` (or `name:token:read`) a line; not readable by everybody.
    pub tokens_file: Option<PathBuf>,
    pub tokens: Vec<TokenEntry>,
    /// Allow `listen` beyond loopback although there is no TLS.
    pub insecure_http: bool,
}

/// One bearer token.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// Shown in the journal as the actor.
    pub name: String,
    /// At least 16 characters.
    pub token: Secret,
    /// May look, and change nothing.
    #[serde(default)]
    pub read_only: bool,
}

/// The Asterisk that this node drives.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AsteriskSection {
    /// `http://127.0.0.1:8088/ari`
    pub url: String,
    pub username: String,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
    /// Name of the Stasis application.
    pub app: String,
    /// `systemname` of asterisk.conf: the name of this Asterisk in the cluster (an agent's `home`).
    /// An Asterisk of another name is not driven. Empty: the node's name, and not checked.
    #[serde(alias = "expect_systemname")]
    pub systemname: String,
    /// Endpoint of an agent who registers here: `{agent}` and `{pbx}` are replaced.
    pub agent_endpoint: String,
    /// Endpoint of an agent whose home is another Asterisk. `{pbx}` is that other's name.
    pub remote_endpoint: String,
    /// Technologies beside PJSIP that an agent's own endpoint may use, such as `Local`.
    pub allowed_technologies: Vec<String>,
    /// For `connect = "dialplan"`: the variable that gets the dial string.
    pub call_string_variable: String,
    /// For `connect = "dialplan"`: the variable that gets the seconds to ring.
    pub ring_time_variable: String,
    /// For `connect = "dialplan"`: where the dialplan dials. Empty parts: the next priority of
    /// where the caller came from.
    pub dial_context: Option<String>,
    pub dial_exten: Option<String>,
    pub dial_priority: Option<u32>,
    /// What an agent's phone shows.
    pub caller_id: CallerIdPass,
    /// First Stasis argument -> what a feature code does.
    pub feature_codes: BTreeMap<String, FeatureCode>,
    /// For a TCP connection to Asterisk.
    pub connect_timeout: Span,
    /// For one request, from sending it to the last byte of the answer.
    pub request_timeout: Span,
    /// How much longer than the ring time Asterisk may ring before it gives up by itself.
    pub originate_margin: Span,
    /// Whether another node may drive this Asterisk while this node is away.
    pub takeover: bool,
}

/// An Asterisk of another node. What is not here is as in this node's `[asterisk]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TakeoverSection {
    /// `systemname` of that Asterisk, as in its own node's file.
    pub systemname: String,
    /// `http://10.0.0.2:8088/ari`, as this node reaches it.
    pub url: String,
    pub username: String,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
    /// Name of the Stasis application there, if another.
    pub app: Option<String>,
    /// Endpoints as that Asterisk knows them, if others.
    pub agent_endpoint: Option<String>,
    pub remote_endpoint: Option<String>,
}

impl TakeoverSection {
    /// How this node drives that Asterisk: as its own (`own`), but for what is said here.
    pub fn section(&self, own: Option<&AsteriskSection>) -> AsteriskSection {
        let own = own.cloned().unwrap_or_default();
        AsteriskSection {
            url: self.url.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            password_file: self.password_file.clone(),
            systemname: self.systemname.clone(),
            app: self.app.clone().unwrap_or(own.app),
            agent_endpoint: self.agent_endpoint.clone().unwrap_or(own.agent_endpoint),
            remote_endpoint: self.remote_endpoint.clone().unwrap_or(own.remote_endpoint),
            takeover: true,
            ..own
        }
    }
}

/// What an agent's phone shows of the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerIdPass {
    /// The caller's number and name.
    #[default]
    Caller,
    /// The queue's name before the caller's name.
    QueueAndCaller,
    /// Nothing of the caller.
    None,
}

/// What an agent does by dialling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureCode {
    Login,
    Logout,
    Pause,
    Unpause,
}

/// Bounds of this node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// Callers on this node's Asterisk that are handled at the same time; more go to the dialplan
    /// with QUEUESTATUS=FULL.
    pub callers_max: usize,
    /// Facts that may wait to be written.
    pub proposals_max: usize,
    /// ARI events that may wait for one caller's actor.
    pub mailbox_max: usize,
}

/// How long this node waits for what.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimingSection {
    /// A node that did not answer the leader for so long: its callers are not offered.
    pub node_away_after: Span,
    /// After so long another node takes its Asterisk over, where it can; counted from when it
    /// counted as away. The node that comes back takes it back no sooner either.
    pub takeover_after: Span,
    /// And after so long its callers are given up.
    pub node_lost_after: Span,
    /// Asterisk refuses connections for so long: its callers are gone. Unset: 2 s on loopback,
    /// else 10 s.
    pub asterisk_lost_after: Option<Span>,
    /// Without a leader for so long: waiting callers go to their fallback.
    pub no_quorum_after: Span,
    /// For one fact to be written; until then it is tried again.
    pub propose_deadline: Span,
}

/// What is written about the work.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,holdfast_ari=debug`.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    #[default]
    Auto,
    Pretty,
    Json,
}

impl Default for NodeSection {
    fn default() -> Self {
        Self {
            name: String::new(),
            data_dir: "/var/lib/holdfast".into(),
        }
    }
}

impl Default for ClusterSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7081)),
            advertise: String::new(),
            join: Vec::new(),
            bootstrap_expect: 1,
            secret: None,
            secret_file: None,
            heartbeat: Span::ms(100),
            election_min: Span::ms(300),
            election_max: Span::ms(600),
            snapshot_every: 5_000,
            journal_max_age: Span::ms(90 * 24 * 3_600_000),
            journal_max_events: 2_000_000,
        }
    }
}

impl Default for HttpSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7080)),
            admin_socket: None,
            tokens_file: None,
            tokens: Vec::new(),
            insecure_http: false,
        }
    }
}

impl Default for AsteriskSection {
    fn default() -> Self {
        use FeatureCode::*;
        let codes = [
            ("login", Login),
            ("logout", Logout),
            ("pause", Pause),
            ("unpause", Unpause),
        ];
        Self {
            url: "http://127.0.0.1:8088/ari".into(),
            username: "holdfast".into(),
            password: None,
            password_file: None,
            app: "QueueARI".into(),
            systemname: String::new(),
            agent_endpoint: "PJSIP/{agent}".into(),
            remote_endpoint: "PJSIP/{agent}@trunk-{pbx}".into(),
            allowed_technologies: Vec::new(),
            call_string_variable: "call_string".into(),
            ring_time_variable: "RINGTIME".into(),
            dial_context: None,
            dial_exten: None,
            dial_priority: None,
            caller_id: CallerIdPass::Caller,
            feature_codes: codes.map(|(word, code)| (word.to_string(), code)).into(),
            connect_timeout: Span::ms(1_000),
            request_timeout: Span::ms(2_000),
            originate_margin: Span::ms(5_000),
            takeover: true,
        }
    }
}

impl Default for TakeoverSection {
    fn default() -> Self {
        Self {
            systemname: String::new(),
            url: String::new(),
            username: "holdfast".into(),
            password: None,
            password_file: None,
            app: None,
            agent_endpoint: None,
            remote_endpoint: None,
        }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            callers_max: 10_000,
            proposals_max: 4_096,
            mailbox_max: 256,
        }
    }
}

impl Default for TimingSection {
    fn default() -> Self {
        Self {
            node_away_after: Span::ms(700),
            takeover_after: Span::ms(3_000),
            node_lost_after: Span::ms(60_000),
            asterisk_lost_after: None,
            no_quorum_after: Span::ms(10_000),
            propose_deadline: Span::ms(30_000),
        }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Auto,
        }
    }
}

/// A password or token. `Debug` never shows it; `expose` is the one way to its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for a header or a comparison only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// The error never repeats the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom(
                "a secret must be a string in quotes",
            )),
        }
    }
}

/// A length of time, written with its unit: `"500ms"`, `"15s"`, `"5m"`, `"2h"`, `"90d"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(u64);

impl Span {
    pub const fn ms(ms: u64) -> Self {
        Self(ms)
    }

    pub fn as_ms(self) -> u64 {
        self.0
    }

    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Reads `"15s"`; the error says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?} is no length of time; write a number and ms, s, m, h or d, as in \"15s\""
            )
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let scale = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let number: u64 = number.parse().map_err(|_| bad())?;
        let ms = number
            .checked_mul(scale)
            .filter(|ms| *ms <= 366 * 86_400_000);
        ms.map(Self)
            .ok_or_else(|| format!("{text:?} is longer than 366 days"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= 1_000 && self.0.is_multiple_of(1_000) {
            write!(f, "{}s", self.0 / 1_000)
        } else {
            write!(f, "{}ms", self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
