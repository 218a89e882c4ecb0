//! `/v1/events`: what happens, as server-sent events with a cursor that survives reconnects and
//! failovers, because it is the log's own index.
//!
//! Everything comes from this node's journal; nothing is kept for a client here but its cursor, so a
//! slow client costs no memory. A new stream, and one whose cursor the journal no longer reaches
//! (`reset`), begins with a `snapshot` of queues, agents and calls. Beside the journal's events stands
//! `leader`: at the beginning and whenever this node sees another leader, or none.

use crate::api::LeaderView;
use crate::auth::Role;
use crate::error::ApiError;
use crate::request::query;
use crate::router::{App, PAGE_MAX, Shared, Who};
use crate::view;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use holdfast_acd::{CallId, Event, QueueName};
use holdfast_raft::{EventBatch, Lead, Record};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::Instant;

const HEARTBEAT: Duration = Duration::from_secs(15);
/// The journal is written behind `apply`; how long until it is looked at again.
const JOURNAL_LAG: Duration = Duration::from_millis(10);
/// Events read at once.
const BATCH: usize = 500;
/// More events than this in one log entry are cut off.
const ENTRY_EVENTS_MAX: usize = 64_000;
/// The type that is of no log entry.
const LEADER: &str = "leader";
/// Calls whose queue a filtered stream remembers.
const CALLS_REMEMBERED: usize = 10_000;

/// `?since=INDEX[-SEQ]&queue=&type=`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EventsQuery {
    since: Option<String>,
    queue: Option<QueueName>,
    r#type: Option<String>,
}

/// Behind which event a stream goes on: all of entry `index`, or of it only up to `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    index: u64,
    seq: Option<u32>,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('-') {
            None => Some(Self {
                index: text.parse().ok()?,
                seq: None,
            }),
            Some((index, seq)) => Some(Self {
                index: index.parse().ok()?,
                seq: Some(seq.parse().ok()?),
            }),
        }
    }

    fn is_before<E>(self, record: &Record<E>) -> bool {
        record.index > self.index
            || record.index == self.index && self.seq.is_some_and(|seq| record.seq > seq)
    }
}

