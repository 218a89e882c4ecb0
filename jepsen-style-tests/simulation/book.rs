//! What happened in a run, in order: the trace whose hash tells two runs apart, the history that
//! the judge reads, and the first violation.
//!
//! Everything that crosses a border of the world is told here: messages between nodes, requests to
//! and events from Asterisks, applied entries, faults. If two runs of a seed differ anywhere, their
//! hashes differ.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines kept for the report of a violation.
const LAST: usize = 60;

/// The world's time in milliseconds since its beginning. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

/// What was found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property's name.
    pub property: String,
    pub what: String,
    /// Nothing false happened, but what had to happen did not.
    pub liveness: bool,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

/// Clones are the same book.
#[derive(Clone)]
pub struct Book {
    pub clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    hash: u64,
    lines: u64,
    last: VecDeque<String>,
    file: Option<BufWriter<File>>,
    violation: Option<Violation>,
}

impl Book {
    /// With a file, every line is written to it as well.
    pub fn new(clock: Clock, file: Option<File>) -> Book {
        let inner = Inner {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: 0,
            last: VecDeque::new(),
            file: file.map(BufWriter::new),
            violation: None,
        };
        Book {
            clock,
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Something crossed a border.
    pub fn tell(&self, line: fmt::Arguments<'_>) {
        let line = format!("{:>8} {line}", self.clock.now());
        let mut inner = self.lock();
        for byte in line.bytes() {
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        inner.lines += 1;
        if let Some(file) = &mut inner.file {
            // The file is for people; a full disk must not change the run.
            let _ = writeln!(file, "{line}");
        }
        if inner.last.len() == LAST {
            inner.last.pop_front();
        }
        inner.last.push_back(line);
    }

    /// Keeps the first violation.
    pub fn violated(&self, property: &str, what: String) {
        self.keep(property, what, false);
    }

    /// What had to happen in time did not.
    pub fn overdue(&self, property: &str, what: String) {
        self.keep(property, what, true);
    }

    fn keep(&self, property: &str, what: String, liveness: bool) {
        let property = property.to_string();
        self.tell(format_args!("VIOLATION {property}: {what}"));
        self.lock().violation.get_or_insert(Violation {
            property,
            what,
            liveness,
        });
    }

    pub fn violation(&self) -> Option<Violation> {
        self.lock().violation.clone()
    }

    /// Hash and number of all lines.
    pub fn trace(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.hash, inner.lines)
    }

    /// The last lines.
    pub fn last(&self) -> Vec<String> {
        self.lock().last.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
