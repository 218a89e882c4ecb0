//! Where a node keeps things: the one seam between the store and a disk, and the few operations on
//! it that durability hangs on.
//!
//! [`Files`] is the real one. The simulated one (`crate::sim`, feature `simulation`) keeps for each
//! file and each name what was synced apart from what was not, so that a test can cut the power at
//! any operation. The seam names what the store means (make these bytes durable, make these names
//! durable) and nothing else; formats, checksums and order are above it.

mod files;
pub mod untouched;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use files::Files;

use crate::StartError;
use crate::tree::Tree;

/// A disk. Nothing is durable before it was synced: bytes by their file, names by their folder.
pub trait Disk: Send + Sync + 'static {
    /// Creates a folder in one that is there; one that is there already is fine.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Everything in a folder, in the order of the names.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Creates a file; `anew` empties one that is there, else that is an error.
    fn create(&self, path: &Path, anew: bool) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// All bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// `len` bytes of a file; fewer are an error.
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Length of a file in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Gives a file another name in the same folder, in place of what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes the name of a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Locks a file, which is created if need be, until the answer is dropped. An error of kind
    /// `WouldBlock` says that somebody else has it.
    fn lock(&self, path: &Path) -> io::Result<Lock>;
    /// The journal's tree in a folder, and whether it begins empty. A broken one is put aside.
    fn tree(&self, dir: &Path) -> Result<(Arc<dyn Tree>, bool), StartError>;
    /// How long the next sync takes beside the call itself. Only a simulated disk takes time so.
    fn sync_time(&self) -> Duration {
        Duration::ZERO
    }
}

/// A file that is open for writing.
pub trait DiskFile: Send + Sync {
    /// Writes all these bytes at this place.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes it this long.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes its bytes and its length durable (its name is the folder's business).
    fn sync(&self) -> io::Result<()>;
}

/// Holds a lock until it is dropped.
pub type Lock = Box<dyn Any + Send + Sync>;

/// Creates a folder, and those above it that are missing, and makes their names durable.
pub fn create_dir(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    match disk.make_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && parent(dir) != dir => {
            create_dir(disk, parent(dir))?;
            disk.make_dir(dir)?;
        }
        made => made?,
    }
    disk.sync_dir(dir)?;
    disk.sync_dir(parent(dir))
}

/// So much of a large file is written between two syncs of it. A sync of the log waits for what the disk
/// has at hand, so it must not be handed all of a large snapshot at once.
pub const PIECE: usize = 1024 * 1024;

/// Replaces a file as a whole: after a crash it has the old content or the new one.
pub fn write_atomic(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let file = disk.create(&tmp, true)?;
    let mut at = 0;
    for piece in bytes.chunks(PIECE) {
        if at > 0 {
            file.sync()?;
        }
        file.write_at(piece, at)?;
        at += piece.len() as u64;
    }
    file.sync()?;
    drop(file);
    disk.rename(&tmp, path)?;
    disk.sync_dir(parent(path))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Names the file in an error of the system.
pub fn io_at(what: &str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let what = format!("{what} {}", path.display());
    move |source| StartError::Io { what, source }
}
