//! The seam between a node and the wire: what is sent is a [`Call`], who answers is a [`Door`].
//!
//! The real wire is HTTP (`http`, `server`). A simulation gives its own in `World::wire`: it keeps
//! the doors of all nodes by address, and losing, delaying, doubling and cutting are its business.
//! What a call may mean and who may make it is decided behind the door, so it is the same on both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::StartError;

/// A message to one node.
#[derive(Clone)]
pub struct Call {
    /// Name of the sender.
    pub from: String,
    /// `host:port` of the receiver.
    pub addr: String,
    /// Name of the kind of message.
    pub kind: &'static str,
    /// It may fill a connection for a while.
    pub bulk: bool,
    /// The cluster secret.
    pub secret: crate::Secret,
    /// The encoded message.
    pub body: Vec<u8>,
    /// The answer is of no use after this.
    pub deadline: Duration,
}

/// Why a call gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The other side has certainly not acted on it.
    #[error("not reached: {0}")]
    NotReached(String),
    /// The machine answered that nobody listens there: the process is gone.
    #[error("nobody listens: {0}")]
    NobodyListens(String),
    /// The other side refused it and has not acted on it.
    #[error("refused: {0}")]
    Refused(String),
    /// No answer in time, or the connection broke: it may have acted.
    #[error("no answer: {0}")]
    Lost(String),
    /// No answer in time.
    #[error("no answer in time")]
    Late,
}

/// Carries calls between nodes.
pub trait Wire: Send + Sync + 'static {
    /// Takes an address for a node that starts.
    fn bind(&self, listen: SocketAddr) -> BoxFuture<'_, Result<Box<dyn Listener>, StartError>>;
    /// Sends a call and gives the answer. When the future is dropped nobody waits any more, but the
    /// other side may have acted.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Vec<u8>, CallError>>;
}

/// An address that a node has taken; it is free again when this is dropped.
pub trait Listener: Send {
    /// The address.
    fn addr(&self) -> std::io::Result<SocketAddr>;
    /// What it counts; nothing where there are no connections.
    fn stats(&self) -> Arc<holdfast_ports::Stats> {
        Arc::default()
    }
    /// Has `door` answer what comes, until `closing` is true.
    fn serve(
        self: Box<Self>,
        door: Arc<dyn Door>,
        closing: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()>;
}

/// A node, as the wire sees it.
pub trait Door: Send + Sync + 'static {
    /// Longest body of this kind of message. The error: this bearer token is not the cluster
    /// secret, or there is no such kind.
    fn admits(&self, token: &[u8], kind: &str) -> Result<usize, Refusal>;
    /// Answers a message that was let in.
    fn answer<'a>(
        &'a self,
        kind: &'a str,
        body: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, Refusal>>;
    /// A connection of a node has ended. It may have been idle for long, or its node may have died.
    fn hung_up(&self) {}
}

/// Why a message was not taken: an HTTP status and a reason.
#[derive(Clone, Debug)]
pub struct Refusal(pub u16, pub String);

impl Refusal {
    /// This status, for this reason.
    pub fn new(status: u16, why: impl Into<String>) -> Self {
        Refusal(status, why.into())
    }

    /// The message cannot be read.
    pub fn bad(why: impl ToString) -> Self {
        Refusal(400, why.to_string())
    }
}

impl From<Refusal> for CallError {
    fn from(Refusal(status, why): Refusal) -> Self {
        CallError::Refused(format!("{status}: {why}"))
    }
}

/// Hands a call to a door in this process, as a wire without sockets does when the call arrives.
pub async fn knock(door: &dyn Door, call: &Call) -> Result<Vec<u8>, CallError> {
    let limit = door.admits(call.secret.expose().as_bytes(), call.kind)?;
    if call.body.len() > limit {
        return Err(Refusal::new(413, format!("more than {limit} bytes")).into());
    }
    Ok(door.answer(call.kind, &call.body).await?)
}
