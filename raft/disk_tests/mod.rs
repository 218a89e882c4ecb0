//! One node's store loses power, is killed, or meets a broken disk at every single operation of a
//! script that does all that openraft does to it.
//!
//! The script knows which states the store may be in: every step is all or nothing, so what comes
//! back must be the state after some step, none before the last confirmed one. A store that comes
//! back must also go on: it is written to and opened once more.
//!
//! Here is the script and its judge; what is broken is in `power` and `broken`.

mod broken;
mod power;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader, RaftSnapshotBuilder};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::sync::watch;

use crate::identity::Identity;
use crate::log::LogStore;
use crate::machine::{Applier, State};
use crate::node::open_stores;
use crate::sim::{Fault, OpKind, SimDisk};
use crate::types::{Batch, Entry, Item, LogId, Vote};
use crate::{Config, Machine, Stamp, StartError, World, codec};

/// Adds numbers, which come with some bytes to fill the log.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Sum(u64);

impl Machine for Sum {
    type Command = (u64, ByteBuf);
    type Reply = u64;
    type Event = u64;
    const SCHEMA: u16 = 1;

    fn apply(&mut self, _: Stamp, (number, _): &Self::Command, events: &mut Vec<u64>) -> u64 {
        self.0 += number;
        events.push(self.0);
        self.0
    }

    fn snapshot(&self) -> Result<Vec<u8>, String> {
        codec::encode(self).map_err(|e| e.to_string())
    }

    fn restore(_: u16, bytes: &[u8]) -> Result<Self, String> {
        codec::decode(bytes, 100).map_err(|e| e.to_string())
    }

    fn digest(&self) -> u64 {
        self.0
    }
}

/// What of the store must survive.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    vote: Option<Vote>,
    purged: Option<LogId>,
    log: Vec<LogId>,
}

/// A store that is open, and who it is.
struct Open {
    identity: Identity,
    log: LogStore,
    state: Arc<State<Sum>>,
    applier: Applier<Sum>,
    fatal: watch::Sender<Option<String>>,
}

fn open(disk: &SimDisk) -> Result<Open, StartError> {
    let config = Config {
        name: "a".into(),
        data_dir: PathBuf::from("/var/data"),
        segment_bytes: 4096,
        world: World {
            disk: disk.boot(),
            threads: false,
            ..World::default()
        },
        ..Config::default()
    };
    let identity = Identity::open(config.world.disk.clone(), &config.data_dir, &config.name)?;
    let fatal = watch::Sender::new(None);
    let (log, _, state) = open_stores::<Sum>(&config, &identity, 7, &fatal)?;
    let applier = Applier::new(state.clone());
    Ok(Open {
        identity,
        log,
        state,
        applier,
        fatal,
    })
}

impl Open {
    async fn kept(&mut self) -> Kept {
        let entries = self
            .log
            .try_get_log_entries(..)
            .await
            .expect("the log can be read");
        let log = entries.iter().map(|e| e.log_id).collect();
        let vote = self.log.read_vote().await.expect("the vote can be read");
        let purged = self.log.purged();
        Kept { vote, purged, log }
    }
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

/// An entry that adds its index and is about 300 bytes long.
fn entry(term: u64, index: u64) -> Entry {
    let command = (index, ByteBuf::from(vec![index as u8 | 1; 280]));
    let command = codec::encode(&command).expect("bytes can be encoded");
    let items = vec![Item {
        term: 0,
        command: command.into(),
    }];
    let batch = Batch {
        schema: 1,
        seq: index,
        items: codec::encode(&items).expect("items can be encoded").into(),
        ..Batch::default()
    };
    Entry {
        log_id: id(term, index),
        payload: EntryPayload::Normal(batch),
    }
}

/// What the script knows while it runs.
#[derive(Default)]
struct Script {
    /// Every state the store was or may be in, in order.
    states: Vec<Kept>,
    /// The last of them that is confirmed.
    confirmed: usize,
    /// Index of the last confirmed snapshot.
    snapshot: u64,
    /// Sum of the machine by index, for all that was ever applied.
    sums: BTreeMap<u64, u64>,
    steps: usize,
    /// It met an error.
    stopped: bool,
}

type Stopped = String;

impl Script {
    fn now(&self) -> Kept {
        self.states.last().cloned().unwrap_or_default()
    }

