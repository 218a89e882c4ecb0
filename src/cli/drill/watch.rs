//! Watches all nodes at the same time: an event stream of each, and reads that a quorum confirms.
//!
//! Everything goes into one list with the time of this program's own clock. Watching changes nothing
//! at the nodes; a confirmed read costs the leader one round to the others.

use super::seen::{Note, What};
use crate::client::Client;
use crate::events::{Frame, take_frame};
use futures_util::StreamExt;
use holdfast_admin::api::LeaderView;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Between two confirmed reads at one node.
const READ_EVERY: Duration = Duration::from_millis(25);
/// Before a stream is opened again.
const RETRY: Duration = Duration::from_millis(100);
/// More than this is not noted: a drill is short.
const NOTES_MAX: usize = 1_000_000;
/// A frame beyond this is none of ours.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One node and how to ask it.
#[derive(Clone)]
pub struct Door {
    pub node: String,
    pub client: Client,
}

/// The list that is written on.
#[derive(Clone)]
pub struct Watch {
    begun: Instant,
    notes: Arc<Mutex<Vec<Note>>>,
}

impl Watch {
    /// Begins to watch; the tasks end when the set is dropped.
    pub fn begin(doors: &[Door]) -> (Watch, JoinSet<()>) {
        let watch = Watch {
            begun: Instant::now(),
            notes: Arc::default(),
        };
        let mut tasks = JoinSet::new();
        for door in doors {
            tasks.spawn(follow(watch.clone(), door.clone()));
            tasks.spawn(read(watch.clone(), door.clone()));
        }
        (watch, tasks)
    }

    /// Milliseconds since the beginning.
    pub fn now_ms(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() * 1000.0
    }

    pub fn notes(&self) -> Vec<Note> {
        self.lock().clone()
    }

    /// The first note like this at or after that time.
    pub fn first(&self, since_ms: f64, wanted: impl Fn(&Note) -> bool) -> Option<Note> {
        let notes = self.lock();
        let from = notes.partition_point(|note| note.at_ms < since_ms);
        notes[from..].iter().find(|note| wanted(note)).cloned()
    }

    /// Whether there is one.
    pub fn has(&self, since_ms: f64, wanted: impl Fn(&Note) -> bool) -> bool {
        self.first(since_ms, wanted).is_some()
    }

    fn note(&self, door: &Door, what: What) {
        let mut notes = self.lock();
        if notes.len() < NOTES_MAX {
            notes.push(Note {
                // Taken under the lock, so that the list is in the order of time.
                at_ms: self.now_ms(),
                node: door.node.clone(),
                what,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Note>> {
        self.notes.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Keeps a node's event stream open, and goes on behind the last event.
async fn follow(watch: Watch, door: Door) {
    let mut last: Option<String> = None;
    loop {
        if let Ok(response) = door.client.stream("/v1/events", last.as_deref()).await {
            watch.note(&door, What::Open);
            let mut chunks = response.bytes_stream();
            let mut buffer = Vec::new();
            while let Some(Ok(chunk)) = chunks.next().await {
                buffer.extend_from_slice(&chunk);
                while let Some(frame) = take_frame(&mut buffer) {
                    take(&watch, &door, &frame);
                    last = frame.id.or(last);
                }
                if buffer.len() > FRAME_BYTES_MAX {
                    break;
                }
            }
            watch.note(&door, What::Cut);
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn take(watch: &Watch, door: &Door, frame: &Frame) {
    let data = frame.data.as_deref().unwrap_or_default();
    match frame.kind.as_deref() {
        None | Some("snapshot" | "reset") => {}
        Some("leader") => {
            if let Ok(LeaderView { leader, term }) = serde_json::from_str(data) {
                watch.note(door, What::Led { leader, term });
            }
        }
        Some(_) => {
            if let Ok(event) = serde_json::from_str(data) {
                watch.note(door, What::Event(event));
            }
        }
    }
}

/// Asks a node again and again for something that a quorum must confirm.
async fn read(watch: Watch, door: Door) {
    loop {
        let version: Result<serde_json::Value, _> = door.client.get("/version").await;
        if version.is_ok() {
            watch.note(&door, What::Confirmed);
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}