pub async fn events(
    State(app): Shared,
    who: Who,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let asked: EventsQuery = query(&uri)?;
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    let cursor = match last.map(str::to_owned).or(asked.since) {
        None => None,
        Some(text) => {
            let wrong =
                || ApiError::invalid("", "the cursor is not of the form INDEX or INDEX-SEQ");
            Some(Cursor::parse(&text).ok_or_else(wrong)?)
        }
    };
    let permit = app.streams.clone().try_acquire_owned();
    let permit = permit.map_err(|_| ApiError::TooManyStreams(crate::router::STREAMS_MAX))?;
    let mut feed = Feed {
        applied: app.node.raft().applied(),
        batches: app.node.raft().events(),
        led_by: app.node.raft().led_by(),
        role: who.role,
        queue: asked.queue,
        kind: asked.r#type,
        cursor: cursor.unwrap_or(Cursor {
            index: 0,
            seq: None,
        }),
        frames: VecDeque::new(),
        beat: Instant::now() + HEARTBEAT,
        calls: BTreeMap::new(),
        app,
        _permit: permit,
    };
    match cursor {
        Some(cursor) if feed.is_lost(cursor) => feed.reset(),
        Some(_) => {}
        None => feed.snapshot(),
    }
    feed.leader();
    let body = stream::unfold(feed, async |mut feed| {
        let frame = feed.next().await?;
        Some((Ok::<_, Infallible>(frame), feed))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

struct Feed {
    app: Arc<App>,
    role: Role,
    queue: Option<QueueName>,
    kind: Option<String>,
    cursor: Cursor,
    frames: VecDeque<Bytes>,
    applied: watch::Receiver<u64>,
    /// Only for its word that events were skipped.
    batches: broadcast::Receiver<Arc<EventBatch<Event>>>,
    led_by: watch::Receiver<Option<Lead>>,
    beat: Instant,
    /// Where calls are, for the filter by queue.
    calls: BTreeMap<CallId, QueueName>,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// The next frame; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            if self.was_reset() {
                self.reset();
                continue;
            }
            let applied = *self.applied.borrow_and_update();
            let records = match self.read().await {
                Ok(records) => records,
                Err(error) => {
                    tracing::error!(%error, "an event stream ends");
                    return None;
                }
            };
            for record in &records {
                self.take(record);
            }
            if !self.frames.is_empty() || !records.is_empty() {
                continue;
            }
            let behind = self.app.node.raft().journal().last() < applied;
            let wait = if behind { JOURNAL_LAG } else { HEARTBEAT };
            tokio::select! {
                changed = self.applied.changed() => changed.ok()?,
                changed = self.led_by.changed() => {
                    changed.ok()?;
                    self.leader();
                    continue;
                }
                () = tokio::time::sleep(wait) => {}
                () = tokio::time::sleep_until(self.beat) => {}
            }
            if Instant::now() >= self.beat {
                self.beat = Instant::now() + HEARTBEAT;
                return Some(Bytes::from_static(b": still here\n\n"));
            }
        }
    }

    /// Whole entries behind the cursor; the rest of a cut one is read the next time.
    async fn read(&self) -> Result<Vec<Record<Event>>, String> {
        let cursor = self.cursor;
        let from = if cursor.seq.is_some() {
            cursor.index.saturating_sub(1)
        } else {
            cursor.index
        };
        let mut limit = BATCH;
        loop {
            let node = self.app.node.clone();
            let read = move || node.raft().journal().since(from, limit);
            let read = tokio::task::spawn_blocking(read)
                .await
                .map_err(|e| e.to_string())?;
            let mut records = read.map_err(|error| error.to_string())?;
            let cut = records.len() >= limit;
            if cut && let Some(last) = records.last().map(|record| record.index) {
                if records.iter().any(|record| record.index != last) {
                    records.retain(|record| record.index != last);
                } else if limit < ENTRY_EVENTS_MAX {
                    limit *= 4;
                    continue;
                }
            }
            records.retain(|record| cursor.is_before(record));
            return Ok(records);
        }
    }

    fn take(&mut self, record: &Record<Event>) {
        self.cursor = Cursor {
            index: record.index,
            seq: Some(record.seq),
        };
        let view = view::event(record, self.app.look(self.role));
        let wanted = self.kind.as_ref().is_none_or(|kind| *kind == view.kind);
        let here = self.is_of_queue(&record.event, &view.fields);
        if wanted && here {
            let data = serde_json::to_string(&view).unwrap_or_default();
            self.frames.push_back(frame(&view.id, &view.kind, &data));
        }
    }

    /// Whether the filter by queue lets an event through; remembers where calls are.
    fn is_of_queue(&mut self, event: &Event, fields: &serde_json::Map<String, Value>) -> bool {
        let Some(wanted) = &self.queue else {
            return true;
        };
        let named = ["queue", "from", "to"].map(|key| fields.get(key).and_then(Value::as_str));
        let mut here = named.contains(&Some(wanted.as_str()));
        let Some(call) = event.call() else {
            return here;
        };
        if named.iter().all(Option::is_none) {
            let node = &self.app.node;
            let queue = self.calls.get(&call).cloned();
            let queue = queue.or_else(|| node.read(|s| s.call(call).map(|c| c.queue.clone())));
            here = queue.as_ref() == Some(wanted);
        }
        match event {
            Event::CallJoined { queue, .. } | Event::CallMoved { to: queue, .. } => {
                self.calls.insert(call, queue.clone());
            }
            Event::CallReleased { .. } => {
                self.calls.remove(&call);
            }
            _ => {}
        }
        while self.calls.len() > CALLS_REMEMBERED {
            self.calls.pop_first();
        }
        here
    }

    /// Whether events behind the cursor are gone from the journal, or the cursor is of another
    /// cluster's life.
    fn is_lost(&self, cursor: Cursor) -> bool {
        let oldest = self.app.node.raft().journal().oldest();
        cursor.index > self.app.applied() || oldest.is_some_and(|oldest| cursor.index + 1 < oldest)
    }

    /// Says who leads; not to whom asked for one queue or for another type.
    fn leader(&mut self) {
        let wanted = self.kind.as_ref().is_none_or(|kind| kind == LEADER);
        let lead = self.led_by.borrow_and_update().clone();
        if !wanted || self.queue.is_some() {
            return;
        }
        let view = lead.map_or_else(LeaderView::default, |lead| LeaderView {
            leader: Some(lead.name),
            term: lead.term,
        });
        let data = serde_json::to_string(&view).unwrap_or_default();
        self.frames
            .push_back(Bytes::from(format!("event: {LEADER}\ndata: {data}\n\n")));
    }

    fn was_reset(&mut self) -> bool {
        let mut reset = false;
        loop {
            match self.batches.try_recv() {
                Ok(batch) => reset |= batch.reset,
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return reset,
            }
        }
    }

    fn reset(&mut self) {
        self.frames
            .push_back(Bytes::from_static(b"event: reset\ndata: {}\n\n"));
        self.snapshot();
    }

    /// The index is taken before the state is read: an event may be told twice, never not at all.
    fn snapshot(&mut self) {
        let index = self.app.applied();
        let look = self.app.look(self.role);
        let queue = self.queue.as_ref();
        let data = self.app.node.read(|state| {
            let queues = state
                .queues()
                .filter(|q| queue.is_none_or(|name| q.name == *name));
            let agents = state
                .agents()
                .filter(|a| queue.is_none_or(|name| a.queues.contains(name)));
            let calls = state
                .calls()
                .filter(|c| queue.is_none_or(|name| c.queue == *name));
            let calls = calls
                .take(PAGE_MAX)
                .map(|c| view::call(state, c, None, look));
            serde_json::json!({
                "revision": index,
                "clock_ms": look.now,
                "queues": queues.map(|q| view::queue(state, q, look, false)).collect::<Vec<_>>(),
                "agents": agents.map(|a| view::agent(state, a, look)).collect::<Vec<_>>(),
                "calls": calls.collect::<Vec<_>>(),
            })
        });
        self.cursor = Cursor { index, seq: None };
        self.frames
            .push_back(frame(&index.to_string(), "snapshot", &data.to_string()));
    }
}

fn frame(id: &str, kind: &str, data: &str) -> Bytes {
    // JSON has no raw line ends, so that one data line is enough.
    Bytes::from(format!("id: {id}\nevent: {kind}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_an_index_with_or_without_a_place_in_the_entry() {
        assert_eq!(
            Cursor::parse("17"),
            Some(Cursor {
                index: 17,
                seq: None
            })
        );
        assert_eq!(
            Cursor::parse("17-3"),
            Some(Cursor {
                index: 17,
                seq: Some(3)
            })
        );
        for text in ["", "-", "17-", "x", "17-3-1", "-3"] {
            assert_eq!(Cursor::parse(text), None, "{text:?}");
        }
        let record = |index, seq| Record {
            index,
            seq,
            at_ms: 0,
            wall_ms: 0,
            event: (),
        };
        let cursor = Cursor {
            index: 17,
            seq: Some(3),
        };
        assert!(cursor.is_before(&record(17, 4)) && cursor.is_before(&record(18, 0)));
        assert!(!cursor.is_before(&record(17, 3)) && !cursor.is_before(&record(16, 9)));
        assert!(
            !Cursor {
                index: 17,
                seq: None
            }
            .is_before(&record(17, 9))
        );
    }
}