    fn confirm(&mut self) {
        self.confirmed = self.states.len() - 1;
        self.steps += 1;
    }

    async fn vote(&mut self, store: &mut Open, term: u64, node: u64) -> Result<(), Stopped> {
        let vote = Vote::new(term, node);
        self.states.push(Kept {
            vote: Some(vote),
            ..self.now()
        });
        store
            .log
            .save_vote(&vote)
            .await
            .map_err(|e| e.to_string())?;
        self.confirm();
        Ok(())
    }

    /// Several appends at a time, which may share a block: each from an index to before another.
    async fn append(
        &mut self,
        store: &mut Open,
        term: u64,
        parts: &[(u64, u64)],
    ) -> Result<(), Stopped> {
        let mut appends = Vec::new();
        for (first, end) in parts {
            let entries: Vec<Entry> = (*first..*end).map(|i| entry(term, i)).collect();
            let mut next = self.now();
            next.log.extend(entries.iter().map(|e| e.log_id));
            self.states.push(next);
            let mut log = store.log.clone();
            appends.push(async move { log.blocking_append(entries).await });
        }
        for done in futures_util::future::join_all(appends).await {
            done.map_err(|e| e.to_string())?;
        }
        self.confirm();
        Ok(())
    }

    async fn truncate(&mut self, store: &mut Open, since: u64) -> Result<(), Stopped> {
        let mut next = self.now();
        let gone = next.log.iter().position(|l| l.index == since);
        let gone = gone.expect("the script truncates what is there");
        let first = next.log[gone];
        next.log.truncate(gone);
        self.states.push(next);
        store.log.truncate(first).await.map_err(|e| e.to_string())?;
        self.confirm();
        Ok(())
    }

    /// Applies what is in the log up to here, builds a snapshot and purges the log behind it.
    async fn snapshot(&mut self, store: &mut Open, upto: u64, purge: u64) -> Result<(), Stopped> {
        let from = store.state.last().map_or(0, |l| l.index + 1);
        let entries = store.log.try_get_log_entries(from..=upto).await;
        let entries = entries.map_err(|e| e.to_string())?;
        for entry in entries {
            let index = entry.log_id.index;
            store
                .applier
                .apply([entry])
                .await
                .map_err(|e| e.to_string())?;
            self.sums.insert(index, store.state.read(|m| m.0));
        }
        let mut builder = store.applier.get_snapshot_builder().await;
        builder.build_snapshot().await.map_err(|e| e.to_string())?;
        self.snapshot = upto;
        self.purge(store, purge).await
    }

    /// Purges; nobody is told when that is done.
    async fn purge(&mut self, store: &mut Open, upto: u64) -> Result<(), Stopped> {
        let mut next = self.now();
        let at = next.log.iter().find(|l| l.index == upto).copied();
        let at = at.unwrap_or(id(9, upto));
        next.log.retain(|l| l.index > upto);
        next.purged = Some(at);
        self.states.push(next);
        store.log.purge(at).await.map_err(|e| e.to_string())?;
        self.steps += 1;
        Ok(())
    }

    /// Takes a snapshot of another node that lies ahead of the log.
    async fn install(&mut self, store: &mut Open, index: u64) -> Result<(), Stopped> {
        let other = SimDisk::new(0);
        let mut donor = open(&other).expect("a good disk opens");
        let command = entry(9, index);
        donor
            .applier
            .apply([command])
            .await
            .map_err(|e| e.to_string())?;
        let mut builder = donor.applier.get_snapshot_builder().await;
        let snapshot = builder.build_snapshot().await.map_err(|e| e.to_string())?;
        self.sums.insert(index, donor.state.read(|m| m.0));
        let installed = store
            .applier
            .install_snapshot(&snapshot.meta, snapshot.snapshot);
        installed.await.map_err(|e| e.to_string())?;
        self.snapshot = index;
        self.purge(store, index).await
    }

    /// Everything that openraft does to a store.
    async fn run(&mut self, disk: &SimDisk) -> Result<(), Stopped> {
        let done = self.try_run(disk).await;
        self.stopped = done.is_err();
        done
    }

