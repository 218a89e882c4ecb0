//! The real wire: pooled HTTP connections to the other nodes and a `stream` for appends; `server` on this side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use futures_util::future::{BoxFuture, FutureExt};

use super::server;
use super::stream::{self, Stream, Streams, To};
use super::transport::{Call, CallError, Listener, Wire};
use super::wire::{BODY_MAX, Kind};
use crate::StartError;

/// Connections to one peer that are kept open.
const POOL: usize = 128;
/// Shorter than the server's patience with a silent connection, so that the client closes first.
const POOL_IDLE: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_secs(1);

pub struct Http {
    /// Small and urgent messages,
    urgent: reqwest::Client,
    /// and those that may fill a connection for a while.
    bulk: reqwest::Client,
    streams: Streams,
}

impl Http {
    pub fn new() -> Result<Self, StartError> {
        let client = || {
            reqwest::Client::builder()
                .no_proxy()
                .tcp_nodelay(true)
                .connect_timeout(CONNECT)
                .pool_max_idle_per_host(POOL)
                .pool_idle_timeout(POOL_IDLE)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .map_err(|e| StartError::Core(format!("no HTTP client: {e}")))
        };
        Ok(Http {
            urgent: client()?,
            bulk: client()?,
            streams: Streams::default(),
        })
    }

    async fn send(&self, call: Call) -> Result<Vec<u8>, CallError> {
        if call.kind == Kind::Append.name() && call.body.len() <= stream::BODY_MAX {
            let sent = tokio::time::timeout(call.deadline, self.send_by_stream(&call)).await;
            if let Some(answer) = sent.unwrap_or(Some(Err(CallError::Late))) {
                return answer;
            }
        }
        let client = if call.bulk { &self.bulk } else { &self.urgent };
        let sent = request(client, Method::POST, &call, call.kind)
            .timeout(call.deadline)
            .body(call.body)
            .send();
        body(sent.await.map_err(not_answered)?).await
    }

    /// `None`: the node there knows no streams.
    async fn send_by_stream(&self, call: &Call) -> Option<Result<Vec<u8>, CallError>> {
        let stream = match self.streams.to(&call.addr) {
            Some(To::Http(_)) => return None,
            Some(To::Open(stream)) => stream,
            None => match self.open_stream(call).await {
                Ok(stream) => stream?,
                Err(e) => return Some(Err(e)),
            },
        };
        Some(stream.ask(&call.body).await)
    }

    async fn open_stream(&self, call: &Call) -> Result<Option<Arc<Stream>>, CallError> {
        let asked = request(&self.urgent, Method::GET, call, stream::PATH)
            .header("connection", "upgrade")
            .header("upgrade", stream::PROTOCOL);
        let response = asked.send().await.map_err(not_answered)?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                let upgraded = response.upgrade().await.map_err(not_answered)?;
                let stream = Stream::new(upgraded);
                self.streams.opened(&call.addr, stream.clone());
                Ok(Some(stream))
            }
            StatusCode::NOT_FOUND => {
                self.streams.refused(&call.addr);
                Ok(None)
            }
            _ => match body(response).await {
                Ok(_) => Err(CallError::Refused("it opened no stream".into())),
                Err(e) => Err(e),
            },
        }
    }
}

impl Wire for Http {
    fn bind(&self, listen: SocketAddr) -> BoxFuture<'_, Result<Box<dyn Listener>, StartError>> {
        server::bind(listen).boxed()
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Vec<u8>, CallError>> {
        self.send(call).boxed()
    }
}

/// A request to the node that is called, with the secret.
fn request(
    client: &reqwest::Client,
    method: Method,
    call: &Call,
    path: &str,
) -> reqwest::RequestBuilder {
    client
        .request(method, format!("http://{}/raft/{path}", call.addr))
        .header("authorization", format!("Bearer {}", call.secret.expose()))
}

/// What was answered; an error if that is a refusal.
async fn body(response: reqwest::Response) -> Result<Vec<u8>, CallError> {
    let status = response.status();
    let lost = |e: reqwest::Error| match e.is_timeout() {
        true => CallError::Late,
        false => CallError::Lost(reason(&e)),
    };
    let length = response.content_length();
    if length.is_some_and(|len| len > BODY_MAX as u64) {
        return Err(CallError::Lost("the answer is too long".into()));
    }
    let bytes = response.bytes().await.map_err(lost)?;
    if !status.is_success() {
        let text: String = String::from_utf8_lossy(&bytes).chars().take(300).collect();
        return Err(CallError::Refused(format!("{status}: {text}")));
    }
    Ok(bytes.into())
}

fn not_answered(error: reqwest::Error) -> CallError {
    match error {
        e if is_refused(&e) => CallError::NobodyListens(reason(&e)),
        e if e.is_connect() || e.is_builder() => CallError::NotReached(reason(&e)),
        e if e.is_timeout() => CallError::Late,
        e => CallError::Lost(reason(&e)),
    }
}

/// Whether the other machine said that nobody listens at that port.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let io = cause.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return error.is_connect();
        }
        next = cause.source();
    }
    false
}

/// The innermost reason; the outer ones repeat the address.
fn reason(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
