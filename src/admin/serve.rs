//! Listening: TCP and the unix socket, each with its bound on connections, and a header deadline so
//! that slow clients cannot hold them.
//!
//! Without TLS, TCP is for loopback unless the operator says otherwise. The unix socket belongs to
//! the node's own user (mode 0600), and only that user and root are answered on it.

use crate::auth::Peer;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Connections over TCP, and as many over the unix socket.
pub const CONNECTIONS_MAX: usize = 512;
/// For the head of a request, also of the next one on a kept connection.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// For open requests when the node stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Listen {
    pub tcp: SocketAddr,
    pub socket: Option<PathBuf>,
    /// Allow TCP beyond loopback although there is no TLS.
    pub insecure_http: bool,
}

/// Why the endpoints are not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "http.listen = {0} is not loopback, and there is no TLS; listen on 127.0.0.1, \
         or set http.insecure_http = true"
    )]
    Exposed(SocketAddr),
    #[error("http.listen: cannot listen on {addr}: {source}; free the port or change the setting")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("http.admin_socket: {0} is served by another process; stop it, or name another path")]
    SocketBusy(PathBuf),
    #[error("http.admin_socket: {path}: {source}; the folder must exist and be writable")]
    Socket { path: PathBuf, source: io::Error },
    #[error("http.admin_socket: {0} exists and is no socket; name another path")]
    NotASocket(PathBuf),
}

/// Endpoints that are being served until `stop`.
pub struct Server {
    /// As bound; of interest when port 0 was asked for.
    pub addr: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    socket: Option<PathBuf>,
}

impl Server {
    /// Binds both, then serves.
    pub async fn start(router: Router, listen: Listen) -> Result<Self, ServeError> {
        if !listen.tcp.ip().is_loopback() && !listen.insecure_http {
            return Err(ServeError::Exposed(listen.tcp));
        }
        let failed = |source| ServeError::Listen {
            addr: listen.tcp,
            source,
        };
        let tcp = TcpListener::bind(listen.tcp).await.map_err(failed)?;
        let addr = tcp.local_addr().map_err(failed)?;
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        if let Some(path) = &listen.socket {
            tasks.spawn(serve(
                bind_socket(path).await?,
                router.clone(),
                stopping.clone(),
            ));
        }
        tasks.spawn(serve(tcp, router, stopping));
        Ok(Self {
            addr,
            stop,
            tasks,
            socket: listen.socket,
        })
    }

    /// Takes no more connections, gives open requests a moment, and returns.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        if let Some(path) = &self.socket {
            // If it is gone already, so much the better.
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn bind_socket(path: &Path) -> Result<Owned, ServeError> {
    let failed = |source| ServeError::Socket {
        path: path.to_owned(),
        source,
    };
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(ServeError::NotASocket(path.to_owned()));
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err(ServeError::SocketBusy(path.to_owned()));
        }
        // Left behind by a process that was killed.
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let owner_only = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, owner_only).map_err(failed)?;
    let owner = std::fs::symlink_metadata(path).map_err(failed)?.uid();
    Ok(Owned { listener, owner })
}

/// What connections come in by.
trait Door: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection; `None` if it was sent away.
    fn accept(&self) -> impl Future<Output = io::Result<Option<(Self::Stream, Peer)>>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<Option<(TcpStream, Peer)>> {
        let (stream, addr) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok(Some((stream, Peer::Tcp(addr))))
    }
}

/// The socket and the user it belongs to.
struct Owned {
    listener: UnixListener,
    owner: u32,
}

impl Door for Owned {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<Option<(UnixStream, Peer)>> {
        let (stream, _) = self.listener.accept().await?;
        let user = stream.peer_cred()?.uid();
        if user != self.owner && user != 0 {
            tracing::warn!(
                user,
                "a user who is not the node's own was refused at the socket"
            );
            return Ok(None);
        }
        Ok(Some((stream, Peer::Unix)))
    }
}

async fn serve(door: impl Door, router: Router, mut stopping: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok(Some((stream, peer))) => {
                let (router, stopping) = (router.clone(), stopping.clone());
                connections.spawn(async move {
                    connection(stream, peer, router, stopping).await;
                    drop(slot);
                });
            }
            Ok(None) => {}
            Err(error) => {
                // Out of file descriptors, or the client gave up: others are served meanwhile.
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    let all = async { while connections.join_next().await.is_some() {} };
    // Whoever is left, such as an event stream, is cut off by dropping the set.
    let _ = tokio::time::timeout(STOP_GRACE, all).await;
}

async fn connection<S>(stream: S, peer: Peer, router: Router, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
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
        tracing::debug!(%error, "a connection ended early");
    }
}
