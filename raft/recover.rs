//! Going on alone when the quorum is lost for good: the offline half of `holdfast cluster recover`.
//!
//! It works on the data folder of one survivor whose process is down. [`Survivor::open`] looks and
//! changes nothing. [`Survivor::carry_out`] makes a copy of log and snapshots below the data folder,
//! appends to it, in a term above all that were, a membership of this node alone, and then replaces
//! `node.json`, which names the copy and a fresh cluster id. That one rename is the recovery: before
//! it the node is what it was, after it the other thing, and what was there before stays beside it.
//!
//! The fresh cluster id is the fence: nodes of the old cluster are refused whatever they say, are
//! told to stop when they hear of this one, and come back only with an empty disk. See
//! docs/decisions/0009. It deliberately does not merge the logs of several survivors: choose the one
//! whose log is the longest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{CommittedLeaderId, EntryPayload, Membership, RaftLogReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::disk::{Disk, create_dir, io_at, untouched::Untouched};
use crate::identity::Identity;
use crate::log::{LogStore, LogView, Options};
use crate::types::{Entry, LogId, NodeId, StorageError, StoredMembership, Vote};
use crate::{Config, Faults, Member, StartError, World, snapshot};

/// For a member to take a connection.
const KNOCK: Duration = Duration::from_secs(1);

/// Why a survivor cannot be recovered from. Every variant says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// There is no node in the folder.
    #[error("{0} is no node's data folder: there is no node.json in it; name another folder")]
    NotANode(PathBuf),
    /// The folder is in use, of another node, or unreadable.
    #[error(transparent)]
    Start(StartError),
    /// What this survivor has cannot be trusted.
    #[error(
        "{file} is damaged at byte {offset}: {what}; recover on another survivor, and leave this \
         folder as it is until that has worked"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// It holds nothing that could be recovered.
    #[error("node {0} never belonged to a cluster: there is nothing to recover; start it")]
    NoCluster(String),
    /// There is nobody to be given up.
    #[error(
        "cluster {cluster:016x} is node {name} alone already: there is nothing to recover; start it"
    )]
    Alone {
        /// Its name.
        name: String,
        /// Its cluster.
        cluster: u64,
    },
    /// The cluster has removed this node while it had a quorum.
    #[error(
        "node {0} was removed from its cluster, whose state went on without it; recover on a member"
    )]
    Removed(String),
    /// Other members may be alive.
    #[error(
        "something listens at {0}; while other members live they may have a quorum, and two clusters \
         would ring the same agents. Stop what listens there, and start it again only when this node \
         runs"
    )]
    Alive(String),
    /// The operator has not named exactly those who are given up.
    #[error("the members to be given up are {wanted}, and not {given}")]
    NotNamed {
        /// Names with commas.
        wanted: String,
        /// What was said.
        given: String,
    },
}

impl From<StartError> for RecoverError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Damaged {
                file, offset, what, ..
            } => RecoverError::Damaged { file, offset, what },
            other => RecoverError::Start(other),
        }
    }
}

/// What is in a survivor's data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: u64,
    /// Its cluster.
    pub cluster: u64,
    /// Clusters that this one was recovered from, the oldest first.
    pub before: Vec<u64>,
    /// All members as the log knows them: (id, member, has a vote).
    pub members: Vec<(u64, Member, bool)>,
    /// The highest term that it has voted in.
    pub term: u64,
    /// Term and index of its last log entry.
    pub last: (u64, u64),
    /// The leader's wall clock of the last entry that has one, in milliseconds since 1970.
    pub last_wall_ms: u64,
    /// It knows that everything up to here was acknowledged by a majority.
    pub committed: u64,
    /// Log index of the newest good snapshot; 0: none.
    pub snapshot: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
}

impl Found {
    /// Names of all members but this one, sorted.
    pub fn others(&self) -> Vec<String> {
        let others = self.members.iter().filter(|(id, ..)| *id != self.id);
        let names: BTreeSet<String> = others.map(|(_, member, _)| member.name.clone()).collect();
        names.into_iter().collect()
    }
}

/// What a recovery has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The fresh cluster id.
    pub cluster: u64,
    /// Where the store is from now on.
    pub store: PathBuf,
    /// Where everything is as it was before: `log`, `snap` and a copy of `node.json`.
    pub kept: Vec<PathBuf>,
}

