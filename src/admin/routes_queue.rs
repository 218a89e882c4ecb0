//! `/v1/queues`: queues, their lines and their members.

use crate::aliases::queue_patch;
use crate::api::{CallView, MemberView, Page, QueueView};
use crate::error::ApiError;
use crate::request::{Write, asked, json, json_value, merge, name, query, typed};
use crate::router::{Answer, App, PAGE_MAX, Shared, Who, answer, tagged};
use crate::settings::{MemberDoc, QueueDoc};
use crate::view;
use axum::body::Bytes;
use axum::extract::{self, Path};
use axum::http::{HeaderMap, Uri};
use holdfast_acd::settings::QueueSettings;
use holdfast_acd::{AdminOp, AgentId, QueueName, Reject, State};
use serde::Deserialize;
use std::ops::Bound;

/// `?limit=&after=`
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paging {
    pub limit: usize,
    pub after: Option<String>,
}

impl Default for Paging {
    fn default() -> Self {
        Self {
            limit: 100,
            after: None,
        }
    }
}

impl Paging {
    pub fn of(uri: &Uri) -> Result<Self, ApiError> {
        let paging: Paging = query(uri)?;
        if !(1..=PAGE_MAX).contains(&paging.limit) {
            let wanted = format!("query: limit must be within 1..={PAGE_MAX}");
            return Err(ApiError::invalid("", wanted));
        }
        Ok(paging)
    }
}

/// A page of what `items` yields behind the cursor; `key` is an item's cursor.
pub fn page<T>(
    paging: &Paging,
    revision: u64,
    mut items: impl Iterator<Item = T>,
    key: impl Fn(&T) -> String,
) -> Page<T> {
    let page: Vec<T> = items.by_ref().take(paging.limit).collect();
    let more = items.next().is_some();
    let next = page.last().filter(|_| more).map(key);
    Page {
        items: page,
        next,
        revision,
    }
}

pub async fn list(extract::State(app): Shared, who: Who, uri: Uri) -> Answer {
    let paging = Paging::of(&uri)?;
    let look = app.look(who.role);
    let after = paging.after.clone().map(name::<QueueName>).transpose()?;
    let revision = app.applied();
    let list = app.node.read(|state| {
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let queues = state.queues().filter(|queue| match from {
            Bound::Excluded(after) => queue.name > *after,
            _ => true,
        });
        let views = queues.map(|queue| view::queue(state, queue, look, false));
        page(&paging, revision, views, |view: &QueueView| {
            view.name.clone()
        })
    });
    Ok(answer(&list))
}

pub async fn show(extract::State(app): Shared, who: Who, Path(queue): Path<String>) -> Answer {
    let queue: QueueName = name(queue)?;
    let look = app.look(who.role);
    let view = app.node.read(|state| {
        let queue = state.queue(&queue)?;
        Some(view::queue(state, queue, look, true))
    });
    let view = view.ok_or(Reject::UnknownQueue(queue))?;
    Ok(tagged(view.revision, &view))
}

pub(crate) fn without_members(doc: QueueDoc) -> Result<QueueSettings, ApiError> {
    if doc.members.is_some() {
        let what = "members are set at /v1/queues/{queue}/members/{agent}, or all at /v1/config";
        return Err(ApiError::invalid("/members", what));
    }
    Ok(doc.settings())
}

pub async fn put(
    extract::State(app): Shared,
    Path(queue): Path<String>,
    write: Write,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let queue = name(queue)?;
    let settings = Box::new(without_members(json(&headers, &body)?)?);
    app.written(&write, AdminOp::QueuePut { queue, settings })
        .await
}

/// RFC 7396, on the settings as they are. A change that came in between is taken in.
pub async fn patch(
    extract::State(app): Shared,
    Path(queue): Path<String>,
    write: Write,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let queue: QueueName = name(queue)?;
    let body = json_value(&headers, &body)?;
    let asked = asked("patch queue", queue.as_str(), write.if_revision, &body);
    let patch = queue_patch(body);
    // The patch alone first, so that a wrong key is found even where it changes nothing.
    let mut alone = serde_json::json!({});
    merge(&mut alone, patch.clone());
    without_members(typed(alone)?)?;
    let change = |settings: QueueSettings| {
        let mut doc = serde_json::to_value(QueueDoc::of(&settings)).unwrap_or_default();
        merge(&mut doc, patch.clone());
        let (queue, settings) = (queue.clone(), Box::new(without_members(typed(doc)?)?));
        Ok(AdminOp::QueuePut { queue, settings })
    };
    let read = |state: &State| settings_of(state, &queue);
    app.change(&write, asked, read, change).await
}

