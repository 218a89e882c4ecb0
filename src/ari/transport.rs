//! How a request reaches an Asterisk and how its events come back: the lowest step, with nothing of
//! ARI's meaning in it.
//!
//! [`Tcp`] is the real one. Another one stands in its place where there is no network, as in the
//! deterministic simulation: see [`AriConfig::transport`]. Deadlines, the bound on requests in
//! flight, statuses, pings and reconnects are not here but above, so both share them.

use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;

use crate::config::{AriConfig, ConfigError};
use crate::stream::DownReason;

/// Longest answer that is read. `GET /channels` is about 330 bytes a channel.
pub(crate) const BODY_BYTES_MAX: usize = 8 << 20;

/// Longest message that is read. Asterisk's events are a few kilobytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What a transport gives back later.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why there is no answer, sorted by whether the request may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// No connection: it never left.
    Unreachable {
        /// Nobody listens there, as opposed to no word at all.
        refused: bool,
    },
    /// It could not even be put into words.
    Unspeakable,
    /// It left, and the answer did not come, or not whole.
    Lost,
    /// The answer is longer than what is read.
    TooLong,
}

/// One way to one Asterisk. Dropping what is pending gives the request up, as closing its
/// connection does: it may be carried out all the same.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Sends one request. `path` follows the base address; it and its query are percent-encoded.
    fn request<'a>(
        &'a self,
        method: &'static str,
        path: String,
        body: Option<Value>,
    ) -> Pending<'a, Result<Answer, NoAnswer>>;

    /// Opens the event socket at `path` (with its query).
    fn open<'a>(&'a self, path: String) -> Pending<'a, Result<Box<dyn Socket>, DownReason>>;
}

/// What comes out of an event socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// An event.
    Text(String),
    /// A sign of life without a meaning of its own.
    Pong,
}

/// An open event socket. Dropping it closes it.
pub trait Socket: Send {
    /// The next frame; an error is the end. May be dropped before it is ready, without a loss.
    fn next(&mut self) -> Pending<'_, Result<Frame, DownReason>>;
    /// Asks for a sign of life.
    fn ping(&mut self) -> Pending<'_, Result<(), DownReason>>;
    /// Says goodbye.
    fn close(&mut self) -> Pending<'_, ()>;
}

/// HTTP and WebSocket over TCP.
pub(crate) struct Tcp {
    client: Client,
    url: Url,
    base: String,
    authorization: HeaderValue,
    connect_timeout: Duration,
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tcp").field(&self.base).finish()
    }
}

impl Tcp {
    pub(crate) fn new(config: &AriConfig) -> Result<Tcp, ConfigError> {
        let client = Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(config.idle_timeout)
            .pool_max_idle_per_host(config.requests_max)
            .build()
            .map_err(|error| ConfigError::Client(error.to_string()))?;
        let mut authorization = HeaderValue::from_str(&config.authorization())
            .expect("base64 text is a valid header value");
        authorization.set_sensitive(true);
        Ok(Tcp {
            client,
            base: config.url.as_str().trim_end_matches('/').to_string(),
            url: config.url.clone(),
            authorization,
            connect_timeout: config.connect_timeout,
        })
    }

    async fn send(
        &self,
        method: &'static str,
        path: String,
        body: Option<Value>,
    ) -> Result<Answer, NoAnswer> {
        let method = method.parse().map_err(|_| NoAnswer::Unspeakable)?;
        let mut builder = self
            .client
            .request(method, format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone());
        if let Some(body) = &body {
            builder = builder.json(body);
        }
        let mut response = builder.send().await.map_err(|error| sort(&error))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| NoAnswer::Lost)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(NoAnswer::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }

    async fn connect(&self, path: String) -> Result<Box<dyn Socket>, DownReason> {
        let unreachable = |error: std::io::Error| DownReason::Unreachable(error.kind().to_string());
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or(80);
        let address = (host.trim_start_matches('[').trim_end_matches(']'), port);
        let stream = timeout(self.connect_timeout, TcpStream::connect(address))
            .await
            .map_err(|_| DownReason::Unreachable("no connection in time".into()))?
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;

        let base = self.url.path().trim_end_matches('/');
        let mut request = format!("ws://{host}:{port}{base}{path}")
            .into_client_request()
            .map_err(|_| DownReason::Protocol)?;
        request
            .headers_mut()
            .insert("Authorization", self.authorization.clone());
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        match client_async_with_config(request, stream, Some(limits)).await {
            Ok((socket, _)) => Ok(Box::new(TcpSocket(socket))),
            Err(WsError::Http(answer)) => Err(DownReason::Refused(answer.status().as_u16())),
            Err(WsError::Io(error)) => Err(unreachable(error)),
            Err(_) => Err(DownReason::Protocol),
        }
    }
}

impl Transport for Tcp {
    fn request<'a>(
        &'a self,
        method: &'static str,
        path: String,
        body: Option<Value>,
    ) -> Pending<'a, Result<Answer, NoAnswer>> {
        Box::pin(self.send(method, path, body))
    }

    fn open<'a>(&'a self, path: String) -> Pending<'a, Result<Box<dyn Socket>, DownReason>> {
        Box::pin(self.connect(path))
    }
}

struct TcpSocket(WebSocketStream<TcpStream>);

impl Socket for TcpSocket {
    fn next(&mut self) -> Pending<'_, Result<Frame, DownReason>> {
        Box::pin(async {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => Ok(Frame::Text(text.as_str().to_owned())),
                Some(Ok(Message::Close(_))) | None => Err(DownReason::Closed),
                Some(Ok(_)) => Ok(Frame::Pong),
                Some(Err(WsError::Capacity(_) | WsError::Protocol(_) | WsError::Utf8(_))) => {
                    Err(DownReason::Protocol)
                }
                Some(Err(_)) => Err(DownReason::Closed),
            }
        })
    }

    fn ping(&mut self) -> Pending<'_, Result<(), DownReason>> {
        Box::pin(async {
            let sent = self.0.send(Message::Ping(Vec::new().into())).await;
            sent.map_err(|_| DownReason::Closed)
        })
    }

    fn close(&mut self) -> Pending<'_, ()> {
        Box::pin(async {
            // Nobody is told of a goodbye that could not be said.
            let _ = self.0.close(None).await;
        })
    }
}

/// Whether a failed request may have been carried out.
fn sort(error: &reqwest::Error) -> NoAnswer {
    if error.is_connect() {
        let refused = is_refused(error);
        return NoAnswer::Unreachable { refused };
    }
    if error.is_builder() {
        return NoAnswer::Unspeakable;
    }
    NoAnswer::Lost
}

fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}
