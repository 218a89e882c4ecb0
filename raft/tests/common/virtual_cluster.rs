//! A cluster in one thread and in virtual time: disks in memory, calls handed over in the process.
//!
//! The wire here only delays calls, and cuts nodes off; what else a wire can do is the business of
//! the simulation of the whole product.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use holdfast_raft::seams::{Call, CallError, Door, Listener, Wire, knock};
use holdfast_raft::sim::{Keep, SimDisk};
use holdfast_raft::{Config, Secret, StartError, World};
use tokio::sync::watch;

use super::{Add, LONG, Node, SECRET};

type Doors = Arc<Mutex<BTreeMap<String, Arc<dyn Door>>>>;

/// The doors of all nodes.
#[derive(Clone, Default)]
pub struct Switchboard {
    doors: Doors,
    cut: Arc<Mutex<BTreeSet<String>>>,
    /// Where a process died and its machine did not.
    dead: Arc<Mutex<BTreeSet<String>>>,
    /// Ways on which calls are refused, from and to.
    refused: Arc<Mutex<BTreeSet<(String, String)>>>,
    appends: Arc<AtomicUsize>,
}

const DELAY: Duration = Duration::from_micros(300);

impl Switchboard {
    /// Nobody reaches this address any more; nor does it answer what it was asked before.
    pub fn cut(&self, addr: &str) {
        self.cut.lock().unwrap().insert(addr.to_string());
    }

    pub fn heal(&self, addr: &str) {
        self.cut.lock().unwrap().remove(addr);
    }

    /// The process there is gone: its connections end.
    pub fn died(&self, addr: &str) {
        self.dead.lock().unwrap().insert(addr.to_string());
        self.hang_up();
    }

    /// Calls from one node to another are refused, as if nobody listened.
    pub fn refuse(&self, from: &str, to: &str) {
        let way = (from.to_string(), to.to_string());
        self.refused.lock().unwrap().insert(way);
    }

    /// A connection ends at every node.
    pub fn hang_up(&self) {
        for door in self.doors.lock().unwrap().values() {
            door.hung_up();
        }
    }

    /// How many appends were sent so far.
    pub fn appends(&self) -> usize {
        self.appends.load(Ordering::SeqCst)
    }

    fn is_cut(&self, addr: &str) -> bool {
        self.cut.lock().unwrap().contains(addr)
    }
}

/// One node's end of the switchboard.
struct End {
    board: Switchboard,
    own: String,
}

impl Wire for End {
    fn bind(&self, listen: SocketAddr) -> BoxFuture<'_, Result<Box<dyn Listener>, StartError>> {
        let doors = self.board.doors.clone();
        let bound: Box<dyn Listener> = Box::new(Bound { listen, doors });
        async move { Ok(bound) }.boxed()
    }

    fn call(&self, call: Call) -> BoxFuture<'_, Result<Vec<u8>, CallError>> {
        async move {
            let is_append = usize::from(call.kind == "append");
            self.board.appends.fetch_add(is_append, Ordering::SeqCst);
            tokio::time::sleep(DELAY).await;
            let cut = |addr: &str| self.board.is_cut(&self.own) || self.board.is_cut(addr);
            let door = self.board.doors.lock().unwrap().get(&call.addr).cloned();
            let way = (self.own.clone(), call.addr.clone());
            let refused = self.board.refused.lock().unwrap().contains(&way);
            let dead = self.board.dead.lock().unwrap().contains(&call.addr);
            if refused || door.is_none() && dead {
                return Err(CallError::NobodyListens("refused".into()));
            }
            let Some(door) = door.filter(|_| !cut(&call.addr)) else {
                return Err(CallError::NotReached("there is no such door".into()));
            };
            let (addr, deadline) = (call.addr.clone(), call.deadline);
            let answer = tokio::spawn(async move { knock(door.as_ref(), &call).await });
            let answer = tokio::time::timeout(deadline, answer).await;
            tokio::time::sleep(DELAY).await;
            match answer {
                Ok(Ok(answer)) if !cut(&addr) => answer,
                _ => Err(CallError::Late),
            }
        }
        .boxed()
    }
}

struct Bound {
    listen: SocketAddr,
    doors: Doors,
}

