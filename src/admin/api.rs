//! What the admin endpoints answer, as data: shared with the command line, which reads the same
//! types. Settings are in `settings`; the shape of a request is there or with its handler.
//!
//! Times that were are RFC 3339 texts of the leader's wall clock, for people; lengths of time are
//! milliseconds and count on the cluster clock. Fields are only ever added.

use crate::settings::{AgentDoc, MemberDoc, QueueDoc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// RFC 9457, `application/problem+json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:holdfast:error:no-leader` and so on; the last word is stable.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// Code of docs/errors.md.
    pub code: String,
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
    pub request_id: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// Each value that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// One value of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// RFC 6901, into the body.
    pub pointer: String,
    pub detail: String,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// For `?after=`; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Applied log index at which the page was read.
    pub revision: u64,
}

/// A write was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Of the object from now on; the log index of the write.
    pub revision: u64,
}

/// A queue. `settings` is left out in lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueView {
    pub name: String,
    pub revision: u64,
    /// Made by a call from this template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    pub open: bool,
    pub strategy: String,
    /// Callers in line, those being offered included.
    pub waiting: usize,
    pub oldest_wait_ms: u64,
    /// Members by state: `available`, `paused`, `in_call` ...
    pub agents: BTreeMap<String, usize>,
    pub counters: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<QueueDoc>,
}

/// An agent as a member of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberView {
    pub queue: String,
    pub agent: String,
    pub name: String,
    pub revision: u64,
    pub settings: MemberDoc,
    /// As `AgentView::state`, by this queue's settings.
    pub state: String,
    pub calls_taken: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_call_ms_ago: Option<u64>,
    /// Paused in this queue alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseView {
    pub reason: String,
    pub since: String,
    pub for_ms: u64,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    pub id: String,
    pub revision: u64,
    /// `available`, `logged_out`, `paused`, `offered`, `in_call`, `wrap_up`, `retry_delay`,
    /// `busy_elsewhere` or `unreachable`: why the agent is or is not offered a call.
    pub state: String,
    pub settings: AgentDoc,
    pub queues: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged_in_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseView>,
    /// The call that the agent is offered or talks in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrap_up_left_ms: Option<u64>,
    pub calls_taken: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_call_ms_ago: Option<u64>,
    /// What each Asterisk says of the device.
    pub devices: BTreeMap<String, String>,
}

/// A call. A viewer sees the last two digits of the number, and no name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallView {
    pub id: u64,
    pub queue: String,
    pub pbx: String,
    pub channel: String,
    pub number: String,
    pub name: String,
    pub priority: i32,
    /// From 1; absent when not in line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    pub joined_position: u32,
    pub joined: String,
    pub age_ms: u64,
    /// `waiting`, `in_dialplan`, `offered`, `connected` or `leaving`.
    pub phase: String,
    /// Who is rung, or who talks.
    pub agents: Vec<String>,
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_in_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// One event of the journal or the stream. The event's own fields are beside these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// `INDEX-SEQ`: the stream's cursor.
    pub id: String,
    pub at: String,
    /// The cluster clock in milliseconds: what deadlines are measured by.
    #[serde(default)]
    pub cluster_ms: u64,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(flatten)]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// The stream's `leader` event: who leads, as the answering node sees it. It is of no log entry and
/// has no id, so it moves no cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderView {
    /// Absent while nobody is known to lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Of that leader; 0 without one.
    pub term: u64,
}

/// A template of queues that a call may bring into being.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateView {
    pub name: String,
    pub pattern: String,
    pub queue: QueueDoc,
}

/// One node's view of the whole cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The node that answers.
    pub node: String,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Of the node that answers: `leader`, `follower`, `candidate`, `learner`, `outsider`.
    pub role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    pub term: u64,
    pub applied: u64,
    pub committed: u64,
    pub last_log: u64,
    pub snapshot: u64,
    pub log_bytes: u64,
    pub fsync_p50_us: u64,
    pub fsync_p99_us: u64,
    /// Of the state; equal on all nodes at an equal applied index.
    pub digest: String,
    pub clock_ms: u64,
    pub healthy: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    pub members: Vec<NodeView>,
    pub pbxes: Vec<PbxView>,
    pub ari: AriView,
    /// The endpoints listen beyond loopback without TLS.
    pub insecure_http: bool,
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    pub name: String,
    pub addr: String,
    pub id: u64,
    /// Has a vote; else it only receives the log.
    pub voter: bool,
    pub leader: bool,
    /// As the answering node sees it.
    pub reachable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heard_ms: Option<u64>,
    /// Last log index known to be on it; the leader alone knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<u64>,
}

/// One Asterisk in the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PbxView {
    pub id: String,
    /// Drives it.
    pub node: String,
    /// The node beside it; another than `node` while it is taken over.
    pub home: String,
    /// Since when `node` has it, RFC 3339.
    pub since: String,
    /// Whether others may take it over.
    pub takeover: bool,
    pub epoch: u64,
    /// `up`, `down`, `node_away` or `taken` (taken over and not compared yet).
    pub sight: String,
}

/// The answering node's own Asterisk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AriView {
    pub configured: bool,
    pub connected: bool,
    pub systemname: String,
    pub version: String,
    pub reconnects: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// `/version`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub name: String,
    pub version: String,
    pub node: String,
}

/// What a `PUT /v1/config` would change (`?dry_run=true`) or has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// Of the config before (dry run) or after.
    pub revision: u64,
    pub dry_run: bool,
    pub changes: Vec<Change>,
}

/// One object that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// `queue`, `agent`, `member` or `template`.
    pub kind: String,
    pub name: String,
    /// `add`, `change` or `remove`.
    pub action: String,
    /// What differs, of a change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Keys from the outside in, with dots.
    pub path: String,
    pub old: serde_json::Value,
    pub new: serde_json::Value,
}
