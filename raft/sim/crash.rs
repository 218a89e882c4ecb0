//! Cutting the power of a simulated disk: which of the unsynced changes are on it afterwards.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::Keep;
use super::state::{Change, Inode, Naming, State, apply};

/// What a disk writes at once.
const SECTOR: u64 = 512;

impl State {
    pub fn cut_power(&mut self, keep: Keep) {
        let mut rng = match keep {
            Keep::Torn(seed) | Keep::Reordered(seed) => StdRng::seed_from_u64(seed),
            _ => StdRng::seed_from_u64(0),
        };
        for inode in &mut self.inodes {
            settle(inode, keep, &mut rng);
        }
        for (_, namings) in std::mem::take(&mut self.namings) {
            for naming in chosen(namings, keep, &mut rng) {
                self.durable.change(&naming);
            }
        }
        // What is in a folder that is not there is not there either.
        let dirs = self.durable.dirs.clone();
        let is_there = |path: &Path| {
            path.ancestors()
                .skip(1)
                .all(|a| is_root(a) || dirs.contains(a))
        };
        self.durable.dirs.retain(|dir| is_there(dir));
        self.durable.files.retain(|path, _| is_there(path));
        self.live = self.durable.clone();
        for (dir, shelf) in &mut self.trees {
            let all = match keep {
                Keep::Nothing => false,
                Keep::All => true,
                Keep::Torn(_) | Keep::Reordered(_) => rng.random(),
            };
            shelf.cut_power(all, is_there(dir));
        }
        self.end_run();
    }
}

/// Folders that are always there.
pub fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/") || path == Path::new(".")
}

fn chosen(namings: Vec<Naming>, keep: Keep, rng: &mut StdRng) -> Vec<Naming> {
    let len = namings.len();
    match keep {
        Keep::Nothing => Vec::new(),
        Keep::All => namings,
        Keep::Torn(_) => {
            let first = rng.random_range(0..=len);
            namings.into_iter().take(first).collect()
        }
        Keep::Reordered(_) => namings.into_iter().filter(|_| rng.random()).collect(),
    }
}

fn settle(inode: &mut Inode, keep: Keep, rng: &mut StdRng) {
    let pending = std::mem::take(&mut inode.pending);
    let whole = match keep {
        Keep::Nothing => 0,
        Keep::All => pending.len(),
        Keep::Torn(_) => rng.random_range(0..=pending.len()),
        Keep::Reordered(_) => 0,
    };
    for (at, change) in pending.iter().enumerate() {
        match keep {
            _ if at < whole => apply(&mut inode.durable, change),
            Keep::Torn(_) if at == whole => {
                let parts = sectors(change);
                let first = rng.random_range(0..=parts.len());
                for part in &parts[..first] {
                    apply(&mut inode.durable, part);
                }
            }
            Keep::Reordered(_) => {
                if let Change::Write(offset, bytes) = change
                    && rng.random()
                {
                    // The length was noted although the bytes may not be there.
                    let end = *offset as usize + bytes.len();
                    if inode.durable.len() < end {
                        inode.durable.resize(end, 0);
                    }
                }
                for part in sectors(change) {
                    if rng.random() {
                        apply(&mut inode.durable, &part);
                    }
                }
            }
            _ => {}
        }
    }
    inode.live = inode.durable.clone();
}

/// The parts of a change that go down on their own.
fn sectors(change: &Change) -> Vec<Change> {
    let Change::Write(offset, bytes) = change else {
        return vec![change.clone()];
    };
    let mut parts = Vec::new();
    let (mut at, mut rest) = (*offset, &bytes[..]);
    while !rest.is_empty() {
        let len = ((SECTOR - at % SECTOR) as usize).min(rest.len());
        let (part, behind) = rest.split_at(len);
        parts.push(Change::Write(at, part.to_vec()));
        at += len as u64;
        rest = behind;
    }
    parts
}
