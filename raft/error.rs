//! What can go wrong, as the user of the store sees it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::ConfigError;

/// Notes why the node must not go on. The first reason stays: what fails after it mostly does so because of it.
pub(crate) fn note_fatal(fatal: &watch::Sender<Option<String>>, why: String) {
    fatal.send_if_modified(|old| {
        let first = old.is_none();
        old.get_or_insert(why);
        first
    });
}

/// Why a node did not start. Every variant says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error("bad setting: {0}")]
    Config(#[from] ConfigError),
    /// Another process uses the data folder.
    #[error("{0} is in use by another process; stop it, or name another data folder")]
    Locked(PathBuf),
    /// The address to listen on cannot be had.
    #[error("cannot listen on {addr}: {source}; free the port or change the setting")]
    Listen {
        /// The address as configured.
        addr: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The data folder belongs to a node of another name.
    #[error(
        "{dir} belongs to node {found:?}, but this node is named {wanted:?}; \
         correct the name or name another data folder"
    )]
    OtherNode {
        /// The data folder.
        dir: PathBuf,
        /// The name in it.
        found: String,
        /// The configured name.
        wanted: String,
    },
    /// The data folder was written by a newer version.
    #[error("{file} has format {found}, this version reads up to {known}; install a newer version")]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The highest format known here.
        known: u32,
    },
    /// The node's peers belong to another cluster.
    #[error(
        "this node belongs to cluster {own:016x}, but {peer} belongs to {theirs:016x}; \
         correct join, or name another data folder"
    )]
    OtherCluster {
        /// Id of the own cluster.
        own: u64,
        /// Name and address of the peer.
        peer: String,
        /// Id of the peer's cluster.
        theirs: u64,
    },
    /// The node's cluster was recovered after the loss of its quorum, without this node.
    #[error(
        "cluster {own:016x} was recovered as {theirs:016x} on {peer} without this node, whose data is \
         from before; empty its data folder, start it, and on {peer} run: holdfast cluster add"
    )]
    LeftBehind {
        /// Id of the own cluster.
        own: u64,
        /// Name and address of a node of the recovered one.
        peer: String,
        /// Id of the recovered cluster.
        theirs: u64,
    },
    /// Something on disk is damaged in a way that cannot be the trace of a crash.
    #[error("{file} is damaged at byte {offset}: {what}; {todo}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What was found.
        what: String,
        /// What the operator should do.
        todo: &'static str,
    },
    /// The disk or the system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the file's name.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The consensus core did not start.
    #[error("the store did not start: {0}")]
    Core(String),
}

/// What to do about a damaged disk, in every message.
pub(crate) const REPLACE_ME: &str = "do not repair it by hand: move the data folder away, start \
     the node with an empty one, and run `holdfast cluster add NAME ADDR --replace` on another node";

/// Why a command has no reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProposeError {
    /// No leader could be reached until the deadline, or (for a decision) this node does not lead
    /// in that term any more. The command was definitely not applied.
    #[error("no leader until the deadline; the command was not applied")]
    NoLeader,
    /// No answer until the deadline, or the leader was lost. The command may be applied.
    #[error("outcome unknown; the command may be applied")]
    Unknown,
    /// Too many commands are waiting. Not applied; try again later.
    #[error("too many commands are waiting; the command was not applied")]
    Overloaded,
    /// The command is larger than an entry may be. Not applied.
    #[error("command of {len} bytes is larger than {limit}; it was not applied")]
    TooLarge {
        /// Its encoded length.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The command cannot be encoded, or the leader cannot read it. Not applied.
    #[error("the leader cannot read the command: {0}; it was not applied")]
    Unreadable(String),
    /// This node is stopping. Not applied.
    #[error("this node is shutting down; the command was not applied")]
    ShuttingDown,
}

/// Why a change of the cluster was not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ClusterError {
    /// No leader answered in time.
    #[error("no leader; try again when `holdfast status` shows one")]
    NoLeader,
    /// The node to add does not answer at its address.
    #[error("node {name} does not answer at {addr}: {why}; start it first")]
    Unreachable {
        /// Its name.
        name: String,
        /// Its address.
        addr: String,
        /// What happened.
        why: String,
    },
    /// The request cannot be carried out as it is: says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// It was begun, but no confirmation came; look at the status before trying again.
    #[error("outcome unknown: {0}; look at the status before trying again")]
    Unknown(String),
}
