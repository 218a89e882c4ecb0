//! What travels between nodes, and its frame.
//!
//! ```text
//! POST /raft/<kind>      Authorization: Bearer <cluster secret>       (appends by `stream`)
//! body  := version:u8 crc:u32 head-length:u16 head message     (crc over everything behind it)
//! reply := version:u8 crc:u32 message
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::journal::Raw;
use crate::types::{Blob, LogId, NodeId, SnapshotMeta, Types, Vote};
use crate::{ClusterError, ProposeError};

/// Version of the protocol; a node refuses any other.
pub const VERSION: u8 = 1;
/// Longest body of a request or a reply.
pub const BODY_MAX: usize = 16 * 1024 * 1024;
/// Longest body of the kinds that carry no data.
pub const SMALL_MAX: usize = 64 * 1024;
const HEAD_MAX: usize = 1024;

/// The kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Append,
    Vote,
    Snapshot,
    Ping,
    Hello,
    Adopt,
    Forward,
    Read,
    Admin,
    Elect,
    Journal,
}

impl Kind {
    pub(crate) const ALL: [(Kind, &str); 11] = [
        (Kind::Append, "append"),
        (Kind::Vote, "vote"),
        (Kind::Snapshot, "snapshot"),
        (Kind::Ping, "ping"),
        (Kind::Hello, "hello"),
        (Kind::Adopt, "adopt"),
        (Kind::Forward, "forward"),
        (Kind::Read, "read"),
        (Kind::Admin, "admin"),
        (Kind::Elect, "elect"),
        (Kind::Journal, "journal"),
    ];

    pub fn name(self) -> &'static str {
        Kind::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }

    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL
            .iter()
            .find(|(_, n)| *n == name)
            .map(|(kind, _)| *kind)
    }

    /// Longest body.
    pub fn limit(self) -> usize {
        match self {
            Kind::Append | Kind::Snapshot | Kind::Forward => BODY_MAX,
            _ => SMALL_MAX,
        }
    }

    /// Whether it is answered before this node belongs to the sender's cluster.
    pub fn is_open(self) -> bool {
        matches!(self, Kind::Hello | Kind::Adopt)
    }
}

/// Who sends, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Cluster of the sender; 0: none yet.
    pub cluster: u64,
    pub from: NodeId,
    pub name: String,
    /// The node that is meant; 0: whoever listens there.
    pub to: NodeId,
}

pub fn pack<T: Serialize>(head: &Head, message: &T) -> Result<Vec<u8>, codec::CodecError> {
    let mut out = vec![VERSION, 0, 0, 0, 0, 0, 0];
    codec::encode_onto(&mut out, head)?;
    let head_len = (out.len() - 7) as u16;
    out[5..7].copy_from_slice(&head_len.to_le_bytes());
    codec::encode_onto(&mut out, message)?;
    seal(&mut out);
    Ok(out)
}

/// Head and message of a request.
pub fn unpack(bytes: &[u8]) -> Result<(Head, &[u8]), String> {
    let body = open(bytes)?;
    let (len, rest) = body
        .split_first_chunk::<2>()
        .ok_or("the frame is too short")?;
    let len = usize::from(u16::from_le_bytes(*len));
    let (head, message) = rest.split_at_checked(len).ok_or("the frame is too short")?;
    Ok((
        codec::decode(head, HEAD_MAX).map_err(|e| e.to_string())?,
        message,
    ))
}

pub fn pack_reply<T: Serialize>(message: &T) -> Result<Vec<u8>, codec::CodecError> {
    let mut out = vec![VERSION, 0, 0, 0, 0];
    codec::encode_onto(&mut out, message)?;
    seal(&mut out);
    Ok(out)
}

pub fn unpack_reply<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    codec::decode(open(bytes)?, BODY_MAX).map_err(|e| e.to_string())
}

pub(crate) fn seal(frame: &mut [u8]) {
    let crc = crc32fast::hash(&frame[5..]);
    frame[1..5].copy_from_slice(&crc.to_le_bytes());
}

fn open(bytes: &[u8]) -> Result<&[u8], String> {
    if bytes.len() < 5 {
        return Err("the frame is too short".into());
    }
    if bytes[0] != VERSION {
        let found = bytes[0];
        return Err(format!(
            "protocol version {found} is not {VERSION}; run the same version"
        ));
    }
    if crc32fast::hash(&bytes[5..]).to_le_bytes() != bytes[1..5] {
        return Err("the checksum of the frame does not match".into());
    }
    Ok(&bytes[5..])
}

/// A chunk of a snapshot; openraft's own request would be encoded byte by byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chunk {
    pub vote: Vote,
    pub meta: SnapshotMeta,
    pub offset: u64,
    pub data: Blob,
    pub done: bool,
}

impl From<Chunk> for openraft::raft::InstallSnapshotRequest<Types> {
    fn from(c: Chunk) -> Self {
        let Chunk {
            vote,
            meta,
            offset,
            data,
            done,
        } = c;
        Self {
            vote,
            meta,
            offset,
            data: data.0.to_vec(),
            done,
        }
    }
}

/// Answer to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The node leads, and a quorum follows it.
    pub leads: bool,
    /// How long ago it heard a leader, in milliseconds.
    pub heard_ms: Option<u64>,
}

/// Answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    pub name: String,
    pub id: NodeId,
    pub cluster: Option<u64>,
    /// It voted or holds a log: it is no fresh node.
    pub has_data: bool,
    pub expect: usize,
    /// Members it knows by name and id.
    pub members: Vec<(String, NodeId)>,
    /// Clusters that its own was recovered from.
    pub before: Vec<u64>,
}

/// Makes a fresh node belong to a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Adopt {
    pub cluster: u64,
}

/// A command for the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forward {
    pub command: Blob,
    pub deadline_ms: u64,
}

/// What became of a forwarded command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Forwarded {
    Applied {
        index: u64,
        at_ms: u64,
        reply: Blob,
    },
    /// The node does not lead; the command was not applied.
    NotLeader,
    Failed(ProposeError),
}

/// Asks for the log index that a linearizable read must wait for. `None`: does not lead.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ReadIndex;

/// A change of the cluster, for the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Admin {
    Add {
        name: String,
        addr: String,
        replace: bool,
    },
    Remove {
        name: String,
    },
    StepDown {
        to: Option<String>,
    },
}

/// The leader hands over: the receiver, who has the whole log up to here, stands for election.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Elect {
    pub last: Option<LogId>,
}

/// Asks for journal records behind one, at most this many.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct JournalSince {
    pub after: (u64, u32),
    pub limit: usize,
}

/// Answer to [`JournalSince`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JournalPart {
    pub records: Vec<Raw>,
}

/// Answer to [`Admin`]; the outer error: the node does not lead.
pub type AdminReply = Result<Result<(), ClusterError>, ()>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_frame_is_found() {
        let head = Head {
            cluster: 1,
            from: 2,
            name: "a".into(),
            to: 3,
        };
        let frame = pack(&head, &(7u64, "x".to_string())).unwrap();
        let (found, message) = unpack(&frame).unwrap();
        assert_eq!(found, head);
        assert_eq!(
            codec::decode::<(u64, String)>(message, 100),
            Ok((7, "x".into()))
        );
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut bad = frame.clone();
                bad[at] ^= 1 << bit;
                assert!(unpack(&bad).is_err(), "bit {bit} of byte {at}");
            }
            assert!(unpack(&frame[..at]).is_err(), "cut to {at}");
        }
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for (kind, _) in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("../vote"), None);
        assert_eq!(Kind::from_name(""), None);
    }
}
