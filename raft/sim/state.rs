//! What is on a simulated disk: each file as the system shows it, as it would be without power, and
//! the changes in between; the same for names. Every operation passes [`State::begin`], where it is
//! counted and broken.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::tree::Shelf;
use super::{Fault, Honesty, Oath, OpKind};

/// The error number of a full disk.
pub const FULL: i32 = 28;

/// A change of a file's bytes that is not durable yet.
#[derive(Clone)]
pub enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

/// A change of a folder's names that is not durable yet.
#[derive(Clone)]
pub enum Naming {
    Dir(PathBuf),
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Unlink(PathBuf),
}

#[derive(Clone, Default)]
pub struct Inode {
    pub live: Vec<u8>,
    pub durable: Vec<u8>,
    pub pending: Vec<Change>,
}

impl Inode {
    pub fn change(&mut self, change: Change) {
        apply(&mut self.live, &change);
        self.pending.push(change);
    }

    pub fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
        }
    }
}

pub fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::SetLen(len) => bytes.resize(*len as usize, 0),
        Change::Write(at, part) => {
            let (at, end) = (*at as usize, *at as usize + part.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(part);
        }
    }
}

/// Names and folders, as one of the two views has them.
#[derive(Clone, Default)]
pub struct Names {
    pub files: BTreeMap<PathBuf, usize>,
    pub dirs: BTreeSet<PathBuf>,
}

impl Names {
    pub fn change(&mut self, naming: &Naming) {
        match naming {
            Naming::Dir(path) => drop(self.dirs.insert(path.clone())),
            Naming::Link(path, inode) => drop(self.files.insert(path.clone(), *inode)),
            Naming::Unlink(path) => drop(self.files.remove(path)),
            Naming::Rename(from, to, inode) => {
                self.files.remove(from);
                self.files.insert(to.clone(), *inode);
            }
        }
    }
}

/// What an operation shall do.
pub enum Go {
    On,
    /// Put down half, then fail.
    Half,
    /// Put this bit down wrongly.
    Flip(u64),
    /// Say that it was done, and do not.
    Skip,
}

pub struct State {
    pub on: bool,
    /// Number of the process that may use the disk.
    pub run: u64,
    pub operations: u64,
    pub inodes: Vec<Inode>,
    pub live: Names,
    pub durable: Names,
    /// By folder.
    pub namings: BTreeMap<PathBuf, Vec<Naming>>,
    pub trees: BTreeMap<PathBuf, Shelf>,
    pub locks: BTreeSet<PathBuf>,
    pub faults: BTreeMap<u64, Fault>,
    pub oath: Option<Oath>,
    /// Syncs that were reported and are still to be done.
    late: Vec<(OpKind, PathBuf, usize)>,
    pub capacity: Option<u64>,
    pub sync_time: (Duration, Duration),
    pub record: Option<Vec<(OpKind, PathBuf)>>,
    rng: StdRng,
}

impl State {
    pub fn new(rng: StdRng) -> Self {
        State {
            on: false,
            run: 0,
            operations: 0,
            inodes: Vec::new(),
            live: Names::default(),
            durable: Names::default(),
            namings: BTreeMap::new(),
            trees: BTreeMap::new(),
            locks: BTreeSet::new(),
            faults: BTreeMap::new(),
            oath: None,
            late: Vec::new(),
            capacity: None,
            sync_time: (Duration::ZERO, Duration::ZERO),
            record: None,
            rng,
        }
    }

    /// The same content without faults.
    pub fn copy(&self) -> State {
        State {
            inodes: self.inodes.clone(),
            live: self.live.clone(),
            durable: self.durable.clone(),
            namings: self.namings.clone(),
            trees: self.trees.clone(),
            sync_time: self.sync_time,
            ..State::new(self.rng.clone())
        }
    }

    pub fn boot(&mut self) -> u64 {
        self.end_run();
        self.on = true;
        self.run
    }

    /// No process uses the disk any more.
    pub fn end_run(&mut self) {
        self.run += 1;
        self.on = false;
        self.locks.clear();
    }

    pub fn check(&self, run: u64) -> io::Result<()> {
        match self.on && self.run == run {
            true => Ok(()),
            false => Err(io::Error::other("the machine is off")),
        }
    }

