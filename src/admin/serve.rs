//! Listening: TCP and the unix socket, each with its bounds. The loop itself is in `holdfast_ports`.
//!
//! Without TLS, TCP is for loopback unless the operator says otherwise. The unix socket belongs to
//! the node's own user (mode 0600), and only that user and root are answered on it.

use crate::auth::Peer;
use axum::Router;
use holdfast_ports::{Bounds, Door, Stats, serve};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections with a token over TCP, and as many over the unix socket.
pub const CONNECTIONS_MAX: usize = 512;
/// Connections over TCP that have not shown a token; the oldest goes for a new one.
pub const STRANGERS_MAX: usize = 256;
/// For the head of a request, also of the next one on a kept connection.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;
/// How long a client may leave its answer unread; an event stream too, which sends every 15 s.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// For open requests when the node stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What each of the two gives to whoever connects.
fn bounds(name: &'static str) -> Bounds {
    Bounds {
        name,
        strangers: STRANGERS_MAX,
        known: CONNECTIONS_MAX,
        head_time: HEADER_DEADLINE,
        head_bytes: HEAD_BYTES_MAX,
        headers: HEADERS_MAX,
        write_time: WRITE_DEADLINE,
        stop_grace: STOP_GRACE,
    }
}

/// What the two listeners count.
#[derive(Clone, Debug, Default)]
pub struct PortStats {
    pub tcp: Arc<Stats>,
    pub socket: Arc<Stats>,
}

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
    pub async fn start(
        router: Router,
        listen: Listen,
        stats: PortStats,
    ) -> Result<Self, ServeError> {
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
                bounds("admin socket"),
                stats.socket,
                stopping.clone(),
            ));
        }
        tasks.spawn(serve(Tcp(tcp), router, bounds("http"), stats.tcp, stopping));
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

/// The TCP listener; who comes is asked for a token.
struct Tcp(TcpListener);

impl Door for Tcp {
    type Stream = TcpStream;
    type Peer = Peer;

    async fn accept(&self) -> io::Result<Option<(TcpStream, Peer)>> {
        let accepted = Door::accept(&self.0).await?;
        Ok(accepted.map(|(stream, addr)| (stream, Peer::Tcp(addr))))
    }

    fn address(peer: &Peer) -> Option<IpAddr> {
        match peer {
            Peer::Tcp(addr) => Some(addr.ip()),
            Peer::Unix => None,
        }
    }
}

/// The socket and the user it belongs to.
struct Owned {
    listener: UnixListener,
    owner: u32,
}

impl Door for Owned {
    type Stream = UnixStream;
    type Peer = Peer;

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

    fn address(_peer: &Peer) -> Option<IpAddr> {
        None
    }
}
