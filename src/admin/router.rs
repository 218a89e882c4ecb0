//! All routes, and what every request passes: request id, authentication, body limit, deadline,
//! and the headers that say which node answered.

use crate::api::Problem;
use crate::auth::{self, Caller, Peer, Role, Tokens};
use crate::error::{ApiError, problem_response};
use crate::guesses::Guesses;
use crate::metrics::HttpStats;
use crate::serve::PortStats;
use crate::view::Look;
use crate::{events, routes_agent, routes_call, routes_cluster, routes_config, routes_queue};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{self, DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use holdfast_acd::{Admin, AdminOp, Reject, Reply, State};
use holdfast_node::Handle;
use holdfast_ports::Guest;
use holdfast_raft::Applied;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

use crate::api::Written;
use crate::request::Write;

/// Largest body, but for the declarative file.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest declarative file.
pub const CONFIG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// For one request, event streams excepted.
pub const REQUEST_SECONDS_MAX: u64 = 10;
/// For a write to be applied; below the request's own limit, so that its outcome is told.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(6);
/// For `?consistency=leader`.
const BARRIER_DEADLINE: Duration = Duration::from_secs(3);
/// How often a change is tried anew when somebody else's came in between.
const CHANGE_TRIES: usize = 3;
/// Event streams of one node.
pub const STREAMS_MAX: usize = 64;
/// Items of one page.
pub const PAGE_MAX: usize = 1000;

/// What the handlers share.
pub struct App {
    pub node: Handle,
    pub tokens: Tokens,
    pub streams: Arc<Semaphore>,
    pub stats: HttpStats,
    /// Connections, as the listeners count them.
    pub ports: PortStats,
    pub guesses: Guesses,
    /// Listens beyond loopback without TLS, as configured.
    pub insecure_http: bool,
}

pub type Shared = extract::State<Arc<App>>;
pub type Answer = Result<Response, ApiError>;

impl App {
    pub fn new(node: Handle, tokens: Tokens, insecure_http: bool) -> Arc<Self> {
        Arc::new(Self {
            node,
            tokens,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            stats: HttpStats::default(),
            ports: PortStats::default(),
            guesses: Guesses::default(),
            insecure_http,
        })
    }

    /// The present as `role` may see it.
    pub fn look(&self, role: Role) -> Look {
        let clock = self.node.raft().now_ms();
        Look {
            now: self.node.read(|state| state.now()).max(clock),
            role,
        }
    }

    pub fn applied(&self) -> u64 {
        *self.node.raft().applied().borrow()
    }

    /// Has a write applied; its revision.
    pub async fn write(&self, write: &Write, op: AdminOp) -> Result<Written, ApiError> {
        let (request, condition) = (Some(write.request), write.if_revision);
        let applied = self
            .node
            .admin(op, &write.actor, request, condition, WRITE_DEADLINE)
            .await?;
        Self::revision(applied)
    }

    /// Reads, changes and writes an object's settings: `read` gives them with their revision,
    /// `change` the write that they become. Again if somebody else wrote in between, unless the
    /// client named the revision it wants to change. `asked` tells a repetition, which gets the
    /// answer of the first time, from another request under the same key, which is refused.
    pub async fn change<T>(
        &self,
        write: &Write,
        asked: u64,
        read: impl Fn(&State) -> Result<(T, u64), Reject>,
        change: impl Fn(T) -> Result<AdminOp, ApiError>,
    ) -> Answer {
        for attempt in 0.. {
            let (before, revision) = self.node.read(&read)?;
            let admin = Admin {
                request: write.attempt(attempt),
                actor: write.actor.clone(),
                if_revision: Some(write.if_revision.unwrap_or(revision)),
                op: change(before)?,
            };
            let applied = self.node.admin_asked(asked, admin, WRITE_DEADLINE).await?;
            let moved = matches!(applied.reply, Err(Reject::RevisionMismatch { .. }));
            if !moved || write.if_revision.is_some() || attempt + 1 == CHANGE_TRIES {
                let written = Self::revision(applied)?;
                return Ok(tagged(written.revision, &written));
            }
            self.node.raft().barrier(BARRIER_DEADLINE).await?;
        }
        unreachable!("the last attempt returns")
    }

    fn revision(applied: Applied<Reply>) -> Result<Written, ApiError> {
        match applied.reply? {
            holdfast_acd::Done::Written { revision } => Ok(Written { revision }),
            _ => Ok(Written {
                revision: applied.index,
            }),
        }
    }

    /// As `write`, answered with the revision as ETag.
    pub async fn written(&self, write: &Write, op: AdminOp) -> Answer {
        let written = self.write(write, op).await?;
        Ok(tagged(written.revision, &written))
    }
}

/// 200 with a JSON body.
pub fn answer<T: Serialize>(body: &T) -> Response {
    axum::Json(body).into_response()
}

/// 200 with a JSON body and the revision as ETag.
pub fn tagged<T: Serialize>(revision: u64, body: &T) -> Response {
    (
        [(header::ETAG, format!("\"{revision}\""))],
        axum::Json(body),
    )
        .into_response()
}

/// The whole service.
pub fn router(app: Arc<App>) -> Router {
    let config = get(routes_config::get_config)
        .put(routes_config::put_config)
        .layer(DefaultBodyLimit::max(CONFIG_BYTES_MAX));
    Router::new()
        .route("/livez", get(routes_cluster::livez))
        .route("/readyz", get(routes_cluster::readyz))
        .route("/version", get(routes_cluster::version))
        .route("/metrics", get(crate::metrics::metrics))
        .route("/v1/openapi.json", get(routes_cluster::openapi))
        .route("/v1/cluster", get(routes_cluster::cluster))
        .route("/v1/cluster/members", get(routes_cluster::members))
        .route(
            "/v1/cluster/members/{name}",
            get(routes_cluster::member)
                .put(routes_cluster::add_member)
                .delete(routes_cluster::remove_member),
        )
        .route(
            "/v1/cluster/leader",
            get(routes_cluster::leader).put(routes_cluster::step_down),
        )
        .route("/v1/queues", get(routes_queue::list))
        .route(
            "/v1/queues/{queue}",
            get(routes_queue::show)
                .put(routes_queue::put)
                .patch(routes_queue::patch)
                .delete(routes_queue::delete),
        )
        .route("/v1/queues/{queue}/state", put(routes_queue::set_open))
        .route("/v1/queues/{queue}/calls", get(routes_queue::calls))
        .route("/v1/queues/{queue}/members", get(routes_queue::members))
        .route(
            "/v1/queues/{queue}/members/{agent}",
            get(routes_queue::member)
                .put(routes_queue::put_member)
                .delete(routes_queue::delete_member),
        )
        .route("/v1/agents", get(routes_agent::list))
        .route(
            "/v1/agents/{agent}",
            get(routes_agent::show)
                .put(routes_agent::put)
                .patch(routes_agent::patch)
                .delete(routes_agent::delete),
        )
        .route(
            "/v1/agents/{agent}/session",
            put(routes_agent::login).delete(routes_agent::logout),
        )
        .route(
            "/v1/agents/{agent}/pause",
            put(routes_agent::pause).delete(routes_agent::unpause),
        )
        .route("/v1/agents/{agent}/ready", put(routes_agent::ready))
        .route("/v1/calls", get(routes_call::list))
        .route(
            "/v1/calls/{call}",
            get(routes_call::show).patch(routes_call::patch),
        )
        .route("/v1/calls/{call}/timeline", get(routes_call::timeline))
        .route("/v1/calls/{call}/withdraw", post(routes_call::withdraw))
        .route("/v1/templates", get(routes_config::templates))
        .route("/v1/config", config)
        .route("/v1/events", get(events::events))
        .fallback(unknown_path)
        .layer(from_fn_with_state(app.clone(), fresh))
        .layer(from_fn_with_state(app.clone(), authenticate))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(deadline))
        .layer(from_fn_with_state(app.clone(), finish))
        .with_state(app)
}

