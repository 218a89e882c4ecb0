//! The journal's tree in sled, and the care that sled needs: its `flush` does not survive a power
//! cut, its newest snapshot may be half of one, and a broken database must not stop the node.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Change, Pair, Tree, Visit};
use crate::disk::{Disk, Files, create_dir, io_at};
use crate::world::system_wall_ms;
use crate::{JournalError, StartError};

/// sled's cache; its default is a gigabyte. sled counts a quarter of what the pages take or less: a
/// node that wrote 300,000 entries held 250 MB with 64 MiB here, 107 MB with 16 and 65 MB with 2. The
/// journal is read at its end or for one call, and the system caches its file besides.
const CACHE_BYTES: u64 = 2 * 1024 * 1024;
/// How often a lock that is still held is tried again.
const LOCK_TRIES: u32 = 100;

struct Sled {
    db: sled::Db,
    file: File,
    /// Tells the next start that events are missing.
    marker: PathBuf,
}

impl From<sled::Error> for JournalError {
    fn from(e: sled::Error) -> Self {
        JournalError(e.to_string())
    }
}

impl Tree for Sled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(self.db.get(key)?.map(|v| v.to_vec()))
    }

    fn at_or_before(&self, key: &[u8]) -> Result<Option<Pair>, JournalError> {
        let found = self.db.range(..=key).next_back().transpose()?;
        Ok(found.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), JournalError> {
        for item in self.db.range(from..to) {
            let (key, value) = item?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), JournalError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        Ok(self.db.apply_batch(batch)?)
    }

    fn clear(&self) -> Result<(), JournalError> {
        Ok(self.db.clear()?)
    }

    fn checkpoint(&self) -> Result<(), JournalError> {
        self.db.flush()?;
        let synced = self.file.sync_data();
        synced.map_err(|e| JournalError(e.to_string()))
    }

    fn mark_broken(&self) -> std::io::Result<()> {
        File::create(&self.marker)?.sync_all()?;
        Files.sync_dir(self.marker.parent().unwrap_or(Path::new(".")))
    }
}

/// Opens the tree in `dir`; one that cannot be opened is put aside. The second value says whether
/// it begins empty.
pub fn open(dir: &Path) -> Result<(Arc<dyn Tree>, bool), StartError> {
    let fresh = !dir.exists();
    let (db, lost) = match open_unless_marked(dir) {
        Ok(db) => (db, false),
        Err(why) => {
            let aside = dir.with_extension(format!("broken-{}", system_wall_ms()));
            tracing::error!(aside = %aside.display(), why, "the journal is broken; put aside");
            fs::rename(dir, &aside).map_err(io_at("cannot put aside", dir))?;
            let marker = marker(dir);
            if marker.exists() {
                fs::remove_file(&marker).map_err(io_at("cannot remove", &marker))?;
            }
            let db = open_db(dir).map_err(|why| StartError::Io {
                what: format!("cannot create the journal {}", dir.display()),
                source: std::io::Error::other(why),
            })?;
            (db, true)
        }
    };
    let path = dir.join("db");
    let file = File::open(&path).map_err(io_at("cannot open", &path))?;
    for path in [&dir.join("conf"), &path] {
        if path.exists() {
            let synced = File::open(path).and_then(|f| f.sync_all());
            synced.map_err(io_at("cannot sync", path))?;
        }
    }
    create_dir(&Files, dir).map_err(io_at("cannot sync", dir))?;
    let marker = marker(dir);
    Ok((Arc::new(Sled { db, file, marker }), fresh || lost))
}

/// The file beside the folder that says that the tree broke.
pub fn marker(dir: &Path) -> PathBuf {
    dir.with_extension("broken")
}

fn open_unless_marked(dir: &Path) -> Result<sled::Db, String> {
    if marker(dir).exists() {
        return Err("it broke during the last run".into());
    }
    open_db(dir)
}

/// Opens the database after removing what a crash during an earlier opening may have left: sled
/// would take such a file for its newest snapshot and refuse to open for ever.
fn open_db(dir: &Path) -> Result<sled::Db, String> {
    if let Ok(files) = fs::read_dir(dir) {
        for path in files.flatten().map(|f| f.path()) {
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            if name.starts_with("snap.") && name.ends_with(".generating") {
                fs::remove_file(&path).map_err(|e| e.to_string())?;
            }
        }
        Files.sync_dir(dir).map_err(|e| e.to_string())?;
    }
    let config = sled::Config::new()
        .path(PathBuf::from(dir))
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    let mut tries = 0;
    let db = loop {
        match config.open() {
            Ok(db) => break db,
            // Held by an earlier node of this process that is still being dropped: not broken.
            Err(e) if e.to_string().contains("lock") && tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(e) => return Err(e.to_string()),
        }
    };
    // Touching both ends finds most damages now and not in the middle of the work.
    for end in [db.first(), db.last()] {
        end.map_err(|e| e.to_string())?;
    }
    Ok(db)
}