    /// Counts an operation and says what it shall do; an error if it fails before it has an effect.
    pub fn begin(&mut self, run: u64, kind: OpKind, path: &Path) -> io::Result<Go> {
        self.check(run)?;
        let number = self.operations;
        self.operations += 1;
        let dies = matches!(self.faults.get(&number), Some(Fault::PowerLoss(_)));
        for (kind, path, inode) in std::mem::take(&mut self.late) {
            match kind {
                _ if dies => {}
                OpKind::SyncDir => self.sync_names(&path),
                _ => self.inodes[inode].sync(),
            }
        }
        if let Some(record) = &mut self.record {
            record.push((kind, path.to_path_buf()));
        }
        let is_sync = matches!(kind, OpKind::Sync | OpKind::SyncDir);
        match self.faults.get(&number).copied() {
            Some(Fault::Error(number)) => {
                if kind == OpKind::Sync
                    && let Some(inode) = self.live.files.get(path)
                {
                    self.inodes[*inode].pending.clear();
                }
                Err(io::Error::from_raw_os_error(number))
            }
            Some(Fault::Short) if kind == OpKind::Write => Ok(Go::Half),
            Some(Fault::Short) => Err(io::Error::from_raw_os_error(FULL)),
            Some(Fault::Flip(bit)) if kind == OpKind::Write => Ok(Go::Flip(bit)),
            Some(Fault::PowerLoss(_) | Fault::Kill) if is_sync => Ok(Go::Skip),
            _ if !is_sync => Ok(Go::On),
            _ => Ok(self.sworn(kind, path)),
        }
    }

    fn sworn(&mut self, kind: OpKind, path: &Path) -> Go {
        let oath = self.oath.clone();
        match oath.map_or(Honesty::Honest, |oath| oath(kind, path)) {
            Honesty::Honest => return Go::On,
            Honesty::Never => {}
            Honesty::Late => {
                let inode = self.live.files.get(path).copied().unwrap_or_default();
                self.late.push((kind, path.to_path_buf(), inode));
            }
        }
        Go::Skip
    }

    /// After the effect of an operation: the power may go.
    pub fn end(&mut self) -> io::Result<()> {
        let number = self.operations - 1;
        match self.faults.get(&number).copied() {
            Some(Fault::PowerLoss(keep)) => self.cut_power(keep),
            Some(Fault::Kill) => self.end_run(),
            _ => return Ok(()),
        }
        Err(io::Error::other("the machine went off"))
    }

    /// Changes names in a folder.
    pub fn name(&mut self, dir: &Path, naming: Naming) {
        self.live.change(&naming);
        let pending = self.namings.entry(dir.to_path_buf()).or_default();
        pending.push(naming);
    }

    pub fn sync_names(&mut self, dir: &Path) {
        for naming in self.namings.remove(dir).unwrap_or_default() {
            self.durable.change(&naming);
        }
    }

    /// How many of `more` bytes a file may grow by.
    pub fn room(&self, more: u64) -> u64 {
        let Some(capacity) = self.capacity else {
            return more;
        };
        let used: usize = self
            .live
            .files
            .values()
            .map(|i| self.inodes[*i].live.len())
            .sum();
        more.min(capacity.saturating_sub(used as u64))
    }

    pub fn draw_sync_time(&mut self) -> Duration {
        let (from, to) = self.sync_time;
        if from >= to {
            return from;
        }
        let range = from.as_micros() as u64..=to.as_micros() as u64;
        Duration::from_micros(self.rng.random_range(range))
    }

    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let len = |inode: &usize| self.inodes[*inode].live.len() as u64;
        let files = self.live.files.iter();
        files
            .map(|(path, inode)| (path.clone(), len(inode)))
            .collect()
    }

    pub fn flip(&mut self, path: &Path, byte: u64, bit: u8) {
        if let Some(inode) = self.live.files.get(path) {
            let inode = &mut self.inodes[*inode];
            for bytes in [&mut inode.live, &mut inode.durable] {
                if let Some(byte) = bytes.get_mut(byte as usize) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    pub fn cut(&mut self, path: &Path, len: u64) {
        if let Some(inode) = self.live.files.get(path) {
            let inode = &mut self.inodes[*inode];
            for bytes in [&mut inode.live, &mut inode.durable] {
                bytes.truncate(len as usize);
            }
        }
    }
}