async fn unknown_path(request: Request) -> ApiError {
    let path: String = request.uri().path().chars().take(200).collect();
    ApiError::NotFound(format!("path {path}"))
}

fn route_of(request: &Request) -> String {
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned())
}

/// Checks who asks before anything else is looked at.
async fn authenticate(extract::State(app): Shared, mut request: Request, next: Next) -> Answer {
    // Without the serving loop's word for it, nothing vouches for the peer.
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return Err(ApiError::Unauthenticated);
    };
    let header = request.headers().get(header::AUTHORIZATION);
    let header = header.map(|value| value.to_str().unwrap_or_default());
    let route = route_of(&request);
    let guest = request.extensions().get::<Guest>();
    let from = guest.and_then(Guest::address).filter(|_| header.is_some());
    if from.is_some_and(|from| app.guesses.are_too_many(from)) {
        return Err(ApiError::TooManyGuesses);
    }
    let checked = auth::check(&app.tokens, peer, header, request.method(), &route);
    if let (Err(ApiError::Unauthenticated), Some(from)) = (&checked, from) {
        app.guesses.note_wrong(from);
    }
    let caller = checked?;
    let proven = header.is_some() || matches!(peer, Peer::Unix);
    let asked = auth::needed(request.method(), &route).is_some();
    if proven && asked && guest.is_some_and(|guest| !guest.is_known()) {
        return Err(ApiError::TooManyConnections);
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// `?consistency=leader`: the answer holds everything that was acknowledged before the question.
async fn fresh(extract::State(app): Shared, mut request: Request, next: Next) -> Answer {
    let Some(query) = request.uri().query() else {
        return Ok(next.run(request).await);
    };
    let mut rest = Vec::new();
    let mut leader = false;
    for pair in query.split('&') {
        match pair {
            "consistency=leader" => leader = true,
            "consistency=local" => {}
            other if other.starts_with("consistency=") => {
                return Err(ApiError::invalid(
                    "",
                    "query: consistency is leader or local",
                ));
            }
            other => rest.push(other),
        }
    }
    if leader && request.method() == Method::GET {
        app.node.raft().barrier(BARRIER_DEADLINE).await?;
    }
    let path = request.uri().path();
    let target = match rest.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", rest.join("&")),
    };
    if let Ok(uri) = target.parse() {
        *request.uri_mut() = uri;
    }
    Ok(next.run(request).await)
}

