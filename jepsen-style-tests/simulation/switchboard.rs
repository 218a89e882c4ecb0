//! The network between the nodes: the store's wire without sockets.
//!
//! A call runs in the sender's runtime and is handed over to a task of the receiver's when it
//! arrives. It takes a seeded time each way; it can be lost, arrive twice, or be carried out and
//! lose its answer; a direction between two nodes can be cut, and then it hangs until the sender's
//! deadline, as packets do that nobody answers. A process that is killed hangs up on all others and
//! whoever calls it is refused; a machine that loses its power does neither.

use crate::book::Book;
use holdfast_raft::StartError;
use holdfast_raft::seams::{Call, CallError, Door, Listener, Wire, knock};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What goes wrong between the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetFaults {
    /// Of 1000 calls, so many are lost before they arrive.
    pub lose_permille: u32,
    /// Of 1000 answers, so many are lost.
    pub lose_answer_permille: u32,
    /// Of 1000 calls, so many arrive twice, if it is more than usual.
    pub double_permille: u32,
    /// The longest that a packet is on its way, beyond the usual.
    pub slow_ms: u64,
    /// Directions through which nothing passes, by names: from, to.
    pub cut: BTreeSet<(String, String)>,
}

/// Clones are the same network.
#[derive(Clone)]
pub struct Switchboard {
    inner: Arc<Mutex<Inner>>,
    book: Book,
}

struct Inner {
    rng: StdRng,
    faults: NetFaults,
    /// Of 1000 calls, so many arrive twice without a fault.
    usual_doubles: u32,
    /// Who listens where.
    doors: BTreeMap<String, Bell>,
    /// Where nobody listens, though the machine is there: the name by address.
    gone: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Bell {
    name: String,
    /// Tells listeners of one address apart.
    life: u64,
    rings: mpsc::UnboundedSender<Ring>,
}

enum Ring {
    Call {
        call: Call,
        answer: oneshot::Sender<Result<Vec<u8>, CallError>>,
    },
    HungUp,
}

/// What will happen to one call, drawn when it is sent.
struct Fate {
    there_ms: u64,
    back_ms: u64,
    lost: bool,
    answer_lost: bool,
    doubled: bool,
}

impl Switchboard {
    /// Without faults, `usual_doubles` of 1000 calls arrive twice.
    pub fn new(seed: u64, usual_doubles: u32, book: Book) -> Switchboard {
        let inner = Inner {
            rng: StdRng::seed_from_u64(seed ^ 0x0051_7c4b),
            faults: NetFaults::default(),
            usual_doubles,
            doors: BTreeMap::new(),
            gone: BTreeMap::new(),
        };
        Switchboard {
            inner: Arc::new(Mutex::new(inner)),
            book,
        }
    }

    /// The wire of one node.
    pub fn wire(&self, name: &str) -> Arc<dyn Wire> {
        Arc::new(Plug {
            name: name.to_string(),
            board: self.clone(),
        })
    }

    /// The process of a node is about to end, and its machine is not.
    pub fn hang_up(&self, name: &str) {
        let mut inner = self.lock();
        let own = inner.doors.iter().find(|(_, bell)| bell.name == name);
        let Some(addr) = own.map(|(addr, _)| addr.clone()) else {
            return;
        };
        for bell in inner.doors.values().filter(|bell| bell.name != name) {
            let way = (name.to_string(), bell.name.clone());
            if !inner.faults.cut.contains(&way) {
                // Who does not listen any more need not hear it.
                let _ = bell.rings.send(Ring::HungUp);
            }
        }
        inner.gone.insert(addr, name.to_string());
    }

    pub fn set_faults(&self, change: impl FnOnce(&mut NetFaults)) {
        change(&mut self.lock().faults);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        let key = (from.to_string(), to.to_string());
        self.lock().faults.cut.contains(&key)
    }
}

impl Inner {
    fn way_ms(&mut self) -> u64 {
        let usual = match self.rng.random_range(0..20u32) {
            0..14 => 0,
            14..19 => 1,
            _ => self.rng.random_range(2..8),
        };
        usual + self.rng.random_range(0..=self.faults.slow_ms)
    }

