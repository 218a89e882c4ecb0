//! What the journal's keys and values look like.
//!
//! ```text
//! "e" index:u64 seq:u32          -> page      the events from this one on
//! "s" subject:u64 index:u64 seq:u32 -> nothing   the page that begins there has events about this subject
//! "c" name                       -> index:u64 a named reader's place
//! "m" name                       -> number    the journal's own
//!
//! page   := version:u8 newest-at-ms:u64 count:u32 records
//! record := version:u8 at-ms:u64 wall-ms:u64 has-subject:u8 subject:u64 event
//! ```
//! Numbers are big-endian, so that their order is the keys' order. `records` is an encoded `Vec<Raw>`.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{JournalError, Raw, Record};
use crate::types::{BATCH_BYTES, Blob};
use crate::{EventBatch, codec};

/// Longest name of a cursor, in bytes.
const CURSOR_NAME_MAX: usize = 128;
const RECORD_VERSION: u8 = 1;
const RECORD_HEAD: usize = 26;
const PAGE_VERSION: u8 = 2;
const PAGE_HEAD: usize = 13;

/// Place of an event: log index, and position among the events of that entry.
pub type At = (u64, u32);

/// All pages are from the first of these to before the second.
pub const PAGES: (&[u8], &[u8]) = (b"e", b"f");

pub fn page_key((index, seq): At) -> Vec<u8> {
    let mut key = vec![b'e'];
    key.extend(index.to_be_bytes());
    key.extend(seq.to_be_bytes());
    key
}

pub fn subject_key(subject: u64, (index, seq): At) -> Vec<u8> {
    let mut key = vec![b's'];
    key.extend(subject.to_be_bytes());
    key.extend(index.to_be_bytes());
    key.extend(seq.to_be_bytes());
    key
}

/// The page that a key of the second index names.
pub fn page_of(subject_key: &[u8]) -> Option<Vec<u8>> {
    Some([b"e", subject_key.get(9..)?].concat())
}

pub fn cursor_key(name: &str) -> Result<Vec<u8>, JournalError> {
    if name.is_empty() || name.len() > CURSOR_NAME_MAX {
        let len = name.len();
        return Err(JournalError(format!(
            "a cursor's name has 1 to {CURSOR_NAME_MAX} bytes, not {len}"
        )));
    }
    Ok([b"c", name.as_bytes()].concat())
}

/// Where the page of this key begins.
pub fn at_of(page_key: &[u8]) -> Option<At> {
    let seq = page_key.get(9..13)?.try_into().ok()?;
    Some((number(page_key.get(1..9)?), u32::from_be_bytes(seq)))
}

pub fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// The events of an entry as records.
pub fn raws<E: Serialize>(
    batch: &EventBatch<E>,
    subject: fn(&E) -> Option<u64>,
) -> Result<Vec<Raw>, JournalError> {
    let wrong = |e: codec::CodecError| JournalError(e.to_string());
    // All values in one piece of memory, which is let go when the last of them is.
    let mut all = Vec::new();
    let mut places = Vec::with_capacity(batch.events.len());
    for event in &batch.events {
        let begin = all.len();
        all.push(RECORD_VERSION);
        all.extend(batch.at_ms.to_be_bytes());
        all.extend(batch.wall_ms.to_be_bytes());
        let subject = subject(event);
        all.push(subject.is_some() as u8);
        all.extend(subject.unwrap_or(0).to_be_bytes());
        codec::encode_onto(&mut all, event).map_err(wrong)?;
        places.push(begin..all.len());
    }
    let all = Bytes::from(all);
    let raw = |(seq, place)| Raw {
        index: batch.index,
        seq,
        value: Blob(all.slice(place)),
    };
    Ok((0..).zip(places).map(raw).collect())
}

/// The value of a page; it must hold something.
pub fn page(raws: &[Raw]) -> Result<Vec<u8>, JournalError> {
    let newest = raws.iter().map(at_ms).max();
    let mut value = vec![PAGE_VERSION];
    value.extend(newest.unwrap_or(0).to_be_bytes());
    value.extend((raws.len() as u32).to_be_bytes());
    codec::encode_onto(&mut value, &raws).map_err(|e| JournalError(e.to_string()))?;
    Ok(value)
}

/// When the newest event of a page happened, and how many it holds.
pub fn page_head(value: &[u8]) -> Result<(u64, u64), JournalError> {
    match value.get(..PAGE_HEAD) {
        Some([PAGE_VERSION, head @ ..]) => {
            let count = u32::from_be_bytes(head[8..].try_into().unwrap_or_default());
            Ok((number(&head[..8]), count.into()))
        }
        _ => Err(unreadable()),
    }
}

/// The records of a page.
pub fn page_raws(value: &[u8]) -> Result<Vec<Raw>, JournalError> {
    page_head(value)?;
    codec::decode(&value[PAGE_HEAD..], 2 * BATCH_BYTES).map_err(|e| JournalError(e.to_string()))
}

pub fn subject_of(raw: &Raw) -> Option<u64> {
    let value = &raw.value.0;
    (*value.get(17)? == 1)
        .then(|| value.get(18..26).map(number))
        .flatten()
}

/// When it happened, on the cluster clock.
pub fn at_ms(raw: &Raw) -> u64 {
    raw.value.0.get(1..9).map_or(0, number)
}

pub fn record<E: DeserializeOwned>(raw: &Raw) -> Result<Record<E>, JournalError> {
    let value = &raw.value.0;
    if value.len() < RECORD_HEAD || value[0] != RECORD_VERSION {
        return Err(unreadable());
    }
    let event = codec::decode(&value[RECORD_HEAD..], BATCH_BYTES)
        .map_err(|e| JournalError(e.to_string()))?;
    Ok(Record {
        index: raw.index,
        seq: raw.seq,
        at_ms: at_ms(raw),
        wall_ms: number(&value[9..17]),
        event,
    })
}

fn unreadable() -> JournalError {
    JournalError("a record cannot be read".into())
}