/// No request takes longer than its limit, its body's arrival included; streams answer at once.
async fn deadline(request: Request, next: Next) -> Answer {
    let limit = Duration::from_secs(REQUEST_SECONDS_MAX);
    tokio::time::timeout(limit, next.run(request))
        .await
        .map_err(|_| ApiError::Slow(REQUEST_SECONDS_MAX))
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVED_BY: HeaderName = HeaderName::from_static("x-holdfast-served-by");
const LEADER: HeaderName = HeaderName::from_static("x-holdfast-leader");
const APPLIED: HeaderName = HeaderName::from_static("x-holdfast-applied-index");

/// Outermost: names the request, counts it, and gives every refusal the same shape.
async fn finish(extract::State(app): Shared, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let path: String = request.uri().path().chars().take(200).collect();
    let (method, route) = (request.method().clone(), route_of(&request));
    let response = next.run(request).await;
    app.stats.count(&route, &method, response.status());
    let mut response = shaped(response, path, &id).await;
    let headers = response.headers_mut();
    let mut put = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put(REQUEST_ID, &id);
    put(SERVED_BY, &app.node.config().node.name);
    put(APPLIED, &app.applied().to_string());
    if let Some((leader, _)) = app.node.raft().leader() {
        put(LEADER, &leader);
    }
    response
}

/// The client's own id if it is harmless, else a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match given.filter(harmless) {
        Some(id) => id.to_owned(),
        None => format!("{:016x}", rand::random::<u64>()),
    }
}

async fn shaped(mut response: Response, instance: String, request_id: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let mut problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        // A page that says by itself what is wrong, such as /readyz.
        None if response.headers().contains_key(SHAPED) => {
            response.headers_mut().remove(SHAPED);
            return response;
        }
        None => plain(status, std::mem::take(response.body_mut())).await,
    };
    problem.instance = instance;
    problem.request_id = request_id.to_owned();
    if status.is_server_error() {
        tracing::warn!(request_id, status = status.as_u16(), detail = %problem.detail, "refused");
    }
    let mut shaped = problem_response(&problem);
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            shaped.headers_mut().insert(name.clone(), value.clone());
        }
    }
    shaped
}

/// Marks an answer with an error status that is not to be turned into a problem.
pub const SHAPED: HeaderName = HeaderName::from_static("x-holdfast-shaped");

/// What the framework refused in plain text.
async fn plain(status: StatusCode, body: Body) -> Problem {
    let bytes = to_bytes(body, 4096).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let title = status.canonical_reason().unwrap_or("error").to_lowercase();
    let word = title.replace(' ', "-");
    Problem {
        kind: format!("urn:holdfast:error:{word}"),
        status: status.as_u16(),
        code: "HF-H02".into(),
        detail: if text.is_empty() { title.clone() } else { text },
        title,
        ..Problem::default()
    }
}

/// Who asks, for handlers.
pub type Who = axum::Extension<Caller>;