/// What a change of a queue begins with.
fn settings_of(state: &State, queue: &QueueName) -> Result<(QueueSettings, u64), Reject> {
    let found = state.queue(queue);
    let found = found.ok_or_else(|| Reject::UnknownQueue(queue.clone()))?;
    Ok((found.settings.clone(), found.revision))
}

pub async fn delete(
    extract::State(app): Shared,
    Path(queue): Path<String>,
    write: Write,
) -> Answer {
    app.written(
        &write,
        AdminOp::QueueDelete {
            queue: name(queue)?,
        },
    )
    .await
}

/// `PUT .../state {"open": false}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenDoc {
    open: bool,
}

pub async fn set_open(
    extract::State(app): Shared,
    Path(queue): Path<String>,
    write: Write,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let queue: QueueName = name(queue)?;
    let body = json_value(&headers, &body)?;
    let asked = asked("open queue", queue.as_str(), write.if_revision, &body);
    let OpenDoc { open } = typed(body)?;
    let change = |settings: QueueSettings| {
        let settings = Box::new(QueueSettings { open, ..settings });
        let queue = queue.clone();
        Ok(AdminOp::QueuePut { queue, settings })
    };
    let read = |state: &State| settings_of(state, &queue);
    app.change(&write, asked, read, change).await
}

/// The line, first to be served first, then those who talk.
pub async fn calls(
    extract::State(app): Shared,
    who: Who,
    Path(queue): Path<String>,
    uri: Uri,
) -> Answer {
    let queue: QueueName = name(queue)?;
    let paging = Paging::of(&uri)?;
    let skip: usize = match &paging.after {
        None => 0,
        Some(after) => after
            .parse()
            .map_err(|_| ApiError::invalid("", "query: after is not a cursor"))?,
    };
    let look = app.look(who.role);
    let revision = app.applied();
    let list = app.node.read(|state| {
        let line = &state.queue(&queue)?.line;
        let calls = line
            .iter()
            .zip(1u32..)
            .skip(skip)
            .filter_map(|(place, position)| {
                let call = state.call(place.call)?;
                Some(view::call(state, call, Some(position), look))
            });
        Some(page(&paging, revision, calls, |call: &CallView| {
            call.position.unwrap_or_default().to_string()
        }))
    });
    Ok(answer(&list.ok_or(Reject::UnknownQueue(queue))?))
}

pub async fn members(extract::State(app): Shared, who: Who, Path(queue): Path<String>) -> Answer {
    let queue: QueueName = name(queue)?;
    let items = members_of(&app, &who, &queue)?;
    Ok(answer(&Page {
        items,
        next: None,
        revision: app.applied(),
    }))
}

fn members_of(app: &App, who: &Who, queue: &QueueName) -> Result<Vec<MemberView>, ApiError> {
    let look = app.look(who.role);
    let views = app
        .node
        .read(|state| Some(view::members(state, state.queue(queue)?, look)));
    views.ok_or_else(|| Reject::UnknownQueue(queue.clone()).into())
}

pub async fn member(
    extract::State(app): Shared,
    who: Who,
    Path((queue, agent)): Path<(String, String)>,
) -> Answer {
    let (queue, agent): (QueueName, AgentId) = (name(queue)?, name(agent)?);
    let mut views = members_of(&app, &who, &queue)?;
    views.retain(|view| view.agent == agent.as_str());
    let view = views.pop().ok_or(Reject::UnknownMember(queue, agent))?;
    Ok(tagged(view.revision, &view))
}

pub async fn put_member(
    extract::State(app): Shared,
    Path((queue, agent)): Path<(String, String)>,
    write: Write,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (queue, agent) = (name(queue)?, name(agent)?);
    let settings = json::<MemberDoc>(&headers, &body)?.settings();
    app.written(
        &write,
        AdminOp::MemberPut {
            queue,
            agent,
            settings,
        },
    )
    .await
}

pub async fn delete_member(
    extract::State(app): Shared,
    Path((queue, agent)): Path<(String, String)>,
    write: Write,
) -> Answer {
    let (queue, agent) = (name(queue)?, name(agent)?);
    app.written(&write, AdminOp::MemberDelete { queue, agent })
        .await
}
