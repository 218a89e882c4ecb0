//! One running node: what its parts share, how it starts and stops, how it answers messages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use openraft::{RaftMetrics, ServerState, SnapshotPolicy};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::batcher::{self, Group};
use crate::death::{self, Death};
use crate::disk::io_at;
use crate::error::{REPLACE_ME, note_fatal};
use crate::identity::Identity;
use crate::journal::{Bounds, Journal};
use crate::log::{LogStore, LogView, Options};
use crate::machine::{Applier, State};
use crate::net::http::Http;
use crate::net::links::{Links, Network};
use crate::net::notices::Queue;
use crate::net::transport::{Door, Refusal};
use crate::net::wire::{
    self, Admin, Adopt, Chunk, Elect, Forward, Head, Introduction, JournalPart, JournalSince, Kind,
    Pong,
};
use crate::propose::FORWARDS;
use crate::types::{Core, NodeId, Types};
use crate::{
    Config, Lead, Leadership, Machine, Member, StartError, bootstrap, codec, fence, gate, handover,
    members, refill,
};

/// Groups of commands that wait for an entry; more are refused as overload.
const QUEUE: usize = 8192;
/// A chunk of a snapshot must be sent and taken within this.
const SNAPSHOT_CHUNK_MS: u64 = 5_000;

pub type Metrics = RaftMetrics<NodeId, Member>;

/// What the parts of a node share.
pub struct Node<M: Machine> {
    pub config: Config,
    pub identity: Identity,
    pub id: NodeId,
    pub addr: String,
    pub core: Core,
    pub state: Arc<State<M>>,
    pub log: LogView,
    /// What the listener for other nodes counts.
    pub port: Arc<holdfast_ports::Stats>,
    pub links: Arc<Links>,
    pub groups: mpsc::Sender<Group>,
    /// Places for commands on their way to the leader.
    pub forwards: Semaphore,
    pub leadership: watch::Sender<Option<Leadership>>,
    /// Who leads, as this node sees it.
    pub led_by: watch::Sender<Option<Lead>>,
    /// Term whose opening entry this process has applied as leader.
    pub opened: AtomicU64,
    /// Leadership is being handed over.
    pub handover: AtomicBool,
    /// Batches that may be written at this moment.
    pub in_flight: AtomicUsize,
    /// When a leader was last heard.
    pub leader_heard: Mutex<Option<Instant>>,
    /// Whether the leader that was followed was found dead.
    pub death: Death,
    /// Up to where the log was committed, by the last word of a leader.
    pub told_committed: AtomicU64,
    pub fatal: watch::Sender<Option<String>>,
    pub closing: watch::Sender<bool>,
    /// What the node waits for while it does not belong to a cluster.
    pub waiting_for: Mutex<String>,
    /// One change of the cluster at a time.
    pub changes: tokio::sync::Mutex<()>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl<M: Machine> Node<M> {
    pub async fn start(config: Config) -> Result<Arc<Self>, StartError> {
        config.validate()?;
        let disk = config.world.disk.clone();
        let identity = Identity::open(disk, &config.data_dir, &config.name)?;
        let wire = match config.world.wire.clone() {
            Some(wire) => wire,
            None => Arc::new(Http::new()?),
        };
        let listener = wire.bind(config.listen).await?;
        let bound = listener.addr();
        let bound = bound.map_err(|source| StartError::Listen {
            addr: config.listen.to_string(),
            source,
        })?;
        let addr = match config.advertise.as_str() {
            "" => bound.to_string(),
            advertise => advertise.to_string(),
        };
        let fatal = watch::Sender::new(None);
        let origin = rand::random::<u64>() | 1;
        let (log, view, state) = open_stores::<M>(&config, &identity, origin, &fatal)?;
        let id = identity.id();
        let links = Links::new(
            id,
            &config.name,
            identity.cluster(),
            config.secret.clone(),
            wire,
            config.faults.clone(),
        );
        let links = Arc::new(links);
        let (groups, inbox) = mpsc::channel(QUEUE);
        let network = Network {
            links: links.clone(),
            durable: view.durable(),
            queue: Queue::new(&groups),
        };
        let core = Core::new(
            id,
            Arc::new(core_config(&config)?),
            network,
            log,
            Applier::new(state.clone()),
        );
        let core = core.await.map_err(|e| StartError::Core(e.to_string()))?;
        // The answer comes when the metrics show what is on disk; before, a node with data would
        // look like a fresh one, to itself too.
        core.is_initialized()
            .await
            .map_err(|e| StartError::Core(e.to_string()))?;
        let node = Arc::new(Node {
            config,
            identity,
            id,
            addr,
            core,
            state,
            log: view,
            port: listener.stats(),
            links,
            groups,
            forwards: Semaphore::new(FORWARDS),
            leadership: watch::Sender::new(None),
            led_by: watch::Sender::new(None),
            opened: AtomicU64::new(0),
            handover: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            leader_heard: Mutex::new(None),
            death: Death::default(),
            told_committed: AtomicU64::new(0),
            fatal,
            closing: watch::Sender::new(false),
            waiting_for: Mutex::new("starting".into()),
            changes: tokio::sync::Mutex::new(()),
            tasks: Mutex::default(),
        });
        node.spawn(listener.serve(node.clone(), node.closing.subscribe()));
        if let Err(e) = bootstrap::check_cluster(&node).await {
            node.stop().await;
            return Err(e);
        }
        node.spawn(batcher::run(node.clone(), inbox));
        node.spawn(fence::run(node.clone()));
        node.spawn(gate::run(node.clone()));
        node.spawn(bootstrap::run(node.clone()));
        node.spawn(refill::run(node.clone()));
        node.spawn(leave_when_broken(node.clone()));
        Ok(node)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.tasks).push(tokio::spawn(task));
    }

