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
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, FutureExt};
use holdfast_ports::{Bounds, Guest, Stats};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::stream;
use super::transport::{Door, Listener, Refusal};
use super::wire::Kind;
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

/// A listener that is bound.
struct Bound {
    listener: TcpListener,
    stats: Arc<Stats>,
}

/// Binds the listener.
pub async fn bind(addr: SocketAddr) -> Result<Box<dyn Listener>, StartError> {
    let listen = |source| StartError::Listen {
        addr: addr.to_string(),
        source,
    };
    Ok(Box::new(Bound {
        listener: TcpListener::bind(addr).await.map_err(listen)?,
        stats: Arc::default(),
    }))
}

impl Listener for Bound {
    fn addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    fn serve(
        self: Box<Self>,
        door: Arc<dyn Door>,
        closing: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()> {
        let here = Here {
            door,
            closing: closing.clone(),
        };
        let app = Router::new().fallback(answer).with_state(here);
        holdfast_ports::serve(self.listener, app, BOUNDS, self.stats, closing).boxed()
    }
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

/// Who answers here, and for how long.
#[derive(Clone)]
struct Here {
    door: Arc<dyn Door>,
    closing: watch::Receiver<bool>,
}

async fn answer(State(here): State<Here>, request: Request<Body>) -> Response {
    match try_answer(here, request).await {
        Ok(response) => response,
        Err(Refusal(status, why)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, why).into_response()
        }
    }
}

async fn try_answer(here: Here, request: Request<Body>) -> Result<Response, Refusal> {
    let door = &here.door;
    let token = request.headers().get("authorization").map(|v| v.as_bytes());
    let token = token
        .and_then(|v| v.strip_prefix(b"Bearer "))
        .unwrap_or_default();
    let path = request.uri().path().to_string();
    let kind = path.strip_prefix("/raft/").unwrap_or_default();
    let is_stream = kind == stream::PATH;
    let carried = if is_stream { Kind::Append.name() } else { kind };
    let limit = door.admits(token, carried)?;
    let guest = request.extensions().get::<Guest>();
    if guest.is_some_and(|guest| !guest.is_known()) {
        return Err(Refusal::new(503, "all connections for nodes are taken"));
    }
    if let Some(guest) = guest {
        guest.when_gone(|| {
            // Weak, so that a connection does not keep a node that has stopped.
            let door = Arc::downgrade(door);
            Box::new(move || {
                if let Some(door) = door.upgrade() {
                    door.hung_up();
                }
            })
        });
    }
    if is_stream {
        return open_stream(here, request);
    }
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
    Ok(door.answer(kind, &body).await?.into_response())
}

/// Makes a stream of the connection. It keeps the connection's place among the guests.
fn open_stream(mut here: Here, mut request: Request<Body>) -> Result<Response, Refusal> {
    let wanted = request.headers().get(UPGRADE).map(|v| v.as_bytes());
    if wanted != Some(stream::PROTOCOL.as_bytes()) {
        let why = format!("a stream is upgraded to {}", stream::PROTOCOL);
        return Err(Refusal::new(426, why));
    }
    let guest = request.extensions().get::<Guest>().cloned();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let _guest = guest;
        // An error: the connection ended before it was one.
        if let Ok(io) = upgraded.await {
            tokio::select! {
                () = stream::serve(TokioIo::new(io), here.door) => {}
                // The word, or the end of the node: both mean to stop.
                _ = here.closing.wait_for(|closing| *closing) => {}
            }
        }
    });
    let headers = [(CONNECTION, "upgrade"), (UPGRADE, stream::PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
