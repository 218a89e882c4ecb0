//! `/v1/agents`: agents, their sessions and pauses.

use crate::api::AgentView;
use crate::error::ApiError;
use crate::request::{Write, asked, json, json_value, merge, name, typed};
use crate::router::{Answer, Shared, Who, answer, tagged};
use crate::routes_queue::{Paging, page};
use crate::settings::AgentDoc;
use crate::view;
use axum::body::Bytes;
use axum::extract::{self, Path};
use axum::http::{HeaderMap, Uri};
use holdfast_acd::settings::AgentSettings;
use holdfast_acd::{AdminOp, AgentId, QueueName, Reject, State};
use serde::Deserialize;

pub async fn list(extract::State(app): Shared, who: Who, uri: Uri) -> Answer {
    let paging = Paging::of(&uri)?;
    let after = paging.after.clone().map(name::<AgentId>).transpose()?;
    let look = app.look(who.role);
    let revision = app.applied();
    let list = app.node.read(|state| {
        let agents = state
            .agents()
            .filter(|agent| after.as_ref().is_none_or(|a| agent.id > *a));
        let views = agents.map(|agent| view::agent(state, agent, look));
        page(&paging, revision, views, |view: &AgentView| view.id.clone())
    });
    Ok(answer(&list))
}

pub async fn show(extract::State(app): Shared, who: Who, Path(agent): Path<String>) -> Answer {
    let agent: AgentId = name(agent)?;
    let look = app.look(who.role);
    let view = app
        .node
        .read(|state| Some(view::agent(state, state.agent(&agent)?, look)));
    let view = view.ok_or(Reject::UnknownAgent(agent))?;
    Ok(tagged(view.revision, &view))
}

pub(crate) fn without_queues(doc: AgentDoc) -> Result<AgentSettings, ApiError> {
    if doc.queues.is_some() {
        let what =
            "memberships are set at /v1/queues/{queue}/members/{agent}, or all at /v1/config";
        return Err(ApiError::invalid("/queues", what));
    }
    Ok(doc.settings())
}

pub async fn put(
    extract::State(app): Shared,
    Path(agent): Path<String>,
    write: Write,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agent = name(agent)?;
    let settings = without_queues(json(&headers, &body)?)?;
    app.written(&write, AdminOp::AgentPut { agent, settings })
        .await
}

/// RFC 7396, on the settings as they are. A change that came in between is taken in.
pub async fn patch(
    extract::State(app): Shared,
    Path(agent): Path<String>,
    write: Write,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agent: AgentId = name(agent)?;
    let mut patch = json_value(&headers, &body)?;
    let asked = asked("patch agent", agent.as_str(), write.if_revision, &patch);
    if let Some(map) = patch.as_object_mut()
        && let Some(home) = map.remove("nodes")
    {
        map.insert("home".into(), home);
    }
    let read = |state: &State| {
        let found = state.agent(&agent);
        let found = found.ok_or_else(|| Reject::UnknownAgent(agent.clone()))?;
        Ok((AgentDoc::of(&found.settings), found.revision))
    };
    let change = |before: AgentDoc| {
        let mut doc = serde_json::to_value(before).unwrap_or_default();
        merge(&mut doc, patch.clone());
        let (agent, settings) = (agent.clone(), without_queues(typed(doc)?)?);
        Ok(AdminOp::AgentPut { agent, settings })
    };
    app.change(&write, asked, read, change).await
}

pub async fn delete(
    extract::State(app): Shared,
    Path(agent): Path<String>,
    write: Write,
) -> Answer {
    app.written(
        &write,
        AdminOp::AgentDelete {
            agent: name(agent)?,
        },
    )
    .await
}

pub async fn login(extract::State(app): Shared, Path(agent): Path<String>, write: Write) -> Answer {
    app.written(
        &write,
        AdminOp::AgentLogin {
            agent: name(agent)?,
        },
    )
    .await
}

pub async fn logout(
    extract::State(app): Shared,
    Path(agent): Path<String>,
    write: Write,
) -> Answer {
    app.written(
        &write,
        AdminOp::AgentLogout {
            agent: name(agent)?,
        },
    )
    .await
}

/// `{"reason": "lunch", "queue": "support"}`; without a queue: in all.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PauseDoc {
    reason: String,
    queue: Option<QueueName>,
}

pub async fn pause(
    extract::State(app): Shared,
    Path(agent): Path<String>,
    write: Write,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let agent = name(agent)?;
    let PauseDoc { reason, queue } = json(&headers, &body)?;
    app.written(
        &write,
        AdminOp::AgentPause {
            agent,
            queue,
            reason,
        },
    )
    .await
}

/// `?queue=`; without: in all.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct UnpauseQuery {
    queue: Option<QueueName>,
}

pub async fn unpause(
    extract::State(app): Shared,
    Path(agent): Path<String>,
    write: Write,
    uri: Uri,
) -> Answer {
    let agent = name(agent)?;
    let UnpauseQuery { queue } = crate::request::query(&uri)?;
    app.written(&write, AdminOp::AgentUnpause { agent, queue })
        .await
}

pub async fn ready(extract::State(app): Shared, Path(agent): Path<String>, write: Write) -> Answer {
    app.written(
        &write,
        AdminOp::AgentReady {
            agent: name(agent)?,
        },
    )
    .await
}