impl Listener for Bound {
    fn addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.listen)
    }

    fn serve(
        self: Box<Self>,
        door: Arc<dyn Door>,
        mut closing: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()> {
        async move {
            let addr = self.listen.to_string();
            self.doors.lock().unwrap().insert(addr, door);
            let _ = closing.wait_for(|c| *c).await;
        }
        .boxed()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let addr = self.listen.to_string();
        self.doors.lock().unwrap().remove(&addr);
    }
}

/// Nodes `n1`, `n2` .. with their disks.
pub struct Virtual {
    pub board: Switchboard,
    pub disks: Vec<SimDisk>,
    pub nodes: Vec<Option<Node>>,
    pub change: fn(&mut Config),
}

impl Virtual {
    pub fn plan(size: usize, change: fn(&mut Config)) -> Self {
        let disks = (0..size).map(|i| SimDisk::new(i as u64));
        let disks = disks.inspect(|d| {
            d.sync_takes(Duration::from_micros(100), Duration::from_millis(3));
        });
        Virtual {
            board: Switchboard::default(),
            disks: disks.collect(),
            nodes: (0..size).map(|_| None).collect(),
            change,
        }
    }

    pub fn addr(&self, i: usize) -> String {
        format!("10.0.0.{}:1", i + 1)
    }

    pub fn config(&self, i: usize) -> Config {
        let all = 0..self.disks.len();
        let board = self.board.clone();
        let own = self.addr(i);
        let mut config = Config {
            name: format!("n{}", i + 1),
            data_dir: PathBuf::from("/data"),
            listen: own.parse().unwrap(),
            join: all.map(|i| self.addr(i)).collect(),
            bootstrap_expect: self.disks.len(),
            secret: Secret::new(SECRET.replace(' ', "-")),
            world: World {
                disk: self.disks[i].boot(),
                wire: Some(Arc::new(End { board, own })),
                wall_ms: Arc::new(|| 0),
                threads: false,
            },
            ..Config::default()
        };
        (self.change)(&mut config);
        config
    }

    pub async fn try_up(&mut self, i: usize) -> Result<(), StartError> {
        self.board.heal(&self.addr(i));
        self.board.dead.lock().unwrap().remove(&self.addr(i));
        let node = Node::start(self.config(i)).await?;
        self.nodes[i] = Some(node);
        Ok(())
    }

    pub async fn up(&mut self, i: usize) {
        if let Err(e) = self.try_up(i).await {
            panic!("n{} does not start: {e}", i + 1);
        }
    }

    /// Cuts the power of a node, then lets its tasks find out.
    pub async fn power_loss(&mut self, i: usize, keep: Keep) {
        self.disks[i].power_loss(keep);
        self.gone(i).await;
    }

    /// Ends the process of a node, as SIGKILL does.
    pub async fn kill(&mut self, i: usize) {
        self.disks[i].kill();
        if let Some(node) = self.nodes[i].take() {
            node.crash().await;
        }
        self.board.died(&self.addr(i));
    }

    /// Puts away a node whose machine is off.
    pub async fn gone(&mut self, i: usize) {
        self.board.cut(&self.addr(i));
        if let Some(node) = self.nodes[i].take() {
            node.crash().await;
        }
    }

    pub fn node(&self, i: usize) -> &Node {
        self.nodes[i].as_ref().expect("the node is up")
    }

    pub fn alive(&self) -> impl Iterator<Item = (usize, &Node)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(i, n)| Some((i, n.as_ref()?)))
    }

    /// The node that may act as leader, as soon as there is one.
    pub async fn acting(&self) -> usize {
        let find = || {
            let mut alive = self.alive();
            alive
                .find(|(_, n)| n.leadership().borrow().is_some())
                .map(|f| f.0)
        };
        eventually("there is an acting leader", || find().is_some()).await;
        find().expect("it was there, and no time passed")
    }

    pub async fn add(&self, i: usize, number: u64) {
        let added = self.node(i).propose(Add::Number(number), LONG).await;
        added.unwrap_or_else(|e| panic!("{number} is not added: {e}"));
    }
}

/// Waits in virtual time for a condition.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("not within a minute of virtual time: {what}");
}
