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

/// Format of a recovered node's file: an older version would take up the log from before.
const FORMAT: u32 = 2;
/// Format of every other one.
const FORMAT_PLAIN: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Content {
    format: u32,
    id: u64,
    pub(crate) name: String,
    /// `None` until the node belongs to a cluster.
    cluster_id: Option<u64>,
    /// Folder below the data folder with `log/` and `snap/`; empty: the data folder itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    store: String,
    /// Clusters that this one was recovered from, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    before: Vec<u64>,
    /// Checksum of the rest; 0.1.0 wrote none.
    check: Option<String>,
}

impl Content {
    fn sum(&self) -> String {
        let (format, id, name, cluster) = (self.format, self.id, &self.name, self.cluster_id);
        let mut text = format!("{format} {id} {name} {cluster:?}");
        if format > FORMAT_PLAIN {
            text += &format!(" {} {:?}", self.store, self.before);
        }
        format!("{:08x}", crc32fast::hash(text.as_bytes()))
    }
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
        let lock = lock(&*disk, dir)?;
        let path = dir.join("node.json");
        let (content, is_new) = match disk.read(&path) {
            Ok(bytes) => (parse(&path, &bytes)?, false),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let id = rand::random::<u64>() | 1;
                (
                    Content {
                        format: FORMAT_PLAIN,
                        id,
                        name: name.into(),
                        cluster_id: None,
                        store: String::new(),
                        before: Vec::new(),
                        check: None,
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

    /// Locks the folder of a node that was there before, whatever its name; `None` if there was none.
    pub fn of_folder(disk: Arc<dyn Disk>, dir: &Path) -> Result<Option<Self>, StartError> {
        let path = dir.join("node.json");
        match disk.read(&path) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_at("cannot read", &path)(e)),
        }
        let lock = lock(&*disk, dir)?;
        // Read under the lock: a node may just have changed it.
        let bytes = disk.read(&path).map_err(io_at("cannot read", &path))?;
        let content = Mutex::new(parse(&path, &bytes)?);
        Ok(Some(Identity {
            disk,
            path,
            content,
            is_new: false,
            _lock: lock,
        }))
    }

    pub fn id(&self) -> u64 {
        self.content().id
    }

    pub fn name(&self) -> String {
        self.content().name.clone()
    }

    /// The folder that holds `log/` and `snap/`.
    pub fn store_dir(&self) -> PathBuf {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        match self.content().store.as_str() {
            "" => dir.into(),
            store => dir.join(store),
        }
    }

    /// Clusters that this node's was recovered from, the oldest first.
    pub fn before(&self) -> Vec<u64> {
        self.content().before.clone()
    }

    /// Makes the node belong to another cluster that goes on where its own was, with the store in
    /// another folder. One file, replaced as a whole: a crash leaves the old membership or the new.
    pub fn recover(&self, cluster: u64, store: &str) -> std::io::Result<()> {
        {
            let mut content = self.content();
            let old = content.cluster_id.replace(cluster);
            content.before.extend(old);
            content.store = store.into();
            content.format = FORMAT;
        }
        self.keep()
    }

    pub fn cluster(&self) -> Option<u64> {
        self.content().cluster_id
    }

    /// Makes the identity durable.
    pub fn keep(&self) -> std::io::Result<()> {
        let mut content = self.content();
        content.check = Some(content.sum());
        let mut bytes = serde_json::to_vec_pretty(&*content)?;
        drop(content);
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

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Lock, StartError> {
    let path = dir.join("LOCK");
    disk.lock(&path).map_err(|e| match e.kind() {
        ErrorKind::WouldBlock => StartError::Locked(dir.into()),
        _ => io_at("cannot lock", &path)(e),
    })
}

pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Content, StartError> {
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
    let content: Content = serde_json::from_slice(bytes).map_err(damaged)?;
    match &content.check {
        Some(check) if *check != content.sum() => Err(StartError::Damaged {
            file: path.into(),
            offset: 0,
            what: "the checksum does not match".into(),
            todo: REPLACE_ME,
        }),
        _ => Ok(content),
    }
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

    #[test]
    fn a_recovered_identity_is_another_cluster_in_another_folder_and_any_flipped_bit_shows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.json");
        let first = open(dir.path(), "a").unwrap();
        first.join(7).unwrap();
        assert_eq!(first.store_dir(), dir.path());
        first.recover(8, "recovered-1").unwrap();
        let id = first.id();
        drop(first);
        let again = open(dir.path(), "a").unwrap();
        assert_eq!(
            (again.id(), again.cluster(), again.before()),
            (id, Some(8), vec![7])
        );
        assert_eq!(again.store_dir(), dir.path().join("recovered-1"));
        drop(again);
        let good = std::fs::read(&path).unwrap();
        let says = |bytes: &[u8]| {
            let content = parse(&path, bytes).ok()?;
            Some((
                content.id,
                content.cluster_id,
                content.store,
                content.before,
            ))
        };
        let truth = says(&good);
        for at in 0..good.len() {
            for bit in 0..7 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let said = says(&bad);
                let harmless = said == truth;
                assert!(
                    said.is_none() || harmless,
                    "bit {bit} of byte {at}: {said:?}"
                );
            }
        }
    }
}