    async fn try_run(&mut self, disk: &SimDisk) -> Result<(), Stopped> {
        self.states.push(Kept::default());
        let mut store = open(disk).map_err(|e| e.to_string())?;
        let store = &mut store;
        self.vote(store, 1, 1).await?;
        self.append(store, 1, &[(0, 1)]).await?;
        self.append(store, 1, &[(1, 4), (4, 5)]).await?;
        let _ = store.log.save_committed(Some(id(1, 3))).await;
        // Beyond the end of a segment, twice.
        self.append(store, 1, &[(5, 25)]).await?;
        self.append(store, 1, &[(25, 27), (27, 40)]).await?;
        self.vote(store, 2, 2).await?;
        self.truncate(store, 36).await?;
        self.append(store, 2, &[(36, 40)]).await?;
        self.snapshot(store, 20, 10).await?;
        self.append(store, 2, &[(40, 60)]).await?;
        self.vote(store, 3, 1).await?;
        self.snapshot(store, 50, 45).await?;
        self.append(store, 3, &[(60, 62)]).await?;
        self.truncate(store, 58).await?;
        self.vote(store, 4, 3).await?;
        self.install(store, 500).await?;
        self.append(store, 9, &[(501, 503)]).await?;
        self.append(store, 9, &[(503, 520), (520, 521)]).await?;
        self.vote(store, 10, 2).await?;
        store.identity.join(77).map_err(|e| e.to_string())?;
        if let Some(why) = store.fatal.borrow().clone() {
            return Err(why);
        }
        Ok(())
    }
}

/// What is wrong with a store that came back.
async fn judge(script: &Script, store: &mut Open) -> Result<Kept, String> {
    let kept = store.kept().await;
    let may_be = &script.states[script.confirmed..];
    if !may_be.contains(&kept) {
        let wanted = may_be.first();
        return Err(format!(
            "it came back as {kept:?}\nconfirmed was {wanted:?}"
        ));
    }
    let (last, sum) = (store.state.last(), store.state.read(|m| m.0));
    let last = last.map_or(0, |l| l.index);
    if last < script.snapshot || script.sums.get(&last).copied().unwrap_or(0) != sum {
        let wanted = script.snapshot;
        return Err(format!(
            "the state is {sum} at {last}; a snapshot was at {wanted}"
        ));
    }
    Ok(kept)
}

/// Opens the disk, judges what is there, writes on, and opens it again. Gives whether it opened.
async fn comes_back(script: &Script, disk: &SimDisk) -> Result<Kept, Wrong> {
    let mut store = open(disk).map_err(Wrong::Refused)?;
    let kept = judge(script, &mut store).await.map_err(Wrong::Lost)?;
    let mut more = Script {
        states: vec![kept.clone()],
        ..Script::default()
    };
    let next = kept
        .log
        .last()
        .or(kept.purged.as_ref())
        .map_or(0, |l| l.index + 1);
    let went_on: Result<(), Stopped> = async {
        more.append(&mut store, 20, &[(next, next + 1)]).await?;
        more.vote(&mut store, 20, 1).await?;
        more.append(&mut store, 20, &[(next + 1, next + 20)]).await
    }
    .await;
    went_on.map_err(Wrong::Lost)?;
    disk.kill();
    let mut store = open(disk).map_err(Wrong::Refused)?;
    let again = store.kept().await;
    match again == more.now() {
        true => Ok(kept),
        false => Err(Wrong::Lost(format!(
            "went on to {:?}, came back as {again:?}",
            more.now()
        ))),
    }
}

#[derive(Debug)]
enum Wrong {
    /// It does not start, and says why.
    Refused(StartError),
    /// It starts and something confirmed is not there.
    Lost(String),
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wrong::Refused(why) => write!(f, "it does not start: {why}"),
            Wrong::Lost(what) => write!(f, "it starts without something: {what}"),
        }
    }
}

/// Runs the script with this going wrong at this operation.
async fn broken_at(operation: u64, fault: Fault, prepare: impl Fn(&SimDisk)) -> (Script, SimDisk) {
    let disk = SimDisk::new(1);
    prepare(&disk);
    disk.fail_at(operation, fault);
    let mut script = Script::default();
    let _ = script.run(&disk).await;
    (script, disk)
}

/// How many operations the whole script takes, and what they are.
async fn whole() -> Vec<(OpKind, PathBuf)> {
    let disk = SimDisk::new(1);
    disk.record();
    let mut script = Script::default();
    script.run(&disk).await.expect("a good disk does it all");
    script.confirm();
    comes_back(&script, &disk.copy())
        .await
        .expect("and all is there");
    disk.recorded()
}
