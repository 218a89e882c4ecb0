//! Liveness, readiness, version, and `/v1/cluster`: nodes, leader, Asterisks.

use crate::api::{AriView, ClusterView, NodeView, Page, PbxView, Version};
use crate::error::ApiError;
use crate::request::{json, query};
use crate::router::{Answer, App, SHAPED, Shared, answer};
use crate::view::{wall, word};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// The process runs and its storage works.
pub async fn livez(State(app): Shared) -> Response {
    match app.node.fatal().borrow().clone() {
        None => "ok\n".into_response(),
        Some(why) => page(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// `?verbose` shows each check.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReadyQuery {
    verbose: Option<String>,
}

/// This node should get work. Lines of `[+]name detail` or `[-]name detail`.
pub async fn readyz(State(app): Shared, uri: Uri) -> Answer {
    let ReadyQuery { verbose } = query(&uri)?;
    let checks = app.node.readiness();
    let ready = checks.iter().all(|check| check.ok);
    let mut text = String::new();
    for check in checks.iter().filter(|check| verbose.is_some() || !check.ok) {
        let sign = if check.ok { '+' } else { '-' };
        let detail = check.detail.replace(['\r', '\n'], " ");
        text.push_str(&format!("[{sign}]{} {detail}\n", check.name));
    }
    if ready {
        text.push_str("ready\n");
        return Ok(page(StatusCode::OK, text));
    }
    text.push_str("not ready\n");
    Ok(page(StatusCode::SERVICE_UNAVAILABLE, text))
}

fn page(status: StatusCode, text: String) -> Response {
    let mut response = (
        status,
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        text,
    )
        .into_response();
    if status != StatusCode::OK {
        response
            .headers_mut()
            .insert(SHAPED, HeaderValue::from_static("1"));
    }
    response
}

pub async fn version(State(app): Shared) -> Response {
    answer(&Version {
        name: "holdfast".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        node: app.node.config().node.name.clone(),
    })
}

/// What the endpoints are, as OpenAPI 3.1. Written by hand; `tests/openapi.rs` holds it to the router
/// and to what is really answered.
pub const OPENAPI: &str = include_str!("openapi.json");

pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

pub async fn cluster(State(app): Shared) -> Response {
    answer(&view(&app))
}

/// The cluster as this node sees it.
pub fn view(app: &App) -> ClusterView {
    let (applied, digest) = app.node.raft().digest();
    let status = app.node.raft().status();
    let ari = app.node.ari_status();
    let pbxes = app.node.read(|state| {
        let pbx = |pbx: &holdfast_acd::pbx::Pbx| PbxView {
            id: pbx.id.to_string(),
            node: pbx.node.to_string(),
            home: pbx.home.to_string(),
            since: wall(pbx.since_wall_ms),
            takeover: pbx.takeover,
            epoch: pbx.epoch,
            sight: word(&pbx.sight),
        };
        state.pbxes().map(pbx).collect()
    });
    ClusterView {
        node: status.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        cluster_id: status.cluster_id.map(|id| format!("{id:016x}")),
        role: word(&status.role),
        leader: status.leader.clone(),
        term: status.term,
        applied,
        committed: status.committed,
        last_log: status.last_log,
        snapshot: status.snapshot,
        log_bytes: status.log_bytes,
        fsync_p50_us: status.fsync_p50_us,
        fsync_p99_us: status.fsync_p99_us,
        digest: format!("{digest:016x}"),
        clock_ms: status.now_ms,
        healthy: status.health.healthy,
        reason: status.health.reason.clone(),
        members: nodes(app),
        pbxes,
        ari: AriView {
            configured: ari.configured,
            connected: ari.connected,
            systemname: ari.systemname,
            version: ari.version,
            reconnects: ari.reconnects,
            last_error: ari.last_error,
        },
        insecure_http: app.insecure_http,
    }
}

fn nodes(app: &App) -> Vec<NodeView> {
    let status = app.node.raft().status();
    let peers = app.node.raft().peers();
    let node = |(id, member, voter): &(u64, holdfast_raft::Member, bool)| {
        let own = *id == status.id;
        let peer = peers.iter().find(|peer| peer.id == *id);
        NodeView {
            name: member.name.clone(),
            addr: member.addr.clone(),
            id: *id,
            voter: *voter,
            leader: status.leader.as_deref() == Some(member.name.as_str()),
            reachable: own || peer.is_some_and(|peer| peer.reachable),
            last_heard_ms: peer.and_then(|peer| peer.last_heard_ms),
            matched: if own {
                Some(status.last_log)
            } else {
                peer.and_then(|p| p.matched)
            },
        }
    };
    status.members.iter().map(node).collect()
}

pub async fn members(State(app): Shared) -> Response {
    answer(&Page {
        items: nodes(&app),
        next: None,
        revision: app.applied(),
    })
}

pub async fn member(State(app): Shared, Path(name): Path<String>) -> Answer {
    let node = nodes(&app).into_iter().find(|node| node.name == name);
    let missing = || ApiError::NotFound("node of that name in the cluster".into());
    Ok(answer(&node.ok_or_else(missing)?))
}

/// `PUT {"addr": "10.0.0.4:7081", "replace": false}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddDoc {
    addr: String,
    #[serde(default)]
    replace: bool,
}

pub async fn add_member(
    State(app): Shared,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let name: holdfast_acd::NodeName = crate::request::name(name)?;
    let doc: AddDoc = json(&headers, &body)?;
    app.node
        .raft()
        .add_node(name.as_str(), &doc.addr, doc.replace)
        .await?;
    Ok(answer(&view(&app)))
}

pub async fn remove_member(State(app): Shared, Path(name): Path<String>) -> Answer {
    app.node.raft().remove_node(&name).await?;
    Ok(answer(&view(&app)))
}

pub async fn leader(State(app): Shared) -> Answer {
    let leader = app.node.raft().leader();
    let (name, addr) = leader.ok_or(holdfast_raft::ProposeError::NoLeader)?;
    let term = app.node.raft().status().term;
    Ok(answer(
        &serde_json::json!({ "name": name, "addr": addr, "term": term }),
    ))
}

/// `PUT {"to": "b"}`; without `to`: whoever has the most of the log.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StepDownDoc {
    to: Option<String>,
}

pub async fn step_down(State(app): Shared, headers: HeaderMap, body: Bytes) -> Answer {
    let StepDownDoc { to } = json(&headers, &body)?;
    app.node.raft().step_down(to).await?;
    Ok(answer(&view(&app)))
}
