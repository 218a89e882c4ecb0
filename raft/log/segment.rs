//! The format of a segment file, and what a damaged one means.
//!
//! ```text
//! file   := header block*
//! header := "HFLG" format:u16 0:u16 number:u64 crc:u32
//! block  := "HFB1" body-length:u32 entries:u32 body-crc:u32 head-crc:u32 body
//! body   := version:u8 flags:u8 term:u64 node:u64 index:u64 void-since:u64
//!           (length:u32 crc:u32 entry)* end:u8
//! ```
//! All numbers are little-endian, all checksums CRC-32. The checksum of a block's head also covers
//! the file's number and the offset, so bytes of one block are never taken for another. `term`,
//! `node` and `index` are the committed log id (flag 1); with flag 2 all entries from index
//! `void-since` on that stand before this block were truncated.
//!
//! A block is what one write and one fdatasync put down, and is only begun when the one before is
//! durable. Behind the last block the newest segment may have zeros, which are room for more. So a
//! crash can damage nothing but the last block, and it shows: the block is short, or
//! its end (which is never zero) or whole sectors of it are zeros. That is a torn tail, none of it
//! was acknowledged, and it is cut. Anything else is damage to something that may have been
//! acknowledged, and the node must not start with it. (What cannot be told apart: a bad bit in the
//! last block, if an entry in it holds a whole sector of zeros. No command of ours does.)

use std::path::{Path, PathBuf};

use crate::StartError;
use crate::codec;
use crate::error::REPLACE_ME;
use crate::types::{Entry, LogId};

/// Format of segment files.
pub const FORMAT: u16 = 1;
/// Version of a block's body.
const BLOCK_VERSION: u8 = 1;
pub const HEADER_LEN: usize = 20;
const HEAD_LEN: usize = 20;
const FIXED_LEN: usize = 34;
/// Last byte of a block: not zero, whichever bit of it flips.
const END: u8 = 0xa5;
const HAS_COMMITTED: u8 = 1;
const HAS_VOID: u8 = 2;
const ENTRY_HEAD_LEN: usize = 8;
const FILE_MAGIC: &[u8; 4] = b"HFLG";
const BLOCK_MAGIC: &[u8; 4] = b"HFB1";
/// What a disk writes at once, at least.
const SECTOR: usize = 512;
/// An encoded entry may be this long: a full batch and its frame.
pub const ENTRY_MAX: usize = crate::types::BATCH_BYTES + 64 * 1024;

/// Where an entry's bytes are in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    pub len: u32,
}

/// One thing that a segment tells.
#[derive(Debug)]
pub enum Fact {
    /// An entry and where its bytes are.
    Entry(Place, Entry),
    /// Everything from this index on that came before is void.
    Void(u64),
}

/// What is in a segment file.
#[derive(Debug, Default)]
pub struct Scan {
    pub facts: Vec<Fact>,
    pub committed: Option<LogId>,
    /// Length of the good part; the rest is a torn tail.
    pub good_len: u64,
    /// Where the last good block begins (0: there is none behind the header).
    pub last_block: u64,
}

pub fn file_name(number: u64) -> String {
    format!("{number:020}.log")
}

/// Number in a segment's name; `None` for any other file.
pub fn number_of_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

