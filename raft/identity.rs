//! Who this node is: `node.json` in its data folder, and the lock on that folder.
//!
//! The id is drawn once per data folder and never used again, so a node that lost its disk is a
//! new node: it cannot vote a second time for what its old disk had voted already.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::StartError;
use crate::disk::{Disk, Lock, create_dir, io_at, write_atomic};
use crate::error::REPLACE_ME;

const FORMAT: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Content {
    format: u32,
    id: u64,
    name: String,
    /// `None` until the node belongs to a cluster.
    cluster_id: Option<u64>,
}

/// The identity on disk, locked for this process.
pub struct Identity {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    content: Mutex<Content>,
    /// There was no identity before.
    pub is_new: bool,
    _lock: Lock,
}

impl Identity {
    /// Locks the folder and reads who it belongs to. A new identity is not on disk before
    /// [`Identity::keep`], so that it never stands beside a log that is not there yet.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, name: &str) -> Result<Self, StartError> {
        create_dir(&*disk, dir).map_err(io_at("cannot create", dir))?;
        let lock_path = dir.join("LOCK");
        let lock = disk.lock(&lock_path).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => StartError::Locked(dir.into()),
            _ => io_at("cannot lock", &lock_path)(e),
        })?;
        let path = dir.join("node.json");
        let (content, is_new) = match disk.read(&path) {
            Ok(bytes) => (parse(&path, &bytes)?, false),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let id = rand::random::<u64>() | 1;
                (
                    Content {
                        format: FORMAT,
                        id,
                        name: name.into(),
                        cluster_id: None,
                    },
                    true,
                )
            }
            Err(e) => return Err(io_at("cannot read", &path)(e)),
        };
        if content.name != name {
            let (found, wanted) = (content.name, name.to_string());
            return Err(StartError::OtherNode {
                dir: dir.into(),
                found,
                wanted,
            });
        }
        Ok(Identity {
            disk,
            path,
            content: Mutex::new(content),
            is_new,
            _lock: lock,
        })
    }

    pub fn id(&self) -> u64 {
        self.content().id
    }

    pub fn cluster(&self) -> Option<u64> {
        self.content().cluster_id
    }

    /// Makes the identity durable.
    pub fn keep(&self) -> std::io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(&*self.content())?;
        bytes.push(b'\n');
        write_atomic(&*self.disk, &self.path, &bytes)
    }

    /// Makes the node belong to a cluster, durably.
    pub fn join(&self, cluster: u64) -> std::io::Result<()> {
        self.content().cluster_id = Some(cluster);
        self.keep()
    }

    fn content(&self) -> std::sync::MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Content, StartError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = |e: serde_json::Error| StartError::Damaged {
        file: path.into(),
        offset: e.column() as u64,
        what: e.to_string(),
        todo: REPLACE_ME,
    };
    let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format > FORMAT {
        return Err(StartError::Newer {
            file: path.into(),
            found: format,
            known: FORMAT,
        });
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Files;

    fn open(dir: &Path, name: &str) -> Result<Identity, StartError> {
        Identity::open(Arc::new(Files), dir, name)
    }

    #[test]
    fn a_data_folder_belongs_to_one_process_one_name_and_one_id() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), "a").unwrap();
        assert!(first.is_new);
        first.join(7).unwrap();
        assert!(matches!(open(dir.path(), "a"), Err(StartError::Locked(_))));
        let id = first.id();
        drop(first);
        let again = open(dir.path(), "a").unwrap();
        assert_eq!(
            (again.id(), again.cluster(), again.is_new),
            (id, Some(7), false)
        );
        drop(again);
        assert!(matches!(
            open(dir.path(), "b"),
            Err(StartError::OtherNode { .. })
        ));
    }

    #[test]
    fn a_newer_or_damaged_identity_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.json");
        std::fs::write(&path, br#"{"format": 9, "new": true}"#).unwrap();
        assert!(matches!(
            open(dir.path(), "a"),
            Err(StartError::Newer { .. })
        ));
        std::fs::write(&path, br#"{"format": 1, "id"#).unwrap();
        assert!(matches!(
            open(dir.path(), "a"),
            Err(StartError::Damaged { .. })
        ));
    }
}
