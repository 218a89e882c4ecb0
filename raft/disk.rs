//! The few file operations that durability hangs on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::StartError;

/// Makes the names in a folder durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a folder and makes its name durable in its parent.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    sync_dir(dir)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Replaces a file as a whole: after a crash it has the old content or the new one.
pub fn write_atomic(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let tmp = path.with_extension("tmp");
    let mut file = File::create(&tmp)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    drop(file);
    fs::rename(&tmp, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Names the file in an error of the system.
pub fn io_at(what: &str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let what = format!("{what} {}", path.display());
    move |source| StartError::Io { what, source }
}
