//! A disk that is only looked at: what opening a log mends and makes sure of on the way (a torn tail, a
//! last block that may not be durable, segments that are purged already) is forgotten, and nothing
//! changes. So it is for looking alone: nobody may rely on what he wrote here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile, Lock};
use crate::StartError;
use crate::tree::Tree;

/// Another disk, to be looked at.
pub struct Untouched(pub Arc<dyn Disk>);

impl Disk for Untouched {
    /// One that is there is fine.
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.list(dir).map(drop)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(dir)
    }

    fn create(&self, _path: &Path, _anew: bool) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Held))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.len(path)?;
        Ok(Box::new(Held))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.0.read_at(path, offset, len)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.0.len(path)
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.0.lock(path)
    }

    fn tree(&self, _dir: &Path) -> Result<(Arc<dyn Tree>, bool), StartError> {
        Err(StartError::Io {
            what: "cannot open the journal".into(),
            source: io::ErrorKind::ReadOnlyFilesystem.into(),
        })
    }
}

/// A file that stays as it is.
struct Held;

impl DiskFile for Held {
    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
