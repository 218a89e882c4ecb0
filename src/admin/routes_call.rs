//! `/v1/calls`: every call in the cluster, its timeline, and what a supervisor may do with it.

use crate::api::{CallView, EventView, Page};
use crate::error::ApiError;
use crate::request::{Write, json, query};
use crate::router::{Answer, PAGE_MAX, Shared, Who, answer};
use crate::routes_queue::{Paging, page};
use crate::view;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use holdfast_acd::{AdminOp, CallId, QueueName, Reject};
use serde::Deserialize;

/// Events of one call that are shown.
const TIMELINE_MAX: usize = 1000;

fn call_id(text: &str) -> Result<CallId, ApiError> {
    text.parse()
        .map(CallId)
        .map_err(|_| ApiError::invalid("", "a call's id is a whole number"))
}

/// `?queue=&phase=`, and the page.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListQuery {
    limit: usize,
    after: Option<u64>,
    queue: Option<QueueName>,
    phase: Option<String>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            limit: 100,
            after: None,
            queue: None,
            phase: None,
        }
    }
}

pub async fn list(State(app): Shared, who: Who, uri: Uri) -> Answer {
    let asked: ListQuery = query(&uri)?;
    if !(1..=PAGE_MAX).contains(&asked.limit) {
        let wanted = format!("query: limit must be within 1..={PAGE_MAX}");
        return Err(ApiError::invalid("", wanted));
    }
    let paging = Paging {
        limit: asked.limit,
        after: None,
    };
    let look = app.look(who.role);
    let revision = app.applied();
    let list = app.node.read(|state| {
        let calls = state
            .calls()
            .filter(|call| asked.after.is_none_or(|after| call.id.0 > after))
            .filter(|call| {
                asked
                    .queue
                    .as_ref()
                    .is_none_or(|queue| call.queue == *queue)
            })
            .map(|call| view::call(state, call, None, look))
            .filter(|call| {
                asked
                    .phase
                    .as_ref()
                    .is_none_or(|phase| call.phase == *phase)
            });
        page(&paging, revision, calls, |call: &CallView| {
            call.id.to_string()
        })
    });
    Ok(answer(&list))
}

pub async fn show(State(app): Shared, who: Who, Path(call): Path<String>) -> Answer {
    let call = call_id(&call)?;
    let look = app.look(who.role);
    let view = app
        .node
        .read(|state| Some(view::call(state, state.call(call)?, None, look)));
    Ok(answer(&view.ok_or(Reject::UnknownCall(call))?))
}

/// From this node's journal, so also for calls that are over.
pub async fn timeline(State(app): Shared, who: Who, Path(call): Path<String>) -> Answer {
    let call = call_id(&call)?;
    let look = app.look(who.role);
    let node = app.node.clone();
    let records =
        tokio::task::spawn_blocking(move || node.raft().journal().subject(call.0, TIMELINE_MAX))
            .await
            .map_err(|_| ApiError::Journal)??;
    if records.is_empty() && app.node.read(|state| state.call(call).is_none()) {
        return Err(Reject::UnknownCall(call).into());
    }
    let items: Vec<EventView> = records
        .iter()
        .map(|record| view::event(record, look))
        .collect();
    Ok(answer(&Page {
        items,
        next: None,
        revision: app.applied(),
    }))
}

/// `PATCH {"priority": 5}` or `{"queue": "sales"}`, one at a time.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PatchDoc {
    priority: Option<i32>,
    queue: Option<QueueName>,
}

pub async fn patch(
    State(app): Shared,
    Path(call): Path<String>,
    write: Write,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let call = call_id(&call)?;
    let op = match json::<PatchDoc>(&headers, &body)? {
        PatchDoc {
            priority: Some(priority),
            queue: None,
        } => AdminOp::CallPriority { call, priority },
        PatchDoc {
            priority: None,
            queue: Some(queue),
        } => AdminOp::CallMove { call, queue },
        _ => return Err(ApiError::invalid("", "give either priority or queue")),
    };
    app.written(&write, op).await
}

/// `{"info": "..."}` for `QUEUE_WITHDRAW_INFO`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WithdrawDoc {
    info: String,
}

pub async fn withdraw(
    State(app): Shared,
    Path(call): Path<String>,
    write: Write,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let call = call_id(&call)?;
    let WithdrawDoc { info } = json(&headers, &body)?;
    app.written(&write, AdminOp::CallWithdraw { call, info })
        .await
}
