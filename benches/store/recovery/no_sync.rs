//! The system's files without a sync: what is written survives the process and not a power cut. For
//! filling a log in a minute, before anything is measured.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_raft::StartError;
use holdfast_raft::seams::{Disk, DiskFile, Files, Lock, Tree};

#[derive(Default)]
pub struct NoSync(Files);

struct File(Box<dyn DiskFile>);

impl Disk for NoSync {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.make_dir(dir)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(dir)
    }

    fn create(&self, path: &Path, anew: bool) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File(self.0.create(path, anew)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File(self.0.open(path)?)))
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

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.0.lock(path)
    }

    fn tree(&self, dir: &Path) -> Result<(Arc<dyn Tree>, bool), StartError> {
        self.0.tree(dir)
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
