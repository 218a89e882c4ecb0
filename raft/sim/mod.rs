//! A disk in memory for simulations and tests: it knows what was synced and forgets the rest.
//!
//! It is harsher than a real one: nothing is durable but what was synced, a file's name is nothing
//! without its folder's sync, sectors of 512 bytes go down singly and in any order, and what a
//! failed sync did not write is lost even if a later one succeeds. Beyond the power it can break at
//! any operation: errors, half writes, flipped bits, a full disk, syncs that lie. It counts the
//! operations that change something, so that a test can break every one of them in turn.
//!
//! What it does not do: it never loses what an honest sync made durable, but by [`SimDisk::flip`].

mod crash;
mod handle;
mod state;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::disk::Disk;
use handle::Booted;
use state::State;

/// What is left of unsynced changes when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing of them.
    Nothing,
    /// All of them, as if the disk had just managed.
    All,
    /// By seed: of each file and folder the first few, and of the next one the first sectors.
    Torn(u64),
    /// By seed: any of them, single sectors of 512 bytes included.
    Reordered(u64),
}

/// What goes wrong at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes while it is under way.
    PowerLoss(Keep),
    /// The process dies behind it; what it wrote is kept, though not durable.
    Kill,
    /// It fails with this error number. A failed sync loses for good what it should have written.
    Error(i32),
    /// A write puts down half and fails as on a full disk; any other operation just fails.
    Short,
    /// A write puts down this bit (counted from its start, modulo its length) wrongly and succeeds.
    Flip(u64),
}

/// The kinds of operation that change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// A folder is made.
    MakeDir,
    /// A file is created or emptied.
    Create,
    /// Bytes are written.
    Write,
    /// A file is cut or grown.
    SetLen,
    /// A file is synced.
    Sync,
    /// A folder is synced.
    SyncDir,
    /// A file gets another name.
    Rename,
    /// A name is removed.
    Remove,
}

/// How honest a sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honesty {
    /// It does what it says.
    Honest,
    /// It does it, but only when the next operation comes.
    Late,
    /// It never does it.
    Never,
}

/// Tells for each sync how honest it is.
pub type Oath = Arc<dyn Fn(OpKind, &Path) -> Honesty + Send + Sync>;

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk; the seed draws how long syncs take.
    pub fn new(seed: u64) -> Self {
        let state = State::new(StdRng::seed_from_u64(seed));
        SimDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The disk as the next process sees it. Whoever used it before is dead: of what that process
    /// wrote all is kept, unless the power went, and whatever it still does fails.
    pub fn boot(&self) -> Arc<dyn Disk> {
        let run = self.state().boot();
        Arc::new(Booted::new(self.state.clone(), run))
    }

    /// Kills the process that uses the disk; what it wrote is kept.
    pub fn kill(&self) {
        self.state().end_run();
    }

    /// Cuts the power.
    pub fn power_loss(&self, keep: Keep) {
        self.state().cut_power(keep);
    }

    /// Whether the process that uses the disk is dead, by [`SimDisk::kill`] or without power.
    pub fn is_off(&self) -> bool {
        !self.state().on
    }

    /// Another disk with the same content and no faults.
    pub fn copy(&self) -> SimDisk {
        let copy = self.state().copy();
        SimDisk {
            state: Arc::new(Mutex::new(copy)),
        }
    }

    /// How many operations have changed something so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// What the operations so far were; from the call of [`SimDisk::record`] on.
    pub fn recorded(&self) -> Vec<(OpKind, PathBuf)> {
        self.state().record.clone().unwrap_or_default()
    }

    /// Begins to record the operations.
    pub fn record(&self) {
        self.state().record = Some(Vec::new());
    }

    /// Has something go wrong at an operation, counted from the first of all (which is 0).
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state().faults.insert(operation, fault);
    }

    /// Forgets what was still to go wrong at coming operations.
    pub fn spare(&self) {
        self.state().faults.clear();
    }

    /// Has the syncs be as honest as this says.
    pub fn swear(&self, oath: impl Fn(OpKind, &Path) -> Honesty + Send + Sync + 'static) {
        self.state().oath = Some(Arc::new(oath));
    }

    /// Limits the bytes of all files together.
    pub fn limit(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Has each sync take a time between these.
    pub fn sync_takes(&self, from: Duration, to: Duration) {
        self.state().sync_time = (from, to);
    }

    /// Flips one bit of a file, at rest.
    pub fn flip(&self, path: &Path, byte: u64, bit: u8) {
        self.state().flip(path, byte, bit);
    }

    /// Cuts a file to a length, at rest, as a broken file system may.
    pub fn cut(&self, path: &Path, len: u64) {
        self.state().cut(path, len);
    }

    /// All files and their lengths, in order.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.state().files()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}