    fn fate(&mut self) -> Fate {
        let (there_ms, back_ms) = (self.way_ms(), self.way_ms());
        let faults = self.faults.clone();
        let mut chance = |permille: u32| self.rng.random_range(0..1000) < permille;
        Fate {
            there_ms,
            back_ms,
            lost: chance(faults.lose_permille),
            answer_lost: chance(faults.lose_answer_permille),
            doubled: chance(faults.double_permille.max(self.usual_doubles)),
        }
    }
}

/// One node's end of the network.
struct Plug {
    name: String,
    board: Switchboard,
}

impl Plug {
    async fn send(&self, call: Call) -> Result<Vec<u8>, CallError> {
        let fate = self.board.lock().fate();
        let (from, kind, len) = (&self.name, call.kind, call.body.len());
        let sum = call.body.iter().fold(0u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
        });
        self.board.book.tell(format_args!(
            "{from} => {} {kind} {len} {sum:08x}",
            call.addr
        ));
        pass(fate.there_ms).await;
        let bell = self.board.lock().doors.get(&call.addr).cloned();
        let Some(bell) = bell else {
            let gone = self.board.lock().gone.get(&call.addr).cloned();
            let cut =
                |to: &str| self.board.is_cut(&self.name, to) || self.board.is_cut(to, &self.name);
            return Err(match gone {
                Some(to) if !cut(&to) => CallError::NobodyListens("connection refused".into()),
                _ => CallError::NotReached("no route".into()),
            });
        };
        if fate.lost || self.board.is_cut(&self.name, &bell.name) {
            return std::future::pending().await;
        }
        let ring = |call| {
            let (answer, answered) = oneshot::channel();
            let rung = bell.rings.send(Ring::Call { call, answer });
            rung.ok().map(|()| answered)
        };
        if fate.doubled {
            // Of the two answers only one arrives.
            let _ = ring(call.clone());
        }
        let gone = || CallError::Lost("connection reset".into());
        let answered = ring(call).ok_or_else(gone)?;
        let answer = answered.await.map_err(|_| gone())?;
        pass(fate.back_ms).await;
        if fate.answer_lost || self.board.is_cut(&bell.name, &self.name) {
            return std::future::pending().await;
        }
        answer
    }
}

async fn pass(ms: u64) {
    if ms > 0 {
        sleep(Duration::from_millis(ms)).await;
    }
}

impl Wire for Plug {
    fn bind(&self, listen: SocketAddr) -> Boxed<'_, Result<Box<dyn Listener>, StartError>> {
        let (rings, inbox) = mpsc::unbounded_channel();
        let mut inner = self.board.lock();
        let life = inner.rng.random();
        let bell = Bell {
            name: self.name.clone(),
            life,
            rings,
        };
        inner.gone.remove(&listen.to_string());
        inner.doors.insert(listen.to_string(), bell);
        drop(inner);
        let place = Place {
            listen,
            life,
            inbox,
            board: self.board.clone(),
        };
        Box::pin(async { Ok(Box::new(place) as Box<dyn Listener>) })
    }

    fn call(&self, call: Call) -> Boxed<'_, Result<Vec<u8>, CallError>> {
        Box::pin(async move {
            let deadline = call.deadline;
            let answer = tokio::time::timeout(deadline, self.send(call)).await;
            answer.unwrap_or(Err(CallError::Late))
        })
    }
}

/// An address that a node has taken.
struct Place {
    listen: SocketAddr,
    life: u64,
    inbox: mpsc::UnboundedReceiver<Ring>,
    board: Switchboard,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.board.lock();
        let key = self.listen.to_string();
        // A node that was started again may have taken it already.
        if inner.doors.get(&key).is_some_and(|it| it.life == self.life) {
            inner.doors.remove(&key);
        }
    }
}

impl Listener for Place {
    fn addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.listen)
    }

    fn serve(
        mut self: Box<Self>,
        door: Arc<dyn Door>,
        mut closing: watch::Receiver<bool>,
    ) -> Boxed<'static, ()> {
        Box::pin(async move {
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    biased;
                    _ = closing.wait_for(|closing| *closing) => return,
                    Some(_) = tasks.join_next() => {}
                    ring = self.inbox.recv() => {
                        let door = door.clone();
                        match ring {
                            None => return,
                            Some(Ring::HungUp) => door.hung_up(),
                            Some(Ring::Call { call, answer }) => {
                                tasks.spawn(async move {
                                    // Nobody waits any more when the sender has given up.
                                    let _ = answer.send(knock(door.as_ref(), &call).await);
                                });
                            }
                        }
                    }
                }
            }
        })
    }
}
