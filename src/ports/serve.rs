//! The accept loop: from a listener to HTTP/1 connections with deadlines and bounds.
//!
//! axum's own `serve` waits for ever for half a head, so the loop is ours. hyper bounds a head by
//! time and by bytes, also that of the next request on a kept connection; a client that does not
//! read its answer is bounded by the time for which a write may stand still.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutWriter;
use tower::ServiceExt;

use crate::guests::{Guest, Guests, Stats};

/// What a port gives to whoever connects.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// For the log.
    pub name: &'static str,
    /// Connections that have not shown a secret.
    pub strangers: usize,
    /// Connections that have.
    pub known: usize,
    /// For the head of a request, also of the next one on a kept connection.
    pub head_time: Duration,
    /// Largest head.
    pub head_bytes: usize,
    /// Most headers.
    pub headers: usize,
    /// How long a write may stand still.
    pub write_time: Duration,
    /// For open requests when the port closes.
    pub stop_grace: Duration,
}

/// What connections come in by.
pub trait Door: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What the door says of who came; goes with every request.
    type Peer: Clone + Send + Sync + 'static;

    /// The next connection; `None` if it was sent away.
    fn accept(&self)
    -> impl Future<Output = io::Result<Option<(Self::Stream, Self::Peer)>>> + Send;
    fn address(peer: &Self::Peer) -> Option<IpAddr>;
    /// Whether the door itself knows who came, so that no request need show a secret.
    fn knows(_peer: &Self::Peer) -> bool {
        false
    }
}

impl Door for TcpListener {
    type Stream = TcpStream;
    type Peer = std::net::SocketAddr;

    async fn accept(&self) -> io::Result<Option<(TcpStream, Self::Peer)>> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Latency is worth more than full packets; without it things still work.
        let _ = stream.set_nodelay(true);
        Ok(Some((stream, address)))
    }

    fn address(peer: &Self::Peer) -> Option<IpAddr> {
        Some(peer.ip())
    }
}

/// Serves until `stopping` is true or its sender is gone. Each request carries the door's peer and
/// its [`Guest`] as extensions.
pub async fn serve<D: Door>(
    door: D,
    router: Router,
    bounds: Bounds,
    stats: Arc<Stats>,
    mut stopping: watch::Receiver<bool>,
) {
    let guests = Guests::new(bounds.strangers, bounds.known, stats);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok(Some((stream, peer))) => {
                let (from, known) = (D::address(&peer), D::knows(&peer));
                guests.enter(from, known, |guest| {
                    let (router, stopping) = (router.clone(), stopping.clone());
                    let bounds = bounds.clone();
                    connections.spawn(connection(stream, peer, guest, router, bounds, stopping))
                });
            }
            Ok(None) => {}
            Err(error) => {
                // Out of file descriptors, or the client gave up; an immediate retry would spin.
                tracing::debug!(port = bounds.name, %error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    let all = async { while connections.join_next().await.is_some() {} };
    // Whoever is left, such as an event stream, is cut off by dropping the set.
    let _ = tokio::time::timeout(bounds.stop_grace, all).await;
}

async fn connection<S, P>(
    stream: S,
    peer: P,
    guest: Guest,
    router: Router,
    bounds: Bounds,
    mut stopping: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Clone + Send + Sync + 'static,
{
    let service = router.map_request(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(guest.clone());
        request
    });
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(bounds.write_time));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_time)
        .max_buf_size(bounds.head_bytes)
        .max_headers(bounds.headers)
        .serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(service),
        )
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let stop = async move {
        // The word, or the end of the server: both mean to stop.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let done = tokio::select! {
        done = connection.as_mut() => Some(done),
        () = stop => None,
    };
    let done = match done {
        Some(done) => done,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(port = bounds.name, %error, "a connection ended early");
    }
}