    /// Stops everything and flushes; leadership is not moved.
    pub async fn stop(&self) {
        self.closing.send_replace(true);
        self.leadership.send_replace(None);
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        // The core's own tasks never fail to join other than by panic, which it has logged.
        let _ = self.core.shutdown().await;
        for task in tasks {
            task.abort();
            // Aborted or done; both are what is wanted.
            let _ = task.await;
        }
        self.log.stop().await;
        self.state.journal.stop().await;
    }

    pub fn metrics(&self) -> Metrics {
        self.core.metrics().borrow().clone()
    }

    /// Members by id.
    pub fn members(&self) -> BTreeMap<NodeId, Member> {
        let metrics = self.core.metrics();
        let metrics = metrics.borrow();
        metrics
            .membership_config
            .nodes()
            .map(|(id, m)| (*id, m.clone()))
            .collect()
    }

    /// The leader's id and member, if one is known.
    pub fn leader(&self) -> Option<(NodeId, Member)> {
        let metrics = self.core.metrics();
        let metrics = metrics.borrow();
        let id = metrics.current_leader?;
        let member = metrics.membership_config.membership().get_node(&id)?;
        Some((id, member.clone()))
    }

    /// Whether this node is leader by its own account; it may be a deposed one.
    pub fn leads(&self) -> bool {
        self.core.metrics().borrow().state == ServerState::Leader
    }

    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.config.election_max_ms)
    }

    pub fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Whether the disk or the core failed: then nothing is promised any more, and waiting for the
    /// core to change its mind would be a loop without a pause.
    pub fn has_broken(&self) -> bool {
        self.fatal.borrow().is_some() || self.core.server_metrics().has_changed().is_err()
    }

    /// How long ago a leader was heard.
    pub fn leader_silence(&self) -> Option<Duration> {
        lock(&self.leader_heard).map(|at| at.elapsed())
    }

    /// The same, of a leader that may be alive.
    pub fn living_leader_silence(&self) -> Option<Duration> {
        match self.death.of() {
            Some(_) => None,
            None => self.leader_silence(),
        }
    }

    fn note_leader(&self) {
        *lock(&self.leader_heard) = Some(Instant::now());
        self.death.forget();
    }

    /// This node must not go on: says why, once.
    pub fn fail(&self, why: String) {
        if !self.is_closing() {
            note_fatal(&self.fatal, why);
        }
    }

    pub fn introduction(&self) -> Introduction {
        let metrics = self.metrics();
        Introduction {
            name: self.config.name.clone(),
            id: self.id,
            cluster: self.links.cluster(),
            has_data: metrics.last_log_index.is_some() || metrics.vote != Default::default(),
            expect: self.config.bootstrap_expect,
            members: self
                .members()
                .into_iter()
                .map(|(id, m)| (m.name, id))
                .collect(),
            before: self.identity.before(),
        }
    }
}

