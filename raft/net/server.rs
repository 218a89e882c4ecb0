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
use futures_util::future::{BoxFuture, FutureExt};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::transport::{Door, Listener, Refusal};
use crate::StartError;

const CONNECTIONS: usize = 512;
const HEADER_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(10);
const HEADERS_MAX: usize = 32;

/// A listener that is bound.
struct Bound(TcpListener);

/// Binds the listener.
pub async fn bind(addr: SocketAddr) -> Result<Box<dyn Listener>, StartError> {
    let listen = |source| StartError::Listen {
        addr: addr.to_string(),
        source,
    };
    Ok(Box::new(Bound(
        TcpListener::bind(addr).await.map_err(listen)?,
    )))
}

impl Listener for Bound {
    fn addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn serve(
        self: Box<Self>,
        door: Arc<dyn Door>,
        closing: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()> {
        serve(self.0, door, closing).boxed()
    }
}

/// Serves until `closing` is true, then drops all connections.
async fn serve(listener: TcpListener, door: Arc<dyn Door>, mut closing: watch::Receiver<bool>) {
    let app = Router::new().fallback(answer).with_state(door);
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

async fn answer(State(door): State<Arc<dyn Door>>, request: Request<Body>) -> Response {
    match try_answer(door.as_ref(), request).await {
        Ok(bytes) => bytes.into_response(),
        Err(Refusal(status, why)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, why).into_response()
        }
    }
}

async fn try_answer(door: &dyn Door, request: Request<Body>) -> Result<Vec<u8>, Refusal> {
    let token = request.headers().get("authorization").map(|v| v.as_bytes());
    let token = token
        .and_then(|v| v.strip_prefix(b"Bearer "))
        .unwrap_or_default();
    let path = request.uri().path().to_string();
    let kind = path.strip_prefix("/raft/").unwrap_or_default();
    let limit = door.admits(token, kind)?;
    if request.method() != Method::POST {
        return Err(Refusal::new(405, "messages are posted"));
    }
    let too_long = || Refusal::new(413, format!("more than {limit} bytes"));
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
    let body = body.map_err(|_| Refusal::new(408, "the body did not come in time"))?;
    let body = body.map_err(|_| too_long())?;
    door.answer(kind, &body).await
}
