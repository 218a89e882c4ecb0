//! The small file that holds the vote, how far the log is purged, and which segment is the newest.
//! It is replaced as a whole, so a crash leaves the old one or the new one, and any damage to it is
//! told from a crash: then the node does not start, because a forgotten vote can elect two leaders.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::StartError;
use crate::codec;
use crate::disk::{Disk, io_at, write_atomic};
use crate::error::REPLACE_ME;
use crate::types::{LogId, Vote};

const MAGIC: &[u8; 4] = b"HFVT";
/// 1 was without the newest segment.
const FORMAT: u16 = 2;
/// The file never grows beyond this.
const LEN_MAX: usize = 4096;

/// What must never go backwards, and must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hard {
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    /// This segment was there; `None` when all were purged. Without it a file that is lost from the
    /// end of the log would not be missed.
    pub newest: Option<u64>,
}

pub fn path(dir: &Path) -> PathBuf {
    dir.join("vote")
}

pub fn write(disk: &dyn Disk, dir: &Path, hard: &Hard) -> io::Result<()> {
    let body = codec::encode(hard).map_err(io::Error::other)?;
    let mut head = [0u8; 10];
    head[..4].copy_from_slice(MAGIC);
    head[4..6].copy_from_slice(&FORMAT.to_le_bytes());
    head[6..].copy_from_slice(&crc32fast::hash(&body).to_le_bytes());
    write_atomic(disk, &path(dir), &[&head[..], &body].concat())
}

/// `None` if there is no file.
pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Hard>, StartError> {
    let file = path(dir);
    let bytes = match disk.read(&file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_at("cannot read", &file)(e)),
    };
    parse(&file, &bytes).map(Some)
}

/// What a vote file's bytes say.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Hard, StartError> {
    let damaged = |what: String| StartError::Damaged {
        file: file.into(),
        offset: 0,
        what,
        todo: REPLACE_ME,
    };
    if bytes.len() < 10 || &bytes[..4] != MAGIC {
        return Err(damaged("this is not a vote file".into()));
    }
    let found = u16::from_le_bytes([bytes[4], bytes[5]]);
    if found > FORMAT {
        return Err(StartError::Newer {
            file: file.into(),
            found: found.into(),
            known: FORMAT.into(),
        });
    }
    if crc32fast::hash(&bytes[10..]).to_le_bytes() != bytes[6..10] {
        return Err(damaged("the checksum does not match".into()));
    }
    let hard = match found {
        1 => codec::decode(&bytes[10..], LEN_MAX).map(|(vote, purged)| Hard {
            vote,
            purged,
            newest: None,
        }),
        _ => codec::decode(&bytes[10..], LEN_MAX),
    };
    hard.map_err(|e| damaged(e.to_string()))
}