/// What has broken takes no part any more. A leader that writes nothing would go on with its heartbeats,
/// and the others would elect nobody.
async fn leave_when_broken<M: Machine>(node: Arc<Node<M>>) {
    let mut fatal = node.fatal.subscribe();
    if fatal.wait_for(Option::is_some).await.is_ok() {
        // Why it broke is told already.
        let _ = node.core.shutdown().await;
    }
}

/// Opens log, journal and state, checks that they fit together, and keeps a new identity.
pub(crate) fn open_stores<M: Machine>(
    config: &Config,
    identity: &Identity,
    origin: u64,
    fatal: &watch::Sender<Option<String>>,
) -> Result<(LogStore, LogView, Arc<State<M>>), StartError> {
    let dir = &identity.store_dir();
    let options = Options {
        world: config.world.clone(),
        dir: dir.join("log"),
        segment_bytes: config.segment_bytes,
        faults: config.faults.clone(),
        id: identity.id(),
        origin,
        fatal: fatal.clone(),
    };
    let (log, view) = LogStore::open(options, identity.is_new)?;
    if identity.is_new && !log.is_pristine() {
        return Err(StartError::Damaged {
            file: config.data_dir.join("node.json"),
            offset: 0,
            what: "the file is missing".into(),
            todo: REPLACE_ME,
        });
    }
    let bounds = Bounds {
        max_events: config.journal_max_events,
        max_age_ms: config.journal_max_age_ms,
    };
    let (journal, empty) = Journal::open(
        &config.world,
        &config.data_dir.join("journal"),
        bounds,
        M::subject,
    )?;
    let world = config.world.clone();
    let state = State::open(world, dir.join("snap"), journal, origin, fatal.clone())?;
    let state = Arc::new(state);
    if log.purged() > state.last() {
        let (purged, last) = (log.purged(), state.last());
        return Err(StartError::Damaged {
            file: dir.join("snap"),
            offset: 0,
            what: format!("the log begins after {purged:?}, the newest good snapshot is {last:?}"),
            todo: REPLACE_ME,
        });
    }
    if empty && let Some(last) = state.last() {
        state.journal.note_gap(0, last.index);
    }
    if identity.is_new {
        let kept = identity.keep();
        kept.map_err(io_at("cannot write node.json in", dir))?;
    }
    Ok((log, view, state))
}

fn core_config(config: &Config) -> Result<openraft::Config, StartError> {
    let core = openraft::Config {
        cluster_name: "holdfast".into(),
        heartbeat_interval: config.heartbeat_ms,
        election_timeout_min: config.election_min_ms,
        election_timeout_max: config.election_max_ms,
        install_snapshot_timeout: SNAPSHOT_CHUNK_MS,
        max_payload_entries: 300,
        // Must be above the snapshot interval, or a snapshot would not help who lags.
        replication_lag_threshold: (4 * config.snapshot_every).max(20_000),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_every),
        snapshot_max_chunk_size: config.snapshot_chunk_bytes,
        max_in_snapshot_log_to_keep: config.log_keep,
        purge_batch_size: (config.log_keep / 4).clamp(1, 256),
        // The gate opens it.
        enable_elect: false,
        ..openraft::Config::default()
    };
    core.validate().map_err(|e| StartError::Core(e.to_string()))
}

impl<M: Machine> Door for Node<M> {
    fn admits(&self, token: &[u8], kind: &str) -> Result<usize, Refusal> {
        if !self.links.secret().matches(token) {
            let why = "the cluster secret is missing or wrong; set the same one on every node";
            return Err(Refusal::new(401, why));
        }
        Ok(kind_of(kind)?.limit())
    }

    fn answer<'a>(
        &'a self,
        kind: &'a str,
        body: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, Refusal>> {
        let answer = async move {
            let (head, message) = wire::unpack(body).map_err(Refusal::bad)?;
            self.handle(kind_of(kind)?, head, message).await
        };
        answer.boxed()
    }

    fn hung_up(&self) {
        self.death.suspect();
    }
}