pub fn header(number: u64) -> [u8; HEADER_LEN] {
    let mut head = [0; HEADER_LEN];
    head[..4].copy_from_slice(FILE_MAGIC);
    head[4..6].copy_from_slice(&FORMAT.to_le_bytes());
    head[8..16].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&head[..16]);
    head[16..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// One block and the places of its entries, to be written at `offset` of segment `number`.
pub fn block(
    number: u64,
    offset: u64,
    committed: Option<LogId>,
    void_since: Option<u64>,
    entries: &[Vec<u8>],
) -> (Vec<u8>, Vec<Place>) {
    let size: usize = entries.iter().map(|e| e.len() + ENTRY_HEAD_LEN).sum();
    let mut out = Vec::with_capacity(HEAD_LEN + FIXED_LEN + size);
    out.resize(HEAD_LEN, 0);
    out.push(BLOCK_VERSION);
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(flag(committed.is_some(), HAS_COMMITTED) | flag(void_since.is_some(), HAS_VOID));
    let c = committed.unwrap_or_default();
    for field in [
        c.leader_id.term,
        c.leader_id.node_id,
        c.index,
        void_since.unwrap_or(0),
    ] {
        out.extend(field.to_le_bytes());
    }
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        out.extend((entry.len() as u32).to_le_bytes());
        out.extend(crc32fast::hash(entry).to_le_bytes());
        places.push(Place {
            offset: offset + out.len() as u64,
            len: entry.len() as u32,
        });
        out.extend(entry);
    }
    out.push(END);
    let body_len = (out.len() - HEAD_LEN) as u32;
    let body_crc = crc32fast::hash(&out[HEAD_LEN..]);
    out[..4].copy_from_slice(BLOCK_MAGIC);
    out[4..8].copy_from_slice(&body_len.to_le_bytes());
    out[8..12].copy_from_slice(&(entries.len() as u32).to_le_bytes());
    out[12..16].copy_from_slice(&body_crc.to_le_bytes());
    let crc = head_crc(&out[..16], number, offset);
    out[16..20].copy_from_slice(&crc.to_le_bytes());
    (out, places)
}

/// Checks an entry that was read back from its place, with the 8 bytes before it.
pub fn entry_from(framed: &[u8]) -> Result<Entry, String> {
    if framed.len() < ENTRY_HEAD_LEN {
        return Err("too short for an entry".into());
    }
    let (head, bytes) = framed.split_at(ENTRY_HEAD_LEN);
    if u32_at(head, 0) as usize != bytes.len() || u32_at(head, 4) != crc32fast::hash(bytes) {
        return Err("checksum of the entry does not match".into());
    }
    codec::decode(bytes, ENTRY_MAX).map_err(|e| e.to_string())
}

/// Bytes of an entry's frame before its place.
pub const fn entry_head_len() -> u64 {
    ENTRY_HEAD_LEN as u64
}

/// Reads a whole segment. `named` is the number in its name, `newest` whether no other follows.
/// `None`: the file was being created when the power went, and is empty.
pub fn scan(
    path: &Path,
    bytes: &[u8],
    named: u64,
    newest: bool,
) -> Result<Option<Scan>, StartError> {
    let damaged = |offset: usize, what: String| StartError::Damaged {
        file: PathBuf::from(path),
        offset: offset as u64,
        what,
        todo: REPLACE_ME,
    };
    if newest && (bytes.len() < HEADER_LEN || bytes.iter().all(|b| *b == 0)) {
        return Ok(None);
    }
    if bytes.len() < HEADER_LEN {
        return Err(damaged(0, "the file is too short".into()));
    }
    if &bytes[..4] != FILE_MAGIC || u32_at(bytes, 16) != crc32fast::hash(&bytes[..16]) {
        return Err(damaged(0, "the file's header is wrong".into()));
    }
    let format = u16::from_le_bytes([bytes[4], bytes[5]]);
    if format > FORMAT {
        let file = PathBuf::from(path);
        return Err(StartError::Newer {
            file,
            found: format.into(),
            known: FORMAT.into(),
        });
    }
    if u64_at(bytes, 8) != named {
        let found = u64_at(bytes, 8);
        return Err(damaged(
            8,
            format!("the file is number {found}, its name says {named}"),
        ));
    }
    let mut scan = Scan {
        good_len: HEADER_LEN as u64,
        ..Scan::default()
    };
    let mut at = HEADER_LEN;
    while at < bytes.len() {
        match read_block(&bytes[at..], named, at as u64) {
            Ok(block) => {
                let body_at = at + HEAD_LEN;
                scan.last_block = at as u64;
                read_entries(block, body_at, &mut scan).map_err(|(at, what)| damaged(at, what))?;
                at = body_at + block.len();
                scan.good_len = at as u64;
            }
            Err(Bad::Torn) if newest => break,
            Err(Bad::Torn) => return Err(damaged(at, "the file ends too early".into())),
            Err(Bad::Damaged(what)) => return Err(damaged(at, what.into())),
        }
    }
    Ok(Some(scan))
}

