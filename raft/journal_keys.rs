//! How the journal's keys and values are laid out in sled.
//!
//! `e` index seq -> event, `s` subject index seq -> nothing, `c` name -> cursor; numbers are
//! big-endian, so that their order is the keys' order.

use serde::de::DeserializeOwned;

use crate::codec;
use crate::journal::{CURSOR_NAME_MAX, JournalError, Record, VALUE_HEAD, VERSION};

pub(crate) fn event_key(index: u64, seq: u32) -> Vec<u8> {
    let mut key = vec![b'e'];
    key.extend(index.to_be_bytes());
    key.extend(seq.to_be_bytes());
    key
}

pub(crate) fn subject_key(subject: u64, index: u64, seq: u32) -> Vec<u8> {
    let mut key = vec![b's'];
    key.extend(subject.to_be_bytes());
    key.extend(index.to_be_bytes());
    key.extend(seq.to_be_bytes());
    key
}

pub(crate) fn cursor_key(name: &str) -> Result<Vec<u8>, JournalError> {
    if name.is_empty() || name.len() > CURSOR_NAME_MAX {
        let len = name.len();
        return Err(JournalError(format!(
            "a cursor's name has 1 to 128 bytes, not {len}"
        )));
    }
    Ok([b"c", name.as_bytes()].concat())
}

pub(crate) fn index_of(key: &[u8]) -> Option<(u64, u32)> {
    let seq = key.get(9..13)?.try_into().ok()?;
    Some((number(key.get(1..9)?), u32::from_be_bytes(seq)))
}

pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

pub(crate) fn at_ms_of(value: &[u8]) -> u64 {
    value.get(1..9).map_or(0, number)
}

pub(crate) fn subject_of(value: &[u8]) -> Option<u64> {
    (*value.get(17)? == 1)
        .then(|| value.get(18..26).map(number))
        .flatten()
}

pub(crate) fn record<E: DeserializeOwned>(
    key: &[u8],
    value: &[u8],
) -> Result<Record<E>, JournalError> {
    let bad = || JournalError("a record cannot be read".into());
    let (index, seq) = index_of(key).ok_or_else(bad)?;
    if value.len() < VALUE_HEAD || value[0] != VERSION {
        return Err(bad());
    }
    let event = codec::decode(&value[VALUE_HEAD..], crate::types::BATCH_BYTES)
        .map_err(|e| JournalError(e.to_string()))?;
    let (at_ms, wall_ms) = (at_ms_of(value), number(&value[9..17]));
    Ok(Record {
        index,
        seq,
        at_ms,
        wall_ms,
        event,
    })
}
