//! The admin endpoints of a node: HTTP over TCP and over a unix socket.
//!
//! `router` has every route and what each request passes; the `routes_*` files have the handlers,
//! `view` turns state into answers, `api` is their shape, `settings` and `declared` are the words in
//! which queues and agents are set. Any node takes any request: writes travel to the leader in the
//! log, reads are answered by the own replica (or, with `?consistency=leader`, behind a barrier).
//!
//! Nothing is decided here and nothing is kept here: the endpoints show the replicated state and
//! write commands into the log.

mod aliases;
pub mod api;
pub mod auth;
pub mod declared;
pub mod diff;
#[doc(hidden)]
pub mod doors;
pub mod duration;
mod empty_rule;
mod error;
mod events;
mod guesses;
mod metrics;
mod object;
mod request;
mod router;
mod routes_agent;
mod routes_call;
mod routes_cluster;
mod routes_config;
mod routes_queue;
mod serve;
pub mod settings;
mod task;
#[cfg(test)]
mod tests_declared;
mod unknown;
mod view;
mod words;

pub use auth::{Role, Tokens, create_token};
pub use error::ApiError;
pub use router::{App, router};
pub use serve::{Listen, PortStats, ServeError, Server};
pub use view::{masked, wall};

use holdfast_node::Handle;

/// Why a node's endpoints did not start. Every variant says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A token of the configuration is malformed.
    #[error("{0}")]
    Tokens(String),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Serves the endpoints of a node as its configuration says, until `Server::stop`.
pub async fn start(node: Handle) -> Result<Server, StartError> {
    let http = node.config().http.clone();
    let tokens = Tokens::new(&http.tokens).map_err(StartError::Tokens)?;
    let exposed = !http.listen.ip().is_loopback();
    let app = App::new(node, tokens, exposed);
    let listen = Listen {
        tcp: http.listen,
        socket: http.admin_socket,
        insecure_http: http.insecure_http,
    };
    let ports = app.ports.clone();
    Ok(Server::start(router(app), listen, ports).await?)
}
