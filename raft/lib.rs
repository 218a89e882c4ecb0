//! The replicated store: openraft, a segment log of our own and sled, generic over a [`Machine`].
//!
//! It takes commands, puts them in one order on all nodes, keeps what it acknowledged on the disks
//! of a majority, and hands the resulting events out on every node. It knows nothing of calls.
//!
//! ```text
//!   propose (any node) --forward--> batcher --entry--> openraft --append--> the other nodes
//!                                   (leader)              |                      |
//!                                                     log + vote             log + vote
//!                                                    (fdatasync)            (fdatasync)
//!                                                         |  a majority has it   |
//!                                                         v                      v
//!                                           reply <---- apply                  apply
//!                                                         |                      |
//!                                   read, events, digest, snapshots, journal (sled), clock
//! ```
//!
//! | in | is |
//! | --- | --- |
//! | `log/` | segment files, vote file, the one thread that writes them |
//! | `machine`, `snapshot`, `journal` | the applied state, its files, the events of the past |
//! | `net/` | messages: frames, calls, and HTTP that carries them |
//! | `batcher`, `gate`, `fence`, `identity` | the four pieces that openraft 0.9 leaves to its user |
//! | `death` | a leader whose process died is replaced before it is missed |
//! | `bootstrap`, `members`, `handover`, `refill` | forming the cluster, changing it, moving the leader, closing the journal's gaps |
//! | `recover` | going on alone when the quorum is lost for good, offline |
//! | `propose`, `handle`, `node` | the way of a command, the public face, how it all hangs together |
//! | `world`, `disk/`, `tree/`, `net/transport` | the seams: what a node takes from the machine it runs on |
//! | `sim/` | a disk in memory that breaks on demand (feature `simulation`) |
//!
//! # The seams
//!
//! [`World`] in [`Config`] is the machine a node runs on: a disk (with the journal's tree on it), a
//! wire to the other nodes, a wall clock, and whether there are threads. The default is the real
//! one. With another disk and wire and no threads the very same code runs in one thread of tokio's
//! paused time, without a file, a socket or a thread of its own: every sleep is virtual, and what
//! is random comes from the system's `getrandom` (the election timeouts, ids and hash seeds too), so
//! a process that seeds that has the same run every time. `tests/common/virtual_cluster.rs` is the
//! smallest example.
//!
//! A data folder holds `node.json` (who this is), `LOCK`, `log/` (segments and `vote`), `snap/` and
//! `journal/`; after a recovery `recovered-N/` holds the log and the snapshots. Only the journal may be lost without harm: it is filled again from a peer.
//!
//! What is acknowledged survives a power loss, a kill or an error at any operation on the disk, and
//! damage is told from a crash: `disk_tests/`, `tests/power.rs` and `tests/real_disk.rs` break it at
//! each. The first error of a disk ends the node's service; disks that lie about a sync are outside
//! of the promise, and noticed where it shows.
//!
//! What it deliberately does not do: TLS (its place is in `net/http` and `net/server`), reads from followers without a
//! quorum round other than plain local ones, and repair of a damaged disk (the node is replaced).

mod batcher;
mod bootstrap;
mod clock;
mod codec_impl;
mod config;
mod death;
mod disk;
#[cfg(test)]
mod disk_tests;
#[doc(hidden)]
pub mod doors;
mod error;
mod faults;
mod fence;
mod gate;
mod handle;
mod handover;
mod identity;
mod journal;
mod log;
mod machine;
mod members;
mod net;
mod node;
mod propose;
mod recover;
mod refill;
mod runtime;
#[cfg(feature = "simulation")]
pub mod sim;
mod snapshot;
mod status;
#[cfg(test)]
mod test_machine;
mod tree;
mod types;
mod world;

/// Encoding of everything that is stored or sent: bincode 2, `config::standard()`.
pub mod codec {
    pub use crate::codec_impl::{CodecError, decode, encode, encode_long, encode_onto};
}

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use config::{Config, ConfigError, Secret};
pub use error::{ClusterError, ProposeError, StartError};
pub use faults::Faults;
pub use handle::Raft;
pub use journal::{Journal, JournalError, Record};
pub use recover::{Found, RecoverError, Recovered, Survivor};
pub use status::{Applied, EventBatch, Health, Lead, Leadership, Member, PeerStatus, Role, Status};

pub use world::World;

/// The seams to the machine a node runs on: see [`World`].
pub mod seams {
    pub use crate::disk::{Disk, DiskFile, Files, Lock};
    pub use crate::net::transport::{Call, CallError, Door, Listener, Refusal, Wire, knock};
    pub use crate::tree::{Change, Tree, Visit};
}

/// When and where in the log a command is applied; the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Index of the log entry. All commands of one entry share it.
    pub index: u64,
    /// Cluster clock in milliseconds: starts near 0 with the cluster, never runs backwards.
    pub at_ms: u64,
    /// The leader's wall clock in milliseconds since 1970. For display and reports only.
    pub wall_ms: u64,
}

/// The replicated state: whatever `apply` makes of the commands.
///
/// `apply` must be pure: no clock, no randomness, no IO, no hash order, and no panic on any input.
pub trait Machine: Clone + Default + Send + Sync + 'static {
    /// What is replicated. Enum variants are append-only (bincode writes positions). The same
    /// command may be applied twice when an answer was lost, so it must be safe to send twice.
    type Command: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What `apply` answers to the node that proposed, a rejection included.
    type Reply: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What `apply` tells every node. Kept in the journal.
    type Event: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Version of `Command`, `Event` and the snapshot. A node that meets a higher one in the log
    /// or in a snapshot stops with an error instead of guessing.
    const SCHEMA: u16;

    /// Changes the state. Events go to `events` in order.
    fn apply(
        &mut self,
        stamp: Stamp,
        command: &Self::Command,
        events: &mut Vec<Self::Event>,
    ) -> Self::Reply;
    /// A copy with all that `snapshot` and `digest` need, and no more: what can be worked out from it
    /// may be left out. Apply waits while it is made, so it should cost little.
    fn facts(&self) -> Self {
        self.clone()
    }
    /// The whole state as bytes. Called on a copy by `facts`, off the apply path.
    fn snapshot(&self) -> Result<Vec<u8>, String>;
    /// The state from bytes that `snapshot` of version `schema` (at most [`Machine::SCHEMA`]) made.
    fn restore(schema: u16, bytes: &[u8]) -> Result<Self, String>;
    /// A hash of the whole state; equal on all nodes at an equal applied index. Called on such a copy.
    fn digest(&self) -> u64;
    /// The call that an event is about: the journal's second index.
    fn subject(_event: &Self::Event) -> Option<u64> {
        None
    }
}
