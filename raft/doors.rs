//! A way in for the fuzz targets and the bad-input catalogue of `jepsen-style-tests/hostile`: reads
//! what comes from other nodes and from the disk, without a node. No product code uses it.

use std::path::Path;

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotResponse, VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::log::{segment, vote};
use crate::net::wire::{self, Kind};
use crate::types::{Item, NodeId, Types};
use crate::{Machine, StartError, codec, snapshot};

/// How many kinds of message there are.
pub const KINDS: usize = Kind::ALL.len();

/// The path of a message's kind, and the longest body that it may have.
pub fn kind(number: usize) -> (&'static str, usize) {
    let (kind, name) = Kind::ALL[number % KINDS];
    (name, kind.limit())
}

/// Version of the protocol, for frames that are made by hand.
pub const VERSION: u8 = wire::VERSION;

/// Writes a frame's checksum where it belongs, so that what is behind it is looked at.
pub fn seal(frame: &mut [u8]) {
    if frame.len() >= 5 {
        wire::seal(frame);
    }
}

/// A message of this kind with a head that fits a node of cluster `cluster` and id `to`.
pub fn frame(cluster: u64, to: u64, message: &[u8]) -> Vec<u8> {
    let head = wire::Head {
        cluster,
        from: 1,
        name: "b".into(),
        to,
    };
    let head = codec::encode(&head).unwrap_or_default();
    let mut out = vec![wire::VERSION, 0, 0, 0, 0];
    out.extend((head.len() as u16).to_le_bytes());
    out.extend(head);
    out.extend(message);
    wire::seal(&mut out);
    out
}

/// What a request means to the machine that it is for: the commands in it, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<C> {
    /// Cluster, sender and receiver as the head has them.
    pub from: (u64, u64, u64),
    /// The commands that it would have this node append or apply.
    pub commands: Vec<C>,
}

/// Reads the body of a request as a node does, down to the commands.
pub fn request<M: Machine>(number: usize, body: &[u8]) -> Result<Request<M::Command>, String> {
    let (kind, _) = Kind::ALL[number % KINDS];
    if body.len() > kind.limit() {
        return Err("longer than the limit".into());
    }
    let (head, message) = wire::unpack(body)?;
    let mut commands = Vec::new();
    match kind {
        Kind::Append => {
            let request: AppendEntriesRequest<Types> = same(kind, message)?;
            for entry in request.entries {
                if let openraft::EntryPayload::Normal(batch) = entry.payload {
                    // What cannot be read stops a node with an error; so it must be an error here.
                    let items: Vec<Item> = codec::decode(&batch.items.0, segment::ENTRY_MAX)
                        .map_err(|e| e.to_string())?;
                    for item in items {
                        commands.push(command::<M>(&item.command.0)?);
                    }
                }
            }
        }
        Kind::Vote => {
            same::<VoteRequest<NodeId>>(kind, message)?;
        }
        Kind::Snapshot => {
            let chunk: wire::Chunk = same(kind, message)?;
            let _ = snapshot::unpack(&chunk.data.0);
        }
        Kind::Adopt => {
            same::<wire::Adopt>(kind, message)?;
        }
        Kind::Forward => {
            let forward: wire::Forward = same(kind, message)?;
            commands.push(command::<M>(&forward.command.0)?);
        }
        Kind::Admin => {
            same::<wire::Admin>(kind, message)?;
        }
        Kind::Elect => {
            same::<wire::Elect>(kind, message)?;
        }
        Kind::Journal => {
            same::<wire::JournalSince>(kind, message)?;
        }
        Kind::Ping | Kind::Hello | Kind::Read => {}
    }
    Ok(Request {
        from: (head.cluster, head.from, head.to),
        commands,
    })
}

/// Reads the body of a reply as the sender of the request does.
pub fn reply<M: Machine>(number: usize, body: &[u8]) -> Result<(), String> {
    type Answer<T, E = openraft::error::Infallible> = Result<T, RaftError<NodeId, E>>;
    let (kind, _) = Kind::ALL[number % KINDS];
    match kind {
        Kind::Append => drop(wire::unpack_reply::<Answer<AppendEntriesResponse<NodeId>>>(
            body,
        )?),
        Kind::Vote => drop(wire::unpack_reply::<Answer<VoteResponse<NodeId>>>(body)?),
        Kind::Snapshot => drop(wire::unpack_reply::<
            Answer<InstallSnapshotResponse<NodeId>, InstallSnapshotError>,
        >(body)?),
        Kind::Ping => drop(wire::unpack_reply::<wire::Pong>(body)?),
        Kind::Hello => drop(wire::unpack_reply::<wire::Introduction>(body)?),
        Kind::Adopt => drop(wire::unpack_reply::<Result<(), String>>(body)?),
        Kind::Forward => {
            if let wire::Forwarded::Applied { reply, .. } = wire::unpack_reply(body)? {
                let _: Result<M::Reply, _> = codec::decode(&reply.0, wire::BODY_MAX);
            }
        }
        Kind::Read => drop(wire::unpack_reply::<Option<u64>>(body)?),
        Kind::Admin => drop(wire::unpack_reply::<wire::AdminReply>(body)?),
        Kind::Elect => drop(wire::unpack_reply::<Result<(), String>>(body)?),
        Kind::Journal => {
            let part: wire::JournalPart = wire::unpack_reply(body)?;
            for raw in part.records {
                let _ = crate::journal::record::<M::Event>(&raw);
            }
        }
    }
    Ok(())
}

