//! The journal: events by log index and by subject, and named cursors, in sled.

use std::marker::PhantomData;

/// One event as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<E> {
    /// Log index of the entry that made it.
    pub index: u64,
    /// Position among the events of that entry, from 0.
    pub seq: u32,
    /// Cluster clock, in milliseconds.
    pub at_ms: u64,
    /// The leader's wall clock, in milliseconds since 1970; for display only.
    pub wall_ms: u64,
    /// The event.
    pub event: E,
}

/// The journal could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal: {0}")]
pub struct JournalError(pub String);

/// Events of the past on this node's disk. Never the only copy of something acknowledged.
pub struct Journal<E> {
    _events: PhantomData<fn() -> E>,
}

impl<E> Journal<E> {
    /// Up to `limit` events with a log index above `index`, oldest first.
    pub fn since(&self, _index: u64, _limit: usize) -> Result<Vec<Record<E>>, JournalError> {
        Err(JournalError("not written yet".into()))
    }

    /// Up to `limit` events about `subject`, oldest first.
    pub fn subject(&self, _subject: u64, _limit: usize) -> Result<Vec<Record<E>>, JournalError> {
        Err(JournalError("not written yet".into()))
    }

    /// Log index of the oldest event kept.
    pub fn oldest(&self) -> Option<u64> {
        None
    }

    /// Last log index whose events are written.
    pub fn last(&self) -> u64 {
        0
    }

    /// Where a named reader stands; `None` if it never said.
    pub fn cursor(&self, _name: &str) -> Result<Option<u64>, JournalError> {
        Err(JournalError("not written yet".into()))
    }

    /// Notes where a named reader stands.
    pub fn set_cursor(&self, _name: &str, _index: u64) -> Result<(), JournalError> {
        Err(JournalError("not written yet".into()))
    }
}
