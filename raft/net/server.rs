//! The receiving side: an HTTP listener that gives no stranger anything to hold on to.
//!
//! The accept loop with its places for strangers and for peers is in `holdfast_ports`. Here are the
//! bounds on a body's length and time, and the secret, which is checked before a single byte of the
//! body is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use holdfast_ports::{Bounds, Guest, Stats};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::wire::{self, Head, Kind};
use crate::StartError;

/// Connections of peers.
const CONNECTIONS: usize = 512;
/// Connections that have not shown the secret; the oldest goes for a new one.
const STRANGERS: usize = 256;
const HEADER_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long a peer may leave its answer unread.
const WRITE_TIME: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 32;
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Why a message was not taken.
pub struct Refusal(pub StatusCode, pub String);

impl Refusal {
    pub fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Refusal(status, why.into())
    }

    pub fn bad(why: impl ToString) -> Self {
        Refusal(StatusCode::BAD_REQUEST, why.to_string())
    }
}

/// What a node does with a message.
pub trait Handler: Send + Sync + 'static {
    /// Whether the bearer token is the cluster secret.
    fn knows(&self, token: &[u8]) -> bool;
    /// Answers a message whose frame is good.
    fn handle(
        &self,
        kind: Kind,
        head: Head,
        message: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, Refusal>> + Send;
}

/// Binds the listener.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener, StartError> {
    let listen = |source| StartError::Listen {
        addr: addr.to_string(),
        source,
    };
    TcpListener::bind(addr).await.map_err(listen)
}

/// What is given to whoever connects. A stranger here is who has not shown the cluster's secret.
const BOUNDS: Bounds = Bounds {
    name: "node-to-node",
    strangers: STRANGERS,
    known: CONNECTIONS,
    head_time: HEADER_TIME,
    head_bytes: HEAD_BYTES_MAX,
    headers: HEADERS_MAX,
    write_time: WRITE_TIME,
    stop_grace: Duration::ZERO,
};

/// Serves until `closing` is true, then drops all connections.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    stats: Arc<Stats>,
    closing: watch::Receiver<bool>,
) {
    let app = Router::new().fallback(answer::<H>).with_state(handler);
    holdfast_ports::serve(listener, app, BOUNDS, stats, closing).await;
}

async fn answer<H: Handler>(State(handler): State<Arc<H>>, request: Request<Body>) -> Response {
    match try_answer(handler.as_ref(), request).await {
        Ok(bytes) => bytes.into_response(),
        Err(Refusal(status, why)) => (status, why).into_response(),
    }
}

async fn try_answer<H: Handler>(handler: &H, request: Request<Body>) -> Result<Vec<u8>, Refusal> {
    let token = request.headers().get("authorization").map(|v| v.as_bytes());
    let token = token
        .and_then(|v| v.strip_prefix(b"Bearer "))
        .unwrap_or_default();
    if !handler.knows(token) {
        let why = "the cluster secret is missing or wrong; set the same one on every node";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, why));
    }
    let guest = request.extensions().get::<Guest>();
    if guest.is_some_and(|guest| !guest.is_known()) {
        let why = "all connections for nodes are taken";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    let not_found = || Refusal::new(StatusCode::NOT_FOUND, "there is no such message");
    let kind = Kind::from_path(request.uri().path()).ok_or_else(not_found)?;
    if request.method() != Method::POST {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "messages are posted",
        ));
    }
    let limit = kind.limit();
    let too_long = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("more than {limit} bytes"),
        )
    };
    let declared = request
        .headers()
        .get("content-length")
        .and_then(|v| v.to_str().ok());
    if declared
        .and_then(|v| v.parse::<u64>().ok())
        .is_some_and(|len| len > limit as u64)
    {
        return Err(too_long());
    }
    let body = tokio::time::timeout(BODY_TIME, to_bytes(request.into_body(), limit)).await;
    let body = body
        .map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))?;
    let body = body.map_err(|_| too_long())?;
    let (head, message) = wire::unpack(&body).map_err(Refusal::bad)?;
    handler.handle(kind, head, message).await
}
