//! The log as it lies on the disk when a node starts: read, checked, cut where it was torn, and rid of
//! what is purged. What cannot be a crash's work is damage, and nothing is mended then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::index::{Found, Index};
use super::io::Active;
use super::remove_all;
use super::segment::{self, Fact};
use super::stretch::read_entry;
use super::vote::{self, Hard};
use crate::StartError;
use crate::disk::{Disk, io_at};
use crate::error::REPLACE_ME;
use crate::types::LogId;

/// All segments by number.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<BTreeMap<u64, PathBuf>, StartError> {
    let mut segments = BTreeMap::new();
    for path in disk.list(dir).map_err(io_at("cannot list", dir))? {
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        if let Some(number) = segment::number_of_name(name) {
            segments.insert(number, path);
        }
    }
    Ok(segments)
}

/// What was there.
pub struct Loaded {
    pub hard: Hard,
    pub index: Index,
    pub active: Option<Active>,
    pub next_number: u64,
    pub committed: Option<LogId>,
    pub bytes: u64,
}

/// Reads and checks everything, cuts a torn tail, removes what is purged. What it then holds is
/// durable, also if the run before was killed, or failed to sync, behind a write.
pub fn load(
    disk: &dyn Disk,
    dir: &Path,
    segments: &BTreeMap<u64, PathBuf>,
    mut hard: Hard,
) -> Result<Loaded, StartError> {
    let mut committed = None;
    let mut index = Index::purged_to(hard.purged);
    let newest = segments.keys().last().copied();
    let mut active = None;
    let mut next_number = newest.map_or(0, |n| n + 1);
    let mut expected = segments.keys().next().copied();
    for (&number, path) in segments {
        let damaged = |offset: u64, what: String| StartError::Damaged {
            file: path.clone(),
            offset,
            what,
            todo: REPLACE_ME,
        };
        if expected != Some(number) {
            return Err(damaged(0, "the segment before this one is missing".into()));
        }
        expected = Some(number + 1);
        let bytes = disk.read(path).map_err(io_at("cannot read", path))?;
        let is_newest = newest == Some(number);
        let Some(scan) = segment::scan(path, &bytes, number, is_newest)? else {
            disk.remove(path).map_err(io_at("cannot remove", path))?;
            disk.sync_dir(dir).map_err(io_at("cannot sync", dir))?;
            // Its number is used again, for there must be no gap.
            next_number = number;
            continue;
        };
        let file = disk.open(path).map_err(io_at("cannot open", path))?;
        if scan.good_len < bytes.len() as u64 {
            let torn = &bytes[scan.good_len as usize..];
            // Zeros are room that nothing was written into.
            if torn.iter().any(|b| *b != 0) {
                let (file, bytes) = (path.display(), torn.len());
                tracing::warn!(%file, bytes, "cut the torn tail of the log");
            }
            file.set_len(scan.good_len)
                .map_err(io_at("cannot cut", path))?;
        }
        if is_newest {
            // The last block may be in the system's memory alone: written by a run that was killed
            // before its sync, or whose sync failed, after which a sync alone does nothing.
            let tail = &bytes[scan.last_block as usize..scan.good_len as usize];
            let written = file.write_at(tail, scan.last_block);
            written.map_err(io_at("cannot write", path))?;
            file.sync().map_err(io_at("cannot sync", path))?;
        }
        committed = committed.max(scan.committed);
        index.opened(number, path.clone());
        for fact in scan.facts {
            match fact {
                Fact::Void(since) => {
                    let since = since.max(purged_at(&hard).map_or(0, |p| p + 1));
                    let unknown = index.truncate(since);
                    if let Some(before) = unknown
                        && let Found::OnDisk(path, place) = index.find(before)
                    {
                        let entry = read_entry(disk, before, path, place);
                        let entry = entry.map_err(|what| damaged(place.offset, what))?;
                        index.last = Some(entry.log_id);
                    }
                    index.truncate_places(since);
                }
                Fact::Entry(_, entry) if Some(entry.log_id.index) <= purged_at(&hard) => {}
                Fact::Entry(place, entry) => {
                    let at = entry.log_id.index;
                    let n = index.last.map_or(0, |last| last.index + 1);
                    if n != at {
                        return Err(damaged(
                            place.offset,
                            format!("entry {at} where {n} belongs"),
                        ));
                    }
                    // In this order: only what is durable may leave the memory again.
                    index.written(number, at, &[place]);
                    index.push(entry, place.len as usize);
                }
            }
        }
        active = is_newest.then_some(Active {
            file,
            number,
            len: scan.good_len,
            room: scan.good_len,
        });
    }
    if let Some(number) = hard.newest.filter(|n| *n >= next_number) {
        return Err(StartError::Damaged {
            file: dir.join(segment::file_name(number)),
            offset: 0,
            what: "the file is missing or empty".into(),
            todo: REPLACE_ME,
        });
    }
    if let Some(purged) = hard.purged {
        let (gone, empty) = index.purge_places(purged.index);
        if empty && hard.newest.is_some() {
            hard.newest = None;
            let written = vote::write(disk, dir, &hard);
            written.map_err(io_at("cannot write", &vote::path(dir)))?;
        }
        remove_all(disk, dir, &gone).map_err(io_at("cannot remove segments of", dir))?;
        if empty {
            active = None;
        }
    }
    let committed = committed.min(index.last);
    let mut bytes = 0;
    for path in index.paths() {
        bytes += disk.len(path).map_err(io_at("cannot read", path))?;
    }
    Ok(Loaded {
        hard,
        index,
        active,
        next_number,
        committed,
        bytes,
    })
}

fn purged_at(hard: &Hard) -> Option<u64> {
    hard.purged.map(|p| p.index)
}
