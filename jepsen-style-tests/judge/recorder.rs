//! Where sources write down what they saw, each with the tolerance of its times. Shared by threads.
//!
//! The clock is given by who runs the history: virtual time of a simulation, or milliseconds since a
//! drill began. It reads no clock of its own.

use super::history::{History, Record, Seen};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Records kept; further ones are counted, and a history that is not whole is not accepted.
const RECORDS_MAX: usize = 4_000_000;

/// The observer's clock, in milliseconds.
type Clock = dyn Fn() -> u64 + Send + Sync;

/// Collects the observations of one run. Clones share one history.
#[derive(Clone)]
pub struct Recorder {
    clock: Arc<Clock>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    records: Vec<Record>,
    dropped: u64,
}

/// One who sees, and how exactly he knows the time.
#[derive(Clone)]
pub struct Source {
    recorder: Recorder,
    within_ms: u64,
}

impl Recorder {
    pub fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Recorder {
            clock: Arc::new(clock),
            kept: Arc::default(),
        }
    }

    /// Now, by the observer's clock.
    pub fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// A source whose times may be wrong by `within_ms` in either direction.
    pub fn source(&self, within_ms: u64) -> Source {
        Source {
            recorder: self.clone(),
            within_ms,
        }
    }

    /// What was recorded so far, in the order of time.
    pub fn history(&self) -> History {
        let kept = self.kept();
        let mut history = History::new(kept.records.clone());
        history.dropped = kept.dropped;
        history
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// It happened now.
    pub fn saw(&self, seen: Seen) {
        self.saw_at(self.recorder.now_ms(), seen);
    }

    /// It happened then, by the observer's clock; for sources with timestamps of their own.
    pub fn saw_at(&self, at_ms: u64, seen: Seen) {
        let mut kept = self.recorder.kept();
        if kept.records.len() >= RECORDS_MAX {
            kept.dropped += 1;
            return;
        }
        let within_ms = self.within_ms;
        kept.records.push(Record {
            at_ms,
            within_ms,
            seen,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::history::{InsideSaw, NodeSaw, Offer};
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_history_is_in_the_order_of_time_and_survives_a_file() {
        let now = Arc::new(AtomicU64::new(5));
        let clock = now.clone();
        let recorder = Recorder::new(move || clock.load(Ordering::Relaxed));
        let (exact, rough) = (recorder.source(0), recorder.source(50));
        exact.saw(Seen::Quiet);
        now.store(9, Ordering::Relaxed);
        exact.saw(Seen::Closed);
        let killed = Seen::Node {
            node: "a".into(),
            saw: NodeSaw::Killed,
        };
        rough.saw_at(2, killed.clone());
        let event = InsideSaw::Event {
            index: 7,
            seq: 0,
            cluster_ms: 12,
            event: holdfast_acd::Event::CallReturned {
                call: holdfast_acd::CallId(3),
            },
        };
        let inside = Seen::Inside {
            node: "b".into(),
            saw: event,
        };
        exact.saw(inside);

        let history = recorder.history();
        assert_eq!(history.records()[0].seen, killed);
        assert_eq!(history.records()[0].within_ms, 50);
        assert_eq!(history.records().len(), 4);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        history.write(&path).unwrap();
        assert_eq!(History::read(&path).unwrap(), history);
        std::fs::write(&path, "{\"dropped\":0}\n{}\n").unwrap();
        let error = History::read(&path).unwrap_err().to_string();
        assert!(error.contains(":2: missing field"), "{error}");
    }

    #[test]
    fn events_of_the_stream_are_read_and_the_snapshot_is_none() {
        let data = r#"{"id":"7-2","at":"2023-11-14T22:13:20.123Z","cluster_ms":5,
            "type":"announce_due","call":3,"number":1,"position":2}"#;
        let due = holdfast_acd::Event::AnnounceDue {
            call: holdfast_acd::CallId(3),
            number: 1,
            position: 2,
        };
        let read = InsideSaw::Event {
            index: 7,
            seq: 2,
            cluster_ms: 5,
            event: due,
        };
        assert_eq!(InsideSaw::of_stream(data), Some(read));
        assert_eq!(InsideSaw::of_stream(r#"{"revision":7,"queues":[]}"#), None);
    }

    #[test]
    fn ids_of_legs_and_bridges_tell_whose_they_are() {
        let offer = Offer {
            epoch: 3,
            call: 71,
            attempt: 2,
        };
        let leg = Offer::of_leg("pbx-a", "hf-pbx-a-3-71-2-10-01");
        assert_eq!(leg, Some((offer, "10-01".to_owned())));
        assert_eq!(Offer::of_leg("pbx-b", "hf-pbx-a-3-71-2-1001"), None);
        assert_eq!(Offer::of_leg("a", "1795432327.6"), None);
        assert_eq!(Offer::of_bridge("a", "hfb-a-71-2"), Some((71, 2)));
        assert_eq!(Offer::of_bridge("a", "other"), None);
    }
}
