//! A queue: its settings, its members, its line of waiting callers and its counters.
//!
//! The line is ordered by (priority descending, order ascending) and holds who waits or is offered.

use crate::agent::Member;
use crate::id::{AgentId, CallId, QueueName};
use crate::settings::QueueSettings;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A place in the line. Compares as the line is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub priority: Reverse<i32>,
    pub order: u64,
    pub call: CallId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    pub name: QueueName,
    pub settings: QueueSettings,
    /// Log index of the last write of the settings.
    pub revision: u64,
    /// Made by a template of this name, by a call.
    pub template: Option<String>,
    pub members: BTreeMap<AgentId, Member>,
    /// Callers waiting or offered.
    pub line: BTreeSet<Place>,
    /// For `rrmemory`: who was rung last.
    pub last_rung: Option<AgentId>,
    pub counters: Counters,
}

/// Since the queue was made. Replicated, so a failover resets nothing and all nodes agree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub entered: u64,
    pub refused: u64,
    pub answered: u64,
    pub answered_in_service_level: u64,
    pub abandoned: u64,
    pub abandoned_in_service_level: u64,
    pub timeout: u64,
    pub key: u64,
    pub empty: u64,
    pub withdrawn: u64,
    pub lost: u64,
    pub no_quorum: u64,
    pub moved_out: u64,
    pub offers: u64,
    pub offers_failed: u64,
    /// Moving averages as app_queue keeps them (3/4 old, 1/4 new), milliseconds.
    pub hold_time_ms: u64,
    pub talk_time_ms: u64,
}
