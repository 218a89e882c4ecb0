//! The types openraft works with. They are not generic over the machine: a batch carries its
//! commands as bytes, so the log, the network and the consensus core are compiled once and never
//! decode what they only pass on.

use std::fmt;
use std::io::Cursor;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Member;

openraft::declare_raft_types!(
    /// openraft's choice of types.
    pub Types:
        D = Batch,
        R = Outcome,
        NodeId = u64,
        Node = Member,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = crate::runtime::Runtime,
);

pub type NodeId = u64;
pub type Core = openraft::Raft<Types>;
pub type Entry = openraft::Entry<Types>;
pub type LogId = openraft::LogId<NodeId>;
pub type Vote = openraft::Vote<NodeId>;
pub type StorageError = openraft::StorageError<NodeId>;
pub type SnapshotMeta = openraft::SnapshotMeta<NodeId, Member>;
pub type StoredMembership = openraft::StoredMembership<NodeId, Member>;

/// Most bytes of commands in one entry.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Longest single command, encoded.
pub const COMMAND_BYTES: usize = 1024 * 1024;

/// One log entry: a stamp and the commands that reached the leader while the previous entry was
/// being written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// [`crate::Machine::SCHEMA`] of the leader that wrote it.
    pub schema: u16,
    /// Random number of the leader's process, so that it knows its own batches again.
    pub origin: u64,
    /// Counts the batches of that process.
    pub seq: u64,
    /// Cluster clock, in milliseconds.
    pub at_ms: u64,
    /// Leader's wall clock, in milliseconds since 1970.
    pub wall_ms: u64,
    /// Encoded `Vec<Item>`.
    pub items: Blob,
}

/// One command of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// For a decision the term it was made in: it is void in an entry of a later term. 0: a fact.
    pub term: u64,
    /// The encoded command.
    pub command: Blob,
}

/// An [`Item`] whose command is read where it lies, without a copy.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ItemInPlace<'a> {
    pub term: u64,
    pub command: &'a [u8],
}

/// What applying an entry gave. The replies are there only on the node whose batch it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Cluster clock of the entry after clamping, in milliseconds.
    pub at_ms: u64,
    /// Per item its encoded reply; `None` for a void decision.
    pub replies: Vec<Option<Blob>>,
}

/// Bytes that are cheap to clone and are encoded in one piece.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Bytes);

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Blob(Bytes::from(bytes))
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Blob::from(
            serde_bytes::ByteBuf::deserialize(deserializer)?.into_vec(),
        ))
    }
}