/// A survivor, locked against its own process.
pub struct Survivor {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    identity: Identity,
    found: Found,
}

impl Survivor {
    /// Locks the folder and reads everything in it, with the same checks as a start. `name`: whose
    /// folder it should be.
    pub async fn open(
        world: &World,
        dir: &Path,
        name: Option<&str>,
    ) -> Result<Survivor, RecoverError> {
        let disk = world.disk.clone();
        let identity = Identity::of_folder(disk.clone(), dir)?;
        let identity = identity.ok_or_else(|| RecoverError::NotANode(dir.into()))?;
        if let Some(wanted) = name.filter(|name| *name != identity.name()) {
            let (found, wanted) = (identity.name(), wanted.to_owned());
            return Err(RecoverError::Start(StartError::OtherNode {
                dir: dir.into(),
                found,
                wanted,
            }));
        }
        let found = look(world, &identity).await?;
        let (id, name) = (found.id, found.name.clone());
        if !found.members.iter().any(|(member, ..)| *member == id) {
            return Err(RecoverError::Removed(name));
        }
        if found.members.len() == 1 {
            let cluster = found.cluster;
            return Err(RecoverError::Alone { name, cluster });
        }
        Ok(Survivor {
            disk,
            dir: dir.into(),
            identity,
            found,
        })
    }

    /// What is in the folder.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Refuses if anything takes connections at the address of another member. Who does not answer
    /// may still live: only the operator can know.
    pub async fn others_are_silent(&self) -> Result<(), RecoverError> {
        let id = self.found.id;
        let others = self.found.members.iter().filter(|(other, ..)| *other != id);
        let knocks = others.map(|(_, Member { name, addr }, _)| async move {
            let knock = tokio::time::timeout(KNOCK, TcpStream::connect(addr)).await;
            matches!(knock, Ok(Ok(_))).then(|| format!("{addr} (node {name})"))
        });
        let alive: Vec<String> = join_all(knocks).await.into_iter().flatten().collect();
        match alive.is_empty() {
            true => Ok(()),
            false => Err(RecoverError::Alive(alive.join(", "))),
        }
    }

    /// Makes this node the whole cluster. `give_up` must name exactly the other members.
    pub async fn carry_out(
        self,
        world: &World,
        give_up: &[String],
    ) -> Result<Recovered, RecoverError> {
        let given: BTreeSet<&str> = give_up.iter().map(String::as_str).collect();
        let others = self.found.others();
        if given != others.iter().map(String::as_str).collect() {
            let (wanted, given) = (others.join(","), Vec::from_iter(given).join(","));
            return Err(RecoverError::NotNamed { wanted, given });
        }
        let disk = &*self.disk;
        let old = self.identity.store_dir();
        let name = format!("recovered-{}", self.found.before.len() + 1);
        let store = self.dir.join(&name);
        for part in ["log", "snap"] {
            copy(disk, &old.join(part), &store.join(part))?;
        }
        let copied = open_log(world, &store)?;
        self.go_on_alone(copied).await?;
        let cluster = loop {
            let drawn = rand::random::<u64>() | 1;
            if drawn != self.found.cluster && !self.found.before.contains(&drawn) {
                break drawn;
            }
        };
        let backup = self.dir.join(format!("node.json.before-{name}"));
        copy_file(disk, &self.dir.join("node.json"), &backup)?;
        disk.sync_dir(&self.dir)
            .map_err(io_at("cannot sync", &self.dir))?;
        let renamed = self.identity.recover(cluster, &name);
        renamed.map_err(io_at("cannot write node.json in", &self.dir))?;
        Ok(Recovered {
            cluster,
            store,
            kept: vec![old.join("log"), old.join("snap"), backup],
        })
    }

    /// Appends the membership of this node alone, in a term of its own.
    async fn go_on_alone(&self, (mut log, view): (LogStore, LogView)) -> Result<(), RecoverError> {
        let found = &self.found;
        let id = found.id;
        let me = found.members.iter().find(|(member, ..)| *member == id);
        let me = me.map(|(_, member, _)| member.clone()).unwrap_or_default();
        let term = found.term.max(found.last.0) + 1;
        let entry = Entry {
            log_id: LogId::new(CommittedLeaderId::new(term, id), found.last.1 + 1),
            payload: EntryPayload::Membership(Membership::new(
                vec![BTreeSet::from([id])],
                BTreeMap::from([(id, me)]),
            )),
        };
        // The vote first: no entry may stand in a term that was not voted in.
        log.save_vote(&Vote::new(term, id)).await.map_err(refused)?;
        log.blocking_append([entry]).await.map_err(refused)?;
        view.stop().await;
        Ok(())
    }
}