/// A message that reads must read the same when it is written and read again.
fn same<T: Serialize + DeserializeOwned>(kind: Kind, message: &[u8]) -> Result<T, String> {
    let value: T = codec::decode(message, kind.limit()).map_err(|e| e.to_string())?;
    let bytes = codec::encode(&value).map_err(|e| e.to_string())?;
    let again: T = codec::decode(&bytes, usize::MAX).map_err(|e| format!("not read again: {e}"))?;
    let bytes_again = codec::encode(&again).map_err(|e| e.to_string())?;
    assert!(bytes == bytes_again, "{kind:?} is written in two ways");
    Ok(again)
}

fn command<M: Machine>(bytes: &[u8]) -> Result<M::Command, String> {
    codec::decode(bytes, crate::types::COMMAND_BYTES).map_err(|e| e.to_string())
}

/// A packed snapshot of this state's bytes, with a head of defaults.
pub fn packed(schema: u16, index: u64, state: &[u8]) -> Result<Vec<u8>, String> {
    let leader = openraft::CommittedLeaderId::new(1, 1);
    let head = snapshot::Head {
        meta: crate::types::SnapshotMeta {
            last_log_id: Some(crate::types::LogId::new(leader, index)),
            ..Default::default()
        },
        at_ms: 1,
        wall_ms: 1,
    };
    snapshot::pack(schema, &head, state)
}

/// Writes a snapshot's checksum where it belongs.
pub fn seal_snapshot(bytes: &mut [u8]) {
    if let Some(at) = bytes.len().checked_sub(4) {
        let crc = crc32fast::hash(&bytes[..at]);
        bytes[at..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Reads a snapshot file or one that travelled, and the state in it.
pub fn restore<M: Machine>(bytes: &[u8]) -> Result<M, String> {
    let (schema, _, state) = snapshot::unpack(bytes)?;
    if schema > M::SCHEMA {
        return Err("a newer schema".into());
    }
    M::restore(schema, state)
}

/// What a segment file tells: entries, truncations, and the length of its good part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    pub entries: usize,
    pub voids: usize,
    pub good_len: u64,
}

/// Reads a segment file with this number in its name; `newest`: no other follows it.
pub fn scan(bytes: &[u8], number: u64, newest: bool) -> Result<Option<Scanned>, StartError> {
    let scan = segment::scan(Path::new("a.log"), bytes, number, newest)?;
    Ok(scan.map(|scan| {
        let is_entry = |fact: &&segment::Fact| matches!(fact, segment::Fact::Entry(..));
        let entries = scan.facts.iter().filter(is_entry).count();
        Scanned {
            entries,
            voids: scan.facts.len() - entries,
            good_len: scan.good_len,
        }
    }))
}

/// A segment file with one block for each list of entries, checksums right.
pub fn segment(number: u64, blocks: &[Vec<Vec<u8>>], void_since: Option<u64>) -> Vec<u8> {
    let mut file = segment::header(number).to_vec();
    for entries in blocks {
        let offset = file.len() as u64;
        let (block, _) = segment::block(number, offset, None, void_since, entries);
        file.extend(block);
    }
    file
}

/// Reads a vote file; its term if it voted.
pub fn vote(bytes: &[u8]) -> Result<Option<u64>, StartError> {
    let hard = vote::parse(Path::new("vote"), bytes)?;
    Ok(hard.vote.map(|vote| vote.leader_id.term))
}

/// Writes a vote file's checksum where it belongs.
pub fn seal_vote(bytes: &mut [u8]) {
    if bytes.len() >= 10 {
        let crc = crc32fast::hash(&bytes[10..]);
        bytes[6..10].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Reads a `node.json`; the name in it.
pub fn node_file(bytes: &[u8]) -> Result<String, StartError> {
    crate::identity::parse(Path::new("node.json"), bytes).map(|kept| kept.name)
}
