//! The receiving side: an HTTP listener that gives no stranger anything to hold on to.
//!
//! axum's own `serve` waits for ever for half a header, so the accept loop is ours: a bound on
//! connections, on the time for a header and for a body, and on a body's length; and the secret is
//! checked before a single byte of the body is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::wire::{self, Head, Kind};
use crate::StartError;

const CONNECTIONS: usize = 512;
const HEADER_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 32;

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

/// Serves until `closing` is true, then drops all connections.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    mut closing: watch::Receiver<bool>,
) {
    let app = Router::new().fallback(answer::<H>).with_state(handler);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = closing.wait_for(|c| *c) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                // Out of file descriptors, most likely; an immediate retry would spin.
                tracing::warn!("cannot accept a connection: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(limit = CONNECTIONS, "too many connections; refused one");
            continue;
        };
        // Latency is worth more than full packets; without it things still work.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(app.clone());
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_headers(HEADERS_MAX);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            let _place = place;
            if let Err(e) = connection.await {
                tracing::debug!("connection ended: {e}");
            }
        });
    }
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
