//! The handle by which the admin endpoints and the process see a running node.

use crate::config::NodeConfig;
use crate::machine::AcdMachine;
use crate::quorum::Quorum;
use crate::status::{AriStatus, Check, Metrics, NodeMetrics};
use crate::world::World;
use holdfast_acd::{Admin, AdminOp, Command, Reply, RequestId, State};
use holdfast_raft::{Applied, ProposeError, Raft};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A running node. Clones are cheap and stand for the same node.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

/// What all parts of a node have in common.
pub(crate) struct Shared {
    pub config: NodeConfig,
    pub world: World,
    pub raft: Raft<AcdMachine>,
    pub metrics: Arc<Metrics>,
    /// Of the Asterisk beside this node.
    pub ari: Arc<watch::Sender<AriStatus>>,
    /// Of those of other nodes, which this one drives while their nodes are away.
    pub others: Vec<Arc<watch::Sender<AriStatus>>>,
    /// How lately this node heard of a working leader.
    pub quorum: watch::Sender<Quorum>,
    /// Set once: everything winds down.
    pub stopping: watch::Sender<bool>,
    /// Set when everything has wound down.
    pub stopped: watch::Sender<bool>,
}

/// What is seen of an Asterisk, or why nothing is.
fn sight(ari: &AriStatus) -> String {
    match &ari.last_error {
        _ if ari.connected => format!("{} {}", ari.systemname, ari.version),
        Some(error) => error.clone(),
        None => "not connected yet".into(),
    }
}

impl Handle {
    pub fn config(&self) -> &NodeConfig {
        &self.shared.config
    }

    /// The store: status, members, journal, barrier, events.
    pub fn raft(&self) -> &Raft<AcdMachine> {
        &self.shared.raft
    }

    /// Looks at this node's replica. Apply waits meanwhile: keep it short.
    pub fn read<R>(&self, f: impl FnOnce(&State) -> R) -> R {
        self.shared.raft.read(|machine| f(&machine.0))
    }

    /// Has an admin write applied, here or by the leader. `request` given twice gets the same
    /// answer once; without one a fresh id is drawn, and a lost answer stays unknown.
    pub async fn admin(
        &self,
        op: AdminOp,
        actor: &str,
        request: Option<RequestId>,
        if_revision: Option<u64>,
        deadline: Duration,
    ) -> Result<Applied<Reply>, ProposeError> {
        let admin = Admin {
            request: request.unwrap_or_else(|| RequestId(rand::random())),
            actor: actor.into(),
            if_revision,
            op,
        };
        self.propose(Command::Admin(admin), deadline).await
    }

    /// As `admin`, for a change that was worked out from the present state: under the same id
    /// `asked` tells whether the same was asked, whatever operation it led to.
    pub async fn admin_asked(
        &self,
        asked: u64,
        admin: Admin,
        deadline: Duration,
    ) -> Result<Applied<Reply>, ProposeError> {
        let command = Command::AdminAsked { asked, admin };
        self.propose(command, deadline).await
    }

    async fn propose(
        &self,
        command: Command,
        deadline: Duration,
    ) -> Result<Applied<Reply>, ProposeError> {
        self.shared.raft.propose(command, deadline).await
    }

    /// This node's sight of its Asterisk.
    pub fn ari_status(&self) -> AriStatus {
        self.shared.ari.borrow().clone()
    }

    /// This node's sight of the Asterisks of other nodes that it may take over.
    pub fn other_asterisks(&self) -> Vec<AriStatus> {
        let others = self.shared.others.iter();
        others.map(|status| status.borrow().clone()).collect()
    }

    /// The same of its own, for those who wait for it to change.
    pub fn ari_watch(&self) -> watch::Receiver<AriStatus> {
        self.shared.ari.subscribe()
    }

    /// What must be so before this node should get work; all ok means ready.
    pub fn readiness(&self) -> Vec<Check> {
        let status = self.shared.raft.status();
        let fatal = self.shared.raft.fatal().borrow().clone();
        let ari = self.ari_status();
        let quorum = !self.shared.quorum.borrow().is_missing();
        let mut checks = vec![
            Check {
                name: "storage",
                ok: fatal.is_none(),
                detail: fatal.unwrap_or_else(|| "ok".into()),
            },
            Check {
                name: "cluster",
                ok: status.health.healthy && quorum,
                detail: match (&status.leader, quorum) {
                    _ if !status.health.healthy && !quorum => {
                        format!("{}; no leader was heard of lately", status.health.reason)
                    }
                    _ if !status.health.healthy => status.health.reason.clone(),
                    (Some(leader), true) => format!("leader {leader}, term {}", status.term),
                    _ => "no leader was heard of lately; check the other nodes and the network"
                        .into(),
                },
            },
        ];
        if ari.configured {
            checks.push(Check {
                name: "asterisk",
                ok: ari.connected,
                detail: sight(&ari),
            });
        }
        let me = &self.shared.config.node.name;
        for other in self.other_asterisks() {
            let driver = self.read(|state| {
                let pbxes = state.pbxes();
                let mut named = pbxes.filter(|pbx| pbx.id.as_str() == other.pbx);
                named.next().map(|pbx| pbx.node.to_string())
            });
            let taken = driver.as_ref().is_some_and(|driver| driver == me);
            checks.push(Check {
                name: "takeover",
                // Told, and no condition: it is the work of another node.
                ok: true,
                detail: match driver {
                    Some(_) if taken => format!("{} is driven here: {}", other.pbx, sight(&other)),
                    Some(driver) => format!("{} is driven by node {driver}", other.pbx),
                    None => format!("{} was not driven yet", other.pbx),
                },
            });
        }
        checks.push(Check {
            name: "running",
            ok: !*self.shared.stopping.borrow(),
            detail: if *self.shared.stopping.borrow() {
                "stopping"
            } else {
                "ok"
            }
            .into(),
        });
        checks
    }

    /// Counters and gauges at this moment.
    pub fn metrics(&self) -> NodeMetrics {
        let shared = &self.shared;
        let mut metrics = shared.metrics.snapshot();
        let limits = &shared.config.limits;
        let load = |counter: &std::sync::atomic::AtomicU64| {
            counter.load(std::sync::atomic::Ordering::Relaxed)
        };
        metrics.queues = [
            ("callers", (metrics.callers, limits.callers_max as u64)),
            (
                "mailboxes",
                (shared.metrics.fullest_mailbox(), limits.mailbox_max as u64),
            ),
            (
                "proposals",
                (
                    load(&shared.metrics.proposals_waiting),
                    limits.proposals_max as u64,
                ),
            ),
        ]
        .into();
        metrics
    }

    /// Stops the node: no new callers, leadership moves away, everything is flushed. Channels stay
    /// as they are, callers keep hearing music, a restart picks them up. Returns when it is done.
    pub async fn shutdown(&self) {
        self.shared.stopping.send_replace(true);
        let mut stopped = self.shared.stopped.subscribe();
        // An error means that the supervising task is gone, which is stopped as well.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// `Some(why)` once storage broke: the process must exit and be started again.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.shared.raft.fatal()
    }
}