enum Bad {
    Torn,
    Damaged(&'static str),
}

/// The body of the block at the start of `bytes`, its count in front of it having been checked by
/// the checksum of the head.
fn read_block(bytes: &[u8], number: u64, offset: u64) -> Result<&[u8], Bad> {
    if bytes.len() < HEAD_LEN {
        return Err(Bad::Torn);
    }
    let head = &bytes[..HEAD_LEN];
    if head.iter().all(|b| *b == 0) && bytes.iter().all(|b| *b == 0) {
        return Err(Bad::Torn);
    }
    if &head[..4] != BLOCK_MAGIC || u32_at(head, 16) != head_crc(&head[..16], number, offset) {
        // A block that is there as a whole ends with its end. Zeros behind that are room.
        let len = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        let unwritten = len <= HEAD_LEN || has_zero_sector(&bytes[..len], offset);
        let torn = unwritten && !has_block_behind(bytes, number, offset);
        return Err(if torn {
            Bad::Torn
        } else {
            Bad::Damaged("the head of a block is wrong")
        });
    }
    let end = HEAD_LEN + u32_at(head, 4) as usize;
    if bytes.len() < end {
        return Err(Bad::Torn);
    }
    let body = &bytes[HEAD_LEN..end];
    if crc32fast::hash(body) != u32_at(head, 12) {
        let last = bytes.len() == end || bytes[end..].iter().all(|b| *b == 0);
        let torn = last && (bytes[end - 1] == 0 || has_zero_sector(&bytes[..end], offset));
        return Err(if torn {
            Bad::Torn
        } else {
            Bad::Damaged("the checksum does not match")
        });
    }
    Ok(body)
}

fn read_entries(body: &[u8], body_at: usize, scan: &mut Scan) -> Result<(), (usize, String)> {
    let Some((&END, body)) = body.split_last() else {
        return Err((body_at, "a block without an end".into()));
    };
    if body.len() < FIXED_LEN || body[0] != BLOCK_VERSION {
        return Err((
            body_at,
            format!("a block of unknown version {:?}", body.first()),
        ));
    }
    if body[1] & HAS_VOID != 0 {
        scan.facts.push(Fact::Void(u64_at(body, 26)));
    }
    if body[1] & HAS_COMMITTED != 0 {
        let leader = openraft::CommittedLeaderId::new(u64_at(body, 2), u64_at(body, 10));
        scan.committed = scan
            .committed
            .max(Some(LogId::new(leader, u64_at(body, 18))));
    }
    let mut at = FIXED_LEN;
    while at < body.len() {
        let wrong = |what: String| (body_at + at, what);
        if body.len() - at < ENTRY_HEAD_LEN {
            return Err(wrong("an entry is cut short".into()));
        }
        let len = u32_at(body, at) as usize;
        let end = at + ENTRY_HEAD_LEN + len;
        if body.len() < end {
            return Err(wrong("an entry is cut short".into()));
        }
        let entry = entry_from(&body[at..end]).map_err(wrong)?;
        let place = Place {
            offset: (body_at + at + ENTRY_HEAD_LEN) as u64,
            len: len as u32,
        };
        scan.facts.push(Fact::Entry(place, entry));
        at = end;
    }
    Ok(())
}

/// Whether a whole sector of the file within `bytes`, or what there is of one, is zeros.
fn has_zero_sector(bytes: &[u8], offset: u64) -> bool {
    let skip = (SECTOR - (offset % SECTOR as u64) as usize) % SECTOR;
    let zeros = |part: &[u8]| !part.is_empty() && part.iter().all(|b| *b == 0);
    let (begun, whole) = bytes.split_at(skip.min(bytes.len()));
    zeros(begun) || whole.chunks(SECTOR).any(zeros)
}

/// Whether a good block begins anywhere behind the bad one.
fn has_block_behind(bytes: &[u8], number: u64, offset: u64) -> bool {
    (1..bytes.len().saturating_sub(HEAD_LEN)).any(|at| {
        &bytes[at..at + 4] == BLOCK_MAGIC
            && u32_at(bytes, at + 16) == head_crc(&bytes[at..at + 16], number, offset + at as u64)
    })
}

fn head_crc(head: &[u8], number: u64, offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(&number.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(
        bytes[at..at + 4]
            .try_into()
            .expect("four bytes are four bytes"),
    )
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(
        bytes[at..at + 8]
            .try_into()
            .expect("eight bytes are eight bytes"),
    )
}
