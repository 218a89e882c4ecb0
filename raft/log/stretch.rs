//! Entries read back from the disk: those that lie one behind the other in a file are read at once, so
//! that replaying a long log costs a system call for a thousand entries and not three for each.

use std::path::{Path, PathBuf};

use super::segment::{self, Place};
use crate::disk::Disk;
use crate::error::REPLACE_ME;
use crate::types::Entry;

/// At most this many bytes are read at once, but always one entry.
const BYTES: u64 = 1024 * 1024;

/// Entries that lie one behind the other in one file, and are read at once.
pub struct Stretch {
    path: PathBuf,
    entries: Vec<(u64, Place)>,
}

impl Stretch {
    pub fn new(path: &Path, at: u64, place: Place) -> Stretch {
        Stretch {
            path: path.into(),
            entries: vec![(at, place)],
        }
    }

    /// Whether this place is behind the others in the same file, and may be read with them.
    pub fn goes_on(&self, path: &Path, place: Place) -> bool {
        let first = self.entries.first().map_or(0, |(_, first)| first.offset);
        let bytes = place
            .offset
            .checked_sub(first)
            .map(|before| before + u64::from(place.len));
        self.path == path && bytes.is_some_and(|bytes| bytes <= BYTES)
    }

    pub fn push(&mut self, at: u64, place: Place) {
        self.entries.push((at, place));
    }

    /// Each entry, or why it cannot be had.
    pub fn read(&self, disk: &dyn Disk) -> Vec<(u64, Result<Entry, String>)> {
        let head = segment::entry_head_len();
        let path = self.path.display();
        let (Some((_, first)), Some((_, last))) = (self.entries.first(), self.entries.last())
        else {
            return Vec::new();
        };
        let start = first.offset - head;
        let len = (last.offset - start) as usize + last.len as usize;
        let bytes = disk.read_at(&self.path, start, len);
        let entry = |at: u64, place: Place| {
            let bytes = bytes.as_ref().map_err(|e| format!("{path}: {e}"))?;
            let begin = (place.offset - head - start) as usize;
            let framed = &bytes[begin..begin + head as usize + place.len as usize];
            let place = place.offset - head;
            let entry = segment::entry_from(framed)
                .map_err(|e| format!("{path} at byte {place}: {e}; {REPLACE_ME}"))?;
            match entry.log_id.index == at {
                true => Ok(entry),
                false => Err(format!("{path} at byte {place}: not entry {at}")),
            }
        };
        let entries = self.entries.iter();
        entries
            .map(|(at, place)| (*at, entry(*at, *place)))
            .collect()
    }
}

/// One entry that is on the disk.
pub fn read_entry(disk: &dyn Disk, at: u64, path: &Path, place: Place) -> Result<Entry, String> {
    let read = Stretch::new(path, at, place).read(disk).pop();
    read.map_or(Err("nothing was read".into()), |(_, entry)| entry)
}