fn refused(error: StorageError) -> RecoverError {
    RecoverError::Start(StartError::Core(error.to_string()))
}

fn open_log(world: &World, store: &Path) -> Result<(LogStore, LogView), StartError> {
    let options = Options {
        world: world.clone(),
        dir: store.join("log"),
        segment_bytes: Config::default().segment_bytes,
        faults: Faults::default(),
        id: 0,
        origin: 0,
        fatal: watch::Sender::new(None),
    };
    LogStore::open(options, false)
}

/// Reads a store and changes nothing.
async fn look(world: &World, identity: &Identity) -> Result<Found, RecoverError> {
    let name = identity.name();
    let cluster = identity
        .cluster()
        .ok_or_else(|| RecoverError::NoCluster(name.clone()))?;
    let store = identity.store_dir();
    let world = World {
        disk: Arc::new(Untouched(world.disk.clone())),
        ..world.clone()
    };
    let (mut log, view) = open_log(&world, &store)?;
    let snap_dir = store.join("snap");
    let head = match snapshot::newest(&*world.disk, &snap_dir)? {
        None => None,
        Some((file, packed)) => {
            let damaged = |what| RecoverError::Damaged {
                file,
                offset: 0,
                what,
            };
            Some(snapshot::unpack(&packed).map_err(damaged)?.1)
        }
    };
    let snapshot = head.as_ref().and_then(|head| head.meta.last_log_id);
    let mut last_wall_ms = head.as_ref().map_or(0, |head| head.wall_ms);
    let mut membership: StoredMembership = head
        .map(|head| head.meta.last_membership)
        .unwrap_or_default();
    let state = log.get_log_state().await.map_err(refused)?;
    if state.last_purged_log_id > snapshot {
        let what = "the log begins behind the newest good snapshot".into();
        return Err(RecoverError::Damaged {
            file: snap_dir,
            offset: 0,
            what,
        });
    }
    for entry in log.try_get_log_entries(..).await.map_err(refused)? {
        match entry.payload {
            EntryPayload::Normal(batch) => last_wall_ms = batch.wall_ms,
            EntryPayload::Membership(newer) if Some(entry.log_id) > *membership.log_id() => {
                membership = StoredMembership::new(Some(entry.log_id), newer);
            }
            _ => {}
        }
    }
    let vote = log.read_vote().await.map_err(refused)?.unwrap_or_default();
    let committed = log.read_committed().await.map_err(refused)?;
    let last = state.last_log_id.max(snapshot);
    let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    let members = membership.nodes();
    let members = members.map(|(id, m)| (*id, m.clone(), voters.contains(id)));
    let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
    Ok(Found {
        name,
        id: identity.id(),
        cluster,
        before: identity.before(),
        members: members.collect(),
        term: vote.leader_id().term,
        last: last.map_or((0, 0), |last| (last.leader_id.term, last.index)),
        last_wall_ms,
        committed: index(committed.max(snapshot)),
        snapshot: index(snapshot),
        log_bytes: view.bytes(),
    })
}

/// Makes one folder's files those of the other, durably. What a recovery that was cut off has left
/// there goes first.
fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StartError> {
    create_dir(disk, to).map_err(io_at("cannot create", to))?;
    for stale in disk.list(to).map_err(io_at("cannot list", to))? {
        disk.remove(&stale)
            .map_err(io_at("cannot remove", &stale))?;
    }
    for path in disk.list(from).map_err(io_at("cannot list", from))? {
        let name = path.file_name().unwrap_or_default();
        copy_file(disk, &path, &to.join(name))?;
    }
    disk.sync_dir(to).map_err(io_at("cannot sync", to))
}

/// Copies a file and makes its bytes durable; its name is the caller's business.
fn copy_file(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StartError> {
    let bytes = disk.read(from).map_err(io_at("cannot read", from))?;
    let file = disk.create(to, true).map_err(io_at("cannot create", to))?;
    file.write_at(&bytes, 0)
        .map_err(io_at("cannot write", to))?;
    file.sync().map_err(io_at("cannot sync", to))
}
