//! Snapshot files: the whole applied state, checksummed.
//!
//! ```text
//! "HFSN" format:u16 schema:u16 head-length:u32 head state-length:u64 state crc:u32
//! ```
//! The file is also what travels to another node, so the receiver checks the same things.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::StartError;
use crate::codec;
use crate::disk::{Disk, io_at, write_atomic};
use crate::types::SnapshotMeta;

const MAGIC: &[u8; 4] = b"HFSN";
const FORMAT: u16 = 1;
const HEAD_MAX: usize = 1024 * 1024;
/// This many files are kept.
const KEEP: usize = 2;

/// What comes before the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub meta: SnapshotMeta,
    pub at_ms: u64,
    pub wall_ms: u64,
}

pub fn pack(schema: u16, head: &Head, state: &[u8]) -> Result<Vec<u8>, String> {
    let head = codec::encode(head).map_err(|e| e.to_string())?;
    let mut out = Vec::with_capacity(state.len() + head.len() + 24);
    out.extend(MAGIC);
    out.extend(FORMAT.to_le_bytes());
    out.extend(schema.to_le_bytes());
    out.extend((head.len() as u32).to_le_bytes());
    out.extend(&head);
    out.extend((state.len() as u64).to_le_bytes());
    out.extend(state);
    out.extend(crc32fast::hash(&out).to_le_bytes());
    Ok(out)
}

/// Schema, head and state of a packed snapshot.
pub fn unpack(bytes: &[u8]) -> Result<(u16, Head, &[u8]), String> {
    if bytes.len() < 24 || &bytes[..4] != MAGIC {
        return Err("this is not a snapshot".into());
    }
    let (body, crc) = bytes.split_at(bytes.len() - 4);
    if crc32fast::hash(body).to_le_bytes() != crc {
        return Err("the checksum does not match".into());
    }
    let format = u16::from_le_bytes([body[4], body[5]]);
    if format > FORMAT {
        return Err(format!(
            "format {format} is newer than {FORMAT}; install a newer version"
        ));
    }
    let schema = u16::from_le_bytes([body[6], body[7]]);
    let short = || "it ends too early".to_string();
    let (len, rest) = body[8..].split_first_chunk::<4>().ok_or_else(short)?;
    let head_len = u32::from_le_bytes(*len) as usize;
    let (head, rest) = rest.split_at_checked(head_len).ok_or_else(short)?;
    let (len, state) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    if u64::from_le_bytes(*len) != state.len() as u64 {
        return Err(short());
    }
    let head = codec::decode(head, HEAD_MAX).map_err(|e| e.to_string())?;
    Ok((schema, head, state))
}

/// Writes the file durably and removes all but the newest ones.
pub fn save(
    disk: &dyn Disk,
    dir: &Path,
    meta: &SnapshotMeta,
    packed: &[u8],
) -> std::io::Result<()> {
    let (term, index) = meta
        .last_log_id
        .map_or((0, 0), |l| (l.leader_id.term, l.index));
    write_atomic(disk, &dir.join(format!("{term}-{index}.snap")), packed)?;
    let files = list(disk, dir).map_err(|e| std::io::Error::other(e.to_string()))?;
    for (_, old) in files.iter().skip(KEEP) {
        disk.remove(old)?;
    }
    Ok(())
}

/// Packed bytes of the newest good snapshot; a bad one is passed over with a warning.
pub fn newest(disk: &dyn Disk, dir: &Path) -> Result<Option<(PathBuf, Vec<u8>)>, StartError> {
    for (_, path) in list(disk, dir)? {
        let bytes = disk.read(&path).map_err(io_at("cannot read", &path))?;
        match unpack(&bytes) {
            Ok(_) => return Ok(Some((path, bytes))),
            Err(why) => tracing::warn!(file = %path.display(), why, "passed over a snapshot"),
        }
    }
    Ok(None)
}

/// Index and term of a snapshot, which order them.
type Age = (u64, u64);

/// All snapshot files, newest first.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(Age, PathBuf)>, StartError> {
    let mut files = Vec::new();
    for path in disk.list(dir).map_err(io_at("cannot list", dir))? {
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let Some((term, index)) = name.strip_suffix(".snap").and_then(|n| n.split_once('-')) else {
            continue;
        };
        if let (Ok(term), Ok(index)) = (term.parse::<u64>(), index.parse::<u64>()) {
            files.push(((index, term), path));
        }
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::{Files, PIECE};
    use crate::sim::{OpKind, SimDisk};

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_snapshot_is_found() {
        let head = Head {
            meta: SnapshotMeta::default(),
            at_ms: 5,
            wall_ms: 6,
        };
        let packed = pack(3, &head, b"state").unwrap();
        assert_eq!(unpack(&packed).unwrap(), (3, head, &b"state"[..]));
        for at in 0..packed.len() {
            for bit in 0..8 {
                let mut bad = packed.clone();
                bad[at] ^= 1 << bit;
                assert!(unpack(&bad).is_err(), "bit {bit} of byte {at}");
            }
            assert!(unpack(&packed[..at]).is_err(), "cut to {at}");
        }
    }

    #[test]
    fn the_two_newest_files_are_kept_and_a_bad_newest_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        for index in [1, 2, 10] {
            let leader_id = openraft::CommittedLeaderId::new(1, 1);
            let last_log_id = Some(crate::types::LogId::new(leader_id, index));
            let meta = SnapshotMeta {
                last_log_id,
                ..SnapshotMeta::default()
            };
            let head = Head {
                meta: meta.clone(),
                at_ms: index,
                wall_ms: 0,
            };
            save(&Files, dir.path(), &meta, &pack(1, &head, b"s").unwrap()).unwrap();
        }
        let at = |dir: &Path| {
            unpack(&newest(&Files, dir).unwrap().unwrap().1)
                .unwrap()
                .1
                .at_ms
        };
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(at(dir.path()), 10);
        fs::write(dir.path().join("1-10.snap"), b"HFSN").unwrap();
        assert_eq!(at(dir.path()), 2);
    }

    /// A sync of the log on the same disk would else wait for all of it.
    #[test]
    fn a_large_snapshot_is_synced_piece_by_piece() {
        let (sim, dir) = (SimDisk::new(1), Path::new("/snapshots"));
        let disk = sim.boot();
        disk.make_dir(dir).unwrap();
        sim.record();
        let packed: Vec<u8> = (0..PIECE * 2 + 1).map(|at| (at / 1000) as u8).collect();
        save(&*disk, dir, &SnapshotMeta::default(), &packed).unwrap();
        let done: Vec<OpKind> = sim.recorded().into_iter().map(|(kind, _)| kind).collect();
        use OpKind::{Create, Rename, Sync, SyncDir, Write};
        let wanted = [
            Create, Write, Sync, Write, Sync, Write, Sync, Rename, SyncDir,
        ];
        assert_eq!(done, wanted);
        assert_eq!(disk.read(&dir.join("0-0.snap")).unwrap(), packed);
    }
}