fn kind_of(name: &str) -> Result<Kind, Refusal> {
    Kind::from_name(name).ok_or_else(|| Refusal::new(404, "there is no such message"))
}

impl<M: Machine> Node<M> {
    async fn handle(&self, kind: Kind, head: Head, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.check(kind, &head)?;
        let reply = match kind {
            Kind::Append => {
                let request: AppendEntriesRequest<Types> = read(kind, message)?;
                let committed = request.leader_commit.map_or(0, |id| id.index);
                let answer = self.core.append_entries(request).await;
                if matches!(&answer, Ok(a) if !matches!(a, AppendEntriesResponse::HigherVote(_))) {
                    // In this order, so that who sees the leader sees what it told, too.
                    self.told_committed.fetch_max(committed, Ordering::AcqRel);
                    self.note_leader();
                }
                wire::pack_reply(&answer)
            }
            Kind::Vote => {
                let request: VoteRequest<NodeId> = read(kind, message)?;
                death::make_way(self, &request).await;
                wire::pack_reply(&self.core.vote(request).await)
            }
            Kind::Snapshot => {
                let chunk: Chunk = read(kind, message)?;
                let answer = self.core.install_snapshot(chunk.into()).await;
                if answer.is_ok() {
                    self.note_leader();
                }
                wire::pack_reply(&answer)
            }
            Kind::Ping => {
                let leads = fence::acting(self).is_some();
                let heard = self.living_leader_silence();
                wire::pack_reply(&Pong {
                    leads,
                    heard_ms: heard.map(|d| d.as_millis() as u64),
                })
            }
            Kind::Hello => wire::pack_reply(&self.introduction()),
            Kind::Adopt => {
                let Adopt { cluster } = read(kind, message)?;
                wire::pack_reply(&bootstrap::be_adopted(self, cluster))
            }
            Kind::Forward => {
                let request: Forward = read(kind, message)?;
                wire::pack_reply(&self.forwarded(request).await)
            }
            Kind::Read => wire::pack_reply(&self.read_index().await),
            Kind::Admin => {
                let request: Admin = read(kind, message)?;
                wire::pack_reply(&members::administer(self, request).await)
            }
            Kind::Elect => {
                let request: Elect = read(kind, message)?;
                wire::pack_reply(&handover::stand_for_election(self, request).await)
            }
            Kind::Journal => {
                let JournalSince { after, limit } = read(kind, message)?;
                let records = self.state.journal.raw_after(after, limit.min(1000));
                let records = records.map_err(|e| Refusal::new(500, e.to_string()))?;
                wire::pack_reply(&JournalPart { records })
            }
        };
        reply.map_err(|e| Refusal::new(500, e.to_string()))
    }

    /// Whether the sender may speak to this node, and means it.
    fn check(&self, kind: Kind, head: &Head) -> Result<(), Refusal> {
        if self.links.is_cut(&head.name) {
            return Err(Refusal::new(503, "cut by a test"));
        }
        if self.is_closing() {
            return Err(Refusal::new(503, "shutting down"));
        }
        if head.to != 0 && head.to != self.id {
            let (name, id, to) = (&self.config.name, self.id, head.to);
            let why = format!("this is {name} with id {id:016x}, not {to:016x}");
            return Err(Refusal::new(421, why));
        }
        if !kind.is_open() {
            let own = self.links.cluster();
            if own != Some(head.cluster) {
                let (own, theirs) = (own.unwrap_or(0), head.cluster);
                let why = format!("this node is of cluster {own:016x}, not {theirs:016x}");
                return Err(Refusal::new(403, why));
            }
            self.links.heard_from(head.from);
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(kind: Kind, message: &[u8]) -> Result<T, Refusal> {
    codec::decode(message, kind.limit()).map_err(Refusal::bad)
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Whether storage or the core broke; then the reason is told once.
pub fn note_core_failure<M: Machine>(node: &Node<M>, metrics: &Metrics) {
    if let Err(e) = &metrics.running_state {
        node.fail(format!("the consensus core stopped: {e}"));
    }
}

/// Shorthand for a flag that is only ever looked at.
pub fn is_set(flag: &AtomicBool) -> bool {
    flag.load(Ordering::SeqCst)
}
