//! A simulated disk as one process uses it, until that process is dead.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::OpKind;
use super::crash::is_root;
use super::state::{Change, FULL, Go, Naming, State};
use super::tree::SimTree;
use crate::StartError;
use crate::disk::{Disk, DiskFile, Lock};
use crate::tree::Tree;

/// The disk in the hands of one process.
pub struct Booted {
    state: Arc<Mutex<State>>,
    run: u64,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|e| e.into_inner())
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("{} is not there", path.display()),
    )
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl Booted {
    pub fn new(state: Arc<Mutex<State>>, run: u64) -> Self {
        Booted { state, run }
    }

    /// The state, if the machine is on.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = lock(&self.state);
        state.check(self.run)?;
        Ok(state)
    }

    /// The state, and what an operation shall do.
    fn begin(&self, kind: OpKind, path: &Path) -> io::Result<(MutexGuard<'_, State>, Go)> {
        let mut state = lock(&self.state);
        let go = state.begin(self.run, kind, path)?;
        Ok((state, go))
    }

    fn file(&self, path: &Path, inode: usize) -> Box<dyn DiskFile> {
        Box::new(Opened {
            state: self.state.clone(),
            run: self.run,
            path: path.into(),
            inode,
        })
    }
}

impl Disk for Booted {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        if is_root(dir) || self.state()?.live.dirs.contains(dir) {
            return Ok(());
        }
        let parent = folder(dir);
        if !is_root(parent) && !self.state()?.live.dirs.contains(parent) {
            return Err(missing(parent));
        }
        let (mut state, _) = self.begin(OpKind::MakeDir, dir)?;
        state.name(parent, Naming::Dir(dir.into()));
        state.end()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let (mut state, go) = self.begin(OpKind::SyncDir, dir)?;
        if let Go::On = go {
            state.sync_names(dir);
        }
        state.end()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state()?;
        if !is_root(dir) && !state.live.dirs.contains(dir) {
            return Err(missing(dir));
        }
        let all = state.live.files.keys().chain(&state.live.dirs);
        let mut paths: Vec<PathBuf> = all.filter(|p| p.parent() == Some(dir)).cloned().collect();
        paths.sort_unstable();
        Ok(paths)
    }

    fn create(&self, path: &Path, anew: bool) -> io::Result<Box<dyn DiskFile>> {
        let (mut state, _) = self.begin(OpKind::Create, path)?;
        let dir = folder(path);
        if !is_root(dir) && !state.live.dirs.contains(dir) {
            return Err(missing(dir));
        }
        let inode = match state.live.files.get(path).copied() {
            Some(_) if !anew => return Err(io::ErrorKind::AlreadyExists.into()),
            Some(inode) => {
                state.inodes[inode].change(Change::SetLen(0));
                inode
            }
            None => {
                state.inodes.push(Default::default());
                let inode = state.inodes.len() - 1;
                state.name(dir, Naming::Link(path.into(), inode));
                inode
            }
        };
        state.end()?;
        Ok(self.file(path, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state()?;
        let inode = state.live.files.get(path).ok_or_else(|| missing(path))?;
        Ok(self.file(path, *inode))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state()?;
        let inode = state.live.files.get(path).ok_or_else(|| missing(path))?;
        Ok(state.inodes[*inode].live.clone())
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let bytes = self.read(path)?;
        let part = bytes.get(offset as usize..offset as usize + len);
        part.map(<[u8]>::to_vec)
            .ok_or(io::ErrorKind::UnexpectedEof.into())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let state = self.state()?;
        let inode = state.live.files.get(path).ok_or_else(|| missing(path))?;
        Ok(state.inodes[*inode].live.len() as u64)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, _) = self.begin(OpKind::Rename, to)?;
        let inode = state.live.files.get(from).ok_or_else(|| missing(from))?;
        let naming = Naming::Rename(from.into(), to.into(), *inode);
        state.name(folder(to), naming);
        state.end()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (mut state, _) = self.begin(OpKind::Remove, path)?;
        if !state.live.files.contains_key(path) {
            return Err(missing(path));
        }
        state.name(folder(path), Naming::Unlink(path.into()));
        state.end()
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut state = self.state()?;
        if !state.locks.insert(path.into()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        drop(state);
        Ok(Box::new(Held {
            state: self.state.clone(),
            run: self.run,
            path: path.into(),
        }))
    }

    fn tree(&self, dir: &Path) -> Result<(Arc<dyn Tree>, bool), StartError> {
        let off = |source| StartError::Io {
            what: format!("cannot open {}", dir.display()),
            source,
        };
        let mut state = self.state().map_err(off)?;
        let shelf = state.trees.entry(dir.into()).or_default();
        let empty = shelf.open();
        let tree = SimTree::new(self.state.clone(), self.run, dir);
        Ok((Arc::new(tree), empty))
    }

    fn sync_time(&self) -> Duration {
        lock(&self.state).draw_sync_time()
    }
}

/// A lock that is held.
struct Held {
    state: Arc<Mutex<State>>,
    run: u64,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if state.run == self.run {
            state.locks.remove(&self.path);
        }
    }
}

/// A file that is open for writing.
struct Opened {
    state: Arc<Mutex<State>>,
    run: u64,
    path: PathBuf,
    inode: usize,
}

impl DiskFile for Opened {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        let go = state.begin(self.run, OpKind::Write, &self.path)?;
        let mut bytes = bytes.to_vec();
        let wanted = bytes.len();
        match go {
            Go::Half => bytes.truncate(wanted / 2),
            Go::Flip(bit) if wanted > 0 => {
                bytes[(bit / 8) as usize % wanted] ^= 1 << (bit % 8);
            }
            _ => {}
        }
        let len = state.inodes[self.inode].live.len() as u64;
        let growth = (offset + bytes.len() as u64).saturating_sub(len);
        let too_much = growth - state.room(growth);
        bytes.truncate(bytes.len().saturating_sub(too_much as usize));
        let short = bytes.len() < wanted;
        if !bytes.is_empty() {
            state.inodes[self.inode].change(Change::Write(offset, bytes));
        }
        state.end()?;
        match short {
            true => Err(io::Error::from_raw_os_error(FULL)),
            false => Ok(()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.begin(self.run, OpKind::SetLen, &self.path)?;
        state.inodes[self.inode].change(Change::SetLen(len));
        state.end()
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        if let Go::On = state.begin(self.run, OpKind::Sync, &self.path)? {
            state.inodes[self.inode].sync();
        }
        state.end()
    }
}
